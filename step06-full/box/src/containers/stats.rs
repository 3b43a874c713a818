//! What containers use.

use std::{
    collections::HashMap,
    io::{IsTerminal, stdout},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use step06_life::{Container, Usage};

use super::{all, or_one, print};
use crate::{format::Format, store};

/// Show what running containers use, twice a second, until Ctrl-C
#[derive(clap::Args)]
pub(crate) struct Stats {
    /// Containers [default: all that run]
    #[arg(value_name = "CONTAINER")]
    names: Vec<String>,
    /// Show it once
    #[arg(long)]
    no_stream: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Print each container in this form: json, table, or a template as
    /// "{{.Name}} {{.CPUPerc}}"
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

/// The columns, as fields of a row, and with their heads.
const COLUMNS: [(&str, &str); 5] = [
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("PIDs", "PIDS"),
];

/// As long as the processors are watched.
const INTERVAL: Duration = Duration::from_millis(500);

/// "ESC [H" goes to the corner of a terminal, "ESC [J" empties it from there.
const CLEAR: &str = "\x1b[H\x1b[J";

/// What a container has used until a moment, which lies between these two:
/// whoever looks may have to wait for a processor in between.
struct Glance {
    begun: Instant,
    usage: Usage,
    done: Instant,
}

/// By the containers' ids.
type Seen = HashMap<String, Glance>;

pub(crate) fn stats(args: &Stats) -> anyhow::Result<ExitCode> {
    or_one(|| args.show())
}

impl Stats {
    fn show(&self) -> anyhow::Result<ExitCode> {
        let mut containers = self.containers()?;
        let mut before = look(&containers);
        let clear = match !self.no_stream && stdout().is_terminal() {
            true => CLEAR,
            false => "",
        };
        loop {
            sleep(INTERVAL);
            // Others come and go meanwhile.
            match self.names.is_empty() {
                true => containers = all()?,
                false => containers.retain(|it| !it.is_gone()),
            }
            let now = look(&containers);
            let rows = containers.iter().filter_map(|it| {
                let now = now.get(&it.config.id)?;
                Some(self.row(it, before.get(&it.config.id), now))
            });
            let rows: Vec<Value> = rows.collect();
            let text = self.format.text(&COLUMNS, &rows)?;
            print(&format!("{clear}{text}"))?;
            // Those that were named have ended: there is nothing to come.
            let is_over = !self.names.is_empty() && now.is_empty();
            if self.no_stream || is_over {
                return Ok(ExitCode::SUCCESS);
            }
            before = now;
        }
    }

    fn containers(&self) -> anyhow::Result<Vec<Container>> {
        if self.names.is_empty() {
            return all();
        }
        let place = store::place()?;
        let found = self.names.iter().map(|it| Container::find(&place, it));
        found.collect()
    }

    fn row(
        &self,
        container: &Container,
        before: Option<&Glance>,
        now: &Glance,
    ) -> Value {
        let id = &container.config.id;
        let usage = &now.usage;
        json!({
            "ID": if self.no_trunc { id } else { &id[..12] },
            "Container": id[..12],
            "Name": container.config.name,
            "CPUPerc": processors(before, now),
            "MemUsage": format!(
                "{} / {}",
                bytes(usage.memory),
                bytes(usage.memory_limit)
            ),
            "PIDs": usage.processes.map_or("--".into(), |it| it.to_string()),
        })
    }
}

/// Those that run, and what they have used.
fn look(containers: &[Container]) -> Seen {
    let seen = containers.iter().filter_map(|it| {
        let begun = Instant::now();
        let usage = it.usage().ok()?;
        let done = Instant::now();
        Some((it.config.id.clone(), Glance { begun, usage, done }))
    });
    seen.collect()
}

/// 100 % is one of them, and never more than there was time for: of two glances
/// it is the longest that can lie between them. One that has only just come was
/// not watched yet.
fn processors(before: Option<&Glance>, now: &Glance) -> String {
    let used = before.and_then(|before| {
        let used = now.usage.cpu?.saturating_sub(before.usage.cpu?);
        Some((used, now.done.duration_since(before.begun)))
    });
    let Some((used, time)) = used else {
        return "--".into();
    };
    format!("{:.2}%", 100.0 * used.as_secs_f64() / time.as_secs_f64())
}

fn bytes(number: Option<u64>) -> String {
    let Some(number) = number else {
        return "--".into();
    };
    let tenths = |shift: u32| {
        let whole = number >> shift;
        format!(
            "{whole}.{}",
            ((number >> (shift - 10)) & 0x3ff) * 10 / 0x400
        )
    };
    match number {
        0..0x400 => format!("{number}B"),
        0x400..0x10_0000 => tenths(10) + "KiB",
        0x10_0000..0x4000_0000 => tenths(20) + "MiB",
        0x4000_0000..0x1_0000_0000_0000 => tenths(30) + "GiB",
        // What cgroup v1 has for no limit.
        _ => "--".into(),
    }
}
