//! Signals as a queue: blocked, then taken one by one.
//!
//! The supervisor and the container's init do the same thing: wait until a
//! child changes or a signal has to be passed on. With the signals blocked,
//! one sigtimedwait(2) covers both, and no handler runs at a bad moment.
//!
//! A signal is a plain number here: those of real time have no name of their
//! own. See signal(7).

use std::time::Duration;

use libc::{c_int, siginfo_t};
use nix::{
    errno::Errno,
    sys::signal::{SigSet, SigmaskHow, Signal},
    unistd::{Pid, getpid},
};

use super::gate::{self, News};
use crate::sys::{
    self,
    signals::{is_ignored, sigprocmask},
};

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
        sys::signals::signal_default(name)?;
    }
    Ok(())
}

/// Blocks everything that [`next`] waits for, and SIGTTOU, so that a process in
/// the background may hand over the terminal.
pub fn block() -> anyhow::Result<()> {
    let mut mask = awaited();
    mask.add(Signal::SIGTTOU);
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, &mask)?)
}

/// Blocks nothing, as a program expects it when it starts: the mask survives
/// execve(2).
pub fn unblock() -> anyhow::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, &SigSet::empty())?)
}

/// If `signal` has come, lets it do to this process what it does by default. If
/// it was ignored when we were started, that is nothing.
pub(crate) fn give_in_to(signal: Signal) -> anyhow::Result<()> {
    let mask = SigSet::from(signal);
    sigprocmask(SigmaskHow::SIG_UNBLOCK, &mask)?;
    // Stopped, and continued.
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, &mask)?)
}

/// If any signal has come, lets it do to this process what it does by default:
/// for whoever has blocked them so as to be interrupted at no bad moment, and is
/// at a good one.
///
/// What a child has told by the gate is no wish that we end: if it has ended
/// meanwhile, and so was waited for, its SIGIO may still be there.
pub fn give_in() -> anyhow::Result<()> {
    take_one_of(&SigSet::from(Signal::SIGIO), Some(Duration::ZERO))?;
    unblock()?;
    block()
}

/// Stops this process as Ctrl-Z does. Returns whether it was stopped, and has
/// been continued: that does not happen to one that nobody could continue, or
/// that was started to ignore it. See credentials(7).
pub(crate) fn stop_as_a_job() -> anyhow::Result<bool> {
    sys::signals::raise(Signal::SIGTSTP)?;
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
        // Sent to our own group; or SIGXFSZ, for a file that we write to.
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
pub(crate) fn queue_for_group(signal: c_int, init: Pid) -> anyhow::Result<()> {
    but_for_the_dead(sys::signals::sigqueue(init, signal, FOR_THE_GROUP))
}

/// Sends `signal` to the process `pid`; that it has ended is no error.
pub fn pass_on(signal: c_int, pid: Pid) -> anyhow::Result<()> {
    but_for_the_dead(sys::signals::kill(pid, signal))
}

/// Sends `signal` to all processes of the group that `member` is in: what the
/// terminal does on Ctrl-C.
pub fn pass_on_to_group(signal: c_int, member: Pid) -> anyhow::Result<()> {
    match sys::getpgid(member) {
        Ok(group) => pass_on(signal, Pid::from_raw(-group.as_raw())),
        Err(error) => but_for_the_dead(Err(error)),
    }
}

fn but_for_the_dead(sent: sys::Result<()>) -> anyhow::Result<()> {
    match sent {
        Err(error) if error.errno == Errno::ESRCH => Ok(()),
        sent => Ok(sent?),
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
    Ok(sys::signals::sigtimedwait(set, limit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_has_told_ends_nobody() {
        block().expect("it may");
        sys::signals::raise(Signal::SIGIO).expect("it may");
        give_in().expect("it is still there");
        unblock().expect("it may");
    }
}
