//! The doctor: which steps will run here, and what to change for the others.
//!
//! It tries each `Ability` that the steps need, by the steps' own functions,
//! in a child that ends with it: nothing of it is left, also if it is interrupted.
//! So it can't say anything else than `run`. What fails, and what `run` would only
//! warn of, is explained by the same table as the errors of `run`
//! ([`common::errors::hints`]).
//!
//! Two things it leaves out. The terminal is not given to an attempt: the shell
//! would take the doctor for stopped. And of an image that is kept aside (see
//! [`common::rootfs`]) it only looks whether it can be found.
#![allow(unsafe_code)]

mod abilities;
mod attempt;
mod cgroups;
mod container;
mod output;
mod slate;
mod whole;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use common::{
    errors,
    host::passwd::User,
    process::signals,
    sys::{self, Capabilities},
};
use nix::{
    sys::prctl,
    unistd::{Gid, Uid, geteuid},
};

use abilities::ABILITIES;
use attempt::{Failure, in_a_child};

/// Try what the steps need, and show which of them run here and what to change
/// for the others
#[derive(clap::Args)]
pub struct Args {
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Something that a step must be able to do, and how it is tried.
struct Ability {
    name: &'static str,
    /// Tries it; runs in a child, which it may ruin, or else here.
    attempt: fn() -> anyhow::Result<()>,
    /// It is tried by this process itself, and leaves it as it was.
    is_tried_here: bool,
    /// What root needs it for.
    root: Need,
    /// What a plain user needs it for.
    user: Need,
}

/// What an ability is needed for.
#[derive(Clone, Copy)]
enum Need {
    /// It does not concern this kind of user.
    Never,
    /// No step needs it, but it is good to know.
    Nice,
    /// Without it, no step from this number on runs.
    From(usize),
    /// Without it, the steps from the first number to the second don't run.
    Within(usize, usize),
    /// Without it, the steps from the first number to the second run with this
    /// limit.
    Limit(usize, usize, &'static str),
}

/// Somebody who would run the steps.
struct Caller {
    /// `root`, `you (uid 1000)`.
    title: String,
    is_root: bool,
    /// Whom a child has to become before it tries.
    other: Option<User>,
}

/// What came of trying: an answer for each of [`ABILITIES`].
struct Diagnosis {
    caller: Caller,
    answers: Vec<Answer>,
}

enum Answer {
    Works,
    Fails(Failure),
    /// It does not concern this caller.
    NotTried,
}

/// The user that owns nothing, by convention.
const NOBODY: u32 = 65534;

/// `step06-full doctor`: says what works here and which steps will run.
///
/// The exit code is 0 if all steps run for whoever calls it, be it with limits,
/// otherwise 1; 125 is, as always, a failure of the tool.
pub fn main(args: &Args) -> anyhow::Result<ExitCode> {
    errors::hand_to(attempt::note);
    // Nobody interrupts an attempt, neither in this process nor in a child.
    signals::block()?;
    let (callers, unknown) = callers();
    let mut diagnoses = Vec::new();
    for caller in callers {
        let mut answers = Vec::new();
        for ability in ABILITIES {
            answers.push(ability.answer(&caller));
            // By now nothing is left of it: the moment for a Ctrl-C.
            signals::give_in()?;
        }
        diagnoses.push(Diagnosis { caller, answers });
    }
    let text = match args.json {
        true => output::as_json(&diagnoses),
        false => output::as_text(&diagnoses, unknown.as_deref()),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .context("write(1)")?;
    let all = (1..=6).all(|step| diagnoses[0].runs(step));
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Who is asked about: whoever calls, and for root a plain user as well; or
/// else the reason why that one can't be tried.
fn callers() -> (Vec<Caller>, Option<String>) {
    let uid = geteuid();
    if !uid.is_root() {
        let you = Caller {
            title: format!("you (uid {uid})"),
            is_root: false,
            other: None,
        };
        return (vec![you], None);
    }
    let root = Caller {
        title: "root".into(),
        is_root: true,
        other: None,
    };
    let user = without_sudo();
    let title = format!("{} (uid {})", user.name, user.uid);
    match in_a_child(|| become_user(&user)) {
        Err(failure) => {
            let reason =
                format!("{title} could not be tried: {}", failure.message);
            (vec![root], Some(reason))
        }
        Ok(()) => {
            let user = Caller {
                title,
                is_root: false,
                other: Some(user),
            };
            (vec![root, user], None)
        }
    }
}

/// Who would run the steps without sudo(8), which says whom it has turned into
/// root; else nobody.
fn without_sudo() -> User {
    let uid = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    let uid = uid.filter(|uid| *uid != 0).unwrap_or(NOBODY);
    User::find(uid).unwrap_or(User {
        name: "nobody".into(),
        uid,
        gid: uid,
        home: "/nonexistent".into(),
    })
}

/// What a plain user has.
const NO_CAPABILITIES: Capabilities = Capabilities {
    effective: 0,
    permitted: 0,
    inheritable: 0,
};

/// Becomes a plain user, without a way back.
fn become_user(user: &User) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    sys::setgroups(&[])?;
    sys::setresgid(gid, gid, gid)?;
    sys::setresuid(uid, uid, uid)?;
    // The kernel takes root's capabilities away on that occasion, unless somebody
    // has told it not to. See capabilities(7), "securebits".
    sys::prctl(sys::PR_CAP_AMBIENT, sys::PR_CAP_AMBIENT_CLEAR_ALL)?;
    sys::capset(&NO_CAPABILITIES)?;
    // A process that has changed its user may hold secrets of the old one, so
    // its files in /proc would belong to root: uid_map could not be written.
    // See prctl(2), PR_SET_DUMPABLE.
    prctl::set_dumpable(true).context("prctl(PR_SET_DUMPABLE, 1)")?;
    // SAFETY: this process has one thread, so nobody reads it meanwhile.
    unsafe { env::set_var("HOME", &user.home) };
    // SAFETY: as above.
    unsafe { env::remove_var("XDG_CACHE_HOME") };
    Ok(())
}

impl Ability {
    /// What `caller` needs it for.
    fn need(&self, caller: &Caller) -> Need {
        if caller.is_root { self.root } else { self.user }
    }

    /// Has `caller` try it.
    fn answer(&self, caller: &Caller) -> Answer {
        if matches!(self.need(caller), Need::Never) {
            return Answer::NotTried;
        }
        let outcome = match &caller.other {
            None if self.is_tried_here => {
                (self.attempt)().map_err(|error| Failure::from(&error))
            }
            None => in_a_child(self.attempt),
            Some(user) => in_a_child(|| {
                become_user(user)?;
                (self.attempt)()
            }),
        };
        match outcome {
            Ok(()) => Answer::Works,
            Err(failure) => Answer::Fails(failure),
        }
    }
}

impl Diagnosis {
    /// The abilities that are missing, each with what it is needed for.
    fn missing(&self) -> impl Iterator<Item = (&Ability, Need, &Failure)> {
        ABILITIES
            .iter()
            .zip(&self.answers)
            .filter_map(|pair| match pair {
                (ability, Answer::Fails(failure)) => {
                    Some((ability, ability.need(&self.caller), failure))
                }
                _ => None,
            })
    }

    /// Whether the step of that number runs.
    fn runs(&self, step: usize) -> bool {
        self.obstacles(step).next().is_none()
    }

    /// Why it does not.
    fn obstacles(&self, step: usize) -> impl Iterator<Item = &Failure> {
        self.missing()
            .filter(move |(_, need, _)| match need {
                Need::From(first) => *first <= step,
                Need::Within(first, last) => (*first..=*last).contains(&step),
                _ => false,
            })
            .map(|(_, _, failure)| failure)
    }

    /// How it is limited if it runs, and why.
    fn limits(
        &self,
        step: usize,
    ) -> impl Iterator<Item = (&'static str, &Failure)> {
        self.missing()
            .filter_map(move |(_, need, failure)| match need {
                Need::Limit(first, last, limit) => {
                    (first..=last).contains(&step).then_some((limit, failure))
                }
                _ => None,
            })
    }
}
