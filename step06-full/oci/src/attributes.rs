//! What a process is given besides its rights: its domain of execution, its score
//! when memory is short, and a file that tells its number.

use std::{fs, path::Path};

use anyhow::{Context, bail, ensure};
use common::{host::files::write_kernel_file, sys};
use nix::{sys::personality::Persona, unistd::Pid};

use crate::config::Linux;

/// What `linux.personality` asks for. See personality(2).
pub(crate) fn persona(linux: &Linux) -> anyhow::Result<Option<Persona>> {
    let Some(personality) = &linux.personality else {
        return Ok(None);
    };
    ensure!(
        personality.flags.is_empty(),
        "linux.personality.flags are not supported"
    );
    Ok(Some(match personality.domain.as_str() {
        "LINUX" => Persona::empty(),
        // PER_LINUX32: uname(2) tells of a machine with 32 bits.
        "LINUX32" => Persona::from_bits_retain(8),
        domain => bail!("there is no linux.personality.domain {domain:?}"),
    }))
}

/// Which process the kernel kills when memory is short.
pub(crate) fn set_oom_score(
    pid: &str,
    score: Option<i32>,
) -> anyhow::Result<()> {
    let Some(score) = score else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    let now = fs::read_to_string(&path).unwrap_or_default();
    if now.trim() == score.to_string() {
        return Ok(());
    }
    write_kernel_file(path, &score.to_string())
        .context("setting process.oomScoreAdj")
}

/// Writes it beside and renames it, so that nobody reads half a number.
pub(crate) fn write_pid_file(
    path: Option<&Path>,
    pid: Pid,
) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let name = path.file_name().context("--pid-file has no name")?;
    let new = path.with_file_name(format!(".{}", name.display()));
    fs::write(&new, pid.to_string())
        .with_context(|| format!("writing {new:?}"))?;
    Ok(sys::rename(new, path)?)
}
