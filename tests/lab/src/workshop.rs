//! A copy of the workspace, to be edited and built.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, IsTerminal},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use nix::sys::resource::{Resource, setrlimit};
use serde_json::Value;

use crate::{
    confine::{self, Readable},
    sandbox,
};

/// The packages of the steps, in order.
pub(crate) const STEPS: [&str; 6] = [
    "step01-uts",
    "step02-pid",
    "step03-mount",
    "step04-cgroups",
    "step05-overlay",
    "step06-full",
];

/// The top of the checkout that this program was built in.
pub(crate) fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// A copy of `common` and the steps. There is one for all purposes, and one user
/// of it at a time: Cargo takes two workspaces that look alike for the same, and
/// goes by the times of their files.
pub(crate) struct Workshop {
    pub(crate) directory: PathBuf,
    target: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Workshop {
    /// Makes the copy, or brings it up to date; waits until nobody uses it.
    pub(crate) fn open() -> anyhow::Result<Workshop> {
        let place = target_of(checkout()).join("lab");
        fs::create_dir_all(&place)
            .with_context(|| format!("mkdir({place:?})"))?;
        let lock = File::create(place.join("lock"))?;
        lock.lock().context("flock(lock)")?;
        let workshop = Workshop {
            directory: place.join("workshop"),
            target: place.join("target"),
            _lock: lock,
        };
        let mut packages = vec!["common"];
        packages.extend(STEPS);
        copy_packages(checkout(), &workshop.directory, &packages)?;
        // All crates are there, so that what is confined needs no network.
        trim_lock(&workshop.directory)?;
        Ok(workshop)
    }

    /// The text of a file, as it is in the source.
    pub(crate) fn original(&self, file: &str) -> anyhow::Result<String> {
        read(&checkout().join(file))
    }

    /// Gives a file of the copy another text.
    pub(crate) fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        write_if_other(&self.directory.join(file), text.as_bytes())
    }

    /// Builds a program of the copy.
    ///
    /// # Errors
    /// What the compiler says.
    pub(crate) fn build(&self, package: &str) -> anyhow::Result<PathBuf> {
        build(&self.directory, package, &self.target)
    }

    /// Builds a program whose sources are a student's: nothing gets into it, or
    /// into what the compiler says, but what belongs to this step and to those
    /// below it.
    ///
    /// # Errors
    /// What the compiler says; it has read something else.
    pub(crate) fn build_students(
        &self,
        package: &str,
    ) -> anyhow::Result<PathBuf> {
        let last = STEPS.iter().position(|step| *step == package);
        let last = last.with_context(|| format!("{package} is no step"))?;
        let mut own = vec!["common"];
        own.extend(&STEPS[..=last]);
        // A version before this one may have had the solution in it.
        let clean = cargo(&self.directory)
            .args(["clean", "--quiet", "--locked", "--offline"])
            .args(["--package", package])
            .env("CARGO_TARGET_DIR", &self.target)
            .output()
            .context("running Cargo")?;
        let says = String::from_utf8_lossy(&clean.stderr);
        ensure!(clean.status.success(), "cargo clean: {says}");
        let order = Order {
            directory: &self.directory,
            package,
            target: &self.target,
            limit: LIMIT,
        };
        order.build_from(&own, order.readable(&own)?)
    }
}

/// How long one package may take to compile: the slowest takes seconds, but
/// what the compiler computes for a constant may have no end.
const LIMIT: Duration = Duration::from_secs(120);

/// How many bytes of memory of its own a compiler may have. The greediest needs
/// a quarter of that.
const MEMORY: u64 = 2 << 30;

/// A package has taken too long to compile.
#[derive(Debug)]
pub(crate) struct TookTooLong(Duration);

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

/// Builds the program of `package` in the workspace at `directory`, and returns
/// its path.
///
/// # Errors
/// What the compiler says; [`TookTooLong`].
pub(crate) fn build(
    directory: &Path,
    package: &str,
    target: &Path,
) -> anyhow::Result<PathBuf> {
    build_within(LIMIT, directory, package, target)
}

fn build_within(
    limit: Duration,
    directory: &Path,
    package: &str,
    target: &Path,
) -> anyhow::Result<PathBuf> {
    let order = Order {
        directory,
        package,
        target,
        limit,
    };
    order.build(order.cargo(), "json-render-diagnostics", said_by_cargo)
}

/// What Cargo has said, in JSON and in plain words.
type ToText = fn(&str, &str) -> String;

fn said_by_cargo(_: &str, stderr: &str) -> String {
    stderr.to_owned()
}

/// What the compiler says, in full.
fn rendered(messages: &str, stderr: &str) -> String {
    let mut text = String::new();
    for message in compiler_messages(messages) {
        text += message["rendered"].as_str().unwrap_or_default();
    }
    text + stderr
}

/// Where the compiler has found errors, and their codes. Its words may have
/// anything in them that it could read.
fn places(messages: &str, _: &str) -> String {
    let mut text = String::new();
    for message in compiler_messages(messages) {
        let code = message["code"]["code"].as_str().unwrap_or("error");
        let spans = message["spans"].as_array().into_iter().flatten();
        for span in spans.filter(|it| it["is_primary"] == true) {
            let line = &span["line_start"];
            let file = span["file_name"].as_str().unwrap_or_default();
            text += &format!("{file}:{line}: {code}\n");
        }
    }
    text + "`cargo lab check` shows what the compiler says"
}

/// The errors among Cargo's messages.
fn compiler_messages(messages: &str) -> impl Iterator<Item = Value> {
    let messages = messages.lines().filter_map(|line| {
        let mut message: Value = serde_json::from_str(line).ok()?;
        Some(message["message"].take())
    });
    messages.filter(|message| message["level"] == "error")
}

/// Something to be built.
struct Order<'a> {
    directory: &'a Path,
    package: &'a str,
    target: &'a Path,
    limit: Duration,
}

impl Order<'_> {
    fn cargo(&self) -> Command {
        let mut command = cargo(self.directory);
        let limit_memory =
            || Ok(setrlimit(Resource::RLIMIT_DATA, MEMORY, MEMORY)?);
        // SAFETY: setrlimit(2) is async-signal-safe, and nothing is allocated.
        unsafe { command.pre_exec(limit_memory) };
        command
    }

    /// What may be read to build from the directories `own` of the workspace;
    /// `None` where the kernel can't tell.
    fn readable(&self, own: &[&str]) -> anyhow::Result<Option<Readable>> {
        let top = self.directory;
        let mut readable = confine::toolchain(top)?;
        // A rule is about what is there.
        fs::create_dir_all(self.target)
            .with_context(|| format!("mkdir({:?})", self.target))?;
        readable.push(self.target.to_owned());
        readable.push(top.join("Cargo.toml"));
        readable.push(top.join("Cargo.lock"));
        for package in STEPS {
            readable.push(top.join(package).join("Cargo.toml"));
        }
        readable.extend(own.iter().map(|package| top.join(package)));
        Readable::only(&readable)
    }

    /// Builds from what the directories `own` have in them, and nothing else.
    fn build_from(
        &self,
        own: &[&str],
        readable: Option<Readable>,
    ) -> anyhow::Result<PathBuf> {
        let top = self.directory;
        // The linker reads again what it has written there.
        let temporary = self.target.join("tmp");
        fs::create_dir_all(&temporary)
            .with_context(|| format!("mkdir({temporary:?})"))?;
        let mut command = self.cargo();
        command.arg("--offline").env_clear();
        for (name, value) in std::env::vars_os() {
            let known = name.to_str().is_some_and(confine::is_for_compilers);
            if known {
                command.env(name, value);
            }
        }
        without_surrounding(&mut command).env("TMPDIR", temporary);
        let to_text = match readable {
            Some(_) => rendered,
            None => places as ToText,
        };
        if let Some(readable) = readable {
            let confine = move || readable.confine();
            // SAFETY: two calls of the kernel, and nothing is allocated.
            unsafe { command.pre_exec(confine) };
        }
        let program = self.build(command, "json", to_text)?;

        // The kernel may have no Landlock; and what is in the program shall be
        // the student's even where all may be read, as in `/usr`.
        let own: Vec<PathBuf> = own
            .iter()
            .map(|package| top.join(package).canonicalize())
            .collect::<io::Result<_>>()?;
        for file in sources_of(&program)? {
            let real = top.join(&file).canonicalize();
            let known = real.is_ok_and(|real| {
                own.iter().any(|package| real.starts_with(package))
            });
            ensure!(
                known,
                "{} reads a file that is not its own when it is compiled: \
                 {file:?}",
                self.package
            );
        }
        Ok(program)
    }

    fn build(
        &self,
        mut command: Command,
        format: &str,
        to_text: ToText,
    ) -> anyhow::Result<PathBuf> {
        let (package, limit) = (self.package, self.limit);
        let errors = tempfile::NamedTempFile::new()?;
        let mut cargo = command
            .args(["build", "--quiet", "--locked"])
            .args(["--package", package, "--bin", package])
            .args(["--message-format", format])
            .env("CARGO_TARGET_DIR", self.target)
            .stdout(Stdio::piped())
            .stderr(errors.reopen()?)
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
            sandbox::kill_family(cargo.id() as i32);
        }
        let status = cargo.wait().context("wait4()")?;
        // No writer is left, so it comes to its end.
        let _ = reader.join();
        if end == RecvTimeoutError::Timeout {
            let does_not = format!("{package} does not compile");
            return Err(anyhow!(TookTooLong(limit)).context(does_not));
        }
        if !status.success() {
            let stderr = fs::read(errors.path())?;
            let says = to_text(&said, &String::from_utf8_lossy(&stderr));
            bail!("{package} does not compile:\n{}", says.trim_end());
        }
        let programs = executables(said.as_bytes());
        let program = programs.into_iter().next_back();
        program
            .with_context(|| format!("Cargo has built no program of {package}"))
    }
}

/// The files of the workspace, and others, that a program was compiled from: all
/// that its compiler has opened as a source, or included. Cargo writes them
/// beside the program, as make(1) reads them.
fn sources_of(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let text = read(&program.with_extension("d"))?;
    let (_, list) = text.split_once(": ").context("no `:` in it")?;
    // A blank in a name has a backslash before it.
    let list = list.trim_end().replace("\\ ", "\0");
    let files = list.split(' ').map(|file| file.replace('\0', " ").into());
    Ok(files.collect())
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
pub(crate) fn executables(messages: &[u8]) -> Vec<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    let paths = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    paths.collect()
}

/// Cargo, without what a surrounding `cargo run` has set.
pub(crate) fn cargo(directory: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(directory);
    without_surrounding(&mut cargo);
    cargo
}

fn without_surrounding(cargo: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("CARGO_MANIFEST_DIR")
}

/// Where the programs of the workspace at `directory` are built.
pub(crate) fn target_of(directory: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => directory.join(target),
        None => directory.join("target"),
    }
}

/// Copies a workspace, but only these packages of it.
pub(crate) fn copy_packages(
    from: &Path,
    to: &Path,
    packages: &[&str],
) -> anyhow::Result<()> {
    for file in [".cargo/config.toml", "clippy.toml"] {
        let bytes = fs::read(from.join(file))
            .with_context(|| format!("reading {file} of the workspace"))?;
        write_if_other(&to.join(file), &bytes)?;
    }
    let manifest = manifest(&read(&from.join("Cargo.toml"))?, packages)?;
    write_if_other(&to.join("Cargo.toml"), manifest.as_bytes())?;
    for package in packages {
        let manifest = format!("{package}/Cargo.toml");
        write_if_other(&to.join(&manifest), &fs::read(from.join(&manifest))?)?;
        mirror(
            &from.join(package).join("src"),
            &to.join(package).join("src"),
        )?;
    }
    let lock = fs::read(from.join("Cargo.lock"))?;
    let untrimmed = to.join("target/Cargo.lock");
    if fs::read(&untrimmed).is_ok_and(|old| old == lock) {
        return Ok(());
    }
    write_if_other(&to.join("Cargo.lock"), &lock)?;
    trim_lock(to)?;
    write_if_other(&untrimmed, &lock)
}

/// Cargo.lock names all packages of the whole workspace: Cargo itself knows
/// which of them the copy does without.
fn trim_lock(directory: &Path) -> anyhow::Result<()> {
    let offline = cargo(directory)
        .args(["metadata", "--offline", "--format-version", "1"])
        .output()
        .context("running Cargo")?;
    if offline.status.success() {
        return Ok(());
    }
    // What is not in the cache yet must be fetched.
    let fetch = cargo(directory).arg("fetch").output();
    let fetch = fetch.context("running Cargo")?;
    let says = String::from_utf8_lossy(&fetch.stderr);
    ensure!(fetch.status.success(), "cargo fetch: {says}");
    Ok(())
}

/// The workspace's manifest with these members. What a hole leaves unused is no
/// reason for a warning.
fn manifest(text: &str, packages: &[&str]) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    for key in ["default-members = [", "members = ["] {
        if let Some(start) = text.find(&format!("\n{key}")) {
            let length = text[start..].find("]\n").context("no ] behind it")?;
            let members: String = packages
                .iter()
                .map(|name| format!("    {name:?},\n"))
                .collect();
            let list = format!("\n{key}\n{members}]\n");
            text.replace_range(start..start + length + 2, &list);
        }
    }
    let lints = "[workspace.lints.rust]\n";
    let unused = "unused = { level = \"allow\", priority = -1 }\n";
    Ok(text.replace(lints, &format!("{lints}{unused}")))
}

/// Makes the directory `to` the same as `from`, and leaves alone what is: Cargo
/// goes by the times of the files.
pub(crate) fn mirror(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("mkdir({to:?})"))?;
    let names = |directory: &Path| -> anyhow::Result<Vec<_>> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("opendir({directory:?})"))?;
        let names = entries.map(|entry| Ok(entry?.file_name()));
        names.collect()
    };
    let wanted = names(from)?;
    for name in names(to)? {
        let path = to.join(&name);
        if wanted.contains(&name) {
            continue;
        }
        match path.is_dir() {
            true => fs::remove_dir_all(&path)?,
            false => fs::remove_file(&path)?,
        }
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        // Not through a link: it may lead anywhere.
        let kind = from.symlink_metadata()?.file_type();
        if kind.is_dir() {
            mirror(&from, &to)?;
        } else {
            ensure!(kind.is_file(), "{from:?} is no regular file");
            write_if_other(&to, &fs::read(&from)?)?;
        }
    }
    Ok(())
}

fn write_if_other(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("mkdir({parent:?})"))?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {path:?}"))
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes that have `text` among their arguments.
    fn with_argument(text: &str) -> usize {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let arguments = entries.map(|it| fs::read(it.path().join("cmdline")));
        arguments
            .flatten()
            .filter(|it| String::from_utf8_lossy(it).contains(text))
            .count()
    }

    /// A package without dependencies.
    struct Package(tempfile::TempDir);

    impl Package {
        fn new() -> Package {
            let package = Package(tempfile::tempdir().unwrap());
            let name = "name = \"student\"\nversion = \"0.0.0\"\n";
            package.write(
                "Cargo.toml",
                &format!("[package]\n{name}edition = \"2024\"\n[workspace]\n"),
            );
            package.write(
                "Cargo.lock",
                &format!("version = 4\n[[package]]\n{name}"),
            );
            package
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            write_if_other(&path, text.as_bytes()).unwrap();
        }

        fn target(&self) -> PathBuf {
            self.0.path().join("target")
        }

        fn build(&self, main: &str, seconds: u64) -> anyhow::Result<PathBuf> {
            self.write("src/main.rs", main);
            let limit = Duration::from_secs(seconds);
            build_within(limit, self.0.path(), "student", &self.target())
        }

        /// As a submission is built: with Landlock, if there is one, or as if
        /// there were none.
        fn build_students(
            &self,
            main: &str,
            confined: bool,
        ) -> anyhow::Result<PathBuf> {
            self.write("src/main.rs", main);
            let order = Order {
                directory: self.0.path(),
                package: "student",
                target: &self.target(),
                limit: Duration::from_secs(60),
            };
            let readable = match confined {
                true => order.readable(&["src"])?,
                false => None,
            };
            order.build_from(&["src"], readable)
        }
    }

    #[test]
    fn a_constant_without_an_end_is_ended() {
        let package = Package::new();
        let endless = "#![allow(long_running_const_eval)]\n\
                       const ENDLESS: () = loop {};\n\
                       fn main() { ENDLESS }\n";
        let error = package.build(endless, 5).expect_err("it has no end");
        assert!(error.is::<TookTooLong>(), "{error:#}");
        // The compiler is no child of ours, so we can't wait for its end. It must
        // come at once: soon the compiler would say something, and die of that.
        let target_name = package.target().to_string_lossy().into_owned();
        let mut patience = 50;
        while patience > 0 && with_argument(&target_name) > 0 {
            thread::sleep(Duration::from_millis(10));
            patience -= 1;
        }
        assert_eq!(with_argument(&target_name), 0);
        package.build("fn main() {}\n", 60).unwrap();
    }

    #[test]
    fn a_constant_that_is_too_large_is_refused() {
        let package = Package::new();
        let filled = |mib: usize| {
            format!(
                "static FILLED: [u64; {mib} << 17] = [!1; {mib} << 17];\n\
                 fn main() {{ std::hint::black_box(&FILLED); }}\n"
            )
        };
        package.build(&filled(1), 60).unwrap();
        let error = package.build(&filled(4096), 60).expect_err("too large");
        assert!(!error.is::<TookTooLong>(), "{error:#}");
    }

    /// Programs that have a look at the file SECRET, each in another way.
    const CURIOUS: [&str; 10] = [
        r#"macro_rules! m { ($h:tt $p:ident) => { $h [$p = "SECRET"] mod x; } }
           m!(# path); fn main() { x::secret(); }"#,
        r#"#[cfg_attr(all(), path = "SECRET")] mod x; fn main() { x::secret() }"#,
        r#"mod link; fn main() { link::secret(); }"#,
        r#"include!("SECRET"); fn main() { secret(); }"#,
        r#"macro_rules! m { ($a:ident) => { $a!("SECRET"); } }
           m!(include); fn main() { secret(); }"#,
        r#"fn main() { print!("{}", include_str!("SECRET")); }"#,
        r#"use std::include_bytes as other;
           fn main() { print!("{:?}", other!("SECRET")); }"#,
        r#"fn main() {
               let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"),
                   "/src/link.rs"));
               print!("{text}");
           }"#,
        r#"compile_error!(include_str!("SECRET")); fn main() {}"#,
        r#"#[path = "SECRET"] mod x; fn main() { x::not_there(); }"#,
    ];

    #[test]
    fn a_students_program_sees_no_file_that_is_not_its_own() {
        let place = tempfile::tempdir().unwrap();
        let secret = place.path().join("secret.rs");
        // Without its quotes it is an error, which shows the line.
        for text in ["pub fn secret() {} // 4711", "4711"] {
            fs::write(&secret, text).unwrap();
            for (program, confined) in
                CURIOUS.iter().flat_map(|it| [(it, true), (it, false)])
            {
                let package = Package::new();
                package.write("src/main.rs", "");
                let link = package.0.path().join("src/link.rs");
                std::os::unix::fs::symlink(&secret, link).unwrap();
                let program =
                    program.replace("SECRET", &secret.to_string_lossy());
                let built = package.build_students(&program, confined);
                let error = built.expect_err(&program);
                let says = format!("{error:#}");
                assert!(!says.contains("4711"), "{program}: {says}");
            }
        }
    }

    /// What Cargo does not list: the words for it are refused, and Landlock
    /// refuses the file.
    #[test]
    fn an_assembler_and_a_linker_see_no_other_file() {
        if Readable::only(&[]).unwrap().is_none() {
            eprintln!("skipped: this kernel has no Landlock");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let secret = place.path().join("libsecret.a");
        // An empty archive. See ar(5).
        fs::write(&secret, "!<arch>\n").unwrap();
        for program in [
            r#"core::arch::global_asm!(".incbin \"SECRET\""); fn main() {}"#,
            // From where the linker looks for libraries up to the root.
            r#"#[link(name = "../../../../../../../../../../../../SECRET",
                   kind = "static", modifiers = "+verbatim")]
               unsafe extern "C" {} fn main() {}"#,
        ] {
            let program = program.replace("SECRET", &secret.to_string_lossy());
            let package = Package::new();
            package.build(&program, 60).expect(&program);
            fs::remove_dir_all(package.target()).unwrap();
            let built = package.build_students(&program, true);
            built.expect_err(&program);
        }
    }

    #[test]
    fn a_students_program_is_told_its_own_errors() {
        let package = Package::new();
        package.write("src/other.rs", "pub fn hello() {}");
        for confined in [true, false] {
            let program = "mod other; fn main() { other::hello(); }";
            package.build_students(program, confined).unwrap();
            let wrong = "\n\nfn main() { other::hello(); }";
            let error = package.build_students(wrong, confined);
            let error = format!("{:#}", error.expect_err("no such module"));
            assert!(error.contains("E0433"), "{error}");
            assert!(error.contains(":3"), "{error}");
        }
    }
}
