//! Root file systems for tests.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{Finished, MOUNT, Run, Running, Step, needs, programs};

/// A root file system of a test's own, gone after the test.
pub struct Image {
    directory: TempDir,
}

impl Image {
    /// One with nothing in it but the suite's helper, as `/helper`, and a
    /// `/tmp`.
    pub fn minimal() -> Image {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let image = Image { directory };
        fs::create_dir(image.path().join("tmp")).expect("it is new");
        image.add(&programs::helper(), "helper");
        image.open_up()
    }

    /// A copy of the default root file system, with `/helper` in it.
    pub fn copy_of_default() -> Image {
        let image = Image::minimal();
        copy(&default_of(MOUNT).join("."), image.path());
        image.open_up()
    }

    /// Adds a program, under this name, and returns its path on the host.
    pub fn add(&self, program: &Path, name: &str) -> PathBuf {
        let path = self.path().join(name);
        copy(program, &path);
        path
    }

    /// A temporary directory is for its owner alone, but `/` is for everyone:
    /// in step 6 the container's root is another user.
    fn open_up(self) -> Image {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(), mode).expect("it is ours");
        self
    }

    /// Runs the suite's helper in a container of `step`. In steps 1 and 2 that
    /// is the host's own file, as there is no image yet.
    pub fn helper(&self, step: Step, arguments: &[&str]) -> Finished {
        self.helper_with(step.run(), step, arguments).finish()
    }

    /// Starts the suite's helper, with a run that has options already.
    pub fn helper_with(
        &self,
        run: Run,
        step: Step,
        arguments: &[&str],
    ) -> Running {
        let (run, helper) = match step < MOUNT {
            true => (run, self.path().join("helper")),
            false => (run.rootfs(self.path()), PathBuf::from("/helper")),
        };
        let arguments = arguments.iter().map(OsString::from);
        run.start([helper.into()].into_iter().chain(arguments))
    }

    /// Where it is, on the host.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Copies by cp(1). If this process had a program open for writing, so would
/// every child that another test forks meanwhile, until its exec; and whoever
/// executes the program by then gets ETXTBSY.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|it| it.success()), "cp -a failed");
}

/// The default root file system of `step`, which is built if need be.
pub fn default_of(step: Step) -> PathBuf {
    step.run().command(["true"]).ok();
    let home = || env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = match env::var_os("XDG_CACHE_HOME") {
        _ if needs::is_root() => PathBuf::from("/var/cache"),
        Some(cache) => PathBuf::from(cache),
        None => home().join(".cache"),
    };
    cache
        .join("container-in-six-steps")
        .join(step.name)
        .join("rootfs")
}
