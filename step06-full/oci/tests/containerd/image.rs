//! An image of this machine's own tools, as an archive that engines read.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What the image is called.
pub(crate) const NAME: &str = "docker.io/library/box:1";

/// The image whose command does nothing: what holds a pod together.
pub(crate) const PAUSE: &str = "docker.io/library/pause:1";

/// Writes both images into one archive of the form of `docker save`.
pub(crate) fn write(archive: &Path) {
    let root = common::rootfs::find(&None).expect("there is a root");
    let layer = tar(|tar| {
        tar.follow_symlinks(false);
        tar.mode(tar::HeaderMode::Deterministic);
        tar.append_dir_all("", root).expect("it is readable");
    });
    let id = digest(&layer);
    let mut manifest = Vec::new();
    let bytes = tar(|tar| {
        add(tar, &format!("{id}/layer.tar"), &layer);
        for (name, command) in
            [(NAME, vec!["sh"]), (PAUSE, vec!["sleep", "1000000"])]
        {
            let config = config(&id, &command).to_string();
            let file = format!("{}.json", digest(config.as_bytes()));
            add(tar, &file, config.as_bytes());
            manifest.push(json!({
                "Config": file,
                "RepoTags": [name],
                "Layers": [format!("{id}/layer.tar")],
            }));
        }
        let manifest = json!(manifest).to_string();
        add(tar, "manifest.json", manifest.as_bytes());
    });
    fs::write(archive, bytes).expect("the place is ours");
}

fn config(layer: &str, command: &[&str]) -> Value {
    let architecture = match cfg!(target_arch = "x86_64") {
        true => "amd64",
        false => "arm64",
    };
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": command, "Env": [format!("PATH={path}")]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
    })
}

fn tar(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    fill(&mut archive);
    archive.into_inner().expect("it is complete")
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let added = archive.append_data(&mut header, name, bytes);
    added.expect("it is in memory");
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
