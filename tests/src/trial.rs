//! Runs the tests, by libtest-mimic: it looks like `cargo test`, and it can
//! report that a test was skipped, and why.
#![allow(unsafe_code)]

use std::{
    any::Any,
    cell::RefCell,
    env,
    panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    process::ExitCode,
    sync::Mutex,
};

use ground::leftovers::Sweeper;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::sys::signal::{SigHandler, Signal, signal};
use tempfile::TempDir;

use crate::{
    needs::{DEBIAN, PLAIN_USER, ROOT, SYSTEMD, VM},
    programs,
};

/// A test: a function that panics if its claim is wrong.
#[derive(Clone, Copy)]
pub struct Test {
    /// The module that it stands in, from `module_path!()`.
    pub module: &'static str,
    /// The claim.
    pub name: &'static str,
    /// The test itself.
    pub function: fn(),
}

/// A list of tests, from the claims that their functions are named after.
#[macro_export]
macro_rules! claims {
    ($($function:ident),* $(,)?) => {
        &[$($crate::Test {
            module: module_path!(),
            name: stringify!($function),
            function: $function,
        }),*]
    };
}

/// The payload of the panic that ends a skipped test.
struct Skipped(String);

/// Ends this test as skipped.
pub fn skip(reason: &str) -> ! {
    // Without the hook that records a failure.
    resume_unwind(Box::new(Skipped(reason.to_owned())))
}

thread_local! {
    /// What the test in this thread has done so far; shown if it fails.
    static STORY: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Adds to what is shown if the test of this thread fails.
pub fn note(text: String) {
    STORY.with_borrow_mut(|story| story.push(text));
}

/// The suite's `main`.
pub fn main(tests: &[&[Test]]) -> ExitCode {
    run(tests.concat().into_iter().map(of_test).collect())
}

/// Builds the programs and runs the trials.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    heed_signals();
    // SAFETY: nothing has been started yet, so this is the only thread.
    unsafe { tell_insta() };
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(code) = programs::build()
    {
        return code;
    }
    // From now on a panic is a test's, and part of its story.
    panic::set_hook(Box::new(|panic| note(panic.to_string())));
    conclude(&arguments, trials)
}

/// What the tests have in common, until they have ended.
static KEPT: Mutex<Vec<TempDir>> = Mutex::new(Vec::new());

/// Keeps a directory that tests have in common, and returns where it is. A static
/// is never dropped: [`conclude`] removes it.
pub fn keep_until_the_end(directory: TempDir) -> PathBuf {
    let path = directory.path().to_owned();
    KEPT.lock()
        .expect("no test has it for long")
        .push(directory);
    path
}

/// Runs the trials, and removes the cgroups of containers that they have killed,
/// and what they have had in common.
pub fn conclude(arguments: &Arguments, trials: Vec<Trial>) -> ExitCode {
    let sweeper = Sweeper::new();
    let conclusion = libtest_mimic::run(arguments, trials);
    drop(sweeper);
    KEPT.lock().expect("no test has it for long").clear();
    conclusion.exit_code()
}

/// nohup(1), or a shell that has put us in the background, lets us ignore some
/// signals, and what the suite starts would inherit that.
fn heed_signals() {
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: it is the default, so no function of ours is called.
        let _ = unsafe { signal(ignored, SigHandler::SigDfl) };
    }
}

/// The `main` of tests whose programs Cargo has built.
pub fn of_built(tests: &[&[Test]]) -> ExitCode {
    heed_signals();
    panic::set_hook(Box::new(|panic| note(panic.to_string())));
    let trials = tests.concat().into_iter().map(of_test).collect();
    conclude(&Arguments::from_args(), trials)
}

/// Tells insta where the snapshots are. It would ask Cargo, which a plain user
/// need not have.
///
/// # Safety
/// No other thread may run: it changes the environment.
unsafe fn tell_insta() {
    let mut settings =
        vec![("INSTA_WORKSPACE_ROOT", programs::workspace().as_os_str())];
    if env::var_os("STEPS_BIN_DIR").is_some() {
        // The checkout may be read-only.
        settings.push(("INSTA_UPDATE", "no".as_ref()));
    }
    for (name, value) in settings {
        if env::var_os(name).is_none() {
            // SAFETY: our caller has promised that this is the only thread.
            unsafe { env::set_var(name, value) };
        }
    }
}

/// The trial of a test. Its room is the module that it stands in.
pub fn of_test(test: Test) -> Trial {
    let room = test.module.rsplit("::").next().unwrap_or_default();
    trial(format!("{room}::{}", test.name), test.function)
}

/// A trial of `claim`, which panics if it is wrong.
pub fn trial(name: String, claim: impl FnOnce() + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || {
        STORY.with_borrow_mut(Vec::clear);
        match catch_unwind(AssertUnwindSafe(claim)) {
            Ok(()) => Ok(Completion::Completed),
            Err(payload) => outcome(&*payload),
        }
    })
}

/// Turns a panic into the test's result. `SUITE_NO_SKIPS` makes a failure of
/// what the machine lacks.
fn outcome(panic: &(dyn Any + Send)) -> Result<Completion, Failed> {
    match panic.downcast_ref::<Skipped>() {
        // What one user can't run, the other one does: both have their run. So
        // have the virtual machines, and Debian. Which init a machine has booted
        // can't be changed.
        Some(Skipped(reason))
            if env::var_os("SUITE_NO_SKIPS").is_some()
                && ![ROOT, PLAIN_USER, VM, DEBIAN, SYSTEMD]
                    .contains(&reason.as_str()) =>
        {
            Err(format!("skipped, but SUITE_NO_SKIPS is set: {reason}").into())
        }
        Some(Skipped(reason)) => Ok(Completion::ignored_with(reason)),
        None => Err(STORY.with_borrow(|story| story.join("\n")).into()),
    }
}
