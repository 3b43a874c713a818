//! Showing who we are: a registry that wants to know says where one gets a
//! token, be it for anybody; names and passwords are those of `docker login`.

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use ureq::{
    Agent, Body,
    http::{Response, Uri, header, uri::Authority},
};

use super::is_this_machine;
use crate::source::read_small;

/// What a registry wants: the header `WWW-Authenticate`. See RFC 9110, 11.6.1.
#[derive(Debug, PartialEq)]
pub(super) enum Challenge {
    /// A token, from this address, with these words in the question.
    Bearer {
        realm: String,
        query: Vec<(String, String)>,
    },
    /// A name and a password.
    Basic,
}

/// Where `docker login` writes to, in `DOCKER_CONFIG` or else `~/.docker`.
const CONFIG: &str = "config.json";

/// How Docker calls its own registry there.
const DOCKERS: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

impl Challenge {
    pub(super) fn of(answer: &Response<Body>) -> anyhow::Result<Challenge> {
        let header = answer.headers().get(header::WWW_AUTHENTICATE);
        let header = header.context("401, and no WWW-Authenticate")?;
        Challenge::parse(header.to_str().context("WWW-Authenticate")?)
    }

    fn parse(text: &str) -> anyhow::Result<Challenge> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(Challenge::Basic);
        }
        ensure!(
            scheme.eq_ignore_ascii_case("bearer"),
            "it wants {scheme:?}, which is not known here"
        );
        let mut query = parameters(rest);
        let realm = query.remove("realm");
        let realm = realm.context("it does not say where tokens are given")?;
        // Nothing else belongs into the question.
        let known = ["service", "scope"];
        query.retain(|name, _| known.contains(&name.as_str()));
        let query = query.into_iter().collect();
        Ok(Challenge::Bearer { realm, query })
    }

    /// The value of the header `Authorization` that answers it.
    pub(super) fn answer(
        self,
        agent: &Agent,
        host: &str,
    ) -> anyhow::Result<String> {
        let login = stored(host)?;
        let (realm, query) = match (self, &login) {
            (Challenge::Bearer { realm, query }, _) => (realm, query),
            (Challenge::Basic, Some(login)) => {
                return Ok(format!("Basic {login}"));
            }
            (Challenge::Basic, None) => {
                bail!("it wants a name and a password: docker login {host}")
            }
        };
        // A password is not for everybody on the way.
        ensure!(
            login.is_none() || is_private(&realm),
            "{realm:?} would get the password without encryption"
        );
        let mut request = agent.get(&realm).query_pairs(query);
        if let Some(login) = login {
            request =
                request.header(header::AUTHORIZATION, format!("Basic {login}"));
        }
        let answer = request.call().with_context(|| format!("GET {realm}"))?;
        let status = answer.status();
        ensure!(status.is_success(), "GET {realm}: {}", status.as_u16());

        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let text = read_small(answer.into_body().into_reader())?;
        let answer: Answer =
            serde_json::from_slice(&text).context("what is no token")?;
        let token = answer.token.or(answer.access_token);
        Ok(format!(
            "Bearer {}",
            token.context("there is no token in it")?
        ))
    }
}

/// Whether nobody on the way reads what is sent to this address.
fn is_private(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else {
        return false;
    };
    // What stands before an "@" only looks like a host.
    let authority = url.authority().map_or("", Authority::as_str);
    match url.scheme_str() {
        Some("https") => true,
        Some("http") => !authority.contains('@') && is_this_machine(authority),
        _ => false,
    }
}

/// `name="value",name="value"`, in which a value may have commas.
fn parameters(mut text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        found.insert(name, value.to_owned());
        text = rest;
    }
    found
}

/// What `docker login` has stored for `host`: name and password in base64, as
/// the header wants them.
fn stored(host: &str) -> anyhow::Result<Option<String>> {
    let Some(path) = config_path() else {
        return Ok(None);
    };
    let Ok(text) = fs::read(&path) else {
        return Ok(None);
    };
    lookup(&text, host).with_context(|| format!("reading {path:?}"))
}

fn config_path() -> Option<PathBuf> {
    let dir = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".docker"));
    Some(dir.or_else(home)?.join(CONFIG))
}

fn lookup(config: &[u8], host: &str) -> anyhow::Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Config {
        #[serde(default)]
        auths: BTreeMap<String, Auth>,
        creds_store: Option<String>,
        #[serde(default)]
        cred_helpers: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Auth {
        auth: Option<String>,
    }
    let config: Config = serde_json::from_slice(config)?;
    let key = if host == DOCKERS.0 { DOCKERS.1 } else { host };
    let with_scheme = format!("https://{host}");
    let auth = [key, with_scheme.as_str()]
        .iter()
        .find_map(|key| config.auths.get(*key));
    match auth {
        Some(Auth { auth: Some(auth) }) if !auth.is_empty() => {
            let is_base64 = |byte: u8| {
                byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
            };
            ensure!(auth.bytes().all(is_base64), "auth of {host} is no base64");
            Ok(Some(auth.clone()))
        }
        // Its password is elsewhere.
        Some(_) => {
            let helper = config.cred_helpers.get(host).cloned();
            let helper = helper.or(config.creds_store).unwrap_or_default();
            bail!(
                "the password for {host} is kept by docker-credential-{helper}, \
                 which is not asked here"
            )
        }
        None => Ok(None),
    }
}

/// What the error of a registry says: `{"errors":[{"message":"…"}]}`.
pub(super) fn message(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        errors: Vec<Message>,
    }
    #[derive(Deserialize)]
    struct Message {
        message: Option<String>,
        code: Option<String>,
    }
    let body: Body = serde_json::from_slice(body).ok()?;
    let first = body.errors.into_iter().next()?;
    first.message.or(first.code)
}

#[cfg(test)]
mod tests;
