//! Where a test of the suite meets a mutant.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, bail, ensure};
use ground::STEPS;
use lab::build::{cargo, checkout, executables, target_of};

use crate::mutant::Mutant;

/// Where a test is run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Machine {
    Here,
    /// In a VM with this kernel and these cgroups: see `tests/vm/run`.
    Virtual {
        kernel: &'static str,
        cgroups: &'static str,
    },
}

impl Machine {
    /// Whether `tests/vm/prepare` has made the kernel ready.
    pub(crate) fn is_ready(self) -> bool {
        let Machine::Virtual { kernel, .. } = self else {
            return true;
        };
        let vm = target_of(checkout()).join("vm");
        vm.join(format!("stamp-{kernel}")).exists()
    }
}

/// Where the programs are that the suite runs.
pub(crate) struct Stage {
    /// Everybody may read it: a plain user, too.
    directory: tempfile::TempDir,
    suite: PathBuf,
    /// The test programs of what stands above the steps, by their names.
    above: BTreeMap<String, PathBuf>,
}

impl Stage {
    /// Builds the suite and the untouched programs.
    pub(crate) fn new() -> anyhow::Result<Stage> {
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
        Ok(Stage {
            directory,
            suite,
            above: BTreeMap::new(),
        })
    }

    /// Builds what stands above the steps, too, and its tests.
    pub(crate) fn add_what_is_above(&mut self) -> anyhow::Result<()> {
        let packages = ["--package", "box", "--package", "step06-oci"];
        for what in [&["build"][..], &["test", "--no-run", "--tests"]] {
            let output = cargo(checkout())
                .args(what)
                .args(packages)
                .args(["--quiet", "--message-format", "json"])
                .output()?;
            ensure!(output.status.success(), "what is above does not compile");
            for built in executables(&output.stdout) {
                let name = built.file_name().unwrap_or_default();
                let name = name.to_string_lossy().into_owned();
                if PROGRAMS_ABOVE.contains(&name.as_str()) {
                    fs::copy(&built, self.untouched().join(name))?;
                } else if let Some((test, _)) = name.rsplit_once('-') {
                    let to = self.directory.path().join(test);
                    fs::copy(&built, &to)?;
                    self.above.insert(test.to_owned(), to);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn untouched(&self) -> PathBuf {
        self.directory.path().join("untouched")
    }

    /// A directory with the programs, of which one is the mutant's.
    pub(crate) fn with(
        &self,
        mutant: &Mutant,
        program: &Path,
    ) -> anyhow::Result<PathBuf> {
        let place = self.directory.path().join(&mutant.name);
        fs::create_dir(&place)?;
        if let Some(name) = mutant.program_above() {
            fs::copy(program, place.join(name))?;
            return Ok(place);
        }
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
    pub(crate) fn run(
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
        // `images: museum::a_claim` is in the test program `images`.
        let (suite, test) = match test.split_once(": ") {
            None => (&self.suite, test),
            Some((name, test)) => {
                let suite = self.above.get(name);
                (suite.with_context(|| format!("no tests {name:?}"))?, test)
            }
        };
        command.arg(suite).args(["--exact", test]);
        command
            .env("BOX", programs.join(PROGRAMS_ABOVE[0]))
            .env("STEP06_OCI", programs.join(PROGRAMS_ABOVE[1]))
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

/// What `step06-full/box` and `step06-full/oci` are built to.
const PROGRAMS_ABOVE: [&str; 2] = ["box", "step06-oci"];

/// A user who is nobody else.
const USER: u32 = 64321;

#[derive(PartialEq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Ignored(String),
}
