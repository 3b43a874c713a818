//! What step 2 isolates.

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
        let mut pending = std::mem::MaybeUninit::uninit();
        // SAFETY: sigpending(2) fills the set, and fails only for a bad
        // address.
        let pending = unsafe {
            libc::sigpending(pending.as_mut_ptr());
            SigSet::from_sigset_t_unchecked(pending.assume_init())
        };
        pending.contains(HARMLESS)
    },
}];
