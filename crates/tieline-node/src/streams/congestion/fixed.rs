//! `fixed`: sends at the rate that the company pays for.
//!
//! What is lost on the way is made up for by sending more, by as much as is lost and never by more than a quarter: what arrives is then
//! the rate that was set. Loss that goes when less is sent, in a [`Pause`] every five seconds, is our own doing and not made up for. All
//! that is right only as long as the line is there for it. A queue that stands says that it is not, and so does loss beyond all measure;
//! then the policy falls back to what is delivered, by so much that the queue becomes [`QUEUE`], and returns to the set rate by and by
//! when that is gone.

use std::time::{Duration, Instant};

use super::{
    INITIAL_WINDOW_PACKETS,
    limits::Rate,
    measurement::{Measurement, Round, Tally, octets_in},
    pause::Pause,
};

/// At most this much more than the set rate is sent, as others do who compensate (Hysteria's Brutal).
const COMPENSATION_MAX: f64 = 1.25;
/// Loss in a round that is not made up for any more.
const LOSS_HOPELESS: f64 = 0.25;
/// By how much loss may be larger than in a pause and still not be our own: there are few packets in a pause.
const CHANCE: (f64, f64) = (1.25, 0.02);
/// The queue at which no more is sent than leaves it. Twice what the jitter of timers and threads makes up.
const QUEUE: Duration = Duration::from_millis(10);
/// In a pause this much of the rate is sent.
const PAUSED: f64 = 0.85;
/// In a pause, the queue at which no more is sent than leaves it, in seconds: less than none, so that there is none.
const QUEUE_PAUSED: f64 = -0.003;
/// How much the fallback slows down and speeds up at most, against what is delivered.
const CORRECTION: (f64, f64) = (0.5, 1.25);
/// How much faster each round the policy becomes on its way back, so that a line that has become slow is not flooded to find out.
const RETURN: f64 = 1.5;
/// Queue in front of the slowest link that the window leaves room for, and acknowledgements that are late.
const WINDOW_SLACK: Duration = Duration::from_millis(50);
/// Each round, what was lost before counts this much less.
const MEMORY: f64 = 7.0 / 8.0;

/// What the policy remembers.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    rate: Rate,
    /// Of the last rounds.
    tally: Tally,
    /// Of the last pauses; none before the first.
    paused: Option<Tally>,
    /// The queue that stood through the last round.
    queue: Duration,
    /// The rate of the fallback in octets each second, and of the return from it; infinite otherwise.
    ceiling: f64,
    pause: Pause,
}

impl Fixed {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            tally: Tally::default(),
            paused: None,
            queue: Duration::ZERO,
            ceiling: f64::INFINITY,
            pause: Pause::default(),
        }
    }

    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    pub(super) fn on_round(&mut self, now: Instant, path: &mut Measurement, round: &Round) {
        if self.pause.on_round(now, round) {
            self.paused = Some(remembered(self.paused.unwrap_or_default(), round.lost));
        }
        self.tally = remembered(self.tally, round.lost);
        let queue = path.queue(round);
        // Acknowledgements of little that is sent are late by themselves.
        self.queue = if round.is_limited { queue.min(self.queue) } else { queue };
        let is_hopeless = round.lost.is_telling(path.mtu()) && round.lost.share() > LOSS_HOPELESS;
        if is_hopeless || self.queue > 2 * QUEUE {
            path.forget_bandwidth(round);
        }
        self.ceiling = match path.bandwidth() {
            Some(delivered) if is_hopeless => delivered as f64 * self.correction(path),
            Some(delivered) if self.queue > QUEUE / 2 => {
                delivered as f64 * self.compensation() * self.correction(path)
            }
            Some(_) | None if self.ceiling < self.wanted(path) => self.ceiling * RETURN,
            Some(_) | None => f64::INFINITY,
        };
    }

    pub(super) fn pacing_rate(&self, path: &Measurement) -> u64 {
        self.wanted(path).min(self.ceiling) as u64
    }

    pub(super) fn window(&self, path: &Measurement) -> u64 {
        let least = INITIAL_WINDOW_PACKETS * path.mtu();
        let Some(base) = path.round_trips().base() else { return least };
        let window = octets_in(self.pacing_rate(path), base + WINDOW_SLACK);
        // On a line that has become slow, so many packets would be seconds.
        if self.ceiling.is_finite() { window } else { window.max(least) }
    }

    /// Octets each second without fallback.
    fn wanted(&self, path: &Measurement) -> f64 {
        let paused = if self.pause.is_now() { PAUSED } else { 1.0 };
        self.rate.octets(path.mtu()) as f64 * self.compensation() * paused
    }

    /// By how much more is sent than is to arrive.
    fn compensation(&self) -> f64 {
        let in_pauses = self.paused.map_or(1.0, |tally| tally.share() * CHANCE.0 + CHANCE.1);
        1.0 / (1.0 - self.tally.share().min(in_pauses)).max(1.0 / COMPENSATION_MAX)
    }

    /// By how much more than leaves the queue is to be sent, so that it becomes what it should be within a round trip.
    fn correction(&self, path: &Measurement) -> f64 {
        let base = path.round_trips().base().unwrap_or_default().max(QUEUE).as_secs_f64();
        let aim = if self.pause.is_now() { QUEUE_PAUSED } else { QUEUE.as_secs_f64() };
        (1.0 + (aim - self.queue.as_secs_f64()) / base).clamp(CORRECTION.0, CORRECTION.1)
    }
}

/// What is known of loss, with a round more.
fn remembered(before: Tally, round: Tally) -> Tally {
    let less = |octets: u64| (octets as f64 * MEMORY) as u64;
    let mut tally = Tally { delivered: less(before.delivered), lost: less(before.lost) };
    tally.add(round);
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    const MTU: u16 = 1436;

    /// A policy of 12 Mbit/s on a path of 50 ms, after one round with this loss and queue.
    fn after_a_round(delivered: u64, lost: u64, queue: Duration) -> (Fixed, Measurement) {
        let rate = Rate::from_bits_per_second(12_000_000);
        let base = Duration::from_millis(50);
        let (start, mut path) = (Instant::now(), Measurement::new(Instant::now(), MTU));
        path.on_sent(start, u64::from(MTU));
        path.on_ack(start + base, start, u64::from(MTU));
        path.on_end_acks(start + base, 0, false);
        let mut fixed = Fixed::new(rate);
        let round = Round { round_trip: base + queue, lost: Tally { delivered, lost }, ..Round::default() };
        fixed.on_round(start + base, &mut path, &round);
        (fixed, path)
    }

    #[test]
    fn what_is_lost_is_made_up_for_and_no_more_than_a_quarter() {
        let set = 1_436_000;
        for (lost, expected) in [(0, set), (50_000, 1_511_578), (100_000, 1_595_555), (240_000, 1_795_000)] {
            let (fixed, path) = after_a_round(1_000_000 - lost, lost, Duration::ZERO);
            assert_eq!(fixed.pacing_rate(&path), expected, "{lost} of a million lost");
        }
    }

    #[test]
    fn standing_queue_and_hopeless_loss_bring_the_rate_down_to_what_is_delivered() {
        let delivered = 28_720.0;
        for (lost, queue, expected) in
            [(0, 10, 1.0), (0, 20, 0.8), (0, 900, 0.5), (500_000, 0, 1.2), (500_000, 900, 0.5)]
        {
            let (fixed, path) = after_a_round(1_000_000 - lost, lost, Duration::from_millis(queue));
            let rate = fixed.pacing_rate(&path) as f64 / delivered;
            assert!((rate - expected).abs() < 0.01, "{lost} lost, {queue} ms: {rate}");
        }
    }

    #[test]
    fn rate_that_is_set_counts_at_once() {
        let (mut fixed, path) = after_a_round(1_000_000, 0, Duration::ZERO);
        fixed.set_rate(Rate::from_bits_per_second(24_000_000));
        assert_eq!(fixed.pacing_rate(&path), 2_872_000);
    }
}
