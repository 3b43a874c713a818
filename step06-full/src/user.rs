//! The user namespace: root inside is somebody else outside.
//!
//! A user namespace has a table, `uid_map`, that says which user ids inside
//! stand for which outside, and another for groups. The container's root has
//! every right over what belongs to the container, and over everything else it
//! has the rights of whoever it is outside:
//!
//! - Started by root, the ids 0 to 65535 inside are a range outside that belongs
//!   to nobody. The files of the image belong to the host's root, who is not in
//!   that table, so they would belong to `nobody` inside. Therefore the image
//!   is *id-mapped*: a mount that shows its files with the container's ids. Where
//!   a file system can't do that, there is no container, unless its root may be
//!   the host's.
//! - Started by a plain user, root inside is that user. More ids need the
//!   program `newuidmap`, which gives what `/etc/subuid` grants; without it
//!   there is this one.
//!
//! See user_namespaces(7) and mount_setattr(2), "ID-mapped mounts".

use std::{
    fs::{self, File},
    os::fd::BorrowedFd,
    process::Command,
};

use anyhow::{Context, Error, ensure};
use common::{passwd::User, process, report};
use nix::{
    sys::statfs::{FsType, fstatfs},
    unistd::{Gid, Pid, Uid, fchown, geteuid, setgroups, setresgid, setresuid},
};
use step05_overlay::OpenLayers;

use crate::{
    id_map::{self, IdMap},
    mount_api,
    volumes::OpenVolume,
};

/// The file system of pipes that have no name: PIPEFS_MAGIC in linux/magic.h.
const PIPEFS: FsType = FsType(0x5049_5045);

/// The part of the command line about who is who.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Let root in the container be root outside: for an image on a file system
    /// that can't be id-mapped. What gets out of the container is then root
    #[arg(long)]
    pub root_is_root_outside: bool,
}

/// Who is who.
pub struct Ids {
    uids: IdMap,
    gids: IdMap,
    /// Whether root inside is somebody else outside, who has no files.
    maps_files: bool,
}

impl Ids {
    /// Decides which ids the container gets.
    ///
    /// Runs in the parent, before the container's process is created. For root
    /// it takes copies of the mounts of the `layers`, which the process inherits.
    ///
    /// # Errors
    /// There is no range of ids for a container of root; or that of the call
    /// that failed.
    pub fn choose(
        options: &Options,
        layers: &mut OpenLayers,
    ) -> anyhow::Result<Ids> {
        let user = User::find(geteuid().as_raw());
        let user = user.as_ref();
        let (uids, gids) =
            match (geteuid().is_root(), options.root_is_root_outside) {
                (false, _) => id_map::of_user(user)?,
                (true, true) => id_map::identity()?,
                (true, false) => id_map::of_root(user)?,
            };
        let maps_files = geteuid().is_root() && !options.root_is_root_outside;
        if maps_files {
            layers.take_mounts(|path| {
                // One mount is enough: overlay sees nothing of those below it.
                mount_api::open_tree(path, 0).with_context(|| {
                    format!("open_tree({path:?}, OPEN_TREE_CLONE)")
                })
            })?;
        }
        Ok(Ids {
            uids,
            gids,
            maps_files,
        })
    }

    /// Gives `child`, a process in a new user namespace, its ids, and makes the
    /// files of the container belong to them.
    ///
    /// Runs in the parent, before the gate opens: only a process outside the
    /// namespace has the right to map more than one id. See user_namespaces(7),
    /// "Defining user and group ID mappings".
    ///
    /// # Errors
    /// A file system can't show its files with other ids (`EINVAL`); or that of
    /// the call that failed.
    pub fn map(
        &self,
        child: Pid,
        layers: &OpenLayers,
        volumes: &[OpenVolume],
    ) -> anyhow::Result<()> {
        self.write(child).context("mapping the container's ids")?;
        if !self.maps_files {
            return Ok(());
        }
        let path = format!("/proc/{child}/ns/user");
        let namespace =
            File::open(&path).with_context(|| format!("open({path:?})"))?;
        map_layers(layers, &namespace)
            .context("giving the image to the container's root")?;
        map_volumes(volumes, &namespace);
        self.give_pipes()
            .context("giving the pipes to the container's root")
    }

    /// Makes the pipes among standard input, output and error the container's
    /// own: otherwise they belong to the host's root, and to open `/dev/stdout`
    /// is `EACCES`.
    ///
    /// Only pipes without a name: whatever has one (a file, a terminal,
    /// `/dev/null`) others use as well, and it stays whose it is.
    fn give_pipes(&self) -> anyhow::Result<()> {
        let (uid, gid) = (self.uids.root_outside(), self.gids.root_outside());
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        for number in libc::STDIN_FILENO..=libc::STDERR_FILENO {
            // SAFETY: nothing in this program closes these three, and where they
            // were closed at the start, Rust's runtime opened /dev/null on them.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            let file_system = fstatfs(fd)
                .with_context(|| format!("fstatfs({number})"))?
                .filesystem_type();
            if file_system == PIPEFS {
                fchown(fd, uid, gid)
                    .with_context(|| format!("fchown({number})"))?;
            }
        }
        Ok(())
    }

    fn write(&self, child: Pid) -> anyhow::Result<()> {
        let by_helper = !geteuid().is_root() && self.uids.is_range();
        if by_helper {
            run_helper("newuidmap", child, &self.uids)?;
            return run_helper("newgidmap", child, &self.gids);
        }
        if !self.gids.is_range() {
            // Without this a plain user may not map a group: to drop one could
            // open what is closed to just that group.
            write(child, "setgroups", "deny")?;
        }
        write(child, "uid_map", &self.uids.to_string())?;
        write(child, "gid_map", &self.gids.to_string())
    }

    /// Becomes root of the user namespace.
    ///
    /// Runs in the child, first thing: until now its ids are those of the
    /// parent, which may not even be in the table.
    pub fn become_root(&self) -> anyhow::Result<()> {
        let become_root = || {
            if self.gids.is_range() {
                setgroups(&[]).context("setgroups([])")?;
            }
            let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
            setresgid(gid, gid, gid).context("setresgid(0, 0, 0)")?;
            setresuid(uid, uid, uid).context("setresuid(0, 0, 0)")?;
            // The change of ids has undone it.
            process::die_with_parent()
        };
        become_root().context("becoming root of the user namespace")
    }
}

/// Makes the files of the layers belong to the container's ids. The child has
/// inherited these mounts, and will make one root file system of them.
fn map_layers(layers: &OpenLayers, namespace: &File) -> anyhow::Result<()> {
    for (path, mount) in layers.mounts() {
        mount_api::map_ids(mount, namespace).with_context(|| {
            format!("mount_setattr({path:?}, MOUNT_ATTR_IDMAP)")
        })?;
    }
    Ok(())
}

/// Makes the files of the volumes belong to the container's ids, where their
/// file systems can do that. Elsewhere they belong to nobody inside, who may do
/// less with them and not more: it is told, and no error.
fn map_volumes(volumes: &[OpenVolume], namespace: &File) {
    for volume in volumes {
        let Some(mount) = &volume.mount else { continue };
        if let Err(errno) = mount_api::map_ids(mount, namespace) {
            let source = &volume.volume.source;
            let call = format!("mount_setattr({source:?}, MOUNT_ATTR_IDMAP)");
            let error = Error::from(errno).context(call).context(format!(
                "files in {source:?} belong to nobody in the container"
            ));
            report::warning(&error);
        }
    }
}

fn write(child: Pid, file: &str, text: &str) -> anyhow::Result<()> {
    let path = format!("/proc/{child}/{file}");
    fs::write(&path, text).with_context(|| format!("write({path:?}, {text:?})"))
}

/// Runs `newuidmap` or `newgidmap`, set-uid programs that write the table for a
/// plain user if `/etc/subuid` or `/etc/subgid` allows it. See newuidmap(1).
fn run_helper(name: &str, child: Pid, map: &IdMap) -> anyhow::Result<()> {
    let output = Command::new(name)
        .arg(child.to_string())
        .args(map.to_string().split_whitespace())
        .output()
        .with_context(|| format!("execve({name:?})"))?;
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name} {child} {map}: {}",
        says.trim()
    );
    Ok(())
}
