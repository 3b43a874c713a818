//! A museum of hostile images: each tries to get out of its directory, or to be
//! another image than it says. Nothing outside changes, and there is one line of
//! error, or what came of it lies inside.

use std::{
    fs,
    io::Write,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use harness::{Test, claims};
use serde_json::json;
use step06_image::Digest;
use tar::EntryType;

use crate::image::{
    Entry, Image, archive, dir, file, hard_link, link, special,
};

pub(crate) const TESTS: &[Test] = claims![
    no_layer_writes_outside,
    what_is_legal_comes_out_right,
    what_is_not_as_it_says_is_refused,
    bombs_do_not_go_off,
    the_store_is_closed_to_others,
    odd_images_come_out_right,
    a_directory_of_somebody_is_not_closed,
    a_layer_may_be_compressed_in_pieces,
];

/// A file outside that they want to change.
struct Victim(tempfile::TempDir);

const SECRET: &str = "as it was";

impl Victim {
    fn new() -> Victim {
        let victim = Victim(tempfile::tempdir().expect("a directory"));
        fs::write(victim.path("file"), SECRET).expect("write");
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(victim.path("file"), mode).expect("chmod");
        victim
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Its directory.
    fn dir(&self) -> String {
        self.0.path().display().to_string()
    }

    fn check(&self, what: &str) {
        let file = self.path("file");
        let text = fs::read_to_string(&file).expect("it is there");
        assert_eq!(text, SECRET, "{what}");
        let status = fs::metadata(&file).expect("it is there");
        assert_eq!(status.mode() & 0o7777, 0o640, "{what}");
        assert_eq!(status.nlink(), 1, "{what}: no hard link to it");
        let names = fs::read_dir(self.0.path()).expect("it is there").count();
        assert_eq!(names, 1, "{what}: nothing was put beside it");
    }
}

/// A path from the root of an image to `path` outside.
fn upwards(path: &str) -> String {
    format!("../../../../../../../../../..{path}")
}

fn no_layer_writes_outside() {
    let victim = Victim::new();
    let (out, place) = (victim.path("file"), victim.dir());
    let up = upwards(&out);
    let one = |entries: &[Entry]| vec![archive(entries)];
    let two =
        |below: &[Entry], above: &[Entry]| vec![archive(below), archive(above)];
    let mode = |mode, entry: Entry| Entry { mode, ..entry };
    for (what, layers) in [
        ("a path upwards", one(&[file(&up, "x")])),
        ("an absolute path", one(&[file(&out, "x")])),
        (
            "a link out, written to",
            one(&[link("l", &out), file("l", "x")]),
        ),
        ("a relative one", one(&[link("l", &up), file("l", "x")])),
        (
            "through a link",
            one(&[link("d", &place), file("d/file", "x")]),
        ),
        ("beside it", one(&[link("d", &place), file("d/new", "x")])),
        (
            "through a link upwards",
            one(&[link("d", &upwards(&place)), file("d/file", "x")]),
        ),
        (
            "through the link of a lower layer",
            two(&[link("d", &place)], &[file("d/file", "x")]),
        ),
        (
            "a directory through a link",
            one(&[link("d", &place), dir("d/new")]),
        ),
        (
            "a hard link out",
            one(&[hard_link("h", &out), file("h", "x")]),
        ),
        ("one upwards", one(&[hard_link("h", &up), file("h", "x")])),
        (
            "one through a link",
            one(&[link("d", &place), hard_link("h", "d/file")]),
        ),
        (
            "a mode through a link",
            one(&[link("l", &out), mode(0o777, dir("l"))]),
        ),
        (
            "a mode through a link in the way",
            one(&[link("d", &place), mode(0o777, dir("d"))]),
        ),
        (
            "a whiteout upwards",
            one(&[file(&upwards("/.wh.file"), "")]),
        ),
        ("a whiteout of ..", one(&[dir("a"), file("a/.wh...", "")])),
        ("a whiteout of .", one(&[dir("a"), file("a/.wh..", "")])),
        (
            "a whiteout of nothing",
            one(&[dir("a"), file("a/.wh.", "")]),
        ),
        (
            "a whiteout through a link",
            two(&[link("d", &place)], &[file("d/.wh.file", "")]),
        ),
        (
            "an opaque directory through a link",
            two(&[link("d", &place)], &[file("d/.wh..wh..opq", "")]),
        ),
        (
            "a link instead of a directory",
            one(&[dir("d"), link("d", &place), file("d/file", "x")]),
        ),
        (
            "a link of a lower layer instead of one",
            two(
                &[dir("d"), file("d/a", "")],
                &[link("d", &place), file("d/file", "x")],
            ),
        ),
        ("/proc/self/root", one(&[file("proc/self/root/x", "x")])),
    ] {
        let image = Image::new(&layers);
        let pulled = image.pull();
        if let Err(text) = &pulled {
            let lines: Vec<&str> =
                text.lines().filter(|it| it.starts_with("box: ")).collect();
            assert_eq!(lines.len(), 1, "{what}: {text}");
        }
        victim.check(what);
        println!("{what}: {pulled:?}");
    }
}

fn what_is_legal_comes_out_right() {
    let below = archive(&[
        dir("usr"),
        dir("usr/bin"),
        link("bin", "usr/bin"),
        Entry {
            mode: 0o1777,
            ..dir("tmp")
        },
        file("gone", "x"),
        dir("opaque"),
        file("opaque/below", "x"),
        dir("was"),
        file("was/below", "x"),
        file("file", "old"),
    ]);
    let above = archive(&[
        file("bin/tool", "tool"),
        file(".wh.gone", ""),
        file("opaque/above", "x"),
        file("opaque/.wh..wh..opq", ""),
        file("was", "a file now"),
        file("file", "new"),
        hard_link("other", "file"),
        file("no/parents/named", "x"),
        special("null", EntryType::Char),
        special("disk", EntryType::Block),
        special("pipe", EntryType::Fifo),
    ]);
    let image = Image::new(&[below, above]);
    image.pull().expect("it is legal");
    let layers = image.layers();
    let [below, above] = &layers[..] else {
        panic!("two layers: {layers:?}")
    };
    let text =
        |path: &str| fs::read_to_string(above.join(path)).unwrap_or_default();
    assert_eq!(text("usr/bin/tool"), "tool", "bin leads to usr/bin");
    assert_eq!(text("was"), "a file now");
    assert_eq!(text("file"), "new");
    let inode = |path: &str| fs::metadata(above.join(path)).map(|it| it.ino());
    assert_eq!(inode("other").ok(), inode("file").ok(), "a hard link");
    let mode = |path: &str| {
        fs::metadata(below.join(path))
            .map(|it| it.mode() & 0o7777)
            .ok()
    };
    assert_eq!(mode("tmp"), Some(0o1777));
    let kind = |path: &str| {
        fs::symlink_metadata(above.join(path)).map(|it| it.file_type())
    };
    let is_mark = |path: &str| kind(path).is_ok_and(|it| it.is_char_device());
    assert!(is_mark("gone") && is_mark("opaque/below"), "deleted");
    assert!(kind("opaque/above").is_ok_and(|it| it.is_file()));
    for left_out in ["null", "disk", "pipe"] {
        kind(left_out).expect_err(left_out);
    }
    assert!(kind("no/parents/named").is_ok());
}

/// Each must fail, with these words.
fn what_is_not_as_it_says_is_refused() {
    let layer = archive(&[file("a", "b")]);
    let other = Digest::of("other");
    let spoil = |how: fn(&mut Image, &Digest)| {
        let mut image = Image::new(std::slice::from_ref(&layer));
        how(&mut image, &Digest::of(&layer));
        image.pull().expect_err("it is spoilt")
    };
    let check = |text: String, words: &str| {
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    };
    check(
        spoil(|image, digest| {
            fs::write(image.blob(digest), "another").expect("write");
        }),
        "its digest should be",
    );
    check(
        spoil(|image, digest| {
            let mut bytes = fs::read(image.blob(digest)).expect("read");
            bytes.push(0);
            fs::write(image.blob(digest), bytes).expect("write");
        }),
        "there is more of it",
    );
    check(
        spoil(|image, _| {
            image.manifest["layers"][0]["size"] = json!(7);
            image.seal_manifest();
        }),
        "there is more of it",
    );
    check(
        spoil(|image, _| {
            image.manifest["layers"][0]["mediaType"] = json!("text/html");
            image.seal_manifest();
        }),
        "no kind of layer",
    );
    check(
        spoil(|image, _| {
            let path = "sha256:../../../../etc/passwd";
            image.manifest["layers"][0]["digest"] = json!(path);
            image.seal_manifest();
        }),
        "hexadecimal digits",
    );
    check(
        spoil(|image, _| {
            image.config["rootfs"]["diff_ids"][0] =
                json!(Digest::of("other").to_string());
            image.seal();
        }),
        &format!("should be {other}"),
    );
    check(
        spoil(|image, _| {
            image.config["rootfs"]["diff_ids"] = json!([]);
            image.seal();
        }),
        "it has 1 layers, and its configuration 0",
    );
    check(
        spoil(|image, _| {
            let index = image.layout().join("index.json");
            fs::write(index, "[".repeat(100_000)).expect("write");
        }),
        "can't be read",
    );
    check(
        spoil(|image, _| {
            let index = image.layout().join("index.json");
            fs::write(index, vec![b' '; 5 << 20]).expect("write");
        }),
        "longer than",
    );
    check(
        spoil(|image, _| {
            let index = image.layout().join("index.json");
            fs::remove_file(&index).expect("unlink");
            symlink("/dev/zero", index).expect("symlink");
        }),
        "is no file",
    );
}

fn bombs_do_not_go_off() {
    let sparse = Entry {
        size: Some(1 << 40),
        ..file("huge", "")
    };
    let error = Image::new(&[archive(&[sparse])]).pull();
    let error = error.expect_err("it is too large");
    assert!(error.contains("more than 8589934592 bytes"), "{error}");
    let others = Entry {
        owner: 65536,
        ..file("a", "")
    };
    let image = Image::new(&[archive(&[others])]);
    let error = image.pull().expect_err("nobody has that number");
    assert!(error.contains("the ids 0 to 65535"), "{error}");
    // What failed has left nothing.
    let left = |dir: &str| {
        let dir = image.path().join("store").join(dir);
        fs::read_dir(dir).expect("it is there").count()
    };
    assert_eq!(left("layers") + left("blobs") + left("images"), 0);
}

fn the_store_is_closed_to_others() {
    let image = Image::new(&[archive(&[Entry {
        mode: 0o4755,
        ..file("su", "")
    }])]);
    image.pull().expect("it is legal");
    let [layer] = &image.layers()[..] else {
        panic!("one layer")
    };
    let mode = |path: &Path| fs::metadata(path).expect("is there").mode();
    assert_eq!(mode(&layer.join("su")) & 0o7777, 0o4755, "it is real");
    assert_eq!(mode(&image.path().join("store")) & 0o7777, 0o700);
}

/// What honest tools write, and a store must take.
fn odd_images_come_out_right() {
    let mode = |mode, entry: Entry| Entry { mode, ..entry };
    let empty = archive(&[]);
    let odd = archive(&[
        mode(0o555, dir("./")),
        mode(0o700, dir("twice")),
        mode(0o755, dir("twice")),
        link("nowhere", "missing"),
        hard_link("again", "nowhere"),
    ]);
    let deep = archive(&[file(&format!("{}f", "d/".repeat(45)), "x")]);
    let image = Image::new(&[empty.clone(), odd, empty, deep]);
    image.pull().expect("it is legal");
    let layer = &image.layers()[1];
    let mode = |path: &str| {
        fs::metadata(layer.join(path)).expect("is there").mode() & 0o7777
    };
    assert_eq!((mode(""), mode("twice")), (0o555, 0o755), "the last counts");
    let again = fs::read_link(layer.join("again")).expect("it is a link");
    assert_eq!(again, Path::new("missing"));
    image.pull().expect("a second time");
}

fn a_directory_of_somebody_is_not_closed() {
    let image = Image::new(&[archive(&[file("a", "b")])]);
    let shared = image.path().join("store");
    fs::create_dir(&shared).expect("mkdir");
    let mode = fs::Permissions::from_mode(0o1777);
    fs::set_permissions(&shared, mode).expect("chmod");
    let error = image.pull().expect_err("it is open to others");
    assert!(error.contains("mode 1777"), "{error}");
    let mode = fs::metadata(&shared).expect("is there").mode() & 0o7777;
    assert_eq!(mode, 0o1777, "it is as it was");
}

/// Compressed in one piece, or in several: what tools write that read a layer in
/// parts.
fn a_layer_may_be_compressed_in_pieces() {
    let tar = archive(&[file("a", &"x".repeat(3000)), file("b", "y")]);
    let (one, other) = tar.split_at(1000);
    let gzip = |bytes: &[u8]| {
        let fast = flate2::Compression::fast();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fast);
        gzip.write_all(bytes).expect("to memory");
        gzip.finish().expect("to memory")
    };
    let zstd = |bytes: &[u8]| {
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        ruzstd::encoding::compress_to_vec(bytes, level)
    };
    // A frame that says how long it is, and is to be skipped.
    let skipped = [&[0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for (kind, pieces) in [
        ("gzip", vec![gzip(&tar)]),
        ("gzip", vec![gzip(one), gzip(other)]),
        ("zstd", vec![zstd(&tar)]),
        (
            "zstd",
            vec![zstd(one), skipped.clone(), zstd(other), skipped],
        ),
    ] {
        let mut image = Image::new(std::slice::from_ref(&tar));
        let kind = format!("application/vnd.oci.image.layer.v1.tar+{kind}");
        let layer = image.add(&pieces.concat(), &kind);
        image.manifest["layers"] = json!([layer]);
        image.seal();
        image.pull().expect(&kind);
        let file = image.layers()[0].join("a");
        assert_eq!(fs::read(file).expect("is there").len(), 3000, "{kind}");
    }
}
