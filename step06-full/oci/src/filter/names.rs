//! Names of system calls, and their numbers on each architecture.

use std::{collections::HashMap, ops::Range, sync::OnceLock};

/// An architecture whose calls can come to a kernel of this machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Architecture {
    /// 64 bits, and what most programs are.
    X86_64,
    /// Pointers of 32 bits on the same machine. Hardly anybody has it.
    X32,
    /// The predecessor, which `int 0x80` still reaches.
    I386,
    /// 64 bits of ARM.
    Arm64,
    /// Its predecessor, which most of the machines can run.
    Arm,
}

/// The bit that tells the calls of x32 from those of x86-64: it is
/// `__X32_SYSCALL_BIT` in `<asm/unistd.h>`.
const X32_BIT: u32 = 0x4000_0000;

impl Architecture {
    /// The machine's own.
    pub(super) const OWN: Architecture = if cfg!(target_arch = "x86_64") {
        Architecture::X86_64
    } else {
        Architecture::Arm64
    };

    /// What the specification calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "SCMP_ARCH_X86_64",
            Architecture::X32 => "SCMP_ARCH_X32",
            Architecture::I386 => "SCMP_ARCH_X86",
            Architecture::Arm64 => "SCMP_ARCH_AARCH64",
            Architecture::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// Those of a machine like this one.
    pub(super) fn of_this_machine() -> &'static [Architecture] {
        match Architecture::OWN {
            Architecture::X86_64 => {
                &[Architecture::X86_64, Architecture::X32, Architecture::I386]
            }
            _ => &[Architecture::Arm64, Architecture::Arm],
        }
    }

    /// How a filter is told of it: `AUDIT_ARCH_…` in `<linux/audit.h>`.
    pub(super) fn audit(self) -> u32 {
        match self {
            Architecture::X86_64 | Architecture::X32 => 0xC000_003E,
            Architecture::I386 => 0x4000_0003,
            Architecture::Arm64 => 0xC000_00B7,
            Architecture::Arm => 0x4000_0028,
        }
    }

    /// Which numbers its calls can have.
    pub(super) fn numbers(self) -> Range<u32> {
        match self {
            Architecture::X86_64 => 0..X32_BIT,
            Architecture::X32 => X32_BIT..u32::MAX,
            _ => 0..u32::MAX,
        }
    }

    /// The number of the call `name`, if it has such a call.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let (column, mark) = match self {
            Architecture::X86_64 => (0, 0),
            Architecture::X32 => (1, X32_BIT),
            Architecture::I386 => (2, 0),
            Architecture::Arm64 => (3, 0),
            Architecture::Arm => (4, 0),
        };
        let number = table().get(name)?[column]?;
        Some(number | mark)
    }
}

/// The numbers of one call: see the head of the file.
type Numbers = [Option<u32>; 5];

/// The file, read once.
fn table() -> &'static HashMap<&'static str, Numbers> {
    static TABLE: OnceLock<HashMap<&str, Numbers>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = include_str!("calls.txt").lines();
        let calls = lines.filter(|line| !line.starts_with('#'));
        calls.filter_map(read).collect()
    })
}

/// A line of the file.
fn read(line: &'static str) -> Option<(&'static str, Numbers)> {
    let mut fields = line.split(' ');
    let name = fields.next()?;
    let mut numbers = [None; 5];
    for (number, field) in numbers.iter_mut().zip(fields) {
        *number = field.parse().ok();
    }
    Some((name, numbers))
}
