//! Building an image: directories, a few files in `/etc`, programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    path::{Component, Path, PathBuf},
};

use anyhow::Context;
use nix::fcntl::OFlag;

use super::{
    chmod,
    sources::Sources,
    tools::{self, Tool},
};
use crate::sys;

/// The directories and their modes, a parent before its children. `/tmp` is for
/// everybody, but only owners may remove their files: sticky. See inode(7).
const DIRECTORIES: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("lib", 0o755),
    ("lib64", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];

/// Symbolic links and where they lead. On most hosts it is `/bin` that leads to
/// `/usr/bin`; here it is the other way round, so that a reader who looks for
/// the tools, or removes them, finds them in `/bin`. To programs both are the
/// same.
const LINKS: &[(&str, &str)] = &[
    ("sbin", "bin"),
    ("usr/bin", "../bin"),
    ("usr/sbin", "../bin"),
    ("usr/lib", "../lib"),
    ("usr/lib64", "../lib64"),
];

/// Nothing of the host: its users and its network are no business of the
/// container.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nnobody:x:65534:\n"),
    ("etc/hostname", "box\n"),
    ("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"),
];

/// Builds the default root file system in `root`, which must not exist, and
/// adds to `sources` what it depends on.
///
/// # Errors
/// There is no `sh` on this machine.
pub(super) fn build(root: &Path, sources: &mut Sources) -> anyhow::Result<()> {
    make_dir(root, 0o755)?;
    for (path, mode) in DIRECTORIES {
        make_dir(&root.join(path), *mode)?;
    }
    for (path, target) in LINKS {
        make_link(target, &root.join(path))?;
    }
    for (path, text) in FILES {
        write_file(&root.join(path), 0o644, text)?;
    }

    let mut copies = Copies::new(root);
    match tools::static_busybox(sources) {
        Some((busybox, applets)) => {
            copies.add(&busybox, Path::new("/bin/busybox"))?;
            for applet in applets.iter().filter(|name| *name != "busybox") {
                make_link("busybox", &root.join("bin").join(applet))?;
            }
        }
        None => {
            for tool in tools::of_the_host(sources)? {
                copy_tool(&mut copies, sources, &tool)?;
            }
        }
    }
    let memhog = root.join("bin/memhog");
    write_file(&memhog, 0o755, include_str!("memhog"))
}

/// Copies a tool to `/bin`, and its libraries to where its loader looks for
/// them.
fn copy_tool(
    copies: &mut Copies,
    sources: &mut Sources,
    tool: &Tool,
) -> anyhow::Result<()> {
    copies.add(&tool.path, &Path::new("/bin").join(tool.name))?;
    for library in &tool.libraries {
        sources.add(library);
        copies.add(library, library)?;
    }
    Ok(())
}

/// The files that were copied so far.
struct Copies<'a> {
    root: &'a Path,
    /// Device and inode of a source, and its first copy.
    by_inode: BTreeMap<(u64, u64), PathBuf>,
    targets: BTreeSet<PathBuf>,
}

impl<'a> Copies<'a> {
    fn new(root: &'a Path) -> Self {
        Copies {
            root,
            by_inode: BTreeMap::new(),
            targets: BTreeSet::new(),
        }
    }

    /// Copies the host's file `source` to `target`, a path inside the image. If
    /// it was copied before under another name (all tools of Alpine are one
    /// file), this name becomes a hard link.
    fn add(&mut self, source: &Path, target: &Path) -> anyhow::Result<()> {
        let target = inside(target);
        if !self.targets.insert(target.clone()) {
            return Ok(());
        }
        let target = self.root.join(target);
        make_parents(self.root, &target)?;

        let mut from = File::from(sys::open(source, OFlag::O_RDONLY, 0)?);
        let status = sys::fstat(&from)?;
        let inode = (status.st_dev, status.st_ino);
        if let Some(first) = self.by_inode.get(&inode) {
            return Ok(sys::link(first, &target)?);
        }

        // A program of the host may be set-user-ID. The copy is not.
        let mut to = create(&target, 0o755)?;
        io::copy(&mut from, &mut to)
            .with_context(|| format!("copying {source:?} to {target:?}"))?;
        self.by_inode.insert(inode, target);
        Ok(())
    }
}

/// The path in the image, relative to its root, of what the host calls `path`.
///
/// `/usr/lib/x` is at `lib/x`, since `/usr/lib` is a symbolic link there. A
/// `..` (from an `RPATH`) never leads above the root.
fn inside(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    for (link, target) in LINKS {
        if let Ok(rest) = plain.strip_prefix(link) {
            return Path::new(target.trim_start_matches("../")).join(rest);
        }
    }
    plain
}

/// Creates the directories between `root` and `path`.
fn make_parents(root: &Path, path: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .skip(1)
        .take_while(|dir| *dir != root && !dir.exists())
        .collect();
    for dir in missing.into_iter().rev() {
        make_dir(dir, 0o755)?;
    }
    Ok(())
}

/// Creates the directory `path` with exactly the permissions `mode`.
///
/// # Errors
/// `EEXIST` if something has that name.
pub(super) fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    sys::mkdir(path, mode)?;
    // mkdir takes the bits of the umask away. See umask(2).
    chmod(path, mode)
}

fn make_link(target: &str, path: &Path) -> anyhow::Result<()> {
    Ok(sys::symlink(target, path)?)
}

/// Creates the file `path` with exactly the permissions `mode`.
fn create(path: &Path, mode: u32) -> anyhow::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = sys::open(path, flags, mode)?;
    chmod(path, mode)?;
    Ok(file.into())
}

fn write_file(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    Ok(sys::write(create(path, mode)?, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_host_has_one_place_in_the_image() {
        let of = |path| inside(Path::new(path)).display().to_string();
        assert_eq!(of("/lib64/ld.so"), "lib64/ld.so");
        assert_eq!(of("/usr/lib/x/libc.so.6"), "lib/x/libc.so.6");
        assert_eq!(of("/usr/sbin/ip"), "bin/ip");
        assert_eq!(of("/opt/a/bin/../lib/b.so"), "opt/a/lib/b.so");
        assert_eq!(of("/../../etc/shadow"), "etc/shadow");
        assert_eq!(of("/usr/libexec/x"), "usr/libexec/x");
    }
}
