//! What somebody types to name an image.

use std::{
    fmt,
    path::{Path, PathBuf, absolute},
    str::FromStr,
};

use anyhow::{Context, anyhow, ensure};

use crate::Digest;

/// Where an image is.
///
/// Printed and parsed again it is the same one.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    /// `dir:PATH`: the files side by side, as skopeo(1) writes them.
    Directory(PathBuf),
    /// `oci:PATH[:TAG]`: the layout of the OCI.
    Layout(PathBuf, Option<String>),
    /// `docker-archive:PATH`: what `docker save` writes.
    Archive(PathBuf),
    /// `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`: at a registry.
    Registry(Registry),
}

/// An image at a registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// The host, with its port if it is not the usual one.
    pub host: String,
    /// The repository.
    pub name: String,
    /// Which of its images; it can be given to another one at any time.
    pub tag: String,
    /// Which one, for ever.
    pub digest: Option<Digest>,
}

/// Where images are that name no host, and in which part of it those that have
/// a simple name.
const DEFAULT_HOST: &str = "docker.io";
const DEFAULT_PART: &str = "library/";

impl FromStr for Reference {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Reference> {
        let path = |text: &str| {
            ensure!(!text.is_empty(), "there is no path");
            absolute(text).with_context(|| format!("{text:?} is no path"))
        };
        let parse = || -> anyhow::Result<Reference> {
            Ok(match text.split_once(':') {
                Some(("dir", rest)) => Reference::Directory(path(rest)?),
                Some(("docker-archive", rest)) => {
                    Reference::Archive(path(rest)?)
                }
                Some(("oci", rest)) => match rest.rsplit_once(':') {
                    Some((dir, tag)) if !tag.contains('/') => {
                        check_tag(tag)?;
                        Reference::Layout(path(dir)?, Some(tag.into()))
                    }
                    _ => Reference::Layout(path(rest)?, None),
                },
                _ => Reference::Registry(text.parse()?),
            })
        };
        parse().map_err(|error| anyhow!("what image is {text:?}? {error:#}"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Directory(path) => write!(f, "dir:{}", path.display()),
            Reference::Archive(path) => {
                write!(f, "docker-archive:{}", path.display())
            }
            Reference::Layout(path, tag) => {
                write!(f, "oci:{}", path.display())?;
                tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
            }
            Reference::Registry(registry) => registry.fmt(f),
        }
    }
}

impl FromStr for Registry {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Registry> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon behind the last slash is not that of a port.
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, tag),
            _ => (rest, "latest"),
        };
        check_tag(tag)?;
        let is_host = |it: &str| it.contains(['.', ':']) || it == "localhost";
        let (host, name) = match rest.split_once('/') {
            Some((host, name)) if is_host(host) => (host, name.to_owned()),
            _ => (DEFAULT_HOST, rest.to_owned()),
        };
        let name = match host == DEFAULT_HOST && !name.contains('/') {
            true => format!("{DEFAULT_PART}{name}"),
            false => name,
        };
        check_host(host)?;
        check_name(&name)?;
        Ok(Registry {
            host: host.to_owned(),
            name,
            tag: tag.to_owned(),
            digest,
        })
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Registry {
            host,
            name,
            tag,
            digest,
        } = self;
        write!(f, "{host}/{name}:{tag}")?;
        digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// A host, or its address, and a port: what a URL takes as it stands.
fn check_host(host: &str) -> anyhow::Result<()> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    ensure!(
        !name.is_empty() && name.bytes().all(is_part),
        "{name:?} is no name of a host"
    );
    if let Some(port) = port {
        port.parse::<u16>()
            .with_context(|| format!("{port:?} is no port"))?;
    }
    Ok(())
}

/// See the distribution specification of the OCI, "Pulling manifests".
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_letter =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().copied().is_some_and(is_letter)
            && bytes.last().copied().is_some_and(is_letter)
            && bytes.iter().all(|it| is_letter(*it) || b"._-".contains(it))
            && !part.contains("..")
    };
    ensure!(
        name.len() <= 255 && name.split('/').all(is_part),
        "{name:?} is no name of a repository: those have small letters, \
         digits, and . _ - between them, in parts with / between them"
    );
    Ok(())
}

fn check_tag(tag: &str) -> anyhow::Result<()> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = tag.as_bytes();
    ensure!(
        tag.len() <= 128
            && bytes.first().copied().is_some_and(is_word)
            && bytes.iter().all(|it| is_word(*it) || b".-".contains(it)),
        "{tag:?} is no tag"
    );
    Ok(())
}

impl Reference {
    /// Whether it leads to the machine's own disk.
    pub fn is_local(&self) -> bool {
        !matches!(self, Reference::Registry(_))
    }

    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Reference::Directory(path)
            | Reference::Archive(path)
            | Reference::Layout(path, _) => Some(path),
            Reference::Registry(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
