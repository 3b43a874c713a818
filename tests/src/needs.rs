//! What a test needs from the machine. If it is not there, the test is skipped
//! and says why.
#![allow(unsafe_code)]

use std::{
    env,
    ffi::CString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use ground::cgroups::mounts;
use nix::{
    sys::statfs::{TMPFS_MAGIC, statfs},
    unistd::geteuid,
};

use crate::skip;

/// Why a test is skipped for a plain user.
pub(crate) const ROOT: &str = "needs root";

/// Why a test is skipped for root.
pub(crate) const PLAIN_USER: &str = "needs a plain user";

/// Why a test is skipped on a machine that is not one of ours.
pub(crate) const VM: &str = "needs one of the suite's virtual machines";

/// Why a test is skipped where nobody has made a Debian.
pub(crate) const DEBIAN: &str = "needs a root file system of Debian";

/// Why a test is skipped where something else than systemd is the init.
pub(crate) const SYSTEMD: &str = "needs a machine that systemd has booted";

/// How the reason begins for what is not meant to be run anywhere.
pub const NEVER: &str = "never: ";

/// The test needs what only a kernel or a layout of cgroups has that the suite
/// brings along itself.
pub fn virtual_machine(is_one: bool) {
    if !is_one {
        skip(VM);
    }
}

/// Whether whoever started the suite says that this machine may be ruined.
pub fn is_disposable() -> bool {
    env::var_os("SUITE_DISPOSABLE_MACHINE").is_some()
}

/// Whether the suite runs as root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// The test makes sense for root only.
pub fn root() {
    if !is_root() {
        skip(ROOT);
    }
}

/// The test makes sense for a plain user only.
pub fn plain_user() {
    if is_root() {
        skip(PLAIN_USER);
    }
}

/// The test needs the root file system that tests/debian/make makes.
pub fn debian() -> PathBuf {
    match env::var_os("SUITE_DEBIAN") {
        Some(directory) => directory.into(),
        None => skip(DEBIAN),
    }
}

/// The test needs systemd as the machine's init. See sd_booted(3).
pub fn systemd() {
    if !Path::new("/run/systemd/system").is_dir() {
        skip(SYSTEMD);
    }
}

/// The test needs a program of the host.
pub fn tool(name: &str) -> PathBuf {
    find_tool(name)
        .unwrap_or_else(|| skip(&format!("needs the program {name}")))
}

/// Where the host's program `name` is.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// A plain user needs user namespaces for all of this.
pub fn user_namespaces() {
    static REFUSED: OnceLock<bool> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        let attempt = Command::new("unshare")
            .args(["--map-root-user", "true"])
            .stderr(Stdio::null())
            .status();
        // Without the tool nothing is known: the test will show it.
        !is_root() && attempt.is_ok_and(|status| !status.success())
    });
    if *refused {
        skip("needs user namespaces, which this machine refuses");
    }
}

/// The test needs a cgroup in which this user may set limits, of any version.
pub fn limits() {
    if let Some(reason) = why_no_limits() {
        skip(&reason);
    }
}

/// Why this user can't limit anything here; `None` if that works.
///
/// Found out by the program itself: only it knows where it makes its cgroup.
pub fn why_no_limits() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    REASON
        .get_or_init(|| {
            let tried = crate::CGROUPS
                .run()
                .options(["--memory", "64m", "--cpus", "1", "--pids-limit"])
                .options(["64"])
                .command(["true"]);
            // program: aim: reason: call
            let reason = tried.stderr.split(": ").nth(2);
            let reason = reason.unwrap_or("it failed").trim();
            (tried.code != 0).then(|| format!("needs limits: {reason}"))
        })
        .clone()
}

/// The test needs temporary files to be on a disk, not in memory.
pub fn disk() {
    let directory = env::temp_dir();
    let status = statfs(&directory).expect("statfs()");
    if status.filesystem_type() == TMPFS_MAGIC {
        skip("needs temporary files on a disk");
    }
}

/// The test needs temporary files to have extended attributes of the kind that
/// overlay uses. A tmpfs before Linux 6.6 has none that everybody may set.
pub fn extended_attributes() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().as_os_str().as_encoded_bytes();
    let path = CString::new(path).expect("a path has no NUL");
    let name = c"user.overlay.opaque";
    // SAFETY: the strings end with a NUL, and there is one byte of value.
    let result = unsafe {
        let value = c"y".as_ptr().cast();
        libc::setxattr(path.as_ptr(), name.as_ptr(), value, 1, 0)
    };
    if result != 0 {
        skip("needs extended attributes on temporary files");
    }
}

/// The test needs an image that can be id-mapped. For a plain user there is
/// nothing to map.
pub fn id_mapping() {
    if is_root() && !can_map_ids() {
        skip("needs an image that can be id-mapped");
    }
}

/// Whether the default image can be id-mapped, as root's step 6 needs it. A tmpfs
/// can't before Linux 6.3; the program says so.
pub fn can_map_ids() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let tried = crate::FULL.run().command(["true"]);
        !tried.stderr.contains("MOUNT_ATTR_IDMAP")
    })
}

/// The test needs a kernel whose Landlock step 6 can use.
pub fn landlock() {
    landlock_version(2);
}

/// The test needs at least this version of Landlock's interface. See
/// landlock(7).
pub fn landlock_version(needed: libc::c_long) {
    const CREATE_RULESET_VERSION: libc::c_uint = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: for this flag the kernel wants a null pointer and no size.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            nothing,
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    if version < needed {
        skip("needs Landlock, or a newer one");
    }
}

/// A shell script that runs `command` with the mount point of each tree of
/// cgroups.
pub fn at_each_cgroup_mount(command: &str) -> String {
    let lines: Vec<String> = mounts()
        .expect("/proc is mounted")
        .iter()
        .map(|mount| format!("{command} {}", mount.mount_point.display()))
        .collect();
    lines.join(" && ")
}
