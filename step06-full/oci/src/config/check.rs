//! What the specification forbids, and what only fits together in some ways.

use anyhow::{Context, bail, ensure};

use super::{Config, Process};
use crate::namespaces;

impl Config {
    /// Looks at all that can be judged from the file alone.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.check_version()?;
        let root = self.root.as_ref().context("there is no root in it")?;
        ensure!(!root.path.is_empty(), "root.path is empty");
        self.check_namespaces()?;
        for hook in self.hooks.all() {
            let path = &hook.path;
            ensure!(path.starts_with('/'), "hook {path:?} is not absolute");
            let timeout = hook.timeout.unwrap_or(1);
            ensure!(timeout > 0, "the timeout of hook {path:?} is {timeout}");
        }
        for mount in &self.mounts {
            ensure!(
                !mount.destination.is_empty(),
                "a mount has no destination"
            );
        }
        for annotation in self.annotations.keys() {
            ensure!(!annotation.is_empty(), "an annotation has no name");
        }
        if let Some(policy) = &self.linux.memory_policy {
            policy.check()?;
        }
        crate::clocks::check(&self.linux)?;
        crate::interfaces::check(&self.linux)?;
        self.process.as_ref().map_or(Ok(()), Process::check)
    }

    fn check_version(&self) -> anyhow::Result<()> {
        let version = &self.oci_version;
        let numbers = version.split(['-', '+']).next().unwrap_or_default();
        let parts: Vec<&str> = numbers.split('.').collect();
        let is_number = |part: &&str| {
            !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit())
        };
        ensure!(
            parts.len() == 3 && parts.iter().all(is_number),
            "ociVersion {version:?} is no version"
        );
        ensure!(
            parts[0] == "1",
            "ociVersion {version} is not supported: 1.0.0 to {}",
            super::VERSION
        );
        Ok(())
    }

    fn check_namespaces(&self) -> anyhow::Result<()> {
        let linux = &self.linux;
        for (at, namespace) in linux.namespaces.iter().enumerate() {
            let kind = &namespace.kind;
            namespaces::flag(kind)?;
            if let Some(path) = &namespace.path {
                ensure!(
                    path.starts_with('/') || path.is_empty(),
                    "the path of namespace {kind}, {path:?}, is not absolute"
                );
            }
            let same = |other: &&super::Namespace| other.kind == *kind;
            ensure!(
                !linux.namespaces[..at].iter().any(|it| same(&it)),
                "namespace {kind} is there twice"
            );
        }
        let needs = |is_there: bool, what: &str, kind: &str| {
            ensure!(
                !is_there || linux.has_namespace(kind),
                "{what} needs a namespace {kind}: it would be the host's"
            );
            Ok(())
        };
        let is_set = |text: &Option<String>| {
            text.as_ref().is_some_and(|it| !it.is_empty())
        };
        needs(is_set(&self.hostname), "hostname", "uts")?;
        needs(is_set(&self.domainname), "domainname", "uts")?;
        // To go back to one of the host's takes rights that end at its border.
        needs(linux.has_namespace("user"), "a namespace user", "mount")?;
        let maps =
            !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
        if linux.makes_namespace("user") {
            ensure!(maps, "a new namespace user needs uidMappings");
        }
        needs(maps, "uidMappings", "user")
    }
}

impl Process {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.args.is_empty(), "process.args is empty");
        ensure!(
            self.cwd.starts_with('/'),
            "process.cwd, {:?}, is not absolute",
            self.cwd
        );
        for (at, limit) in self.rlimits.iter().enumerate() {
            let kind = &limit.kind;
            crate::limits::resource(kind)?;
            // The specification: two of a type are an error.
            if self.rlimits[..at].iter().any(|it| it.kind == *kind) {
                bail!("process.rlimits has {kind} twice");
            }
        }
        crate::scheduling::check(self)?;
        self.affinity.check()?;
        let user = &self.user;
        let mut ids = user.additional_gids.iter().chain([&user.uid, &user.gid]);
        // To the kernel it means: as before, which is root.
        ensure!(
            ids.all(|id| *id != u32::MAX),
            "process.user: there is no id {}",
            u32::MAX
        );
        for text in self.args.iter().chain(&self.env) {
            ensure!(!text.contains('\0'), "there is a NUL in {text:?}");
        }
        self.capabilities.as_ref().map_or(Ok(()), |sets| {
            crate::capabilities::Sets::of(sets).map(drop)
        })
    }
}

impl super::Linux {
    /// The namespace `kind` is listed, with a path or without.
    pub(crate) fn has_namespace(&self, kind: &str) -> bool {
        self.namespaces.iter().any(|it| it.kind == kind)
    }

    /// A new namespace of that kind is asked for.
    pub(crate) fn makes_namespace(&self, kind: &str) -> bool {
        let mut namespaces = self.namespaces.iter();
        namespaces.any(|it| it.kind == kind && it.path().is_none())
    }
}

impl super::Namespace {
    /// The namespace that is to be entered.
    pub(crate) fn path(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| !path.is_empty())
    }
}
