//! What there is of a file before its data comes: a part of it, an older version, the same content under another name, or all of it.

use rustix::io::Errno;

use super::{Assembly, Growing, Hashed, Offered, Outputs, Reply, State};
use crate::basis::{Basis, SumJob};
use crate::content::{ContentHasher, HASH_LEN, PIECE_LEN};
use crate::delta::{DELTA_LEN_MIN, Key, SumRequest};
use crate::inbox::{Partial, journal_errno};
use crate::metadata::attributes::Attributes;
use crate::outcome::EntryKind;
use crate::protocol::{ASKED_MAX, ASKED_SMALL_MAX, FileOffer, Verdict, Violation};
use crate::same_name;

/// An older file is not read if it is so many times longer than what is missing of the new one.
const OLD_PER_NEW_MAX: u64 = 16;

/// A file that was asked about, until its body comes.
pub(super) struct Question {
    what: Asked,
    /// Of which sums went to the sender.
    basis: Option<Basis>,
    /// Octets of these sums, until the sender made use of them.
    sums_open: usize,
    /// The sender wanted sums of its own choice, which it may once.
    wanted: bool,
}

enum Asked {
    /// It is on its way, under a number that the journal knows.
    Growing(Box<Growing>),
    /// It is here under a name already, or was.
    Claimed(Box<Claimed>),
    /// It begins when its body comes.
    Small(Box<Offered>),
    /// A file with this content is here under some other name.
    Same(Box<Offered>, Basis),
}

/// A file that is here under a name already, or was: the sender has to show that it is the same.
pub(super) struct Claimed {
    pub(super) offered: Offered,
    /// Its number in the journal, if that has it among the partial files still.
    pub(super) partial: Option<i64>,
    /// The number of its name, if the journal knows it.
    pub(super) copy: Option<u32>,
    pub(super) hash: [u8; HASH_LEN],
}

impl Assembly {
    /// Answers from where the data of a file is wanted; `hash` if its content may be here.
    pub(super) fn on_ask(
        &mut self,
        offer: &FileOffer<'_>,
        hash: Option<[u8; HASH_LEN]>,
    ) -> Result<State, Violation> {
        let attributes = self.take_number(offer.entry)?;
        let is_small = is_small(offer.size);
        let (open, open_max) = match is_small {
            true => (self.asked_small, ASKED_SMALL_MAX),
            false => (self.asked.len() - self.asked_small, ASKED_MAX),
        };
        if open >= open_max {
            return Err(Violation::TooManyAsked);
        }
        match self.look_up(offer, attributes, hash) {
            Ok(what) => {
                self.asked_small += usize::from(is_small);
                self.answer(offer.entry, what);
            }
            Err(verdict) => self.settle(offer.entry, offer.path, EntryKind::File, offer.size, verdict),
        }
        Ok(State::Idle)
    }

    /// Says from where data is wanted, after sums of the old version if there is a useful one.
    fn answer(&mut self, entry: u64, what: Asked) {
        let from = what.from();
        let mut question = Question { what, basis: None, sums_open: 0, wanted: false };
        if let Some((basis, request)) = self.sums_for(&question.what) {
            question.basis = Some(basis.clone());
            self.outputs.sum(&mut question, SumJob { entry, from, basis, request, is_first: true });
        } else {
            self.tell(Reply::Go { entry, from });
        }
        self.asked.insert(entry, question);
    }

    /// An older version of a file that is not here, and what is to be summed of it.
    fn sums_for(&mut self, what: &Asked) -> Option<(Basis, SumRequest)> {
        let offered = match what {
            Asked::Growing(growing) => &growing.offered,
            Asked::Small(offered) => offered,
            Asked::Claimed(_) | Asked::Same(..) => return None,
        };
        let missing = offered.size - what.from();
        if missing < DELTA_LEN_MIN {
            return None;
        }
        let arrived = self.admission.journal().arrived(self.admission.name(), &offered.path);
        let copy = arrived.ok().flatten().map_or(1, |arrived| arrived.copy);
        let basis = Basis::find(&self.admission, offered.path.copy(copy))?;
        if basis.len < DELTA_LEN_MIN || basis.len / OLD_PER_NEW_MAX > missing {
            return None;
        }
        let request = SumRequest::whole(self.sum_key()?, basis.len, offered.size);
        Some((basis, request))
    }

    /// The key of all sums of this transfer.
    fn sum_key(&mut self) -> Option<Key> {
        if self.sum_key.is_none() {
            let mut random = [0; Key::LEN];
            aws_lc_rs::rand::fill(&mut random).ok()?;
            self.sum_key = Some(Key::new(random));
        }
        self.sum_key
    }

    /// What there is of this version of a file.
    fn look_up(
        &self,
        offer: &FileOffer<'_>,
        attributes: Attributes,
        hash: Option<[u8; HASH_LEN]>,
    ) -> Result<Asked, Verdict> {
        let offered = self.offered(offer, attributes)?;
        same_name::check(&self.admission, &offered.path, offer.size, offer.modified)
            .map_err(Verdict::Refused)?;
        let failed = |error| Verdict::Failed(journal_errno(error).into());
        let (journal, inbox) = (self.admission.journal(), self.admission.name());
        let only = self.admission.only_copy();
        let arrived = journal.arrived(inbox, &offered.path).map_err(failed)?;
        if let Some(arrived) = arrived.filter(|arrived| only.is_none_or(|only| only == arrived.copy)) {
            let is_same = arrived.stamp == offer.stamp || hash == Some(arrived.hash);
            if is_same && arrived.size == offer.size {
                let (partial, copy, hash) = (None, Some(arrived.copy), arrived.hash);
                return Ok(Asked::Claimed(Box::new(Claimed { offered, partial, copy, hash })));
            }
        }
        if let Some(hash) = hash {
            let arrived = journal.arrived_with(inbox, &hash, offer.size).map_err(failed)?;
            let found = arrived.into_iter().find_map(|path| Basis::find(&self.admission, path));
            if let Some(basis) = found.filter(|basis| basis.len == offer.size) {
                self.check_room(offered.room())?;
                return Ok(Asked::Same(Box::new(offered), basis));
            }
        }
        if is_small(offer.size) {
            return Ok(Asked::Small(Box::new(offered)));
        }
        let known = journal.partial(inbox, &offered.path).map_err(failed)?;
        let Some(known) = known.filter(|known| (known.stamp, known.size) == (offer.stamp, offer.size)) else {
            return self.begin_partial(offered);
        };
        let opened = Partial::reopen(&self.admission, known.id)
            .and_then(|partial| Ok((partial.file.extent()?, partial)));
        match (opened, known.hash) {
            (Ok((extent, partial)), hash) if extent.size >= known.held() => {
                self.check_room(offered.room().saturating_sub(extent.allocated))?;
                let hashed = hash.map_or_else(
                    || Hashed::SoFar(Box::new(ContentHasher::resume(known.pieces))),
                    Hashed::Whole,
                );
                Ok(Asked::Growing(Box::new(Growing::new(offered, partial, hashed))))
            }
            // It was whole, and the power went before the journal was told of its name.
            (Err(Errno::NOENT), Some(hash)) => {
                let partial = Some(known.id);
                Ok(Asked::Claimed(Box::new(Claimed { offered, partial, copy: only, hash })))
            }
            (Ok(_) | Err(_), _) => self.begin_partial(offered),
        }
    }

    /// Begins a file; its room is reserved unless a part of it is said to take none.
    fn begin_partial(&self, offered: Offered) -> Result<Asked, Verdict> {
        self.check_room(offered.room())?;
        let failed = |error: Errno| Verdict::Failed(error.into());
        let partial = Partial::begin(&self.admission, &offered.path, offered.stamp, offered.size);
        let partial = partial.map_err(failed)?;
        if offered.attributes.room.is_none()
            && let Err(error) = partial.file.reserve(offered.size)
        {
            partial.discard();
            return Err(failed(error));
        }
        let growing = Growing::new(offered, partial, Hashed::SoFar(Box::default()));
        Ok(Asked::Growing(Box::new(growing)))
    }

    /// Takes more of the sender's own request of sums.
    pub(super) fn on_want_sums(
        &mut self,
        entry: u64,
        mut request: Vec<u8>,
        more: &[u8],
    ) -> Result<State, Violation> {
        let question = self.asked.get_mut(&entry).filter(|question| !question.wanted);
        let question = question.ok_or(Violation::Sums(entry))?;
        let Some(basis) = question.basis.clone() else { return Err(Violation::Sums(entry)) };
        request.extend_from_slice(more);
        match SumRequest::announced_len(&request)? {
            Some(len) if request.len() > len => return Err(Violation::Sums(entry)),
            Some(len) if request.len() == len => {}
            Some(_) | None => return Ok(State::Wanting { entry, octets: request }),
        }
        let (request, _) = SumRequest::parse(&request)?;
        self.outputs.sums_open.give(question.sums_open);
        question.wanted = true;
        let (from, is_first) = (question.what.from(), false);
        self.outputs.sum(question, SumJob { entry, from, basis, request, is_first });
        Ok(State::Idle)
    }

    pub(super) fn on_body(&mut self, entry: u64, from: u64) -> Result<State, Violation> {
        let question = self.asked.remove(&entry).filter(|question| question.what.from() == from);
        let Question { what, basis, sums_open, .. } = question.ok_or(Violation::Answer { entry, from })?;
        self.outputs.sums_open.give(sums_open);
        let Offered { name, size, .. } = what.offered();
        self.asked_small -= usize::from(is_small(*size));
        self.progress.file(name, *size);
        Ok(match what {
            Asked::Growing(mut growing) => {
                growing.basis = basis;
                State::Growing(growing)
            }
            Asked::Claimed(claimed) => State::Claimed(claimed),
            Asked::Small(offered) => self.begin_asked(*offered, basis, from),
            Asked::Same(offered, basis) => {
                let size = offered.size;
                match self.begin_asked(*offered, Some(basis), from) {
                    State::Growing(growing) => self.on_copy(growing, 0, size)?,
                    refused => refused,
                }
            }
        })
    }

    fn begin_asked(&self, offered: Offered, basis: Option<Basis>, from: u64) -> State {
        let (entry, size, name) = (offered.entry, offered.size, offered.name.clone());
        match self.begin(offered) {
            Ok(growing) => State::Growing(Box::new(Growing { basis, ..growing })),
            Err(verdict) => {
                self.settle(entry, name.as_bytes(), EntryKind::File, size, verdict);
                State::Discarding { entry, left: size - from }
            }
        }
    }
}

impl Outputs {
    fn sum(&self, question: &mut Question, job: SumJob) {
        question.sums_open = job.octets();
        // There is room: each question has one job. If the thread is gone, so is whoever waits for the answer.
        let _ = self.sums.blocking_send(job);
    }
}

impl Asked {
    fn offered(&self) -> &Offered {
        match self {
            Self::Growing(growing) => &growing.offered,
            Self::Claimed(claimed) => &claimed.offered,
            Self::Small(offered) | Self::Same(offered, _) => offered,
        }
    }

    /// From where the data is wanted.
    fn from(&self) -> u64 {
        match self {
            Self::Growing(growing) => growing.offered.size - growing.left,
            Self::Small(_) => 0,
            Self::Claimed(_) | Self::Same(..) => self.offered().size,
        }
    }
}

/// Whether so little is not worth a row in the journal: it is sent again after a cut.
fn is_small(size: u64) -> bool {
    size <= PIECE_LEN
}
