//! Descriptors: what is open, whatever it is.

use std::{
    io::Read,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use libc::c_int;
use nix::{
    errno::Errno,
    fcntl::{self, FcntlArg, OFlag, SealFlag},
    poll::{self, PollFd, PollTimeout},
    sys::statfs::{self, Statfs},
    unistd::{self, Pid},
};

use super::{
    Result,
    argument::{Argument, Bits, Names, Word},
    call, errno_of, finish,
};

/// Standard input, output and error, in this order. To whom they lead somebody
/// else has decided.
#[track_caller]
pub fn standard_streams() -> [BorrowedFd<'static>; 3] {
    [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO].map(
        // SAFETY: nothing in this program closes these three, and where they
        // were closed at the start, Rust's runtime opened /dev/null on them.
        |number| unsafe { BorrowedFd::borrow_raw(number) },
    )
}

/// See close_range(2), since Linux 5.9. `flags` must have
/// `libc::CLOSE_RANGE_CLOEXEC`, since Linux 5.11, which only marks the
/// descriptors: without it the call would close what others own.
///
/// # Errors
/// `EINVAL` without that flag.
#[track_caller]
pub fn close_range(first: u32, last: u32, flags: u32) -> Result<()> {
    let marked = match flags & libc::CLOSE_RANGE_CLOEXEC {
        0 => Err(Errno::EINVAL),
        // SAFETY: the call takes three integers. It closes nothing, so no owner
        // of a descriptor in this program is affected.
        _ => Errno::result(unsafe {
            libc::syscall(libc::SYS_close_range, first, last, flags)
        }),
    };
    let flags = Bits(flags.into(), CLOSE_RANGE_FLAGS);
    call!(close_range(first, last, flags), marked.map(drop))
}

const CLOSE_RANGE_FLAGS: Names =
    &[("CLOSE_RANGE_CLOEXEC", libc::CLOSE_RANGE_CLOEXEC as u64)];

/// See flock(2). `operation` is `libc::LOCK_…`. The lock belongs to what was
/// opened: it lasts until the last copy of the descriptor is closed, in
/// whatever process that is.
///
/// # Errors
/// `EWOULDBLOCK` with `LOCK_NB`, when somebody else has the lock.
#[track_caller]
pub fn flock(fd: impl AsFd, operation: c_int) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: the descriptor is borrowed, so open, and the call has no other
    // argument that could lead anywhere.
    let locked = unsafe { libc::flock(fd.as_raw_fd(), operation) };
    let operation = Bits::of(operation, LOCK_OPERATIONS);
    call!(flock(fd, operation), Errno::result(locked).map(drop))
}

const LOCK_OPERATIONS: Names = &[
    ("LOCK_SH", libc::LOCK_SH as u64),
    ("LOCK_EX", libc::LOCK_EX as u64),
    ("LOCK_UN", libc::LOCK_UN as u64),
    ("LOCK_NB", libc::LOCK_NB as u64),
];

/// See fcntl(2), `F_OFD_SETLK`: locks one byte of the file, which need not be
/// there, for us alone. `fd` must be open for writing. The lock lasts as long as
/// that of [`flock`].
///
/// # Errors
/// `EAGAIN`, when somebody else has the lock.
#[track_caller]
pub fn fcntl_ofd_setlk(fd: impl AsFd, byte: libc::off_t) -> Result<()> {
    let fd = fd.as_fd();
    let short = |it| libc::c_short::try_from(it).expect("it is small");
    let lock = libc::flock {
        l_type: short(libc::F_WRLCK),
        l_whence: short(libc::SEEK_SET),
        l_start: byte,
        l_len: 1,
        // The kernel wants none here.
        l_pid: 0,
    };
    let locked = fcntl::fcntl(fd, FcntlArg::F_OFD_SETLK(&lock));
    let lock = "{l_type=F_WRLCK, l_whence=SEEK_SET";
    let lock = Word(format!("{lock}, l_start={byte}, l_len=1}}"));
    let command = Word("F_OFD_SETLK".into());
    call!(fcntl(fd, command, lock), locked.map(drop))
}

/// See fcntl(2), `F_DUPFD_CLOEXEC`: one more descriptor, which is closed at
/// exec, for what `fd` is open on. It is none of the standard streams.
#[track_caller]
pub fn dup(fd: impl AsFd) -> Result<OwnedFd> {
    fcntl_dupfd_cloexec(fd, libc::STDERR_FILENO + 1)
}

/// See fcntl(2), `F_DUPFD_CLOEXEC`: the same, with no lower number than `least`.
#[track_caller]
pub fn fcntl_dupfd_cloexec(fd: impl AsFd, least: RawFd) -> Result<OwnedFd> {
    let fd = fd.as_fd();
    let new = fcntl::fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(least));
    let new = call!(fcntl(fd, Word("F_DUPFD_CLOEXEC".into()), least), new)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// See dup2(2).
///
/// # Safety
/// Nobody in this program relies on what `newfd` was open on, if it was.
#[track_caller]
pub unsafe fn dup2(oldfd: impl AsFd, newfd: RawFd) -> Result<()> {
    let oldfd = oldfd.as_fd();
    // SAFETY: by the caller's promise.
    let done = Errno::result(unsafe { libc::dup2(oldfd.as_raw_fd(), newfd) });
    call!(dup2(oldfd, newfd), done.map(drop))
}

/// See dup2(2): standard input, output or error, which is `stream`, becomes
/// what `oldfd` is open on.
///
/// # Errors
/// `EBADF` if `stream` is none of the three.
#[track_caller]
pub fn dup2_standard(oldfd: impl AsFd, stream: RawFd) -> Result<()> {
    if !(libc::STDIN_FILENO..=libc::STDERR_FILENO).contains(&stream) {
        let refused = Err(Errno::EBADF);
        return call!(dup2(oldfd.as_fd(), stream), refused);
    }
    // SAFETY: whoever uses one of these three wants whatever it is open on.
    unsafe { dup2(oldfd, stream) }
}

/// See close(2), for another process than the one that has opened it: its copy
/// of an [`OwnedFd`] that is never dropped there.
#[track_caller]
pub fn close(fd: RawFd) -> Result<()> {
    call!(close(fd), unistd::close(fd))
}

/// See pipe(2): the end to read from, and the end to write to. Both are closed
/// at exec.
#[track_caller]
pub fn pipe2() -> Result<(OwnedFd, OwnedFd)> {
    let made = unistd::pipe2(OFlag::O_CLOEXEC);
    call!(pipe2(Word("…".into()), Word("O_CLOEXEC".into())), made)
}

/// See read(2).
#[track_caller]
pub fn read(fd: impl AsFd, buf: &mut [u8]) -> Result<usize> {
    let fd = fd.as_fd();
    let size = buf.len();
    call!(read(fd, Word("…".into()), size), unistd::read(fd, buf))
}

/// See write(2): as much of `buf` as is taken at the moment.
#[track_caller]
pub fn write_some(fd: impl AsFd, buf: &[u8]) -> Result<usize> {
    let fd = fd.as_fd();
    let size = buf.len();
    call!(write(fd, Word("…".into()), size), unistd::write(fd, buf))
}

/// See read(2), which is called until there is no more.
#[track_caller]
pub fn read_to_end(
    mut file: impl Read + AsFd,
    bytes: &mut Vec<u8>,
) -> Result<()> {
    // Not File::read_to_end, which asks for the size and the position first.
    let mut all = file.by_ref().take(u64::MAX);
    let read = all.read_to_end(bytes).map(drop).map_err(errno_of);
    call!(read(file.as_fd(), Word("…".into())), read)
}

/// See poll(2). `timeout` is in milliseconds, without end if negative.
#[track_caller]
pub fn poll(fds: &mut [PollFd], timeout: PollTimeout) -> Result<c_int> {
    let polled = poll::poll(fds, timeout);
    let (number, milliseconds) = (fds.len(), i32::from(timeout));
    call!(poll(Word(texts(fds)), number, milliseconds), polled)
}

fn texts(fds: &[PollFd]) -> String {
    let texts = fds.iter().map(|it| {
        let events =
            Bits(it.events().bits().cast_unsigned().into(), POLL_EVENTS);
        format!("{{fd={}, events={}}}", it.as_fd().text(), events.text())
    });
    format!("[{}]", texts.collect::<Vec<_>>().join(", "))
}

const POLL_EVENTS: Names = &[("POLLIN", libc::POLLIN as u64)];

/// See fcntl(2), `F_GETFL`: how the file was opened.
#[track_caller]
pub fn fcntl_getfl(fd: impl AsFd) -> Result<OFlag> {
    let fd = fd.as_fd();
    let flags = fcntl::fcntl(fd, FcntlArg::F_GETFL);
    let flags = call!(fcntl(fd, Word("F_GETFL".into())), flags)?;
    Ok(OFlag::from_bits_retain(flags))
}

/// See fcntl(2), `F_SETFL`. Who else has the open file has it so as well.
#[track_caller]
pub fn fcntl_setfl(fd: impl AsFd, flags: OFlag) -> Result<()> {
    let fd = fd.as_fd();
    let set = fcntl::fcntl(fd, FcntlArg::F_SETFL(flags)).map(drop);
    call!(fcntl(fd, Word("F_SETFL".into()), flags), set)
}

/// See fcntl(2), `F_SETOWN`: who gets the SIGIO of `fd`.
#[track_caller]
pub fn fcntl_setown(fd: impl AsFd, pid: Pid) -> Result<()> {
    let fd = fd.as_fd();
    // SAFETY: F_SETOWN takes an int.
    let set = Errno::result(unsafe {
        libc::fcntl(fd.as_raw_fd(), libc::F_SETOWN, pid.as_raw())
    });
    call!(fcntl(fd, Word("F_SETOWN".into()), pid), set.map(drop))
}

/// See fcntl(2), `F_ADD_SEALS`: for a file of memfd_create(2) only.
#[track_caller]
pub fn fcntl_add_seals(fd: impl AsFd, seals: SealFlag) -> Result<()> {
    let fd = fd.as_fd();
    let sealed = fcntl::fcntl(fd, FcntlArg::F_ADD_SEALS(seals));
    finish(sealed.map(drop), || {
        let (fd, seals) = (fd.text(), seals.text());
        format!("fcntl({fd}, F_ADD_SEALS, {seals})")
    })
}

/// See fstatfs(2).
#[track_caller]
pub fn fstatfs(fd: impl AsFd) -> Result<Statfs> {
    let fd = fd.as_fd();
    call!(fstatfs(fd), statfs::fstatfs(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_locked_for_who_has_opened_the_file() {
        let file = crate::sys::memfd::executable(c"test").expect("it is ours");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let open = || std::fs::File::create(&path).expect("it is ours");
        let (first, second) = (open(), open());
        fcntl_ofd_setlk(&first, 7).expect("it is free");
        fcntl_ofd_setlk(&second, 8).expect("it is another one");
        let error = fcntl_ofd_setlk(&second, 7).expect_err("it is taken");
        assert_eq!(error.errno, Errno::EAGAIN);
        let number = second.as_raw_fd();
        let text = format!(
            "fcntl({number}, F_OFD_SETLK, {{l_type=F_WRLCK, \
             l_whence=SEEK_SET, l_start=7, l_len=1}})"
        );
        assert!(error.to_string().contains(&text), "{error}");
        drop(first);
        fcntl_ofd_setlk(&second, 7).expect("it is free again");
    }
}
