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
        let passwd = fs::read("/etc/passwd").ok()?;
        User::find_in(&String::from_utf8_lossy(&passwd), uid)
    }

    /// The same in what was read from the file already.
    pub fn find_in(passwd: &str, uid: u32) -> Option<User> {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, id, group, _, home, ..] = fields[..] else {
                return None;
            };
            (id.parse() == Ok(uid)).then_some(User {
                name: name.into(),
                uid,
                gid: group.parse().ok()?,
                home: home.into(),
            })
        })
    }
}
