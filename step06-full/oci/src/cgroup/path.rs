//! Where the container's cgroup is: `linux.cgroupsPath`.

use std::path::{Component, Path, PathBuf};

use anyhow::ensure;
use common::host::cgroups::{Hierarchy, Version};

/// As deep as a path may lead: those above the container's stay, and thousands
/// of them would slow down the whole machine.
const DEEPEST: usize = 64;

/// What `cgroupsPath` leads to, in whatever tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// A path from the topmost cgroup.
    Below(PathBuf),
    /// A path from where the runtime is itself.
    BesideUs(PathBuf),
    /// A directory, in the only tree.
    At(PathBuf),
}

impl Wanted {
    /// Understands `cgroupsPath`, where it is a path.
    pub(super) fn parse(text: &str, id: &str) -> anyhow::Result<Wanted> {
        if text.is_empty() {
            return Ok(Wanted::BesideUs(format!("step06-oci-{id}").into()));
        }
        let path = Path::new(text);
        for part in path.components() {
            // A name of the bundle's must not lead to somebody else's.
            ensure!(
                part != Component::ParentDir,
                "linux.cgroupsPath: {text:?} leads upwards"
            );
        }
        ensure!(
            path.components().count() <= DEEPEST,
            "linux.cgroupsPath: deeper than {DEEPEST} cgroups"
        );
        let below = path.strip_prefix("/").ok();
        let names = below.unwrap_or(path).components();
        let names: PathBuf =
            names.filter(|it| *it != Component::CurDir).collect();
        ensure!(
            names != Path::new(""),
            "linux.cgroupsPath: {text:?} is everybody's"
        );
        Ok(match below {
            Some(_) => Wanted::Below(names),
            None => Wanted::BesideUs(names),
        })
    }

    /// Its directory in this tree.
    pub(super) fn directory(&self, tree: &Hierarchy) -> PathBuf {
        match self {
            Wanted::At(directory) => directory.clone(),
            Wanted::Below(path) => tree.mount_point.join(path),
            Wanted::BesideUs(path) => match tree.version {
                Version::V1 => tree.own.join(path),
                // Ours has processes: on version 2 it can have no limits for
                // others.
                Version::V2 => {
                    let parent = tree.parent_of(&tree.own);
                    parent.unwrap_or(&tree.own).join(path)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Wanted, String> {
        Wanted::parse(path, "id").map_err(|error| error.to_string())
    }

    fn below(path: &str) -> Result<Wanted, String> {
        Ok(Wanted::Below(path.into()))
    }

    #[test]
    fn a_path_begins_at_the_top_or_at_us() {
        assert_eq!(parse("/default/k1"), below("default/k1"));
        assert_eq!(parse("//a/./b/"), below("a/b"));
        let beside = |path: &str| Ok(Wanted::BesideUs(path.into()));
        assert_eq!(parse("a/b"), beside("a/b"));
        assert_eq!(parse(""), beside("step06-oci-id"));
    }

    #[test]
    fn a_path_leads_to_a_cgroup_of_its_own() {
        for path in ["/", "/..", "../a", "/a/../../b", "/.", "."] {
            parse(path).expect_err(path);
        }
        parse(&"/a".repeat(DEEPEST)).expect_err("it is too deep");
        parse(&"a/".repeat(DEEPEST)).expect("it is not");
    }
}
