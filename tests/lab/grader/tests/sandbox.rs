//! A program that is checked in a sandbox reaches nothing outside: not if root
//! has made it, and not if a plain user has, who its root then is.

use std::{
    env,
    fs::{self, File},
    io::{ErrorKind, Read},
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::{OpenOptionsExt, PermissionsExt, chown},
            net::{SocketAddr, UnixListener},
            process::parent_id,
        },
    },
    panic::catch_unwind,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use ground::cgroups;
use lab::{
    anywhere,
    bench::FILLED,
    check::Verdict,
    limits::memberships,
    plan::{Job, Plan},
    sandbox::{self, Finding, Finished},
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl, open},
    pty::openpty,
    sys::{
        prctl,
        signal::{SigHandler, Signal, kill, signal},
        stat::Mode,
        wait::{WaitStatus, waitpid},
    },
    unistd::{
        ForkResult, Gid, Pid, Uid, dup, fork, geteuid, mkfifo, setgroups,
        setresgid, setresuid, ttyname,
    },
};

#[path = "sandbox/hostile.rs"]
mod hostile;

use hostile::{
    SESSION, USER, add_key, answer, attack, change, forge, keyctl, speak,
};

/// Who the plain user is.
const NOBODY: u32 = 65534;

/// A claim, and what tries it: in a directory, as who has made that.
type Test = (&'static str, fn(&Path));

const TESTS: [Test; 20] = [
    ("what the grader owns is not changed", files_stay),
    ("it has a root of its own", root_is_its_own),
    ("no mount of it can be taken away", mounts_stay),
    (
        "it can't talk to servers of the machine",
        sockets_are_out_of_reach,
    ),
    (
        "it can't write to a FIFO of the grader",
        fifos_are_out_of_reach,
    ),
    (
        "it can't use the grader's terminal",
        terminals_are_out_of_reach,
    ),
    ("it inherits no descriptor", descriptors_are_closed),
    ("it ignores no signal", signals_are_heeded),
    ("its first process shows nothing", number_1_is_closed),
    ("it can't use keys of the grader", keys_are_out_of_reach),
    ("it ends no cgroup but its own", cgroups_are_out_of_reach),
    ("what it leaves behind is seen", leftovers_are_seen),
    ("it changes no device", devices_stay),
    ("nobody speaks in the place of a check", checks_are_closed),
    ("nobody speaks in the place of the command", agent_is_known),
    ("nobody answers in the place of the command", agent_answers),
    ("nobody changes the command", agent_is_changed),
    ("nobody speaks in the place of a machine", machine_is_known),
    ("what a killed check has left is swept", leftovers_are_swept),
    ("an interrupted check leaves no cgroup", interrupts_clean_up),
];

/// Not the standard harness: a sandbox starts this program once more.
fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["in-sandbox", program, _, ref what @ ..] => {
            let what: Vec<String> =
                what.iter().map(|it| (*it).to_owned()).collect();
            assert_nonce_is_gone();
            let code = sandbox::enter(Path::new(program), &what);
            // As in the program `lab`: nothing is left to be cleaned up.
            #[allow(clippy::exit)]
            std::process::exit(code)
        }
        ["run-plan", plan] => {
            let done = anywhere::run_plan(Path::new(plan)).map(|()| true);
            return lab::exit_code("sandbox", done);
        }
        ["attack", ref attacks @ ..] => {
            println!("{}", attack(attacks));
            return ExitCode::SUCCESS;
        }
        ["run", "--hostname", name, "--", command, "agent"] => {
            let command = Path::new(command);
            match env::var(FILLED).as_deref() {
                Ok(ANSWER) => answer(command, name),
                Ok(CHANGE) => change(command),
                _ => forge(command),
            }
            return ExitCode::SUCCESS;
        }
        ["agent"] => {
            let done = lab::Command::Agent.act();
            return lab::exit_code("sandbox", done);
        }
        ["forged"] => {
            speak();
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    if !geteuid().is_root() {
        println!("not tried: only root can be both");
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    for (claim, test) in TESTS {
        for user in [0, NOBODY] {
            let place = Place::new(user);
            let passed = passes(test, &place, user);
            failed |= !passed;
            let verdict = if passed { "ok" } else { "FAILED" };
            println!("{verdict}: {claim} (user {user})");
        }
    }
    ExitCode::from(u8::from(failed))
}

/// Runs a test in a child, as `user`.
#[allow(unsafe_code)]
fn passes(test: fn(&Path), place: &Place, user: u32) -> bool {
    // SAFETY: this program has one thread.
    match unsafe { fork() }.expect("we are few") {
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).expect("it is our child");
            matches!(status, WaitStatus::Exited(_, 0))
        }
        ForkResult::Child => {
            place.enter_cgroup();
            become_user(user);
            let done = catch_unwind(|| test(&place.directory));
            // The parent removes what there is.
            #[allow(clippy::exit)]
            std::process::exit(i32::from(done.is_err()))
        }
    }
}

fn become_user(user: u32) {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setgroups(&[]).expect("we are root");
    setresgid(gid, gid, gid).expect("we are root");
    setresuid(uid, uid, uid).expect("we are root");
    // Or our own files in /proc would still be root's.
    prctl::set_dumpable(true).expect("it is our own");
}

/// A directory of a user that no other may look into, and a cgroup that was
/// delegated to the user, with a leaf.
struct Place {
    directory: PathBuf,
    cgroup: Option<PathBuf>,
}

/// The leaf of the cgroup.
const SESSION_CGROUP: &str = "session";

impl Place {
    fn new(user: u32) -> Place {
        let name = format!("lab-sandbox-test.{}", std::process::id());
        // Not in the directory of temporary files: every sandbox has its own.
        let directory = Path::new("/run").join(&name);
        fs::create_dir(&directory).expect("the name is new");
        set_mode(&directory, 0o711);
        chown(&directory, Some(user), Some(user)).expect("we are root");
        let mounts = cgroups::mounts().expect("there is a /proc");
        let tree = mounts.iter().find(|it| it.version == 2);
        let cgroup = tree.map(|tree| tree.mount_point.join(&name));
        if let Some(cgroup) = &cgroup {
            let leaf = cgroup.join(SESSION_CGROUP);
            fs::create_dir(cgroup).expect("the name is new");
            fs::create_dir(&leaf).expect("the name is new");
            for directory in [cgroup, &leaf] {
                for name in [
                    "",
                    "cgroup.procs",
                    "cgroup.subtree_control",
                    "cgroup.kill",
                    "cgroup.freeze",
                ] {
                    let file = directory.join(name);
                    chown(file, Some(user), None).expect("we are root");
                }
            }
        }
        Place { directory, cgroup }
    }

    fn enter_cgroup(&self) {
        if let Some(cgroup) = &self.cgroup {
            let procs = cgroup.join(SESSION_CGROUP).join("cgroup.procs");
            fs::write(procs, "0").expect("we are root");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
        if let Some(Err(error)) =
            self.cgroup.as_deref().map(cgroups::remove_all)
        {
            println!("rmdir: {error}");
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, mode).expect("it is ours");
}

/// Runs a script with this program as the one to be checked.
fn run(script: &str, variables: &[(&str, &str)]) -> Finished {
    let program = env::current_exe().expect("there is a /proc");
    run_with(&program, script, variables)
}

fn run_with(
    program: &Path,
    script: &str,
    variables: &[(&str, &str)],
) -> Finished {
    let owned = |(name, value): &(&str, &str)| {
        ((*name).to_owned(), (*value).to_owned())
    };
    let variables: Vec<_> = variables.iter().map(owned).collect();
    sandbox::run(program, script, &variables)
        .expect("this machine has user namespaces")
}

/// What the program says of an attack from inside.
fn from_inside(arguments: &[&str]) -> String {
    let arguments = arguments.join("' '");
    let script = format!("\"$STEP\" attack '{arguments}'");
    run(&script, &[]).stdout.trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("we have named it")
}

/// That nothing has come to be read.
fn assert_silent(mut file: impl Read) {
    let mut bytes = [0; 64];
    match file.read(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("{other:?}, {:?}", bytes.utf8_chunks().next()),
    }
}

fn files_stay(place: &Path) {
    let result = place.join("result");
    fs::write(&result, "the result of another\n").expect("it is ours");
    let in_memory = format!("/dev/shm/lab-sandbox-test.{}", std::process::id());
    let script = r#"
        (echo mine >"$RESULT") 2>/dev/null && echo changed
        (echo mine >"$IN_MEMORY") 2>/dev/null
        echo mine >/tmp/mine && echo "writes in /tmp"
        echo mine >/dev/null && echo "writes to a device"
        for path in / /bin /usr/bin /usr/lib /etc /dev /sys /etc/passwd; do
            [ -w $path ] && echo "could write to $path"
        done
    "#;
    let variables = [("RESULT", text(&result)), ("IN_MEMORY", &in_memory)];
    let finished = run(script, &variables);
    assert_eq!(finished.stdout, "writes in /tmp\nwrites to a device\n");
    let now = fs::read_to_string(&result).expect("it is ours");
    assert_eq!(now, "the result of another\n");
    assert!(!Path::new(&in_memory).exists(), "{in_memory} is left");
}

fn root_is_its_own(place: &Path) {
    let script = r#"
        for name in $(ls -A /); do
            case $name in
            bin|sbin|lib*|usr|nix|gnu|etc|dev|proc|sys|tmp|var) ;;
            home|mnt|opt|root|run|srv) ls -A /$name ;;
            *) echo $name ;;
            esac
        done
        ls -A /var /dev/pts /dev/shm
        ls -d "$PLACE" /proc/1/cwd/ /proc/1/root/ 2>/dev/null
        find /dev /etc /var /tmp -type s -o -type p -o -type b
    "#;
    let finished = run(script, &[("PLACE", text(place))]);
    assert_eq!(
        finished.stdout,
        "/dev/pts:\nptmx\n\n/dev/shm:\n\n/var:\ncache\ntmp\n"
    );
}

fn mounts_stay(_: &Path) {
    let script = r#"
        while read -r _ _ _ _ point options _; do
            umount "$point" && echo "umount $point"
            umount -l "$point" && echo "umount -l $point"
            case $options in
            ro*) mount -o remount,bind,rw "$point" && echo "rw $point" ;;
            esac
            unshare --user --map-root-user --mount umount "$point" &&
                echo "umount $point in another namespace"
        done </proc/self/mountinfo 2>/dev/null
        echo end
    "#;
    assert_eq!(run(script, &[]).stdout, "end\n");
}

fn sockets_are_out_of_reach(place: &Path) {
    let path = place.join("socket");
    let name = text(&path);
    let by_path = UnixListener::bind(&path).expect("it is ours");
    set_mode(&path, 0o777);
    let address = SocketAddr::from_abstract_name(name).expect("it is short");
    let by_name = UnixListener::bind_addr(&address).expect("it is new");
    for (listener, attempt) in [
        (by_path, ["connect", name]),
        (by_name, ["connect-abstract", name]),
    ] {
        // Outside it can be done: that is what makes it worth a test.
        assert_eq!(attack(&attempt), "done");
        listener.accept().expect("that was us");
        assert_eq!(from_inside(&attempt), "refused");
        listener.set_nonblocking(true).expect("it is open");
        let next = listener.accept().expect_err("somebody has come");
        assert_eq!(next.kind(), ErrorKind::WouldBlock);
    }
    // This kind leads to the host of a virtual machine.
    let machines = libc::AF_VSOCK.to_string();
    assert_eq!(from_inside(&["socket", &machines]), "refused");
}

fn fifos_are_out_of_reach(place: &Path) {
    let path = place.join("fifo");
    mkfifo(&path, Mode::empty()).expect("it is ours");
    set_mode(&path, 0o666);
    let reader = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .expect("it is ours");
    run(r#"echo mine >"$FIFO""#, &[("FIFO", text(&path))]);
    assert_silent(reader);
}

fn terminals_are_out_of_reach(_: &Path) {
    let ends = openpty(None, None).expect("there are terminals");
    let name = ttyname(&ends.slave).expect("it is a terminal");
    fs::write(&name, "outside it can be done").expect("it is ours");
    let mut master = File::from(ends.master);
    let mut bytes = [0; 64];
    let count = master.read(&mut bytes).expect("that was us");
    assert_eq!(&bytes[..count], b"outside it can be done");

    let script = r#"
        for terminal in "$TERMINAL" /dev/pts/[0-9]* /dev/tty /dev/console; do
            (echo mine >"$terminal") 2>/dev/null && echo "$terminal"
        done
    "#;
    let finished = run(script, &[("TERMINAL", text(&name))]);
    assert_eq!(finished.stdout, "");
    set_nonblocking(&master);
    assert_silent(&master);
}

fn set_nonblocking(file: &File) {
    fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .expect("it is open");
}

fn descriptors_are_closed(place: &Path) {
    let path = place.join("open");
    fs::write(&path, "").expect("it is ours");
    // The standard library would have it closed at exec.
    let file = open(&path, OFlag::O_RDWR, Mode::empty()).expect("it is ours");
    let _copy = dup(&file).expect("it is open");
    let script = r#"
        for fd in 3 4 5 6 7 8 9; do
            (echo mine >&$fd) 2>/dev/null && echo "$fd is open"
        done
        for fd in /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; do
            readlink $fd
        done
    "#;
    let said = "/dev/null\n/memfd:said (deleted)\n/memfd:said (deleted)\n";
    assert_eq!(run(script, &[]).stdout, said);
    assert_eq!(fs::read(&path).expect("it is ours"), b"");
}

/// A shell that puts the grader in the background has it ignore these.
#[allow(unsafe_code)]
fn signals_are_heeded(_: &Path) {
    for ignored in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: no function of ours is called.
        unsafe { signal(ignored, SigHandler::SigIgn) }.expect("it may");
    }
    // Whatever kind of shell or program has started this test may ignore others.
    let said = run("grep SigIgn /proc/self/status", &[]).stdout;
    let set = said.trim().strip_prefix("SigIgn:\t").expect("a set");
    let set = u64::from_str_radix(set, 16).expect("in hexadecimal");
    assert_eq!(set & 0b111, 0, "{said}");
}

fn number_1_is_closed(place: &Path) {
    let program = place.join("program");
    fs::copy("/proc/self/exe", &program).expect("there is a /proc");
    let before = fs::read(&program).expect("it is ours");
    let script = r#"
        for link in /proc/1/fd/* /proc/1/exe /proc/1/cwd /proc/1/root; do
            (echo mine >>$link) 2>/dev/null && echo "writes to $link"
            chmod 777 $link 2>/dev/null && echo "changes $link"
            readlink $link
        done
        for file in environ maps mem; do
            head -c 1 /proc/1/$file >/dev/null 2>&1 && echo $file
        done
        nsenter --target 1 --mount --user true 2>/dev/null && echo enters
    "#;
    assert_eq!(run_with(&program, script, &[]).stdout, "");
    assert!(fs::read(&program).expect("it is ours") == before, "changed");
}

fn keys_are_out_of_reach(_: &Path) {
    keyctl(libc::KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0).expect("it is new");
    for keyring in [SESSION, USER] {
        let id = keyctl(libc::KEYCTL_GET_KEYRING_ID, keyring, 1, 0);
        let id = id.expect("we have one").to_string();
        let number = add_key("lab-sandbox-test", keyring).expect("it is ours");
        let key = number.to_string();
        let attempts: [&[&str]; 2] =
            [&["read-key", &key, &id], &["change-key", &key]];
        let inside = attempts.map(from_inside);
        let outside = attempts.map(attack);
        keyctl(libc::KEYCTL_INVALIDATE, number, 0, 0).expect("it is ours");
        assert_eq!(inside, ["refused", "refused"]);
        assert_eq!(outside, ["done", "done"]);
    }
}

fn cgroups_are_out_of_reach(_: &Path) {
    let own = fs::read_to_string("/proc/self/cgroup").expect("there is one");
    if !own.contains(SESSION_CGROUP) {
        println!("not tried: no tree of version 2");
        return;
    }
    let victim = Command::new("sleep").arg("60").spawn();
    let mut victim = Victim(victim.expect("there is sleep"));
    let script = r#"
        grep ^0:: /proc/self/cgroup
        find /sys -writable ! -path '*/lab.*'
        # A mount of the tree has our own cgroup at its top.
        mkdir all
        unshare --cgroup mount -t cgroup2 none all 2>/dev/null
        find all -name session
        # One of them is the script's.
        for file in $(find all /sys/fs/cgroup -name cgroup.kill); do
            (echo 1 >$file) 2>/dev/null
        done
    "#;
    let finished = run(script, &[]);
    let ended = victim.0.try_wait().expect("it is our child");
    assert!(ended.is_none(), "the sandbox has ended it");
    let found: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    if !geteuid().is_root() {
        let place = format!("/lab.{}.0/outside", std::process::id());
        assert!(found[0].ends_with(&place), "{found:?}");
    }
}

/// Ends with this value.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn leftovers_are_seen(_: &Path) {
    let script = "
        mkdir m && mount -t tmpfs none m
        head -c 100000 /dev/zero >&2
        exit 99
    ";
    let trouble = run(script, &[]).trouble.expect("a mount is left");
    assert_eq!(trouble, "left behind: mounted outside: /tmp/m (1 in all)");
    assert_eq!(run("exit 99", &[]).trouble, None);
}

fn devices_stay(_: &Path) {
    // Each of them as it is: it must be refused all the same.
    let script = r#"
        for device in null zero full random urandom tty; do
            mode=$(stat -c %a /dev/$device) || continue
            chmod $mode /dev/$device 2>/dev/null && echo "chmod $device"
            chown 0 /dev/$device 2>/dev/null && echo "chown $device"
            rm -f /dev/$device 2>/dev/null && echo "rm $device"
        done
        echo end
    "#;
    assert_eq!(run(script, &[]).stdout, "end\n");
}

/// What this program is to do, if not to forge: it hears of it by [`FILLED`].
const ANSWER: &str = "answer";
const CHANGE: &str = "change";

/// Has the first check of lab 1 be made of this program, which is hostile.
fn check_of_a_hostile_program(how: &str) -> Finding {
    let program = env::current_exe().expect("there is a /proc");
    let finished = sandbox::check(&program, "has_the_name", how)
        .expect("this machine has user namespaces");
    serde_json::from_str(&finished.stdout).expect("a check says one thing")
}

fn checks_are_closed(_: &Path) {
    assert_eq!(check_of_a_hostile_program("").heard, "end\n");
}

fn agent_is_known(_: &Path) {
    let says = check_of_a_hostile_program("").says;
    assert!(
        says.contains("is not the command that was asked for"),
        "{says}"
    );
}

fn agent_answers(_: &Path) {
    // The command itself may be faster, and tells the truth.
    for _ in 0..50 {
        let says = check_of_a_hostile_program(ANSWER).says;
        if says.contains("somebody else has answered in its place") {
            return;
        }
        assert!(says.contains("the container is called outside"), "{says:?}");
    }
    panic!("the command was always faster");
}

fn agent_is_changed(_: &Path) {
    // As above, of who is faster.
    for _ in 0..50 {
        let Finding { says, heard, .. } = check_of_a_hostile_program(CHANGE);
        assert!(!heard.contains("traced"), "{heard}");
        if says.contains("the code of the command has been changed") {
            return;
        }
        assert!(says.contains("the container is called outside"), "{says:?}");
    }
    panic!("the command was always faster");
}

/// No virtual machine, but what one prints: more than the grader's program does.
const MACHINE: &str = r#"#!/bin/sh
passed='[[{"verdict":"Passed","says":"","heard":"","took_too_long":false}]]'
while [ $# -gt 1 ]; do shift; done
speak() { printf '\nOUTCOMES %s%s\n' "$1" "$passed"; }
speak ''
speak 'x0123456789abcdef '
sh -c "$1"
speak ''
"#;

#[allow(unsafe_code)]
fn machine_is_known(place: &Path) {
    let machine = place.join("machine");
    fs::write(&machine, MACHINE).expect("it is ours");
    set_mode(&machine, 0o755);
    // SAFETY: this process has one thread.
    unsafe { env::set_var("LAB_VM", &machine) };
    let check = r#"{
        "name": "", "hole": "", "points": 1, "try": "has_the_name"
    }"#;
    let job = Job {
        program: env::current_exe().expect("there is a /proc"),
        filled: String::new(),
        checks: vec![serde_json::from_str(check).expect("it is one")],
    };
    let plan = Plan { jobs: vec![job] };
    let found = anywhere::run(plan).expect("there is a machine");
    let outcome = &found[0][0];
    assert!(outcome.verdict == Verdict::Failed, "{}", outcome.says);
    // By the one that knows the nonce, who has tried it.
    assert!(
        outcome.says.contains("is not the command that was asked"),
        "{}",
        outcome.says
    );
}

/// In a machine the nonce is in the file of the plan: it must be gone before
/// anything is tried.
fn assert_nonce_is_gone() {
    let parent = fs::read(format!("/proc/{}/cmdline", parent_id()));
    let parent = String::from_utf8(parent.expect("there is a /proc"));
    let parent = parent.expect("we have written it");
    let words: Vec<&str> = parent.split('\0').collect();
    if let [_, "run-plan", plan, ..] = words[..] {
        assert!(!Path::new(plan).exists(), "{plan} can be read");
    }
}

/// In which directories the cgroups of our checks are made.
fn parents() -> Vec<PathBuf> {
    if geteuid().is_root() {
        let all = memberships().expect("there are cgroups");
        let parents = all.into_iter().map(|(version, own)| match version {
            2 if own.join("cgroup.type").exists() => {
                own.parent().expect("it is not the topmost").to_owned()
            }
            _ => own,
        });
        return parents.collect();
    }
    let mounts = cgroups::mounts().expect("there is a /proc");
    let own = cgroups::of_process("self").expect("there is a /proc");
    let own = own.iter().filter(|it| it.version == 2);
    let own = own.flat_map(|it| it.directories(&mounts).next());
    own.filter_map(|it| Some(it.parent()?.to_owned())).collect()
}

/// Cgroups of checks that `maker` has made.
fn cgroups_of(maker: u32) -> Vec<PathBuf> {
    let begins = format!("lab.{maker}.");
    let is_its = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&begins)
    };
    let parents = parents();
    let children = parents.iter().flat_map(|it| cgroups::children(it));
    children.filter(is_its).collect()
}

fn leftovers_are_swept(_: &Path) {
    if parents().is_empty() {
        println!("not tried: no tree of version 2");
        return;
    }
    // Above all numbers that a process can have.
    let nobody = 1 << 30;
    for parent in parents() {
        let left = parent.join(format!("lab.{nobody}.0/below"));
        fs::create_dir_all(left).expect("we may make them");
    }
    assert!(!cgroups_of(nobody).is_empty());
    run("true", &[]);
    assert!(cgroups_of(nobody).is_empty());
}

fn interrupts_clean_up(_: &Path) {
    if parents().is_empty() {
        println!("not tried: no tree of version 2");
        return;
    }
    let own = std::process::id();
    let interrupt = thread::spawn(move || {
        let start = Instant::now();
        while cgroups_of(own).is_empty() && start.elapsed().as_secs() < 5 {
            thread::sleep(Duration::from_millis(5));
        }
        let seen = !cgroups_of(own).is_empty();
        kill(Pid::this(), Signal::SIGINT).expect("it is us");
        seen
    });
    let interrupted = sandbox::run(Path::new("/bin/true"), "sleep 60", &[]);
    assert!(interrupt.join().expect("no panic"), "there was no cgroup");
    assert!(interrupted.is_err());
    assert!(sandbox::is_interrupted());
    assert!(cgroups_of(own).is_empty());
}
