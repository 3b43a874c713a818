//! What every step isolates: whoever has not got the terminal has a session of
//! its own. No namespace does that.

use std::fs::File;

use anyhow::ensure;
use nix::{
    sys::signal::kill,
    unistd::{Pid, getpid},
};

use super::{Attempt, Row, if_it_worked, in_a_child, refused};
use crate::{
    probe::host::{HARMLESS, is_pending, lead_a_session},
    sys,
};

/// To kill(2): all processes of one's own group.
const OWN_GROUP: Pid = Pid::from_raw(0);

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "process groups",
        control: |_| {
            in_a_child(|| {
                lead_a_session()?;
                sys::signals::kill(OWN_GROUP, HARMLESS as i32)?;
                ensure!(is_pending(HARMLESS, getpid()), "it did not come");
                Ok(())
            })
            .map_err(|_| "you can't signal your own group".into())
        },
        attempt: Attempt::Here(|_| {
            kill(OWN_GROUP, HARMLESS).map_err(refused)?;
            Ok(String::new())
        }),
        reached: |host, _| is_pending(HARMLESS, host.leader.get()),
    },
    Row {
        name: "terminal",
        control: |_| {
            in_a_child(|| {
                lead_a_session()?;
                open_terminal()
            })
            .map_err(|_| "the host lets you make none".into())
        },
        attempt: Attempt::Here(|_| {
            open_terminal().map_err(refused)?;
            Ok(String::new())
        }),
        reached: if_it_worked,
    },
];

/// The controlling terminal of this session, if it has one.
fn open_terminal() -> anyhow::Result<()> {
    let mut how = File::options();
    how.read(true).write(true).open("/dev/tty")?;
    Ok(())
}
