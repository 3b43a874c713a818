//! Console sessions: what somebody types, and what comes back.
//!
//! A block of the language `console`. A line with a prompt is typed, lines that
//! begin with `> ` continue it, and all others are what comes back:
//!
//! - `[..]` stands for any text within a line;
//! - `[~4242]` is shown as 4242, but any other number is as good; `[~abc]` is
//!   shown as abc, and any other text is as good;
//! - a line `...` stands for any number of lines;
//! - a line `^C` (or `^D`, `^Z`) is a key that is pressed.
//!
//! Behind `console,` come attributes: `ignore=REASON`, `needs=WHAT`,
//! `terminal=2`.

use anyhow::{Context, bail, ensure};

use crate::{html, markdown::Fence};

/// A block of a chapter.
pub struct Session {
    /// Why it is not executed.
    pub ignored: Option<String>,
    /// What the machine must have.
    pub needs: Vec<String>,
    /// In which terminal it happens, from 1.
    pub terminal: usize,
    /// What is typed, in order.
    pub entries: Vec<Entry>,
}

/// One command and what comes back.
pub struct Entry {
    /// `host$`, `host#`, or that of a shell in a container: `box#`.
    pub prompt: String,
    /// The lines that are typed.
    pub command: Vec<String>,
    /// The lines that come back, with wildcards.
    pub output: Vec<String>,
}

impl Session {
    /// Reads a block.
    pub fn parse(fence: &Fence) -> anyhow::Result<Session> {
        let mut session = Session {
            ignored: None,
            needs: Vec::new(),
            terminal: 1,
            entries: Vec::new(),
        };
        for attribute in fence.info.split(',').skip(1) {
            let (key, value) =
                attribute.split_once('=').unwrap_or((attribute, ""));
            match key.trim() {
                "ignore" => {
                    ensure!(!value.is_empty(), "ignore=REASON");
                    session.ignored = Some(value.trim().to_owned());
                }
                "needs" => session.needs.push(value.trim().to_owned()),
                "terminal" => {
                    session.terminal =
                        value.parse().context("terminal=NUMBER")?;
                }
                key => bail!("a console block has no attribute {key:?}"),
            }
        }
        for line in &fence.body {
            if let Some((prompt, command)) = typed(line) {
                session.entries.push(Entry {
                    prompt: prompt.to_owned(),
                    command: vec![command.to_owned()],
                    output: Vec::new(),
                });
                continue;
            }
            let entry = session.entries.last_mut();
            let entry =
                entry.context("a console block begins with a prompt")?;
            match line.strip_prefix("> ") {
                Some(more) if entry.output.is_empty() => {
                    entry.command.push(more.to_owned());
                }
                _ => entry.output.push((*line).to_owned()),
            }
        }
        ensure!(!session.entries.is_empty(), "an empty console block");
        Ok(session)
    }

    /// The block as it stands in a chapter, between the fences.
    pub fn markdown(&self) -> Vec<String> {
        let entry = |entry: &Entry| {
            let mut commands = entry.command.iter();
            let first = commands.next().cloned().unwrap_or_default();
            let first = format!("{} {first}", entry.prompt);
            let first = first.trim_end().to_owned();
            let more = commands.map(|more| format!("> {more}"));
            let lines = [first].into_iter().chain(more);
            lines.chain(entry.output.clone()).collect::<Vec<_>>()
        };
        self.entries.iter().flat_map(entry).collect()
    }

    /// The block as the reader sees it.
    pub(crate) fn html(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let class = match entry.prompt.as_str() {
                "host$" => "user",
                "host#" => "root",
                _ => "inside",
            };
            let mut prompt = entry.prompt.as_str();
            for command in &entry.command {
                text += &format!(
                    "<span class=\"prompt {class}\">{} </span>\
                     <b class=\"command\">{}</b>\n",
                    html::escape(prompt),
                    html::escape(command)
                );
                prompt = ">";
            }
            for line in &entry.output {
                text += &output(line);
            }
        }
        let remarks: Vec<String> = self.remarks();
        let caption = match remarks.is_empty() {
            true => String::new(),
            false => format!(
                "<figcaption>{}</figcaption>\n",
                html::escape(&remarks.join(" "))
            ),
        };
        format!(
            "<figure class=\"session\">\n{caption}<pre><code \
             class=\"language-plaintext nohighlight\">{text}</code></pre>\n\
             </figure>\n"
        )
    }
}

impl Session {
    /// What the reader has to know before typing it.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.terminal > 1 {
            remarks.push(match self.terminal {
                2 => "In a second terminal.".to_owned(),
                number => format!("In terminal {number}."),
            });
        }
        for what in &self.needs {
            remarks.extend(match what.as_str() {
                "cgroup1" => Some("With version 1 of cgroups.".to_owned()),
                "cgroup2" => Some("With version 2 of cgroups.".to_owned()),
                "busybox" => Some("If your image is BusyBox.".to_owned()),
                "tools" => Some(
                    "If your image is made of your machine's tools.".to_owned(),
                ),
                _ => None,
            });
        }
        if let Some(reason) = &self.ignored {
            remarks.push(format!("Not run by this book's tests: {reason}."));
        } else if self.entries.iter().any(Entry::makes_a_user_namespace) {
            remarks.push(
                "Ubuntu 23.10 and later refuse this to a plain user, unless \
                 the restriction of user namespaces is off: see Setting up, \
                 Linux. It was not tried there."
                    .to_owned(),
            );
        }
        remarks
    }
}

impl Entry {
    /// Whether a plain user calls unshare(1) on the host so that it makes a
    /// user namespace.
    fn makes_a_user_namespace(&self) -> bool {
        let command = self.command.join(" ");
        let words: Vec<&str> = command.split_whitespace().collect();
        let is_option = |word: &&str| {
            let short = word.starts_with('-') && !word.starts_with("--");
            let letters = |it: char| it == 'U' || it == 'r';
            word.starts_with("--map-")
                || *word == "--user"
                || short && word.contains(letters)
        };
        let mut options =
            words.iter().skip(1).take_while(|it| it.starts_with('-'));
        self.prompt == "host$"
            && words.first() == Some(&"unshare")
            && options.any(is_option)
    }
}

/// A prompt and what is typed behind it, if this line is one.
pub fn typed(line: &str) -> Option<(&str, &str)> {
    let end = line.find(|c: char| !c.is_ascii_lowercase())?;
    let is_prompt = end > 0 && line[end..].starts_with(['$', '#']);
    let (prompt, command) = line.split_at_checked(end + 1)?;
    let command = match command {
        "" => "",
        command => command.strip_prefix(' ')?,
    };
    is_prompt.then_some((prompt, command))
}

fn output(line: &str) -> String {
    if line.is_empty() {
        return "&#10;".to_owned();
    }
    if line == "..." {
        return "<span class=\"left-out\">…</span>\n".to_owned();
    }
    let mut text = String::new();
    for piece in pieces(line) {
        match piece {
            Piece::Text(piece) => text += &html::escape(piece),
            Piece::Any => text += "<span class=\"varies\">…</span>",
            Piece::Like(sample) => {
                text += &format!(
                    "<span class=\"varies\">{}</span>",
                    html::escape(sample)
                );
            }
        }
    }
    text + "\n"
}

/// A piece of a line that comes back.
enum Piece<'a> {
    /// Exactly this.
    Text(&'a str),
    /// Anything.
    Any,
    /// This, or another one of its kind.
    Like(&'a str),
}

fn pieces(line: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = line;
    let mut start = 0;
    while let Some(at) = rest[start..].find('[') {
        let at = start + at;
        let inside = &rest[at + 1..];
        let found = match inside.split_once(']') {
            Some(("..", after)) => Some((Piece::Any, after)),
            Some((sample, after)) => sample
                .strip_prefix('~')
                .map(|sample| (Piece::Like(sample), after)),
            None => None,
        };
        let Some((piece, after)) = found else {
            start = at + 1;
            continue;
        };
        pieces.extend([Piece::Text(&rest[..at]), piece]);
        rest = after;
        start = 0;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Whether a line that came back is what the book shows.
pub fn line_fits(shown: &str, line: &str) -> bool {
    pieces_fit(&pieces(shown), line)
}

fn pieces_fit(pieces: &[Piece], line: &str) -> bool {
    let Some((piece, others)) = pieces.split_first() else {
        return line.is_empty();
    };
    let cuts = || (0..=line.len()).filter(|at| line.is_char_boundary(*at));
    match piece {
        Piece::Text(text) => line
            .strip_prefix(text)
            .is_some_and(|rest| pieces_fit(others, rest)),
        Piece::Any => cuts().any(|at| pieces_fit(others, &line[at..])),
        Piece::Like(sample) => {
            let is_number =
                |text: &str| text.bytes().all(|it| it.is_ascii_digit());
            cuts().skip(1).any(|at| {
                (!is_number(sample) || is_number(&line[..at]))
                    && pieces_fit(others, &line[at..])
            })
        }
    }
}

/// Whether all that came back is what the book shows.
pub fn fits(shown: &[String], lines: &[String]) -> bool {
    fits_by(line_fits, shown, lines)
}

/// The same for other programs of the same names: `is_same` says when a line
/// of theirs is as good as the one that is shown.
pub fn fits_by(
    is_same: fn(&str, &str) -> bool,
    shown: &[String],
    lines: &[String],
) -> bool {
    match (shown.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, others)), _) if first == "..." => (0..=lines.len())
            .any(|left_out| fits_by(is_same, others, &lines[left_out..])),
        (Some((shown, others)), Some((line, rest))) => {
            is_same(shown, line) && fits_by(is_same, others, rest)
        }
        _ => false,
    }
}

/// What the book shall show: the lines that came back, but with the wildcards
/// of those that it shows already, where they still fit.
pub fn update(shown: &[String], lines: &[String]) -> Vec<String> {
    // costs[i][j]: how many lines must be removed or added to make of
    // shown[i..] something that fits lines[j..].
    let (rows, columns) = (shown.len(), lines.len());
    let mut costs = vec![vec![0; columns + 1]; rows + 1];
    for i in (0..=rows).rev() {
        for j in (0..=columns).rev() {
            costs[i][j] = if i == rows {
                columns - j
            } else {
                let mut best = costs[i + 1][j] + usize::from(shown[i] != "...");
                if j < columns {
                    best = best.min(costs[i][j + 1] + 1);
                    if shown[i] == "..." {
                        best = best.min(costs[i][j + 1]);
                    } else if line_fits(&shown[i], &lines[j]) {
                        best = best.min(costs[i + 1][j + 1]);
                    }
                }
                best
            };
        }
    }
    let mut updated = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < rows || j < columns {
        let cost = costs[i][j];
        if i < rows && shown[i] == "..." {
            if cost == costs[i + 1][j] {
                updated.push(shown[i].clone());
                i += 1;
            } else if cost == costs[i][j + 1] {
                j += 1;
            } else {
                updated.push(lines[j].clone());
                j += 1;
            }
        } else if i < rows
            && j < columns
            && line_fits(&shown[i], &lines[j])
            && cost == costs[i + 1][j + 1]
        {
            updated.push(shown[i].clone());
            (i, j) = (i + 1, j + 1);
        } else if j < columns && cost == costs[i][j + 1] + 1 {
            updated.push(lines[j].clone());
            j += 1;
        } else {
            i += 1;
        }
    }
    updated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn a_prompt_is_a_word_with_a_sign_behind_it() {
        assert_eq!(typed("host$ ls"), Some(("host$", "ls")));
        assert_eq!(typed("kitchen#"), Some(("kitchen#", "")));
        assert_eq!(typed("#include"), None);
        assert_eq!(typed("a#b"), None);
    }

    #[test]
    fn wildcards_fit_what_varies() {
        assert!(line_fits("a [..] b", "a whatever b"));
        assert!(line_fits("pid [~42]", "pid 4711"));
        assert!(!line_fits("pid [~42]", "pid none"));
        assert!(line_fits("at [~10:42]", "at 11:00"));
        assert!(!line_fits("a[0]", "a[1]"));
        let shown = owned(&["a", "...", "z"]);
        assert!(fits(&shown, &owned(&["a", "z"])));
        assert!(fits(&shown, &owned(&["a", "b", "c", "z"])));
        assert!(!fits(&shown, &owned(&["a", "b"])));
    }

    #[test]
    fn what_is_not_typed_by_a_test_says_so() {
        let html = |info, line| {
            let fence = Fence {
                line: 1,
                indent: "",
                info,
                body: vec![line],
                text: "",
            };
            Session::parse(&fence).unwrap().html()
        };
        let ignored =
            html("console,ignore=asks for a password", "host$ sudo ls");
        assert!(ignored.contains("tests: asks for a password."));
        assert!(
            html("console,needs=cgroup1", "host# ls").contains("version 1")
        );
        assert!(html("console,needs=busybox", "host# ls").contains("BusyBox"));
        assert!(!html("console,needs=strace", "host# ls").contains("caption"));
        for (line, refused) in [
            ("host$ unshare --map-root-user id", true),
            ("host$ unshare -mUr id", true),
            ("host$ unshare --user true", true),
            ("host$ unshare --uts hostname -r", false),
            ("host# unshare -Ur id", false),
        ] {
            assert_eq!(
                html("console", line).contains("Ubuntu"),
                refused,
                "{line}"
            );
        }
    }

    #[test]
    fn what_still_fits_keeps_its_wildcards() {
        let shown = owned(&["pid [~42]", "old", "...", "end"]);
        let lines = owned(&["pid 7", "new", "x", "y", "end"]);
        let updated = update(&shown, &lines);
        assert!(fits(&updated, &lines), "{updated:?}");
        assert_eq!(updated.first().unwrap(), "pid [~42]");
        assert_eq!(updated.last().unwrap(), "end");
    }
}
