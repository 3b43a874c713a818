//! Ways to the host that need no path: a descriptor that is still open, a link
//! that leads to one, the tool's own program.

use std::{
    fs::{self, Permissions},
    io::IoSlice,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{PermissionsExt, symlink},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    process::Command,
};

use harness::{
    FULL, Finished, MOUNT, OVERLAY, Run, Step, Test, claims,
    host::{only_child, status},
    image::Image,
    needs,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{ControlMessage, MsgFlags, sendmsg},
    },
    unistd::Pid,
};
use tempfile::TempDir;

use crate::refusals::filtered;

pub(crate) const TESTS: &[Test] = claims![
    number_1_has_only_its_streams_the_gate_and_the_stub_open,
    a_working_directory_is_never_a_descriptor_of_the_host,
    a_command_is_never_found_by_a_descriptor_of_the_host,
    an_interpreter_is_never_the_tool_itself,
    the_program_of_number_1_is_closed_in_step_6,
    the_command_line_of_the_caller_is_hidden_in_step_6,
    the_limit_on_open_files_is_lowered_and_never_raised,
    a_directory_that_is_sent_from_outside_is_closed_by_landlock,
    signals_reach_nobody_who_is_not_confined_as_well,
    what_is_handed_in_is_opened_again_only_as_it_was_given,
    files_move_between_directories_in_spite_of_landlock,
];

/// More than a path has directories.
const MANY: usize = 24;

/// A directory of the host that everybody may enter, with a secret in it.
struct Secret {
    directory: TempDir,
    text: String,
}

impl Secret {
    fn new() -> Secret {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let text = format!("secret of {}", directory.path().display());
        let file = directory.path().join("secret");
        fs::write(&file, &text).expect("it is ours");
        open_up(directory.path(), 0o755);
        open_up(&file, 0o644);
        Secret { directory, text }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    /// From wherever one is, up to the root and down again.
    fn way_up(&self) -> String {
        let file = self.file();
        let path = file.strip_prefix("/").expect("it is absolute");
        format!("{}{}", "../".repeat(MANY), path.display())
    }
}

fn open_up(path: &Path, mode: u32) {
    let mode = Permissions::from_mode(mode);
    fs::set_permissions(path, mode).expect("it is ours");
}

/// Where a link of an image may lead, in the hope for an open directory. The
/// tool has at most eight descriptors open.
fn hopes() -> impl Iterator<Item = String> {
    let descriptors = (3..12).flat_map(|number| {
        ["self", "1"].map(|process| format!("/proc/{process}/fd/{number}"))
    });
    let others = ["/proc/1/cwd", "/proc/1/root", "/proc/self/cwd"];
    descriptors.chain(others.map(String::from))
}

/// With everything that makes a step open more descriptors; without the second
/// wall, as the first one must hold alone.
fn with_most_descriptors(step: Step, image: &Image) -> Run {
    let run = step.run().rootfs(image.path());
    match step {
        FULL => without_landlock(run.options(["--volume", "/tmp:/volume"])),
        _ => run,
    }
}

/// On a kernel that seems to have no Landlock.
fn without_landlock(run: Run) -> Run {
    filtered(run, "landlock")
}

/// Neither of a directory of the host, nor of the image below the layers.
fn a_working_directory_is_never_a_descriptor_of_the_host() {
    let secret = Secret::new();
    let image = Image::copy_of_default();
    let link = image.path().join("link");
    let planted = image.path().join("planted");
    for (hope, step) in every(MOUNT) {
        symlink(&hope, &link).expect("it is ours");
        let script = format!("cat {}; : >planted", secret.way_up());
        let run = with_most_descriptors(step, &image)
            .options(["--workdir", "/link"])
            .sh(&script);
        assert!(!run.stdout.contains(&secret.text), "{hope}: {run}");
        assert!(step < OVERLAY || !planted.exists(), "{hope}: {run}");
        let _ = fs::remove_file(&planted);
        fs::remove_file(&link).expect("it is ours");
    }

    // Outside, such a link is a way.
    symlink("/proc/self/fd/9", &link).expect("it is ours");
    let script = format!(
        "exec 9</ && cd {} && cat {}",
        link.display(),
        secret.way_up()
    );
    let outside = Command::new("sh").args(["-c", &script]).output();
    let outside = Finished::from(outside.expect("there is a shell"));
    assert_eq!(outside.ok(), secret.text);
}

/// And the parent, outside, has files of the host open.
fn number_1_has_only_its_streams_the_gate_and_the_stub_open() {
    needs::root();
    let mut container = FULL.run().start_sh("echo ready; read _");
    container.wait_for("ready");
    let opened = |process: i32| -> Vec<String> {
        let numbers = fs::read_dir(format!("/proc/{process}/fd"));
        let numbers = numbers.expect("we are root").flatten();
        let numbers = numbers.filter(|it| {
            !["0", "1", "2"]
                .iter()
                .any(|stream| it.file_name() == *stream)
        });
        let places = numbers.flat_map(|it| fs::read_link(it.path()));
        places.map(|it| it.display().to_string()).collect()
    };
    let is_a_file = |place: &String| place.starts_with('/');
    let (outside, mut inside) =
        (opened(container.supervisor()), opened(container.init()));
    inside.sort();
    assert!(outside.iter().any(is_a_file), "{outside:?}");
    assert_eq!(inside.len(), 2, "{inside:?}");
    assert_eq!(inside[0], "/memfd:stub (deleted)");
    assert!(inside[1].starts_with("socket:"), "{inside:?}");
    container.finish().ok();
}

/// Each hope once, with the steps from `first` on taking turns.
fn every(first: Step) -> impl Iterator<Item = (String, Step)> {
    let steps: Vec<Step> = first.and_later().collect();
    hopes().flat_map(move |hope| {
        steps
            .clone()
            .into_iter()
            .map(move |step| (hope.clone(), step))
    })
}

/// A file of the host that would say that it was executed.
fn a_command_is_never_found_by_a_descriptor_of_the_host() {
    let secret = Secret::new();
    let program = secret.directory.path().join("program");
    fs::write(&program, "#!/bin/sh\necho executed\n").expect("it is ours");
    open_up(&program, 0o755);
    let path = program.strip_prefix("/").expect("it is absolute");
    let image = Image::copy_of_default();
    let link = image.path().join("bin/trap");
    for (hope, step) in every(MOUNT) {
        let up = "../".repeat(MANY);
        let target = format!("{hope}/{up}{}", path.display());
        symlink(&target, &link).expect("it is ours");
        let run = with_most_descriptors(step, &image).command(["trap"]);
        assert!(run.code == 126 || run.code == 127, "{target}: {run}");
        assert_eq!(run.stdout, "", "{} by {target}", step.name);
        fs::remove_file(&link).expect("it is ours");
    }
    let outside = Command::new(&program).output();
    let outside = Finished::from(outside.expect("it can be executed"));
    assert_eq!(outside.ok(), "executed");
}

/// While a process executes a file, it is still the program that it was. In
/// step 5 that is the tool, whose message tells that it ran; in step 6 a stub,
/// which finds no `run` to execute.
fn an_interpreter_is_never_the_tool_itself() {
    let image = Image::copy_of_default();
    for (name, first_line) in [
        ("direct", "#!/proc/self/exe run"),
        ("of-number-1", "#!/proc/1/exe run"),
        ("by-a-link", "#!/bin/interpreter run"),
        ("twice", "#!/bin/direct"),
    ] {
        let script = image.path().join("bin").join(name);
        fs::write(&script, format!("{first_line}\n")).expect("it is ours");
        open_up(&script, 0o755);
    }
    symlink("/proc/self/exe", image.path().join("bin/interpreter"))
        .expect("it is ours");
    for name in ["direct", "of-number-1", "by-a-link", "twice"] {
        let run = without_landlock(FULL.run().rootfs(image.path()));
        let run = run.command([name]);
        assert!(run.code == 126 || run.code == 127, "{name}: {run}");
        let by_the_tool = |line: &str| line.starts_with("exe: ");
        assert!(!run.stderr.lines().any(by_the_tool), "{name}: {run}");
    }
    let before = OVERLAY.run().rootfs(image.path()).command(["direct"]);
    assert!(before.stderr.contains("exe: running"), "{before}");
}

fn the_program_of_number_1_is_closed_in_step_6() {
    let script = "head -c 4 /proc/1/exe | tail -c 3";
    assert_eq!(OVERLAY.sh(script).ok(), "ELF");
    let inside = without_landlock(FULL.run()).sh(script);
    assert_eq!(inside.stdout, "");
    assert!(inside.stderr.contains("Permission denied"), "{inside}");
    // Nor can it be written, whoever has the file outside.
    let inside = without_landlock(FULL.run()).sh(": >>/proc/1/exe");
    assert_ne!(inside.code, 0);
    assert!(inside.stderr.contains("ermission denied"), "{inside}");
}

fn the_command_line_of_the_caller_is_hidden_in_step_6() {
    let with_secret = |step: Step| {
        let run = step.run().options(["--env", "PASSWORD=hunter2"]);
        run.sh("tr '\\0' ' ' </proc/1/cmdline")
    };
    let inside = with_secret(FULL);
    assert_eq!(inside.ok(), FULL.name);
    let before = with_secret(OVERLAY);
    assert!(before.ok().contains("hunter2"));
}

fn the_limit_on_open_files_is_lowered_and_never_raised() {
    let show = "ulimit -Sn; ulimit -Hn";
    let under = |limit: &str| format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
    let run = FULL.run().through(&under("500")).sh(show);
    assert_eq!(run.ok(), "500\n500");
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let run = FULL.sh(show);
    let limits: Vec<u64> = run.lines().into_iter().map(number).collect();
    assert!(limits[0] <= 1024 && limits[1] <= 65536, "{limits:?}");
}

/// The container is sent an open directory of the host over a socket, and gets
/// nothing by it. The socket lies where both sides see it.
fn a_directory_that_is_sent_from_outside_is_closed_by_landlock() {
    needs::landlock();
    let secret = Secret::new();
    let shared = tempfile::tempdir().expect("a temporary directory");
    open_up(shared.path(), 0o755);
    for (step, expected) in [(MOUNT, secret.text.as_str()), (FULL, "EACCES")] {
        let image = Image::minimal();
        let (place, run) = match step {
            FULL => {
                let volume = format!("{}:/shared", shared.path().display());
                let run = step.run().options(["--volume", &volume]);
                (shared.path().join("socket"), run)
            }
            _ => {
                fs::create_dir(image.path().join("shared")).expect("ours");
                (image.path().join("shared/socket"), step.run())
            }
        };
        let listener = UnixListener::bind(&place).expect("the name is free");
        open_up(&place, 0o777);
        let arguments = ["open-what-is-sent", "/shared/socket", "secret"];
        let container = image.helper_with(run, step, &arguments);
        let (connection, _) = listener.accept().expect("somebody connects");
        let directory =
            fs::File::open(secret.directory.path()).expect("it is ours");
        sendmsg::<()>(
            connection.as_raw_fd(),
            &[IoSlice::new(b"!")],
            &[ControlMessage::ScmRights(&[directory.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        )
        .expect("the container listens");
        assert_eq!(container.finish().ok(), expected, "{}", step.name);
        fs::remove_file(&place).expect("it is ours");
    }
}

/// Somebody outside has entered the PID namespace, and is the same user.
fn signals_reach_nobody_who_is_not_confined_as_well() {
    needs::root();
    needs::tool("nsenter");
    needs::landlock_version(6);
    let step = || FULL.run().options(["--root-is-root-outside"]);
    for (run, expected) in
        [(step(), "refused"), (filtered(step(), "landlock"), "sent")]
    {
        let script = "echo ready; read pid; kill $pid && echo sent || \
                      echo refused; read _";
        let mut container = run.start_sh(script);
        container.wait_for("ready");
        let mut nsenter = Command::new("nsenter")
            .args(["--pid", "--target", &container.init().to_string()])
            .args(["sleep", "100"])
            .spawn()
            .expect("nsenter can be started");
        let sleep = only_child(nsenter.id().cast_signed());
        let inside = status(sleep, "NSpid");
        let inside = inside.split_whitespace().last().expect("a number");
        container.type_line(inside);
        container.wait_for(expected);
        // The second one is gone already.
        let _ = kill(Pid::from_raw(sleep), Signal::SIGKILL);
        nsenter.wait().expect("it is our child");
        container.finish().ok();
    }
}

/// What is open for reading is not opened for writing, whoever it belongs to;
/// in step 5 it is.
fn what_is_handed_in_is_opened_again_only_as_it_was_given() {
    needs::landlock();
    let directory = tempfile::tempdir().expect("a temporary directory");
    open_up(directory.path(), 0o755);
    let file = directory.path().join("file");
    let text = || fs::read_to_string(&file).expect("it is ours");
    for (step, code, expected) in
        [(OVERLAY, 0, "changed\n"), (FULL, 1, "of the host\n")]
    {
        fs::write(&file, "of the host\n").expect("it is ours");
        open_up(&file, 0o666);
        let input = format!("<{}", file.display());
        // A shell of POSIX ends when such a redirection fails; 1 or 2.
        let run = step.run().redirected(&input);
        let run = run.sh("echo changed >/proc/self/fd/0");
        assert_eq!(run.code.min(1), code, "{run}");
        assert_eq!(text(), expected, "{}", step.name);
    }
    // As it was given, it can be opened again.
    let output = format!(">{}", file.display());
    let run = FULL.run().redirected(&output);
    run.sh("echo written >/proc/self/fd/1").ok();
    assert_eq!(text(), "written\n");
}

/// The first version of Landlock could not allow it.
fn files_move_between_directories_in_spite_of_landlock() {
    FULL.sh("mkdir /a /b && echo text >/a/file && mv /a/file /b/ && \
         ln /b/file /a/again && mv /b /a/ && cat /a/b/file && \
         : >/a/again && ! grep text /a/b/file >/dev/null")
        .ok();
}
