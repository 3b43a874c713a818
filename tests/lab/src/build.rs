//! Builds the program of a step, with limits on what that may take.
#![allow(unsafe_code)]

use std::{
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read, Seek},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use nix::sys::{
    memfd::{MFdFlags, memfd_create},
    resource::{Resource, setrlimit},
};
use serde_json::Value;

use crate::sandbox;

/// The top of the checkout that this program was built in.
pub fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Whether this program was built in the workspace that it is run in. Two that
/// have one target directory look the same to Cargo: it takes the program of the
/// one for that of the other.
///
/// # Errors
/// It was built in another one, and what to do.
pub fn ensure_own_target() -> anyhow::Result<()> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Cargo says this to what it runs. See "Environment variables" in its book.
    let Some(run) = std::env::var_os("CARGO_MANIFEST_DIR") else {
        return Ok(());
    };
    let run = Path::new(&run);
    // The grader is another package than this one.
    ensure!(
        built.file_name() != run.file_name() || built == run,
        "this was built in {:?}, which has its target directory in common with \
         this workspace. It needs its own: CARGO_TARGET_DIR=target cargo lab …",
        checkout()
    );
    Ok(())
}

/// How long one package may take to compile: the slowest takes seconds, but
/// what the compiler computes for a constant may have no end.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How many bytes of memory of its own a compiler may have. The greediest needs
/// a quarter of that.
const MEMORY: u64 = 2 << 30;

/// A package has taken too long to compile.
#[derive(Debug)]
pub struct TookTooLong(Duration);

impl fmt::Display for TookTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it was still being compiled after {:?}: a constant or a macro \
             without an end",
            self.0
        )
    }
}

/// What Cargo has said, in JSON and in plain words, as a text for whoever reads
/// it.
pub type ToText = fn(&str, &str) -> String;

/// The program of a package, to be built.
pub struct Build<'a> {
    /// The workspace.
    pub directory: &'a Path,
    /// The package; its program has the same name.
    pub package: &'a str,
    /// Where Cargo builds it.
    pub target: &'a Path,
    /// How long one package may take: [`LIMIT`].
    pub limit: Duration,
}

impl Build<'_> {
    /// Builds it.
    ///
    /// # Errors
    /// What the compiler says; [`TookTooLong`].
    pub fn run(&self) -> anyhow::Result<Built> {
        self.run_by(self.cargo(), rendered)
    }

    /// Cargo, with as much memory as it may have.
    pub fn cargo(&self) -> Command {
        let mut command = cargo(self.directory);
        let limit_memory =
            || Ok(setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY)?);
        // SAFETY: setrlimit(2) is async-signal-safe, and nothing is allocated.
        unsafe { command.pre_exec(limit_memory) };
        command
    }

    /// Builds it by `command`, which is a Cargo.
    ///
    /// # Errors
    /// What `to_text` makes of the messages; [`TookTooLong`].
    pub fn run_by(
        &self,
        mut command: Command,
        to_text: ToText,
    ) -> anyhow::Result<Built> {
        let (package, limit) = (self.package, self.limit);
        let errors = memory_file()?;
        let mut cargo = command
            .args(["build", "--quiet", "--locked"])
            .args(["--package", package, "--bin", package])
            .args(["--message-format", "json"])
            .env("CARGO_TARGET_DIR", self.target)
            .stdout(Stdio::piped())
            .stderr(errors.try_clone()?)
            .spawn()
            .context("running Cargo")?;
        let stdout = cargo.stdout.take().context("it was piped")?;
        let (sender, messages) = mpsc::channel();
        let reader = thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.for_each(|line| sender.send(line).unwrap_or_default());
        });

        // There is a message for each package that is ready. So the time that
        // all the libraries take, at first, does not count.
        let mut said = String::new();
        let mut progress = Progress::of(package);
        let end = loop {
            match messages.recv_timeout(limit) {
                Ok(message) => {
                    said += &format!("{message}\n");
                    progress.show();
                }
                Err(end) => break end,
            }
        };
        drop(progress);
        if end == RecvTimeoutError::Timeout {
            sandbox::kill_family(cargo.id().cast_signed());
        }
        let status = cargo.wait().context("wait4()")?;
        // No writer is left, so it comes to its end.
        let _ = reader.join();
        if end == RecvTimeoutError::Timeout {
            let does_not = format!("{package} does not compile");
            return Err(anyhow!(TookTooLong(limit)).context(does_not));
        }
        if !status.success() {
            let stderr = text_of(errors, u64::MAX)?;
            let says = to_text(&said, &stderr);
            bail!("{package} does not compile:\n{}", says.trim_end());
        }
        let programs = executables(said.as_bytes());
        let program = programs.into_iter().next_back();
        let program = program.with_context(|| {
            format!("Cargo has built no program of {package}")
        })?;
        let messages = said;
        Ok(Built { program, messages })
    }
}

/// What Cargo has made.
pub struct Built {
    /// Where the program is.
    pub program: PathBuf,
    /// What Cargo has said, in JSON.
    pub messages: String,
}

impl Built {
    /// What the compiler warns of. As long as something is missing much is
    /// unused, and that says nothing.
    #[must_use]
    pub fn warnings(&self, is_complete: bool) -> Vec<String> {
        const UNUSED: [&str; 6] = [
            "unused_imports",
            "unused_variables",
            "unused_mut",
            "unused_assignments",
            "dead_code",
            "unreachable_code",
        ];
        let mut warnings = Vec::new();
        for message in compiler_messages(&self.messages, "warning") {
            // Without a code it only counts the others.
            let Some(code) = message["code"]["code"].as_str() else {
                continue;
            };
            let rendered = message["rendered"].as_str().unwrap_or_default();
            let text = rendered.trim_end().to_owned();
            if (is_complete || !UNUSED.contains(&code))
                && !warnings.contains(&text)
            {
                warnings.push(text);
            }
        }
        warnings
    }
}

/// What the compiler says, in full.
pub fn rendered(messages: &str, stderr: &str) -> String {
    let mut text = String::new();
    for message in compiler_messages(messages, "error") {
        text += message["rendered"].as_str().unwrap_or_default();
    }
    text + stderr
}

/// The errors, or the warnings, among Cargo's messages.
pub fn compiler_messages<'a>(
    messages: &'a str,
    level: &'a str,
) -> impl Iterator<Item = Value> + 'a {
    let messages = messages.lines().filter_map(|line| {
        let mut message: Value = serde_json::from_str(line).ok()?;
        Some(message["message"].take())
    });
    messages.filter(move |message| message["level"] == level)
}

/// A file without a name, for what a program says. See memfd_create(2).
pub(crate) fn memory_file() -> anyhow::Result<File> {
    let file = memfd_create(c"said", MFdFlags::MFD_CLOEXEC)
        .context("memfd_create(\"said\", MFD_CLOEXEC)")?;
    Ok(file.into())
}

/// What is in a file that others have written to their end, up to `limit` bytes.
pub(crate) fn text_of(mut file: File, limit: u64) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Shows at a terminal that Cargo is at work, when that takes long: a dot for
/// each library, as the first time there are many.
struct Progress<'a> {
    package: &'a str,
    start: Instant,
    shown: bool,
}

impl Progress<'_> {
    fn of(package: &str) -> Progress<'_> {
        Progress {
            package,
            start: Instant::now(),
            shown: false,
        }
    }

    fn show(&mut self) {
        let long = self.start.elapsed() > Duration::from_secs(1);
        if !long || !io::stderr().is_terminal() {
            return;
        }
        if !self.shown {
            eprint!("Cargo compiles {} and its libraries ", self.package);
            self.shown = true;
        }
        eprint!(".");
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.shown {
            eprintln!();
        }
    }
}

/// The programs that Cargo says it has built, with `--message-format json`.
pub fn executables(messages: &[u8]) -> Vec<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    let paths = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    paths.collect()
}

/// Cargo, without what a surrounding `cargo run` has set.
pub fn cargo(directory: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(directory);
    without_surrounding(&mut cargo);
    cargo
}

/// Takes from Cargo what a surrounding `cargo run` has set.
pub fn without_surrounding(cargo: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("CARGO_MANIFEST_DIR")
}

/// Where the programs of the workspace at `directory` are built.
pub fn target_of(directory: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => directory.join(target),
        None => directory.join("target"),
    }
}
