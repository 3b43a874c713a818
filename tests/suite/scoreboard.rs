//! The scoreboard of each step: what `probe` says is a snapshot, as it stands.

use std::sync::Mutex;

use harness::{
    ALL, CGROUPS, FULL, Finished, OVERLAY, PARTS_OF_FULL, Step, Test, UTS,
    claims, needs,
};
use insta::assert_snapshot;
use serde_json::Value;

pub(crate) const TESTS: &[Test] = claims![
    each_step_turns_rows_from_shared_to_isolated,
    each_part_of_step_6_turns_rows_and_turns_none_back,
    the_json_says_the_same_as_the_table,
];

/// How often the probe is asked on a machine that is too busy to measure.
const TRIES: usize = 20;

/// What the probe prints. It measures the CPU, so there is one at a time, and
/// it is asked again where it says that it could not.
fn probe(step: Step, options: &[&str]) -> Finished {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let ask = || step.subcommand("probe").options(options).bare();
    let mut probe = ask();
    for _ in 1..TRIES {
        if !probe.stdout.contains("too busy to tell") {
            break;
        }
        probe = ask();
    }
    probe.ok();
    probe
}

/// One scoreboard, and how many of its rows are isolated.
fn board(step: Step) -> (String, usize) {
    let probe = probe(step, &[]);
    let isolated = |line: &&str| line.ends_with(" isolated");
    let count = probe.lines().into_iter().filter(isolated).count();
    (probe.stdout, count)
}

/// A row of the scoreboard.
fn host_devices(verdict: &str) -> String {
    format!("{:<28} {verdict}\n", "host devices")
}

/// What a scoreboard depends on: who runs the probe, and what this machine
/// can't do for them.
fn variant(step: Step) -> &'static str {
    let is_root = needs::is_root();
    if is_root {
        "root"
    } else if step >= CGROUPS && needs::why_no_limits().is_none() {
        "plain_user_delegated"
    } else {
        "plain_user"
    }
}

fn each_step_turns_rows_from_shared_to_isolated() {
    if needs::is_root() {
        needs::limits();
        needs::id_mapping();
    }
    let mut before = 0;
    let openable = board(UTS).0.contains(&host_devices("shared"));
    for step in ALL {
        let (mut board, isolated) = board(step);
        let variant = variant(step);
        // udev lets everybody open one or two of them, such as /dev/fuse. The
        // snapshots are of a machine that does not.
        if openable && variant != "root" {
            let verdict = if step < FULL { "shared" } else { "isolated" };
            let not_tried = "not tried: the host lets you open none";
            let (here, there) =
                (host_devices(verdict), host_devices(not_tried));
            assert!(board.contains(&here), "{}: {board}", step.name);
            board = board.replace(&here, &there);
        }
        compare(&format!("{}_{variant}", step.name), &board);
        // Where a plain user could do nothing outside either, or has no
        // limits, a row is not tried, and a step may gain nothing.
        let gain = usize::from(needs::is_root());
        assert!(
            isolated >= before + gain,
            "{}: {isolated} rows are isolated, and {before} in the step below",
            step.name
        );
        before = isolated;
        if step == FULL && variant == "root" {
            assert_eq!(isolated, board.lines().count(), "step 6 isolates all");
        }
    }
}

/// Compares a scoreboard with its snapshot.
fn compare(name: &str, board: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| assert_snapshot!(name, board));
}

/// Each part is less open than the one before it, for root and for a plain user:
/// so none is a worse container than step 5, which readers run as well.
fn each_part_of_step_6_turns_rows_and_turns_none_back() {
    if needs::is_root() {
        needs::limits();
        needs::id_mapping();
    }
    let isolated = |board: &str| -> Vec<String> {
        let lines = board.lines().filter(|it| it.ends_with(" isolated"));
        lines.map(String::from).collect()
    };
    let (mut before, _) = board(OVERLAY);
    for step in PARTS_OF_FULL {
        let (now, _) = board(step);
        let (old, new) = (isolated(&before), isolated(&now));
        let lost: Vec<&String> =
            old.iter().filter(|row| !new.contains(row)).collect();
        assert!(lost.is_empty(), "{}: {lost:?} no more", step.name);
        // A plain user's container has had a user namespace since step 1.
        let is_news = needs::is_root() || step != PARTS_OF_FULL[0];
        assert!(
            new.len() > old.len() || !is_news,
            "{} turns no row",
            step.name
        );
        let name = format!("{}_{}", step.name, variant(step));
        compare(&name, &as_with_openable_devices(step, &now));
        before = now;
    }
    let (full, _) = board(FULL);
    assert_eq!(before, full, "the last part is step 6");
}

/// The scoreboard as it would be where udev lets everybody open a device or two,
/// such as `/dev/fuse`: for root of a user namespace nothing else is left of the
/// host's, until it has a `/dev` of its own. A plain user's snapshots are of a
/// machine without.
fn as_with_openable_devices(step: Step, board: &str) -> String {
    let has_the_hosts = PARTS_OF_FULL[..2].contains(&step);
    let (from, to) = match (needs::is_root(), has_the_hosts) {
        (true, true) => ("isolated", "shared"),
        (true, false) => return board.to_owned(),
        (false, true) => ("shared", "not tried: the host lets you open none"),
        (false, false) => {
            ("isolated", "not tried: the host lets you open none")
        }
    };
    board.replace(&host_devices(from), &host_devices(to))
}

fn the_json_says_the_same_as_the_table() {
    let (table, _) = board(UTS);
    let json = probe(UTS, &["--json"]).stdout;
    let json: Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["step"], UTS.name);
    let rows = json["rows"].as_array().expect("a list of rows");
    assert_eq!(rows.len(), table.lines().count());
    for (row, line) in rows.iter().zip(table.lines()) {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        assert!(line.starts_with(text("row")), "{line} is not {row}");
        assert!(line.contains(text("verdict")), "{line} is not {row}");
        assert!(line.ends_with(text("reason")), "{line} is not {row}");
    }
}
