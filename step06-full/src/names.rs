//! `/etc/hostname` and `/etc/hosts`: the container's name as files.
//!
//! uname(2) says how the machine is called, but not at which address: for that
//! programs look into `/etc/hosts`, and many do at their start, to learn about
//! themselves. The files of an image can't know the name. As in Docker, others
//! are bound over them, so that nothing is written into the image, nor into a
//! layer that is kept. See hostname(5), hosts(5).

use std::{fs, os::fd::OwnedFd, path::Path};

use anyhow::Context;
use common::{
    host::{files::file_type, paths::open_directory},
    sys,
};
use nix::{errno::Errno, fcntl::ResolveFlag, sys::stat::SFlag};

use crate::mount_api;
use crate::volumes::open_in_root;

/// Shows `/etc/hostname` and `/etc/hosts` for a container that is called
/// `hostname`.
///
/// Root inside can write to them, unless they are `read_only`; all of it is
/// gone with the container. Where the image has no such file, it gets an empty
/// one to be covered. What is not a file there, or a link that leads to none,
/// stays as it is, and so does what a volume covers: the caller's files are
/// what the caller wants.
///
/// Must run when the volumes and the container's `/dev` are mounted below
/// `root`. See mount(2).
pub fn mount_files(
    root: &Path,
    hostname: &str,
    read_only: bool,
) -> anyhow::Result<()> {
    // The network is `lo`, all of 127.0.0.0/8: Debian's address for the name
    // of a machine that has no other.
    let hosts = format!(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         127.0.1.1\t{hostname}\n"
    );
    let mount_files = || {
        mount_text(root, "hostname", &format!("{hostname}\n"), read_only)?;
        mount_text(root, "hosts", &hosts, read_only)
    };
    mount_files().context("telling the container its name")
}

/// Binds a file with this `text` over `/etc/NAME`.
///
/// Must run when the container's `/dev` is mounted below `root`.
pub fn mount_text(
    root: &Path,
    name: &str,
    text: &str,
    read_only: bool,
) -> anyhow::Result<()> {
    sys::chdir(root)?;
    // In /dev, which is in memory. The mount keeps the file when the name there
    // is gone.
    let file = Path::new("dev").join(name);
    fs::write(&file, text).with_context(|| format!("writing {file:?}"))?;
    let mount = mount_api::copy(&file, 0)?;
    if read_only {
        mount_api::add_attributes(&mount, 0, libc::MOUNT_ATTR_RDONLY)?;
    }
    mount_over(root, name, &mount)?;
    Ok(sys::unlink(&file)?)
}

/// Attaches `mount`, a file, over `/etc/NAME`.
pub fn mount_over(
    root: &Path,
    name: &str,
    mount: &OwnedFd,
) -> anyhow::Result<()> {
    let root = &open_directory(root)?;
    let path = Path::new("etc").join(name);
    let mut target = find(root, &path)?;
    if target.is_none() && make_file(root, name)? {
        target = find(root, &path)?;
    }
    let Some(target) = target else { return Ok(()) };
    if file_type(&sys::fstat(&target)?) == SFlag::S_IFDIR {
        return Ok(());
    }
    Ok(mount_api::attach(mount, target)?)
}

/// Makes an empty file in `/etc`, unless there is something of that name, such
/// as a link that leads nowhere, or there is no such directory.
fn make_file(root: &OwnedFd, name: &str) -> sys::Result<bool> {
    let etc = Path::new("etc");
    let Some(etc) = find(root, etc)? else {
        return Ok(false);
    };
    let refused = &[Errno::EEXIST, Errno::ENOTDIR, Errno::EACCES];
    let made = sys::ask(refused, || sys::mknodat(etc, name, 0o644))?;
    Ok(made.is_ok())
}

/// Opens `path` as the container will see it, if anything is there that the
/// container could see: what is in the image itself, not on another mount such
/// as a volume or `/proc`.
fn find(root: &OwnedFd, path: &Path) -> sys::Result<Option<OwnedFd>> {
    let nothing_there = &[
        Errno::ENOENT,
        Errno::ENOTDIR,
        Errno::ELOOP,
        Errno::EXDEV,
        Errno::EACCES,
    ];
    let no_mount = ResolveFlag::RESOLVE_NO_XDEV;
    let opened = sys::ask(nothing_there, || open_in_root(root, path, no_mount));
    Ok(opened?.ok())
}
