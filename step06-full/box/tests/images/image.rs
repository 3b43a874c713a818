//! Images made for a test, byte by byte: no tool would make most of them.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};
use step06_image::Digest;
use tar::{EntryType, Header};
use tempfile::TempDir;

/// A file of a layer.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryType,
    /// What a link leads to.
    pub(crate) target: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: u64,
    /// What the header says, if it is not the length of the data.
    pub(crate) size: Option<u64>,
}

fn entry(path: &str, kind: EntryType) -> Entry {
    Entry {
        path: path.into(),
        kind,
        target: Vec::new(),
        data: Vec::new(),
        mode: 0o755,
        owner: 0,
        size: None,
    }
}

pub(crate) fn file(path: &str, text: &str) -> Entry {
    Entry {
        data: text.into(),
        mode: 0o644,
        ..entry(path, EntryType::Regular)
    }
}

pub(crate) fn dir(path: &str) -> Entry {
    entry(path, EntryType::Directory)
}

pub(crate) fn link(path: &str, target: &str) -> Entry {
    Entry {
        target: target.into(),
        ..entry(path, EntryType::Symlink)
    }
}

pub(crate) fn hard_link(path: &str, target: &str) -> Entry {
    Entry {
        target: target.into(),
        ..entry(path, EntryType::Link)
    }
}

pub(crate) fn special(path: &str, kind: EntryType) -> Entry {
    entry(path, kind)
}

/// The archive of these files.
pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        let mut header = Header::new_gnu();
        // Not by the functions that keep honest people from mistakes.
        header.as_old_mut().name[..entry.path.len()]
            .copy_from_slice(&entry.path);
        header.as_old_mut().linkname[..entry.target.len()]
            .copy_from_slice(&entry.target);
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(entry.owner);
        header.set_mtime(1_000_000_000);
        let length = entry.data.len();
        header.set_size(entry.size.unwrap_or(length as u64));
        if matches!(entry.kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(1).expect("it is small");
            header.set_device_minor(3).expect("it is small");
        }
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(&entry.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// A layout of the OCI with one image in it, and a store for it.
pub(crate) struct Image {
    dir: TempDir,
    pub(crate) manifest: Value,
    pub(crate) config: Value,
}

impl Image {
    /// An image of these layers, from below.
    pub(crate) fn new(layers: &[Vec<u8>]) -> Image {
        let dir = TempDir::new().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("oci/blobs/sha256")).expect("mkdir");
        let mut image = Image {
            dir,
            manifest: Value::Null,
            config: Value::Null,
        };
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let descriptors: Vec<Value> =
            layers.iter().map(|it| image.add(it, kind)).collect();
        let diff_ids: Vec<String> =
            layers.iter().map(|it| Digest::of(it).to_string()).collect();
        image.config = json!({
            "config": { "Cmd": ["true"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        image.manifest = json!({ "schemaVersion": 2, "layers": descriptors });
        image.seal();
        image
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn layout(&self) -> PathBuf {
        self.path().join("oci")
    }

    pub(crate) fn reference(&self) -> String {
        format!("oci:{}", self.layout().display())
    }

    /// Adds a blob, and returns what points to it.
    pub(crate) fn add(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.blob(&digest), bytes).expect("write");
        json!({
            "mediaType": media_type,
            "digest": digest.to_string(),
            "size": bytes.len(),
        })
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.layout().join("blobs/sha256").join(digest.hex())
    }

    /// Writes configuration, manifest and index as they are now.
    pub(crate) fn seal(&mut self) {
        let config = self.config.to_string();
        let kind = "application/vnd.oci.image.config.v1+json";
        self.manifest["config"] = self.add(config.as_bytes(), kind);
        self.seal_manifest();
    }

    /// The same, without a look at the configuration.
    pub(crate) fn seal_manifest(&self) {
        let manifest = self.manifest.to_string();
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = self.add(manifest.as_bytes(), kind);
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        let index = index.to_string();
        fs::write(self.layout().join("index.json"), index).expect("write");
    }

    /// `box` with a store beside this image.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        tool(&self.path().join("store"), arguments)
    }

    /// Pulls it. What was pulled lies in [`Image::layers`].
    pub(crate) fn pull(&self) -> Result<(), String> {
        let output = self.tool(&["pull", &self.reference()]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => Ok(()),
            Some(125) => Err(text),
            code => panic!("exit code {code:?}: {text}"),
        }
    }

    /// The unpacked layers, from below.
    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        let mut chain: Option<Digest> = None;
        let diff_ids = self.config["rootfs"]["diff_ids"].as_array();
        let diff_ids = diff_ids.expect("an array").iter();
        let all = diff_ids.map(|diff_id| {
            let diff_id = diff_id.as_str().expect("a text");
            let id = match &chain {
                None => diff_id.parse().expect("a digest"),
                Some(below) => Digest::of(format!("{below} {diff_id}")),
            };
            chain = Some(id.clone());
            self.path().join("store/layers").join(id.hex())
        });
        all.collect()
    }
}

/// The built program: another copy of it, where this one is out of reach.
pub(crate) fn box_program() -> OsString {
    env::var_os("BOX").unwrap_or_else(|| env!("CARGO_BIN_EXE_box").into())
}

/// Runs `box` with this store.
pub(crate) fn tool(
    store: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Output {
    Command::new(box_program())
        .arg("--store")
        .arg(store)
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("box runs")
}
