//! What a submission's compiler may read: the solution is on the same disk, and
//! so is all else that the grader can read.
//!
//! Landlock asks at each open where a file is, needs no privilege, and works in
//! a container that may make no namespaces. Only reading is its matter here:
//! the compiler writes where it is told to. See landlock(7).
#![allow(unsafe_code)]

use std::{
    env, fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{prctl, stat::Mode},
};

/// From <linux/landlock.h>.
const READ_FILE: u64 = 1 << 2;
/// Moving a file to another directory, which Landlock refuses whoever does not
/// mention it. Since version 2, of Linux 5.19.
const REFER: u64 = 1 << 13;
const RULE_PATH_BENEATH: libc::c_int = 1;

/// `struct landlock_path_beneath_attr`: allows something for a file, or for all
/// that lies below a directory.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: RawFd,
}

/// The files that a process may read.
pub(crate) struct Readable(OwnedFd);

impl Readable {
    /// These files, and what lies below these directories; what is not there is
    /// left out. `None` where the kernel has no Landlock.
    ///
    /// # Errors
    /// That of the call that failed. See landlock_create_ruleset(2).
    pub(crate) fn only(paths: &[PathBuf]) -> anyhow::Result<Option<Readable>> {
        // The first field of the structure is the only one that every version
        // knows.
        let handled = READ_FILE | REFER;
        // SAFETY: the number lives through the call, which reads as many bytes
        // of it as we say.
        let ruleset = unsafe {
            libc::syscall(
                libc::SYS_landlock_create_ruleset,
                &raw const handled,
                size_of_val(&handled),
                0,
            )
        };
        let ruleset = match Errno::result(ruleset) {
            // Built without it, started without it, forbidden by a filter; and
            // EINVAL says that it is too old.
            Err(
                Errno::ENOSYS
                | Errno::EOPNOTSUPP
                | Errno::EPERM
                | Errno::EINVAL,
            ) => return Ok(None),
            ruleset => ruleset.context("landlock_create_ruleset()")?,
        };
        let ruleset = ruleset.try_into().context("a descriptor is an int")?;
        // SAFETY: the kernel has just made this descriptor for us.
        let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
        let rules = paths.iter().map(|path| (path.as_path(), READ_FILE));
        for (path, access) in rules.chain([(Path::new("/"), REFER)]) {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let file = match open(path, flags, Mode::empty()) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => continue,
                file => {
                    file.with_context(|| format!("open({path:?}, O_PATH)"))?
                }
            };
            allow(ruleset.as_fd(), file.as_fd(), access)
                .with_context(|| format!("landlock_add_rule({path:?})"))?;
        }
        Ok(Some(Readable(ruleset)))
    }

    /// Confines this process and its descendants, for ever.
    ///
    /// # Errors
    /// That of the call that failed. See landlock_restrict_self(2).
    pub(crate) fn confine(&self) -> io::Result<()> {
        prctl::set_no_new_privs()?;
        // SAFETY: the call takes two numbers, and no pointer.
        let confined = unsafe {
            libc::syscall(
                libc::SYS_landlock_restrict_self,
                self.0.as_raw_fd(),
                0,
            )
        };
        Errno::result(confined)?;
        Ok(())
    }
}

fn allow(
    ruleset: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    access: u64,
) -> anyhow::Result<()> {
    let rule = PathBeneath {
        allowed_access: access,
        parent_fd: file.as_raw_fd(),
    };
    // SAFETY: the structure is the one of this kind of rule, and lives through
    // the call; the descriptors are open.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    Errno::result(added)?;
    Ok(())
}

/// What compilers and linkers consist of, beside the toolchain. Not `/proc`: it
/// shows what others were started with.
const SYSTEM: [&str; 15] = [
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/lib",
    "/nix/store",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
];

/// The toolchain, the crates, and what else Cargo reads in order to build the
/// workspace at `directory`, but not the sources in that.
///
/// # Errors
/// There is no compiler.
pub(crate) fn toolchain(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(directory)
        .output()
        .context("running rustc")?;
    ensure!(sysroot.status.success(), "rustc --print sysroot has failed");
    let sysroot = String::from_utf8(sysroot.stdout)?;
    readable.push(sysroot.trim_end().into());
    readable.extend(home("RUSTUP_HOME", ".rustup"));
    // Not all of it: there may be a password of a registry.
    let cargo = home("CARGO_HOME", ".cargo");
    let entries = cargo.map(fs::read_dir).into_iter().flatten().flatten();
    let paths = entries.flatten().map(|entry| entry.path());
    readable.extend(paths.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with("credentials")
    }));
    for above in directory.ancestors() {
        for name in [".cargo", "rust-toolchain", "rust-toolchain.toml"] {
            readable.push(above.join(name));
        }
    }
    Ok(readable)
}

/// The directory that a variable names, or the one in the home.
fn home(variable: &str, name: &str) -> Option<PathBuf> {
    let default = || Some(PathBuf::from(env::var_os("HOME")?).join(name));
    env::var_os(variable).map(PathBuf::from).or_else(default)
}

/// Whether a compiler gets the variable `name`. A program can have in it what
/// any of them says.
pub(crate) fn is_for_compilers(name: &str) -> bool {
    let known = ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CC", "AR"];
    let begins = ["CARGO_", "RUST", "LC_"];
    let secret = ["TOKEN", "PASSWORD", "SECRET", "CREDENTIAL"];
    (known.contains(&name) || begins.iter().any(|it| name.starts_with(it)))
        && !secret.iter().any(|it| name.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_gets_no_password() {
        for name in ["PATH", "CARGO_HOME", "RUSTFLAGS", "LC_ALL"] {
            assert!(is_for_compilers(name), "{name}");
        }
        for name in ["CARGO_REGISTRY_TOKEN", "AWS_SECRET_ACCESS_KEY", "PWD"] {
            assert!(!is_for_compilers(name), "{name}");
        }
    }
}
