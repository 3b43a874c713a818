//! What the kernel's machine answers to a profile, and what the kernel itself.

use serde_json::{Value, json};

use super::*;

mod whole_profiles;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;

fn compile(profile: Value) -> anyhow::Result<Filter> {
    super::compile(&serde_json::from_value(profile).expect("a profile"))
}

fn filter(profile: Value) -> Vec<sock_filter> {
    compile(profile).expect("it can be translated").instructions
}

fn refused(profile: Value) -> String {
    let error = compile(profile).err().expect("it is refused");
    format!("{error:#}")
}

/// What the kernel's machine answers to a call.
fn run(
    filter: &[sock_filter],
    architecture: Architecture,
    nr: u32,
    args: [u64; 6],
) -> u32 {
    let words = [nr, architecture.audit(), 0, 0].into_iter().chain(
        args.into_iter()
            .flat_map(|it| [it & 0xffff_ffff, it >> 32])
            .map(|half| u32::try_from(half).expect("it is a half")),
    );
    let words: Vec<u32> = words.collect();
    let (mut register, mut at) = (0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = filter[at];
        at += 1;
        let jump = |yes: bool| usize::from(if yes { jt } else { jf });
        match (u32::from(code) & 0x07, u32::from(code) & 0xf0) {
            (libc::BPF_LD, _) => register = words[k as usize / 4],
            (libc::BPF_ALU, libc::BPF_AND) => register &= k,
            (libc::BPF_JMP, libc::BPF_JA) => at += k as usize,
            (libc::BPF_JMP, libc::BPF_JEQ) => at += jump(register == k),
            (libc::BPF_JMP, libc::BPF_JGE) => at += jump(register >= k),
            (libc::BPF_JMP, libc::BPF_JGT) => at += jump(register > k),
            (libc::BPF_RET, _) => return k,
            _ => panic!("an instruction that we don't use: {code:#x}"),
        }
    }
}

/// What is answered to a call of the machine's own.
fn answer(filter: &[sock_filter], name: &str, args: [u64; 6]) -> u32 {
    let own = Architecture::OWN;
    run(filter, own, own.number(name).expect("there is one"), args)
}

fn compares(op: &str, value: u64, two: u64, argument: u64) -> bool {
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["lseek"],
            "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 1, "value": value, "valueTwo": two, "op": op}],
        }],
    }));
    answer(&filter, "lseek", [0, argument, 0, 0, 0, 0]) != ALLOW
}

#[test]
fn arguments_are_compared_with_all_of_their_bits() {
    let values = [0, 1, 7, 8, 1 << 31, 1 << 32, (1 << 32) + 7, u64::MAX - 1];
    for value in values {
        for argument in values.into_iter().chain([u64::MAX]) {
            let is = |op| compares(op, value, 0, argument);
            assert_eq!(is("SCMP_CMP_NE"), argument != value);
            assert_eq!(is("SCMP_CMP_LT"), argument < value);
            assert_eq!(is("SCMP_CMP_LE"), argument <= value);
            assert_eq!(is("SCMP_CMP_EQ"), argument == value);
            assert_eq!(is("SCMP_CMP_GE"), argument >= value);
            assert_eq!(is("SCMP_CMP_GT"), argument > value);
            for mask in values {
                let masked =
                    compares("SCMP_CMP_MASKED_EQ", mask, value, argument);
                assert_eq!(masked, argument & mask == value);
            }
        }
    }
}

#[test]
fn all_comparisons_of_a_rule_must_hold() {
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{
            "names": ["lseek"],
            "action": "SCMP_ACT_ALLOW",
            "args": [
                {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"},
                {"index": 2, "value": 5, "op": "SCMP_CMP_EQ"},
            ],
        }],
    }));
    assert_eq!(answer(&filter, "lseek", [3, 0, 5, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&filter, "lseek", [3, 0, 4, 0, 0, 0]), ERRNO | 1);
    assert_eq!(answer(&filter, "lseek", [4, 0, 5, 0, 0, 0]), ERRNO | 1);
}

#[test]
fn one_of_two_comparisons_of_the_same_argument_must_hold() {
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [
                {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"},
                {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"},
            ],
        }],
    }));
    for (value, expected) in [(0, ALLOW), (8, ALLOW), (9, ERRNO | 1)] {
        let args = [value, 0, 0, 0, 0, 0];
        assert_eq!(answer(&filter, "personality", args), expected);
    }
}

#[test]
fn each_action_has_its_answer() {
    for (action, errno, expected) in [
        ("SCMP_ACT_KILL", None, KILL),
        ("SCMP_ACT_KILL_THREAD", None, KILL),
        ("SCMP_ACT_KILL_PROCESS", None, 0x8000_0000),
        ("SCMP_ACT_TRAP", None, 0x0003_0000),
        ("SCMP_ACT_ERRNO", None, ERRNO | 1),
        ("SCMP_ACT_ERRNO", Some(38), ERRNO | 38),
        ("SCMP_ACT_TRACE", None, 0x7ff0_0001),
        ("SCMP_ACT_TRACE", Some(7), 0x7ff0_0007),
        ("SCMP_ACT_LOG", None, 0x7ffc_0000),
    ] {
        let filter = filter(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["chroot"], "action": action, "errnoRet": errno},
            ],
        }));
        assert_eq!(answer(&filter, "chroot", [0; 6]), expected, "{action}");
        assert_eq!(answer(&filter, "chdir", [0; 6]), ALLOW, "{action}");
    }
}

#[test]
fn a_rule_without_a_condition_stands_for_all_others() {
    let with = json!({
        "names": ["lseek"], "action": "SCMP_ACT_KILL",
        "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
    });
    let without = json!({"names": ["lseek"], "action": "SCMP_ACT_ERRNO"});
    for rules in [[&with, &without], [&without, &with]] {
        let filter = filter(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
        }));
        assert_eq!(answer(&filter, "lseek", [1; 6]), ERRNO | 1);
    }
}

#[test]
fn a_call_that_is_newer_than_the_profile_is_not_there() {
    let rules = json!([{"names": ["openat2"], "action": "SCMP_ACT_ALLOW"}]);
    let filter = filter(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules,
    }));
    assert_eq!(answer(&filter, "close_range", [0; 6]), ERRNO | 1);
    assert_eq!(answer(&filter, "openat2", [0; 6]), ALLOW);
    assert_eq!(answer(&filter, "pidfd_getfd", [0; 6]), ERRNO | 38);
}

#[test]
fn other_architectures_have_numbers_of_their_own() {
    let machines = Architecture::of_this_machine();
    let foreign = *machines.last().expect("there are two");
    let rules = json!([{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]);
    let listed = filter(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [foreign.name()],
        "syscalls": rules,
    }));
    let mount = foreign.number("mount").expect("there is one");
    assert_eq!(run(&listed, foreign, mount, [0; 6]), ERRNO | 1);
    assert_eq!(run(&listed, foreign, mount + 1, [0; 6]), ALLOW);
    assert_eq!(answer(&listed, "mount", [0; 6]), ERRNO | 1);

    let alone = filter(json!({
        "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
    }));
    assert_eq!(run(&alone, foreign, mount + 1, [0; 6]), KILL);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_x32_are_killed_unless_it_is_listed() {
    let (x32, own) = (Architecture::X32, Architecture::OWN);
    let rules = json!([{"names": ["ioctl"], "action": "SCMP_ACT_ERRNO"}]);
    let ioctl = x32.number("ioctl").expect("there is one");
    for (listed, other, refused) in
        [(vec![], KILL, KILL), (vec![x32.name()], ALLOW, ERRNO | 1)]
    {
        let filter = filter(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": listed,
            "syscalls": rules,
        }));
        assert_eq!(run(&filter, own, ioctl, [0; 6]), refused);
        assert_eq!(run(&filter, own, ioctl + 1, [0; 6]), other);
        assert_eq!(answer(&filter, "ioctl", [0; 6]), ERRNO | 1);
    }
}
