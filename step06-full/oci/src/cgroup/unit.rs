//! What `cgroupsPath` means where systemd makes the cgroups: a unit of its, and
//! the slice that the unit is in.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use common::host::cgroups::Layout;

use super::{limits::Limits, plan};
use crate::systemd::{self, Held, Scope};

/// A unit for a container.
#[derive(Debug, PartialEq)]
pub(super) struct Unit {
    /// `libpod-1.scope`
    pub(super) name: String,
    /// `machine.slice`
    pub(super) slice: String,
}

impl Unit {
    /// Understands `slice:prefix:name`.
    pub(super) fn parse(text: &str, id: &str) -> anyhow::Result<Unit> {
        Unit::parse_with(text, id, systemd::usual_slice())
    }

    fn parse_with(text: &str, id: &str, usual: &str) -> anyhow::Result<Unit> {
        let parts: Vec<&str> = match text {
            "" => vec!["", "step06-oci", id],
            text => text.split(':').collect(),
        };
        let [slice, prefix, name] = parts[..] else {
            bail!(
                "linux.cgroupsPath: with --systemd-cgroup it is \
                 slice:prefix:name, and not {text:?}"
            );
        };
        ensure!(
            !name.is_empty() && [prefix, name].into_iter().all(is_clean),
            "linux.cgroupsPath: {text:?} has no name of a unit in it"
        );
        let slice = match slice {
            "" => usual,
            slice => slice,
        };
        path_of(slice)?;
        ensure!(
            !name.ends_with(".slice"),
            "linux.cgroupsPath: {name:?} is a slice, which has units in it and \
             no processes"
        );
        Ok(Unit {
            name: match prefix {
                "" => format!("{name}.scope"),
                prefix => format!("{prefix}-{name}.scope"),
            },
            slice: slice.to_owned(),
        })
    }

    /// Where systemd would make its cgroup. Where no systemd is running we do, so
    /// that it is where the engine looks for it.
    pub(super) fn path(&self) -> anyhow::Result<PathBuf> {
        Ok(path_of(&self.slice)?.join(&self.name))
    }
}

/// The container's cgroup in a scope. The scope's own is systemd's to change.
pub(super) const BELOW: &str = "container";

/// Has systemd make the scope.
pub(super) fn start(
    scope: &Scope,
    slice: &str,
    layout: &Layout,
    limits: &Limits,
) -> anyhow::Result<Held> {
    ensure!(
        plan::is_unified(layout),
        "--systemd-cgroup: with cgroups of version 1 a scope has no more than \
         some of them; have the engine use cgroupfs (podman --cgroup-manager \
         cgroupfs, containerd SystemdCgroup = false)"
    );
    Held::start(scope, slice, &limits.properties())
}

/// Whether it may be in the name of a unit. See systemd.unit(5).
fn is_clean(text: &str) -> bool {
    let is_good =
        |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    text.bytes().all(is_good)
}

/// A slice is in those whose names its own begins with: `a-b.slice` is in
/// `a.slice`. See systemd.slice(5).
fn path_of(slice: &str) -> anyhow::Result<PathBuf> {
    if slice == "-.slice" {
        return Ok(PathBuf::new());
    }
    let name = slice.strip_suffix(".slice").unwrap_or_default();
    ensure!(
        !name.is_empty()
            && is_clean(name)
            && name.split('-').all(|part| !part.is_empty()),
        "linux.cgroupsPath: {slice:?} is not the name of a slice"
    );
    let ends = name.match_indices('-').map(|(at, _)| at);
    let ends = ends.chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", &name[..end])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<PathBuf, String> {
        let unit = Unit::parse_with(text, "id", "system.slice");
        let unit = unit.and_then(|unit| unit.path());
        unit.map_err(|error| error.to_string())
    }

    #[test]
    fn a_scope_is_where_systemd_has_it() {
        for (text, place) in [
            ("machine.slice:libpod:1", "machine.slice/libpod-1.scope"),
            (
                "kubepods-besteffort-pod1.slice:cri:x",
                "kubepods.slice/kubepods-besteffort.slice/\
                 kubepods-besteffort-pod1.slice/cri-x.scope",
            ),
            ("-.slice::x", "x.scope"),
            ("", "system.slice/step06-oci-id.scope"),
            (":libpod:1", "system.slice/libpod-1.scope"),
        ] {
            assert_eq!(path(text), Ok(place.into()), "{text}");
        }
    }

    /// As with runc, whose user's systemd has no system.slice.
    #[test]
    fn a_plain_user_has_a_slice_of_its_own() {
        let unit = Unit::parse("", "id").expect("it is one");
        let is_root = nix::unistd::geteuid().is_root();
        let is_first = common::host::machine::in_initial_user_namespace();
        let expected = match is_root && is_first {
            true => "system.slice",
            false => "user.slice",
        };
        assert_eq!(unit.slice, expected);
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for text in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a.slice:b:",
            "a.slice:../x:y",
            "../..:x:y",
            "../...slice:x:y",
            "a/b.slice:x:y",
            "a--b.slice:c:d",
            "-a.slice:c:d",
            "a.slice:b:c.slice",
            "a.slice:b:c d",
            "a.slice:b:c\nd",
            "a.slice:b:\u{e9}",
        ] {
            path(text).expect_err(text);
        }
    }
}
