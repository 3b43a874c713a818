//! `podman run --rm`: what the options ask for is there.

use harness::{Test, claims, needs};

use crate::engine::{IMAGE, podman, runs, says, text, write};

pub(crate) const TESTS: &[Test] = claims![
    a_command_runs_and_its_exit_code_is_told,
    a_missing_command_is_127_and_a_forbidden_one_126,
    a_terminal,
    rights_are_taken_away,
    a_root_that_is_read_only_and_volumes,
    a_tmpfs_begins_with_what_it_covers,
    memory_and_processes_are_limited,
    ids_are_mapped,
    namespaces_of_the_host,
    settings_of_the_kernel,
    the_network_of_a_bridge,
    an_init_of_podmans,
    an_image_is_built,
    names_and_score_and_devices,
];

fn a_command_runs_and_its_exit_code_is_told() {
    assert_eq!(runs(&[], "echo hi; echo $container"), "hi\npodman");
    let output =
        podman(&["run", "--rm", "--network=none", IMAGE, "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}

fn a_missing_command_is_127_and_a_forbidden_one_126() {
    for (command, code) in [("nothing", 127), ("/etc/passwd", 126)] {
        let output = podman(&["run", "--rm", "--network=none", IMAGE, command]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}

fn a_terminal() {
    let script = "readlink /proc/self/fd/0; stat -c %F /dev/console";
    let said = runs(&["--tty"], script);
    assert_eq!(said, "/dev/pts/0\ncharacter special file");
}

const STATUS: &str = "while read a b; do case $a in CapEff:|CapBnd:|\
                      NoNewPrivs:|Seccomp:) echo $a$b; esac; done < \
                      /proc/self/status";

fn rights_are_taken_away() {
    let said = runs(
        &["--cap-drop=all", "--security-opt=no-new-privileges"],
        STATUS,
    );
    let none = "0000000000000000";
    let expected =
        format!("CapEff:{none}\nCapBnd:{none}\nNoNewPrivs:1\nSeccomp:2");
    assert_eq!(said, expected);
    let said = runs(
        &["--user=65534", "--cap-drop=all", "--cap-add=chown"],
        STATUS,
    );
    assert!(said.contains("CapBnd:0000000000000001"), "{said}");
    let said = runs(&["--privileged"], STATUS);
    assert!(said.contains("Seccomp:0"), "{said}");
    // What podman masks and what its filter refuses.
    let script = "cat /proc/timer_list | wc -c; echo 1 > \
                  /proc/sys/kernel/panic; unshare -U true 2>&1 | wc -l";
    assert!(runs(&[], script).starts_with('0'));
}

fn a_root_that_is_read_only_and_volumes() {
    let file = write("volume", "of the host");
    let volume = format!("--volume={file}:/file:ro");
    let script = "cat /file; echo; echo x > /new || echo no; echo x > /file || \
                  echo no";
    let said = runs(&["--read-only", &volume], script);
    assert_eq!(said, "of the host\nno\nno");
}

fn a_tmpfs_begins_with_what_it_covers() {
    let said = runs(&["--tmpfs=/etc"], "ls /etc/passwd; echo x > /etc/new");
    assert_eq!(said, "/etc/passwd");
}

fn memory_and_processes_are_limited() {
    needs::root();
    let options = ["--memory=32m", "--pids-limit=20"];
    let limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes \
                 /sys/fs/cgroup/memory.max 2>/dev/null; true";
    let said = runs(&options, limit);
    assert_eq!(said, "33554432");
    // dash(1) ends at once when it can't fork.
    let script = "(i=0; while [ $i -lt 60 ]; do sleep 2 & i=$((i+1)); done) \
                  2>&1; true";
    let said = runs(&options, script);
    assert!(said.contains("fork"), "{said}");
}

fn ids_are_mapped() {
    if needs::is_root() {
        let options = ["--uidmap=0:100000:65536"];
        let script = "read a b c < /proc/self/uid_map; echo $a $b $c; id -u; \
                      echo x > /etc/new; stat -c %u /etc/new";
        assert_eq!(runs(&options, script), "0 100000 65536\n0\n0");
    } else {
        let own = nix::unistd::geteuid().to_string();
        assert_eq!(runs(&["--userns=keep-id"], "id -u"), own);
        assert_eq!(runs(&[], "id -u"), "0");
    }
}

fn namespaces_of_the_host() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.expect("it is there");
    let mut options = vec!["--uts=host"];
    // podman looks for /dev/mqueue then, which not each machine has.
    if needs::is_root() {
        options.push("--ipc=host");
    }
    assert_eq!(runs(&options, "hostname"), host.trim());
    let own = format!("[ -d /proc/{} ] && echo seen", std::process::id());
    assert_eq!(runs(&["--pid=host"], &own), "seen");
    let link = link("self").expect("it is there");
    let said = runs(&["--network=host"], "readlink /proc/self/ns/net");
    assert_eq!(said, link.display().to_string());
}

fn settings_of_the_kernel() {
    let options = [
        "--sysctl=net.ipv4.ip_forward=1",
        "--sysctl=kernel.shmmni=77",
    ];
    let script = "cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmni";
    assert_eq!(runs(&options, script), "1\n77");
}

fn the_network_of_a_bridge() {
    needs::root();
    let output = podman(&[
        "run",
        "--rm",
        "--network=podman",
        IMAGE,
        "ls",
        "/sys/class/net",
    ]);
    if !output.status.success() {
        harness::skip("podman has no network on this machine");
    }
    assert!(text(&output.stdout).contains("eth0"), "{output:?}");
    // It is not the host's.
    let first = link("1").ok();
    assert!(first.is_none() || link("self").ok() != first);
}

fn link(pid: &str) -> std::io::Result<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/net"))
}

fn an_init_of_podmans() {
    needs::tool("catatonit");
    let said = runs(&["--init"], "cat /proc/1/comm; echo $$");
    assert!(!said.starts_with("sh"), "{said}");
    assert!(!said.ends_with("\n1"), "{said}");
}

fn an_image_is_built() {
    let file = write(
        "Containerfile",
        &format!(
            "FROM {IMAGE}\nRUN echo built > /tmp/built\nUSER 65534\n\
                  RUN id -u > /tmp/id\n"
        ),
    );
    let built = format!("localhost/built:{}", std::process::id());
    let output = podman(&[
        "build",
        "--quiet",
        "--isolation=oci",
        "--network=none",
        "--tag",
        &built,
        "--file",
        &file,
    ]);
    assert!(output.status.success(), "{output:?}");
    let said = says(&[
        "run",
        "--rm",
        "--network=none",
        &built,
        "cat",
        "/tmp/built",
        "/tmp/id",
    ]);
    assert_eq!(said, "built\n65534");
}

fn names_and_score_and_devices() {
    let options = [
        "--hostname=other",
        "--oom-score-adj=777",
        "--umask=0077",
        "--device=/dev/null:/dev/mine",
        "--workdir=/tmp",
        "--env=A=b c",
    ];
    let script = "hostname; cat /proc/self/oom_score_adj; umask; stat -c %F \
                  /dev/mine; pwd; echo \"$A\"";
    let expected = "other\n777\n0077\ncharacter special file\n/tmp\nb c";
    assert_eq!(runs(&options, script), expected);
}
