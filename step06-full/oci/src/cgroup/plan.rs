//! Making a cgroup: where it will be, and then the directories.

use std::{fs, path::Path};

use anyhow::{Context, Error, bail};
use common::{
    host::{
        cgroups::{Hierarchy, Layout, Version},
        files::{read_kernel_file, write_kernel_file},
        machine::in_initial_user_namespace,
    },
    sys,
};
use nix::{errno::Errno, unistd::geteuid};

use super::{
    path::Wanted,
    place::{Part, Place},
    processes,
};

/// A cgroup that is to be made.
pub(super) struct Plan<'a> {
    /// Where it will be. A part of it that a plain user can't have is missing
    /// afterwards.
    pub(super) place: Place,
    /// For each part of it, its tree, and the controllers by which something is
    /// limited there.
    trees: Vec<(Hierarchy, Vec<&'a str>)>,
    /// All of these controllers.
    needed: &'a [&'a str],
}

/// The controllers of version 2 that are enabled if they are there, whatever is
/// limited: engines read what they count.
const COUNTED: [&str; 6] = ["cpu", "memory", "pids", "io", "cpuset", "hugetlb"];

/// What is no controller of version 2, since each cgroup has it.
const ALWAYS: [&str; 2] = ["devices", "freezer"];

impl<'a> Plan<'a> {
    /// A directory in each tree that the machine has. `needed` are the
    /// controllers by which something is limited.
    ///
    /// # Errors
    /// Somebody is there: a path of the bundle's may lead to a cgroup of
    /// somebody else, whose processes would end with this container.
    pub(super) fn of(
        wanted: &Wanted,
        layout: &Layout,
        needed: &'a [&'a str],
    ) -> anyhow::Result<Plan<'a>> {
        let mut plan = Plan {
            place: Place::default(),
            trees: Vec::new(),
            needed,
        };
        let trees = layout.trees();
        let on_v1: Vec<&str> =
            trees.iter().flat_map(|(its, _)| its.clone()).collect();
        let is_alone = trees.len() == 1;
        for (controllers, tree) in trees {
            let is_v2 = tree.version == Version::V2;
            let here: Vec<&str> = match is_v2 {
                false => keep(needed, |it| controllers.contains(it)),
                true => keep(needed, |it| !on_v1.contains(it)),
            };
            // Beside trees of version 1 only for what they don't have.
            if !is_v2 || is_alone || !here.is_empty() {
                plan.add(wanted, tree, &controllers, here)?;
            }
        }
        Ok(plan)
    }

    fn add(
        &mut self,
        wanted: &Wanted,
        tree: Hierarchy,
        controllers: &[&str],
        needed: Vec<&'a str>,
    ) -> anyhow::Result<()> {
        let directory = wanted.directory(&tree);
        let name = tree.mount_point.file_name().unwrap_or_default();
        processes::expect_none(&directory)?;
        self.place.parts.push(Part {
            tree: name.to_string_lossy().into_owned(),
            controllers: controllers.iter().map(|it| (*it).into()).collect(),
            is_v2: tree.version == Version::V2,
            directory,
        });
        self.trees.push((tree, needed));
        Ok(())
    }

    /// Makes all directories. If it can't be done, none of them is left.
    pub(super) fn make(self) -> anyhow::Result<Place> {
        let mut made = Place::default();
        let result = self
            .make_in(&mut made)
            .and_then(|()| made.check(self.needed));
        match result.context("making the container's cgroup") {
            Ok(()) => Ok(made),
            // The first error is the one to be told.
            Err(error) => {
                let _ = processes::remove(&made);
                Err(error)
            }
        }
    }

    fn make_in(&self, made: &mut Place) -> anyhow::Result<()> {
        for (part, (tree, needed)) in self.place.parts.iter().zip(&self.trees) {
            let mut part = part.clone();
            if !make_directory(&part.directory, needed)? {
                continue;
            }
            made.parts.push(part.clone());
            if part.is_v2 {
                part.controllers = enable(tree, &part.directory, needed)?;
                made.parts.pop();
                made.parts.push(part);
            } else if part.controllers.iter().any(|it| it == "cpuset") {
                fill_cpuset(&tree.mount_point, &part.directory)?;
            }
        }
        Ok(())
    }
}

/// Whether there is the tree of version 2 alone.
pub(super) fn is_unified(layout: &Layout) -> bool {
    let trees = layout.trees();
    trees.iter().all(|(_, tree)| tree.version == Version::V2)
}

fn keep<'a>(
    names: &[&'a str],
    which: impl Fn(&&'a str) -> bool,
) -> Vec<&'a str> {
    names.iter().copied().filter(which).collect()
}

/// Makes a cgroup, unless the tree is for root and it is not needed there.
fn make_directory(directory: &Path, needed: &[&str]) -> anyhow::Result<bool> {
    match make_with_parents(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.errno == Errno::EEXIST => Ok(true),
        Err(error) if !is_for_root(error.errno) => bail!(error),
        Err(_) if needed.is_empty() => Ok(false),
        Err(error) => Err(Error::from(error).context("no delegated cgroup")),
    }
}

/// Makes a cgroup, and those above it that are missing. They stay: the engine
/// named them, and may use them for more than one container.
fn make_with_parents(directory: &Path) -> sys::Result<()> {
    match (step04_cgroups::make(directory), directory.parent()) {
        (Err(error), Some(parent)) if error.errno == Errno::ENOENT => {
            match make_with_parents(parent) {
                Err(error) if error.errno != Errno::EEXIST => Err(error),
                _ => step04_cgroups::make(directory),
            }
        }
        (made, _) => made,
    }
}

/// Whether the tree is somebody else's, and we are no root who could be expected
/// to have it.
fn is_for_root(errno: Errno) -> bool {
    let refused = [Errno::EACCES, Errno::EPERM, Errno::EROFS].contains(&errno);
    refused && !(geteuid().is_root() && in_initial_user_namespace())
}

/// Enables the controllers for a cgroup of version 2, and returns those that
/// work there.
fn enable(
    tree: &Hierarchy,
    directory: &Path,
    needed: &[&str],
) -> anyhow::Result<Vec<String>> {
    let parent = directory.parent().unwrap_or(directory);
    let mut enabled = ALWAYS.map(str::to_owned).to_vec();
    for controller in needed.iter().filter(|it| !ALWAYS.contains(it)) {
        step04_cgroups::enable(controller, tree, parent)?;
        enabled.push((*controller).to_owned());
    }
    for controller in COUNTED.iter().filter(|it| !needed.contains(it)) {
        if step04_cgroups::enable(controller, tree, parent).is_ok() {
            enabled.push((*controller).to_owned());
        }
    }
    Ok(enabled)
}

/// On version 1 a new cpuset is empty, and takes no process: it gets what the
/// one above it has, level by level.
fn fill_cpuset(top: &Path, directory: &Path) -> anyhow::Result<()> {
    let mut above = top.to_owned();
    for name in directory.strip_prefix(top)? {
        let cgroup = above.join(name);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(cgroup.join(file))?.trim().is_empty() {
                let those = read_kernel_file(above.join(file))?;
                let those = String::from_utf8_lossy(&those);
                write_kernel_file(cgroup.join(file), those.trim())?;
            }
        }
        above = cgroup;
    }
    Ok(())
}
