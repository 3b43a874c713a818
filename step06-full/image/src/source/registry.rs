//! A registry: a web server that hands out what it is asked for by its digest.
//! See the distribution specification of the OCI.

use std::{io::Read, net::Ipv4Addr, time::Duration};

use anyhow::{Context, bail, ensure};
use ureq::{
    Agent, Body,
    http::{Response, StatusCode, header},
};

use super::{Source, read_small};
use crate::{Digest, manifest::Descriptor, reference};

mod agent;
mod login;

use login::Challenge;

/// What a manifest may be: those of the OCI and of Docker, for one machine or
/// for several.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Docker's registry answers at another name than that of its images.
const DOCKERS: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How long a registry may take to say anything, and the next bytes of it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Registry {
    /// As typed, for messages and for who has logged in there.
    host: String,
    /// `https://HOST/v2/NAME`
    base: String,
    /// A tag or a digest.
    reference: String,
    digest: Option<Digest>,
    agent: Agent,
    /// The value of the header `Authorization`.
    authorization: Option<String>,
}

/// Gets ready to ask. Nothing is asked yet.
pub(super) fn open(
    image: &reference::Registry,
    insecure: bool,
) -> anyhow::Result<Registry> {
    let host = match image.host.as_str() {
        host if host == DOCKERS.0 => DOCKERS.1,
        host => host,
    };
    let scheme = match insecure || is_this_machine(host) {
        true => "http",
        false => "https",
    };
    let reference = image
        .digest
        .as_ref()
        .map_or_else(|| image.tag.clone(), Digest::to_string);
    Ok(Registry {
        host: image.host.clone(),
        base: format!("{scheme}://{host}/v2/{}", image.name),
        reference,
        digest: image.digest.clone(),
        agent: agent::new(PATIENCE)?,
        authorization: None,
    })
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, _)) if !host.ends_with(']') => name,
        _ => host,
    };
    // A name such as 127.example.org is somebody else's.
    let is_loopback = |it: Ipv4Addr| it.is_loopback();
    name == "localhost"
        || name == "[::1]"
        || name.parse().is_ok_and(is_loopback)
}

impl Registry {
    /// Asks for `path`, from byte `from` on; logs in, if it has to.
    fn get(&mut self, path: &str, from: u64) -> anyhow::Result<Response<Body>> {
        let url = format!("{}/{path}", self.base);
        let aim = || format!("GET {url}");
        let answer = self.ask(&url, from).with_context(aim)?;
        let answer = match answer.status() {
            // Nobody has asked who we are yet, or the token is too old by now.
            StatusCode::UNAUTHORIZED => {
                let challenge = Challenge::of(&answer).with_context(aim)?;
                let authorization =
                    challenge.answer(&self.agent, &self.host).with_context(
                        || format!("logging in at {}", self.host),
                    )?;
                self.authorization = Some(authorization);
                self.ask(&url, from).with_context(aim)?
            }
            _ => answer,
        };
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(answer),
            // What is here of it is of no use to this registry.
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => self.get(path, 0),
            status => {
                Err(refusal(status, answer, &self.host)).with_context(aim)
            }
        }
    }

    fn ask(&self, url: &str, from: u64) -> anyhow::Result<Response<Body>> {
        let mut request = self.agent.get(url).header(header::ACCEPT, ACCEPTED);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        Ok(request.call()?)
    }
}

/// What a registry means by an answer that is none.
fn refusal(
    status: StatusCode,
    answer: Response<Body>,
    host: &str,
) -> anyhow::Error {
    let says = read_small(answer.into_body().into_reader().take(4096));
    let says = says.ok().and_then(|text| login::message(&text));
    let says = says.map(|it| format!(" ({it})")).unwrap_or_default();
    let meaning = match status {
        StatusCode::NOT_FOUND => "there is no such image".to_owned(),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("{host} gives it to others only, if there is such an image")
        }
        StatusCode::TOO_MANY_REQUESTS => {
            format!(
                "{host} has had too many requests from here: wait, or log in"
            )
        }
        _ => "it can't be had".to_owned(),
    };
    anyhow::anyhow!("{}{says}", status.as_u16()).context(meaning)
}

impl Source for Registry {
    fn top(&mut self) -> anyhow::Result<(Vec<u8>, Option<Digest>)> {
        let path = format!("manifests/{}", self.reference);
        let answer = self.get(&path, 0)?;
        let bytes = read_small(answer.into_body().into_reader())?;
        Ok((bytes, self.digest.clone()))
    }

    fn manifest(&mut self, it: &Descriptor) -> anyhow::Result<Vec<u8>> {
        let answer = self.get(&format!("manifests/{}", it.digest), 0)?;
        read_small(answer.into_body().into_reader())
    }

    fn blob(
        &mut self,
        it: &Descriptor,
        from: u64,
    ) -> anyhow::Result<(Box<dyn Read>, u64)> {
        let answer = self.get(&format!("blobs/{}", it.digest), from)?;
        let from = match answer.status() {
            StatusCode::PARTIAL_CONTENT => start(&answer, from)?,
            _ => 0,
        };
        Ok((Box::new(answer.into_body().into_reader()), from))
    }
}

/// Where the part begins that was sent: `Content-Range: bytes 500-999/1000`.
fn start(answer: &Response<Body>, asked: u64) -> anyhow::Result<u64> {
    let range = answer.headers().get(header::CONTENT_RANGE);
    let Some(range) = range.and_then(|it| it.to_str().ok()) else {
        return Ok(asked);
    };
    let start = range
        .strip_prefix("bytes ")
        .and_then(|it| it.split('-').next()?.parse().ok());
    let Some(start) = start else {
        bail!("Content-Range: {range:?} is no range");
    };
    ensure!(start <= asked, "asked for byte {asked}, it sends {start}");
    Ok(start)
}
