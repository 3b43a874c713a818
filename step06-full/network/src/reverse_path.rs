//! The reverse path filter: a host that is *strict* takes a packet only at the
//! interface by which it would send the answer. See rp_filter in the kernel's
//! ip-sysctl.
//!
//! For a bridge of ours that is what we want, and it is set. On the way out it
//! does no harm either, as long as there is one. Where there are several, an
//! answer may come in by another one than the question went out by.

use std::fs;

use crate::forwarding::{Forwarding, Version};

/// What to say about the ways out of this machine.
pub(crate) fn of_the_ways_out() -> anyhow::Result<String> {
    let ways_out = Forwarding::plan(Version::V4)?.ways_out;
    let strict = ways_out.iter().filter(|it| is_strict(it));
    let strict: Vec<&str> = strict.map(String::as_str).collect();
    Ok(judge(&strict, ways_out.len()))
}

/// The stricter one of two settings counts, and 2, which is loose, is the
/// greatest number.
fn is_strict(interface: &str) -> bool {
    let reads = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim_end().parse::<u8>().unwrap_or(0)
    };
    reads("all").max(reads(interface)) == 1
}

fn judge(strict: &[&str], ways_out: usize) -> String {
    match (strict, ways_out) {
        (_, 0) => "there is no way out".into(),
        ([], _) => "takes answers wherever they come in".into(),
        (_, 1) => {
            "strict (rp_filter = 1), which one way out has no trouble with"
                .into()
        }
        (all, _) => format!(
            "strict at {} (rp_filter = 1), and there are {ways_out} ways out: \
             an answer that comes in by another one than it would go out by is \
             dropped, and only the container sees that it is missing; \
             `sysctl net.ipv4.conf.{}.rp_filter=2` is loose",
            all.join(" and "),
            all[0],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strictness_is_told_where_it_does_harm() {
        assert_eq!(judge(&[], 2), "takes answers wherever they come in");
        assert!(judge(&["eth0"], 1).contains("no trouble"));
        let text = judge(&["eth0"], 2);
        assert!(text.contains("conf.eth0.rp_filter=2"), "{text}");
        assert!(!judge(&["a", "b"], 0).contains("strict"));
    }
}
