//! How fast containers start: the six steps, the limit, and other tools.
//!
//! Every subject starts a container in which `true` runs, and is timed from
//! the start of its process to the end. They take turns, so that all of them
//! see the same machine. What is compared with what is in `subjects` and
//! `peers`; how it is measured, in `measure`.

mod cgroups;
mod counters;
mod engines;
mod layers;
mod machine;
mod measure;
mod peers;
mod place;
mod private;
mod programs;
mod report;
mod sequences;
mod statistics;
mod subjects;
mod svg;
mod table;
mod throughput;
mod timeline;
mod trial;

use std::{
    fs,
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;

use machine::Machine;
use measure::{Pace, Samples};
use place::Place;
use report::{LeftOut, Report, Row};
use statistics::Summary;
use subjects::{Kind, Maker, Subject};
use table::Format;

/// Measure how fast containers start: the six steps, the limit that straight C
/// sets, and what is installed of other tools
#[derive(Parser)]
struct Options {
    /// Runs of each subject, at each pace
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measure only what has this in its name, such as "step 6", or the
    /// "engines"; may be given more than once. The limit is always measured
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only start to exit: neither several at a time, nor many layers, nor what
    /// engines do
    #[arg(long)]
    quick: bool,
    /// Show one start of this subject, such as "step 6", as a time line of its
    /// processes, and measure nothing else
    #[arg(long, value_name = "NAME")]
    time_line: Option<String>,
    /// Do not build: all programs are in this directory
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Measure the steps in this directory, too: another build of them, such as
    /// the one before a change
    #[arg(long, value_name = "DIR")]
    before: Option<PathBuf>,
    /// Measure nothing: take the results from a file that --json has written
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Store the results
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a chart
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the tables in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(name) = &options.time_line {
        return prepared(options, |maker| show_time_line(options, maker, name));
    }
    let report = match &options.from {
        Some(file) => Report::read(file)?,
        None => prepared(options, |maker| benchmark(options, maker))?,
    };
    print!("{}", table::of(&report, Format::Terminal));
    if let Some(file) = &options.json {
        report.write(file)?;
    }
    if let Some(file) = &options.svg {
        write(file, &svg::of(&report))?;
    }
    if let Some(file) = &options.markdown {
        write(file, &table::of(&report, Format::Markdown))?;
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("writing {file:?}"))
}

/// Builds what is measured and the place for it, and removes at the end what
/// `work` has left there.
fn prepared<T>(
    options: &Options,
    work: impl FnOnce(&Maker) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let programs = match &options.programs {
        Some(directory) => fs::canonicalize(directory)
            .with_context(|| format!("realpath({directory:?})"))?,
        None => programs::build()?,
    };
    let before = options.before.as_deref();
    let before = before.map(programs::install_before).transpose()?;
    measure::install_handlers()?;
    // In this order: the last one is dropped first.
    let _cgroups = private::Cgroups::remember()?;
    private::enter()?;
    let place = Place::make(&programs)?;
    work(&Maker {
        programs: &programs,
        before: before.as_deref(),
        place: &place,
        cgroups: &cgroups::parents()?,
    })
}

fn benchmark(options: &Options, maker: &Maker) -> anyhow::Result<Report> {
    let runs = options.runs as usize;
    let mut report = Report {
        machine: Machine::describe(
            cgroups::layout(maker.cgroups),
            maker.place.busybox,
        ),
        rows: Vec::new(),
        left_out: Vec::new(),
        throughput: Vec::new(),
        layers: Vec::new(),
        comparisons: Vec::new(),
    };
    let subjects = working(options, maker, &mut report)?;
    let tools = subjects.iter().filter(|it| it.kind == Kind::Peer);
    report.machine.versions = tools
        .filter_map(|it| machine::version(Path::new(it.command.first()?)))
        .collect();

    let mut samples = vec![Samples::default(); subjects.len()];
    for pace in [Pace::Burst, Pace::Cold] {
        let show = |round| progress(&format!("{pace:?} {round}/{runs}"));
        measure::by_turns(&subjects, &mut samples, pace, runs, show)?;
    }
    progress("memory");
    for (subject, samples) in subjects.iter().zip(samples) {
        report.rows.push(Row {
            name: subject.name.clone(),
            kind: subject.kind,
            isolates: subject.isolates.clone(),
            burst: Summary::of(&samples.burst),
            cold: Summary::of(&samples.cold),
            peak_memory: trial::peak_memory(maker.programs, subject)?,
            supervisor_memory: trial::supervisor_memory(maker, subject)?,
            failures: samples.failures,
        });
    }
    if !options.quick {
        progress("several at a time");
        report.throughput = throughput::measure(&subjects, 2 * runs)?;
        if subjects.iter().any(layers::concerns) {
            progress("layers");
            report.layers = layers::measure(maker, runs.div_ceil(5))?;
        }
    }
    if !options.quick && is_wanted(options, "engines") {
        progress("engines");
        let rounds = runs.div_ceil(2);
        let (programs, place) = (maker.programs, maker.place);
        let left_out = &mut report.left_out;
        match engines::measure(programs, place, rounds, left_out) {
            Ok(comparisons) => report.comparisons = comparisons,
            // What was measured before is not lost.
            Err(error) => {
                measure::check_interrupted()?;
                report.left_out.push(LeftOut {
                    name: "engines".to_owned(),
                    reason: format!("{error:#}"),
                });
            }
        }
    }
    progress("");
    Ok(report)
}

/// Prints the time line of the subject of this `name`.
fn show_time_line(
    options: &Options,
    maker: &Maker,
    name: &str,
) -> anyhow::Result<()> {
    let peers = peers::all(maker.programs, maker.place)
        .into_iter()
        .filter_map(Result::ok);
    let mut subjects = maker.own().into_iter().chain(peers);
    let subject = subjects
        .find(|subject| subject.name == name)
        .with_context(|| format!("nothing is called {name:?} here"))?;
    let format = match options.markdown {
        Some(_) => Format::Markdown,
        None => Format::Terminal,
    };
    let text = timeline::of(&subject, options.runs as usize, format)?;
    match &options.markdown {
        Some(file) => write(file, &text),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

/// The wanted subjects that work here. The others are put down as left out.
fn working(
    options: &Options,
    maker: &Maker,
    report: &mut Report,
) -> anyhow::Result<Vec<Subject>> {
    let is_wanted = |name: &str| is_wanted(options, name);
    let own = maker.own().into_iter().map(Ok);
    let mut subjects = Vec::new();
    for subject in own.chain(peers::all(maker.programs, maker.place)) {
        let subject = match subject {
            Ok(it) if it.kind != Kind::Limit && !is_wanted(&it.name) => {
                continue;
            }
            Ok(it) => trial::works(&it)?.map(|()| it),
            Err(left_out) if !is_wanted(&left_out.name) => continue,
            Err(left_out) => Err(left_out),
        };
        match subject {
            Ok(subject) => subjects.push(subject),
            Err(left_out) => report.left_out.push(left_out),
        }
    }
    Ok(subjects)
}

fn is_wanted(options: &Options, name: &str) -> bool {
    options.only.is_empty()
        || options.only.iter().any(|part| name.contains(&**part))
}

/// Tells a person who waits what is going on.
fn progress(what: &str) {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}
