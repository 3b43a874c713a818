//! Lab 6: the rest.
//!
//! Checks run as root of a user namespace in which there is one user: there are
//! no others to give to the container. Where real root grades there are two
//! groups, and whoever runs a check is in the second, 1: one to be left.

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::fs::{PermissionsExt, chown, symlink},
    },
};

use anyhow::{Context, ensure};
use ground::processes::Stat;

use super::{Check, mounts, step02::until, step03::no_escape};
use crate::bench::{
    Bench, Container, hand_on, make_predictable, random_name, status_of,
};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("has_three_more_namespaces", has_three_more_namespaces),
    ("is_root_inside", is_root_inside),
    ("has_left_the_groups", has_left_the_groups),
    ("ends_with_its_parent", ends_with_its_parent),
    ("inherits_nothing", inherits_nothing),
    ("hides_the_cgroup_path", hides_the_cgroup_path),
    ("has_loopback", has_loopback),
    ("has_minimal_dev", has_minimal_dev),
    ("devices_keep_their_modes", devices_keep_their_modes),
    ("settings_are_read_only", settings_are_read_only),
    ("capabilities_are_few", capabilities_are_few),
    ("number_1_is_closed", number_1_is_closed),
    ("no_exec_gives_them_back", no_exec_gives_them_back),
    ("calls_are_filtered", calls_are_filtered),
    ("volumes_stay_inside", volumes_stay_inside),
];

pub(super) const SAME: &str = "--root-is-root-outside";

pub(super) fn start(bench: &Bench) -> anyhow::Result<Container> {
    bench.start_in(&bench.image()?, &[SAME])
}

fn has_three_more_namespaces(bench: &Bench) -> anyhow::Result<()> {
    let container = start(bench)?;
    for (kind, flag) in [
        ("user", "CLONE_NEWUSER"),
        ("net", "CLONE_NEWNET"),
        ("ipc", "CLONE_NEWIPC"),
    ] {
        container.has_own(kind, flag)?;
    }
    Ok(())
}

fn is_root_inside(bench: &Bench) -> anyhow::Result<()> {
    let container = start(bench)?;
    for field in ["Uid", "Gid"] {
        let ids = container.status(field)?;
        ensure!(ids == "0 0 0 0", "{field} of the command: {ids}");
    }
    Ok(())
}

fn has_left_the_groups(bench: &Bench) -> anyhow::Result<()> {
    // Where the kernel lets nobody leave a group, there is nothing to see.
    let allowed = fs::read_to_string("/proc/self/setgroups")?;
    let container = start(bench)?;
    let groups = container.status("Groups")?;
    ensure!(
        groups.is_empty() || allowed.trim() != "allow",
        "the command is still in the groups of its caller: {groups}"
    );
    Ok(())
}

fn ends_with_its_parent(bench: &Bench) -> anyhow::Result<()> {
    // Set-group-ID for the second group, if there is one: so there is a group
    // to be changed back. Not in /tmp, where that bit means nothing.
    let place = bench.place()?;
    let kind = Some("tmpfs");
    let no_flags = nix::mount::MsFlags::empty();
    nix::mount::mount(kind, &place, kind, no_flags, None::<&str>)?;
    let copy = place.join("program");
    fs::copy(&bench.program, &copy)?;
    let _ = chown(&copy, Some(0), Some(1));
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o2755))?;
    let result = killed_with_its_parent(bench, &copy);
    nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH)?;
    result
}

fn killed_with_its_parent(
    bench: &Bench,
    program: &std::path::Path,
) -> anyhow::Result<()> {
    let mut container = start(&bench.with(program))?;
    let processes = container.processes();
    container.kill_program()?;
    let gone = || {
        processes
            .iter()
            .all(|pid| Stat::of(*pid).is_none_or(is_dead))
    };
    until(gone);
    let is_gone = gone();
    drop(container);
    // Sweeps what the one that was killed has left.
    drop(start(bench)?.finish(0));
    ensure!(
        is_gone,
        "the program was killed, and its container lives on: the kernel \
         forgets PR_SET_PDEATHSIG when ids change"
    );
    Ok(())
}

fn is_dead(stat: Stat) -> bool {
    stat.state == 'Z'
}

fn inherits_nothing(bench: &Bench) -> anyhow::Result<()> {
    let secret = bench.secret()?;
    let image = bench.image()?;
    let directory = File::open("/")?;
    let number = directory.as_raw_fd();
    let (name, value) = (random_name(), random_name());
    let options = ["--rootfs", image.path(), SAME];
    let mut container = bench.start_by(&options, &image.agent, |command| {
        command.env(&name, &value);
        hand_on(command, number);
        make_predictable(command);
    })?;
    let fd = format!("/proc/{}/fd", container.pid);
    // The command has its channel twice.
    let channel = fs::read_link(format!("{fd}/0"))?;
    for link in fs::read_dir(&fd)?.flatten().map(|it| it.path()) {
        let leads = fs::read_link(&link).unwrap_or_default();
        let standard = ["0", "1", "2"].iter().any(|it| link.ends_with(it));
        ensure!(
            standard || leads == channel,
            "the command has inherited a descriptor, which is {leads:?}"
        );
    }
    let environment = container.proc_file("environ")?;
    ensure!(
        !environment.contains(&value),
        "a variable of the caller is in the command's environment"
    );
    let personality = container.proc_file("personality")?;
    ensure!(
        personality.trim() == "00000000",
        "the caller's personality(2) holds for the command: {}",
        personality.trim()
    );
    let init = container.init()?;
    let arguments = fs::read(format!("/proc/{init}/cmdline"))?;
    let arguments = String::from_utf8_lossy(&arguments);
    ensure!(
        !arguments.contains(image.path()),
        "the caller's command line can be read in /proc/1/cmdline"
    );
    no_escape(&mut container, &secret)?;
    drop(container);
    bench
        .refuses_by(&options, &image.agent, |command| {
            command.stdin(directory);
        })
        .context("a directory of the host is handed in as standard input")
}

fn hides_the_cgroup_path(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    container.has_own("cgroup", "CLONE_NEWCGROUP")?;
    let inside = container.must(&["read", "/proc/self/cgroup"])?;
    let shown = inside.lines().find(|line| !line.ends_with(":/"));
    ensure!(
        shown.is_none(),
        "the command reads {:?} in /proc/self/cgroup",
        shown.unwrap_or_default()
    );
    Ok(())
}

fn has_loopback(bench: &Bench) -> anyhow::Result<()> {
    has_loopback_with(bench, "0x9", "IFF_UP and IFF_LOOPBACK")
}

pub(super) fn has_loopback_with(
    bench: &Bench,
    expected: &str,
    meaning: &str,
) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let names = container.must(&["list", "/sys/class/net"])?;
    ensure!(names == "lo", "the container's interfaces are: {names}");
    let flags = container.must(&["read", "/sys/class/net/lo/flags"])?;
    ensure!(
        flags.trim() == expected,
        "the flags of lo are {}, and not {expected}: {meaning}",
        flags.trim()
    );
    Ok(())
}

pub(super) const DEVICES: [(&str, &str); 6] = [
    ("null", "1:3"),
    ("zero", "1:5"),
    ("full", "1:7"),
    ("random", "1:8"),
    ("urandom", "1:9"),
    ("tty", "5:0"),
];

fn has_minimal_dev(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    for (name, numbers) in DEVICES {
        let found = container.must(&["stat", &format!("/dev/{name}")])?;
        ensure!(
            found == format!("device {numbers}"),
            "/dev/{name} is: {found}, and not a device {numbers}"
        );
    }
    container.must(&["write-there", "/dev/null", "gone"])?;
    let found =
        container.ask(&["write", "/dev/filled", &"x".repeat(1 << 20)])?;
    ensure!(
        found.contains("ENOSPC"),
        "a MiB of the host's memory can be filled in /dev"
    );
    Ok(())
}

pub(super) fn devices_keep_their_modes(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    for (name, _) in DEVICES {
        let path = format!("/dev/{name}");
        let answer = container.ask(&["chmod", &path, "666"])?;
        ensure!(
            answer == "refused: EROFS",
            "chmod of {path}: {}; its node is the host's, and the mount has to \
             be read-only",
            if answer.is_empty() { "done" } else { &answer }
        );
    }
    let mountinfo = container.proc_file("mountinfo")?;
    for mount in mounts(&mountinfo) {
        let name = mount.point.strip_prefix("/dev/").unwrap_or_default();
        if DEVICES.iter().any(|(it, _)| *it == name) {
            ensure!(mount.has("ro"), "{} can be written to", mount.point);
        }
    }
    Ok(())
}

pub(super) fn settings_are_read_only(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let path = "/proc/sys/net/ipv4/ip_forward";
    let answer = container.ask(&["write-there", path, "1"])?;
    ensure!(
        !answer.is_empty(),
        "the container can change the kernel's {path}"
    );
    let mountinfo = container.proc_file("mountinfo")?;
    let all = mounts(&mountinfo);
    for place in ["/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq"] {
        if container.ask(&["stat", place])?.starts_with("directory") {
            let mount = all.iter().rfind(|it| it.point == place);
            let mount = mount.with_context(|| {
                format!("nothing is mounted on {place}: it is not read-only")
            })?;
            ensure!(mount.has("ro"), "{place} is mounted, but not read-only");
            for flag in ["nosuid", "nodev", "noexec"] {
                ensure!(mount.has(flag), "{place} has lost {flag}");
            }
        }
    }
    Ok(())
}

/// Those that stay.
const KEPT: &str = "00000000800425fb";
const NONE: &str = "0000000000000000";

fn expect(
    container: &Container,
    field: &str,
    value: &str,
) -> anyhow::Result<()> {
    for pid in [container.pid, container.init()?] {
        let found = status_of(pid, field)?;
        let who = if pid == container.pid {
            "command"
        } else {
            "init"
        };
        ensure!(
            found == value,
            "{field} of the {who} is {found}, and not {value}"
        );
    }
    Ok(())
}

fn capabilities_are_few(bench: &Bench) -> anyhow::Result<()> {
    let container = start(bench)?;
    for (field, value) in [
        ("CapInh", NONE),
        ("CapPrm", KEPT),
        ("CapEff", KEPT),
        ("CapAmb", NONE),
        ("CapBnd", KEPT),
        ("NoNewPrivs", "1"),
    ] {
        expect(&container, field, value)?;
    }
    Ok(())
}

fn number_1_is_closed(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let answer = container.ask(&["read", "/proc/1/environ"])?;
    ensure!(
        answer.starts_with("refused:"),
        "the command reads /proc/1/environ, which has what the host gave it: \
         PR_SET_DUMPABLE"
    );
    Ok(())
}

fn no_exec_gives_them_back(bench: &Bench) -> anyhow::Result<()> {
    let container = start(bench)?;
    expect(&container, "CapBnd", KEPT)
}

/// How many filters a process has. Since Linux 5.9.
const FILTERS: &str = "Seccomp_filters";

fn calls_are_filtered(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let mode = container.status("Seccomp")?;
    ensure!(
        mode == "2",
        "Seccomp of the command is {mode}, and not 2, SECCOMP_MODE_FILTER"
    );
    // The sandbox has a filter, too, and everybody in it inherits that.
    let own = std::process::id().cast_signed();
    if let Ok(ours) = status_of(own, FILTERS) {
        ensure!(
            container.status(FILTERS)?.parse::<u32>()? > ours.parse()?,
            "the command has no filter but what it has inherited: \
             SECCOMP_SET_MODE_FILTER"
        );
    }
    let answer = container.ask(&["unshare"])?;
    ensure!(
        !answer.is_empty(),
        "the command can make a user namespace: the filter is another one"
    );
    for call in [
        "process_vm_readv",
        "AF_PACKET",
        "AF_VSOCK",
        "AF_PACKET pair",
    ] {
        let answer = container.ask(&["call", call])?;
        ensure!(
            answer == "refused: EPERM",
            "{call} comes through the filter: {answer}"
        );
    }
    Ok(())
}

fn volumes_stay_inside(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let (source, outside) = (bench.place()?, bench.place()?);
    let content = random_name();
    fs::write(source.join("file"), &content)?;
    symlink(&outside, image.inside("/link"))?;
    // Where the link leads inside.
    let target = outside.to_string_lossy();
    fs::create_dir_all(image.inside(&target))?;
    let volume = format!("{}:/link/data", source.display());
    let options = [SAME, "--volume", &volume];
    let mut container = bench.start_in(&image, &options)?;
    let found = container.must(&["read", &format!("{target}/data/file")])?;
    ensure!(found == content, "another file is in the volume");
    let made = fs::read_dir(&outside)?.count();
    ensure!(
        made == 0,
        "a link of the image was followed on the host: something was made \
         there"
    );
    Ok(())
}
