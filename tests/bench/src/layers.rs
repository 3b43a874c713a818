//! How the time grows with the layers of an overlay.

use std::ffi::OsString;

use crate::{
    measure::{self, Pace, Samples},
    place::make_directory,
    report::Layers,
    statistics::Summary,
    subjects::{Kind, Maker, Subject},
};

/// How many lower layers, the root file system included. 500 is the kernel's
/// limit.
const COUNTS: [usize; 7] = [1, 8, 32, 64, 120, 250, 500];

/// The steps with an overlay.
const STEPS: [usize; 2] = [5, 6];

/// Whether `subject` is one of the steps with an overlay.
pub(crate) fn concerns(subject: &Subject) -> bool {
    matches!(subject.kind, Kind::Step(step) if STEPS.contains(&step))
}

/// Measures both steps, and their straight programs, back to back.
pub(crate) fn measure(
    maker: &Maker,
    runs: usize,
) -> anyhow::Result<Vec<Layers>> {
    let mut layers = Vec::new();
    for number in 1..COUNTS[COUNTS.len() - 1] {
        let layer = maker.place.path().join("layers").join(number.to_string());
        make_directory(&layer)?;
        layers.push(OsString::from(layer));
    }
    let mut results = Vec::new();
    for count in COUNTS {
        let lower = &layers[..count - 1];
        let mut subjects = Vec::new();
        for step in STEPS {
            let add = |kind, name: &str, command| {
                Subject::new(format!("{name} {step}"), kind, "", command)
            };
            let straight = maker.straight(step, lower);
            subjects.push(add(Kind::Straight(step), "straight", straight));
            let itself = maker.step(step, "true", lower);
            subjects.push(add(Kind::Step(step), "step", itself));
        }
        let mut samples = vec![Samples::default(); subjects.len()];
        measure::by_turns(&subjects, &mut samples, Pace::Burst, runs, |_| {})?;
        let burst = subjects.into_iter().zip(&samples);
        results.push(Layers {
            layers: count,
            burst: burst
                .map(|(it, samples)| (it.name, Summary::of(&samples.burst)))
                .collect(),
        });
    }
    Ok(results)
}
