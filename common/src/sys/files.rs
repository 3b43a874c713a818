//! Files and directories. Everything that is opened here is closed at exec:
//! `O_CLOEXEC` is always set.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
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
    argument::{Argument, SHOWN, Word, quote},
    call, errno_of, finish,
};

/// See open(2). `mode` counts only for a file that is made.
#[track_caller]
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

/// The error of open(2) for who opens a path in steps, and fails as that call
/// would have.
#[track_caller]
pub fn open_error(path: impl AsRef<Path>, flags: OFlag, errno: Errno) -> Error {
    let (path, flags) = (path.as_ref(), flags | OFlag::O_CLOEXEC);
    let failed: Result<()> = call!(open(path, flags), Err(errno));
    failed.expect_err("it was given one")
}

/// See openat(2). `mode` counts only for a file that is made.
#[track_caller]
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
#[track_caller]
pub fn openat2(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let flags = flags | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    let opened = fcntl::openat2(dirfd, path, how);
    finish(opened, || openat2_text(dirfd, path, flags, resolve))
}

fn openat2_text(
    dirfd: BorrowedFd,
    path: &Path,
    flags: OFlag,
    resolve: ResolveFlag,
) -> String {
    let (dirfd, path) = (dirfd.text(), path.text());
    let (flags, resolve) = (flags.text(), resolve.text());
    let how = format!("{{flags={flags}, resolve={resolve}}}");
    let size = size_of::<libc::open_how>();
    format!("openat2({dirfd}, {path}, {how}, {size})")
}

/// See write(2): all of `text`, in one call, as the kernel's own files want it.
///
/// # Errors
/// Those of the call. A file that takes only a part is asked once more for the
/// rest, and then says why (`ENOSPC`, `EFBIG`).
#[track_caller]
pub fn write(fd: impl AsFd, text: impl AsRef<[u8]>) -> Result<()> {
    let (fd, text) = (fd.as_fd(), text.as_ref());
    let written = finish(unistd::write(fd, text), || {
        let (fd, length) = (fd.text(), text.len());
        let text = quote(text, SHOWN);
        format!("write({fd}, {text}, {length})")
    })?;
    match &text[written..] {
        [] => Ok(()),
        // It has taken nothing at all, and would for ever.
        rest if written == 0 => {
            let call = format!("write({}, …, {}) = 0", fd.text(), rest.len());
            Err(Error::new(call, Errno::EIO))
        }
        rest => write(fd, rest),
    }
}

/// See access(2).
#[track_caller]
pub fn access(path: impl AsRef<Path>, mode: AccessFlags) -> Result<()> {
    let path = path.as_ref();
    call!(access(path, mode), unistd::access(path, mode))
}

/// See chdir(2).
#[track_caller]
pub fn chdir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    call!(chdir(path), unistd::chdir(path))
}

/// See fchdir(2).
#[track_caller]
pub fn fchdir(fd: impl AsFd) -> Result<()> {
    let fd = fd.as_fd();
    call!(fchdir(fd), unistd::fchdir(fd))
}

/// See chroot(2).
#[track_caller]
pub fn chroot(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    call!(chroot(path), unistd::chroot(path))
}

/// See getcwd(2).
#[track_caller]
pub fn getcwd() -> Result<PathBuf> {
    call!(getcwd(), unistd::getcwd())
}

/// See fchmod(2).
#[track_caller]
pub fn fchmod(fd: impl AsFd, mode: u32) -> Result<()> {
    let (fd, mode) = (fd.as_fd(), Mode::from_bits_truncate(mode));
    call!(fchmod(fd, mode), stat::fchmod(fd, mode))
}

/// See chmod(2). A symbolic link at the end of `path` is followed.
#[track_caller]
pub fn chmod(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let (path, bits) = (path.as_ref(), Mode::from_bits_truncate(mode));
    let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    call!(chmod(path, bits), set.map_err(errno_of))
}

/// See chown(2). `None` leaves the owner, or the group, as it is.
#[track_caller]
pub fn chown(
    path: impl AsRef<Path>,
    owner: Option<Uid>,
    group: Option<Gid>,
) -> Result<()> {
    let path = path.as_ref();
    call!(
        chown(path, or_minus_1(owner), or_minus_1(group)),
        unistd::chown(path, owner, group)
    )
}

/// See fchown(2). `None` leaves the owner, or the group, as it is.
#[track_caller]
pub fn fchown(
    fd: impl AsFd,
    owner: Option<Uid>,
    group: Option<Gid>,
) -> Result<()> {
    let fd = fd.as_fd();
    call!(
        fchown(fd, or_minus_1(owner), or_minus_1(group)),
        unistd::fchown(fd, owner, group)
    )
}

fn or_minus_1(id: Option<impl ToString>) -> Word {
    Word(id.map_or("-1".into(), |id| id.to_string()))
}

/// See fstat(2).
#[track_caller]
pub fn fstat(fd: impl AsFd) -> Result<FileStat> {
    let fd = fd.as_fd();
    call!(fstat(fd), stat::fstat(fd))
}

/// See stat(2): of what a symbolic link leads to.
#[track_caller]
pub fn stat(path: impl AsRef<Path>) -> Result<FileStat> {
    let path = path.as_ref();
    call!(stat(path), stat::stat(path))
}

/// See lstat(2): of a symbolic link itself.
#[track_caller]
pub fn lstat(path: impl AsRef<Path>) -> Result<FileStat> {
    let path = path.as_ref();
    call!(lstat(path), stat::lstat(path))
}

/// See fstatat(2).
#[track_caller]
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
#[track_caller]
pub fn statfs(path: impl AsRef<Path>) -> Result<Statfs> {
    let path = path.as_ref();
    call!(statfs(path), statfs::statfs(path))
}

/// See mkdir(2).
#[track_caller]
pub fn mkdir(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let (path, mode) = (path.as_ref(), Mode::from_bits_truncate(mode));
    call!(mkdir(path, mode), unistd::mkdir(path, mode))
}

/// See mkdirat(2).
#[track_caller]
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
#[track_caller]
pub fn mknod(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    mknodat(fcntl::AT_FDCWD, path, mode)
}

/// See mknodat(2), for an empty regular file.
#[track_caller]
pub fn mknodat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    mode: u32,
) -> Result<()> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let (kind, mode) = (SFlag::S_IFREG, Mode::from_bits_truncate(mode));
    call!(
        mknodat(
            dirfd,
            path,
            Word(format!("{}|{}", kind.text(), mode.text())),
        ),
        stat::mknodat(dirfd, path, kind, mode, 0)
    )
}

/// See mknodat(2), for a device or a pipe with a name (`kind` and `mode`). The
/// umask applies.
#[track_caller]
pub fn mknodat_special(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
    kind: SFlag,
    mode: u32,
    dev: libc::dev_t,
) -> Result<()> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    let mode = Mode::from_bits_truncate(mode);
    let both = Word(format!("{}|{}", kind.text(), mode.text()));
    let (major, minor) = (stat::major(dev), stat::minor(dev));
    let number = Word(format!("makedev({major:#x}, {minor:#x})"));
    call!(
        mknodat(dirfd, path, both, number),
        stat::mknodat(dirfd, path, kind, mode, dev)
    )
}

/// See symlink(2).
#[track_caller]
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

/// See symlinkat(2).
#[track_caller]
pub fn symlinkat(
    target: impl AsRef<Path>,
    newdirfd: impl AsFd,
    linkpath: impl AsRef<Path>,
) -> Result<()> {
    let (target, linkpath) = (target.as_ref(), linkpath.as_ref());
    let newdirfd = newdirfd.as_fd();
    call!(
        symlinkat(target, newdirfd, linkpath),
        unistd::symlinkat(target, newdirfd, linkpath)
    )
}

/// See link(2). A symbolic link at the end of `oldpath` is not followed.
#[track_caller]
pub fn link(
    oldpath: impl AsRef<Path>,
    newpath: impl AsRef<Path>,
) -> Result<()> {
    let (oldpath, newpath) = (oldpath.as_ref(), newpath.as_ref());
    let linked = fs::hard_link(oldpath, newpath).map_err(errno_of);
    call!(link(oldpath, newpath), linked)
}

/// See mkdtemp(3): a new directory, and its name.
#[track_caller]
pub fn mkdtemp(template: impl AsRef<Path>) -> Result<PathBuf> {
    let template = template.as_ref();
    call!(mkdtemp(template), unistd::mkdtemp(template))
}

/// See opendir(3) and readdir(3): the names of all that is in the directory
/// `name`, but for itself and the one above. It is closed again.
#[track_caller]
pub fn readdir(name: impl AsRef<Path>) -> Result<Vec<OsString>> {
    let name = name.as_ref();
    let opened = call!(opendir(name), fs::read_dir(name).map_err(errno_of))?;
    // An entry would keep the directory open.
    let names = opened.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<io::Result<_>>().map_err(errno_of);
    call!(readdir(Word(format!("opendir({})", name.text()))), names)
}

/// See readlink(2).
#[track_caller]
pub fn readlink(path: impl AsRef<Path>) -> Result<OsString> {
    let path = path.as_ref();
    call!(readlink(path), fcntl::readlink(path))
}

/// See readlinkat(2).
#[track_caller]
pub fn readlinkat(
    dirfd: impl AsFd,
    path: impl AsRef<Path>,
) -> Result<OsString> {
    let (dirfd, path) = (dirfd.as_fd(), path.as_ref());
    call!(readlinkat(dirfd, path), fcntl::readlinkat(dirfd, path))
}

/// See rmdir(2).
#[track_caller]
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
#[track_caller]
pub fn unlink(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    call!(unlink(path), unistd::unlink(path))
}

/// See unlinkat(2).
#[track_caller]
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
#[track_caller]
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
#[track_caller]
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

#[cfg(test)]
mod tests {
    use crate::sys::{fcntl_setfl, pipe2};

    use super::*;

    #[test]
    fn what_is_taken_in_part_is_no_success_and_says_why() {
        let (_reader, writer) = pipe2().expect("there are descriptors");
        fcntl_setfl(&writer, OFlag::O_NONBLOCK).expect("it is open");
        let more_than_it_holds = vec![b'a'; 2 << 20];
        let error = write(&writer, more_than_it_holds).expect_err("too much");
        assert_eq!(error.errno, Errno::EAGAIN);
        let text = error.to_string();
        assert!(
            text.contains(&format!("\"{}\"..., ", "a".repeat(32))),
            "{text}"
        );
    }
}
