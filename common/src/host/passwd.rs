//! The users of this machine.
//!
//! From the file itself: a static program has no name service.

use std::fs;

/// A line of `/etc/passwd`, as far as it matters here. See passwd(5).
pub struct User {
    /// What the user is called.
    pub name: String,
    /// The number that the kernel knows.
    pub uid: u32,
    /// That of the user's first group.
    pub gid: u32,
    /// The user's own directory.
    pub home: String,
}

impl User {
    /// The user with that number, if there is one.
    pub fn find(uid: u32) -> Option<User> {
        User::find_in(&fs::read("/etc/passwd").ok()?, uid)
    }

    /// The same in what was read from the file already.
    pub fn find_in(passwd: &[u8], uid: u32) -> Option<User> {
        User::all(passwd).find(|user| user.uid == uid)
    }

    /// All users in such a text; what is no line of one is left out.
    pub fn all(passwd: &[u8]) -> impl Iterator<Item = User> {
        let lines = passwd.split(|byte| *byte == b'\n');
        lines.filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields[..] else {
                return None;
            };
            Some(User {
                name: name.into(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: home.into(),
            })
        })
    }
}
