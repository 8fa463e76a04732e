//! Which entry has been offered, which is settled: the sender's book, and its check on the receiver's word.
//!
//! The reading thread writes "offered" and "ended" before the message that says so can leave; the verdicts come in
//! later and must fit. So a receiver cannot confirm what it was never sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::content::{HASH_LEN, PIECE_LEN};
use crate::outcome::Fate;
use crate::protocol::{FileTime, Verdict, Violation, WantedRun};
use crate::stamp::Stamp;

#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Book>);

#[derive(Debug)]
struct Book {
    entries: Vec<State>,
    /// Whose verdict the reading thread waits for, as if it were an answer.
    awaited: Option<usize>,
    open: u64,
    ended: bool,
    listing: Listing,
}

/// How far the listing of a mirror is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// Going on, or there is none.
    Open,
    Ended,
    Checked,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting,
    /// Listed as what is to be in a mirror.
    Listed,
    /// Listed, and wanted.
    Wanted {
        has_old: bool,
    },
    /// Asked about; the size of the file, and how many octets of sums were asked for, if they were.
    Asked {
        size: u64,
        wanted: Option<usize>,
    },
    Offered,
    Ended(Option<Version>),
    Settled {
        fate: Fate,
        /// The receiver may have decided before it saw that we gave up.
        verdict_may_come: bool,
    },
}

/// Which version of a file was sent to its end, and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) stamp: Stamp,
    pub(crate) size: u64,
    pub(crate) hash: [u8; HASH_LEN],
    pub(crate) modified: FileTime,
}

/// What a verdict changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) fate: Fate,
    /// It is the answer to a question: whoever waits for one need not any more.
    pub(crate) is_answer: bool,
    /// What was sent, of a file that was sent to its end.
    pub(crate) version: Option<Version>,
}

impl Ledger {
    pub(crate) fn new(entries: usize) -> Self {
        Self(Mutex::new(Book {
            entries: vec![State::Waiting; entries],
            awaited: None,
            open: 0,
            ended: false,
            listing: Listing::Open,
        }))
    }

    /// The entry is about to be listed as part of a mirror.
    pub(crate) fn listed(&self, entry: usize) {
        self.book().entries[entry] = State::Listed;
    }

    /// Everything was listed.
    pub(crate) fn all_listed(&self) {
        self.book().listing = Listing::Ended;
    }

    /// Enters which of the listed entries the receiver wants.
    ///
    /// # Errors
    ///
    /// `Wanted` if one of them was not listed, or is wanted already.
    pub(crate) fn on_wanted(&self, run: WantedRun) -> Result<(), Violation> {
        let WantedRun { first, count, has_old } = run;
        let wrong = Violation::Wanted { first, count };
        let range = first
            .checked_add(count)
            .and_then(|end| Some(usize::try_from(first).ok()?..usize::try_from(end).ok()?));
        let mut book = self.book();
        for state in range.and_then(|range| book.entries.get_mut(range)).ok_or(wrong)? {
            if !matches!(state, State::Listed) {
                return Err(wrong);
            }
            *state = State::Wanted { has_old };
        }
        Ok(())
    }

    /// The receiver has looked at everything that was listed.
    ///
    /// # Errors
    ///
    /// `Wanted` if it cannot have.
    pub(crate) fn on_checked(&self) -> Result<(), Violation> {
        let mut book = self.book();
        match std::mem::replace(&mut book.listing, Listing::Checked) {
            Listing::Ended => Ok(()),
            Listing::Open | Listing::Checked => Err(Violation::Wanted { first: 0, count: 0 }),
        }
    }

    /// The entry of a mirror is to be sent, or else it is settled: listed and not wanted means that it is there.
    pub(crate) fn is_wanted(&self, entry: usize) -> bool {
        let state = &mut self.book().entries[entry];
        if matches!(state, State::Listed) {
            *state = State::Settled { fate: Fate::Unchanged, verdict_may_come: false };
        }
        matches!(state, State::Wanted { .. })
    }

    /// Whether the receiver has said that it has another version of the entry of a mirror.
    pub(crate) fn has_old(&self, entry: usize) -> bool {
        matches!(self.book().entries[entry], State::Wanted { has_old: true })
    }

    /// The entry's offer is about to leave.
    pub(crate) fn offered(&self, entry: usize) {
        let mut book = self.book();
        book.entries[entry] = State::Offered;
        book.open += 1;
    }

    /// A question about the entry, a file of `size` octets, is about to leave.
    pub(crate) fn asked(&self, entry: usize, size: u64) {
        let mut book = self.book();
        book.entries[entry] = State::Asked { size, wanted: None };
        book.open += 1;
    }

    /// A request of sums, of so many octets, is about to leave, for a file of which the receiver said from where it goes on. False if it
    /// has decided meanwhile.
    pub(crate) fn wanted(&self, entry: usize, size: u64, octets: usize) -> bool {
        let state = &mut self.book().entries[entry];
        let is_open = matches!(state, State::Offered);
        if is_open {
            *state = State::Asked { size, wanted: Some(octets) };
        }
        is_open
    }

    /// Whether sums for the entry may come.
    pub(crate) fn is_asked(&self, entry: u64) -> bool {
        let book = self.book();
        let state = usize::try_from(entry).ok().and_then(|index| book.entries.get(index));
        matches!(state, Some(State::Asked { .. }))
    }

    /// Enters the receiver's answer to a question. Returns which entry it is, and how many octets of sums were asked for, if they were.
    ///
    /// # Errors
    ///
    /// `Answer` if nothing was asked, or if the place is none from which a file can go on.
    pub(crate) fn on_go(&self, entry: u64, from: u64) -> Result<(usize, Option<usize>), Violation> {
        let mut book = self.book();
        let wrong = Violation::Answer { entry, from };
        let index = usize::try_from(entry).map_err(|_| wrong)?;
        match book.entries.get_mut(index) {
            Some(state @ State::Asked { .. }) => {
                let State::Asked { size, wanted } = *state else { return Err(wrong) };
                if from != size && (from > size || !from.is_multiple_of(PIECE_LEN)) {
                    return Err(wrong);
                }
                *state = State::Offered;
                Ok((index, wanted))
            }
            _ => Err(wrong),
        }
    }

    /// The end of the entry is about to leave; of a file, of this version. False if the receiver has decided already.
    pub(crate) fn ended(&self, entry: usize, version: Option<Version>) -> bool {
        let state = &mut self.book().entries[entry];
        let is_open = matches!(state, State::Offered);
        if is_open {
            *state = State::Ended(version);
        }
        is_open
    }

    /// Everything was offered.
    pub(crate) fn all_ended(&self) {
        self.book().ended = true;
    }

    /// Whether everything was offered.
    pub(crate) fn has_ended(&self) -> bool {
        self.book().ended
    }

    /// We gave the entry up. False if the receiver has decided already, whose word then stands.
    pub(crate) fn give_up(&self, entry: usize, fate: Fate) -> bool {
        let mut book = self.book();
        let verdict_may_come = match book.entries[entry] {
            State::Waiting | State::Listed | State::Wanted { .. } => false,
            State::Asked { .. } | State::Offered | State::Ended(_) => true,
            State::Settled { .. } => return false,
        };
        book.open -= u64::from(verdict_may_come);
        book.entries[entry] = State::Settled { fate, verdict_may_come };
        true
    }

    /// Whether there is no point in sending more of the entry.
    pub(crate) fn is_settled(&self, entry: usize) -> bool {
        matches!(self.book().entries[entry], State::Settled { .. })
    }

    /// Whether it is known what became of the entry, which was offered. If it is not, the verdict on it will be an answer.
    pub(crate) fn is_settled_or_await(&self, entry: usize) -> bool {
        let mut book = self.book();
        let is_settled = matches!(book.entries[entry], State::Settled { .. });
        book.awaited = (!is_settled).then_some(entry);
        is_settled
    }

    /// Whether the receiver has said that it has the entry.
    pub(crate) fn is_delivered(&self, entry: usize) -> bool {
        matches!(self.book().entries[entry], State::Settled { fate, .. } if fate.is_delivered())
    }

    /// Enters the receiver's word; returns what is new. If it says that a file is there, only after `check` of what was sent.
    ///
    /// # Errors
    ///
    /// `Verdict` if none was due, or if it confirms what was not sent to its end; what `check` says. Nothing is entered then.
    pub(crate) fn on_verdict(
        &self,
        entry: u64,
        verdict: Verdict,
        check: impl FnOnce(&Version) -> Result<(), Violation>,
    ) -> Result<Option<News>, Violation> {
        let mut book = self.book();
        let fate = Fate::from(verdict);
        let wrong = Violation::Verdict(entry);
        let index = usize::try_from(entry).map_err(|_| wrong)?;
        let is_answer = book.awaited == Some(index);
        let state = book.entries.get_mut(index).ok_or(wrong)?;
        let (settled, news) = match *state {
            State::Asked { .. } | State::Offered if fate.is_delivered() => return Err(wrong),
            State::Asked { .. } => (fate, Some(News { fate, is_answer: true, version: None })),
            State::Offered => (fate, Some(News { fate, is_answer, version: None })),
            State::Ended(version) => {
                if let Some(version) = version.as_ref().filter(|_| fate.is_delivered()) {
                    check(version)?;
                }
                (fate, Some(News { fate, is_answer, version }))
            }
            State::Settled { verdict_may_come: true, .. } if fate.is_delivered() => return Err(wrong),
            State::Settled { fate: ours, verdict_may_come: true } => (ours, None),
            State::Waiting
            | State::Listed
            | State::Wanted { .. }
            | State::Settled { verdict_may_come: false, .. } => return Err(wrong),
        };
        *state = State::Settled { fate: settled, verdict_may_come: false };
        book.open -= u64::from(news.is_some());
        Ok(news)
    }

    /// Checks that the receiver may be done.
    ///
    /// # Errors
    ///
    /// `DoneTooEarly` with the number of verdicts that are missing.
    pub(crate) fn check_done(&self) -> Result<(), Violation> {
        let book = self.book();
        if book.ended && book.open == 0 { Ok(()) } else { Err(Violation::DoneTooEarly(book.open)) }
    }

    /// What became of every entry, now that no more can be heard.
    pub(crate) fn fates(&self) -> Vec<Fate> {
        let fate_of = |state: &State| match *state {
            State::Waiting | State::Listed | State::Wanted { .. } | State::Asked { .. } | State::Offered => {
                Fate::NotSent
            }
            State::Ended(_) => Fate::Unconfirmed,
            State::Settled { fate, .. } => fate,
        };
        self.book().entries.iter().map(fate_of).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Every entry in it is whole at any moment, also if a thread panicked elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Fault;
    use crate::reason::Obstacle;
    use crate::source::SourceFault;

    const YES: Verdict = Verdict::Delivered { copy: 1 };
    const NO: Verdict = Verdict::Failed(Obstacle::HashMismatch);
    const SIZE: u64 = 5 * PIECE_LEN + 1;
    const CHANGED: Fate = Fate::Failed(Fault::Source(SourceFault::Changed));

    fn version() -> Version {
        let modified = FileTime { seconds: 4, nanoseconds: 5 };
        Version { stamp: Stamp::from_bytes([1; 16]), size: 3, hash: [2; HASH_LEN], modified }
    }

    fn unchecked(_: &Version) -> Result<(), Violation> {
        Ok(())
    }

    /// One entry brought into each state.
    fn book(state: &str) -> Ledger {
        let ledger = Ledger::new(1);
        match state {
            "waiting" => return ledger,
            "asked" => {
                ledger.asked(0, SIZE);
                return ledger;
            }
            _ => ledger.offered(0),
        }
        match state {
            "offered" => {}
            "ended" => assert!(ledger.ended(0, None)),
            "settled" => {
                assert!(ledger.ended(0, None));
                ledger.on_verdict(0, YES, unchecked).unwrap();
            }
            "given up" => assert!(ledger.give_up(0, CHANGED)),
            other => panic!("{other}"),
        }
        ledger
    }

    #[test]
    fn every_state_takes_the_verdicts_that_fit_it_and_no_others() {
        for (state, yes, no) in [
            ("waiting", false, false),
            ("asked", false, true),
            ("offered", false, true),
            ("ended", true, true),
            ("settled", false, false),
            ("given up", false, true),
        ] {
            assert_eq!(book(state).on_verdict(0, YES, unchecked).is_ok(), yes, "{state} YES");
            assert_eq!(book(state).on_verdict(0, NO, unchecked).is_ok(), no, "{state} NO");
        }
        assert!(book("ended").on_verdict(1, YES, unchecked).is_err());
        assert!(book("ended").on_verdict(u64::MAX, YES, unchecked).is_err());
    }

    #[test]
    fn an_answer_is_taken_once_and_only_where_a_question_is_open() {
        for state in ["waiting", "offered", "ended", "settled", "given up"] {
            assert!(book(state).on_go(0, 0).is_err(), "{state}");
        }
        let ledger = book("asked");
        assert!(ledger.on_go(1, 0).is_err());
        assert!(ledger.on_go(u64::MAX, 0).is_err());
        assert_eq!(ledger.on_go(0, 0), Ok((0, None)));
        assert!(ledger.on_go(0, 0).is_err(), "a second one");
    }

    #[test]
    fn sums_come_only_where_a_question_is_open_and_are_asked_for_after_an_answer() {
        for state in ["waiting", "offered", "asked", "ended", "settled", "given up"] {
            let ledger = book(state);
            assert_eq!(ledger.is_asked(0), state == "asked", "{state}");
            assert_eq!(ledger.wanted(0, SIZE, 9), state == "offered", "{state}");
            if state == "offered" {
                assert!(ledger.is_asked(0));
                assert_eq!(ledger.on_go(0, 0), Ok((0, Some(9))));
            }
        }
        assert!(!book("asked").is_asked(1) && !book("asked").is_asked(u64::MAX));
    }

    #[test]
    fn a_file_goes_on_after_whole_pieces_or_at_its_end() {
        for from in [0, PIECE_LEN, 5 * PIECE_LEN, SIZE] {
            assert_eq!(book("asked").on_go(0, from), Ok((0, None)), "{from}");
        }
        for from in [1, PIECE_LEN - 1, SIZE + 1, 6 * PIECE_LEN, u64::MAX] {
            assert_eq!(book("asked").on_go(0, from), Err(Violation::Answer { entry: 0, from }), "{from}");
        }
    }

    #[test]
    fn a_verdict_says_what_it_is_about() {
        let version = version();
        let ledger = book("offered");
        assert!(ledger.ended(0, Some(version)));
        let fate = Fate::Delivered { copy: 1 };
        let news = News { fate, is_answer: false, version: Some(version) };
        assert_eq!(ledger.on_verdict(0, YES, unchecked), Ok(Some(news)));
        let news = News { fate: NO.into(), is_answer: true, version: None };
        assert_eq!(book("asked").on_verdict(0, NO, unchecked), Ok(Some(news)));
    }

    #[test]
    fn a_file_is_delivered_only_if_what_was_sent_stands_up_to_the_check() {
        let ledger = book("offered");
        assert!(ledger.ended(0, Some(version())));
        let wrong = Violation::NoReceipt(0);
        let refuse = |sent: &Version| if *sent == version() { Err(wrong) } else { Ok(()) };
        assert_eq!(ledger.on_verdict(0, YES, refuse), Err(wrong));
        assert_eq!(ledger.fates(), [Fate::Unconfirmed], "nothing was entered");
        assert!(ledger.on_verdict(0, NO, refuse).is_ok(), "what is not there needs no check");
    }

    #[test]
    fn a_verdict_that_is_awaited_is_an_answer() {
        let ledger = book("ended");
        assert!(!ledger.is_settled_or_await(0) && !ledger.is_delivered(0));
        assert!(ledger.on_verdict(0, YES, unchecked).unwrap().unwrap().is_answer);
        assert!(ledger.is_settled_or_await(0) && ledger.is_delivered(0));
        let ledger = book("given up");
        assert!(ledger.is_settled_or_await(0) && !ledger.is_delivered(0));
    }

    #[test]
    fn a_second_verdict_on_one_entry_is_refused() {
        for state in ["ended", "given up"] {
            let ledger = book(state);
            ledger.on_verdict(0, NO, unchecked).unwrap();
            assert_eq!(ledger.on_verdict(0, NO, unchecked), Err(Violation::Verdict(0)), "{state}");
        }
    }

    #[test]
    fn our_reason_stands_when_the_receiver_failed_at_the_same_time_and_the_other_way_round() {
        let ledger = book("given up");
        assert_eq!(ledger.on_verdict(0, NO, unchecked), Ok(None));
        assert_eq!(ledger.fates(), [CHANGED]);
        let ledger = book("offered");
        ledger.on_verdict(0, NO, unchecked).unwrap();
        assert!(!ledger.give_up(0, CHANGED));
        assert!(!ledger.ended(0, None));
        assert_eq!(ledger.fates(), [Fate::from(NO)]);
    }

    #[test]
    fn done_is_believed_only_when_nothing_is_open_and_everything_was_said() {
        for (state, open) in
            [("waiting", 0), ("asked", 1), ("offered", 1), ("ended", 1), ("settled", 0), ("given up", 0)]
        {
            let ledger = book(state);
            assert_eq!(ledger.check_done(), Err(Violation::DoneTooEarly(open)), "{state}");
            ledger.all_ended();
            assert_eq!(ledger.check_done().is_ok(), open == 0, "{state}");
        }
    }

    #[test]
    fn what_was_not_confirmed_is_said_to_be_so() {
        for (state, fate) in [
            ("waiting", Fate::NotSent),
            ("asked", Fate::NotSent),
            ("offered", Fate::NotSent),
            ("ended", Fate::Unconfirmed),
            ("settled", Fate::Delivered { copy: 1 }),
            ("given up", CHANGED),
        ] {
            assert_eq!(book(state).fates(), [fate], "{state}");
        }
    }
}
