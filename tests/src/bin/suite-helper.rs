//! Does inside a container, or around one, what no tool of the system does.
//! Linked statically, it needs nothing else there.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead, IoSliceMut, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            fs::{chroot, symlink},
            net::UnixStream,
            process::CommandExt,
        },
    },
    path::Path,
    process::{Command, ExitCode},
    str::FromStr,
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    errno::Errno,
    fcntl::{OFlag, openat},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns},
    sys::{
        inotify::{InitFlags, Inotify},
        resource::{UsageWho, getrusage},
        signal::{SigEvent, SigSet, SigevNotify, Signal},
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
        stat::Mode,
        time::TimeValLike,
        timer::Timer,
        wait::{WaitStatus, waitpid},
    },
    time::ClockId,
    unistd::{ForkResult, fork, pause},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule,
};

fn main() -> ExitCode {
    let arguments = env::args_os().skip(1).map(OsString::into_string);
    let arguments: Result<Vec<String>, _> = arguments.collect();
    let arguments = arguments.expect("what a test has given is UTF-8");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["use-message-queue", name] => use_message_queue(name),
        ["take-all", what] => take_all(what),
        ["disturb-terminal", state] => disturb_terminal(state),
        ["echo", text] => {
            println!("{text}");
            Ok(())
        }
        ["escape-chroot", file] => escape_chroot(file),
        ["move-root", image, file] => move_root(image, file),
        ["uncover-root", file] => fs::File::open("/proc/self/ns/mnt")
            .and_then(|namespace| uncover_root(namespace, file)),
        ["fork-bomb", count] => fork_bomb(number(count)),
        ["burn-cpu", ms] => burn_cpu(Duration::from_millis(number(ms))),
        ["fill-sockets", mebibytes] => fill_sockets(number(mebibytes)),
        ["kinds-of-socket"] => {
            (0..=libc::AF_XDP).for_each(kind_of_socket);
            Ok(())
        }
        ["watch-interrupts"] => watch_interrupts(),
        ["watch-signals"] => watch_signals(),
        ["connect", address] => {
            connect(address);
            Ok(())
        }
        ["find-shared-memory", key] => {
            find_shared_memory(number(key));
            Ok(())
        }
        ["make-shared-memory", key] => make_shared_memory(number(key)),
        ["open-what-is-sent", socket, file] => open_what_is_sent(socket, file),
        ["filtered", filter, ref command @ ..] => filtered(filter, command),
        ["on-initramfs", ref command @ ..] => on_initramfs(command),
        ["system-calls", ref numbers @ ..] => {
            numbers.iter().for_each(|it| system_call(number(it)));
            Ok(())
        }
        _ => Err(io::Error::other(format!("what is {arguments:?}?"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("helper: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Executes `command` under a filter of system calls that refuses as Docker's
/// default profile does: `clone3` only that call, `docker` also whatever makes
/// namespaces and mounts; or as old versions of it do: `newer`. `landlock` makes
/// of the kernel one that has no Landlock, `attributes` of each file system one
/// that has no extended attributes. `seccomp` refuses more filters.
///
/// See profiles/seccomp/default_linux.go of github.com/moby/profiles.
fn filtered(filter: &str, command: &[&str]) -> io::Result<()> {
    if filter == "docker" {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = [
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_sethostname,
            libc::SYS_keyctl,
        ]
        .into_iter()
        .map(|number| (number, Vec::new()))
        .collect();
        // A rule for each flag: one is enough to be refused.
        let namespaces = [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ];
        let is_set = |flag: i32| {
            let (width, flag) = (SeccompCmpArgLen::Dword, flag.cast_unsigned());
            let flag = flag.into();
            let operator = SeccompCmpOp::MaskedEq(flag);
            SeccompCondition::new(0, width, operator, flag)
                .and_then(|condition| SeccompRule::new(vec![condition]))
        };
        let clone: Result<_, _> = namespaces.into_iter().map(is_set).collect();
        rules.insert(libc::SYS_clone, clone.map_err(io::Error::other)?);
        refuse(rules, libc::EPERM)?;
    }
    if filter == "seccomp" {
        let all = [(libc::SYS_seccomp, Vec::new())];
        refuse(all.into(), libc::EPERM)?;
        // It is the last one.
        return Err(Command::new(command[0]).args(&command[1..]).exec());
    }
    // A set of system calls that came later than others.
    let missing = match filter {
        "newer" => &[
            libc::SYS_clone3,
            libc::SYS_close_range,
            libc::SYS_openat2,
            libc::SYS_open_tree,
            libc::SYS_mount_setattr,
        ][..],
        "landlock" => &[libc::SYS_landlock_create_ruleset],
        "attributes" => {
            let calls = [libc::SYS_fgetxattr, libc::SYS_fsetxattr];
            let rules = calls.map(|number| (number, Vec::new()));
            refuse(rules.into(), libc::EOPNOTSUPP)?;
            &[]
        }
        _ => &[libc::SYS_clone3],
    };
    let missing = missing.iter().map(|number| (*number, Vec::new()));
    refuse(missing.collect(), libc::ENOSYS)?;
    Err(Command::new(command[0]).args(&command[1..]).exec())
}

/// Makes as many of these as the kernel lets one have, and keeps them until a
/// line is read.
fn take_all(what: &str) -> io::Result<()> {
    let make = match what {
        "timers" => make_timer,
        _ => make_watch,
    };
    let mut taken = Vec::new();
    let errno = loop {
        match make() {
            Ok(one) => taken.push(one),
            Err(errno) => break errno,
        }
    };
    println!("taken {} {what}: {errno}", taken.len());
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Makes a message queue, opens it once more, and removes it. See
/// mq_overview(7).
fn use_message_queue(name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    let (attributes, mode) = (std::ptr::null::<libc::mq_attr>(), 0o600);
    for flags in [libc::O_CREAT | libc::O_RDWR, libc::O_RDONLY] {
        // SAFETY: the name ends in NUL, and without attributes the queue has
        // the usual ones.
        let queue =
            unsafe { libc::mq_open(name.as_ptr(), flags, mode, attributes) };
        Errno::result(queue)?;
    }
    // SAFETY: the name ends in NUL.
    Errno::result(unsafe { libc::mq_unlink(name.as_ptr()) })?;
    println!("used");
    Ok(())
}

/// It takes a place among the signals that may wait.
fn make_timer() -> nix::Result<Box<dyn std::any::Any>> {
    let nothing = SigEvent::new(SigevNotify::SigevNone);
    Ok(Box::new(Timer::new(ClockId::CLOCK_MONOTONIC, nothing)?))
}

fn make_watch() -> nix::Result<Box<dyn std::any::Any>> {
    Ok(Box::new(Inotify::init(InitFlags::IN_CLOEXEC)?))
}

/// Leaves the terminal, which is standard input, so that nobody can use it.
fn disturb_terminal(state: &str) -> io::Result<()> {
    let (call, argument): (_, usize) = match state {
        // As Ctrl-S does, which Ctrl-Q would undo.
        "stopped" => (libc::TCXONC, libc::TCOOFF as usize),
        // N_NULL, which forgets what is typed and what is written.
        "line-discipline" => (libc::TIOCSETD, &raw const N_NULL as usize),
        "exclusive" => (libc::TIOCEXCL, 0),
        "nonblocking" => (libc::FIONBIO, &raw const YES as usize),
        _ => return Err(io::Error::other(format!("what is {state}?"))),
    };
    // SAFETY: each of the calls reads one int, or takes it as it is.
    let result = unsafe { libc::ioctl(0, call, argument) };
    Errno::result(result)?;
    Ok(())
}

/// A line discipline: see TIOCSETD in ioctl_tty(2), and <linux/tty.h>.
static N_NULL: libc::c_int = 27;
static YES: libc::c_int = 1;

/// From now on, calls that fit one of `rules` fail with `errno`.
fn refuse(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    errno: i32,
) -> io::Result<()> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        env::consts::ARCH.try_into().map_err(io::Error::other)?,
    );
    let program: BpfProgram = filter
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// Executes `command` on the root that the kernel has unpacked when it booted,
/// below everything that was mounted on it since. What was the root is in
/// `/above`, and links lead there.
///
/// This process must have a mount namespace of its own.
fn on_initramfs(command: &[&str]) -> io::Result<()> {
    let namespace = fs::File::open("/proc/self/ns/mnt")?;
    let flags = libc::OPEN_TREE_CLONE | libc::AT_RECURSIVE as u32;
    // SAFETY: open_tree(2) reads a path that ends in NUL.
    let tree = unsafe {
        let (call, root) = (libc::SYS_open_tree, c"/".as_ptr());
        libc::syscall(call, libc::AT_FDCWD, root, flags)
    };
    Errno::result(tree)?;
    umount2("/", MntFlags::MNT_DETACH)?;
    // Whoever enters a mount namespace gets its root, and that is uncovered now.
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    fs::create_dir_all("/above")?;
    // SAFETY: move_mount(2) reads two paths that end in NUL.
    let moved = unsafe {
        let (call, place) = (libc::SYS_move_mount, c"/above".as_ptr());
        let (here, flags) = (libc::AT_FDCWD, libc::MOVE_MOUNT_F_EMPTY_PATH);
        libc::syscall(call, tree, c"".as_ptr(), here, place, flags)
    };
    Errno::result(moved)?;
    for entry in fs::read_dir("/above")?.flatten() {
        let link = Path::new("/").join(entry.file_name());
        // Some of them are there, and empty.
        let _ = fs::remove_dir(&link);
        if !link.exists() {
            symlink(entry.path(), link)?;
        }
    }
    Err(Command::new(command[0]).args(&command[1..]).exec())
}

fn number<N: FromStr>(text: &str) -> N {
    let number = text.parse().ok();
    number.expect("the test has given such a number")
}

/// The classic way out of a chroot, and then prints `file`, which is outside.
///
/// A second chroot leaves the working directory where it is: outside of the new
/// root. From there `..` is not stopped any more, up to the real root. See
/// chroot(2).
fn escape_chroot(file: &str) -> io::Result<()> {
    fs::create_dir_all("/tmp/cell")?;
    chroot("/tmp/cell")?;
    for _ in 0..100 {
        env::set_current_dir("..")?;
    }
    chroot(".")?;
    print!("{}", fs::read_to_string(file)?);
    Ok(())
}

/// Makes `image` the root in the way of a machine that boots, where pivot_root
/// does not work: it is moved over the old one. Then gets out of it. Must have
/// a mount namespace of its own. See switch_root(8).
fn move_root(image: &str, file: &str) -> io::Result<()> {
    let namespace = fs::File::open("/proc/self/ns/mnt")?;
    let mount = |source, target, flags| {
        mount(Some(source), target, None::<&str>, flags, None::<&str>)
    };
    mount(image, image, MsFlags::MS_BIND)?;
    env::set_current_dir(image)?;
    mount(".", "/", MsFlags::MS_MOVE)?;
    chroot(".")?;
    uncover_root(namespace, file)
}

/// Takes away the root, and prints `file` from what was below it.
///
/// Whoever enters a mount namespace, even their own, gets its root. See
/// setns(2).
fn uncover_root(namespace: fs::File, file: &str) -> io::Result<()> {
    // EINVAL, where there is nothing below.
    let _ = umount2("/", MntFlags::MNT_DETACH);
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    print!("{}", fs::read_to_string(file)?);
    Ok(())
}

/// Forks until that fails, at most `limit` times; prints how often it worked
/// and why it ended; then waits for a line.
fn fork_bomb(limit: u64) -> io::Result<()> {
    let mut count = 0;
    let end = loop {
        if count == limit {
            break "the limit is not reached".to_owned();
        }
        // SAFETY: this program has one thread.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { .. }) => count += 1,
            Ok(ForkResult::Child) => loop {
                pause();
            },
            Err(errno) => break format!("{errno:?}"),
        }
    };
    println!("{count} forks: {end}");
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Uses so much processor time, prints how many milliseconds passed, and waits
/// for a line.
fn burn_cpu(time: Duration) -> io::Result<()> {
    let start = Instant::now();
    let used_before = cpu_time()?;
    while cpu_time()? - used_before < time {}
    println!("{} ms", start.elapsed().as_millis());
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// The processor time that this process has used.
fn cpu_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let used = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(
        used.num_microseconds().cast_unsigned(),
    ))
}

/// Sends to sockets that nobody reads, until the kernel keeps so much or takes no
/// more; prints how many mebibytes it has taken.
fn fill_sockets(mebibytes: u64) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut kept = Vec::new();
    let mut sent = 0;
    for _ in 0..50 {
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        kept.push(listener.accept()?.0);
        sender.set_nonblocking(true)?;
        while sent < mebibytes << 20 {
            match sender.write(&[0; 64 * 1024]) {
                Ok(bytes) => sent += bytes as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        kept.push(sender);
    }
    println!("{}", sent >> 20);
    Ok(())
}

/// Prints a family of addresses, and the errno of socket(2) and socketpair(2)
/// for it. The type is none that there is: whatever gets past a filter is
/// EINVAL, for whoever asks.
fn kind_of_socket(family: i32) {
    const NO_TYPE: i32 = 11;
    // SAFETY: socket(2) takes three integers.
    let one = unsafe { libc::socket(family, NO_TYPE, 0) };
    let one = Errno::result(one);
    let mut pair = [0; 2];
    // SAFETY: socketpair(2) may write to an array of two.
    let two =
        unsafe { libc::socketpair(family, NO_TYPE, 0, pair.as_mut_ptr()) };
    let two = Errno::result(two);
    println!("{family} {one:?} {two:?}");
}

/// Waits for SIGINT, again and again, and says who has sent it; at SIGTERM, how
/// many there were.
fn watch_interrupts() -> io::Result<()> {
    let mut awaited = SigSet::from(Signal::SIGINT);
    awaited.add(Signal::SIGTERM);
    awaited.thread_block()?;
    println!("ready");
    for count in 0.. {
        let info = next_signal(&awaited)?;
        match (info.si_signo, info.si_code) {
            (libc::SIGTERM, _) => {
                println!("{count} in all.");
                break;
            }
            (_, libc::SI_KERNEL) => println!("interrupted by the kernel."),
            _ => println!("interrupted by a process."),
        }
    }
    Ok(())
}

/// Says each signal that comes, as a number, until it is SIGTERM.
fn watch_signals() -> io::Result<()> {
    let awaited = SigSet::all();
    awaited.thread_block()?;
    println!("ready");
    loop {
        let signal = next_signal(&awaited)?.si_signo;
        println!("got {signal}.");
        if signal == libc::SIGTERM {
            return Ok(());
        }
    }
}

fn next_signal(awaited: &SigSet) -> io::Result<libc::siginfo_t> {
    let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
    // SAFETY: sigwaitinfo(2) reads the set and fills the siginfo.
    let signal =
        unsafe { libc::sigwaitinfo(awaited.as_ref(), info.as_mut_ptr()) };
    Errno::result(signal)?;
    // SAFETY: it has succeeded, and so filled `info`.
    Ok(unsafe { info.assume_init() })
}

/// Prints `connected`, or the errno of connect(2).
fn connect(address: &str) {
    let address: SocketAddr = address.parse().expect("an address");
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Ok(_) => println!("connected"),
        Err(error) => {
            let errno = error.raw_os_error().map(Errno::from_raw);
            println!("{errno:?}");
        }
    }
}

/// Prints `found`, or the errno of shmget(2).
fn find_shared_memory(key: i32) {
    // SAFETY: shmget(2) takes three integers.
    let result = unsafe { libc::shmget(key, 0, 0) };
    match Errno::result(result) {
        Ok(_) => println!("found"),
        Err(errno) => println!("{errno:?}"),
    }
}

/// Makes a segment of shared memory, says so, and waits for a line.
fn make_shared_memory(key: i32) -> io::Result<()> {
    // SAFETY: shmget(2) takes three integers.
    Errno::result(unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | 0o666) })?;
    println!("made");
    io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Takes an open directory from whoever listens at `socket`, and prints what
/// `file` in it says.
fn open_what_is_sent(socket: &str, file: &str) -> io::Result<()> {
    let connection = UnixStream::connect(socket)?;
    let mut byte = [0];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    let mut control = cmsg_space!(RawFd);
    let message = recvmsg::<()>(
        connection.as_raw_fd(),
        &mut buffers,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    let sent = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let sent = sent.unwrap_or_default();
    // SAFETY: the kernel has just made this descriptor for us.
    let directory = unsafe { OwnedFd::from_raw_fd(sent[0]) };
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    match openat(&directory, file, flags, Mode::empty()) {
        Ok(file) => println!("{}", io::read_to_string(fs::File::from(file))?),
        Err(errno) => println!("{errno:?}"),
    }
    Ok(())
}

/// Makes the system call of that number with arguments that make no sense to
/// any (-1), in a process of its own, and prints the errno.
fn system_call(number: i64) {
    // SAFETY: this program has one thread.
    match unsafe { fork() }.expect("fork()") {
        ForkResult::Child => {
            // SAFETY: -1 is no pointer that the kernel would write to, no open
            // descriptor and no process; whatever the call is, it fails.
            let result =
                unsafe { libc::syscall(number, -1, -1, -1, -1, -1, -1) };
            match Errno::result(result) {
                Ok(value) => println!("{number} returned {value}"),
                Err(errno) => println!("{number} {errno:?}"),
            }
            // SAFETY: _exit(2) has no preconditions.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => {}
            end => println!("{number} ended with {end:?}"),
        },
    }
}
