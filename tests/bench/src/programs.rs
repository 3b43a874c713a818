//! Builds what is measured: the six steps, the runtime and `box` in release, the C
//! programs beside them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use ground::STEPS;

use crate::{engines::OWN_ENGINE, peers::OWN_RUNTIME, place::make_directory};

const C_PROGRAMS: [&str; 6] =
    ["true", "wait", "stay", "memory", "limit", "steps"];

/// The directory `target/bench`, with all programs in it, installed.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = directory()?;
    let linked = directory.join("linked");
    make_directory(&linked)?;

    for step in build_steps(package)? {
        install(&step, &directory)?;
    }
    fs::write(directory.join("filter.h"), filter())
        .context("writing filter.h")?;
    fs::write(directory.join("stub.h"), stub()).context("writing stub.h")?;
    for name in C_PROGRAMS {
        let source = package.join("c").join(name).with_extension("c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-static"]).arg(source);
        compiler.arg("-I").arg(&directory);
        let linked = linked.join(name);
        run(compiler.arg("-o").arg(&linked))?;
        install(&linked, &directory)?;
    }
    Ok(directory)
}

/// Copies the steps of another build beside ours, and returns where they are.
pub(crate) fn install_before(build: &Path) -> anyhow::Result<PathBuf> {
    let directory = directory()?.join("before");
    make_directory(&directory)?;
    for step in STEPS {
        install(&build.join(step), &directory)?;
    }
    Ok(directory)
}

/// Copies a program into a directory, as who installs one does.
///
/// A linker writes a file page by page, and so the kernel keeps it: each page is
/// mapped by itself. A copy is written in large pieces, is kept in large pieces,
/// and starts in a tenth less time.
fn install(program: &Path, directory: &Path) -> anyhow::Result<()> {
    let name = program.file_name().context("a program has a name")?;
    let copy = directory.join(name);
    // Not into a file that a process may still execute, or that it comes from.
    let new = copy.with_extension("new");
    fs::copy(program, &new)
        .with_context(|| format!("copying {program:?} to {new:?}"))?;
    fs::rename(&new, &copy)
        .with_context(|| format!("rename({new:?}, {copy:?})"))
}

/// `target/bench`: we are target/TRIPLE/PROFILE/bench.
fn directory() -> anyhow::Result<PathBuf> {
    let here = env::current_exe().context("readlink(\"/proc/self/exe\")")?;
    let target = here.ancestors().nth(3);
    let target = target.context("Cargo has put us in its target directory")?;
    Ok(target.join("bench"))
}

/// The filter of step 6, as C has its instructions.
fn filter() -> String {
    let instructions = step06_full::seccomp::filter();
    let lines = instructions.iter().map(|it| {
        format!("{{ {}, {}, {}, {} }},\n", it.code, it.jt, it.jf, it.k)
    });
    lines.collect()
}

/// The stub of step 6, byte by byte.
fn stub() -> String {
    let bytes = step06_full::stub::program(3);
    bytes.iter().map(|byte| format!("{byte},\n")).collect()
}

/// Has Cargo build them, and tell where it has put them.
fn build_steps(package: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--message-format=json"]);
    for package in STEPS.into_iter().chain([OWN_RUNTIME, OWN_ENGINE]) {
        command.args(["--package", package]);
    }
    command.stderr(std::process::Stdio::inherit());
    let messages = run(command.current_dir(package))?;
    let programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    Ok(programs.collect())
}

/// Runs a command to its end and returns its output.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("execve({:?})", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
