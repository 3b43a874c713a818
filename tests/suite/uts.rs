//! Step 1: a host name of its own.

use harness::{ALL, Test, UTS, claims, host::hostname};

pub(crate) const TESTS: &[Test] = claims![
    a_container_has_its_own_hostname,
    the_host_keeps_its_name,
    the_kernel_takes_a_name_of_64_bytes,
];

fn a_container_has_its_own_hostname() {
    for step in ALL {
        assert_eq!(step.sh("hostname").ok(), "box", "{}", step.name);
        let named = step.run().options(["--hostname", "kitchen"]);
        assert_eq!(named.sh("uname -n").ok(), "kitchen", "{}", step.name);
    }
}

/// The container renames itself once more, and the host does not notice.
fn the_host_keeps_its_name() {
    let before = hostname();
    let script = "hostname attic; hostname; read _";
    let mut container = UTS.run().start_sh(script);
    container.wait_for("attic");
    assert_eq!(hostname(), before);
    container.finish().ok();
}

fn the_kernel_takes_a_name_of_64_bytes() {
    let name = "n".repeat(64);
    let long = UTS.run().options(["--hostname", &name]);
    assert_eq!(long.sh("uname -n").ok(), name);
}
