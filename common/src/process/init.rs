//! How an init ends.

use nix::sys::signal::Signal;

use super::{End, News, exit, signals, tell};

/// For init: ends this process as the command has ended. The parent outside
/// hears the difference between an exit code of 130 and a death by SIGINT.
pub fn exit_as(end: End) -> ! {
    // Nor is a Ctrl-C lost that the command did not live to hear.
    let late = signals::so_far().unwrap_or_default();
    if end.is_by(Signal::SIGINT) || late.contains(&libc::SIGINT) {
        // If nobody hears it, the exit code still says it.
        let _ = tell(News::EndedByInterrupt);
    }
    exit(end.code())
}
