//! Machines and callers as nobody expects them: what the doctor says is what the
//! steps do, an error says what is odd, and nothing is left behind.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use harness::{
    ALL, FULL, Finished, MOUNT, OVERLAY, Run, Test, UTS, claims,
    host::children, needs, wait_until,
};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use tempfile::TempDir;

use crate::{
    bad_input::assert_message,
    cache::Cache,
    doctor::{ask, assert_agrees, limits_of},
    refusals::in_namespaces,
};

pub(crate) const TESTS: &[Test] = claims![
    with_part_of_root_s_power_the_doctor_is_right,
    a_root_that_can_give_nothing_away_is_warned,
    with_any_standard_input_the_doctor_is_right,
    without_devices_the_doctor_is_right,
    without_a_proc_the_doctor_is_right,
    in_the_proc_of_another_pid_namespace_no_process_is_touched,
    who_is_nobody_learns_why_there_is_no_namespace,
    with_few_descriptors_the_doctor_is_right,
    a_small_stack_is_an_error_and_no_crash,
    a_limit_on_files_is_an_error_and_leaves_no_image,
    a_command_has_the_limit_on_files_as_it_is,
    whatever_lies_in_a_cache_the_doctor_is_right,
    an_image_of_another_kind_makes_place,
    a_cache_whose_path_is_too_long_is_not_begun,
    with_any_umask_the_doctor_is_right_and_leaves_nothing,
    a_root_that_stays_powerful_leaves_nothing,
    an_interrupted_doctor_leaves_nothing,
];

/// Has setpriv(1) start it, with these options.
fn by_setpriv(run: Run, options: &str) -> Run {
    run.through(&format!("exec setpriv {options} \"$0\" \"$@\""))
}

/// In a mount namespace of its own that whoever it is may make.
fn with_mounts(run: Run, more: &str, script: &str) -> Run {
    let options = match needs::is_root() {
        true => "--mount",
        false => "--user --map-current-user --keep-caps --mount",
    };
    in_namespaces(run, &format!("{options} {more}"), script)
}

/// What is done for step 6 is done in a new user namespace, in which root has
/// all of root's power.
fn with_part_of_root_s_power_the_doctor_is_right() {
    needs::root();
    needs::tool("setpriv");
    for missing in [
        "-chown",
        "-net_admin",
        "-dac_override,-dac_read_search",
        "-setuid",
        "-sys_admin",
    ] {
        let options = format!("--bounding-set {missing}");
        assert_agrees(|run| by_setpriv(run, &options));
    }
    let options = "--bounding-set -setuid";
    let run = by_setpriv(FULL.run(), options).sh("true");
    assert_message(&run, 125, &["EPERM", "it may not give ids away"]);
}

/// Its standard input is a pipe, and stays the host's.
fn a_root_that_can_give_nothing_away_is_warned() {
    needs::root();
    needs::id_mapping();
    needs::tool("setpriv");
    let options = "--bounding-set -chown";
    let run = by_setpriv(FULL.run(), options).sh("cat; echo fine");
    assert_eq!(run.ok(), "fine");
    let warning = "the container can't open /dev/stdin, stdout or stderr";
    assert!(run.stderr.contains(warning), "{run}");
    let limit = "`/dev/stdout` can't be opened on a pipe".to_owned();
    let doctor = || FULL.subcommand("doctor").options(["--json"]);
    let (json, _) = ask(by_setpriv(doctor(), options));
    assert!(limits_of(&json, FULL).contains(&limit));
    let (json, _) = ask(doctor());
    assert!(!limits_of(&json, FULL).contains(&limit));
}

fn with_any_standard_input_the_doctor_is_right() {
    for redirection in ["</", "<&-", "</dev/null"] {
        assert_agrees(|run| run.redirected(redirection));
    }
}

fn without_devices_the_doctor_is_right() {
    assert_agrees(|run| with_mounts(run, "", "mount -t tmpfs none /dev"));
    if needs::is_root() {
        let remount = "mount -o remount,bind,nodev /dev";
        assert_agrees(|run| with_mounts(run, "", remount));
    }
}

fn without_a_proc_the_doctor_is_right() {
    assert_agrees(|run| with_mounts(run, "", "mount -t tmpfs none /proc"));
}

/// Number 2 would be a process of the host there.
fn in_the_proc_of_another_pid_namespace_no_process_is_touched() {
    let there = |run: Run| with_mounts(run, "--pid --fork", "true");
    assert_agrees(there);
    let run = there(FULL.run()).sh("true");
    let parts = ["/proc is of another PID namespace", "hint: no process"];
    assert_message(&run, 125, &parts);
}

fn who_is_nobody_learns_why_there_is_no_namespace() {
    needs::plain_user();
    let there = |run: Run| in_namespaces(run, "--user", "true");
    assert_agrees(there);
    for step in [UTS, FULL] {
        let run = there(step.run()).sh("true");
        assert_message(&run, 125, &["is not in the uid_map"]);
    }
}

/// It has no more of them open than a step has, and no less.
fn with_few_descriptors_the_doctor_is_right() {
    for limit in [5, 7, 8, 10, 12, 13, 14, 16] {
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        assert_agrees(|run| run.through(&script));
    }
    let script = "ulimit -n 12; exec \"$0\" \"$@\"";
    let directory = TempDir::new().expect("a temporary directory");
    let kept = directory.path().join("kept");
    let run = OVERLAY
        .run()
        .options(["--upper".as_ref(), kept.as_os_str()]);
    let run = run.through(script).sh("true");
    assert!(!run.stderr.contains("/proc/self/stat: "), "{run}");
    if run.code != 0 {
        assert_message(&run, 125, &["EMFILE", "hint: the limit on open files"]);
    }
}

fn a_small_stack_is_an_error_and_no_crash() {
    let script = "ulimit -s 100; exec \"$0\" \"$@\"";
    let parts = ["the stack may have", "hint: raise it: ulimit -s"];
    for step in ALL {
        let run = step.run().through(script).sh("true");
        assert_message(&run, 125, &parts);
    }
    let doctor = FULL.subcommand("doctor").through(script).bare();
    assert_message(&doctor, 125, &parts);
    let script = "ulimit -s 256; exec \"$0\" \"$@\"";
    for step in ALL {
        step.run().through(script).command(["true"]).ok();
    }
}

/// By default a write that goes beyond it is a death by SIGXFSZ.
fn a_limit_on_files_is_an_error_and_leaves_no_image() {
    let cache = Cache::new();
    let there = |run: Run| cache.of_then(run, "ulimit -f 100");
    assert_agrees(there);
    let run = there(MOUNT.run()).sh("true");
    assert_message(&run, 125, &["EFBIG", "hint: the limit on the size"]);
    assert_eq!(cache.names(MOUNT.name), ["lock"]);
}

fn a_command_has_the_limit_on_files_as_it_is() {
    let xfsz = 1_u64 << (Signal::SIGXFSZ as u64 - 1);
    for step in ALL {
        let run = step.run();
        let run =
            run.sh("sed -n 's/^Sig\\(Blk\\|Ign\\):.//p' /proc/self/status");
        let sets = run.ok().lines().map(|set| u64::from_str_radix(set, 16));
        let sets: Vec<u64> = sets.map(|set| set.expect("a set")).collect();
        assert_eq!(sets.len(), 2, "{run}");
        assert!(sets.iter().all(|set| set & xfsz == 0), "{}", step.name);
    }
}

/// Each step has a cache of its own.
fn whatever_lies_in_a_cache_the_doctor_is_right() {
    let cache = Cache::new();
    for step in MOUNT.and_later() {
        cache.of(step.run()).command(["true"]).ok();
    }
    let file = |name| cache.file(MOUNT, name);
    let agrees_that_it_fails = |code, parts: &[&str]| {
        assert_agrees(|run| cache.of(run));
        let run = cache.of(MOUNT.run()).command(["true"]);
        assert_message(&run, code, parts);
    };
    for name in ["lock", "sources"] {
        for make in [make_fifo, make_directory] {
            let saved = saved(&file(name));
            make(&file(name));
            agrees_that_it_fails(125, &["is not a regular file: `rm -rf"]);
            restore(&saved, &file(name));
        }
    }
    make_fifo(&file("old"));
    agrees_that_it_fails(125, &["is not a directory: `rm -rf"]);
    fs::remove_file(file("old")).expect("it is ours");

    let saved = saved(&file("rootfs/bin"));
    agrees_that_it_fails(127, &["has lost its tools: rm -rf"]);
    restore(&saved, &file("rootfs/bin"));

    if needs::is_root() {
        lchown(file(""), Some(65534), None).expect("we are root");
        agrees_that_it_fails(125, &["belongs to user 65534"]);
        lchown(file(""), Some(0), None).expect("we are root");
    }
    assert_agrees(|run| cache.of(run));
    cache.of(MOUNT.run()).command(["true"]).ok();
}

fn make_fifo(path: &Path) {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).expect("it is ours");
}

fn make_directory(path: &Path) {
    fs::create_dir(path).expect("it is ours");
}

/// Puts what is at `path` somewhere else, and says where.
fn saved(path: &Path) -> PathBuf {
    let saved = path.with_extension("saved");
    fs::rename(path, &saved).expect("it is ours");
    saved
}

/// Puts it back, in the place of what is there now.
fn restore(saved: &Path, path: &Path) {
    let removed = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    drop(removed);
    fs::rename(saved, path).expect("it is ours");
}

fn an_image_of_another_kind_makes_place() {
    let cache = Cache::new();
    for step in [MOUNT, FULL] {
        cache.of(step.run()).command(["true"]).ok();
        let image = cache.file(step, "rootfs");
        fs::remove_dir_all(&image).expect("it is ours");
        fs::write(&image, "").expect("it is ours");
    }
    assert_agrees(|run| cache.of(run));
    cache.of(MOUNT.run()).command(["true"]).ok();
}

fn a_cache_whose_path_is_too_long_is_not_begun() {
    needs::plain_user();
    let directory = TempDir::new().expect("a temporary directory");
    let long = directory.path().join("long-name/".repeat(500));
    let there = |run: Run| run.env("XDG_CACHE_HOME", &long);
    assert_agrees(there);
    let run = there(MOUNT.run()).sh("true");
    assert_message(&run, 125, &["ENAMETOOLONG"]);
    assert_eq!(names_in(directory.path()), [""; 0]);
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is ours");
    let names = entries.map(|it| it.expect("it is ours").file_name());
    names.map(|it| it.to_string_lossy().into_owned()).collect()
}

/// A directory that everybody may write to.
fn open_directory() -> TempDir {
    let directory = TempDir::new().expect("a temporary directory");
    let open = Permissions::from_mode(0o777);
    fs::set_permissions(directory.path(), open).expect("it is ours");
    directory
}

fn with_any_umask_the_doctor_is_right_and_leaves_nothing() {
    let directory = open_directory();
    for umask in ["077", "700", "777"] {
        let there = |run: Run| {
            let script = format!(
                "cd \"$DIRECTORY\" && umask {umask} && exec \"$0\" \"$@\""
            );
            run.env("DIRECTORY", directory.path()).through(&script)
        };
        assert_agrees(there);
        let doctor = FULL.subcommand("doctor").options(["--json"]);
        let (json, _) = ask(there(doctor));
        assert_eq!(names_in(directory.path()), [""; 0], "{umask}");
        for step in OVERLAY.and_later() {
            let limits = limits_of(&json, step);
            let says = !limits.iter().any(|it| it.contains("--upper needs"));
            let run = step.run().options(["--upper", "kept"]);
            let runs = there(run).command(["true"]).code == 0;
            assert_eq!(says, runs, "{}, {umask}", step.name);
            let kept = directory.path().join("kept");
            fs::remove_dir_all(kept).expect("it is ours");
        }
    }
}

/// Who becomes a plain user then, keeps root's capabilities.
fn a_root_that_stays_powerful_leaves_nothing() {
    needs::root();
    needs::tool("setpriv");
    let directory = TempDir::new().expect("a temporary directory");
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), open).expect("it is ours");
    let bits = "+no_setuid_fixup,+no_setuid_fixup_locked";
    let script = format!(
        "cd \"$DIRECTORY\" && exec setpriv --securebits {bits} \"$0\" \"$@\""
    );
    let doctor = FULL.subcommand("doctor").env("DIRECTORY", directory.path());
    let doctor: Finished = doctor.through(&script).bare();
    assert!(doctor.code < 2, "{doctor}");
    assert_eq!(names_in(directory.path()), [""; 0]);
}

/// At any moment; what is left of cgroups and processes is seen by the harness.
fn an_interrupted_doctor_leaves_nothing() {
    let directory = open_directory();
    let script = "cd \"$DIRECTORY\" && exec \"$0\" \"$@\"";
    for moment in 0..16 {
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
        let signal = signals[moment % signals.len()];
        let doctor = FULL.subcommand("doctor").through(script);
        let doctor = doctor.env("DIRECTORY", directory.path()).start_bare();
        wait_until("the first attempt", || {
            children(doctor.supervisor()).first().copied()
        });
        sleep(Duration::from_millis(25 * moment as u64));
        doctor.signal(signal);
        let ended = doctor.finish();
        assert_eq!(names_in(directory.path()), [""; 0]);
        // Later it may have come to its end.
        if moment == 0 {
            assert_eq!(ended.code, 128 + signal as i32, "{ended}");
        }
    }
}
