use nix::errno::Errno;

use super::*;
use crate::{errors::pages::STEP_1, sys};

fn always_so() -> bool {
    true
}

fn never() -> bool {
    false
}

const ROWS: &[Row] = hints! {
    ["test_call("], EPERM, always => "usual", "", STEP_1, source "";
    ["test_call("], EPERM, never => "not here", "", STEP_1, source "";
    ["test_call("], EPERM, always_so => "seen", "", STEP_1, source "";
    ["test_call(*second"], EACCES | EROFS, always =>
        "by an argument", "", STEP_1, source "";
    ["test_call(*second"], any, always => "else", "", STEP_1, source "";
};

fn rows_of_steps() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().flat_map(|rows| rows.iter())
}

/// What the calls of a row look like, with the errno in a message.
fn met_by(row: &Row) -> Vec<(Vec<String>, Errno)> {
    // Whatever the errno is: one that no row is about.
    let any: &[Errno] = &[Errno::EXFULL];
    let errnos = if row.errnos.is_empty() {
        any
    } else {
        row.errnos
    };
    let all = row.calls.iter().flat_map(|call| {
        let call = call.replace('*', "…");
        errnos.iter().map(move |it| (vec![call.clone()], *it))
    });
    all.collect()
}

#[test]
fn no_row_is_hidden_behind_another() {
    // Those with a circumstance stand beside each other: another machine is
    // like another one of them.
    for row in rows_of_steps().filter(|row| row.when.is_none()) {
        let is_first = |(links, errno): &(Vec<String>, Errno)| {
            let mut rows = rows_of_steps().filter(|it| {
                it.when.is_none() && it.is_about(links, Some(*errno))
            });
            rows.next().is_some_and(|it| std::ptr::eq(it, row))
        };
        assert!(met_by(row).iter().any(is_first), "{row:?}");
    }
}

fn cause(call: &str, errno: Errno) -> Option<String> {
    let error = anyhow::Error::from(sys::Error::new(call, errno));
    Some(find(&error.context("the aim"))?.cause)
}

#[test]
fn what_was_seen_comes_before_what_is_usual() {
    add(ROWS);
    assert_eq!(cause("test_call()", Errno::EPERM), Some("seen".into()));
    assert_eq!(cause("test_call()", Errno::EACCES), None);
    assert_eq!(cause("a_test_call()", Errno::EPERM), None);
    for (errno, expected) in [
        (Errno::EACCES, "by an argument"),
        (Errno::EROFS, "by an argument"),
        (Errno::EINVAL, "else"),
    ] {
        let cause = cause("test_call(1, second)", errno);
        assert_eq!(cause, Some(expected.into()), "{errno}");
    }
}
