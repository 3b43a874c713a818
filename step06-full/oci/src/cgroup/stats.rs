//! What a container has used: `events --stats`.
//!
//! The shape is runc's, whose readers expect each key to be there.

use std::{fs, path::Path};

use anyhow::ensure;
use serde_json::{Map, Value, json};

use super::place::Place;
use crate::config::resources::Memory;

mod v1;

mod v2;

/// What is printed as `data`.
pub(super) fn of(place: &Place) -> Value {
    match place.unified() {
        Some(directory) => v2::of(directory),
        None => v1::of(place),
    }
}

/// Whether the container uses less than it is to get, if that is to be looked
/// at: the kernel would kill processes to get there.
pub(super) fn check_use(place: &Place, memory: &Memory) -> anyhow::Result<()> {
    let (Some(limit), Some(true)) = (memory.limit, memory.check_before_update)
    else {
        return Ok(());
    };
    let used = memory_in_use(place);
    ensure!(
        limit < 0 || used.is_none_or(|used| used <= limit.cast_unsigned()),
        "linux.resources.memory.limit: more than that is in use"
    );
    Ok(())
}

/// Bytes of memory that are in use now.
pub(super) fn memory_in_use(place: &Place) -> Option<u64> {
    let part = place.of("memory")?;
    let file = match part.is_v2 {
        true => "memory.current",
        false => "memory.usage_in_bytes",
    };
    Cgroup(Some(&part.directory)).number(file)
}

/// The files of a cgroup. What is not there has not been counted.
#[derive(Clone, Copy)]
struct Cgroup<'a>(Option<&'a Path>);

impl Cgroup<'_> {
    fn text(self, file: &str) -> String {
        let path = self.0.map(|directory| directory.join(file));
        let text = path.and_then(|path| fs::read_to_string(path).ok());
        text.unwrap_or_default()
    }

    fn number(self, file: &str) -> Option<u64> {
        self.text(file).trim().parse().ok()
    }

    /// A number, or 0; `max` is the greatest.
    fn count(self, file: &str) -> u64 {
        match self.text(file).trim() {
            "max" => u64::MAX,
            text => text.parse().unwrap_or(0),
        }
    }

    /// A file of lines like `anon 4096`.
    fn table(self, file: &str) -> Map<String, Value> {
        let text = self.text(file);
        let lines = text.lines().filter_map(|line| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), json!(number.parse::<u64>().ok()?)))
        });
        lines.collect()
    }
}

/// A number of a table, or 0.
fn field(table: &Map<String, Value>, name: &str) -> u64 {
    table.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// How a process of a cgroup waits for `what`, if the kernel measures it: lines
/// like `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn pressure(cgroup: Cgroup, what: &str) -> Value {
    let text = cgroup.text(&format!("{what}.pressure"));
    let mut lines = Map::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default().to_owned();
        let numbers = words.filter_map(|word| {
            let (name, number) = word.split_once('=')?;
            let number: f64 = number.parse().ok()?;
            Some((name.to_owned(), json!(number)))
        });
        lines.insert(kind, Value::Object(numbers.collect()));
    }
    Value::Object(lines)
}

/// An entry of runc's lists about devices.
fn about_device(device: &str, operation: &str, value: u64) -> Option<Value> {
    let (major, minor) = device.split_once(':')?;
    let number = |text: &str| text.parse::<u64>().ok();
    Some(json!({
        "major": number(major)?,
        "minor": number(minor)?,
        "op": operation,
        "value": value,
    }))
}
