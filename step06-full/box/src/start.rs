//! What a container is started of: an image, or this machine's own tools.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Context;
use common::{ImageSays, Workload, rootfs};
use step05_overlay::Layers;
use step06_image::{Image, Reference};
use step06_life::Subject;

use crate::{output, store};

/// Which image, and what of it counts.
#[derive(clap::Args)]
pub(crate) struct StartOptions {
    #[allow(rustdoc::broken_intra_doc_links, reason = "it is the help")]
    /// Image: [HOST/]NAME[:TAG], dir:PATH, oci:PATH[:TAG], docker-archive:PATH,
    /// or - for one made of this machine's own tools [default: -]
    #[arg(
        value_name = "IMAGE",
        default_value = "-",
        hide_default_value = true
    )]
    image: Choice,
    /// Run as this user of the container, a name or a number
    #[arg(short, long, value_name = "NAME[:GROUP]")]
    user: Option<String>,
    /// Command that the image's command is given to; "" for none
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<OsString>,
    /// Keep what the container writes, in DIR/upper [default: keep nothing]
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,
    /// Talk to registries without encryption
    #[arg(long)]
    insecure: bool,
}

/// What was chosen.
#[derive(Clone)]
enum Choice {
    OwnTools,
    Image(Reference),
}

impl FromStr for Choice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Choice> {
        match text {
            "-" => Ok(Choice::OwnTools),
            _ => Ok(Choice::Image(text.parse()?)),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::OwnTools => f.write_str("-"),
            Choice::Image(reference) => reference.fmt(f),
        }
    }
}

/// The image, ready.
pub(crate) struct Start<'a> {
    options: &'a StartOptions,
    image: Option<Image>,
}

impl StartOptions {
    /// Finds the image; fetches it, if it is not here.
    pub(crate) fn image(&self) -> anyhow::Result<Start<'_>> {
        let image = match &self.image {
            Choice::OwnTools => None,
            Choice::Image(reference) => Some(find(reference, self.insecure)?),
        };
        let options = self;
        Ok(Start { options, image })
    }
}

/// What is on this machine's disk may be another image by now.
fn find(reference: &Reference, insecure: bool) -> anyhow::Result<Image> {
    let images = store::open()?;
    let known = match reference.is_local() {
        true => None,
        false => images.find(reference)?,
    };
    match known {
        Some(image) => Ok(image),
        None => output::while_pulling(|listener| {
            images.pull(reference, insecure, listener)
        }),
    }
}

impl Start<'_> {
    /// The lowest layer.
    pub(crate) fn root(&self) -> anyhow::Result<PathBuf> {
        match &self.image {
            None => rootfs::find(&None),
            Some(image) => {
                let lowest = image.layers.first();
                lowest.cloned().context("an image has a layer")
            }
        }
    }

    /// The layers above, from the top. What the container writes is kept where
    /// the caller has said, or else in `upper`, if at all.
    pub(crate) fn layers(&self, upper: Option<PathBuf>) -> Layers {
        let layers = self.image.iter().flat_map(|it| it.layers.iter().skip(1));
        let mut lower: Vec<PathBuf> = layers.cloned().collect();
        lower.reverse();
        let upper = self.options.upper.clone().or(upper);
        Layers { lower, upper }
    }

    /// What the record of the container says about it.
    pub(crate) fn subject(
        &self,
        hostname: &str,
        workload: &Workload,
    ) -> Subject {
        let text = |it: &OsString| it.to_string_lossy().into_owned();
        Subject {
            image: self.options.image.to_string(),
            command: workload.command().iter().map(text).collect(),
            hostname: hostname.to_owned(),
            workload: workload.clone(),
        }
    }

    /// What runs in it.
    pub(crate) fn workload(
        &self,
        given: &Workload,
    ) -> anyhow::Result<Workload> {
        let Some(image) = &self.image else {
            return Ok(given.clone().as_user(self.options.user.clone()));
        };
        let says = &image.container;
        let strings = |it: &[String]| it.iter().map(Into::into).collect();
        let entrypoint = match &self.options.entrypoint {
            None => strings(&says.entrypoint),
            Some(none) if none.is_empty() => Vec::new(),
            Some(command) => vec![command.clone()],
        };
        // Who exchanges the one can't want the other: as Docker.
        let command = match self.options.entrypoint {
            None => strings(&says.cmd),
            Some(_) => Vec::new(),
        };
        let settings = says.env.iter().filter_map(|it| it.split_once('='));
        let settings = settings.map(|(key, value)| (key.into(), value.into()));
        let workdir = Some(&says.working_dir).filter(|it| !it.is_empty());
        let user = Some(&says.user).filter(|it| !it.is_empty()).cloned();
        let workload = given.in_image(ImageSays {
            entrypoint,
            command,
            environment: settings.collect(),
            workdir: workdir.map(|it| Path::new("/").join(it)),
        })?;
        Ok(workload.as_user(self.options.user.clone().or(user)))
    }
}
