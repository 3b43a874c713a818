//! Begins anew.

use std::fs;

use anyhow::Context;

use crate::{build::checkout, description::Lab, files::mirror};

/// Puts a student's step back to the beginning, and keeps what was there.
pub(crate) fn reset() -> anyhow::Result<()> {
    let lab = Lab::of_student()?;
    let top = checkout();
    let place = (1..)
        .map(|count| top.join(format!(".lab/before/{count}")))
        .find(|place| !place.exists())
        .context("no number is free")?;
    mirror(&top.join(&lab.step).join("src"), &place)?;
    for file in lab.sources(&top.join(".lab/starter"))?.keys() {
        fs::copy(top.join(".lab/starter").join(file), top.join(file))?;
    }
    println!("What you had is in {}.", place.display());
    Ok(())
}
