//! How long a page takes: at its head, and summed up in the introduction.

use anyhow::{Context, bail};

use crate::{
    Workspace,
    directive::Directive,
    html,
    markdown::{self, Part},
};

/// Minutes on the fast track, which may leave the page out, and on the full
/// one.
struct Minutes {
    fast: Option<u32>,
    full: u32,
}

impl Minutes {
    fn of(directive: &Directive) -> anyhow::Result<Minutes> {
        let [fast, full] = directive.arguments(["FAST", "FULL"])?;
        let fast = match fast {
            "-" => None,
            fast => Some(fast.parse().context("FAST: minutes, or -")?),
        };
        let full = full.parse().context("FULL: minutes")?;
        Ok(Minutes { fast, full })
    }

    /// What the head of a page says, if there is one.
    fn in_page(page: &str) -> anyhow::Result<Option<Minutes>> {
        for part in markdown::parts(page) {
            let Part::Prose { text, .. } = part else {
                continue;
            };
            match Directive::parse(text).transpose() {
                Ok(Some(directive)) if directive.name == "minutes" => {
                    return Minutes::of(&directive).map(Some);
                }
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// `{{#minutes FAST FULL [typed=no]}}`: how long, and where to type.
pub(crate) fn head(directive: &Directive) -> anyhow::Result<String> {
    let Minutes { fast, full } = Minutes::of(directive)?;
    let mut text = match fast {
        Some(fast) if fast == full => format!("<b>{full} minutes.</b>"),
        Some(fast) => format!(
            "<b>{fast} minutes</b> on the fast track, <b>{full}</b> with \
             everything in it."
        ),
        None => format!("<b>{full} minutes</b>, on the full track."),
    };
    match directive.option("typed", &["typed"])? {
        None => {
            text += " Its commands are typed at the top of the workspace, \
                     where <code>Cargo.toml</code> is.";
        }
        Some("no") => {}
        Some(other) => bail!("typed={other}: it is typed=no, or nothing"),
    }
    Ok(format!("<p class=\"minutes\">{text}</p>\n"))
}

/// `{{#timetable}}`: the pages of SUMMARY.md that have minutes, and their sum.
pub(crate) fn table(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let [] = directive.arguments([])?;
    let summary = workspace.read("book/src/SUMMARY.md")?;
    let mut rows = Vec::new();
    let (mut all_fast, mut all_full) = (0, 0);
    for (title, file) in summary.lines().filter_map(link) {
        let page = workspace.read(&format!("book/src/{file}"))?;
        let minutes = Minutes::in_page(&page).with_context(|| file.clone())?;
        let Some(Minutes { fast, full }) = minutes else {
            continue;
        };
        all_fast += fast.unwrap_or(0);
        all_full += full;
        let fast = fast.map_or(String::new(), |it| it.to_string());
        rows.push(row(&format!("[{title}]({file})"), &fast, &full.to_string()));
    }
    let sum = row("together", &in_words(all_fast), &in_words(all_full));
    Ok(format!(
        "| page | fast | full |\n|---|---|---|\n{}{sum}\n",
        rows.concat()
    ))
}

fn row(title: &str, fast: &str, full: &str) -> String {
    format!("| {title} | {fast} | {full} |\n")
}

/// The title and the file of a line of SUMMARY.md.
fn link(line: &str) -> Option<(String, String)> {
    let (before, after) = line.split_once("](")?;
    let (_, title) = before.split_once('[')?;
    let (file, _) = after.split_once(')')?;
    (!file.is_empty()).then(|| (html::escape(title), file.to_owned()))
}

fn in_words(minutes: u32) -> String {
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_in_hours_and_minutes() {
        assert_eq!(in_words(45), "45 min");
        assert_eq!(in_words(120), "2 h");
        assert_eq!(in_words(125), "2 h 5 min");
    }

    #[test]
    fn the_head_of_a_page_is_found() {
        let page = "# A page\n\n{{#minutes - 20 typed=no}}\n";
        let minutes = Minutes::in_page(page).unwrap().unwrap();
        assert_eq!((minutes.fast, minutes.full), (None, 20));
        assert!(Minutes::in_page("# None\n").unwrap().is_none());
        assert!(Minutes::in_page("{{#minutes soon 20}}\n").is_err());
    }
}
