//! The programs of the host that an image can be made of.

use std::{
    env,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

use super::{
    elf::{self, Executable},
    sources::Sources,
};

/// What a shell session in the book needs. What the host does not have is left
/// out, except `sh`.
const TOOLS: &[&str] = &[
    "sh", "[", "cat", "chmod", "chown", "cp", "date", "dd", "echo", "env",
    "false", "find", "free", "grep", "head", "hostname", "id", "ip", "kill",
    "ln", "ls", "mkdir", "mknod", "mount", "mv", "nproc", "ping", "printf",
    "ps", "pwd", "readlink", "rm", "sed", "seq", "sleep", "sort", "stat",
    "stty", "sync", "tail", "test", "touch", "tr", "true", "tty", "umount",
    "uname", "unshare", "wc",
];

/// Under these names distributions install a BusyBox that may be static.
const BUSYBOX: &[&str] = &["busybox", "busybox.static"];

/// A program of the host.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    /// Its loader and its libraries, by the paths that they are loaded from.
    pub(super) libraries: Vec<PathBuf>,
}

/// Returns the path of a statically linked BusyBox and the names of its
/// applets, if this machine has one with a shell in it.
pub(super) fn static_busybox(
    sources: &mut Sources,
) -> Option<(PathBuf, Vec<String>)> {
    for dir in directories() {
        for name in BUSYBOX {
            let path = dir.join(name);
            sources.add(&path);
            if executable(&path) != Some(Executable::Static) {
                continue;
            }
            match applets(&path) {
                Ok(names) if names.iter().any(|name| name == "sh") => {
                    return Some((path, names));
                }
                // For another machine, or not what its name says.
                _ => {}
            }
        }
    }
    None
}

fn applets(busybox: &Path) -> io::Result<Vec<String>> {
    let output = Command::new(busybox)
        .arg("--list")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let is_name = |name: &&str| !name.is_empty() && !name.contains('/');
    Ok(text.lines().filter(is_name).map(str::to_owned).collect())
}

/// Returns the tools that this machine has, with their libraries.
///
/// # Errors
/// There is no `sh` that is an ELF program, or its libraries are missing.
pub(super) fn of_the_host(sources: &mut Sources) -> anyhow::Result<Vec<Tool>> {
    let directories = directories();
    let mut listings = Vec::new();
    for name in TOOLS {
        let Some((path, loader)) = locate(name, &directories) else {
            // If it is installed later, this is where it will be.
            sources.add(&Path::new("/usr/bin").join(name));
            continue;
        };
        sources.add(&path);
        // All loaders run at the same time: the slow part is starting them.
        listings.push((name, Listing::start(&path, loader)?, path));
    }

    let mut tools = Vec::new();
    for (name, listing, path) in listings {
        // A tool whose libraries are missing would not start on the host.
        if let Some(libraries) = listing.finish()? {
            tools.push(Tool {
                name,
                path,
                libraries,
            });
        }
    }
    if !tools.iter().any(|tool| tool.name == "sh") {
        bail!("no sh for it in {directories:?}");
    }
    Ok(tools)
}

/// Where to look for programs: the system's directories, then those in `PATH`.
///
/// In this order the image does not depend on what a reader has in front of
/// them, as with Conda. Each directory appears once, though many hosts have two
/// or more names for it.
fn directories() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    let local = ["/usr/local/bin", "/usr/local/sbin"].map(PathBuf::from);
    let mut directories = Vec::new();
    for dir in system
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(local)
    {
        // A relative one, such as ".", is no place for programs.
        if !dir.is_absolute() {
            continue;
        }
        match fs::canonicalize(dir) {
            Ok(dir) if !directories.contains(&dir) => directories.push(dir),
            _ => {}
        }
    }
    directories
}

/// Finds the program `name` and its loader (none: it is static). Only ELF files
/// count: a script would need its interpreter.
fn locate(
    name: &str,
    directories: &[PathBuf],
) -> Option<(PathBuf, Option<PathBuf>)> {
    directories.iter().find_map(|dir| {
        let path = dir.join(name);
        match executable(&path)? {
            Executable::Static => Some((path, None)),
            Executable::Dynamic(loader) => Some((path, Some(loader))),
            Executable::Other => None,
        }
    })
}

/// What kind of program `path` is; `None` if it is not there or not executable,
/// or if this user cannot read it.
fn executable(path: &Path) -> Option<Executable> {
    let status = fs::metadata(path).ok()?;
    if !status.is_file() || status.permissions().mode() & 0o111 == 0 {
        return None;
    }
    elf::read(&File::open(path).ok()?).ok()
}

/// A loader that was asked for the libraries of a program.
struct Listing {
    running: Option<(PathBuf, Child)>,
}

impl Listing {
    /// Starts `loader` with the option `--list`, which the loaders of glibc and
    /// musl know: they find the libraries as always, but do not start the
    /// program. See ld.so(8).
    fn start(program: &Path, loader: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(loader) = loader else {
            return Ok(Listing { running: None });
        };
        let child = Command::new(&loader)
            .arg("--list")
            .arg(program)
            // LD_PRELOAD and LD_LIBRARY_PATH are not set in the container.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("execve({loader:?}, [\"--list\", {program:?}])")
            })?;
        Ok(Listing {
            running: Some((loader, child)),
        })
    }

    /// Waits for the loader and returns what it has listed, and itself. `None`
    /// if a library is missing.
    fn finish(self) -> anyhow::Result<Option<Vec<PathBuf>>> {
        let Some((loader, mut child)) = self.running else {
            return Ok(Some(Vec::new()));
        };
        let mut output = String::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.read_to_string(&mut output)
                .with_context(|| format!("reading what {loader:?} lists"))?;
        }
        let status = child
            .wait()
            .with_context(|| format!("waiting for {loader:?}"))?;
        if !status.success() {
            return Ok(None);
        }
        Ok(libraries(&output).map(|mut libraries| {
            libraries.push(loader);
            libraries
        }))
    }
}

/// Reads what `ld.so --list` prints. `None` if a library was not found.
///
/// The paths are what follows `=>`, or what begins with a slash. A name alone
/// is the vDSO, which comes from the kernel. See vdso(7).
fn libraries(output: &str) -> Option<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in output.lines() {
        let line = line.trim();
        let found = line.split_once(" => ").map_or(line, |(_, found)| found);
        if found == "not found" {
            return None;
        }
        let path = found.rsplit_once(" (0x").map_or(found, |(path, _)| path);
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Some(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(output: &str) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        libraries(output).unwrap().into_iter().map(text).collect()
    }

    #[test]
    fn the_list_of_glibc_is_understood() {
        let output = "\
\tlinux-vdso.so.1 (0x00007f8786286000)
\tlibselinux.so.1 => /lib/x86_64-linux-gnu/libselinux.so.1 (0x00007f8786)
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f878603f000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f8786288000)
";
        assert_eq!(
            listed(output),
            [
                "/lib/x86_64-linux-gnu/libselinux.so.1",
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2",
            ]
        );
    }

    #[test]
    fn the_list_of_musl_is_understood() {
        let output = "\
\t/lib/ld-musl-x86_64.so.1 (0x7f0e6a2c4000)
\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f0e6a2c4000)
";
        assert_eq!(
            listed(output),
            ["/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-x86_64.so.1"]
        );
    }

    #[test]
    fn a_program_without_libraries_has_an_empty_list() {
        assert!(listed("\tstatically linked\n").is_empty());
        assert!(listed("\tlinux-vdso.so.1 (0x00007f8786286000)\n").is_empty());
    }

    #[test]
    fn a_missing_library_is_noticed() {
        let output = "\
\tlibodd.so.1 => not found
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f878603f000)
";
        assert_eq!(libraries(output), None);
    }
}
