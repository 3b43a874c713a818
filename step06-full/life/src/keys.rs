//! The keys that let go of a container, and leave it as it is.

use std::str::FromStr;

use anyhow::{bail, ensure};

/// Such keys: Ctrl-P Ctrl-Q, as Docker has them, if nothing else is said.
#[derive(Clone, Debug, PartialEq)]
pub struct DetachKeys(Vec<u8>);

impl Default for DetachKeys {
    fn default() -> DetachKeys {
        DetachKeys(vec![control(b'p'), control(b'q')])
    }
}

/// What a terminal sends for a key that is pressed together with Ctrl. See
/// ascii(7).
fn control(letter: u8) -> u8 {
    letter.to_ascii_uppercase() & 0x1f
}

impl FromStr for DetachKeys {
    type Err = anyhow::Error;

    /// Keys with commas between them, each a letter or `ctrl-` and a letter;
    /// none at all, if nothing is to let go.
    fn from_str(text: &str) -> anyhow::Result<DetachKeys> {
        if text.is_empty() {
            return Ok(DetachKeys(Vec::new()));
        }
        let mut keys = Vec::new();
        for key in text.split(',') {
            let (letter, is_control) = match key.strip_prefix("ctrl-") {
                Some(letter) => (letter, true),
                None => (key, false),
            };
            let [letter] = letter.as_bytes() else {
                bail!("{key:?} is no key: a letter, or ctrl- and a letter");
            };
            ensure!(
                !is_control || matches!(letter, b'a'..=b'z' | b'@'..=b'_'),
                "{key:?} is no key: after ctrl- comes a letter or one of @[\\]^_"
            );
            keys.push(if is_control {
                control(*letter)
            } else {
                *letter
            });
        }
        Ok(DetachKeys(keys))
    }
}

/// Looks for the keys in what is typed.
pub(crate) struct Watch {
    keys: Vec<u8>,
    /// How many of them have been pressed, one after the other.
    pressed: usize,
}

impl Watch {
    pub(crate) fn new(DetachKeys(keys): DetachKeys) -> Watch {
        Watch { keys, pressed: 0 }
    }

    /// Adds to `typed` what of `keys` is for the container: a beginning of the
    /// sequence is kept back until it is clear that it is none. Returns whether
    /// all of it was pressed.
    pub(crate) fn hear(&mut self, keys: &[u8], typed: &mut Vec<u8>) -> bool {
        for key in keys {
            if self.keys.get(self.pressed) == Some(key) {
                self.pressed += 1;
                if self.pressed == self.keys.len() {
                    return true;
                }
                continue;
            }
            typed.extend_from_slice(&self.keys[..self.pressed]);
            // It may be the first of another try.
            self.pressed = usize::from(self.keys.first() == Some(key));
            if self.pressed == 0 {
                typed.push(*key);
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is for the container, and whether it is let go.
    fn heard(keys: &str, pieces: &[&str]) -> (String, bool) {
        let mut watch = Watch::new(keys.parse().expect("keys"));
        let mut typed = Vec::new();
        let mut done = false;
        for piece in pieces {
            done |= watch.hear(piece.as_bytes(), &mut typed);
        }
        (String::from_utf8(typed).expect("text"), done)
    }

    #[test]
    fn keys_have_dockers_names() {
        let keys: DetachKeys = "ctrl-p,ctrl-q".parse().expect("keys");
        assert_eq!(keys, DetachKeys::default());
        assert_eq!(keys, DetachKeys(vec![16, 17]));
        let other = "a,ctrl-\\".parse().expect("keys");
        assert_eq!(DetachKeys(vec![b'a', 28]), other);
        for bad in ["ctrl-", "ab", "ctrl-1", ",", "ctrl-é"] {
            bad.parse::<DetachKeys>().expect_err(bad);
        }
    }

    #[test]
    fn only_the_whole_sequence_lets_go() {
        let both = "ctrl-p,ctrl-q";
        assert_eq!(heard(both, &["ls\x10\x11"]), ("ls".into(), true));
        assert_eq!(heard(both, &["\x10", "\x11"]), (String::new(), true));
        assert_eq!(heard(both, &["\x10x\x11"]), ("\x10x\x11".into(), false));
        // Twice Ctrl-P: the second one may be the beginning.
        assert_eq!(heard(both, &["\x10\x10\x11"]), ("\x10".into(), true));
        assert_eq!(heard("", &["\x10\x11"]), ("\x10\x11".into(), false));
    }
}
