//! The doctor: what it says is what the steps do.

use serde_json::Value;
use tests::{ALL, FULL, Finished, Run, Test, UTS, needs, tests};

use crate::refusals::{filtered, in_namespaces};

pub(crate) const TESTS: &[Test] = tests![
    the_doctor_knows_which_steps_run,
    each_step_has_the_same_doctor,
    the_text_says_the_same_as_the_json,
    under_docker_s_filter_it_is_right,
    without_the_newer_calls_it_is_right,
    without_user_namespaces_it_is_right,
    without_a_visible_proc_it_is_right,
    without_writable_cgroups_it_is_right,
    on_an_overlay_it_finds_no_place_for_upper,
];

/// What the doctor says, as JSON, and its exit code.
fn ask(run: Run) -> (Value, i32) {
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
    let doctor = FULL.subcommand("doctor").options(["--json"]);
    let (json, code) = ask(in_situation(doctor));
    let you = &json["callers"][0];
    let mut all = true;
    for step in ALL {
        let run = in_situation(step.run()).command(["true"]);
        let says = &you["steps"][step.number - 1];
        assert_eq!(says["name"], step.name);
        let runs = run.code == 0;
        assert_eq!(says["runs"], runs, "{}", step.name);
        all &= runs;
        if !runs {
            assert_cause_is_known(you, &run);
            continue;
        }
        let limits = says["limits"].as_array().expect("it is a list");
        let limit = "memory is not limited";
        let says = limits.iter().any(|it| it == limit);
        let warns = run.stderr.contains("not limited: memory");
        assert_eq!(says, warns, "{}: {limit}", step.name);
    }
    assert_eq!(code, i32::from(!all), "exit code");
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

fn each_step_has_the_same_doctor() {
    let names = |json: &Value| -> Vec<String> {
        let abilities = &json["callers"][0]["abilities"];
        texts(abilities, "name").map(String::from).collect()
    };
    let (first, _) = ask(UTS.subcommand("doctor").options(["--json"]));
    for step in ALL {
        let (json, _) = ask(step.subcommand("doctor").options(["--json"]));
        assert_eq!(names(&json), names(&first), "{}", step.name);
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
