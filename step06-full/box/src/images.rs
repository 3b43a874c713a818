//! The commands that have to do with images only.

use std::process::ExitCode;

use common::errors;
use serde_json::{Value, json};
use step06_image::{Record, Reference};

use crate::{
    format::{Format, ids},
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
pub(crate) struct List {
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Cut nothing short
    #[arg(long)]
    no_trunc: bool,
    /// Print each image in this form: json, table, or a template as
    /// "{{.Repository}}:{{.Tag}}"
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

const COLUMNS: [(&str, &str); 3] =
    [("Image", "IMAGE"), ("ID", "ID"), ("Layers", "LAYERS")];

pub(crate) fn list(args: &List) -> anyhow::Result<ExitCode> {
    let images = store::open()?.images()?;
    let rows: Vec<Value> =
        images.iter().map(|it| about(it, args.no_trunc)).collect();
    if args.quiet {
        return print(&ids(&rows));
    }
    print(&args.format.text(&COLUMNS, &rows)?)
}

/// Under Docker's names, and what it has none for.
fn about(image: &Record, whole: bool) -> Value {
    let name = match image.reference.split_once('@') {
        Some((name, _)) => name,
        None => &image.reference,
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name, "<none>"),
    };
    let id = match whole {
        true => image.config.to_string(),
        false => image.config.short().to_owned(),
    };
    json!({
        "Image": image.reference,
        "Repository": name,
        "Tag": tag,
        "ID": id,
        "Digest": image.manifest.to_string(),
        "Layers": image.layers.len().to_string(),
    })
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
    /// Images, or the beginnings of their ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// What fails for one is said, and done for the others.
pub(crate) fn remove(args: &Remove) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for image in &args.images {
        if let Err(error) = remove_one(image) {
            errors::failure(&error);
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn remove_one(image: &str) -> anyhow::Result<()> {
    let images = store::open()?;
    // As Docker: what is called so comes before what has such an id.
    let name: anyhow::Result<Reference> = image.parse();
    let image = match name {
        Ok(name) if images.find(&name)?.is_some() => name,
        name => match images.by_id(image)? {
            Some(image) => image,
            None => name?,
        },
    };
    images.remove(&image)
}

/// Remove layers that belong to no image
#[derive(clap::Args)]
pub(crate) struct Prune {}

pub(crate) fn prune(_: &Prune) -> anyhow::Result<ExitCode> {
    let removed = store::open()?.prune()?;
    print(&format!("layers removed: {removed}\n"))
}
