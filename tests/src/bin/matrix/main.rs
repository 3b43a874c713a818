//! Runs the suite where readers are: as root and as a plain user, on this
//! machine and on other kernels, and shows which test ran where. With
//! `--test book` it does so with the book's sessions.
//!
//! A test that is skipped on one row has to run on another one, or it says
//! nothing. What a row needs and this machine does not have leaves the row out;
//! the matrix says so, and with `--all-rows` it fails.

mod kit;
mod report;
mod rows;

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus},
    sync::{Mutex, mpsc},
    thread::{self, available_parallelism},
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Parser;

use kit::Kit;
use report::Report;
use rows::{ROWS, Row};

/// Run the suite on several kernels, as root and as a plain user
#[derive(Parser)]
struct Args {
    /// Rows to run [default: all; see --list]
    rows: Vec<String>,
    /// List the rows, and run nothing
    #[arg(long)]
    list: bool,
    /// Test program: suite, or book
    #[arg(long, value_name = "NAME", default_value = "suite")]
    test: String,
    /// A row that is not run: something else has run it, or does
    #[arg(long, value_name = "ROW")]
    without: Vec<String>,
    /// Command to run while the VMs are busy, after the rows of this machine
    #[arg(long, value_name = "COMMAND")]
    beside: Vec<String>,
    /// Fail if this machine can't run one of the rows, or none runs a test
    #[arg(long)]
    all_rows: bool,
    /// Plain user for the rows that need one, if this is run by root
    /// [default: whoever ran sudo]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Arguments for the suite: a part of test names, for example
    #[arg(last = true)]
    suite: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let mut rows = select(&args.rows)?;
    for row in select_named(&args.without)? {
        rows.retain(|it| it != &row);
    }
    if args.list {
        for row in rows {
            println!("{:16}{}", row.name, row.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let user = args.user.or_else(|| env::var("SUDO_USER").ok());
    let kit = Kit::build(args.test)?;
    let tests = kit.tests(&args.suite)?;
    ensure!(!tests.is_empty(), "no test has such a name");
    let run = |row: &'static Row| {
        let outcome = rows::run(row, &kit, user.as_deref(), &args.suite);
        eprintln!("{:16}{outcome}", row.name);
        (row, outcome)
    };

    // The suite looks at its host, so on this machine there is one at a time.
    // A VM uses one processor, and has a host of its own.
    let (here, mut in_vm): (Vec<&Row>, Vec<&Row>) =
        rows.into_iter().partition(|row| row.vm.is_none());
    // The longest first, so that no processor is idle at the end.
    in_vm.sort_by_key(|row| !row.is_root());
    let mut failed = Vec::new();
    let beside =
        || failed.extend(args.beside.iter().filter(|it| !succeeds(it, &kit)));
    let mut outcomes = side_by_side((here, beside), in_vm, run);
    outcomes.sort_by_key(|(row, _)| ROWS.iter().position(|it| it == *row));

    let report = Report {
        tests,
        outcomes,
        is_complete: args.rows.is_empty() || args.all_rows,
    };
    print!("{report}");
    for command in &failed {
        println!("\nIt has failed: {command}\n{}", the_end_of(command, &kit));
    }
    let good = failed.is_empty() && report.is_good(args.all_rows);
    Ok(ExitCode::from(u8::from(!good)))
}

/// Runs a command of a shell. What it prints is kept, too.
fn succeeds(command: &str, kit: &Kit) -> bool {
    let status = run_and_keep(command, &log_of(command, kit));
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("{command}: {error}");
            false
        }
    }
}

fn run_and_keep(command: &str, log: &Path) -> io::Result<ExitStatus> {
    let (mut said, to_us) = io::pipe()?;
    let mut kept = File::create(log)?;
    let mut command = Command::new("bash")
        .args(["-o", "pipefail", "-c", command])
        .stdout(to_us.try_clone()?)
        .stderr(to_us)
        .spawn()?;
    let (at_end, end) = mpsc::channel::<()>();
    thread::spawn(move || {
        let _at_end = at_end;
        copy_to_both(&mut said, &mut kept)
    });
    let status = command.wait()?;
    // What it has printed is shown in a moment. But a process that it has left
    // behind may hold the pipe open for ever: nobody waits for that.
    let _ = end.recv_timeout(Duration::from_secs(5));
    Ok(status)
}

/// As tee(1) does it.
fn copy_to_both(said: &mut impl Read, kept: &mut File) -> io::Result<()> {
    let mut part = [0; 8192];
    loop {
        let length = said.read(&mut part)?;
        if length == 0 {
            return Ok(());
        }
        kept.write_all(&part[..length])?;
        io::stdout().write_all(&part[..length])?;
        io::stdout().flush()?;
    }
}

/// Where it is kept.
fn log_of(command: &str, kit: &Kit) -> PathBuf {
    kit.logs.join(format!("{}.log", command.replace('/', "_")))
}

/// The last lines that a command has printed. What ran beside it has printed a
/// lot behind them.
fn the_end_of(command: &str, kit: &Kit) -> String {
    let log = fs::read(log_of(command, kit)).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// The rows with these names; all if there are none.
fn select(names: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    match names {
        [] => Ok(ROWS.iter().collect()),
        _ => select_named(names),
    }
}

fn select_named(names: &[String]) -> anyhow::Result<Vec<&'static Row>> {
    let find = |name: &String| {
        let row = ROWS.iter().find(|row| row.name == *name);
        row.with_context(|| format!("there is no row {name:?}: see --list"))
    };
    names.iter().map(find).collect()
}

/// Calls `run` for each row, as many at a time as there are processors: one of
/// them runs the rows of this machine, one after the other, and what comes after
/// them; then it helps the others with the VMs.
fn side_by_side<T: Send>(
    (here, after): (Vec<&'static Row>, impl FnOnce()),
    in_vm: Vec<&'static Row>,
    run: impl Fn(&'static Row) -> T + Sync,
) -> Vec<T> {
    let in_vm = Mutex::new(in_vm.into_iter());
    let next = || in_vm.lock().expect("no thread panics with it").next();
    let work = || std::iter::from_fn(next).map(&run).collect::<Vec<T>>();
    let processors = available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let others: Vec<_> =
            (1..processors).map(|_| scope.spawn(work)).collect();
        let mut done: Vec<T> = here.into_iter().map(&run).collect();
        after();
        done.extend(work());
        for other in others {
            done.extend(other.join().expect("no row panics"));
        }
        done
    })
}
