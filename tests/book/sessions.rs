//! Each console block is typed into a real shell, chapter by chapter, and what
//! comes back is compared with what the book shows.
//!
//! With BusyBox the words of messages and the gaps in tables are its own; the
//! programs, the reasons and all else must be what the book shows.

use std::{
    any::Any,
    collections::BTreeMap,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex, OnceLock},
};

use book_preprocessor::{
    console::{self, Entry, Session},
    markdown::{self, Part},
};
use harness::{needs::NEVER, trial::trial};
use libtest_mimic::Trial;

pub(crate) use crate::reader::Programs;
use crate::{
    chapters::{self, Chapter},
    reader::{Image, Reader, User},
};

/// A console block.
struct Block {
    line: usize,
    indent: String,
    /// How many lines stand between its fences.
    length: usize,
    session: Session,
}

/// What became of a block.
enum Outcome {
    AsShown,
    Skipped(String),
    Failed(String),
}

/// A chapter's blocks, which are executed once, in order: a block goes on where
/// the one above it has stopped.
struct Run {
    chapter: Chapter,
    image: Image,
    blocks: Vec<Block>,
    programs: Arc<Programs>,
    /// Of each block, and of the end.
    outcomes: OnceLock<Vec<Outcome>>,
}

/// A trial for each block and each image. The first one that is wanted runs its
/// whole chapter.
pub(crate) fn trials(programs: &Arc<Programs>) -> Vec<Trial> {
    let all = Image::ALL.into_iter();
    all.flat_map(|image| trials_of(programs, image)).collect()
}

/// From this step on a container has an image.
fn has_image(chapter: &Chapter) -> bool {
    let mut with_image = harness::ALL.iter().skip(2);
    with_image.any(|step| chapter.text.contains(step.name))
}

/// What of a chapter another kernel may have its say in.
#[derive(PartialEq)]
enum Concern {
    Nothing,
    /// The container, but not what its image is made of.
    Containers,
    /// One of the sessions is for one version of cgroups.
    Cgroups,
}

/// Limits, and the containers of `box` and of the runtime, which the suite does
/// not try on other kernels. What else the chapters show it does try there.
fn concern(blocks: &[Block]) -> Concern {
    let needs = |block: &Block, what: &[&str]| {
        let mut needs = block.session.needs.iter();
        needs.any(|it| what.contains(&it.as_str()))
    };
    if blocks
        .iter()
        .any(|it| needs(it, &["cgroup1", "cgroup2", "limits"]))
    {
        return Concern::Cgroups;
    }
    let words = ["cgroup", "--memory", "--cpus", "--pids-limit"];
    let tells = |entry: &Entry| {
        let mut lines = entry.command.iter().chain(&entry.output);
        lines.any(|line| words.iter().any(|word| line.contains(word)))
    };
    let told = blocks.iter().any(|block| {
        block.session.entries.iter().any(tells)
            || needs(block, &["box", "step06-oci"])
    });
    match told {
        true => Concern::Containers,
        false => Concern::Nothing,
    }
}

/// Why the sessions of a chapter need not be executed: with SESSIONS_OF_KERNEL
/// this machine is there for its kernel, and another row executes the others.
fn left_to_others(blocks: &[Block], image: Image) -> Option<&'static str> {
    env::var_os("SESSIONS_OF_KERNEL")?;
    match (concern(blocks), image) {
        (Concern::Cgroups, _) | (Concern::Containers, Image::Tools) => None,
        _ => Some("needs no kernel but that of another row"),
    }
}

fn trials_of(programs: &Arc<Programs>, image: Image) -> Vec<Trial> {
    let mut trials = Vec::new();
    for chapter in chapters::all() {
        let blocks = blocks(&chapter);
        if blocks.is_empty() || image == Image::BusyBox && !has_image(&chapter)
        {
            continue;
        }
        let kind = image.title();
        let name = chapter.name.trim_end_matches(".md").to_owned();
        let left_out = left_to_others(&blocks, image);
        let title = |block: &Block| {
            let command = &block.session.entries[0].command[0];
            let title = format!("{kind}::{name}:{} {command:.40}", block.line);
            title.trim_end().to_owned()
        };
        let mut titles: Vec<String> = blocks.iter().map(title).collect();
        titles.push(format!("{kind}::{name} leaves nothing behind"));
        let run = Arc::new(Run {
            chapter,
            image,
            blocks,
            programs: Arc::clone(programs),
            outcomes: OnceLock::new(),
        });
        for (index, title) in titles.into_iter().enumerate() {
            let run = Arc::clone(&run);
            trials.push(trial(title, move || match left_out {
                Some(reason) => harness::skip(reason),
                None => run.report(index),
            }));
        }
    }
    trials
}

fn blocks(chapter: &Chapter) -> Vec<Block> {
    let mut blocks = Vec::new();
    for part in markdown::parts(&chapter.text) {
        let Part::Fence(fence) = part else {
            continue;
        };
        if fence.language() != "console" {
            continue;
        }
        let session = Session::parse(&fence).unwrap_or_else(|error| {
            panic!("{}:{}: {error:#}", chapter.name, fence.line)
        });
        blocks.push(Block {
            line: fence.line,
            indent: fence.indent.to_owned(),
            length: fence.body.len(),
            session,
        });
    }
    blocks
}

impl Run {
    /// Ends the trial of the block `index` as it deserves.
    fn report(&self, index: usize) {
        // One reader at a time: the sessions look at all processes.
        static TURN: Mutex<()> = Mutex::new(());
        let outcomes = self.outcomes.get_or_init(|| {
            let turn = TURN.lock();
            let outcomes = self.execute();
            drop(turn);
            outcomes
        });
        match &outcomes[index] {
            Outcome::AsShown => {}
            Outcome::Skipped(reason) => harness::skip(reason),
            Outcome::Failed(text) => panic!("{text}"),
        }
    }

    fn execute(&self) -> Vec<Outcome> {
        let mut reader = match caught(|| {
            Reader::new(&self.programs, self.image)
        }) {
            Ok(reader) => reader,
            Err(text) => {
                let blocks = self.blocks.iter();
                let failed = blocks.map(|_| Outcome::Failed(text.clone()));
                return failed.chain([Outcome::Failed(text.clone())]).collect();
            }
        };
        let recording = env::var("SESSIONS").is_ok_and(|it| it == "record")
            && self.image == Image::Tools;
        let mut outcomes = Vec::new();
        let mut recorded = Vec::new();
        // Where a terminal was left by a block that was not executed.
        let mut skipped = BTreeMap::new();
        for block in &self.blocks {
            let terminal = block.session.terminal;
            let goes_on = !block.session.entries[0].prompt.starts_with("host");
            let reason = match skipped.get(&terminal) {
                Some(reason) if goes_on => Some(String::clone(reason)),
                _ => why_not(&block.session, &reader),
            };
            if let Some(reason) = reason {
                skipped.insert(terminal, reason.clone());
                outcomes.push(Outcome::Skipped(reason));
                continue;
            }
            skipped.remove(&terminal);
            let what_came = caught(|| type_in(&block.session, &mut reader));
            outcomes.push(match what_came {
                Err(text) => Outcome::Failed(text),
                Ok(outputs) if recording => {
                    recorded.push((block, outputs));
                    Outcome::AsShown
                }
                Ok(outputs) => compare(&block.session, &outputs, self.image),
            });
        }
        self.record(&recorded);
        let is_whole = outcomes.iter().all(|it| match it {
            Outcome::AsShown => true,
            Outcome::Skipped(reason) => reason.starts_with(NEVER),
            Outcome::Failed(_) => false,
        });
        outcomes.push(match caught(|| reader.leave(is_whole)) {
            Ok(()) => Outcome::AsShown,
            Err(text) => Outcome::Failed(text),
        });
        outcomes
    }

    /// Writes what came back into the chapter.
    fn record(&self, recorded: &[(&Block, Vec<Vec<String>>)]) {
        let mut lines: Vec<String> =
            self.chapter.text.lines().map(String::from).collect();
        for (block, outputs) in recorded.iter().rev() {
            let entries = block.session.entries.iter().zip(outputs);
            let entries = entries.map(|(entry, output)| Entry {
                prompt: entry.prompt.clone(),
                command: entry.command.clone(),
                output: console::update(&entry.output, output),
            });
            let session = Session {
                ignored: None,
                needs: Vec::new(),
                terminal: block.session.terminal,
                entries: entries.collect(),
            };
            let shown = session.markdown().into_iter();
            let shown = shown.map(|line| match line.as_str() {
                "" => line,
                line => format!("{}{line}", block.indent),
            });
            lines.splice(block.line..block.line + block.length, shown);
        }
        let text = lines.join("\n") + "\n";
        if !recorded.is_empty() && text != self.chapter.text {
            fs::write(self.chapter.path(), text).expect("it is writable");
        }
    }
}

/// Why a block can't be executed here.
fn why_not(session: &Session, reader: &Reader) -> Option<String> {
    if let Some(reason) = &session.ignored {
        return Some(format!("{NEVER}{reason}"));
    }
    let users = session
        .entries
        .iter()
        .map(|entry| reader.user(&entry.prompt, session.terminal));
    let users: Vec<User> = users.flatten().collect();
    let missing = users.iter().find_map(|user| Reader::why_not(*user));
    if let Some(reason) = missing {
        return Some(reason.to_owned());
    }
    let user = *users.first()?;
    let mut needs = session.needs.iter();
    needs.find_map(|what| reader.has(user, what).err())
}

/// Types all commands of a block and returns what came back of each.
fn type_in(session: &Session, reader: &mut Reader) -> Vec<Vec<String>> {
    let entries = session.entries.iter();
    let outputs = entries.map(|entry| {
        reader.type_in(
            session.terminal,
            &entry.prompt,
            &entry.command,
            &keys(&entry.output),
        )
    });
    outputs.collect()
}

/// The keys that are pressed during a command, each with the number of lines
/// that come before it.
fn keys(output: &[String]) -> Vec<(usize, char)> {
    let mut keys = Vec::new();
    let mut lines = 0;
    for line in output {
        match line
            .strip_prefix('^')
            .map(|it| it.chars().collect::<Vec<_>>())
        {
            Some(key) if key.len() == 1 => {
                keys.push((lines, key[0]));
                lines = 0;
            }
            _ => lines += 1,
        }
    }
    keys
}

/// Whether BusyBox says the same in its own words: with other gaps between its
/// columns, or the same program for the same reason, `cat: …: Is a directory`.
fn is_the_same_in_busybox(shown: &str, line: &str) -> bool {
    let columns = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ")
    };
    if console::line_fits(&columns(shown), &columns(line)) {
        return true;
    }
    let message = |text: &str| {
        let (program, rest) = text.split_once(": ")?;
        let (_, reason) = rest.rsplit_once(": ")?;
        Some((program.to_owned(), reason.to_owned()))
    };
    let (shown, line) = (message(shown), message(line));
    shown.is_some() && shown == line
}

fn compare(
    session: &Session,
    outputs: &[Vec<String>],
    image: Image,
) -> Outcome {
    let is_same = match image {
        Image::Tools => console::line_fits,
        Image::BusyBox => is_the_same_in_busybox,
    };
    let mut text = String::new();
    for (entry, output) in session.entries.iter().zip(outputs) {
        if console::fits_by(is_same, &entry.output, output) {
            continue;
        }
        text += &format!(
            "{} {}\nthe book shows:\n  {}\nwhat came back:\n  {}\n",
            entry.prompt,
            entry.command.join("\n> "),
            entry.output.join("\n  "),
            output.join("\n  "),
        );
    }
    if text.is_empty() {
        return Outcome::AsShown;
    }
    text += "to take over what came back: \
             SESSIONS=record cargo test -p book-tests -- sessions";
    Outcome::Failed(text)
}

/// What `function` returns, or what it panics with. A skip goes on its way.
fn caught<T>(function: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(function)).map_err(|panic| {
        let message = message(&*panic);
        message.unwrap_or_else(|| resume_unwind(panic))
    })
}

fn message(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
}
