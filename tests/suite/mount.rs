//! Step 3: a file system of its own.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use harness::{
    ALL, CGROUPS, FULL, MOUNT, OVERLAY, PID, Test, claims, image::Image, needs,
    programs,
};

use crate::bad_input::assert_message;

pub(crate) const TESTS: &[Test] = claims![
    a_container_sees_only_its_image,
    a_file_of_the_host_is_there_up_to_step_2,
    proc_is_mounted_afresh,
    proc_gives_no_rights_and_no_programs,
    a_mount_point_in_an_image_is_never_followed,
    dev_null_is_a_device,
    a_mount_inside_is_not_seen_outside,
    nothing_appears_under_a_shared_root,
    the_old_root_is_gone,
    a_chroot_can_be_escaped_but_not_a_container,
    below_a_moved_root_is_the_old_one_but_not_below_a_container_s,
    what_is_written_into_the_image_stays_there_up_to_step_4,
];

fn a_container_sees_only_its_image() {
    let image = Image::copy_of_default();
    fs::write(image.path().join("only-here"), "").expect("it is ours");
    for step in MOUNT.and_later() {
        let root = step.run().rootfs(image.path()).sh("ls /");
        let mut expected: Vec<String> = fs::read_dir(image.path())
            .expect("it is ours")
            .map(|entry| entry.expect("readable").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        expected.sort();
        root.ok();
        assert_eq!(root.lines(), expected, "{}", step.name);
    }
}

fn a_file_of_the_host_is_there_up_to_step_2() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("secret");
    fs::write(&file, "of the host").expect("it is ours");
    for step in ALL {
        let cat = step.run().command(["cat".as_ref(), file.as_os_str()]);
        if step <= PID {
            assert_eq!(cat.ok(), "of the host");
        } else {
            assert_eq!((cat.code, cat.stdout.as_str()), (1, ""));
            assert!(cat.stderr.contains("No such file"), "{cat}");
        }
    }
}

fn proc_is_mounted_afresh() {
    for step in MOUNT.and_later() {
        let mounts = step.sh("grep -c ' /proc proc ' /proc/mounts; \
                              cd /proc; echo [0-9]*");
        let (count, numbers) = mounts.ok().split_once('\n').expect("two lines");
        assert_eq!(count, "1", "{}", step.name);
        // 3 was grep, which has ended.
        assert_eq!(numbers, "1 2", "{}", step.name);
    }
}

/// No set-uid programs, no devices, no programs at all.
fn proc_gives_no_rights_and_no_programs() {
    for step in MOUNT.and_later() {
        let mounts = step.sh("cat /proc/mounts");
        let proc = mounts.ok().lines().find(|it| it.contains(" /proc proc "));
        let options = proc.expect("it is mounted").split(' ').nth(3);
        let options: Vec<&str> = options.unwrap_or("").split(',').collect();
        for option in ["nosuid", "nodev", "noexec"] {
            assert!(options.contains(&option), "{}: {option}", step.name);
        }
    }
}

/// Before the root has changed, a link would lead the mount to the host, or to
/// where nothing expects it; that a directory is taken is seen by all others.
fn a_mount_point_in_an_image_is_never_followed() {
    let host = tempfile::tempdir().expect("a temporary directory");
    let climbing = Path::new("../../../../../../..");
    let climbing = climbing.join(host.path().strip_prefix("/").expect("/"));
    let entries = || fs::read_dir(host.path()).expect("it is ours").count();

    for step in MOUNT.and_later() {
        let last = if step < FULL { 2 } else { 3 };
        for name in &["proc", "dev", "sys"][..last] {
            let image = Image::copy_of_default();
            let place = image.path().join(name);
            fs::create_dir(image.path().join("x")).expect("it is ours");
            symlink("../x", image.path().join("etc/k")).expect("it is ours");
            for target in [
                host.path(),
                &climbing,
                Path::new("x"),
                Path::new("etc/k"),
                Path::new("/nowhere"),
                Path::new("/"),
            ] {
                // A directory, or the link of the last round.
                let _ = fs::remove_dir_all(&place);
                symlink(target, &place).expect("it is ours");
                let run = step.run().rootfs(image.path()).sh("true");
                let aim = format!("making a place for /{name}: ");
                assert_message(&run, 125, &[&aim, "ENOTDIR"]);
                assert_eq!(entries(), 0, "made on the host");
            }
            fs::remove_file(&place).expect("it is ours");
            fs::write(&place, "no directory").expect("it is ours");
            let run = step.run().rootfs(image.path()).sh("true");
            // From step 5 on it is no place of the host that is refused.
            let place = match step < OVERLAY {
                true => format!("<{}>, ", image.path().display()),
                false => "<overlay:/>, ".to_owned(),
            };
            assert_message(&run, 125, &[&place, "ENOTDIR"]);
        }
    }
}

/// Otherwise `>/dev/null` would write a file into the image.
fn dev_null_is_a_device() {
    for step in ALL {
        let run = step.sh("echo gone >/dev/null; stat -c '%F %t:%T' /dev/null");
        assert_eq!(run.ok(), "character special file 1:3", "{}", step.name);
    }
}

fn a_mount_inside_is_not_seen_outside() {
    let image = Image::copy_of_default();
    for step in [MOUNT, CGROUPS] {
        let script = "mount -t tmpfs tmpfs /mnt && echo hidden >/mnt/file && \
                      cat /mnt/file; read _";
        let mut container = step.run().rootfs(image.path()).start_sh(script);
        container.wait_for("hidden");
        assert!(image.path().join("mnt").is_dir());
        assert!(!image.path().join("mnt/file").exists());
        container.finish().ok();
    }
}

/// systemd makes `/` a shared mount: each mount in a copy of it appears in the
/// original too, unless the copy is made private first. This machine need not
/// have it so; a mount namespace for the test has.
fn nothing_appears_under_a_shared_root() {
    needs::root();
    needs::tool("unshare");
    // It writes until nobody reads any more, so that it is still running when
    // the mounts are looked at.
    // /dev is the host's up to step 5, and a mount of its own on most hosts.
    let inside = "mount -t tmpfs tmpfs /mnt 2>/dev/null; \
                  mount -t tmpfs tmpfs /dev/shm 2>/dev/null; \
                  while echo running; do :; done";
    let outside = r#"
        before=$(cat /proc/self/mountinfo)
        echo "$before" | grep -q ' / / .* shared:' || echo "/ is not shared"
        "$0" run -- sh -c "$1" | {
            read line; echo "$line"
            during=$(cat /proc/self/mountinfo)
            [ "$during" = "$before" ] || echo "during the run: $during"
        }
        after=$(cat /proc/self/mountinfo)
        [ "$after" = "$before" ] || echo "after the run: $after"
    "#;
    for step in MOUNT.and_later() {
        let run = Command::new("unshare")
            .args(["--mount", "--propagation", "shared"])
            .args(["sh", "-c", outside])
            .arg(programs::path(step.name))
            .arg(inside)
            .output()
            .expect("unshare can be started");
        let stdout = String::from_utf8_lossy(&run.stdout);
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert_eq!(stdout, "running\n", "{}: {stderr}", step.name);
    }
}

/// `/` is the top of the mount tree: there is nothing above and nothing below.
fn the_old_root_is_gone() {
    for step in MOUNT.and_later() {
        let mounts = step
            .sh("while read _ mount_point _; do echo $mount_point; done \
             </proc/mounts");
        mounts.ok();
        for mount_point in mounts.lines() {
            let first = mount_point.split('/').nth(1).unwrap_or_default();
            let ours = ["", "proc", "dev", "sys"].contains(&first);
            let name = ["/etc/hostname", "/etc/hosts"].contains(&mount_point);
            assert!(ours || name, "{}: {mount_point} is mounted", step.name);
        }
    }
}

/// The trick is a second chroot(2), for which one has to be root. It does not
/// work where the old root is not mounted any more.
fn a_chroot_can_be_escaped_but_not_a_container() {
    let image = Image::minimal();
    let outside = tempfile::tempdir().expect("a temporary directory");
    let secret = outside.path().join("secret");
    fs::write(&secret, "of the host").expect("it is ours");

    let run = chroot(image.path(), &secret);
    assert_eq!(run, "of the host");

    for step in MOUNT.and_later() {
        let escape = step.run().rootfs(image.path()).command([
            "/helper".as_ref(),
            "escape-chroot".as_ref(),
            secret.as_os_str(),
        ]);
        assert_eq!((escape.code, escape.stdout.as_str()), (1, ""));
        // What it finds up there is the container's own root.
        assert!(escape.stderr.contains("No such file"), "{escape}");
    }
}

/// On a machine that boots, the real root is moved over the first one, and
/// both stay. In a container that would be the host.
fn below_a_moved_root_is_the_old_one_but_not_below_a_container_s() {
    needs::tool("unshare");
    needs::user_namespaces();
    let image = Image::minimal();
    let outside = tempfile::tempdir().expect("a temporary directory");
    let secret = outside.path().join("secret");
    fs::write(&secret, "of the host").expect("it is ours");

    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !needs::is_root() {
        command.arg("--map-root-user");
    }
    let run = command
        .arg(image.path().join("helper"))
        .arg("move-root")
        .args([image.path(), &secret])
        .output()
        .expect("unshare can be started");
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.stdout, b"of the host", "{stderr}");

    for step in MOUNT.and_later() {
        let escape = step.run().rootfs(image.path()).command([
            "/helper".as_ref(),
            "uncover-root".as_ref(),
            secret.as_os_str(),
        ]);
        assert_eq!((escape.code, escape.stdout.as_str()), (1, ""));
    }
}

/// Runs the escape under chroot(1).
fn chroot(image: &Path, secret: &Path) -> String {
    needs::tool("chroot");
    needs::user_namespaces();
    let mut command = if needs::is_root() {
        Command::new("chroot")
    } else {
        needs::tool("unshare");
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
        command
    };
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let run = command
        .env("PATH", path)
        .arg(image)
        .args(["/helper", "escape-chroot"])
        .arg(secret)
        .output()
        .expect("chroot can be started");
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{stderr}");
    String::from_utf8_lossy(&run.stdout).into_owned()
}

/// The leak of step 4, and the wall of step 5.
fn what_is_written_into_the_image_stays_there_up_to_step_4() {
    for step in MOUNT.and_later() {
        let image = Image::copy_of_default();
        let run = step.run().rootfs(image.path());
        run.sh("echo changed >/file && rm /bin/cat").ok();
        let is_written = image.path().join("file").exists();
        let is_deleted = !image.path().join("bin/cat").exists();
        let stays = step <= CGROUPS;
        assert_eq!((is_written, is_deleted), (stays, stays), "{}", step.name);
    }
}
