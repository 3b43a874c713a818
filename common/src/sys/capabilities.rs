//! Capabilities, the parts of root's power. See capabilities(7).

use libc::c_int;
use nix::errno::Errno;

use super::{
    Result,
    argument::{Argument, Bits, Names},
    finish,
};

macro_rules! capabilities {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(
            #[doc = concat!("See capabilities(7), `", stringify!($name), "`.")]
            pub const $name: u32 = $number;
        )*

        const NAMES: Names = &[$((stringify!($name), 1 << $number)),*];
    };
}

// Those that a container keeps, from `linux/capability.h`.
capabilities!(
    CAP_CHOWN = 0,
    CAP_DAC_OVERRIDE = 1,
    CAP_FOWNER = 3,
    CAP_FSETID = 4,
    CAP_KILL = 5,
    CAP_SETGID = 6,
    CAP_SETUID = 7,
    CAP_SETPCAP = 8,
    CAP_NET_BIND_SERVICE = 10,
    CAP_NET_RAW = 13,
    CAP_SYS_CHROOT = 18,
    CAP_SETFCAP = 31,
);

/// Sets of capabilities, a bit for each number.
pub struct Capabilities {
    /// What this process may do: a part of what is permitted.
    pub effective: u64,
    /// What it could take back.
    pub permitted: u64,
    /// What it could hand to a program that isn't run by root.
    pub inheritable: u64,
}

/// See capset(2), for this thread. The ambient set loses what is no longer both
/// permitted and inheritable.
#[track_caller]
pub fn capset(data: &Capabilities) -> Result<()> {
    /// `struct __user_cap_header_struct`.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    // Sets of 64 capabilities: _LINUX_CAPABILITY_VERSION_3, since Linux 2.6.26.
    let version = 0x2008_0522;
    let header = Header { version, pid: 0 };
    // Two of `struct __user_cap_data_struct`: the lower halves and the upper.
    let sets = [data.effective, data.permitted, data.inheritable];
    let lower = sets.map(|set| (set & 0xffff_ffff) as u32);
    let halves = [lower, sets.map(|set| (set >> 32) as u32)];
    // SAFETY: both live through the call, which only reads them, and are as
    // long as this version wants.
    let set = Errno::result(unsafe {
        libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr())
    });
    finish(set.map(drop), || {
        let [effective, permitted, inheritable] =
            sets.map(|set| Bits(set, NAMES).text());
        format!(
            "capset({{version=_LINUX_CAPABILITY_VERSION_3, pid=0}}, \
             {{effective={effective}, permitted={permitted}, \
             inheritable={inheritable}}})"
        )
    })
}
