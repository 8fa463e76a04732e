//! What of the program stays in memory once it has started.
//!
//! Reading configuration, making devices and pairing touch most of the program's code, and none of it is needed again while a line is up. The
//! kernel leaves it mapped until memory is short. Whoever looks at how much memory a process has is shown it all the same.

use std::fs;
use std::io;

use rustix::mm::{Advice, madvise};

/// Unmaps the pages of the program's code; those that are needed come back one by one, from the kernel's own copy.
///
/// # Errors
///
/// If `/proc` cannot be read, or what the system says of the advice.
pub fn release_code() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let program = program.to_string_lossy();
    for row in fs::read_to_string("/proc/self/maps")?.lines() {
        let Some((start, len)) = code_of(row, &program) else { continue };
        // SAFETY: the mapping is this process's own, of a file, and was never writable: a page that is gone is read from the file again, and
        // has the same content then.
        unsafe { madvise(std::ptr::with_exposed_provenance_mut(start), len, Advice::LinuxDontNeed) }?;
    }
    Ok(())
}

/// Where a mapping of code of `program` begins, and how long it is; none if the row is of something else.
///
/// A row is `start-end rights offset device inode path`, see proc_pid_maps(5).
fn code_of(row: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = row.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp";
    let path = row.find('/').map(|at| &row[at..]);
    if !is_code || path != Some(program) {
        return None;
    }
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_the_program_itself_is_meant() {
        let row =
            "55d0a1e00000-55d0a2a00000 r-xp 0022b000 fe:00 1234                       /usr/bin/tie line";
        assert_eq!(code_of(row, "/usr/bin/tie line"), Some((0x55d0_a1e0_0000, 0xc0_0000)));
        assert_eq!(code_of(row, "/usr/bin/tie"), None);
        for other in [
            "55d0a2a00000-55d0a2b00000 r--p 00e2b000 fe:00 1234 /usr/bin/tieline",
            "55d0a2a00000-55d0a2b00000 rw-p 00e2b000 fe:00 1234 /usr/bin/tieline",
            "7ffd0a2a0000-7ffd0a2c1000 r-xp 00000000 00:00 0 [vdso]",
            "55d0a2a00000-55d0a2b00000 rwxp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code_of(other, "/usr/bin/tieline"), None, "{other}");
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
