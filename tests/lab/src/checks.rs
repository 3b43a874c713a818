//! What is checked in each lab: functions that start the student's program with
//! our agent in it, and look from outside at what the kernel says of that.
//!
//! The error of a check is the diagnosis that a student reads: what was seen, in
//! one sentence.

use std::fmt;

use anyhow::Context;

use crate::bench::Bench;

mod step01;
mod step02;
mod step03;
mod step04;
mod step05;
mod step06;

mod hidden;

mod variants;

/// A check: an error is what is wrong.
pub type Check = fn(&Bench) -> anyhow::Result<()>;

/// The check that a lab's description calls `name`.
///
/// # Errors
/// There is none.
pub fn find(name: &str) -> anyhow::Result<Check> {
    let all = [
        step01::CHECKS,
        step02::CHECKS,
        step03::CHECKS,
        step04::CHECKS,
        step05::CHECKS,
        step06::CHECKS,
        hidden::CHECKS,
        variants::CHECKS,
    ];
    let mut all = all.into_iter().flatten();
    let found = all.find(|(it, _)| *it == name);
    let (_, check) = found.with_context(|| format!("no check {name}"))?;
    Ok(*check)
}

/// This machine can't tell.
#[derive(Debug)]
pub struct NotHere(pub String);

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHere {}

/// The lines of a mountinfo that are one mount each.
fn mounts(mountinfo: &str) -> Vec<Mount<'_>> {
    mountinfo.lines().filter_map(Mount::parse).collect()
}

/// A mount, as /proc/PID/mountinfo shows it. See proc(5).
struct Mount<'a> {
    device: &'a str,
    root: &'a str,
    point: &'a str,
    options: &'a str,
    /// The number of its peer group, if it is shared.
    shared: Option<&'a str>,
    /// That of the mounts whose changes come in here.
    master: Option<&'a str>,
    kind: &'a str,
}

impl Mount<'_> {
    fn parse(line: &str) -> Option<Mount<'_>> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let mut tags = before.split(' ').skip(6);
        let (device, root, point, options) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        Some(Mount {
            device,
            root,
            point,
            options,
            shared: tags.clone().find_map(|it| it.strip_prefix("shared:")),
            master: tags.find_map(|it| it.strip_prefix("master:")),
            kind: after.split(' ').next()?,
        })
    }

    fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|it| it == option)
    }
}
