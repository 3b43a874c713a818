//! A way out for who is not root.

use std::process::Command;

use harness::{Test, claims, needs};

use crate::room::{box_program, says};

pub(crate) const TESTS: &[Test] = claims![
    slirp4netns_leads_out_and_not_to_the_loopback,
    pasta_leads_out_and_not_to_the_loopback,
    without_a_program_there_is_one_line,
    a_plain_user_is_told_what_there_is,
    root_of_a_user_namespace_is_told_what_there_is,
    the_program_ends_with_the_container,
];

/// Somebody whom nobody knows.
const AS_USER: &str = r#"
mkdir -m 700 /run/home && chown 61111 /run/home
chmod 755 /run/box /run/probe
user() {
    setpriv --reuid 61111 --regid 61111 --clear-groups env -i HOME=/run/home \
        PATH="$PATH" XDG_RUNTIME_DIR=/run/home "$@"
}
# The device is everybody's on most machines.
chmod 666 /dev/net/tun 2>/dev/null
serve 127.0.0.1:8 0.0.0.0:9
lan /run/probe serve 0.0.0.0:7 &
sleep 0.2
reach() {
    user /run/box run --network box0 --volume /run/probe:/probe:ro - \
        /probe reach 192.168.50.9:7 10.0.2.2:8 127.0.0.1:8 192.168.50.1:8 \
        192.168.50.9:8
}
"#;

fn slirp4netns_leads_out_and_not_to_the_loopback() {
    needs::tool("slirp4netns");
    needs_tun();
    let said = says(&format!("{AS_USER} reach 2>&1"));
    assert!(said.contains("there is a way out by slirp4netns"), "{said}");
    expect_only_the_neighbour(&said);
}

fn pasta_leads_out_and_not_to_the_loopback() {
    needs::tool("pasta");
    needs_tun();
    let said = says(&format!(
        "{AS_USER} s=$(command -v slirp4netns) && mount --bind /dev/null $s
        reach 2>&1"
    ));
    assert!(said.contains("there is a way out by pasta"), "{said}");
    expect_only_the_neighbour(&said);
}

fn expect_only_the_neighbour(said: &str) {
    assert!(said.contains("192.168.50.9:7 as 192.168.50.1"), "{said}");
    let others = ["10.0.2.2:8", "127.0.0.1:8", "192.168.50.1:8"];
    for address in others {
        assert!(said.contains(&format!("{address} no")), "{said}");
    }
}

fn needs_tun() {
    if std::fs::metadata("/dev/net/tun").is_err() {
        harness::skip("needs /dev/net/tun");
    }
}

fn without_a_program_there_is_one_line() {
    let said = says(&format!(
        "{AS_USER} for it in slirp4netns pasta; do
            s=$(command -v $it) && mount --bind /dev/null $s
        done
        user /run/box run --network box0 - ip -br link 2>&1 | tee /run/said
        grep -c 'only the loopback' /run/said"
    ));
    assert!(said.contains("neither slirp4netns nor pasta"), "{said}");
    assert!(said.ends_with("\n1\n"), "{said}");
}

fn a_plain_user_is_told_what_there_is() {
    needs::plain_user();
    let output = Command::new(box_program())
        .args(["run", "--network", "box0", "-", "true"])
        .output()
        .expect("box runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("only root can make a bridge"), "{said}");
}

/// Who is called root, and may not look into root's directory.
fn root_of_a_user_namespace_is_told_what_there_is() {
    let said = says(&format!(
        r#"{AS_USER}
mkdir -m 700 /run/container-in-six-steps.networks
ip link add box0 type bridge
ip link set box0 alias container-in-six-steps
user unshare --user --map-root-user /run/box network 2>/dev/null; echo $?
user unshare --user --map-root-user /run/box network 2>&1 >/dev/null
user unshare --user --map-root-user /run/box network prune 2>/dev/null; echo $?
"#
    ));
    assert!(said.contains("reverse path"), "{said}");
    assert!(said.contains("\n0\n"), "{said}");
    assert!(said.contains("EACCES"), "{said}");
    assert!(said.ends_with("\n125\n"), "{said}");
}

fn the_program_ends_with_the_container() {
    needs::tool("slirp4netns");
    needs_tun();
    let said = says(&format!(
        "{AS_USER}
        user /run/box run --network box0 - true 2>/dev/null
        pgrep -a slirp4netns
        user /run/box run --network box0 - sleep 5 2>/dev/null & 
        until_it pgrep slirp4netns
        pkill -KILL -o -x box
        for _ in $(seq 100); do pgrep slirp4netns >/dev/null || break
        sleep 0.05; done
        pgrep -a slirp4netns; exit 0"
    ));
    assert_eq!(said, "");
}
