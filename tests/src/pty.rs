//! A terminal with somebody at it, who types and reads.
#![allow(unsafe_code)]

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    ops::Range,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{
        signal::{Signal, kill},
        termios::{Termios, tcgetattr},
    },
    unistd::{Pid, setsid},
};

use crate::{
    LIMIT,
    host::{MARK, members_of_session},
    trial::note,
    wait_until,
};

/// The terminal's size. Programs fit their lines into it.
static SIZE: Winsize = Winsize {
    ws_row: 24,
    ws_col: 80,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// A program that runs in a session of its own, on a terminal of its own.
pub struct Session {
    child: Child,
    screen: File,
    /// The path of the terminal itself.
    terminal: String,
    seen: String,
    read_up_to: usize,
}

impl Session {
    /// Starts an interactive shell, the host's `sh`, with the prompt `host$ `.
    pub fn shell() -> Session {
        let mut session = Session::start(["sh", "-i"]);
        session.expect("host$ ");
        session
    }

    /// Starts `command` as the leader of a session, with the terminal as its
    /// controlling terminal.
    pub fn start<A: AsRef<OsStr>>(
        command: impl IntoIterator<Item = A>,
    ) -> Session {
        let mut arguments = command.into_iter();
        let program = arguments.next().expect("a program");
        let mut process = Command::new(program.as_ref());
        process
            .args(arguments)
            .env("PS1", "host$ ")
            .env("TERM", "dumb")
            .env(MARK, "pty");
        Session::of(process)
    }

    /// Starts `process` in the same way.
    pub fn of(mut process: Command) -> Session {
        let (screen, terminal, path) = open_pty().expect("a new terminal");
        let terminal = || terminal.try_clone().expect("dup()");
        process
            .stdin(terminal())
            .stdout(terminal())
            .stderr(terminal());
        // SAFETY: setsid(2) and ioctl(2) are async-signal-safe, and nothing is
        // allocated.
        unsafe { process.pre_exec(take_terminal) };
        let child = process.spawn().expect("the program can be started");
        Session {
            child,
            screen,
            terminal: path,
            seen: String::new(),
            read_up_to: 0,
        }
    }

    /// Types a line and the return key.
    pub fn type_line(&mut self, line: &str) {
        self.press(&format!("{line}\n"));
    }

    /// Presses keys: `\x03` is Ctrl-C, `\x04` Ctrl-D, `\x1a` Ctrl-Z.
    pub fn press(&mut self, keys: &str) {
        note(format!("typed {keys:?}"));
        self.screen.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Waits until `text` appears, and goes on reading behind it. Returns what
    /// came before it.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_one(&format!("{text:?}"), |unread| {
            unread.find(text).map(|at| at..at + text.len())
        })
        .0
    }

    /// Waits until `find` finds something in what was not read yet, and goes on
    /// reading behind it. Returns what came before it, and it.
    pub fn expect_one(
        &mut self,
        what: &str,
        find: impl Fn(&str) -> Option<Range<usize>>,
    ) -> (String, String) {
        let start = Instant::now();
        loop {
            let unread = &self.seen[self.read_up_to..];
            if let Some(at) = find(unread) {
                let before = unread[..at.start].to_owned();
                let found = unread[at.clone()].to_owned();
                self.read_up_to += at.end;
                note(format!("read {before:?} and then {found:?}"));
                return (before, found);
            }
            assert!(start.elapsed() < *LIMIT, "no {what} came, but {unread:?}");
            self.read_more();
        }
    }

    /// The process group that has the terminal.
    pub fn foreground(&self) -> i32 {
        let group = nix::unistd::tcgetpgrp(&self.screen);
        group.expect("the terminal of a session").as_raw()
    }

    /// The modes of the terminal: echo and so on. See termios(3).
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.screen).expect("it is a terminal")
    }

    /// Whether nobody else may open the terminal. See TIOCEXCL in ioctl_tty(2).
    pub fn is_exclusive(&self) -> bool {
        let flags = OFlag::O_NOCTTY.bits();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(&self.terminal);
        // Root may open it all the same.
        let Ok(terminal) = opened else { return true };
        let mut is_exclusive: libc::c_int = 0;
        // SAFETY: TIOCGEXCL writes an int.
        let result = unsafe {
            let answer = &raw mut is_exclusive;
            libc::ioctl(terminal.as_raw_fd(), libc::TIOCGEXCL, answer)
        };
        Errno::result(result).expect("it is a terminal");
        is_exclusive != 0
    }

    /// The path of the terminal.
    pub fn terminal(&self) -> &str {
        &self.terminal
    }

    /// The process number of the session's leader.
    pub fn leader(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits for the end of the session's leader, and returns its exit code.
    pub fn end(self) -> Option<i32> {
        self.status().code()
    }

    /// Waits for the end of the session's leader.
    pub fn status(mut self) -> ExitStatus {
        wait_until("the end of the session", || {
            self.read_more();
            self.child.try_wait().expect("wait4()")
        })
    }

    /// Closes the terminal, as whoever closes a window or loses a connection.
    pub fn hang_up(&mut self) {
        let nothing = File::open("/dev/null");
        self.screen = nothing.expect("there is a /dev/null");
    }

    /// Reads what is there, waiting a little if nothing is.
    fn read_more(&mut self) {
        let mut screen = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
        let a_moment = PollTimeout::try_from(Duration::from_millis(5));
        let ready = poll(&mut screen, a_moment.expect("it is short"));
        if ready.is_ok_and(|ready| ready > 0) {
            let mut bytes = [0; 4096];
            // EIO: nobody has the terminal open any more.
            let read = self.screen.read(&mut bytes).unwrap_or(0);
            self.seen += &String::from_utf8_lossy(&bytes[..read]);
        }
    }
}

impl Drop for Session {
    /// Ends all that was started at the terminal: after a failed assertion that
    /// can be a shell, a step, and what does not hear the hang-up.
    fn drop(&mut self) {
        for member in members_of_session(self.leader()) {
            let _ = kill(Pid::from_raw(member), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// A new terminal: our end of it, the other one and its path. Unlike openpty(3), no other
/// program that is started meanwhile gets a copy, which would keep it open.
fn open_pty() -> io::Result<(File, File, String)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let screen = posix_openpt(flags)?;
    grantpt(&screen)?;
    unlockpt(&screen)?;
    let path = ptsname_r(&screen)?;
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags.bits())
        .open(&path)?;
    // SAFETY: TIOCSWINSZ reads a winsize. See ioctl_tty(2).
    let result = unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const SIZE)
    };
    Errno::result(result)?;
    Ok((OwnedFd::from(screen).into(), terminal, path))
}

/// In the child: makes standard input its controlling terminal.
fn take_terminal() -> io::Result<()> {
    setsid()?;
    let stdin = io::stdin().as_raw_fd();
    // SAFETY: TIOCSCTTY takes an int by value. See ioctl_tty(2).
    let result = unsafe { libc::ioctl(stdin, libc::TIOCSCTTY, 0) };
    Errno::result(result)?;
    Ok(())
}
