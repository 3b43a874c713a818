//! Runs checks where they can be run: here, or in a virtual machine.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::{
    bench::random_name,
    build::{checkout, target_of},
    check::{Outcome, Verdict},
    files::read,
    plan::{Job, Plan},
    sandbox,
};

/// Where all checks are run: a command that takes options and a script, like
/// `tests/vm/run`; here, if it is not set.
const VM: &str = "LAB_VM";

/// A machine has cgroups of one version.
const LAYOUTS: [[&str; 4]; 2] = [
    ["--kernel", "6.12", "--cgroups", "v2"],
    ["--kernel", "6.1", "--cgroups", "v1"],
];

/// Runs a plan. What can't be tried where it is run first is left to a virtual
/// machine, if there is one.
///
/// # Errors
/// Nothing can be run.
pub fn run(plan: Plan) -> anyhow::Result<Vec<Vec<Outcome>>> {
    let given = env::var_os(VM).map(PathBuf::from);
    let mut layouts = LAYOUTS.iter();
    let mut found = match (&given, plan.jobs.is_empty()) {
        (_, true) => return Ok(Vec::new()),
        (None, _) => plan.run()?,
        (Some(vm), _) => {
            let layout = layouts.next().context("there are two")?;
            run_in_vm(vm, layout, plan.jobs.clone())?
        }
    };
    let Some(vm) = given.or_else(prepared) else {
        return Ok(found);
    };
    for layout in layouts {
        // Job and check of what is still to be tried.
        let mut missing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (job, outcomes) in found.iter().enumerate() {
            for (check, outcome) in outcomes.iter().enumerate() {
                if outcome.verdict == Verdict::NotRun {
                    missing.entry(job).or_default().push(check);
                }
            }
        }
        if missing.is_empty() {
            break;
        }
        let jobs = missing.iter().map(|(job, checks)| {
            let all = &plan.jobs[*job];
            let checks = checks.iter().map(|it| all.checks[*it].clone());
            Job {
                checks: checks.collect(),
                ..all.clone()
            }
        });
        let outcomes = run_in_vm(&vm, layout, jobs.collect())?;
        for ((job, checks), outcomes) in missing.into_iter().zip(outcomes) {
            for (check, outcome) in checks.into_iter().zip(outcomes) {
                found[job][check] = outcome;
            }
        }
    }
    Ok(found)
}

/// The virtual machine of this workspace, if both of its kernels are there.
fn prepared() -> Option<PathBuf> {
    let cache = target_of(checkout()).join("vm");
    let mut kernels = LAYOUTS.iter().map(|[_, kernel, ..]| kernel);
    let are_there =
        kernels.all(|it| cache.join(format!("stamp-{it}")).exists());
    are_there.then(|| checkout().join("tests/vm/run"))
}

/// Makes the virtual machine, unless there is one. That takes no privilege, but
/// the packages of its kernels.
///
/// # Errors
/// It can't be made on this machine.
pub fn prepare() -> anyhow::Result<()> {
    if env::var_os(VM).is_some() || prepared().is_some() {
        return Ok(());
    }
    eprintln!("A virtual machine is made, once: that fetches 120 MB.");
    let script = checkout().join("tests/vm/prepare");
    let status = Command::new(&script)
        .status()
        .with_context(|| format!("running {script:?}"))?;
    ensure!(
        status.success(),
        "{script:?} has failed: it takes the packages of Debian or Ubuntu. \
         Elsewhere, set {VM} to a command like tests/vm/run"
    );
    Ok(())
}

/// A directory that is closed to others, and goes with this value.
struct Place(PathBuf);

impl Place {
    fn new() -> anyhow::Result<Place> {
        let path = env::temp_dir().join(format!("lab-vm-{}", random_name()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("mkdir({path:?})"))?;
        Ok(Place(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that is needed goes along in one directory: this program, which
/// is linked statically, the plan, and the programs to be checked.
fn run_in_vm(
    vm: &Path,
    layout: &[&str; 4],
    mut jobs: Vec<Job>,
) -> anyhow::Result<Vec<Vec<Outcome>>> {
    let place = Place::new()?;
    let top = place.0.as_path();
    let count: usize = jobs.iter().map(|it| it.checks.len()).sum();
    let [_, kernel, _, cgroups] = layout;
    eprintln!(
        "{count} checks run in a virtual machine: Linux {kernel}, cgroups \
         {cgroups}"
    );
    fs::copy("/proc/self/exe", top.join("grader"))?;
    // Many jobs may be about one program.
    let mut copies: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for job in &mut jobs {
        if !copies.contains_key(&job.program) {
            let name = job.program.file_name().context("it has no name")?;
            let copy = top.join(copies.len().to_string()).join(name);
            fs::create_dir_all(copy.parent().unwrap_or(top))?;
            fs::copy(&job.program, &copy)?;
            copies.insert(job.program.clone(), copy);
        }
        job.program.clone_from(&copies[&job.program]);
    }
    // Whoever prints a line that begins with it has run the plan.
    let nonce = random_name();
    let plan = serde_json::to_vec(&(&nonce, Plan { jobs }))?;
    fs::write(top.join("plan.json"), plan)?;
    let script = format!(
        "mkdir -p /var/cache; \
         LAB_TIME_FACTOR=6 {top}/grader run-plan {top}/plan.json",
        top = top.display()
    );
    let output = Command::new(vm)
        .args(layout)
        .args(["--limit", "900", "--bring"])
        .arg(top)
        .arg(script)
        .output()
        .with_context(|| format!("running {vm:?}"))?;
    ensure!(!sandbox::is_interrupted(), "interrupted");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let begin = begin_of(&nonce);
    let line = stdout.lines().find_map(|line| line.strip_prefix(&begin));
    let Some(line) = line else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("the virtual machine has said nothing: {stdout}{stderr}");
    };
    Ok(serde_json::from_str(line)?)
}

/// Begins the line with what became of a plan. A program that is tried may get
/// to print one as well, but it does not know the nonce.
fn begin_of(nonce: &str) -> String {
    format!("OUTCOMES {nonce} ")
}

/// The side of the virtual machine: runs the plan in a file, and says what became
/// of it. The file is gone before: what is tried finds no nonce.
///
/// # Errors
/// There is no such plan.
pub fn run_plan(path: &Path) -> anyhow::Result<()> {
    let (nonce, plan): (String, Plan) = serde_json::from_str(&read(path)?)?;
    fs::remove_file(path).with_context(|| format!("unlink({path:?})"))?;
    let outcomes = serde_json::to_string(&plan.run()?)?;
    println!("\n{}{outcomes}", begin_of(&nonce));
    Ok(())
}
