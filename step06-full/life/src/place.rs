//! Where what is known of containers lies.
//!
//! ```text
//! STORE/containers/NAME/   what lasts: config.json, last.json, log, layer/
//!                      lock    held by the monitor
//! RUN/ID/              what ends with the machine: state.json, socket
//! ```
//!
//! Both are closed to other users. RUN is in memory where there is such a
//! place: after the machine was switched off it is empty, which is the truth.

use std::{
    env, fs,
    fs::DirBuilder,
    io::{ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use common::{
    errors::Advice,
    host::{PROJECT, paths::way_to},
};
use nix::unistd::geteuid;

/// The two directories.
#[derive(Clone, Debug)]
pub struct Place {
    /// What lasts.
    pub(crate) containers: PathBuf,
    /// What does not.
    pub(crate) run: PathBuf,
}

impl Place {
    /// The caller's: what lasts is in `store`, and what does not in
    /// `/run/container-in-six-steps` for root, else in `$XDG_RUNTIME_DIR`, or
    /// in `/tmp` where that is missing.
    ///
    /// # Errors
    /// It can't be made, or others could change what is in it.
    pub fn of_caller(store: &Path) -> anyhow::Result<Place> {
        let run = match (geteuid().as_raw(), env::var_os("XDG_RUNTIME_DIR")) {
            (0, _) => PathBuf::from("/run").join(PROJECT),
            (_, Some(dir)) if Path::new(&dir).is_dir() => {
                Path::new(&dir).join(PROJECT)
            }
            (uid, _) => PathBuf::from(format!("/tmp/{PROJECT}-{uid}")),
        };
        Place::open(store, &run)
    }

    /// The place in these two directories, which are made if they are missing.
    ///
    /// # Errors
    /// As [`Place::of_caller`].
    pub fn open(store: &Path, run: &Path) -> anyhow::Result<Place> {
        // Not what the table of hints says about other directories.
        let advice = "others could change what is known of containers: name \
                      another place by --store";
        let open = |dir: &Path| {
            let opened = own_directory(dir);
            let opened = opened.with_context(|| format!("opening {dir:?}"));
            opened.map_err(|error| error.context(Advice::only(advice)))
        };
        Ok(Place {
            containers: open(&store.join("containers"))?,
            run: open(run)?,
        })
    }

    /// The directory of a container, as far as it lasts.
    pub(crate) fn lasting(&self, name: &str) -> PathBuf {
        self.containers.join(name)
    }

    /// Where it is while it is removed: no name of a container.
    pub(crate) fn discarded(&self, id: &str) -> PathBuf {
        self.containers.join(format!(".{id}"))
    }

    /// And as far as it does not.
    pub(crate) fn running(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }
}

/// Makes a directory that is closed to others, or takes one that is.
fn own_directory(dir: &Path) -> anyhow::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("mkdir({dir:?}, 0700)"))?;
    let dir = way_to(&dir)?;
    let status = fs::metadata(&dir)?;
    let (uid, mode) = (status.uid(), status.mode() & 0o7777);
    ensure!(
        uid == geteuid().as_raw(),
        "it belongs to user {uid}, not to {}",
        geteuid()
    );
    ensure!(
        mode & 0o077 == 0,
        "others may enter it (mode {mode:04o}): chmod 700 {dir:?}"
    );
    Ok(dir)
}

/// Makes a directory, which is the lock on its name: of two who want it, one
/// gets it.
///
/// Returns `false` if it is there already.
pub(crate) fn take_name(path: &Path) -> anyhow::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        made => {
            made.with_context(|| format!("mkdir({path:?}, 0700)"))?;
            Ok(true)
        }
    }
}

/// A name by Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub(crate) fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    let mut bytes = name.bytes();
    let is_right = bytes.next().is_some_and(is_plain)
        && bytes.all(|byte| is_plain(byte) || b"_.-".contains(&byte))
        && name.len() <= 128;
    if !is_right {
        bail!(
            "{name:?} is no name: letters, digits, and from the second on _ . -"
        );
    }
    Ok(())
}

/// 64 digits that no other container has.
pub(crate) fn new_id() -> anyhow::Result<String> {
    let path = "/dev/urandom";
    let mut bytes = [0; 32];
    let read =
        fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.with_context(|| format!("read({path:?})"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["a", "Web-1", "0.x_y"] {
            check_name(good).expect(good);
        }
        let bad = ["", ".", "..", "-a", "_a", "a/b", "a b", "a\x1b[2J", "é"];
        for bad in bad {
            check_name(bad).expect_err(bad);
        }
    }
}
