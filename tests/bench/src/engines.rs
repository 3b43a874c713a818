//! Engines: what a container costs that stays, with this project's `box` and
//! with podman on three runtimes; and what it takes to unpack an image.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use ground::Random;
use nix::unistd::geteuid;
use serde_json::json;

use crate::{
    peers::{OWN_RUNTIME, PODMAN, PODMAN_RUN, line, run},
    place::{Place, find_program, make_directory},
    report::LeftOut,
    sequences::{Comparison, NAME, Sequence, compare},
};

/// The tool of this project.
pub(crate) const OWN_ENGINE: &str = "box";

/// What the large image consists of: so many files, each of which can be
/// compressed to half of its size.
const FILES: usize = 2000;
const FILE_SIZE: usize = 32 << 10;

/// Measures all of it. What does not work is put down in `left_out`.
pub(crate) fn measure(
    programs: &Path,
    place: &Place,
    rounds: usize,
    left_out: &mut Vec<LeftOut>,
) -> anyhow::Result<Vec<Comparison>> {
    let directory = place.path().join("engines");
    let (small, large) = (directory.join("small"), directory.join("large"));
    make_directory(&small)?;
    make_directory(&large.join("files"))?;
    write_files(&large.join("files"))?;
    let small = archive(&place.rootfs(), &small)?;
    let large = archive(&large.join("files"), &large)?;
    let own = line![
        programs.join(OWN_ENGINE),
        "--store",
        directory.join("store")
    ];
    let stays = stays(&own, programs, &small)?;
    let unpacks = unpacks(&own, &directory, &large)?;
    let title = "A container that stays, ms";
    let mut results = vec![compare(title, &stays, rounds, left_out)?];
    let title = "An image of 2,000 files, 64 MB, ms";
    let rounds = rounds.div_ceil(5);
    results.push(compare(title, &unpacks, rounds, left_out)?);
    Ok(results)
}

/// An engine, and how it is told to run the small image.
struct Engine {
    name: String,
    /// The program, and what is told it with each command.
    line: Vec<OsString>,
    /// Options of `run`, with the image behind them.
    run: Vec<OsString>,
    /// What else it needs so as not to wait before it kills.
    at_once: Vec<OsString>,
}

impl Engine {
    fn tell(&self, words: &[&[OsString]]) -> Vec<OsString> {
        [&self.line, &words.concat()[..]].concat()
    }

    /// A container is made in the background, entered, and removed.
    fn sequence(&self) -> Sequence {
        let make = line!["run", "--detach", "--name", NAME];
        let make = self.tell(&[&make, &self.run, &line!["/bin/stay"]]);
        let enter = self.tell(&[&line!["exec", NAME, "/bin/true"]]);
        let remove = line!["rm", "--force"];
        let remove = self.tell(&[&remove, &self.at_once, &line![NAME]]);
        Sequence {
            name: self.name.clone(),
            commands: vec![
                (Some("run -d"), make),
                (Some("exec"), enter),
                (Some("rm -f"), remove),
            ],
        }
    }
}

fn stays(
    own: &[OsString],
    programs: &Path,
    archive: &Path,
) -> anyhow::Result<Vec<Sequence>> {
    let image = named("docker-archive:", archive);
    run(&mut command(own, &line!["pull", &image]))?;
    let with = |name: &str, options: &[OsString]| Engine {
        name: name.to_owned(),
        line: own.to_vec(),
        run: [options, &line![&image]].concat(),
        at_once: Vec::new(),
    };
    let mut engines = vec![
        with("box", &[]),
        with("box, with -p", &line!["--publish", "127.0.0.1::80"]),
    ];
    let Some(podman) = podman() else {
        return Ok(engines.iter().map(Engine::sequence).collect());
    };
    run(&mut command(&podman, &line!["load", "--input", archive]))?;
    for name in [OWN_RUNTIME, "crun", "runc"] {
        let own = Some(programs.join(name)).filter(|it| it.exists());
        let Some(runtime) = own.or_else(|| find_program(name)) else {
            continue;
        };
        let options = PODMAN_RUN.map(OsString::from);
        engines.push(Engine {
            name: format!("podman, with {name}"),
            line: [&podman[..], &line!["--runtime", runtime]].concat(),
            run: [&options[..], &line![image_name(archive)]].concat(),
            at_once: line!["--time", "0"].to_vec(),
        });
    }
    Ok(engines.iter().map(Engine::sequence).collect())
}

/// The large image is unpacked, and what was unpacked is removed.
fn unpacks(
    own: &[OsString],
    directory: &Path,
    archive: &Path,
) -> anyhow::Result<Vec<Sequence>> {
    let image = named("docker-archive:", archive);
    let target = directory.join("unpacked");
    let layer = archive.with_file_name("layer.tar");
    let sequence = |name: &str, unpack: &[OsString], away: &[OsString]| {
        let unpack = (Some("unpack"), unpack.to_vec());
        let commands = vec![unpack, (None, away.to_vec())];
        Sequence {
            name: name.to_owned(),
            commands,
        }
    };
    let away = line!["rm", "-rf", &target];
    let tar = r#"mkdir "$1" && tar -x -f "$0" -C "$1""#;
    let tar = line!["sh", "-c", tar, layer, &target];
    let pull = [own, &line!["pull", &image]].concat();
    let remove = [own, &line!["rmi", &image]].concat();
    let mut sequences = vec![
        sequence("tar -x, of its layer", &tar, &away),
        sequence("box pull", &pull, &remove),
    ];
    if let Some((skopeo, umoci)) =
        find_program("skopeo").zip(find_program("umoci"))
    {
        let layout = directory.join("layout");
        let mut copy = named("oci:", &layout);
        copy.push(":latest");
        let copy = line!["copy", &image, copy];
        run(&mut command(&line![skopeo], &copy))?;
        let unpack = line![umoci, "unpack", "--image", layout, &target];
        sequences.push(sequence("umoci unpack", &unpack, &away));
    }
    // Its images are where its state is.
    if let Some(podman) = podman() {
        let load = line!["load", "--input", archive];
        let load = [&podman[..], &load].concat();
        let remove = line!["rmi", "--force", image_name(archive)];
        let remove = [&podman[..], &remove].concat();
        sequences.push(sequence("podman load, into memory", &load, &remove));
    }
    Ok(sequences)
}

/// podman, with a state that is ours.
fn podman() -> Option<Vec<OsString>> {
    let program = find_program("podman").filter(|_| geteuid().is_root())?;
    let options = PODMAN.map(OsString::from);
    Some([&line![program][..], &options].concat())
}

fn command(program: &[OsString], words: &[OsString]) -> Command {
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(words);
    command
}

/// An image's name, such as `docker-archive:PATH`.
fn named(kind: &str, path: &Path) -> OsString {
    let mut source = OsString::from(kind);
    source.push(path);
    source
}

/// What podman calls the image of an archive.
fn image_name(archive: &Path) -> String {
    let directory = archive.parent().and_then(Path::file_name);
    let name = directory.unwrap_or_default().to_string_lossy();
    format!("localhost/six-steps-{name}:latest")
}

/// Writes the files of the large image.
fn write_files(directory: &Path) -> anyhow::Result<()> {
    let mut random = Random::new(1);
    for number in 0..FILES {
        let mut bytes = vec![0; FILE_SIZE];
        for byte in &mut bytes[..FILE_SIZE / 2] {
            *byte = u8::try_from(random.below(256)).unwrap_or_default();
        }
        let path = directory.join(number.to_string());
        fs::write(&path, bytes).with_context(|| format!("writing {path:?}"))?;
    }
    Ok(())
}

/// Makes an image of one layer of what is below `root`, in the file `image.tar`
/// of `directory`, as `docker save` writes it.
fn archive(root: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let image = directory.join("image.tar");
    let tar = |arguments: &[OsString]| {
        run(Command::new("tar").current_dir(directory).args(arguments))
    };
    tar(&line!["-c", "-f", "layer.tar", "-C", root, "."])?;
    let sum = Command::new("sha256sum")
        .arg(directory.join("layer.tar"))
        .output()
        .context("execve(\"sha256sum\")")?;
    let sum = String::from_utf8_lossy(&sum.stdout);
    let digest = sum.split_whitespace().next().context("no checksum")?;
    let config = json!({
        "architecture": match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [image_name(&image)],
        "Layers": ["layer.tar"],
    }]);
    for (name, json) in [("config.json", config), ("manifest.json", manifest)] {
        let path = directory.join(name);
        fs::write(&path, json.to_string())
            .with_context(|| format!("writing {path:?}"))?;
    }
    tar(&line![
        "-c",
        "-f",
        &image,
        "manifest.json",
        "config.json",
        "layer.tar"
    ])?;
    Ok(image)
}
