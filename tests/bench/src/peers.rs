//! Other tools, as far as they are installed: how each is told to do what is
//! nearest to step 6, and what that isolates.

use std::{ffi::OsString, fs, path::Path, process::Command};

use anyhow::{Context, ensure};
use nix::unistd::geteuid;
use serde_json::{Value, json};

use crate::{
    cgroups,
    place::{Place, find_program, make_directory},
    report::LeftOut,
    subjects::{ID, Kind, Subject},
};

/// A tool, or why it can't be compared.
type Peer = Result<Subject, LeftOut>;

/// How to set up the tool `program` for the containers of a place.
type SetUp = fn(&Path, &Place) -> anyhow::Result<Subject>;

/// All tools, from the one that does least; and this project's runtime, which is
/// in `programs`, among those that it does the same as.
pub(crate) fn all(programs: &Path, place: &Place) -> Vec<Peer> {
    let tools: [(&str, SetUp); 10] = [
        ("unshare", unshare),
        ("bwrap", bubblewrap),
        ("crun", crun),
        ("lxc-execute", lxc),
        (OWN_RUNTIME, own_runtime),
        ("youki", youki),
        ("runc", runc),
        ("systemd-nspawn", nspawn),
        ("podman", podman),
        ("docker", docker),
    ];
    let peer = |(name, set_up): (&str, SetUp)| {
        let own = Some(programs.join(name)).filter(|_| name == OWN_RUNTIME);
        let subject = own
            .or_else(|| find_program(name))
            .context("not installed")
            .and_then(|program| set_up(&program, place));
        subject.map_err(|error| LeftOut {
            name: name.to_owned(),
            reason: format!("{error:#}"),
        })
    };
    let peers = tools.into_iter().map(peer);
    peers
        .flat_map(|peer| [in_calls(&peer), Some(peer)])
        .flatten()
        .collect()
}

/// The runtime of this project.
pub(crate) const OWN_RUNTIME: &str = "step06-oci";

/// Puts a command line together.
macro_rules! line {
    ($($argument:expr),* $(,)?) => {
        [$(OsString::from($argument)),*]
    };
}
pub(crate) use line;

fn unshare(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    let chroot = find_program("chroot").context("there is no chroot")?;
    let rootfs = place.rootfs();
    let mut command =
        line![program, "--mount", "--uts", "--ipc", "--net"].to_vec();
    if !geteuid().is_root() {
        command.push("--map-root-user".into());
    }
    let mut proc = OsString::from("--mount-proc=");
    proc.push(rootfs.join("proc"));
    command.extend(line!["--pid", "--cgroup", "--fork", proc]);
    command.extend(line![chroot, rootfs, "/bin/true"]);
    let isolates = "all namespaces but user; chroot. Not: overlay, cgroup, \
                    capabilities, seccomp, /dev";
    Ok(Subject::new(
        "unshare + chroot",
        Kind::Peer,
        isolates,
        command,
    ))
}

fn bubblewrap(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    let mut command = line![program, "--ro-bind", place.rootfs(), "/"].to_vec();
    command.extend(line!["--proc", "/proc", "--dev", "/dev"]);
    command.extend(line!["--unshare-all", "--die-with-parent"]);
    command.extend(line!["--hostname", "box", "--", "/bin/true"]);
    let isolates = "all namespaces; /dev; read-only root; no_new_privs. Not: \
                    overlay, cgroup limits, masks, seccomp";
    Ok(Subject::new("bubblewrap", Kind::Peer, isolates, command))
}

/// An OCI runtime: the bundle is what its own `spec` writes, with the root
/// file system and limits put in.
fn oci(
    name: &str,
    program: &Path,
    place: &Place,
    options: &[&str],
) -> anyhow::Result<Subject> {
    let bundle = place.path().join(name);
    make_directory(&bundle)?;
    let root = geteuid().is_root();
    let mut spec = Command::new(program);
    spec.arg("spec").current_dir(&bundle);
    if !root {
        spec.arg("--rootless");
    }
    run(&mut spec)?;
    let path = bundle.join("config.json");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("open({path:?}, O_RDONLY)"))?;
    let mut config: Value =
        serde_json::from_str(&text).with_context(|| format!("in {path:?}"))?;
    config["root"] = json!({ "path": place.rootfs(), "readonly": true });
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/bin/true"]);
    if root {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({ "limit": 64 << 20 });
        resources["pids"] = json!({ "limit": 64 });
    }
    fs::write(&path, config.to_string())
        .with_context(|| format!("writing {path:?}"))?;

    let mut command =
        line![program, "--root", place.path().join("state")].to_vec();
    command.extend(options.iter().map(OsString::from));
    command.extend(line!["run", "--bundle", bundle, ID]);
    let isolates = match root {
        true => {
            "mount, UTS, PID, IPC, net namespaces; cgroup; capabilities; /dev; \
             masks; read-only root. Not: user namespace, overlay, seccomp"
        }
        false => {
            "all namespaces; capabilities; /dev; masks; read-only root. Not: \
             cgroup limits, overlay, seccomp"
        }
    };
    Ok(Subject::new(name, Kind::Peer, isolates, command))
}

/// An OCI runtime once more, called as an engine calls it: the container is made,
/// started and deleted by one process each, and `run` is the three in one.
fn in_calls(peer: &Peer) -> Option<Peer> {
    let subject = peer.as_ref().ok()?;
    let [program, root, state, rest @ ..] = &subject.command[..] else {
        return None;
    };
    let run = rest.iter().position(|it| it == "run");
    let bundle = run.and_then(|at| rest.get(at + 2))?;
    if root != "--root" {
        return None;
    }
    let script = r#"state=$1 bundle=$2 id=$3
        "$0" --root "$state" create --bundle "$bundle" "$id" &&
        "$0" --root "$state" start "$id" &&
        "$0" --root "$state" delete --force "$id""#;
    let command = line!["/bin/sh", "-c", script, program, state, bundle, ID];
    Some(Ok(Subject::new(
        format!("{}: create, start, delete", subject.name),
        Kind::InCalls,
        subject.isolates.clone(),
        command,
    )))
}

fn crun(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    oci("crun", program, place, &[])
}

fn runc(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    oci("runc", program, place, &[])
}

fn own_runtime(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    oci(OWN_RUNTIME, program, place, &[])
}

fn youki(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    oci("youki", program, place, &["--log-level", "error"])
}

fn lxc(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    need_root()?;
    let state = place.path().join("lxc");
    make_directory(&state)?;
    let config = place.path().join("lxc.conf");
    let rootfs = place.rootfs();
    // It takes the limits only of the version that there is.
    let (memory, pids) = match cgroups::layout(&cgroups::parents()?) {
        "version 2" => ("cgroup2.memory.max", "cgroup2.pids.max"),
        _ => ("cgroup.memory.limit_in_bytes", "cgroup.pids.max"),
    };
    let text = format!(
        "lxc.uts.name = box\n\
         lxc.rootfs.path = dir:{}\n\
         lxc.net.0.type = empty\n\
         lxc.mount.auto = proc:mixed sys:ro\n\
         lxc.{memory} = 67108864\n\
         lxc.{pids} = 64\n",
        rootfs.display()
    );
    fs::write(&config, text).with_context(|| format!("writing {config:?}"))?;
    let command = line![
        program,
        "--name",
        ID,
        "--lxcpath",
        state,
        "--rcfile",
        config,
        "--",
        "/bin/true",
    ];
    let isolates = "all namespaces but user; cgroup; init; /proc, /sys mixed. \
                    Not: overlay, capabilities, seccomp, /dev";
    Ok(Subject::new("lxc-execute", Kind::Peer, isolates, command))
}

fn nspawn(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    need_root()?;
    // It asks for a directory that looks like an operating system.
    make_directory(&place.rootfs().join("usr"))?;
    let command = line![
        program,
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--as-pid2",
        "--private-network",
        "--volatile=overlay",
        "--directory",
        place.rootfs(),
        "/bin/true",
    ];
    let isolates = "all namespaces but user; overlay; init; capabilities; \
                    seccomp; /dev; masks. Not: cgroup limits";
    Ok(Subject::new(
        "systemd-nspawn",
        Kind::Peer,
        isolates,
        command,
    ))
}

/// What podman is always told: its state is in /run, which is ours and in memory.
pub(crate) const PODMAN: [&str; 4] = [
    "--root=/run/podman/root",
    "--runroot=/run/podman/run",
    "--cgroup-manager=cgroupfs",
    "--events-backend=none",
];

/// Its options for a container like that of step 6.
pub(crate) const PODMAN_RUN: [&str; 6] = [
    "--network=none",
    // With our mark in its name: what stays is removed at the end.
    "--cgroup-parent=/container-in-six-steps-bench",
    "--memory=64m",
    "--pids-limit=64",
    // Its own default is more than a container in a container may have.
    "--ulimit=nofile=1024:1024",
    "--ulimit=nproc=1024:1024",
];

fn podman(program: &Path, place: &Place) -> anyhow::Result<Subject> {
    need_root()?;
    let mut overlay = place.rootfs().into_os_string();
    overlay.push(":O");
    let mut command = line![program].to_vec();
    command.extend(PODMAN.map(OsString::from));
    command.extend(line!["run", "--rm"]);
    command.extend(PODMAN_RUN.map(OsString::from));
    command.extend(line!["--rootfs", overlay, "/bin/true"]);
    let isolates = "mount, UTS, PID, IPC, net, cgroup namespaces; overlay; \
                    cgroup; capabilities; seccomp; /dev; masks. Not: user \
                    namespace";
    Ok(Subject::new("podman", Kind::Peer, isolates, command))
}

fn docker(program: &Path, _: &Place) -> anyhow::Result<Subject> {
    run(Command::new(program).args(["version", "--format", "{{.Server}}"]))
        .context("its engine does not answer")?;
    anyhow::bail!("it runs only images, and the benchmark leaves none behind")
}

fn need_root() -> anyhow::Result<()> {
    ensure!(geteuid().is_root(), "set up here for root only");
    Ok(())
}

/// Runs a command that prepares something.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("execve({:?})", command.get_program()))?;
    let says = String::from_utf8_lossy(&output.stderr);
    let last = says.lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{}: {last}", output.status);
    Ok(())
}
