//! One path: the heartbeats that go out, those that come in, and what they say of the path.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use tieline_wire::path_heartbeat::{Hears, Heartbeat, PathId};

use super::{
    ALLOWANCE, INTERVAL_SLOW, LOST_MAX, MISSED_MAX, RETURN_AFTER_MAX, RETURN_AFTER_MIN, SILENCE_QUICK, Said,
};

/// Heartbeats whose answer may still come; at the quick pace those of three seconds.
const SENT_MAX: usize = 64;
/// Heartbeats of the far end of which it is known whether they came.
const WINDOW: u32 = u64::BITS;
/// How long a far end that is to hurry may take, while no round trip is known.
const ROUND_TRIP_UNKNOWN: Duration = Duration::from_millis(500);

/// The heartbeats of one path.
#[derive(Debug)]
pub(super) struct Pulse {
    sequence: u32,
    /// When each of the last was sent.
    sent: VecDeque<(u32, Instant)>,
    /// The next one; none before the first.
    due: Option<Instant>,
    heard: Option<Heard>,
    /// Whether the silence since then is not yet too long.
    is_heard: bool,
    /// Which of the last came: the newest is the lowest bit.
    came: u64,
    /// Of how many that is known.
    counted: u32,
    round_trip: Option<Duration>,
    was_up: bool,
    since: Instant,
    /// How long it must be good before it carries again.
    return_after: Duration,
}

/// The newest heartbeat of the far end.
#[derive(Clone, Copy, Debug)]
struct Heard {
    sequence: u32,
    at: Instant,
    said: Said,
    hears_us: bool,
    lost_per_mille: u16,
}

impl Pulse {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            sequence: 0,
            sent: VecDeque::with_capacity(SENT_MAX),
            due: None,
            heard: None,
            is_heard: false,
            came: 0,
            counted: 0,
            round_trip: None,
            was_up: false,
            since: now,
            return_after: Duration::ZERO,
        }
    }

    /// There is another process at the far end; ours counts on.
    pub(super) fn forget_far_end(&mut self, now: Instant) {
        *self = Self { sequence: self.sequence, ..Self::new(now) };
    }

    /// Takes a heartbeat of the far end; false if a newer one came before it, so that it says nothing of how things are.
    pub(super) fn handle_heartbeat(&mut self, now: Instant, arrived: Instant, heartbeat: &Heartbeat) -> bool {
        let ahead = self.heard.map_or(1, |heard| heartbeat.sequence.wrapping_sub(heard.sequence));
        let behind = ahead.wrapping_neg();
        if behind < WINDOW {
            self.came |= 1 << behind;
            return false;
        }
        // Nothing is overtaken by so many: then the far end counts anew.
        let counts_on = ahead.cast_signed() > 0;
        if self.is_heard && counts_on {
            self.came = self.came.checked_shl(ahead).unwrap_or(0) | 1;
            self.counted = self.counted.saturating_add(ahead).min(WINDOW);
        } else {
            // What was missed in the silence says nothing of how the path is now. The far end is told at once that it is heard again.
            (self.came, self.counted) = (1, 1);
            if !std::mem::replace(&mut self.is_heard, true) {
                self.due = Some(now);
            }
        }
        if let Some(Hears { sequence, age }) = heartbeat.hears {
            self.measure(arrived, sequence, age);
        }
        let Heartbeat { carries, wants_copies, is_busy, interval, .. } = *heartbeat;
        self.heard = Some(Heard {
            sequence: heartbeat.sequence,
            at: arrived,
            said: Said { carries, wants_copies, is_busy, interval },
            hears_us: heartbeat.hears.is_some(),
            lost_per_mille: heartbeat.lost_per_mille,
        });
        true
    }

    fn measure(&mut self, arrived: Instant, sequence: u32, age: Duration) {
        let sent = self.sent.iter().find(|(sent, _)| *sent == sequence);
        if let Some((_, at)) = sent {
            self.round_trip = Some(arrived.saturating_duration_since(*at).saturating_sub(age));
        }
    }

    /// Notes that the silence has become too long, if it has. The far end is told at once.
    pub(super) fn handle_silence(&mut self, now: Instant, quick_since: Option<Instant>) {
        if self.silent_at(quick_since).is_some_and(|at| at <= now) {
            self.is_heard = false;
            self.due = Some(now);
        }
    }

    /// When the silence becomes too long, if nothing comes until then; none if it is so already.
    pub(super) fn silent_at(&self, quick_since: Option<Instant>) -> Option<Instant> {
        let heard = self.heard.filter(|_| self.is_heard)?;
        let as_announced = heard.at + heard.said.interval * MISSED_MAX + ALLOWANCE;
        // A far end that hears us hurries when we do, once it knows.
        let hurries = |since: Instant| since + self.round_trip.unwrap_or(ROUND_TRIP_UNKNOWN) * 2;
        let since = quick_since.filter(|_| heard.hears_us);
        let quick = since.map(|since| heard.at.max(hurries(since)) + SILENCE_QUICK);
        Some(quick.map_or(as_announced, |quick| quick.min(as_announced)))
    }

    /// Whether the path came up or went down since this was last asked.
    pub(super) fn poll_change(&mut self, now: Instant) -> Option<bool> {
        let is_up = self.is_up();
        if is_up == self.was_up {
            return None;
        }
        if !is_up {
            let was_good_long = now.saturating_duration_since(self.since) >= RETURN_AFTER_MAX;
            self.return_after = match was_good_long {
                true => RETURN_AFTER_MIN,
                false => (self.return_after * 2).clamp(RETURN_AFTER_MIN, RETURN_AFTER_MAX),
            };
        }
        (self.was_up, self.since) = (is_up, now);
        Some(is_up)
    }

    /// The heartbeat that is due.
    pub(super) fn send(&mut self, now: Instant, path: PathId, said: &Said) -> Heartbeat {
        self.sequence = self.sequence.wrapping_add(1);
        self.due = Some(now + said.interval);
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((self.sequence, now));
        let heard = self.heard.filter(|_| self.is_heard);
        let hears = |heard: Heard| {
            let age = now.saturating_duration_since(heard.at);
            Hears { sequence: heard.sequence, age }
        };
        Heartbeat {
            path,
            carries: said.carries,
            wants_copies: said.wants_copies,
            is_busy: said.is_busy,
            interval: said.interval,
            sequence: self.sequence,
            hears: heard.map(hears),
            lost_per_mille: self.lost_in().unwrap_or(0),
        }
    }

    /// When the next heartbeat is to be sent; none: at once.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// From now on heartbeats are quick.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// What the far end said last, while it is heard.
    pub(super) fn said(&self) -> Option<Said> {
        self.heard.filter(|_| self.is_heard).map(|heard| heard.said)
    }

    pub(super) fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// Whether both ends hear each other.
    pub(super) fn is_up(&self) -> bool {
        self.is_heard && self.heard.is_some_and(|heard| heard.hears_us)
    }

    /// Whether it has been good for so long that it may carry again.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        let lost = self.lost_in().max(self.lost_out()).unwrap_or(0);
        lost <= LOST_MAX && self.good_at().is_some_and(|at| at <= now)
    }

    /// When it will have been good for long enough.
    pub(super) fn good_at(&self) -> Option<Instant> {
        self.is_up().then(|| self.since + self.return_after)
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Of the last heartbeats of the far end those that did not come, in thousandths.
    pub(super) fn lost_in(&self) -> Option<u16> {
        let lost = self.counted.checked_sub(self.came_of_counted())?;
        (lost * 1000).checked_div(self.counted).and_then(|lost| u16::try_from(lost).ok())
    }

    fn came_of_counted(&self) -> u32 {
        let mask = 1_u64.checked_shl(self.counted).unwrap_or(0).wrapping_sub(1);
        (self.came & mask).count_ones()
    }

    /// Of ours those that did not arrive, as the far end says.
    pub(super) fn lost_out(&self) -> Option<u16> {
        self.heard.filter(|heard| self.is_heard && heard.hears_us).map(|heard| heard.lost_per_mille)
    }

    /// Whether nothing was heard for so long.
    pub(super) fn is_silent_for(&self, now: Instant, time: Duration) -> bool {
        let last = self.heard.map_or(self.since, |heard| heard.at);
        !self.is_heard && now.saturating_duration_since(last) >= time
    }
}

const _: () = assert!(INTERVAL_SLOW.as_millis() <= u16::MAX as u128);
