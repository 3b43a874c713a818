//! What comes along with the bytes of a local socket: descriptors that are handed
//! over, and who has sent them. See unix(7).

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::sys::socket::{
    self, ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials,
    sockopt,
};

use super::{
    Result,
    argument::{Argument, SHOWN, Word, quote},
    call, finish,
};

/// As many descriptors as [`recvmsg_with_fds`] takes.
pub const FDS_MAX: usize = 16;

/// See socket(7), `SO_PEERCRED`: who was at the other end of the local socket
/// `fd` when it was connected.
#[track_caller]
pub fn getsockopt_peercred(fd: impl AsFd) -> Result<UnixCredentials> {
    let fd = fd.as_fd();
    let peer = socket::getsockopt(&fd, sockopt::PeerCredentials);
    call!(getsockopt(fd, Word("SOL_SOCKET, SO_PEERCRED".into())), peer)
}

/// See recvmsg(2): the length of the message, and who has sent it, if the socket
/// tells ([`SO_PASSCRED`](super::SO_PASSCRED)).
#[track_caller]
pub fn recvmsg_with_sender(
    fd: impl AsFd,
    buf: &mut [u8],
) -> Result<(usize, Option<UnixCredentials>)> {
    let fd = fd.as_fd();
    let mut control = nix::cmsg_space!(UnixCredentials);
    let flags = MsgFlags::empty();
    let mut buffers = [IoSliceMut::new(buf)];
    let number = fd.as_raw_fd();
    let received =
        socket::recvmsg::<()>(number, &mut buffers, Some(&mut control), flags);
    let read = received.and_then(|message| {
        let sender = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender),
            _ => None,
        });
        Ok((message.bytes, sender))
    });
    call!(recvmsg(fd, Word("…".into()), flags), read)
}

/// See sendmsg(2) and unix(7), `SCM_RIGHTS`: sends `buf`, which must not be
/// empty, and the descriptors `fds` along with it.
#[track_caller]
pub fn sendmsg_with_fds(
    fd: impl AsFd,
    buf: &[u8],
    fds: &[BorrowedFd],
) -> Result<usize> {
    let fd = fd.as_fd();
    let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    let buffers = [IoSlice::new(buf)];
    let sent =
        socket::sendmsg::<()>(fd.as_raw_fd(), &buffers, control, flags, None);
    finish(sent, || {
        let (fd, buf) = (fd.text(), quote(buf, SHOWN));
        format!(
            "sendmsg({fd}, {{{buf}, SCM_RIGHTS {numbers:?}}}, MSG_NOSIGNAL)"
        )
    })
}

/// See recvmsg(2) and unix(7), `SCM_RIGHTS`: the length of what has come, and
/// the descriptors that came along, at most [`FDS_MAX`]. They are closed at
/// exec.
#[track_caller]
pub fn recvmsg_with_fds(
    fd: impl AsFd,
    buf: &mut [u8],
) -> Result<(usize, Vec<OwnedFd>)> {
    receive(fd.as_fd(), buf, MsgFlags::MSG_CMSG_CLOEXEC)
}

/// The same, and leaves the message where it is: the next one who asks gets it
/// too, and copies of the descriptors. See recv(2), `MSG_PEEK`.
#[track_caller]
pub fn peek_with_fds(
    fd: impl AsFd,
    buf: &mut [u8],
) -> Result<(usize, Vec<OwnedFd>)> {
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_PEEK;
    receive(fd.as_fd(), buf, flags)
}

#[track_caller]
fn receive(
    fd: BorrowedFd,
    buf: &mut [u8],
    flags: MsgFlags,
) -> Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut buffers = [IoSliceMut::new(buf)];
    let number = fd.as_raw_fd();
    let received =
        socket::recvmsg::<()>(number, &mut buffers, Some(&mut control), flags);
    let read = received.and_then(|message| {
        let mut fds = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                // SAFETY: the kernel has just made these descriptors for us.
                let own = |it| unsafe { OwnedFd::from_raw_fd(it) };
                fds.extend(numbers.into_iter().map(own));
            }
        }
        Ok((message.bytes, fds))
    });
    call!(recvmsg(fd, Word("…".into()), flags), read)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::SockType;

    use super::*;

    #[test]
    fn a_descriptor_goes_through_a_socket() {
        let (one, other) =
            crate::sys::socketpair(SockType::Stream).expect("a pair");
        let (reader, writer) = crate::sys::pipe2().expect("a pipe");
        sendmsg_with_fds(&one, b"here", &[writer.as_fd()]).expect("sent");
        drop(writer);
        let mut text = [0; 16];
        let (length, fds) = recvmsg_with_fds(&other, &mut text).expect("read");
        assert_eq!((&text[..length], fds.len()), (&b"here"[..], 1));
        crate::sys::write(&fds[0], "through").expect("it is open");
        let length = crate::sys::read(reader, &mut text).expect("read");
        assert_eq!(&text[..length], b"through");
        let peer = getsockopt_peercred(&one).expect("it has a peer");
        assert_eq!(peer.uid(), nix::unistd::geteuid().as_raw());
    }
}
