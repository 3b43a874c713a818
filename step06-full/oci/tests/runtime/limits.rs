//! `update` and `events`, by their options.

use harness::{Test, claims, needs};

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    limits_are_changed_by_options,
    what_it_uses_is_told_as_often_as_asked_for,
];

fn limits_are_changed_by_options() {
    needs::root();
    let bundle = Bundle::new("sleep 60");
    bundle.create();
    bundle.does(&["start", "box"]);
    let forks = ["exec", "box", "sh", "-c", "(true; true) && echo forked"];
    assert_eq!(bundle.does(&forks), "forked");
    // The two that are there, and no third.
    let update = ["update", "--pids-limit", "2", "--memory", "64m"];
    bundle.does(&[&update, &["--memory-swap", "-1", "box"][..]].concat());
    assert!(!bundle.tool(&forks).status.success());
    bundle.does(&["update", "--pids-limit", "-1", "box"]);
    assert_eq!(bundle.does(&forks), "forked");
    let output = bundle.tool(&["update", "--memory", "1x", "box"]);
    assert!(!output.status.success());
}

fn what_it_uses_is_told_as_often_as_asked_for() {
    needs::root();
    let bundle = Bundle::new("sleep 1");
    bundle.create();
    bundle.does(&["start", "box"]);
    // Until its end, which is an error.
    let events = bundle.tool(&["events", "--interval", "100ms", "box"]);
    let lines = events.stdout.iter().filter(|it| **it == b'\n').count();
    assert!((2..20).contains(&lines), "{lines}");
}
