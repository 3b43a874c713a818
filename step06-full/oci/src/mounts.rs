//! The mounts of `config.json`, in their order.
//!
//! A bundle is hostile. Where a mount goes is looked up in a root that somebody
//! else has filled: with openat2(2) as if it were the root already, so that no
//! link in it leads out, and then by the descriptor.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use common::{
    host::{
        files::{by_number, file_type, path_of},
        paths::open_directory,
    },
    sys::{self, NULL},
};
use nix::{errno::Errno, mount::MsFlags, sys::stat::SFlag};
use step06_full::{mount_api, volumes::open_or_create};

use crate::{
    cgroup::Cgroup,
    config::{Linux, Mount},
};

mod cgroups;
mod copy_up;
mod ids;
mod options;
mod place;
mod words;

pub(crate) use options::{Options, names};
pub(crate) use place::is_below;
use place::{cleaned, open_mounted};

/// A mount whose options were understood and whose source was fetched.
pub(crate) struct Prepared {
    mount: Mount,
    options: Options,
    destination: PathBuf,
    /// What is bound: where that lies, and itself, attached nowhere, if this
    /// process had the right to fetch it.
    source: Option<(PathBuf, Option<OwnedFd>)>,
}

/// Reads the options and fetches the sources, outside, where relative ones begin
/// at the `bundle`: only the host's root may reach some of them.
pub(crate) fn prepare(
    mounts: &[Mount],
    bundle: &Path,
    linux: &Linux,
) -> anyhow::Result<Vec<Prepared>> {
    let prepare = |mount: &Mount| {
        Prepared::new(mount, bundle, linux)
            .with_context(|| format!("mount on {:?}", mount.destination))
    };
    mounts.iter().map(prepare).collect()
}

impl Prepared {
    fn new(
        mount: &Mount,
        bundle: &Path,
        linux: &Linux,
    ) -> anyhow::Result<Prepared> {
        let mut options = Options::parse(&mount.options);
        options.bind |= mount.kind == "bind";
        let maps = options.map_ids.is_some()
            || !mount.uid_mappings.is_empty()
            || !mount.gid_mappings.is_empty();
        ensure!(options.bind || !maps, "its ids can't be mapped");
        let mut source = None;
        if options.bind {
            let unknown = &options.data;
            ensure!(unknown.is_empty(), "unknown options {unknown:?}");
            let path = bundle.join(&mount.source);
            let fetched = match fetch(&path, &options) {
                // A plain user has the right to it in the container only.
                Err(error) if error.errno == Errno::EPERM && !maps => None,
                fetched => Some(fetched?),
            };
            if let Some(fetched) = &fetched {
                ids::map(fetched, mount, &options, linux)?;
            }
            source = Some((path, fetched));
        } else {
            ensure!(!mount.kind.is_empty(), "it has no type");
            ensure!(
                !options.is_recursive_only(),
                "recursive attributes are for mounts that are bound"
            );
        }
        Ok(Prepared {
            mount: mount.clone(),
            options,
            destination: cleaned(&mount.destination),
            source,
        })
    }

    /// Fetches what could not be fetched outside. In the container's user and
    /// mount namespaces, before the root is the container's.
    pub(crate) fn fetch_rest(&mut self) -> anyhow::Result<()> {
        if let Some((path, fetched @ None)) = &mut self.source {
            *fetched = Some(fetch(path, &self.options)?);
        }
        Ok(())
    }

    /// Mounts it below `root`.
    pub(crate) fn mount(
        &self,
        root: &Path,
        cgroup: &Cgroup,
        label: &str,
    ) -> anyhow::Result<()> {
        let destination = &self.destination;
        let mount = || match &self.source {
            Some((_, Some(source))) => self.bind(root, source),
            _ if self.mount.kind.starts_with("cgroup") => {
                cgroups::mount(root, destination, cgroup, &self.options)
            }
            _ => self.mount_new(root, label),
        };
        mount().with_context(|| format!("mounting on {destination:?}"))?;
        self.propagate(root)
    }

    fn bind(&self, root: &Path, source: &OwnedFd) -> anyhow::Result<()> {
        let is_directory = file_type(&sys::fstat(source)?) == SFlag::S_IFDIR;
        self.options.change(source)?;
        let target = open_or_create(root, &self.destination, is_directory)?;
        is_below(root, &target)?;
        Ok(mount_api::attach(source, target)?)
    }

    fn mount_new(&self, root: &Path, label: &str) -> anyhow::Result<()> {
        let Mount { kind, source, .. } = &self.mount;
        let options = &self.options;
        let target = open_or_create(root, &self.destination, true)?;
        is_below(root, &target)?;
        // What is written below these must reach the kernel, and nobody else.
        if ["proc", "sysfs"].contains(&kind.as_str()) {
            let place = path_of(&target)?;
            let root = path_of(&open_directory(root)?)?;
            let expected = root.join(self.destination.strip_prefix("/")?);
            ensure!(place == expected, "a link in the image leads elsewhere");
        }
        let covered = match options.copy_up {
            true => Some(copy_up::open(root, &self.destination)?),
            false => None,
        };
        let mut data = options.data.clone();
        let has_label = ["tmpfs", "devpts", "mqueue", "ramfs"];
        if !label.is_empty() && has_label.contains(&kind.as_str()) {
            data.push(format!("context=\"{label}\""));
        }
        let data = data.join(",");
        let at = by_number(&target);
        // What is to be copied can't be written to a read-only mount.
        let late = match covered {
            Some(_) => options.flags & MsFlags::MS_RDONLY,
            None => MsFlags::empty(),
        };
        let flags = options.flags.difference(late);
        sys::mount(source.as_str(), at, kind.as_str(), flags, data.as_str())?;
        if let Some(covered) = covered {
            let mounted = open_mounted(root, &self.destination)?;
            copy_up::copy(&covered, &mounted)?;
        }
        if !late.is_empty() {
            let mounted = open_mounted(root, &self.destination)?;
            let read_only = libc::MOUNT_ATTR_RDONLY;
            mount_api::add_attributes(mounted, 0, read_only)?;
        }
        Ok(())
    }

    /// Where mounts below it go, as the options say.
    fn propagate(&self, root: &Path) -> anyhow::Result<()> {
        if self.options.bind {
            // It was done before it was attached.
            return Ok(());
        }
        for (propagation, flags) in &self.options.propagation {
            let mounted = open_mounted(root, &self.destination)?;
            let attr = libc::mount_attr {
                propagation: *propagation,
                ..sys::NO_ATTR
            };
            mount_api::set(mounted, *flags, &attr)?;
        }
        Ok(())
    }

    /// It brings a whole `/dev` of somebody else's.
    pub(crate) fn binds_dev(&self) -> bool {
        self.options.bind && self.destination == Path::new("/dev")
    }
}

/// A copy of the mount at `path`, which is one of the host's.
fn fetch(path: &Path, options: &Options) -> sys::Result<OwnedFd> {
    let recursive = if options.recursive {
        libc::AT_RECURSIVE
    } else {
        0
    };
    let fetched = mount_api::copy_as_it_is(path, recursive)?;
    let all = libc::AT_RECURSIVE;
    // Nobody has asked for anything: nothing goes in or out.
    let private = [(libc::MS_PRIVATE, all)];
    let asked_for = match &options.propagation[..] {
        [] => &private,
        asked_for => asked_for,
    };
    for (propagation, flags) in asked_for {
        let attr = libc::mount_attr {
            propagation: *propagation,
            ..sys::NO_ATTR
        };
        mount_api::set(&fetched, *flags, &attr)?;
    }
    Ok(fetched)
}

/// Makes the root file system what the file says about mounts below it, once it
/// is the root. See mount_namespaces(7).
pub(crate) fn propagate_root(propagation: &str) -> anyhow::Result<()> {
    let flags = match propagation {
        // It was made private with everything else.
        "" => return Ok(()),
        word => options::propagation(word)
            .with_context(|| format!("rootfsPropagation {word:?}"))?,
    };
    let (propagation, recursive) = flags;
    let mut flags = MsFlags::from_bits_retain(propagation);
    if recursive != 0 {
        flags |= MsFlags::MS_REC;
    }
    sys::mount(NULL, "/", NULL, flags, NULL)
        .context("setting the propagation of the root")
}
