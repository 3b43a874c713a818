//! Signals as a queue: blocked, then taken one by one.
//!
//! The supervisor and the container's init do the same thing: wait until a
//! child changes or a signal has to be passed on. With the signals blocked,
//! one sigtimedwait(2) covers both, and no handler runs at a bad moment.
//!
//! A signal is a plain number here: those of real time have no name of their
//! own. See signal(7).

use std::{mem::MaybeUninit, ptr, time::Duration};

use anyhow::Context;
use libc::{c_int, siginfo_t};
use nix::{
    errno::Errno,
    sys::{
        signal::{
            SigHandler, SigSet, SigmaskHow, Signal, raise, signal, sigprocmask,
        },
        time::TimeSpec,
    },
    unistd::{Pid, getpgid, getpid},
};

use super::gate::{self, News};

/// What [`next`] has received.
pub enum Event {
    /// A child has ended or stopped (SIGCHLD).
    ChildChanged,
    /// The child has said something through the gate (SIGIO).
    ChildSpoke,
    /// Somebody has sent us this signal; it is meant for the command.
    Forward(c_int),
    /// The terminal has sent this signal to our process group, because of
    /// Ctrl-C for example; it is meant for the command and all of its group.
    ForwardToGroup(c_int),
}

/// What is queued along with a signal that is meant for a whole group.
const FOR_THE_GROUP: usize = 0x67726f75;

/// What is not taken and so not passed on.
const LEFT_ALONE: [Signal; 9] = [
    // An instruction of our own has caused it.
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    // Whoever reads what we print has gone away.
    Signal::SIGPIPE,
    // We have used the terminal from the background.
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// Undoes what the Rust runtime and our own parent may have set: a program
/// whose reader goes away (`step | head`) ends quietly by SIGPIPE, and children
/// that end are kept for waitpid(2).
///
/// Both are inherited by the container. See signal(7).
pub(crate) fn restore_defaults() -> anyhow::Result<()> {
    for name in [Signal::SIGPIPE, Signal::SIGCHLD] {
        // SAFETY: SIG_DFL is no handler, so there is no code that would have
        // to be async-signal-safe.
        unsafe { signal(name, SigHandler::SigDfl) }
            .with_context(|| format!("signal({name}, SIG_DFL)"))?;
    }
    Ok(())
}

/// Blocks everything that [`next`] waits for, and SIGTTOU, so that a process in
/// the background may hand over the terminal.
pub(crate) fn block() -> anyhow::Result<()> {
    let mut mask = awaited();
    mask.add(Signal::SIGTTOU);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)
        .context("sigprocmask(SIG_BLOCK)")
}

/// Blocks nothing, as a program expects it when it starts: the mask survives
/// execve(2).
pub(crate) fn unblock() -> anyhow::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .context("sigprocmask(SIG_SETMASK, [])")
}

/// If `signal` has come, lets it do to this process what it does by default. If
/// it was ignored when we were started, that is nothing.
pub(crate) fn give_in_to(signal: Signal) -> anyhow::Result<()> {
    let mask = SigSet::from(signal);
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&mask), None)
        .with_context(|| format!("sigprocmask(SIG_UNBLOCK, [{signal}])"))?;
    // Stopped, and continued.
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&mask), None)
        .with_context(|| format!("sigprocmask(SIG_BLOCK, [{signal}])"))
}

/// Stops this process as Ctrl-Z does. Returns whether it was stopped, and has
/// been continued: that does not happen to one that nobody could continue, or
/// that was started to ignore it. See credentials(7).
pub(crate) fn stop_as_a_job() -> anyhow::Result<bool> {
    raise(Signal::SIGTSTP).context("raise(SIGTSTP)")?;
    give_in_to(Signal::SIGTSTP)?;
    let continued = SigSet::from(Signal::SIGCONT);
    Ok(take_one_of(&continued, Some(Duration::ZERO))?.is_some())
}

/// Waits for the next event.
pub fn next() -> anyhow::Result<Event> {
    loop {
        let Some(info) = take(None)? else { continue };
        match event(&info)? {
            // The container has the terminal, and so the command has the
            // signal: what comes from the kernel goes to the whole foreground
            // group. Passed on, it would come twice.
            Some(Event::ForwardToGroup(signal))
                if is_from_kernel(&info) && gate::is_behind_us() =>
            {
                tell_of_ctrl_c(signal)?;
            }
            Some(event) => return Ok(event),
            None => {}
        }
    }
}

/// For init: takes what has come so far, when there was no command yet that
/// could have got it, be it from the kernel; or no command any more.
pub fn so_far() -> anyhow::Result<Vec<c_int>> {
    let mut so_far = Vec::new();
    while let Some(info) = take(Some(Duration::ZERO))? {
        let event = event(&info)?;
        let Some(Event::Forward(signal) | Event::ForwardToGroup(signal)) =
            event
        else {
            continue;
        };
        // Not what somebody inside may have sent.
        if is_from_kernel(&info) {
            tell_of_ctrl_c(signal)?;
        }
        so_far.push(signal);
    }
    Ok(so_far)
}

/// For init: the parent wants to know, for the end, that it was Ctrl-C.
fn tell_of_ctrl_c(signal: c_int) -> anyhow::Result<()> {
    match signal {
        libc::SIGINT => gate::tell(News::CtrlC),
        _ => Ok(()),
    }
}

/// What a signal means; nothing, if it isn't for us.
fn event(info: &siginfo_t) -> anyhow::Result<Option<Event>> {
    // SAFETY: all signals that we take but SIGCHLD, SIGIO and timers have their
    // sender in this place, or zeros.
    let sender = unsafe { info.si_pid() };
    // SAFETY: and a value in this one.
    let value = unsafe { info.si_value() };
    Ok(Some(match info.si_signo {
        libc::SIGCHLD => Event::ChildChanged,
        libc::SIGIO => Event::ChildSpoke,
        // nohup(1) and its like: a signal that is ignored is not ours to pass
        // on. It has come all the same, because it is blocked.
        signal if is_ignored(signal)? => return Ok(None),
        signal if is_from_kernel(info) => Event::ForwardToGroup(signal),
        // Sent to our own group.
        _ if sender == getpid().as_raw() => return Ok(None),
        signal
            if info.si_code == libc::SI_QUEUE
                && value.sival_ptr.addr() == FOR_THE_GROUP =>
        {
            Event::ForwardToGroup(signal)
        }
        signal => Event::Forward(signal),
    }))
}

fn is_from_kernel(info: &siginfo_t) -> bool {
    info.si_code == libc::SI_KERNEL
}

/// Sends an init a signal that is meant for a whole group.
pub(crate) fn queue_for_group(signal: c_int, init: Pid) -> nix::Result<()> {
    let mark = ptr::without_provenance_mut(FOR_THE_GROUP);
    let mark = libc::sigval { sival_ptr: mark };
    // SAFETY: the call takes three numbers; nobody follows the pointer.
    let result = unsafe { libc::sigqueue(init.as_raw(), signal, mark) };
    Errno::result(result).map(drop)
}

/// Sends `signal` to the process `pid`; that it has ended is no error.
pub fn pass_on(signal: c_int, pid: Pid) -> anyhow::Result<()> {
    // SAFETY: the call takes two integers. nix has it only for the signals that
    // have names.
    match Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }) {
        Err(Errno::ESRCH) => Ok(()),
        result => result
            .map(drop)
            .with_context(|| format!("kill({pid}, {})", name(signal))),
    }
}

/// Sends `signal` to all processes of the group that `member` is in: what the
/// terminal does on Ctrl-C.
pub fn pass_on_to_group(signal: c_int, member: Pid) -> anyhow::Result<()> {
    match getpgid(Some(member)) {
        Err(Errno::ESRCH) => Ok(()),
        group => {
            let group = group.with_context(|| format!("getpgid({member})"))?;
            pass_on(signal, Pid::from_raw(-group.as_raw()))
        }
    }
}

/// All signals, also those of real time, but for the few that are left alone;
/// SIGKILL and SIGSTOP, which can't be blocked; and one or two that the C
/// library keeps for itself and never lets anybody block.
fn awaited() -> SigSet {
    let mut set = SigSet::all();
    for signal in LEFT_ALONE {
        set.remove(signal);
    }
    set
}

/// The next signal, or `None` if none has come in time. Without a `limit` it is
/// waited for; but the wait is interrupted when we are stopped and continued.
fn take(limit: Option<Duration>) -> anyhow::Result<Option<siginfo_t>> {
    take_one_of(&awaited(), limit)
}

fn take_one_of(
    set: &SigSet,
    limit: Option<Duration>,
) -> anyhow::Result<Option<siginfo_t>> {
    let limit = limit.map(TimeSpec::from_duration);
    let limit = limit.as_ref().map_or(ptr::null(), |limit| limit.as_ref());
    let mut info = MaybeUninit::uninit();
    // SAFETY: the pointers are valid for the call, but for a `limit` of null,
    // which means that there is none; it reads the set, and fills the siginfo.
    let result =
        unsafe { libc::sigtimedwait(set.as_ref(), info.as_mut_ptr(), limit) };
    match Errno::result(result) {
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno).context("sigtimedwait()"),
        // SAFETY: sigtimedwait(2) has succeeded, so it has filled `info`.
        Ok(_) => Ok(Some(unsafe { info.assume_init() })),
    }
}

/// Whether this process ignores `signal`. We never ask for that, so whoever has
/// started us did.
fn is_ignored(signal: c_int) -> anyhow::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only fills the old one.
    let result =
        unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    Errno::result(result)
        .with_context(|| format!("sigaction({})", name(signal)))?;
    // SAFETY: sigaction(2) has succeeded, so it has filled `action`.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// The name of a signal, as strace(1) prints it: `SIGTERM`, `SIGRT_3`.
pub(crate) fn name(signal: c_int) -> String {
    match Signal::try_from(signal) {
        Ok(signal) => signal.to_string(),
        // The kernel counts from 32 on; the C library, from what it leaves.
        Err(_) => format!("SIGRT_{}", signal - 32),
    }
}
