//! What step 1 isolates.

use nix::unistd::{Uid, sethostname};

use super::{Attempt, Row, refused};
use crate::probe::host::hostname;

pub(super) const ROWS: &[Row] = &[Row {
    name: "host name",
    control: |_| match Uid::effective().is_root() {
        true => Ok(()),
        false => Err("only root can rename the host".into()),
    },
    attempt: Attempt::Here(|host| {
        sethostname(format!("{}-probe", host.pid)).map_err(refused)?;
        Ok(String::new())
    }),
    reached: |host, _| {
        let renamed = hostname().is_ok_and(|name| name != host.hostname);
        if renamed {
            // A failure here would be one of our own attempt, which worked.
            let _ = sethostname(&host.hostname);
        }
        renamed
    },
}];
