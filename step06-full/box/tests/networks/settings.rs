//! The host: what is changed for a network, is put back or told.

use harness::{Test, claims};

use crate::room::says;

pub(crate) const TESTS: &[Test] = claims![
    forwarding_is_told_and_put_back,
    what_forwards_already_is_left_alone,
    addresses_are_none_that_the_host_has_a_way_to,
    a_firewall_that_drops_is_named,
    who_makes_a_router_of_the_host_meanwhile_keeps_it,
    without_nft_there_is_no_way_out,
    a_router_without_rules_lets_nobody_in,
];

fn forwarding_is_told_and_put_back() {
    let said = says(
        r#"
settings() { sysctl -a 2>/dev/null | grep -v box0 |
    grep -E 'forward|rp_filter|route_localnet|bridge-nf|accept_ra'; }
settings > /run/before
box run --network box0 - sh -c 'sleep 1' 2>&1 &
until_it ip link show box0.2; sleep 0.2
settings | diff /run/before - | grep '^>'
wait %2
settings | diff /run/before - && echo as before
nft list tables
"#,
    );
    assert!(
        said.contains("> net.ipv4.conf.wan.forwarding = 1"),
        "{said}"
    );
    let told = said.lines().find(|it| it.contains("this machine forwards"));
    let told = told.expect("a line");
    let changed = said.lines().filter_map(|it| it.strip_prefix("> "));
    for setting in changed {
        let name = setting.split(' ').next().unwrap_or_default();
        assert!(told.contains(name), "{name} is not told: {said}");
    }
    assert!(said.ends_with("as before\n"), "{said}");
}

fn what_forwards_already_is_left_alone() {
    let said = says(
        r#"
echo 1 > /proc/sys/net/ipv4/ip_forward
box run --network box0 - ping -c 1 -W 2 192.168.50.9 2>/dev/null |
    grep -o '1 received'
cat /proc/sys/net/ipv4/ip_forward
"#,
    );
    assert_eq!(said, "1 received\n1\n");
}

fn addresses_are_none_that_the_host_has_a_way_to() {
    let said = says(
        r#"
ip route add 10.88.77.0/25 via 192.168.50.9
ip route add 10.88.78.0/23 via 192.168.50.9 table 52
box run --network box0 - ip -4 -br address show eth0 2>/dev/null
ip route add 10.0.0.0/8 via 192.168.50.9
box run --network box0 - ip -4 -br address show eth0 2>/dev/null
ip route add 172.16.0.0/12 via 192.168.50.9
box run --network box0 - true 2>&1
"#,
    );
    assert!(said.contains("10.88.80.2/24"), "{said}");
    assert!(said.contains("172.31.0.2/24"), "{said}");
    assert!(said.contains("the routes of this machine cover"), "{said}");
}

fn a_firewall_that_drops_is_named() {
    let said = says(
        r#"
nft -f - <<END
table ip filter {
    chain DOCKER-USER { }
    chain FORWARD { type filter hook forward priority filter; policy drop; }
}
END
box run --network box0 - ping -c 1 -W 1 192.168.50.9 2>&1
nft add rule ip filter FORWARD iifname box0 accept
nft add rule ip filter FORWARD oifname box0 accept
box run --network box0 - ping -c 1 -W 1 192.168.50.9 2>/dev/null
"#,
    );
    assert!(said.contains("a firewall, Docker's, drops"), "{said}");
    assert!(said.contains("iptables -I DOCKER-USER -i box0"), "{said}");
    assert!(said.contains("0 received"), "{said}");
    assert!(said.contains("1 received"), "{said}");
}

fn who_makes_a_router_of_the_host_meanwhile_keeps_it() {
    let said = says(
        r#"
settings=/proc/sys/net/ipv4
box run --network box0 - sh -c 'read -r _' < <(
    until_it grep -q 1 $settings/conf/wan/forwarding
    echo 1 > $settings/ip_forward
    echo)
cat $settings/ip_forward $settings/conf/wan/forwarding
echo 0 > $settings/ip_forward
box run --network lock --hostname localhost - cat /etc/hosts
cat $settings/ip_forward $settings/conf/wan/forwarding
"#,
    );
    assert!(said.starts_with("1\n1\n127.0.0.1\tlocalhost\n"), "{said}");
    assert!(said.ends_with("ip6-loopback\n0\n0\n"), "{said}");
}

fn without_nft_there_is_no_way_out() {
    let said = says(
        r#"
without_nft
box run --network box0 - sh -c '
    ping -c 1 -W 1 10.88.77.1 | grep -o "1 received"
    ping -c 1 -W 1 192.168.50.9 2>&1' 2>&1
cat /proc/sys/net/ipv4/conf/wan/forwarding
"#,
    );
    assert!(said.contains("has no way out"), "{said}");
    assert!(said.contains("1 received"), "{said}");
    assert!(said.contains("Network is unreachable"), "{said}");
    assert!(said.ends_with("0\n"), "{said}");
}

fn a_router_without_rules_lets_nobody_in() {
    let said = says(
        r#"
without_nft
echo 1 > /proc/sys/net/ipv4/ip_forward
box run --network box0 - true 2>&1; echo $?
ip -br link | grep box0
find /run/container-in-six-steps.networks -mindepth 1 ! -name .lock
"#,
    );
    assert!(said.contains("this machine is a router"), "{said}");
    assert!(said.ends_with("125\n"), "{said}");
}
