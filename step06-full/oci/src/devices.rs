//! The nodes in `/dev`: those that the specification wants in each container,
//! and those that the file lists.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use common::{
    host::files::{by_number, file_type},
    sys,
};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, ResolveFlag},
    sys::stat::{FchmodatFlags, SFlag, makedev},
    unistd::{Gid, Uid},
};
use step06_full::{
    devices::{HARMLESS, LINKS},
    mount_api,
    volumes::{open_in_root, open_or_create},
};

use crate::config::Device;

/// Makes all of them, below `root`, and the links that programs know.
pub(crate) fn make(root: &Path, listed: &[Device]) -> anyhow::Result<()> {
    for harmless in &HARMLESS {
        let path = format!("/dev/{}", harmless.name);
        if listed.iter().any(|device| device.path == path) {
            continue;
        }
        let node = Node {
            path: path.into(),
            kind: SFlag::S_IFCHR,
            number: harmless.number,
            mode: 0o666,
            owner: (0, 0),
        };
        node.make(root)?;
    }
    for device in listed {
        Node::of(device)?.make(root)?;
    }
    let dev = open_or_create(root, Path::new("/dev"), true)?;
    for (target, name) in LINKS {
        match sys::symlinkat(target, &dev, name) {
            Err(error) if error.errno == Errno::EEXIST => {}
            made => made?,
        }
    }
    Ok(())
}

struct Node {
    path: PathBuf,
    kind: SFlag,
    number: libc::dev_t,
    mode: u32,
    owner: (u32, u32),
}

impl Node {
    fn of(device: &Device) -> anyhow::Result<Node> {
        let kind = match device.kind.as_str() {
            "c" | "u" => SFlag::S_IFCHR,
            "b" => SFlag::S_IFBLK,
            "p" => SFlag::S_IFIFO,
            kind => bail!("device {:?} is of type {kind:?}", device.path),
        };
        let path = PathBuf::from(&device.path);
        ensure!(path.is_absolute(), "device {path:?} is not absolute");
        Ok(Node {
            path,
            kind,
            number: match kind {
                SFlag::S_IFIFO => 0,
                _ => makedev(device.major, device.minor),
            },
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            owner: (device.uid.unwrap_or(0), device.gid.unwrap_or(0)),
        })
    }

    fn make(&self, root: &Path) -> anyhow::Result<()> {
        self.make_node(root)
            .with_context(|| format!("making the device {:?}", self.path))
    }

    fn make_node(&self, root: &Path) -> anyhow::Result<()> {
        let parent = self.path.parent().context("it is the root")?;
        let name = self.path.file_name().context("it has no name")?;
        let parent = open_or_create(root, parent, true)?;
        let made = sys::mknodat_special(
            &parent,
            name,
            self.kind,
            self.mode,
            self.number,
        );
        match made {
            Err(error) if error.errno == Errno::EEXIST => {
                return self.is_there(&parent, Path::new(name));
            }
            // Nobody but the host's root makes devices.
            Err(error) if error.errno == Errno::EPERM => {
                return self.bind(root);
            }
            made => made?,
        }
        // The umask has had its say; and who else could have changed the name
        // meanwhile?
        let follow = FchmodatFlags::FollowSymlink;
        sys::fchmodat(&parent, name, self.mode, follow)?;
        let node = open_in_root(&parent, Path::new(name), NO_LINKS)?;
        let (uid, gid) = self.owner;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let owner = by_number(&node);
        Ok(sys::chown(owner, Some(uid), Some(gid))?)
    }

    /// Something has this name already: it must be this device.
    fn is_there(&self, parent: &OwnedFd, name: &Path) -> anyhow::Result<()> {
        let there = sys::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        ensure!(
            file_type(&there) == self.kind && there.st_rdev == self.number,
            "there is another file of that name"
        );
        Ok(())
    }

    /// Binds the host's node in its place, if that is the same device.
    fn bind(&self, root: &Path) -> anyhow::Result<()> {
        ensure!(self.kind != SFlag::S_IFIFO, "a pipe can't be bound");
        let hosts = mount_api::copy(&self.path, 0)?;
        let status = sys::fstat(&hosts)?;
        ensure!(
            file_type(&status) == self.kind && status.st_rdev == self.number,
            "on the host this is another device"
        );
        let target = open_or_create(root, &self.path, false)?;
        Ok(mount_api::attach(hosts, target)?)
    }
}

const NO_LINKS: ResolveFlag = ResolveFlag::RESOLVE_NO_SYMLINKS;
