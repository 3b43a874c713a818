//! How much a layer may be.

use anyhow::ensure;

/// What a layer may be unpacked to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All files together, in bytes.
    pub bytes: u64,
    /// The number of files.
    pub files: usize,
    /// All their names together, in bytes: they are kept in memory.
    pub names: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 8 << 30,
            files: 1_000_000,
            names: 256 << 20,
        }
    }
}

impl Limits {
    /// So many files, with so many bytes in their names.
    ///
    /// # Errors
    /// They are too many.
    pub(super) fn check(
        &self,
        files: usize,
        names: usize,
    ) -> anyhow::Result<()> {
        let limit = self.files;
        ensure!(files <= limit, "it has more than {limit} files");
        let limit = self.names;
        ensure!(names <= limit, "their names have more than {limit} bytes");
        Ok(())
    }

    /// How long an archive is at most that keeps them: each file has a head, and
    /// is filled up to a whole number of blocks; a long name takes more of both.
    pub(super) fn archive(&self) -> u64 {
        let files = u64::try_from(self.files).unwrap_or(u64::MAX);
        self.bytes.saturating_add(files.saturating_mul(8 * 1024))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_room() {
        let limits = Limits {
            bytes: 0,
            files: 2,
            names: 9,
        };
        limits.check(2, 9).expect("it is as much as may be");
        limits
            .check(3, 9)
            .expect_err("a directory on the way is a file");
        limits.check(2, 10).expect_err("long names");
    }
}
