//! This very program as that of a container: what no tool of the root does.
#![allow(unsafe_code)]

use std::{fs, thread, time::Duration};

use common::sys;
use nix::time::ClockId;
use serde_json::json;

use crate::bundle::Bundle;

/// What it can do there.
pub(crate) const OUTLIVE: &str = "outlive-the-first-thread";
pub(crate) const CLOCKS: &str = "print-the-clocks";

/// Does it, if this is the program in a container.
pub(crate) fn is_asked() -> bool {
    match std::env::args().nth(1).as_deref() {
        Some(OUTLIVE) => outlive_the_first_thread(),
        Some(CLOCKS) => {
            let [monotonic, boottime] = clocks();
            println!("{monotonic} {boottime}");
            true
        }
        _ => false,
    }
}

/// A bundle whose program it is.
pub(crate) fn bundle(word: &str) -> Bundle {
    let mut bundle = Bundle::new("");
    let program = std::env::current_exe().expect("it is there");
    fs::copy(program, bundle.root().join("itself")).expect("it is ours");
    bundle.config["process"]["args"] = json!(["/itself", word]);
    bundle
}

/// Ends this thread, and leaves another one.
fn outlive_the_first_thread() -> ! {
    thread::spawn(|| thread::sleep(Duration::from_secs(60)));
    // SAFETY: it ends this thread alone, and nothing of it is used by others.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("it has ended")
}

/// The two clocks that have offsets, in seconds.
pub(crate) fn clocks() -> [i64; 2] {
    [ClockId::CLOCK_MONOTONIC, ClockId::CLOCK_BOOTTIME]
        .map(|clock| sys::clock_gettime(clock).expect("it is there").tv_sec())
}
