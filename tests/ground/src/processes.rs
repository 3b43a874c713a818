//! What the kernel says of other processes. See proc(5).

use std::fs;

/// Some fields of `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
pub struct Stat {
    /// `S` sleeping, `Z` zombie, …
    pub state: char,
    /// Its parent.
    pub parent: i32,
    /// The process that began its session: see setsid(2).
    pub session: i32,
    /// When it started, in clock ticks after boot.
    pub start_time: u64,
}

impl Stat {
    /// That of the process `pid`; `None` if there is none.
    pub fn of(pid: i32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Stat::parse(&text)
    }

    fn parse(text: &str) -> Option<Stat> {
        // The second field is the name, which may have anything in it.
        let (_, text) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = text.split_whitespace().collect();
        // The manual counts from 1, and the first two are gone.
        let field = |number: usize| fields.get(number - 3);
        Some(Stat {
            state: field(3)?.parse().ok()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        })
    }
}

/// All processes that we can see.
pub fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        let text = "7 (a) Z 1 () S 5 6 8 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0";
        let expected = Stat {
            state: 'S',
            parent: 5,
            session: 8,
            start_time: 99,
        };
        assert_eq!(Stat::parse(text), Some(expected));
    }

    #[test]
    fn we_are_among_all_processes() {
        let ours = std::process::id().cast_signed();
        assert!(all().any(|pid| pid == ours));
        assert!(Stat::of(ours).is_some_and(|stat| stat.state != 'Z'));
    }
}
