//! What a descriptor leads to, for the text of an error.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

/// What is said of the descriptor `fd` behind its number.
///
/// It is the path, as with `strace -y`, if that leads to the same file for the
/// process that has started us: a container has mounts of its own, and what it
/// has at `/home` is not what the reader has there. Then it is the type of the
/// file system, and the path in that: `overlay:/etc`.
///
/// `None` for what has no path (a pipe, a socket), or none that leads there (a
/// mount that is mounted nowhere yet), and where there is no `/proc`.
pub(super) fn of(fd: RawFd) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    if !path.is_absolute() {
        return None;
    }
    let told = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let mount = field(&told, "mnt_id:")?;
    let ours = mounts_of("self")?;
    // A process that has no parent here is on its own.
    let theirs = parent().and_then(|it| mounts_of(&it));
    let theirs = theirs.as_deref().unwrap_or(&ours);
    seen_by_parent(path, mount, &Mount::all(&ours), &Mount::all(theirs))
}

fn mounts_of(process: &str) -> Option<String> {
    let mut file = File::open(format!("/proc/{process}/mountinfo")).ok()?;
    // The kernel does not tell how long it is. To begin with 32 bytes, and go on
    // with twice as many, would take dozens of reads.
    let mut text = Vec::with_capacity(16 * 1024);
    file.read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// As `/proc` has it: to number 1 of a PID namespace getppid(2) says 0.
fn parent() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    field(&status, "PPid:").map(str::to_owned)
}

/// What is behind `name` in a file of lines like `PPid: 1`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// What is said of `path` in the mount with the number `mount`.
fn seen_by_parent(
    path: PathBuf,
    mount: &str,
    ours: &[Mount],
    theirs: &[Mount],
) -> Option<PathBuf> {
    // What was opened before our mount namespace was made is in theirs.
    let has_number = |it: &&Mount| it.id == mount;
    let own = ours.iter().find(has_number);
    let mount = own.or_else(|| theirs.iter().find(has_number))?;
    let there = mount.file_at(&path)?;
    let seen = Mount::reached(theirs, &path);
    let seen = seen.and_then(|it| it.file_at(&path));
    if seen.as_ref() == Some(&there) {
        return Some(path);
    }
    let (_, inside) = there;
    Some(format!("{}:{}", mount.file_system, unescape(&inside)).into())
}

/// A line of `/proc/PID/mountinfo`. See proc(5).
#[derive(Clone, Copy)]
struct Mount<'a> {
    id: &'a str,
    /// The mount that it is mounted on.
    parent: &'a str,
    device: &'a str,
    /// Which directory of the file system is at `point`.
    root: &'a str,
    point: &'a str,
    file_system: &'a str,
}

impl<'a> Mount<'a> {
    fn all(mountinfo: &'a str) -> Vec<Mount<'a>> {
        mountinfo.lines().filter_map(Mount::parse).collect()
    }

    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        Some(Mount {
            id: fields.next()?,
            parent: fields.next()?,
            device: fields.next()?,
            root: fields.next()?,
            point: fields.next()?,
            file_system: after.split(' ').next()?,
        })
    }

    /// The mount that `path` leads to: from the top down, over what is mounted
    /// on what.
    fn reached(mounts: &[Mount<'a>], path: &Path) -> Option<Mount<'a>> {
        let path = escape(path);
        let leads_there = |it: &&Mount| path.starts_with(it.point);
        let is_top = |it: &&Mount| !mounts.iter().any(|under| it.is_on(under));
        let mut here = mounts.iter().filter(is_top).find(leads_there)?;
        loop {
            let on_it = mounts.iter().filter(|it| it.is_on(here));
            let nearer = on_it.filter(leads_there);
            match nearer.max_by_key(|it| it.point.len()) {
                Some(next) => here = next,
                None => return Some(*here),
            }
        }
    }

    fn is_on(&self, under: &Mount) -> bool {
        self.parent == under.id && self.id != under.id
    }

    /// The device, and the path in its file system, of what is at `path`, which
    /// is in this mount.
    fn file_at(&self, path: &Path) -> Option<(&'a str, PathBuf)> {
        let below = escape(path);
        let below = below.strip_prefix(self.point).ok()?;
        let root = Path::new(self.root);
        let inside = match below.as_os_str().is_empty() {
            true => root.to_owned(),
            false => root.join(below),
        };
        Some((self.device, inside))
    }
}

/// What would end a field of mountinfo, or begin an escape, and how the kernel
/// writes it there.
const ESCAPES: [(&str, &str); 4] = [
    ("\\", r"\134"),
    (" ", r"\040"),
    ("\t", r"\011"),
    ("\n", r"\012"),
];

fn escape(path: &Path) -> PathBuf {
    let path = path.to_string_lossy().into_owned();
    let escape = |path: String, (plain, escaped)| path.replace(plain, escaped);
    ESCAPES.into_iter().fold(path, escape).into()
}

fn unescape(path: &Path) -> String {
    let path = path.to_string_lossy().into_owned();
    // The backslash last, or it could begin another one.
    ESCAPES
        .into_iter()
        .rev()
        .fold(path, |path, (plain, escaped)| path.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    /// The mounts of a host, and of a container that step 5 makes there in
    /// `/home/a b`, as proc(5) has them.
    const HOST: &str = "\
        20 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        21 20 0:5 / /dev rw - devtmpfs none rw\n\
        22 20 8:2 / /home rw - ext4 /dev/sda2 rw\n";
    const CONTAINER: &str = "\
        30 29 8:1 / / rw - ext4 /dev/sda1 rw\n\
        31 30 0:5 / /dev rw - devtmpfs none rw\n\
        32 30 8:2 / /home rw - ext4 /dev/sda2 rw\n\
        33 32 0:40 / /home/a\\040b rw - tmpfs tmpfs rw\n\
        34 33 0:41 / /home/a\\040b rw - overlay overlay rw\n\
        35 30 8:1 /srv/x /srv/x rw - ext4 /dev/sda1 rw\n\
        36 30 8:1 /srv/x /mnt rw - ext4 /dev/sda1 rw\n";

    fn seen(path: &str, mount: &str) -> Option<String> {
        let (ours, theirs) = (Mount::all(CONTAINER), Mount::all(HOST));
        let seen = seen_by_parent(path.into(), mount, &ours, &theirs)?;
        Some(seen.display().to_string())
    }

    #[test]
    fn a_path_that_means_the_same_outside_is_printed() {
        assert_eq!(seen("/etc", "30").as_deref(), Some("/etc"));
        assert_eq!(seen("/dev/null", "31").as_deref(), Some("/dev/null"));
        // Covered in the container, but not on the host.
        assert_eq!(seen("/home/a b/c", "32").as_deref(), Some("/home/a b/c"));
        // Opened before the container's mount namespace was made.
        assert_eq!(seen("/home/a b", "22").as_deref(), Some("/home/a b"));
        // Bound to itself.
        assert_eq!(seen("/srv/x/y", "35").as_deref(), Some("/srv/x/y"));
    }

    #[test]
    fn a_place_that_only_the_container_has_is_named_by_its_file_system() {
        assert_eq!(seen("/home/a b", "33").as_deref(), Some("tmpfs:/"));
        assert_eq!(seen("/home/a b/c", "34").as_deref(), Some("overlay:/c"));
        assert_eq!(seen("/mnt/y", "36").as_deref(), Some("ext4:/srv/x/y"));
    }

    #[test]
    fn what_is_mounted_nowhere_has_no_path() {
        assert_eq!(seen("/", "99"), None);
        let (_ours, theirs) = std::io::pipe().expect("there are descriptors");
        assert_eq!(of(theirs.as_raw_fd()), None);
    }

    #[test]
    fn what_was_covered_since_it_was_opened_is_not_what_is_seen_there() {
        let ours = Mount::all(CONTAINER);
        let seen = |path: &str, mount| {
            seen_by_parent(path.into(), mount, &ours, &ours)
        };
        assert_eq!(seen("/home/a b", "32"), Some("ext4:/a b".into()));
        assert_eq!(seen("/home/a b", "33"), Some("tmpfs:/".into()));
        assert_eq!(seen("/home/a b", "34"), Some("/home/a b".into()));
    }
}
