//! What a process has from its parent until it asks for something else: ids,
//! limits, signals, keys, its execution domain.

use std::{ffi::c_char, ptr};

use libc::c_int;
use nix::{
    errno::Errno,
    sys::{
        personality::{self, Persona},
        resource::{self, Resource},
        stat::{self, Mode},
    },
    unistd::{self, Gid, Pid, Uid},
};

use super::{Result, argument::Argument, call, finish, signals::name};

/// See setgroups(2). `EPERM`, whoever asks, where `/proc/self/setgroups` says
/// `deny`: see user_namespaces(7).
#[track_caller]
pub fn setgroups(list: &[Gid]) -> Result<()> {
    finish(unistd::setgroups(list), || {
        let size = list.len();
        let list: Vec<String> = list.iter().map(Argument::text).collect();
        let list = list.join(", ");
        format!("setgroups({size}, [{list}])")
    })
}

/// See setresuid(2). Of the calling thread's ids the C library makes those of
/// all threads.
#[track_caller]
pub fn setresuid(ruid: Uid, euid: Uid, suid: Uid) -> Result<()> {
    call!(
        setresuid(ruid, euid, suid),
        unistd::setresuid(ruid, euid, suid)
    )
}

/// See setresgid(2).
#[track_caller]
pub fn setresgid(rgid: Gid, egid: Gid, sgid: Gid) -> Result<()> {
    call!(
        setresgid(rgid, egid, sgid),
        unistd::setresgid(rgid, egid, sgid)
    )
}

/// See getrlimit(2): the soft limit, which holds, and the hard one, up to which
/// it can be raised.
#[track_caller]
pub fn getrlimit(resource: Resource) -> Result<(u64, u64)> {
    call!(getrlimit(resource), resource::getrlimit(resource))
}

/// See prlimit(2), without new limits: the soft and the hard one of the process
/// `pid`.
///
/// # Errors
/// `EPERM` for one of somebody else.
#[track_caller]
pub fn prlimit(pid: Pid, resource: Resource) -> Result<(u64, u64)> {
    let mut limits = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call writes one pair of limits, and reads none.
    let read = Errno::result(unsafe {
        libc::prlimit64(
            pid.as_raw(),
            resource as _,
            ptr::null(),
            &raw mut limits,
        )
    });
    finish(read, || {
        let resource = resource.text();
        format!("prlimit64({pid}, {resource}, NULL, …)")
    })?;
    Ok((limits.rlim_cur, limits.rlim_max))
}

/// See setrlimit(2). A hard limit that is lowered stays so.
#[track_caller]
pub fn setrlimit(resource: Resource, soft: u64, hard: u64) -> Result<()> {
    finish(resource::setrlimit(resource, soft, hard), || {
        let resource = resource.text();
        let limits = format!("{{rlim_cur={soft}, rlim_max={hard}}}");
        format!("setrlimit({resource}, {limits})")
    })
}

impl Argument for Resource {
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

/// See umask(2), which can't fail.
#[track_caller]
pub fn umask(mask: u32) {
    stat::umask(Mode::from_bits_truncate(mask));
}

/// See personality(2).
#[track_caller]
pub fn personality(persona: Persona) -> Result<()> {
    let set = personality::set(persona).map(drop);
    call!(personality(persona), set)
}

impl Argument for Persona {
    /// With the name of the execution domain that is 0, as strace(1) has it.
    fn text(&self) -> String {
        let flags = self.iter_names().map(|(name, _)| name);
        let names: Vec<&str> = ["PER_LINUX"].into_iter().chain(flags).collect();
        names.join("|")
    }
}

/// See rt_sigaction(2), for the default action, no flags and nothing masked.
///
/// The C library's sigaction(3) keeps two signals to itself, and its
/// posix_spawn(3) leaves just these ignored in its children.
///
/// # Errors
/// `EINVAL` for SIGKILL and SIGSTOP, and for a number that is none.
#[track_caller]
pub fn rt_sigaction_default(signal: c_int) -> Result<()> {
    // The kernel's struct sigaction: SIG_DFL is 0.
    let default = [0_u64; 4];
    let size = size_of::<u64>();
    // SAFETY: `default` lives through the call and is as large as the structure
    // is at most; SIG_DFL is no function that could be called.
    let set = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            default.as_ptr(),
            ptr::null::<u64>(),
            size,
        )
    });
    finish(set.map(drop), || {
        let (name, action) = (name(signal), "{sa_handler=SIG_DFL}");
        format!("rt_sigaction({name}, {action}, NULL, {size})")
    })
}

/// See keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`, for a new keyring without a
/// name.
///
/// # Errors
/// `ENOSYS` where the kernel was built without keys.
#[track_caller]
pub fn keyctl_join_session_keyring() -> Result<()> {
    let option = libc::KEYCTL_JOIN_SESSION_KEYRING;
    // SAFETY: a null pointer for the name asks for a keyring without one; the
    // call reads nothing else.
    let joined = Errno::result(unsafe {
        libc::syscall(libc::SYS_keyctl, option, ptr::null::<c_char>())
    });
    let call = "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)";
    finish(joined.map(drop), || call.into())
}

#[cfg(test)]
mod tests {
    use nix::unistd::getpid;

    use super::*;

    #[test]
    fn limits_of_a_process_are_those_that_it_sees() {
        let resource = Resource::RLIMIT_NOFILE;
        assert_eq!(prlimit(getpid(), resource), getrlimit(resource));
    }
}
