//! For which machine an image is.

use anyhow::Context;
use serde::Deserialize;

use crate::manifest::{Config, Descriptor};

/// A kind of machine, in the words of Go.
#[derive(Clone, Debug, Deserialize)]
pub struct Platform {
    /// Of the processor: `amd64`, `arm64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

/// How many others an error names.
const OTHERS_SHOWN: usize = 20;

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
            .take(OTHERS_SHOWN)
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

impl Config {
    /// A warning, if the programs are for another kind of processor.
    pub fn is_for_others(&self) -> Option<String> {
        let (theirs, ours) = (&self.architecture, architecture());
        let is_ours = theirs.is_empty() || theirs == ours;
        (!is_ours).then(|| {
            format!(
                "its programs are for {theirs:?}, and this machine is {ours}"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, manifest::Top};

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
}
