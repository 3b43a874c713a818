//! Memory for the stack of a child that runs in our memory.

use std::{ptr, slice};

use anyhow::Context;
use libc::c_void;
use nix::errno::Errno;

/// As much as a child needs until its exec, also in a program that was built
/// without optimisation.
const SIZE: usize = 64 * 1024;

/// At least one page on every machine.
const GUARD: usize = 64 * 1024;

/// A stack with nothing below it: a child that needs more of it is killed by
/// SIGSEGV, and overwrites nothing of ours.
pub(super) struct Stack(*mut c_void);

impl Stack {
    /// Reserves the memory. See mmap(2).
    pub(super) fn new() -> anyhow::Result<Stack> {
        // SAFETY: new memory, where the kernel finds place for it.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                GUARD + SIZE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last()).context("mmap(PROT_NONE, MAP_STACK)");
        }
        let stack = Stack(start);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range lies within the mapping, and nobody uses it yet.
        let opened = unsafe { libc::mprotect(stack.usable(), SIZE, access) };
        Errno::result(opened).context("mprotect(PROT_READ|PROT_WRITE)")?;
        Ok(stack)
    }

    /// The part that may be used.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is that large from there on, readable, writable
        // and filled with zeros; we have it for ourselves.
        unsafe { slice::from_raw_parts_mut(self.usable().cast(), SIZE) }
    }

    /// A stack grows downwards, so the guard is the beginning of the mapping.
    fn usable(&self) -> *mut c_void {
        self.0.wrapping_byte_add(GUARD)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and the child that ran on it has left.
        unsafe { libc::munmap(self.0, GUARD + SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_it_is_memory_that_nobody_can_touch() {
        let stack = Stack::new().expect("there is memory");
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
        let end = format!("-{:08x} ---p ", stack.usable().addr());
        assert!(maps.contains(&end), "no {end} in {maps}");
    }
}
