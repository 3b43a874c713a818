//! A command that comes later is as confined as the first.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
};

use common::host::cgroups::Layout;
use harness::{Test, claims, needs};
use nix::unistd::geteuid;

use crate::{
    commands::with_a_container,
    world::{World, wait_until},
};

pub(crate) const TESTS: &[Test] = claims![
    a_later_command_is_as_confined_as_the_first,
    nothing_of_the_caller_comes_along,
    nobody_stays_in_the_cgroups_of_the_caller,
    the_limits_are_those_of_the_container,
    what_is_given_to_read_is_no_more_writable_than_for_the_first,
];

/// What a process can tell of itself, and what it may do. The numbers of
/// processes, and what was measured, are left out.
const REPORT: &str = r#"
    for file in cgroup limits mountinfo uid_map gid_map setgroups \
        oom_score_adj; do
        echo "== $file"; cat /proc/self/$file
    done
    echo "== status"
    grep -e ^Uid -e ^Gid -e ^Groups -e ^Cap -e ^NoNew -e ^Seccomp \
        -e ^SigBlk -e ^SigIgn -e ^SigCgt -e ^Umask -e ^Spec \
        -e ^Cpus_allowed: /proc/self/status
    echo "== namespaces"; ls -l /proc/self/ns | sed 's/.*-> //'
    echo "== descriptors"; ls /proc/self/fd
    echo "== environment"; env | sort
    echo "== place"; pwd; umask; hostname; id
    try() { "$@" > /dev/null 2>&1; echo "$*: $?"; }
    echo "== forbidden"
    try unshare true; try unshare --user true
    try mount -t tmpfs none /tmp
    try hostname other
    try mknod /disk b 8 0
    try sh -c 'echo 1 > /proc/sys/kernel/sysrq'
    try sh -c 'echo 0 > /proc/self/oom_score_adj'
    try sh -c 'echo 1 > /sys/fs/cgroup/memory.max'
    try ls /proc/1/root /proc/1/fd /proc/1/cwd
    try cat /proc/1/environ /proc/kcore
"#;

fn reports(world: &World, exec: impl Fn(&str) -> String) -> [String; 2] {
    let write = format!("({REPORT}) > /report 2>&1; echo ready; sleep 1000");
    let arguments = ["--name", "web", "--env", "A=1", "-", "sh", "-c", &write];
    world.says([&["run", "-d"][..], &arguments].concat());
    world.wait_for("web", "ready");
    [
        world.exec(&[], "cat /report"),
        exec(&format!("({REPORT}) 2>&1")),
    ]
}

/// The same lines on both sides.
fn assert_equal([run, exec]: [String; 2]) {
    // A plain user's cgroup namespace is another one, which begins at the same
    // place.
    let is_counted =
        |line: &&str| geteuid().is_root() || !line.starts_with("cgroup:[");
    let run: Vec<&str> = run.lines().filter(is_counted).collect();
    let exec: Vec<&str> = exec.lines().filter(is_counted).collect();
    assert!(run.len() > 60, "{run:#?}");
    for (first, later) in run.iter().zip(&exec) {
        assert_eq!(first, later, "in {run:#?}");
    }
    assert_eq!(run.len(), exec.len(), "{run:#?} {exec:#?}");
}

fn a_later_command_is_as_confined_as_the_first() {
    let world = World::new();
    assert_equal(reports(&world, |script| world.exec(&[], script)));
}

/// Whoever enters from another session, with other limits, with a mask, and
/// signals ignored.
fn nothing_of_the_caller_comes_along() {
    let world = World::new();
    assert_equal(reports(&world, |script| {
        // What only root may take back, a plain user has to leave.
        let first = "[ $(id -u) != 0 ] || echo 500 > /proc/self/oom_score_adj; \
                     ulimit -S -n 64; ulimit -S -c 0; umask 077; \
                     trap '' HUP USR1 PIPE; exec 7</ 9</etc; cd /; \
                     export SECRET=1";
        let output = world.after(first, &["exec", "web", "sh", "-c", script]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .expect("text")
            .trim_end()
            .into()
    }));
}

/// Also where nothing is limited, since the name of a place tells something.
fn nobody_stays_in_the_cgroups_of_the_caller() {
    // A plain user may have no cgroup.
    needs::root();
    let world = with_a_container(&[]);
    let place = || world.exec(&[], "cat /proc/self/cgroup");
    let before = place();
    let layout = Layout::read().expect("there are cgroups");
    for (controllers, tree) in layout.trees() {
        let name = format!("box-test.{}", std::process::id());
        let dir = tree.own.join(name);
        // New ones of this tree have no processors to run on.
        if controllers.contains(&"cpuset") || fs::create_dir(&dir).is_err() {
            continue;
        }
        let join = format!("echo 0 > {}/cgroup.procs", dir.display());
        let arguments = ["exec", "web", "cat", "/proc/self/cgroup"];
        let output = world.after(&join, &arguments);
        fs::remove_dir(&dir).expect("nobody is in it");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.trim_end(), before, "{controllers:?}: {output:?}");
    }
}

/// What it uses is counted together with the rest.
fn the_limits_are_those_of_the_container() {
    // A plain user may have no cgroup.
    needs::root();
    let world = World::new();
    let options = ["--pids-limit", "12", "--memory", "64m"];
    let command = ["-", "sh", "-c", "echo ready; sleep 1000"];
    let start = ["run", "-d", "--name", "web"];
    world.says([&start[..], &options, &command].concat());
    world.wait_for("web", "ready");
    let bomb = "i=0; while [ $i -lt 20 ]; do sleep 1 & i=$((i + 1)); done";
    let run = world.run(["exec", "web", "sh", "-c", bomb]);
    assert!(!run.status.success(), "it has forked 20 times: {run:?}");
    wait_until("they are gone", || {
        world.run(["exec", "web", "true"]).status.success()
    });
    let hog = "tail /dev/zero";
    let (code, _) = world.fails(["exec", "web", "sh", "-c", hog]);
    assert_eq!(code, 137);
}

/// The second wall: what was handed in for reading can't be opened for writing,
/// where the kernel has Landlock.
fn what_is_given_to_read_is_no_more_writable_than_for_the_first() {
    let world = with_a_container(&[]);
    let file = world.store.path().join("file");
    let outcome = |arguments: &[&str]| {
        fs::write(&file, "before").expect("written");
        let mode = fs::Permissions::from_mode(0o666);
        fs::set_permissions(&file, mode).expect("it is ours");
        let write = ["sh", "-c", "echo after > /dev/stdin"];
        let mut command = world.command([arguments, &write].concat());
        command.stdin(File::open(&file).expect("it is there"));
        command.output().expect("box runs");
        fs::read_to_string(&file).expect("it is text")
    };
    let first = outcome(&["run", "-"]);
    assert_eq!(outcome(&["exec", "-i", "web"]), first);
}
