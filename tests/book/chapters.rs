//! The chapters of the book, as they are written.

use std::{fs, path::PathBuf};

use harness::programs::workspace;

/// A page of the book.
pub(crate) struct Chapter {
    /// Its file, below `book/src`.
    pub(crate) name: String,
    /// What stands in it.
    pub(crate) text: String,
}

impl Chapter {
    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        source().join(&self.name)
    }
}

/// Where the chapters are.
pub(crate) fn source() -> PathBuf {
    workspace().join("book/src")
}

/// All chapters that are written, in the order of `SUMMARY.md`. A draft has a
/// title there, and no file yet.
pub(crate) fn all() -> Vec<Chapter> {
    let summary = read("SUMMARY.md");
    let links = summary.lines().filter_map(|line| {
        let (_, link) = line.split_once("](")?;
        let (name, _) = link.split_once(')')?;
        (!name.is_empty()).then(|| name.to_owned())
    });
    links
        .map(|name| Chapter {
            text: read(&name),
            name,
        })
        .collect()
}

fn read(name: &str) -> String {
    let path = source().join(name);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
