//! Lab 5: a root in layers.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, ensure};
use nix::sys::stat::{Mode, umask};

use super::{Check, mounts};
use crate::bench::{Bench, Container, Image, random_name};

pub(super) const CHECKS: &[(&str, Check)] = &[
    ("image_stays", image_stays),
    ("writes_to_memory", writes_to_memory),
    (
        "root_has_the_mode_of_the_image",
        root_has_the_mode_of_the_image,
    ),
    ("kept_root_keeps_its_mode", kept_root_keeps_its_mode),
    ("first_layer_is_on_top", first_layer_is_on_top),
    ("next_run_goes_on", next_run_goes_on),
    ("upper_is_not_shared", upper_is_not_shared),
    ("knows_whiteouts", knows_whiteouts),
    ("knows_added_and_changed", knows_added_and_changed),
    ("knows_opaque_directories", knows_opaque_directories),
];

fn image_stays(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let mut container = bench.start_in(&image, &[])?;
    container.must(&["write", &image.mark, "changed"])?;
    container.must(&["write", "/new", "new"])?;
    container.must(&["unlink", &image.agent])?;
    let content = fs::read_to_string(image.inside(&image.mark))?;
    ensure!(
        content == image.content,
        "the container has changed a file of its image"
    );
    ensure!(
        !image.inside("/new").exists(),
        "what the container writes is in its image"
    );
    ensure!(
        image.inside(&image.agent).exists(),
        "the container has removed a file of its image"
    );
    Ok(())
}

fn root_of(container: &Container) -> anyhow::Result<String> {
    let mountinfo = container.proc_file("mountinfo")?;
    let line = mountinfo
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some("/"));
    line.map(str::to_owned).context("nothing is mounted on /")
}

fn is_overlay(container: &Container) -> anyhow::Result<()> {
    let root = root_of(container)?;
    let mount = mounts(&root);
    let kind = mount.first().map_or("nothing", |it| it.kind);
    ensure!(kind == "overlay", "the root is no overlay, but {kind}");
    ensure!(
        mount.iter().all(|it| !it.has("nosuid")),
        "the set-user-ID programs of the image don't work: the root is mounted \
         with nosuid"
    );
    Ok(())
}

pub(super) fn writes_to_memory(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let content = random_name();
    let names = || -> anyhow::Result<BTreeSet<_>> {
        let entries = fs::read_dir("/tmp")?.flatten();
        Ok(entries.map(|it| it.file_name()).collect())
    };
    let before = names()?;
    let mut container = bench.start_in(&image, &[])?;
    is_overlay(&container)?;
    container.must(&["write", "/file", &content])?;
    let found = container.must(&["read", "/file"])?;
    ensure!(found == content, "{found:?} was read from what was written");
    container.finish(0)?;
    ensure!(
        names()? == before,
        "what was written is still there when the container has ended"
    );
    let mut next = bench.start_in(&image, &[])?;
    let answer = next.ask(&["read", "/file"])?;
    ensure!(
        answer == "refused: ENOENT",
        "the next container has what the last one has written"
    );
    Ok(())
}

fn with_umask(
    bench: &Bench,
    image: &Image,
    options: &[&str],
) -> anyhow::Result<Container> {
    let before = umask(Mode::from_bits_truncate(0o077));
    let started = bench.start_in(image, options);
    umask(before);
    started
}

fn root_has_the_mode_of_the_image(bench: &Bench) -> anyhow::Result<()> {
    for mode in [0o751, 0o1777] {
        let image = bench.image()?;
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(image.path(), permissions)?;
        let mut container = with_umask(bench, &image, &[])?;
        let found = container.must(&["stat", "/"])?;
        ensure!(
            found == format!("directory {mode:o}"),
            "the image has the mode {mode:o}, and the root is: {found}"
        );
        let mask = container.status("Umask")?;
        ensure!(
            mask == "0077",
            "the caller's umask, 0077, has become {mask} in the container"
        );
    }
    Ok(())
}

fn kept_root_keeps_its_mode(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let upper = bench.place()?.join("up");
    let options = ["--upper", &upper.to_string_lossy()];
    let mut container = bench.start_in(&image, &options)?;
    container.must(&["chmod", "/", "711"])?;
    container.finish(0)?;
    let mut container = bench.start_in(&image, &options)?;
    let found = container.must(&["stat", "/"])?;
    ensure!(
        found == "directory 711",
        "the last container has left its root as 711, and the next one has: \
         {found}"
    );
    Ok(())
}

/// Makes a layer with a file in it.
pub(super) fn layer(
    directory: &Path,
    file: &str,
    content: &str,
) -> anyhow::Result<()> {
    let path = directory.join(file.trim_start_matches('/'));
    let parent = path.parent().context("it is below the layer")?;
    fs::create_dir_all(parent)?;
    fs::write(path, content)?;
    Ok(())
}

fn first_layer_is_on_top(bench: &Bench) -> anyhow::Result<()> {
    layer_is_on_top(bench, 0)
}

/// Whether of three layers the one with this index is on top.
pub(super) fn layer_is_on_top(
    bench: &Bench,
    index: usize,
) -> anyhow::Result<()> {
    let image = bench.image()?;
    let place = bench.place()?;
    let contents = [random_name(), random_name(), random_name()];
    let layers = contents.each_ref().map(|it| place.join(it));
    let mut options = Vec::new();
    for (directory, content) in layers.iter().zip(&contents) {
        layer(directory, "/who", content)?;
        layer(directory, &format!("/{content}"), content)?;
        options.extend(["--lower", directory.to_str().unwrap_or_default()]);
    }
    layer(Path::new(image.path()), "/who", "the image")?;
    let mut container = bench.start_in(&image, &options)?;
    is_overlay(&container)?;
    let found = container.must(&["read", "/who"])?;
    ensure!(
        found == contents[index],
        "of several layers not the {} one is on top",
        if index == 0 { "first" } else { "last" }
    );
    for content in &contents {
        container
            .must(&["read", &format!("/{content}")])
            .context("a layer is missing")?;
    }
    Ok(())
}

pub(super) fn next_run_goes_on(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let upper = bench.place()?.join("up");
    let options = ["--upper", &upper.to_string_lossy()];
    let content = random_name();
    let mut container = bench.start_in(&image, &options)?;
    is_overlay(&container)?;
    container.must(&["write", "/file", &content])?;
    container.must(&["mkdir", "/directory"])?;
    container.finish(0)?;
    let kept = fs::read_to_string(upper.join("upper/file"))
        .context("what was written is not in DIR/upper")?;
    ensure!(kept == content, "another text is in DIR/upper");
    let mode = fs::metadata(&upper)?.permissions().mode() & 0o777;
    ensure!(mode == 0o700, "DIR has the mode {mode:o}, and not 700");
    let mut container = bench.start_in(&image, &options)?;
    let found = container.must(&["read", "/file"])?;
    ensure!(found == content, "the next container reads {found:?}");
    ensure!(!image.inside("/file").exists(), "it is in the image");
    Ok(())
}

fn upper_is_not_shared(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let upper = bench.place()?.join("up");
    let upper = upper.to_string_lossy();
    let options = ["--upper", &upper];
    let container = bench.start_in(&image, &options)?;
    let all = ["--rootfs", image.path(), "--upper", &upper];
    bench
        .refuses_by(&all, &image.agent, |_| {})
        .context("a second container gets the upper directory of the first")?;
    container.finish(0)?;
    // It is free again.
    bench.start_in(&image, &options).map(drop)
}

/// What `diff` says of an upper directory.
fn diff(
    bench: &Bench,
    image: &Image,
    options: &[&str],
    upper: &str,
) -> anyhow::Result<Vec<String>> {
    let mut all = vec!["diff", "--rootfs", image.path()];
    all.extend(options);
    all.push(upper);
    let ended = bench.run(&all)?;
    ensure!(ended.code == 0, "diff ends with {}", ended.code);
    Ok(ended.stdout.lines().map(str::to_owned).collect())
}

fn expect(found: &[String], expected: &[String]) -> anyhow::Result<()> {
    ensure!(
        found == expected,
        "diff says: {}, and should say: {}",
        found.join(" | "),
        expected.join(" | ")
    );
    Ok(())
}

fn knows_whiteouts(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    layer(Path::new(image.path()), "/dir/kept", "")?;
    let name = format!("/dir/{}", random_name());
    layer(Path::new(image.path()), &name, "")?;
    let upper = bench.place()?.join("up");
    let upper = upper.to_string_lossy();
    let mut container = bench.start_in(&image, &["--upper", &upper])?;
    container.must(&["unlink", &name])?;
    // Empty, and no whiteout.
    container.must(&["write", "/dir/empty", ""])?;
    container.finish(0)?;
    let whiteout = fs::metadata(format!("{upper}/upper{name}"))?;
    ensure!(
        whiteout.file_type().is_char_device(),
        "no whiteout is there"
    );
    let found = changes(diff(bench, &image, &[], &upper)?);
    let expected = vec![
        "C /dir".to_owned(),
        format!("D {name}"),
        "A /dir/empty".to_owned(),
    ];
    expect(&found, &sorted(expected))
}

/// Without the places where /proc and /dev are mounted: our images have none.
fn changes(mut found: Vec<String>) -> Vec<String> {
    found.retain(|it| !["A /proc", "A /dev"].contains(&it.as_str()));
    found
}

/// Sorted by path, as `diff` does it.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
    lines
}

fn knows_added_and_changed(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let upper = bench.place()?.join("up");
    let upper = upper.to_string_lossy();
    let new = format!("/{}", random_name());
    let mut container = bench.start_in(&image, &["--upper", &upper])?;
    container.must(&["mkdir", &new])?;
    container.must(&["write", &format!("{new}/file"), "x"])?;
    container.must(&["write", &image.mark, "changed"])?;
    // Made and deleted again: no change.
    container.must(&["write", "/gone", ""])?;
    // Nobody's terminal gets that as it is.
    container.must(&["write", "/z\n\u{1b}", ""])?;
    container.must(&["unlink", "/gone"])?;
    container.finish(0)?;
    let found = changes(diff(bench, &image, &[], &upper)?);
    let expected = vec![
        format!("A {new}"),
        format!("A {new}/file"),
        format!("C {}", image.mark),
        r"A /z\n\x1b".to_owned(),
    ];
    expect(&found, &sorted(expected))
}

fn knows_opaque_directories(bench: &Bench) -> anyhow::Result<()> {
    let image = bench.image()?;
    let place = bench.place()?;
    let low = place.join("low");
    layer(&low, "/data/old", "")?;
    layer(&low, "/data/same", "")?;
    let (low, upper) = (low.to_string_lossy(), place.join("up"));
    let upper = upper.to_string_lossy();
    let options = ["--lower", &low, "--upper", &upper];
    let new = random_name();
    let mut container = bench.start_in(&image, &options)?;
    container.must(&["remove-all", "/data"])?;
    container.must(&["mkdir", "/data"])?;
    container.must(&["write", &format!("/data/{new}"), ""])?;
    container.must(&["write", "/data/same", "x"])?;
    container.finish(0)?;
    let found = changes(diff(bench, &image, &["--lower", &low], &upper)?);
    let expected = vec![
        "C /data".to_owned(),
        format!("A /data/{new}"),
        "D /data/old".to_owned(),
        "C /data/same".to_owned(),
    ];
    expect(&found, &sorted(expected))
}
