//! Which store of images this program works on.

use std::{path::PathBuf, sync::OnceLock};

use step06_image::Store;
use step06_life::Place;

use crate::output;

/// For all commands.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keep images in this directory [default: /var/lib/container-in-six-steps
    /// for root, else container-in-six-steps in ~/.local/share]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

pub(crate) fn choose(options: &Options) -> anyhow::Result<()> {
    if let Some(dir) = &options.store {
        CHOSEN.get_or_init(|| dir.clone());
    }
    Ok(())
}

pub(crate) fn open() -> anyhow::Result<Store> {
    let opened = CHOSEN
        .get()
        .map_or_else(Store::of_caller, |dir| Store::open(dir));
    let mut store = opened?;
    store.on_wait = |text| output::say(&format!("{text}\n"));
    Ok(store)
}

/// Where what is known of containers lies.
pub(crate) fn place() -> anyhow::Result<Place> {
    let store = open()?;
    let store = store.directory();
    match CHOSEN.get() {
        // All of it in one directory, so that two of them know nothing of each
        // other.
        Some(_) => Place::open(store, &store.join("run")),
        None => Place::of_caller(store),
    }
}
