//! The rows: who runs the suite, and where.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs::{self, File},
    os::unix::fs::chown,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, Error, bail, ensure};
use harness::{needs, programs};

use crate::{
    kit::Kit,
    report::{self, Outcome},
};

/// Where and as whom the suite is run.
#[derive(PartialEq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    who: Who,
    /// The options of `tests/vm/run`; without them it is this machine.
    pub(crate) vm: Option<&'static [&'static str]>,
    /// The only tests that are run there.
    pub(crate) only: Option<&'static str>,
}

/// The room of the tests that need a Debian, which takes a gigabyte and the
/// programs of no other room: see tests/debian.
const REAL_PROGRAMS: &str = "real_programs::";

#[derive(PartialEq)]
enum Who {
    Root,
    /// Root, with `/` as a shared mount: systemd does that, not every machine.
    RootWithSharedMounts,
    PlainUser,
    /// A plain user in a cgroup that was delegated to it.
    Delegated,
}

/// All rows. The first three are this machine as it is, and in the next two it
/// is lent to Debian.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "root",
        about: "this machine, as root",
        who: Who::Root,
        vm: None,
        only: None,
    },
    Row {
        name: "user",
        about: "this machine, as a plain user",
        who: Who::PlainUser,
        vm: None,
        only: None,
    },
    Row {
        name: "shared",
        about: "this machine, as root, where / is a shared mount",
        who: Who::RootWithSharedMounts,
        vm: None,
        only: None,
    },
    Row {
        name: "debian",
        about: "this machine, as root: the programs that people run",
        who: Who::Root,
        vm: None,
        only: Some(REAL_PROGRAMS),
    },
    Row {
        name: "debian-user",
        about: "the same, as a plain user",
        who: Who::PlainUser,
        vm: None,
        only: Some(REAL_PROGRAMS),
    },
    Row {
        name: "6.12-root",
        about: "Linux 6.12, cgroup v2, as root, all files on ext4",
        who: Who::Root,
        vm: Some(&["--kernel", "6.12", "--ext4"]),
        only: None,
    },
    Row {
        name: "6.12-delegated",
        about: "Linux 6.12, cgroup v2, as a plain user with a cgroup",
        who: Who::Delegated,
        vm: Some(&["--kernel", "6.12"]),
        only: None,
    },
    Row {
        name: "6.12-user",
        about: "Linux 6.12, cgroup v2, as a plain user without a cgroup",
        who: Who::PlainUser,
        vm: Some(&["--kernel", "6.12"]),
        only: None,
    },
    Row {
        name: "6.1-root",
        about: "Linux 6.1, cgroup v2, as root, all files on ext4",
        who: Who::Root,
        vm: Some(&["--kernel", "6.1", "--ext4"]),
        only: None,
    },
    Row {
        name: "6.1-user",
        about: "Linux 6.1, cgroup v2, as a plain user",
        who: Who::PlainUser,
        vm: Some(&["--kernel", "6.1"]),
        only: None,
    },
    Row {
        name: "6.1-v1",
        about: "Linux 6.1, cgroup v1 alone, as root, all files on ext4",
        who: Who::Root,
        vm: Some(&["--kernel", "6.1", "--cgroups", "v1", "--ext4"]),
        only: None,
    },
];

impl Row {
    /// Whether root runs the suite, who can run more of it than a plain user.
    pub(crate) fn is_root(&self) -> bool {
        matches!(self.who, Who::Root | Who::RootWithSharedMounts)
    }

    /// Whether the row is there for this test.
    pub(crate) fn is_for(&self, test: &str) -> bool {
        self.only.is_none_or(|room| test.starts_with(room))
    }
}

/// How long a VM may take, in seconds: three times what the suite needs on a
/// processor of its own.
const LIMIT: &str = "1800";

/// Runs the suite on `row`, to its end.
pub(crate) fn run(
    row: &Row,
    kit: &Kit,
    user: Option<&str>,
    arguments: &[String],
) -> Outcome {
    let start = Instant::now();
    let command = match row.vm {
        None => on_this_machine(row, kit, user, arguments),
        Some(options) => in_a_vm(row, options, kit, arguments),
    };
    let mut command = match command {
        Ok(command) => command,
        Err(error) => return Outcome::LeftOut(format!("{error:#}")),
    };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Outcome::LeftOut(format!("{command:?}: {error}")),
    };
    let log = kit.logs.join(format!("{}.log", row.name));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    // The report does not depend on it.
    let _ = fs::write(&log, &text);
    Outcome::Ran(report::Run {
        status: output.status,
        results: report::parse(&text),
        time: start.elapsed(),
        output: text,
        log,
    })
}

fn on_this_machine(
    row: &Row,
    kit: &Kit,
    user: Option<&str>,
    arguments: &[String],
) -> anyhow::Result<Command> {
    let tmp = kit.path().join(row.name);
    fs::create_dir(&tmp)?;
    let mut line: Vec<String> = Vec::new();
    let mut home = env::var("HOME").unwrap_or_default();
    if row.who == Who::PlainUser && needs::is_root() {
        let name = user.context("as whom? see --user")?;
        let account = Account::find(name)?;
        chown(&tmp, Some(account.uid), Some(account.gid))?;
        line.push("setpriv".into());
        line.push(format!("--reuid={}", account.uid));
        line.push(format!("--regid={}", account.gid));
        line.push("--init-groups".into());
        home = account.home;
    } else if row.is_root() {
        ensure!(needs::is_root(), "this is not run by root");
    }
    if row.who == Who::RootWithSharedMounts {
        line.extend(
            ["unshare", "--mount", "--propagation=shared"].map(String::from),
        );
    }
    let mut suite = kit.command_line(&home, &tmp, user);
    let mut stdin = Stdio::null();
    if row.only == Some(REAL_PROGRAMS) {
        stdin = debian()?.into();
        suite.insert(2, "SUITE_TIME_FACTOR=3".into());
        // In front of the program, which has one argument so far.
        let with = kit.checkout().join("tests/debian/with");
        suite.insert(suite.len() - 2, with.display().to_string());
    }
    line.extend(suite);
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .args(arguments)
        .args(row.only.filter(|_| arguments.is_empty()))
        .stdin(stdin)
        .current_dir(kit.path());
    Ok(command)
}

/// The archive of a root file system of Debian, which is made if need be.
fn debian() -> anyhow::Result<File> {
    let script = programs::workspace().join("tests/debian/make");
    let output = Command::new(script).output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.lines().last().unwrap_or_default();
    ensure!(output.status.success(), "{message}");
    let archive = String::from_utf8(output.stdout)?;
    Ok(File::open(archive.trim())?)
}

/// A user of this machine.
struct Account {
    uid: u32,
    gid: u32,
    home: String,
}

impl Account {
    /// Asks getent(1): a static program has no name service.
    fn find(name: &str) -> anyhow::Result<Account> {
        let output = Command::new("getent").args(["passwd", name]).output()?;
        ensure!(output.status.success(), "there is no user {name:?}");
        let line = String::from_utf8(output.stdout)?;
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [_, _, uid, gid, _, home, _] = fields[..] else {
            bail!("what is {line:?}? see passwd(5)");
        };
        let account = Account {
            uid: uid.parse()?,
            gid: gid.parse()?,
            home: home.to_owned(),
        };
        ensure!(account.uid != 0, "{name} is no plain user");
        Ok(account)
    }
}

/// Makes the kernel `series` ready, once.
fn prepare(series: &'static str) -> anyhow::Result<()> {
    static DONE: Mutex<BTreeMap<&str, Result<(), String>>> =
        Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().expect("no thread panics with it");
    let prepare = || {
        let script = programs::workspace().join("tests/vm/prepare");
        let output = Command::new(script).arg(series).output();
        let output = output.map_err(|error| error.to_string())?;
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(()),
            false => Err(message.trim().replace('\n', "; ")),
        }
    };
    let result = done.entry(series).or_insert_with(prepare);
    result.clone().map_err(Error::msg)
}

/// One test at a time: there is one processor, and the probe has to measure.
fn in_a_vm(
    row: &Row,
    options: &[&'static str],
    kit: &Kit,
    arguments: &[String],
) -> anyhow::Result<Command> {
    prepare(options[1])?;
    let mut script = String::new();
    if row.who == Who::Delegated {
        script += "echo $$ >/sys/fs/cgroup/user/session/cgroup.procs && ";
    }
    script += "exec ";
    let mut home = "/root";
    if !row.is_root() {
        script += "setpriv --reuid=you --regid=you --clear-groups ";
        home = "/home/you";
    }
    let mut line = kit.command_line(home, Path::new("/tmp"), Some("you"));
    line.insert(2, "SUITE_TIME_FACTOR=5".into());
    line.insert(2, "SUITE_DISPOSABLE_MACHINE=1".into());
    // Of the book's sessions what a kernel has a say in: all the others are
    // executed on this machine, or the report says that they are not.
    line.insert(2, "SESSIONS_OF_KERNEL=1".into());
    line.push("--test-threads=1".into());
    for word in line.iter().chain(arguments) {
        write!(script, "'{}' ", word.replace('\'', r"'\''"))?;
    }
    let mut command = Command::new(programs::workspace().join("tests/vm/run"));
    command.args(options).args(["--limit", LIMIT]);
    // Not all of the kit: the rows of this machine have their own places in it,
    // and change them at the same time.
    for brought in [kit.programs(), kit.checkout()] {
        command.arg("--bring").arg(brought);
    }
    command.arg(script);
    Ok(command)
}
