//! What a row needs: the suite, the programs, and the files of the checkout.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use harness::programs;
use serde_json::Value;
use tempfile::TempDir;

/// A directory that everybody can read, unlike a checkout in root's home. It is
/// removed at the end.
pub(crate) struct Kit {
    directory: TempDir,
    /// The program that runs the tests.
    test: String,
    /// Where the output of each row is kept.
    pub(crate) logs: PathBuf,
}

impl Kit {
    /// Builds the tests and the programs, and copies what is needed.
    pub(crate) fn build(test: String) -> anyhow::Result<Kit> {
        let mut built = build(&["build", "--bins", "--examples"])?;
        built.extend(build(&["test", "--no-run", "--test", &test])?);
        // The sessions about what stands above step 6 are typed where there is
        // such a program.
        if test == "book" {
            built.extend(build(&["build", "-p", "box", "-p", "step06-oci"])?);
        }
        let directory =
            tempfile::Builder::new().prefix("suite-matrix-").tempdir()?;
        let target = env::current_exe()?;
        let target = target.ancestors().nth(3).context("not Cargo's")?;
        let kit = Kit {
            directory,
            logs: target.join("matrix").join(&test),
            test,
        };
        fs::create_dir_all(&kit.logs)?;
        fs::create_dir(kit.programs())?;
        for (name, path) in built {
            // Debugging information would double the time that a VM needs to
            // take it all in.
            let mut strip = Command::new("strip");
            strip.arg("-o").arg(kit.programs().join(name)).arg(path);
            succeed(&mut strip)?;
        }
        // The book's sessions are typed with it, and without.
        if let Some(busybox) = env::var_os("SESSIONS_BUSYBOX") {
            fs::copy(busybox, kit.programs().join("busybox"))?;
        }
        kit.copy_checkout()?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(kit.path(), mode)?;
        Ok(kit)
    }

    fn copy_checkout(&self) -> anyhow::Result<()> {
        fs::create_dir(self.checkout())?;
        let copy = "tar --create --exclude-vcs --exclude=./target . |
            tar --extract --directory \"$0\" && chmod -R a+rX \"$0\"";
        let mut sh = Command::new("sh");
        sh.args(["-c", copy]).arg(self.checkout());
        succeed(sh.current_dir(programs::workspace()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.path().join("programs")
    }

    pub(crate) fn checkout(&self) -> PathBuf {
        self.path().join("checkout")
    }

    /// The command line of the tests, with an environment of its own. `user` is
    /// who types at the plain user's prompt when root runs the book.
    pub(crate) fn command_line(
        &self,
        home: &str,
        tmp: &Path,
        user: Option<&str>,
    ) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let mut line = vec![
            "env".into(),
            "-i".into(),
            "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".into(),
            format!("HOME={home}"),
            format!("TMPDIR={}", tmp.display()),
            format!("STEPS_BIN_DIR={}", text(self.programs())),
            format!("INSTA_WORKSPACE_ROOT={}", text(self.checkout())),
            "INSTA_UPDATE=no".into(),
            // It would come in the middle of the suite's own lines. What a
            // scoreboard was is shown with the failure.
            "INSTA_OUTPUT=none".into(),
        ];
        line.extend(user.map(|name| format!("SESSIONS_USER={name}")));
        line.push(text(self.programs().join(&self.test)));
        line.push("--color=never".into());
        line
    }

    /// The names of the tests that would be run.
    pub(crate) fn tests(
        &self,
        arguments: &[String],
    ) -> anyhow::Result<Vec<String>> {
        let line = self.command_line("/", Path::new("/tmp"), None);
        let output = Command::new(&line[0])
            .args(&line[1..])
            .arg("--list")
            .args(arguments)
            .output()
            .context("listing the tests")?;
        let list = String::from_utf8(output.stdout)?;
        let names = list.lines().filter_map(|it| it.strip_suffix(": test"));
        Ok(names.map(String::from).collect())
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        // The work directory of an overlay is closed even to its owner.
        let mut chmod = Command::new("chmod");
        chmod.args(["-R", "u+rwx"]).arg(self.path());
        let _ = chmod.status();
    }
}

/// Runs Cargo, and returns the programs that it has built: name and path.
fn build(arguments: &[&str]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .args(["--workspace", "--message-format=json"])
        .current_dir(programs::workspace())
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo")?;
    ensure!(output.status.success(), "cargo {arguments:?} failed");
    let messages = String::from_utf8(output.stdout)?;
    let programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, message["executable"].as_str()?.into()))
    });
    Ok(programs.collect())
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status();
    let status = status.with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
