//! Which file `process.args` means, looked up in the container and as its user:
//! in `create` already, whose caller hears at once that there is none.

use std::{ffi::CString, fs, path::Path};

use anyhow::{Context, bail};
use common::sys;
use nix::{
    fcntl::OFlag,
    unistd::{AccessFlags, access},
};

use crate::config::Process;

/// Where programs are looked for if the environment does not say it.
const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file that is to be executed, as a path in the container.
///
/// # Errors
/// In the words that podman, Docker and containerd look for, to tell their users
/// by 127 that there is no such command, and by 126 that it is none.
pub(crate) fn find(process: &Process) -> anyhow::Result<CString> {
    let name = process.args.first().map_or("", String::as_str);
    let found = match name.contains('/') {
        true => by_path(name),
        false => by_name(name, process),
    };
    found.with_context(|| format!("exec: {name:?}"))
}

fn by_path(name: &str) -> anyhow::Result<CString> {
    let Ok(file) = fs::metadata(name) else {
        bail!("stat {name}: no such file or directory");
    };
    if !file.is_file() || !may_execute(Path::new(name)) {
        bail!("permission denied");
    }
    Ok(CString::new(name)?)
}

fn by_name(name: &str, process: &Process) -> anyhow::Result<CString> {
    let mut settings = process.env.iter().rev();
    let path = settings.find_map(|it| it.strip_prefix("PATH="));
    let mut is_forbidden = false;
    for directory in path.unwrap_or(DEFAULT_PATH).split(':') {
        // An empty one would be where we are: in a list of that it is a slip.
        if name.is_empty() || directory.is_empty() {
            continue;
        }
        let file = Path::new(directory).join(name);
        if !fs::metadata(&file).is_ok_and(|it| it.is_file()) {
            continue;
        }
        if may_execute(&file) {
            return Ok(CString::new(
                file.into_os_string().into_encoded_bytes(),
            )?);
        }
        is_forbidden = true;
    }
    match is_forbidden {
        true => bail!("permission denied"),
        false => bail!("executable file not found in $PATH"),
    }
}

fn may_execute(file: &Path) -> bool {
    access(file, AccessFlags::X_OK).is_ok()
}

/// Its environment: `HOME` is added if nothing is said about it.
pub(crate) fn environment(process: &Process) -> anyhow::Result<Vec<CString>> {
    let mut settings = process.env.clone();
    if !settings.iter().any(|it| it.starts_with("HOME=")) {
        let home = home(process.user.uid).unwrap_or_else(|| "/".into());
        settings.push(format!("HOME={home}"));
    }
    let strings = settings.into_iter().map(CString::new);
    Ok(strings.collect::<Result<_, _>>()?)
}

/// What the container's own `/etc/passwd` says.
fn home(uid: u32) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    // It could be a pipe, or never end.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let file = fs::File::from(sys::open("/etc/passwd", flags, 0).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(1 << 20).read_to_string(&mut text).ok()?;
    let mut users = text.lines().map(|line| line.split(':'));
    let mut fields =
        users.find(|fields| fields.clone().nth(2) == Some(&uid.to_string()))?;
    fields
        .nth(5)
        .map(str::to_owned)
        .filter(|home| !home.is_empty())
}
