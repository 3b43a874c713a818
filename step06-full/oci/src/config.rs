//! `config.json`, as the specification has it: one structure an object.
//!
//! A key that nobody knows is ignored, as the specification wants it. A key that
//! is known and not obeyed is an error: see [`unsupported`]. What the values may
//! be is known to those who obey them: see [`crate::check`].

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::Path,
};

use anyhow::{Context, ensure};
use common::sys;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) mod hooks;
pub(crate) mod linux;
pub(crate) mod process;
pub(crate) mod resources;
pub(crate) mod seccomp;
mod unsupported;

pub(crate) use hooks::{Hook, Hooks};
pub(crate) use linux::{Device, Linux, Mapping, Namespace};
pub(crate) use process::{Capabilities, Process, User};

/// The version of the specification that this is written by.
pub(crate) const VERSION: &str = "1.3.0";

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) oci_version: String,
    pub(crate) root: Option<Root>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) process: Option<Process>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) hooks: Hooks,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) linux: Linux,
}

/// `root`: the root file system.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Root {
    /// A directory, absolute or below the bundle.
    pub(crate) path: String,
    pub(crate) readonly: bool,
}

/// One of `mounts`, which are made in their order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Mount {
    pub(crate) destination: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) options: Vec<String>,
    /// Whom its files belong to, in the container.
    #[serde(rename = "uidMappings")]
    pub(crate) uid_mappings: Vec<Mapping>,
    #[serde(rename = "gidMappings")]
    pub(crate) gid_mappings: Vec<Mapping>,
}

impl Config {
    /// Reads the file `path` in a bundle.
    ///
    /// # Errors
    /// It is not there or not JSON, or asks for what this runtime does not do.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Config> {
        let text = read(path).with_context(|| format!("reading {path:?}"))?;
        checked(&text, unsupported::in_config)
            .with_context(|| format!("{path:?}"))
    }

    /// The process. A container may be made without one, and can't be started.
    pub(crate) fn process(&self) -> Process {
        self.process.clone().unwrap_or_else(|| Process {
            cwd: "/".into(),
            ..Process::default()
        })
    }
}

/// How long a `config.json` may be.
const LONGEST: u64 = 64 << 20;

/// Reads a file of the bundle's, which could be a pipe, or have no end.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::from(sys::open(path, flags, 0)?);
    ensure!(file.metadata()?.is_file(), "it is no regular file");
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text)?;
    ensure!(text.len() as u64 <= LONGEST, "it is too long");
    Ok(text)
}

impl Process {
    /// Reads a `process.json`, which is what `process` is in a `config.json`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Process> {
        let text =
            fs::read(path).with_context(|| format!("reading {path:?}"))?;
        checked(&text, unsupported::in_process)
            .with_context(|| format!("{path:?}"))
    }
}

/// Reads JSON, after `refuse` has seen all of it.
pub(crate) fn checked<T: serde::de::DeserializeOwned>(
    text: &[u8],
    refuse: impl Fn(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<T> {
    let mut value = serde_json::from_slice(text)?;
    without_nulls(&mut value);
    ensure!(value.is_object(), "it is no object");
    refuse(&value)?;
    Ok(serde_json::from_value(value)?)
}

/// Takes away the members that are `null`: a list that is not there is written
/// so by programs in Go.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(elements) => {
            elements.iter_mut().for_each(without_nulls);
        }
        _ => {}
    }
}
