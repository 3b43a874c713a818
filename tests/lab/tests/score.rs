//! What a lab's holes earn.

use lab::{
    check::{Outcome, Verdict},
    description::{Check, Hole, Lab},
    judge::Score,
};

fn lab() -> Lab {
    let hole = |name: &str| Hole {
        name: name.to_owned(),
        places: Vec::new(),
        hints: Vec::new(),
    };
    let check = |hole: &str, points, hidden| Check {
        name: format!("{hole} is worth {points}"),
        hole: hole.to_owned(),
        points,
        function: String::new(),
        limits: false,
        hidden,
    };
    Lab {
        step: "step".to_owned(),
        holes: vec![hole("one"), hole("two")],
        checks: vec![
            check("one", 10, false),
            check("one", 5, false),
            check("one", 3, true),
            check("two", 20, false),
        ],
        hidden: 0,
    }
}

fn outcomes(verdicts: [Verdict; 4]) -> Vec<Outcome> {
    let say = |it| Outcome::new(it, "what was seen");
    verdicts.into_iter().map(say).collect()
}

use Verdict::{Failed, NotRun, Passed};

#[test]
fn a_hole_earns_all_of_its_points_or_none() {
    let lab = lab();
    for (verdicts, one, two, total) in [
        ([Passed, Passed, Passed, Passed], 15, 20, 38),
        ([Passed, Passed, Failed, Passed], 15, 20, 35),
        ([Passed, Failed, Passed, Passed], 0, 20, 20),
        ([Failed, Passed, Passed, Failed], 0, 0, 0),
    ] {
        let outcomes = outcomes(verdicts);
        let score = Score {
            lab: &lab,
            outcomes: &outcomes,
        };
        assert_eq!(score.earned("one"), one);
        assert_eq!(score.earned("two"), two);
        assert_eq!(score.total(), total);
    }
}

#[test]
fn what_can_not_be_tried_is_not_given() {
    let lab = lab();
    let outcomes = outcomes([Passed, NotRun, Passed, NotRun]);
    let score = Score {
        lab: &lab,
        outcomes: &outcomes,
    };
    assert_eq!(score.earned("one"), 10);
    assert_eq!(score.is_right("two"), None);
    assert_eq!(score.earned("two"), 0);
    assert_eq!(score.not_run(), 25);
    assert_eq!(score.total(), 13);
    assert!(score.text_of("two").contains("NOT RUN (-/20)"));
}

#[test]
fn a_wrong_hole_has_one_diagnosis() {
    let lab = lab();
    let mut outcomes = outcomes([Passed, Failed, Failed, Passed]);
    outcomes[1].heard = "sys: EPERM\nsys: EPERM\n".to_owned();
    let score = Score {
        lab: &lab,
        outcomes: &outcomes,
    };
    let expected = "\
== one ==  FAIL (0/15)
    not true: one is worth 5
    what was seen
    it said: sys: EPERM
";
    assert_eq!(score.text_of("one"), expected);
    assert_eq!(score.text_of("two"), "== two ==  OK (20/20)\n");
}

#[test]
fn what_is_shown_moves_no_cursor() {
    let outcome = Outcome {
        heard: "a\u{9b}2J\n".to_owned(),
        ..Outcome::failed("the name is \u{1b}[2J\u{7}é\nin it")
    };
    assert_eq!(
        outcome.text(),
        "the name is \\u{1b}[2J\\u{7}é\nin it\nit said: a\\u{9b}2J"
    );
}
