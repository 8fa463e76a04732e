//! Who has asked what, until the answers have come.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tieline_wire::discovery::DiscoveryProtocol;
use tokio::time::Instant;

/// How long answers are waited for. Devices spread theirs over as much as five seconds (`MX` of SSDP); then there is the line.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(8);
/// Questions that wait for answers.
const QUESTIONS_MAX: usize = 256;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) protocol: DiscoveryProtocol,
    /// Who asked.
    pub(super) asker: SocketAddr,
    /// In which network: its place among the sockets.
    pub(super) network: usize,
}

/// Those that are open.
#[derive(Debug, Default)]
pub(super) struct Questions {
    next: u32,
    open: VecDeque<(u32, Instant, Question)>,
}

impl Questions {
    /// Gives a question its number. The oldest one goes if there are too many.
    pub(super) fn add(&mut self, question: Question, now: Instant) -> u32 {
        if self.open.len() == QUESTIONS_MAX {
            self.open.pop_front();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.push_back((number, now + ANSWERED_WITHIN, question));
        number
    }

    /// The question with this number, if answers are still waited for.
    pub(super) fn find(&mut self, number: u32, now: Instant) -> Option<Question> {
        while self.open.pop_front_if(|(_, until, _)| *until <= now).is_some() {}
        self.open.iter().find(|(known, ..)| *known == number).map(|(.., question)| *question)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(port: u16) -> Question {
        let asker = ([10, 1, 0, 2], port).into();
        Question { protocol: DiscoveryProtocol::Ssdp, asker, network: 0 }
    }

    #[test]
    fn answers_find_their_question_for_a_while() {
        let (mut questions, now) = (Questions::default(), Instant::now());
        let number = questions.add(question(1), now);
        let other = questions.add(question(2), now);
        assert_eq!(questions.find(number, now), Some(question(1)));
        assert_eq!(questions.find(other, now), Some(question(2)));
        assert_eq!(questions.find(other + 1, now), None);
        assert_eq!(questions.find(number, now + ANSWERED_WITHIN), None);
    }

    #[test]
    fn the_oldest_question_makes_room() {
        let (mut questions, now) = (Questions::default(), Instant::now());
        let first = questions.add(question(1), now);
        for _ in 0..QUESTIONS_MAX {
            questions.add(question(2), now);
        }
        assert_eq!(questions.find(first, now), None);
        assert_eq!(questions.open.len(), QUESTIONS_MAX);
    }
}
