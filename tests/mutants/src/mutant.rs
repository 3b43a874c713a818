//! A mutant is a file in `tests/mutants`: a sentence on why it is wrong, what it
//! needs, the tests that it claims to be caught by, and a patch. The patch is
//! applied by its text; the numbers of the lines need not be right.

use std::{fs, path::Path};

use anyhow::{Context, bail, ensure};
use grader::{new_directory::in_new_directory, workshop::copy_packages};
use ground::{STEPS, cgroups};
use lab::{build::checkout, files::read, lines::lines};

use crate::stage::Machine;

/// The packages above the steps.
pub(crate) const ABOVE: [&str; 5] = [
    "step06-full/image",
    "step06-full/life",
    "step06-full/network",
    "step06-full/box",
    "step06-full/oci",
];

/// A known-bad version of a step, or of what stands above them.
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) needs: Option<String>,
    pub(crate) as_user: bool,
    /// Each of them notices it.
    pub(crate) tests: Vec<String>,
    /// Replacements of lines: the file, before, after.
    pub(crate) hunks: Vec<(String, Vec<String>, Vec<String>)>,
}

impl Mutant {
    fn parse(name: &str, text: &str) -> anyhow::Result<Mutant> {
        let mut mutant = Mutant {
            name: name.to_owned(),
            why: String::new(),
            needs: None,
            as_user: false,
            tests: Vec::new(),
            hunks: Vec::new(),
        };
        let mut file = None;
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("+++ b/") {
                file = Some(path.to_owned());
            } else if line.starts_with("--- a/") {
                file = None;
            } else if line.starts_with("@@") {
                let file = file.clone().context("@@ before +++")?;
                mutant.hunks.push((file, Vec::new(), Vec::new()));
            } else if let Some((_, before, after)) = mutant.hunks.last_mut() {
                let (mark, rest) = line.split_at(line.len().min(1));
                if mark != "+" {
                    before.push(rest.to_owned());
                }
                if mark != "-" {
                    after.push(rest.to_owned());
                }
            } else if let Some((key, value)) = line.split_once(": ") {
                let value = value.trim().to_owned();
                match key {
                    "Why" => mutant.why = value,
                    "Needs" => mutant.needs = Some(value),
                    "As" => mutant.as_user = value == "a plain user",
                    "Caught by" => mutant.tests.push(value),
                    _ => bail!("what is {key}?"),
                }
            }
        }
        ensure!(mutant.why.ends_with('.'), "no sentence on why it is wrong");
        ensure!(!mutant.tests.is_empty(), "no test is named");
        ensure!(!mutant.hunks.is_empty(), "it changes nothing");
        Ok(mutant)
    }

    /// The program that shows the change: the mutant's name begins with that of
    /// its step, or of what stands above the steps.
    pub(crate) fn package(&self) -> anyhow::Result<&'static str> {
        let of_step = |step: &&str| self.name.starts_with(&step[..6]);
        let found = STEPS.into_iter().find(|it| of_step(it));
        found
            .or_else(|| self.program_above())
            .context("its name begins with that of no step, box- or oci-")
    }

    /// The program above the steps that shows the change, if it is one of these.
    pub(crate) fn program_above(&self) -> Option<&'static str> {
        let (name, _) = self.name.split_once('-')?;
        match name {
            "box" => Some("box"),
            "oci" => Some("step06-oci"),
            _ => None,
        }
    }

    /// Applies the change to the copy of the workspace at `directory`.
    pub(crate) fn apply(&self, directory: &Path) -> anyhow::Result<()> {
        for (file, before, after) in &self.hunks {
            let path = directory.join(file);
            let mut text = read(&path)?;
            let place = lines(&text, before).context(file.clone())?;
            text.replace_range(place, &(after.join("\n") + "\n"));
            fs::write(&path, text)
                .with_context(|| format!("writing {path:?}"))?;
        }
        Ok(())
    }

    /// Where it can be tried: here, or where there is what it needs.
    pub(crate) fn machine(&self) -> anyhow::Result<Machine> {
        let ours = cgroups::of_process("self")?;
        let version_1 = ours.iter().any(|cgroup| cgroup.has("memory"));
        let (here, kernel, cgroups) = match self.needs.as_deref() {
            None => return Ok(Machine::Here),
            Some("cgroups of version 1") => (version_1, "6.1", "v1"),
            Some("cgroups of version 2") => (!version_1, "6.12", "v2"),
            Some(needs) => bail!("it needs {needs}, whatever that is"),
        };
        Ok(match here {
            true => Machine::Here,
            false => Machine::Virtual { kernel, cgroups },
        })
    }
}

/// All mutants, or those whose name contains one of `names`.
pub(crate) fn load(names: &[String]) -> anyhow::Result<Vec<Mutant>> {
    let directory = checkout().join("tests/mutants");
    let entries = fs::read_dir(&directory)
        .with_context(|| format!("opendir({directory:?})"))?;
    let mut mutants = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let wanted =
            names.is_empty() || names.iter().any(|it| name.contains(it));
        if path.extension().is_some_and(|it| it == "patch") && wanted {
            let mutant = Mutant::parse(&name, &read(&path)?);
            mutants.push(mutant.with_context(|| format!("{path:?}"))?);
        }
    }
    mutants.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(mutants)
}

/// Shows each mutant with its sentence.
pub(crate) fn list(names: &[String]) -> anyhow::Result<()> {
    for mutant in load(names)? {
        println!("{}\n    {}", mutant.name, mutant.why);
        for test in &mutant.tests {
            println!("    caught by {test}");
        }
    }
    Ok(())
}

/// Makes a workspace at `to`, in which the steps have the mistakes `names`: for
/// readers who want to see what they do.
pub(crate) fn make(names: &[String], to: &Path) -> anyhow::Result<()> {
    let all = load(names)?;
    let find = |name: &String| {
        let found = all.iter().find(|it| it.name == *name);
        found.with_context(|| {
            format!("there is no {name:?}: `cargo mutant list` shows all")
        })
    };
    let mutants: Vec<&Mutant> =
        names.iter().map(find).collect::<anyhow::Result<_>>()?;
    for (index, name) in names.iter().enumerate() {
        ensure!(!names[..index].contains(name), "{name} is named twice");
    }
    in_new_directory(to, |to| {
        let mut packages = vec!["common"];
        packages.extend(STEPS);
        if mutants.iter().any(|it| it.program_above().is_some()) {
            packages.extend(ABOVE);
        }
        copy_packages(checkout(), to, &packages)?;
        for mutant in &mutants {
            let name = &mutant.name;
            mutant
                .apply(to)
                .with_context(|| format!("{name} excludes one before it"))?;
        }
        Ok(())
    })?;
    for mutant in mutants {
        println!("{}", mutant.why);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo tries it only when somebody asks for the mutants.
    #[test]
    fn each_mutant_fits_the_sources() {
        let mut wrong = Vec::new();
        for mutant in load(&[]).expect("they can be read") {
            let place = tempfile::tempdir().expect("a temporary directory");
            for (file, _, _) in &mutant.hunks {
                let copy = place.path().join(file);
                let directory = copy.parent().expect("it is below the place");
                fs::create_dir_all(directory).expect("it is ours");
                fs::copy(checkout().join(file), copy).expect(file);
            }
            if let Err(error) = mutant.apply(place.path()) {
                wrong.push(format!("{}: {error:#}", mutant.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_readers_mutant_differs_by_its_mistake_alone() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let to = place.path().join("mutant");
        let make = |name: &str, to: &Path| make(&[name.to_owned()], to);
        make("step03-no-dev", &to).expect("there is one");
        let mistake = "step03-mount/src/main.rs";
        for file in [mistake, "step03-mount/src/lib.rs"] {
            let before = read(&checkout().join(file)).expect("a source");
            let after = read(&to.join(file)).expect("a copy");
            assert_eq!(before == after, file != mistake, "{file}");
        }
        // Neither over what is there, nor one of several.
        make("step03-no-dev", &to).expect_err("not empty");
        make("step03", &place.path().join("x")).expect_err("no such name");
        // Nor beside the solution, where Cargo would take it for a member.
        make("step03-no-dev", &checkout().join("x")).expect_err("in there");
    }

    #[test]
    fn mutants_that_exclude_each_other_leave_nothing_behind() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let to = place.path().join("mutant");
        let one = load(&[]).expect("they can be read").swap_remove(0).name;
        make(&[one.clone(), one.clone()], &to).expect_err("named twice");
        assert!(!to.exists());

        // Any two that replace the same line.
        let all = load(&[]).expect("they can be read");
        let pairs = all.iter().enumerate().flat_map(|(index, one)| {
            all[index + 1..].iter().map(move |other| (one, other))
        });
        let mut same_line = pairs.filter(|(one, other)| {
            one.hunks[0].0 == other.hunks[0].0
                && one.hunks[0].1 == other.hunks[0].1
        });
        let (one, other) = same_line.next().expect("there are some");
        let both = [one.name.clone(), other.name.clone()];
        make(&both, &to).expect_err("they exclude each other");
        assert!(!to.exists());
        make(&both[..1], &to).expect("one alone can be made");
    }
}
