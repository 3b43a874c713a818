//! Containers in the background, which people call by their names.

use harness::{Test, claims};

use crate::room::says;

pub(crate) const TESTS: &[Test] = claims![
    a_container_is_found_by_its_name,
    a_port_is_told_and_comes_back_with_a_restart,
    nothing_of_the_caller_is_kept,
];

/// What a script prints that has a store of its own, on a disk: before Linux 6.3
/// no file system in memory can be id-mapped.
fn says_with_a_store(script: &str) -> String {
    let store = tempfile::tempdir().expect("a directory");
    says(&format!("store={:?}\n{STORE}\n{script}", store.path()))
}

const STORE: &str = r#"
chmod 700 "$store"
stored() { "$BOX" --store "$store" "$@"; }
start() { stored run -d --volume /run/probe:/probe:ro "$@" > /run/id; }
"#;

fn a_container_is_found_by_its_name() {
    let said = says_with_a_store(
        r#"
start --network box0 --name web - sleep 100
start --network box0 --name db --hostname data - sleep 100
start --network box0 --name same --hostname same - sleep 100
stored exec web grep 10.88 /etc/hosts
stored exec web ping -c 1 -w 10 db > /dev/null && echo reached
stored run --network container:db - grep -m 1 10.88 /etc/hosts
"$BOX" network | grep -o 'data db  *10.88.77.3'
stored rm -f db web same > /run/gone
"#,
    );
    assert_eq!(
        said,
        "10.88.77.2\tbox web\n10.88.77.3\tdata db\n10.88.77.4\tsame\n\
         reached\n10.88.77.3\tdata db\ndata db          10.88.77.3\n"
    );
}

fn a_port_is_told_and_comes_back_with_a_restart() {
    let said = says_with_a_store(
        r#"
reach() { until_it sh -c '/run/probe reach 127.0.0.1:8080 | grep -q as'; }
start --network box0 --publish 8080:80 --name web - /probe serve 0.0.0.0:80
stored port web
stored ps --format json | grep -o '"Ports":"[^"]*"'
reach && echo reached
stored restart -t 1 web
reach && echo reached
stored stop -t 1 web; stored port web; echo $?
stored ps -a --format json | grep -o '"Ports":"[^"]*"'
stored start web; stored port web 80; stored port web 80/udp; echo $?
stored rm -f web
"#,
    );
    let (port, ports) = ("127.0.0.1:8080\n", "127.0.0.1:8080->80/tcp");
    assert_eq!(
        said,
        format!(
            "80/tcp -> {port}\"Ports\":\"{ports}\"\nreached\nweb\nreached\n\
             web\n1\n\"Ports\":\"\"\nweb\n{port}1\nweb\n"
        )
    );
}

/// Somebody may wait for the end of its streams, or unmount its directory.
fn nothing_of_the_caller_is_kept() {
    let said = says_with_a_store(
        r#"
mkdir /run/mnt; mount -t tmpfs none /run/mnt
(cd /run/mnt; stored run -d --network box0 --publish 8080:80 --name web \
    - sleep 1000 2>&1) | wc -l
umount /run/mnt && echo unmounted
# What its keeper has to say is among what is known of it.
pkill -KILL -x nft
until_it grep -r 'nft(8) was killed' "$store/containers/web/messages"
stored rm -f web
exit 0
"#,
    );
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].parse::<u8>().is_ok(), "{said}");
    assert_eq!(lines[1..], ["unmounted", "web"], "{said}");
}
