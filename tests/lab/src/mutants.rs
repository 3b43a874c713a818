//! Mutants: versions of the steps that are known to be wrong. For each there is
//! a test that notices it, or the suite has a gap.
//!
//! A mutant is a file in `tests/mutants`: a sentence on why it is wrong, what it
//! needs, the tests that it claims to be caught by, and a patch. The patch is
//! applied by its text; the numbers of the lines need not be right.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use nix::unistd::geteuid;

use crate::{
    edit, limits,
    start::in_new_directory,
    workshop::{
        STEPS, Workshop, cargo, checkout, copy_packages, executables, read,
    },
};

/// How many mutants are tried at the same time: most of the time a test waits.
const AT_ONCE: usize = 4;

/// A known-bad version of a step.
struct Mutant {
    name: String,
    why: String,
    needs: Option<String>,
    as_user: bool,
    /// Each of them notices it.
    tests: Vec<String>,
    /// Replacements of lines: the file, before, after.
    hunks: Vec<(String, Vec<String>, Vec<String>)>,
}

impl Mutant {
    fn parse(name: &str, text: &str) -> anyhow::Result<Mutant> {
        let mut mutant = Mutant {
            name: name.to_owned(),
            why: String::new(),
            needs: None,
            as_user: false,
            tests: Vec::new(),
            hunks: Vec::new(),
        };
        let mut file = None;
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("+++ b/") {
                file = Some(path.to_owned());
            } else if line.starts_with("--- a/") {
                file = None;
            } else if line.starts_with("@@") {
                let file = file.clone().context("@@ before +++")?;
                mutant.hunks.push((file, Vec::new(), Vec::new()));
            } else if let Some((_, before, after)) = mutant.hunks.last_mut() {
                let (mark, rest) = line.split_at(line.len().min(1));
                if mark != "+" {
                    before.push(rest.to_owned());
                }
                if mark != "-" {
                    after.push(rest.to_owned());
                }
            } else if let Some((key, value)) = line.split_once(": ") {
                let value = value.trim().to_owned();
                match key {
                    "Why" => mutant.why = value,
                    "Needs" => mutant.needs = Some(value),
                    "As" => mutant.as_user = value == "a plain user",
                    "Caught by" => mutant.tests.push(value),
                    _ => bail!("what is {key}?"),
                }
            }
        }
        ensure!(mutant.why.ends_with('.'), "no sentence on why it is wrong");
        ensure!(!mutant.tests.is_empty(), "no test is named");
        ensure!(!mutant.hunks.is_empty(), "it changes nothing");
        Ok(mutant)
    }

    /// The step whose program shows the change: it is in the mutant's name.
    fn package(&self) -> anyhow::Result<&'static str> {
        let mut steps = STEPS.iter();
        let found = steps.find(|step| self.name.starts_with(&step[..6]));
        found
            .copied()
            .context("its name begins with that of no step")
    }

    /// Applies the change to the copy of the workspace at `directory`.
    fn apply(&self, directory: &Path) -> anyhow::Result<()> {
        for (file, before, after) in &self.hunks {
            let path = directory.join(file);
            let mut text = read(&path)?;
            let place = edit::lines(&text, before).context(file.clone())?;
            text.replace_range(place, &(after.join("\n") + "\n"));
            fs::write(&path, text)
                .with_context(|| format!("writing {path:?}"))?;
        }
        Ok(())
    }

    /// Where it can be tried: here, or where there is what it needs.
    fn machine(&self) -> anyhow::Result<Machine> {
        let cgroup = fs::read_to_string("/proc/self/cgroup")?;
        let version_1 = cgroup.contains(":memory:");
        let (here, kernel, cgroups) = match self.needs.as_deref() {
            None => return Ok(Machine::Here),
            Some("cgroups of version 1") => (version_1, "6.1", "v1"),
            Some("cgroups of version 2") => (!version_1, "6.12", "v2"),
            Some(needs) => bail!("it needs {needs}, whatever that is"),
        };
        Ok(match here {
            true => Machine::Here,
            false => Machine::Virtual { kernel, cgroups },
        })
    }
}

/// Where a test is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Machine {
    Here,
    /// In a VM with this kernel and these cgroups: see `tests/vm/run`.
    Virtual {
        kernel: &'static str,
        cgroups: &'static str,
    },
}

impl Machine {
    /// Whether `tests/vm/prepare` has made the kernel ready.
    fn is_ready(self) -> bool {
        let Machine::Virtual { kernel, .. } = self else {
            return true;
        };
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| checkout().join("target"), PathBuf::from);
        target.join("vm").join(format!("stamp-{kernel}")).exists()
    }
}

/// All mutants, or those whose name contains one of `names`.
fn load(names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    let directory = checkout().join("tests/mutants");
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("opendir({directory:?})"))?;
    let mut mutants = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let wanted =
            names.is_empty() || names.iter().any(|it| name.contains(it));
        if path.extension().is_some_and(|it| it == "patch") && wanted {
            let mutant = Mutant::parse(&name, &read(&path)?);
            mutants.push(mutant.with_context(|| format!("{path:?}"))?);
        }
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// Shows each mutant with its sentence.
pub(crate) fn list(names: &[String]) -> anyhow::Result<()> {
    for mutant in load(names)? {
        println!("{}\n    {}", mutant.name, mutant.why);
        for test in &mutant.tests {
            println!("    caught by {test}");
        }
    }
    Ok(())
}

/// Makes a workspace at `to`, in which the steps have the mistakes `names`: for
/// readers who want to see what they do.
pub(crate) fn make(names: &[String], to: &Path) -> anyhow::Result<()> {
    let all = load(names)?;
    let find = |name: &String| {
        let found = all.iter().find(|it| it.name == *name);
        found.with_context(|| {
            format!("there is no {name:?}: see mutants --list")
        })
    };
    let mutants: Vec<&Mutant> =
        names.iter().map(find).collect::<anyhow::Result<_>>()?;
    for (index, name) in names.iter().enumerate() {
        ensure!(!names[..index].contains(name), "{name} is named twice");
    }
    in_new_directory(to, |to| {
        let mut packages = vec!["common"];
        packages.extend(STEPS);
        copy_packages(checkout(), to, &packages)?;
        for mutant in &mutants {
            let name = &mutant.name;
            mutant
                .apply(to)
                .with_context(|| format!("{name} excludes one before it"))?;
        }
        Ok(())
    })?;
    for mutant in mutants {
        println!("{}", mutant.why);
    }
    Ok(())
}

/// Where the programs are that the suite runs.
struct Stage {
    /// Everybody may read it: a plain user, too.
    directory: tempfile::TempDir,
    suite: PathBuf,
}

impl Stage {
    /// Builds the suite and the untouched programs.
    fn new() -> anyhow::Result<Stage> {
        let directory =
            tempfile::Builder::new().prefix("mutants-").tempdir()?;
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open)?;
        let output = cargo(checkout())
            .args(["test", "--no-run", "--package", "harness", "--quiet"])
            .args(["--test", "suite", "--message-format", "json"])
            .output()?;
        ensure!(output.status.success(), "the suite does not compile");
        let status = cargo(checkout())
            .args(["build", "--quiet", "--bins"])
            .status()?;
        ensure!(status.success(), "the programs do not compile");
        let built = executables(&output.stdout);
        let is_suite = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("suite-") && path.parent().is_some_and(is_deps)
        };
        let built = built.iter().find(is_suite).context("no suite")?;
        let programs = built.ancestors().nth(2).context("no target")?;
        let suite = directory.path().join("suite");
        fs::copy(built, &suite)?;
        let untouched = directory.path().join("untouched");
        fs::create_dir(&untouched)?;
        for name in STEPS.into_iter().chain(["suite-helper"]) {
            fs::copy(programs.join(name), untouched.join(name))?;
        }
        Ok(Stage { directory, suite })
    }

    fn untouched(&self) -> PathBuf {
        self.directory.path().join("untouched")
    }

    /// A directory with the programs, of which one is the mutant's.
    fn with(&self, mutant: &Mutant, program: &Path) -> anyhow::Result<PathBuf> {
        let place = self.directory.path().join(&mutant.name);
        fs::create_dir(&place)?;
        for name in STEPS.into_iter().chain(["suite-helper"]) {
            match name == mutant.package()? {
                true => fs::copy(program, place.join(name)).map(|_| ())?,
                false => {
                    let untouched = self.untouched().join(name);
                    fs::hard_link(untouched, place.join(name))?;
                }
            }
        }
        Ok(place)
    }

    /// Runs one test of the suite on these programs.
    fn run(
        &self,
        programs: &Path,
        test: &str,
        as_user: bool,
        machine: Machine,
    ) -> anyhow::Result<Verdict> {
        let output = match machine {
            Machine::Here => self.run_here(programs, test, as_user),
            Machine::Virtual { kernel, cgroups } => {
                self.run_in_vm(programs, test, kernel, cgroups)
            }
        }?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let count = |what: &str| stdout.contains(&format!(" 1 {what}"));
        Ok(if count("passed") {
            Verdict::Passed
        } else if count("failed") {
            Verdict::Failed
        } else if count("ignored") {
            Verdict::Ignored(stdout.trim().to_owned())
        } else {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("the suite did not run {test}: {stdout}{stderr}")
        })
    }

    /// In namespaces of its own: a mutant may rename its machine or kill the
    /// process number 1. There, `/` is a shared mount, as with systemd.
    fn run_here(
        &self,
        programs: &Path,
        test: &str,
        as_user: bool,
    ) -> anyhow::Result<Output> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "shared", "--uts", "--pid"]);
        command.args(["--fork", "--kill-child", "--mount-proc"]);
        let home = tempfile::tempdir()?;
        if as_user {
            nix::unistd::chown(
                home.path(),
                Some(USER.into()),
                Some(USER.into()),
            )?;
            let user = USER.to_string();
            command.args(["setpriv", "--reuid", &user, "--regid", &user]);
            command.args(["--clear-groups", "env"]);
            command.arg(format!("HOME={}", home.path().display()));
        }
        command.arg(&self.suite).args(["--exact", test]);
        command
            .env("STEPS_BIN_DIR", programs)
            .env("INSTA_UPDATE", "no")
            .stdin(Stdio::null())
            .output()
            .context("running unshare")
    }

    /// As root of a machine that is thrown away.
    fn run_in_vm(
        &self,
        programs: &Path,
        test: &str,
        kernel: &str,
        cgroups: &str,
    ) -> anyhow::Result<Output> {
        let suite = &self.suite;
        let script = format!(
            "export STEPS_BIN_DIR={programs:?} INSTA_UPDATE=no && \
             export SUITE_TIME_FACTOR=3 && exec {suite:?} --exact {test}"
        );
        Command::new(checkout().join("tests/vm/run"))
            .args(["--kernel", kernel, "--cgroups", cgroups, "--bring"])
            .arg(suite)
            .arg("--bring")
            .arg(programs)
            .arg(script)
            .output()
            .context("running tests/vm/run")
    }
}

fn is_deps(directory: &Path) -> bool {
    directory.file_name().is_some_and(|name| name == "deps")
}

/// A user who is nobody else.
const USER: u32 = 64321;

#[derive(PartialEq)]
enum Verdict {
    Passed,
    Failed,
    Ignored(String),
}

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
    let stage = Stage::new()?;
    let _sweeper = Sweeper {
        before: limits::of_containers(),
    };

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

    let workshop = Workshop::open()?;
    let mut built = Vec::new();
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

/// Removes the cgroups that mutants have left behind: the next run of a step
/// does not, as they are from other PID namespaces.
struct Sweeper {
    before: BTreeSet<PathBuf>,
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let namespaces: BTreeSet<String> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|it| fs::read_link(it.path().join("ns/pid")).ok())
            .map(|link| link.to_string_lossy().into_owned())
            .collect();
        for cgroup in limits::of_containers().difference(&self.before) {
            let name = cgroup.file_name().unwrap_or_default();
            let name = name.to_string_lossy();
            let number = name.split('.').nth(1).unwrap_or_default();
            // Somebody else's run may be going on.
            if !namespaces.contains(&format!("pid:[{number}]")) {
                limits::remove(cgroup);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo tries it only when somebody asks for the mutants.
    #[test]
    fn each_mutant_fits_the_sources() {
        let mut wrong = Vec::new();
        for mutant in load(&[]).expect("they can be read") {
            let place = tempfile::tempdir().expect("a temporary directory");
            for (file, _, _) in &mutant.hunks {
                let copy = place.path().join(file);
                let directory = copy.parent().expect("it is below the place");
                fs::create_dir_all(directory).expect("it is ours");
                fs::copy(checkout().join(file), copy).expect(file);
            }
            if let Err(error) = mutant.apply(place.path()) {
                wrong.push(format!("{}: {error:#}", mutant.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_readers_mutant_differs_by_its_mistake_alone() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let to = place.path().join("mutant");
        let make = |name: &str, to: &Path| make(&[name.to_owned()], to);
        make("step03-no-dev", &to).expect("there is one");
        let mistake = "step03-mount/src/main.rs";
        for file in [mistake, "step03-mount/src/lib.rs"] {
            let before = read(&checkout().join(file)).expect("a source");
            let after = read(&to.join(file)).expect("a copy");
            assert_eq!(before == after, file != mistake, "{file}");
        }
        // Neither over what is there, nor one of several.
        make("step03-no-dev", &to).expect_err("not empty");
        make("step03", &place.path().join("x")).expect_err("no such name");
        // Nor beside the solution, where Cargo would take it for a member.
        make("step03-no-dev", &checkout().join("x")).expect_err("in there");
    }

    #[test]
    fn mutants_that_exclude_each_other_leave_nothing_behind() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let to = place.path().join("mutant");
        let one = load(&[]).expect("they can be read").swap_remove(0).name;
        make(&[one.clone(), one.clone()], &to).expect_err("named twice");
        assert!(!to.exists());

        // Any two that replace the same line.
        let all = load(&[]).expect("they can be read");
        let pairs = all.iter().enumerate().flat_map(|(index, one)| {
            all[index + 1..].iter().map(move |other| (one, other))
        });
        let mut same_line = pairs.filter(|(one, other)| {
            one.hunks[0].0 == other.hunks[0].0
                && one.hunks[0].1 == other.hunks[0].1
        });
        let (one, other) = same_line.next().expect("there are some");
        let both = [one.name.clone(), other.name.clone()];
        make(&both, &to).expect_err("they exclude each other");
        assert!(!to.exists());
        make(&both[..1], &to).expect("one alone can be made");
    }
}
