//! Grades a folder of submissions: several at a time, and the next run goes on
//! where this one was ended.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use lab::{files::read, sandbox, sealed::hash_of_all};
use nix::sys::resource::{Resource, setrlimit};

use crate::{
    grade::{Grade, grade, which},
    variant::Task,
    workshop::Workshop,
};

/// How much memory one at a time may take: the compiler up to 2 GiB, and the
/// sandboxes, two side by side, 1 GiB each. Hardly ever all of it at once.
const MEMORY: u64 = 3 << 30;

/// What to do.
pub struct GradeAll {
    /// Each directory in it, or archive, is a submission.
    pub folder: PathBuf,
    /// Which lab it is, if the submissions do not tell.
    pub step: Option<usize>,
    /// Which variant each has got; 0 without this.
    pub variants: Option<PathBuf>,
    /// The table, to which a line is added for each.
    pub csv: PathBuf,
    /// Where to put what Gradescope reads, for each.
    pub json: Option<PathBuf>,
    /// How many at a time; as many as there is memory for, without this.
    pub jobs: Option<usize>,
}

/// The largest file of an archive that is unpacked, in bytes.
const LARGEST: u64 = 64 << 20;

/// All files of an archive together may have so many bytes, and be so many.
const MOST: u64 = 256 << 20;
const COUNT: usize = 20_000;

/// What students pack without a thought, and what is by far the largest.
const LEFT_OUT: [&str; 6] = [
    "--anchored",
    "--wildcards",
    "--no-wildcards-match-slash",
    "--exclude=target",
    "--exclude=*/target",
    "--exclude=./*/target",
];

const HEAD: &str = "submission,score,of,state,digest,holes\n";

/// Grades all that are not in the table yet, or have changed since. True if each
/// has a grade.
///
/// # Errors
/// The folder can't be read, or the table not be written.
pub fn main(options: &GradeAll) -> anyhow::Result<bool> {
    let submissions = submissions(&options.folder)?;
    let graded = read_table(&options.csv)?;
    let variants = match &options.variants {
        Some(csv) => read_variants(csv, &submissions)?,
        None => BTreeMap::new(),
    };
    let mut todo = Vec::new();
    for (name, path) in &submissions {
        let variant = variants.get(name).copied().unwrap_or(0);
        // Why it can't be read, its own line says.
        let hash = hash_of_all(path).unwrap_or_default();
        let digest = format!("{hash:016x}-{variant}");
        if graded.get(name) != Some(&digest) {
            todo.push((name, path, digest, variant));
        }
    }
    let count = todo.len();
    let done = submissions.len() - count;
    let jobs = options.jobs.unwrap_or_else(side_by_side).clamp(1, 16);
    let jobs = jobs.min(count.max(1));
    println!(
        "{} submissions, {done} of them graded before; {jobs} at a time",
        submissions.len()
    );
    if count == 0 {
        return Ok(true);
    }
    let table = Mutex::new(open_table(&options.csv, &todo)?);
    let next = Mutex::new(todo.into_iter().enumerate());
    let begin = Instant::now();
    // One after the other: the others begin as copies of the first.
    let open = |number| match number {
        0 => Workshop::open(),
        _ => Workshop::open_number(number),
    };
    let workshops: Vec<Workshop> =
        (0..jobs).map(open).collect::<anyhow::Result<_>>()?;
    let worker = |workshop: &Workshop| -> anyhow::Result<usize> {
        let mut without = 0;
        loop {
            let taken = next.lock().map_or(None, |mut it| it.next());
            let Some((index, (name, path, digest, variant))) = taken else {
                return Ok(without);
            };
            let start = Instant::now();
            let graded = one(path, options.step, variant, workshop);
            if sandbox::is_interrupted() {
                bail!("interrupted; the next run goes on from here");
            }
            let line = line(name, &digest, &graded);
            without += usize::from(!line.contains(",graded,"));
            if let (Ok(grade), Some(directory)) = (&graded, &options.json) {
                fs::create_dir_all(directory)?;
                let text = format!("{:#}\n", grade.json());
                fs::write(directory.join(format!("{name}.json")), text)?;
            }
            let mut table = table.lock().ok().context("a worker panicked")?;
            table.write_all(line.as_bytes())?;
            let says = match &graded {
                Ok(grade) => {
                    format!("{}/{}", grade.score().total(), grade.lab.points())
                }
                Err(error) => format!("no grade: {error:#}"),
            };
            println!(
                "[{}/{count}] {name}: {says} ({} s)",
                index + 1,
                start.elapsed().as_secs()
            );
        }
    };
    let without = thread::scope(|scope| {
        let worker = &worker;
        let workers: Vec<_> = workshops
            .iter()
            .map(|workshop| scope.spawn(move || worker(workshop)))
            .collect();
        let ends = workers.into_iter().map(|it| match it.join() {
            Ok(end) => end,
            Err(_) => bail!("a worker panicked"),
        });
        ends.sum::<anyhow::Result<usize>>()
    })?;
    println!("{count} graded in {} s", begin.elapsed().as_secs());
    Ok(without == 0)
}

/// As many at a time as there are processors, and memory for.
fn side_by_side() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| {
        let text = line.strip_prefix("MemAvailable:")?.trim();
        text.strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let available = available.map_or(1, |kib| (kib << 10) / MEMORY);
    processors
        .min(usize::try_from(available).unwrap_or(1))
        .max(1)
}

/// Each directory and archive, by its name.
pub(crate) fn submissions(
    folder: &Path,
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("opendir({folder:?})"))?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        ensure!(
            !name.contains(char::is_control),
            "{path:?}: no line of a table can have this name"
        );
        if path.is_dir() {
            found.insert(name.into_owned(), path);
        } else if let Some(name) = name.strip_suffix(".tar.gz") {
            found.insert(name.to_owned(), path);
        }
    }
    ensure!(!found.is_empty(), "there are no submissions in {folder:?}");
    Ok(found)
}

fn one(
    path: &Path,
    step: Option<usize>,
    variant: u32,
    workshop: &Workshop,
) -> anyhow::Result<Grade> {
    let place = tempfile::tempdir()?;
    let directory = unpacked(path, place.path())?;
    let step = match step {
        Some(step) => step,
        None => which(&directory)?,
    };
    grade(&directory, Task::load(step, variant)?, workshop)
}

/// Where a submission is, unpacked at `place` if need be.
pub(crate) fn unpacked(path: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    match path.is_dir() {
        true => Ok(path.to_owned()),
        false => unpack(path, place),
    }
}

/// Refuses an archive that would fill the disk: it can be small all the same.
fn small_enough(archive: &Path) -> anyhow::Result<()> {
    let mut tar = Command::new("tar")
        .args(LEFT_OUT)
        .args(["--numeric-owner", "-tvzf"])
        .arg(archive.canonicalize()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("running tar")?;
    let list = BufReader::new(tar.stdout.take().context("it was piped")?);
    let (mut bytes, mut count) = (0_u64, 0);
    // What is wrong with it, tar says when it is unpacked.
    for line in list.split(b'\n').map_while(Result::ok) {
        // `-rw-r--r-- 0/0 SIZE DATE TIME NAME`, and for a device `1,3`.
        let line = String::from_utf8_lossy(&line);
        let size = line.split_whitespace().nth(2).unwrap_or_default();
        bytes = bytes.saturating_add(size.parse().unwrap_or(0));
        count += 1;
        if bytes > MOST || count > COUNT {
            tar.kill()?;
            break;
        }
    }
    tar.wait()?;
    ensure!(
        bytes <= MOST && count <= COUNT,
        "it has more in it than {} MiB or {COUNT} files",
        MOST >> 20
    );
    Ok(())
}

/// Unpacks an archive, and returns where what is in it begins.
fn unpack(archive: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    small_enough(archive)?;
    let mut tar = Command::new("tar");
    // A small archive may have a file in it that fills the disk.
    let limit = || Ok(setrlimit(Resource::RLIMIT_FSIZE, LARGEST, LARGEST)?);
    // SAFETY: setrlimit(2) is async-signal-safe, and nothing is allocated.
    unsafe { tar.pre_exec(limit) };
    let output = tar
        .args(LEFT_OUT)
        .args(["--no-same-owner", "--no-same-permissions", "-xzf"])
        .arg(archive.canonicalize()?)
        .arg("-C")
        .arg(place)
        .output()
        .context("running tar")?;
    let says = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    ensure!(status.success(), "tar: {status}: {}", says.trim());
    let entries = fs::read_dir(place)?.flatten();
    let entries: Vec<PathBuf> = entries.map(|it| it.path()).collect();
    // One directory with all in it, as `export` packs them.
    match &entries[..] {
        [one] if one.is_dir() && !one.join("lib.rs").exists() => {
            let is_step = one.join("src").is_dir() || which(one).is_ok();
            Ok(if is_step {
                one.clone()
            } else {
                place.to_owned()
            })
        }
        _ => Ok(place.to_owned()),
    }
}

fn line(name: &str, digest: &str, graded: &anyhow::Result<Grade>) -> String {
    let (score, of, state, holes) = match graded {
        Ok(grade) => {
            let score = grade.score();
            let holes = grade.lab.holes.iter().map(|hole| {
                format!("{}={}", hole.name, score.earned(&hole.name))
            });
            let holes: Vec<String> = holes.collect();
            let state = match grade.is_complete() {
                true => "graded",
                false => "incomplete",
            };
            (score.total(), grade.lab.points(), state, holes.join(" "))
        }
        Err(error) => (0, 0, "no grade", format!("{error:#}")),
    };
    let quoted = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    format!(
        "{},{score},{of},{state},{digest},{}\n",
        quoted(name),
        quoted(&holes)
    )
}

/// What is graded, and of which submission: a line without a grade does not
/// count.
fn read_table(csv: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    if !csv.exists() {
        return Ok(BTreeMap::new());
    }
    let text = read(csv)?;
    ensure!(
        text.is_empty() || text.starts_with(HEAD),
        "{csv:?} is another table"
    );
    let mut graded = BTreeMap::new();
    for line in text.lines().skip(1) {
        if let Some((name, rest)) = first_field(line)
            && let [_, _, "graded", digest, ..] =
                rest.split(',').collect::<Vec<_>>()[..]
        {
            graded.insert(name, digest.to_owned());
        }
    }
    Ok(graded)
}

/// Which variant each submission has got: a line `NAME,NUMBER` for each.
fn read_variants(
    csv: &Path,
    submissions: &BTreeMap<String, PathBuf>,
) -> anyhow::Result<BTreeMap<String, u32>> {
    let mut variants = BTreeMap::new();
    for line in read(csv)?.lines().filter(|it| !it.trim().is_empty()) {
        let (name, number) = first_field(line)
            .with_context(|| format!("{csv:?}: no comma in {line:?}"))?;
        // The line with the names of the columns is none.
        if let Ok(number) = number.trim().parse() {
            variants.insert(name, number);
        }
    }
    for name in submissions.keys() {
        ensure!(variants.contains_key(name), "{csv:?} has no {name}");
    }
    Ok(variants)
}

fn first_field(line: &str) -> Option<(String, &str)> {
    let Some(quoted) = line.strip_prefix('"') else {
        let (name, rest) = line.split_once(',')?;
        return Some((name.to_owned(), rest));
    };
    // A quote of the name is there twice, and that behind it once.
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (before, behind) = rest.split_once('"')?;
        name += before;
        match behind.strip_prefix('"') {
            Some(behind) => (name.push('"'), rest = behind),
            None => return Some((name, behind.strip_prefix(',')?)),
        };
    }
}

/// Opens the table to add to it, without the lines that will come anew.
fn open_table(
    csv: &Path,
    todo: &[(&String, &PathBuf, String, u32)],
) -> anyhow::Result<File> {
    let old = match csv.exists() {
        true => read(csv)?,
        false => String::new(),
    };
    let mut kept = HEAD.to_owned();
    for line in old.lines().skip(1) {
        let name = first_field(line).map(|(name, _)| name);
        // The last line may have been cut off.
        let comes_again = todo.iter().any(|it| Some(it.0) == name.as_ref());
        if name.is_some() && !comes_again && line.matches(',').count() >= 5 {
            kept += &format!("{line}\n");
        }
    }
    let new = csv.with_extension("new");
    fs::write(&new, kept).with_context(|| format!("writing {new:?}"))?;
    fs::rename(&new, csv).with_context(|| format!("rename(…, {csv:?})"))?;
    OpenOptions::new()
        .append(true)
        .open(csv)
        .with_context(|| format!("open({csv:?}, O_APPEND)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_gone_on_with() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let csv = place.path().join("grades.csv");
        let good = "anna,60,60,graded,11,a=30 b=30\n";
        let odd = "\"b, \"\"x\"\",\",0,60,graded,22,a=0\n";
        let none = "carl,0,0,no grade,33,no src\n";
        let cut_off = "dora,5";
        fs::write(&csv, format!("{HEAD}{good}{odd}{none}{cut_off}"))
            .expect("it is ours");
        let graded = read_table(&csv).expect("a table");
        let expected = [("anna", "11"), ("b, \"x\",", "22")]
            .map(|(name, digest)| (name.to_owned(), digest.to_owned()));
        assert_eq!(graded, BTreeMap::from(expected));
        let (carl, path) = ("carl".to_owned(), PathBuf::new());
        let todo = [(&carl, &path, "44".to_owned(), 0)];
        let mut table = open_table(&csv, &todo).expect("it is ours");
        let failed: anyhow::Result<Grade> = Err(anyhow::anyhow!("a, b"));
        let new = line("carl", "44", &failed);
        table.write_all(new.as_bytes()).expect("it is ours");
        let text = read(&csv).expect("it is there");
        let expected =
            format!("{HEAD}{good}{odd}carl,0,0,no grade,44,\"a, b\"\n");
        assert_eq!(text, expected);
    }

    /// An archive of what is in a directory.
    fn pack(directory: &Path, archive: &Path) {
        let status = Command::new("tar")
            .args(["-czSf", &archive.to_string_lossy()])
            .args(["-C", &directory.to_string_lossy(), "."])
            .status()
            .expect("there is a tar");
        assert!(status.success());
    }

    #[test]
    fn an_archive_can_not_fill_the_disk_and_what_was_built_is_left_out() {
        let (place, archives) = (
            tempfile::tempdir().expect("a temporary directory"),
            tempfile::tempdir().expect("a temporary directory"),
        );
        let archive = archives.path().join("anna.tar.gz");
        let lab = place.path().join("lab1");
        let source = lab.join("step01-uts/src/target/mod.rs");
        let built = lab.join("target/debug/step01-uts");
        for file in [&source, &built] {
            fs::create_dir_all(file.parent().expect("it is below"))
                .expect("it is ours");
            fs::write(file, "").expect("it is ours");
        }
        let large = File::create(&built).expect("it is ours");
        large.set_len(MOST + 1).expect("it is sparse");
        pack(place.path(), &archive);
        let to = tempfile::tempdir().expect("a temporary directory");
        let unpacked = unpack(&archive, to.path()).expect("it is small");
        assert!(unpacked.join("step01-uts/src/target/mod.rs").exists());
        assert!(!unpacked.join("target").exists());

        // Each of them may be as large as it is.
        for number in 0..=MOST / LARGEST {
            let path = lab.join(format!("step01-uts/src/{number}"));
            let file = File::create(path).expect("it is ours");
            file.set_len(LARGEST).expect("it is sparse");
        }
        pack(place.path(), &archive);
        let to = tempfile::tempdir().expect("a temporary directory");
        let error = unpack(&archive, to.path()).expect_err("it is large");
        assert!(format!("{error:#}").contains("256 MiB"), "{error:#}");
    }
}
