//! Which dynamic loader an executable asks for.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::PathBuf,
};

/// What the kernel needs to run a file.
#[derive(Debug, PartialEq)]
pub(super) enum Executable {
    /// Nothing else.
    Static,
    /// A program that loads the libraries first, by its absolute path.
    Dynamic(PathBuf),
    /// It is no ELF file, or of a kind that this module does not read (big
    /// endian): a script, for example.
    Other,
}

/// The type of the program header that holds the path of the loader.
const PT_INTERP: u64 = 3;

/// The offsets of the fields that matter here. See elf(5), `Elf32_Ehdr` and
/// `Elf32_Phdr`, `Elf64_Ehdr` and `Elf64_Phdr`.
struct Layout {
    /// Bytes of an address, an offset or a size.
    word: usize,
    e_phoff: usize,
    e_phnum: usize,
    phdr_size: usize,
    p_offset: usize,
    p_filesz: usize,
}

const ELF32: Layout = Layout {
    word: 4,
    e_phoff: 28,
    e_phnum: 44,
    phdr_size: 32,
    p_offset: 4,
    p_filesz: 16,
};

const ELF64: Layout = Layout {
    word: 8,
    e_phoff: 32,
    e_phnum: 56,
    phdr_size: 56,
    p_offset: 8,
    p_filesz: 32,
};

/// Reads the headers of the ELF file `file`. See elf(5).
///
/// # Errors
/// `UnexpectedEof` for a file that is cut off.
pub(super) fn read(file: &File) -> io::Result<Executable> {
    let mut header = [0; 64];
    let length = file.read_at(&mut header, 0)?;
    // Magic number, class, byte order (1: little endian).
    let layout = match &header[..6] {
        b"\x7fELF\x01\x01" => ELF32,
        b"\x7fELF\x02\x01" => ELF64,
        _ => return Ok(Executable::Other),
    };
    if length < header.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let table = number(&header, layout.e_phoff, layout.word);
    let count = number(&header, layout.e_phnum, 2);

    for index in 0..count {
        let mut entry = vec![0; layout.phdr_size];
        let offset = index * layout.phdr_size as u64;
        file.read_exact_at(&mut entry, table.saturating_add(offset))?;
        if number(&entry, 0, 4) != PT_INTERP {
            continue;
        }
        let offset = number(&entry, layout.p_offset, layout.word);
        let size = number(&entry, layout.p_filesz, layout.word);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut path = vec![0; size.min(libc::PATH_MAX as usize)];
        file.read_exact_at(&mut path, offset)?;
        path.retain(|&byte| byte != 0);
        return Ok(Executable::Dynamic(OsString::from_vec(path).into()));
    }
    Ok(Executable::Static)
}

/// The little-endian number of `size` bytes at `offset`.
fn number(bytes: &[u8], offset: usize, size: usize) -> u64 {
    bytes[offset..offset + size]
        .iter()
        .rev()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    fn kind(path: &str) -> Executable {
        read(&File::open(path).unwrap()).unwrap()
    }

    fn file_of(bytes: &[u8]) -> File {
        let file = memfd_create("elf", MFdFlags::MFD_CLOEXEC).unwrap();
        let file = File::from(file);
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn a_dynamic_program_names_a_loader_that_exists() {
        match kind("/bin/ls") {
            Executable::Dynamic(loader) => {
                assert!(loader.is_absolute(), "{loader:?}");
                assert!(loader.exists(), "{loader:?}");
            }
            other => panic!("/bin/ls is {other:?}"),
        }
    }

    #[test]
    fn this_test_is_static_when_it_was_linked_so() {
        let is_static = kind("/proc/self/exe") == Executable::Static;
        assert_eq!(is_static, cfg!(target_feature = "crt-static"));
    }

    #[test]
    fn text_and_nothing_are_no_programs() {
        assert_eq!(kind("/etc/passwd"), Executable::Other);
        assert_eq!(kind("/dev/null"), Executable::Other);
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error() {
        let bytes = std::fs::read("/bin/ls").unwrap();
        for length in [20, 64, 100] {
            let result = read(&file_of(&bytes[..length]));
            assert!(result.is_err(), "{length}: {result:?}");
        }
    }

    #[test]
    fn a_32_bit_program_is_read_too() {
        // An ELF header of 52 bytes, one program header, the path.
        let mut bytes = vec![0; 52 + 32];
        bytes[..6].copy_from_slice(b"\x7fELF\x01\x01");
        bytes[28] = 52;
        bytes[44] = 1;
        bytes[52] = 3;
        bytes[52 + 4] = 84;
        bytes[52 + 16] = 19;
        bytes.extend(b"/lib/ld-linux.so.2\0");
        assert_eq!(
            read(&file_of(&bytes)).unwrap(),
            Executable::Dynamic("/lib/ld-linux.so.2".into())
        );
    }
}
