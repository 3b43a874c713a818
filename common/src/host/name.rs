//! What this program is called.

use std::{path::Path, sync::OnceLock};

/// The project's name: in cache directories and in the names of cgroups.
pub const PROJECT: &str = "container-in-six-steps";

/// The name under which this program was started, without directories:
/// `step03-mount`. It begins every message.
pub fn program_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let argv0 = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&argv0).file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    })
}
