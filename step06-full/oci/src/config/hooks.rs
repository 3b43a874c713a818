//! `hooks`: programs that are run at points of the container's life.

use serde::{Deserialize, Serialize};

/// The six lists, in the order in which they are run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Hooks {
    /// Deprecated, and what Docker's network is.
    #[serde(rename = "prestart")]
    pub(crate) before_start: Vec<Hook>,
    pub(crate) create_runtime: Vec<Hook>,
    pub(crate) create_container: Vec<Hook>,
    pub(crate) start_container: Vec<Hook>,
    #[serde(rename = "poststart")]
    pub(crate) after_start: Vec<Hook>,
    #[serde(rename = "poststop")]
    pub(crate) after_stop: Vec<Hook>,
}

/// One program.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Hook {
    /// Absolute.
    pub(crate) path: String,
    /// The first is what it is called, as for execv(3).
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    /// In seconds; then it is killed.
    pub(crate) timeout: Option<i64>,
}

impl Hooks {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Hook> {
        self.before_start
            .iter()
            .chain(&self.create_runtime)
            .chain(&self.create_container)
            .chain(&self.start_container)
            .chain(&self.after_start)
            .chain(&self.after_stop)
    }
}
