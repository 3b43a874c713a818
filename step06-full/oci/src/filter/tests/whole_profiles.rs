//! What is ignored, what is refused, and what the kernel makes of it.

use std::thread;

use common::sys;
use nix::unistd::{Pid, getppid};
use serde_json::{Value, json};
use step06_full::seccomp;

use super::*;

#[test]
fn names_that_nobody_knows_are_ignored() {
    let names = json!(["nosuch", "chroot"]);
    let rules = json!([{"names": names, "action": "SCMP_ACT_ERRNO"}]);
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
    }));
    assert_eq!(answer(&filter, "chroot", [0; 6]), ERRNO | 1);
}

#[test]
fn what_cannot_be_obeyed_is_refused_by_name() {
    let with = |key: &str, value: Value| {
        let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        profile[key] = value;
        refused(profile)
    };
    let rule = |rule: Value| with("syscalls", json!([rule]));
    let cases = [
        (with("defaultAction", json!("SCMP_ACT_X")), "SCMP_ACT_X"),
        (
            with("defaultErrnoRet", json!(1)),
            "defaultAction: SCMP_ACT_ALLOW",
        ),
        (with("listenerPath", json!("/run/x")), "listenerPath"),
        (with("flags", json!(["SECCOMP_X"])), "SECCOMP_X"),
        (with("architectures", json!(["SCMP_ARCH_X"])), "SCMP_ARCH_X"),
        (
            rule(json!({"names": ["chroot"], "action": "SCMP_ACT_NOTIFY"})),
            "syscalls[0]: SCMP_ACT_NOTIFY is not supported",
        ),
        (
            rule(json!({"names": [], "action": "SCMP_ACT_ALLOW"})),
            "no names",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL",
                        "errnoRet": 1})),
            "SCMP_ACT_KILL has no errno",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 4096})),
            "no errno 4096",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]})),
            "no argument 6",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
                        "args": [{"index": 0, "op": "=="}]})),
            "no operator \"==\"",
        ),
    ];
    for (error, part) in cases {
        assert!(error.contains(part), "{error}: {part}");
    }
}

/// Docker's list, taken from its profile with another program.
#[test]
fn the_table_of_names_agrees_with_another_one() {
    let list = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/data/docker-seccomp-allowed.txt"
    ));
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(' ').collect();
        let [name, x86_64, arm64] = fields[..] else {
            panic!("{line}");
        };
        let number = |architecture: Architecture| {
            let number = architecture.number(name);
            number.map_or("-".into(), |it| it.to_string())
        };
        assert_eq!(number(Architecture::X86_64), x86_64, "{name}");
        assert_eq!(number(Architecture::Arm64), arm64, "{name}");
    }
}

/// A filter holds for a thread; the others of this test go on without.
#[test]
fn the_kernel_takes_a_large_profile_and_obeys_it() {
    // Every other name, so that no two neighbours have the same answer, and
    // sixty rules for one call.
    let names = include_str!("../calls.txt").lines();
    let names = names.filter_map(|line| line.split(' ').next());
    let names: Vec<&str> = names.step_by(2).collect();
    let needed = ["chdir", "getppid", "lseek", "chroot"];
    let names: Vec<&str> = names
        .into_iter()
        .filter(|it| !needed.contains(it))
        .collect();
    let mut rules = vec![
        json!({"names": names, "action": "SCMP_ACT_LOG"}),
        json!({"names": ["getppid"], "action": "SCMP_ACT_ERRNO",
               "errnoRet": 99}),
    ];
    for value in 0..60_u64 {
        rules.push(json!({
            "names": ["chdir", "chroot"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 100 + value,
            "args": [{"index": 5, "value": value << 32, "op": "SCMP_CMP_EQ"}],
        }));
    }
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": Architecture::of_this_machine()
            .iter().map(|it| it.name()).collect::<Vec<_>>(),
        "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "syscalls": rules,
    }));
    let filter = filter.expect("it can be translated");
    let call = |name, argument| {
        let args = [0, 0, 0, 0, 0, argument];
        answer(&filter.instructions, name, args)
    };
    assert_eq!(call("chdir", 59 << 32), ERRNO | 159);
    assert_eq!(call("chroot", 7 << 32), ERRNO | 107);
    assert_eq!(call("chdir", 7), ALLOW);

    let instructions = filter.instructions;
    let seen = thread::spawn(move || {
        sys::prctl(sys::PR_SET_NO_NEW_PRIVS, 1).expect("it may be given up");
        seccomp::install(&instructions).expect("the kernel takes it");
        sys::getpgid(Pid::from_raw(0)).expect("it is allowed");
        getppid().as_raw()
    });
    // getppid(2) can't fail, says its man page, so that nobody looks. A filter
    // can make it.
    assert_eq!(seen.join().expect("it isn't killed"), -99);
}
