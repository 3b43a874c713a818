//! Lets the suite try the mutants.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::ensure;
use grader::workshop::Workshop;
use ground::leftovers::Sweeper;
use nix::unistd::geteuid;

use crate::{
    mutant::{ABOVE, Mutant, load},
    stage::{Stage, Verdict},
};

/// How many mutants are tried at the same time: most of the time a test waits.
const AT_ONCE: usize = 4;

/// Builds each mutant and lets the named tests try it. Returns whether all were
/// caught.
pub(crate) fn run(names: &[String]) -> anyhow::Result<bool> {
    ensure!(
        geteuid().is_root(),
        "only root sees all that the mutants do wrong: run it with sudo"
    );
    let begin = Instant::now();
    let mutants = load(names)?;
    ensure!(!mutants.is_empty(), "there is no such mutant");
    let mut stage = Stage::new()?;
    if mutants.iter().any(|it| it.program_above().is_some()) {
        stage.add_what_is_above()?;
    }
    // Mutants leave more than a step does.
    let _sweeper = Sweeper::new();

    // A test that fails anyway, or can't run here, catches nothing.
    let mut claims = BTreeSet::new();
    let mut ready = Vec::new();
    let mut good = true;
    for mutant in mutants {
        let machine = mutant.machine()?;
        if !machine.is_ready() {
            let needs = mutant.needs.as_deref().unwrap_or_default();
            println!(
                "{}: not run: needs {needs}; tests/vm/prepare makes a machine",
                mutant.name
            );
            continue;
        }
        let tests = mutant.tests.iter().cloned();
        claims.extend(tests.map(|test| (test, mutant.as_user, machine)));
        ready.push((mutant, machine));
    }
    for (test, as_user, machine) in claims {
        match stage.run(&stage.untouched(), &test, as_user, machine)? {
            Verdict::Passed => {}
            Verdict::Failed => {
                good = false;
                println!("{test} fails without any mutant");
            }
            Verdict::Ignored(why) => {
                good = false;
                println!("{test} can't run here: {why}");
            }
        }
    }

    let (above, of_steps): (Vec<_>, Vec<_>) = ready
        .into_iter()
        .partition(|(mutant, _)| mutant.program_above().is_some());
    let mut built = Vec::new();
    for (ready, packages) in [(of_steps, &[][..]), (above, &ABOVE)] {
        if ready.is_empty() {
            continue;
        }
        let workshop = match packages {
            [] => Workshop::open(),
            packages => Workshop::open_with(packages),
        }?;
        for (mutant, machine) in ready {
            match build(&workshop, &mutant) {
                Ok(program) => {
                    let programs = stage.with(&mutant, &program)?;
                    built.push((mutant, machine, programs));
                }
                Err(error) => {
                    good = false;
                    println!("{}: {error:#}", mutant.name);
                }
            }
        }
    }

    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(0);
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((mutant, machine, programs)) = built.get(index) else {
                    return Ok(());
                };
                for test in &mutant.tests {
                    let verdict =
                        stage.run(programs, test, mutant.as_user, *machine)?;
                    if verdict == Verdict::Failed {
                        println!("{}: caught by {test}", mutant.name);
                    } else {
                        println!(
                            "{}: SURVIVED {test}\n    {}",
                            mutant.name, mutant.why
                        );
                        *survivors.lock().expect("nobody panics") += 1;
                    }
                }
            }
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| anyhow::anyhow!("a panic"))?
        })
    })?;
    let survivors = survivors.into_inner()?;
    println!(
        "{} mutants, {survivors} survived, in {} s",
        built.len(),
        begin.elapsed().as_secs()
    );
    Ok(good && survivors == 0)
}

fn build(workshop: &Workshop, mutant: &Mutant) -> anyhow::Result<PathBuf> {
    let program = mutant
        .apply(&workshop.directory)
        .and_then(|()| workshop.build(mutant.package()?));
    for (file, _, _) in &mutant.hunks {
        workshop.write(file, &workshop.original(file)?)?;
    }
    program
}
