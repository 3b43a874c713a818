//! The options of a mount: words, each of which is a flag, a kind of
//! propagation, or data for the file system.

use anyhow::Context;
use common::sys;
use nix::mount::MsFlags;
use std::os::fd::OwnedFd;
use step06_full::mount_api;

use super::words::{FLAGS, PROPAGATION, SUPERBLOCK, TIMES};

/// What the words say.
#[derive(Debug)]
pub(crate) struct Options {
    pub(super) bind: bool,
    /// With what is mounted below.
    pub(super) recursive: bool,
    /// A tmpfs begins with a copy of what it covers.
    pub(super) copy_up: bool,
    /// The ids of what is bound are mapped: 0, or `AT_RECURSIVE`.
    pub(super) map_ids: Option<libc::c_int>,
    /// For a new file system.
    pub(super) flags: MsFlags,
    /// For one that is bound: attributes that are set and cleared, of it.
    set: u64,
    clear: u64,
    /// The same, of all that is below it as well.
    set_all: u64,
    clear_all: u64,
    /// `MS_PRIVATE` and so on, each with 0 or `AT_RECURSIVE`.
    pub(super) propagation: Vec<(u64, libc::c_int)>,
    /// What no flag is called.
    pub(super) data: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            bind: false,
            recursive: false,
            copy_up: false,
            map_ids: None,
            flags: MsFlags::empty(),
            set: 0,
            clear: 0,
            set_all: 0,
            clear_all: 0,
            propagation: Vec::new(),
            data: Vec::new(),
        }
    }
}

/// The words that are understood, for `features`.
pub(crate) fn names() -> Vec<String> {
    let flags = FLAGS.iter().map(|(name, ..)| *name);
    let times = TIMES.iter().map(|(name, ..)| *name);
    let attributes: Vec<&str> = flags.chain(times).collect();
    let propagation = PROPAGATION.iter().map(|(name, _)| *name);
    let recursive = attributes.iter().copied().chain(propagation.clone());
    let mut names: Vec<String> =
        recursive.map(|name| format!("r{name}")).collect();
    let others = ["bind", "rbind", "defaults", "tmpcopyup", "idmap", "ridmap"];
    let superblock = SUPERBLOCK.iter().map(|(name, ..)| *name);
    let once = attributes.into_iter().chain(propagation);
    let once = once.chain(others).chain(superblock);
    names.extend(once.map(str::to_owned));
    names.sort();
    names
}

/// What a word says about propagation: `rshared` with all that is below.
pub(super) fn propagation(word: &str) -> Option<(u64, libc::c_int)> {
    let find = |word: &str| {
        let mut words = PROPAGATION.iter();
        words.find(|(name, _)| *name == word).map(|(_, flag)| *flag)
    };
    match find(word) {
        Some(flag) => Some((flag, 0)),
        None => Some((find(word.strip_prefix('r')?)?, libc::AT_RECURSIVE)),
    }
}

impl Options {
    pub(super) fn parse(words: &[String]) -> Options {
        let mut options = Options::default();
        for word in words {
            if !options.take(word) {
                options.data.push(word.clone());
            }
        }
        options
    }

    /// Takes one word; false if it means nothing here.
    fn take(&mut self, word: &str) -> bool {
        match word {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.map_ids = Some(0),
            "ridmap" => self.map_ids = Some(libc::AT_RECURSIVE),
            "defaults" | "" => {}
            _ => {
                if let Some(propagation) = propagation(word) {
                    self.propagation.push(propagation);
                    return true;
                }
                let recursive = word.strip_prefix('r');
                return self.take_attribute(word)
                    || self.take_superblock(word)
                    || recursive.is_some_and(|it| self.take_for_all(it));
            }
        }
        true
    }

    fn take_attribute(&mut self, word: &str) -> bool {
        if let Some((_, attribute, flag, sets)) = find(FLAGS, word) {
            self.flags.set(*flag, *sets);
            // That a volume is to be writable does not make a mount so that the
            // host has made read-only.
            if *sets || word != "rw" {
                change(&mut self.set, &mut self.clear, *attribute, *sets);
            } else {
                self.set &= !attribute;
            }
            return true;
        }
        let Some((_, attribute, flag)) =
            TIMES.iter().find(|(name, ..)| *name == word)
        else {
            return false;
        };
        self.flags &= !all_times();
        self.flags |= *flag;
        self.set = self.set & !libc::MOUNT_ATTR__ATIME | attribute;
        self.clear |= libc::MOUNT_ATTR__ATIME;
        true
    }

    fn take_superblock(&mut self, word: &str) -> bool {
        let mut words = SUPERBLOCK.iter();
        let found = words.find(|(name, ..)| *name == word);
        if let Some((_, flag, sets)) = found {
            self.flags.set(*flag, *sets);
        }
        found.is_some()
    }

    fn take_for_all(&mut self, word: &str) -> bool {
        if let Some((_, attribute, _, sets)) = find(FLAGS, word) {
            let (set, clear) = (&mut self.set_all, &mut self.clear_all);
            change(set, clear, *attribute, *sets);
            return true;
        }
        let Some((_, attribute, _)) =
            TIMES.iter().find(|(name, ..)| *name == word)
        else {
            return false;
        };
        self.set_all = self.set_all & !libc::MOUNT_ATTR__ATIME | attribute;
        self.clear_all |= libc::MOUNT_ATTR__ATIME;
        true
    }

    /// It says something that only holds for what lies below.
    pub(super) fn is_recursive_only(&self) -> bool {
        self.set_all | self.clear_all != 0
    }

    /// Gives a mount that is attached nowhere its attributes.
    pub(super) fn change(&self, mount: &OwnedFd) -> anyhow::Result<()> {
        let change = |set, clear, flags| match set | clear {
            0 => Ok(()),
            _ => {
                let attr = libc::mount_attr {
                    attr_set: set,
                    attr_clr: clear,
                    ..sys::NO_ATTR
                };
                mount_api::set(mount, flags, &attr)
            }
        };
        change(self.set_all, self.clear_all, libc::AT_RECURSIVE)
            .and_then(|()| change(self.set, self.clear, 0))
            .context("setting its attributes")
    }
}

fn find<'a>(
    table: &'a [(&str, u64, MsFlags, bool)],
    word: &str,
) -> Option<&'a (&'a str, u64, MsFlags, bool)> {
    table.iter().find(|(name, ..)| *name == word)
}

/// The last word counts.
fn change(set: &mut u64, clear: &mut u64, attribute: u64, sets: bool) {
    let (here, there) = if sets { (set, clear) } else { (clear, set) };
    *here |= attribute;
    *there &= !attribute;
}

fn all_times() -> MsFlags {
    MsFlags::MS_NOATIME | MsFlags::MS_RELATIME | MsFlags::MS_STRICTATIME
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        let words: Vec<String> =
            words.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn words_are_flags_or_data() {
        let options = parse("nosuid noexec mode=755 size=64k relatime");
        let expected =
            MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
        assert_eq!(options.flags, expected);
        assert_eq!(options.data, ["mode=755", "size=64k"]);
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(parse("ro rw").flags, MsFlags::empty());
        assert_eq!(parse("ro rw").set, 0);
        assert_eq!(parse("dev nodev").set, libc::MOUNT_ATTR_NODEV);
        assert_eq!(parse("dev nodev").clear, 0);
    }

    #[test]
    fn an_r_in_front_is_for_all_below() {
        let options = parse("rbind rro rslave");
        assert!(options.bind && options.recursive);
        assert_eq!(options.set_all, libc::MOUNT_ATTR_RDONLY);
        let slave = (libc::MS_SLAVE, libc::AT_RECURSIVE);
        assert_eq!(options.propagation, [slave]);
        assert!(options.data.is_empty());
        assert_eq!(parse("rnothing").data, ["rnothing"]);
    }
}
