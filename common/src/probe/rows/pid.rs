//! What step 2 isolates.

use std::mem::MaybeUninit;

use nix::{
    sys::signal::{SigSet, kill},
    unistd::Pid,
};

use super::{Attempt, Row, always, refused};
use crate::probe::host::HARMLESS;

pub(super) const ROWS: &[Row] = &[Row {
    name: "signals to host processes",
    control: always,
    attempt: Attempt::Here(|host| {
        kill(Pid::from_raw(host.pid), HARMLESS).map_err(refused)?;
        Ok(String::new())
    }),
    reached: |_, _| {
        let mut pending = MaybeUninit::uninit();
        // SAFETY: sigpending(2) fills the set that it is given.
        unsafe { libc::sigpending(pending.as_mut_ptr()) };
        // SAFETY: it has done so; it fails only for a bad address.
        let pending = unsafe { pending.assume_init() };
        // SAFETY: the kernel made the set.
        let pending = unsafe { SigSet::from_sigset_t_unchecked(pending) };
        pending.contains(HARMLESS)
    },
}];
