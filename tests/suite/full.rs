//! Step 6: all the rest.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};

use nix::{errno::Errno, sys::signal::Signal, unistd::getuid};
use tests::{
    ALL, CGROUPS, FULL, MOUNT, OVERLAY, Test, host::status, image::Image,
    needs, programs, tests,
};

use crate::{bad_input::assert_message, refusals::with_cache_on_tmpfs};

pub(crate) const TESTS: &[Test] = tests![
    the_kernel_is_shared,
    root_inside_is_somebody_else_outside,
    files_of_the_image_belong_to_root_inside,
    only_lo_is_there_and_it_is_up,
    a_port_of_the_host_is_reachable_up_to_step_5,
    nowhere_else_is_reachable_either,
    shared_memory_of_the_host_is_visible_up_to_step_5,
    shared_memory_of_the_container_is_invisible_outside,
    the_cgroup_path_is_hidden,
    dev_holds_what_every_program_expects_and_no_more,
    sys_is_read_only,
    kernel_files_are_masked,
    kernel_settings_cannot_be_written,
    no_program_gains_privileges,
    capabilities_are_no_more_than_dockers,
    a_system_call_that_docker_refuses_fails,
    calls_that_hardly_any_program_needs_fail_too,
    other_kinds_of_socket_are_refused_alone_and_in_pairs,
    an_open_file_is_not_inherited,
    the_environment_is_not_inherited,
    ignored_signals_and_the_umask_are_not_inherited,
    groups_are_not_inherited,
    the_working_directory_is_not_inherited,
    a_read_only_root_cannot_be_written,
    a_volume_is_shared_with_the_host,
    a_read_only_volume_cannot_be_written,
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
        // Each file system has code of its own for that, or none.
        let run = with_cache_on_tmpfs("rw", FULL.run());
        assert_eq!(run.sh(script).ok(), "0:0\n0:0\n0:0", "on a tmpfs");
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
    let key = std::process::id() as i32 ^ 0x2000_0000;
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
        let key = std::process::id() as i32 ^ 0x4000_0000;
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
}

fn sys_is_read_only() {
    let run = FULL.sh("cd /sys/kernel && mkdir new");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("Read-only file system"), "{run}");
}

/// An empty file in place of one that tells about the machine. A plain user may
/// have no keys, so that there is nothing to hide.
fn kernel_files_are_masked() {
    for (path, says_something) in
        [("/proc/interrupts", true), ("/proc/keys", needs::is_root())]
    {
        let count = format!("cat {path} | wc -c");
        assert_eq!(FULL.sh(&count).ok(), "0", "{path}");
        if says_something {
            assert_ne!(OVERLAY.sh(&count).ok(), "0", "{path}");
        }
    }
    if Path::new("/sys/firmware").exists() {
        assert_eq!(FULL.sh("ls -A /sys/firmware").ok(), "");
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

fn status_line(run: &tests::Finished, name: &str) -> u64 {
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

fn the_environment_is_not_inherited() {
    let secret = |step: tests::Step| step.run().env("SECRET", "of the host");
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
