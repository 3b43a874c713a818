//! A copy of the workspace, to be edited and built.
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use ground::STEPS;
use lab::{
    build::{
        Build, Built, LIMIT, ToText, cargo, checkout, compiler_messages,
        rendered, target_of, without_surrounding,
    },
    files::{mirror, read, write_if_other},
};

use crate::confine::{self, Readable};

/// A copy of `common` and the steps. There is one for all purposes, and one user
/// of it at a time: Cargo takes two workspaces that look alike for the same, and
/// goes by the times of their files.
pub struct Workshop {
    /// Where it is.
    pub directory: PathBuf,
    target: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Workshop {
    /// Makes the copy, or brings it up to date; waits until nobody uses it.
    pub fn open() -> anyhow::Result<Workshop> {
        Workshop::open_at(&target_of(checkout()).join("lab"), &[])
    }

    /// Another one, for work side by side.
    ///
    /// # Errors
    /// As [`Workshop::open`].
    pub fn open_number(number: usize) -> anyhow::Result<Workshop> {
        let lab = target_of(checkout()).join("lab");
        let place = lab.join(format!("beside-{number}"));
        let (from, to) = (lab.join("target"), place.join("target"));
        if from.is_dir() && !to.exists() {
            // The libraries need not be compiled once more.
            fs::create_dir_all(&place)?;
            let copied = std::process::Command::new("cp")
                .args(["-a", "--reflink=auto"])
                .args([&from, &to])
                .status()
                .context("running cp")?;
            ensure!(copied.success(), "cp has failed");
        }
        Workshop::open_at(&place, &[])
    }

    /// One that has what stands above step 6, too.
    ///
    /// # Errors
    /// As [`Workshop::open`].
    pub fn open_with(packages: &[&str]) -> anyhow::Result<Workshop> {
        let place = target_of(checkout()).join("lab/above");
        Workshop::open_at(&place, packages)
    }

    fn open_at(place: &Path, above: &[&str]) -> anyhow::Result<Workshop> {
        fs::create_dir_all(place)
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
        packages.extend(above);
        copy_packages(checkout(), &workshop.directory, &packages)?;
        // All crates are there, so that what is confined needs no network.
        trim_lock(&workshop.directory)?;
        Ok(workshop)
    }

    /// The text of a file, as it is in the source.
    pub fn original(&self, file: &str) -> anyhow::Result<String> {
        read(&checkout().join(file))
    }

    /// Gives a file of the copy another text.
    pub fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        write_if_other(&self.directory.join(file), text.as_bytes())
    }

    /// Builds a program of the copy.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn build(&self, package: &str) -> anyhow::Result<PathBuf> {
        Ok(self.order(package).run()?.program)
    }

    /// Builds a program whose sources are a student's: nothing gets into it, or
    /// into what the compiler says, but what belongs to this step and to those
    /// below it.
    ///
    /// # Errors
    /// What the compiler says; it has read something else.
    pub fn build_students(&self, package: &str) -> anyhow::Result<Built> {
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
        let order = self.order(package);
        build_from(&order, &own, readable(&order, &own)?)
    }

    fn order<'a>(&'a self, package: &'a str) -> Build<'a> {
        Build {
            directory: &self.directory,
            package,
            target: &self.target,
            limit: LIMIT,
        }
    }
}

/// Where the compiler has found errors, and their codes. Its words may have
/// anything in them that it could read.
fn places(messages: &str, _: &str) -> String {
    let mut text = String::new();
    for message in compiler_messages(messages, "error") {
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

/// What may be read to build from the directories `own` of the workspace;
/// `None` where the kernel can't tell.
fn readable(
    order: &Build<'_>,
    own: &[&str],
) -> anyhow::Result<Option<Readable>> {
    let top = order.directory;
    let mut readable = confine::toolchain(top)?;
    // A rule is about what is there.
    fs::create_dir_all(order.target)
        .with_context(|| format!("mkdir({:?})", order.target))?;
    readable.push(order.target.to_owned());
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
    order: &Build<'_>,
    own: &[&str],
    readable: Option<Readable>,
) -> anyhow::Result<Built> {
    let top = order.directory;
    // The linker reads again what it has written there.
    let temporary = order.target.join("tmp");
    fs::create_dir_all(&temporary)
        .with_context(|| format!("mkdir({temporary:?})"))?;
    let mut command = order.cargo();
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
    let built = order.run_by(command, to_text)?;

    // The kernel may have no Landlock; and what is in the program shall be
    // the student's even where all may be read, as in `/usr`.
    let own: Vec<PathBuf> = own
        .iter()
        .map(|package| top.join(package).canonicalize())
        .collect::<io::Result<_>>()?;
    for file in sources_of(&built.program)? {
        let real = top.join(&file).canonicalize();
        let known = real.is_ok_and(|real| {
            own.iter().any(|package| real.starts_with(package))
        });
        ensure!(
            known,
            "{} reads a file that is not its own when it is compiled: \
             {file:?}",
            order.package
        );
    }
    Ok(built)
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

/// Copies a workspace, but only these packages of it.
pub fn copy_packages(
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
        let path = format!("{package}/Cargo.toml");
        let manifest = without_tests(&read(&from.join(&path))?);
        write_if_other(&to.join(&path), manifest.as_bytes())?;
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

/// The manifest of a package without the tests that it names, and what they are
/// made with: they are not copied, and could give a solution away.
fn without_tests(manifest: &str) -> String {
    let manifest = manifest.replace("\nharness.workspace = true\n", "\n");
    let mut sections = manifest.split("\n[");
    let first = sections.next().unwrap_or_default().to_owned();
    let others = sections.filter(|section| !section.starts_with("[test]]"));
    others.fold(first, |all, section| all + "\n[" + section)
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
/// reason for a warning; an error that nobody looks at is.
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
    let unused = "unused = { level = \"allow\", priority = -1 }\n\
                  unused_must_use = \"warn\"\n";
    // Packages that are built in a way of their own are not here: Cargo warns of
    // each.
    if let Some(header) = text.find("\n[profile.dev.package]\n") {
        let start = text[..header].rfind("\n\n").unwrap_or(header);
        let length = text[header..].find("\n\n");
        let end = length.map_or(text.len(), |it| header + it);
        text.replace_range(start..end, "");
    }
    Ok(text.replace(lints, &format!("{lints}{unused}")))
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use lab::build::TookTooLong;

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

        fn order<'a>(&'a self, target: &'a Path, limit: Duration) -> Build<'a> {
            Build {
                directory: self.0.path(),
                package: "student",
                target,
                limit,
            }
        }

        fn build(&self, main: &str, seconds: u64) -> anyhow::Result<Built> {
            self.write("src/main.rs", main);
            let limit = Duration::from_secs(seconds);
            self.order(&self.target(), limit).run()
        }

        /// As a submission is built: with Landlock, if there is one, or as if
        /// there were none.
        fn build_students(
            &self,
            main: &str,
            confined: bool,
        ) -> anyhow::Result<Built> {
            self.write("src/main.rs", main);
            let target = self.target();
            let order = self.order(&target, Duration::from_secs(60));
            let readable = match confined {
                true => readable(&order, &["src"])?,
                false => None,
            };
            build_from(&order, &["src"], readable)
        }
    }

    #[test]
    fn a_constant_without_an_end_is_ended() {
        let package = Package::new();
        let endless = "#![allow(long_running_const_eval)]\n\
                       const ENDLESS: () = loop {};\n\
                       fn main() { ENDLESS }\n";
        let error = package.build(endless, 5).err().expect("it has no end");
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
        let error = package.build(&filled(4096), 60);
        let error = error.err().expect("too large");
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
                let error = built.err().expect(&program);
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
            assert!(built.is_err(), "{program}");
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
            let error = format!("{:#}", error.err().expect("no such module"));
            assert!(error.contains("E0433"), "{error}");
            assert!(error.contains(":3"), "{error}");
        }
    }
}
