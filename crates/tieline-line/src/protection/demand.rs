//! Whether voice needs protection: a decision with two thresholds, from what is known of loss.
//!
//! Who knows something says so with [`Demand::handle_loss`]: the far end's reports on protected packets, and while there are none, whatever
//! else measures the line.

use std::time::{Duration, Instant};

/// Loss from which on voice is protected, in thousandths.
pub const ON_PER_MILLE: u64 = 3;
/// Loss below which it is not protected any more.
pub const OFF_PER_MILLE: u64 = 1;
/// How far back loss is looked at for turning off, and how long protection is on at least.
pub const OFF_SPAN: Duration = Duration::from_secs(30);
/// How far back loss is looked at for turning on at once.
pub const ON_SPAN: Duration = Duration::from_secs(1);
/// And for turning on where little is sent.
pub const ON_SPAN_LONG: Duration = Duration::from_secs(10);
/// A lone lost packet says nothing about a line.
pub const LOST_MIN: u64 = 2;

const SLOT: Duration = Duration::from_millis(250);
const SLOTS: usize = (OFF_SPAN.as_millis() / SLOT.as_millis()) as usize;

/// Remembers half a minute of losses.
#[derive(Clone, Debug)]
pub struct Demand {
    slots: [Losses; SLOTS],
    current: usize,
    /// When the current slot began.
    since: Option<Instant>,
    on_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    expected: u64,
    lost: u64,
}

impl Losses {
    fn reach(self, per_mille: u64) -> bool {
        self.lost > 0 && self.lost * 1000 >= self.expected * per_mille
    }
}

impl Default for Demand {
    fn default() -> Self {
        Self { slots: [Losses::default(); SLOTS], current: 0, since: None, on_since: None }
    }
}

impl Demand {
    /// Learns that of `expected` packets `lost` did not come, since this was last said.
    pub fn handle_loss(&mut self, now: Instant, expected: u32, lost: u32) {
        self.turn(now);
        let slot = &mut self.slots[self.current];
        slot.expected += u64::from(expected.max(lost));
        slot.lost += u64::from(lost);
        let is_lossy = |losses: Losses| losses.lost >= LOST_MIN && losses.reach(ON_PER_MILLE);
        if is_lossy(self.losses(ON_SPAN)) || is_lossy(self.losses(ON_SPAN_LONG)) {
            self.on_since.get_or_insert(now);
        }
    }

    /// Whether voice is to be protected.
    pub fn is_on(&mut self, now: Instant) -> bool {
        self.turn(now);
        self.on_since.is_some()
    }

    /// Loss in thousandths of the ten seconds before it was last asked or told anything; none if nothing is known.
    #[must_use]
    pub fn loss_per_mille(&self) -> Option<u64> {
        let Losses { expected, lost } = self.losses(ON_SPAN_LONG);
        (lost * 1000).checked_div(expected)
    }

    /// Sums the slots of the last `span`, the current one included.
    fn losses(&self, span: Duration) -> Losses {
        let count = (span.as_millis() / SLOT.as_millis()) as usize;
        (0..count).fold(Losses::default(), |sum, back| {
            let slot = self.slots[(self.current + SLOTS - back) % SLOTS];
            Losses { expected: sum.expected + slot.expected, lost: sum.lost + slot.lost }
        })
    }

    /// Moves on to the slot of `now`.
    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let slots = now.saturating_duration_since(since).as_millis() / SLOT.as_millis();
        for _ in 0..slots.min(SLOTS as u128) {
            self.current = (self.current + 1) % SLOTS;
            self.slots[self.current] = Losses::default();
        }
        if slots == 0 {
            return;
        }
        // Below 2³² slots, 34 years.
        self.since = Some(since + SLOT * u32::try_from(slots).unwrap_or(u32::MAX));
        let is_old = self.on_since.is_some_and(|on| now.saturating_duration_since(on) >= OFF_SPAN);
        if is_old && !self.losses(OFF_SPAN).reach(OFF_PER_MILLE) {
            self.on_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells of 500 packets a second, of which every `one_in`th was lost, every 50 ms until `until`; returns when it turned on.
    fn run(demand: &mut Demand, start: Instant, millis: std::ops::Range<u64>, one_in: u32) -> Option<u64> {
        let mut number = 0;
        let mut turned_on = None;
        for at in millis.step_by(50) {
            let now = start + Duration::from_millis(at);
            let lost = (0..25)
                .filter(|_| {
                    number += 1;
                    number % one_in == 0
                })
                .count();
            demand.handle_loss(now, 25, lost as u32);
            if demand.is_on(now) {
                turned_on = turned_on.or(Some(at));
            }
        }
        turned_on
    }

    #[test]
    fn loss_turns_it_on_within_a_second() {
        let start = Instant::now();
        for (one_in, within) in [(50, 250), (100, 450), (300, 1250)] {
            let mut demand = Demand::default();
            assert!(!demand.is_on(start));
            let turned_on = run(&mut demand, start, 0..5000, one_in).unwrap();
            assert!(turned_on <= within, "1 in {one_in}: after {turned_on} ms");
        }
    }

    #[test]
    fn little_loss_and_a_lone_packet_do_not() {
        let start = Instant::now();
        let mut demand = Demand::default();
        assert_eq!(run(&mut demand, start, 0..60_000, 500), None);
        let mut demand = Demand::default();
        demand.handle_loss(start, 10, 1);
        assert!(!demand.is_on(start));
    }

    #[test]
    fn a_lone_call_needs_a_few_seconds() {
        let start = Instant::now();
        let mut demand = Demand::default();
        // One packet in fifty: one a second.
        let on = (0..10).find(|second| {
            let now = start + Duration::from_secs(*second);
            demand.handle_loss(now, 50, 1);
            demand.is_on(now)
        });
        assert_eq!(on, Some(1));
    }

    #[test]
    fn it_stays_on_for_half_a_minute_without_loss_and_then_goes_off() {
        let start = Instant::now();
        let mut demand = Demand::default();
        run(&mut demand, start, 0..1000, 100).unwrap();
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            demand.handle_loss(now, 500, 0);
            assert_eq!(demand.is_on(now), second <= 30, "{second}");
        }
    }

    #[test]
    fn it_goes_off_when_nobody_speaks_any_more() {
        let start = Instant::now();
        let mut demand = Demand::default();
        run(&mut demand, start, 0..1000, 100).unwrap();
        assert!(demand.is_on(start + Duration::from_secs(29)));
        assert!(!demand.is_on(start + Duration::from_secs(32)));
        assert_eq!(demand.loss_per_mille(), None);
    }

    #[test]
    fn loss_around_the_thresholds_does_not_flap() {
        let start = Instant::now();
        let mut demand = Demand::default();
        run(&mut demand, start, 0..1000, 100).unwrap();
        // Two in a thousand: not enough to turn on, too much to turn off.
        let mut other = Demand::default();
        for tick in 21..6000 {
            let now = start + Duration::from_millis(tick * 50);
            let lost = u32::from(tick % 20 == 0);
            demand.handle_loss(now, 25, lost);
            other.handle_loss(now, 25, lost);
            assert!(demand.is_on(now) && !other.is_on(now), "{tick}");
        }
    }
}
