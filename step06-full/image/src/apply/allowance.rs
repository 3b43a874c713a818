//! How much may be read of an archive at once.
//!
//! A long name stands in the archive like a file, and whoever reads names has to
//! keep them in memory. So what is read between two files has a limit, which
//! nothing that the archive says can raise.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};

/// How many bytes may still be read.
#[derive(Clone)]
pub(crate) struct Allowance(Rc<Cell<u64>>);

impl Allowance {
    pub(crate) fn new(bytes: u64) -> Allowance {
        Allowance(Rc::new(Cell::new(bytes)))
    }

    /// From now on, so many.
    pub(crate) fn set(&self, bytes: u64) {
        self.0.set(bytes);
    }

    /// Reads from `inner` as long as it is allowed.
    pub(crate) fn reader<R: Read>(&self, inner: R) -> Allowed<R> {
        let allowance = self.clone();
        Allowed { inner, allowance }
    }
}

pub(crate) struct Allowed<R> {
    inner: R,
    allowance: Allowance,
}

impl<R: Read> Read for Allowed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Allowance(left) = &self.allowance;
        let most = usize::try_from(left.get()).unwrap_or(usize::MAX);
        if most == 0 && !buffer.is_empty() {
            let what = "what it says of one file is too long";
            return Err(io::Error::other(what));
        }
        let most = buffer.len().min(most);
        let length = self.inner.read(&mut buffer[..most])?;
        left.set(left.get() - length as u64);
        Ok(length)
    }
}

/// What is skipped is not kept.
impl<R: Seek> Seek for Allowed<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
