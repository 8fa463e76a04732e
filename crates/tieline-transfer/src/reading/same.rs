//! Files of one transfer that seem to have the same content: it is sent once.
//!
//! The second one waits until the first is there, and then it is claimed, as one that was sent long ago. Which files may be the same is told by
//! their sizes and a sample of each; what they are, by the hash of the whole.

use std::collections::BTreeMap;

use super::{Closed, Reading};
use crate::protocol::SenderMessage;
use crate::source::{Source, SourceFault};

/// Shorter files cost about as much as the question whether they are there.
const SAME_LEN_MIN: u64 = 2 * 1024;
/// Files whose samples are remembered: 4 MiB. Those that come later are not compared with each other.
const SAMPLES_MAX: usize = 1 << 16;
/// Files that wait for others; more are sent as if nothing were like them.
const LATER_MAX: usize = 1024;
/// Octets of a part of a sample, of which there are three: at the front, in the middle and at the end.
const PART_LEN: usize = 1024;
/// Octets of the hash of a sample.
const SAMPLE_LEN: usize = 16;

/// What of a transfer may be the same.
#[derive(Default)]
pub(super) struct SameContent {
    /// The first file of each size and sample.
    first: BTreeMap<(u64, [u8; SAMPLE_LEN]), usize>,
    /// Files that wait, each for another one.
    later: Vec<(usize, usize)>,
}

impl<'j> Reading<'j> {
    /// Whether a file seems to be the same as one before it. Then it is sent after that.
    pub(super) fn is_for_later(
        &mut self,
        index: usize,
        source: &mut Source<'_>,
    ) -> Result<bool, SourceFault> {
        if source.size < SAME_LEN_MIN || self.same.later.len() >= LATER_MAX {
            return Ok(false);
        }
        let key = (source.size, sample(source)?);
        match self.same.first.get(&key) {
            Some(first) => {
                self.same.later.push((index, *first));
                Ok(true)
            }
            None => {
                if self.same.first.len() < SAMPLES_MAX {
                    self.same.first.insert(key, index);
                }
                Ok(false)
            }
        }
    }

    /// Sends the files that waited.
    pub(super) fn send_later(&mut self) -> Result<(), Closed> {
        for (index, first) in std::mem::take(&mut self.same.later) {
            while !self.job.ledger.is_settled_or_await(first) {
                self.out.flush()?;
                self.wait_for_answer()?;
            }
            let is_there = self.job.ledger.is_delivered(first);
            let Some(mut source) = self.next_source(index) else { continue };
            let hash = match is_there.then(|| self.hash(&mut source)).transpose() {
                Ok(hash) => hash,
                Err(fault) => {
                    self.give_up(index, fault);
                    continue;
                }
            };
            match hash {
                Some(hash) => self.ask(index, &source, |offer| SenderMessage::Claim { hash, offer })?,
                None => self.send_or_ask(index, source)?,
            }
            self.out.offer_block()?;
        }
        Ok(())
    }
}

/// The hash of some parts of a file, which is at its start again.
fn sample(source: &mut Source<'_>) -> Result<[u8; SAMPLE_LEN], SourceFault> {
    let mut hasher = blake3::Hasher::new();
    let mut part = Vec::with_capacity(PART_LEN);
    for from in [0, source.size / 2, source.size.saturating_sub(PART_LEN as u64)] {
        part.clear();
        source.go_to(from)?;
        source.read(PART_LEN, &mut part)?;
        hasher.update(&part);
    }
    source.go_to(0)?;
    let mut sample = [0; SAMPLE_LEN];
    hasher.finalize_xof().fill(&mut sample);
    Ok(sample)
}
