//! The small files of an image: index, manifest, configuration.
//!
//! There are two families of them, Docker's and that of the OCI, which mean the
//! same by other media types. What we don't need is not looked at.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Digest, platform::Platform};

/// How large one of these files may be: that of an honest image has a few KiB.
pub const SIZE_MAX: u64 = 4 << 20;

/// How many layers an image may have: as many as step 5 can stack.
const LAYERS_MAX: usize = 499;

/// Points to bytes that are elsewhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What kind of thing it is.
    #[serde(default)]
    pub media_type: String,
    /// What it is called, and how to check it.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// For which machine it is, in an index.
    pub platform: Option<Platform>,
    /// What else is known.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// The list of what an image consists of.
#[derive(Debug)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, from below.
    pub layers: Vec<Descriptor>,
}

/// What a reference can lead to.
#[derive(Debug)]
pub enum Top {
    /// One image.
    Manifest(Manifest),
    /// The same image for several kinds of machines.
    Index(Vec<Descriptor>),
}

impl Top {
    /// Reads a manifest or an index.
    ///
    /// # Errors
    /// It is neither, or has too many layers.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Top> {
        #[derive(Deserialize)]
        struct Any {
            #[serde(rename = "schemaVersion")]
            version: Option<u32>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
            manifests: Option<Vec<Descriptor>>,
        }
        let any: Any = parse(bytes, "a manifest or an index")?;
        match any {
            Any {
                config: Some(config),
                layers: Some(layers),
                manifests: None,
                ..
            } => {
                ensure!(
                    layers.len() <= LAYERS_MAX,
                    "it has {} layers: overlay takes {LAYERS_MAX}",
                    layers.len()
                );
                Ok(Top::Manifest(Manifest { config, layers }))
            }
            Any {
                manifests: Some(manifests),
                config: None,
                layers: None,
                ..
            } => Ok(Top::Index(manifests)),
            Any {
                version: Some(1), ..
            } => bail!("it is of version 1, from before 2016: push it anew"),
            _ => bail!("it is neither a manifest nor an index of images"),
        }
    }
}

/// The configuration of an image: what to run, and which layers are its files.
#[derive(Debug, Default, Deserialize)]
pub struct Config {
    /// For containers; an image may have nothing to say.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Container,
    /// The files.
    #[serde(default)]
    pub rootfs: RootFs,
    /// For which processor its programs are.
    #[serde(default)]
    pub architecture: String,
}

/// What a container of the image is to be like.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Container {
    /// What every command begins with.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// The command, where none is given.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// `KEY=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Where the command begins.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// `USER[:GROUP]`, names or numbers.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
}

/// The layers without the compression.
#[derive(Debug, Default, Deserialize)]
pub struct RootFs {
    /// Digests of the archives as they are unpacked, from below.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> anyhow::Result<Config> {
        parse(bytes, "the configuration of an image")
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> anyhow::Result<T> {
    serde_json::from_slice(bytes)
        .with_context(|| format!("it can't be read as {what}"))
}

/// Docker writes `null` for nothing.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        for text in ["", "{}", "[]", r#"{"schemaVersion":2}"#] {
            Top::parse(text.as_bytes()).expect_err(text);
        }
        let error = Top::parse(br#"{"schemaVersion":1,"fsLayers":[]}"#);
        let error = error.expect_err("it is old").to_string();
        assert!(error.contains("version 1"), "{error}");
    }

    #[test]
    fn nothing_is_written_in_several_ways() {
        for text in ["{}", r#"{"config":null}"#, r#"{"config":{"Env":null}}"#] {
            let config = Config::parse(text.as_bytes()).expect(text);
            assert!(config.config.env.is_empty());
        }
    }
}
