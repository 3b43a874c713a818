//! How strace(1) prints an argument.

use std::{
    ffi::{CStr, OsStr},
    fmt::Debug,
    fs,
    os::fd::{AsRawFd, BorrowedFd},
    path::Path,
};

use libc::c_int;
use nix::{
    fcntl::{AtFlags, OFlag, ResolveFlag},
    mount::{MntFlags, MsFlags},
    sched::CloneFlags,
    sys::{
        signal::Signal,
        stat::{Mode, SFlag},
    },
    unistd::{AccessFlags, Gid, Pid, Uid, UnlinkatFlags},
};

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
    ($($string:ty),*) => {
        $(impl Argument for $string {
            fn text(&self) -> String {
                quote(&self)
            }
        })*
    };
}

quoted!(str, String, Path, OsStr, CStr);

fn quote(text: &dyn Debug) -> String {
    format!("{text:?}")
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

/// Sets of flags are their names.
macro_rules! flags {
    ($($flags:ty),*) => {
        $(impl Argument for $flags {
            fn text(&self) -> String {
                let mut flags = self.iter_names();
                let names = flags.by_ref().map(|(name, _)| name.to_owned());
                let mut names: Vec<String> = names.collect();
                let rest = flags.remaining().bits();
                if rest != 0 {
                    names.push(format!("{rest:#x}"));
                }
                if names.is_empty() {
                    names.push("0".to_owned());
                }
                names.join("|")
            }
        })*
    };
}

flags!(AtFlags, CloneFlags, MntFlags, MsFlags, ResolveFlag, SFlag);

/// The names of the bits in a set of flags for which nix has no type.
pub(super) type Names = &'static [(&'static str, u64)];

/// Such a set, and the names of its bits.
pub(super) struct Bits(pub(super) u64, pub(super) Names);

impl Bits {
    /// A set that the call takes as an int: its highest bit is no sign.
    pub(super) fn of(set: c_int, names: Names) -> Bits {
        Bits(set.cast_unsigned().into(), names)
    }
}

impl Argument for Bits {
    fn text(&self) -> String {
        let Bits(mut rest, names) = *self;
        let mut parts = Vec::new();
        for (name, bit) in names {
            if rest & bit != 0 {
                parts.push((*name).to_owned());
                rest &= !bit;
            }
        }
        if rest != 0 {
            parts.push(format!("{rest:#x}"));
        }
        match parts.is_empty() {
            true => "0".into(),
            false => parts.join("|"),
        }
    }
}

impl Argument for OFlag {
    /// With the name of the mode of access that is 0, as strace(1) has it.
    fn text(&self) -> String {
        let names = self.iter_names().map(|(name, _)| name);
        let reading = (*self & OFlag::O_ACCMODE).is_empty();
        let reading = reading.then_some("O_RDONLY");
        let is_mode_0 = |name: &&str| *name == "O_RDONLY";
        let names = names.filter(|name| !is_mode_0(name));
        reading
            .into_iter()
            .chain(names)
            .collect::<Vec<_>>()
            .join("|")
    }
}

impl Argument for AccessFlags {
    fn text(&self) -> String {
        let names = self.iter_names().map(|(name, _)| name);
        names.collect::<Vec<_>>().join("|")
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

/// A descriptor is its number and, as with `strace -y`, where it leads to.
impl Argument for BorrowedFd<'_> {
    fn text(&self) -> String {
        let number = self.as_raw_fd();
        if number == libc::AT_FDCWD {
            return "AT_FDCWD".into();
        }
        match fs::read_link(format!("/proc/self/fd/{number}")) {
            Ok(path) if path.is_absolute() => {
                format!("{number}<{}>", path.display())
            }
            // A pipe or a socket; or there is no /proc.
            _ => number.to_string(),
        }
    }
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
    use std::os::fd::AsFd;

    use nix::fcntl::AT_FDCWD;

    use super::*;

    #[test]
    fn flags_are_their_names_and_what_has_none_is_a_number() {
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        assert_eq!(flags.text(), "MS_REC|MS_PRIVATE");
        assert_eq!(MsFlags::empty().text(), "0");
        let unknown = MsFlags::MS_BIND | MsFlags::from_bits_retain(1 << 29);
        assert_eq!(unknown.text(), "MS_BIND|0x20000000");
    }

    #[test]
    fn an_access_mode_is_always_there() {
        assert_eq!(OFlag::empty().text(), "O_RDONLY");
        assert_eq!(OFlag::O_WRONLY.text(), "O_WRONLY");
        let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let text = path.text();
        let mut names: Vec<&str> = text.split('|').collect();
        names.sort_unstable();
        assert_eq!(names, ["O_CLOEXEC", "O_PATH", "O_RDONLY"]);
    }

    #[test]
    fn modes_are_octal_and_strings_are_quoted() {
        assert_eq!(Mode::from_bits_truncate(0o755).text(), "0755");
        assert_eq!(Mode::empty().text(), "000");
        assert_eq!("a\n\"b".text(), r#""a\n\"b""#);
        assert_eq!(None::<&str>.text(), "NULL");
    }

    #[test]
    fn a_descriptor_says_where_it_leads_to() {
        assert_eq!(AT_FDCWD.text(), "AT_FDCWD");
        let null = fs::File::open("/dev/null").expect("/dev");
        let number = null.as_raw_fd();
        assert_eq!(null.as_fd().text(), format!("{number}</dev/null>"));
    }
}
