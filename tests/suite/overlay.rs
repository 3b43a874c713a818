//! Step 5: an image in layers.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tests::{
    CGROUPS, FULL, Finished, OVERLAY, Run, Step, Test, image::Image, needs,
    tests,
};

use crate::bad_input::assert_message;

pub(crate) const TESTS: &[Test] = tests![
    four_names_are_merged_and_upper_wins,
    a_deleted_file_leaves_a_whiteout,
    a_modified_file_is_copied_up,
    opening_for_writing_is_enough_to_copy_up,
    the_first_of_several_lower_layers_is_on_top,
    without_upper_nothing_is_kept,
    with_upper_the_next_run_goes_on,
    diff_lists_what_was_added_changed_and_deleted,
    a_directory_made_anew_hides_the_old_one,
    the_kernel_takes_500_layers_and_not_501,
    a_path_may_hold_any_character,
    a_lower_layer_that_does_not_exist_is_named,
    two_containers_cannot_share_an_upper_directory,
    an_upper_directory_on_an_overlay_is_refused,
    what_is_written_to_memory_counts_against_the_limit,
    what_is_written_to_a_disk_does_not,
];

/// The steps that have layers.
const LAYERED: [Step; 2] = [OVERLAY, FULL];

/// The demonstration of the series: three files in `lower`, two in `upper`.
struct Demo {
    directory: TempDir,
}

impl Demo {
    fn new() -> Demo {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let demo = Demo { directory };
        for (layer, names) in [
            (
                "lower",
                &["delete-me.txt", "duplicate.txt", "lower.txt"][..],
            ),
            ("upper", &["duplicate.txt", "upper.txt"][..]),
        ] {
            fs::create_dir_all(demo.path(layer)).expect("it is ours");
            for name in names {
                let text = format!("I live in {layer}\n");
                fs::write(demo.path(layer).join(name), text)
                    .expect("it is ours");
            }
        }
        demo
    }

    /// The directory `demo` in a layer.
    fn path(&self, layer: &str) -> PathBuf {
        self.directory.path().join(layer).join("demo")
    }

    fn run(&self, step: Step) -> Run {
        let layer = |name| self.directory.path().join(name).into_os_string();
        step.run().options([
            "--lower".into(),
            layer("lower"),
            "--upper".into(),
            layer("upper"),
            "--workdir".into(),
            "/demo".into(),
        ])
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("it is there")
}

fn four_names_are_merged_and_upper_wins() {
    for step in LAYERED {
        let merged = Demo::new().run(step).sh("ls; cat duplicate.txt");
        let four = "delete-me.txt\nduplicate.txt\nlower.txt\nupper.txt\n";
        merged.ok();
        assert_eq!(merged.stdout, format!("{four}I live in upper\n"));
    }
}

fn a_deleted_file_leaves_a_whiteout() {
    for step in LAYERED {
        let demo = Demo::new();
        let merged = demo.run(step).sh("rm delete-me.txt; ls");
        assert_eq!(merged.ok(), "duplicate.txt\nlower.txt\nupper.txt");
        let whiteout = demo.path("upper").join("delete-me.txt");
        let whiteout = whiteout.symlink_metadata().expect("it is there");
        assert!(whiteout.file_type().is_char_device());
        assert_eq!(whiteout.rdev(), 0, "major 0, minor 0");
        assert!(demo.path("lower").join("delete-me.txt").exists());
    }
}

/// Three reads: merged and upper have the new text, lower has the old one.
fn a_modified_file_is_copied_up() {
    for step in LAYERED {
        let demo = Demo::new();
        let before = tree(&demo.path("lower"));
        assert!(!demo.path("upper").join("lower.txt").exists());

        let merged = demo.run(step).sh("echo new >lower.txt; cat lower.txt");
        assert_eq!(merged.ok(), "new");
        assert_eq!(read(&demo.path("upper").join("lower.txt")), "new\n");
        let lower = read(&demo.path("lower").join("lower.txt"));
        assert_eq!(lower, "I live in lower\n");
        assert_eq!(tree(&demo.path("lower")), before);
    }
}

fn opening_for_writing_is_enough_to_copy_up() {
    for step in LAYERED {
        let demo = Demo::new();
        demo.run(step).sh("cat lower.txt && : >>lower.txt").ok();
        let upper = read(&demo.path("upper").join("lower.txt"));
        assert_eq!(upper, "I live in lower\n");
        assert!(!demo.path("upper").join("delete-me.txt").exists());
    }
}

fn the_first_of_several_lower_layers_is_on_top() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Vec::new();
    for name in ["first", "second", "third"] {
        let layer = directory.path().join(name);
        fs::create_dir(&layer).expect("it is ours");
        fs::write(layer.join("who"), name).expect("it is ours");
        fs::write(layer.join(name), "").expect("it is ours");
        options.extend(["--lower".into(), layer.into_os_string()]);
    }
    for step in LAYERED {
        let run = step.run().options(&options);
        let run = run.sh("cat /who; echo; ls -d /first /second /third");
        assert_eq!(run.ok(), "first\n/first\n/second\n/third");
    }
}

/// The leak of step 4 and the wall of step 5 is in `mount.rs`; here is the whole
/// image, and the run that comes after.
fn without_upper_nothing_is_kept() {
    let image = Image::copy_of_default();
    let before = tree(image.path());
    for step in LAYERED {
        let change = "echo x >/new; echo x >>/etc/passwd; rm -rf /bin; :";
        step.run().rootfs(image.path()).sh(change).ok();
        assert_eq!(tree(image.path()), before, "{}", step.name);
        let next = step.run().rootfs(image.path());
        next.sh("test ! -e /new && test -d /bin").ok();
    }
}

fn with_upper_the_next_run_goes_on() {
    for step in LAYERED {
        let demo = Demo::new();
        demo.run(step).sh("echo kept >new.txt").ok();
        assert_eq!(demo.run(step).sh("cat new.txt").ok(), "kept");
    }
}

fn diff_lists_what_was_added_changed_and_deleted() {
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let upper = directory.path().join("upper");
        let run = step.run().options(["--upper".as_ref(), upper.as_os_str()]);
        run.sh("mkdir /new && echo x >/new/file && \
                echo x >>/etc/passwd && rm /bin/true")
            .ok();
        let diff = step.subcommand("diff").options([&upper]).bare();
        assert_eq!(
            diff.ok(),
            "C /bin\nD /bin/true\nC /etc\nC /etc/passwd\nA /new\n\
             A /new/file"
        );
    }
}

/// Overlay marks it with an extended attribute, or the old files would show
/// through.
fn a_directory_made_anew_hides_the_old_one() {
    needs::extended_attributes();
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let upper = directory.path().join("upper");
        let run = step.run().options(["--upper".as_ref(), upper.as_os_str()]);
        let run = run.sh("rm -r /etc && mkdir /etc && ls -A /etc");
        assert_eq!(run.ok(), "", "{}", step.name);
        let diff = step.subcommand("diff").options([&upper]).bare();
        diff.ok();
        let lines = diff.lines();
        assert_eq!(lines[0], "C /etc");
        assert!(lines.contains(&"D /etc/passwd"), "{lines:?}");
    }
}

fn the_kernel_takes_500_layers_and_not_501() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut options = Vec::new();
    for number in 0..500 {
        let layer = directory.path().join(format!("layer-{number}"));
        fs::create_dir(&layer).expect("it is ours");
        fs::write(layer.join(format!("from-{number}")), "").expect("ours");
        options.extend(["--lower".into(), layer.into_os_string()]);
    }
    for step in LAYERED {
        // The root file system is a layer, too.
        let most = step.run().options(&options[..2 * 499]);
        let most = most.sh("set -- /from-*; echo $#");
        assert_eq!(most.ok(), "499", "{}", step.name);
        let too_many = step.run().options(&options).sh("true");
        assert_message(&too_many, 125, &["501 lower layers", "500"]);
    }
}

/// `:` and `,` mean something in the options of the mount, and `\` too.
fn a_path_may_hold_any_character() {
    let name = r"a:b,c\d e=f'g";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [image, lower, upper] = ["image", "lower", "upper"]
        .map(|layer| directory.path().join(format!("{name} {layer}")));
    let source = Image::copy_of_default();
    fs::rename(source.path(), &image).expect("it is on the same disk");
    // Back again, or the drop of `source` has nothing to remove.
    fs::create_dir(source.path()).expect("its name is free");
    fs::create_dir(&lower).expect("it is ours");
    fs::write(lower.join("file"), "lower").expect("it is ours");
    for step in LAYERED {
        let run = step.run().rootfs(&image).options([
            "--lower".as_ref(),
            lower.as_os_str(),
            "--upper".as_ref(),
            upper.as_os_str(),
        ]);
        let run = run.sh("cat /file; echo upper >/new");
        assert_eq!(run.ok(), "lower", "{}", step.name);
        assert_eq!(read(&upper.join("new")), "upper\n");
        fs::remove_dir_all(&upper).expect("it is ours");
    }
}

fn a_lower_layer_that_does_not_exist_is_named() {
    for step in LAYERED {
        let run = step.run().options(["--lower", "/no/such"]).sh("true");
        let parts = ["using \"/no/such\" as a layer", "ENOENT"];
        assert_message(&run, 125, &parts);
        let run = step.run().options(["--lower", "/etc/passwd"]).sh("true");
        assert_message(&run, 125, &["\"/etc/passwd\"", "ENOTDIR"]);
    }
}

fn two_containers_cannot_share_an_upper_directory() {
    for step in LAYERED {
        let demo = Demo::new();
        let mut first = demo.run(step).start_sh("echo ready; read _");
        first.wait_for("ready");
        let second = demo.run(step).sh("true");
        assert_message(&second, 125, &["in use by another container"]);
        first.finish().ok();
        demo.run(step).sh("true").ok();
    }
}

/// An overlay is what `/` is in most containers. Here one is made in a mount
/// namespace of the test's own.
fn an_upper_directory_on_an_overlay_is_refused() {
    needs::root();
    needs::tool("unshare");
    for step in LAYERED {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // Kernels before 6.6 or so want the attributes on a real disk.
        let script = r#"
            cd "$DIRECTORY" && mkdir lower upper work merged &&
            mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work \
                none merged &&
            mkdir merged/upper &&
            exec "$0" "$@"
        "#;
        let upper = directory.path().join("merged/upper");
        let run = step
            .run()
            .env("DIRECTORY", directory.path())
            .options(["--upper".as_ref(), upper.as_os_str()])
            .through(&format!(
                "exec unshare --mount sh -c '{script}' \"$0\" \"$@\""
            ))
            .sh("true");
        assert_message(&run, 125, &["EINVAL: Invalid argument", "hint: "]);
    }
}

/// Twice as much as the limit allows.
fn write_60_megabytes(run: Run) -> Finished {
    needs::limits();
    let run = run.options(["--memory", "30m"]);
    run.sh("exec head -c 60000000 /dev/zero >/file")
}

/// Without `--upper` the container writes to a tmpfs: its pages are memory.
fn what_is_written_to_memory_counts_against_the_limit() {
    for step in LAYERED {
        let run = write_60_megabytes(step.run());
        assert_eq!(run.code, 137, "{}", step.name);
    }
}

fn what_is_written_to_a_disk_does_not() {
    needs::disk();
    let image = Image::copy_of_default();
    write_60_megabytes(CGROUPS.run().rootfs(image.path())).ok();
}

/// All paths below `directory`, with the mode and the content of each.
fn tree(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("it is ours") {
        let path = entry.expect("it is ours").path();
        let status = path.symlink_metadata().expect("it is ours");
        let content = match status.file_type() {
            kind if kind.is_dir() => {
                found.extend(tree(&path));
                Vec::new()
            }
            kind if kind.is_file() => fs::read(&path).expect("it is ours"),
            _ => Vec::new(),
        };
        found.insert(path, (status.mode(), content));
    }
    found
}
