//! The scoreboard: what is isolated in this step, decided by trying.
//!
//! The probe starts the step's own container, with an `Agent` in place of a
//! command. Row by row the agent tries something from the inside, and the
//! probe, which has stayed outside, looks whether it reached the host. The
//! verdict comes from what happened, never from the flags that were passed.
//!
//! Whatever can be hit belongs to the probe (`Host`): its own process, its
//! temporary directory, its port, its shared memory.

use std::{
    ffi::OsString,
    fmt,
    io::{self, IsTerminal},
    process::ExitCode,
    rc::Rc,
};

use anyhow::Context;

use crate::{Workload, host::program_name, process, sys};

mod agent;
mod host;
mod rows;
mod waived;

pub(crate) use agent::row_to_try;
use agent::{Agent, Answer, Line, Outcome};
use host::Host;
pub use waived::waive;

/// One thing that a container should keep from the host.
struct Row {
    /// What would be shared, in the kernel's words.
    name: &'static str,
    /// Outside, before the container starts and again after a refusal: can
    /// whoever runs the probe do this at all? If not, a refusal inside proves
    /// nothing. The error is the reason.
    control: fn(&Host) -> Result<(), String>,
    /// Inside. What it returns goes to `reached`.
    attempt: Attempt,
    /// Outside, afterwards: has the attempt, which worked inside, reached the
    /// host?
    reached: fn(&Host, &Answer) -> bool,
}

/// How a row tries.
enum Attempt {
    /// In the container's process, which is still our own program.
    Here(fn(&Host) -> Result<String, String>),
    /// After a real exec, which is when descriptors are closed and capabilities
    /// change.
    AfterExec(fn() -> Result<String, String>),
    /// In the container's process, of a container that keeps what it writes if
    /// the step has such ones.
    Keeping(fn(&Host) -> Result<String, String>),
}

/// The option of those steps.
pub(crate) const KEEP: &str = "upper";

/// What a row says.
enum Verdict {
    Isolated,
    Shared,
    NotTried(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Isolated => f.write_str("isolated"),
            Verdict::Shared => f.write_str("shared"),
            Verdict::NotTried(reason) => write!(f, "not tried: {reason}"),
        }
    }
}

/// `stepNN probe`: fills the scoreboard of the container that `run` makes, and
/// prints it.
///
/// `run` takes options of the step, which has [`KEEP`] among them or not.
pub(crate) fn main(
    run: impl Fn(&[OsString], &Workload) -> anyhow::Result<ExitCode>,
    keeps: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let board = fill(run, keeps)?;
    let text = if json {
        as_json(&board)
    } else {
        as_table(&board)
    };
    sys::write(io::stdout(), text)?;
    Ok(ExitCode::SUCCESS)
}

type Scoreboard = Vec<(&'static str, Verdict)>;

fn fill(
    run: impl Fn(&[OsString], &Workload) -> anyhow::Result<ExitCode>,
    keeps: bool,
) -> anyhow::Result<Scoreboard> {
    let host = Host::new()?;
    let controls: Vec<_> =
        rows::all().map(|row| (row.control)(&host)).collect();

    // Before the other one, whose parent the rows ask for.
    let options = [format!("--{KEEP}").into(), host.kept().into()];
    let keeping = |workload: &Workload| {
        // Where it fails, the row says so.
        host::silence()?;
        run(&options, workload)
    };
    let kept = rows::all().enumerate().map(|(index, row)| {
        let in_another = keeps && matches!(row.attempt, Attempt::Keeping(_));
        in_another.then(|| {
            let answer = in_container(&host, keeping, |line| {
                line.hello()?;
                line.ask(index)
            });
            match answer {
                Ok(answer) => judge(row, &host, answer),
                Err(_) => Verdict::NotTried("it can keep nothing here".into()),
            }
        })
    });
    let kept: Vec<Option<Verdict>> = kept.collect();

    let with_defaults = |workload: &Workload| run(&[], workload);
    in_container(&host, with_defaults, |line| {
        let waived = line.hello()?;
        let reason = |name| waived.iter().find(|(what, _)| what == name);
        let mut board = Vec::new();
        for ((index, row), kept) in rows::all().enumerate().zip(kept) {
            let verdict = match (reason(row.name), &controls[index], kept) {
                (Some((_, reason)), ..) | (None, Err(reason), _) => {
                    Verdict::NotTried(reason.clone())
                }
                (None, Ok(()), Some(verdict)) => verdict,
                (None, Ok(()), None) => judge(row, &host, line.ask(index)?),
            };
            board.push((row.name, verdict));
        }
        Ok(board)
    })
}

/// Starts a container by `run`, and asks the agent in it.
fn in_container<T>(
    host: &Rc<Host>,
    run: impl Fn(&Workload) -> anyhow::Result<ExitCode>,
    ask: impl FnOnce(&mut Line) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // The container's parent is a process of its own, so that we, outside, are
    // still what the caller is: with the same user, in the same namespaces. It
    // is in a session with a terminal that the container is not given.
    let (mut line, agents_end) = Line::new()?;
    let leader = process::fork(|| {
        line.close_copy()?;
        // If this is refused, the rows' control says so.
        let _ = host::lead_a_session();
        let parent = process::fork(|| {
            host.lay_traces()?;
            let agent = Agent::new(host, agents_end.clone());
            run(&Workload::function(
                agent.descriptors(),
                move |environment| agent.run(environment),
            ))?;
            process::exit(0)
        })?;
        process::exit(process::wait(parent)?)
    })?;
    host.leader.set(leader);
    drop(agents_end);

    let answer = ask(&mut line)
        .context("the container has ended before the probe could try it");
    // The hang-up is the agent's sign to end, and with it the container.
    drop(line);
    process::wait(leader)?;
    answer
}

fn judge(row: &Row, host: &Host, answer: Answer) -> Verdict {
    match answer.outcome {
        Outcome::Worked if (row.reached)(host, &answer) => Verdict::Shared,
        Outcome::Worked => Verdict::Isolated,
        // The machine may have become too busy meanwhile, for example.
        Outcome::Refused => match (row.control)(host) {
            Ok(()) => Verdict::Isolated,
            Err(reason) => Verdict::NotTried(reason),
        },
        Outcome::NotTried => Verdict::NotTried(answer.text),
    }
}

fn as_table(board: &Scoreboard) -> String {
    let colours =
        io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = String::new();
    for (name, verdict) in board {
        let colour = match verdict {
            Verdict::Isolated => "32",
            Verdict::Shared => "31",
            Verdict::NotTried(_) => "33",
        };
        let verdict = match colours {
            true => format!("\x1b[{colour}m{verdict}\x1b[0m"),
            false => verdict.to_string(),
        };
        text.push_str(&format!("{name:<28} {verdict}\n"));
    }
    text
}

fn as_json(board: &Scoreboard) -> String {
    let rows: Vec<_> = board
        .iter()
        .map(|(name, verdict)| {
            let (verdict, reason) = match verdict {
                Verdict::Isolated => ("isolated", None),
                Verdict::Shared => ("shared", None),
                Verdict::NotTried(reason) => ("not tried", Some(reason)),
            };
            serde_json::json!({
                "row": name, "verdict": verdict, "reason": reason,
            })
        })
        .collect();
    let board = serde_json::json!({
        "step": program_name(), "rows": rows,
    });
    format!("{board:#}\n")
}
