//! Directories and files of the host that the container is to see.
//!
//! Two paths, two dangers. The source may lie where only the caller can go,
//! not the container's root: so the parent fetches it, as a mount that is
//! attached nowhere. The destination is looked up in an image that somebody
//! else made, before it is the root: a symbolic link in it, `/data -> /etc`,
//! would lead to the *host's* `/etc`. So the kernel is told to resolve it as
//! if the image were the root already. See openat2(2), `RESOLVE_IN_ROOT`,
//! open_tree(2) and move_mount(2).

use std::{
    ffi::{OsStr, OsString},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::builder::{OsStringValueParser, TypedValueParser};
use common::{
    host::{
        files::{file_type, path_of},
        paths::open_directory,
    },
    sys,
};
use nix::{
    errno::Errno,
    fcntl::{OFlag, ResolveFlag},
    sys::stat::SFlag,
};

use crate::{devices, mount_api};

/// The part of the command line about what is mounted besides the image.
#[derive(clap::Args, Debug, Clone)]
pub struct Volumes {
    /// Show SRC of the host as DST in the container (repeatable)
    #[arg(
        short = 'v',
        long = "volume",
        value_name = "SRC:DST[:ro]",
        value_parser = OsStringValueParser::new().try_map(Volume::parse)
    )]
    pub volumes: Vec<Volume>,

    /// Make the root file system read-only; volumes stay as they are
    #[arg(long)]
    pub read_only: bool,
}

/// One volume of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// A directory or file of the host, as an absolute path.
    pub source: PathBuf,
    /// An absolute path in the container.
    pub destination: PathBuf,
    /// Nothing can be written to it, nor to what is mounted below.
    pub read_only: bool,
}

/// A volume whose source has been found.
#[derive(Debug)]
pub struct OpenVolume {
    /// What the command line says.
    pub volume: Volume,
    /// The source as a mount that is attached nowhere, so that its ids can
    /// still be mapped ([`mount_api::map_ids`]); nothing where only the
    /// container has the right to make one.
    pub mount: Option<OwnedFd>,
    /// Decides what is made in the image when the destination is missing.
    is_dir: bool,
}

impl Volume {
    /// Reads `SRC:DST`, `SRC:DST:ro` or `SRC:DST:rw`.
    ///
    /// A relative source is relative to the current directory. The paths are
    /// bytes and need not be UTF-8; as in Docker neither can contain a `:`.
    ///
    /// # Errors
    /// The form is another; the destination is not absolute, contains `..`, or is
    /// one of the places that the container fills itself.
    pub fn parse(text: OsString) -> anyhow::Result<Volume> {
        let parts: Vec<&OsStr> = text
            .as_bytes()
            .split(|byte| *byte == b':')
            .map(OsStr::from_bytes)
            .collect();
        let (source, destination, read_only) = match parts[..] {
            [source, destination] => (source, destination, false),
            [source, destination, mode] if mode == "rw" => {
                (source, destination, false)
            }
            [source, destination, mode] if mode == "ro" => {
                (source, destination, true)
            }
            _ => bail!("not SRC:DST, SRC:DST:ro or SRC:DST:rw"),
        };
        ensure!(!source.is_empty(), "SRC is empty");
        check_destination(Path::new(destination))?;
        Ok(Volume {
            source: std::path::absolute(source)?,
            // Without doubled or trailing slashes and without `.`.
            destination: Path::new(destination).components().collect(),
            read_only,
        })
    }
}

/// Refuses what can't be a destination, whatever the image is.
fn check_destination(destination: &Path) -> anyhow::Result<()> {
    ensure!(destination.is_absolute(), "DST is not absolute");
    ensure!(
        !destination.components().any(|c| c == Component::ParentDir),
        "DST contains `..`"
    );
    check_place(destination)
}

/// Refuses places that would take over what makes the container one.
fn check_place(place: &Path) -> anyhow::Result<()> {
    ensure!(place != Path::new("/"), "DST is `/`: use --rootfs");
    for taken in ["/proc", "/sys", "/dev"] {
        ensure!(
            !place.starts_with(taken),
            "DST is in {taken}, which the container makes itself"
        );
    }
    Ok(())
}

impl Volumes {
    /// Finds the sources, while this process still is who called it.
    ///
    /// Parent's side, early: a missing source should be known before anything
    /// is made. Gives the volumes in the order in which they must be mounted:
    /// one for `/a/b` after one for `/a`, which would hide it. See open_tree(2).
    ///
    /// # Errors
    /// Two volumes have the same destination.
    pub fn open(&self) -> anyhow::Result<Vec<OpenVolume>> {
        let mut volumes = self.volumes.clone();
        volumes.sort_by(|a, b| a.destination.cmp(&b.destination));
        for pair in volumes.windows(2) {
            let destination = &pair[0].destination;
            ensure!(
                *destination != pair[1].destination,
                "two volumes for {destination:?}"
            );
        }
        volumes.into_iter().map(OpenVolume::new).collect()
    }
}

impl Volumes {
    /// Makes the root file system read-only if `--read-only` says so, and only
    /// that: `/proc`, `/dev` and the volumes are mounts of their own and stay
    /// as they are.
    ///
    /// Must run when all else is mounted below `root`, since mount points may
    /// have to be made there. See mount_setattr(2).
    pub fn protect_root(&self, root: &Path) -> anyhow::Result<()> {
        if !self.read_only {
            return Ok(());
        }
        // Adds one attribute; a remount would have to repeat the others,
        // because taking a locked one away is EPERM. See mount_namespaces(7).
        let mount = open_directory(root)?;
        mount_api::add_attributes(mount, 0, libc::MOUNT_ATTR_RDONLY)
            .context("making the root file system read-only")
    }
}

impl OpenVolume {
    fn new(volume: Volume) -> anyhow::Result<OpenVolume> {
        let source = &volume.source;
        let file = sys::stat(source)?;
        let file_type = file_type(&file);
        let is_device = matches!(file_type, SFlag::S_IFCHR | SFlag::S_IFBLK);
        ensure!(
            !is_device || devices::is_harmless(&file),
            "{source:?} is a device, and inside it could not be opened"
        );
        // A plain user may not copy a mount here, outside of the container;
        // inside, where it is the same user, it can. What may be seen is the
        // same: the right to make the copy is not a right to read.
        let mount = match clone_source(source) {
            // Every user may use these devices: there are no ids to map.
            Ok(_) if is_device => None,
            Err(error) if error.errno == Errno::EPERM => None,
            result => Some(result?),
        };
        Ok(OpenVolume {
            volume,
            mount,
            is_dir: file_type == SFlag::S_IFDIR,
        })
    }
}

/// Copies the mount at `source` and all below it. In a user namespace leaving
/// those out would be `EINVAL`: they may have been mounted to hide something.
fn clone_source(source: &Path) -> sys::Result<OwnedFd> {
    mount_api::copy(source, libc::AT_RECURSIVE)
}

/// The mounts of the volumes' sources. Must run in the container's mount
/// namespace, before the root file system covers them. See open_tree(2).
pub fn sources(volumes: &[OpenVolume]) -> sys::Result<Vec<OwnedFd>> {
    let mount = |opened: &OpenVolume| match &opened.mount {
        Some(mount) => sys::dup(mount),
        None => clone_source(&opened.volume.source),
    };
    volumes.iter().map(mount).collect()
}

/// Mounts the volumes, from their [`sources`], below `root`, the container's
/// future root directory.
///
/// Must run in the container's mount namespace, before `/proc`, `/sys` and
/// `/dev` are mounted. A missing destination is made, with the directories
/// above it. See move_mount(2).
///
/// # Errors
/// A link in the image leads a volume to the root itself or into one of the
/// places that the container fills itself.
pub fn mount(
    volumes: &[OpenVolume],
    sources: Vec<OwnedFd>,
    root: &Path,
) -> anyhow::Result<()> {
    for (opened, mount) in volumes.iter().zip(&sources) {
        mount_one(opened, mount, root).with_context(|| {
            format!("mounting the volume {:?}", opened.volume.destination)
        })?;
    }
    Ok(())
}

fn mount_one(
    opened: &OpenVolume,
    mount: &OwnedFd,
    root: &Path,
) -> anyhow::Result<()> {
    let volume = &opened.volume;
    let mut attributes = libc::MOUNT_ATTR_NOSUID;
    if devices::is_harmless(&sys::fstat(mount)?) {
        // As in /dev: it can be written to, but the host's node is not changed.
        attributes |= libc::MOUNT_ATTR_RDONLY;
    } else {
        // A device file that lies in the volume would open the host's disk.
        // Docker stops that by its devices cgroup; here the mount does.
        attributes |= libc::MOUNT_ATTR_NODEV;
    }
    if volume.read_only {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    mount_api::add_attributes(mount, libc::AT_RECURSIVE, attributes)?;

    let destination = &volume.destination;
    let target = open_or_create(root, destination, opened.is_dir)?;
    // What was asked for has passed this; where links have led may not.
    let place = place_in(root, &target)?;
    check_place(&place)
        .with_context(|| format!("{destination:?} leads to {place:?}"))?;
    Ok(mount_api::attach(mount, target)?)
}

/// Opens `path` below `root`, making what is missing of it: directories and,
/// unless `is_dir`, an empty file at the end.
pub fn open_or_create(
    root: &Path,
    path: &Path,
    is_dir: bool,
) -> anyhow::Result<OwnedFd> {
    let root = open_directory(root)?;
    let nothing_more = ResolveFlag::empty();

    // From the top down, so that what is missing has a parent to be made in.
    // Always from the root: an absolute link half-way starts there again.
    let mut parent = open_in_root(&root, Path::new("/"), nothing_more)?;
    let mut so_far = PathBuf::from("/");
    for name in path.iter().skip(1) {
        so_far.push(name);
        parent = match find_in_root(&root, &so_far)? {
            None => {
                // A single name is made in the directory that `parent` is open
                // on, so no link is followed. One that leads nowhere is EEXIST.
                if is_dir || so_far != path {
                    sys::mkdirat(&parent, name, 0o755)?;
                } else {
                    sys::mknodat(&parent, name, 0o644)?;
                }
                open_in_root(&root, &so_far, nothing_more)?
            }
            Some(found) => found,
        };
    }
    Ok(parent)
}

/// Where below `root` the descriptor `file` is, as a path from there.
fn place_in(root: &Path, file: &OwnedFd) -> anyhow::Result<PathBuf> {
    let path = path_of(file)?;
    let below = path.strip_prefix(root);
    let below =
        below.with_context(|| format!("{path:?} is not in {root:?}"))?;
    Ok(Path::new("/").join(below))
}

/// Opens `path` as the container will see it: `/`, `..` and links end at
/// `root`, and the links below `/proc` that lead anywhere are refused; `more`
/// can refuse more. See openat2(2).
pub fn open_in_root(
    root: &OwnedFd,
    path: &Path,
    more: ResolveFlag,
) -> sys::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | NO_MAGIC | more;
    until_settled(|| sys::openat2(root, path, OFlag::O_PATH, resolve))
}

/// The same for what need not be there.
pub fn find_in_root(
    root: &OwnedFd,
    path: &Path,
) -> sys::Result<Option<OwnedFd>> {
    let open = || open_in_root(root, path, ResolveFlag::empty());
    Ok(sys::ask(&[Errno::ENOENT], open)?.ok())
}

/// No links as those below `/proc/PID`, which lead to whatever is open.
const NO_MAGIC: ResolveFlag = ResolveFlag::RESOLVE_NO_MAGICLINKS;

/// Opens again while something is mounted or renamed on this machine, and the
/// kernel can't say where a `..` has led.
fn until_settled<T>(open: impl Fn() -> sys::Result<T>) -> sys::Result<T> {
    loop {
        match open() {
            Err(error) if error.errno == Errno::EAGAIN => {}
            opened => return opened,
        }
    }
}
