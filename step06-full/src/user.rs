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
//!   is *id-mapped*: a mount that shows its files with the container's ids.
//! - Started by a plain user, root inside is that user. More ids need the
//!   program `newuidmap`, which gives what `/etc/subuid` grants; without it
//!   there is this one.
//!
//! See user_namespaces(7) and mount_setattr(2), "ID-mapped mounts".

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use common::{
    passwd::User,
    process::{self, Placeholder},
    report,
};
use nix::{
    fcntl::AT_FDCWD,
    sched::CloneFlags,
    unistd::{Gid, Pid, Uid, geteuid, setgroups, setresgid, setresuid},
};
use step05_overlay::OpenLayers;

use crate::{
    id_map::{self, IdMap, Kind},
    mount_api,
    volumes::OpenVolume,
};

/// Who is who, and the mounts that show files accordingly.
pub struct Ids {
    uids: IdMap,
    gids: IdMap,
    /// Id-mapped copies of mounts, and where each belongs.
    mounts: Vec<(PathBuf, OwnedFd)>,
}

impl Ids {
    /// Decides which ids the container gets.
    ///
    /// Runs in the parent, before the container's process is created. For root
    /// it makes id-mapped copies of the mounts that `root` and the `layers` are
    /// on, and maps the ids of `volumes`. Where a file system can't do that, it
    /// says so and lets root inside be root outside.
    pub fn choose(
        root: &Path,
        layers: &mut OpenLayers,
        volumes: &[OpenVolume],
    ) -> anyhow::Result<Ids> {
        let name = User::find(geteuid().as_raw()).map(|user| user.name);
        let name = name.as_deref();
        if !geteuid().is_root() {
            let (uids, gids) = id_map::of_user(name)?;
            let mounts = Vec::new();
            return Ok(Ids { uids, gids, mounts });
        }
        let mut ids = Ids {
            uids: id_map::of_root(Kind::User, name)?,
            gids: id_map::of_root(Kind::Group, name)?,
            mounts: Vec::new(),
        };
        if let Err(error) = ids.map_files(root, layers, volumes) {
            report::warning(&format!(
                "root in the container is root outside: {error:#}"
            ));
            ids.mounts.clear();
            layers.without_mounts();
            ids.uids = id_map::identity(Kind::User)?;
            ids.gids = id_map::identity(Kind::Group)?;
        }
        Ok(ids)
    }

    /// Makes the files of the container belong to its ids.
    fn map_files(
        &mut self,
        root: &Path,
        layers: &mut OpenLayers,
        volumes: &[OpenVolume],
    ) -> anyhow::Result<()> {
        let namespace = self.namespace()?;
        let mount = map_mount(root, &namespace)?;
        self.mounts.push((root.to_path_buf(), mount));
        for lower in &mut layers.lower {
            lower.mount = Some(map_mount(&lower.path, &namespace)?);
        }
        if let Some(kept) = &mut layers.upper {
            // Not by its path: other users may have changed what is there.
            kept.mount = Some(map_mount(&kept.by_number(), &namespace)?);
        }
        for volume in volumes {
            let Some(mount) = &volume.mount else { continue };
            if let Err(errno) = mount_api::map_ids(mount, &namespace) {
                let source = &volume.volume.source;
                report::warning(&format!(
                    "files in {source:?} belong to nobody in the container: \
                     mount_setattr({source:?}, MOUNT_ATTR_IDMAP): {errno}"
                ));
            }
        }
        Ok(())
    }

    /// A user namespace with our table, which is all that an id-mapped mount
    /// needs. The container's own does not exist yet, and will take its table
    /// only once: if the file system then refused, it would be too late.
    fn namespace(&self) -> anyhow::Result<File> {
        let process = Placeholder::new(CloneFlags::CLONE_NEWUSER)?;
        self.write(process.pid())?;
        let path = format!("/proc/{}/ns/user", process.pid());
        File::open(&path).with_context(|| format!("open({path:?})"))
    }

    /// Gives `child`, a process in a new user namespace, its ids.
    ///
    /// Runs in the parent, before the gate opens: only a process outside the
    /// namespace has the right to map more than one id. See user_namespaces(7),
    /// "Defining user and group ID mappings".
    pub fn map(&self, child: Pid) -> anyhow::Result<()> {
        self.write(child).context("mapping the container's ids")
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

    /// Puts the id-mapped copies in the place of the originals.
    ///
    /// Runs in the child, in a private mount namespace; what is opened by these
    /// paths from now on belongs to the container's ids. For a plain user there
    /// is nothing to do: its own files belong to root inside as they are.
    pub fn mount_files(&self) -> anyhow::Result<()> {
        for (path, mount) in &self.mounts {
            mount_api::move_mount(mount, AT_FDCWD, path)
                .with_context(|| format!("move_mount(mount, {path:?})"))
                .context("mounting the id-mapped image")?;
        }
        Ok(())
    }
}

/// An id-mapped copy of the mount at `path`.
fn map_mount(path: &Path, namespace: &File) -> anyhow::Result<OwnedFd> {
    // One mount is enough: overlay sees nothing of those below it.
    let mount = mount_api::open_tree(path, 0)
        .with_context(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))?;
    mount_api::map_ids(&mount, namespace).with_context(|| {
        format!("mount_setattr({path:?}, MOUNT_ATTR_IDMAP)")
    })?;
    Ok(mount)
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
