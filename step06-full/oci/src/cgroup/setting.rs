//! A limit, as the kernel wants it: a value for a file.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use common::{errors, host::files::write_kernel_file};
use nix::errno::Errno;

/// What is to be written to a file of a cgroup.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// The field of `linux.resources` that says so.
    pub(super) field: String,
    /// The controller that has the file.
    pub(super) controller: String,
    /// Files that would do, and the value for each: the first that is there
    /// gets it.
    pub(super) files: Vec<(String, String)>,
}

impl Setting {
    /// The part of the file's name before the first dot is the controller's.
    pub(super) fn new(
        field: &str,
        file: &str,
        value: impl ToString,
    ) -> Setting {
        let controller = file.split('.').next().unwrap_or_default();
        Setting {
            field: field.to_owned(),
            controller: controller.to_owned(),
            files: vec![(file.to_owned(), value.to_string())],
        }
    }

    /// A file that will do where the kernel has none of those before.
    pub(super) fn or(mut self, file: &str, value: impl ToString) -> Setting {
        self.files.push((file.to_owned(), value.to_string()));
        self
    }

    fn write(&self, cgroup: &Path) -> anyhow::Result<()> {
        let aim = || format!("linux.resources.{}", self.field);
        for (file, value) in &self.files {
            // A part of the name may be from the bundle.
            ensure!(!file.contains('/'), "{}: what is {file:?}?", aim());
            match write_kernel_file(cgroup.join(file), value) {
                Err(error) if error.errno == Errno::ENOENT => {}
                written => return written.with_context(aim),
            }
        }
        let names: Vec<&str> =
            self.files.iter().map(|(file, _)| file.as_str()).collect();
        bail!("{}: this kernel has no {}", aim(), names.join(", nor "))
    }
}

/// Writes all of them.
///
/// Some bound each other, such as memory, and memory with swap: in which order
/// the kernel takes them depends on what was there before. So what it finds
/// invalid is tried once more after the others.
pub(super) fn write_all<'a>(
    settings: impl Iterator<Item = &'a Setting>,
    cgroup: &Path,
) -> anyhow::Result<()> {
    let mut again = Vec::new();
    for setting in settings {
        match setting.write(cgroup) {
            Err(error) if errors::errno(&error) == Some(Errno::EINVAL) => {
                again.push(setting);
            }
            written => written?,
        }
    }
    again.into_iter().try_for_each(|it| it.write(cgroup))
}

/// `max` for what has no limit, as version 2 writes it.
pub(super) fn or_max(limit: i64) -> String {
    match limit {
        ..0 => "max".into(),
        limit => limit.to_string(),
    }
}

/// A number that is there: engines write 0 for what they were not asked for.
pub(super) fn given<N: Default + PartialEq>(number: Option<N>) -> Option<N> {
    number.filter(|number| *number != N::default())
}
