//! What there is: networks, who is in them, what was changed on the host for
//! them; and what this machine can do, each tried in a process and a network
//! namespace of its own.

use std::{convert::Infallible, fs::File, io::Read};

use anyhow::Context;
use common::{
    errors::{escaped, one_line},
    process, sys,
};
use libc::{IFLA_IFNAME, IFLA_LINKINFO, RTM_NEWLINK};
use nix::{
    sched::CloneFlags,
    unistd::{getegid, geteuid},
};

use crate::{
    addresses::Directory,
    bridge::Bridge,
    firewall::Firewall,
    forwarding, localhost,
    names::resolvers,
    nat::Nat,
    netlink::{NEW, Netlink, Request, link},
    reverse_path,
    subnet::Subnet,
    user_mode::Program,
};

/// A network, and who is in it.
pub struct Members {
    /// Its bridge.
    pub bridge: Bridge,
    /// Numbers of addresses, and host names.
    pub members: Vec<(u8, String)>,
}

/// The networks that somebody is in.
pub fn networks() -> anyhow::Result<Vec<Members>> {
    let mut all = Vec::new();
    for directory in Directory::all()? {
        if let Some(bridge) = Bridge::find(directory.name())? {
            let members = directory.members().into_iter();
            let members = members.map(|it| (it.number, it.names));
            let members = members.collect();
            all.push(Members { bridge, members });
        }
    }
    all.sort_by(|one, other| one.bridge.name.cmp(&other.bridge.name));
    Ok(all)
}

/// The whole report, as text.
pub fn text() -> anyhow::Result<String> {
    let mut text = String::new();
    for network in networks()? {
        let (name, subnet) = (&network.bridge.name, network.bridge.subnet);
        let line = |number: u8, name: &str| {
            let all = subnet.addresses(number);
            let all: Vec<_> = all.iter().map(|it| it.ip.to_string()).collect();
            format!("{:16} {}\n", escaped(name), all.join("  "))
        };
        text += &line(crate::subnet::HOST, name);
        for (number, name) in network.members {
            text += &format!("  {}", line(number, &name));
        }
    }
    for setting in forwarding::changed()? {
        let setting = setting.replace('/', ".");
        text += &format!("changed here     net.{setting}\n");
    }
    for (what, tried) in abilities() {
        let answer = match tried {
            Ok(answer) => answer,
            Err(error) => format!("no: {}", one_line(&error)),
        };
        text += &format!("{what:16} {answer}\n");
    }
    Ok(text)
}

/// Everything that a network needs, and what came of trying it.
fn abilities() -> Vec<(&'static str, anyhow::Result<String>)> {
    let mut all = vec![
        ("bridges", apart(|| add("try0", "bridge"))),
        ("cables", apart(|| add("try0", "veth"))),
        ("rules", apart(Nat::try_out)),
        ("a free range", free_range()),
        ("reverse path", reverse_path::of_the_ways_out()),
        ("localhost", localhost::of_the_interfaces()),
        ("resolvers", whom_to_ask()),
    ];
    if geteuid().is_root() {
        all.push(("firewall", firewall()));
    } else {
        all.push(("plain users", plain_users()));
    }
    all
}

/// Tries something where it changes nothing: in a process with a network
/// namespace, and, for a plain user, with a user namespace.
fn apart(attempt: fn() -> anyhow::Result<()>) -> anyhow::Result<String> {
    let (theirs, ours) = sys::pipe2()?;
    let (uid, gid) = (geteuid(), getegid());
    let child = process::fork(|| -> anyhow::Result<Infallible> {
        let tried =
            own_namespaces(uid.as_raw(), gid.as_raw()).and_then(|()| attempt());
        if let Err(error) = tried {
            sys::write(&ours, one_line(&error))?;
        }
        process::exit(0)
    })?;
    drop(ours);
    let mut error = String::new();
    File::from(theirs)
        .read_to_string(&mut error)
        .context("read(2)")?;
    process::wait(child)?;
    match error.is_empty() {
        true => Ok("yes".into()),
        false => Err(anyhow::anyhow!("{error}")),
    }
}

fn own_namespaces(uid: u32, gid: u32) -> anyhow::Result<()> {
    if uid == 0 {
        return Ok(sys::unshare(CloneFlags::CLONE_NEWNET)?);
    }
    sys::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        common::host::files::write_kernel_file(path, &text)?;
    }
    Ok(())
}

fn add(name: &str, kind: &str) -> anyhow::Result<()> {
    let text = format!("RTM_NEWLINK({name:?}, {kind})");
    let request = Request::new(RTM_NEWLINK, NEW, &link(0, 0), text);
    let request = request.string(IFLA_IFNAME, name).nested(
        IFLA_LINKINFO,
        // IFLA_INFO_KIND
        |it| it.attribute(1, kind.as_bytes()),
    );
    Ok(Netlink::open()?.ask(request)?)
}

fn free_range() -> anyhow::Result<String> {
    let subnet = Subnet::free(&Netlink::open()?)?;
    let all = subnet.addresses(0);
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    Ok(all.join("  "))
}

fn whom_to_ask() -> anyhow::Result<String> {
    let text = resolvers().context(
        "all that /etc/resolv.conf names are on the host's loopback interface",
    )?;
    let words = text.lines().filter_map(|it| it.strip_prefix("nameserver"));
    let words: Vec<_> = words.map(|it| escaped(it.trim())).collect();
    Ok(words.join("  "))
}

fn firewall() -> anyhow::Result<String> {
    let firewall = Firewall::ask()?;
    let warning = firewall.warning("box0");
    Ok(warning.unwrap_or_else(|| "drops nothing that is forwarded".into()))
}

fn plain_users() -> anyhow::Result<String> {
    let program = Program::find().context(
        "neither slirp4netns nor pasta is installed: there is only the \
         loopback interface",
    )?;
    let tun = nix::unistd::AccessFlags::R_OK | nix::unistd::AccessFlags::W_OK;
    sys::access("/dev/net/tun", tun)?;
    Ok(format!("{} leads out", program.name()))
}
