//! What is there at the moment, as far as the kernel tells it.

use std::{fs, os::unix::fs::MetadataExt};

use common::process::Stat;

use super::{Container, Picture};
use crate::{addresses::Directory, bridge::Bridge, publish::ports_of, subnet};

/// A network namespace: its device and inode.
type Namespace = (u64, u64);

/// The networks of this machine, and the ports that lead into containers: to root
/// all of them, to others their own.
///
/// # Errors
/// The kernel does not say what there is.
pub fn now() -> anyhow::Result<Picture> {
    let mut picture = Picture::default();
    let mut known: Vec<Namespace> = Vec::new();
    let mut directories = Directory::all()?;
    directories.sort_by(|one, other| one.name().cmp(other.name()));
    for directory in directories {
        let Some(bridge) = Bridge::find(directory.name())? else {
            continue;
        };
        let address = |number| {
            let all = bridge.subnet.addresses(number);
            all.first().map_or_else(String::new, |it| it.ip.to_string())
        };
        let nth = picture.bridges.len();
        let hosts = address(subnet::HOST);
        picture.bridges.push((bridge.name.clone(), hosts));
        for member in directory.members() {
            let namespace =
                member.process.and_then(|(pid, _)| of(pid.as_raw()));
            let name = &member.names;
            let container = entry(&mut picture, &mut known, namespace, name);
            container.cables.push((nth, address(member.number)));
        }
    }
    for pid in publishers() {
        let namespace = of(pid);
        let name = format!("of process {}", parent(pid));
        let container = entry(&mut picture, &mut known, namespace, &name);
        container.ports.extend(ports_of(pid));
    }
    Ok(picture)
}

/// The container that has this network: one that is there already, or a new one.
fn entry<'a>(
    picture: &'a mut Picture,
    known: &mut Vec<Namespace>,
    namespace: Option<Namespace>,
    name: &str,
) -> &'a mut Container {
    // Whoever is not there yet is nobody else.
    let namespace = namespace.unwrap_or((0, known.len() as u64));
    let found = known.iter().position(|it| *it == namespace);
    let index = found.unwrap_or_else(|| {
        known.push(namespace);
        let name = name.to_owned();
        picture.containers.push(Container {
            name,
            ..Container::default()
        });
        known.len() - 1
    });
    &mut picture.containers[index]
}

fn of(pid: i32) -> Option<Namespace> {
    let file = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?;
    Some((file.dev(), file.ino()))
}

fn parent(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.unwrap_or_default();
    let parent = status.lines().find_map(|it| it.strip_prefix("PPid:"));
    parent.map_or_else(String::new, |it| it.trim().to_owned())
}

/// The processes that publish, the oldest first.
fn publishers() -> Vec<i32> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = names.filter_map(|it| it.file_name().to_str()?.parse().ok());
    let mut found: Vec<(u64, i32)> = numbers
        .filter(|pid: &i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|it| it.trim_end() == "box-ports")
        })
        .filter_map(|pid| Some((Stat::read(&pid.to_string())?.start_time, pid)))
        .collect();
    found.sort_unstable();
    found.into_iter().map(|(_, pid)| pid).collect()
}
