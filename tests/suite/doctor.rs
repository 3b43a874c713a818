//! The doctor: what it says is what the steps do.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use harness::{
    ALL, FULL, Finished, MOUNT, OVERLAY, Run, Step, Test, claims, needs,
};
use serde_json::Value;

use crate::refusals::{filtered, in_namespaces, with_cache_on_tmpfs};

pub(crate) const TESTS: &[Test] = claims![
    the_doctor_knows_which_steps_run,
    each_step_names_the_doctor,
    the_text_says_the_same_as_the_json,
    under_docker_s_filter_it_is_right,
    without_the_newer_calls_it_is_right,
    without_user_namespaces_it_is_right,
    without_a_visible_proc_it_is_right,
    without_writable_cgroups_it_is_right,
    without_a_place_for_the_image_it_is_right,
    with_an_image_that_cannot_be_executed_it_is_right,
    with_an_image_that_cannot_be_id_mapped_it_is_right,
    with_tables_of_ids_that_cannot_be_read_it_is_right,
    in_a_directory_closed_to_others_it_is_right,
    on_an_overlay_it_finds_no_place_for_upper,
    in_a_directory_of_any_mode_it_is_right_about_upper,
    without_landlock_it_says_that_one_wall_is_left,
    without_attributes_in_memory_it_says_what_fails,
    it_knows_whether_a_directory_of_the_image_can_be_removed,
];

/// What the doctor says, as JSON, and its exit code.
pub(crate) fn ask(run: Run) -> (Value, i32) {
    let doctor = run.bare();
    let json = serde_json::from_str(&doctor.stdout).expect("it is JSON");
    (json, doctor.code)
}

fn texts<'a>(list: &'a Value, field: &'a str) -> impl Iterator<Item = &'a str> {
    let list = list.as_array().expect("it is a list");
    list.iter().filter_map(move |it| it[field].as_str())
}

/// Asks the doctor and runs the steps, in the same situation: what runs, runs,
/// with the limits that the doctor knows; and what does not, fails for a reason
/// that it has named.
fn assert_right(in_situation: impl Fn(Run) -> Run) {
    let (you, failed) = compare(in_situation);
    for run in failed {
        assert_cause_is_known(&you, &run);
    }
}

/// The same for failures that are too rare for a hint.
pub(crate) fn assert_agrees(in_situation: impl Fn(Run) -> Run) {
    compare(in_situation);
}

/// Returns what the doctor says of the caller, and the runs that have failed.
fn compare(in_situation: impl Fn(Run) -> Run) -> (Value, Vec<Finished>) {
    let doctor = FULL.subcommand("doctor").options(["--json"]);
    let (json, code) = ask(in_situation(doctor));
    let you = &json["callers"][0];
    let mut failed = Vec::new();
    for step in ALL {
        let run = in_situation(step.run()).command(["true"]);
        let says = &you["steps"][step.number - 1];
        assert_eq!(says["name"], step.name);
        let runs = run.code == 0;
        assert_eq!(says["runs"], runs, "{}", step.name);
        if !runs {
            failed.push(run);
            continue;
        }
        let limits = says["limits"].as_array().expect("it is a list");
        let limit = "memory is not limited";
        let says = limits.iter().any(|it| it == limit);
        let warns = run.stderr.contains("not limited: memory");
        assert_eq!(says, warns, "{}: {limit}", step.name);
        let limit = "`rm -r` of a directory of the image needs --upper DIR";
        let says = limits.iter().any(|it| it == limit);
        let warns = run.stderr.contains("can't delete or rename");
        assert_eq!(says, warns, "{}: {limit}", step.name);
        // If nothing was granted, that is no reason for a warning.
        let warning = "root is the only user in the container";
        if run.stderr.contains(warning) {
            let limit = "root is the only user inside";
            assert!(limits.iter().any(|it| it == limit), "{warning}");
        }
    }
    assert_eq!(code, i32::from(!failed.is_empty()), "exit code");
    (you.clone(), failed)
}

fn assert_cause_is_known(you: &Value, run: &Finished) {
    let mut lines = run.stderr.lines();
    let hint = lines.find_map(|line| line.strip_prefix("  hint: "));
    let hint = hint.expect("a hint");
    let errors = you["abilities"].as_array().expect("it is a list");
    let known = errors.iter().any(|it| {
        let cause = it["error"]["cause"].as_str();
        cause.is_some_and(|cause| hint.starts_with(cause))
    });
    assert!(known, "the doctor does not know: {hint}");
}

fn the_doctor_knows_which_steps_run() {
    assert_right(|run| run);
}

fn each_step_names_the_doctor() {
    for step in ALL {
        let help = step.subcommand("--help").bare();
        assert!(help.stdout.contains("step06-full doctor"), "{help}");
    }
}

fn the_text_says_the_same_as_the_json() {
    let (json, code) = ask(FULL.subcommand("doctor").options(["--json"]));
    let text = FULL.subcommand("doctor").bare();
    assert_eq!(text.code, code);
    let columns = json["callers"].as_array().expect("it is a list").len();
    assert_eq!(columns, 1 + usize::from(needs::is_root()));
    for caller in json["callers"].as_array().expect("it is a list") {
        assert!(
            text.stdout
                .contains(caller["who"].as_str().expect("a name"))
        );
        for name in texts(&caller["abilities"], "name") {
            assert!(text.stdout.contains(&format!("\n{name} ")), "{name}");
        }
        for it in caller["abilities"].as_array().expect("it is a list") {
            if let Some(fix) = it["error"]["fix"].as_str() {
                assert!(text.stdout.contains(fix), "{fix}");
            }
        }
    }
}

fn under_docker_s_filter_it_is_right() {
    assert_right(|run| filtered(run, "docker"));
}

fn without_the_newer_calls_it_is_right() {
    assert_right(|run| filtered(run, "newer"));
}

fn without_user_namespaces_it_is_right() {
    let options = "--user --map-current-user --keep-caps --mount";
    let switch = "echo 0 >/proc/sys/user/max_user_namespaces";
    assert_right(|run| in_namespaces(run, options, switch));
}

fn without_a_visible_proc_it_is_right() {
    needs::root();
    let mask = "mount --bind /dev/null /proc/interrupts";
    assert_right(|run| in_namespaces(run, "--mount", mask));
}

fn without_writable_cgroups_it_is_right() {
    needs::root();
    needs::limits();
    let read_only = needs::at_each_cgroup_mount("mount -o remount,bind,ro");
    assert_right(|run| in_namespaces(run, "--mount", &read_only));
}

fn without_a_place_for_the_image_it_is_right() {
    needs::root();
    for options in ["size=64k", "ro", "mode=0777"] {
        assert_right(|run| with_cache_on_tmpfs(options, run));
    }
}

/// Steps 3 and 4 execute it where it is, the others through an overlay.
fn with_an_image_that_cannot_be_executed_it_is_right() {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let there = |run: Run| match needs::is_root() {
        true => with_cache_on_tmpfs("noexec,mode=0755", run),
        false => {
            let options = "--user --map-current-user --keep-caps --mount";
            let mount = "mount -t tmpfs -o noexec,mode=0700 none \
                         \"$XDG_CACHE_HOME\"";
            let run = run.env("XDG_CACHE_HOME", cache.path());
            in_namespaces(run, options, mount)
        }
    };
    assert_right(there);
    let (json, _) = ask(there(FULL.subcommand("doctor").options(["--json"])));
    let runs = |step: Step| {
        json["callers"][0]["steps"][step.number - 1]["runs"] == true
    };
    assert!(!runs(MOUNT));
    assert!(runs(OVERLAY));
}

/// As in a container of Docker whose cache is no volume.
fn with_an_image_that_cannot_be_id_mapped_it_is_right() {
    needs::root();
    let script = "mount -t tmpfs none /mnt && mkdir /mnt/l /mnt/u /mnt/w && \
                  mount -t overlay -o lowerdir=/mnt/l,upperdir=/mnt/u,\
                  workdir=/mnt/w none /var/cache";
    assert_right(|run| in_namespaces(run, "--mount", script));
}

/// A plain user then has one id, and a warning.
fn with_tables_of_ids_that_cannot_be_read_it_is_right() {
    needs::root();
    needs::tool("setpriv");
    if !Path::new("/etc/subuid").exists() {
        harness::skip("needs a file /etc/subuid");
    }
    let cache = tempfile::tempdir().expect("a temporary directory");
    chown(cache.path(), Some(65534), Some(65534)).expect("we are root");
    let there = |run: Run| {
        let script = "mount -t tmpfs none /mnt && touch /mnt/closed && \
                      chmod 600 /mnt/closed && \
                      mount --bind /mnt/closed /etc/subuid && \
                      exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                      env XDG_CACHE_HOME=\"$CACHE\" \"$0\" \"$@\"";
        in_namespaces(run.env("CACHE", cache.path()), "--mount", script)
    };
    assert_right(there);
    let (json, _) = ask(there(FULL.subcommand("doctor").options(["--json"])));
    let one = "root is the only user inside".to_owned();
    assert!(limits_of(&json, FULL).contains(&one));
    let run = there(FULL.run()).sh("true");
    let errors = json["callers"][0]["abilities"].as_array();
    let mut errors = errors.expect("it is a list").iter();
    let why = "open(\"/etc/subuid\", O_RDONLY|O_CLOEXEC): EACCES";
    let is_it = |it: &Value| {
        let message = it["error"]["message"].as_str();
        message.is_some_and(|message| message.contains(why))
    };
    assert!(run.stderr.contains(why), "{run}");
    assert!(errors.any(is_it), "{why}");
}

/// Not even root of a container may pass through it.
fn in_a_directory_closed_to_others_it_is_right() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let inner = directory.path().join("inner");
    fs::create_dir(&inner).expect("it is ours");
    let there = |run: Run| {
        let script = "cd \"$DIRECTORY\" && exec \"$0\" \"$@\"";
        run.env("DIRECTORY", &inner).through(script)
    };
    assert_right(there);
    let (json, _) = ask(there(FULL.subcommand("doctor").options(["--json"])));
    for step in OVERLAY.and_later() {
        let limits = &json["callers"][0]["steps"][step.number - 1]["limits"];
        let limits = limits.as_array().expect("it is a list");
        let says = !limits.contains(&"--upper needs another directory".into());
        let run = step.run().options(["--upper", "kept"]);
        let works = there(run).command(["true"]).code == 0;
        assert_eq!(says, works, "{}", step.name);
        fs::remove_dir_all(inner.join("kept")).expect("it is ours");
    }
}

fn on_an_overlay_it_finds_no_place_for_upper() {
    needs::root();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = "cd \"$DIRECTORY\" && mkdir lower upper work merged && \
                  mount -t overlay -o \
                  lowerdir=lower,upperdir=upper,workdir=work none merged && \
                  cd merged";
    let doctor = FULL.subcommand("doctor").options(["--json"]);
    let doctor = doctor.env("DIRECTORY", directory.path());
    let (json, _) = ask(in_namespaces(doctor, "--mount", script));
    let step = &json["callers"][0]["steps"][4];
    assert_eq!(step["runs"], true);
    let limits = step["limits"].as_array().expect("it is a list");
    assert!(limits.contains(&"--upper needs another directory".into()));
}

/// The limits that the doctor knows for the step of that number.
pub(crate) fn limits_of(json: &Value, step: Step) -> Vec<String> {
    let limits = &json["callers"][0]["steps"][step.number - 1]["limits"];
    let limits = limits.as_array().expect("it is a list").iter();
    limits.filter_map(Value::as_str).map(String::from).collect()
}

/// Closed to others, and closed to the user.
fn in_a_directory_of_any_mode_it_is_right_about_upper() {
    for mode in ["755", "700", "0"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = "chmod 700 \"$DIRECTORY\" && cd \"$DIRECTORY\" && \
                      chmod \"$MODE\" . && exec \"$0\" \"$@\"";
        let there = |run: Run| {
            let run = run.env("DIRECTORY", directory.path()).env("MODE", mode);
            run.through(script)
        };
        let doctor = FULL.subcommand("doctor").options(["--json"]);
        let (json, _) = ask(there(doctor));
        for step in OVERLAY.and_later() {
            let kept = format!("kept-{}", step.number);
            let run = step.run().options(["--upper", &kept]);
            let runs = there(run).sh("echo mine >/mine").code == 0;
            let limits = limits_of(&json, step);
            let says = !limits.iter().any(|it| it.contains("--upper needs"));
            assert_eq!(says, runs, "{}, {mode}", step.name);
        }
        // Or a plain user could not remove it.
        let open = Permissions::from_mode(0o700);
        fs::set_permissions(directory.path(), open).expect("it is ours");
    }
}

fn without_landlock_it_says_that_one_wall_is_left() {
    let ask = |filter: &str| {
        let doctor = FULL.subcommand("doctor").options(["--json"]);
        let (json, _) = ask(filtered(doctor, filter));
        limits_of(&json, FULL)
    };
    let limit = "the first wall stands alone".to_owned();
    assert!(ask("landlock").contains(&limit));
    filtered(FULL.run(), "landlock").sh("true").ok();
    needs::landlock();
    assert!(!ask("clone3").contains(&limit));
}

/// A tmpfs as before Linux 6.6.
fn without_attributes_in_memory_it_says_what_fails() {
    let doctor = FULL.subcommand("doctor").options(["--json"]);
    let (json, _) = ask(filtered(doctor, "attributes"));
    let is_it = |it: &String| it.contains("needs --upper DIR");
    assert!(limits_of(&json, FULL).iter().any(is_it));
    assert_eq!(json["callers"][0]["steps"][5]["runs"], true);
    // As root, step 5 uses attributes of root's.
    let as_user = limits_of(&json, OVERLAY).iter().any(is_it);
    assert_eq!(as_user, !needs::is_root());
}

fn it_knows_whether_a_directory_of_the_image_can_be_removed() {
    let (json, _) = ask(FULL.subcommand("doctor").options(["--json"]));
    for step in OVERLAY.and_later() {
        let limits = limits_of(&json, step);
        let says = !limits.iter().any(|it| it.contains("needs --upper DIR"));
        let removed = step.sh("rm -r /var").code == 0;
        assert_eq!(says, removed, "{}", step.name);
    }
}
