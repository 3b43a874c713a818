//! Showing each call as it is made: `run --explain`.
//!
//! Which process makes it, what strace(1) would print, and, above, in which file
//! these calls are made and what for. Where nobody asks for it, this costs a look
//! at a variable.

use std::{
    io::{IsTerminal, Write, stderr},
    panic::Location,
    process,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use nix::errno::Errno;

mod aims;

/// How the calls are shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Style {
    /// For people.
    Text,
    /// For programs: an object a line.
    Json,
}

/// Set while calls are shown.
static WANTED: AtomicBool = AtomicBool::new(false);

/// How, and by whom it was asked for: the process outside.
static HOW: OnceLock<(Style, u32)> = OnceLock::new();

/// Places of which nothing is shown: they find something out about the machine,
/// the image or the terminal, or look after signals. That would be most of all.
const LEFT_OUT: [&str; 12] = [
    "common/src/host/cgroups.rs",
    "common/src/host/files.rs",
    "common/src/host/machine.rs",
    "common/src/host/paths.rs",
    "common/src/host/subid.rs",
    "common/src/process/signals.rs",
    "common/src/process/stack.rs",
    "common/src/process/stat.rs",
    "common/src/process/terminal.rs",
    "common/src/rootfs",
    "common/src/sys/",
    "common/src/workload/command.rs",
];

/// Shown from there all the same: the container's own session.
const NOT_LEFT_OUT: [&str; 1] = ["setsid"];

/// How many calls of one name are shown, of many in a row.
const IN_A_ROW: usize = 2;

/// What was shown last.
struct Last {
    /// The file that the calls are made in, and what for.
    place: String,
    name: String,
    /// How often in a row.
    times: usize,
}

static LAST: Mutex<Last> = Mutex::new(Last {
    place: String::new(),
    name: String::new(),
    times: 0,
});

/// The process that was the last to show a call, as it is called by itself: in
/// memory that all of them share.
static SPEAKER: OnceLock<&AtomicU32> = OnceLock::new();

/// Shows each call from now on, on standard error: those of this process, and of
/// those that it will fork.
pub fn start(style: Style) {
    HOW.get_or_init(|| (style, process::id()));
    aims::read();
    if let Some(speaker) = super::memory::shared_number() {
        SPEAKER.get_or_init(|| speaker);
    }
    WANTED.store(true, Ordering::Relaxed);
}

/// Whether calls are shown.
pub(super) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Shows the calls that become the command, before they are made, and no other
/// one of this process from then on: a child that runs in our memory makes them,
/// which may not even allocate.
#[track_caller]
pub fn end_with(calls: impl FnOnce() -> Vec<String>) {
    if is_wanted() {
        for call in calls() {
            show(&call, None);
        }
        WANTED.store(false, Ordering::Relaxed);
    }
}

/// Shows `call`, and how it has failed, if it has.
#[track_caller]
pub(super) fn show(call: &str, errno: Option<Errno>) {
    let place = Location::caller();
    let Some((style, outside)) = HOW.get() else {
        return;
    };
    let name = call.split('(').next().unwrap_or_default();
    if LEFT_OUT.iter().any(|it| place.file().contains(it))
        && !NOT_LEFT_OUT.contains(&name)
    {
        return;
    }
    let side = match process::id() == *outside {
        true => "host",
        false => "box",
    };
    let text = match style {
        Style::Json => as_json(side, call, errno, place),
        Style::Text => as_text(side, call, errno, place),
    };
    // Not by the functions of this room: that would be shown, too.
    let _ = stderr().write_all(text.as_bytes());
}

fn as_json(
    side: &str,
    call: &str,
    errno: Option<Errno>,
    place: &Location,
) -> String {
    let errno = errno.map(|errno| format!("{errno:?}"));
    let object = serde_json::json!({
        "in": side,
        "call": call,
        "errno": errno,
        "aim": aims::of(place.file(), place.line()),
        "file": place.file(),
        "line": place.line(),
    });
    format!("{object}\n")
}

fn as_text(
    side: &str,
    call: &str,
    errno: Option<Errno>,
    place: &Location,
) -> String {
    let mut last = LAST.lock().unwrap_or_else(|it| it.into_inner());
    let name = call.split('(').next().unwrap_or_default();
    let ours = process::id();
    let before = SPEAKER.get().map(|it| it.swap(ours, Ordering::Relaxed));
    let goes_on = before.is_none_or(|it| it == ours);
    let place = heading(place);
    let is_next = last.place == place && last.name == name;
    last.times = if is_next { last.times + 1 } else { 1 };
    let mut text = String::new();
    if last.place != place || !goes_on {
        text += &format!("{}\n", paint(DIM, &place));
    }
    (last.place, last.name) = (place, name.to_owned());
    if last.times > IN_A_ROW + 1 {
        return text;
    }
    if last.times > IN_A_ROW {
        return text + &format!("  {side:4}  {name}(…), and so on\n");
    }
    let colour = if side == "host" { BLUE } else { GREEN };
    let side = paint(colour, &format!("{side:4}"));
    text += &format!("  {side}  {call}");
    if let Some(errno) = errno {
        text += &format!(" = -1 {errno:?}");
    }
    text + "\n"
}

/// Above calls: the file that they are made in, and what for.
fn heading(place: &Location) -> String {
    match aims::of(place.file(), place.line()) {
        Some(aim) => format!("{}: {aim}", place.file()),
        None => place.file().to_owned(),
    }
}

/// Colours, as ECMA-48 has them. See console_codes(4).
const BLUE: &str = "34";
const GREEN: &str = "32";
const DIM: &str = "2";

fn paint(colour: &str, text: &str) -> String {
    match stderr().is_terminal() {
        true => format!("\x1b[{colour}m{text}\x1b[m"),
        false => text.to_owned(),
    }
}
