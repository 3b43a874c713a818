//! `cp`: between the host and a container, as an archive in a pipe.

use std::{
    io::{stdin, stdout},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use anyhow::ensure;
use common::{
    process,
    sys::{self, dup},
};
use nix::unistd::Pid;
use step06_life::Container;

use super::{errand::Errand, or_one};
use crate::store;

/// Copy files between the host and a container
#[derive(clap::Args)]
pub(crate) struct Copy {
    /// Keep the numbers of owners and groups
    #[arg(short, long)]
    archive: bool,
    /// If the source is a link, copy what it leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing of how far it is (always so; accepted, as by Docker)
    #[arg(short, long)]
    quiet: bool,
    /// What is copied: PATH, CONTAINER:PATH, or - for a tar archive on standard
    /// input
    #[arg(value_name = "SOURCE")]
    source: End,
    /// Where to: a directory that is there, a new name in one, or - for a tar
    /// archive on standard output
    #[arg(value_name = "DESTINATION")]
    destination: End,
}

#[derive(Clone)]
enum End {
    Host(PathBuf),
    Inside(String, PathBuf),
}

impl FromStr for End {
    type Err = anyhow::Error;

    /// As with Docker: what has a `/` before its `:` is a path.
    fn from_str(text: &str) -> anyhow::Result<End> {
        match text.split_once(':') {
            Some((name, path)) if !name.contains('/') && !name.is_empty() => {
                // From the root on, wherever the command works.
                let path = Path::new("/").join(path);
                Ok(End::Inside(name.into(), path))
            }
            _ => Ok(End::Host(text.into())),
        }
    }
}

pub(crate) fn copy(args: &Copy) -> anyhow::Result<ExitCode> {
    or_one(|| copy_all(args))
}

fn copy_all(args: &Copy) -> anyhow::Result<ExitCode> {
    let (source, destination) = (args.source.open()?, args.destination.open()?);
    ensure!(
        source.container.is_some() != destination.container.is_some(),
        "one of the two is CONTAINER:PATH, and the other is a path of the host"
    );
    if args.destination.is_stream() {
        let pack = args.pack(source.path.clone(), source.name());
        return end(&[pack.start(
            source.container.as_ref(),
            &dup(stdout())?,
            None,
        )?]);
    }
    if args.source.is_stream() {
        let unpack = args.unpack(destination.path, PathBuf::new());
        return end(&[unpack.start(
            destination.container.as_ref(),
            &dup(stdin())?,
            None,
        )?]);
    }
    // Into a directory that is there; or by a new name into the one above.
    let (dir, name) = match destination.is_directory()? {
        true => (destination.path.clone(), source.name()),
        false => (destination.parent(), destination.name()),
    };
    let (from, to) = sys::pipe2()?;
    let pack = args.pack(source.path, name.clone());
    let reader = pack.start(source.container.as_ref(), &to, Some(&from))?;
    drop(to);
    let unpack = args.unpack(dir, name);
    let writer = unpack.start(destination.container.as_ref(), &from, None)?;
    drop(from);
    end(&[reader, writer])
}

impl Copy {
    fn pack(&self, source: PathBuf, name: PathBuf) -> Errand {
        match self.follow_link {
            true => Errand::PackLinked(source, name),
            false => Errand::Pack(source, name),
        }
    }

    fn unpack(&self, dir: PathBuf, name: PathBuf) -> Errand {
        match self.archive {
            true => Errand::UnpackOwned(dir, name),
            false => Errand::Unpack(dir, name),
        }
    }
}

fn end(processes: &[Pid]) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for process in processes {
        // Each has said what went wrong.
        if process::wait(*process)? != 0 {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

impl End {
    fn is_stream(&self) -> bool {
        matches!(self, End::Host(path) if path == "-")
    }

    fn open(&self) -> anyhow::Result<Place> {
        let (name, path) = match self {
            End::Host(path) => (None, path),
            End::Inside(name, path) => (Some(name), path),
        };
        let find = |name: &String| Container::find(&store::place()?, name);
        Ok(Place {
            container: name.map(find).transpose()?,
            path: path.clone(),
        })
    }
}

/// A path, and where it begins.
struct Place {
    container: Option<Container>,
    path: PathBuf,
}

impl Place {
    fn is_directory(&self) -> anyhow::Result<bool> {
        let look = Errand::Look(self.path.clone());
        // Nobody writes there.
        let (from, _) = sys::pipe2()?;
        let container = self.container.as_ref();
        Ok(process::wait(look.start(container, &from, None)?)? == 0)
    }

    /// The last part of the path; nothing for that of a root, and, as with
    /// Docker, for one that ends in `/.`: what is in there is meant.
    fn name(&self) -> PathBuf {
        let is_inside = self.path.as_os_str().as_bytes().ends_with(b"/.");
        let name = self.path.file_name().filter(|_| !is_inside);
        name.unwrap_or_default().into()
    }

    fn parent(&self) -> PathBuf {
        let parent = self.path.parent().filter(|it| *it != "");
        parent.unwrap_or(".".as_ref()).to_owned()
    }
}
