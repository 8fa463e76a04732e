//! When an end is under load, and who is served then.
//!
//! A handshake costs about a thousand times what a MAC costs. Above [`HANDSHAKES_PER_SECOND_MAX`] messages a
//! second the end asks for cookies, and who shows one is served at a rate for its address alone, so that a
//! flood cannot starve the peer.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::limits::{
    HANDSHAKES_PER_SECOND_MAX, SOURCE_BURST, SOURCE_INTERVAL, SOURCES_MAX, UNDER_LOAD_AFTER_TIME,
};

/// Measures the rate of handshake messages.
#[derive(Debug, Default)]
pub(crate) struct Load {
    second: Option<Instant>,
    messages: u32,
    loaded_until: Option<Instant>,
    /// For each source when all it has asked for will be earned.
    earned_at: BTreeMap<Ipv6Addr, Instant>,
}

impl Load {
    /// Counts a message whose MAC1 is right; returns whether the end is under load.
    pub(crate) fn note_message(&mut self, now: Instant) -> bool {
        let same_second =
            self.second.is_some_and(|start| now.saturating_duration_since(start) < Duration::from_secs(1));
        if !same_second {
            self.second = Some(now);
            self.messages = 0;
        }
        self.messages = self.messages.saturating_add(1);
        if self.messages > HANDSHAKES_PER_SECOND_MAX {
            self.loaded_until = Some(now + UNDER_LOAD_AFTER_TIME);
        }
        self.is_under_load(now)
    }

    pub(crate) fn is_under_load(&self, now: Instant) -> bool {
        self.loaded_until.is_some_and(|until| now < until)
    }

    /// Whether `source` may have one more handshake now. IPv6 sources are told apart by their /64, which one
    /// host can fill.
    pub(crate) fn admits(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = match source {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)),
        };
        let earned_at = self.earned_at.get(&source).copied().unwrap_or(now).max(now);
        if earned_at > now + SOURCE_INTERVAL * (SOURCE_BURST - 1) {
            return false;
        }
        if !self.earned_at.contains_key(&source) && self.earned_at.len() >= SOURCES_MAX {
            self.earned_at.retain(|_, earned_at| *earned_at > now);
            if self.earned_at.len() >= SOURCES_MAX {
                return false;
            }
        }
        self.earned_at.insert(source, earned_at + SOURCE_INTERVAL);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_above_the_rate_means_load_and_a_quiet_second_ends_it() {
        let (mut load, now) = (Load::default(), Instant::now());
        for _ in 0..HANDSHAKES_PER_SECOND_MAX {
            assert!(!load.note_message(now));
        }
        assert!(load.note_message(now));
        assert!(load.is_under_load(now + UNDER_LOAD_AFTER_TIME - Duration::from_nanos(1)));
        assert!(!load.note_message(now + UNDER_LOAD_AFTER_TIME), "the count begins anew");
    }

    #[test]
    fn a_steady_rate_below_the_limit_is_no_load() {
        let (mut load, start) = (Load::default(), Instant::now());
        for message in 0..10 * HANDSHAKES_PER_SECOND_MAX {
            let now = start + Duration::from_secs(1) * message / HANDSHAKES_PER_SECOND_MAX;
            assert!(!load.note_message(now), "message {message}");
        }
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let (mut load, now) = (Load::default(), Instant::now());
        let source = "192.0.2.1".parse().unwrap();
        let burst = (0..100).filter(|_| load.admits(now, source)).count();
        assert_eq!(burst, SOURCE_BURST as usize);
        let second = (1..=1000).filter(|ms| load.admits(now + Duration::from_millis(*ms), source)).count();
        assert_eq!(second, 20, "one every 50 ms");
        assert!(load.admits(now, "192.0.2.2".parse().unwrap()), "another source has its own");
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_and_those_of_ipv4_do_not() {
        let (mut load, now) = (Load::default(), Instant::now());
        let burst = |load: &mut Load, base: &str| {
            (1..100).filter(|host| load.admits(now, format!("{base}{host}").parse().unwrap())).count()
        };
        assert_eq!(burst(&mut load, "2001:db8:0:1::"), SOURCE_BURST as usize);
        assert_eq!(burst(&mut load, "2001:db8:0:2::"), SOURCE_BURST as usize);
        assert_eq!(burst(&mut load, "192.0.2."), 99);
    }

    #[test]
    fn the_table_of_sources_is_bounded_and_makes_room_for_new_ones() {
        let (mut load, now) = (Load::default(), Instant::now());
        let source = |number: usize| IpAddr::V4((0x0a00_0000 + number as u32).into());
        let admitted = (0..2 * SOURCES_MAX).filter(|number| load.admits(now, source(*number))).count();
        assert_eq!(admitted, SOURCES_MAX);
        assert_eq!(load.earned_at.len(), SOURCES_MAX);
        let later = now + SOURCE_INTERVAL;
        assert!(load.admits(later, source(3 * SOURCES_MAX)), "those that are done have made room");
        assert_eq!(load.earned_at.len(), 1);
    }
}
