//! `ps --size`.

use std::path::PathBuf;

use common::rootfs;
use step06_image::{Reference, sizes};
use step06_life::Container;

use crate::store;

/// What it has written, and with what it began, as Docker says it; only
/// where that is kept is it known.
pub(super) fn text(container: &Container) -> anyhow::Result<String> {
    let upper = container.upper();
    if !upper.exists() {
        return Ok("--".into());
    }
    // Nobody removes it meanwhile.
    let (_image, below) = match container.config.image.as_str() {
        "-" => (None, vec![rootfs::find(&None)?]),
        name => {
            let name: Reference = name.parse()?;
            let image = store::open()?.find(&name)?;
            let layers = image.as_ref().map(|it| it.layers.clone());
            (image, layers.unwrap_or_default())
        }
    };
    let all: Vec<PathBuf> = [vec![upper], below].concat();
    let sizes = sizes(&all)?;
    let whole = together(&sizes);
    let written = sizes.first().copied().flatten();
    Ok(match (written, whole) {
        _ if all.len() == 1 => shown(written),
        (written, whole) => {
            format!("{} (virtual {})", shown(written), shown(whole))
        }
    })
}

/// All of them, if each is known. A file may be called larger than any disk is,
/// since its holes count: two of those are more than a number holds.
fn together(sizes: &[Option<u64>]) -> Option<u64> {
    let mut known = sizes.iter().copied();
    known.try_fold(0_u64, |sum, it| Some(sum.saturating_add(it?)))
}

/// Three digits, as Docker has them: a kilobyte is 1000 bytes.
fn shown(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else {
        return "--".into();
    };
    let mut number = bytes as f64;
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    let digits = match number {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let text = match digits {
        0 => &text,
        _ => text.trim_end_matches('0').trim_end_matches('.'),
    };
    format!("{text}{}", UNITS[unit])
}

const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (7, "7B"),
            (999, "999B"),
            (1000, "1kB"),
            (1094, "1.09kB"),
            (99_960, "100kB"),
            (999_600, "1MB"),
            (4_270_000, "4.27MB"),
            (123_456_789_012, "123GB"),
        ] {
            assert_eq!(shown(Some(bytes)), text);
        }
        assert_eq!(shown(None), "--");
    }

    #[test]
    fn sizes_together_stay_a_number() {
        assert_eq!(together(&[Some(1), Some(2)]), Some(3));
        assert_eq!(together(&[Some(1), None]), None);
        let huge = Some(u64::MAX / 2 + 1);
        assert_eq!(together(&[huge, huge, None]), None);
        assert_eq!(shown(together(&[huge, huge])), "18447PB");
    }
}
