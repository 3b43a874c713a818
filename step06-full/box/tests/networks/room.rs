//! A machine that is none, for each test one: namespaces in which a script runs
//! as root. It has an interface, `wan`, and a neighbour there, `lan`, to whom
//! everything goes that leads nowhere else.
//!
//! The script is a shell's, since what it does a reader could type. All that it
//! starts ends with it.

use std::{
    env,
    ffi::OsString,
    process::{Command, Output},
};

use harness::needs;

/// What comes before each script.
const MACHINE: &str = r#"
set -u
export PATH=$PATH:/usr/sbin:/sbin
mount -t tmpfs none /run
cp "$BOX" /run/box; cp "$SELF" /run/probe; BOX=/run/box
# A new namespace has the settings of this machine's own.
for setting in ipv4/ip_forward ipv4/conf/default/forwarding ipv6/conf/all/forwarding
do echo 0 > /proc/sys/net/$setting; done
ip link set lo up
unshare --net sleep 1000 & lan=$!
until [ "$(readlink /proc/$lan/ns/net)" != "$(readlink /proc/$$/ns/net)" ]
do sleep 0.01; done
ip link add wan type veth peer name eth0 netns $lan
ip address add 192.168.50.1/24 dev wan
ip address add fd50::1/64 dev wan nodad
ip link set wan up
lan() { nsenter --target $lan --net "$@"; }
lan ip link set lo up
lan ip address add 192.168.50.9/24 dev eth0
lan ip address add fd50::9/64 dev eth0 nodad
lan ip link set eth0 up
ip route add default via 192.168.50.9
ip -6 route add default via fd50::9
box() {
    verb=$1; shift
    "$BOX" "$verb" --volume /run/probe:/probe:ro "$@"
}
# Until a command works, for a minute.
until_it() {
    for _ in $(seq 1200); do if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.05; done
    echo "in vain: $*"; exit 1
}
without_nft() {
    for path in /usr/sbin/nft /sbin/nft /usr/bin/nft; do
        if [ -s $path ]; then mount --bind /dev/null $path; fi
    done
}
serve() { /run/probe serve "$@" & }
"#;

/// Runs `script` on a machine of its own.
pub(crate) fn run(script: &str) -> Output {
    needs::root();
    for tool in ["ip", "nsenter", "nft"] {
        needs::tool(tool);
    }
    let mut machine = Command::new("timeout");
    machine
        .args(["--signal=KILL", "300", "unshare"])
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "--propagation", "private"])
        .args(["bash", "-c", &(MACHINE.to_owned() + script)])
        .env("BOX", box_program())
        .env("SELF", env::current_exe().expect("we run"))
        .env_remove("RUST_BACKTRACE");
    machine.output().expect("unshare(1) runs")
}

/// What a script prints that goes well.
pub(crate) fn says(script: &str) -> String {
    let output = run(&format!("{script}\nexit 0\n"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    harness::trial::note(format!("{text}\n{errors}"));
    text
}

/// The built program: another copy of it, where this one is out of reach.
pub(crate) fn box_program() -> OsString {
    env::var_os("BOX").unwrap_or_else(|| env!("CARGO_BIN_EXE_box").into())
}
