//! The commands that have to do with containers that are there.

use std::process::ExitCode;

use common::errors;
use step06_life::{Container, sweep};

use crate::{output::print, store};

mod archive;
mod commit;
mod copy;
mod errand;
mod inspect;
mod list;
mod logs;
mod port;
mod start;
mod stats;
mod tell;

pub(crate) use commit::commit;
pub(crate) use copy::copy;
pub(crate) use errand::visit;
pub(crate) use inspect::inspect;
pub(crate) use list::list;
pub(crate) use logs::{end_of_log, logs, look_at};
pub(crate) use port::port;
pub(crate) use start::start;
pub(crate) use stats::stats;
pub(crate) use tell::{kill, pause, remove, restart, stop, unpause, wait};

/// Which containers.
#[derive(clap::Args)]
pub(crate) struct Names {
    /// Containers: a name, or the beginning of an id
    #[arg(value_name = "CONTAINER", required = true)]
    names: Vec<String>,
}

impl Names {
    /// Does `act` with each of them, and prints what it returns. What fails for
    /// one is said, and done for the others: then the exit code is 1, as with
    /// Docker.
    fn each(
        &self,
        act: impl Fn(Container) -> anyhow::Result<String>,
    ) -> anyhow::Result<ExitCode> {
        let place = store::place()?;
        let mut code = ExitCode::SUCCESS;
        for name in &self.names {
            match Container::find(&place, name).and_then(&act) {
                Ok(text) => {
                    print(&format!("{text}\n"))?;
                }
                Err(error) => {
                    errors::failure(&error);
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }

    /// The same, and the answer is the name.
    fn each_by_name(
        &self,
        act: impl Fn(Container) -> anyhow::Result<()>,
    ) -> anyhow::Result<ExitCode> {
        self.each(|container| {
            let name = container.config.name.clone();
            act(container).map(|()| name)
        })
    }
}

/// The exit code of `act`: 1 for what goes wrong, as with Docker, where 125 is
/// for `run` alone.
pub(crate) fn or_one(
    act: impl FnOnce() -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    Ok(act().unwrap_or_else(|error| {
        errors::failure(&error);
        ExitCode::FAILURE
    }))
}

/// All that are there, when what was left by others is taken away.
fn all() -> anyhow::Result<Vec<Container>> {
    let place = store::place()?;
    if let Err(error) = sweep(&place) {
        errors::warning(&error);
    }
    Container::all(&place)
}

/// JSON that can be shown on a terminal: what that would obey is escaped, also
/// where JSON does not ask for it.
pub(crate) fn shown(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        let is_plain =
            character.is_ascii() || character.escape_debug().eq([character]);
        match is_plain {
            true => text.push(character),
            false => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    text += &format!("\\u{unit:04x}");
                }
            }
        }
    }
    text
}
