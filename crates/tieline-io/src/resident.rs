//! What of the program stays in memory once it has started.
//!
//! Reading configuration, making devices and pairing touch most of the program's code, and none of it is needed again while a line is up. The
//! kernel leaves it mapped until memory is short. Whoever looks at how much memory a process has is shown it all the same.

use std::fs;
use std::io;

use rustix::mm::{Advice, madvise};

/// Unmaps the pages of the program's code, and of the constants that lie before it; those that are needed come back, from the kernel's own
/// copy. What lies behind the code was written to when the program was loaded, and stays.
///
/// # Errors
///
/// If `/proc` cannot be read, or what the system says of the advice.
pub fn release_code() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let program = program.to_string_lossy();
    for (start, len) in never_written(&fs::read_to_string("/proc/self/maps")?, &program) {
        // SAFETY: the mapping is this process's own, of a file, and was never writable: a page that is gone is read from the file again, and
        // has the same content then.
        unsafe { madvise(std::ptr::with_exposed_provenance_mut(start), len, Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

/// Where the mappings of `program` begin, up to that of its code, and how long they are.
fn never_written(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let mut mappings = Vec::new();
    for Mapping { start, len, rights, .. } in
        maps.lines().filter_map(Mapping::parse).filter(|mapping| mapping.path == program)
    {
        match rights {
            "r--p" => mappings.push((start, len)),
            "r-xp" => {
                mappings.push((start, len));
                return mappings;
            }
            _ => break,
        }
    }
    Vec::new()
}

/// A row of `/proc/self/maps`: `start-end rights offset device inode path`, see proc_pid_maps(5).
struct Mapping<'m> {
    start: usize,
    len: usize,
    rights: &'m str,
    path: &'m str,
}

impl<'m> Mapping<'m> {
    /// None if nothing is mapped from a file.
    fn parse(row: &'m str) -> Option<Self> {
        let path = row.find('/').map(|at| &row[at..])?;
        let mut fields = row.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let rights = fields.next()?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        Some(Self { start, len: end.checked_sub(start)?, rights, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written_is_meant_and_only_of_the_program() {
        let maps = "\
55d0a1c00000-55d0a1e00000 r--p 00000000 fe:00 1234                       /usr/bin/tie line
55d0a1e00000-55d0a2a00000 r-xp 0022b000 fe:00 1234                       /usr/bin/tie line
55d0a2a00000-55d0a2b00000 r--p 00e2b000 fe:00 1234                       /usr/bin/tie line
55d0a2b00000-55d0a2c00000 rw-p 00f2b000 fe:00 1234                       /usr/bin/tie line
7ffd0a2a0000-7ffd0a2c1000 r-xp 00000000 fe:00 99                         /usr/lib/libc.so.6
7ffd0a3a0000-7ffd0a3c1000 r-xp 00000000 00:00 0                          [vdso]
";
        let (constants, code) = ((0x55d0_a1c0_0000, 0x20_0000), (0x55d0_a1e0_0000, 0xc0_0000));
        assert_eq!(never_written(maps, "/usr/bin/tie line"), [constants, code]);
        let behind = maps.split_inclusive('\n').skip(2).collect::<String>();
        for (maps, program) in [(maps, "/usr/bin/tie"), (&behind, "/usr/bin/tie line"), ("", "/x")] {
            assert_eq!(never_written(maps, program), [], "{program}");
        }
    }

    #[test]
    fn a_program_goes_on_without_its_code_in_memory_and_has_less_of_it() {
        let resident = || {
            let smaps = fs::read_to_string("/proc/self/status").unwrap();
            let row = smaps.lines().find(|row| row.starts_with("RssFile:")).unwrap();
            row.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        release_code().unwrap();
        assert!(resident() < before, "{} KiB of {before} left", resident());
    }
}
