//! Where the default root file system lies: who can change it, and what becomes
//! of it when this machine's tools change.

use std::{
    fs::{self, File, FileTimes, Permissions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::SystemTime,
};

use harness::{MOUNT, Run, Step, Test, claims, needs, programs, wait_until};
use tempfile::TempDir;

use crate::{bad_input::assert_message, refusals::in_namespaces};

pub(crate) const TESTS: &[Test] = claims![
    a_cache_that_others_can_change_is_refused,
    a_way_to_the_cache_that_is_somebody_elses_is_refused,
    nobody_else_can_reach_what_is_written_into_an_image,
    a_link_to_a_program_has_no_cache_of_its_own,
    a_container_keeps_the_image_that_it_runs_in,
    what_a_container_writes_into_an_older_image_is_kept,
    nobody_else_can_lock_an_image,
    what_was_written_into_an_image_is_kept,
    an_image_that_nobody_has_written_to_makes_place,
    an_update_is_noticed_though_its_files_have_the_same_time,
    one_builds_while_the_others_wait_and_nobody_sees_half_an_image,
    an_image_that_somebody_else_may_have_made_is_refused,
    an_image_has_nothing_of_the_users_of_this_machine,
];

/// A cache for the runs of one test.
pub(crate) struct Cache(TempDir);

impl Cache {
    pub(crate) fn new() -> Cache {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let cache = Cache(directory);
        cache.set_mode(0o755);
        cache
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn set_mode(&self, mode: u32) {
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(self.path(), mode).expect("it is ours");
    }

    /// Has the run use it. Root's is always below /var/cache.
    pub(crate) fn of(&self, run: Run) -> Run {
        self.of_then(run, "true")
    }

    /// The same, after a shell script.
    pub(crate) fn of_then(&self, run: Run, script: &str) -> Run {
        if !needs::is_root() {
            let run = run.env("XDG_CACHE_HOME", self.path());
            if script == "true" {
                return run;
            }
            return run.through(&format!("{script}; exec \"$0\" \"$@\""));
        }
        let run = run.env("CACHE", self.path());
        let mount = "mount --bind \"$CACHE\" /var/cache";
        in_namespaces(run, "--mount", &format!("{mount} && {script}"))
    }

    /// The same, with only these programs in its `/usr/bin`.
    fn with_tools(&self, run: Run, tools: &Path) -> Run {
        let run = run.env("CACHE", self.path()).env("TOOLS", tools);
        let script = "mount --bind \"$CACHE\" /var/cache && \
                      mount --bind \"$TOOLS\" /usr/bin";
        in_namespaces(run, "--mount", script)
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let path = self.path().join("container-in-six-steps").join(path);
        let entries = fs::read_dir(path).expect("it is there");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("it is readable").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn file(&self, step: Step, name: &str) -> PathBuf {
        let path = self.path().join("container-in-six-steps");
        path.join(step.name).join(name)
    }

    /// As if a tool had been installed or replaced since the image was built.
    fn outdate(&self, step: Step) {
        let list = self.file(step, "sources");
        let options = File::options().append(true).open(list);
        let mut list = options.expect("it is ours");
        let built = list.metadata().and_then(|list| list.modified());
        let times = FileTimes::new().set_modified(built.expect("a time"));
        list.write_all(b"absent\t/bin/sh\n").expect("it is ours");
        list.set_times(times).expect("it is ours");
    }
}

const ALL_OF_IT: [&str; 3] = ["lock", "rootfs", "sources"];

fn a_cache_that_others_can_change_is_refused() {
    let cache = Cache::new();
    for mode in [0o777, 0o775, 0o757] {
        cache.set_mode(mode);
        let run = cache.of(MOUNT.run()).sh("true");
        let cause = "others could put programs into the image, which would \
                     run as you";
        let parts = ["on the way is writable by others", cause];
        assert_message(&run, 125, &parts);
        let made = fs::read_dir(cache.path()).expect("it is ours").count();
        assert_eq!(made, 0, "nothing is made there");
    }
    // In such a directory nobody can rename or remove what is not theirs.
    cache.set_mode(0o1777);
    assert_eq!(cache.of(MOUNT.run()).sh("echo fine").ok(), "fine");
    cache.set_mode(0o700);
    assert_eq!(cache.of(MOUNT.run()).sh("echo fine").ok(), "fine");
}

fn a_way_to_the_cache_that_is_somebody_elses_is_refused() {
    needs::root();
    let cache = Cache::new();
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let link = cache.path().join("container-in-six-steps");
    let give = |path: &Path, user| {
        std::os::unix::fs::lchown(path, Some(user), None).expect("we are root");
    };
    symlink(elsewhere.path(), &link).expect("it is ours");
    assert_eq!(cache.of(MOUNT.run()).sh("echo fine").ok(), "fine");
    give(&link, 65534);
    let run = cache.of(MOUNT.run()).sh("true");
    assert_message(&run, 125, &["is a symbolic link of user 65534"]);
    give(&link, 0);
    give(elsewhere.path(), 65534);
    let run = cache.of(MOUNT.run()).sh("true");
    assert_message(&run, 125, &["on the way belongs to user 65534"]);
    fs::remove_file(&link).expect("it is ours");
    give(cache.path(), 65534);
    let run = cache.of(MOUNT.run()).sh("true");
    assert_message(&run, 125, &["on the way belongs to user 65534"]);
}

fn a_link_to_a_program_has_no_cache_of_its_own() {
    let cache = Cache::new();
    let links = tempfile::tempdir().expect("a temporary directory");
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(links.path(), open).expect("it is ours");
    let link = links.path().join("box");
    symlink(programs::path(MOUNT.name), &link).expect("it is ours");
    let by_link = |run: Run| {
        let run = run.env("LINK", &link);
        run.through("shift; exec \"$LINK\" run \"$@\"")
    };
    if needs::is_root() {
        let run = MOUNT.run().env("LINK", &link).env("CACHE", cache.path());
        let script = "exec unshare --mount sh -c '\
                      mount --bind \"$CACHE\" /var/cache && \
                      exec \"$LINK\" \"$@\"' \"$0\" \"$@\"";
        run.through(script).sh("true").ok();
    } else {
        by_link(MOUNT.run())
            .env("XDG_CACHE_HOME", cache.path())
            .sh("true")
            .ok();
    }
    assert_eq!(cache.names(""), [MOUNT.name]);
    // What is said is said under the name that the reader has typed.
    let run = by_link(MOUNT.run()).options(["--no-such"]).sh("true");
    assert!(run.stderr.starts_with("box: "), "{run}");
}

fn a_container_keeps_the_image_that_it_runs_in() {
    for step in MOUNT.and_later() {
        let cache = Cache::new();
        let script = "echo ready; read _; ls /bin/sh";
        let mut container = cache.of(step.run()).start_sh(script);
        container.wait_for("ready");
        cache.outdate(step);
        let run = cache.of(step.run()).sh("echo anew");
        assert_eq!((run.ok(), run.stderr.contains("old")), ("anew", false));
        assert!(container.finish().ok().ends_with("/bin/sh"));
        // What nobody runs in any more goes with the next run.
        let run = cache.of(step.run()).sh("true");
        assert_eq!((run.code, run.stderr.contains("old")), (0, false));
        assert_eq!(cache.names(step.name), ALL_OF_IT, "{}", step.name);
    }
}

fn what_a_container_writes_into_an_older_image_is_kept() {
    let cache = Cache::new();
    let script = "echo ready; read _; echo late >/late";
    let mut container = cache.of(MOUNT.run()).start_sh(script);
    container.wait_for("ready");
    cache.outdate(MOUNT);
    let run = cache.of(MOUNT.run()).sh("ls /late || echo anew");
    assert_eq!(run.ok(), "anew");
    container.finish().ok();
    let run = cache.of(MOUNT.run()).sh("true");
    assert!(run.stderr.contains("the old one was written to"), "{run}");
    let late = cache.file(MOUNT, "rootfs.before-1/late");
    assert_eq!(fs::read_to_string(late).expect("it is there"), "late\n");
}

/// Whoever may open a file may lock it, for as long as they like.
fn nobody_else_can_lock_an_image() {
    let cache = Cache::new();
    cache.of(MOUNT.run()).sh("true").ok();
    for name in ["lock", "sources"] {
        let status = cache.file(MOUNT, name).metadata();
        let mode = status.expect("it was made").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

fn what_was_written_into_an_image_is_kept() {
    let cache = Cache::new();
    cache.of(MOUNT.run()).sh("mkdir /tmp/mine").ok();
    cache.outdate(MOUNT);
    let run = cache.of(MOUNT.run()).sh("ls /tmp");
    assert_eq!(run.ok(), "");
    assert!(run.stderr.contains("the old one was written to"), "{run}");
    let mine = cache.file(MOUNT, "rootfs.before-1/tmp/mine");
    assert!(mine.is_dir(), "it is kept");
    let kept = ["lock", "rootfs", "rootfs.before-1", "sources"];
    assert_eq!(cache.names(MOUNT.name), kept);
}

fn an_image_that_nobody_has_written_to_makes_place() {
    let cache = Cache::new();
    assert_eq!(cache.of(MOUNT.run()).sh("ls /bin/sh").ok(), "/bin/sh");
    cache.outdate(MOUNT);
    let run = cache.of(MOUNT.run()).sh("ls /bin/sh");
    assert_eq!((run.ok(), &*run.stderr), ("/bin/sh", ""));
    assert_eq!(cache.names(MOUNT.name), ALL_OF_IT);
}

/// By a set-uid program in it they would be whoever has started the container.
fn nobody_else_can_reach_what_is_written_into_an_image() {
    let cache = Cache::new();
    for step in MOUNT.and_later() {
        cache.of(step.run()).sh("true").ok();
        let home = cache.file(step, "");
        let mode = || home.metadata().expect("it is there").mode() & 0o7777;
        assert_eq!(mode(), 0o700, "{}", step.name);

        // As it was made before.
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(&home, open).expect("it is ours");
        cache.of(step.run()).sh("true").ok();
        assert_eq!(mode(), 0o700, "{}", step.name);
    }
}

/// A directory for programs of this machine, which it has under other names.
fn tools(programs: &[(&str, &Path)]) -> TempDir {
    let tools = tempfile::tempdir().expect("a temporary directory");
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(tools.path(), open).expect("it is ours");
    for (name, program) in programs {
        fs::copy(program, tools.path().join(name)).expect("it is there");
    }
    tools
}

/// Where packages are built to be reproducible, all files have one time. Here
/// the new one has even the same size.
fn an_update_is_noticed_though_its_files_have_the_same_time() {
    needs::root();
    let (shell, helper) = (Path::new("/bin/sh"), programs::helper());
    let size = |path: &Path| path.metadata().expect("it is there").len();
    let same_size = size(shell).max(size(&helper));
    let cache = Cache::new();
    let tools = tools(&[("sh", shell), ("wc", shell)]);
    let make_alike = |name| {
        let tool = File::options().write(true).open(tools.path().join(name));
        let tool = tool.expect("it is ours");
        tool.set_len(same_size).expect("there is room");
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        tool.set_times(times).expect("it is ours");
    };
    let run = |arguments: &[&str]| {
        let run = cache.with_tools(MOUNT.run(), tools.path());
        run.command(arguments)
    };
    ["sh", "wc"].into_iter().for_each(make_alike);
    assert_eq!(run(&["wc", "-c", "echo a shell"]).ok(), "a shell");

    fs::remove_file(tools.path().join("wc")).expect("it is ours");
    fs::copy(&helper, tools.path().join("wc")).expect("there is room");
    make_alike("wc");
    assert_eq!(run(&["wc", "echo", "the helper"]).ok(), "the helper");
}

/// The first builder is held up by one of the tools: its loader does not answer.
fn one_builds_while_the_others_wait_and_nobody_sees_half_an_image() {
    needs::root();
    let cache = Cache::new();
    let sleep = needs::tool("sleep");
    let tools = tools(&[("sh", Path::new("/bin/sh")), ("sleep", &sleep)]);
    let path = |name| tools.path().join(name);
    let loader = path("loader");
    let wait = format!(
        "#!/bin/sh\ncd {:?} && echo >>asked && \
         while [ -d . ] && [ ! -e go ]; do sleep 0.01; done; exit 1\n",
        tools.path()
    );
    fs::write(&loader, wait).expect("it is ours");
    fs::write(path("wc"), loaded_by(&loader)).expect("it is ours");
    for name in ["loader", "wc"] {
        let executable = Permissions::from_mode(0o755);
        fs::set_permissions(path(name), executable).expect("it is ours");
    }
    let asked = || fs::read(path("asked")).map_or(0, |lines| lines.len());
    let start = |script| {
        let run = cache.with_tools(MOUNT.run(), tools.path());
        run.start_sh(script)
    };

    let first = start("echo first");
    wait_until("a builder", || (asked() == 1).then_some(()));
    assert_eq!(cache.names(MOUNT.name), ["lock", "rootfs.new"]);
    let second = start("echo second");
    let lock = cache.file(MOUNT, "lock").metadata().expect("it is there");
    wait_until("the other one", || {
        (asked() > 1 || is_waited_for(lock.ino())).then_some(())
    });
    assert_eq!(asked(), 1, "builders");
    File::create(path("go")).expect("it is ours");
    assert_eq!(first.finish().ok(), "first");
    assert_eq!(second.finish().ok(), "second");
    assert_eq!(asked(), 1, "builders");
    assert_eq!(cache.names(MOUNT.name), ALL_OF_IT);
}

/// The begin of a program for this loader: one header, and the loader's path.
/// See elf(5).
fn loaded_by(loader: &Path) -> Vec<u8> {
    let name = loader.as_os_str().as_encoded_bytes();
    let (header, entry) = (64_u8, 56_u8);
    let length = u8::try_from(name.len()).expect("it is short");
    let mut program = vec![0; usize::from(header + entry)];
    program[..6].copy_from_slice(b"\x7fELF\x02\x01");
    program[32] = header; // e_phoff
    program[56] = 1; // e_phnum
    program[64] = 3; // p_type: PT_INTERP
    program[72] = header + entry; // p_offset
    program[96] = length; // p_filesz
    program.extend_from_slice(name);
    program
}

/// Whether somebody waits for a lock on the file. See proc(5), `/proc/locks`.
fn is_waited_for(inode: u64) -> bool {
    let locks = fs::read_to_string("/proc/locks").expect("/proc");
    let inode = format!(":{inode} ");
    let mut waiting = locks.lines().filter(|line| line.contains("-> FLOCK"));
    waiting.any(|line| line.contains(&inode))
}

/// Its programs are run with the rights of whoever starts the container.
fn an_image_that_somebody_else_may_have_made_is_refused() {
    let cache = Cache::new();
    let again = "and the next run builds it anew";
    cache.of(MOUNT.run()).sh("true").ok();
    let image = cache.file(MOUNT, "rootfs");
    let open = Permissions::from_mode(0o777);
    fs::set_permissions(&image, open).expect("it is ours");
    let run = cache.of(MOUNT.run()).sh("true");
    assert_message(&run, 125, &["writable by others (mode 0777)", again]);

    fs::remove_dir_all(&image).expect("it is ours");
    assert_eq!(cache.of(MOUNT.run()).sh("echo anew").ok(), "anew");
    if needs::is_root() {
        let nobody = Some(65534);
        std::os::unix::fs::chown(&image, nobody, None).expect("we are root");
        let run = cache.of(MOUNT.run()).sh("true");
        assert_message(&run, 125, &["belongs to user 65534, not 0", again]);
    }
}

fn an_image_has_nothing_of_the_users_of_this_machine() {
    let cache = Cache::new();
    let run = cache
        .of(MOUNT.run())
        .sh("cat /etc/passwd /etc/group /etc/hosts");
    let expected = "root:x:0:0:root:/root:/bin/sh\n\
                    nobody:x:65534:65534:nobody:/:/bin/false\n\
                    root:x:0:\nnobody:x:65534:\n\
                    127.0.0.1\tlocalhost\n::1\tlocalhost";
    assert_eq!(run.ok(), expected);
    let files = ["group", "hostname", "hosts", "passwd"];
    let etc = format!("{}/rootfs/etc", MOUNT.name);
    assert_eq!(cache.names(&etc), files);

    // On the host some of them are set-uid: mount, for example.
    for tool in cache.names(&format!("{}/rootfs/bin", MOUNT.name)) {
        let tool = cache.file(MOUNT, "rootfs/bin").join(tool);
        let status = tool.metadata().expect("it is ours");
        assert_eq!(status.mode() & 0o6000, 0, "{tool:?}");
    }
}
