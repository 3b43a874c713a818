//! Files and directories. Everything that is opened here is closed at exec:
//! `O_CLOEXEC` is always set.

use std::{
    ffi::OsString,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    NixPath,
    errno::Errno,
    fcntl::{self, AtFlags, OFlag, OpenHow, ResolveFlag},
    sys::{
        stat::{self, FchmodatFlags, FileStat, Mode, SFlag},
        statfs::{self, Statfs},
    },
    unistd::{self, AccessFlags, Gid, Uid, UnlinkatFlags},
};

use super::{
    Error, Result,
    argument::{Argument, Word},
    call,
};

/// See open(2). `mode` counts only for a file that is made.
pub fn open(
    path: impl AsRef<Path>,
    flags: OFlag,
    mode: u32,
) -> Result<OwnedFd> {
    let (path, flags) = (path.as_ref(), flags | OFlag::O_CLOEXEC);
    let mode = Mode::from_bits_truncate(mode);
    let opened = fcntl::open(path, flags, mode);
    match flags.contains(OFlag::O_CREAT) {
        true => call!(open(path, flags, mode), opened),
        false => call!(open(path, flags), opened),
    }
}

/// See openat(2). `mode` counts only for a file that is made.
pub fn openat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlag,
    mode: u32,
) -> Result<OwnedFd> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let flags = flags | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(mode);
    let opened = fcntl::openat(dirfd, path, flags, mode);
    match flags.contains(OFlag::O_CREAT) {
        true => call!(openat(dirfd, path, flags, mode), opened),
        false => call!(openat(dirfd, path, flags), opened),
    }
}

/// See openat2(2), since Linux 5.6.
pub fn openat2(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    fcntl::openat2(dirfd, path, how).map_err(|errno| {
        let (dirfd, path) = (dirfd.text(), path.text());
        let (flags, resolve) = (flags.text(), resolve.text());
        let how = format!("{{flags={flags}, resolve={resolve}}}");
        let size = size_of::<libc::open_how>();
        Error::new(format!("openat2({dirfd}, {path}, {how}, {size})"), errno)
    })
}

/// See write(2): all of `text`, in one call, as the kernel's own files want it.
///
/// # Errors
/// `EIO` when not all of it was taken.
pub fn write(fd: impl AsFd, text: impl AsRef<[u8]>) -> Result<()> {
    let (fd, text) = (fd.as_fd(), text.as_ref());
    let written = unistd::write(fd, text);
    let written = written.and_then(|length| match length == text.len() {
        true => Ok(()),
        false => Err(Errno::EIO),
    });
    written.map_err(|errno| {
        let (fd, length) = (fd.text(), text.len());
        let text = String::from_utf8_lossy(text);
        let shown: String = text.chars().take(32).collect();
        let dots = if shown.len() < text.len() { "..." } else { "" };
        Error::new(format!("write({fd}, {shown:?}{dots}, {length})"), errno)
    })
}

/// See access(2).
pub fn access(path: impl AsRef<Path>, mode: AccessFlags) -> Result<()> {
    let path = path.as_ref();
    call!(access(path, mode), unistd::access(path, mode))
}

/// See chdir(2).
pub fn chdir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    call!(chdir(path), unistd::chdir(path))
}

/// See fchdir(2).
pub fn fchdir(fd: impl AsFd) -> Result<()> {
    let fd = fd.as_fd();
    call!(fchdir(fd), unistd::fchdir(fd))
}

/// See getcwd(2).
pub fn getcwd() -> Result<PathBuf> {
    call!(getcwd(), unistd::getcwd())
}

/// See fchmod(2).
pub fn fchmod(fd: impl AsFd, mode: u32) -> Result<()> {
    let (fd, mode) = (fd.as_fd(), Mode::from_bits_truncate(mode));
    call!(fchmod(fd, mode), stat::fchmod(fd, mode))
}

/// See chown(2). `None` leaves the owner, or the group, as it is.
pub fn chown(
    path: impl AsRef<Path>,
    owner: Option<Uid>,
    group: Option<Gid>,
) -> Result<()> {
    let path = path.as_ref();
    let (uid, gid) = (or_minus_1(owner), or_minus_1(group));
    call!(chown(path, uid, gid), unistd::chown(path, owner, group))
}

/// See fchown(2). `None` leaves the owner, or the group, as it is.
pub fn fchown(
    fd: impl AsFd,
    owner: Option<Uid>,
    group: Option<Gid>,
) -> Result<()> {
    let fd = fd.as_fd();
    let (uid, gid) = (or_minus_1(owner), or_minus_1(group));
    call!(fchown(fd, uid, gid), unistd::fchown(fd, owner, group))
}

fn or_minus_1(id: Option<impl ToString>) -> Word {
    Word(id.map_or("-1".into(), |id| id.to_string()))
}

/// See fstat(2).
pub fn fstat(fd: impl AsFd) -> Result<FileStat> {
    let fd = fd.as_fd();
    call!(fstat(fd), stat::fstat(fd))
}

/// See stat(2): of what a symbolic link leads to.
pub fn stat(path: impl AsRef<Path>) -> Result<FileStat> {
    let path = path.as_ref();
    call!(stat(path), stat::stat(path))
}

/// See lstat(2): of a symbolic link itself.
pub fn lstat(path: impl AsRef<Path>) -> Result<FileStat> {
    let path = path.as_ref();
    call!(lstat(path), stat::lstat(path))
}

/// See fstatat(2).
pub fn fstatat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    flags: AtFlags,
) -> Result<FileStat> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    call!(
        fstatat(dirfd, path, flags),
        stat::fstatat(dirfd, path, flags)
    )
}

/// See statfs(2).
pub fn statfs(path: impl AsRef<Path>) -> Result<Statfs> {
    let path = path.as_ref();
    call!(statfs(path), statfs::statfs(path))
}

/// See mkdir(2).
pub fn mkdir(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let (path, mode) = (path.as_ref(), Mode::from_bits_truncate(mode));
    call!(mkdir(path, mode), unistd::mkdir(path, mode))
}

/// See mkdirat(2).
pub fn mkdirat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    mode: u32,
) -> Result<()> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let mode = Mode::from_bits_truncate(mode);
    call!(mkdirat(dirfd, path, mode), stat::mkdirat(dirfd, path, mode))
}

/// See mknod(2), for an empty regular file: an ordinary process may make no
/// other that would matter here.
pub fn mknod(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    mknodat(fcntl::AT_FDCWD, path, mode)
}

/// See mknodat(2), for an empty regular file.
pub fn mknodat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    mode: u32,
) -> Result<()> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let (kind, mode) = (SFlag::S_IFREG, Mode::from_bits_truncate(mode));
    let kind_and_mode = Word(format!("{}|{}", kind.text(), mode.text()));
    call!(
        mknodat(dirfd, path, kind_and_mode),
        stat::mknodat(dirfd, path, kind, mode, 0)
    )
}

/// See symlink(2).
pub fn symlink(
    target: impl AsRef<Path>,
    linkpath: impl AsRef<Path>,
) -> Result<()> {
    let (target, linkpath) = (target.as_ref(), linkpath.as_ref());
    call!(
        symlink(target, linkpath),
        unistd::symlinkat(target, fcntl::AT_FDCWD, linkpath)
    )
}

/// See readlink(2).
pub fn readlink(path: impl AsRef<Path>) -> Result<OsString> {
    let path = path.as_ref();
    call!(readlink(path), fcntl::readlink(path))
}

/// See readlinkat(2).
pub fn readlinkat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
) -> Result<OsString> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    call!(readlinkat(dirfd, path), fcntl::readlinkat(dirfd, path))
}

/// See rmdir(2).
pub fn rmdir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let removed = path.with_nix_path(|path| {
        // SAFETY: `path` is NUL-terminated and lives through the call, which
        // only reads it.
        unsafe { libc::rmdir(path.as_ptr()) }
    });
    call!(rmdir(path), removed.and_then(Errno::result).map(drop))
}

/// See unlink(2).
pub fn unlink(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    call!(unlink(path), unistd::unlink(path))
}

/// See unlinkat(2).
pub fn unlinkat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    flags: UnlinkatFlags,
) -> Result<()> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    call!(
        unlinkat(dirfd, path, flags),
        unistd::unlinkat(dirfd, path, flags)
    )
}

/// See rename(2).
pub fn rename(
    oldpath: impl AsRef<Path>,
    newpath: impl AsRef<Path>,
) -> Result<()> {
    let (oldpath, newpath) = (oldpath.as_ref(), newpath.as_ref());
    let here = fcntl::AT_FDCWD;
    call!(
        rename(oldpath, newpath),
        fcntl::renameat(here, oldpath, here, newpath)
    )
}

/// See fchmodat(2). Not to follow a symbolic link needs Linux 6.6, or a `/proc`
/// that is in its place.
pub fn fchmodat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    mode: u32,
    flags: FchmodatFlags,
) -> Result<()> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let mode = Mode::from_bits_truncate(mode);
    call!(
        fchmodat(dirfd, path, mode, flags),
        stat::fchmodat(dirfd, path, mode, flags)
    )
}

impl Argument for FchmodatFlags {
    fn text(&self) -> String {
        match self {
            FchmodatFlags::FollowSymlink => "0".into(),
            FchmodatFlags::NoFollowSymlink => "AT_SYMLINK_NOFOLLOW".into(),
        }
    }
}
