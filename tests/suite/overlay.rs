//! Step 5: an image in layers.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{
                FileTypeExt, MetadataExt, PermissionsExt, chown, lchown,
                symlink,
            },
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::Duration,
};

use ground::processes::Stat;
use harness::{
    ALL, CGROUPS, FULL, Finished, OVERLAY, Run, Step, Test, claims,
    image::Image, needs,
};
use nix::{
    fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2},
    sys::stat::{Mode, mkdirat},
    unistd::mkfifo,
};
use tempfile::TempDir;

use crate::bad_input::assert_message;

pub(crate) const TESTS: &[Test] = claims![
    four_names_are_merged_and_upper_wins,
    a_deleted_file_leaves_a_whiteout,
    a_modified_file_is_copied_up,
    opening_for_writing_is_enough_to_copy_up,
    the_first_of_several_lower_layers_is_on_top,
    without_upper_nothing_is_kept,
    with_upper_the_next_run_goes_on,
    a_kept_layer_is_closed_to_other_users,
    other_users_inside_can_enter_the_root,
    an_open_directory_is_closed_while_it_is_empty,
    what_is_no_layer_is_not_taken_for_one,
    a_link_in_the_place_of_a_kept_layer_is_refused,
    a_link_of_another_user_is_not_followed,
    a_directory_of_another_user_keeps_nothing,
    a_killed_container_has_its_layer_until_it_is_gone,
    what_is_put_in_the_place_of_a_kept_layer_is_not_changed,
    a_kept_layer_can_be_removed,
    a_kept_layer_may_be_anywhere,
    a_closed_working_directory_does_not_matter,
    a_layer_means_the_same_in_all_steps,
    a_layer_in_the_other_dialect_is_refused,
    where_no_directory_can_be_deleted_the_run_says_so,
    a_layer_that_hides_the_tools_is_blamed,
    diff_lists_what_was_added_changed_and_deleted,
    diff_goes_deeper_than_a_path_can_be_long,
    diff_prints_one_line_a_name_and_json_its_bytes,
    a_directory_made_anew_hides_the_old_one,
    the_kernel_takes_500_layers_and_not_501,
    a_path_may_hold_any_character,
    a_lower_layer_that_does_not_exist_is_named,
    two_containers_cannot_share_an_upper_directory,
    an_upper_directory_on_an_overlay_is_refused,
    what_is_written_to_memory_counts_against_the_limit,
    what_is_written_to_a_disk_does_not,
];

/// The steps that have layers.
const LAYERED: [Step; 2] = [OVERLAY, FULL];

/// The demonstration of the series: three files in `lower`, two in `upper`.
struct Demo {
    directory: TempDir,
}

impl Demo {
    fn new() -> Demo {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let demo = Demo { directory };
        for (layer, names) in [
            (
                "lower",
                &["delete-me.txt", "duplicate.txt", "lower.txt"][..],
            ),
            ("kept/upper", &["duplicate.txt", "upper.txt"][..]),
        ] {
            fs::create_dir_all(demo.path(layer)).expect("it is ours");
            for name in names {
                let path = demo.path(layer);
                let last = Path::new(layer).file_name().expect("it has one");
                let text = format!("I live in {}\n", last.display());
                fs::write(path.join(name), text).expect("it is ours");
            }
        }
        set_mode(&demo.directory.path().join("kept"), 0o700);
        demo
    }

    /// The directory `demo` in a layer.
    fn path(&self, layer: &str) -> PathBuf {
        self.directory.path().join(layer).join("demo")
    }

    fn run(&self, step: Step) -> Run {
        let layer = |name| self.directory.path().join(name).into_os_string();
        step.run().options([
            "--lower".into(),
            layer("lower"),
            "--upper".into(),
            layer("kept"),
            "--workdir".into(),
            "/demo".into(),
        ])
    }
}

/// A run that keeps what is written in the directory `kept`.
fn keeping(step: Step, kept: &Path) -> Run {
    step.run().options(["--upper".as_ref(), kept.as_os_str()])
}

fn set_mode(path: &Path, mode: u32) {
    let mode = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, mode).expect("it is ours");
}

/// The permissions and the owner.
fn mode_and_owner(path: &Path) -> (u32, u32) {
    let status = path.symlink_metadata().expect("it is there");
    (status.mode() & 0o7777, status.uid())
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("it is there")
}

fn four_names_are_merged_and_upper_wins() {
    for step in LAYERED {
        let merged = Demo::new().run(step).sh("ls; cat duplicate.txt");
        let four = "delete-me.txt\nduplicate.txt\nlower.txt\nupper.txt\n";
        merged.ok();
        assert_eq!(merged.stdout, format!("{four}I live in upper\n"));
    }
}

fn a_deleted_file_leaves_a_whiteout() {
    for step in LAYERED {
        let demo = Demo::new();
        let merged = demo.run(step).sh("rm delete-me.txt; ls");
        assert_eq!(merged.ok(), "duplicate.txt\nlower.txt\nupper.txt");
        let whiteout = demo.path("kept/upper").join("delete-me.txt");
        let whiteout = whiteout.symlink_metadata().expect("it is there");
        assert!(whiteout.file_type().is_char_device());
        assert_eq!(whiteout.rdev(), 0, "major 0, minor 0");
        assert!(demo.path("lower").join("delete-me.txt").exists());
    }
}

/// Three reads: merged and upper have the new text, lower has the old one.
fn a_modified_file_is_copied_up() {
    for step in LAYERED {
        let demo = Demo::new();
        let before = tree(&demo.path("lower"));
        assert!(!demo.path("kept/upper").join("lower.txt").exists());

        let merged = demo.run(step).sh("echo new >lower.txt; cat lower.txt");
        assert_eq!(merged.ok(), "new");
        assert_eq!(read(&demo.path("kept/upper").join("lower.txt")), "new\n");
        let lower = read(&demo.path("lower").join("lower.txt"));
        assert_eq!(lower, "I live in lower\n");
        assert_eq!(tree(&demo.path("lower")), before);
    }
}

fn opening_for_writing_is_enough_to_copy_up() {
    for step in LAYERED {
        let demo = Demo::new();
        demo.run(step).sh("cat lower.txt && : >>lower.txt").ok();
        let upper = read(&demo.path("kept/upper").join("lower.txt"));
        assert_eq!(upper, "I live in lower\n");
        assert!(!demo.path("kept/upper").join("delete-me.txt").exists());
    }
}

fn the_first_of_several_lower_layers_is_on_top() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Vec::new();
    for name in ["first", "second", "third"] {
        let layer = directory.path().join(name);
        fs::create_dir(&layer).expect("it is ours");
        fs::write(layer.join("who"), name).expect("it is ours");
        fs::write(layer.join(name), "").expect("it is ours");
        options.extend(["--lower".into(), layer.into_os_string()]);
    }
    for step in LAYERED {
        let run = step.run().options(&options);
        let run = run.sh("cat /who; echo; ls -d /first /second /third");
        assert_eq!(run.ok(), "first\n/first\n/second\n/third");
    }
}

/// The leak of step 4 and the wall of step 5 is in `mount.rs`; here is the whole
/// image, and the run that comes after.
fn without_upper_nothing_is_kept() {
    let image = Image::copy_of_default();
    let before = tree(image.path());
    for step in LAYERED {
        let change = "echo x >/new; echo x >>/etc/passwd; rm -rf /bin; :";
        step.run().rootfs(image.path()).sh(change).ok();
        assert_eq!(tree(image.path()), before, "{}", step.name);
        let next = step.run().rootfs(image.path());
        next.sh("test ! -e /new && test -d /bin").ok();
    }
}

fn with_upper_the_next_run_goes_on() {
    for step in LAYERED {
        let demo = Demo::new();
        demo.run(step).sh("echo kept >new.txt").ok();
        assert_eq!(demo.run(step).sh("cat new.txt").ok(), "kept");
        demo.run(step).sh("chmod 711 /").ok();
        assert_eq!(demo.run(step).sh("stat -c %a /").ok(), "711");
    }
}

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// A program that is set-uid root in the layer would be so outside.
fn a_kept_layer_is_closed_to_other_users() {
    needs::root();
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        set_mode(directory.path(), 0o755);
        let kept = directory.path().join("kept");
        keeping(step, &kept).sh(": >/gift && chmod 4755 /gift").ok();
        let gift = kept.join("upper/gift");
        assert_eq!(mode_and_owner(&gift), (0o4755, 0), "{}", step.name);

        assert!(!can_reach(NOBODY, &gift), "{}", step.name);
        set_mode(&kept, 0o755);
        assert!(can_reach(NOBODY, &gift), "{}", step.name);
    }
}

fn can_reach(user: u32, file: &Path) -> bool {
    let mut test = Command::new("test");
    test.arg("-u").arg(file).uid(user).gid(user);
    test.status().expect("test can be started").success()
}

/// The mode of `/` inside is that of upperdir, not that of the directory around
/// it.
fn other_users_inside_can_enter_the_root() {
    let image = Image::copy_of_default();
    for step in LAYERED {
        for mode in [0o755, 0o751] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let kept = directory.path().join("kept");
            set_mode(image.path(), mode);
            // What the caller's umask takes away must not be missing.
            let run = keeping(step, &kept)
                .rootfs(image.path())
                .through("umask 077; exec \"$0\" \"$@\"")
                .command(["stat", "-c", "%a %u", "/"]);
            assert_eq!(run.ok(), format!("{mode:o} 0"), "{}", step.name);
            let (mode, _) = mode_and_owner(&kept);
            assert_eq!(mode, 0o700, "{}", step.name);
        }
    }
}

fn an_open_directory_is_closed_while_it_is_empty() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        fs::create_dir(&kept).expect("it is new");
        set_mode(&kept, 0o755);
        keeping(step, &kept).sh("true").ok();
        assert_eq!(mode_and_owner(&kept).0, 0o700, "{}", step.name);

        for (mode, part) in [(0o755, "chmod 700"), (0o770, "another one")] {
            set_mode(&kept, mode);
            let run = keeping(step, &kept).sh("true");
            assert_message(&run, 125, &["(mode 0", part]);
            assert_eq!(mode_and_owner(&kept).0, mode, "{}", step.name);
        }
        set_mode(&kept, 0o700);
        keeping(step, &kept).sh("true").ok();
    }
}

/// A home, for example, is not filled with layers, and not closed.
fn what_is_no_layer_is_not_taken_for_one() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let home = directory.path().join("home");
        fs::create_dir(&home).expect("it is new");
        fs::write(home.join("letter"), "").expect("it is ours");
        for mode in [0o755, 0o700] {
            set_mode(&home, mode);
            let run = keeping(step, &home).sh("true");
            assert_message(&run, 125, &["\"letter\" in it", "no layer"]);
            assert_eq!(mode_and_owner(&home).0, mode, "{}", step.name);
            assert!(!home.join("upper").exists());
        }
        let diff = step.subcommand("diff").options([&home]).bare();
        assert_message(&diff, 125, &["there is no \"upper\" in it"]);
    }
}

fn a_link_in_the_place_of_a_kept_layer_is_refused() {
    for step in LAYERED {
        for link in ["kept", "kept/upper", "kept/work"] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let victim = directory.path().join("victim");
            fs::create_dir(&victim).expect("it is new");
            set_mode(&victim, 0o755);
            let link = directory.path().join(link);
            let kept = directory.path().join("kept");
            if link != kept {
                fs::create_dir(&kept).expect("it is new");
                set_mode(&kept, 0o700);
            }
            symlink(&victim, &link).expect("its name is free");
            let run = keeping(step, &kept).sh("echo x >/file");
            assert_message(&run, 125, &["upper directory"]);
            assert_eq!(mode_and_owner(&victim).0, 0o755, "{link:?}");
            let mut left = fs::read_dir(&victim).expect("it is ours");
            assert!(left.next().is_none(), "{link:?}");
        }
    }
}

/// On the way there, that is. One of our own is nothing special.
fn a_link_of_another_user_is_not_followed() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [place, link] =
            ["place", "link"].map(|name| directory.path().join(name));
        fs::create_dir(&place).expect("it is new");
        symlink("../place/.", place.join("here")).expect("it is new");
        symlink("place/here", &link).expect("it is new");
        keeping(step, &link.join("kept")).sh("echo x >/file").ok();
        assert!(place.join("kept/upper/file").exists(), "{}", step.name);

        if needs::is_root() {
            lchown(&link, Some(NOBODY), None).expect("lchown()");
            let run = keeping(step, &link.join("new")).sh("true");
            let parts = ["\"link\" in it", "symbolic link of user 65534"];
            assert_message(&run, 125, &parts);
            assert!(!place.join("new").exists(), "{}", step.name);
        }
    }
}

fn a_directory_of_another_user_keeps_nothing() {
    needs::root();
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let theirs = directory.path().join("theirs");
        fs::create_dir(&theirs).expect("it is new");
        set_mode(&theirs, 0o700);
        chown(&theirs, Some(NOBODY), None).expect("chown()");
        let run = keeping(step, &theirs).sh("echo x >/file");
        assert_message(&run, 125, &["it belongs to user 65534"]);
        assert!(!theirs.join("upper").exists(), "{}", step.name);
    }
}

/// The lock goes with the supervisor, and the container a moment later.
fn a_killed_container_has_its_layer_until_it_is_gone() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        let mut first = keeping(step, &kept).start_sh("echo ready; read _");
        first.wait_for("ready");
        let running = read(&kept.join("running"));
        let numbers: Vec<&str> = running.split_whitespace().collect();
        assert_eq!(numbers[0], first.init().to_string(), "{}", step.name);
        first.kill();

        // As if it took longer.
        let mut last = Command::new("sleep").arg("100").spawn().expect("sleep");
        let stat = Stat::of(last.id().cast_signed()).expect("it is there");
        let start_time = stat.start_time;
        let running = format!("{} {start_time}\n", last.id());
        fs::write(kept.join("running"), running).expect("it is ours");
        let second = keeping(step, &kept).start(["echo", "started"]);
        sleep(Duration::from_millis(300));
        assert_eq!(second.stdout(), "", "{}", step.name);
        last.kill().expect("it is there");
        last.wait().expect("it is our child");
        assert_eq!(second.finish().ok(), "started");
        assert!(!kept.join("running").exists(), "{}", step.name);

        // What does not say who it is keeps nobody waiting.
        let running = kept.join("running");
        mkfifo(&running, Mode::S_IRWXU).expect("it is ours");
        keeping(step, &kept).sh("true").ok();
        for text in [&b"\xff\xff 1"[..], b"-1 4", b"1", &[b'1'; 100_000]] {
            fs::write(&running, text).expect("it is ours");
            keeping(step, &kept).sh("true").ok();
        }
        symlink("/nowhere", &running).expect("the name is free");
        keeping(step, &kept).sh("true").ok();
        fs::create_dir(&running).expect("the name is free");
        let run = keeping(step, &kept).sh("true");
        assert_message(&run, 125, &["unlinkat(", r#", "running", 0): EISDIR"#]);
    }
}

/// Another user owns the directory above and exchanges the layer for a link and
/// back, as fast as it can, from the moment that it is there: root must neither
/// change nor fill what the link leads to.
fn what_is_put_in_the_place_of_a_kept_layer_is_not_changed() {
    needs::root();
    needs::tool("strace");
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let victim = directory.path().join("victim");
        let victims = [
            victim.clone(),
            victim.join("upper"),
            victim.join("work"),
            victim.join("work/work"),
        ];
        for victim in &victims {
            fs::create_dir(victim).expect("it is new");
            set_mode(victim, 0o711);
        }
        for round in 0..10 {
            let [kept, link] = ["kept", "link"]
                .map(|name| directory.path().join(format!("{name}-{round}")));
            symlink(&victim, &link).expect("it is new");
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // Fails as long as there is no layer.
                        let _ = exchange(&kept, &link);
                    }
                });
                // It may succeed or be refused. strace(1) stops it at each
                // call, for long enough that the exchange comes in between.
                let strace = "exec strace -f -o /dev/null \"$0\" \"$@\"";
                let run = keeping(step, &kept).through(strace);
                run.sh("echo x >/file");
                done.store(true, Ordering::Relaxed);
            });
        }
        for victim in &victims {
            assert_eq!(mode_and_owner(victim), (0o711, 0), "{victim:?}");
        }
        let files = tree(&victim);
        assert_eq!(files.len(), victims.len() - 1, "{:?}", files.keys());
    }
}

fn exchange(one: &Path, other: &Path) -> nix::Result<()> {
    let flags = RenameFlags::RENAME_EXCHANGE;
    renameat2(AT_FDCWD, one, AT_FDCWD, other, flags)
}

/// The kernel leaves a directory of mode 0, even when it is killed.
fn a_kept_layer_can_be_removed() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        let change = "rm /bin/true && mkdir /new && echo x >>/etc/passwd";
        keeping(step, &kept).sh(change).ok();
        remove(&kept);

        let mut killed = keeping(step, &kept).start_sh("echo ready; read _");
        killed.wait_for("ready");
        killed.kill();
        // What comes next tidies up, and removes the cgroup, too.
        keeping(step, &kept).sh("true").ok();
        remove(&kept);
    }
}

fn remove(directory: &Path) {
    let rm = Command::new("rm").arg("-r").arg(directory).output();
    let rm = Finished::from(rm.expect("rm can be started"));
    rm.ok();
}

/// A mount point, and right below `/`: the way there begins with no other
/// directory.
fn a_kept_layer_may_be_anywhere() {
    needs::root();
    needs::tool("unshare");
    needs::id_mapping();
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let script = r#"
            mount --bind "$DIRECTORY" /mnt && exec "$0" "$@"
        "#;
        for text in ["first", "second"] {
            let run = step
                .run()
                .env("DIRECTORY", directory.path())
                .options(["--upper", "/mnt"])
                .through(&format!(
                    "exec unshare --mount sh -c '{script}' \"$0\" \"$@\""
                ))
                .sh(&format!("cat /file; echo {text} >/file"));
            run.ok();
            let before = if text == "first" { "" } else { "first\n" };
            assert_eq!(run.stdout, before, "{}", step.name);
        }
        assert_eq!(read(&directory.path().join("upper/file")), "second\n");
    }
}

/// Root of a user namespace may not even search a directory that is closed to
/// all but the host's root.
fn a_closed_working_directory_does_not_matter() {
    for step in ALL {
        let closed = tempfile::tempdir().expect("a temporary directory");
        set_mode(closed.path(), 0o700);
        let script = "cd \"$DIRECTORY\" && exec \"$0\" \"$@\"";
        let run = step
            .run()
            .env("DIRECTORY", closed.path())
            .through(script)
            .sh("echo here");
        assert_eq!(run.ok(), "here", "{}", step.name);
        if step >= OVERLAY {
            let run = step
                .run()
                .env("DIRECTORY", closed.path())
                .options(["--upper", "kept"])
                .through(script)
                .sh("echo x >/file");
            run.ok();
            assert_eq!(read(&closed.path().join("kept/upper/file")), "x\n");
        }
    }
}

/// One step's layer is read by the other, as the upper one and as a lower one.
fn a_layer_means_the_same_in_all_steps() {
    needs::extended_attributes();
    for writer in LAYERED {
        for reader in LAYERED {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let kept = directory.path().join("kept");
            keeping(writer, &kept).sh("rm -r /var && mkdir /var").ok();
            let list = |run: Run| run.sh("cd /var && echo *").ok().to_owned();
            let names = format!("{}, {}", writer.name, reader.name);
            assert_eq!(list(keeping(reader, &kept)), "*", "{names}");
            let lower = kept.join("upper").into_os_string();
            let run = reader.run().options(["--lower".into(), lower]);
            assert_eq!(list(run), "*", "{names}");
            assert_ne!(list(reader.run()), "*", "{names}");
        }
    }
}

/// Marks that only the host's root can make and see, as by mount(8).
fn a_layer_in_the_other_dialect_is_refused() {
    needs::root();
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        keeping(step, &kept).sh("true").ok();
        let layer = kept.join("upper");
        let lower = ["--lower".as_ref(), layer.as_os_str()];
        step.run().options(lower).sh("true").ok();

        let path = layer.as_os_str().as_encoded_bytes();
        let path = CString::new(path).expect("a path has no NUL");
        let name = c"trusted.overlay.impure";
        // SAFETY: the strings end with a NUL, and there is one byte of value.
        let result = unsafe {
            let value = c"y".as_ptr().cast();
            libc::setxattr(path.as_ptr(), name.as_ptr(), value, 1, 0)
        };
        assert_eq!(result, 0, "setxattr()");
        let parts = ["trusted.overlay."];
        let run = step.run().options(lower).sh("true");
        assert_message(&run, 125, &parts);
        let run = keeping(step, &kept).sh("true");
        assert_message(&run, 125, &parts);
        let diff = step.subcommand("diff").options([&kept]).bare();
        assert_message(&diff, 125, &parts);
    }
}

/// A tmpfs was such a file system before Linux 6.6; a ramfs still is.
fn where_no_directory_can_be_deleted_the_run_says_so() {
    needs::root();
    needs::tool("unshare");
    let warning = "warning: the container can't delete";
    let script = "mount -t ramfs none /mnt && exec \"$0\" \"$@\"";
    let run = OVERLAY
        .run()
        .options(["--upper", "/mnt"])
        .through(&format!(
            "exec unshare --mount sh -c '{script}' \"$0\" \"$@\""
        ))
        .sh("rm -r /var");
    assert!(run.stderr.contains(warning), "{run}");
    assert_ne!(run.code, 0);

    needs::extended_attributes();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let run = keeping(OVERLAY, &directory.path().join("kept"));
    let run = run.sh("rm -r /var");
    assert!(!run.stderr.contains(warning), "{run}");
    run.ok();
}

/// Not the image, which has them all.
fn a_layer_that_hides_the_tools_is_blamed() {
    needs::extended_attributes();
    let image = Image::copy_of_default();
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        keeping(step, &kept).sh("rm -rf /bin").ok();
        let bare = keeping(step, &kept).bare();
        assert_message(&bare, 127, &["given by --upper", "hides the tools"]);
        assert!(!bare.stderr.contains("rm -rf"));
        let lower = kept.join("upper").into_os_string();
        let run = step.run().options(["--lower".into(), lower]);
        let run = run.rootfs(image.path()).bare();
        assert_message(&run, 127, &["given by --lower", "hides the tools"]);
        // A name that nobody has is no layer's fault.
        let run = step.run().options(["--lower".as_ref(), kept.as_os_str()]);
        let run = run.command(["no-such-command"]);
        assert_message(&run, 127, &["not in any directory of PATH"]);
    }
}

/// 10,000 bytes, where a system call takes 4096.
fn diff_goes_deeper_than_a_path_can_be_long() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        keeping(step, &kept).sh("true").ok();
        let name = "d".repeat(250);
        let mut here = OwnedFd::from(
            fs::File::open(kept.join("upper")).expect("it is ours"),
        );
        for _ in 0..40 {
            mkdirat(&here, &*name, Mode::S_IRWXU).expect("mkdirat()");
            let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            here = openat(&here, &*name, flags, Mode::empty()).expect("openat");
        }
        let diff = step.subcommand("diff").options([&kept]).bare();
        diff.ok();
        let lines = diff.lines();
        assert_eq!(lines.len(), 40, "{}", step.name);
        assert_eq!(lines[39], format!("A {}", format!("/{name}").repeat(40)));
    }
}

/// In a terminal, the names of a container must not be obeyed; and what is cut
/// at line breaks must not be cut at those in names.
fn diff_prints_one_line_a_name_and_json_its_bytes() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        let change = r#"
            cd / && : >"$(printf 'a\nD b')" && : >"$(printf 'c\033[2J')" &&
            : >"$(printf 'd\377')" && : >'e\n' && mkdir é && : >é/f
        "#;
        keeping(step, &kept).sh(change).ok();
        let diff = step.subcommand("diff").options([&kept]).bare();
        assert_eq!(
            diff.ok(),
            "A /a\\nD b\nA /c\\x1b[2J\nA /d\\xff\nA /e\\\\n\nA /é\nA /é/f"
        );

        let diff = step.subcommand("diff");
        let diff = diff.options(["--json".as_ref(), kept.as_os_str()]).bare();
        let json: serde_json::Value =
            serde_json::from_str(diff.ok()).expect("it is JSON");
        assert_eq!(
            json,
            serde_json::json!([
                { "change": "A", "path": "/a\nD b" },
                { "change": "A", "path": "/c\u{1b}[2J" },
                { "change": "A", "path_bytes": b"/d\xff" },
                { "change": "A", "path": "/e\\n" },
                { "change": "A", "path": "/é" },
                { "change": "A", "path": "/é/f" },
            ])
        );
    }
}

fn diff_lists_what_was_added_changed_and_deleted() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        let run = keeping(step, &kept);
        run.sh("mkdir /new && echo x >/new/file && \
                echo x >>/etc/passwd && rm /bin/true")
            .ok();
        let diff = step.subcommand("diff").options([&kept]).bare();
        assert_eq!(
            diff.ok(),
            "C /bin\nD /bin/true\nC /etc\nC /etc/passwd\nA /new\n\
             A /new/file"
        );
    }
}

/// Overlay marks it with an extended attribute, or the old files would show
/// through.
fn a_directory_made_anew_hides_the_old_one() {
    needs::extended_attributes();
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kept = directory.path().join("kept");
        let run = keeping(step, &kept);
        let run = run.sh("rm -r /var && mkdir /var && ls -A /var");
        assert_eq!(run.ok(), "", "{}", step.name);
        let diff = step.subcommand("diff").options([&kept]).bare();
        diff.ok();
        let lines = diff.lines();
        assert_eq!(lines[0], "C /var");
        assert!(lines.contains(&"D /var/tmp"), "{lines:?}");
    }
}

fn the_kernel_takes_500_layers_and_not_501() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Vec::new();
    for number in 0..500 {
        let layer = directory.path().join(format!("layer-{number}"));
        fs::create_dir(&layer).expect("it is ours");
        fs::write(layer.join(format!("from-{number}")), "").expect("ours");
        options.extend(["--lower".into(), layer.into_os_string()]);
    }
    for step in LAYERED {
        // The root file system is a layer, too.
        let most = step.run().options(&options[..2 * 499]);
        let most = most.sh("set -- /from-*; echo $#");
        assert_eq!(most.ok(), "499", "{}", step.name);
        let too_many = step.run().options(&options).sh("true");
        assert_message(&too_many, 125, &["501 lower layers", "500"]);
    }
}

/// `:` and `,` mean something in the options of the mount, and `\` too.
fn a_path_may_hold_any_character() {
    let name = r"a:b,c\d e=f'g";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [image, lower, kept] = ["image", "lower", "kept"]
        .map(|layer| directory.path().join(format!("{name} {layer}")));
    let source = Image::copy_of_default();
    fs::rename(source.path(), &image).expect("it is on the same disk");
    // Back again, or the drop of `source` has nothing to remove.
    fs::create_dir(source.path()).expect("its name is free");
    fs::create_dir(&lower).expect("it is ours");
    fs::write(lower.join("file"), "lower").expect("it is ours");
    for step in LAYERED {
        let run = step.run().rootfs(&image).options([
            "--lower".as_ref(),
            lower.as_os_str(),
            "--upper".as_ref(),
            kept.as_os_str(),
        ]);
        let run = run.sh("cat /file; echo upper >/new");
        assert_eq!(run.ok(), "lower", "{}", step.name);
        assert_eq!(read(&kept.join("upper/new")), "upper\n");
        fs::remove_dir_all(&kept).expect("it is ours");
    }
}

fn a_lower_layer_that_does_not_exist_is_named() {
    for step in LAYERED {
        let run = step.run().options(["--lower", "/no/such"]).sh("true");
        let parts = ["using \"/no/such\" as a layer", "ENOENT"];
        assert_message(&run, 125, &parts);
        let run = step.run().options(["--lower", "/etc/passwd"]).sh("true");
        assert_message(&run, 125, &["\"/etc/passwd\"", "ENOTDIR"]);
    }
}

fn two_containers_cannot_share_an_upper_directory() {
    for step in LAYERED {
        let demo = Demo::new();
        let mut first = demo.run(step).start_sh("echo ready; read _");
        first.wait_for("ready");
        let second = demo.run(step).sh("true");
        assert_message(&second, 125, &["in use by another container"]);
        first.finish().ok();
        demo.run(step).sh("true").ok();
    }
}

/// An overlay is what `/` is in most containers. Here one is made in a mount
/// namespace of the test's own.
fn an_upper_directory_on_an_overlay_is_refused() {
    needs::root();
    needs::tool("unshare");
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Kernels before 6.6 or so want the attributes on a real disk.
        let script = r#"
            cd "$DIRECTORY" && mkdir lower upper work merged &&
            mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work \
                none merged &&
            mkdir merged/upper &&
            exec "$0" "$@"
        "#;
        let upper = directory.path().join("merged/upper");
        let run = step
            .run()
            .env("DIRECTORY", directory.path())
            .options(["--upper".as_ref(), upper.as_os_str()])
            .through(&format!(
                "exec unshare --mount sh -c '{script}' \"$0\" \"$@\""
            ))
            .sh("true");
        // For step 6 it is the ids that the file system can't do.
        let hint = match step {
            FULL => "hint: this file system can't show its files with other",
            _ => "hint: that file system can't hold what a container writes",
        };
        assert_message(&run, 125, &["EINVAL: Invalid argument", hint]);
    }
}

/// Twice as much as the limit allows.
fn write_60_megabytes(run: Run) -> Finished {
    needs::limits();
    let run = run.options(["--memory", "30m"]);
    run.sh("exec head -c 60000000 /dev/zero >/file")
}

/// Without `--upper` the container writes to a tmpfs: its pages are memory.
fn what_is_written_to_memory_counts_against_the_limit() {
    for step in LAYERED {
        let run = write_60_megabytes(step.run());
        assert_eq!(run.code, 137, "{}", step.name);
    }
}

fn what_is_written_to_a_disk_does_not() {
    needs::disk();
    let image = Image::copy_of_default();
    write_60_megabytes(CGROUPS.run().rootfs(image.path())).ok();
}

/// All paths below `directory`, with the mode and the content of each.
fn tree(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("it is ours") {
        let path = entry.expect("it is ours").path();
        let status = path.symlink_metadata().expect("it is ours");
        let content = match status.file_type() {
            kind if kind.is_dir() => {
                found.extend(tree(&path));
                Vec::new()
            }
            kind if kind.is_file() => fs::read(&path).expect("it is ours"),
            _ => Vec::new(),
        };
        found.insert(path, (status.mode(), content));
    }
    found
}
