//! Which host is in which office: what bridges learn from the source of each frame (IEEE 802.1Q §8.7).
//!
//! A table of sets, so that a flood of made-up addresses costs no more than that others are learnt anew.

use std::time::{Duration, Instant};

use tieline_wire::ethernet::{MacAddress, Vlans};

use super::{Side, is_fresh, place};

/// Hosts that are known at once.
pub const HOSTS_MAX: usize = 4096;
/// Places in which a host may be.
const WAYS: usize = 8;
/// A host that was silent for so long is forgotten (IEEE 802.1Q table 8-6).
pub const HOST_KEPT: Duration = Duration::from_secs(300);
/// Changes from one office to the other, each within [`MOVE_WINDOW`] of the one before, that no host makes by itself.
pub const MOVES_MAX: u8 = 4;
/// See [`MOVES_MAX`].
pub const MOVE_WINDOW: Duration = Duration::from_secs(2);

/// What a frame told of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learnt {
    /// It is where it was, or was not known.
    Known,
    /// It was in the other office.
    Moved,
    /// It goes from one office to the other again and again.
    BackAndForth,
}

#[derive(Clone, Copy, Debug)]
struct Host {
    card: MacAddress,
    vlans: Vlans,
    side: Side,
    /// Nothing is known here if none.
    seen: Option<Instant>,
    moved: Instant,
    moves: u8,
}

/// All hosts that are known.
#[derive(Debug)]
pub(super) struct Hosts(Vec<Host>);

impl Hosts {
    pub(super) fn new(now: Instant) -> Self {
        let none = Host {
            card: MacAddress::default(),
            vlans: Vlans::default(),
            side: Side::Near,
            seen: None,
            moved: now,
            moves: 0,
        };
        Self(vec![none; HOSTS_MAX])
    }

    /// Notes that `card` has sent a frame from `side`.
    pub(super) fn learn(&mut self, now: Instant, card: MacAddress, vlans: Vlans, side: Side) -> Learnt {
        let set = &mut self.0[set_of(card, vlans)..][..WAYS];
        let is_it = |host: &Host| host.seen.is_some() && (host.card, host.vlans) == (card, vlans);
        let Some(host) = set.iter_mut().find(|host| is_it(host)) else {
            if let Some(oldest) = set.iter_mut().min_by_key(|host| host.seen) {
                *oldest = Host { card, vlans, side, seen: Some(now), moved: now, moves: 0 };
            }
            return Learnt::Known;
        };
        host.seen = Some(now);
        if host.side == side {
            return Learnt::Known;
        }
        host.moves = if is_fresh(now, host.moved, MOVE_WINDOW) { host.moves.saturating_add(1) } else { 1 };
        (host.side, host.moved) = (side, now);
        if host.moves >= MOVES_MAX { Learnt::BackAndForth } else { Learnt::Moved }
    }

    /// In which office `card` is.
    pub(super) fn side(&self, now: Instant, card: MacAddress, vlans: Vlans) -> Option<Side> {
        let set = &self.0[set_of(card, vlans)..][..WAYS];
        let host = set.iter().find(|host| (host.card, host.vlans) == (card, vlans) && host.is_known(now))?;
        Some(host.side)
    }

    /// How many are known of an office.
    pub(super) fn count(&self, now: Instant, side: Side) -> usize {
        self.0.iter().filter(|host| host.side == side && host.is_known(now)).count()
    }
}

impl Host {
    fn is_known(&self, now: Instant) -> bool {
        self.seen.is_some_and(|seen| is_fresh(now, seen, HOST_KEPT))
    }
}

/// Where the set begins in which a host is.
fn set_of(card: MacAddress, vlans: Vlans) -> usize {
    let [a, b, c, d, e, f] = card.0;
    let key = u64::from_be_bytes([0, 0, a, b, c, d, e, f]) ^ u64::from(vlans.number()) << 40;
    place(key, HOSTS_MAX / WAYS) * WAYS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn card(number: u32) -> MacAddress {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddress([2, 0, a, b, c, d])
    }

    const NO_VLAN: fn() -> Vlans = Vlans::default;

    #[test]
    fn a_host_is_where_it_was_heard_last_until_it_was_silent_for_long() {
        let start = Instant::now();
        let mut hosts = Hosts::new(start);
        assert_eq!(hosts.side(start, card(1), NO_VLAN()), None);
        assert_eq!(hosts.learn(start, card(1), NO_VLAN(), Side::Near), Learnt::Known);
        assert_eq!(hosts.side(start, card(1), NO_VLAN()), Some(Side::Near));
        assert_eq!(hosts.learn(start, card(1), NO_VLAN(), Side::Far), Learnt::Moved);
        let last = start + HOST_KEPT - Duration::from_millis(1);
        assert_eq!(hosts.side(last, card(1), NO_VLAN()), Some(Side::Far));
        assert_eq!((hosts.count(last, Side::Far), hosts.count(last, Side::Near)), (1, 0));
        assert_eq!(hosts.side(start + HOST_KEPT, card(1), NO_VLAN()), None);
    }

    #[test]
    fn only_a_host_that_goes_back_and_forth_within_seconds_is_in_a_loop() {
        let start = Instant::now();
        let mut hosts = Hosts::new(start);
        let mut walk = |step: Duration, from: Instant| {
            (0..20).any(|turn| {
                let side = if turn % 2 == 0 { Side::Near } else { Side::Far };
                hosts.learn(from + step * turn, card(1), NO_VLAN(), side) == Learnt::BackAndForth
            })
        };
        assert!(!walk(MOVE_WINDOW, start), "somebody who carries a telephone to and fro");
        assert!(walk(Duration::from_millis(1), start + Duration::from_secs(3600)));
    }

    proptest! {
        #[test]
        fn made_up_addresses_take_no_more_than_the_table_has(cards in proptest::collection::vec(any::<u32>(), 0..9000)) {
            let now = Instant::now();
            let mut hosts = Hosts::new(now);
            for (number, of) in cards.iter().enumerate() {
                hosts.learn(now + Duration::from_micros(number as u64), card(*of), NO_VLAN(), Side::Near);
            }
            prop_assert_eq!(hosts.0.len(), HOSTS_MAX);
            if let Some(last) = cards.last() {
                prop_assert_eq!(hosts.side(now, card(*last), NO_VLAN()), Some(Side::Near));
            }
        }
    }
}
