//! A changed file at the sending end: what of it the old version has, found by the sums that came, and what is sent then.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::blocks::{Blocks, Closed};
use crate::content::ContentHasher;
use crate::delta::{Matches, Operation, Operations, Signature, SumRequest};
use crate::outcome::Turn;
use crate::protocol::{DATA_LEN_MAX, SenderMessage};
use crate::sender::Job;
use crate::source::{Source, SourceFault};

/// What was found with the first sums of a file.
#[derive(Debug)]
pub(crate) struct Compared {
    matches: Matches,
    /// Of the whole new version.
    pub(crate) hasher: ContentHasher,
}

impl Compared {
    /// Reads all of `source`. Blocks on the disk; fails soon when `is_gone`.
    pub(crate) fn of(
        source: &mut Source<'_>,
        signature: &Signature,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<Self, SourceFault> {
        source.go_to(0)?;
        let size = source.size;
        let mut new =
            Hashed { file: Watched { file: source.whole(), is_gone }, hasher: ContentHasher::new() };
        let matches = Matches::find(&mut new, size, signature)?;
        // The search ends where nothing more can be found.
        io::copy(&mut new, &mut io::sink())?;
        if new.hasher.len() != size {
            return Err(SourceFault::Changed);
        }
        Ok(Self { matches, hasher: new.hasher })
    }

    /// The sums that would tell more, if that is worth asking for them.
    pub(crate) fn fine_request(&self) -> Option<SumRequest> {
        self.matches.fine_request()
    }

    /// Looks for more with the sums that were asked for. Blocks on the disk; fails soon when `is_gone`.
    pub(crate) fn refine(
        self,
        source: &mut Source<'_>,
        fine: &Signature,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<(Operations, ContentHasher), SourceFault> {
        let mut file = Watched { file: source.whole(), is_gone };
        Ok((self.matches.refine(&mut file, fine)?, self.hasher))
    }

    /// Leaves it at what was found.
    pub(crate) fn into_operations(self) -> (Operations, ContentHasher) {
        (self.matches.into_operations(), self.hasher)
    }
}

/// What became of sending a changed file.
pub(crate) enum Sent {
    Whole,
    /// The receiver has decided meanwhile.
    Decided,
    Fault(SourceFault),
}

/// Sends the new version from octet `from` on: copies of the old one, and data between them.
///
/// # Errors
///
/// `Closed` if the transfer ended meanwhile.
pub(crate) fn send_changed(
    out: &mut Blocks,
    job: &Job,
    index: usize,
    source: &mut Source<'_>,
    from: u64,
    operations: &Operations,
) -> Result<Sent, Closed> {
    for operation in operations.from_offset(from) {
        match operation {
            Operation::Copy { from, len, .. } => {
                out.put(SenderMessage::Copy { from, len })?;
                job.progress.held(len);
            }
            Operation::Literal { at, len } => {
                if let Err(fault) = source.go_to(at) {
                    return Ok(Sent::Fault(fault));
                }
                let mut left = len;
                while left > 0 {
                    if job.ledger.is_settled(index) {
                        return Ok(Sent::Decided);
                    }
                    if job.progress.turn(&job.plan.entries[index].path) == Turn::Never {
                        return Ok(Sent::Fault(SourceFault::Cancelled));
                    }
                    match source.skip_hole(left) {
                        Ok(0) => {}
                        Ok(hole) => {
                            out.put_hole(hole)?;
                            job.progress.held(hole);
                            left -= hole;
                            continue;
                        }
                        Err(fault) => return Ok(Sent::Fault(fault)),
                    }
                    let want = usize::try_from(left).unwrap_or(usize::MAX).min(DATA_LEN_MAX);
                    match out.put_data(source, want, |_| ())? {
                        Ok(read) => left -= read as u64,
                        Err(fault) => return Ok(Sent::Fault(fault)),
                    }
                }
            }
        }
    }
    Ok(source.go_to(source.size).map_or_else(Sent::Fault, |()| Sent::Whole))
}

/// A file that is hashed while it is read.
struct Hashed<'s> {
    file: Watched<'s>,
    hasher: ContentHasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// A file that is not read any more when nobody wants to know.
struct Watched<'s> {
    file: &'s mut File,
    is_gone: &'s dyn Fn() -> bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.is_gone)() { Err(io::ErrorKind::BrokenPipe.into()) } else { self.file.read(buffer) }
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
