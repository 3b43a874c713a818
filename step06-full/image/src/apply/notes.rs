//! What of a layer does not become a part of the image, or not as it says.

use std::{mem, path::Path};

use crate::in_container::Speaker;

/// How many files that are left out are named.
const LEFT_OUT_MAX: usize = 20;

/// What was told of already: a layer may have a million of the same.
#[derive(Default)]
pub(super) struct Notes {
    of_owners: bool,
    of_capabilities: bool,
    /// How many files that are none.
    left_out: usize,
}

impl Notes {
    /// Says what is left out: of many, only the first.
    pub(super) fn left_out(&mut self, path: &Path, speaker: &mut Speaker) {
        self.left_out += 1;
        match self.left_out {
            ..=LEFT_OUT_MAX => {
                speaker.note(&format!("left out: {path:?}, which is no file"));
            }
            it if it == LEFT_OUT_MAX + 1 => speaker.note("left out: others"),
            _ => {}
        }
    }

    /// Says, once, that no file gets capabilities: they would be real outside.
    pub(super) fn capabilities(&mut self, path: &Path, speaker: &mut Speaker) {
        if !mem::replace(&mut self.of_capabilities, true) {
            speaker.note(&format!(
                "left out: the capabilities of {path:?}, which no_new_privs \
                 would ignore (and of others, if there are)"
            ));
        }
    }

    /// Says, once, that a plain user without other ids can't give files away.
    pub(super) fn owners(&mut self, speaker: &mut Speaker) {
        if !mem::replace(&mut self.of_owners, true) {
            speaker.note(
                "all files are root's in the container: only one id is yours \
                 (see subuid(5))",
            );
        }
    }
}
