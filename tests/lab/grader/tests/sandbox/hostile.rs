//! What a student's program may try: this program is one, too.
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::FileExt,
            net::{SocketAddr, UnixStream},
            process::{CommandExt, parent_id},
        },
    },
    path::Path,
    process::Command,
    thread::sleep,
    time::Duration,
};

use nix::errno::Errno;

/// Keyrings by the name that the kernel has for those of whoever asks.
pub(crate) const SESSION: i32 = libc::KEY_SPEC_SESSION_KEYRING;
pub(crate) const USER: i32 = libc::KEY_SPEC_USER_KEYRING;

/// Does what `arguments` say, and tells what came of it.
pub(crate) fn attack(arguments: &[&str]) -> String {
    let done = match arguments {
        ["connect", path] => UnixStream::connect(path).map(drop),
        ["connect-abstract", name] => connect_abstract(name),
        ["read-key", key, keyring] => read_key(key, keyring).map(drop),
        ["change-key", key] => change_key(key),
        ["socket", family] => socket(family),
        _ => panic!("what is {arguments:?}?"),
    };
    match done {
        Ok(()) => "done".to_owned(),
        Err(_) => "refused".to_owned(),
    }
}

fn connect_abstract(name: &str) -> io::Result<()> {
    let address = SocketAddr::from_abstract_name(name)?;
    UnixStream::connect_addr(&address).map(drop)
}

fn number(text: &str) -> i32 {
    text.parse().expect("it is a number")
}

/// Reads a key, once it has put the keyring that the key is in into one of its
/// own: who possesses a keyring possesses what is in it.
fn read_key(key: &str, keyring: &str) -> io::Result<Vec<u8>> {
    let own = libc::KEY_SPEC_PROCESS_KEYRING;
    let own = own.cast_unsigned() as usize;
    let _ = keyctl(libc::KEYCTL_LINK, number(keyring), own, 0);
    let mut text = [0; 16];
    let place = text.as_mut_ptr() as usize;
    keyctl(libc::KEYCTL_READ, number(key), place, text.len())?;
    Ok(text.to_vec())
}

fn change_key(key: &str) -> io::Result<()> {
    let text = b"changed";
    let place = text.as_ptr() as usize;
    keyctl(libc::KEYCTL_UPDATE, number(key), place, text.len()).map(drop)
}

/// See keyctl(2): an operation, a key, and what else it takes.
pub(crate) fn keyctl(
    operation: u32,
    key: i32,
    third: usize,
    fourth: usize,
) -> io::Result<i32> {
    // SAFETY: where the operation takes a pointer, the callers give it one to
    // as many bytes as they say.
    let done = unsafe {
        libc::syscall(libc::SYS_keyctl, operation, key, third, fourth, 0)
    };
    let done = Errno::result(done)?;
    Ok(i32::try_from(done).expect("a key has 31 bits"))
}

/// Makes a key in `keyring`, and returns its number.
pub(crate) fn add_key(name: &str, keyring: i32) -> io::Result<i32> {
    let name = CString::new(name)?;
    let text = b"secret";
    // SAFETY: the strings end in a NUL, and the third pointer leads to as many
    // bytes as the number behind it says.
    let key = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            name.as_ptr(),
            text.as_ptr(),
            text.len(),
            keyring,
        )
    };
    let key = Errno::result(key)?;
    Ok(i32::try_from(key).expect("a key has 31 bits"))
}

fn socket(family: &str) -> io::Result<()> {
    // SAFETY: the call takes three numbers, and no pointer. The descriptor stays
    // open until this program ends.
    let made = unsafe { libc::socket(number(family), libc::SOCK_STREAM, 0) };
    Errno::result(made)?;
    Ok(())
}

/// What a program does that wants to pass a check as it is: it speaks as the
/// check, which has started it, and then as the command that it was to start.
/// Tells on standard error what of the check is open to it.
pub(crate) fn forge(command: &Path) {
    let check = Path::new("/proc").join(parent_id().to_string());
    let open = fs::read_dir(check.join("fd")).into_iter().flatten();
    for descriptor in open.flatten().map(|it| it.path()) {
        eprintln!("{descriptor:?} is to be seen");
    }
    for name in ["fd/0", "fd/1", "fd/2", "fd/3", "fd/4", "mem", "exe"] {
        if OpenOptions::new()
            .write(true)
            .open(check.join(name))
            .is_ok()
        {
            eprintln!("{name} can be written to");
        }
    }
    for name in ["environ", "maps", "exe"] {
        if File::open(check.join(name)).is_ok() {
            eprintln!("{name} can be read");
        }
    }
    // SAFETY: the call takes numbers, and a null pointer.
    let attached = unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE,
            parent_id().cast_signed(),
            0,
            std::ptr::null::<libc::c_void>(),
        )
    };
    if attached == 0 {
        eprintln!("it can be traced");
    }
    eprintln!("end");

    // Now that file is what we are, or nearly so.
    let own = fs::read("/proc/self/exe").expect("there is a /proc");
    let own = [own.as_slice(), b"forged"].concat();
    fs::write(command, own).expect("it is ours");
    let error = Command::new(command).arg("forged").exec();
    panic!("execve({command:?}): {error}");
}

/// Says what a command says first that is the checker's own.
pub(crate) fn speak() {
    let channel = io::stdin().as_fd().try_clone_to_owned();
    let mut channel = File::from(channel.expect("it is open"));
    channel.write_all(b"here\n").expect("somebody listens");
    // Until somebody has looked.
    sleep(Duration::from_secs(1));
}

/// Starts the command that it was to start, stops it when it has said its first
/// word, and answers in its place: that the host is called `name`.
pub(crate) fn answer(command: &Path, name: &str) {
    let channel = io::stdin().as_fd().try_clone_to_owned();
    let mut channel = File::from(channel.expect("it is open"));
    let mut child = Command::new(command)
        .arg("agent")
        .spawn()
        .expect("the command is there");
    let pid = child.id().cast_signed();
    let wrote = |line: &str| {
        let count = line.strip_prefix("wchar: ");
        count
            .and_then(|it| it.parse().ok())
            .is_some_and(|it: u64| it > 0)
    };
    let io = format!("/proc/{pid}/io");
    while !fs::read_to_string(&io).is_ok_and(|it| it.lines().any(wrote)) {
        std::hint::spin_loop();
    }
    // SAFETY: the call takes numbers.
    let stopped = unsafe { libc::kill(pid, libc::SIGSTOP) };
    assert_eq!(stopped, 0, "it is our child");
    let mut request = [0; 4096];
    while channel.read(&mut request).is_ok_and(|count| count > 0) {
        let says = format!("{name:?}\n");
        if channel.write_all(says.as_bytes()).is_err() {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Starts the command that it was to start, as what it is, and then writes to
/// its code: what is there already, since it takes no more to be seen.
pub(crate) fn change(command: &Path) {
    let mut child = Command::new(command)
        .arg("agent")
        .spawn()
        .expect("the command is there");
    let pid = child.id().cast_signed();
    // SAFETY: the call takes numbers, and a null pointer.
    let attached = unsafe {
        libc::ptrace(
            libc::PTRACE_SEIZE,
            pid,
            0,
            std::ptr::null::<libc::c_void>(),
        )
    };
    if attached == 0 {
        eprintln!("it can be traced");
    }
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .expect("we are its root");
    // Where it begins, which is behind it. See elf(5), `e_entry`.
    let mut entry = [0; 8];
    let file = File::open(command).expect("the command is there");
    file.read_exact_at(&mut entry, 24).expect("it has a head");
    let entry = u64::from_ne_bytes(entry);
    let mut byte = [0];
    memory.read_exact_at(&mut byte, entry).expect("it is code");
    memory.write_all_at(&byte, entry).expect("we are its root");
    let _ = child.wait();
}
