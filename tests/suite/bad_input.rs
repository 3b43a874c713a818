//! What goes in wrong comes out as one clear message with the documented exit
//! code, and leaves nothing behind.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::OsStringExt,
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use harness::{
    ALL, CGROUPS, FULL, Finished, MOUNT, OVERLAY, PID, Run, Step, Test, UTS,
    claims, image::Image, needs, programs,
};

pub(crate) const TESTS: &[Test] = claims![
    a_link_to_a_descriptor_is_no_working_directory,
    a_working_directory_that_is_gone_is_refused,
    a_missing_root_file_system_is_named,
    a_file_is_no_root_file_system,
    a_symlink_loop_is_no_root_file_system,
    a_root_file_system_needs_a_shell_for_the_default_command,
    a_missing_command_gives_127,
    a_directory_as_a_command_gives_126,
    a_file_that_is_not_executable_gives_126,
    a_command_for_another_architecture_gives_126,
    a_missing_loader_gives_127_and_says_so,
    a_hostname_that_makes_no_sense_is_refused,
    a_limit_that_makes_no_sense_is_refused,
    a_mistyped_option_is_explained_in_one_line,
    a_mistyped_name_is_guessed,
    options_are_written_as_for_docker,
    help_has_a_command_of_its_own,
    an_environment_setting_needs_an_equals_sign,
    a_refused_user_namespace_is_explained,
    a_closed_standard_stream_is_no_problem,
    a_full_disk_behind_stdout_is_the_commands_problem,
    help_on_a_full_disk_is_an_error,
    an_argument_need_not_be_utf_8,
    no_name_need_be_utf_8,
    what_is_named_stays_in_its_line,
];

/// Checks that the run failed with `code` and one message, that it names the
/// program, and that each of `parts` is in it.
pub(crate) fn assert_message(run: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(run.code, code, "exit code");
    assert_eq!(run.stdout, "", "standard output");
    // A warning is about something else, and may come before.
    let lines: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| !line.contains(": warning: "))
        .collect();
    let (message, below) = lines.split_first().expect("a message");
    assert!(message.starts_with("step0"), "whose message? {message}");
    assert!(!message.ends_with('.'), "{message}");
    for part in parts {
        assert!(run.stderr.contains(part), "no {part:?} in the message");
    }
    for (line, kind) in below.iter().zip(["  hint: ", "  read: "]) {
        assert!(line.starts_with(kind), "{line}");
    }
    assert!(below.len() <= 2, "{} lines of message", lines.len());
}

fn steps_with_rootfs() -> impl Iterator<Item = Run> {
    MOUNT.and_later().map(|step| step.run())
}

fn a_missing_root_file_system_is_named() {
    for run in steps_with_rootfs() {
        let run = run.rootfs(Path::new("/no/such")).sh("true");
        assert_message(&run, 125, &["\"/no/such\"", "ENOENT: No such file"]);
    }
}

fn a_file_is_no_root_file_system() {
    for run in steps_with_rootfs() {
        let run = run.rootfs(Path::new("/etc/passwd")).sh("true");
        let advice = "unpack an archive first";
        let parts = ["\"/etc/passwd\"", "ENOTDIR: Not a dir", advice];
        assert_message(&run, 125, &parts);
    }
}

fn a_symlink_loop_is_no_root_file_system() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = directory.path().join("loop");
    symlink(&link, &link).expect("the directory is ours");
    for run in steps_with_rootfs() {
        let run = run.rootfs(&link).sh("true");
        let advice = "namei -l shows where";
        let parts = ["loop\"", "ELOOP: Too many symbolic", advice];
        assert_message(&run, 125, &parts);
    }
}

fn a_root_file_system_needs_a_shell_for_the_default_command() {
    let image = Image::minimal();
    for run in steps_with_rootfs() {
        let run = run.rootfs(image.path()).bare();
        assert_message(&run, 127, &["running \"sh\"", "ENOENT", "PATH"]);
    }
}

fn a_missing_command_gives_127() {
    for step in ALL {
        for name in ["nonesuch", "/no/such", ""] {
            let run = step.run().command([name]);
            let running = format!("running {name:?}");
            let execve = format!("execve({name:?}): ENOENT: No such file");
            assert_message(&run, 127, &[&running, &execve]);
        }
    }
}

fn a_directory_as_a_command_gives_126() {
    for step in ALL {
        let run = step.run().command(["/tmp"]);
        let hint = "hint: it is a directory";
        assert_message(&run, 126, &["execve(\"/tmp\"): EACCES", hint]);
    }
}

/// Runs the file `name` in a private image, in step 1 by its path on the host.
fn run_in_each_step(image: &Image, name: &str) -> Vec<Finished> {
    let on_the_host = image.path().join(name);
    let inside = Path::new("/").join(name);
    let in_step_1 = UTS.run().command([&on_the_host]);
    let in_later = MOUNT
        .and_later()
        .map(|step| step.run().rootfs(image.path()).command([&inside]));
    in_later.chain([in_step_1]).collect()
}

fn a_file_that_is_not_executable_gives_126() {
    let image = Image::minimal();
    fs::write(image.path().join("text"), "").expect("it is ours");
    for run in run_in_each_step(&image, "text") {
        assert_message(&run, 126, &["text\"): EACCES", "chmod +x"]);
    }
}

/// The architecture is a number at offset 18 of an ELF file. See elf(5).
fn a_command_for_another_architecture_gives_126() {
    let image = Image::minimal();
    let mut elf = fs::read(image.path().join("helper")).expect("it is there");
    elf[18..20].copy_from_slice(&0xfeed_u16.to_le_bytes());
    add_program(&image, "foreign", &elf);
    for run in run_in_each_step(&image, "foreign") {
        let hint = "another kind of processor";
        assert_message(&run, 126, &["foreign\"): ENOEXEC", hint]);
    }
}

/// The kernel says ENOENT, although the file is there.
fn a_missing_loader_gives_127_and_says_so() {
    let image = Image::minimal();
    add_program(&image, "script", b"#!/no/such/interpreter\n");
    for run in run_in_each_step(&image, "script") {
        let hint = "the file is there, but not the loader";
        assert_message(&run, 127, &["script\"): ENOENT", hint]);
    }
    let sh = needs::tool("sh").canonicalize().expect("it is there");
    let elf = fs::read(sh).expect("it is readable");
    if !elf.windows(4).any(|window| window == b"/ld-") {
        return; // This machine's shell is static.
    }
    add_program(&image, "dynamic", &elf);
    for step in MOUNT.and_later() {
        let run = step.run().rootfs(image.path()).command(["/dynamic"]);
        let hint = "the file is there, but not the loader";
        assert_message(&run, 127, &["dynamic\"): ENOENT", hint]);
    }
}

fn add_program(image: &Image, name: &str, content: &[u8]) {
    let path = image.path().join(name);
    fs::write(&path, content).expect("it is ours");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, mode).expect("it is ours");
}

/// A NUL is not among them: no program can be given one.
fn a_hostname_that_makes_no_sense_is_refused() {
    let long = "n".repeat(65);
    for step in ALL {
        for (name, reason) in [
            ("", "can't be empty"),
            (&long, "it has 65 bytes"),
            ("two\nlines", "no control characters"),
        ] {
            let run = step.run().options(["--hostname", name]).sh("true");
            assert_message(&run, 125, &["--hostname", reason]);
        }
    }
}

fn a_limit_that_makes_no_sense_is_refused() {
    for step in CGROUPS.and_later() {
        for (option, values) in [
            (
                "--memory",
                &["64x", "0", "-1", "", "18446744073709551616"][..],
            ),
            ("--cpus", &["0", "-1", "nan", "inf", ""][..]),
            ("--pids-limit", &["0", "-1", "1.5", ""][..]),
        ] {
            for value in values {
                let run = step.run().options([option, value]).sh("true");
                assert_message(&run, 125, &[option, value]);
            }
        }
    }
}

fn a_mistyped_option_is_explained_in_one_line() {
    for step in ALL {
        let run = step.run().options(["--hostnam"]).sh("true");
        let usage = format!("usage: {} run", step.name);
        let parts = ["--hostnam'", "hint: did you mean --hostname? ", &usage];
        assert_message(&run, 125, &parts);
    }
    let rootfs = OVERLAY.run().options(["--rootfs"]).bare();
    assert_message(&rootfs, 125, &["--rootfs", "see --help"]);
}

fn a_mistyped_name_is_guessed() {
    for step in ALL {
        let run = outside(step, &["prob"]);
        assert_message(&run, 125, &["'prob'", "did you mean probe? "]);
        let run = outside(step, &["rnu"]);
        assert_message(&run, 125, &["'rnu'", "the commands are run, probe"]);
    }
}

/// A step with these arguments, which need not begin with `run`.
fn outside<A: AsRef<OsStr>>(step: Step, arguments: &[A]) -> Finished {
    let mut command = Command::new(programs::path(step.name));
    let output = command.args(arguments).stdin(Stdio::null()).output();
    Finished::from(output.expect("the step can be started"))
}

fn options_are_written_as_for_docker() {
    let show = "hostname; echo $A; pwd";
    for step in ALL {
        let short = ["-it", "--rm", "-h", "kitchen", "-e", "A=b", "-w", "/tmp"];
        let run = step.run().options(short).sh(show);
        assert_eq!(run.ok(), "kitchen\nb\n/tmp", "{}", step.name);
        let long = ["--interactive", "--tty", "--hostname=kitchen"];
        let run = step.run().options(long).sh("hostname");
        assert_eq!(run.ok(), "kitchen", "{}", step.name);
    }
    if needs::why_no_limits().is_none() {
        CGROUPS.run().options(["-m", "64m"]).sh("true").ok();
        let run = CGROUPS.run().options(["-m", "64x"]).sh("true");
        assert_message(&run, 125, &["--memory", "64x"]);
    }
    let volume = ["-v", "/proc/version:/volume:ro"];
    let run = FULL.run().options(volume).sh("cat /volume");
    assert!(run.ok().starts_with("Linux version"));
}

fn help_has_a_command_of_its_own() {
    for step in ALL {
        let help = outside(step, &["run", "--help"]);
        assert!(help.ok().contains("-h, --hostname <HOSTNAME>"), "{help}");
        assert_eq!(outside(step, &["help", "run"]).ok(), help.ok());
        let all = outside(step, &["help"]);
        assert_eq!(outside(step, &["--help"]).ok(), all.ok());
        assert!(all.ok().contains("probe"), "{all}");
    }
}

fn an_environment_setting_needs_an_equals_sign() {
    for step in ALL {
        for setting in ["NAME", "=value"] {
            let run = step.run().options(["--env", setting]).sh("true");
            assert_message(&run, 125, &["this is not KEY=VALUE"]);
        }
    }
}

/// A chroot is the one place where the kernel refuses a user namespace without
/// any setting.
fn a_refused_user_namespace_is_explained() {
    needs::root();
    needs::tool("chroot");
    needs::tool("unshare");
    let image = Image::minimal();
    for step in ALL {
        image.add(&programs::path(step.name), step.name);
        let rootfs = if step < MOUNT {
            &[][..]
        } else {
            &["--rootfs", "/"]
        };
        // Step 6 looks for its cgroup there before it starts anything.
        fs::create_dir_all(image.path().join("proc")).expect("it is ours");
        let script = "mount -t proc proc \"$0/proc\" && \
                      exec chroot --userspec=65534:65534 \"$0\" \"$@\"";
        let run = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(image.path())
            .arg(Path::new("/").join(step.name))
            .arg("run")
            .args(rootfs)
            .args(["--", "/helper", "echo", "unreachable"])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output()
            .expect("unshare can be started");
        let call = if step < FULL { "unshare" } else { "clone3" };
        let parts = [call, "CLONE_NEWUSER", "EPERM", "hint: this is a chroot"];
        assert_message(&Finished::from(run), 125, &parts);
    }
}

fn a_closed_standard_stream_is_no_problem() {
    for step in ALL {
        for redirection in ["<&-", "2>&-"] {
            let run = step.run().redirected(redirection);
            assert_eq!(run.sh("echo fine").ok(), "fine", "{}", step.name);
        }
        let closed = step.run().redirected(">&-").sh("exit 3");
        assert_eq!(closed.code, 3, "{}", step.name);
        assert!(!closed.stderr.contains("panicked"), "{closed}");
        let all = step.run().redirected("<&- >&- 2>&-").sh("exit 3");
        assert_eq!(all.code, 3, "{}", step.name);
    }
}

fn a_full_disk_behind_stdout_is_the_commands_problem() {
    for step in ALL {
        let full = step.run().redirected(">/dev/full");
        let run = full.sh("echo lost || exit 4");
        assert_eq!(run.code, 4, "{}", step.name);
    }
}

fn help_on_a_full_disk_is_an_error() {
    for step in ALL {
        let help = step.run().options(["--help"]).redirected(">/dev/full");
        assert_message(&help.bare(), 125, &["write(1): ENOSPC"]);
    }
}

fn an_argument_need_not_be_utf_8() {
    let text = b"caf\xe9 \xff\xfe".to_vec();
    for step in ALL {
        let run = step.run().command([
            OsStr::new("printf"),
            OsStr::new("%s"),
            &OsString::from_vec(text.clone()),
        ]);
        assert_eq!(run.bytes, text, "{}", step.name);
    }
}

/// Neither that of a subcommand nor that of the program nor that of a variable.
fn no_name_need_be_utf_8() {
    let odd = OsString::from_vec(b"\xff\xfe".to_vec());
    let image = Image::minimal();
    for step in ALL {
        let run = outside(step, &[&odd]);
        assert_message(&run, 125, &["unrecognized subcommand"]);

        let mut variable = odd.clone();
        variable.push("=x");
        let run = step
            .run()
            .env(&odd, &odd)
            .options(["--env".as_ref(), variable.as_os_str()]);
        assert!(
            run.command(["env"])
                .bytes
                .windows(4)
                .any(|it| { it == b"\xff\xfe=x" }),
            "{}",
            step.name
        );

        let mut command = Command::new(programs::path(step.name));
        command.arg0(&odd).arg("run");
        let helper = match step < MOUNT {
            true => image.path().join("helper"),
            false => {
                command.arg("--rootfs").arg(image.path());
                "/helper".into()
            }
        };
        let output = command.arg("--").arg(helper).args(["echo", "fine"]);
        let output = output.output().expect("the step can be started");
        assert_eq!(Finished::from(output).ok(), "fine", "{}", step.name);
    }
}

/// Names with a line break, and with what would colour the reader's terminal,
/// set its title and turn text around.
fn what_is_named_stays_in_its_line() {
    let evil = "x\n\nstep0: all is well\x1b[31m\x1b]0;title\x07\u{202e}\r";
    let image = Image::minimal();
    fs::write(image.path().join(evil), "").expect("it is ours");
    let path = format!("PATH=/{evil}");
    for step in ALL {
        let file = match step < MOUNT {
            true => image.path().join(evil),
            false => Path::new("/").join(evil),
        };
        let run = |options: &[&OsStr]| {
            let run = step.run().options(options);
            match step < MOUNT {
                true => run,
                false => run.rootfs(image.path()),
            }
        };
        let mut runs = vec![
            (127, run(&[]).command([evil])),
            (126, run(&[]).command([file.as_os_str()])),
            (127, run(&["--env".as_ref(), path.as_ref()]).command(["x"])),
            (
                125,
                run(&["--workdir".as_ref(), evil.as_ref()]).command(["x"]),
            ),
            (
                125,
                run(&["--hostname".as_ref(), evil.as_ref()]).command(["x"]),
            ),
            (125, run(&[format!("--{evil}").as_ref()]).command(["x"])),
            (125, outside(step, &[evil])),
            (125, {
                let program = programs::path(step.name);
                let output = Command::new(program).arg0(evil).arg("x").output();
                Finished::from(output.expect("the step can be started"))
            }),
        ];
        if step >= MOUNT {
            let rootfs = step.run().rootfs(Path::new(evil));
            runs.push((125, rootfs.command(["x"])));
        }
        if step >= OVERLAY {
            let upper = image.path().join("helper").join(evil);
            let upper = run(&["--upper".as_ref(), upper.as_os_str()]);
            runs.push((125, upper.command(["x"])));
        }
        if step == FULL {
            for volume in [format!("{evil}:/x"), format!("/tmp:{evil}")] {
                let volume = run(&["--volume".as_ref(), volume.as_ref()]);
                runs.push((125, volume.command(["x"])));
            }
        }
        for (code, run) in runs {
            assert_eq!(run.code, code, "{run}");
            assert_eq!(run.stdout, "");
            let obeyed = |c: char| c != '\n' && c.is_control();
            assert!(!run.stderr.contains(obeyed), "{:?}", run.stderr);
            assert!(!run.stderr.contains('\u{202e}'), "{:?}", run.stderr);
            let about = |line: &&str| {
                !line.contains(": warning: ")
                    && !line.starts_with("  hint: ")
                    && !line.starts_with("  read: ")
            };
            let messages = run.stderr.lines().filter(about).count();
            assert_eq!(messages, 1, "{:?}", run.stderr);
        }
    }
}

/// Not even to one that leads nowhere special.
fn a_link_to_a_descriptor_is_no_working_directory() {
    for step in ALL {
        let run = step.run().options(["-w", "/proc/self/cwd"]).sh("pwd");
        let parts = ["NO_MAGICLINKS", "ELOOP", "name the directory itself"];
        assert_message(&run, 125, &parts);
    }
}

/// Nor is one above the root that a path without such links leads to: here it
/// is where the caller is.
fn a_working_directory_that_is_gone_is_refused() {
    let directory = "cd \"$TMPDIR\" && mkdir gone && cd gone && rmdir ../gone";
    for step in [UTS, PID] {
        let run = step.run().options(["-w", "."]);
        let run = run.through(&format!("{directory} && exec \"$0\" \"$@\""));
        assert_message(&run.sh("echo started"), 125, &["getcwd(): ENOENT"]);
    }
}
