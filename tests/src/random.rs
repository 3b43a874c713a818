//! Chance that can be repeated.

use std::{env, time::SystemTime};

use ground::Random;

use crate::note;

/// The seed of a test's random numbers: another one each time, or that of
/// `SUITE_SEED`, which repeats the numbers, though not what the machine did at
/// the same time. A failure shows it.
pub fn seed() -> u64 {
    let seed = match env::var("SUITE_SEED") {
        Ok(seed) => seed.parse().expect("SUITE_SEED is a number"),
        Err(_) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(1, |now| now.as_secs() ^ u64::from(now.subsec_nanos()))
        }
    };
    note(format!("to repeat it: SUITE_SEED={seed}"));
    seed
}

/// Random numbers from that [seed].
pub fn random() -> Random {
    Random::new(seed())
}
