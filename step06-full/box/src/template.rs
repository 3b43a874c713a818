//! Templates for `--format`: the part of Go's that people type every day.
//!
//! Fields, as `{{.State.Pid}}`, and a few functions, as `{{json .Config}}` or
//! `{{.Name | upper}}`. There is no `if` and no `range`: whoever needs more has
//! JSON, and jq(1). See <https://pkg.go.dev/text/template>.

use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use common::errors::escaped;
use serde_json::Value;

use crate::containers::shown;

mod words;

use words::{Word, words};

/// What each thing that is listed is printed as.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// What one command returns is the last argument of the next one.
    Pipeline(Vec<Command>),
}

#[derive(Clone, Debug, PartialEq)]
struct Command {
    function: Option<Function>,
    arguments: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq)]
enum Argument {
    /// The names of fields in fields; none for all of it.
    Field(Vec<String>),
    Constant(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Json,
    Index,
    Join,
    Len,
    Lower,
    Upper,
}

const UNDERSTOOD: &str =
    "fields as {{.State.Pid}}, and json, index, join, len, lower and upper";

impl FromStr for Template {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Template> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after
                .split_once("}}")
                .with_context(|| format!("no }}}} behind {{{{{after}"))?;
            // A "-" takes the space around away.
            let (action, after) = match action.strip_suffix(" -") {
                Some(action) => (action, after.trim_start()),
                None => (action, after),
            };
            let (action, before) = match action.strip_prefix("- ") {
                Some(action) => (action, before.trim_end()),
                None => (action, before),
            };
            parts.push(Part::Text(before.into()));
            parts.push(Part::Pipeline(pipeline(action)?));
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        Ok(Template(parts))
    }
}

fn pipeline(action: &str) -> anyhow::Result<Vec<Command>> {
    let words = words(action)?;
    ensure!(!words.is_empty(), "there is nothing in {{{{{action}}}}}");
    let commands = words.split(|it| *it == Word::Pipe);
    commands.map(command).collect()
}

fn command(words: &[Word]) -> anyhow::Result<Command> {
    let (first, rest) = words.split_first().context("a | leads nowhere")?;
    let function = match first {
        Word::Name(name) => Some(function(name)?),
        _ => None,
    };
    let arguments = match function {
        Some(_) => rest,
        None => words,
    };
    let one = function.is_some() || arguments.len() == 1;
    ensure!(
        one,
        "more than one value, and no function: only {UNDERSTOOD}"
    );
    let arguments = arguments.iter().map(argument);
    Ok(Command {
        function,
        arguments: arguments.collect::<anyhow::Result<_>>()?,
    })
}

fn function(name: &str) -> anyhow::Result<Function> {
    Ok(match name {
        "json" => Function::Json,
        "index" => Function::Index,
        "join" => Function::Join,
        "len" => Function::Len,
        "lower" => Function::Lower,
        "upper" => Function::Upper,
        _ => bail!("{name:?} is not understood here, only {UNDERSTOOD}"),
    })
}

fn argument(word: &Word) -> anyhow::Result<Argument> {
    Ok(match word {
        Word::Field(names) => Argument::Field(names.clone()),
        Word::Constant(value) => Argument::Constant(value.clone()),
        Word::Name(name) => {
            bail!("{name:?} is not understood here, only {UNDERSTOOD}")
        }
        Word::Pipe => bail!("a | leads nowhere"),
    })
}

impl Template {
    /// With what `value` has in these fields.
    ///
    /// # Errors
    /// There is no such field, or a function can do nothing with it.
    pub(crate) fn fill(&self, value: &Value) -> anyhow::Result<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text += part,
                Part::Pipeline(commands) => {
                    let mut last = None;
                    for command in commands {
                        last = Some(command.run(value, last)?);
                    }
                    text += &printed(&last.unwrap_or_default());
                }
            }
        }
        Ok(text)
    }

    /// The names of the fields that it shows, one for each of its columns.
    pub(crate) fn columns(&self) -> Vec<String> {
        let fields = self.0.iter().filter_map(|part| match part {
            Part::Pipeline(commands) => commands.first(),
            Part::Text(_) => None,
        });
        let names = fields.map(|it| match it.arguments.last() {
            Some(Argument::Field(names)) => names.join("."),
            _ => String::new(),
        });
        names.collect()
    }
}

impl Command {
    fn run(&self, all: &Value, last: Option<Value>) -> anyhow::Result<Value> {
        let arguments = self.arguments.iter().map(|it| match it {
            Argument::Field(names) => field(all, names),
            Argument::Constant(value) => Ok(value.clone()),
        });
        let mut values = arguments.collect::<anyhow::Result<Vec<_>>>()?;
        values.extend(last);
        let Some(function) = self.function else {
            ensure!(values.len() == 1, "a value takes nothing from a |");
            return Ok(values.remove(0));
        };
        call(function, &values).with_context(|| {
            let of: Vec<String> = values.iter().map(printed).collect();
            format!("{function:?} of {}", of.join(" "))
        })
    }
}

fn field(all: &Value, names: &[String]) -> anyhow::Result<Value> {
    let mut value = all;
    for name in names {
        value = value.get(name).with_context(|| {
            format!("there is no field {name:?} in .{}", names.join("."))
        })?;
    }
    Ok(value.clone())
}

fn call(function: Function, values: &[Value]) -> anyhow::Result<Value> {
    Ok(match (function, values) {
        (Function::Json, [value]) => shown(&value.to_string()).into(),
        (Function::Lower, [Value::String(it)]) => it.to_lowercase().into(),
        (Function::Upper, [Value::String(it)]) => it.to_uppercase().into(),
        (Function::Len, [Value::String(it)]) => it.len().into(),
        (Function::Len, [Value::Array(it)]) => it.len().into(),
        (Function::Len, [Value::Object(it)]) => it.len().into(),
        (Function::Join, [Value::Array(all), Value::String(between)]) => {
            let all: Vec<String> = all.iter().map(printed).collect();
            all.join(between).into()
        }
        (Function::Index, [value, keys @ ..]) => {
            // What a map does not have is empty there.
            let nothing = Value::String(String::new());
            let found = keys.iter().try_fold(value, |value, key| match key {
                Value::String(key) => match value {
                    Value::Object(all) => {
                        Some(all.get(key).unwrap_or(&nothing))
                    }
                    _ => None,
                },
                key => value.get(usize::try_from(key.as_u64()?).ok()?),
            });
            found.context("there is none")?.clone()
        }
        _ => bail!("that can't be had"),
    })
}

/// As Go prints it: a list as `[a b]`, a table as `map[k:v]`.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => escaped(text),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(printed).collect();
            format!("[{}]", all.join(" "))
        }
        Value::Object(all) => {
            let all = all.iter().map(|(key, value)| {
                format!("{}:{}", escaped(key), printed(value))
            });
            format!("map[{}]", all.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}
