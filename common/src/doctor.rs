//! The doctor: which steps will run here, and what to change for the others.
//!
//! It tries each [`Ability`] that the steps need, by one small call, in a child
//! that ends with it: nothing of it is left. What fails is explained by the
//! same table as the errors of `run` ([`crate::errors::hints`]).

use std::{
    env, fmt,
    io::{self, PipeWriter, Read, Write},
    process::ExitCode,
};

use anyhow::Context;
use nix::{
    sys::prctl,
    unistd::{
        Gid, Uid, alarm, geteuid, setgroups, setresgid, setresuid, setsid,
    },
};

use crate::{
    errors::{self, hints},
    host::{passwd::User, rootless},
    process,
};

mod abilities;
mod cgroups;
mod output;

use abilities::ABILITIES;

/// Something that a step must be able to do, and how it is tried.
struct Ability {
    name: &'static str,
    /// Tries it; runs in a child, which it may ruin.
    attempt: fn() -> anyhow::Result<()>,
    /// Who tries it.
    tried: Tried,
    /// What root needs it for.
    root: Need,
    /// What a plain user needs it for.
    user: Need,
}

/// As whom an ability is tried.
#[derive(Clone, Copy, PartialEq)]
enum Tried {
    /// As who one is.
    AsCaller,
    /// As root; a plain user is that in a user namespace.
    AsRoot,
    /// As root of a user namespace, as in step 6.
    InUserNamespace,
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
    /// Without it, the steps from this number on run with this limit.
    Limit(usize, &'static str),
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

/// Why an ability is missing.
#[derive(Clone, Debug, PartialEq)]
struct Failure {
    /// The failed call and its errno.
    message: String,
    /// Where one cause is usual.
    hint: Option<Advice>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What a row of the table of hints says.
#[derive(Clone, Debug, PartialEq)]
struct Advice {
    cause: String,
    fix: String,
    page: String,
}

/// How long an attempt may take, in seconds. A file system that has lost its
/// server lets one wait for ever.
const PATIENCE: u32 = 5;

/// `stepNN doctor`: says what works here and which steps will run.
///
/// The exit code is 0 if all steps run for whoever calls it, be it with limits,
/// otherwise 1; 125 is, as always, a failure of the tool.
pub(crate) fn main(json: bool) -> anyhow::Result<ExitCode> {
    let (callers, unknown) = callers();
    let mut diagnoses = Vec::new();
    for caller in callers {
        let answers = ABILITIES
            .iter()
            .map(|ability| ability.answer(&caller))
            .collect::<anyhow::Result<_>>()?;
        diagnoses.push(Diagnosis { caller, answers });
    }
    let text = match json {
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
    let user = User::without_sudo();
    let title = format!("{} (uid {})", user.name, user.uid);
    match in_a_child(|| become_user(&user)) {
        Ok(Answer::Fails(failure)) => {
            let reason =
                format!("{title} could not be tried: {}", failure.message);
            (vec![root], Some(reason))
        }
        _ => {
            let user = Caller {
                title,
                is_root: false,
                other: Some(user),
            };
            (vec![root, user], None)
        }
    }
}

/// Becomes a plain user, without a way back.
fn become_user(user: &User) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&[]).context("setgroups([])")?;
    setresgid(gid, gid, gid).context("setresgid()")?;
    setresuid(uid, uid, uid).context("setresuid()")?;
    // A process that has changed its user may hold secrets of the old one, so
    // its files in /proc would belong to root: uid_map could not be written.
    // See PR_SET_DUMPABLE(2const).
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
    fn answer(&self, caller: &Caller) -> anyhow::Result<Answer> {
        if matches!(self.need(caller), Need::Never) {
            return Ok(Answer::NotTried);
        }
        in_a_child(|| {
            if let Some(user) = &caller.other {
                become_user(user)?;
            }
            match self.tried {
                Tried::AsCaller => {}
                Tried::AsRoot => rootless::become_root()?,
                Tried::InUserNamespace => rootless::enter_user_namespace()?,
            }
            (self.attempt)()
        })
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
            .filter_map(move |(_, need, failure)| match need {
                Need::From(first) if first <= step => Some(failure),
                _ => None,
            })
    }

    /// How it is limited if it runs, and why.
    fn limits(
        &self,
        step: usize,
    ) -> impl Iterator<Item = (&'static str, &Failure)> {
        self.missing()
            .filter_map(move |(_, need, failure)| match need {
                Need::Limit(first, limit) if first <= step => {
                    Some((limit, failure))
                }
                _ => None,
            })
    }
}

/// Runs `attempt` in a process of its own, which ends with it.
fn in_a_child(
    attempt: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Answer> {
    let (mut from_child, to_parent) = io::pipe().context("pipe2()")?;
    let child = process::fork(|| {
        // Without a terminal, which is not to be touched.
        setsid().context("setsid()")?;
        alarm::set(PATIENCE);
        match attempt() {
            Ok(()) => process::exit(0),
            Err(error) => tell(to_parent, &error)?,
        }
        process::exit(1)
    })?;
    let mut text = String::new();
    from_child
        .read_to_string(&mut text)
        .context("read(child)")?;
    let end = process::wait(child)?;
    if end == 0 {
        return Ok(Answer::Works);
    }
    let mut lines = text.lines().map(String::from);
    let message = lines.next().unwrap_or_else(|| {
        format!("the attempt has ended with exit code {end}")
    });
    let mut next = || lines.next();
    let hint = match (next(), next(), next()) {
        (Some(cause), Some(fix), Some(page)) => {
            Some(Advice { cause, fix, page })
        }
        _ => None,
    };
    Ok(Answer::Fails(Failure { message, hint }))
}

/// In the child: the message in one line; cause, fix and page in three more.
fn tell(mut parent: PipeWriter, error: &anyhow::Error) -> anyhow::Result<()> {
    let hint = match error.downcast_ref::<Failure>() {
        // A child of the child has met it.
        Some(failure) => failure.hint.clone(),
        None => hints::find(error).map(|hint| Advice {
            cause: hint.cause.into(),
            fix: hint.fix.into(),
            page: hint.page.into(),
        }),
    };
    let mut text = errors::one_line(error);
    if let Some(Advice { cause, fix, page }) = hint {
        text += &format!("\n{cause}\n{fix}\n{page}");
    }
    parent.write_all(text.as_bytes()).context("write(parent)")
}
