//! Who reaches whom.

use std::{env, fs, path::Path};

use harness::{Test, claims};

use crate::room::says;

pub(crate) const TESTS: &[Test] = claims![
    who_reaches_whom,
    containers_know_each_other_by_name,
    fifty_at_once_have_fifty_addresses,
    a_container_may_be_in_several_networks,
    ping_needs_no_right,
    two_containers_may_share_a_network,
];

/// From whom, to whom, which address that is, and as whom one is seen there.
type Row = (&'static str, &'static str, &'static str, &'static str);

/// The claims; the book shows them as a table.
const ROWS: &[Row] = &[
    (
        "a container",
        "another one of its network",
        "10.88.77.3:7",
        "itself",
    ),
    ("a container", "the same, by IPv6", "SUBNET::3]:7", "itself"),
    (
        "a container",
        "a container of another network",
        "10.88.78.2:7",
        "",
    ),
    ("a container", "the host's loopback", "127.0.0.1:8", ""),
    (
        "a container",
        "the host, by its address on the bridge",
        "10.88.77.1:9",
        "itself",
    ),
    (
        "a container",
        "the host, by its own address",
        "192.168.50.1:9",
        "itself",
    ),
    (
        "a container",
        "a server of the host's loopback, by the bridge",
        "10.88.77.1:8",
        "",
    ),
    ("a container", "the neighbour", "192.168.50.9:7", "the host"),
    (
        "a container",
        "the neighbour, by IPv6",
        "[fd50::9]:7",
        "the host",
    ),
    (
        "a container with `--network host`",
        "the host's loopback",
        "127.0.0.1:8",
        "itself",
    ),
    (
        "a container without a network",
        "the neighbour",
        "192.168.50.9:7",
        "",
    ),
    ("the host", "a container", "10.88.77.2:7", "itself"),
    (
        "the neighbour",
        "a container, though it knows the way",
        "10.88.77.2:7",
        "",
    ),
    (
        "the neighbour",
        "beyond the host, to what is no container",
        "10.99.0.2:7",
        "",
    ),
];

const SCRIPT: &str = r#"
serve 127.0.0.1:8 0.0.0.0:9
lan /run/probe serve 0.0.0.0:7 [fd50::9]:7 &
# Somebody else's network behind this machine.
unshare --net sleep 1000 & other=$!
sleep 0.2
ip link add vm type veth peer name eth0 netns $other
ip address add 10.99.0.1/24 dev vm; ip link set vm up
other() { nsenter --target $other --net "$@"; }
other ip link set lo up
other ip address add 10.99.0.2/24 dev eth0; other ip link set eth0 up
other ip route add default via 10.99.0.1
other /run/probe serve 0.0.0.0:7 &
# It may reach everybody, and nobody reaches it.
echo 1 > /proc/sys/net/ipv4/conf/vm/forwarding
lan ip route add 10.88.77.0/24 via 192.168.50.1
lan ip route add 10.99.0.0/24 via 192.168.50.1

box run --network red --hostname first - sh -c '
    (/probe serve 0.0.0.0:7 &)
    until [ -e /go ]; do sleep 0.05; ping -c 1 -W 1 second; done >/dev/null 2>&1
' 2>/dev/null &
until_it ip link show red.2
box run --network red --hostname second - /probe serve [::]:7 2>/dev/null &
box run --network blue - /probe serve 0.0.0.0:7 2>/dev/null &
until_it /run/probe reach 10.88.77.3:7
for address in 10.88.77.2 10.88.77.3 10.88.78.2; do
    until_it sh -c "/run/probe reach $address:7 | grep -q as"
done
subnet=$(ip -6 -br address show red | grep -o 'fd[0-9a-f:]*::' | head -n 1)
echo "subnet $subnet"
from() { sed "s/^/$1 /"; }
box run --network red - /probe reach 10.88.77.3:7 "[${subnet}3]:7" \
    10.88.78.2:7 127.0.0.1:8 10.88.77.1:9 192.168.50.1:9 10.88.77.1:8 \
    192.168.50.9:7 [fd50::9]:7 2>/dev/null | from container
box run --network host - /probe reach 127.0.0.1:8 2>/dev/null | from with-host
box run - /probe reach 192.168.50.9:7 2>/dev/null | from without
/run/probe reach 10.88.77.2:7 | from host
lan /run/probe reach 10.88.77.2:7 10.99.0.2:7 | from neighbour
# The control: there is a way, and answers come by it.
other ping -c 1 -W 1 192.168.50.9 >/dev/null && echo control
exit 0
"#;

fn who_reaches_whom() {
    let said = says(SCRIPT);
    assert!(said.contains("control"), "{said}");
    let subnet = said
        .lines()
        .find_map(|line| line.strip_prefix("subnet "))
        .expect("the script says it");
    // See Forwarding: before Linux 6.17 there is no switch for an interface.
    let settings = Path::new("/proc/sys/net/ipv6/conf/all");
    let forwards_6 = settings.join("force_forwarding").exists();
    let mut table =
        String::from("| from | to | | seen there as |\n|---|---|---|---|\n");
    for &(from, to, address, expected) in ROWS {
        let word = match from {
            "a container" => "container",
            "the host" => "host",
            "the neighbour" => "neighbour",
            "a container without a network" => "without",
            _ => "with-host",
        };
        let address = match address.strip_prefix("SUBNET::") {
            Some(rest) => format!("[{subnet}{rest}"),
            None => address.to_owned(),
        };
        let start = format!("{word} {address} ");
        let line = said.lines().find_map(|it| it.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("{start}: {said}"));
        let seen = match line.strip_prefix("as ") {
            None => "",
            Some("192.168.50.1" | "fd50::1") if word == "container" => {
                "the host"
            }
            Some(_) => "itself",
        };
        let expected = match to {
            "the neighbour, by IPv6" if !forwards_6 => "",
            _ => expected,
        };
        assert_eq!(seen, expected, "{from} to {to}: {line}");
        let reached = if seen.is_empty() { "no" } else { "yes" };
        table += &format!("| {from} | {to} | {reached} | {seen} |\n");
    }
    if forwards_6 {
        in_the_book("reach.md", &table);
    }
}

/// What the book shows is what was tried; `UPDATE_BOOK` writes it.
fn in_the_book(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("../../book/src").join(name);
    if env::var_os("UPDATE_BOOK").is_some() {
        fs::write(&path, text).expect("the book is here");
    }
    // Where only the programs are, there is no book.
    if let Ok(shown) = fs::read_to_string(&path) {
        assert_eq!(shown, text, "UPDATE_BOOK=1 writes {path:?} anew");
    }
}

fn containers_know_each_other_by_name() {
    let said = says(
        r#"
box run --network box0 --hostname db - sh -c '
    echo before: $(grep -c web /etc/hosts)
    until grep -q web /etc/hosts; do sleep 0.05; done
    echo while: $(grep -c web /etc/hosts)
    until ! grep -q web /etc/hosts; do sleep 0.05; done
    echo after: $(grep -c web /etc/hosts)
    echo mine > /etc/hosts || echo read-only
' > /run/db 2>/dev/null &
until_it grep before /run/db
box run --network box0 --hostname web - sh -c '
    ping -c 1 -w 10 db >/dev/null && echo reached
    ping -c 1 -w 10 $(grep -w db /etc/hosts | sed -n "s/^\(fd[0-9a-f:]*\).*/\1/p") \
        >/dev/null && echo reached by IPv6
    grep -w web /etc/hosts | head -n 1
    sleep 0.5' 2>/dev/null
wait %2
cat /run/db
"#,
    );
    for line in [
        "before: 0",
        "while: 2",
        "after: 0",
        "read-only",
        "reached",
        "reached by IPv6",
        "10.88.77.3\tweb",
    ] {
        assert!(said.lines().any(|it| it == line), "{line}: {said}");
    }
}

fn fifty_at_once_have_fifty_addresses() {
    let said = says(
        r#"
for n in $(seq 50); do
    box run --network box0 - sh -c '
        ip -4 -br address show eth0; sleep 60' >> /run/said 2>/dev/null &
done
until_it sh -c '[ $(grep -c 10.88.77 /run/said) = 50 ]'
sort -u /run/said | grep -c 10.88.77
ls /run/container-in-six-steps.networks/*/box0 | grep -c .
"#,
    );
    assert_eq!(said, "50\n50\n");
}

fn a_container_may_be_in_several_networks() {
    let said = says(
        r#"
box run --network red --network blue - ip -4 -br address 2>/dev/null
box run --network red --network blue - sh -c '/probe serve 0.0.0.0:7' 2>/dev/null &
until_it sh -c '/run/probe reach 10.88.78.2:7 | grep as'
# From the one network nobody reaches it by the other.
box run --network red - /probe reach 10.88.77.2:7 10.88.78.2:7 2>/dev/null
box run --network red --network none - true
echo $?
box run --network lo - true
echo $?
box run --network wan - true
echo $?
"#,
    );
    assert!(said.contains("10.88.77.2/24"), "{said}");
    assert!(said.contains("10.88.78.2/24"), "{said}");
    assert!(said.contains("10.88.77.2:7 as 10.88.77.3"), "{said}");
    assert!(said.contains("10.88.78.2:7 no"), "{said}");
    assert!(said.ends_with("125\n125\n125\n"), "{said}");
}

fn ping_needs_no_right() {
    let said = says(
        r#"
box run --network box0 - sh -c '
    grep CapEff /proc/self/status
    ping -c 1 -W 2 192.168.50.9 >/dev/null && echo as root' 2>/dev/null
box run --network box0 --user 7 - ping -c 1 -W 2 192.168.50.9 2>/dev/null |
    grep -o '1 received'
"#,
    );
    assert!(said.contains("as root\n1 received\n"), "{said}");
    let mask = said.split_whitespace().nth(1).unwrap_or_default();
    let mask = u64::from_str_radix(mask, 16).expect("a mask");
    // CAP_NET_ADMIN and CAP_NET_RAW.
    assert_eq!(mask & (1 << 12 | 1 << 13), 0, "{said}");
}

fn two_containers_may_share_a_network() {
    let said = says(
        r#"
box run --network box0 --hostname pod - /probe serve 127.0.0.1:2000 2>/dev/null &
until_it sh -c 'grep -q " " /run/container-in-six-steps.networks/*/box0/2'
box run --network container:pod - sh -c '
    until /probe reach 127.0.0.1:2000 | grep as; do sleep 0.1; done
    grep -w pod /etc/hosts | head -n 1
    ip link set eth0 down || echo no right
    ls /sys/class/net | grep -c eth' 2>/dev/null
box run --network container:nobody - true 2>&1; echo $?
"#,
    );
    let expected =
        "127.0.0.1:2000 as 127.0.0.1\n10.88.77.2\tpod\nno right\n0\n";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.contains("no container \"nobody\""), "{said}");
    assert!(said.ends_with("125\n"), "{said}");
}
