//! Where the programs are.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::OnceLock,
};

/// The path of the program `name`, which is built if need be. Cargo puts examples
/// into a directory of their own.
pub fn path(name: &str) -> PathBuf {
    let path = directory().join(name);
    let example = directory().join("examples").join(name);
    let mut places = [path, example].into_iter();
    let found = places.find(|place| place.exists());
    found.unwrap_or_else(|| panic!("there is no program {name}"))
}

/// The program that does inside a container what no tool of the system does.
pub fn helper() -> PathBuf {
    path("suite-helper")
}

/// The top of the checkout: where it was when the suite was built, unless
/// `INSTA_WORKSPACE_ROOT` says where it is now. insta looks there, too.
pub fn workspace() -> &'static Path {
    static WORKSPACE: OnceLock<PathBuf> = OnceLock::new();
    WORKSPACE.get_or_init(|| match env::var_os("INSTA_WORKSPACE_ROOT") {
        Some(workspace) => PathBuf::from(workspace),
        None => {
            let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
            let workspace = tests.parent();
            workspace.expect("the package is in a workspace").to_owned()
        }
    })
}

/// The directory that they are in.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| match env::var_os("STEPS_BIN_DIR") {
        Some(directory) => PathBuf::from(directory)
            .canonicalize()
            .expect("STEPS_BIN_DIR names a directory"),
        None => built().0,
    })
}

/// Builds all programs, unless `STEPS_BIN_DIR` names a place where they are.
/// `cargo test` alone builds the programs only of the package that it tests.
///
/// # Errors
/// The exit code for the suite, when Cargo has failed and said why.
pub(crate) fn build() -> Result<(), ExitCode> {
    if env::var_os("STEPS_BIN_DIR").is_some() {
        return Ok(());
    }
    let (_, profile) = built();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--bins", "--examples"])
        .args(["--profile", &profile])
        .current_dir(workspace())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(ExitCode::from(101)),
    }
}

/// Where Cargo puts the programs, and the profile of this suite.
fn built() -> (PathBuf, String) {
    let suite = env::current_exe().expect("/proc/self/exe is readable");
    // The suite is target/<triple>/<profile>/deps/suite-<hash>.
    let directory = suite
        .ancestors()
        .nth(2)
        .expect("Cargo put the suite in a directory of its profile");
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    (directory.to_owned(), profile.to_owned())
}
