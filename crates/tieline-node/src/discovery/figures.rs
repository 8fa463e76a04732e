//! What was relayed, and what was not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tieline_wire::discovery::DiscoveryProtocol;

use crate::status::RelayStatus;

/// Characters of a sentence of the far end that are kept and shown.
const TROUBLE_LEN_MAX: usize = 300;

/// Why something was not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The far end is not there, or relays nothing.
    NotOpen,
    /// More than may be said in a second.
    Rate,
    /// This end said it itself: it came back another way.
    Loop,
    /// It would have waited behind too many.
    QueueFull,
    /// Larger than what is relayed.
    TooLarge,
    /// Of a protocol that this end does not relay.
    NotWanted,
    /// An answer to a question that nobody waits for any more.
    TooLate,
    /// The network did not take it.
    NotSent,
}

/// Out to the far end, or in from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::NotOpen,
        Self::Rate,
        Self::Loop,
        Self::QueueFull,
        Self::TooLarge,
        Self::NotWanted,
        Self::TooLate,
        Self::NotSent,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::NotOpen => "not-open",
            Self::Rate => "rate",
            Self::Loop => "loop",
            Self::QueueFull => "queue-full",
            Self::TooLarge => "too-large",
            Self::NotWanted => "not-wanted",
            Self::TooLate => "too-late",
            Self::NotSent => "not-sent",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Figures {
    protocols: [OfProtocol; DiscoveryProtocol::ALL.len()],
    trouble: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct OfProtocol {
    /// Questions and announcements, out and in.
    said: [AtomicU64; 2],
    /// Answers, out and in.
    answers: [AtomicU64; 2],
    dropped: [AtomicU64; Reason::ALL.len()],
}

impl Figures {
    pub(super) fn count(&self, protocol: DiscoveryProtocol, way: Way, is_answer: bool) {
        let figures = &self.protocols[protocol as usize];
        let counts = if is_answer { &figures.answers } else { &figures.said };
        counts[way as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn drop(&self, protocol: DiscoveryProtocol, reason: Reason) {
        self.protocols[protocol as usize].dropped[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Why nothing is relayed, if something is in the way; told when it changes.
    pub(super) fn set_trouble(&self, sentence: Option<&str>) {
        let sentence = sentence.map(|sentence| {
            sentence
                .chars()
                .filter(|character| !character.is_control())
                .take(TROUBLE_LEN_MAX)
                .collect::<String>()
        });
        let mut trouble = self.lock();
        if *trouble != sentence {
            match &sentence {
                Some(sentence) => tracing::info!(%sentence, "discovery is not relayed"),
                None => tracing::info!("discovery is relayed"),
            }
            *trouble = sentence;
        }
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().clone()
    }

    pub(super) fn status(&self, protocol: DiscoveryProtocol) -> RelayStatus {
        let figures = &self.protocols[protocol as usize];
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let [said_out, said_in] = figures.said.each_ref().map(count);
        let [answers_out, answers_in] = figures.answers.each_ref().map(count);
        let dropped = Reason::ALL
            .into_iter()
            .map(|reason| (reason.as_str().to_owned(), count(&figures.dropped[reason as usize])));
        RelayStatus {
            protocol: protocol.to_string(),
            said_out,
            said_in,
            answers_out,
            answers_in,
            dropped: dropped.filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
