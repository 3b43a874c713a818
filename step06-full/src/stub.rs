//! The last program of ours before the command: a stub of a hundred bytes.
//!
//! While a process executes a file, `/proc/self/exe` is still the program that
//! it was before. In an image that somebody else made, a command can begin with
//! `#!/proc/self/exe`: then it is not the command that runs, but once more the
//! program of the container's maker, with the container's arguments, and inside
//! is an open door to its file on the host. So was runc replaced from within its
//! containers (CVE-2019-5736).
//!
//! Therefore there is one exec more. What comes before the command is a program
//! that can do nothing but execute it, and its file is in memory, sealed: who
//! gets hold of it has nothing, and can't change it either. See memfd_create(2),
//! fcntl(2), "File Sealing", and execveat(2).
#![allow(unsafe_code)]

use std::{
    arch::global_asm,
    mem::offset_of,
    os::fd::{OwnedFd, RawFd},
    slice,
};

use anyhow::Context;
use common::sys::{self, memfd};
use libc::{Elf64_Ehdr, Elf64_Phdr};
use nix::fcntl::SealFlag;

/// Lines of assembler with the numbers that they use by name.
macro_rules! stub {
    ($($line:literal,)*) => {
        global_asm!(
            $($line,)*
            report = const REPORT,
            F_SETFD = const libc::F_SETFD,
            FD_CLOEXEC = const libc::FD_CLOEXEC,
            fcntl = const libc::SYS_fcntl,
            execve = const libc::SYS_execve,
            write = const libc::SYS_write,
            exit_group = const libc::SYS_exit_group,
        );
    };
}

// At the start the stack holds the number of arguments, the arguments, a null
// pointer, the environment, a null pointer. The first argument is the file to
// execute, the others are that file's. See execve(2) and the ABI's "Initial
// Process Stack".
#[cfg(target_arch = "x86_64")]
stub!(
    "stub_begin:",
    // fcntl(report, F_SETFD, FD_CLOEXEC): who listens there hears of our success
    // by the end of it. The number is in our own header.
    "mov edi, dword ptr [{report}]",
    "mov esi, {F_SETFD}",
    "mov edx, {FD_CLOEXEC}",
    "mov eax, {fcntl}",
    "syscall",
    // execve(argv[0], argv + 1, envp)
    "mov rax, [rsp]",
    "mov rdi, [rsp + 8]",
    "lea rsi, [rsp + 16]",
    "lea rdx, [rsp + 8 * rax + 16]",
    "mov eax, {execve}",
    "syscall",
    // write(report, &error, 4); exit_group(127)
    "push rax",
    "mov edi, dword ptr [{report}]",
    "mov rsi, rsp",
    "mov edx, 4",
    "mov eax, {write}",
    "syscall",
    "mov edi, 127",
    "mov eax, {exit_group}",
    "syscall",
    "stub_end:",
);
#[cfg(target_arch = "aarch64")]
stub!(
    "stub_begin:",
    "movz x10, #{report} >> 16, lsl #16",
    "movk x10, #{report} & 0xffff",
    "ldr w0, [x10]",
    "mov x1, #{F_SETFD}",
    "mov x2, #{FD_CLOEXEC}",
    "mov x8, #{fcntl}",
    "svc #0",
    "ldr x9, [sp]",
    "ldr x0, [sp, #8]",
    "add x1, sp, #16",
    "add x2, x1, x9, lsl #3",
    "mov x8, #{execve}",
    "svc #0",
    "str x0, [sp, #-16]!",
    "ldr w0, [x10]",
    "mov x1, sp",
    "mov x2, #4",
    "mov x8, #{write}",
    "svc #0",
    "mov x0, #127",
    "mov x8, #{exit_group}",
    "svc #0",
    "stub_end:",
);

unsafe extern "C" {
    static stub_begin: u8;
    static stub_end: u8;
}

/// Where the stub lies in its process's memory. Any address will do that the
/// kernel gives to programs.
const ADDRESS: u64 = 0x40_0000;

/// Where in that memory the number of the descriptor is that it reports to: a
/// field of the header that neither machine uses.
const REPORT: u64 = ADDRESS + offset_of!(Elf64_Ehdr, e_flags) as u64;

/// The file: the two headers that the kernel wants, and the code. See elf(5).
#[repr(C)]
struct Headers {
    elf: Elf64_Ehdr,
    /// The file as a whole, to be mapped at [`ADDRESS`].
    code: Elf64_Phdr,
    /// The stack, which holds no code.
    stack: Elf64_Phdr,
}

/// Makes the stub: a program for [`Workload::started_by`], as an open file.
///
/// Must run before [`install`](crate::seccomp::install), whose filter refuses
/// open_tree(2). See memfd_create(2).
///
/// # Errors
/// `EACCES` where `vm.memfd_noexec` is 2, and `EPERM` behind the filter.
///
/// [`Workload::started_by`]: common::Workload::started_by
pub fn make() -> anyhow::Result<OwnedFd> {
    reporting_to(3)
}

/// The same, for who listens at another descriptor than 3.
pub fn reporting_to(report: RawFd) -> anyhow::Result<OwnedFd> {
    make_file(report).context("making the stub that executes the command")
}

fn make_file(report: RawFd) -> anyhow::Result<OwnedFd> {
    let file = memfd::executable(c"stub")?;
    sys::write(&file, program(report))?;
    sys::fcntl_add_seals(&file, SealFlag::all())?;

    // A file that is open for writing is not executed (ETXTBSY). This one is
    // only a place, as by O_PATH, and needs no /proc to be found in.
    let place = libc::AT_EMPTY_PATH.cast_unsigned();
    Ok(sys::open_tree(&file, "", place)?)
}

/// The bytes of the file: an executable, which [`make`] and the benchmark's C
/// program put into memory. It reports to the descriptor `report`.
pub fn program(report: RawFd) -> Vec<u8> {
    let code = code();
    let size = (size_of::<Headers>() + code.len()) as u64;
    let segment = |p_type, p_flags, size| Elf64_Phdr {
        p_type,
        p_flags,
        p_offset: 0,
        p_vaddr: ADDRESS,
        p_paddr: 0,
        p_filesz: size,
        p_memsz: size,
        p_align: 0x1000,
    };
    let headers = Headers {
        elf: elf_header(report),
        code: segment(libc::PT_LOAD, libc::PF_R | libc::PF_X, size),
        stack: segment(libc::PT_GNU_STACK, libc::PF_R | libc::PF_W, 0),
    };
    // SAFETY: the three structures are made of integers, without gaps between
    // them, and live through the copy.
    let headers = unsafe {
        slice::from_raw_parts(
            (&raw const headers).cast::<u8>(),
            size_of::<Headers>(),
        )
    };
    [headers, code].concat()
}

/// The code between the two labels above.
fn code() -> &'static [u8] {
    let (begin, end) = (&raw const stub_begin, &raw const stub_end);
    let length = end.addr() - begin.addr();
    // SAFETY: both labels are in one piece of code, in this order; it is a part
    // of this program, and never changes.
    unsafe { slice::from_raw_parts(begin, length) }
}

fn elf_header(report: RawFd) -> Elf64_Ehdr {
    let mut e_ident = [0; libc::EI_NIDENT];
    e_ident[..4].copy_from_slice(b"\x7fELF");
    e_ident[libc::EI_CLASS] = libc::ELFCLASS64;
    e_ident[libc::EI_DATA] = libc::ELFDATA2LSB;
    e_ident[libc::EI_VERSION] = 1; // EV_CURRENT
    let machine = match cfg!(target_arch = "aarch64") {
        true => libc::EM_AARCH64,
        false => libc::EM_X86_64,
    };
    let size = |bytes: usize| u16::try_from(bytes).expect("fewer than 65536");
    Elf64_Ehdr {
        e_ident,
        e_type: libc::ET_EXEC,
        e_machine: machine,
        e_version: libc::EV_CURRENT,
        e_entry: ADDRESS + size_of::<Headers>() as u64,
        e_phoff: offset_of!(Headers, code) as u64,
        e_shoff: 0,
        e_flags: report.cast_unsigned(),
        e_ehsize: size(size_of::<Elf64_Ehdr>()),
        e_phentsize: size(size_of::<Elf64_Phdr>()),
        e_phnum: 2,
        e_shentsize: 0,
        e_shnum: 0,
        e_shstrndx: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File, io::Write, os::unix::process::CommandExt, process::Command,
    };

    use common::host::files::by_number;

    use super::*;

    #[test]
    fn it_executes_its_first_argument_with_the_others() {
        let stub = make().expect("a stub");
        let output = Command::new(by_number(&stub))
            .arg0("/bin/sh")
            .args(["sh", "-c", "echo \"$0 $*\"", "first", "second"])
            .output()
            .expect("it can be executed");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "first second\n");
    }

    #[test]
    fn it_ends_when_there_is_no_such_program() {
        let stub = make().expect("a stub");
        let status = Command::new(by_number(&stub)).arg0("/no/such").status();
        assert_eq!(status.expect("it runs").code(), Some(127));
    }

    #[test]
    fn nobody_can_change_it() {
        let stub = make().expect("a stub");
        let writable = File::options().write(true).open(by_number(&stub));
        let written = writable.and_then(|mut file| file.write(b"x"));
        assert_eq!(
            written.expect_err("it is sealed").raw_os_error(),
            Some(libc::EPERM)
        );
    }
}
