//! The small files of an image: index, manifest, configuration.
//!
//! There are two families of them, Docker's and that of the OCI, which mean the
//! same by other media types. What we don't need is not looked at.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Digest;

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

/// A kind of machine, in the words of Go.
#[derive(Clone, Debug, Deserialize)]
pub struct Platform {
    /// Of the processor: `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
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

/// Chooses from an index what is for this machine. What is for no machine at
/// all, such as an attestation of how the image was built, is not an image.
///
/// # Errors
/// There is none.
pub fn for_this_machine(all: &[Descriptor]) -> anyhow::Result<&Descriptor> {
    let ours = architecture();
    let found = all.iter().find(|it| match &it.platform {
        Some(it) => it.os == "linux" && it.architecture == ours,
        None => all.len() == 1,
    });
    found.with_context(|| {
        let others = all.iter().filter_map(|it| it.platform.as_ref());
        let others = others.filter(|it| it.os != "unknown");
        let others: Vec<String> = others
            .map(|it| format!("{}/{}", it.os, it.architecture))
            .collect();
        let others = others.join(", ");
        format!("it is not made for linux/{ours}, only for: {others}")
    })
}

/// This machine's, as Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
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

    fn descriptor(platform: &str) -> String {
        let digest = Digest::of(platform);
        let platform = match platform.split_once('/') {
            Some((os, architecture)) => format!(
                r#","platform":{{"os":"{os}","architecture":"{architecture}"}}"#
            ),
            None => String::new(),
        };
        format!(r#"{{"digest":"{digest}","size":1{platform}}}"#)
    }

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        let all: Vec<_> = platforms.iter().map(|it| descriptor(it)).collect();
        let text = format!(r#"{{"manifests":[{}]}}"#, all.join(","));
        match Top::parse(text.as_bytes()).expect("an index") {
            Top::Index(all) => all,
            Top::Manifest(_) => panic!("it is an index"),
        }
    }

    #[test]
    fn this_machines_image_is_chosen() {
        let ours = format!("linux/{}", architecture());
        let all = index(&["unknown/unknown", "linux/s390x", &ours]);
        let found = for_this_machine(&all).expect("there is one");
        assert_eq!(found.digest, Digest::of(&ours));
        let all = index(&["unknown/unknown", "linux/s390x", "windows/amd64"]);
        let error = for_this_machine(&all).expect_err("there is none");
        assert!(error.to_string().ends_with("linux/s390x, windows/amd64"));
        for_this_machine(&index(&["no platform"])).expect("it may be ours");
        for_this_machine(&index(&["a", "b"])).expect_err("which of them?");
    }

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
