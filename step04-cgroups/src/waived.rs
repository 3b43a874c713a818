//! What to say of limits that can't be enforced.

use anyhow::anyhow;
use common::{errors, probe};

/// Says in one line which limits the container runs without, and why.
pub(crate) fn warn_of(waived: &[(&'static str, anyhow::Error)]) {
    if waived.is_empty() {
        return;
    }
    for (what, error) in waived {
        probe::waive(what, &in_words(error));
    }
    let reasons: Vec<String> =
        waived.iter().map(|(_, error)| reason(error)).collect();
    let all = waived.iter().map(|(what, _)| *what);
    let text = if reasons.iter().all(|other| *other == reasons[0]) {
        format!("{}: {}", all.collect::<Vec<_>>().join(", "), reasons[0])
    } else {
        let each: Vec<String> = all
            .zip(&reasons)
            .map(|(what, reason)| format!("{what}: {reason}"))
            .collect();
        each.join("; ")
    };
    errors::warning(&anyhow!("not limited: {text}"));
}

/// What the outermost context says, and the errno. The calls between the two
/// are about another directory for each limit.
fn reason(error: &anyhow::Error) -> String {
    match errors::errno(error) {
        Some(errno) => format!("{error}: {errno}"),
        None => error.to_string(),
    }
}

/// The reason for the scoreboard, which is the same in each run: a call, with
/// the name of this run's cgroup in it, is left out.
fn in_words(error: &anyhow::Error) -> String {
    match errors::errno(error) {
        Some(errno) if error.chain().count() == 2 => errno.to_string(),
        _ => error.to_string(),
    }
}
