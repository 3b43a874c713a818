//! Signals. A signal is a plain number here: those of real time have no names
//! of their own.

use std::{mem::MaybeUninit, ptr, time::Duration};

use libc::{c_int, siginfo_t};
use nix::{
    errno::Errno,
    sys::{
        signal::{self, SigHandler, SigSet, SigmaskHow, Signal},
        time::TimeSpec,
    },
    unistd::Pid,
};

use super::{
    Error, Result,
    argument::{Argument, Word},
    call,
};

/// The name of a signal, as strace(1) prints it: `SIGTERM`, `SIGRT_3`.
pub fn name(signal: c_int) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.to_string(),
        // The kernel counts from 32 on; the C library, from what it leaves.
        Err(_) => format!("SIGRT_{}", signal - 32),
    }
}

/// See kill(2). A negative `pid` is a process group.
pub fn kill(pid: Pid, sig: c_int) -> Result<()> {
    let signal = Word(name(sig));
    // SAFETY: the call takes two integers. nix has it only for the signals that
    // have names.
    let sent = Errno::result(unsafe { libc::kill(pid.as_raw(), sig) });
    call!(kill(pid, signal), sent.map(drop))
}

/// See sigqueue(3): sends `sig` with a number along.
pub fn sigqueue(pid: Pid, sig: c_int, value: usize) -> Result<()> {
    let pointer = ptr::without_provenance_mut(value);
    let along = libc::sigval { sival_ptr: pointer };
    // SAFETY: the call takes three numbers; nobody follows the pointer.
    let sent = unsafe { libc::sigqueue(pid.as_raw(), sig, along) };
    let (signal, sent) = (Word(name(sig)), Errno::result(sent));
    call!(sigqueue(pid, signal, value), sent.map(drop))
}

/// See raise(3).
pub fn raise(sig: Signal) -> Result<()> {
    call!(raise(sig), signal::raise(sig))
}

/// Sets `signum` back to what it does by default. See signal(2).
pub fn signal_default(signum: Signal) -> Result<()> {
    let default = Word("SIG_DFL".into());
    // SAFETY: SIG_DFL is no handler, so there is no code that would have to be
    // async-signal-safe.
    let set = unsafe { signal::signal(signum, SigHandler::SigDfl) };
    call!(signal(signum, default), set.map(drop))
}

/// See sigprocmask(2).
pub fn sigprocmask(how: SigmaskHow, set: &SigSet) -> Result<()> {
    let text = Word(format!("{how:?}"));
    let changed = signal::sigprocmask(how, Some(set), None);
    call!(sigprocmask(text, set, super::NULL), changed)
}

/// See sigtimedwait(2). Without a `timeout` it waits as long as it takes.
pub fn sigtimedwait(
    set: &SigSet,
    timeout: Option<Duration>,
) -> Result<siginfo_t> {
    let limit = timeout.map(TimeSpec::from_duration);
    let limit = limit.as_ref().map_or(ptr::null(), |limit| limit.as_ref());
    let mut info = MaybeUninit::uninit();
    // SAFETY: the pointers are valid for the call, but for a `limit` of null,
    // which means that there is none; it reads the set, and fills the siginfo.
    let taken =
        unsafe { libc::sigtimedwait(set.as_ref(), info.as_mut_ptr(), limit) };
    match Errno::result(taken) {
        // SAFETY: the call has succeeded, so it has filled `info`.
        Ok(_) => Ok(unsafe { info.assume_init() }),
        Err(errno) => {
            let timeout = match timeout {
                Some(timeout) => format!("{timeout:?}"),
                None => "NULL".into(),
            };
            let call = format!("sigtimedwait({}, …, {timeout})", set.text());
            Err(Error::new(call, errno))
        }
    }
}

/// Whether this process ignores `signum`. See sigaction(2).
pub fn is_ignored(signum: c_int) -> Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only fills the old one.
    let asked =
        unsafe { libc::sigaction(signum, ptr::null(), action.as_mut_ptr()) };
    let (signal, new) = (Word(name(signum)), super::NULL);
    call!(sigaction(signal, new), Errno::result(asked))?;
    // SAFETY: the call has succeeded, so it has filled `action`.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// `[INT TERM]`, or `~[KILL]` for all but a few.
impl Argument for SigSet {
    fn text(&self) -> String {
        let names = |inside: bool| {
            let all = Signal::iterator();
            let some = all.filter(|it| self.contains(*it) == inside);
            let names = some.map(|it| it.as_str().replacen("SIG", "", 1));
            names.collect::<Vec<_>>()
        };
        let (inside, outside) = (names(true), names(false));
        match inside.len() > outside.len() {
            true => format!("~[{}]", outside.join(" ")),
            false => format!("[{}]", inside.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_signals_is_printed_by_the_shorter_list() {
        let two = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        assert_eq!(two.text(), "[INT TERM]");
        let mut all_but_one = SigSet::all();
        all_but_one.remove(Signal::SIGKILL);
        assert_eq!(all_but_one.text(), "~[KILL]");
        assert_eq!(SigSet::empty().text(), "[]");
    }

    #[test]
    fn signals_of_real_time_have_names_too() {
        assert_eq!(name(libc::SIGTERM), "SIGTERM");
        assert_eq!(name(35), "SIGRT_3");
    }
}
