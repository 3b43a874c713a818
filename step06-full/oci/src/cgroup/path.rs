//! Where the container's cgroup is: `linux.cgroupsPath`.

use std::path::{Component, Path, PathBuf};

use anyhow::{bail, ensure};
use common::host::cgroups::{Hierarchy, Version};

/// What `cgroupsPath` leads to, in whatever tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// A path from the topmost cgroup.
    Below(PathBuf),
    /// A path from where the runtime is itself.
    BesideUs(PathBuf),
}

/// Where systemd says that it is running: see sd_booted(3).
const SYSTEMD: &str = "/run/systemd/system";

impl Wanted {
    /// Understands `cgroupsPath`; for `--systemd-cgroup` it is
    /// `slice:prefix:name`.
    pub(super) fn parse(
        cgroups_path: Option<&str>,
        id: &str,
        systemd: bool,
    ) -> anyhow::Result<Wanted> {
        let text = cgroups_path.unwrap_or_default();
        if systemd {
            ensure!(
                !Path::new(SYSTEMD).exists(),
                "--systemd-cgroup: systemd is running, and a scope of its is \
                 to be asked for over D-Bus, which this runtime does not do; \
                 have the engine use cgroupfs (podman --cgroup-manager \
                 cgroupfs, containerd SystemdCgroup = false)"
            );
            return Ok(Wanted::Below(scope(text, id)?));
        }
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

/// The path of the scope that systemd would make for `slice:prefix:name`. Where
/// no systemd is running we make it, so that it is where the engine looks for it.
fn scope(text: &str, id: &str) -> anyhow::Result<PathBuf> {
    let parts: Vec<&str> = match text {
        "" => vec!["system.slice", "step06-oci", id],
        text => text.split(':').collect(),
    };
    let [slice, prefix, name] = parts[..] else {
        bail!(
            "linux.cgroupsPath: with --systemd-cgroup it is slice:prefix:name, \
             and not {text:?}"
        );
    };
    ensure!(
        !text.contains('/') && !name.is_empty() && name != "." && name != "..",
        "linux.cgroupsPath: {text:?} has no name of a unit in it"
    );
    let mut path = slices(slice)?;
    path.push(match (name.ends_with(".slice"), prefix) {
        (true, _) => name.to_owned(),
        (false, "") => format!("{name}.scope"),
        (false, prefix) => format!("{prefix}-{name}.scope"),
    });
    Ok(path)
}

/// A slice is in those whose names its own begins with: `a-b.slice` is in
/// `a.slice`. See systemd.slice(5).
fn slices(slice: &str) -> anyhow::Result<PathBuf> {
    let slice = if slice.is_empty() {
        "system.slice"
    } else {
        slice
    };
    if slice == "-.slice" {
        return Ok(PathBuf::new());
    }
    let name = slice.strip_suffix(".slice").unwrap_or_default();
    ensure!(
        !name.is_empty() && name.split('-').all(|part| !part.is_empty()),
        "linux.cgroupsPath: {slice:?} is not the name of a slice"
    );
    let ends = name.match_indices('-').map(|(at, _)| at);
    let ends = ends.chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", &name[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str, systemd: bool) -> Result<Wanted, String> {
        Wanted::parse(Some(path), "id", systemd)
            .map_err(|error| error.to_string())
    }

    fn below(path: &str) -> Result<Wanted, String> {
        Ok(Wanted::Below(path.into()))
    }

    #[test]
    fn a_path_begins_at_the_top_or_at_us() {
        assert_eq!(parse("/default/k1", false), below("default/k1"));
        assert_eq!(parse("//a/./b/", false), below("a/b"));
        let beside = |path: &str| Ok(Wanted::BesideUs(path.into()));
        assert_eq!(parse("a/b", false), beside("a/b"));
        assert_eq!(parse("", false), beside("step06-oci-id"));
    }

    #[test]
    fn a_path_leads_to_a_cgroup_of_its_own() {
        for path in ["/", "/..", "../a", "/a/../../b", "/.", "."] {
            parse(path, false).expect_err(path);
        }
    }

    #[test]
    fn a_scope_is_where_systemd_would_have_it() {
        if Path::new(SYSTEMD).exists() {
            let error = parse("a.slice:b:c", true).expect_err("refused");
            assert!(error.contains("cgroupfs"), "{error}");
            return;
        }
        let one = parse("machine.slice:libpod:1", true);
        assert_eq!(one, below("machine.slice/libpod-1.scope"));
        let deep = parse("kubepods-besteffort-pod1.slice:cri:x", true);
        assert_eq!(
            deep,
            below(
                "kubepods.slice/kubepods-besteffort.slice/\
                 kubepods-besteffort-pod1.slice/cri-x.scope"
            )
        );
        assert_eq!(parse("-.slice::x", true), below("x.scope"));
        for bad in [
            "/a/b",
            "a:b",
            "a.slice:b:",
            "a.slice:../x:y",
            "a--b.slice:c:d",
        ] {
            parse(bad, true).expect_err(bad);
        }
    }
}
