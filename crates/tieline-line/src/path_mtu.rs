//! How long a packet may be to pass the path between the two ends in one datagram: found by probing (RFC 8899).
//!
//! Nothing that routers say is believed, for anybody could say it and many say nothing. A probe is a packet of the length that is tried; the
//! far end's answer shows that it passed. Until it is known what passes, and again when what passed does so no more (a *black hole*), packets
//! are taken to pass that fit the least path that IPv6 allows ([`BASE_LEN`]).
//!
//! ```text
//!          start                      longest passes, or what passes is known
//!   off ──────────▶ searching ─────────────────────────────────────▶ known ──┐ confirmed while there is traffic;
//!                       ▲                                               │    │ the longer ones tried again after RAISE_TIME
//!                       └──────────────── three confirmations missing ──┘◀───┘
//! ```

use std::time::{Duration, Instant};

use tieline_wire::mtu_probe::MtuProbe;

/// What passes every path that is one: 1,280 octets less IPv6 (40), UDP (8) and WireGuard (32) (RFC 8200 §5).
pub const BASE_LEN: usize = 1200;
/// Probes of one length that may be lost before it is taken not to pass (RFC 8899 §5.1.2).
pub const PROBES_MAX: u32 = 3;
/// How long an answer is waited for at least, and at most; between, three round trips.
pub const ANSWER_WAIT: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(3)];
/// A search begins so long after its cause: a far end that gives many causes does not make us send many long packets.
pub const START_PAUSE: Duration = Duration::from_millis(100);
/// How often it is confirmed that what passed still does, while there is traffic.
pub const CONFIRM_TIME: Duration = Duration::from_secs(5);
/// After this time longer packets are tried again (RFC 8899 §5.1.1).
pub const RAISE_TIME: Duration = Duration::from_secs(600);
/// The search ends when what passes and what does not are so close: WireGuard pads to this.
const CLOSE: usize = 16;

/// What is found out about one path.
#[derive(Debug)]
pub struct PathMtu {
    /// The longest that is of use.
    longest: usize,
    /// The longest that passed.
    passes: usize,
    /// The shortest that did not, in this search.
    refused: Option<usize>,
    state: State,
    /// When longer ones are tried again; none while they are.
    raise: Option<Instant>,
    /// No probe is sent before.
    earliest: Option<Instant>,
    next_number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    /// A probe of `len` octets is to be sent, or is on its way.
    Probing {
        len: usize,
        lost: u32,
        /// Its number, and until when its answer is waited for.
        sent: Option<(u32, Instant)>,
    },
    /// Until then nothing is tried.
    Known {
        confirm: Instant,
    },
}

impl PathMtu {
    /// Nothing is known; packets of more than `longest` octets are not sent.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self {
            longest,
            passes: BASE_LEN.min(longest),
            refused: None,
            state: State::Off,
            raise: None,
            earliest: None,
            next_number: 0,
        }
    }

    /// Octets of the longest packet, label included, that is known to pass.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// The same, if the far end answers probes.
    #[must_use]
    pub fn known(&self) -> Option<usize> {
        (self.state != State::Off).then_some(self.passes)
    }

    /// The far end answers probes; or there is another path now.
    pub fn start(&mut self, now: Instant) {
        self.earliest = Some(now + START_PAUSE);
        self.passes = BASE_LEN.min(self.longest);
        self.search();
    }

    /// The far end answers none.
    pub fn stop(&mut self) {
        *self = Self { next_number: self.next_number, ..Self::new(self.longest) };
    }

    /// The probe to send now, if one is due. `round_trip` is the usual one, if it is known; `has_traffic` says whether anything was sent of
    /// late.
    pub fn poll_probe(
        &mut self,
        now: Instant,
        round_trip: Option<Duration>,
        has_traffic: bool,
    ) -> Option<MtuProbe> {
        self.handle_timeout(now, has_traffic);
        if self.earliest.is_some_and(|earliest| now < earliest) {
            return None;
        }
        let State::Probing { len, lost, sent: None } = self.state else { return None };
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let [least, most] = ANSWER_WAIT;
        let wait = (round_trip.unwrap_or(most) * 3).clamp(least, most);
        self.state = State::Probing { len, lost, sent: Some((number, now + wait)) };
        Some(MtuProbe { number, packet_len: len as u16, is_answer: false })
    }

    /// When to call [`Self::poll_probe`] again.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Probing { sent: None, .. } => self.earliest,
            State::Probing { sent: Some((_, until)), .. } => Some(until),
            State::Known { confirm } => Some(self.raise.map_or(confirm, |raise| raise.min(confirm))),
        }
    }

    /// Takes the answer to a probe; late ones and those that nobody asked for are ignored.
    pub fn handle_answer(&mut self, now: Instant, answer: &MtuProbe) {
        let State::Probing { len, sent: Some((number, _)), .. } = self.state else { return };
        if !answer.is_answer || answer.number != number || usize::from(answer.packet_len) != len {
            return;
        }
        self.passes = len;
        self.go_on(now);
    }

    fn handle_timeout(&mut self, now: Instant, has_traffic: bool) {
        match self.state {
            State::Probing { len, lost, sent: Some((_, until)) } if until <= now => {
                if lost + 1 < PROBES_MAX {
                    self.state = State::Probing { len, lost: lost + 1, sent: None };
                } else {
                    self.on_refused(now, len);
                }
            }
            State::Known { .. } if self.raise.is_some_and(|raise| raise <= now) => self.search(),
            State::Known { confirm } if confirm <= now => match has_traffic {
                true => self.try_len(self.passes),
                false => self.state = State::Known { confirm: now + CONFIRM_TIME },
            },
            _ => {}
        }
    }

    /// What was tried does not pass. If that is what passed before, it is a black hole, and the search begins anew.
    fn on_refused(&mut self, now: Instant, len: usize) {
        self.refused = Some(len);
        if len <= self.passes {
            (self.passes, self.raise) = (BASE_LEN.min(self.longest), None);
        }
        self.go_on(now);
    }

    /// Tries what lies between what passes and what does not, if that is worth it.
    fn go_on(&mut self, now: Instant) {
        match self.refused {
            Some(refused) if refused > self.passes + CLOSE => {
                // Upwards, so that what is found is soon near what there is.
                self.try_len((self.passes + refused).div_ceil(2));
            }
            _ => {
                // What is confirmed is no new search.
                self.raise.get_or_insert(now + RAISE_TIME);
                self.state = State::Known { confirm: now + CONFIRM_TIME };
            }
        }
    }

    /// Begins with the longest.
    fn search(&mut self) {
        (self.refused, self.raise) = (None, None);
        self.try_len(self.longest);
    }

    fn try_len(&mut self, len: usize) {
        self.state = State::Probing { len, lost: 0, sent: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);
    const LONGEST: usize = 1420;

    /// A path that takes packets of so many octets, on virtual time.
    struct World {
        mtu: PathMtu,
        now: Instant,
        takes: usize,
        /// Of the probes that pass, every so many-th is lost.
        loses: usize,
        probes: usize,
        has_traffic: bool,
    }

    impl World {
        fn new(takes: usize) -> Self {
            let mut mtu = PathMtu::new(LONGEST);
            assert_eq!((mtu.passes(), mtu.poll_timeout()), (BASE_LEN, None));
            let now = Instant::now();
            mtu.start(now);
            Self { mtu, now, takes, loses: usize::MAX, probes: 0, has_traffic: true }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            loop {
                while let Some(probe) = self.mtu.poll_probe(self.now, Some(RTT), self.has_traffic) {
                    self.probes += 1;
                    let len = usize::from(probe.packet_len);
                    assert!((1..=LONGEST).contains(&len));
                    if len <= self.takes && !self.probes.is_multiple_of(self.loses) {
                        self.now += RTT;
                        self.mtu.handle_answer(self.now, &MtuProbe { is_answer: true, ..probe });
                    }
                }
                match self.mtu.poll_timeout().filter(|next| *next <= end) {
                    Some(next) => self.now = next.max(self.now),
                    None => break,
                }
            }
            self.now = end;
        }
    }

    fn is_searching(world: &World) -> bool {
        matches!(world.mtu.state, State::Probing { .. })
    }

    #[test]
    fn a_path_that_takes_everything_is_known_after_one_probe() {
        let mut world = World::new(LONGEST);
        world.run(START_PAUSE + Duration::from_millis(50));
        assert_eq!((world.mtu.passes(), is_searching(&world), world.probes), (LONGEST, false, 1));
    }

    #[test]
    fn what_passes_is_found_to_within_the_padding() {
        for takes in (BASE_LEN..=LONGEST).step_by(7) {
            let mut world = World::new(takes);
            world.run(Duration::from_secs(8));
            let found = world.mtu.passes();
            assert!(found <= takes && takes - found < CLOSE + 1, "{found} of {takes}");
            assert!(!is_searching(&world) && world.probes <= 24, "{} probes", world.probes);
        }
    }

    #[test]
    fn loss_is_not_taken_for_a_short_path() {
        let mut world = World::new(LONGEST);
        world.loses = 2;
        world.run(Duration::from_secs(300));
        assert_eq!(world.mtu.passes(), LONGEST);
    }

    #[test]
    fn a_path_that_becomes_shorter_is_noticed_within_seconds_and_one_that_becomes_longer_in_the_end() {
        let mut world = World::new(LONGEST);
        world.run(Duration::from_secs(60));
        world.takes = 1300;
        world.run(CONFIRM_TIME + 3 * ANSWER_WAIT[0] + Duration::from_millis(100));
        assert!(world.mtu.passes() <= 1300, "{}", world.mtu.passes());
        world.run(Duration::from_secs(8));
        assert!(world.mtu.passes() > 1300 - CLOSE - 1);
        world.takes = LONGEST;
        world.run(RAISE_TIME);
        assert_eq!(world.mtu.passes(), LONGEST);
    }

    #[test]
    fn a_path_that_takes_nothing_long_is_asked_seldom() {
        let mut world = World::new(600);
        world.run(Duration::from_secs(60));
        assert_eq!(world.mtu.passes(), BASE_LEN);
        assert!(world.probes < 100, "{}", world.probes);
    }

    #[test]
    fn a_line_without_traffic_sends_no_confirmations() {
        let mut world = World::new(LONGEST);
        world.has_traffic = false;
        world.run(RAISE_TIME / 2);
        assert_eq!(world.probes, 1);
    }

    #[test]
    fn answers_that_nobody_asked_for_change_nothing() {
        let now = Instant::now();
        let mut mtu = PathMtu::new(LONGEST);
        let answer = |number, packet_len| MtuProbe { number, packet_len, is_answer: true };
        mtu.handle_answer(now, &answer(0, 1420));
        mtu.start(now);
        mtu.handle_answer(now, &answer(0, 1420));
        assert_eq!((mtu.poll_probe(now, None, true), mtu.poll_timeout()), (None, Some(now + START_PAUSE)));
        let now = now + START_PAUSE;
        let probe = mtu.poll_probe(now, None, true).unwrap();
        for wrong in [answer(probe.number + 1, 1420), answer(probe.number, 1419), probe] {
            mtu.handle_answer(now, &wrong);
            assert_eq!(mtu.passes(), BASE_LEN);
        }
        mtu.handle_answer(now, &answer(probe.number, 1420));
        assert_eq!(mtu.passes(), 1420);
        mtu.stop();
        assert_eq!((mtu.passes(), mtu.poll_timeout()), (BASE_LEN, None));
    }
}
