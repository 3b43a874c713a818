//! The host: what is changed for a network, is put back or told.

use harness::{Test, claims};

use crate::room::says;

pub(crate) const TESTS: &[Test] = claims![
    forwarding_is_told_and_put_back,
    what_forwards_already_is_left_alone,
    addresses_are_none_that_the_host_has_a_way_to,
    a_firewall_that_drops_is_named,
    who_publishes_a_port_meanwhile_is_reached,
    what_belongs_to_no_connection_does_not_come_in,
    the_price_of_a_rule_for_localhost_is_told,
    several_ways_out_and_strictness_are_told,
    who_makes_a_router_of_the_host_meanwhile_keeps_it,
    without_nft_there_is_no_way_out,
    a_router_without_rules_lets_nobody_in,
];

/// Runs `script` where somebody is behind the host, as behind Docker's bridge.
fn with_another(script: &str) -> String {
    let another = r#"
unshare --net sleep 1000 & other=$!
until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ]
do sleep 0.01; done
ip link add docker0 type veth peer name eth0 netns $other
ip address add 172.17.0.1/24 dev docker0; ip link set docker0 up
other() { nsenter --target $other --net "$@"; }
other ip link set lo up
other ip address add 172.17.0.2/24 dev eth0; other ip link set eth0 up
other ip route add default via 172.17.0.1
"#;
    says(&(another.to_owned() + script))
}

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
# Any number but 0 is on.
for number in 1 2; do
    echo $number > /proc/sys/net/ipv4/ip_forward
    box run --network box0 - ping -c 1 -W 2 192.168.50.9 2>/dev/null |
        grep -o '1 received'
    cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/wan/forwarding
done
"#,
    );
    assert_eq!(said, "1 received\n1\n1\n1 received\n2\n2\n");
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

/// As Docker does it: the host becomes a router, and a port of it leads to
/// somebody behind it. The container that was there before is in nobody's way.
fn who_publishes_a_port_meanwhile_is_reached() {
    let said = with_another(
        r#"
other /run/probe serve 0.0.0.0:80 2>/dev/null &
box run --network box0 - /probe serve 0.0.0.0:80 2>/dev/null &
until_it sh -c '/run/probe reach 10.88.77.2:80 172.17.0.2:80 | grep -c as | grep 2'
lan ip route add 10.88.77.0/24 via 192.168.50.1
lan ip route add 172.17.0.0/24 via 192.168.50.1
echo 1 > /proc/sys/net/ipv4/ip_forward
nft -f - <<END
table ip docker {
    chain PREROUTING {
        type nat hook prerouting priority dstnat;
        tcp dport 8080 dnat to 172.17.0.2:80
    }
}
END
# To others than by that rule there is still no way.
lan /run/probe reach 192.168.50.1:8080 172.17.0.2:80 10.88.77.2:80
# Not even if the rule leads to a container that is ours.
nft flush chain ip docker PREROUTING
nft add rule ip docker PREROUTING tcp dport 8080 dnat to 10.88.77.2:80
lan /run/probe reach 192.168.50.1:8080
"#,
    );
    assert_eq!(
        said,
        "192.168.50.1:8080 as 192.168.50.9\n172.17.0.2:80 no\n\
         10.88.77.2:80 no\n192.168.50.1:8080 no\n"
    );
}

/// Of such packets the kernel does not know a status, either.
fn what_belongs_to_no_connection_does_not_come_in() {
    let said = with_another(
        r#"
other nft -f - <<END
table ip seen {
    chain early {
        type filter hook prerouting priority filter; tcp dport 80 counter
    }
}
END
seen() { other nft list table ip seen | grep -o 'packets [0-9]*'; }
stray() { lan /run/probe stray 172.17.0.2:80; sleep 0.2; seen; }
lan ip route add 172.17.0.0/24 via 192.168.50.1
forwarding=/proc/sys/net/ipv4/conf/wan/forwarding
echo 1 > $forwarding; stray; echo 0 > $forwarding
box run --network box0 - sleep 1000 2>/dev/null &
until_it grep -q 1 $forwarding
stray
# And what the host's owner does not want to have tracked.
nft -f - <<END
table ip raw {
    chain early { type filter hook prerouting priority raw; notrack; }
}
END
stray
"#,
    );
    assert_eq!(said, "packets 4\npackets 4\npackets 4\n");
}

fn the_price_of_a_rule_for_localhost_is_told() {
    let said = says(
        r#"
localhost() { "$BOX" network | grep '^localhost' | cut -d ';' -f 1; }
for it in /proc/sys/net/ipv4/conf/*/route_localnet; do echo 0 > $it; done
localhost
# Any number but 0 is on.
echo 2 > /proc/sys/net/ipv4/conf/wan/route_localnet
localhost
"#,
    );
    let lines: Vec<&str> = said.lines().collect();
    let [before, after] = lines[..] else {
        panic!("{said}");
    };
    assert!(before.contains("for this machine only"), "{said}");
    assert!(after.contains("route_localnet is on at wan"), "{said}");
}

fn several_ways_out_and_strictness_are_told() {
    let said = says(
        r#"
reverse_path() { "$BOX" network | grep '^reverse path'; }
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 0 > /proc/sys/net/ipv4/conf/wan/rp_filter
reverse_path
echo 1 > /proc/sys/net/ipv4/conf/wan/rp_filter
reverse_path
ip link add wan2 type veth peer name wan3
ip link set wan2 up; ip link set wan3 up
ip route add default dev wan2 metric 9
reverse_path
echo 2 > /proc/sys/net/ipv4/conf/all/rp_filter
reverse_path
"#,
    );
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    assert!(lines[0].contains("wherever"), "{said}");
    assert!(lines[1].contains("no trouble"), "{said}");
    assert!(lines[2].contains("strict at wan (rp_filter = 1)"), "{said}");
    assert!(lines[3].contains("wherever"), "{said}");
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
