//! What is said of an image that is legal, but not as one might expect.

use std::{fs, io::Write};

use harness::{Test, claims};
use serde_json::json;
use step06_image::Digest;
use tar::EntryType;

use crate::image::{Entry, Image, archive, file, hard_link, special, tool};

pub(crate) const TESTS: &[Test] = claims![
    a_long_name_takes_no_more_memory_than_names_may,
    a_path_of_many_directories_is_no_bomb,
    a_list_of_holes_is_not_taken_for_data,
    capabilities_of_files_are_left_out_with_a_word,
    what_is_no_file_is_left_out_by_all_of_its_names,
    programs_for_another_processor_are_told_of,
    a_saved_image_may_have_compressed_layers,
    a_long_name_around_the_layers_takes_no_memory_either,
    an_image_is_removed_by_its_id,
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let fast = flate2::Compression::fast();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fast);
    gzip.write_all(bytes).expect("to memory");
    gzip.finish().expect("to memory")
}

/// What standard error has to say of a pull that goes well.
fn said(image: &Image) -> String {
    let output = image.tool(&["pull", &image.reference()]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What stands before a file and says more of it, in the words of pax(1).
fn extension(key: &str, value: &str) -> Entry {
    let text = format!(" {key}={value}\n");
    // The number counts its own digits.
    let length =
        (1..).find(|it: &usize| *it == it.to_string().len() + text.len());
    let length = length.expect("there is one");
    Entry {
        data: format!("{length}{text}").into(),
        ..special("extension", EntryType::XHeader)
    }
}

fn a_long_name_takes_no_more_memory_than_names_may() {
    let name = |bytes: usize| Entry {
        data: vec![b'a'; bytes],
        ..special("././@LongLink", EntryType::GNULongName)
    };
    let honest = archive(&[name(200), file("b", "x")]);
    Image::new(&[honest]).pull().expect("a long name is legal");

    let tar = archive(&[file("a", "x"), name(64 << 20), file("b", "x")]);
    let mut image = Image::new(std::slice::from_ref(&tar));
    let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
    image.manifest["layers"] = json!([image.add(&gzip(&tar), kind)]);
    image.seal();
    let error = image.pull().expect_err("64 MiB of a name");
    assert!(error.contains("too long"), "{error}");
}

fn a_path_of_many_directories_is_no_bomb() {
    let deep = |depth: usize| {
        let name = Entry {
            data: format!("{}f\0", "d/".repeat(depth)).into(),
            ..special("././@LongLink", EntryType::GNULongName)
        };
        let image = Image::new(&[archive(&[name, file("f", "x")])]);
        image.pull()
    };
    deep(200).expect("it is legal");
    let error = deep(1500).expect_err("each is one to be made");
    assert!(error.contains("in one another"), "{error}");
}

fn a_list_of_holes_is_not_taken_for_data() {
    let image = Image::new(&[archive(&[
        extension("GNU.sparse.major", "1"),
        file("GNUSparseFile.0/hole", "1\n0\n1\nx"),
    ])]);
    let error = image.pull().expect_err("nobody here can read it");
    assert!(error.contains("holes"), "{error}");
}

fn capabilities_of_files_are_left_out_with_a_word() {
    let image = Image::new(&[archive(&[
        extension("SCHILY.xattr.security.capability", "x"),
        file("ping", "x"),
        file("other", "x"),
    ])]);
    let said = said(&image);
    assert!(said.contains(r#"the capabilities of "/ping""#), "{said}");
    assert!(image.layers()[0].join("ping").exists());
}

/// What is made of it is made of nothing.
fn what_is_no_file_is_left_out_by_all_of_its_names() {
    let image = Image::new(&[archive(&[
        special("null", EntryType::Char),
        special("pipe", EntryType::Fifo),
        hard_link("other", "pipe"),
        hard_link("third", "/other"),
        file("null", "a file after all"),
        hard_link("link", "null"),
    ])]);
    let said = said(&image);
    for name in ["/null", "/pipe", "/other", "/third"] {
        assert!(said.contains(&format!("left out: {name:?}")), "{said}");
    }
    let layer = &image.layers()[0];
    let mut names: Vec<_> = fs::read_dir(layer)
        .expect("it is there")
        .map(|it| it.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["link", "null"]);
    // Of what was never there, there is no other name.
    let image = Image::new(&[archive(&[hard_link("other", "pipe")])]);
    let error = image.pull().expect_err("there is no such file");
    assert!(error.contains("No such file"), "{error}");
}

fn programs_for_another_processor_are_told_of() {
    let mut image = Image::new(&[archive(&[file("a", "x")])]);
    assert!(!said(&image).contains("programs"), "it says for none");
    image.config["architecture"] = json!("s390x");
    image.seal();
    assert!(said(&image).contains(r#"its programs are for "s390x""#));
}

/// As Docker saves an image since version 25: as it was fetched.
fn a_saved_image_may_have_compressed_layers() {
    let layer = archive(&[file("a", "x")]);
    let image = Image::new(std::slice::from_ref(&layer));
    let config = image.config.to_string();
    let manifest = json!([{ "Config": "config.json", "Layers": ["layer"] }]);
    let mut saved = tar::Builder::new(Vec::new());
    let compressed = gzip(&layer);
    for (name, bytes) in [
        ("manifest.json", manifest.to_string().as_bytes()),
        ("config.json", config.as_bytes()),
        ("layer", &compressed),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        saved
            .append_data(&mut header, name, bytes)
            .expect("to memory");
    }
    let path = image.path().join("saved.tar");
    fs::write(&path, saved.into_inner().expect("complete")).expect("write");
    let name = format!("docker-archive:{}", path.display());
    let output = image.tool(&["pull", &name]);
    assert!(output.status.success(), "{output:?}");
    let file = image.layers()[0].join("a");
    assert_eq!(fs::read(file).expect("it is there"), b"x");
}

fn a_long_name_around_the_layers_takes_no_memory_either() {
    let image = Image::new(&[archive(&[])]);
    let path = image.path().join("saved.tar");
    let name = Entry {
        size: Some(64 << 20),
        ..special("././@LongLink", EntryType::GNULongName)
    };
    fs::write(&path, &archive(&[name])[..512]).expect("write");
    let file = fs::File::options().write(true).open(&path).expect("open");
    file.set_len(65 << 20).expect("it is one hole");
    let name = format!("docker-archive:{}", path.display());
    let output = image.tool(&["pull", &name]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{error}");
    assert!(error.contains("too long"), "{error}");
}

fn an_image_is_removed_by_its_id() {
    let image = Image::new(&[archive(&[file("a", "x")])]);
    image.pull().expect("it is legal");
    let config = Digest::of(image.config.to_string());
    let store = image.path().join("store");
    let remove = |id: &str| {
        let output = tool(&store, ["rmi", id]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, error) = remove("0000000000ff");
    assert_eq!(code, Some(1), "{error}");
    assert_eq!(remove(config.short()).0, Some(0));
    assert_eq!(fs::read_dir(store.join("images")).expect("dir").count(), 0);
}
