//! What is checked in the variants of the labs, in the place of other checks.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context, ensure};
use ground::processes::Stat;

use super::{
    Check, mounts, step01, step02,
    step02::until,
    step03,
    step04::{
        RULE, Rule, enforces_all_limits_by, forgets_no_limit_by,
        limits_processes_by, sets_limits_of_version_1_by,
        sets_limits_of_version_2_by,
    },
    step05, step06,
};
use crate::bench::{Bench, Container, random_name};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("has_the_name_and_box", has_the_name_and_box),
    ("takes_40_bytes", takes_40_bytes),
    ("refuses_41_bytes", refuses_41_bytes),
    ("has_the_name_in_lower_case", has_the_name_in_lower_case),
    (
        "takes_64_bytes_of_the_net",
        step01::takes_64_bytes_of_the_net,
    ),
    (
        "refuses_names_that_are_none_in_the_net",
        refuses_names_that_are_none_in_the_net,
    ),
    ("passes_on_sighup_as_sigterm", passes_on_sighup_as_sigterm),
    ("passes_on_signals_to_all", passes_on_signals_to_all),
    ("lets_mounts_in_and_none_out", lets_mounts_in_and_none_out),
    ("has_its_own_proc_to_read", has_its_own_proc_to_read),
    ("has_a_proc_that_hides", has_a_proc_that_hides),
    ("has_five_devices", has_five_devices),
    ("forgets_no_limit_without_init", |bench| {
        forgets_no_limit_by(bench, WITHOUT_INIT)
    }),
    ("enforces_all_limits_without_init", |bench| {
        enforces_all_limits_by(bench, WITHOUT_INIT)
    }),
    ("limits_processes_without_init", |bench| {
        limits_processes_by(bench, WITHOUT_INIT)
    }),
    ("sets_limits_of_version_1_without_init", |bench| {
        sets_limits_of_version_1_by(bench, WITHOUT_INIT)
    }),
    ("sets_limits_of_version_2_without_init", |bench| {
        sets_limits_of_version_2_by(bench, WITHOUT_INIT)
    }),
    ("forgets_no_limit_in_short_periods", |bench| {
        forgets_no_limit_by(bench, SHORT_PERIODS)
    }),
    ("enforces_all_limits_in_short_periods", |bench| {
        enforces_all_limits_by(bench, SHORT_PERIODS)
    }),
    ("sets_limits_of_version_1_in_short_periods", |bench| {
        sets_limits_of_version_1_by(bench, SHORT_PERIODS)
    }),
    ("sets_limits_of_version_2_in_short_periods", |bench| {
        sets_limits_of_version_2_by(bench, SHORT_PERIODS)
    }),
    ("writes_to_a_little_memory", writes_to_a_little_memory),
    ("last_layer_is_on_top", |bench| {
        step05::layer_is_on_top(bench, 2)
    }),
    (
        "waits_for_the_upper_directory",
        waits_for_the_upper_directory,
    ),
    (
        "next_run_goes_on_without_devices",
        next_run_goes_on_without_devices,
    ),
    (
        "devices_keep_their_modes_and_are_no_programs",
        devices_keep_their_modes_and_are_no_programs,
    ),
    (
        "settings_are_read_only_and_no_links",
        settings_are_read_only_and_no_links,
    ),
    ("has_loopback_without_arp", |bench| {
        step06::has_loopback_with(bench, "0x89", "IFF_NOARP is one of them")
    }),
    ("volumes_follow_no_link", volumes_follow_no_link),
];

const WITHOUT_INIT: Rule = Rule { more: 1, ..RULE };

const SHORT_PERIODS: Rule = Rule {
    period: 50_000,
    ..RULE
};

fn has_the_name_and_box(bench: &Bench) -> anyhow::Result<()> {
    let name = random_name();
    step01::is_called(bench, &name, &format!("{name}.box"))
}

fn takes_40_bytes(bench: &Bench) -> anyhow::Result<()> {
    let name = random_name();
    let name = format!("{name}{}", "-".repeat(40 - name.len()));
    // Whatever it makes of the name, it is another hole that does it.
    let mut container = step01::start(bench, &name)?;
    let found = container.must(&["hostname"])?;
    ensure!(
        found.starts_with(&name),
        "a name of 40 bytes becomes {found:?}"
    );
    Ok(())
}

fn refuses_41_bytes(bench: &Bench) -> anyhow::Result<()> {
    bench.refuses(&["--hostname", &"x".repeat(41)])?;
    step01::refuses_names(bench)
}

fn has_the_name_in_lower_case(bench: &Bench) -> anyhow::Result<()> {
    let name = format!("{}-box", random_name());
    step01::is_called(bench, &name.to_uppercase(), &name.to_lowercase())
}

fn refuses_names_that_are_none_in_the_net(bench: &Bench) -> anyhow::Result<()> {
    for name in ["a_b", "_", "x_"] {
        bench.refuses(&["--hostname", name])?;
    }
    bench.refuses(&["--hostname=-a"])?;
    step01::refuses_names(bench)
}

fn passes_on_sighup_as_sigterm(bench: &Bench) -> anyhow::Result<()> {
    step02::becomes(bench, "SIGHUP", "SIGTERM")?;
    for signal in ["SIGTERM", "SIGUSR1", "SIGUSR2"] {
        step02::becomes(bench, signal, signal)?;
    }
    step02::reaches_nobody_else(bench)?;
    step02::from_outside(bench)
}

fn passes_on_signals_to_all(bench: &Bench) -> anyhow::Result<()> {
    step02::passes_on_signals(bench)?;
    let mut container = step02::start(bench)?;
    let before = container.processes();
    container.must(&["orphans", "3"])?;
    let mut orphans = container.processes();
    orphans.retain(|pid| !before.contains(pid));
    ensure!(orphans.len() == 3, "three orphans were made");
    container.must(&["catch", "SIGTERM"])?;
    container.must(&["kill", "1", "SIGTERM"])?;
    let caught = container.must(&["caught"])?;
    ensure!(caught == "SIGTERM", "the command got {caught}");
    let left = || orphans.iter().filter(|it| Stat::of(**it).is_some()).count();
    until(|| left() == 0);
    ensure!(
        left() == 0,
        "number 1 got SIGTERM, and the command's fellows did not"
    );
    Ok(())
}

fn lets_mounts_in_and_none_out(bench: &Bench) -> anyhow::Result<()> {
    step03::mounts_nothing_outside(bench)?;
    let container = step03::start(bench)?;
    let mountinfo = container.proc_file("mountinfo")?;
    let all = mounts(&mountinfo);
    let root = all.iter().find(|it| it.point == "/");
    let root = root.context("nothing is mounted on /")?;
    ensure!(
        root.master.is_some(),
        "what is mounted outside does not come in: the mounts have no tie to \
         the host's any more, in either way"
    );
    Ok(())
}

/// The line of mountinfo for what is mounted at `point`.
fn line_of(container: &Container, point: &str) -> anyhow::Result<String> {
    let mountinfo = container.proc_file("mountinfo")?;
    let mut lines = mountinfo.lines().rev();
    let line = lines.find(|it| it.split(' ').nth(4) == Some(point));
    let line = line.map(str::to_owned);
    line.with_context(|| format!("nothing is mounted on {point}"))
}

fn has_its_own_proc_to_read(bench: &Bench) -> anyhow::Result<()> {
    step03::has_its_own_proc(bench)?;
    let container = step03::start(bench)?;
    let line = line_of(&container, "/proc")?;
    let read_only = mounts(&line).iter().all(|it| it.has("ro"));
    ensure!(read_only, "/proc can be written to");
    Ok(())
}

fn has_a_proc_that_hides(bench: &Bench) -> anyhow::Result<()> {
    step03::has_its_own_proc(bench)?;
    let container = step03::start(bench)?;
    let line = line_of(&container, "/proc")?;
    let hides = ["hidepid=2", "hidepid=invisible"];
    ensure!(
        hides.iter().any(|it| line.contains(it)),
        "/proc is mounted without hidepid=2"
    );
    Ok(())
}

fn has_five_devices(bench: &Bench) -> anyhow::Result<()> {
    step03::has_devices(bench)?;
    let mut container = step03::start(bench)?;
    let line = line_of(&container, "/dev")?;
    let is_tmpfs = mounts(&line).iter().all(|it| it.kind == "tmpfs");
    ensure!(is_tmpfs, "what is mounted on /dev is no tmpfs");
    let names = container.must(&["list", "/dev"])?;
    let mut names: Vec<&str> = names.lines().collect();
    names.sort_unstable();
    ensure!(
        names == ["full", "null", "random", "urandom", "zero"],
        "in /dev there is: {}",
        names.join(" ")
    );
    Ok(())
}

fn writes_to_a_little_memory(bench: &Bench) -> anyhow::Result<()> {
    step05::writes_to_memory(bench)?;
    let container = bench.start_in(&bench.image()?, &[])?;
    // What overlay says of itself is what the upper layer's file system says.
    let root = container.at("/");
    let size = nix::sys::statvfs::statvfs(&root)?;
    let mib = (size.blocks() * size.fragment_size()) >> 20;
    ensure!(mib == 32, "there is place for {mib} MiB, and not for 32");
    Ok(())
}

fn waits_for_the_upper_directory(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let upper = bench.place()?.join("up");
    let options = ["--upper", &upper.to_string_lossy()];
    let first = bench.start_in(&image, &options)?;
    bench.waits_for(first, &image, &options)
}

fn next_run_goes_on_without_devices(bench: &Bench) -> anyhow::Result<()> {
    step05::next_run_goes_on(bench)?;
    let container = bench.start_in(&bench.image()?, &[])?;
    let line = line_of(&container, "/")?;
    let no_devices = mounts(&line).iter().all(|it| it.has("nodev"));
    ensure!(no_devices, "the root is mounted without nodev");
    Ok(())
}

fn devices_keep_their_modes_and_are_no_programs(
    bench: &Bench,
) -> anyhow::Result<()> {
    step06::devices_keep_their_modes(bench)?;
    let container = step06::start(bench)?;
    for (name, _) in step06::DEVICES {
        let line = line_of(&container, &format!("/dev/{name}"))?;
        let no_program = mounts(&line).iter().all(|it| it.has("noexec"));
        ensure!(no_program, "/dev/{name} is mounted without noexec");
    }
    Ok(())
}

fn settings_are_read_only_and_no_links(bench: &Bench) -> anyhow::Result<()> {
    step06::settings_are_read_only(bench)?;
    let container = step06::start(bench)?;
    let line = line_of(&container, "/proc/sys")?;
    let none = mounts(&line).iter().all(|it| it.has("nosymfollow"));
    ensure!(none, "/proc/sys is mounted without nosymfollow");
    Ok(())
}

fn volumes_follow_no_link(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let (source, content) = (bench.place()?, random_name());
    fs::write(source.join("file"), &content)?;
    let volume = format!("{}:/made/data", source.display());
    let options = [step06::SAME, "--volume", &volume];
    let mut container = bench.start_in(&image, &options)?;
    let found = container.must(&["read", "/made/data/file"])?;
    ensure!(found == content, "another file is in the volume");
    fs::create_dir(image.inside("/place"))?;
    symlink("place", image.inside("/link"))?;
    let volume = format!("{}:/link/data", source.display());
    let options = ["--rootfs", image.path(), step06::SAME, "--volume", &volume];
    bench
        .refuses_by(&options, &image.agent, |_| {})
        .context("a link of the image was followed")
}
