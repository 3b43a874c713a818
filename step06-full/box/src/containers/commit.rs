//! `commit`.

use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use common::rootfs;
use step06_image::{Reference, manifest};
use step06_life::{Container, Status};

use super::{or_one, print};
use crate::{output, store};

/// Make an image of what a container has changed
#[derive(clap::Args)]
pub(crate) struct Commit {
    /// Container: a name, or the beginning of an id
    #[arg(value_name = "CONTAINER")]
    name: String,
    #[allow(rustdoc::broken_intra_doc_links, reason = "it is the help")]
    /// What the image is to be called: [HOST/]NAME[:TAG]
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) fn commit(args: &Commit) -> anyhow::Result<ExitCode> {
    or_one(|| commit_one(args))
}

fn commit_one(args: &Commit) -> anyhow::Result<ExitCode> {
    ensure!(!args.image.is_local(), "{} is a path", args.image);
    let container = Container::find(&store::place()?, &args.name)?;
    // What changes while it is read would be half of it.
    let was_running = matches!(container.status()?, Status::Running(_));
    let paused = was_running && container.pause().is_ok();
    let made = make(&container, &args.image);
    if paused {
        container.unpause()?;
    }
    print(&format!("{}\n", made?))
}

fn make(container: &Container, name: &Reference) -> anyhow::Result<String> {
    let images = store::open()?;
    let upper = container.upper();
    if !upper.exists() {
        bail!("what {} writes is not kept", container.config.name);
    }
    let base: Option<Reference> = match container.config.image.as_str() {
        "-" => None,
        image => Some(image.parse()?),
    };
    // The machine's own tools are no image: they become its first layer.
    let mut added = match &base {
        Some(_) => Vec::new(),
        None => vec![rootfs::find(&None)?],
    };
    added.push(upper);
    let says = match &base {
        Some(base) => {
            let image = images.find(base)?;
            image
                .with_context(|| format!("there is no image {base}"))?
                .container
        }
        None => manifest::Container::default(),
    };
    let says = manifest::Container {
        entrypoint: Vec::new(),
        cmd: container.config.command.clone(),
        ..says
    };
    let mut record = None;
    output::while_pulling(|listener| {
        let base = base.as_ref();
        record = Some(images.commit(name, base, &added, says, listener)?);
        images.find(name)?.context("it was made")
    })?;
    let record = record.context("it was made")?;
    Ok(record.config.to_string())
}
