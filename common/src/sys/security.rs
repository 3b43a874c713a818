//! What a process gives up for good: new privileges, files, system calls.

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use libc::{c_int, c_long, c_ulong, sock_filter, sock_fprog};
use nix::{
    errno::Errno,
    sys::{prctl, signal::Signal},
};

use super::{
    Result,
    argument::{Argument, Bits, Names, Word},
    call, finish, int,
};

/// A request to [`prctl()`] that takes one number, and no pointer.
#[derive(Clone, Copy)]
pub struct NumberOption(c_int, &'static str);

macro_rules! number_options {
    ($($name:ident),*) => {
        $(
            #[doc = concat!("See prctl(2), `", stringify!($name), "`.")]
            pub const $name: NumberOption =
                NumberOption(libc::$name, stringify!($name));
        )*
    };
}

number_options!(
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS
);

/// See prctl(2), `PR_CAP_AMBIENT`.
pub const PR_CAP_AMBIENT_CLEAR_ALL: u32 = libc::PR_CAP_AMBIENT_CLEAR_ALL as u32;

/// See prctl(2), `PR_CAP_AMBIENT`, `PR_CAP_AMBIENT_RAISE`: adds one capability to
/// the ambient set. It must be permitted and inheritable.
#[track_caller]
pub fn prctl_cap_ambient_raise(capability: u32) -> Result<()> {
    let raise = libc::PR_CAP_AMBIENT_RAISE;
    // The kernel reads longs.
    let (number, unused): (c_ulong, c_ulong) = (capability.into(), 0);
    // SAFETY: no argument is a pointer.
    let done = Errno::result(unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, raise, number, unused, unused)
    });
    let words = "PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE";
    call!(prctl(Word(words.into()), capability, 0, 0), done.map(drop))
}

impl Argument for NumberOption {
    fn text(&self) -> String {
        self.1.to_owned()
    }
}

/// See prctl(2), for the requests that take one number.
#[track_caller]
pub fn prctl(option: NumberOption, arg2: u32) -> Result<()> {
    // The kernel reads longs, and wants those that are not used to be 0.
    let (number, unused): (c_ulong, c_ulong) = (arg2.into(), 0);
    // SAFETY: of none of these requests an argument is a pointer; a number that
    // the kernel doesn't know is an error, and changes nothing.
    let done = Errno::result(unsafe {
        libc::prctl(option.0, number, unused, unused, unused)
    });
    call!(prctl(option, arg2), done.map(drop))
}

/// See prctl(2), `PR_SET_PDEATHSIG`: the signal for this process when its parent
/// dies.
#[track_caller]
pub fn prctl_set_pdeathsig(sig: Signal) -> Result<()> {
    call!(
        prctl(Word("PR_SET_PDEATHSIG".into()), sig),
        prctl::set_pdeathsig(sig)
    )
}

/// See prctl(2), `PR_SET_NAME`: what ps(1) calls this process, in at most 15
/// bytes.
#[track_caller]
pub fn prctl_set_name(name: &CStr) -> Result<()> {
    call!(
        prctl(Word("PR_SET_NAME".into()), name),
        prctl::set_name(name)
    )
}

/// See prctl(2), `PR_GET_NO_NEW_PRIVS`.
#[track_caller]
pub fn prctl_get_no_new_privs() -> Result<bool> {
    call!(
        prctl(Word("PR_GET_NO_NEW_PRIVS".into()), 0, 0, 0, 0),
        prctl::get_no_new_privs()
    )
}

fn hexadecimal(set: u64) -> String {
    Bits(set, &[]).text()
}

/// See seccomp(2), `SECCOMP_SET_MODE_FILTER`. The kernel checks the program, and
/// refuses one that could run off its end. `flags` are
/// `libc::SECCOMP_FILTER_FLAG_…`, without those whose result is a descriptor.
#[track_caller]
pub fn seccomp_set_mode_filter(
    flags: u32,
    filter: &[sock_filter],
) -> Result<()> {
    let length = filter.len();
    let installed = u16::try_from(length).map_err(|_| Errno::EINVAL);
    let installed = installed.and_then(|len| {
        let filter = filter.as_ptr().cast_mut();
        let program = sock_fprog { len, filter };
        // SAFETY: `program` points to `len` instructions, and both live through
        // the call, which copies them.
        Errno::result(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        })
    });
    finish(installed.map(drop), || {
        let flags = Bits(flags.into(), FILTER_FLAGS).text();
        let program = format!("{{len={length}, filter=...}}");
        format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags}, {program})")
    })
}

const FILTER_FLAGS: Names = &[
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    ),
];

/// See landlock_create_ruleset(2): what is refused unless a rule allows it. A
/// field that an older kernel doesn't know must be 0.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct landlock_ruleset_attr {
    /// Of files.
    pub handled_access_fs: u64,
    /// Of the network, since version 4.
    pub handled_access_net: u64,
    /// Towards processes that are not confined as well, since version 6.
    pub scoped: u64,
}

impl Argument for landlock_ruleset_attr {
    fn text(&self) -> String {
        let files = hexadecimal(self.handled_access_fs);
        let network = hexadecimal(self.handled_access_net);
        let scoped = hexadecimal(self.scoped);
        format!(
            "{{handled_access_fs={files}, handled_access_net={network}, \
             scoped={scoped}}}"
        )
    }
}

/// See landlock_create_ruleset(2), since Linux 5.13.
#[track_caller]
pub fn landlock_create_ruleset(
    attr: &landlock_ruleset_attr,
) -> Result<OwnedFd> {
    let (size, flags) = (size_of::<landlock_ruleset_attr>(), 0);
    // SAFETY: the structure lives through the call, which reads as many bytes of
    // it as we say. An older kernel knows fewer fields, and takes it when the
    // others are zero.
    let made = Errno::result(unsafe {
        let attr = ptr::from_ref(attr);
        libc::syscall(libc::SYS_landlock_create_ruleset, attr, size, flags)
    });
    let fd = call!(landlock_create_ruleset(attr, size, flags), made)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else
    // in the program knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(int(fd)) })
}

/// See landlock_create_ruleset(2), `LANDLOCK_CREATE_RULESET_VERSION`: the
/// version of what the kernel knows.
///
/// # Errors
/// `ENOSYS` where the kernel was built without Landlock, `EOPNOTSUPP` where it
/// was started without it.
#[track_caller]
pub fn landlock_version() -> Result<c_long> {
    let (attr, size) = (ptr::null::<landlock_ruleset_attr>(), 0_usize);
    let flags = 1; // LANDLOCK_CREATE_RULESET_VERSION
    // SAFETY: for this flag the kernel wants a null pointer and no size.
    let version = Errno::result(unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, attr, size, flags)
    });
    finish(version, || {
        let flags = "LANDLOCK_CREATE_RULESET_VERSION";
        format!("landlock_create_ruleset(NULL, 0, {flags})")
    })
}

/// See landlock_add_rule(2), `LANDLOCK_RULE_PATH_BENEATH`: allows something for
/// the file that is `parent_fd`, or for all that lies below the directory.
///
/// # Errors
/// `EBADFD` for what is in no file system, such as a pipe or a socket.
#[track_caller]
pub fn landlock_add_rule(
    ruleset_fd: impl AsFd,
    allowed_access: u64,
    parent_fd: impl AsFd,
) -> Result<()> {
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: RawFd,
    }
    let (ruleset, parent) = (ruleset_fd.as_fd(), parent_fd.as_fd());
    let parent_fd = parent.as_raw_fd();
    let rule = PathBeneath {
        allowed_access,
        parent_fd,
    };
    let path_beneath = 1; // LANDLOCK_RULE_PATH_BENEATH
    // SAFETY: the structure lives through the call, which only reads it; both
    // descriptors are borrowed, so open.
    let added = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            path_beneath,
            &raw const rule,
            0,
        )
    });
    finish(added.map(drop), || {
        let (ruleset, parent) = (ruleset.text(), parent.text());
        let access = hexadecimal(allowed_access);
        format!(
            "landlock_add_rule({ruleset}, LANDLOCK_RULE_PATH_BENEATH, \
             {{allowed_access={access}, parent_fd={parent}}}, 0)"
        )
    })
}

/// See landlock_restrict_self(2).
#[track_caller]
pub fn landlock_restrict_self(ruleset_fd: impl AsFd) -> Result<()> {
    let ruleset: BorrowedFd<'_> = ruleset_fd.as_fd();
    let (number, flags) = (ruleset.as_raw_fd(), 0);
    // SAFETY: the call takes two integers; the descriptor is open.
    let done = Errno::result(unsafe {
        libc::syscall(libc::SYS_landlock_restrict_self, number, flags)
    });
    call!(landlock_restrict_self(ruleset, flags), done.map(drop))
}
