//! Reads the kernel's record of a run.

use std::path::Path;

/// A run of a program, with all processes that came of it.
pub(super) struct Start {
    /// In the order in which they were born.
    pub(super) processes: Vec<Process>,
}

/// A process, from its birth (the first: from the end of its exec) to its end.
/// All times are microseconds from the beginning of the first one.
pub(super) struct Process {
    pid: u32,
    /// What it executed last.
    pub(super) name: String,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) calls: Vec<Call>,
}

/// A system call. One that never returns lasts until the process ends.
pub(super) struct Call {
    pub(super) name: String,
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Call {
    pub(super) fn length(&self) -> f64 {
        self.to - self.from
    }
}

impl Start {
    /// How long the first process lived.
    pub(super) fn length(&self) -> f64 {
        self.processes.first().map_or(0.0, |first| first.to)
    }

    /// Finds in the text of `trace` the run that begins with an exec of
    /// `program`. `None` if there is no such run, or its end is missing.
    pub(super) fn parse(text: &str, program: &Path) -> Option<Start> {
        let mut start = Start {
            processes: Vec::new(),
        };
        let mut begin = None;
        for line in text.lines().filter_map(Line::parse) {
            if begin.is_none() && line.executes(program) {
                begin = Some(line.time);
            }
            let Some(begin) = begin else { continue };
            start.take(&line, line.time - begin);
        }
        let is_over = |process: &Process| process.to.is_finite();
        let complete =
            !start.processes.is_empty() && start.processes.iter().all(is_over);
        complete.then_some(start)
    }

    fn take(&mut self, line: &Line, time: f64) {
        if self.processes.is_empty() {
            self.add(line.pid, line.comm, time);
            return;
        }
        let known =
            |it: &&mut Process| it.pid == line.pid && it.to.is_infinite();
        let Some(process) = self.processes.iter_mut().find(known) else {
            return;
        };
        match line.event {
            Event::Begin(name) => process.calls.push(Call {
                name: name.to_owned(),
                from: time,
                to: f64::INFINITY,
            }),
            Event::End(name) => {
                // The first of them began before the exec.
                if let Some(call) = process.calls.last_mut()
                    && call.name == name
                {
                    call.to = time;
                }
            }
            Event::Exec(file) => {
                // The kernel does not note down the end of an execveat(2).
                if let Some(call) = process.calls.last_mut() {
                    call.to = call.to.min(time);
                }
                let name = Path::new(file).file_name().unwrap_or_default();
                process.name = name.to_string_lossy().into_owned();
            }
            Event::Exit => {
                process.to = time;
                for call in &mut process.calls {
                    call.to = call.to.min(time);
                }
            }
            Event::Fork(child) => {
                let name = process.name.clone();
                self.add(child, &name, time);
            }
        }
    }

    fn add(&mut self, pid: u32, name: &str, from: f64) {
        self.processes.push(Process {
            pid,
            name: name.to_owned(),
            from,
            to: f64::INFINITY,
            calls: Vec::new(),
        });
    }
}

/// `comm-123  [001] .....  45.678901: sys_close(fd: 3)`
struct Line<'a> {
    comm: &'a str,
    pid: u32,
    /// Microseconds.
    time: f64,
    event: Event<'a>,
}

enum Event<'a> {
    Begin(&'a str),
    End(&'a str),
    Exec(&'a str),
    Exit,
    Fork(u32),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Line<'a>> {
        // The name of a process may hold anything, but it is short, and the
        // number of the processor is behind it.
        let (task, rest) = line.split_once("  [")?;
        let (comm, pid) = task.trim_start().rsplit_once('-')?;
        let (_, rest) = rest.split_once("] ")?;
        let (_flags, rest) = rest.trim_start().split_once(' ')?;
        let (time, text) = rest.trim_start().split_once(": ")?;
        Some(Line {
            comm,
            pid: pid.trim_end().parse().ok()?,
            time: time.parse::<f64>().ok()? * 1e6,
            event: Event::parse(text)?,
        })
    }

    fn executes(&self, program: &Path) -> bool {
        matches!(self.event, Event::Exec(file) if Path::new(file) == program)
    }
}

impl<'a> Event<'a> {
    fn parse(text: &'a str) -> Option<Event<'a>> {
        if let Some(call) = text.strip_prefix("sys_") {
            return match call.split_once(" -> ") {
                Some((name, _)) if !name.contains('(') => {
                    Some(Event::End(name))
                }
                _ => Some(Event::Begin(call.split_once('(')?.0)),
            };
        }
        let (event, rest) = text.split_once(": ")?;
        match event {
            "sched_process_exit" => Some(Event::Exit),
            "sched_process_exec" => {
                let rest = rest.strip_prefix("filename=")?;
                Some(Event::Exec(rest.rsplit_once(" pid=")?.0))
            }
            "sched_process_fork" => {
                let (_, child) = rest.rsplit_once("child_pid=")?;
                Some(Event::Fork(child.trim().parse().ok()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "\
# tracer: nop
          a b-c-7  [001] .....  9.000000: sys_execve(filename: 7f, argv: 80)
          a b-c-7  [001] .....  9.000050: sched_process_exec: filename=/x/step pid=7 old_pid=7
          a b-c-7  [001] .....  9.000051: sys_execve -> 0x0
         shell-3   [000] .....  9.000055: sys_close(fd: 1)
           step-7  [001] .....  9.000060: sys_clone(clone_flags: 11)
           step-7  [001] .....  9.000070: sched_process_fork: comm=step pid=7 child_comm=step child_pid=8
           step-8  [000] .....  9.000080: sys_clone -> 0x0
           step-7  [001] .....  9.000090: sys_clone -> 0x8
           step-8  [000] .....  9.000100: sys_execve(filename: 1, argv: 2)
           step-8  [000] .....  9.000110: sched_process_exec: filename=/bin/true pid=8 old_pid=8
           true-8  [000] .....  9.000112: sys_execve -> 0x0
           true-8  [000] .....  9.000120: sys_exit_group(error_code: 0)
           true-8  [000] .....  9.000130: sched_process_exit: comm=true pid=8 prio=120
           step-7  [001] .....  9.000140: sched_process_exit: comm=step pid=7 prio=120
";

    fn calls(process: &Process) -> Vec<(&str, i64, i64)> {
        let calls = process.calls.iter();
        #[expect(clippy::cast_possible_truncation, reason = "small numbers")]
        let micros = |time: f64| time.round() as i64;
        calls
            .map(|it| (it.name.as_str(), micros(it.from), micros(it.to)))
            .collect()
    }

    #[test]
    fn each_process_has_its_own_calls() {
        let start = Start::parse(RECORD, Path::new("/x/step")).expect("a run");
        assert_eq!(start.length().round(), 90.0);
        let [parent, child] = start.processes.as_slice() else {
            panic!("two processes");
        };
        assert_eq!(calls(parent), [("clone", 10, 40)]);
        assert_eq!(child.name, "true");
        assert_eq!(calls(child), [("execve", 50, 62), ("exit_group", 70, 80)]);
    }

    #[test]
    fn half_a_run_is_none() {
        let step = Path::new("/x/step");
        let lines: Vec<&str> = RECORD.lines().collect();
        let half = lines[..lines.len() - 1].join("\n");
        assert!(Start::parse(&half, step).is_none());
        assert!(Start::parse(RECORD, Path::new("/x/other")).is_none());
    }
}
