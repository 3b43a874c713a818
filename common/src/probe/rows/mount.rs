//! What step 3 isolates.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::bail;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::chdir,
};

use super::{Attempt, Row, always, if_it_worked, in_a_child, refused};
use crate::{probe::Host, process::Stat};

/// Not the host's anything; just something that can be mounted.
fn mount_tmpfs(target: &Path) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("probe"), target, Some("tmpfs"), flags, Some("size=4k"))
}

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "host processes in /proc",
        control: always,
        attempt: Attempt::Here(|host| {
            match Stat::read(&host.pid.to_string()) {
                Some(stat) if stat.start_time == host.start_time => {
                    Ok(String::new())
                }
                Some(_) => Err("another process has this number".into()),
                None => Err("no process has this number".into()),
            }
        }),
        reached: if_it_worked,
    },
    Row {
        name: "host files",
        control: always,
        attempt: Attempt::Here(|host| {
            match fs::read_to_string(host.secret_file()) {
                Ok(text) if text == host.secret => Ok(text),
                Ok(_) => Err("another file has this name".into()),
                Err(error) => Err(refused(error)),
            }
        }),
        reached: if_it_worked,
    },
    Row {
        name: "working directory",
        control: always,
        attempt: Attempt::Here(|host| {
            in_a_child(|| enter_host(host)).map(|()| String::new())
        }),
        reached: if_it_worked,
    },
    Row {
        name: "mounts",
        control: |host| {
            in_a_child(|| {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
                Ok(mount_tmpfs(&host.directory)?)
            })
            .map_err(|_| "only root can mount on the host".into())
        },
        attempt: Attempt::Here(|host| {
            mount_tmpfs(&host.directory).map_err(refused)?;
            Ok(String::new())
        }),
        // The mount hides what the directory holds.
        reached: |host, _| {
            let hidden = !host.secret_file().exists();
            if hidden {
                // At once, so that a probe that is killed leaves no mount. It
                // fails only where it is gone already.
                let _ = umount2(&host.directory, MntFlags::MNT_DETACH);
            }
            hidden
        },
    },
    Row {
        name: "set-uid files for others",
        control: always,
        attempt: Attempt::Keeping(|host| {
            let file = host.left_file();
            fs::create_dir_all(&host.directory).map_err(refused)?;
            fs::write(&file, "").map_err(refused)?;
            let mode = Permissions::from_mode(0o4755);
            fs::set_permissions(&file, mode).map_err(refused)?;
            Ok(String::new())
        }),
        reached: |host, _| host.others_have_what_is_left(),
    },
];

/// Makes a directory the working directory from which the host's files can be
/// reached: by its path, or by a link that leads to a descriptor, a root or a
/// working directory of a process. Such a link can lie in an image.
fn enter_host(host: &Host) -> anyhow::Result<()> {
    let secret = host.secret_file();
    let from_root = secret.strip_prefix("/")?;
    // More of them than a path has directories.
    let mut way = PathBuf::from("../".repeat(40));
    way.push(from_root);
    let descriptors = (0..64).flat_map(|number| {
        ["self", "1"].map(|process| format!("/proc/{process}/fd/{number}"))
    });
    let links = ["/", "/proc/1/cwd", "/proc/1/root", "/proc/self/cwd"];
    for link in links.map(String::from).into_iter().chain(descriptors) {
        let entered = chdir(link.as_str()).is_ok();
        if entered
            && fs::read_to_string(&way).is_ok_and(|text| text == host.secret)
        {
            return Ok(());
        }
    }
    bail!("no directory leads to the host")
}
