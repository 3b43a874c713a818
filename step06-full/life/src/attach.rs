//! Looking at a container that runs, and typing.

use std::{
    fs::File,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{
    Container, DetachKeys, Status,
    console::Console,
    screen, server,
    wait::{CODE, read_code},
    words::Over,
};

/// How long the end may take, when nothing more is printed.
const A_MOMENT: Duration = Duration::from_secs(5);

impl Container {
    /// Puts the caller's terminal in the place of the container's, until it ends
    /// or `keys` are pressed; others may do the same. Returns its exit code, or
    /// success if it goes on.
    ///
    /// The caller must have one thread.
    ///
    /// # Errors
    /// It is not running, or has no terminal.
    pub fn attach(
        &self,
        wants_input: bool,
        keys: &DetachKeys,
    ) -> anyhow::Result<ExitCode> {
        self.check_is_going()?;
        let name = &self.config.name;
        let stream = server::connect(&self.running(), screen::SOCKET)
            .with_context(|| format!("container {name} has no terminal"))?;
        let ending = self.ending()?;
        let console = Console::open_shared(stream.into(), wants_input, keys)?;
        match console.wait()? {
            Over::Detached => Ok(ExitCode::SUCCESS),
            Over::HungUp => bail!("the terminal was closed"),
            Over::End => Ok(self.end_code(ending)?.into()),
        }
    }

    /// Whether it runs, and is not paused.
    ///
    /// # Errors
    /// It does not, or is.
    pub fn check_is_going(&self) -> anyhow::Result<()> {
        self.state()?;
        let is_paused = matches!(self.status()?, Status::Paused(_));
        let name = &self.config.name;
        ensure!(!is_paused, "container {name} is paused, unpause it first");
        Ok(())
    }

    /// Where its exit code will be, for [`Container::end_code`]: the container
    /// itself may be removed by then.
    ///
    /// # Errors
    /// It is gone.
    pub fn ending(&self) -> anyhow::Result<File> {
        let code = self.lasting().join(CODE);
        File::open(&code).with_context(|| format!("open({code:?})"))
    }

    /// The exit code of a container of which all is shown.
    ///
    /// # Errors
    /// It goes on; nobody has seen its end.
    pub fn end_code(&self, ending: File) -> anyhow::Result<u8> {
        let start = Instant::now();
        while start.elapsed() < A_MOMENT {
            if !self.is_alive()? {
                let code = read_code(ending)?;
                return code.context("nobody has seen how it has ended");
            }
            sleep(Duration::from_millis(5));
        }
        bail!("it goes on, and did not wait for what is shown here")
    }
}
