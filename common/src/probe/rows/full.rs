//! What step 6 isolates.
#![allow(unsafe_code)]

use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::{Read, Write},
    mem::MaybeUninit,
    net::TcpStream,
    path::Path,
    time::Duration,
};

use nix::{
    errno::Errno,
    net::if_::if_nameindex,
    sched::{CloneFlags, unshare},
    unistd::{Uid, gethostname, sethostname},
};

use super::{Attempt, Row, always, if_it_worked, in_a_child, refused};
use crate::{
    host::rootless,
    probe::host::{DESCRIPTOR, IGNORED, VARIABLE},
};

/// Written with the value that it has.
const SYSCTL: &str = "/proc/sys/vm/swappiness";

/// Files that tell about the whole machine; which of them exist depends on the
/// kernel, who may read them on the caller.
const TELLING: &[&str] = &[
    "/proc/interrupts",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/kcore",
];

/// Devices that are no business of a container.
const DEVICES: &[&str] = &[
    "/dev/kmsg",
    "/dev/mem",
    "/dev/fuse",
    "/dev/net/tun",
    "/dev/kvm",
    "/dev/vda",
    "/dev/sda",
    "/dev/nvme0n1",
];

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "root's power",
        control: |_| match Uid::effective().is_root() {
            true => Ok(()),
            false => Err("you are not root".into()),
        },
        attempt: Attempt::Here(|_| Ok(String::new())),
        reached: |_, answer| answer.sender.uid() == 0,
    },
    Row {
        name: "network interfaces",
        control: |_| match interfaces()?.is_empty() {
            true => Err("the host has only a loopback interface".into()),
            false => Ok(()),
        },
        attempt: Attempt::Here(|_| Ok(interfaces()?.join(" "))),
        reached: |_, answer| {
            interfaces().is_ok_and(|names| names.join(" ") == answer.text)
        },
    },
    Row {
        name: "ports on the loopback",
        control: always,
        attempt: Attempt::Here(|host| {
            let address = host.listener.local_addr().map_err(refused)?;
            TcpStream::connect_timeout(&address, Duration::from_secs(2))
                .map_err(refused)?;
            Ok(String::new())
        }),
        reached: if_it_worked,
    },
    Row {
        name: "shared memory (IPC)",
        control: always,
        attempt: Attempt::Here(|host| attach(host.shared_memory)),
        reached: |host, answer| answer.text == host.secret,
    },
    Row {
        name: "cgroup paths",
        control: always,
        attempt: Attempt::Here(|_| {
            fs::read_to_string("/proc/self/cgroup").map_err(refused)
        }),
        // Inside, the paths should begin at the container's own cgroup.
        reached: |_, answer| {
            let path = format!("/proc/{}/cgroup", answer.sender.pid());
            fs::read_to_string(path).is_ok_and(|seen| seen == answer.text)
        },
    },
    Row {
        name: "host devices",
        control: |_| {
            open_one_of(DEVICES)
                .map(|_| ())
                .map_err(|_| "the host lets you open none".into())
        },
        attempt: Attempt::Here(|_| open_one_of(DEVICES)),
        reached: if_it_worked,
    },
    Row {
        name: "kernel settings (/proc/sys)",
        control: |_| {
            write_sysctl().map_err(|_| "only root can change them".into())
        },
        attempt: Attempt::Here(|_| write_sysctl().map(|()| String::new())),
        reached: if_it_worked,
    },
    Row {
        name: "kernel files (/proc)",
        control: |_| {
            read_one_of(TELLING)
                .map(|_| ())
                .map_err(|_| "the host lets you read none".into())
        },
        attempt: Attempt::Here(|_| read_one_of(TELLING)),
        reached: if_it_worked,
    },
    Row {
        name: "capabilities",
        control: |_| {
            in_a_child(|| {
                rootless::become_root()?;
                unshare(CloneFlags::CLONE_NEWUTS)?;
                Ok(keep_hostname()?)
            })
            .map_err(|_| {
                "you have none, and can't make a user namespace".into()
            })
        },
        attempt: Attempt::AfterExec(|| {
            keep_hostname().map(|()| String::new()).map_err(refused)
        }),
        reached: if_it_worked,
    },
    Row {
        name: "system calls",
        control: |_| {
            make_user_namespace()
                .map_err(|_| "the host refuses user namespaces".into())
        },
        attempt: Attempt::AfterExec(|| {
            make_user_namespace().map(|()| String::new())
        }),
        reached: if_it_worked,
    },
    Row {
        name: "open files of the parent",
        control: always,
        attempt: Attempt::AfterExec(|| {
            // Not by a File, which is there for descriptors that are open for
            // sure: whether this one is, is just the question.
            let mut byte = 0_u8;
            // SAFETY: read(2) puts at most one byte to where there is one, and
            // a number that is closed is EBADF.
            let read =
                unsafe { libc::read(DESCRIPTOR, (&raw mut byte).cast(), 1) };
            let read = Errno::result(read);
            read.map(|_| String::new()).map_err(refused)
        }),
        reached: if_it_worked,
    },
    Row {
        name: "environment of the parent",
        control: always,
        attempt: Attempt::AfterExec(|| env::var(VARIABLE).map_err(refused)),
        reached: if_it_worked,
    },
    Row {
        name: "signals that it ignores",
        control: always,
        attempt: Attempt::AfterExec(|| {
            let mut action = MaybeUninit::<libc::sigaction>::zeroed();
            let new = std::ptr::null();
            // SAFETY: with a null pointer for the new action, sigaction(2) only
            // fills the old one.
            unsafe {
                libc::sigaction(IGNORED as i32, new, action.as_mut_ptr());
            }
            // SAFETY: sigaction(2) has filled it, and zeros are valid as well.
            let action = unsafe { action.assume_init() };
            match action.sa_sigaction == libc::SIG_IGN {
                true => Ok(String::new()),
                false => Err("not ignored".into()),
            }
        }),
        reached: if_it_worked,
    },
    Row {
        name: "the tool's own program",
        control: |_| {
            File::open("/proc/self/exe")
                .map(|_| ())
                .map_err(|_| "you may not read it".into())
        },
        // Number 1 and our parent are still what the tool was at its start.
        attempt: Attempt::AfterExec(|| {
            open_program_of(parent()?)
                .or_else(|_| open_program_of(1))
                .map(|()| String::new())
        }),
        reached: if_it_worked,
    },
];

/// The names of the network interfaces, without the loopback.
fn interfaces() -> Result<Vec<String>, String> {
    let all = if_nameindex().map_err(refused)?;
    let names = all
        .iter()
        .map(|interface| interface.name().to_string_lossy().into_owned());
    Ok(names.filter(|name| name != "lo").collect())
}

/// What the shared memory segment `id` holds.
fn attach(id: i32) -> Result<String, String> {
    // SAFETY: a null address lets the kernel choose where it is attached.
    let memory = unsafe { libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY) };
    if memory as isize == -1 {
        return Err(refused(Errno::last()));
    }
    // The other side may write to it at any time. So it is no slice, which holds
    // still, but bytes that are read once, one after the other.
    let byte = |at| {
        let byte = memory.cast::<u8>().wrapping_add(at);
        // SAFETY: a segment is mapped in whole pages, of at least 4096 bytes,
        // also if the id should mean another one here; it stays mapped.
        unsafe { byte.read_volatile() }
    };
    let text: Vec<u8> =
        (0..4096).map(byte).take_while(|byte| *byte != 0).collect();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn open_one_of(paths: &[&str]) -> Result<String, String> {
    let mut paths = paths.iter();
    let opened = paths.find(|path| File::open(path).is_ok());
    opened
        .map(|path| path.to_string())
        .ok_or("none could be opened".into())
}

fn read_one_of(paths: &[&str]) -> Result<String, String> {
    let telling = |path: &Path| {
        let mut byte = [0];
        let file = File::open(path);
        file.is_ok_and(|mut file| matches!(file.read(&mut byte), Ok(1)))
    };
    let told = paths.iter().find(|path| telling(Path::new(path)));
    told.map(|path| path.to_string())
        .ok_or("none says anything".into())
}

fn write_sysctl() -> Result<(), String> {
    let value = fs::read(SYSCTL).map_err(refused)?;
    let file = OpenOptions::new().write(true).open(SYSCTL);
    file.and_then(|mut file| file.write_all(&value))
        .map_err(refused)
}

/// Our parent, under the number that it has in `/proc`: in step 2 that is not
/// the one that we know.
fn parent() -> Result<i32, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(refused)?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let number = line.and_then(|number| number.trim().parse().ok());
    number.ok_or("no number in /proc/self/status".into())
}

fn open_program_of(process: i32) -> Result<(), String> {
    File::open(format!("/proc/{process}/exe"))
        .map(drop)
        .map_err(refused)
}

/// Needs `CAP_SYS_ADMIN`, and changes nothing.
fn keep_hostname() -> nix::Result<()> {
    sethostname(gethostname()?)
}

/// Needs no privilege on most systems, and gives all of them in the new
/// namespace, where much of the kernel's code can be reached.
fn make_user_namespace() -> Result<(), String> {
    in_a_child(|| Ok(unshare(CloneFlags::CLONE_NEWUSER)?))
}
