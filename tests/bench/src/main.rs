//! How fast containers start: the six steps, the limit, and other tools.
//!
//! Every subject starts a container in which `true` runs, and is timed from
//! the start of its process to the end. They take turns, so that all of them
//! see the same machine. What is compared with what is in `subjects` and
//! `peers`; how it is measured, in `measure`.

mod cgroups;
mod machine;
mod measure;
mod place;
mod programs;
mod report;
mod statistics;
mod subjects;
mod table;
mod trial;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use machine::Machine;
use measure::{Pace, Samples};
use place::Place;
use report::{Report, Row};
use statistics::Summary;
use subjects::Subject;

/// Measure how fast containers start: the six steps, the limit that straight C
/// sets, and what is installed of other tools
#[derive(Parser)]
struct Options {
    /// Runs of each subject, at each pace
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    runs: usize,
    /// Measure only subjects with this in their names; may be given repeatedly
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Do not build: all programs are in this directory
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Print a stored report and measure nothing
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Store the report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let report = match &options.from {
        Some(file) => Report::read(file)?,
        None => benchmark(options)?,
    };
    print!("{}", table::of(&report));
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn benchmark(options: &Options) -> anyhow::Result<Report> {
    let programs = match &options.programs {
        Some(directory) => directory.canonicalize()?,
        None => programs::build()?,
    };
    measure::install_handlers()?;
    let place = Place::make(&programs)?;
    let cgroups = cgroups::parents()?;

    let mut subjects = subjects::own(&programs, &place, &cgroups);
    subjects.retain(|subject| is_wanted(options, subject));
    let mut left_out = Vec::new();
    let mut working = Vec::new();
    for subject in subjects {
        match trial::works(&subject)? {
            Ok(()) => working.push(subject),
            Err(reason) => left_out.push(reason),
        }
    }

    let mut samples = vec![Samples::default(); working.len()];
    for pace in [Pace::Burst, Pace::Cold] {
        let progress = |round| eprint!("\r{pace:?} {round}/{} ", options.runs);
        let runs = options.runs;
        measure::by_turns(&working, &mut samples, pace, runs, progress)?;
    }
    eprintln!();

    let mut rows = Vec::new();
    for (subject, samples) in working.iter().zip(samples) {
        rows.push(Row {
            name: subject.name.clone(),
            kind: subject.kind,
            isolates: subject.isolates.clone(),
            burst: Summary::of(&samples.burst),
            cold: Summary::of(&samples.cold),
            peak_memory: trial::peak_memory(&programs, subject)?,
            supervisor_memory: trial::supervisor_memory(
                &programs, &place, subject,
            )?,
            failures: samples.failures,
        });
    }
    let layout = cgroups::layout(&cgroups);
    Ok(Report {
        machine: Machine::describe(layout, place.busybox, [].into_iter()),
        rows,
        left_out,
        throughput: Vec::new(),
        layers: Vec::new(),
    })
}

fn is_wanted(options: &Options, subject: &Subject) -> bool {
    options.only.is_empty()
        || options.only.iter().any(|part| subject.name.contains(part))
}
