use serde_json::{Value, json};

use super::*;
use crate::cgroup::device_program::program;

fn devices(rules: Value) -> anyhow::Result<Devices> {
    let rules: Vec<DeviceRule> = serde_json::from_value(rules).expect("rules");
    Devices::of(&rules)
}

/// What the kernel's machine answers when it is asked.
fn may(
    devices: &Devices,
    kind: u32,
    numbers: (u32, u32),
    access: &str,
) -> bool {
    let access = Access::parse(access).expect("an access").bits();
    let access = access.cast_unsigned();
    let question = [access << 16 | kind, numbers.0, numbers.1];
    let program = program(devices);
    let mut registers = [0_u32; 11];
    let mut at = 0;
    loop {
        let it = program[at];
        at += 1;
        let (to, from) = (it.registers & 15, it.registers >> 4);
        let to = usize::from(to);
        let (source, number) =
            (registers[usize::from(from)], it.imm.cast_unsigned());
        let skip = usize::try_from(it.off).expect("only forward");
        match it.code {
            0x61 => registers[to] = question[skip / 4],
            0xbf => registers[to] = source,
            0x77 => registers[to] >>= number,
            0x54 => registers[to] &= number,
            0x15 if registers[to] == number => at += skip,
            0x55 if registers[to] != number => at += skip,
            0x15 | 0x55 => {}
            0xb7 => registers[to] = number,
            0x95 => return registers[0] == 1,
            code => panic!("an instruction that we don't use: {code:#x}"),
        }
    }
}

const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

#[test]
fn without_rules_nothing_may_be_used_but_what_is_harmless() {
    for rules in [json!([]), json!([{"allow": false, "access": "rwm"}])] {
        let devices = devices(rules).expect("they are good");
        assert!(may(&devices, CHARACTER, (1, 3), "rw"), "null");
        assert!(may(&devices, CHARACTER, (136, 7), "rw"), "a terminal");
        assert!(may(&devices, CHARACTER, (1, 1), "m"), "a node of memory");
        assert!(!may(&devices, CHARACTER, (1, 1), "r"), "memory");
        assert!(!may(&devices, BLOCK, (8, 0), "r"), "a disk");
        assert!(!may(&devices, BLOCK, (1, 3), "r"), "a disk");
    }
}

#[test]
fn a_device_is_allowed_as_far_as_the_rules_say() {
    let devices = devices(json!([
        {"allow": false},
        {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "r"},
        {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "m"},
        {"allow": true, "type": "c", "major": 10, "minor": -1},
        {"allow": true, "type": "b", "major": 9, "access": "rwm"},
        {"allow": false, "type": "b", "major": 9, "access": "wm"},
    ]))
    .expect("they are good");
    assert!(may(&devices, BLOCK, (8, 1), "rm"));
    assert!(!may(&devices, BLOCK, (8, 1), "rw"));
    assert!(!may(&devices, BLOCK, (8, 2), "r"));
    assert!(may(&devices, CHARACTER, (10, 200), "rwm"));
    assert!(may(&devices, BLOCK, (9, 3), "r"));
    assert!(!may(&devices, BLOCK, (9, 3), "rw"));
}

#[test]
fn who_may_use_all_may_be_refused_some() {
    let devices = devices(json!([
        {"allow": true},
        {"allow": false, "type": "b", "major": 8, "access": "w"},
    ]))
    .expect("they are good");
    assert!(may(&devices, BLOCK, (7, 0), "rwm"));
    assert!(may(&devices, BLOCK, (8, 0), "r"));
    assert!(!may(&devices, BLOCK, (8, 0), "rw"));
}

#[test]
fn what_the_kernel_cannot_say_is_refused() {
    let error = |rules| {
        let error = devices(rules).expect_err("it is refused");
        format!("{error:#}")
    };
    let hole = error(json!([
        {"allow": true, "type": "c", "major": 10},
        {"allow": false, "type": "c", "major": 10, "minor": 3},
    ]));
    assert!(hole.contains("devices[1]: it takes a part of"), "{hole}");
    for rule in [
        json!({"type": "p"}),
        json!({"type": "a", "major": 1}),
        json!({"type": "c", "major": -2}),
        json!({"type": "c", "access": "x"}),
        json!({"type": "c", "access": ""}),
    ] {
        error(json!([rule]));
    }
}
