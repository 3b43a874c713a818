//! Who is who: the tables of a user namespace, and the users of the process.

use std::process::Command;

use anyhow::{Context, ensure};
use common::{
    host::files::{read_kernel_file, write_kernel_file},
    sys,
};
use nix::{
    errno::Errno,
    unistd::{Gid, Pid, Uid, getegid, geteuid},
};

use crate::config::{Linux, Mapping, User};

/// Writes the tables of `pid`, the first process of a new user namespace.
///
/// What this process may not write itself, `newuidmap` and `newgidmap` may, if
/// the ids are granted to it. See user_namespaces(7).
pub(crate) fn map(pid: Pid, linux: &Linux) -> anyhow::Result<()> {
    let own = |id: u32, maps: &[Mapping]| matches!(maps, [map] if map.size == 1 && map.host == id);
    let gid = getegid().as_raw();
    // Who may map only its own group must give up setgroups(2) first.
    if !geteuid().is_root() && own(gid, &linux.gid_mappings) {
        write_kernel_file(format!("/proc/{pid}/setgroups"), "deny")?;
    }
    tables(pid, &linux.uid_mappings, &linux.gid_mappings)
}

/// Both of them.
pub(crate) fn tables(
    pid: Pid,
    users: &[Mapping],
    groups: &[Mapping],
) -> anyhow::Result<()> {
    table(pid, "uid_map", "newuidmap", users)?;
    table(pid, "gid_map", "newgidmap", groups)
}

fn table(
    pid: Pid,
    file: &str,
    program: &str,
    maps: &[Mapping],
) -> anyhow::Result<()> {
    let lines: Vec<String> = maps
        .iter()
        .map(|it| format!("{} {} {}", it.container, it.host, it.size))
        .collect();
    let text = lines.join("\n");
    match write_kernel_file(format!("/proc/{pid}/{file}"), &text) {
        Err(error) if error.errno == Errno::EPERM => {}
        written => return written.context("mapping the container's ids"),
    }
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    command.args(text.split_whitespace());
    let output = command
        .output()
        .with_context(|| format!("execve({program:?})"))?;
    let says = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", says.trim());
    Ok(())
}

/// Becomes root of the user namespace, as who all is prepared.
pub(crate) fn become_root() -> anyhow::Result<()> {
    let become_root = || {
        if may_set_groups() {
            sys::setgroups(&[])?;
        }
        let (uid, gid) = (Uid::from_raw(0), Gid::from_raw(0));
        sys::setresgid(gid, gid, gid)?;
        sys::setresuid(uid, uid, uid)
    };
    match become_root() {
        // There is no root in it; all capabilities we have nevertheless.
        Err(error) if error.errno == Errno::EINVAL => Ok(()),
        done => done.context("becoming root of the user namespace"),
    }
}

/// Becomes whom the process runs as, and keeps what capabilities are permitted:
/// those that it may have are set later.
pub(crate) fn become_user(user: &User) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let groups = user.additional_gids.iter().map(|it| Gid::from_raw(*it));
    let groups: Vec<Gid> = groups.collect();
    let become_user = || {
        sys::prctl(sys::PR_SET_KEEPCAPS, 1)?;
        if may_set_groups() || !groups.is_empty() {
            sys::setgroups(&groups)?;
        }
        sys::setresgid(gid, gid, gid)?;
        sys::setresuid(uid, uid, uid)
    };
    become_user().map_err(|error| {
        let why = match error.errno {
            Errno::EINVAL => ", who is not mapped in its user namespace",
            Errno::EPERM if !may_set_groups() => {
                ", in groups that nobody may change where one is mapped"
            }
            _ => "",
        };
        let aim = format!("becoming the user of the process{why}");
        anyhow::Error::from(error).context(aim)
    })
}

/// Where only one group is mapped, nobody may change groups.
fn may_set_groups() -> bool {
    read_kernel_file("/proc/self/setgroups")
        .map_or(true, |text| text != b"deny\n")
}
