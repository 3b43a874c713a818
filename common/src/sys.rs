//! The system calls: one function each, with the name and the order of
//! arguments that it has in its man page, section 2.
//!
//! The error of such a function *is* the call, as strace(1) prints it, made from
//! the arguments themselves, so that it can't lie:
//!
//! ```text
//! mount("proc", ".", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL): EPERM: Operation not permitted
//! ```
//!
//! A descriptor is printed with what it leads to, as by `strace -y`:
//! `4</sys/fs/cgroup>`; or, where that path would lead you elsewhere, with the
//! file system that only the container has there: `7<overlay:/etc>`. Letters
//! that are not English are printed as such, which strace does not do.
//!
//! Nothing here decides anything: what a call is good for, and what its errors
//! mean, is where it is made. And nothing is printed, or put together to be
//! printed, unless the call has failed.
#![allow(unsafe_code)]

use std::{cell::Cell, fmt, io};

use libc::{c_int, c_long};
use nix::errno::Errno;

mod argument;
mod bpf;
mod capabilities;
mod descriptors;
pub mod explain;
mod files;
mod inet;
mod inherited;
mod interfaces;
pub mod memfd;
mod memory;
mod messages;
mod mounts;
mod namespaces;
mod pidfd;
mod place;
mod processes;
mod scheduling;
mod security;
pub mod signals;
mod sockets;
mod terminals;
pub mod xattr;

pub use argument::{NULL, Null, OrNull, quoted};
pub use bpf::*;
pub use capabilities::*;
pub use descriptors::*;
pub use files::*;
pub use inet::*;
pub use inherited::*;
pub use interfaces::*;
pub use memory::*;
pub use messages::*;
pub use mounts::*;
pub use namespaces::*;
pub use pidfd::*;
pub use processes::*;
pub use scheduling::*;
pub use security::*;
pub use sockets::*;
pub use terminals::*;

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The call, as strace(1) prints it.
    call: String,
    /// Why it has failed.
    pub errno: Errno,
}

impl Error {
    /// An error of the call whose text `call` is. For the few that have no
    /// function here.
    pub fn new(call: impl Into<String>, errno: Errno) -> Error {
        let call = call.into();
        Error { call, errno }
    }
}

/// What a function of the standard library has failed with: each of those used
/// here makes calls, and hands on what they fail with.
fn errno_of(error: io::Error) -> Errno {
    Errno::try_from(error).unwrap_or(Errno::UnknownErrno)
}

/// The call alone: the errno is the next link of the chain.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.call)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

/// Makes a call, `$made`, and if it fails, its error from the name and the
/// arguments that the man page has. The arguments are looked at only then.
macro_rules! call {
    ($name:ident($($argument:expr),* $(,)?), $made:expr) => {
        $crate::sys::finish($made, || {
            let arguments: &[String] =
                &[$($crate::sys::argument::Argument::text(&$argument)),*];
            let name = stringify!($name);
            format!("{name}({})", arguments.join(", "))
        })
    };
}
use call;

/// Asks by a `call` of which some failures are answers: `ENOENT` may be no more
/// than "there is none". Such an errno is returned as it is, and the error of the
/// call never gets its text: to find out where the descriptors in it lead takes
/// a hundred times as long as a call.
pub fn ask<T>(
    answers: &'static [Errno],
    call: impl FnOnce() -> Result<T>,
) -> Result<std::result::Result<T, Errno>> {
    let before = ANSWERS.replace(answers);
    let made = call();
    ANSWERS.set(before);
    match made {
        Err(error) if answers.contains(&error.errno) => Ok(Err(error.errno)),
        made => made.map(Ok),
    }
}

thread_local! {
    /// The failures that are answers, in the call that is being made.
    static ANSWERS: Cell<&'static [Errno]> = const { Cell::new(&[]) };
}

/// The end of each function here: what has failed gets the text of its `call`;
/// and where somebody wants to see each call, this one is shown.
#[track_caller]
fn finish<T>(made: nix::Result<T>, call: impl FnOnce() -> String) -> Result<T> {
    if !explain::is_wanted() {
        return made.map_err(|errno| match ANSWERS.get().contains(&errno) {
            true => Error::new("", errno),
            false => Error::new(call(), errno),
        });
    }
    let call = call();
    explain::show(&call, made.as_ref().err().copied());
    made.map_err(|errno| Error::new(call, errno))
}

/// What libc::syscall(2) returns as a long, of a call that returns an int: the
/// number of a descriptor or of a process.
fn int(result: c_long) -> c_int {
    result.try_into().expect("the kernel has returned an int")
}

#[cfg(test)]
mod tests {
    use nix::fcntl::OFlag;

    use super::*;

    #[test]
    fn an_answer_has_no_text_and_an_error_has() {
        let file = std::fs::File::open("/").expect("open(2)");
        let stat = |path| {
            ask(&[Errno::ENOENT], || openat(&file, path, OFlag::O_RDONLY, 0))
        };
        assert_eq!(
            stat("no/such").expect("it is an answer").err(),
            Some(Errno::ENOENT)
        );
        let error = stat("proc/version/x").expect_err("it is none");
        let call = r#"</>, "proc/version/x", O_RDONLY|O_CLOEXEC)"#;
        assert!(error.to_string().ends_with(call), "{error}");

        // And not beyond the call.
        let error = openat(&file, "no/such", OFlag::O_RDONLY, 0);
        assert_ne!(error.expect_err("there is none").to_string(), "");
    }

    #[test]
    fn a_call_that_succeeds_prints_nothing() {
        let looked_at = Cell::new(false);
        let argument = || {
            looked_at.set(true);
            argument::Word("1".into())
        };
        let done: Result<()> = call!(close(argument()), Ok(()));
        assert_eq!((done, looked_at.get()), (Ok(()), false));
        let failed: Result<()> = call!(close(argument()), Err(Errno::EBADF));
        assert!(failed.is_err() && looked_at.get());
    }

    #[test]
    fn a_call_that_fails_is_its_own_text() {
        let failed: Result<()> = call!(mkdir("a", 7), Err(Errno::EEXIST));
        let error = failed.expect_err("it has failed");
        assert_eq!(error.to_string(), r#"mkdir("a", 7)"#);
        assert_eq!(error.errno, Errno::EEXIST);
    }
}
