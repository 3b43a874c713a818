//! What a student's workspace has so that each hole can be judged alone, as the
//! grader does it: what belongs in the others. And what its other files were.
//!
//! The solution is not to be read in passing, so it is sealed. That is no
//! secret: what opens it is here, and all of it is public in the repository.
//! Whoever looks it up has not solved the lab, and knows it.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use ground::Random;

use crate::{description::Sources, files::read};

/// Where the solution is.
const SOLUTION: &str = ".lab/sealed";

/// Where it is written what all files were.
const FILES: &str = ".lab/files";

/// Leaves the solution in a student's workspace, sealed.
///
/// # Errors
/// It can't be written.
pub fn seal(workspace: &Path, solution: &Sources) -> anyhow::Result<()> {
    let text = serde_json::to_vec(solution)?;
    let hex: String =
        mask(&text).iter().map(|it| format!("{it:02x}")).collect();
    // In lines, as an editor may look at it.
    let lines: Vec<&str> = hex
        .as_bytes()
        .chunks(96)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    let path = workspace.join(SOLUTION);
    fs::create_dir_all(path.parent().unwrap_or(workspace))?;
    fs::write(path, lines.join("\n") + "\n")?;
    Ok(())
}

/// What was sealed.
///
/// # Errors
/// It is not there, or not as it was.
pub fn open(workspace: &Path) -> anyhow::Result<Sources> {
    let hex: String = read(&workspace.join(SOLUTION))?
        .split_whitespace()
        .collect();
    let digits = hex.as_bytes().chunks_exact(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        })
        .collect();
    let bytes = bytes.context("another file is in its place")?;
    serde_json::from_slice(&mask(&bytes)).context("it is not as it was")
}

/// Twice, it gives the same again.
fn mask(bytes: &[u8]) -> Vec<u8> {
    let mut random = Random::new(0x6c61_625f_7365_616c);
    let mut next = || random.below(256).to_le_bytes()[0];
    bytes.iter().map(|it| it ^ next()).collect()
}

/// Writes down what all files of a workspace are, but those of `without`.
///
/// # Errors
/// One of them can't be read.
pub fn note_files(workspace: &Path, without: &str) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    each_file(workspace, Path::new(""), &mut |path| {
        let name = path.to_string_lossy();
        if !name.starts_with(without) && !name.starts_with(".lab/") {
            let bytes = fs::read(workspace.join(path))?;
            lines.push(format!("{:016x} {name}\n", hash(&bytes)));
        }
        Ok(())
    })?;
    lines.sort();
    fs::write(workspace.join(FILES), lines.concat())?;
    Ok(())
}

/// Which files are not what they were.
///
/// # Errors
/// The list is not there.
pub fn changed_files(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let list = read(&workspace.join(FILES))?;
    ensure!(!list.is_empty(), "{FILES} is empty");
    let lines = list.lines().filter_map(|line| line.split_once(' '));
    let changed = lines.filter(|(was, name)| {
        let bytes = fs::read(workspace.join(name));
        bytes.map_or(true, |it| format!("{:016x}", hash(&it)) != *was)
    });
    Ok(changed.map(|(_, name)| name.to_owned()).collect())
}

/// A number for all that is in a file, or in a directory and its files.
///
/// # Errors
/// A directory can't be read.
pub fn hash_of_all(path: &Path) -> anyhow::Result<u64> {
    if !path.is_dir() {
        return Ok(hash_of(path));
    }
    let mut all: Vec<(String, u64)> = Vec::new();
    each_file(path, Path::new(""), &mut |name| {
        let hash = hash_of(&path.join(name));
        all.push((name.to_string_lossy().into_owned(), hash));
        Ok(())
    })?;
    all.sort();
    Ok(hash(format!("{all:?}").as_bytes()))
}

/// The most that is read of a file, in bytes: it may be one of a submission, which
/// can have any size.
const LARGE: u64 = 4 << 20;

/// A number for what is in a file; for a large one, or one that can't be read, a
/// number for what is known of it.
fn hash_of(path: &Path) -> u64 {
    let known = match fs::metadata(path) {
        Ok(it) if it.len() > LARGE => {
            format!("{} {:?}", it.len(), it.modified().ok())
        }
        _ => match fs::read(path) {
            Ok(bytes) => return hash(&bytes),
            Err(error) => error.to_string(),
        },
    };
    hash(known.as_bytes())
}

fn each_file(
    workspace: &Path,
    below: &Path,
    look: &mut impl FnMut(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(workspace.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && path != Path::new("target") {
            each_file(workspace, &path, look)?;
        } else if kind.is_file() {
            look(&path)?;
        }
    }
    Ok(())
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_not_read_in_passing() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let solution = Sources::from([(
            "step/src/lib.rs".to_owned(),
            "sys::pivot_root(\".\", \".\")?;".to_owned(),
        )]);
        seal(place.path(), &solution).expect("it can be written");
        let text = read(&place.path().join(SOLUTION)).expect("it is there");
        assert!(!text.contains("pivot_root"));
        assert_eq!(open(place.path()).expect("as it was"), solution);
    }

    #[test]
    fn changed_files_are_named() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| {
            let path = place.path().join(name);
            let parent = path.parent().expect("it is below");
            fs::create_dir_all(parent).expect("it is ours");
            fs::write(path, text).expect("it is ours");
        };
        for name in ["common/lib.rs", "common/other.rs", "step/src/lib.rs"] {
            write(name, "one");
        }
        fs::create_dir(place.path().join(".lab")).expect("it is ours");
        note_files(place.path(), "step/src").expect("they can be read");
        write("common/lib.rs", "two");
        write("step/src/lib.rs", "two");
        let changed = changed_files(place.path()).expect("a list");
        assert_eq!(changed, ["common/lib.rs"]);
    }
}
