//! Asking the kernel for interfaces, addresses and routes: rtnetlink(7).
//!
//! A message is a header, a structure, and attributes; the kernel answers with
//! an errno, and 0 is success. ip(8) speaks nothing else. See netlink(7).

use std::os::fd::OwnedFd;

use common::sys;
use libc::{
    NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, c_int,
};
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, MsgFlags, SockType},
};

/// Make something new, and fail if it is there.
pub(crate) const NEW: c_int = NLM_F_CREATE | NLM_F_EXCL;

/// A socket that speaks for the network namespace in which it was opened.
pub struct Netlink(OwnedFd);

/// A message to the kernel.
pub struct Request {
    bytes: Vec<u8>,
    /// As errors print it.
    text: String,
}

/// `struct nlmsghdr`: length, type, flags, number, sender.
const HEADER: usize = 16;

impl Request {
    /// A request of this `kind` (`RTM_…`), which begins with the structure
    /// `body`. Errors print it as `text`.
    pub fn new(kind: u16, flags: c_int, body: &[u8], text: String) -> Request {
        let flags = flags | NLM_F_REQUEST;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&short(flags).to_ne_bytes());
        bytes.extend_from_slice(body);
        Request { bytes, text }
    }

    /// Adds an attribute: its length, its kind, its value, and zeros up to a
    /// multiple of four bytes.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        let length = u16::try_from(4 + value.len()).expect("it is short");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a string, which ends with a NUL.
    #[must_use]
    pub fn string(self, kind: u16, value: &str) -> Request {
        self.attribute(kind, &[value.as_bytes(), b"\0"].concat())
    }

    /// Adds an attribute that consists of attributes.
    #[must_use]
    pub fn nested(
        self,
        kind: u16,
        inside: impl FnOnce(Request) -> Request,
    ) -> Request {
        let start = self.bytes.len();
        let kind = kind | short(NLA_F_NESTED);
        let mut all = inside(self.attribute(kind, &[]));
        let length = u16::try_from(all.bytes.len() - start);
        let length = length.expect("it is short").to_ne_bytes();
        all.bytes[start..start + 2].copy_from_slice(&length);
        all
    }

    /// Adds a structure in the midst of attributes.
    #[must_use]
    pub fn structure(mut self, bytes: &[u8]) -> Request {
        self.bytes.extend_from_slice(bytes);
        self
    }

    fn send(mut self, socket: &OwnedFd, more: c_int) -> sys::Result<String> {
        let length = u32::try_from(self.bytes.len()).expect("it is short");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        let flags = flags | short(more);
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        sys::send_netlink(socket, &self.bytes, &self.text)?;
        Ok(self.text)
    }
}

/// Constants of C are ints, and fields are shorter.
pub(crate) fn short(flags: c_int) -> u16 {
    u16::try_from(flags).expect("it fits the field")
}

/// `struct ifinfomsg`: family, type, index, flags, and which of these count.
pub(crate) fn link(index: u32, flags: c_int) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&flags.to_ne_bytes());
    body
}

impl Netlink {
    /// Opens a socket, in the network namespace that we are in now.
    pub fn open() -> sys::Result<Netlink> {
        Netlink::of(sys::socket(AddressFamily::Netlink, SockType::Raw)?)
    }

    /// The same for a socket of any family of netlink's.
    pub(crate) fn of(socket: OwnedFd) -> sys::Result<Netlink> {
        // An answer that is an error says in words what was wrong, where the
        // kernel has such, and does not repeat the whole request.
        sys::setsockopt_on(&socket, sys::NETLINK_EXT_ACK)?;
        sys::setsockopt_on(&socket, sys::NETLINK_CAP_ACK)?;
        Ok(Netlink(socket))
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// What the kernel has answered. The text is the request's, and the words
    /// with which the kernel explains it, if it does.
    pub fn ask(&self, request: Request) -> sys::Result<()> {
        let text = request.send(&self.0, NLM_F_ACK)?;
        let mut answer = [0; 4096];
        let length = sys::recv(&self.0, &mut answer, MsgFlags::empty())?;
        refusal(&answer[..length]).map_or(Ok(()), |(errno, words)| {
            let words = words.map(|it| format!(" ({it})")).unwrap_or_default();
            Err(sys::Error::new(text + &words, errno))
        })
    }

    /// Asks for a list; each entry is the body of a message.
    pub fn list(&self, request: Request) -> sys::Result<Vec<Vec<u8>>> {
        let text = request.send(&self.0, NLM_F_DUMP)?;
        let mut entries = Vec::new();
        let mut answer = vec![0; 65536];
        loop {
            let length = sys::recv(&self.0, &mut answer, MsgFlags::empty())?;
            let mut rest = &answer[..length];
            while rest.len() >= HEADER {
                let size = (number(rest) as usize).clamp(HEADER, rest.len());
                match kind(rest) {
                    NLMSG_DONE => return Ok(entries),
                    NLMSG_ERROR => {
                        let errno = refusal(rest).map(|(errno, _)| errno);
                        let errno = errno.unwrap_or(Errno::EBADMSG);
                        return Err(sys::Error::new(text, errno));
                    }
                    _ => entries.push(rest[HEADER..size].to_vec()),
                }
                rest = &rest[size.next_multiple_of(4).min(rest.len())..];
            }
        }
    }
}

/// The attributes in `bytes`, up to the first that is none.
pub(crate) fn attributes(
    mut bytes: &[u8],
) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length =
            usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        let value = bytes.get(4..length)?;
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

/// What an answer of the kind NLMSG_ERROR says: an errno, unless it is 0, the
/// header of the request, and attributes.
fn refusal(answer: &[u8]) -> Option<(Errno, Option<String>)> {
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let code = number(answer.get(HEADER..)?).cast_signed();
    let mut more = attributes(answer.get(HEADER + 4 + HEADER..).unwrap_or(&[]));
    let words = more.find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
    let words = words.map(|(_, text)| {
        String::from_utf8_lossy(text).trim_end_matches('\0').into()
    });
    (code != 0).then(|| (Errno::from_raw(code.wrapping_neg()), words))
}

fn kind(message: &[u8]) -> c_int {
    u16::from_ne_bytes([message[4], message[5]]).into()
}

/// The number at the beginning; 0 if there is none.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |it| u32::from_ne_bytes(*it))
}

/// The number of an interface in our network namespace.
pub(crate) fn index(name: &str) -> sys::Result<u32> {
    if_nametoindex(name).map_err(|errno| {
        sys::Error::new(format!("if_nametoindex({name:?})"), errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_ends_at_a_multiple_of_four() {
        let request =
            Request::new(libc::RTM_NEWLINK, 0, &[7; 4], String::new());
        let request = request.nested(18, |it| it.string(1, "veth"));
        let header = &request.bytes[..20];
        assert_eq!(header[4..6], libc::RTM_NEWLINK.to_ne_bytes());
        assert_eq!(header[16..], [7; 4]);
        let nested = &request.bytes[20..];
        let found: Vec<_> = attributes(nested).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0 & !short(NLA_F_NESTED), 18);
        let inner: Vec<_> = attributes(found[0].1).collect();
        assert_eq!(inner, [(1, b"veth\0".as_slice())]);
        assert_eq!(nested.len() % 4, 0);
    }

    #[test]
    fn a_refusal_is_an_errno_and_words() {
        assert_eq!(refusal(&[0; 36]), None);
        let mut answer = [0; 20].to_vec();
        answer[16..20].copy_from_slice(&(-17_i32).to_ne_bytes());
        assert_eq!(refusal(&answer), Some((Errno::EEXIST, None)));
        answer.resize(36, 0);
        answer.extend_from_slice(&[7, 0, 1, 0, b'n', b'o', 0, 0]);
        let words = Some("no".to_owned());
        assert_eq!(refusal(&answer), Some((Errno::EEXIST, words)));
    }
}
