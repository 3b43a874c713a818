//! What a child writes on for its parent, who reads it when the child has ended.

use std::{
    ptr, slice,
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::Context;
use nix::errno::Errno;

use super::attempt::Failure;

/// Longer than an error's message gets.
const SIZE: usize = 64 * 1024;

/// What a child tells of a success.
const WORKS: &str = "works";

/// Memory that this process shares with those that it will fork. It is no
/// descriptor, as a pipe would be: where there are only a few, `run` would have
/// those.
pub(super) struct Slate(&'static [AtomicU8]);

impl Slate {
    /// A slate with nothing on it. There is one for each attempt, so that what a
    /// child which was given up writes at last is read by nobody.
    pub(super) fn new() -> anyhow::Result<Slate> {
        // SAFETY: new memory, where the kernel finds place for it.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last()).context("mmap(MAP_SHARED)");
        }
        // SAFETY: the mapping is that large, filled with zeros and never undone.
        // Other processes may write to it at any time, which is what atomics
        // are for.
        Ok(Slate(unsafe { slice::from_raw_parts(start.cast(), SIZE) }))
    }

    /// In a child: runs `attempt`, and writes what has come of it.
    pub(super) fn note(&self, attempt: impl FnOnce() -> anyhow::Result<()>) {
        let text = match attempt() {
            Ok(()) => WORKS.into(),
            Err(error) => Failure::from(&error).to_lines(),
        };
        // The last one stays 0.
        let place = self.0[..SIZE - 1].iter();
        for (place, byte) in place.zip(text.bytes()) {
            place.store(byte, Ordering::Relaxed);
        }
    }

    /// What was written, if it was.
    pub(super) fn read(&self) -> Option<Result<(), Failure>> {
        let bytes = self.0.iter().map(|it| it.load(Ordering::Relaxed));
        let text: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        match &*String::from_utf8_lossy(&text) {
            "" => None,
            WORKS => Some(Ok(())),
            text => Some(Err(Failure::parse(text))),
        }
    }
}
