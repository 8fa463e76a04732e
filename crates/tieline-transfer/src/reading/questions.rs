//! Files of which something may be at the receiving end: whether it is asked about them, and what is made of the answer.

use super::apart::{self, APART_LEN_MIN, Done, Found, Task};
use super::{ABANDON_DECIDED, ASK_LEN_MIN, Answer, Hashing, Reading};
use crate::blocks::Closed;
use crate::comparing::{Compared, Sent, send_changed};
use crate::content::{ContentHasher, HASH_LEN};
use crate::delta::{DELTA_LEN_MIN, Operations, SumRequest};
use crate::journal::JournalError;
use crate::journal::outgoing::DeliveredFile;
use crate::metadata::attributes::Attributes;
use crate::outcome::{Fate, Turn};
use crate::protocol::{ASKED_MAX, ASKED_SMALL_MAX, DATA_LEN_MAX, FileOffer, SenderMessage};
use crate::source::{ABANDON_LATER, Source, SourceFault};
use crate::stamp::Stamp;
use crate::summing::Sums;

/// Files that wait for sums with what was found of them so far; a few MiB each. More are sent with what was found.
const COMPARED_MAX: usize = 4;
/// Octets of a request of sums in one message.
const WANT_LEN: usize = 32 * 1024;

/// A file that was asked about.
pub(super) struct Question {
    stamp: Stamp,
    is_small: bool,
    /// What was found of it so far, and the sums that were asked for.
    compared: Option<Box<(Compared, SumRequest)>>,
}

impl<'j> Reading<'j> {
    /// The hash of a file, if one with it was delivered before: then it may still be there.
    pub(super) fn claim(
        &self,
        index: usize,
        source: &mut Source<'_>,
    ) -> Result<Option<[u8; HASH_LEN]>, SourceFault> {
        let job = self.job;
        // It is renamed or copied rather than changed, or else short: reading a large file once more in vain takes its time.
        if source.size == 0 || (source.size >= ASK_LEN_MIN && self.delivered(index).is_some()) {
            return Ok(None);
        }
        let known = job.journal.delivered_of_size(&job.outbox, source.size).unwrap_or_else(forgotten);
        if known.is_empty() {
            return Ok(None);
        }
        let hash = self.hash(source)?;
        Ok(known.contains(&hash).then_some(hash))
    }

    /// Reads all of a file, which is at its start again.
    pub(super) fn hash(&self, source: &mut Source<'_>) -> Result<[u8; HASH_LEN], SourceFault> {
        let mut hashing = Hashing::new(ContentHasher::new(), source.stamp);
        let mut buffer = Vec::with_capacity(DATA_LEN_MAX);
        while source.left() > 0 {
            buffer.clear();
            source.read(DATA_LEN_MAX, &mut buffer)?;
            hashing.hasher.update(&buffer);
            hashing.tell(self.job);
        }
        source.go_to(0)?;
        Ok(hashing.hasher.finalize())
    }

    /// Whether another version of a short file may be there.
    pub(super) fn may_be_changed(&self, index: usize, source: &Source<'_>) -> bool {
        source.size >= DELTA_LEN_MIN && (self.job.ledger.has_old(index) || self.delivered(index).is_some())
    }

    fn delivered(&self, index: usize) -> Option<DeliveredFile> {
        let (job, path) = (self.job, &self.job.plan.entries[index].path);
        job.journal.delivered(&job.outbox, path).unwrap_or_else(forgotten)
    }

    pub(super) fn ask<'o>(
        &mut self,
        index: usize,
        source: &Source<'_>,
        message: impl FnOnce(FileOffer<'o>) -> SenderMessage<'o>,
    ) -> Result<(), Closed>
    where
        'j: 'o,
    {
        let is_small = source.size < ASK_LEN_MIN;
        while match is_small {
            true => self.asked_small >= ASKED_SMALL_MAX,
            false => self.asked.len() - self.asked_small >= ASKED_MAX,
        } {
            self.out.flush()?;
            self.wait_for_answer()?;
        }
        self.job.ledger.asked(index, source.size);
        self.remember(index, Question { stamp: source.stamp, is_small, compared: None });
        let told = source.told(self.job.plan.carry, &mut self.names);
        self.tell(index, &Attributes { room: source.room, ..told })?;
        self.out.put(message(self.offer(index, source)))
    }

    fn remember(&mut self, index: usize, question: Question) {
        self.asked_small += usize::from(question.is_small);
        self.asked.insert(index, question);
    }

    fn forget(&mut self, index: usize) -> Option<Question> {
        let question = self.asked.remove(&index)?;
        self.asked_small -= usize::from(question.is_small);
        Some(question)
    }

    pub(super) fn on_answer(&mut self, answer: Answer) -> Result<(), Closed> {
        match answer {
            Answer::Go { index, from, sums } => self.on_go(index, from, sums),
            Answer::Compared(done) => self.on_compared(done),
            Answer::Checked => {
                self.is_checked = true;
                Ok(())
            }
            Answer::Settled { index } => {
                self.forget(index);
                Ok(())
            }
        }
    }

    fn on_go(&mut self, index: usize, from: u64, sums: Sums) -> Result<(), Closed> {
        let Some(mut question) = self.forget(index) else { return Ok(()) };
        // What was begun before is ended first.
        if from == 0 && self.turn(index) == Turn::Later {
            drop(sums);
            self.job.ledger.give_up(index, Fate::NotSent);
            self.out.put(SenderMessage::Body { entry: index as u64, from })?;
            return self.out.put(SenderMessage::Abandon { code: ABANDON_LATER });
        }
        let mut source = match self.unchanged(index, question.stamp) {
            Ok(source) => source,
            Err(fault) => {
                drop(sums);
                return self.abandon_asked(index, from, fault);
            }
        };
        let compared = question.compared.take();
        if compared.is_none() && sums.is_none() {
            return self.send_rest(index, source, from);
        }
        if source.size >= APART_LEN_MIN {
            let root = source.root();
            let task = Task { index, from, stamp: question.stamp, root, compared, sums };
            self.remember(index, question);
            self.to_compare.push_back(task);
            self.compare_next();
            return Ok(());
        }
        let found = apart::find(&mut source, compared, sums.into_content(), &|| false);
        self.on_found(index, from, question, source, found)
    }

    /// Has the next file compared, if none is.
    fn compare_next(&mut self) {
        if self.is_comparing {
            return;
        }
        // One that the receiver has decided about meanwhile needs it no more.
        while let Some(task) = self.to_compare.pop_front() {
            if self.asked.contains_key(&task.index) {
                // The thread is there as long as this one, and has nothing to do.
                self.is_comparing = self.tasks.send(task).is_ok();
                return;
            }
        }
    }

    fn on_compared(&mut self, Done { index, from, found }: Done) -> Result<(), Closed> {
        self.is_comparing = false;
        self.compare_next();
        let Some(question) = self.forget(index) else { return Ok(()) };
        match self.unchanged(index, question.stamp) {
            Ok(source) => self.on_found(index, from, question, source, found),
            Err(fault) => self.abandon_asked(index, from, fault),
        }
    }

    /// Makes use of what was found of a file.
    fn on_found(
        &mut self,
        index: usize,
        from: u64,
        question: Question,
        source: Source<'j>,
        found: Result<Found, SourceFault>,
    ) -> Result<(), Closed> {
        let (operations, hasher) = match found {
            Ok(Found::All(operations, hasher)) => (operations, *hasher),
            Ok(Found::First(compared)) => match self.want_sums(index, source.size, &compared)? {
                Some(request) => {
                    let compared = Some(Box::new((*compared, request)));
                    self.remember(index, Question { compared, ..question });
                    return Ok(());
                }
                None => compared.into_operations(),
            },
            Err(fault) => return self.abandon_asked(index, from, fault),
        };
        self.send_changed(index, source, from, &operations, hasher)
    }

    /// Opens a file, if it is the version that was asked about.
    fn unchanged(&mut self, index: usize, stamp: Stamp) -> Result<Source<'j>, SourceFault> {
        let source = self.source(index)?;
        if source.stamp == stamp { Ok(source) } else { Err(SourceFault::Changed) }
    }

    /// Asks for sums of shorter blocks, if that pays; returns for which.
    fn want_sums(
        &mut self,
        index: usize,
        size: u64,
        compared: &Compared,
    ) -> Result<Option<SumRequest>, Closed> {
        let waiting = self.asked.values().filter(|question| question.compared.is_some()).count();
        let request = if waiting < COMPARED_MAX { compared.fine_request() } else { None };
        let Some(request) = request else { return Ok(None) };
        if !self.job.ledger.wanted(index, size, request.sums_len()) {
            return Ok(None);
        }
        let mut octets = Vec::with_capacity(request.emitted_len());
        request.emit(&mut octets);
        for octets in octets.chunks(WANT_LEN) {
            self.out.put(SenderMessage::WantSums { entry: index as u64, octets })?;
        }
        Ok(Some(request))
    }

    /// Sends what is not there yet of a file without an old version.
    fn send_rest(&mut self, index: usize, mut source: Source<'j>, from: u64) -> Result<(), Closed> {
        match self.hash_up_to(from, &mut source) {
            Ok(hasher) => {
                self.out.put(SenderMessage::Body { entry: index as u64, from })?;
                self.send_data(index, source, hasher)
            }
            Err(fault) => self.abandon_asked(index, from, fault),
        }
    }

    /// Sends a file as what was found of it in its old version, and the rest.
    fn send_changed(
        &mut self,
        index: usize,
        mut source: Source<'j>,
        from: u64,
        operations: &Operations,
        hasher: ContentHasher,
    ) -> Result<(), Closed> {
        let job = self.job;
        self.out.put(SenderMessage::Body { entry: index as u64, from })?;
        job.progress.file(&job.plan.entries[index].path, source.size);
        job.progress.held(from);
        self.out.begin_file();
        match send_changed(&mut self.out, job, index, &mut source, from, operations)? {
            Sent::Whole => self.end(index, source, hasher.finalize()),
            Sent::Decided => self.out.put(SenderMessage::Abandon { code: ABANDON_DECIDED }),
            Sent::Fault(fault) => self.abandon(index, fault),
        }
    }

    fn abandon_asked(&mut self, index: usize, from: u64, fault: SourceFault) -> Result<(), Closed> {
        self.out.put(SenderMessage::Body { entry: index as u64, from })?;
        self.abandon(index, fault)
    }
}

/// What is not remembered is as if it had never been.
fn forgotten<T: Default>(error: JournalError) -> T {
    tracing::warn!(%error, "what was delivered before is not known");
    T::default()
}
