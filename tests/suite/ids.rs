//! Who root inside is outside, in step 6.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink},
    path::Path,
    process::Command,
};

use harness::{
    FULL, Finished, MOUNT, OVERLAY, Run, Test, claims, host::children,
    image::Image, needs, wait_until,
};
use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::{
        inotify::{InitFlags, Inotify},
        signal::{SigEvent, SigevNotify},
        timer::Timer,
    },
    time::ClockId,
};

use crate::{bad_input::assert_message, refusals::in_namespaces};

pub(crate) const TESTS: &[Test] = claims![
    without_id_mapping_there_is_no_container_of_root,
    root_is_root_outside_only_when_asked_for,
    a_container_of_root_has_ids_that_nobody_else_has,
    a_range_that_is_granted_to_root_is_taken,
    a_line_for_root_with_ids_of_users_is_not_taken,
    a_table_that_cannot_be_read_is_no_reason_for_other_ids,
    ids_are_granted_or_there_is_one_and_the_doctor_knows,
    standard_output_can_be_opened_when_it_is_a_pipe,
    what_is_no_pipe_keeps_its_owner,
    an_image_may_be_where_only_its_owner_can_go,
    an_image_is_what_it_was_when_it_was_found,
    a_link_of_another_user_leads_to_no_layer,
    a_container_leaves_its_user_outside_signals_and_watches,
];

/// On an overlay, as in a container of Docker.
fn on_an_overlay(run: Run, image: &Image) -> Run {
    let script = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && \
                  mount -t overlay -o lowerdir=\"$IMAGE\",upperdir=/mnt/u,\
                  workdir=/mnt/w none \"$IMAGE\"";
    let run = run.env("IMAGE", image.path()).rootfs(image.path());
    in_namespaces(run, "--mount", script)
}

fn without_id_mapping_there_is_no_container_of_root() {
    needs::root();
    let image = Image::copy_of_default();
    let run = on_an_overlay(FULL.run(), &image).sh("echo reached");
    let path = image.path();
    let aim =
        format!("giving {path:?} to the container's root: mount_setattr(");
    assert_eq!((run.code, run.stdout.as_str()), (125, ""), "{run}");
    assert!(run.stderr.contains(&aim), "{run}");
    let call = "attr_set=MOUNT_ATTR_IDMAP, ";
    assert!(run.stderr.contains(call), "{run}");
    assert!(run.stderr.contains("EINVAL"), "{run}");
    assert!(run.stderr.contains("--root-is-root-outside"), "{run}");
}

fn root_is_root_outside_only_when_asked_for() {
    needs::root();
    needs::id_mapping();
    let image = Image::copy_of_default();
    let show = "cat /proc/self/uid_map";
    let run = FULL.run().options(["--root-is-root-outside"]);
    let run = on_an_overlay(run, &image).sh(show);
    assert_eq!(root_outside(&run), "0");
    let run = FULL.sh(show);
    assert_ne!(root_outside(&run), "0");
}

/// The second number of uid_map's first line.
fn root_outside(run: &Finished) -> &str {
    let mut fields = run.ok().split_whitespace();
    fields.nth(1).expect("a line of three numbers")
}

/// With these lines in `/etc/subuid` and `/etc/subgid`, which only this run
/// sees.
fn with_granted(run: Run, lines: &str) -> Run {
    in_namespaces(run, "--mount", &grant(lines))
}

/// The script that grants it.
fn grant(lines: &str) -> String {
    format!(
        "mount -t tmpfs none /mnt && printf \"{lines}\" >/mnt/lines && \
         for f in subuid subgid; do mount --bind /mnt/lines /etc/$f; done"
    )
}

/// What every start says here: nothing, but on an older kernel a word about its
/// tmpfs.
fn what_is_always_said() -> String {
    FULL.sh("true").stderr
}

/// What a distribution grants to the first user of a machine.
fn a_container_of_root_has_ids_that_nobody_else_has() {
    needs_tables();
    for (lines, outside) in [
        ("", "2013265920"),
        ("ann:100000:65536\\n", "2013265920"),
        ("ann:2013265920:65536\\n", "2013331456"),
        ("odd\\n-1:-1:x\\n\\n", "2013265920"),
    ] {
        let run = with_granted(FULL.run(), lines).sh("cat /proc/self/uid_map");
        assert_eq!(root_outside(&run), outside, "{lines}");
        assert_eq!(run.stderr, what_is_always_said(), "{lines}");
    }
    let all = "ann:0:4294967295\\n";
    let run = with_granted(FULL.run(), all).sh("true");
    assert_message(&run, 125, &["no 65536 ids are left"]);
}

fn a_range_that_is_granted_to_root_is_taken() {
    needs_tables();
    let lines = "ann:100000:65536\\nroot:200000:9\\n0:300000:65536\\n";
    let run = with_granted(FULL.run(), lines).sh("cat /proc/self/uid_map");
    assert_eq!(root_outside(&run), "300000");
    assert_eq!(run.stderr, what_is_always_said());
}

fn a_line_for_root_with_ids_of_users_is_not_taken() {
    needs_tables();
    for lines in [
        "root:0:65536\\n",
        "root:1000:65536\\n",
        "root:100000:65536\\nann:165535:1\\n",
    ] {
        let run = with_granted(FULL.run(), lines).sh("cat /proc/self/uid_map");
        assert_eq!(root_outside(&run), "2013265920", "{lines}");
        let warning = "warning: not taken from /etc/subuid: ";
        assert!(run.stderr.contains(warning), "{run}");
    }
}

/// A range that somebody has could not be told from one that nobody has.
fn a_table_that_cannot_be_read_is_no_reason_for_other_ids() {
    needs_tables();
    // A directory can be opened, and not be read.
    let mount = "mount -t tmpfs none /mnt && cp -r /etc /mnt && \
                 rm /mnt/etc/subuid && mkdir /mnt/etc/subuid && \
                 mount --bind /mnt/etc /etc";
    let run = in_namespaces(FULL.run(), "--mount", mount).sh("true");
    assert_eq!(run.code, 125, "{run}");
    assert!(run.stderr.contains("/etc/subuid"), "{run}");
}

/// Both files must exist, for something to be mounted on them.
fn needs_tables() {
    needs::root();
    needs::id_mapping();
    for file in ["/etc/subuid", "/etc/subgid"] {
        if !Path::new(file).exists() {
            harness::skip(&format!("needs a file {file}"));
        }
    }
}

/// What is granted to a plain user is given, or there is one id and a warning;
/// and the doctor knows which.
fn ids_are_granted_or_there_is_one_and_the_doctor_knows() {
    needs::root();
    needs_tables();
    for tool in ["setpriv", "newuidmap", "newgidmap"] {
        needs::tool(tool);
    }
    let user = nix::unistd::User::from_name("steps-ci");
    let Ok(Some(user)) = user else {
        harness::skip("needs the user steps-ci");
    };
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().to_owned();
    std::os::unix::fs::chown(&path, Some(user.uid.as_raw()), None)
        .expect("we are root");
    let (uid, gid) = (user.uid, user.gid.as_raw());
    let granted = "steps-ci:100000:65536\\n";
    let by_number = format!("{uid}:100000:65536\\n");
    let with_own = format!("steps-ci:{uid}:65536\\n");
    let shared = format!("{granted}ann:165535:1\\n");
    let newgrp = gid + 1;
    let as_is = "true";
    let closed = "chmod 600 /mnt/lines";
    let not_set_uid = "f=$(command -v newuidmap) && mount --bind $f $f && \
                       mount -o remount,bind,nosuid $f";
    let away = "mount --bind /dev/null $(command -v newgidmap)";
    let nothing = "ann:100000:65536\\n";
    let env = "env";
    let no_new_privs = "--no-new-privs env";
    let not_installed = "env PATH=/no/such";
    let not_granted = "/etc/subuid or /etc/subgid doesn't grant the ids, or \
                       the program is not set-uid root (a nosuid mount?)";
    let not_alone = "what /etc/subuid or /etc/subgid grants to you is not \
                     yours alone";
    let no_gain = "a set-uid program gains nothing under no_new_privs, which \
                   some editors' terminals, sandboxes and containers set";
    let missing = "the programs that give a plain user more ids are not \
                   installed";
    let other_group = "another group was chosen by newgrp(1) or sg(1)";
    let ask_root = "only root can grant ids to you";
    // Lines, a script, the group, what setpriv starts; then whether there are
    // more ids than one, whether that is told, and what the doctor says to it.
    for (lines, script, group, through, more, told, cause) in [
        (granted, as_is, gid, env, true, false, ""),
        (&*by_number, as_is, gid, env, true, false, ""),
        (granted, as_is, newgrp, env, false, true, other_group),
        (granted, as_is, gid, no_new_privs, false, true, no_gain),
        (granted, closed, gid, env, false, true, ""),
        (granted, not_set_uid, gid, env, false, true, not_granted),
        (granted, away, gid, env, false, true, ""),
        (granted, as_is, gid, not_installed, false, true, missing),
        (&*with_own, as_is, gid, env, false, true, not_alone),
        (&*shared, as_is, gid, env, false, true, not_alone),
        (nothing, as_is, gid, env, false, false, ask_root),
    ] {
        let situation = format!("{lines} {script} {group} {through}");
        let through = |run: Run| {
            run.through(&format!(
                "exec unshare --mount sh -c '{} && {script} && \
                 exec setpriv --reuid {uid} --regid {group} --clear-groups \
                 {through} XDG_CACHE_HOME={} \"$0\" \"$@\"' \"$0\" \"$@\"",
                grant(lines),
                path.display()
            ))
        };
        let run = through(FULL.run()).sh("cat /proc/self/uid_map; id -G");
        let lines = run.ok().lines().count();
        assert_eq!(lines, if more { 3 } else { 2 }, "{situation}");
        assert_eq!(run.lines().last(), Some(&"0"), "{situation}");
        let warning = "root is the only user in the container: ";
        assert_eq!(run.stderr.contains(warning), told, "{situation}");

        let doctor = FULL.subcommand("doctor").options(["--json"]);
        let doctor = through(doctor).bare();
        let one = "root is the only user inside";
        assert_eq!(doctor.stdout.contains(one), !more, "{situation}");
        assert!(doctor.stdout.contains(cause), "{situation}: {cause}");
        // Nor does it take one warning for another.
        let told = run.stderr.contains("can't delete or rename");
        let marks = doctor.stdout.contains("needs --upper DIR");
        assert_eq!(marks, told, "{situation}");
        assert_eq!(doctor.code, 0, "{situation}");
    }
}

/// As in the official images of nginx and httpd: their logs are links there.
fn standard_output_can_be_opened_when_it_is_a_pipe() {
    needs::id_mapping();
    for link in ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"] {
        let run = FULL.run().redirected("| cat");
        assert_eq!(run.sh(&format!("echo written >{link}")).ok(), "written");
        let run = FULL.run().redirected("2>&1 >/dev/null | cat");
        let run = run.sh("echo written >/dev/stderr");
        assert_eq!(run.stdout.lines().last(), Some("written"), "{run}");
    }
    let run = FULL.run().through("echo read | \"$0\" \"$@\"");
    assert_eq!(run.sh("cat /dev/stdin").ok(), "read");
}

fn what_is_no_pipe_keeps_its_owner() {
    needs::id_mapping();
    let owner = |path: &Path| {
        let it = path.metadata().expect("it is there");
        (it.uid(), it.gid(), it.mode())
    };
    let null = Path::new("/dev/null");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("it is ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
        .expect("it is ours");
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("ours");
    let before = (owner(null), owner(&file), owner(&fifo));
    for step in [OVERLAY, FULL] {
        let all =
            format!("</dev/null >{} 2<>{}", file.display(), fifo.display());
        step.run().redirected(&all).sh("true").ok();
    }
    assert_eq!((owner(null), owner(&file), owner(&fifo)), before);
}

/// In root's home, for example: the container's root could not go there.
fn an_image_may_be_where_only_its_owner_can_go() {
    let image = Image::copy_of_default();
    let closed = tempfile::tempdir().expect("a temporary directory");
    let path = closed.path().join("image");
    fs::rename(image.path(), &path).expect("both are ours");
    let closed_to_others = fs::Permissions::from_mode(0o700);
    fs::set_permissions(closed.path(), closed_to_others).expect("it is ours");
    for step in MOUNT.and_later() {
        assert_eq!(step.run().rootfs(&path).sh("echo ok").ok(), "ok");
    }
    // A temporary directory has to be there in the end.
    fs::create_dir(image.path()).expect("its name is free");
}

/// Whoever owns the directory above can put a link in its place, to the host's
/// root for example: here when it is open, and a mount of it is to be copied.
fn an_image_is_what_it_was_when_it_was_found() {
    needs::root();
    needs::id_mapping();
    needs::tool("strace");
    let secret = tempfile::tempdir().expect("a temporary directory");
    let file = secret.path().join("secret");
    fs::write(&file, "of the host").expect("it is ours");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [path, link] =
        ["image", "link"].map(|name| directory.path().join(name));
    symlink("/", &link).expect("it is new");
    lchown(&link, Some(65534), None).expect("lchown()");
    let image = Image::copy_of_default();
    let mut cp = Command::new("cp");
    let copied = cp.arg("-a").args([image.path(), &path]);
    assert!(
        copied.status().is_ok_and(|status| status.success()),
        "cp -a"
    );
    fs::write(path.join("mine"), "of the image").expect("it is ours");

    let strace = "exec strace -o /dev/null -e trace=open_tree \
                  -e inject=open_tree:delay_enter=500ms \"$0\" \"$@\"";
    let script = format!(
        "cat /mine {}; echo x >/mine || echo read-only",
        file.display()
    );
    let run = FULL.run().options(["--read-only"]).rootfs(&path);
    let run = run.through(strace).start(["sh", "-c", &script]);
    let is_about_to_copy = |process: &(i32, char)| {
        let call = fs::read_to_string(format!("/proc/{}/syscall", process.0));
        let open_tree = format!("{} ", libc::SYS_open_tree);
        call.is_ok_and(|call| call.starts_with(&open_tree))
    };
    wait_until("the image to be open", || {
        let traced = children(run.supervisor());
        traced.iter().any(is_about_to_copy).then_some(())
    });
    let flags = RenameFlags::RENAME_EXCHANGE;
    renameat2(AT_FDCWD, &path, AT_FDCWD, &link, flags).expect("both are ours");
    let run = run.finish();
    assert_eq!(run.ok(), "of the imageread-only");
    let mine = fs::read_to_string(link.join("mine"));
    assert_eq!(mine.expect("it is there"), "of the image");
}

fn a_link_of_another_user_leads_to_no_layer() {
    needs::root();
    let image = Image::copy_of_default();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = directory.path().join("link");
    symlink(image.path(), &link).expect("it is new");
    for step in MOUNT.and_later() {
        let options = match step < OVERLAY {
            true => &["--rootfs"][..],
            false => &["--rootfs", "--lower"],
        };
        for option in options {
            let run = |target: &Path| {
                let run =
                    step.run().options([option.as_ref(), target.as_os_str()]);
                run.sh("true")
            };
            lchown(&link, Some(0), None).expect("lchown()");
            run(&link).ok();
            lchown(&link, Some(65534), None).expect("lchown()");
            let refused = run(&link);
            let message = "symbolic link of user 65534";
            assert_eq!(refused.code, 125, "{refused}");
            assert!(refused.stderr.contains(message), "{refused}");
        }
    }
}

/// What is counted for all users of a user namespace together, and for the one
/// who has made it.
fn a_container_leaves_its_user_outside_signals_and_watches() {
    needs::id_mapping();
    let image = Image::copy_of_default();
    for (what, call) in [
        ("timers", make_timer as fn() -> nix::Result<()>),
        ("instances of inotify", make_watch),
    ] {
        let run = FULL.run().rootfs(image.path());
        let mut container = run.start(["/helper", "take-all", what]);
        container.wait_for("taken");
        assert_eq!(call(), Ok(()), "{what}");
        container.finish().ok();
    }
    let limit = "cat /proc/sys/user/max_inotify_watches";
    let inside: u64 = FULL.sh(limit).ok().parse().expect("a number");
    let outside = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches");
    let outside: u64 =
        outside.expect("/proc").trim().parse().expect("a number");
    assert_eq!(inside, outside / 2);
}

/// It takes a place among the signals that may wait.
fn make_timer() -> nix::Result<()> {
    Timer::new(
        ClockId::CLOCK_MONOTONIC,
        SigEvent::new(SigevNotify::SigevNone),
    )
    .map(drop)
}

fn make_watch() -> nix::Result<()> {
    Inotify::init(InitFlags::IN_CLOEXEC).map(drop)
}
