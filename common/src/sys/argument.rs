//! How strace(1) prints an argument.

use std::{
    ffi::{CStr, OsStr},
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use libc::c_int;
use nix::{
    fcntl::{AtFlags, OFlag, ResolveFlag, SealFlag},
    mount::{MntFlags, MsFlags},
    sched::CloneFlags,
    sys::{
        signal::Signal,
        socket::MsgFlags,
        stat::{Mode, SFlag},
    },
    unistd::{AccessFlags, Gid, Pid, Uid, UnlinkatFlags},
};

use super::place;

/// An argument of a call.
pub(super) trait Argument {
    /// As strace(1) prints it.
    fn text(&self) -> String;
}

impl<T: Argument + ?Sized> Argument for &T {
    fn text(&self) -> String {
        (**self).text()
    }
}

/// `NULL` for nothing.
impl<T: Argument> Argument for Option<T> {
    fn text(&self) -> String {
        self.as_ref().map_or("NULL".into(), Argument::text)
    }
}

/// Strings are in quotes, and what is no text in them is escaped.
macro_rules! quoted {
    ($($string:ty: $bytes:ident),*) => {
        $(impl Argument for $string {
            fn text(&self) -> String {
                quote(self.$bytes(), PATH_MAX)
            }
        })*
    };
}

quoted!(
    str: as_bytes,
    String: as_bytes,
    CStr: to_bytes,
    OsStr: as_bytes
);

impl Argument for Path {
    fn text(&self) -> String {
        self.as_os_str().text()
    }
}

/// A string of whatever length as errors print it: at most as much as the
/// kernel takes for a path.
pub fn quoted(text: impl AsRef<OsStr>) -> String {
    text.as_ref().text()
}

/// The longest path that the kernel takes, without its NUL. strace(1) prints no
/// more of a string either.
const PATH_MAX: usize = libc::PATH_MAX as usize - 1;

/// As many bytes as it shows of what is no path.
pub(super) const SHOWN: usize = 32;

/// At most `limit` bytes of a string, and three dots for the rest.
pub(super) fn quote(bytes: &[u8], limit: usize) -> String {
    let Some(mut shown) =
        bytes.get(..limit).filter(|it| it.len() < bytes.len())
    else {
        return format!("{:?}", OsStr::from_bytes(bytes));
    };
    // Not in the middle of a letter: UTF-8 has at most three such bytes.
    let is_middle = |at: usize| bytes[at] & 0xc0 == 0x80;
    for _ in 0..3 {
        if is_middle(shown.len()) && !shown.is_empty() {
            shown = &shown[..shown.len() - 1];
        }
    }
    format!("{:?}...", OsStr::from_bytes(shown))
}

/// An argument that is printed as it stands.
pub(super) struct Word(pub(super) String);

impl Argument for Word {
    fn text(&self) -> String {
        self.0.clone()
    }
}

impl Argument for Null {
    fn text(&self) -> String {
        "NULL".into()
    }
}

/// Numbers are decimal.
macro_rules! decimal {
    ($($number:ty),*) => {
        $(impl Argument for $number {
            fn text(&self) -> String {
                self.to_string()
            }
        })*
    };
}

decimal!(i32, u32, i64, u64, usize, Pid, Uid, Gid, Signal);

/// A set of flags as C has it: if it is an int, its highest bit is no sign.
trait Set {
    fn all_bits(self) -> u64;
}

impl Set for i32 {
    fn all_bits(self) -> u64 {
        self.cast_unsigned().into()
    }
}

impl Set for u32 {
    fn all_bits(self) -> u64 {
        self.into()
    }
}

impl Set for u64 {
    fn all_bits(self) -> u64 {
        self
    }
}

/// Sets of flags are their names, the lowest bit first, as in most tables of
/// strace(1).
macro_rules! flags {
    ($($flags:ty),*) => {
        $(impl Argument for $flags {
            fn text(&self) -> String {
                let mut flags = self.iter_names();
                let names = flags.by_ref().map(|(name, bit)| {
                    (bit.bits().all_bits(), name)
                });
                let mut names: Vec<(u64, &str)> = names.collect();
                names.sort_unstable();
                let names = names.into_iter().map(|(_, name)| name);
                joined(names, flags.remaining().bits().all_bits())
            }
        })*
    };
}

flags!(
    AtFlags,
    MntFlags,
    MsFlags,
    ResolveFlag,
    SFlag,
    MsgFlags,
    SealFlag
);

impl Argument for CloneFlags {
    /// One of them has no name in nix, and is the lowest.
    fn text(&self) -> String {
        let time = super::CLONE_NEWTIME;
        let others = self.difference(time);
        let mut names: Vec<_> = others.iter_names().collect();
        names.extend(self.contains(time).then_some(("CLONE_NEWTIME", time)));
        names.sort_unstable_by_key(|(_, flag)| flag.bits());
        let known: CloneFlags = names.iter().map(|(_, flag)| *flag).collect();
        let names = names.into_iter().map(|(name, _)| name);
        joined(names, self.difference(known).bits().all_bits())
    }
}

/// The names of flags, and the bits that have none.
fn joined<'a>(names: impl Iterator<Item = &'a str>, rest: u64) -> String {
    let mut parts: Vec<String> = names.map(str::to_owned).collect();
    if rest != 0 {
        parts.push(format!("{rest:#x}"));
    }
    match parts.is_empty() {
        true => "0".into(),
        false => parts.join("|"),
    }
}

/// The names of the bits in a set of flags for which nix has no type, or one in
/// another order than strace(1).
pub(super) type Names = &'static [(&'static str, u64)];

/// Such a set, and the names of its bits.
pub(super) struct Bits(pub(super) u64, pub(super) Names);

impl Bits {
    /// A set that the call takes as an int: its highest bit is no sign.
    pub(super) fn of(set: c_int, names: Names) -> Bits {
        Bits(set.all_bits(), names)
    }
}

impl Argument for Bits {
    fn text(&self) -> String {
        let Bits(mut rest, names) = *self;
        let mut parts = Vec::new();
        for (name, bits) in names {
            if rest & bits == *bits {
                parts.push(*name);
                rest &= !bits;
            }
        }
        joined(parts.into_iter(), rest)
    }
}

impl Argument for OFlag {
    /// The mode of access first, which is a number and no set of bits.
    fn text(&self) -> String {
        let access = match *self & OFlag::O_ACCMODE {
            OFlag::O_RDONLY => "O_RDONLY",
            OFlag::O_WRONLY => "O_WRONLY",
            OFlag::O_RDWR => "O_RDWR",
            _ => "O_ACCMODE",
        };
        match self.bits() & !libc::O_ACCMODE {
            0 => access.into(),
            others => {
                let others = Bits::of(others, OPEN_FLAGS).text();
                format!("{access}|{others}")
            }
        }
    }
}

/// In the order of strace's xlat/open_mode_flags.in. What has the bits of
/// another one in it comes first.
const OPEN_FLAGS: Names = &[
    ("O_CREAT", libc::O_CREAT as u64),
    ("O_EXCL", libc::O_EXCL as u64),
    ("O_NOCTTY", libc::O_NOCTTY as u64),
    ("O_TRUNC", libc::O_TRUNC as u64),
    ("O_APPEND", libc::O_APPEND as u64),
    ("O_NONBLOCK", libc::O_NONBLOCK as u64),
    ("O_SYNC", libc::O_SYNC as u64),
    ("O_DSYNC", libc::O_DSYNC as u64),
    ("O_DIRECT", libc::O_DIRECT as u64),
    ("O_NOFOLLOW", libc::O_NOFOLLOW as u64),
    ("O_NOATIME", libc::O_NOATIME as u64),
    ("O_CLOEXEC", libc::O_CLOEXEC as u64),
    ("O_PATH", libc::O_PATH as u64),
    ("O_TMPFILE", libc::O_TMPFILE as u64),
    ("O_DIRECTORY", libc::O_DIRECTORY as u64),
    ("FASYNC", libc::O_ASYNC as u64),
];

impl Argument for AccessFlags {
    fn text(&self) -> String {
        let names = self.iter_names().map(|(name, _)| name);
        match self.is_empty() {
            true => "F_OK".into(),
            false => joined(names, 0),
        }
    }
}

impl Argument for UnlinkatFlags {
    fn text(&self) -> String {
        match self {
            UnlinkatFlags::RemoveDir => "AT_REMOVEDIR".into(),
            UnlinkatFlags::NoRemoveDir => "0".into(),
        }
    }
}

/// The bits of a mode are octal.
impl Argument for Mode {
    fn text(&self) -> String {
        format!("0{:02o}", self.bits())
    }
}

/// A descriptor is its number and what it leads to.
impl Argument for BorrowedFd<'_> {
    fn text(&self) -> String {
        let number = self.as_raw_fd();
        if number == libc::AT_FDCWD {
            return "AT_FDCWD".into();
        }
        match place::of(number) {
            Some(path) => format!("{number}<{}>", in_brackets(&path)),
            None => number.to_string(),
        }
    }
}

/// A name can end neither the brackets nor the argument.
fn in_brackets(path: &Path) -> String {
    let quoted = path.text();
    let text = quoted.strip_prefix('"').unwrap_or(&quoted);
    let text = text.strip_suffix('"').unwrap_or(text);
    text.replace('<', r"\x3C").replace('>', r"\x3E")
}

/// A string that may be missing: `&str`, `&Path` and so on, or [`NULL`].
pub trait OrNull {
    /// The string, if there is one.
    fn or_null(&self) -> Option<&Path>;
}

/// No string: a null pointer.
pub struct Null;

/// What a call gets that needs no such string, as its man page says.
pub const NULL: Null = Null;

impl OrNull for Null {
    fn or_null(&self) -> Option<&Path> {
        None
    }
}

impl<T: AsRef<Path> + ?Sized> OrNull for T {
    fn or_null(&self) -> Option<&Path> {
        Some(self.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsFd};

    use nix::fcntl::AT_FDCWD;

    use super::*;

    /// The texts are those of strace 6.1 for the same flags.
    #[test]
    fn flags_are_printed_in_the_order_of_strace() {
        let flags = OFlag::O_CLOEXEC | OFlag::O_WRONLY;
        assert_eq!(flags.text(), "O_WRONLY|O_CLOEXEC");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        assert_eq!(
            (flags | OFlag::O_CLOEXEC).text(),
            "O_RDONLY|O_NOFOLLOW|O_CLOEXEC|O_PATH|O_DIRECTORY"
        );
        let all = OPEN_FLAGS
            .iter()
            .map(|(_, bits)| i32::try_from(*bits).expect("they are an int's"));
        let all = all.fold(libc::O_WRONLY, |all, bits| all | bits);
        let all = all & !libc::O_TMPFILE & !libc::O_PATH;
        assert_eq!(
            OFlag::from_bits_retain(all).text(),
            "O_WRONLY|O_CREAT|O_EXCL|O_NOCTTY|O_TRUNC|O_APPEND|O_NONBLOCK|\
             O_SYNC|O_DIRECT|O_NOFOLLOW|O_NOATIME|O_CLOEXEC|FASYNC"
        );
        let flags = OFlag::O_RDWR | OFlag::O_TMPFILE;
        assert_eq!(flags.text(), "O_RDWR|O_TMPFILE");
        let flags = OFlag::O_RDWR | OFlag::from_bits_retain(0x4000_0000);
        assert_eq!(flags.text(), "O_RDWR|0x40000000");
        assert_eq!(OFlag::O_ACCMODE.text(), "O_ACCMODE");
        assert_eq!(OFlag::empty().text(), "O_RDONLY");

        let flags = AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW;
        assert_eq!(flags.text(), "AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH");
        assert_eq!(
            ResolveFlag::all().text(),
            "RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS|RESOLVE_NO_SYMLINKS|\
             RESOLVE_BENEATH|RESOLVE_IN_ROOT"
        );
        let flags = CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::from_bits_retain(1);
        assert_eq!(
            flags.text(),
            "CLONE_NEWNS|CLONE_NEWUTS|CLONE_NEWUSER|CLONE_NEWPID|0x1"
        );
        let flags = crate::sys::CLONE_NEWTIME | CloneFlags::CLONE_NEWNS;
        assert_eq!(flags.text(), "CLONE_NEWTIME|CLONE_NEWNS");
        assert_eq!(
            MntFlags::all().text(),
            "MNT_FORCE|MNT_DETACH|MNT_EXPIRE|UMOUNT_NOFOLLOW"
        );
    }

    #[test]
    fn what_has_no_name_is_a_number_and_nothing_is_0() {
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        assert_eq!(flags.text(), "MS_REC|MS_PRIVATE");
        assert_eq!(MsFlags::empty().text(), "0");
        assert_eq!(CloneFlags::empty().text(), "0");
        let unknown = MsFlags::MS_BIND | MsFlags::from_bits_retain(1 << 29);
        assert_eq!(unknown.text(), "MS_BIND|0x20000000");
        assert_eq!(Bits(5, &[("ONE", 1)]).text(), "ONE|0x4");
        assert_eq!(AccessFlags::F_OK.text(), "F_OK");
        let all = AccessFlags::X_OK | AccessFlags::W_OK | AccessFlags::R_OK;
        assert_eq!(all.text(), "R_OK|W_OK|X_OK");
    }

    #[test]
    fn modes_are_octal_and_strings_are_quoted() {
        assert_eq!(Mode::from_bits_truncate(0o755).text(), "0755");
        assert_eq!(Mode::from_bits_truncate(0o1777).text(), "01777");
        assert_eq!(Mode::empty().text(), "000");
        assert_eq!("a\n\"b".text(), r#""a\n\"b""#);
        assert_eq!(None::<&str>.text(), "NULL");
        assert_eq!(OsStr::from_bytes(b"a\xff").text(), r#""a\xFF""#);
    }

    #[test]
    fn a_string_is_cut_where_strace_cuts_it() {
        let long = "a".repeat(4095);
        assert_eq!(long.text(), format!("\"{long}\""));
        let longer = "a".repeat(100_000);
        assert_eq!(longer.text(), format!("\"{long}\"..."));
        // Between two letters.
        assert_eq!(quote("aüü".as_bytes(), 4), r#""aü"..."#);
        assert_eq!(quote("a€".as_bytes(), 3), r#""a"..."#);
        assert_eq!(quote(b"\x80\x80\x80\x80\x80\x80", 2), r#"""..."#);
    }

    #[test]
    fn a_descriptor_says_where_it_leads_to() {
        assert_eq!(AT_FDCWD.text(), "AT_FDCWD");
        let null = fs::File::open("/dev/null").expect("/dev");
        let number = null.as_raw_fd();
        assert_eq!(null.as_fd().text(), format!("{number}</dev/null>"));
    }

    #[test]
    fn no_name_can_end_the_brackets() {
        let name = Path::new("/a>, \"b\"\n<\\");
        assert_eq!(in_brackets(name), r#"/a\x3E, \"b\"\n\x3C\\"#);
    }
}
