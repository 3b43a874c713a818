//! The words of an action: what stands between `{{` and `}}`.

use anyhow::{Context, bail, ensure};
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    /// `.State.Pid`; of `.` there is no name.
    Field(Vec<String>),
    /// `"text"`, `` `text` ``, or a number.
    Constant(Value),
    /// That of a function.
    Name(String),
    Pipe,
}

/// Takes an action apart.
pub(super) fn words(action: &str) -> anyhow::Result<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' => 1,
            '"' | '`' => 2 + end_of_text(rest, first)?,
            _ => rest
                .find(|it: char| it.is_whitespace() || it == '|')
                .unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length);
        words.push(read(word)?);
        rest = after.trim_start();
    }
    Ok(words)
}

/// How long what is in quotes is.
fn end_of_text(text: &str, quote: char) -> anyhow::Result<usize> {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            _ if character == quote => return Ok(at - 1),
            _ => {}
        }
    }
    bail!("{text} has no {quote} at its end")
}

fn read(word: &str) -> anyhow::Result<Word> {
    if word == "|" {
        return Ok(Word::Pipe);
    }
    if let Some(text) = word.strip_prefix('`') {
        return Ok(Word::Constant(text.trim_end_matches('`').into()));
    }
    if word.starts_with('"') || word.parse::<u64>().is_ok() {
        let value = serde_json::from_str(word);
        return value.map(Word::Constant).context("a text in quotes");
    }
    let Some(names) = word.strip_prefix('.') else {
        return Ok(Word::Name(word.into()));
    };
    let names = match names.is_empty() {
        true => Vec::new(),
        false => names.split('.').map(str::to_owned).collect(),
    };
    let is_name = |it: &String| {
        let mut letters = it.chars();
        !it.is_empty() && letters.all(|it| it.is_alphanumeric() || it == '_')
    };
    ensure!(names.iter().all(is_name), "{word:?} is no field");
    Ok(Word::Field(names))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Template;

    fn fill(template: &str) -> anyhow::Result<String> {
        let value = json!({
            "Name": "/web", "Args": ["-c", "true"], "None": null,
            "State": { "Pid": 7, "Running": true },
            "Labels": { "a.b": "c" },
        });
        template.parse::<Template>()?.fill(&value)
    }

    #[test]
    fn a_template_is_filled_as_go_does() {
        for (template, expected) in [
            ("", ""),
            ("{{.Name}}: {{ .State.Pid }}!", "/web: 7!"),
            ("{{.State.Running}} {{.None}}", "true <no value>"),
            ("{{.Args}} {{.State}}", "[-c true] map[Pid:7 Running:true]"),
            ("{{json .Args}}", r#"["-c","true"]"#),
            ("{{.State.Pid | json}}", "7"),
            (r#"{{join .Args ", "}}"#, "-c, true"),
            (r#"{{index .Labels "a.b"}} {{index .Args 1}}"#, "c true"),
            (r#"-{{index .Labels "none"}}-"#, "--"),
            ("{{len .Args}}{{.Name|upper|lower}}", "2/web"),
            ("a {{- .State.Pid -}} b", "a7b"),
        ] {
            let filled = fill(template).expect(template);
            assert_eq!(filled, expected, "{template}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (template, expected) in [
            (
                "{{range .Args}}{{.}}{{end}}",
                r#""range" is not understood"#,
            ),
            ("{{if .Name}}", r#""if" is not understood"#),
            ("{{.Name", "no }} behind {{.Name"),
            ("{{}}", "nothing in {{}}"),
            ("{{json .Name | }}", "a | leads nowhere"),
            (r#"{{join .Args ",}}"#, "at its end"),
            ("{{.a..b}}", "is no field"),
            ("{{.State.Pod}}", r#"no field "Pod" in .State.Pod"#),
            ("{{upper .State.Pid}}", "Upper of"),
            ("{{.Name .Args}}", "more than one value"),
        ] {
            let error = fill(template).expect_err(template);
            let text = format!("{error:#}");
            assert!(text.contains(expected), "{template}: {text}");
        }
    }
}
