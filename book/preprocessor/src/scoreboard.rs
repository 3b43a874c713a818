//! Scoreboards: the snapshots of the test suite, as tables.

use anyhow::{Context, ensure};
use ground::{PARTS, STEPS};

use crate::{Workspace, directive::Directive, html};

/// The rows of a scoreboard, each with its verdict.
type Rows = Vec<(String, String)>;

fn read(workspace: &Workspace, step: &str, user: &str) -> anyhow::Result<Rows> {
    let path = format!("tests/suite/snapshots/{step}_{user}.snap");
    let snapshot = workspace.read(&path)?;
    // Between two lines of dashes insta says where the snapshot is from.
    let mut parts = snapshot.splitn(3, "---\n");
    let table = parts.nth(2).with_context(|| format!("{path}: its head"))?;
    let row = |line: &str| {
        let (name, verdict) = line.split_once("  ")?;
        Some((name.to_owned(), verdict.trim().to_owned()))
    };
    let rows: Option<Rows> = table.lines().map(row).collect();
    let rows = rows.with_context(|| format!("{path}: its rows"))?;
    ensure!(!rows.is_empty(), "{path} is empty");
    Ok(rows)
}

/// The same row of another scoreboard.
fn verdict<'a>(rows: &'a Rows, name: &str) -> &'a str {
    let mut rows = rows.iter();
    let found = rows.find(|(its_name, _)| its_name == name);
    found.map_or("–", |(_, verdict)| verdict)
}

/// A cell; its class is the verdict.
fn cell(verdict: &str, turned: bool) -> String {
    let class = match verdict.split(':').next() {
        Some("isolated") => "isolated",
        Some("shared") => "shared",
        _ => "not-tried",
    };
    let (turned, mark) = match turned {
        true => (" turned", " <span class=\"new\">new</span>"),
        false => ("", ""),
    };
    let verdict = html::escape(verdict);
    format!("<td class=\"{class}{turned}\">{verdict}{mark}</td>")
}

fn table(head: &[&str], rows: &[String], caption: &str) -> String {
    let head: String = head
        .iter()
        .map(|it| format!("<th scope=\"col\">{it}</th>"))
        .collect();
    format!(
        "<figure class=\"scoreboard\">\n<table>\n\
         <thead><tr>{head}</tr></thead>\n<tbody>\n{}\n</tbody>\n</table>\n\
         <figcaption>{caption}</figcaption>\n</figure>\n",
        rows.join("\n")
    )
}

fn row(name: &str, cells: &[String]) -> String {
    let name = html::escape(name);
    format!("<tr><th scope=\"row\">{name}</th>{}</tr>", cells.concat())
}

/// What a step, or a part of step 6, grew out of; nothing for the first step.
fn below(step: &str) -> anyhow::Result<Option<&'static str>> {
    let up_to_5 = &STEPS[..STEPS.len() - 1];
    let with_parts: Vec<&str> = up_to_5.iter().chain(&PARTS).copied().collect();
    let lines = [&STEPS[..], &with_parts];
    let mut places = lines.iter().filter_map(|line| {
        let index = line.iter().position(|it| *it == step)?;
        Some(index.checked_sub(1).map(|below| line[below]))
    });
    let first = places.next();
    first.with_context(|| format!("there is no step {step}"))
}

/// `{{#scoreboard STEP}}` and `{{#scoreboard OLD NEW}}`.
pub(crate) fn one(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let user = directive.option("user", &["user"])?.unwrap_or("root");
    let who = match user {
        "root" => "as root",
        "plain_user" => "as a plain user",
        "delegated" => "as a plain user with a cgroup of their own",
        other => other,
    };
    if directive.count() == 2 {
        let [old, new] = directive.arguments(["OLD", "NEW"])?;
        let before = read(workspace, old, user)?;
        let after = read(workspace, new, user)?;
        let turned = after
            .iter()
            .map(|(name, now)| (name, verdict(&before, name), now))
            .filter(|(_, before, now)| before != now)
            .map(|(name, before, now)| {
                row(name, &[cell(before, false), cell(now, true)])
            });
        let rows: Vec<String> = turned.collect();
        ensure!(!rows.is_empty(), "no row differs");
        let caption = format!("What turns from {old} to {new}, {who}");
        return Ok(table(&["row", old, new], &rows, &caption));
    }
    let [step] = directive.arguments(["STEP"])?;
    let now = read(workspace, step, user)?;
    let before = match below(step)? {
        Some(below) => Some(read(workspace, below, user)?),
        None => None,
    };
    let rows = now.iter().map(|(name, now)| {
        // In the first step it is the host that everything was shared with.
        let before =
            before.as_ref().map_or("shared", |rows| verdict(rows, name));
        row(name, &[cell(now, now == "isolated" && before != now)])
    });
    let rows: Vec<String> = rows.collect();
    let caption = format!("<code>{step} probe</code>, {who}");
    Ok(table(&["row", step], &rows, &caption))
}

/// What a step is called in short: `3`, or `6a` for a part of step 6.
fn number(step: &str) -> &str {
    let number = step.split('-').next().unwrap_or(step);
    number.trim_start_matches("step").trim_start_matches('0')
}

/// `{{#scoreboards}}`: the rows of all steps. `{{#scoreboards STEP…}}`: those in
/// which these steps, or parts of step 6, differ.
pub(crate) fn all(
    directive: &Directive,
    workspace: &Workspace,
) -> anyhow::Result<String> {
    let user = directive.option("user", &["user"])?.unwrap_or("root");
    let given: Vec<&str> =
        directive.list().iter().map(String::as_str).collect();
    let steps = match given.is_empty() {
        true => &STEPS[..],
        false => &given[..],
    };
    let boards = steps.iter().map(|step| read(workspace, step, user));
    let boards: Vec<Rows> = boards.collect::<anyhow::Result<_>>()?;
    let differs = |name: &str| {
        let mut verdicts = boards.iter().map(|rows| verdict(rows, name));
        let first = verdicts.next();
        verdicts.any(|it| Some(it) != first)
    };
    let names = boards[0].iter().map(|(name, _)| name);
    let names = names.filter(|name| given.is_empty() || differs(name));
    let rows = names.map(|name| {
        let mut before = "shared";
        let cells = boards.iter().map(|rows| {
            let now = verdict(rows, name);
            let turned = now == "isolated" && before != now;
            before = now;
            let (word, class) = match now.split(':').next() {
                Some("isolated") => ("●", "isolated"),
                Some("shared") => ("○", "shared"),
                _ => ("–", "not-tried"),
            };
            let turned = if turned { " turned" } else { "" };
            format!(
                "<td class=\"{class}{turned}\"><span title=\"{0}\">{word}\
                 </span></td>",
                html::escape(now)
            )
        });
        let cells: Vec<String> = cells.collect();
        row(name, &cells)
    });
    let rows: Vec<String> = rows.collect();
    let numbers = steps.iter().map(|step| number(step));
    let head: Vec<&str> = ["row"].into_iter().chain(numbers).collect();
    let caption = "● isolated, ○ shared, – not tried, step by step";
    Ok(
        table(&head, &rows, caption).replacen(
            "scoreboard",
            "scoreboard all",
            1,
        ),
    )
}
