//! Signals as a queue: blocked, then taken one by one.
//!
//! The supervisor and the container's init do the same thing: wait until a
//! child changes or a signal has to be passed on. With the signals blocked,
//! one sigwaitinfo(2) covers both, and no handler runs at a bad moment.

use anyhow::Context;
use nix::{
    errno::Errno,
    sys::signal::{
        SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask,
    },
};

/// What [`next`] has received.
pub enum Event {
    /// A child has ended or stopped (SIGCHLD).
    ChildChanged,
    /// The child has said something through the gate (SIGIO).
    ChildSpoke,
    /// Somebody has sent us this signal; it is meant for the command.
    Forward(Signal),
}

/// The signals that are passed on to the command.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
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

/// Waits for the next event.
pub fn next() -> anyhow::Result<Event> {
    loop {
        let (signal, from_kernel) = wait_for(&awaited())?;
        match signal {
            Signal::SIGCHLD => return Ok(Event::ChildChanged),
            Signal::SIGIO => return Ok(Event::ChildSpoke),
            // Ctrl-C comes from the kernel and goes to every process in the
            // terminal's foreground group, so the command has it already: to
            // pass it on would deliver it twice.
            _ if from_kernel => {}
            signal => return Ok(Event::Forward(signal)),
        }
    }
}

fn awaited() -> SigSet {
    let mut set = SigSet::from_iter(FORWARDED);
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGIO);
    set
}

/// The next signal of `set`, and whether the kernel itself has sent it.
fn wait_for(set: &SigSet) -> anyhow::Result<(Signal, bool)> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::uninit();
    let number = loop {
        // SAFETY: both pointers are valid for the call; sigwaitinfo(2) reads
        // the set and fills the siginfo.
        let result =
            unsafe { libc::sigwaitinfo(set.as_ref(), info.as_mut_ptr()) };
        match Errno::result(result) {
            // Stopped and continued.
            Err(Errno::EINTR) => {}
            result => break result.context("sigwaitinfo()")?,
        }
    };
    // SAFETY: sigwaitinfo(2) has succeeded, so it has filled `info`.
    let info = unsafe { info.assume_init() };
    let signal = Signal::try_from(number).context("sigwaitinfo()")?;
    Ok((signal, info.si_code == libc::SI_KERNEL))
}
