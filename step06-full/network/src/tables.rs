//! Whether rules stand that keep others out: what `nft list tables inet` says,
//! also where there is no nft(8) any more. See nft(8).

use std::{thread, time::Duration};

use common::sys;
use libc::{NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFT_MSG_GETTABLE};

use crate::{
    bridge::Bridge,
    netlink::{Netlink, Request, attributes, short},
    veth::Cable,
};

/// From linux/netfilter/nf_tables.h.
const NFTA_TABLE_NAME: u16 = 1;

/// Whether the rules of any container stand, but for those of `others`.
///
/// Each container's rules keep strangers out of the ways out, too: as long as
/// those of one stand, there may be forwarding.
pub(crate) fn stand_besides<'a>(
    others: impl IntoIterator<Item = &'a Cable>,
) -> bool {
    let others: Vec<String> = others.into_iter().map(Cable::outside).collect();
    // A kernel that knows no tables has none.
    let (tables, bridges) = (tables(), Bridge::all());
    let bridges = bridges.unwrap_or_default();
    let mut all = tables.unwrap_or_default().into_iter();
    all.any(|it| !others.contains(&it) && is_ours(&it, &bridges))
}

/// Waits until there is no table `name`, but not for ever: when its owner is
/// killed, or its input ends, it is there for a moment.
pub(crate) fn await_end(name: &str) {
    for _ in 0..500 {
        if !tables().is_ok_and(|all| all.iter().any(|it| it == name)) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// They are called as the end of its cable on the host.
fn is_ours(table: &str, bridges: &[String]) -> bool {
    let Some((bridge, number)) = table.rsplit_once('.') else {
        return false;
    };
    number.parse::<u8>().is_ok() && bridges.iter().any(|it| it == bridge)
}

/// The names of all tables for both versions of the protocol.
fn tables() -> sys::Result<Vec<String>> {
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
    // struct nfgenmsg: family, version, number.
    let family = u8::try_from(NFPROTO_INET).expect("it is 1");
    let body = [family, 0, 0, 0];
    let text = "NFT_MSG_GETTABLE(inet)".into();
    let request = Request::new(short(kind), 0, &body, text);
    let all = Netlink::of(sys::socket_netfilter()?)?.list(request)?;
    let name = |body: &Vec<u8>| {
        let mut all = attributes(body.get(4..)?);
        let (_, name) = all.find(|(kind, _)| *kind == NFTA_TABLE_NAME)?;
        let name = String::from_utf8_lossy(name);
        Some(name.trim_end_matches('\0').to_owned())
    };
    Ok(all.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_ours_is_called_as_a_cable() {
        let bridges = ["box0".to_owned(), "a.b".to_owned()];
        for ours in ["box0.2", "a.b.254"] {
            assert!(is_ours(ours, &bridges), "{ours}");
        }
        for other in ["box0", "box0.x", "box1.2", "filter", ".2"] {
            assert!(!is_ours(other, &bridges), "{other}");
        }
    }
}
