//! Lab 1: a name of its own.

use anyhow::ensure;
use nix::unistd::gethostname;

use super::Check;
use crate::bench::{Bench, Container, random_name};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("has_the_name", has_the_name),
    ("keeps_the_host", keeps_the_host),
    ("has_a_namespace", has_a_namespace),
    ("takes_64_bytes", takes_64_bytes),
    ("refuses_names", refuses_names),
];

pub(super) fn start(bench: &Bench, name: &str) -> anyhow::Result<Container> {
    let agent = bench.agent.to_string_lossy();
    bench.start(&["--hostname", name], &agent)
}

fn has_the_name(bench: &Bench) -> anyhow::Result<()> {
    let name = random_name().replace('x', "X");
    is_called(bench, &name, &name)
}

/// Whether a container for which `name` is asked is called `expected`.
pub(super) fn is_called(
    bench: &Bench,
    name: &str,
    expected: &str,
) -> anyhow::Result<()> {
    let mut container = start(bench, name)?;
    let found = container.must(&["hostname"])?;
    ensure!(
        found == expected,
        "asked for the name {name}, the container is called {found}"
    );
    Ok(())
}

fn keeps_the_host(bench: &Bench) -> anyhow::Result<()> {
    let before = gethostname()?;
    let mut container = start(bench, &random_name())?;
    let inside = random_name();
    container.must(&["sethostname", &inside])?;
    ensure!(
        container.must(&["hostname"])? == inside,
        "the container can't be renamed from inside"
    );
    ensure!(
        gethostname()? == before,
        "the host was renamed from inside: the container has no UTS namespace \
         of its own"
    );
    Ok(())
}

fn has_a_namespace(bench: &Bench) -> anyhow::Result<()> {
    start(bench, "box")?.has_own("uts", "CLONE_NEWUTS")
}

/// What looks like nothing that has a meaning is a name, too.
fn takes_64_bytes(bench: &Bench) -> anyhow::Result<()> {
    takes_64_bytes_of_the_net(bench)?;
    takes(bench, &["_".repeat(47)])
}

pub(super) fn takes_64_bytes_of_the_net(bench: &Bench) -> anyhow::Result<()> {
    // 64 bytes, of which some are two to a character.
    takes(bench, &["0".repeat(47), format!("{}é", "-".repeat(45))])
}

fn takes(bench: &Bench, tails: &[String]) -> anyhow::Result<()> {
    for tail in tails {
        let name = format!("{}{tail}", random_name());
        let mut container = start(bench, &name)?;
        let found = container.must(&["hostname"])?;
        ensure!(
            found == name,
            "a name of {} bytes becomes {found:?}",
            name.len()
        );
    }
    Ok(())
}

pub(super) fn refuses_names(bench: &Bench) -> anyhow::Result<()> {
    let (long, longer) = ("x".repeat(65), "é".repeat(33));
    // Not all blanks are ASCII's, nor all control characters.
    let blanks = ["a b", "a\tb", "a\u{3000}b"];
    let controls = ["\u{7f}", "a\u{9b}b"];
    let names = ["", &long, &longer];
    for name in names.into_iter().chain(blanks).chain(controls) {
        bench.refuses(&["--hostname", name])?;
        // Nor is it left to the kernel, when the container is there already: the
        // command line is read from left to right, and this is its end.
        let ended = bench.run(&["run", "--hostname", name, "--help"])?;
        ensure!(
            ended.code == 125,
            "the name {name:?} is refused by the kernel only, and the command \
             line takes it"
        );
    }
    Ok(())
}
