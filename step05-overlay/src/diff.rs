//! What has a container changed? The upper directory knows.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, Metadata},
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use common::{rootfs, xattr};

/// List what a container has changed: A added, C changed, D deleted
///
/// A directory is changed when something in it is. Of a deleted directory, or
/// one that a file has replaced, only the name is listed. What root's
/// containers have written must be read by root: only root sees the marks of
/// directories that were deleted and made anew.
#[derive(clap::Args, Clone, Debug)]
pub struct Diff {
    /// Directory that was given to `run --upper`
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Layer above the root file system, as it was given to `run`
    #[arg(long, value_name = "DIR")]
    pub lower: Vec<PathBuf>,
    /// Root file system, as it was given to `run`
    #[arg(long, value_name = "DIR")]
    pub rootfs: Option<PathBuf>,
}

/// Compares an upper directory with the layers below it and prints one line a
/// change: a letter and a path, sorted by path, with Docker's letters.
///
/// # Errors
///
/// A directory does not exist, is not one or can't be read; the output can't be
/// written.
pub fn diff(args: &Diff) -> anyhow::Result<ExitCode> {
    let upper = rootfs::directory(&args.dir)
        .with_context(|| format!("reading {:?}", args.dir))?;
    let mut below = Vec::new();
    for lower in &args.lower {
        let lower = rootfs::directory(lower)
            .with_context(|| format!("using {lower:?} as a layer"))?;
        below.push(lower);
    }
    below.push(rootfs::find(&args.rootfs)?);

    let changes = changes(upper, below)
        .with_context(|| format!("comparing {:?}", args.dir))?;
    print(&changes).context("write(1)")?;
    Ok(ExitCode::SUCCESS)
}

/// A path in the container, and one of the letters A, C and D.
type Change = (PathBuf, u8);

/// What is different in the directory `upper` on top of those `below`, sorted.
fn changes(upper: PathBuf, below: Vec<PathBuf>) -> anyhow::Result<Vec<Change>> {
    let merged = Directory {
        path: PathBuf::from("/"),
        upper,
        below,
        opaque: false,
    };
    let mut changes = Vec::new();
    merged.compare(&mut changes)?;
    changes.sort();
    Ok(changes)
}

fn print(changes: &[Change]) -> io::Result<()> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    for (path, letter) in changes {
        // As bytes: a name need not be UTF-8.
        stdout.write_all(&[*letter, b' '])?;
        stdout.write_all(path.as_os_str().as_bytes())?;
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// A directory of the container that exists in the upper directory.
struct Directory {
    /// Its path in the container.
    path: PathBuf,
    /// The directory of the upper layer.
    upper: PathBuf,
    /// The directories of the lower layers that had been merged here, from the
    /// top.
    below: Vec<PathBuf>,
    /// Whether the upper directory replaces those below, instead of being
    /// merged with them.
    opaque: bool,
}

impl Directory {
    /// Adds to `changes` what is different in this directory and below it.
    fn compare(&self, changes: &mut Vec<Change>) -> anyhow::Result<()> {
        let names = names(&self.upper)?;
        for name in &names {
            let path = self.path.join(name);
            let upper = self.upper.join(name);
            let old = Old::find(&self.below, name)?;
            let new = lstat(&upper)?
                .with_context(|| format!("{upper:?} has just been deleted"))?;
            let letter = match (is_whiteout(&new), old.exists) {
                (true, true) => b'D',
                // It had been added, and was then deleted again.
                (true, false) => continue,
                (false, true) => b'C',
                (false, false) => b'A',
            };
            changes.push((path.clone(), letter));
            if new.is_dir() {
                let opaque = self.opaque || is_opaque(&upper)?;
                let directory = Directory {
                    path,
                    upper,
                    below: old.directories,
                    opaque,
                };
                directory.compare(changes)?;
            }
        }
        if self.opaque {
            self.find_hidden(&names, changes)?;
        }
        Ok(())
    }

    /// Adds what has been here and is not among the `names` that are here now.
    fn find_hidden(
        &self,
        names: &BTreeSet<OsString>,
        changes: &mut Vec<Change>,
    ) -> anyhow::Result<()> {
        let mut old_names = BTreeSet::new();
        for directory in &self.below {
            old_names.extend(self::names(directory)?);
        }
        for name in old_names.difference(names) {
            if Old::find(&self.below, name)?.exists {
                changes.push((self.path.join(name), b'D'));
            }
        }
        Ok(())
    }
}

/// What the lower layers, merged, have under one name.
#[derive(Default)]
struct Old {
    /// Whether there is anything.
    exists: bool,
    /// The directories that are merged, from the top; none if it is a file.
    directories: Vec<PathBuf>,
}

impl Old {
    /// Looks for `name` in the directories `below`, from the top, as overlay
    /// does.
    fn find(below: &[PathBuf], name: &OsStr) -> anyhow::Result<Old> {
        let mut old = Old::default();
        for directory in below {
            let path = directory.join(name);
            let Some(metadata) = lstat(&path)? else {
                continue;
            };
            if is_whiteout(&metadata) {
                break;
            }
            old.exists = true;
            if !metadata.is_dir() {
                break;
            }
            let opaque = is_opaque(&path)?;
            old.directories.push(path);
            if opaque {
                break;
            }
        }
        Ok(old)
    }
}

fn names(directory: &Path) -> anyhow::Result<BTreeSet<OsString>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("opendir({directory:?})"))?;
    entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<_>>()
        .with_context(|| format!("readdir({directory:?})"))
}

fn lstat(path: &Path) -> anyhow::Result<Option<Metadata>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => Ok(Some(result.with_context(|| format!("lstat({path:?})"))?)),
    }
}

/// The mark of a deleted file: a character device of which both numbers are 0.
fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// The mark of a directory that was deleted and made anew: an attribute. Its
/// name depends on whether the host's root has mounted the overlay.
fn is_opaque(directory: &Path) -> anyhow::Result<bool> {
    for name in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        let value = xattr::get(directory, name)
            .with_context(|| format!("lgetxattr({directory:?}, {name:?})"))?;
        if value.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

// Opaque directories are left to the tests of the whole program, where overlay
// makes them.
#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf, process};

    use nix::sys::stat::{Mode, SFlag, mknod};

    use super::changes;

    /// Layers below a directory of their own, which is gone after the test.
    struct Layers(PathBuf);

    impl Layers {
        fn new(test: &str) -> Layers {
            let name = format!("overlay-diff-{test}-{}", process::id());
            let layers = Layers(env::temp_dir().join(name));
            for layer in ["upper", "middle", "image"] {
                fs::create_dir_all(layers.0.join(layer)).unwrap();
            }
            layers
        }

        fn file(&self, path: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }

        fn whiteout(&self, path: &str) {
            // Everybody may make this one device. See mknod(2).
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        }

        fn diff(&self) -> Vec<String> {
            let below = vec![self.0.join("middle"), self.0.join("image")];
            let changes = changes(self.0.join("upper"), below).unwrap();
            let line = |(path, letter): &(PathBuf, u8)| {
                format!("{} {}", char::from(*letter), path.display())
            };
            changes.iter().map(line).collect()
        }
    }

    impl Drop for Layers {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn nothing_written_is_no_change() {
        let layers = Layers::new("nothing");
        layers.file("image/etc/passwd");
        assert_eq!(layers.diff(), [""; 0]);
    }

    #[test]
    fn added_changed_and_deleted_files_are_told_apart() {
        let layers = Layers::new("letters");
        layers.file("image/etc/passwd");
        layers.file("image/etc/motd");
        layers.file("middle/etc/hosts");
        layers.file("upper/etc/passwd");
        layers.whiteout("upper/etc/motd");
        layers.whiteout("upper/etc/hosts");
        layers.file("upper/etc/new/file");
        assert_eq!(
            layers.diff(),
            [
                "C /etc",
                "D /etc/hosts",
                "D /etc/motd",
                "A /etc/new",
                "A /etc/new/file",
                "C /etc/passwd",
            ]
        );
    }

    #[test]
    fn what_a_layer_in_the_middle_has_deleted_is_not_there() {
        let layers = Layers::new("middle");
        layers.file("image/a");
        layers.file("image/b");
        layers.whiteout("middle/a");
        layers.whiteout("middle/b");
        layers.file("upper/a");
        layers.whiteout("upper/b");
        assert_eq!(layers.diff(), ["A /a"]);
    }

    #[test]
    fn a_file_and_a_directory_may_replace_each_other() {
        let layers = Layers::new("kinds");
        layers.file("image/directory/file");
        layers.file("image/file");
        layers.file("upper/directory");
        layers.file("upper/file/new");
        assert_eq!(layers.diff(), ["C /directory", "C /file", "A /file/new"]);
    }

    #[test]
    fn a_file_in_the_middle_hides_the_directory_below_it() {
        let layers = Layers::new("hidden");
        layers.file("image/name/inside");
        layers.file("middle/name");
        layers.file("upper/name/inside");
        assert_eq!(layers.diff(), ["C /name", "A /name/inside"]);
    }
}
