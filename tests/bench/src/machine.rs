//! What the figures depend on: the machine and the versions of the tools.

use std::{fs, path::Path, process::Command, thread::available_parallelism};

use serde::{Deserialize, Serialize};

/// Where a report comes from.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) cgroups: String,
    pub(crate) user: String,
    pub(crate) rootfs: String,
    /// Tool and version.
    pub(crate) versions: Vec<(String, String)>,
}

impl Machine {
    pub(crate) fn describe(cgroups: &str, busybox: bool) -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .map(|rest| rest.trim_start_matches(['\t', ' ', ':']).to_owned());
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processors: available_parallelism().map_or(1, |it| it.get()),
            processor: processor.unwrap_or_default(),
            cgroups: cgroups.to_owned(),
            user: match nix::unistd::geteuid().is_root() {
                true => "root".to_owned(),
                false => "a plain user".to_owned(),
            },
            rootfs: match busybox {
                true => "static BusyBox".to_owned(),
                false => "one static C program".to_owned(),
            },
            versions: Vec::new(),
        }
    }
}

/// A tool's name, and the first number with a dot in what it says of its
/// version.
pub(crate) fn version(tool: &Path) -> Option<(String, String)> {
    let name = tool.file_name()?.to_string_lossy().into_owned();
    let output = Command::new(tool).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().find(|word| {
        word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit())
    });
    let number = number.or_else(|| text.split_whitespace().nth(1))?;
    Some((name, number.trim_matches(['(', ')', ',']).to_owned()))
}
