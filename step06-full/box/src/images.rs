//! The commands that have to do with images only.

use std::process::ExitCode;

use common::errors::escaped;
use step06_image::Reference;

use crate::{
    output::{self, print},
    store,
};

/// Fetch an image
#[derive(clap::Args)]
pub(crate) struct Pull {
    #[allow(rustdoc::broken_intra_doc_links, reason = "it is the help")]
    /// Image: [HOST/]NAME[:TAG], dir:PATH, oci:PATH[:TAG] or
    /// docker-archive:PATH
    #[arg(value_name = "IMAGE")]
    image: Reference,
    /// Talk to registries without encryption
    #[arg(long)]
    insecure: bool,
}

pub(crate) fn pull(args: &Pull) -> anyhow::Result<ExitCode> {
    let images = store::open()?;
    output::while_pulling(|listener| {
        images.pull(&args.image, args.insecure, listener)
    })?;
    print(&format!("{}\n", args.image))
}

/// List the images that are here
#[derive(clap::Args)]
pub(crate) struct List {}

pub(crate) fn list(_: &List) -> anyhow::Result<ExitCode> {
    let images = store::open()?.images()?;
    let width = images.iter().map(|it| it.reference.len()).max();
    let width = width.unwrap_or(0).max("IMAGE".len());
    let mut text = format!("{:width$}  ID            LAYERS\n", "IMAGE");
    for image in images {
        let (name, id) = (escaped(&image.reference), image.config.short());
        let layers = image.layers.len();
        text += &format!("{name:width$}  {id}  {layers:6}\n");
    }
    print(&text)
}

/// Show which layer of an image has brought which file
#[derive(clap::Args)]
pub(crate) struct Layers {
    /// Image
    #[arg(value_name = "IMAGE")]
    image: Reference,
}

pub(crate) fn layers(args: &Layers) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    store::open()?.changes(&args.image, &mut |line| {
        text += line;
        text.push('\n');
    })?;
    print(&text)
}

/// Remove an image, and the layers that no other one has
#[derive(clap::Args)]
pub(crate) struct Remove {
    /// Image, or the beginning of its id
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub(crate) fn remove(args: &Remove) -> anyhow::Result<ExitCode> {
    let images = store::open()?;
    // As Docker: what is called so comes before what has such an id.
    let name: anyhow::Result<Reference> = args.image.parse();
    let image = match name {
        Ok(name) if images.find(&name)?.is_some() => name,
        name => match images.by_id(&args.image)? {
            Some(image) => image,
            None => name?,
        },
    };
    images.remove(&image)?;
    Ok(ExitCode::SUCCESS)
}

/// Remove layers that belong to no image
#[derive(clap::Args)]
pub(crate) struct Prune {}

pub(crate) fn prune(_: &Prune) -> anyhow::Result<ExitCode> {
    let removed = store::open()?.prune()?;
    print(&format!("layers removed: {removed}\n"))
}
