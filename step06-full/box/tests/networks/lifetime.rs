//! Nothing stays, whoever is killed.

use harness::{Test, claims};

use crate::room::says;

pub(crate) const TESTS: &[Test] = claims![
    nothing_stays_of_a_network,
    the_rules_have_an_owner,
    a_keeper_that_is_killed_has_a_successor,
    a_container_without_rules_is_off,
    who_has_rules_keeps_the_way_out,
    forwarding_ends_with_the_last_rules,
    what_forwards_is_never_without_rules,
    whoever_is_killed_nothing_stays,
    what_nobody_could_remove_the_next_command_does,
    what_can_not_be_removed_is_told,
    a_bridge_without_a_place_is_removed,
    two_network_namespaces_do_not_disturb_each_other,
    a_network_of_another_run_is_left_alone,
    a_network_of_an_earlier_version_goes_on,
];

const LEFT: &str = r#"
# What is there of networks, but for the lock.
left() {
    ip -br link | grep -E '^box0'
    nft list tables
    find /run/container-in-six-steps.networks -mindepth 1 ! -name .lock
    grep -l 1 /proc/sys/net/ipv4/conf/wan/forwarding \
        /proc/sys/net/ipv6/conf/wan/force_forwarding 2>/dev/null
    pgrep -a 'box|nft'
}
# The parent and the keeper are killed at once.
leave_a_bridge() {
    "$BOX" run --network box0 - sleep 1000 >/dev/null 2>&1 &
    until_it sh -c 'grep " " /run/container-in-six-steps.networks/*/box0/2'
    # Neither has a moment in which it is alone.
    pkill -STOP -x box; pkill -KILL -x box
    wait $!
    until_it sh -c '! pgrep -x "box|nft" && ! ip link show box0.2'
    ip -br link | grep -o ^box0
} 2>/dev/null
"#;

fn nothing_stays_of_a_network() {
    let said = says(&format!(
        "{LEFT}box run --network box0 - true 2>/dev/null; left; exit 0"
    ));
    assert_eq!(said, "");
}

/// And whoever kills the owner gets another one; where there can be none, nothing
/// is forwarded, and the container is cut off.
fn the_rules_have_an_owner() {
    let said = says(&format!(
        r#"{LEFT}
"$BOX" run --network box0 - sleep 1000 2>/run/said & one=$!
until_it nft list table inet box0.2
until_it grep 1 /proc/sys/net/ipv4/conf/wan/forwarding
nft delete table inet box0.2 2>/dev/null || echo refused
killed=$(pgrep -x nft); kill -KILL $killed
until_it sh -c "pgrep -x nft | grep -vx $killed"
until_it nft list table inet box0.2
until_it grep 1 /proc/sys/net/ipv4/conf/wan/forwarding
until_it grep 'nft(8) was killed' /run/said; grep -o 'nft(8) was killed' /run/said
kill -KILL $one; wait $one 2>/dev/null
until_it sh -c '! pgrep -x "box|nft"'
left
"$BOX" run --network box0 - sleep 1000 2>/run/said & one=$!
until_it grep 1 /proc/sys/net/ipv4/conf/wan/forwarding
killed=$(pgrep -x nft); without_nft; kill -KILL $killed
until_it grep 0 /proc/sys/net/ipv4/conf/wan/forwarding
until_it sh -c '! ip link show box0.2'
until_it grep 'cut off' /run/said; grep -o 'cut off' /run/said
kill -KILL $one; wait $one 2>/dev/null
until_it sh -c '! pgrep -x "box|nft"'
umount /usr/sbin/nft
left
exit 0
"#
    ));
    assert_eq!(said, "refused\nnft(8) was killed\ncut off\n");
}

/// In both orders, the rules are made again by whoever is left.
fn a_keeper_that_is_killed_has_a_successor() {
    let said = says(&format!(
        r#"{LEFT}
setting=/proc/sys/net/ipv4/conf/wan/forwarding
stand() {{ until_it nft list table inet box0.2; until_it grep 1 $setting; }}
# The first child of the parent's that is called as it is.
keeper() {{ pgrep -x box --parent $one | head -n 1; }}
kill_keeper() {{
    killed=$(keeper); kill -KILL $killed
    until_it sh -c "[ ! -e /proc/$killed ]"
}}
kill_nft() {{
    killed=$(pgrep -x nft); kill -KILL $killed
    until_it sh -c "pgrep -x nft | grep -vx $killed"
}}
for order in 'kill_nft stand kill_keeper' 'kill_keeper kill_nft'; do
    "$BOX" run --network box0 - sh -c '
        while sleep 0.1; do ping -c 1 -W 1 192.168.50.9 >/dev/null && echo .
        done' 2>/run/said >/run/pings & one=$!
    until_it grep . /run/pings
    for what in $order; do $what; done
    until_it grep 'keeper of' /run/said
    sleep 0.5; stand
    : > /run/pings; until_it grep . /run/pings
    ip link show box0.2 up | grep -o 'box0.2'
    kill -KILL $one; wait $one 2>/dev/null
    until_it sh -c '! pgrep -x "box|nft"'
    left
done
exit 0
"#
    ));
    assert_eq!(said, "box0.2\nbox0.2\n");
}

/// On a router, which forwards for other reasons, and with an nft(8) that takes
/// its time.
fn a_container_without_rules_is_off() {
    let said = says(&format!(
        r#"{LEFT}
echo 1 > /proc/sys/net/ipv4/ip_forward
"$BOX" run --network box0 - sh -c 'until ! ping -c 1 -W 1 192.168.50.9; do :; done
    until ping -c 1 -W 1 192.168.50.9; do :; done; echo again' \
    2>/run/said >/run/out & one=$!
until_it grep '1 received' /run/out
nft=$(command -v nft); cp $nft /run/nft
printf '#!/bin/sh\nsleep 3; exec /run/nft "$@"\n' > /run/slow; chmod +x /run/slow
# It is known by the name of the file that it is.
killed=$(pgrep -x nft)
mount --bind /run/slow $(readlink -f $nft); kill -KILL $killed
until_it sh -c '! ip link show box0.2 up | grep .'
/run/nft list table inet box0.2 2>/dev/null
until_it grep again /run/out
wait $one
/run/nft list tables; ip -br link | grep -E '^box0'
cat /proc/sys/net/ipv4/ip_forward
exit 0
"#
    ));
    assert_eq!(said, "1\n");
}

/// One container's rules can't be made again; another's stand.
fn who_has_rules_keeps_the_way_out() {
    let said = says(&format!(
        r#"{LEFT}
setting=/proc/sys/net/ipv4/conf/wan/forwarding
"$BOX" run --network box0 - sleep 1000 2>/run/said & one=$!
until_it ip link show box0.2
killed=$(pgrep -x nft)
"$BOX" run --network box1 - sh -c '
    while ping -c 1 -W 1 192.168.50.9 >/dev/null; do echo .; sleep 0.1; done' \
    2>/dev/null >/run/pings & two=$!
until_it grep . /run/pings
nft=$(command -v nft); cp $nft /run/nft; without_nft
kill -KILL $killed
until_it grep 'cut off from box0' /run/said
grep -c 'cleaning up' /run/said
cat $setting
: > /run/pings; until_it grep . /run/pings
# The last rules of all.
kill -KILL $(pgrep -x nft)
until_it grep 0 $setting
kill $one $two; wait $one $two
umount $(readlink -f $nft)
left
exit 0
"#
    ));
    assert_eq!(said, "0\n1\n");
}

/// Not only with the last container, which may be one that never had any.
fn forwarding_ends_with_the_last_rules() {
    let said = says(&format!(
        r#"{LEFT}
setting=/proc/sys/net/ipv4/conf/wan/forwarding
nft=$(readlink -f $(command -v nft)); without_nft
"$BOX" run --network box0 - sleep 1000 2>/dev/null & one=$!
until_it ip link show box0.2
umount $nft
"$BOX" run --network box1 - sleep 1000 2>/dev/null & two=$!
until_it ip link show box1.2
cat $setting
kill $two; wait $two
cat $setting
kill $one; wait $one
left
exit 0
"#
    ));
    assert_eq!(said, "1\n0\n");
}

/// Who kills the parent does not open a door for a moment: the rules stand until
/// nothing is forwarded any more.
fn what_forwards_is_never_without_rules() {
    let seed = harness::seed() % 32768;
    let said = says(&format!(
        r#"{LEFT}
RANDOM={seed}
setting=/proc/sys/net/ipv4/conf/wan/forwarding
echo 0 > /run/n
# Asked in this order, of one container, it can't be a moment between the two.
watch() {{
    while sleep 0.001; do
        read n < /run/n
        grep -q 1 $setting || continue
        nft list tables | grep -q box0 && continue
        grep -q 1 $setting && [ "$n" = "$(cat /run/n)" ] && echo "open, no rules"
    done
}}
watch & watcher=$!
for n in $(seq 12); do
    echo $n > /run/n
    "$BOX" run --network box0 - sleep 1000 >/dev/null 2>&1 & one=$!
    until_it grep 1 $setting
    sleep 0.$(printf %03d $((RANDOM % 100)))
    kill -KILL $one; wait $one
    until_it grep 0 $setting
    until_it sh -c '! pgrep -x "box|nft"'
done 2>/dev/null
kill $watcher; sleep 0.2
left
exit 0
"#
    ));
    assert_eq!(said, "");
}

/// A hundred times two containers, and one of all processes gets a SIGKILL at
/// some moment; then one container that ends by itself, and nothing is left.
fn whoever_is_killed_nothing_stays() {
    let seed = harness::seed() % 32768;
    let said = says(&format!(
        r#"{LEFT}
RANDOM={seed}
box run - true
for n in $(seq 50); do
    box run --network box0 - sleep 0.3 >/dev/null 2>&1 & one=$!
    box run --network box0 - sleep 0.3 >/dev/null 2>&1 & two=$!
    for _ in 1 2; do
        sleep 0.$(printf %03d $((RANDOM % 300)))
        # The programs of one of the two, helpers included.
        all=($(pgrep -x 'box|nft|sleep' | grep -vx $lan))
        [ ${{#all[@]}} = 0 ] || kill -KILL ${{all[RANDOM % ${{#all[@]}}]}}
    done
    wait $one $two
done 2>/dev/null
# What has no parent any more needs a moment.
for _ in $(seq 100); do
    [ -z "$(pgrep -x 'box|nft')" ] && break; sleep 0.05
done
pgrep -a 'box|nft'
ip -br link | grep -F box0.
nft list tables
echo and then
box run --network box0 - true 2>/dev/null
left
exit 0
"#
    ));
    assert_eq!(said, "and then\n");
}

/// The parent and the keeper at once: the kernel removes the cable, and nobody
/// is there who would remove the bridge.
fn what_nobody_could_remove_the_next_command_does() {
    let said = says(&format!(
        r#"{LEFT}
for command in 'network prune' network 'run --network box1 - true'; do
    leave_a_bridge
    echo "box $command"
    "$BOX" $command 2>/dev/null | grep box0
    left
done
exit 0
"#
    ));
    assert_eq!(
        said,
        "box0\nbox network prune\nbox0\nbox0\nbox network\nbox0\n\
         box run --network box1 - true\n"
    );
}

/// By root that may not change interfaces.
fn what_can_not_be_removed_is_told() {
    let said = says(&format!(
        r#"{LEFT}
leave_a_bridge
setpriv --inh-caps -net_admin --bounding-set -net_admin \
    "$BOX" network prune 2>&1; echo $?
"$BOX" network prune; echo $?
left
exit 0
"#
    ));
    assert!(said.contains(r#"RTM_DELLINK("box0"): EPERM"#), "{said}");
    let told = |it: &&str| !it.contains("warning");
    let rest: Vec<&str> = said.lines().filter(told).collect();
    assert_eq!(rest, ["box0", "1", "box0", "0"], "{said}");
}

/// Somebody in another network namespace has removed the place.
fn a_bridge_without_a_place_is_removed() {
    let said = says(&format!(
        r#"{LEFT}
ip link add box0 type bridge
ip link set box0 alias container-in-six-steps
"$BOX" network prune
left
exit 0
"#
    ));
    assert_eq!(said, "box0\n");
}

/// Each has a bridge of the same name, and `/run` is the same.
fn two_network_namespaces_do_not_disturb_each_other() {
    let said = says(&format!(
        r#"{LEFT}
"$BOX" run --network box0 --hostname one - sleep 1000 2>/dev/null & one=$!
until_it ip link show box0.2
unshare --net sh -c "ip link set lo up
    $BOX run --network box0 --hostname two - \
        ip -4 -br address show eth0 2>/dev/null
    $BOX run --network box0 --hostname two - grep -c one /etc/hosts 2>/dev/null
    $BOX network | grep -c '  one'
    $BOX network prune
    ip -br link | grep -c box0"
ip -br link | grep -o '^box0[.2]*' | sort
box run --network box0 - ping -c 1 -W 1 one 2>/dev/null | grep -o '1 received'
kill $one; wait $one
left
# Nor does anything stay of a namespace that is no more, with all who were in it.
unshare --net --pid --fork --kill-child --mount-proc sh -c "ip link set lo up
    $BOX run --network box0 - sleep 1000 >/dev/null 2>&1 &
    until ip link show box0.2 >/dev/null 2>&1; do sleep 0.1; done"
ls /run/container-in-six-steps.networks | grep -c .
"$BOX" run --network box0 - true 2>/dev/null
left
exit 0
"#
    ));
    let inside = "10.88.77.2/24";
    assert!(said.contains(inside), "{said}");
    let rest = said.lines().skip(1).collect::<Vec<_>>().join(" ");
    assert_eq!(rest, "0 0 0 box0 box0.2 1 received 1", "{said}");
}

/// The other way round: one network namespace, and each has a `/run`.
fn a_network_of_another_run_is_left_alone() {
    let said = says(&format!(
        r#"{LEFT}
"$BOX" run --network box0 --hostname one - sleep 1000 2>/dev/null & one=$!
until_it ip link show box0.2
unshare --mount sh -c "
    mount -t tmpfs none /run/container-in-six-steps.networks
    $BOX run --network box1 - true 2>/dev/null
    $BOX network | grep box
    $BOX network prune
    # Here nobody knows which addresses are taken there.
    $BOX run --network box0 - true 2>&1 | grep -o 'with another /run'"
ip -br link | grep -o '^box0[.2]*' | sort
box run --network box0 - ping -c 1 -W 1 one 2>/dev/null | grep -o '1 received'
kill $one; wait $one
left
exit 0
"#
    ));
    let refused = "with another /run\n";
    assert_eq!(said, format!("{refused}box0\nbox0.2\n1 received\n"));
}

/// Its bridge does not say in which `/run` its addresses are written down.
fn a_network_of_an_earlier_version_goes_on() {
    let said = says(&format!(
        r#"{LEFT}
"$BOX" run --network box0 - sleep 1000 2>/dev/null & one=$!
until_it sh -c 'grep " " /run/container-in-six-steps.networks/*/box0/2'
alias() {{ ip link show box0 | sed -n 's/^ *alias //p'; }}
whose=$(alias)
ip link set box0 alias container-in-six-steps
unshare --mount sh -c "
    mount -t tmpfs none /run/container-in-six-steps.networks
    $BOX run --network box0 - true 2>&1 | grep -o 'with another /run'"
alias
"$BOX" run --network box0 - ip -4 -br address show eth0 2>/dev/null |
    grep -o '10[0-9./]*'
[ "$whose" = "$(alias)" ] && echo as before
kill $one; wait $one
left
exit 0
"#
    ));
    assert_eq!(
        said,
        "with another /run\ncontainer-in-six-steps\n10.88.77.3/24\nas before\n"
    );
}
