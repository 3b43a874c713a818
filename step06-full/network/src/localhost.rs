//! The price of DNAT for localhost: a rule that leads 127.0.0.1:8080 elsewhere
//! works only where the kernel routes 127.0.0.0/8 like other addresses. Then who
//! is on that interface reaches servers that listen at 127.0.0.1 only
//! (CVE-2020-8558). Ports that are published here need no such rule. See
//! route_localnet in the kernel's ip-sysctl.

use std::{fs, path::Path};

use anyhow::Context;

const INTERFACES: &str = "/proc/sys/net/ipv4/conf";

/// What to say about the interfaces of this machine.
pub(crate) fn of_the_interfaces() -> anyhow::Result<String> {
    let all = fs::read_dir(INTERFACES).context(INTERFACES)?;
    let names = all.flatten().map(|it| it.file_name());
    let names = names.filter_map(|it| it.into_string().ok());
    // What later ones begin with is no interface.
    let open = names.filter(|it| it != "default" && is_open(it));
    let mut open: Vec<String> = open.collect();
    open.sort_unstable();
    Ok(judge(&open))
}

fn is_open(interface: &str) -> bool {
    let path = Path::new(INTERFACES).join(interface).join("route_localnet");
    // Any number but 0 turns it on.
    fs::read_to_string(path).is_ok_and(|it| it.trim_end() != "0")
}

fn judge(open: &[String]) -> String {
    match open {
        [] => "servers at 127.0.0.1 are for this machine only; a rule (DNAT) \
               for that address would cost it, and -p needs none"
            .into(),
        open => format!(
            "route_localnet is on at {}: who is there reaches servers that \
             listen at 127.0.0.1 only; that is the price of a rule (DNAT) for \
             that address, and -p needs none",
            open.join(" and "),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_paid_the_price_is_told() {
        assert!(judge(&[]).contains("this machine only"));
        let text = judge(&["eth0".into(), "wan".into()]);
        assert!(text.contains("on at eth0 and wan:"), "{text}");
    }
}
