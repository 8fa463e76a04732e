//! Sending less for a moment, every few seconds: whoever keeps a queue must let it go now and then, or takes it for the way itself.

use std::time::Instant;

use super::{measurement::Round, round_trips::BUCKET};

/// Rounds of a pause: in the first the queue goes, in the second it is seen to be gone.
const ROUNDS: u32 = 2;

/// When the next pause is, or that it is now.
#[derive(Clone, Debug, Default)]
pub(super) struct Pause {
    due: Option<Instant>,
    rounds_left: u32,
}

impl Pause {
    /// A round has ended. Returns whether it shows what became of that which was sent in a pause. Who has less to send than is allowed has
    /// nothing to let go, and makes no pause.
    pub(super) fn on_round(&mut self, now: Instant, round: &Round) -> bool {
        let shows = self.rounds_left == 1;
        self.rounds_left = self.rounds_left.saturating_sub(1);
        let due = *self.due.get_or_insert(now + BUCKET);
        if now >= due && !round.is_limited {
            self.rounds_left = ROUNDS;
            self.due = Some(now + BUCKET);
        }
        shows
    }

    pub(super) fn is_now(&self) -> bool {
        self.rounds_left > 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pause_comes_once_in_the_time_of_a_bucket_and_lasts_two_rounds() {
        let (start, mut pause) = (Instant::now(), Pause::default());
        let round = Duration::from_millis(500);
        let (mut pauses, mut shown) = (Vec::new(), Vec::new());
        for number in 0..=22 {
            if pause.on_round(start + number * round, &Round::default()) {
                shown.push(number);
            }
            if pause.is_now() {
                pauses.push(number);
            }
        }
        assert_eq!((pauses, shown), (vec![10, 11, 20, 21], vec![12, 22]));
    }

    #[test]
    fn who_has_little_to_send_makes_no_pause() {
        let (start, mut pause) = (Instant::now(), Pause::default());
        pause.on_round(start, &Round::default());
        let limited = Round { is_limited: true, ..Round::default() };
        pause.on_round(start + 2 * BUCKET, &limited);
        assert!(!pause.is_now());
        pause.on_round(start + 2 * BUCKET, &Round::default());
        assert!(pause.is_now());
    }
}
