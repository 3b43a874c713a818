//! `process`: what runs, as whom, with which rights.
#![allow(unsafe_code)]

use std::os::unix::net::UnixListener;

use harness::{Test, claims, needs};
use serde_json::json;

use crate::bundle::Bundle;

pub(crate) const TESTS: &[Test] = claims![
    arguments_environment_and_directory_are_those_of_the_file,
    the_user_and_the_groups_are_those_of_the_file,
    each_of_the_five_sets_is_as_listed,
    without_capabilities_there_are_none,
    limits_of_the_process_are_set,
    no_new_privileges_is_obeyed_either_way,
    the_kernel_kills_by_the_score_of_the_file,
    its_shares_are_those_of_the_file,
    a_terminal_is_its_own,
    descriptors_of_the_caller_are_closed_or_handed_in,
];

fn arguments_environment_and_directory_are_those_of_the_file() {
    needs::root();
    let mut bundle = Bundle::new("echo \"$0 $1|$A|$HOME\"; pwd");
    let process = &mut bundle.config["process"];
    process["cwd"] = json!("/new/place");
    for word in ["name", "two words"] {
        let args = process["args"].as_array_mut();
        args.expect("a list").push(json!(word));
    }
    process["env"]
        .as_array_mut()
        .expect("a list")
        .push(json!("A=b c"));
    assert_eq!(bundle.says(), "name two words|b c|/root\n/new/place");
    // Nothing else is in the environment.
    let mut bundle = Bundle::new("");
    bundle.config["process"]["args"] = json!(["env"]);
    let said = bundle.says();
    assert_eq!(said, "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nHOME=/root");
}

fn the_user_and_the_groups_are_those_of_the_file() {
    needs::root();
    let mut bundle = Bundle::new("id -u; id -g; id -G; umask");
    bundle.config["process"]["user"] = json!({
        "uid": 1000, "gid": 100, "additionalGids": [5, 7], "umask": 0o77,
    });
    assert_eq!(bundle.says(), "1000\n100\n100 5 7\n0077");
}

fn each_of_the_five_sets_is_as_listed() {
    needs::root();
    let sets = "while read a b; do case $a in Cap*) echo $a $b; esac; done \
                < /proc/self/status";
    let mut bundle = Bundle::new(sets);
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_RAW"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
        "effective": ["CAP_CHOWN", "CAP_KILL"],
        "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    });
    // The exec of a user who is not root leaves what is ambient.
    let said = bundle.says();
    let zeros = |last: &str| format!("{last:0>16}");
    let expected = format!(
        "CapInh: {0}\nCapPrm: {0}\nCapEff: {0}\nCapBnd: {1}\nCapAmb: {0}",
        zeros("1"),
        zeros("20a1"),
    );
    assert_eq!(said, expected);
    bundle.config["process"]["capabilities"]["bounding"] =
        json!(["CAP_NOTHING"]);
    let why = bundle.is_refused();
    assert!(why.contains("CAP_NOTHING"), "{why}");
}

fn without_capabilities_there_are_none() {
    needs::root();
    let bundle = Bundle::new(
        "while read a b; do case $a in CapEff:|CapBnd:) \
                              echo $b; esac; done < /proc/self/status",
    );
    assert_eq!(bundle.says(), format!("{0:016}\n{0:016}", 0));
}

fn limits_of_the_process_are_set() {
    needs::root();
    let mut bundle = Bundle::new("ulimit -n; ulimit -Hn; ulimit -c");
    bundle.config["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    assert_eq!(bundle.says(), "100\n200\n0");
}

fn no_new_privileges_is_obeyed_either_way() {
    needs::root();
    for (wanted, shown) in [(true, "1"), (false, "0")] {
        let mut bundle = Bundle::new(
            "while read a b; do case $a in NoNewPrivs:) echo $b; esac; done \
             < /proc/self/status",
        );
        bundle.config["process"]["noNewPrivileges"] = json!(wanted);
        assert_eq!(bundle.says(), shown);
    }
}

fn the_kernel_kills_by_the_score_of_the_file() {
    needs::root();
    let mut bundle = Bundle::new("cat /proc/self/oom_score_adj");
    bundle.config["process"]["oomScoreAdj"] = json!(321);
    assert_eq!(bundle.says(), "321");
}

/// The master comes through a socket, by the rules of runc.
fn its_shares_are_those_of_the_file() {
    needs::root();
    let mut bundle = Bundle::new("sleep 60");
    bundle.config["process"]["scheduler"] =
        json!({"policy": "SCHED_BATCH", "nice": 5});
    bundle.config["process"]["ioPriority"] =
        json!({"class": "IOPRIO_CLASS_IDLE", "priority": 3});
    bundle.create();
    let pid = i32::try_from(bundle.pid()).expect("a number");
    // SAFETY: the call takes a number and changes nothing.
    let policy = unsafe { libc::sched_getscheduler(pid) };
    let of_process = 1;
    // SAFETY: as before.
    let class = unsafe { libc::syscall(libc::SYS_ioprio_get, of_process, pid) };
    assert_eq!((policy, class), (libc::SCHED_BATCH, 3 << 13 | 3));
}

fn a_terminal_is_its_own() {
    needs::root();
    let mut bundle = Bundle::new(
        "stat -c %t,%T /dev/console; readlink /proc/self/fd/0; stty size; \
         exec 3<>/dev/tty && echo controls",
    );
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["consoleSize"] =
        json!({"height": 33, "width": 44});
    let why = bundle.is_refused();
    assert!(why.contains("--console-socket"), "{why}");
    let socket = bundle.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("it is ours");
    let reader = std::thread::spawn(move || read_terminal(&listener));
    bundle.does(&["create", "--console-socket", "socket", "box"]);
    bundle.does(&["start", "box"]);
    let said = reader.join().expect("it reads");
    let said = said.replace('\r', "");
    assert_eq!(said.trim(), "88,0\n/dev/pts/0\n33 44\ncontrols");
}

/// Takes the descriptor that comes, and reads from it to its end.
fn read_terminal(listener: &UnixListener) -> String {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::io::{IoSliceMut, Read};
    use std::os::fd::{AsRawFd, FromRawFd};
    let (stream, _) = listener.accept().expect("it connects");
    let mut name = [0; 64];
    let mut buffers = [IoSliceMut::new(&mut name)];
    let mut room = nix::cmsg_space!(std::os::fd::RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut buffers, Some(&mut room), flags);
    let message = message.expect("a message");
    let mut found = None;
    for part in message.cmsgs().expect("parts") {
        if let ControlMessageOwned::ScmRights(descriptors) = part {
            found = descriptors.first().copied();
        }
    }
    let descriptor = found.expect("a descriptor");
    // SAFETY: the kernel has just made this descriptor for us.
    let mut master = unsafe { std::fs::File::from_raw_fd(descriptor) };
    let mut said = Vec::new();
    // It ends with EIO, when nobody has the other side any more.
    let _ = master.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

fn descriptors_of_the_caller_are_closed_or_handed_in() {
    needs::root();
    let bundle = Bundle::new("ls /proc/self/fd");
    // 3 is that of the directory that is listed.
    assert_eq!(bundle.says(), "0\n1\n2\n3");
    let said = shell(
        &bundle,
        "exec 3</dev/null 4</dev/null 5</dev/null; \
         exec \"$0\" --root state run --preserve-fds 2 box",
    );
    assert_eq!(said, "0\n1\n2\n3\n4\n5\n");
    // By the rules of systemd, the number is in the environment.
    let bundle = Bundle::new("ls /proc/self/fd; echo $LISTEN_FDS $LISTEN_PID");
    bundle.create();
    bundle.does(&["delete", "--force", "box"]);
    let said = shell(
        &bundle,
        "exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; \
         exec \"$0\" --root state run box",
    );
    assert_eq!(said, "0\n1\n2\n3\n4\n1 1\n");
}

/// What a script prints in which `$0` is the runtime.
fn shell(bundle: &Bundle, script: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(crate::bundle::program())
        .current_dir(bundle.path())
        .output()
        .expect("there is a sh");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!said.is_empty(), "{output:?}");
    said
}
