//! What a row of samples comes to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The durations of the runs that succeeded, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// How many there are.
    pub(crate) runs: usize,
    /// Half of them took longer.
    pub(crate) median: f64,
    /// One in twenty took longer.
    pub(crate) p95: f64,
}

impl Summary {
    /// `None` without a sample.
    pub(crate) fn of(samples: &[Duration]) -> Option<Summary> {
        let mut micros: Vec<f64> =
            samples.iter().map(|it| it.as_secs_f64() * 1e6).collect();
        micros.sort_by(f64::total_cmp);
        Some(Summary {
            runs: micros.len(),
            median: quantile(&micros, 0.5)?,
            p95: quantile(&micros, 0.95)?,
        })
    }
}

/// The value below which the part `q` of the `sorted` ones lies, interpolated
/// between neighbours. `None` if there are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they are whole numbers from 0 to `last`"
)]
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    let rest = place - place.floor();
    Some(sorted[below] * (1.0 - rest) + sorted[above] * rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(millis: &[u64]) -> Option<Summary> {
        let samples: Vec<Duration> =
            millis.iter().copied().map(Duration::from_millis).collect();
        Summary::of(&samples)
    }

    #[test]
    fn nothing_has_no_median() {
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn one_sample_is_everything() {
        let one = summary(&[3]).expect("a sample");
        assert_eq!((one.runs, one.median, one.p95), (1, 3e3, 3e3));
    }

    #[test]
    fn the_order_does_not_matter() {
        assert_eq!(summary(&[1, 2, 9]), summary(&[9, 1, 2]));
        assert_eq!(summary(&[9, 1, 2]).map(|it| it.median), Some(2e3));
    }

    #[test]
    fn an_even_number_has_its_median_in_between() {
        assert_eq!(summary(&[1, 2, 4, 9]).map(|it| it.median), Some(3e3));
    }

    #[test]
    fn one_in_twenty_is_above_p95() {
        let millis: Vec<u64> = (0..=100).collect();
        assert_eq!(summary(&millis).map(|it| it.p95), Some(95e3));
    }
}
