//! A reader at a machine: a checkout, the programs that were built in it, and
//! shells in which to type.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    ops::Range,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use harness::{
    host::MARK,
    needs::{NEVER, is_root},
    programs::{self, workspace},
    pty::Session,
};
use tempfile::TempDir;

/// Who types.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum User {
    /// `host$`
    Plain,
    /// `host#`
    Root,
}

/// The name of the plain user, in what the book shows.
const YOU: &str = "you";

/// What the images of the steps are made of. Both are on readers' machines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Image {
    /// The machine's own tools, with their libraries.
    Tools,
    /// A static BusyBox, which the steps take where there is one.
    BusyBox,
}

impl Image {
    pub(crate) const ALL: [Image; 2] = [Image::Tools, Image::BusyBox];

    /// What the names of its trials begin with.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Image::Tools => "sessions",
            Image::BusyBox => "busybox",
        }
    }

    /// The attribute of a block that is for this image alone.
    fn attribute(self) -> &'static str {
        match self {
            Image::Tools => "tools",
            Image::BusyBox => "busybox",
        }
    }

    /// Skips the test where images can't be made of that.
    fn check(self) {
        let installed = ["/bin/busybox", "/usr/bin/busybox"];
        let is_installed = installed.iter().any(|it| Path::new(it).exists());
        match self {
            Image::Tools if !is_root() && is_installed => {
                harness::skip("needs root, or a machine without BusyBox");
            }
            Image::BusyBox if static_busybox().is_none() => {
                harness::skip(
                    "needs SESSIONS_BUSYBOX, the path of a static one",
                );
            }
            _ => {}
        }
    }

    /// Whether a block that needs `what` is for the other image.
    pub(crate) fn is_not(self, what: &str) -> bool {
        Image::ALL
            .iter()
            .any(|it| *it != self && it.attribute() == what)
    }
}

/// A static BusyBox of whoever runs the tests: it need not be installed.
fn static_busybox() -> Option<PathBuf> {
    let beside = programs::directory().join("busybox");
    let given = env::var_os("SESSIONS_BUSYBOX").map(PathBuf::from);
    given.into_iter().chain([beside]).find(|it| it.is_file())
}

/// Copies of the built programs, which every user can reach.
pub(crate) struct Programs {
    directory: TempDir,
    copied: OnceLock<()>,
}

/// A stand-in for Cargo, first in PATH: what `cargo run` would build is built.
/// As the real one, it starts the program by its path below the checkout.
const CARGO: &str = r#"#!/bin/sh
case $1 in
    build) exit 0 ;;
    run) shift ;;
    *) echo "cargo: the sessions know only build and run" >&2; exit 101 ;;
esac
while [ $# -gt 0 ]; do
    case $1 in
        -q|--quiet) ;;
        -p|--example) shift; step=$1 ;;
        --) shift; break ;;
        *) echo "cargo: the sessions know only -p STEP [--example PART] -- ..." >&2; exit 101 ;;
    esac
    shift
done
exec "BUILT/$step" "$@"
"#;

impl Programs {
    pub(crate) fn new() -> Programs {
        Programs {
            directory: open_directory(),
            copied: OnceLock::new(),
        }
    }

    /// Where they are; they are copied when this is called first.
    fn path(&self) -> &Path {
        self.copied.get_or_init(|| {
            for step in harness::ALL.iter().chain(&harness::PARTS_OF_FULL) {
                let to = self.directory.path().join(step.name);
                fs::copy(programs::path(step.name), to).expect("it is built");
            }
            // What stands above the steps is built only by who asks for it.
            for wing in ["box", "step06-oci"] {
                let from = programs::directory().join(wing);
                if from.exists() {
                    let to = self.directory.path().join(wing);
                    fs::copy(from, to).expect("the disk is not full");
                }
            }
        });
        self.directory.path()
    }
}

/// A temporary directory that everybody may enter.
fn open_directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("book-").tempdir();
    let directory = directory.expect("a temporary directory");
    open_to_all(directory.path());
    directory
}

fn open_to_all(path: &Path) {
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).expect("it is ours");
}

/// Where Cargo puts what it builds, below the checkout.
fn built() -> String {
    let of_target = programs::directory().parent().and_then(Path::file_name);
    let triple = match env::var_os("STEPS_BIN_DIR") {
        None => of_target.map(|name| name.to_string_lossy().into_owned()),
        Some(_) => None,
    };
    let triple = triple
        .unwrap_or_else(|| format!("{}-unknown-linux-gnu", env::consts::ARCH));
    format!("target/{triple}/debug")
}

/// A reader who works through one chapter.
pub(crate) struct Reader {
    directory: TempDir,
    namespaces: Option<Keeper>,
    shells: BTreeMap<(User, usize), (Session, String)>,
    /// Who has typed last, in each terminal.
    last: BTreeMap<usize, User>,
    mark: String,
    image: Image,
    /// What is at the top of the checkout.
    sources: BTreeSet<OsString>,
}

/// Keeps namespaces open, in which root can do no harm.
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Reader {
    /// A reader with a fresh checkout, and images of this kind.
    pub(crate) fn new(programs: &Programs, image: Image) -> Reader {
        image.check();
        let directory = open_directory();
        let mark = format!("book-{}", directory.path().display());
        let mut reader = Reader {
            directory,
            namespaces: None,
            shells: BTreeMap::new(),
            last: BTreeMap::new(),
            mark,
            image,
            sources: BTreeSet::new(),
        };
        reader.prepare_files(programs);
        reader.prepare_image();
        reader.sources = names(&reader.checkout());
        if is_root() {
            reader.namespaces = Some(reader.keep_namespaces());
        }
        reader
    }

    fn home(&self, user: User) -> PathBuf {
        self.directory.path().join(match user {
            User::Plain => YOU,
            User::Root => "root",
        })
    }

    /// The reader's checkout: root works in it too.
    fn checkout(&self) -> PathBuf {
        self.home(User::Plain).join("container-in-six-steps")
    }

    fn prepare_files(&self, programs: &Programs) {
        let checkout = self.checkout();
        let built = checkout.join(built());
        let cargo = self.directory.path().join("bin/cargo");
        let above = |path: &Path| path.parent().map(Path::to_owned);
        let directories = [
            Some(self.home(User::Root)),
            Some(self.directory.path().join("cache")),
            above(&built),
            above(&cargo),
        ];
        for directory in directories.into_iter().flatten() {
            fs::create_dir_all(directory).expect("the disk is not full");
        }
        let is_source = |name: &str| {
            name == ".cargo" || !name.starts_with('.') && name != "target"
        };
        let entries = fs::read_dir(workspace()).expect("the checkout");
        let sources = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_source));
        done(
            Command::new("cp")
                // `run --explain` reads only what is not newer than itself.
                .args(["-r", "--preserve=timestamps"])
                .args(sources.map(|entry| entry.path()))
                .arg(&checkout),
        );
        symlink(programs.path(), &built).expect("it is new");
        let script = CARGO.replace(
            "BUILT",
            &checkout.join(self::built()).display().to_string(),
        );
        fs::write(&cargo, script).expect("the disk is not full");
        open_to_all(&cargo);
        if let Some(user) = sessions_user() {
            done(
                Command::new("chown")
                    .args(["-hR", &format!("{user}:")])
                    .arg(self.home(User::Plain)),
            );
        }
    }

    /// Where the steps find BusyBox, if they are to.
    fn prepare_image(&self) {
        let Some(busybox) = static_busybox() else {
            return;
        };
        if self.image == Image::BusyBox {
            let to = self.directory.path().join("bin/busybox");
            fs::copy(busybox, &to).expect("the disk is not full");
            open_to_all(&to);
        }
    }

    /// Namespaces in which a mistake of the book does not reach the host: `/`
    /// is a shared mount, as on a machine with systemd, but shared with nobody
    /// outside; the machine's name is `host`; root's images are of our own, and
    /// made of what we have decided: an installed BusyBox is hidden.
    fn keep_namespaces(&self) -> Keeper {
        let script = "mount --make-rshared / &&
            mount --bind \"$0\" /var/cache &&
            echo host >/proc/sys/kernel/hostname &&
            for name in busybox busybox.static; do
                file=$(command -v $name) && mount --bind /dev/null \"$file\"
            done
            echo ready && exec cat";
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--uts", "--propagation", "private"])
            .args(["sh", "-c", script])
            .arg(self.directory.path().join("cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map(Keeper)
            .expect("unshare(1) is there");
        let mut answer = String::new();
        let output = keeper.0.stdout.take().expect("it is a pipe");
        let _ = BufReader::new(output).read_line(&mut answer);
        if answer.trim() != "ready" {
            harness::skip("needs namespaces, which this machine refuses");
        }
        keeper
    }

    /// Why this user can't type here; `None` if they can.
    pub(crate) fn why_not(user: User) -> Option<&'static str> {
        match user {
            User::Root if !is_root() => Some("needs root"),
            User::Plain if is_root() && sessions_user().is_none() => {
                Some("needs a plain user, or SESSIONS_USER")
            }
            _ => None,
        }
    }

    /// Whether the machine has what a block needs, as `user` sees it. The error
    /// is the reason why not.
    pub(crate) fn has(&self, user: User, what: &str) -> Result<(), String> {
        if what == self.image.attribute() {
            return Ok(());
        }
        if self.image.is_not(what) {
            return Err(format!("{NEVER}it is for the other image"));
        }
        let (script, reason) = match what {
            "cgroup1" => (
                "grep -q ' - cgroup ' /proc/self/mountinfo".to_owned(),
                "cgroup v1",
            ),
            "cgroup2" => (
                "test -e /sys/fs/cgroup/cgroup.controllers".to_owned(),
                "cgroup v2 on /sys/fs/cgroup",
            ),
            "limits" => (
                "step04-cgroups run --memory 64m --cpus 1 --pids-limit 64 \
                 -- true"
                    .to_owned(),
                "a cgroup in which this user may set limits",
            ),
            "landlock" => (
                // Version 2 of the interface. It has this number everywhere.
                "perl -e 'exit(syscall(444, 0, 0, 1) < 2)'".to_owned(),
                "perl, and a kernel with Landlock",
            ),
            "bridge" => (
                "unshare --net ip link add switch type bridge".to_owned(),
                "ip, and a kernel with bridges",
            ),
            "systemd" => ("test -d /run/systemd/system".to_owned(), "systemd"),
            program => (format!("command -v {program}"), program),
        };
        let mut check = self.command(user, &["sh", "-c", &script]);
        check.stdout(Stdio::null()).stderr(Stdio::null());
        let found = check.status().is_ok_and(|status| status.success());
        found.then_some(()).ok_or(format!("needs {reason}"))
    }

    /// A command, as `user` would run it.
    fn command(&self, user: User, arguments: &[&str]) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(keeper) = &self.namespaces {
            let of =
                |kind| format!("--{kind}=/proc/{}/ns/{kind}", keeper.0.id());
            // The names of the options are not those of the files.
            let mount = of("mount").replace("ns/mount", "ns/mnt");
            words.extend(["nsenter".into(), mount, of("uts")]);
        }
        if let (User::Plain, Some(name)) = (user, sessions_user()) {
            let [uid, gid] = ["--reuid", "--regid"];
            let options = ["setpriv", uid, &name, gid, &name, "--init-groups"];
            words.extend(options.map(String::from));
        }
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        let bin = self.directory.path().join("bin");
        // As login(1) of Debian sets it: administrators' tools are root's.
        let system = match user {
            User::Plain => "/usr/local/bin:/usr/bin:/bin",
            User::Root => {
                "/usr/local/bin:/usr/bin:/bin:\
                 /usr/local/sbin:/usr/sbin:/sbin"
            }
        };
        let path = format!(
            "{}:{}:{system}",
            bin.display(),
            self.checkout().join(built()).display()
        );
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home(user))
            .env("TERM", "dumb")
            .env("LANG", "C.UTF-8")
            // The book has its own colours.
            .env("NO_COLOR", "1")
            .env(MARK, &self.mark);
        if !is_root() {
            // What talks to systemd needs it.
            let name = "XDG_RUNTIME_DIR";
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        command
    }

    /// The shell of `user` in a terminal; it is started if need be.
    fn shell(&mut self, user: User, terminal: usize) -> &mut (Session, String) {
        if !self.shells.contains_key(&(user, terminal)) {
            let prompt = match user {
                User::Plain => "host$",
                User::Root => "host#",
            };
            let start = self.directory.path().join("bashrc");
            // What is typed shall not come back.
            let script = "stty -echo; PS1=\"$PROMPT \" PS2='> '; \
                          cd \"$CHECKOUT\"; unset CHECKOUT PROMPT HISTFILE\n";
            fs::write(&start, script).expect("the disk is not full");
            let start = start.display().to_string();
            let mut bash = self.command(
                user,
                &[
                    "bash",
                    "--noprofile",
                    "--noediting",
                    "--rcfile",
                    &start,
                    "-i",
                ],
            );
            bash.env("PROMPT", prompt).env("CHECKOUT", self.checkout());
            let mut session = Session::of(bash);
            session.expect(&format!("{prompt} "));
            if let (User::Plain, Some(name)) = (user, sessions_user()) {
                // As login(1) does it.
                let mut chown = Command::new("chown");
                let status = chown.args([&name, session.terminal()]).status();
                assert!(status.is_ok_and(|it| it.success()), "chown {name}");
            }
            let shell = (session, prompt.to_owned());
            self.shells.insert((user, terminal), shell);
        }
        self.last.insert(terminal, user);
        self.shells
            .get_mut(&(user, terminal))
            .expect("it is started")
    }

    /// Who a prompt belongs to: in a container, who has started it.
    pub(crate) fn user(&self, prompt: &str, terminal: usize) -> Option<User> {
        match prompt {
            "host$" => Some(User::Plain),
            "host#" => Some(User::Root),
            _ => self.last.get(&terminal).copied(),
        }
    }

    /// Types `command` and returns the lines that come back. `keys` are pressed
    /// when as many lines as stand with them have come.
    pub(crate) fn type_in(
        &mut self,
        terminal: usize,
        prompt: &str,
        command: &[String],
        keys: &[(usize, char)],
    ) -> Vec<String> {
        let user = self.user(prompt, terminal).expect("the caller knows");
        let redactions = self.redactions();
        let (session, at) = self.shell(user, terminal);
        let is_host = |prompt: &str| ["host$", "host#"].contains(&prompt);
        let fits = match prompt {
            "box#" => !is_host(at),
            _ => prompt == at,
        };
        assert!(fits, "the book is at {prompt}, and the shell at {at}");

        session.type_line(&command.join("\n"));
        let mut before = String::new();
        for (lines, key) in keys {
            for _ in 0..*lines {
                let line = session.expect_one("line", |unread| {
                    unread.find('\n').map(|at| 0..at + 1)
                });
                before += &line.1;
            }
            // The program must have got so far as to wait for a key.
            std::thread::sleep(std::time::Duration::from_millis(500));
            let code = *key as u8 - b'@';
            session.press(&char::from(code).to_string());
            // As the terminal shows it, if it shows what is typed.
            if *key != 'D' {
                before += &format!("^{key}");
            }
        }
        let (text, prompt) = session.expect_one("prompt", last_prompt);
        *at = clean(&prompt).trim().to_owned();

        let text = clean(&(before + &text));
        let mut text = text.as_str();
        // Some shells have an editor that shows what is typed.
        if let Some(rest) = text.strip_prefix(&(command.join("\n") + "\n")) {
            text = rest;
        }
        for _ in &command[1..] {
            text = text.strip_prefix("> ").unwrap_or(text);
        }
        let text = without_greeting(text);
        let redacted = |line: &str| {
            let mut line = line.trim_end().to_owned();
            for (from, to) in &redactions {
                line = replace_word(&line, from, to);
            }
            line
        };
        text.lines().map(redacted).collect()
    }

    /// What is another name on every machine, and what the book calls it.
    fn redactions(&self) -> Vec<(String, String)> {
        let path = |user| self.home(user).display().to_string();
        let mut redactions = vec![
            (path(User::Plain), format!("/home/{YOU}")),
            (path(User::Root), "/root".to_owned()),
        ];
        let name = sessions_user().or_else(|| env::var("USER").ok());
        redactions.extend(name.map(|name| (name, YOU.to_owned())));
        if !is_root() {
            redactions.push((harness::host::hostname(), "host".to_owned()));
        }
        redactions
    }

    /// Closes all terminals, and with them whatever runs there. If the whole
    /// chapter was typed, `is_whole`, no file is left in the workspace either.
    pub(crate) fn leave(mut self, is_whole: bool) {
        self.shells.clear();
        harness::host::assert_no_process(&self.mark);
        if is_whole {
            let now = names(&self.checkout());
            let left: Vec<_> = now.difference(&self.sources).collect();
            assert!(left.is_empty(), "files that are left: {left:?}");
        }
    }
}

/// Who types at `host$` when the tests run as root.
fn sessions_user() -> Option<String> {
    is_root().then(|| env::var("SESSIONS_USER").ok()).flatten()
}

/// What a shell of BusyBox's says first, as "Setting up" tells, is left out.
fn without_greeting(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let greeting = lines.windows(2).position(|lines| {
        lines[0].starts_with("BusyBox v")
            && lines[1].starts_with("Enter 'help' for a list")
    });
    let Some(at) = greeting else {
        return text.to_owned();
    };
    let is_empty = |line: &&&str| line.is_empty();
    let before = lines[..at].iter().rev().take_while(is_empty).count();
    let after = lines[at + 2..].iter().take_while(is_empty).count();
    [&lines[..at - before], &lines[at + 2 + after..]]
        .concat()
        .join("\n")
}

/// The names in a directory.
fn names(directory: &Path) -> BTreeSet<OsString> {
    let entries = fs::read_dir(directory).expect("it is a directory");
    entries.flatten().map(|entry| entry.file_name()).collect()
}

fn done(command: &mut Command) {
    let status = command.status();
    assert!(status.is_ok_and(|it| it.success()), "{command:?} failed");
}

/// Where the last line is, if it is a prompt.
fn last_prompt(unread: &str) -> Option<Range<usize>> {
    let mut start = unread.rfind('\n').map_or(0, |at| at + 1);
    // A command of several lines, and no output.
    while unread[start..].starts_with("> ") {
        start += 2;
    }
    let line = clean(&unread[start..]);
    let name = line.strip_suffix(' ')?.strip_suffix(['$', '#'])?;
    let belongs = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    name.chars().all(belongs).then_some(start..unread.len())
}

/// Text without what only a terminal understands.
fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' => {}
            '\x1b' => {
                // ESC [ … letter. See console_codes(4).
                let _ = characters.find(char::is_ascii_alphabetic);
            }
            character => cleaned.push(character),
        }
    }
    cleaned
}

/// Replaces `from` where it is not a part of a longer word.
fn replace_word(text: &str, from: &str, to: &str) -> String {
    let in_word = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, found) = rest.split_at(at);
        let after = &found[from.len()..];
        let alone = !before.ends_with(in_word) && !after.starts_with(in_word);
        replaced += before;
        replaced += if alone { to } else { from };
        rest = after;
    }
    replaced + rest
}
