//! Signals. A signal is a plain number here: those of real time have no names
//! of their own.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

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

/// The name of a signal, as strace(1) prints it: `SIGTERM`, `SIGRT_3`. What is
/// no signal is a number.
#[track_caller]
pub fn name(signal: c_int) -> String {
    match (Signal::try_from(signal), signal) {
        (Ok(signal), _) => signal.to_string(),
        // The kernel counts from 32 on; the C library, from what it leaves.
        (_, 32) => "SIGRTMIN".into(),
        (_, 33..=LAST) => format!("SIGRT_{}", signal - 32),
        (_, number) => number.to_string(),
    }
}

/// The last signal; MIPS has more of them.
const LAST: c_int = 64;

/// See kill(2). A negative `pid` is a process group.
#[track_caller]
pub fn kill(pid: Pid, sig: c_int) -> Result<()> {
    // SAFETY: the call takes two integers. nix has it only for the signals that
    // have names.
    let sent = Errno::result(unsafe { libc::kill(pid.as_raw(), sig) });
    call!(kill(pid, Word(name(sig))), sent.map(drop))
}

/// See sigqueue(3): sends `sig` with a number along.
#[track_caller]
pub fn sigqueue(pid: Pid, sig: c_int, value: usize) -> Result<()> {
    let pointer = ptr::without_provenance_mut(value);
    let along = libc::sigval { sival_ptr: pointer };
    // SAFETY: the call takes three numbers; nobody follows the pointer.
    let sent = unsafe { libc::sigqueue(pid.as_raw(), sig, along) };
    let sent = Errno::result(sent);
    call!(sigqueue(pid, Word(name(sig)), value), sent.map(drop))
}

/// See raise(3).
#[track_caller]
pub fn raise(sig: Signal) -> Result<()> {
    call!(raise(sig), signal::raise(sig))
}

/// Sets `signum` back to what it does by default. See signal(2).
#[track_caller]
pub fn signal_default(signum: Signal) -> Result<()> {
    // SAFETY: SIG_DFL is no handler, so there is no code that would have to be
    // async-signal-safe.
    let set = unsafe { signal::signal(signum, SigHandler::SigDfl) };
    call!(signal(signum, Word("SIG_DFL".into())), set.map(drop))
}

/// Has `signum` ignored, by the program that is executed as well. See signal(2).
#[track_caller]
pub fn signal_ignore(signum: Signal) -> Result<()> {
    // SAFETY: SIG_IGN is no handler, either.
    let set = unsafe { signal::signal(signum, SigHandler::SigIgn) };
    call!(signal(signum, Word("SIG_IGN".into())), set.map(drop))
}

/// See sigprocmask(2).
#[track_caller]
pub fn sigprocmask(how: SigmaskHow, set: &SigSet) -> Result<()> {
    let changed = signal::sigprocmask(how, Some(set), None);
    call!(
        sigprocmask(Word(format!("{how:?}")), set, super::NULL),
        changed
    )
}

/// See sigtimedwait(2): the signal that was taken, or `None` if none has come in
/// time, or the wait was interrupted. Without a `timeout` it waits as long as it
/// takes.
#[track_caller]
pub fn sigtimedwait(
    set: &SigSet,
    timeout: Option<Duration>,
) -> Result<Option<siginfo_t>> {
    let limit = timeout.map(TimeSpec::from_duration);
    let limit = limit.as_ref().map_or(ptr::null(), |limit| limit.as_ref());
    let mut info = MaybeUninit::uninit();
    // SAFETY: the pointers are valid for the call, but for a `limit` of null,
    // which means that there is none; it reads the set, and fills the siginfo.
    let taken =
        unsafe { libc::sigtimedwait(set.as_ref(), info.as_mut_ptr(), limit) };
    match Errno::result(taken) {
        // SAFETY: the call has succeeded, so it has filled `info`.
        Ok(_) => Ok(Some(unsafe { info.assume_init() })),
        // An answer; to print the set in an error takes longer than a mount.
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => {
            let timeout = match timeout {
                Some(timeout) => {
                    let (whole, part) =
                        (timeout.as_secs(), timeout.subsec_nanos());
                    format!("{{tv_sec={whole}, tv_nsec={part}}}")
                }
                None => "NULL".into(),
            };
            let call = format!("sigtimedwait({}, …, {timeout})", set.text());
            Err(Error::new(call, errno))
        }
    }
}

/// See signalfd(2): a descriptor from which the signals of `mask` are read,
/// which must be blocked. It is closed at exec, and does not wait.
#[track_caller]
pub fn signalfd(mask: &SigSet) -> Result<OwnedFd> {
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: -1 asks for a new descriptor; the set is valid, and is only read.
    let opened =
        Errno::result(unsafe { libc::signalfd(-1, mask.as_ref(), flags) });
    let flags = Word("SFD_CLOEXEC|SFD_NONBLOCK".into());
    let number = call!(signalfd(-1, mask, flags), opened)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Reads a signal from what [`signalfd`] has opened, if one has come.
#[track_caller]
pub fn read_signal(fd: impl AsFd) -> Result<Option<c_int>> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    match super::read(fd, &mut info) {
        Err(error) if error.errno == Errno::EAGAIN => Ok(None),
        // The number is the first field.
        read => read.map(|_| {
            let [a, b, c, d, ..] = info;
            Some(c_int::from_ne_bytes([a, b, c, d]))
        }),
    }
}

/// Whether this process ignores `signum`. See sigaction(2).
#[track_caller]
pub fn is_ignored(signum: c_int) -> Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only fills the old one.
    let asked =
        unsafe { libc::sigaction(signum, ptr::null(), action.as_mut_ptr()) };
    let asked = Errno::result(asked);
    call!(sigaction(Word(name(signum)), super::NULL), asked)?;
    // SAFETY: the call has succeeded, so it has filled `action`.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// `[INT TERM]`, or `~[KILL]` for all but a few.
impl Argument for SigSet {
    fn text(&self) -> String {
        let names = |wanted: bool| {
            let all = 1..=LAST;
            let some = all.filter(|signal| is_in(self, *signal) == wanted);
            let names = some.map(|it| name(it).replacen("SIG", "", 1));
            names.collect::<Vec<_>>()
        };
        let (inside, outside) = (names(true), names(false));
        match inside.len() > outside.len() {
            true => format!("~[{}]", outside.join(" ")),
            false => format!("[{}]", inside.join(" ")),
        }
    }
}

/// nix has it only for the signals that have names.
fn is_in(set: &SigSet, signal: c_int) -> bool {
    // SAFETY: the set is valid, and is only read.
    unsafe { libc::sigismember(set.as_ref(), signal) == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_signals_is_printed_by_the_shorter_list() {
        let two = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
        assert_eq!(two.text(), "[INT TERM]");
        assert_eq!(SigSet::empty().text(), "[]");
        // The C library keeps two for itself, as strace(1) shows it as well.
        let mut all_but_one = SigSet::all();
        all_but_one.remove(Signal::SIGKILL);
        assert_eq!(all_but_one.text(), "~[KILL RTMIN RT_1]");
    }

    #[test]
    fn signals_can_be_read() {
        let set = SigSet::from(Signal::SIGWINCH);
        sigprocmask(SigmaskHow::SIG_BLOCK, &set).expect("it is blocked");
        let signals = signalfd(&set).expect("a descriptor");
        assert_eq!(read_signal(&signals), Ok(None));
        raise(Signal::SIGWINCH).expect("it is sent");
        assert_eq!(read_signal(&signals), Ok(Some(libc::SIGWINCH)));
    }

    #[test]
    fn signals_of_real_time_have_names_too() {
        assert_eq!(name(libc::SIGTERM), "SIGTERM");
        assert_eq!(name(32), "SIGRTMIN");
        assert_eq!(name(35), "SIGRT_3");
        assert_eq!(name(64), "SIGRT_32");
    }

    #[test]
    fn what_is_no_signal_is_a_number() {
        assert_eq!(name(0), "0");
        assert_eq!(name(200), "200");
        assert_eq!(name(-1), "-1");
    }
}
