//! Memory for the stack of a child that runs in our memory.

use std::slice;

use libc::c_void;

use crate::sys;

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
        let (all, flags) = (GUARD + SIZE, libc::MAP_STACK);
        let stack = Stack(sys::mmap_anonymous(all, libc::PROT_NONE, flags)?);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the range lies within the mapping, and nobody uses it yet.
        unsafe { sys::mprotect(stack.usable(), SIZE, access) }?;
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
