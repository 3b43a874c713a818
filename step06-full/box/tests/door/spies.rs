//! The moment of entering, seen by a container that means harm. Each test is a
//! class of holes that runc has had.

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    thread,
};

use harness::{Test, claims, note};

use crate::{
    commands::with_a_container,
    world::{World, box_program, wait_until},
};

pub(crate) const TESTS: &[Test] = claims![
    nobody_inside_can_look_into_who_enters,
    the_program_that_enters_can_not_be_had,
    no_directory_of_the_host_can_be_entered,
    no_directory_of_the_host_can_be_entered_in_a_race,
];

/// Inside, the spy finds itself here: this very test program, which is static.
const SPY: &str = "/spy/door";

/// By which it is told that it is one.
pub(crate) const WORD: &str = "spy";

/// A variable of the caller's.
const SECRET: &str = "SECRET_OF_THE_CALLER";

/// A container in which a spy looks at every process that comes, until the file
/// `/stop` is there. What it finds goes to `/caught`.
fn with_a_spy() -> World {
    let world = World::new();
    let program = env::current_exe().expect("a path");
    let dir = world.store.path().join("spy");
    fs::create_dir(&dir).expect("mkdir");
    fs::copy(program, dir.join("door")).expect("a copy");
    let volume = format!("{}:/spy:ro", dir.display());
    let start = ["run", "-d", "--name", "web", "-v", &volume, "-"];
    world.says([&start[..], &[SPY, WORD]].concat());
    wait_until("the spy looks", || {
        world.exec(&[], "cat /looks 2>&1 || true").contains("looks")
    });
    world
}

impl World {
    /// What the spy has found.
    fn caught(&self) -> String {
        self.exec(&[], "touch /stop");
        wait_until("the spy is done", || {
            self.exec(&[], "cat /caught 2>&1 || true").contains("seen")
        });
        self.exec(&[], "cat /caught")
    }
}

/// What runs inside.
pub(crate) fn spy() -> ! {
    let mut caught = Vec::new();
    let mut seen = 0_u64;
    fs::write("/looks", "looks").expect("it is ours");
    while !fs::exists("/stop").unwrap_or(false) {
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let pid: Option<i32> =
                entry.file_name().to_str().and_then(|it| it.parse().ok());
            if pid.is_some_and(|pid| pid > 2) {
                seen += 1;
                look_at(&entry.path(), &mut caught);
            }
        }
    }
    caught.push(format!("seen {seen}"));
    fs::write("/caught.new", caught.join("\n")).expect("it is ours");
    fs::rename("/caught.new", "/caught").expect("it is ours");
    // It is the container's command.
    loop {
        thread::park();
    }
}

/// All by which runc was ever broken, and what is next to it.
fn look_at(process: &Path, caught: &mut Vec<String>) {
    let mut note = |what: &str, found: &Path| {
        let text = format!("{what}: {}", found.display());
        if caught.len() < 20 {
            caught.push(text);
        }
    };
    let is_hosts = |path: &Path| {
        let text = path.to_string_lossy();
        text.contains("/box") || text.contains("(unreachable)")
    };
    if let Ok(exe) = fs::read_link(process.join("exe")) {
        if is_hosts(&exe) {
            note("its program", &exe);
        }
        // The stub: can it be changed?
        let is_stub = exe.to_string_lossy().contains("memfd");
        let opened = File::options().write(true).open(process.join("exe"));
        if is_stub && opened.is_ok_and(|mut it| it.write_all(b"x").is_ok()) {
            note("changed", &exe);
        }
    }
    for link in ["cwd", "root"] {
        match fs::read_link(process.join(link)) {
            Ok(path) if is_hosts(&path) => note(link, &path),
            _ => {}
        }
    }
    for entry in fs::read_dir(process.join("fd")).into_iter().flatten() {
        let Ok(entry) = entry else { continue };
        let Ok(path) = fs::read_link(entry.path()) else {
            continue;
        };
        let is_plain = [":[", "/dev/", "/proc/", "/memfd:"];
        let text = path.to_string_lossy().into_owned();
        let number = entry.file_name();
        let is_ours = ["/caught", "/looks", "/file", "/bin", "/lib", "/usr"];
        if number != "0"
            && !is_plain.iter().any(|it| text.contains(it))
            && !is_ours.iter().any(|it| text.starts_with(it))
        {
            note("a descriptor", &path);
        }
    }
    if let Ok(text) = fs::read(process.join("cmdline")) {
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains("--store") {
            note("its command line", Path::new(&text));
        }
    }
    if let Ok(bytes) = fs::read(process.join("environ")) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.contains(SECRET) {
            note("its environment", process);
        }
    }
}

/// CVE-2016-9962: the entering process could be looked into.
fn nobody_inside_can_look_into_who_enters() {
    let world = with_a_spy();
    for _ in 0..100 {
        let mut command = world.command(["exec", "web", "true"]);
        let status = command.env(SECRET, "1").status();
        assert!(status.expect("box runs").success());
    }
    let caught = world.caught();
    assert!(caught.starts_with("seen"), "{caught}");
    note(caught);
}

/// CVE-2019-5736: the program that enters was run once more from inside, and
/// replaced.
fn the_program_that_enters_can_not_be_had() {
    let program = box_program();
    let before = fs::read(&program).expect("it is readable");
    let world = with_a_spy();
    let evil = "echo '#!/proc/self/exe' > /evil; chmod +x /evil";
    world.exec(&[], evil);
    for _ in 0..20 {
        // The stub does what it is told again and again, until it is killed.
        let mut command = Command::new("timeout");
        command.args(["0.1"]).arg(&program).arg("--store");
        let run = command.arg(world.store.path()).args(["exec", "web"]);
        let output = run.arg("/evil").output().expect("timeout(1) runs");
        // Our program would have something to say about such arguments.
        assert_eq!(output.status.code(), Some(124), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    for _ in 0..100 {
        world.says(["exec", "web", "true"]);
    }
    let caught = world.caught();
    assert!(caught.starts_with("seen"), "{caught}");
    let after = fs::read(&program).expect("it is readable");
    assert!(before == after, "the program has changed");
}

/// CVE-2024-21626: a working directory led to a descriptor of the host's.
fn no_directory_of_the_host_can_be_entered() {
    let world = with_a_container(&[]);
    for number in 0..30 {
        let path = format!("/proc/self/fd/{number}");
        let arguments = ["exec", "-w", &path, "web", "true"];
        assert_no_place(world.fails(arguments));
        let link = format!("/link{number}");
        world.exec(&[], &format!("ln -sf {path} {link}"));
        let arguments = ["exec", "-w", &link, "web", "true"];
        assert_no_place(world.fails(arguments));
    }
}

/// It is refused, or is not there.
fn assert_no_place((code, text): (i32, String)) {
    assert!(matches!(code, 126 | 127), "{code}: {text}");
    assert!(text.contains("entering the working directory"), "{text}");
}

/// The same, in a race: what is a directory a moment ago is a link now.
fn no_directory_of_the_host_can_be_entered_in_a_race() {
    let world = with_a_container(&[]);
    let swap = "mkdir /there; i=3; while true; do \
                rm -rf /race; ln -s /proc/self/fd/$i /race; \
                rm -rf /race; mkdir /race; \
                i=$((i + 1)); [ $i -lt 12 ] || i=3; done";
    world.says(["exec", "-d", "web", "sh", "-c", swap]);
    let up = "cd ../../../../../../../..; [ . -ef / ] || echo OUT; pwd";
    let mut entered = 0;
    for _ in 0..100 {
        let arguments = ["exec", "-w", "/race", "web", "sh", "-c", up];
        // The caller has something open that would be worth it.
        let open = "exec 3</ 4</ 5</ 6</ 7</ 8</ 9</";
        let output = world.after(open, &arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("OUT"), "{text}");
        match output.status.code() {
            Some(0) => entered += 1,
            code => {
                let text = String::from_utf8_lossy(&output.stderr);
                assert_no_place((code.expect("a code"), text.into_owned()));
            }
        }
    }
    note(format!("entered {entered} of 100 times"));
}
