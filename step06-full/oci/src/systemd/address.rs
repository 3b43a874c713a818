//! Where a bus listens.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixStream},
    },
};

use anyhow::{Context, bail};

use super::bus::Kind;

/// Where the bus listens. See "Well-known Message Bus Instances" in the D-Bus
/// specification.
pub(super) fn address(kind: Kind) -> anyhow::Result<String> {
    let (variable, usual) = match kind {
        Kind::System => (
            "DBUS_SYSTEM_BUS_ADDRESS",
            Some("unix:path=/run/dbus/system_bus_socket".to_owned()),
        ),
        Kind::User => (
            "DBUS_SESSION_BUS_ADDRESS",
            env::var("XDG_RUNTIME_DIR")
                .ok()
                .map(|place| format!("unix:path={place}/bus")),
        ),
    };
    let given = env::var(variable).ok().filter(|it| !it.is_empty());
    given.or(usual).with_context(|| {
        format!(
            "there is no bus: neither {variable} nor XDG_RUNTIME_DIR is set"
        )
    })
}

/// Connects to the first of the addresses that works.
pub(super) fn open(addresses: &str) -> anyhow::Result<UnixStream> {
    let mut last = None;
    for address in addresses.split(';').filter(|it| !it.is_empty()) {
        match open_one(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("the address is empty")?)
}

/// `unix:path=/run/user/1000/bus,guid=…`
fn open_one(address: &str) -> anyhow::Result<UnixStream> {
    let Some(("unix", pairs)) = address.split_once(':') else {
        bail!("{address:?} is no Unix socket");
    };
    let mut pairs = pairs.split(',').filter_map(|it| it.split_once('='));
    let place = pairs.find(|(key, _)| ["path", "abstract"].contains(key));
    let (key, value) = place.context("the address has no path")?;
    let name = unescape(value)?;
    let address = match key {
        "path" => SocketAddr::from_pathname(String::from_utf8(name)?)?,
        _ => SocketAddr::from_abstract_name(name)?,
    };
    Ok(UnixStream::connect_addr(&address)?)
}

/// `%2f` is a slash.
pub(super) fn unescape(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..2).context("the address ends with a %")?;
        bytes.push(u8::from_str_radix(code, 16)?);
        bytes.extend(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}
