//! What calls are for: the first sentence above the function that makes them,
//! in its own words, so that they are written once.
//!
//! The sources are read when the program begins, as inside the container they
//! are out of reach. They are looked for where they were when the program was
//! built, and then here. Where they are not, or have been changed since, there
//! are no aims; the file and the calls are shown all the same.

use std::{
    env, fs, iter,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::SystemTime,
};

/// A function, or a whole file.
struct Place {
    /// As the compiler calls it: from the workspace's directory on.
    file: String,
    /// The first line and the last one.
    lines: (u32, u32),
    aim: String,
}

static PLACES: OnceLock<Vec<Place>> = OnceLock::new();

/// Reads the sources that this program was made of.
pub(super) fn read() {
    PLACES.get_or_init(|| {
        let built = env::current_exe().and_then(|it| it.metadata()?.modified());
        let (Some(workspace), Ok(built)) = (workspace(), built) else {
            return vec![];
        };
        let mut files = vec![];
        find(&workspace, built, &mut files);
        let places = files.iter().filter_map(|path| {
            let name = path.strip_prefix(&workspace).ok()?.to_str()?;
            Some(places(name, &fs::read_to_string(path).ok()?))
        });
        places.flatten().collect()
    });
}

/// The top of the sources.
fn workspace() -> Option<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.to_owned();
    let here = env::current_dir().ok();
    let mut places = iter::once(built_in).chain(here);
    places.find(|it| it.join(file!()).is_file())
}

/// Finds the files in Rust below `directory` that are as old as the program.
fn find(directory: &Path, built: SystemTime, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(status) = entry.metadata() else {
            continue;
        };
        if status.is_dir() {
            let others = ["target", "tests", "book"].contains(&&*name);
            if !others && !name.starts_with('.') {
                find(&path, built, found);
            }
        } else if status.is_file()
            && name.ends_with(".rs")
            && status.modified().is_ok_and(|changed| changed <= built)
        {
            found.push(path);
        }
    }
}

/// The functions in `source` that say what they do, and the file if it does.
fn places(file: &str, source: &str) -> Vec<Place> {
    let lines: Vec<&str> = source.lines().collect();
    let mut places = vec![];
    let mut add = |first: usize, last: usize, aim: Option<String>| {
        let line = |index: usize| u32::try_from(index + 1).unwrap_or(u32::MAX);
        let file = file.to_owned();
        let lines = (line(first), line(last));
        places.extend(aim.map(|aim| Place { file, lines, aim }));
    };
    let of_the_file = lines.iter().map_while(|it| it.strip_prefix("//!"));
    add(0, lines.len(), first_sentence(of_the_file));
    for (first, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !is_function(line) {
            continue;
        }
        let end = |it: &&str| it.strip_prefix(&line[..indent]) == Some("}");
        let last = lines[first..].iter().position(end);
        let above = lines[..first].iter().rev().map(|it| it.trim_start());
        let mut above: Vec<&str> = above
            .skip_while(|it| it.starts_with("#["))
            .map_while(|it| it.strip_prefix("///"))
            .collect();
        above.reverse();
        let last = first + last.unwrap_or(0);
        add(first, last, first_sentence(above.into_iter()));
    }
    places
}

/// Whether a function begins in this line.
fn is_function(line: &str) -> bool {
    let words = line.split(['(', '<']).next().unwrap_or_default();
    let words = match line.trim_start().starts_with("pub(") {
        true => line.split_once(')').map_or("", |(_, behind)| behind),
        false => words,
    };
    let mut words = words.split_whitespace();
    words.find(|it| !["pub", "const", "unsafe"].contains(it)) == Some("fn")
}

/// The first sentence of a comment, without its full stop and its marks.
fn first_sentence<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let paragraph: Vec<&str> = lines
        .map(str::trim)
        .take_while(|it| !it.is_empty())
        .collect();
    let paragraph = paragraph.join(" ");
    let sentence = paragraph.split(". ").next()?.trim_end_matches(['.', ':']);
    // Of a link, its words.
    let words = sentence.split('[').map(|it| match it.split_once("](") {
        Some((word, behind)) => {
            let behind = behind.split_once(')').map_or("", |it| it.1);
            format!("{word}{behind}")
        }
        None => it.to_owned(),
    });
    let is_text = |it: &char| !it.is_control() && !"`]".contains(*it);
    let sentence: String = words.collect();
    let sentence: String = sentence.chars().filter(is_text).collect();
    (!sentence.is_empty()).then_some(sentence)
}

/// What the function in whose `line` of `file` a call is made is for.
pub(super) fn of(file: &str, line: u32) -> Option<&'static str> {
    let places = PLACES.get()?.iter();
    let here = places.filter(|it| {
        it.file == file && (it.lines.0..=it.lines.1).contains(&line)
    });
    // The innermost is the one that begins last.
    here.max_by_key(|it| it.lines.0).map(|it| it.aim.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "//! The room. More.\n\
        \n\
        /// Makes `a` thing: of [`Two`]\n\
        /// [words](there). Not this.\n\
        #[track_caller]\n\
        pub(super) fn make() {\n\
        \x20   call();\n\
        }\n\
        \n\
        fn plain() {\n\
        }\n";

    #[test]
    fn the_first_sentence_is_the_aim() {
        let places = places("a.rs", SOURCE);
        let told: Vec<(&str, (u32, u32))> = places
            .iter()
            .map(|it| (it.aim.as_str(), it.lines))
            .collect();
        let expected = [
            ("The room", (1, 12)),
            ("Makes a thing: of Two words", (6, 8)),
        ];
        assert_eq!(told, expected);
    }
}
