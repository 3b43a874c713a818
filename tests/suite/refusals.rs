//! What a reader is told by a kernel that refuses: the real call, the real
//! errno, and what to do. Each message is a snapshot.
//!
//! A situation is made around the step, by a shell script or by the suite's
//! helper, and is gone with it. Where a switch of the whole machine has to be
//! thrown, the test runs only on one that says it may be ruined
//! (`SUITE_DISPOSABLE_MACHINE=1`, which the suite's virtual machines do).

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::Command,
};

use ground::cgroups;
use harness::{
    ALL, CGROUPS, FULL, Finished, MOUNT, OVERLAY, PID, Run, Step, Test, UTS,
    claims, host::cgroup_of, image::Image, needs, programs,
};
use insta::assert_snapshot;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::cgroups::fifty_mebibytes;

pub(crate) const TESTS: &[Test] = claims![
    without_clone3_each_step_runs,
    without_clone3_limits_hold,
    under_docker_s_filter_the_filter_is_named,
    in_a_chroot_there_is_no_user_namespace,
    user_namespaces_that_are_switched_off,
    user_namespaces_for_root_only,
    a_limit_on_namespaces,
    a_limit_on_user_namespaces,
    a_user_namespace_with_one_id,
    a_root_that_may_not_give_ids,
    children_of_another_pid_namespace,
    a_pid_namespace_that_has_ended,
    no_programs_in_memory,
    a_root_without_its_power,
    a_filter_that_refuses_filters,
    a_kernel_without_the_newer_calls,
    too_few_open_files,
    room_for_one_process_only,
    the_root_as_the_new_root,
    a_file_as_the_new_root,
    a_loop_of_links_as_the_new_root,
    an_image_of_somebody_else,
    the_initramfs_as_the_root,
    an_apparmor_profile_that_forbids_mounts,
    a_masked_proc,
    a_masked_sys,
    a_sys_that_is_not_mounted,
    a_read_only_image_without_places_to_mount_on,
    a_cache_that_is_read_only,
    a_cache_on_a_full_disk,
    a_cache_that_is_closed,
    a_cache_without_execution,
    a_program_on_a_file_system_without_execution,
    a_program_for_another_processor,
    a_program_without_its_loader,
    a_link_to_a_descriptor_as_working_directory,
    a_file_as_working_directory,
    an_upper_directory_on_an_overlay,
    a_layer_that_is_given_twice,
    memory_without_attributes,
    an_image_that_cannot_be_id_mapped,
    a_device_in_a_directory_that_is_closed,
    a_file_as_a_directory,
    a_destination_that_leads_nowhere,
    a_destination_in_a_loop_of_links,
    a_destination_below_a_file,
    a_kernel_without_landlock,
    no_delegated_cgroup,
    read_only_cgroups,
    cgroups_that_are_not_mounted,
    alone_in_the_topmost_cgroup_the_step_makes_place,
    a_cgroup_with_other_processes,
    a_cgroup_without_the_controller,
    a_cgroup_that_allows_none_below_it,
    a_delegated_cgroup_without_controllers,
    a_real_time_process,
];

/// Under a filter that refuses system calls, as Docker's default profile does.
pub(crate) fn filtered(run: Run, filter: &str) -> Run {
    let helper = programs::helper();
    let helper = helper.display();
    run.through(&format!("exec '{helper}' filtered {filter} \"$0\" \"$@\""))
}

/// In namespaces of its own, made by unshare(1) with these options, after a
/// script has changed something there.
pub(crate) fn in_namespaces(run: Run, options: &str, script: &str) -> Run {
    needs::tool("unshare");
    run.through(&format!(
        "exec unshare {options} sh -c '{script} && exec \"$0\" \"$@\"' \
         \"$0\" \"$@\""
    ))
}

/// The message of a step that fails, without what differs from run to run.
fn assert_refused(name: &str, runs: impl IntoIterator<Item = Finished>) {
    let mut text = String::new();
    for run in runs {
        text += &format!("exit code {}\n", run.code);
        for kind in ["\n  hint: ", "\n  read: "] {
            assert!(run.stderr.contains(kind), "no{kind}in {}", run.stderr);
        }
        // A warning is about something else, and may come before.
        let lines = run.stderr.lines();
        for line in lines.filter(|line| !line.contains(": warning: ")) {
            let ours = ["step0", "  hint: ", "  read: "];
            let ours = ours.iter().any(|start| line.starts_with(start));
            assert!(ours, "whose message? {line}");
            text += line;
            text.push('\n');
        }
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let temporary = env::temp_dir();
    let temporary = temporary.to_str().expect("it is UTF-8");
    for (pattern, replacement) in [
        // Descriptors, directories of a test, cgroups, processes.
        ("[0-9]+<", "N<"),
        ("(mount_setattr|move_mount)[(][0-9]+,", "$1(N,"),
        (&*format!("{temporary}/[.]tmp[A-Za-z0-9]+"), "/DIR"),
        (r#""[^"]*/[.]cache/"#, r#""CACHE/"#),
        (r#""/var/cache/"#, r#""CACHE/"#),
        (
            r#""/sys/fs/cgroup[^"]*/(cgroup[.][a-z_]+)""#,
            r#""CGROUP/$1""#,
        ),
        (r#""/sys/fs/cgroup[^"]*""#, r#""CGROUP""#),
        ("</sys/fs/cgroup[^>]*/([a-z_.]+)>", "<CGROUP/$1>"),
        ("the cgroup /[^ ]*", "the cgroup /PATH"),
        ("/proc/[0-9]+/", "/proc/PID/"),
        ("/proc/self/fd/[0-9]+", "/proc/self/fd/N"),
        ("userns_fd=[0-9]+", "userns_fd=N"),
        (
            r#"mount[(]"overlay", "/[^"/]*""#,
            r#"mount("overlay", "/TOP""#,
        ),
        // What depends on the machine's tools and trees of cgroups.
        (
            r#"copying "[^"]*" to "[^"]*""#,
            r#"copying "FILE" to "CACHE/FILE""#,
        ),
        ("[|]CLONE_INTO_CGROUP, cgroup=[^}]*", ""),
    ] {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| assert_snapshot!(format!("refused_{name}"), text));
}

/// The doctor finds out what a step only warns of, or does without.
fn assert_doctor_says(cause: &str, in_situation: impl Fn(Run) -> Run) {
    let doctor = in_situation(FULL.subcommand("doctor")).bare();
    let line = format!("\n    cause: {cause}\n");
    assert!(doctor.stdout.contains(&line), "no{line}in {doctor}");
}

/// The two kinds of users meet different calls.
fn who() -> &'static str {
    if needs::is_root() {
        "root"
    } else {
        "plain_user"
    }
}

fn without_clone3_each_step_runs() {
    for step in ALL {
        let run = filtered(step.run(), "clone3").sh("hostname");
        assert_eq!(run.ok(), "box", "{}", step.name);
    }
}

/// On cgroup v2 the process can't be born in its cgroup any more.
fn without_clone3_limits_hold() {
    needs::limits();
    for step in CGROUPS.and_later() {
        let run = filtered(step.run(), "clone3");
        let mut container = run.start_sh("echo ready; read _");
        container.wait_for("ready");
        let (cgroup, _) = cgroup_of(container.init(), "pids");
        let name = cgroup.file_name().expect("it is not the top");
        let name = name.to_string_lossy();
        assert!(name.starts_with("container-in-six-steps."), "{name}");
        container.finish().ok();
    }
    let run = filtered(fifty_mebibytes(), "clone3").sh("memhog 100M");
    assert_eq!((run.code, &*run.stdout), (137, "....."));
}

fn under_docker_s_filter_the_filter_is_named() {
    let run = |step: Step| filtered(step.run(), "docker").sh("true");
    let name = format!("docker_{}", who());
    assert_refused(&name, [UTS, FULL].map(run));
}

/// A chroot is the one place where the kernel refuses a user namespace without
/// any setting.
fn in_a_chroot_there_is_no_user_namespace() {
    needs::root();
    let image = Image::minimal();
    let root = image.path();
    fs::create_dir(root.join("proc")).expect("it is ours");
    for step in [UTS, FULL] {
        image.add(&programs::path(step.name), step.name);
    }
    let run = |step: Step| {
        let script = "mount -t proc proc \"$0/proc\" && \
                      exec chroot --userspec=65534:65534 \"$0\" \"$@\"";
        let rootfs = match step {
            UTS => &[][..],
            _ => &["--rootfs", "/"],
        };
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(root)
            .arg(Path::new("/").join(step.name))
            .arg("run")
            .args(rootfs)
            .args(["--", "/helper", "echo", "unreachable"])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .output();
        Finished::from(output.expect("unshare can be started"))
    };
    needs::tool("chroot");
    needs::tool("unshare");
    assert_refused("chroot", [UTS, FULL].map(run));
}

/// The switch is one of each user namespace, for those below it.
fn user_namespaces_that_are_switched_off() {
    let switch = "echo 0 >/proc/sys/user/max_user_namespaces";
    let options = "--user --map-current-user --keep-caps --mount";
    let off =
        |step: Step| in_namespaces(step.run(), options, switch).sh("true");
    if needs::is_root() {
        assert_refused("no_user_namespaces_root", [off(FULL)]);
    } else {
        assert_refused("no_user_namespaces_plain_user", [UTS, FULL].map(off));
    }
}

/// Debian's switch, which is one of the whole machine.
fn user_namespaces_for_root_only() {
    needs::root();
    let path = Path::new("/proc/sys/kernel/unprivileged_userns_clone");
    needs::virtual_machine(needs::is_disposable() && path.exists());
    needs::tool("setpriv");
    let before = fs::read_to_string(path).expect("it is there");
    fs::write(path, "0").expect("we are root");
    let image = Image::minimal();
    let run = |step: Step| {
        let program = image.add(&programs::path(step.name), step.name);
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(program)
            .args(["run", "--", "true"])
            .env("HOME", image.path().join("tmp"))
            .output();
        Finished::from(output.expect("setpriv can be started"))
    };
    let run = run(UTS);
    fs::write(path, before).expect("we are root");
    assert_refused("user_namespaces_for_root_only", [run]);
}

fn a_limit_on_namespaces() {
    let switch = "echo 0 >/proc/sys/user/max_uts_namespaces";
    let options = "--user --map-root-user";
    let run = in_namespaces(UTS.run(), options, switch).sh("true");
    assert_refused("limit_on_namespaces", [run]);
}

/// One may be made, and that is around the step already.
fn a_limit_on_user_namespaces() {
    let inner = "--user --mount --map-current-user --keep-caps";
    let switch = format!(
        "echo 1 >/proc/sys/user/max_user_namespaces && \
         exec unshare {inner} \"$0\" \"$@\""
    );
    let options = "--user --map-current-user --keep-caps --mount";
    let step = if needs::is_root() { FULL } else { UTS };
    let run = in_namespaces(step.run(), options, &switch).sh("true");
    let name = format!("limit_on_user_namespaces_{}", who());
    assert_refused(&name, [run]);
}

fn a_user_namespace_with_one_id() {
    needs::root();
    let options = "--user --map-root-user --mount";
    let run = in_namespaces(FULL.run(), options, "true").sh("true");
    assert_refused("one_id", [run]);
}

fn a_root_that_may_not_give_ids() {
    needs::root();
    needs::id_mapping();
    needs::tool("setpriv");
    let script = "exec setpriv --bounding-set=-setuid \"$0\" \"$@\"";
    let run = FULL.run().through(script).sh("true");
    assert_refused("no_ids_to_give", [run]);
}

/// The shell goes on where it is; `true` is a part of it.
fn children_of_another_pid_namespace() {
    let options = "--user --map-root-user --pid";
    let run = in_namespaces(PID.run(), options, "true").sh("true");
    assert_refused("children_elsewhere", [run]);
}

/// The first process that the shell starts is number 1 there.
fn a_pid_namespace_that_has_ended() {
    let options = "--user --map-root-user --pid";
    let run = in_namespaces(UTS.run(), options, "env true").sh("true");
    assert_refused("ended_pid_namespace", [run]);
}

/// The switch is one of each PID namespace, for those below it.
fn no_programs_in_memory() {
    let path = Path::new("/proc/sys/vm/memfd_noexec");
    // Since Linux 6.3.
    needs::virtual_machine(path.exists());
    needs::root();
    needs::id_mapping();
    let options = "--mount --mount-proc --pid --fork";
    let switch = "echo 2 >/proc/sys/vm/memfd_noexec";
    let run = in_namespaces(FULL.run(), options, switch).sh("true");
    assert_refused("no_programs_in_memory", [run]);
}

/// A filter of a sandbox is all that can be installed there.
fn a_filter_that_refuses_filters() {
    needs::id_mapping();
    let run = filtered(FULL.run(), "seccomp").sh("true");
    assert_refused("no_filters", [run]);
}

fn a_root_without_its_power() {
    needs::root();
    needs::tool("setpriv");
    let script = "exec setpriv --bounding-set=-sys_admin \"$0\" \"$@\"";
    let run = UTS.run().through(script).sh("true");
    assert_refused("root_without_its_power", [run]);
}

/// Older versions of Docker refuse what they don't know, as if it was not there.
fn a_kernel_without_the_newer_calls() {
    let run = filtered(FULL.run(), "newer").sh("true");
    assert_refused(&format!("newer_calls_{}", who()), [run]);
}

fn too_few_open_files() {
    // What the suite was started with may be open, too.
    let script = "exec 3>&- 4>&- 5>&- 6>&-; ulimit -n 4; exec \"$0\" \"$@\"";
    let run = UTS.run().through(script).sh("true");
    assert_refused("open_files", [run]);
}

fn room_for_one_process_only() {
    needs::limits();
    let run = CGROUPS.run().options(["--pids-limit", "1"]).sh("true");
    assert_refused("one_process", [run]);
}

fn the_root_as_the_new_root() {
    let run = MOUNT.run().rootfs(Path::new("/")).sh("true");
    assert_refused(&format!("root_as_new_root_{}", who()), [run]);
}

fn a_file_as_the_new_root() {
    let run = MOUNT.run().rootfs(Path::new("/etc/passwd")).sh("true");
    assert_refused("file_as_new_root", [run]);
}

fn a_loop_of_links_as_the_new_root() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let link = directory.path().join("loop");
    symlink(&link, &link).expect("the directory is ours");
    let run = MOUNT.run().rootfs(&link).sh("true");
    assert_refused("loop_as_new_root", [run]);
}

/// It has no place to mount on, and none can be made.
fn an_image_of_somebody_else() {
    needs::plain_user();
    let run = MOUNT.run().rootfs(Path::new("/usr")).sh("true");
    assert_refused("image_of_somebody_else", [run]);
}

/// Nothing is below it that could take its place.
fn the_initramfs_as_the_root() {
    needs::root();
    needs::virtual_machine(needs::is_disposable());
    let image = Image::minimal();
    let helper = programs::helper();
    let script = format!(
        "exec unshare --mount '{}' on-initramfs \"$0\" \"$@\"",
        helper.display()
    );
    let run = MOUNT.run().rootfs(image.path()).through(&script).sh("true");
    assert_refused("initramfs", [run]);
}

/// As Docker's profile, docker-default, does.
fn an_apparmor_profile_that_forbids_mounts() {
    needs::root();
    let parser = needs::find_tool("apparmor_parser").is_some();
    needs::virtual_machine(needs::is_disposable() && parser);
    let profile = "profile suite-no-mounts flags=(attach_disconnected) {
        capability, file, network, ptrace, signal, unix, deny mount,
    }";
    let script = "mount -t securityfs none /sys/kernel/security &&
        echo \"$PROFILE\" | apparmor_parser -K -r 2>/dev/null &&
        echo exec suite-no-mounts >/proc/self/attr/exec";
    let run = MOUNT.run().env("PROFILE", profile);
    let run = in_namespaces(run, "--mount", script).sh("true");
    assert_refused("apparmor", [run]);
}

/// As Docker does it. Only what comes from outside of a user namespace counts,
/// so this is step 6, which makes one.
fn a_masked_proc() {
    needs::root();
    let mask = "mount --bind /dev/null /proc/interrupts";
    let run = in_namespaces(FULL.run(), "--mount", mask).sh("true");
    assert_refused("masked_proc", [run]);
}

fn a_masked_sys() {
    needs::root();
    needs::id_mapping();
    let mask = "mount -t tmpfs none /sys/class";
    let run = in_namespaces(FULL.run(), "--mount", mask).sh("true");
    assert_refused("masked_sys", [run]);
}

fn a_sys_that_is_not_mounted() {
    needs::root();
    needs::id_mapping();
    let unmount = "umount --lazy /sys";
    let run = in_namespaces(FULL.run(), "--mount", unmount).sh("true");
    assert_refused("no_sys", [run]);
}

fn a_read_only_image_without_places_to_mount_on() {
    let image = Image::minimal();
    let run = MOUNT.run().rootfs(image.path());
    let run = run.env("IMAGE", image.path());
    let mount = "mount --bind \"$IMAGE\" \"$IMAGE\" && \
                 mount -o remount,bind,ro \"$IMAGE\"";
    let options = "--user --map-root-user --mount";
    let run = in_namespaces(run, options, mount).command(["/helper"]);
    assert_refused("read_only_image", [run]);
}

/// With a tmpfs for root's cache.
pub(crate) fn with_cache_on_tmpfs(mount_options: &str, run: Run) -> Run {
    needs::root();
    let mount = format!("mount -t tmpfs -o {mount_options} none /var/cache");
    in_namespaces(run, "--mount", &mount)
}

fn a_cache_that_is_read_only() {
    let run = with_cache_on_tmpfs("ro", MOUNT.run()).sh("true");
    assert_refused("read_only_cache", [run]);
}

fn a_cache_on_a_full_disk() {
    let run = with_cache_on_tmpfs("size=64k", MOUNT.run()).sh("true");
    assert_refused("full_disk", [run]);
}

fn a_cache_that_is_closed() {
    needs::plain_user();
    let cache = tempfile::tempdir().expect("a temporary directory");
    let closed = Permissions::from_mode(0o500);
    fs::set_permissions(cache.path(), closed).expect("it is ours");
    let run = MOUNT.run().env("XDG_CACHE_HOME", cache.path()).sh("true");
    assert_refused("closed_cache", [run]);
}

/// A step that has an image there already meets it when it starts a command.
fn a_cache_without_execution() {
    needs::root();
    let cause = "the file system that it is on is mounted noexec";
    assert_doctor_says(cause, |doctor| {
        with_cache_on_tmpfs("noexec,mode=0755", doctor)
    });
}

fn a_program_on_a_file_system_without_execution() {
    let image = Image::minimal();
    for name in ["proc", "dev"] {
        fs::create_dir(image.path().join(name)).expect("it is ours");
    }
    let run = MOUNT.run().rootfs(image.path());
    let run = run.env("IMAGE", image.path());
    let mount = "mount --bind \"$IMAGE\" \"$IMAGE\" && \
                 mount -o remount,bind,noexec \"$IMAGE\"";
    let options = "--user --map-root-user --mount";
    let run = in_namespaces(run, options, mount).command(["/helper"]);
    assert_refused("noexec", [run]);
}

/// The architecture is a number at offset 18 of an ELF file. See elf(5).
fn a_program_for_another_processor() {
    let image = Image::minimal();
    let program = image.path().join("helper");
    let mut elf = fs::read(&program).expect("it is there");
    elf[18..20].copy_from_slice(&0xfeed_u16.to_le_bytes());
    fs::write(&program, elf).expect("it is ours");
    let run = MOUNT.run().rootfs(image.path()).command(["/helper"]);
    assert_refused("another_processor", [run]);
}

/// The loader is named in an ELF file as a script names its interpreter; the
/// kernel's answer is the same.
fn a_program_without_its_loader() {
    let image = Image::minimal();
    let program = image.path().join("helper");
    fs::write(program, "#!/no/such/loader\n").expect("it is ours");
    let run = MOUNT.run().rootfs(image.path()).command(["/helper"]);
    assert_refused("no_loader", [run]);
}

fn a_link_to_a_descriptor_as_working_directory() {
    let run = UTS.run().options(["-w", "/proc/self/cwd"]).sh("true");
    assert_refused("link_as_workdir", [run]);
}

fn a_file_as_working_directory() {
    let run = UTS.run().options(["-w", "/etc/passwd/below"]).sh("true");
    assert_refused("file_as_workdir", [run]);
}

fn an_upper_directory_on_an_overlay() {
    needs::root();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = "cd \"$DIRECTORY\" && mkdir lower upper work merged && \
                  mount -t overlay -o \
                  lowerdir=lower,upperdir=upper,workdir=work none merged && \
                  mkdir merged/upper";
    let upper = directory.path().join("merged/upper");
    let run = OVERLAY
        .run()
        .env("DIRECTORY", directory.path())
        .options(["--upper".as_ref(), upper.as_os_str()]);
    let run = in_namespaces(run, "--mount", script).sh("true");
    assert_refused("upper_on_overlay", [without_options(run)]);
}

/// The numbers of descriptors are nobody's business.
fn without_options(run: Finished) -> Finished {
    let stderr = run.stderr.split_inclusive('\n').map(|line| {
        let Some((before, rest)) = line.split_once("\"lowerdir=") else {
            return line.to_owned();
        };
        let (_, after) = rest.split_once('"').expect("it is quoted");
        format!("{before}\"…\"{after}")
    });
    let stderr = stderr.collect();
    Finished { stderr, ..run }
}

fn a_layer_that_is_given_twice() {
    let layer = tempfile::tempdir().expect("a temporary directory");
    let twice = ["--lower".as_ref(), layer.path().as_os_str()].repeat(2);
    let run = OVERLAY.run().options(twice).sh("true");
    assert_refused("layer_twice", [without_options(run)]);
}

/// As a tmpfs before Linux 6.6.
fn memory_without_attributes() {
    let cause = "a tmpfs has attributes user.* since Linux 6.6: before, what a \
                 container deletes in its image can't be noted there (EIO)";
    assert_doctor_says(cause, |doctor| filtered(doctor, "attributes"));
}

/// On an overlay, as in a container of Docker.
fn an_image_that_cannot_be_id_mapped() {
    needs::root();
    let image = Image::minimal();
    let script = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && \
                  mount -t overlay -o lowerdir=\"$IMAGE\",upperdir=/mnt/u,\
                  workdir=/mnt/w none \"$IMAGE\"";
    let run = FULL.run().env("IMAGE", image.path()).rootfs(image.path());
    let run = in_namespaces(run, "--mount", script).command(["/helper"]);
    assert_refused("no_id_mapping", [run]);
}

/// Step 6 with this volume.
fn with_volume(source: &Path, destination: &str) -> Run {
    let volume = format!("{}:{destination}", source.display());
    FULL.run().options(["--volume", &volume])
}

/// Of a device everybody has the same one, so the container fetches it itself.
fn a_device_in_a_directory_that_is_closed() {
    needs::root();
    needs::id_mapping();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let closed = Permissions::from_mode(0o700);
    fs::set_permissions(directory.path(), closed).expect("it is ours");
    let device = directory.path().join("null");
    let (kind, mode) = (SFlag::S_IFCHR, Mode::from_bits_truncate(0o666));
    mknod(&device, kind, mode, makedev(1, 3)).expect("we are root");
    let run = with_volume(&device, "/null").sh("true");
    assert_refused("closed_directory", [run]);
}

fn a_file_as_a_directory() {
    needs::id_mapping();
    let image = Image::minimal();
    fs::create_dir(image.path().join("directory")).expect("it is ours");
    let run = with_volume(Path::new("/etc/passwd"), "/directory");
    let run = run.rootfs(image.path()).command(["/helper"]);
    assert_refused("file_as_directory", [run]);
}

/// Where a volume is to be shown in an image that has a link.
fn linked(target: &str, destination: &str) -> Finished {
    needs::id_mapping();
    let image = Image::minimal();
    symlink(target, image.path().join("link")).expect("it is ours");
    let run = with_volume(Path::new("/etc"), destination);
    run.rootfs(image.path()).command(["/helper"])
}

fn a_destination_that_leads_nowhere() {
    assert_refused("dangling_destination", [linked("nowhere", "/link")]);
}

fn a_destination_in_a_loop_of_links() {
    assert_refused("looping_destination", [linked("link", "/link/below")]);
}

fn a_destination_below_a_file() {
    assert_refused("destination_below_file", [linked("x", "/helper/below")]);
}

fn a_kernel_without_landlock() {
    let cause = "this kernel is older than 5.19, or was started without \
                 Landlock";
    assert_doctor_says(cause, |doctor| filtered(doctor, "landlock"));
}

/// With limits that were asked for. What was not is a warning.
fn with_memory_limit(step: Step) -> Run {
    step.run().options(["--memory", "16m"])
}

fn no_delegated_cgroup() {
    needs::plain_user();
    if needs::why_no_limits().is_none() {
        harness::skip("needs a user who may not set limits");
    }
    let run = with_memory_limit(CGROUPS).sh("true");
    assert_refused(&format!("no_delegation_v{}", version()), [run]);
}

/// The version of the tree that limits memory.
fn version() -> u32 {
    cgroup_of(std::process::id().cast_signed(), "memory").1
}

/// As in Docker.
fn read_only_cgroups() {
    needs::root();
    needs::limits();
    let read_only = needs::at_each_cgroup_mount("mount -o remount,bind,ro");
    let run = with_memory_limit(CGROUPS);
    let run = in_namespaces(run, "--mount", &read_only).sh("true");
    assert_refused(&format!("read_only_cgroups_v{}", version()), [run]);
}

fn cgroups_that_are_not_mounted() {
    needs::root();
    needs::limits();
    let unmount = needs::at_each_cgroup_mount("umount --lazy");
    let run = with_memory_limit(CGROUPS);
    let run = in_namespaces(run, "--mount", &unmount).sh("true");
    assert_refused("cgroups_not_mounted", [run]);
}

/// Runs `command` by step 4 in a cgroup of version 2 that is the topmost one it
/// sees, so that it can't go beside it. `script` runs in the cgroup first.
fn in_the_topmost_cgroup(path: &str, script: &str, command: &str) -> Finished {
    needs::root();
    needs::limits();
    let (own, version) = cgroup_of(std::process::id().cast_signed(), "memory");
    needs::virtual_machine(version == 2);
    let mounts = cgroups::mounts().expect("/proc is mounted");
    let top = &mounts.first().expect("our cgroup is on it").mount_point;
    assert!(own.starts_with(top));
    let ours = top.join(format!("suite-{}", std::process::id()));
    let cgroup = ours.join(path);
    fs::create_dir_all(&cgroup).expect("we are root");
    let run = with_memory_limit(CGROUPS).env("CGROUP", &cgroup);
    let run = run.env("TOP", top).through(&format!(
        "echo $$ >\"$CGROUP/cgroup.procs\"; {script} \
         exec unshare --mount --cgroup sh -c '\
         umount --lazy \"$TOP\" && mount -t cgroup2 none \"$TOP\" && exec \"$0\" \"$@\"' \"$0\" \"$@\""
    ));
    let run = run.sh(command);
    let entries = fs::read_dir(&cgroup).expect("it is still there").flatten();
    let left = entries.filter(|it| it.path().is_dir()).count();
    let handed_out = fs::read_to_string(cgroup.join("cgroup.subtree_control"));
    let _ = fs::write(ours.join("cgroup.kill"), "1");
    cgroups::remove_all(&ours).expect("nobody is left in it");
    assert_eq!(left, 0, "cgroups that it has left behind");
    assert_eq!(handed_out.expect("version 2 has it"), "");
    run
}

/// A cgroup that has processes hands out no controllers: the step moves out of
/// the way, into a leaf, and back again.
fn alone_in_the_topmost_cgroup_the_step_makes_place() {
    let run = in_the_topmost_cgroup("", "", "memhog 100M; echo $?");
    assert!(run.ok().ends_with(".137"), "the limit holds");
}

fn a_cgroup_with_other_processes() {
    let script = "env -i sleep 60 >/dev/null 2>&1 &";
    let run = in_the_topmost_cgroup("", script, "true");
    assert_refused("other_processes", [run]);
}

/// A cgroup has what the one above hands out, and that hands out nothing.
fn a_cgroup_without_the_controller() {
    let run = in_the_topmost_cgroup("below", "", "true");
    assert_refused("no_controller", [run]);
}

fn a_cgroup_that_allows_none_below_it() {
    let script = "echo 0 >\"$CGROUP/cgroup.max.descendants\";";
    let run = in_the_topmost_cgroup("", script, "true");
    assert_refused("no_more_cgroups", [run]);
}

/// The cgroup is the user's, the one above is not, and hands out nothing.
fn a_delegated_cgroup_without_controllers() {
    needs::root();
    needs::limits();
    needs::tool("setpriv");
    let (own, version) = cgroup_of(std::process::id().cast_signed(), "memory");
    needs::virtual_machine(version == 2);
    let above = own.join(format!("suite-{}", std::process::id()));
    let delegated = above.join("delegated");
    fs::create_dir_all(&delegated).expect("we are root");
    for name in ["", "cgroup.procs", "cgroup.subtree_control"] {
        let (path, nobody) = (delegated.join(name), Some(65534));
        chown(path, nobody, nobody).expect("we are root");
    }
    let image = Image::minimal();
    let run = with_memory_limit(CGROUPS).rootfs(image.path());
    let run = run.env("CGROUP", &delegated).through(
        "echo $$ >\"$CGROUP/cgroup.procs\" && exec setpriv --reuid 65534 \
         --regid 65534 --clear-groups \"$0\" \"$@\"",
    );
    let run = run.command(["/helper"]);
    let _ = fs::write(above.join("cgroup.kill"), "1");
    cgroups::remove_all(&above).expect("nobody is left in it");
    assert_refused("no_controller_delegated", [run]);
}

/// A new cgroup has no real-time of its own. On version 2 the cpu controller
/// can't be enabled where such a process is.
fn a_real_time_process() {
    needs::root();
    needs::limits();
    let (own, version) = cgroup_of(std::process::id().cast_signed(), "cpu");
    let grouped = own.join("cpu.rt_runtime_us").exists();
    needs::virtual_machine(version == 1 && grouped);
    needs::tool("chrt");
    let script = "exec chrt --rr 1 \"$0\" \"$@\"";
    let run = CGROUPS.run().options(["--cpus", "0.5"]).through(script);
    assert_refused("real_time", [run.sh("true")]);
}
