//! What students don't get: their workspace has an empty list here.

use anyhow::ensure;

use super::{Check, step05};
use crate::bench::{Bench, random_name};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("refuses_line_breaks", refuses_line_breaks),
    ("takes_any_name_of_a_layer", takes_any_name_of_a_layer),
];

fn refuses_line_breaks(bench: &Bench) -> anyhow::Result<()> {
    for name in ["a\nb", "a\u{1b}b", "a\u{2028}b"] {
        bench.refuses(&["--hostname", name])?;
    }
    Ok(())
}

fn takes_any_name_of_a_layer(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let layer = bench.place()?.join(r"a:b,c\d");
    let content = random_name();
    step05::layer(&layer, "/file", &content)?;
    let lower = layer.to_string_lossy();
    let mut container = bench.start_in(&image, &["--lower", &lower])?;
    let found = container.must(&["read", "/file"])?;
    ensure!(
        found == content,
        "{found:?} was read from a file in {lower:?}"
    );
    Ok(())
}
