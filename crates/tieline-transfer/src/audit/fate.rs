//! What the log says of a fate.

use super::{Direction, Entry, Event, Reason};
use crate::moment::Moment;
use crate::outcome::{EntryKind, EntryReport, Fate, Fault};
use crate::protocol::HASH_LEN;
use crate::receipt::TransferId;
use crate::source::{ABANDON_CANCELLED, ABANDON_LATER, SourceFault};

impl Entry {
    /// What is to be logged of `report`, without a receipt; none of what is no file, and of what is not decided: that is tried again.
    #[must_use]
    pub fn of_report(
        report: &EntryReport,
        at: Moment,
        direction: Direction,
        transfer: TransferId,
        entry: u64,
        hash: Option<[u8; HASH_LEN]>,
    ) -> Option<Self> {
        if report.kind != EntryKind::File {
            return None;
        }
        let (event, code) = event_of(&report.fate)?;
        let reason = code.map(|code| Reason { code, text: report.fate.reason().unwrap_or_default() });
        let (path, size) = (report.name.clone(), report.size);
        Some(Self { at, event, direction, transfer, entry, path, size, hash, reason, receipt: None })
    }
}

/// What happened, and the code of the reason if it has one.
fn event_of(fate: &Fate) -> Option<(Event, Option<u16>)> {
    Some(match fate {
        Fate::Delivered { .. } => (Event::Delivered, None),
        Fate::AlreadyThere { .. } => (Event::AlreadyThere, None),
        Fate::Refused(obstacle) => (Event::Refused, Some(obstacle.to_wire().0)),
        // Logged by whoever cancelled it.
        Fate::Failed(Fault::Source(SourceFault::Cancelled)) => return None,
        Fate::Failed(Fault::Abandoned(ABANDON_CANCELLED)) => (Event::Cancelled, Some(ABANDON_CANCELLED)),
        Fate::Failed(Fault::Abandoned(ABANDON_LATER)) => return None,
        Fate::Failed(fault) => (Event::Failed, Some(code_of(fault))),
        Fate::Unchanged | Fate::Skipped(_) | Fate::Unconfirmed | Fate::NotSent => return None,
    })
}

/// The number with which the one end told the other.
fn code_of(fault: &Fault) -> u16 {
    match fault {
        Fault::Receiver(obstacle) => obstacle.to_wire().0,
        Fault::Source(fault) => fault.abandon_code(),
        Fault::Abandoned(code) => *code,
        Fault::Verdict(what) => u16::from(*what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Skip;
    use crate::reason::Obstacle;

    #[test]
    fn every_fate_that_is_decided_is_logged_with_its_reason() {
        let changed = SourceFault::Changed;
        for (fate, expected) in [
            (Fate::Delivered { copy: 2 }, Some((Event::Delivered, None))),
            (Fate::AlreadyThere { copy: 1 }, Some((Event::AlreadyThere, None))),
            (Fate::Refused(Obstacle::Name(3)), Some((Event::Refused, Some(1)))),
            (Fate::Failed(Fault::Receiver(Obstacle::HashMismatch)), Some((Event::Failed, Some(3)))),
            (Fate::Failed(Fault::Source(changed)), Some((Event::Failed, Some(1)))),
            (Fate::Failed(Fault::Abandoned(changed.abandon_code())), Some((Event::Failed, Some(1)))),
            (Fate::Failed(Fault::Abandoned(4)), Some((Event::Cancelled, Some(4)))),
            (Fate::Failed(Fault::Abandoned(5)), None),
            (Fate::Failed(Fault::Source(SourceFault::Cancelled)), None),
            (Fate::Failed(Fault::Verdict(9)), Some((Event::Failed, Some(9)))),
            (Fate::Skipped(Skip::Link), None),
            (Fate::Unconfirmed, None),
            (Fate::NotSent, None),
            (Fate::Unchanged, None),
        ] {
            let entry = entry_of(EntryKind::File, fate);
            let found = entry.map(|entry| {
                assert_eq!(entry.reason.as_ref().map(|reason| reason.text.clone()), fate.reason());
                (entry.event, entry.reason.map(|reason| reason.code))
            });
            assert_eq!(found, expected, "{fate:?}");
        }
    }

    #[test]
    fn folders_are_not_logged() {
        assert_eq!(entry_of(EntryKind::Folder, Fate::Delivered { copy: 1 }), None);
    }

    fn entry_of(kind: EntryKind, fate: Fate) -> Option<Entry> {
        let report = EntryReport { name: (*b"a").into(), kind, size: 1, fate };
        Entry::of_report(&report, Moment::new(1, 2)?, Direction::Sent, TransferId([3; 16]), 4, None)
    }
}
