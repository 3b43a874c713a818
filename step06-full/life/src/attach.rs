//! Looking at a container that runs, and typing.

use std::{
    fs::File,
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    Container, DetachKeys,
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
        self.state()?;
        let name = &self.config.name;
        let stream = server::connect(&self.running(), screen::SOCKET)
            .with_context(|| format!("container {name} has no terminal"))?;
        let code = self.lasting().join(CODE);
        let code = File::open(&code).with_context(|| format!("{code:?}"))?;
        let console = Console::open_shared(stream.into(), wants_input, keys)?;
        match console.wait()? {
            Over::Detached => Ok(ExitCode::SUCCESS),
            Over::HungUp => bail!("the terminal was closed"),
            Over::End => self.end_code(code),
        }
    }

    /// The exit code of a container whose terminal has ended, from its file
    /// `code`: the container itself may be removed by now.
    fn end_code(&self, code: File) -> anyhow::Result<ExitCode> {
        let start = Instant::now();
        while start.elapsed() < A_MOMENT {
            if !self.is_alive()? {
                let code = read_code(code)?;
                let code = code.context("nobody has seen how it has ended")?;
                return Ok(code.into());
            }
            sleep(Duration::from_millis(5));
        }
        bail!("it goes on, and did not wait for what is shown here")
    }
}
