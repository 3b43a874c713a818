//! What has a container changed? The upper directory knows.

mod layer;
mod print;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use common::{rootfs, sys};
use nix::fcntl::OFlag;

use crate::{
    kept::{UPPER, open_inside},
    layers::check_dialect,
};
use layer::Layer;
use print::Printer;

/// List what a container has changed: A added, C changed, D deleted
///
/// A directory is changed when something in it is. Of a deleted directory, or
/// one that a file has replaced, only the name is listed. What is not printable
/// in a name is written as bytes, such as \x1b, a line break as \n, and a
/// backslash as \\.
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
    /// Print JSON; a path that is not UTF-8 is the array `path_bytes`
    #[arg(long)]
    pub json: bool,
}

/// Compares an upper directory with the layers below it and prints one line a
/// change: a letter and a path, sorted by path, with Docker's letters.
pub fn diff(args: &Diff) -> anyhow::Result<ExitCode> {
    let dir = &args.dir;
    let upper = upper(dir).with_context(|| format!("reading {dir:?}"))?;
    let mut below = Vec::new();
    for lower in &args.lower {
        let aim = || format!("using {lower:?} as a layer");
        let layer = open_directory(lower).with_context(aim)?;
        check_dialect(&layer).with_context(aim)?;
        below.push(Layer::new(layer));
    }
    let image = open_directory(&rootfs::find(&args.rootfs)?)?;
    below.push(Layer::new(image));

    let mut printer = Printer::new(args.json);
    compare(upper, below, |letter, path| printer.print(letter, path))
        .with_context(|| format!("comparing {dir:?}"))?;
    printer.end()?;
    Ok(ExitCode::SUCCESS)
}

/// Calls `changed` with a letter, as [`diff`] prints it, and a path for each
/// difference that the directory `upper` makes on top of the layers `lower`,
/// which are given from the top.
///
/// # Errors
/// Those of `changed`, which end it.
pub fn changes(
    upper: &Path,
    lower: &[PathBuf],
    changed: impl FnMut(char, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let open = |dir: &Path| anyhow::Ok(Layer::new(open_directory(dir)?));
    let below = lower.iter().map(|dir| open(dir));
    compare(open(upper)?, below.collect::<Result<_, _>>()?, changed)
}

fn upper(dir: &Path) -> anyhow::Result<Layer> {
    let kept = open_directory(dir)?;
    let upper =
        open_inside(kept, UPPER, OFlag::O_RDONLY)?.with_context(|| {
            format!(
                "there is no {UPPER:?} in it, so `run --upper` has not made it"
            )
        })?;
    check_dialect(&upper)?;
    Ok(Layer::new(upper))
}

/// Opens the directory `dir` for reading: of its names, and of its attributes.
fn open_directory(dir: &Path) -> sys::Result<OwnedFd> {
    sys::open(dir, OFlag::O_DIRECTORY, 0)
}

/// A directory of the container that exists in the upper layer, while it is
/// compared.
struct Directory {
    /// The names in it that are still to be compared, the first one last.
    names: Vec<OsString>,
    /// The lower layers that are merged here, by their numbers, from the top.
    below: Vec<usize>,
    /// Whether the upper directory replaces those below, instead of being
    /// merged with them.
    opaque: bool,
    /// The length of its path.
    path: usize,
}

/// Calls `changed` with a letter and a path for what is different in `upper` on
/// top of the `lower` layers, sorted by path.
///
/// A path may be longer than the kernel takes one (PATH_MAX), and deeper than
/// our stack. So there is no recursion here, and each layer moves along, from
/// one directory to the next.
fn compare(
    mut upper: Layer,
    mut lower: Vec<Layer>,
    mut changed: impl FnMut(char, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut path: Vec<u8> = Vec::new();
    let all = (0..lower.len()).collect();
    let mut levels = vec![Directory::new(&upper, &lower, all, false, 0)?];
    while let Some(directory) = levels.last_mut() {
        path.truncate(directory.path);
        let Some(name) = directory.names.pop() else {
            for number in &directory.below {
                lower[*number].leave()?;
            }
            upper.leave()?;
            levels.pop();
            continue;
        };
        path.push(b'/');
        path.extend(name.as_bytes());

        let existed = directory.has(&lower, &name)?;
        let new = upper.look_at(&name)?;
        // Without a whiteout it is deleted where all is hidden that was here.
        let deleted = new.as_ref().is_none_or(|new| new.is_whiteout());
        match (deleted, existed) {
            (true, true) => changed('D', &path)?,
            // It had been added, and was then deleted again.
            (true, false) => {}
            (false, true) => changed('C', &path)?,
            (false, false) => changed('A', &path)?,
        }
        if new.is_some_and(|new| new.is_directory()) {
            upper.enter(&name)?;
            let opaque = directory.opaque || upper.is_opaque()?;
            let below = directory.enter(&mut lower, &name)?;
            let path = path.len();
            levels.push(Directory::new(&upper, &lower, below, opaque, path)?);
        }
    }
    Ok(())
}

impl Directory {
    /// The directory that `upper` and those `below` have arrived at.
    fn new(
        upper: &Layer,
        lower: &[Layer],
        below: Vec<usize>,
        opaque: bool,
        path: usize,
    ) -> anyhow::Result<Directory> {
        let mut names: BTreeSet<OsString> = upper.names()?;
        if opaque {
            for number in &below {
                names.extend(lower[*number].names()?);
            }
        }
        let names = names.into_iter().rev().collect();
        Ok(Directory {
            names,
            below,
            opaque,
            path,
        })
    }

    /// Whether the lower layers, merged, have `name`: the topmost one that
    /// knows of it decides.
    fn has(&self, lower: &[Layer], name: &OsStr) -> anyhow::Result<bool> {
        for number in &self.below {
            if let Some(old) = lower[*number].look_at(name)? {
                return Ok(!old.is_whiteout());
            }
        }
        Ok(false)
    }

    /// Enters the directory `name` in those lower layers in which overlay
    /// merges it, and returns their numbers.
    fn enter(
        &self,
        lower: &mut [Layer],
        name: &OsStr,
    ) -> anyhow::Result<Vec<usize>> {
        let mut entered = Vec::new();
        for number in &self.below {
            let layer = &mut lower[*number];
            let Some(old) = layer.look_at(name)? else {
                continue;
            };
            if !old.is_directory() {
                break;
            }
            layer.enter(name)?;
            entered.push(*number);
            if layer.is_opaque()? {
                break;
            }
        }
        Ok(entered)
    }
}

// Opaque directories are left to the tests of the whole program, where overlay
// makes them.
#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::stat::{Mode, SFlag, mknod};

    use super::{Layer, compare, open_directory};

    use tempfile::TempDir;

    /// Layers below a directory of their own, which is gone after the test.
    struct Layers(TempDir);

    impl Layers {
        fn new() -> Layers {
            let layers = Layers(tempfile::tempdir().unwrap());
            for layer in ["upper", "middle", "image"] {
                fs::create_dir(layers.0.path().join(layer)).unwrap();
            }
            layers
        }

        fn file(&self, path: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }

        fn whiteout(&self, path: &str) {
            // Everybody may make this one device, since Linux 5.8; mknod(2)
            // doesn't say so. See vfs_mknod() in fs/namei.c.
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        }

        fn diff(&self) -> Vec<String> {
            let [upper, middle, image] =
                ["upper", "middle", "image"].map(|layer| {
                    let layer = self.0.path().join(layer);
                    Layer::new(open_directory(&layer).unwrap())
                });
            let mut lines = Vec::new();
            let line = |letter, path: &[u8]| {
                let path = String::from_utf8_lossy(path);
                lines.push(format!("{letter} {path}"));
                Ok(())
            };
            compare(upper, vec![middle, image], line).unwrap();
            lines
        }
    }

    #[test]
    fn nothing_written_is_no_change() {
        let layers = Layers::new();
        layers.file("image/etc/passwd");
        assert_eq!(layers.diff(), [""; 0]);
    }

    #[test]
    fn added_changed_and_deleted_files_are_told_apart() {
        let layers = Layers::new();
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
        let layers = Layers::new();
        layers.file("image/a");
        layers.file("image/b");
        layers.whiteout("middle/a");
        layers.whiteout("middle/b");
        layers.file("upper/a");
        layers.whiteout("upper/b");
        assert_eq!(layers.diff(), ["A /a"]);
    }

    /// Components are compared, not bytes: `-` comes before `/`.
    #[test]
    fn what_is_in_a_directory_comes_right_after_it() {
        let layers = Layers::new();
        layers.file("upper/a/file");
        layers.file("upper/a-b");
        assert_eq!(layers.diff(), ["A /a", "A /a/file", "A /a-b"]);
    }

    #[test]
    fn a_layer_comes_back_from_where_others_have_not_been() {
        let layers = Layers::new();
        layers.file("upper/a/b/c/new");
        layers.file("upper/a/z");
        layers.file("upper/z");
        layers.file("middle/a/b/old");
        layers.file("middle/a/z");
        layers.file("image/a/b/c/new");
        layers.file("image/z");
        assert_eq!(
            layers.diff(),
            [
                "C /a",
                "C /a/b",
                "C /a/b/c",
                "C /a/b/c/new",
                "C /a/z",
                "C /z"
            ]
        );
    }

    #[test]
    fn a_file_and_a_directory_may_replace_each_other() {
        let layers = Layers::new();
        layers.file("image/directory/file");
        layers.file("image/file");
        layers.file("upper/directory");
        layers.file("upper/file/new");
        assert_eq!(layers.diff(), ["C /directory", "C /file", "A /file/new"]);
    }

    #[test]
    fn a_file_in_the_middle_hides_the_directory_below_it() {
        let layers = Layers::new();
        layers.file("image/name/inside");
        layers.file("middle/name");
        layers.file("upper/name/inside");
        assert_eq!(layers.diff(), ["C /name", "A /name/inside"]);
    }
}
