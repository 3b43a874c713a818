//! What the specification forbids, and what only fits together in some ways: the
//! files of a caller, read and judged.
//!
//! Who obeys a value knows what it may be, so this asks them all; and none of
//! them has to know this.

use anyhow::{Context, bail, ensure};

use std::path::Path;

use crate::{
    capabilities::Sets,
    clocks,
    config::{self, Config, Namespace, Process},
    interfaces, limits, namespaces, scheduling,
};

/// Reads `config.json` in `bundle`, and looks at what it says.
///
/// # Errors
/// It can't be read, says what the specification forbids, or asks for what this
/// runtime does not do.
pub(crate) fn config(bundle: &Path) -> anyhow::Result<Config> {
    let path = bundle.join("config.json");
    let config = Config::read(&path)?;
    config.check().with_context(|| format!("{path:?}"))?;
    Ok(config)
}

/// The same for a `process.json`.
pub(crate) fn process(path: &Path) -> anyhow::Result<Process> {
    let process = Process::read(path)?;
    process.check().with_context(|| format!("{path:?}"))?;
    Ok(process)
}

impl Config {
    /// Looks at all that can be judged from the file alone.
    fn check(&self) -> anyhow::Result<()> {
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
        clocks::check(&self.linux)?;
        interfaces::check(&self.linux)?;
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
            config::VERSION
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
            let same = |other: &&Namespace| other.kind == *kind;
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
            limits::resource(kind)?;
            // The specification: two of a type are an error.
            if self.rlimits[..at].iter().any(|it| it.kind == *kind) {
                bail!("process.rlimits has {kind} twice");
            }
        }
        scheduling::check(self)?;
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
        self.capabilities
            .as_ref()
            .map_or(Ok(()), |sets| Sets::of(sets).map(drop))
    }
}
