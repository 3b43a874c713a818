//! Lab 4: limits on what it can use.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ground::cgroups;
use nix::sys::stat::{Mode, umask};

use super::{Check, NotHere};
use crate::bench::{Bench, Container, cover, random_in};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("makes_a_cgroup", makes_a_cgroup),
    ("runs_with_what_can_be_set", runs_with_what_can_be_set),
    ("forgets_no_limit", forgets_no_limit),
    ("has_cgroups_of_version_1", has_cgroups_of_version_1),
    ("has_a_cgroup_of_version_2", has_a_cgroup_of_version_2),
    ("limits_processes", limits_processes),
    ("enforces_all_limits", enforces_all_limits),
    ("sets_limits_of_version_1", sets_limits_of_version_1),
    ("sets_limits_of_version_2", sets_limits_of_version_2),
    ("kills_the_hog", kills_the_hog),
    ("joins_on_version_1", joins_on_version_1),
    ("is_born_on_version_2", is_born_on_version_2),
    ("leaves_no_cgroup", leaves_no_cgroup),
];

const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// What becomes of what is asked for.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// The CPU's period.
    pub(super) period: u64,
    /// So many processes more than were asked for.
    pub(super) more: u64,
}

pub(super) const RULE: Rule = Rule {
    period: 100_000,
    more: 0,
};

/// What is asked for, in the words of the command line and of the kernel.
struct Limits {
    mib: u64,
    hundredths: u64,
    pids: u64,
    rule: Rule,
}

impl Limits {
    /// Numbers that nobody knows before.
    fn random() -> Limits {
        Limits {
            mib: random_in(40..90),
            // Never whole tenths: who rounds to them is wrong.
            hundredths: 10 * random_in(1..9) + random_in(1..10),
            pids: random_in(12..40),
            rule: RULE,
        }
    }

    fn by(rule: Rule) -> Limits {
        Limits {
            rule,
            ..Limits::random()
        }
    }

    fn start(&self, bench: &Bench) -> anyhow::Result<Container> {
        let memory = format!("{}m", self.mib);
        let cpus = format!("0.{:02}", self.hundredths);
        let pids = self.pids.to_string();
        let options =
            ["--memory", &memory, "--cpus", &cpus, "--pids-limit", &pids];
        bench.start_in(&bench.image()?, &options)
    }

    fn bytes(&self) -> String {
        (self.mib << 20).to_string()
    }

    fn quota(&self) -> String {
        (self.hundredths * self.rule.period / 100).to_string()
    }

    fn quota_and_period(&self) -> String {
        format!("{} {}", self.quota(), self.rule.period)
    }

    fn processes(&self) -> u64 {
        self.pids + self.rule.more
    }
}

/// The cgroup of a process that counts what `controller` is about, and the
/// version of its tree.
fn cgroup_of(pid: i32, controller: &str) -> anyhow::Result<(u32, PathBuf)> {
    let all = cgroups::of_process(&pid.to_string())?;
    let cgroup = cgroups::with(&all, controller);
    let cgroup = cgroup.with_context(|| format!("no {controller} here"))?;
    let mounts = cgroups::mounts()?;
    let directory = cgroup.directories(&mounts).next();
    let directory = directory.context("its cgroups are not mounted here")?;
    Ok((cgroup.version, directory))
}

/// The container's own cgroup for `controller`.
fn own_cgroup(
    container: &Container,
    controller: &str,
) -> anyhow::Result<PathBuf> {
    let (_, own) = cgroup_of(container.pid, controller)?;
    let (_, outside) = cgroup_of(container.outside(), controller)?;
    ensure!(
        own != outside,
        "the command is in the {controller} cgroup of its parent, and not in \
         one of its own"
    );
    Ok(own)
}

fn version() -> anyhow::Result<u32> {
    Ok(cgroup_of(std::process::id().cast_signed(), "memory")?.0)
}

/// Leaves a check to a machine that has cgroups of `wanted`.
fn only_on(wanted: u32) -> anyhow::Result<()> {
    let version = version()?;
    if version == wanted {
        return Ok(());
    }
    Err(NotHere(format!(
        "this machine has cgroups of version {version}, and this is about \
         version {wanted}"
    ))
    .into())
}

/// Looks at one file of a cgroup, if the kernel has it.
fn expect(directory: &Path, file: &str, expected: &str) -> anyhow::Result<()> {
    let path = directory.join(file);
    if !path.exists() {
        return Ok(());
    }
    let found = fs::read_to_string(&path)?;
    let found = found.trim();
    ensure!(found == expected, "{file} is {found}, and not {expected}");
    Ok(())
}

fn makes_a_cgroup(bench: &Bench) -> anyhow::Result<()> {
    let before = umask(Mode::from_bits_truncate(0o077));
    let started = bench.start_in(&bench.image()?, &[]);
    umask(before);
    let container = started?;
    for controller in CONTROLLERS {
        let own = own_cgroup(&container, controller)?;
        let mode = fs::metadata(&own)?.permissions().mode() & 0o7777;
        ensure!(
            mode == 0o755,
            "the cgroup has the mode {mode:o}, and not 755: mkdir(2) takes \
             away what the caller's umask says"
        );
    }
    let mask = container.status("Umask")?;
    ensure!(
        mask == "0077",
        "the caller's umask, 0077, has become {mask} in the container"
    );
    Ok(())
}

fn runs_with_what_can_be_set(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let mut container = bench.start_in(&image, &[])?;
    let found = container.must(&["read", &image.mark])?;
    ensure!(found == image.content, "the image is not its root");
    Ok(())
}

fn forgets_no_limit(bench: &Bench) -> anyhow::Result<()> {
    forgets_no_limit_by(bench, RULE)
}

pub(super) fn forgets_no_limit_by(
    bench: &Bench,
    rule: Rule,
) -> anyhow::Result<()> {
    enforces_all_limits_by(bench, rule)?;
    // What can't be limited is an error if it was asked for, and else a warning.
    let mounts = cgroups::mounts()?;
    let image = bench.image()?;
    for (controller, option, value) in [
        ("memory", "--memory", "50m"),
        ("cpu", "--cpus", "0.3"),
        ("pids", "--pids-limit", "33"),
    ] {
        let mut trees = mounts.iter();
        let tree = trees.find(|it| it.version == 2 || it.has(controller));
        let tree = tree.context("no cgroups are mounted")?;
        let cover = |command: &mut Command| {
            // A path has no NUL in it.
            let _ = cover(command, &tree.mount_point);
        };
        let options = ["--rootfs", image.path(), option, value];
        bench
            .refuses_by(&options, &image.agent, cover)
            .with_context(|| {
                format!(
                    "{option} was asked for and can't be set, which has to be \
                     an error"
                )
            })?;
        bench
            .start_by(&options[..2], &image.agent, cover)
            .context("a default that can't be set has to be a warning")?
            .finish(0)?;
    }
    // The defaults hold where nothing was asked for.
    let container = bench.start_in(&bench.image()?, &["--pids-limit", "33"])?;
    let quota = (rule.period / 2).to_string();
    let with_period = format!("{quota} {}", rule.period);
    let processes = (33 + rule.more).to_string();
    for (controller, file, expected) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.max", "67108864"),
        ("cpu", "cpu.cfs_quota_us", &quota),
        ("cpu", "cpu.max", &with_period),
        ("pids", "pids.max", &processes),
    ] {
        let own = own_cgroup(&container, controller)?;
        expect(&own, file, expected)?;
    }
    Ok(())
}

fn enforces_all_limits(bench: &Bench) -> anyhow::Result<()> {
    enforces_all_limits_by(bench, RULE)
}

pub(super) fn enforces_all_limits_by(
    bench: &Bench,
    rule: Rule,
) -> anyhow::Result<()> {
    let limits = Limits::by(rule);
    let container = limits.start(bench)?;
    for controller in CONTROLLERS {
        let own = own_cgroup(&container, controller)?;
        match controller {
            "memory" => {
                expect(&own, "memory.limit_in_bytes", &limits.bytes())?;
                expect(&own, "memory.max", &limits.bytes())?;
            }
            "cpu" => {
                expect(&own, "cpu.cfs_quota_us", &limits.quota())?;
                expect(&own, "cpu.max", &limits.quota_and_period())?;
            }
            _ => expect(&own, "pids.max", &limits.processes().to_string())?,
        }
    }
    Ok(())
}

fn has_cgroups_of_version_1(bench: &Bench) -> anyhow::Result<()> {
    only_on(1)?;
    has_cgroups(bench)
}

fn has_a_cgroup_of_version_2(bench: &Bench) -> anyhow::Result<()> {
    only_on(2)?;
    has_cgroups(bench)
}

/// Whether there is one for each controller, wherever its tree is: what knows of
/// one tree, or of several only, does for one version.
fn has_cgroups(bench: &Bench) -> anyhow::Result<()> {
    let container = Limits::random().start(bench)?;
    for controller in CONTROLLERS {
        own_cgroup(&container, controller)?;
    }
    Ok(())
}

fn limits_processes(bench: &Bench) -> anyhow::Result<()> {
    limits_processes_by(bench, RULE)
}

pub(super) fn limits_processes_by(
    bench: &Bench,
    rule: Rule,
) -> anyhow::Result<()> {
    let limits = Limits::by(rule);
    let mut container = limits.start(bench)?;
    let count = container.must(&["fork", "80"])?;
    let count: u64 = count.parse()?;
    let there = container.processes().len() as u64;
    ensure!(
        count + there == limits.processes(),
        "with --pids-limit {} and {there} processes, {count} more could be \
         started",
        limits.pids
    );
    Ok(())
}

fn sets_limits_of_version_1(bench: &Bench) -> anyhow::Result<()> {
    sets_limits_of_version_1_by(bench, RULE)
}

pub(super) fn sets_limits_of_version_1_by(
    bench: &Bench,
    rule: Rule,
) -> anyhow::Result<()> {
    only_on(1)?;
    let limits = Limits::by(rule);
    let container = limits.start(bench)?;
    let memory = own_cgroup(&container, "memory")?;
    for file in [
        "memory.limit_in_bytes",
        "memory.memsw.limit_in_bytes",
        "memory.kmem.tcp.limit_in_bytes",
    ] {
        expect(&memory, file, &limits.bytes())?;
    }
    if !memory.join("memory.memsw.limit_in_bytes").exists() {
        expect(&memory, "memory.swappiness", "0")?;
    }
    let cpu = own_cgroup(&container, "cpu")?;
    expect(&cpu, "cpu.cfs_quota_us", &limits.quota())?;
    expect(&cpu, "cpu.cfs_period_us", &rule.period.to_string())?;
    let pids = own_cgroup(&container, "pids")?;
    expect(&pids, "pids.max", &limits.processes().to_string())
}

fn sets_limits_of_version_2(bench: &Bench) -> anyhow::Result<()> {
    sets_limits_of_version_2_by(bench, RULE)
}

pub(super) fn sets_limits_of_version_2_by(
    bench: &Bench,
    rule: Rule,
) -> anyhow::Result<()> {
    only_on(2)?;
    let limits = Limits::by(rule);
    let container = limits.start(bench)?;
    let own = own_cgroup(&container, "memory")?;
    expect(&own, "memory.max", &limits.bytes())?;
    expect(&own, "memory.swap.max", "0")?;
    expect(&own, "cpu.max", &limits.quota_and_period())?;
    expect(&own, "pids.max", &limits.processes().to_string())?;
    hog(bench)
}

fn kills_the_hog(bench: &Bench) -> anyhow::Result<()> {
    only_on(1)?;
    hog(bench)
}

fn hog(bench: &Bench) -> anyhow::Result<()> {
    let limits = Limits::random();
    let mut container = limits.start(bench)?;
    // Twice: the kernel kills the hog, and what has started it goes on.
    for _ in 0..2 {
        let more = (limits.mib + 40).to_string();
        let end = container.must(&["eat", &more])?;
        ensure!(
            end == "SIGKILL",
            "with --memory {}m a process could use {more} MiB: {end}",
            limits.mib
        );
    }
    Ok(())
}

/// Whether the command and the init are in the cgroup, and the parent is not.
fn is_inside(bench: &Bench) -> anyhow::Result<()> {
    let container = Limits::random().start(bench)?;
    let init = container.init()?;
    for controller in CONTROLLERS {
        let own = own_cgroup(&container, controller)?;
        let (_, of_init) = cgroup_of(init, controller)?;
        ensure!(of_init == own, "the init is not in the {controller} cgroup");
        let (_, outside) = cgroup_of(container.outside(), controller)?;
        let (_, ours) =
            cgroup_of(std::process::id().cast_signed(), controller)?;
        ensure!(
            outside == ours || !outside.starts_with(&own),
            "the parent is in the {controller} cgroup, too: it has to stay \
             outside"
        );
    }
    Ok(())
}

fn joins_on_version_1(bench: &Bench) -> anyhow::Result<()> {
    only_on(1)?;
    is_inside(bench)
}

fn is_born_on_version_2(bench: &Bench) -> anyhow::Result<()> {
    only_on(2)?;
    is_inside(bench)
}

fn leaves_no_cgroup(bench: &Bench) -> anyhow::Result<()> {
    let container = Limits::random().start(bench)?;
    let mut made = Vec::new();
    for controller in CONTROLLERS {
        made.push(own_cgroup(&container, controller)?);
    }
    container.finish(0)?;
    let left = made.iter().filter(|it| it.exists()).count();
    ensure!(
        left == 0,
        "the program has ended, and {left} of its cgroups are still there"
    );
    Ok(())
}
