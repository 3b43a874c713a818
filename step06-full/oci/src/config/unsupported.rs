//! What the specification knows and this runtime does not do: it is refused by
//! its name. To leave it out in silence would be a container that is less, or
//! less closed, than its maker believes.

use anyhow::bail;
use serde_json::Value;

/// Paths in `config.json`.
const CONFIG: &[&str] = &[
    "/freebsd",
    "/linux/intelRdt",
    "/solaris",
    "/vm",
    "/windows",
    "/zos",
];

/// Paths in `process`.
const PROCESS: &[&str] = &["/commandLine"];

/// Refuses what is in `config` and not obeyed.
pub(super) fn in_config(config: &Value) -> anyhow::Result<()> {
    refuse(config, "", CONFIG)?;
    if let Some(process) = config.get("process") {
        refuse(process, "/process", PROCESS)?;
    }
    Ok(())
}

/// Refuses what is in `process` and not obeyed.
pub(super) fn in_process(process: &Value) -> anyhow::Result<()> {
    refuse(process, "", PROCESS)
}

fn refuse(value: &Value, place: &str, list: &[&str]) -> anyhow::Result<()> {
    for path in list {
        if value.pointer(path).is_some_and(says_something) {
            let name = format!("{place}{path}").replace('/', ".");
            bail!("{} is not supported", name.trim_start_matches('.'));
        }
    }
    Ok(())
}

/// An empty object or list asks for nothing.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}
