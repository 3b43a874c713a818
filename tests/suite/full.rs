//! Step 6: all the rest.
#![allow(unsafe_code)]

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use harness::{
    ALL, CGROUPS, FULL, MOUNT, OVERLAY, Test, claims, host::status,
    image::Image, needs, programs, skip,
};
use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        stat::{Mode, SFlag, makedev, mknod},
    },
    unistd::getuid,
};

use crate::{
    bad_input::assert_message,
    refusals::{in_namespaces, with_cache_on_tmpfs},
};

pub(crate) const TESTS: &[Test] = claims![
    the_kernel_is_shared,
    root_inside_is_somebody_else_outside,
    files_of_the_image_belong_to_root_inside,
    only_lo_is_there_and_it_is_up,
    a_port_of_the_host_is_reachable_up_to_step_5,
    nowhere_else_is_reachable_either,
    shared_memory_of_the_host_is_visible_up_to_step_5,
    shared_memory_of_the_container_is_invisible_outside,
    message_queues_can_be_used,
    the_cgroup_path_is_hidden,
    dev_holds_what_every_program_expects_and_no_more,
    a_device_of_the_host_is_used_but_not_changed,
    dev_takes_little_memory,
    sys_is_read_only,
    kernel_files_are_masked,
    kernel_settings_cannot_be_written,
    each_read_only_path_is_on_a_read_only_mount,
    the_cgroup_shows_the_limits_and_no_other_cgroup,
    a_container_knows_its_own_name,
    names_are_written_into_no_image_and_no_layer,
    names_go_where_the_image_has_a_file_and_nowhere_else,
    no_program_gains_privileges,
    capabilities_are_no_more_than_dockers,
    a_system_call_that_docker_refuses_fails,
    calls_that_hardly_any_program_needs_fail_too,
    other_kinds_of_socket_are_refused_alone_and_in_pairs,
    an_open_file_is_not_inherited,
    a_directory_is_not_handed_in,
    the_environment_is_not_inherited,
    ignored_signals_and_the_umask_are_not_inherited,
    what_was_said_of_the_caller_does_not_hold_inside,
    groups_are_not_inherited,
    the_session_keyring_is_not_inherited,
    the_working_directory_is_not_inherited,
    a_read_only_root_cannot_be_written,
    a_volume_is_shared_with_the_host,
    a_read_only_volume_cannot_be_written,
    nor_can_what_is_mounted_below_it,
    a_volume_gives_no_privileges,
    a_device_in_a_volume_cannot_be_opened,
    a_volume_may_be_a_device_that_each_container_has,
    a_volume_never_becomes_what_the_container_makes_itself,
    a_volume_stays_inside_whatever_the_image_says,
    a_volume_that_makes_no_sense_is_refused,
];

/// The series takes this for a proof of isolation; it is the opposite.
fn the_kernel_is_shared() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    let release = release.expect("/proc is mounted");
    for step in ALL {
        assert_eq!(step.sh("uname -r").ok(), release.trim(), "{}", step.name);
    }
}

/// The fields of `Uid:` are the real, effective, saved and file system id.
fn root_inside_is_somebody_else_outside() {
    needs::id_mapping();
    for step in ALL {
        let script = "echo root=$(id -u); read _";
        let mut container = step.run().start_sh(script);
        container.wait_for("root=0");
        let command = match step == ALL[0] {
            true => container.init(),
            false => container.command(),
        };
        let outside = status(command, "Uid");
        let outside: Vec<&str> = outside.split('\t').collect();
        assert!(outside.iter().all(|id| *id == outside[0]), "{outside:?}");
        let outside: u32 = outside[0].parse().expect("a number");
        if step < FULL {
            assert_eq!(outside, getuid().as_raw(), "{}", step.name);
        } else {
            assert_ne!(outside, 0, "root outside");
            let path = format!("/proc/{command}/uid_map");
            let map = fs::read_to_string(path).expect("it is there");
            let fields: Vec<&str> = map.split_whitespace().collect();
            assert_eq!(fields[..2], ["0", &outside.to_string()]);
        }
        container.finish().ok();
    }
}

/// Not to nobody, and what root writes is root's.
fn files_of_the_image_belong_to_root_inside() {
    let script = "touch /new && stat -c %u:%g / /bin/sh /new";
    assert_eq!(FULL.sh(script).ok(), "0:0\n0:0\n0:0");
    if needs::is_root() {
        // Each file system has code of its own for that, or none, as a tmpfs
        // before Linux 6.3.
        let run = with_cache_on_tmpfs("rw", FULL.run()).sh(script);
        let refused = "attr_set=MOUNT_ATTR_IDMAP";
        match run.stderr.contains(refused) && run.stderr.contains("EINVAL") {
            true => assert_eq!(run.code, 125),
            false => assert_eq!(run.ok(), "0:0\n0:0\n0:0", "on a tmpfs"),
        }
    }
}

fn only_lo_is_there_and_it_is_up() {
    let names = "while IFS=': ' read name rest; do echo $name; done \
                 </proc/net/dev";
    let inside = FULL.sh(names);
    // Two lines of titles come first.
    assert_eq!(inside.lines()[2..], ["lo"]);
    let outside = OVERLAY.sh(names);
    let host = fs::read_to_string("/proc/net/dev").expect("/proc is mounted");
    assert_eq!(outside.lines().len(), host.lines().count());

    // Refused, since nobody listens: if `lo` were down, there were no way.
    let image = Image::minimal();
    let loopback = image.helper(FULL, &["connect", "127.0.0.1:1"]);
    assert_eq!(loopback.ok(), "Some(ECONNREFUSED)");
}

fn a_port_of_the_host_is_reachable_up_to_step_5() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one").to_string();
    let image = Image::minimal();
    for step in ALL {
        let run = image.helper(step, &["connect", &address]);
        let expected = match step < FULL {
            true => "connected",
            false => "Some(ECONNREFUSED)",
        };
        assert_eq!(run.ok(), expected, "{}", step.name);
    }
}

/// The address is one that documentation uses (RFC 5737).
fn nowhere_else_is_reachable_either() {
    let image = Image::minimal();
    let run = image.helper(FULL, &["connect", "192.0.2.1:80"]);
    assert_eq!(run.ok(), "Some(ENETUNREACH)");
}

fn shared_memory_of_the_host_is_visible_up_to_step_5() {
    let memory = SharedMemory::new();
    let image = Image::minimal();
    for step in ALL {
        let key = memory.key.to_string();
        let run = image.helper(step, &["find-shared-memory", &key]);
        let expected = match step < FULL {
            true => "found",
            false => "ENOENT",
        };
        assert_eq!(run.ok(), expected, "{}", step.name);
    }
}

fn shared_memory_of_the_container_is_invisible_outside() {
    let image = Image::minimal();
    let key = std::process::id().cast_signed() ^ 0x2000_0000;
    let make = ["make-shared-memory", &key.to_string()];
    let mut container = image.helper_with(FULL.run(), FULL, &make);
    container.wait_for("made");
    assert_eq!(SharedMemory::find(key), Err(Errno::ENOENT));
    container.finish().ok();
}

/// A segment of System V shared memory, on the host.
struct SharedMemory {
    key: i32,
    id: i32,
}

impl SharedMemory {
    fn new() -> SharedMemory {
        let key = std::process::id().cast_signed() ^ 0x4000_0000;
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o666;
        // SAFETY: shmget(2) takes three integers.
        let id = unsafe { libc::shmget(key, 4096, flags) };
        let id = Errno::result(id).expect("the key is free");
        SharedMemory { key, id }
    }

    fn find(key: i32) -> Result<i32, Errno> {
        // SAFETY: shmget(2) takes three integers.
        Errno::result(unsafe { libc::shmget(key, 0, 0) })
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: IPC_RMID does not use the pointer.
        unsafe {
            libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut());
        }
    }
}

fn the_cgroup_path_is_hidden() {
    needs::limits();
    let script = "cat /proc/self/cgroup";
    let inside = FULL.sh(script);
    inside.ok();
    for line in inside.lines() {
        assert!(line.ends_with(":/"), "{line}");
    }
    let shown = CGROUPS.sh(script);
    assert!(shown.ok().contains("/container-in-six-steps."));
}

/// They have names, but no paths.
fn message_queues_can_be_used() {
    let image = Image::copy_of_default();
    let name = format!("/suite-{}", std::process::id());
    for step in ALL {
        let used = image.helper(step, &["use-message-queue", &name]);
        assert_eq!(used.ok(), "used", "{}", step.name);
    }
}

fn dev_holds_what_every_program_expects_and_no_more() {
    let expected = "fd full mqueue null ptmx pts random shm stderr stdin \
                    stdout tty urandom zero";
    let names = "echo $(ls /dev)";
    assert_eq!(FULL.sh(names).ok(), expected);
    assert_ne!(OVERLAY.sh(names).ok(), expected);
    FULL.sh(
        "echo x >/dev/null && head -c 9 /dev/urandom >/dev/shm/file && \
             ! echo x >/dev/full && test -c /dev/pts/ptmx",
    )
    .ok();
    // Terminals are for their owner, and for those who may write to them.
    let terminals = FULL.sh("grep devpts /proc/self/mounts");
    assert!(terminals.ok().contains("mode=620"), "{terminals}");
}

/// No limit on memory may be there to stop who fills it.
fn dev_takes_little_memory() {
    let fill = "head -c 1000000 /dev/zero >/dev/fill; wc -c </dev/fill";
    let run = FULL.sh(fill);
    assert!(run.stderr.contains("No space left on device"), "{run}");
    let size: u32 = run.ok().parse().expect("a number");
    assert!(size <= 65536, "{run}");
}

fn sys_is_read_only() {
    let run = FULL.sh("cd /sys/kernel && mkdir new");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("Read-only file system"), "{run}");
}

/// It is one node for the whole machine: with its mode changed, no other
/// program could use it. The container's root may be somebody who could.
fn a_device_of_the_host_is_used_but_not_changed() {
    let script = "for name in null zero full random urandom tty; do \
                      chmod 600 /dev/$name; touch -c /dev/$name; \
                  done; chmod 600 /proc/interrupts; echo x >/dev/null";
    let run = FULL.sh(script);
    run.ok();
    let refused = run.stderr.matches("Read-only file system").count();
    assert_eq!(refused, 13, "{run}");
}

/// What tells about the machine or its other users, and no program in a
/// container asks for.
const MASKED_FILES: [&str; 11] = [
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
];

const MASKED_DIRECTORIES: [&str; 5] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// In the place of each file that this kernel has is an empty one, `/dev/null`,
/// and in that of each directory an empty one. Some files are root's alone, and
/// a plain user may have no keys, so that there is nothing to hide.
fn kernel_files_are_masked() {
    let has = |path: &&str| Path::new(path).exists();
    let script = "for path do \
                      echo $path $(head -c 1 $path | wc -c) $(stat -c %t:%T $path); \
                  done";
    let files: Vec<&str> = MASKED_FILES.into_iter().filter(has).collect();
    let mut command = vec!["sh", "-c", script, "sh"];
    command.extend(&files);
    let expected: Vec<String> =
        files.iter().map(|path| format!("{path} 0 1:3")).collect();
    assert_eq!(FULL.run().command(&command).lines(), expected);
    let count = "head -c 1 /proc/interrupts | wc -c";
    assert_eq!(OVERLAY.sh(count).ok(), "1");

    let directories = MASKED_DIRECTORIES.into_iter().filter(has);
    let mut command = vec!["ls", "-A"];
    command.extend(directories.clone());
    let lists = FULL.run().command(&command);
    let names = lists.ok().lines().filter(|line| !line.is_empty());
    let names: Vec<&str> = names.map(|it| it.trim_end_matches(':')).collect();
    if directories.clone().count() > 1 {
        assert_eq!(names, directories.collect::<Vec<_>>());
    } else {
        assert!(names.is_empty(), "{names:?}");
    }
}

fn kernel_settings_cannot_be_written() {
    // The container's network is its own, so that only the mount is in the way.
    let run = FULL.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("Read-only file system"), "{run}");
    // In step 3 they can, by whoever has the right to: here the container's own
    // name, so that it harms nobody.
    if needs::is_root() {
        MOUNT.sh("echo other >/proc/sys/kernel/hostname").ok();
    }
}

/// Most of these files belong to the host's root, so that a container can't
/// write to them anyway; but chmod(2) looks at the mount before it looks at the
/// owner. See path_resolution(7).
fn each_read_only_path_is_on_a_read_only_mount() {
    for path in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
        let path = format!("/proc/{path}");
        if !Path::new(&path).exists() {
            continue;
        }
        let run = FULL.run().command(["chmod", "777", &path]);
        assert!(run.stderr.contains("Read-only file system"), "{run}");
    }
    // Not everything in /proc is: what a process sets for itself it may set.
    FULL.sh("echo 1000 >/proc/self/oom_score_adj").ok();
}

/// Programs size themselves by it.
fn the_cgroup_shows_the_limits_and_no_other_cgroup() {
    needs::limits();
    let limits = |step: harness::Step| {
        let script = "cd /sys/fs/cgroup; cat memory.max pids.max \
                      memory/memory.limit_in_bytes pids/pids.max 2>/dev/null";
        let options = ["--memory", "64m", "--pids-limit", "99"];
        step.run().options(options).sh(script)
    };
    assert_eq!(limits(FULL).lines(), ["67108864", "99"]);
    assert_eq!(limits(OVERLAY).stdout, "");

    // It can't be changed, not even by who it belongs to; and it is no tree.
    // The directories of version 1 are mount points in a file system of ours.
    let script = "cd /sys/fs/cgroup; \
                  for file in memory.max memory/memory.limit_in_bytes; do \
                      [ -e $file ] && chmod 666 $file; \
                  done; mkdir new; find . -mindepth 2 -type d; \
                  [ -e memory.max ] && find . -mindepth 1 -type d; :";
    let run = FULL.sh(script);
    assert_eq!(run.ok(), "", "cgroups of others");
    let refused = run.stderr.matches("Read-only file system").count();
    assert_eq!(refused, 2, "{run}");
    // What it is in is not told, but outside there is more.
    let script = "grep -c 'cgroup.* ro,nosuid,nodev,noexec' /proc/mounts";
    assert_ne!(FULL.sh(script).ok(), "0");
}

/// Else `sudo` and Java complain or wait, as they look for their own address.
fn a_container_knows_its_own_name() {
    let show = "cat /etc/hostname /etc/hosts";
    let run = FULL.run().options(["--hostname", "attic"]).sh(show);
    run.ok();
    let lines = run.lines();
    assert_eq!(lines[0], "attic");
    assert!(lines.contains(&"127.0.0.1\tlocalhost"), "{run}");
    assert!(lines.contains(&"127.0.1.1\tattic"), "{run}");
    let before = OVERLAY.run().options(["--hostname", "attic"]).sh(show);
    assert!(!before.stdout.contains("attic"), "{before}");

    let write = "echo '127.0.0.1 other' >>/etc/hosts";
    FULL.sh(write).ok();
    let run = FULL.run().options(["--read-only"]).sh(write);
    assert!(run.stderr.contains("Read-only file system"), "{run}");
    let run = FULL.run().options(["--read-only"]).sh("cat /etc/hostname");
    assert_eq!(run.ok(), "box");
}

fn names_are_written_into_no_image_and_no_layer() {
    let image = Image::copy_of_default();
    let layers = tempfile::tempdir().expect("a temporary directory");
    let hosts = image.path().join("etc/hosts");
    fs::write(&hosts, "of the image").expect("it is ours");
    let hostname = image.path().join("etc/hostname");
    fs::remove_file(&hostname).expect("the default image has it");

    let kept = layers.path().join("kept");
    let run = FULL.run().rootfs(image.path());
    let run = run.options(["--upper".as_ref(), kept.as_os_str()]);
    run.sh("echo x >>/etc/hosts; echo x >>/etc/hostname").ok();
    let text = fs::read_to_string(&hosts).expect("it is still there");
    assert_eq!(text, "of the image");
    assert!(!hostname.exists());
    // There must be something to mount on.
    let upper = kept.join("upper");
    let status = upper.join("etc/hostname").metadata().expect("it is there");
    assert_eq!((status.len(), upper.join("etc/hosts").exists()), (0, false));
}

/// Whatever leads elsewhere stays as it is: to the host, to a descriptor, round
/// in a circle. What the caller has put there comes first.
fn names_go_where_the_image_has_a_file_and_nowhere_else() {
    let host = tempfile::tempdir().expect("a temporary directory");
    let file = host.path().join("file");
    fs::write(&file, "of the host").expect("it is ours");
    let image = Image::copy_of_default();
    let hosts = image.path().join("etc/hosts");
    let run = || FULL.run().rootfs(image.path());
    for target in [
        file.as_path(),
        Path::new("/proc/self/fd/0"),
        Path::new("/dev/null"),
        Path::new("hosts"),
    ] {
        fs::remove_file(&hosts).expect("it is ours");
        symlink(target, &hosts).expect("it is ours");
        run().sh("! grep -q box /etc/hosts").ok();
        let text = fs::read_to_string(&file).expect("it is ours");
        assert_eq!(text, "of the host");
    }
    fs::remove_file(&hosts).expect("it is ours");
    fs::create_dir(&hosts).expect("it is ours");
    assert_eq!(run().sh("ls -A /etc/hosts; cat /etc/hostname").ok(), "box");
    fs::remove_dir(&hosts).expect("it is ours");
    symlink("../tmp/hosts", &hosts).expect("it is ours");
    fs::write(image.path().join("tmp/hosts"), "").expect("it is ours");
    assert!(run().sh("cat /tmp/hosts").ok().contains("box"));

    fs::remove_dir_all(image.path().join("etc")).expect("it is ours");
    let etc = "[ -e /etc ] || echo no /etc";
    assert_eq!(run().sh(etc).ok(), "no /etc");

    let volume = FULL.run().options(volume(&file, "/etc/hosts"));
    assert_eq!(volume.sh("cat /etc/hosts").ok(), "of the host");
    assert_eq!(fs::read_dir(host.path()).expect("ours").count(), 1);
}

fn status_line(run: &harness::Finished, name: &str) -> u64 {
    let line = run.ok().lines().find_map(|line| line.strip_prefix(name));
    let value = line.expect("the kernel has this line").trim_start();
    let value = value.trim_start_matches(':').trim();
    u64::from_str_radix(value, 16).expect("a hexadecimal number")
}

fn no_program_gains_privileges() {
    let script = "cat /proc/self/status";
    assert_eq!(status_line(&FULL.sh(script), "NoNewPrivs"), 1);
    assert_eq!(status_line(&OVERLAY.sh(script), "NoNewPrivs"), 0);
}

/// What `docker run` gives, as `CapEff` shows it: 14 capabilities.
const DOCKERS: u64 = 0xa804_25fb;

fn capabilities_are_no_more_than_dockers() {
    let script = "cat /proc/self/status";
    let inside = FULL.sh(script);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let more = status_line(&inside, set) & !DOCKERS;
        assert_eq!(more, 0, "{set} is more: {more:#x}");
    }
    let before = OVERLAY.sh(script);
    assert_ne!(status_line(&before, "CapEff") & !DOCKERS, 0);
}

/// The list is Docker's own, from its profile.
fn a_system_call_that_docker_refuses_fails() {
    let path = programs::workspace().join("tests/data");
    let path = path.join("docker-seccomp-allowed.txt");
    let list = fs::read_to_string(path).expect("it is in the checkout");
    let column = if cfg!(target_arch = "x86_64") { 1 } else { 2 };
    let allowed: Vec<&str> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(' ').nth(column))
        .collect();
    // These two pass whatever a filter says, see the file.
    let exceptions = ["335", "336"];
    let refused: Vec<String> = (0..=470)
        .map(|number| number.to_string())
        .filter(|number| !allowed.contains(&number.as_str()))
        .filter(|number| !exceptions.contains(&number.as_str()))
        .collect();
    let mut arguments = vec!["system-calls"];
    arguments.extend(refused.iter().map(String::as_str));

    let image = Image::minimal();
    let run = image.helper(FULL, &arguments);
    run.ok();
    assert_eq!(run.lines().len(), refused.len());
    for line in run.lines() {
        let refused = line.ends_with(" EPERM") || line.ends_with(" ENOSYS");
        assert!(refused, "system call {line}");
    }
}

/// Docker allows these. Outside they fail for their arguments, or because the
/// kernel lacks them.
fn calls_that_hardly_any_program_needs_fail_too() {
    let calls = [
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_vmsplice,
        libc::SYS_memfd_secret,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_modify_ldt,
    ];
    let mut arguments = vec!["system-calls".to_owned()];
    arguments.extend(calls.iter().map(ToString::to_string));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let image = Image::minimal();
    let inside = image.helper(FULL, &arguments);
    inside.ok();
    assert_eq!(inside.lines().len(), calls.len());
    for line in inside.lines() {
        assert!(line.ends_with(" EPERM"), "{line}");
    }
    let before = image.helper(OVERLAY, &arguments);
    assert!(!before.ok().contains("EPERM"));
}

/// The families that Linux numbers 1, 2, 10 and 16 are local, IPv4, IPv6 and
/// netlink. 17 is AF_PACKET, the ring buffers of which no limit counts.
fn other_kinds_of_socket_are_refused_alone_and_in_pairs() {
    let image = Image::minimal();
    let inside = image.helper(FULL, &["kinds-of-socket"]);
    inside.ok();
    let kept = ["1 ", "2 ", "10 ", "16 "];
    for line in inside.lines() {
        let expected = match kept.iter().any(|family| line.starts_with(family))
        {
            true => "Err(EINVAL) Err(EINVAL)",
            false => "Err(EPERM) Err(EPERM)",
        };
        assert!(line.ends_with(expected), "{line}");
    }
    let before = image.helper(OVERLAY, &["kinds-of-socket"]);
    assert!(!before.ok().contains("EPERM"));
}

fn an_open_file_is_not_inherited() {
    let open = "exec 9</; exec \"$0\" \"$@\"";
    // ls has one more open: the directory that it reads.
    let list = ["ls", "/proc/self/fd"];
    let inside = FULL.run().through(open).command(list);
    assert_eq!(inside.ok(), "0\n1\n2\n3");
    let before = OVERLAY.run().through(open).command(list);
    assert!(before.ok().contains('9'));
}

/// Below it lies the host.
fn a_directory_is_not_handed_in() {
    for (redirection, name) in
        [("</", "input"), ("1</", "output"), ("2</", "error")]
    {
        let run = FULL.run().redirected(redirection).sh("true");
        assert_eq!(run.code, 125, "{name}: {run}");
        if name != "error" {
            let message = format!("standard {name} is a directory of the host");
            assert!(run.stderr.contains(&message), "{run}");
        }
    }
    OVERLAY.run().redirected("</").sh("true").ok();
}

/// setarch(8) and choom(1) have said it.
fn what_was_said_of_the_caller_does_not_hold_inside() {
    needs::tool("setarch");
    let script = "cat /proc/self/personality /proc/self/oom_score_adj";
    let through = "echo 700 >/proc/self/oom_score_adj && \
                   exec setarch --addr-no-randomize \"$0\" \"$@\"";
    let inside = FULL.run().through(through).sh(script);
    assert_eq!(inside.ok(), "00000000\n0");
    let before = OVERLAY.run().through(through).sh(script);
    assert_eq!(before.ok(), "00040000\n700");
}

fn the_environment_is_not_inherited() {
    let secret = |step: harness::Step| step.run().env("SECRET", "of the host");
    let inside = secret(FULL).options(["--env", "ASKED=for"]);
    let inside = inside.command(["env"]);
    let mut names: Vec<&str> = inside
        .ok()
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["ASKED", "HOME", "HOSTNAME", "PATH"]);
    let before = secret(OVERLAY).command(["env"]);
    assert!(before.ok().contains("SECRET=of the host"));
}

fn ignored_signals_and_the_umask_are_not_inherited() {
    let ignore = "trap '' HUP INT TERM USR1; umask 077; exec \"$0\" \"$@\"";
    let show = "umask; cat /proc/self/status";
    let inside = FULL.run().through(ignore).sh(show);
    assert!(inside.ok().starts_with("0022\n"), "the umask");
    // A shell may ignore others of its own accord.
    let four = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
    ];
    let four = four
        .map(|signal| 1 << (signal as u64 - 1))
        .iter()
        .sum::<u64>();
    assert_eq!(status_line(&inside, "SigIgn") & four, 0);
    assert_eq!(status_line(&inside, "SigBlk"), 0);
    let before = OVERLAY.run().through(ignore).sh(show);
    assert!(before.ok().starts_with("0077\n"), "the umask");
    assert_eq!(status_line(&before, "SigIgn") & four, four);
}

/// A plain user can't give them up: whoever may drop a group could get at files
/// that deny access to just that group.
fn groups_are_not_inherited() {
    needs::root();
    needs::tool("setpriv");
    let with_group = "exec setpriv --groups 12345 \"$0\" \"$@\"";
    let show = "grep ^Groups: /proc/self/status";
    let inside = FULL.run().through(with_group).sh(show);
    assert_eq!(inside.ok(), "Groups:");
    let before = OVERLAY.run().through(with_group).sh(show);
    assert!(before.ok().contains("12345"));
}

/// Nobody in the container may ask for keys, so it is looked at from outside:
/// as the user that the container's root is there, who can view its keyring.
/// That must be a user of no other container.
fn the_session_keyring_is_not_inherited() {
    needs::root();
    needs::id_mapping();
    let setpriv = needs::tool("setpriv");
    if !Path::new("/etc/subuid").exists() {
        skip("needs a file /etc/subuid");
    }
    let id = 1_000_000_000 + std::process::id() % 10_000 * 65536;
    let mut range = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(range, "root:{id}:65536").expect("it is ours");
    let id = id.to_string();
    let keyrings = || {
        let keys = Command::new(&setpriv)
            .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
            .args(["cat", "/proc/keys"])
            .output()
            .expect("setpriv can be started");
        let keys = String::from_utf8_lossy(&keys.stdout).into_owned();
        keys.matches(" _ses").count()
    };
    assert_eq!(keyrings(), 0);
    let run = FULL.run().env("RANGE", range.path());
    let mount = "mount --bind \"$RANGE\" /etc/subuid && \
                 mount --bind \"$RANGE\" /etc/subgid";
    let run = in_namespaces(run, "--mount", mount);
    let mut container = run.start_sh("echo ready; read _");
    container.wait_for("ready");
    assert!(status(container.command(), "Uid").starts_with(&id));
    assert_eq!(keyrings(), 1, "a session keyring of its own");
    container.finish().ok();
}

fn the_working_directory_is_not_inherited() {
    for step in MOUNT.and_later() {
        let elsewhere = "cd /tmp && exec \"$0\" \"$@\"";
        let inside = step.run().through(elsewhere).sh("pwd");
        assert_eq!(inside.ok(), "/", "{}", step.name);
    }
}

fn a_read_only_root_cannot_be_written() {
    let run = FULL.run().options(["--read-only"]).sh("echo x >/file");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("Read-only file system"), "{run}");
    let run = FULL.run().options(["--read-only"]);
    run.sh("echo x >/dev/null && echo x >/dev/shm/file").ok();
}

/// `SRC:DST`, from a directory of the test.
fn volume(source: &Path, destination: &str) -> [String; 2] {
    let volume = format!("{}:{destination}", source.display());
    ["--volume".to_owned(), volume]
}

/// Also what is written there, by root inside: it belongs to whoever runs it.
fn a_volume_is_shared_with_the_host() {
    let source = tempfile::tempdir().expect("a temporary directory");
    fs::write(source.path().join("in"), "from outside").expect("it is ours");
    let options = volume(source.path(), "/data");
    for more in [&[][..], &["--read-only"]] {
        let run = FULL.run().options(&options).options(more);
        let run = run.sh("cat /data/in; echo from inside >/data/out");
        assert_eq!(run.ok(), "from outside");
        let out = source.path().join("out");
        let text = fs::read_to_string(&out).expect("it was written");
        assert_eq!(text, "from inside\n");
        let owner = out.metadata().expect("it is there").uid();
        assert_eq!(owner, getuid().as_raw());
        fs::remove_file(out).expect("it is ours");
    }
}

fn a_read_only_volume_cannot_be_written() {
    let source = tempfile::tempdir().expect("a temporary directory");
    let run = FULL.run().options(volume(source.path(), "/data:ro"));
    let run = run.sh("echo x >/data/out");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("Read-only file system"), "{run}");
    assert!(!source.path().join("out").exists());
}

/// Read-only is a property of each mount.
fn nor_can_what_is_mounted_below_it() {
    needs::root();
    let source = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(source.path().join("below")).expect("it is ours");
    let run = |options: &str| {
        let run = FULL.run().env("SOURCE", source.path());
        let mount = "mount -t tmpfs none \"$SOURCE/below\"";
        let run = in_namespaces(run, "--mount", mount);
        let destination = format!("/data{options}");
        let run = run.options(volume(source.path(), &destination));
        run.sh("echo x >/data/below/file")
    };
    let refused = run(":ro");
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("Read-only file system"),
        "{refused}"
    );
    run("").ok();
}

/// `no_new_privs` refuses set-uid programs everywhere; here the mount does, too.
fn a_volume_gives_no_privileges() {
    let source = tempfile::tempdir().expect("a temporary directory");
    let run = FULL.run().options(volume(source.path(), "/data"));
    let mounts = run.sh("cat /proc/mounts");
    let options = |place: &str| -> Vec<String> {
        let mut mounts = mounts.ok().lines().map(|it| it.split(' '));
        let mount = mounts.find_map(|mut it| {
            (it.nth(1) == Some(place)).then(|| it.nth(1).expect("options"))
        });
        let options = mount.expect("it is mounted").split(',');
        options.map(str::to_owned).collect()
    };
    for option in ["nosuid", "nodev"] {
        assert!(options("/data").contains(&option.to_owned()), "{option}");
        assert!(!options("/").contains(&option.to_owned()), "{option}");
    }
}

/// Who can make one on the host and share it would share a disk.
fn a_device_in_a_volume_cannot_be_opened() {
    needs::root();
    let source = tempfile::tempdir().expect("a temporary directory");
    let node = source.path().join("null");
    let all = Mode::from_bits_truncate(0o666);
    mknod(&node, SFlag::S_IFCHR, all, makedev(1, 3)).expect("we are root");
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666))
        .expect("it is ours");
    fs::write(&node, "x").expect("outside it can be opened");
    let run = FULL.run().options(volume(source.path(), "/data"));
    let run = run.sh("echo x >/data/null");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("Permission denied"), "{run}");
}

/// `/dev/null` over a file of the image: a mask.
fn a_volume_may_be_a_device_that_each_container_has() {
    for mode in ["", ":ro"] {
        let text = format!("/dev/null:/etc/passwd{mode}");
        let run = FULL.run().options(["--volume", &text]);
        let script =
            "cat /etc/passwd && echo x >/etc/passwd; chmod 600 /etc/passwd";
        let run = run.sh(script);
        assert_eq!((run.code, &*run.stdout), (1, ""));
        assert_eq!(run.stderr.matches("Read-only file system").count(), 1);
    }
    // What is refused is refused at once, and not when it is opened.
    let others = ["/dev/vda", "/dev/sda", "/dev/loop0", "/dev/kmsg"];
    let mut others = others.iter().filter(|it| Path::new(it).exists());
    if let Some(device) = others.next() {
        let text = format!("{device}:/data");
        let run = FULL.run().options(["--volume", &text]).sh("true");
        assert_message(&run, 125, &["is a device"]);
    }
}

/// By links in the image: the root itself, or a place that will be covered.
fn a_volume_never_becomes_what_the_container_makes_itself() {
    let source = tempfile::tempdir().expect("a temporary directory");
    let image = Image::copy_of_default();
    let link = image.path().join("link");
    fs::create_dir(image.path().join("dev/shm")).expect("it is ours");
    for (target, place) in [
        ("/", "/"),
        (".", "/"),
        ("..", "/"),
        ("proc/..", "/"),
        ("/proc", "/proc"),
        ("sys", "/sys"),
        ("../../dev/shm", "/dev"),
    ] {
        let _ = fs::remove_file(&link);
        symlink(target, &link).expect("it is ours");
        let run = FULL.run().rootfs(image.path());
        let run = run.options(volume(source.path(), "/link")).sh("true");
        let reason = match place {
            "/" => "DST is `/`".to_owned(),
            place => format!("DST is in {place}"),
        };
        assert_message(&run, 125, &[&reason]);
    }
    // A link on the way is something else.
    fs::remove_file(&link).expect("it is ours");
    symlink("/", &link).expect("it is ours");
    let run = FULL.run().rootfs(image.path());
    let run = run.options(volume(source.path(), "/link/mnt"));
    run.sh("echo x >/mnt/file").ok();
    assert!(source.path().join("file").exists());
}

/// Symbolic links in the image that would lead out of it: an absolute one, and
/// one that climbs.
fn a_volume_stays_inside_whatever_the_image_says() {
    let source = tempfile::tempdir().expect("a temporary directory");
    fs::write(source.path().join("file"), "of the volume").expect("ours");
    let host = tempfile::tempdir().expect("a temporary directory");
    let up = Path::new("../../../../../..");
    let relative = host.path().strip_prefix("/").expect("it is absolute");
    for target in [host.path().to_owned(), up.join(relative)] {
        let image = Image::copy_of_default();
        symlink(target, image.path().join("link")).expect("it is ours");
        // Where the link leads *inside*.
        let inside = image.path().join(relative);
        fs::create_dir_all(&inside).expect("it is ours");
        let run = FULL.run().rootfs(image.path());
        let run = run.options(volume(source.path(), "/link/data"));
        let path = inside.strip_prefix(image.path()).expect("it is below");
        let run = run.sh(&format!("cat /{}/data/file", path.display()));
        assert_eq!(run.ok(), "of the volume");
        let entries = fs::read_dir(host.path()).expect("it is ours").count();
        assert_eq!(entries, 0, "made on the host");
    }
}

fn a_volume_that_makes_no_sense_is_refused() {
    for (text, reason) in [
        ("/no/such:/data", "ENOENT: No such file"),
        ("/tmp", "not SRC:DST"),
        ("/tmp:data", "DST is not absolute"),
        ("/tmp:/a/../b", "DST contains"),
        ("/tmp:/", "use --rootfs"),
        ("/tmp:/proc/x", "DST is in /proc"),
        (":/data", "SRC is empty"),
        ("/tmp:/data:wx", "not SRC:DST"),
    ] {
        let run = FULL.run().options(["--volume", text]).sh("true");
        assert_message(&run, 125, &[reason]);
    }
}
