//! Lab 3: a file system of its own.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Context, ensure};

use super::{Check, Mount, mounts};
use crate::bench::{Bench, Container, random_name};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("has_mounts_of_its_own", has_mounts_of_its_own),
    ("mounts_nothing_outside", mounts_nothing_outside),
    ("calls_in_order", calls_in_order),
    ("has_the_image_as_root", has_the_image_as_root),
    ("has_its_own_proc", has_its_own_proc_to_write),
    ("has_devices", has_the_hosts_devices),
    ("files_of_the_host_are_gone", files_of_the_host_are_gone),
    ("lets_go_of_the_old_root", lets_go_of_the_old_root),
];

pub(super) fn start(bench: &Bench) -> anyhow::Result<Container> {
    bench.start_in(&bench.image()?, &[])
}

fn has_mounts_of_its_own(bench: &Bench) -> anyhow::Result<()> {
    start(bench)?.has_own("mnt", "CLONE_NEWNS")
}

pub(super) fn mounts_nothing_outside(bench: &Bench) -> anyhow::Result<()> {
    let ours = || fs::read_to_string("/proc/self/mountinfo");
    let before = ours()?;
    let started = start(bench);
    let after = ours()?;
    let new = mounts(&after).into_iter();
    let new = new.map(|it| it.point.to_owned()).find(|point| {
        started.is_err() && !before.contains(&format!(" {point} "))
    });
    // A root that is shared can't be moved either, but that comes of it.
    if let Some(point) = new {
        anyhow::bail!(
            "a mount of the container appears outside, at {point}: where it is \
             mounted has to be private before, and all that is mounted below \
             / as well"
        );
    }
    let mut container = started?;
    let program = container.outside();
    let its = || fs::read_to_string(format!("/proc/{program}/mountinfo"));
    let appeared = |text: &str| {
        let new = text.lines().filter(|line| !before.contains(line));
        new.filter_map(Mount::parse)
            .map(|it| it.point.to_owned())
            .next()
    };
    let leak = "a mount of the container appears outside, at";
    if let Some(point) = appeared(&ours()?) {
        anyhow::bail!("{leak} {point}");
    }

    // Each of them stands for a mount of the host that was copied.
    let mountinfo = container.proc_file("mountinfo")?;
    let shared_outside: BTreeSet<&str> =
        mounts(&before).iter().filter_map(|it| it.shared).collect();
    for mount in mounts(&mountinfo) {
        let passes_on = mount.shared.filter(|it| shared_outside.contains(it));
        ensure!(
            passes_on.is_none(),
            "{} in the container is shared with the host: what is mounted \
             below it appears outside. MS_PRIVATE must reach all mounts, those \
             below / as well",
            mount.point
        );
    }
    container.must(&["mkdir", "/place"])?;
    container.must(&["mount", "/place"])?;
    if container
        .ask(&["stat", "/dev/shm"])?
        .starts_with("directory")
    {
        container.must(&["mount", "/dev/shm"])?;
    }
    for text in [ours()?, its()?] {
        if let Some(point) = appeared(&text)
            && !before.contains(&format!(" {point} "))
        {
            anyhow::bail!("{leak} {point}");
        }
    }
    ensure!(
        mounts(&ours()?).len() == mounts(&before).len(),
        "what is mounted in the container appears outside"
    );
    Ok(())
}

fn calls_in_order(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let mut container = bench.start_in(&image, &[])?;
    container
        .must(&["read", &image.mark])
        .context("the image is not the root")?;
    let device = container.must(&["stat", "/dev/null"])?;
    ensure!(device == "device 1:3", "/dev/null is: {device}");
    container
        .must(&["list", "/proc/1"])
        .context("there is no /proc")?;
    Ok(())
}

fn has_the_image_as_root(bench: &Bench) -> anyhow::Result<()> {
    // Two, as one may be written down in the program.
    for _ in 0..2 {
        let image = bench.image()?;
        let mut container = bench.start_in(&image, &[])?;
        let found = container.must(&["read", &image.mark])?;
        ensure!(found == image.content, "another file is in its place");
        same_directory(&container.at("/"), Path::new(image.path()))
            .context("the root is not the directory that --rootfs names")?;
        let written = random_name();
        container.must(&["write", "/written", &written])?;
        let outside = fs::read_to_string(image.inside("/written"))
            .context("what the container writes is not in its image")?;
        ensure!(outside == written, "what it writes comes out as {outside}");
    }
    Ok(())
}

fn same_directory(one: &Path, other: &Path) -> anyhow::Result<()> {
    let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
    ensure!(
        (one.dev(), one.ino()) == (other.dev(), other.ino()),
        "these are two directories"
    );
    Ok(())
}

fn has_its_own_proc_to_write(bench: &Bench) -> anyhow::Result<()> {
    has_its_own_proc(bench)?;
    // As the host's, and unlike what a variant asks for.
    let container = start(bench)?;
    let mountinfo = container.proc_file("mountinfo")?;
    let line = mountinfo.lines().rfind(|it| it.contains(" /proc "));
    let line = line.context("nothing is mounted on /proc")?;
    ensure!(
        mounts(line).iter().all(|it| !it.has("ro")),
        "/proc can't be written to"
    );
    ensure!(
        !line.contains("hidepid"),
        "/proc hides processes: it is mounted with hidepid"
    );
    Ok(())
}

pub(super) fn has_its_own_proc(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    let mountinfo = container.proc_file("mountinfo")?;
    let all = mounts(&mountinfo);
    let proc = all.iter().rfind(|it| it.point == "/proc");
    let proc = proc.context("nothing is mounted on /proc")?;
    ensure!(
        proc.kind == "proc" && proc.root == "/",
        "on /proc there is a {}",
        proc.kind
    );
    let ours = fs::read_to_string("/proc/self/mountinfo")?;
    let is_ours =
        |it: &Mount<'_>| it.kind == "proc" && it.device == proc.device;
    ensure!(
        !mounts(&ours).iter().any(is_ours),
        "/proc is that of the host, bound: a new one shows the PID namespace \
         of whoever mounts it"
    );
    for flag in ["nosuid", "nodev", "noexec"] {
        ensure!(proc.has(flag), "/proc is mounted without {flag}");
    }
    let names = container.must(&["list", "/proc"])?;
    let shown: Vec<i32> =
        names.lines().filter_map(|it| it.parse().ok()).collect();
    let count = container.processes().len();
    ensure!(
        shown.len() == count,
        "/proc shows {} processes, and there are {count} in the container",
        shown.len()
    );
    Ok(())
}

fn has_the_hosts_devices(bench: &Bench) -> anyhow::Result<()> {
    has_devices(bench)?;
    let mut container = start(bench)?;
    let names = container.must(&["list", "/dev"])?;
    let names: BTreeSet<&str> = names.lines().collect();
    for entry in fs::read_dir("/dev")?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        ensure!(
            names.contains(&*name),
            "the host has a /dev/{name}, and the container has none"
        );
    }
    Ok(())
}

pub(super) fn has_devices(bench: &Bench) -> anyhow::Result<()> {
    let mut container = start(bench)?;
    for (name, numbers) in
        [("null", "1:3"), ("zero", "1:5"), ("urandom", "1:9")]
    {
        let found = container.must(&["stat", &format!("/dev/{name}")])?;
        ensure!(
            found == format!("device {numbers}"),
            "/dev/{name} is: {found}, and not a device {numbers}"
        );
    }
    container.must(&["write-there", "/dev/null", "gone"])?;
    Ok(())
}

fn files_of_the_host_are_gone(bench: &Bench) -> anyhow::Result<()> {
    let secret = bench.secret()?;
    let mut container = start(bench)?;
    no_escape(&mut container, &secret)?;
    let agent = container.pid;
    same_directory(
        &Path::new("/proc").join(agent.to_string()).join("cwd"),
        &container.at("/"),
    )
    .context("the command begins in a directory that is not its root")
}

/// Whether each of the ways is closed that are known.
pub(super) fn no_escape(
    container: &mut Container,
    secret: &Path,
) -> anyhow::Result<()> {
    // One of them is on a file system of its own, which goes with the root.
    let mut files = Vec::new();
    for path in [secret, Path::new("/usr"), Path::new("/etc/passwd")] {
        if let Ok(file) = fs::metadata(path) {
            let (device, inode) = (file.dev(), file.ino());
            files.push(format!("{device}:{inode}:{}", path.display()));
        }
    }
    let mut words = vec!["escape"];
    words.extend(files.iter().map(String::as_str));
    let ways = container.must(&words)?;
    ensure!(ways.is_empty(), "a file of the host can be reached: {ways}");
    Ok(())
}

fn lets_go_of_the_old_root(bench: &Bench) -> anyhow::Result<()> {
    let secret = bench.secret()?;
    let mut container = start(bench)?;
    let mountinfo = container.proc_file("mountinfo")?;
    let mut roots = 0;
    for mount in mounts(&mountinfo) {
        roots += usize::from(mount.point == "/");
        let expected = ["/proc", "/dev"]
            .iter()
            .any(|it| Path::new(mount.point).starts_with(it));
        ensure!(
            mount.point == "/" || expected,
            "{} of the host is still mounted in the container, at {}",
            mount.root,
            mount.point
        );
    }
    ensure!(
        roots == 1,
        "{roots} mounts are on /: the old root is still there, below or above \
         the new one"
    );
    no_escape(&mut container, &secret)
}
