//! Digests: names that can be checked.

use std::{
    fmt,
    io::{self, Read},
    str::FromStr,
};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes: the name under which an image has them.
///
/// It is printed, and read, as `sha256:` and 64 hexadecimal digits. Since it
/// comes from others and becomes the name of a file here, nothing else is taken.
#[derive(
    Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Digest {
        Digest::finish(Sha256::new().chain_update(bytes))
    }

    fn finish(hash: Sha256) -> Digest {
        let bytes = hash.finalize();
        Digest(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The 64 digits alone.
    pub fn hex(&self) -> &str {
        &self.0
    }

    /// Enough of it to tell one from another, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// Checks that `bytes` have this digest.
    ///
    /// # Errors
    /// They have another one.
    pub fn check(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let is = Digest::of(bytes);
        ensure!(is == *self, "its digest should be {self}, and is {is}");
        Ok(())
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Digest> {
        let hex = text
            .strip_prefix("sha256:")
            .with_context(|| format!("{text:?} is not a digest of SHA-256"))?;
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        ensure!(
            hex.len() == 64 && hex.bytes().all(is_digit),
            "{text:?} is not sha256: and 64 hexadecimal digits"
        );
        Ok(Digest(hex.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Digest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// Reads from another reader, and knows at the end which digest that had.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Hashing<R> {
        let hash = Sha256::new();
        Hashing { inner, hash }
    }

    /// The digest of all that there is to read, what nobody has read yet
    /// included.
    pub(crate) fn digest(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Digest::finish(self.hash))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b93\
                         4ca495991b7852b855";

    #[test]
    fn nothing_has_the_digest_that_everybody_knows() {
        assert_eq!(Digest::of("").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().expect(EMPTY), Digest::of(""));
    }

    #[test]
    fn what_could_name_another_file_is_no_digest() {
        for text in [
            "",
            "sha256:",
            "e3b0c44298fc",
            "sha512:e3b0c44298fc",
            "sha256:../../../../../../../../../../../../../../../../etc/passwd",
            &EMPTY.to_uppercase(),
            &EMPTY.replace('e', "E"),
            &format!("{EMPTY}0"),
            &EMPTY.replace("b0", "é"),
        ] {
            text.parse::<Digest>().expect_err(text);
        }
    }

    #[test]
    fn what_nobody_has_read_counts() {
        let mut hashing = Hashing::new(&b"abc"[..]);
        hashing.read_exact(&mut [0]).expect("there are three");
        assert_eq!(hashing.digest().expect("read"), Digest::of("abc"));
    }
}
