//! One key in two places at once: noticing it, so that it is an alarm and not a flapping line.
//!
//! A far end that is restarted or moves is new once and stays. Two machines with the same key take the line from each other:
//! one that was already replaced comes back. Tielines name their instance, so a return is certain; of plain WireGuard peers
//! only the address is known, so there a quick return to an earlier address, each time with a new handshake, is taken for it.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// An instance that was replaced for at least this long cannot come back through packets that were only late.
pub const LATE_PACKETS: Duration = Duration::from_secs(2);
/// Handshakes from address P, then Q, then P within this time are two machines; so quickly nobody moves to and fro.
pub const ADDRESS_RETURN: Duration = Duration::from_secs(60);
/// After the alarm, the machine that was heard last is held to for as long as it is heard at least this often.
pub const HOLD_TIME: Duration = Duration::from_secs(30);
/// Instances and addresses remembered.
const REMEMBERED_MAX: usize = 16;

/// The alarm: from which two addresses the one key was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyInUseTwice {
    /// The address that came back, and that is held to from now on.
    pub held: SocketAddr,
    /// The address of the other machine.
    pub other: SocketAddr,
}

/// Watches the key of the far end.
#[derive(Debug, Default)]
pub struct KeyWatch {
    instances: VecDeque<Seen<u64>>,
    addresses: VecDeque<Seen<IpAddr>>,
}

#[derive(Debug)]
struct Seen<K> {
    what: K,
    address: SocketAddr,
    first: Instant,
}

impl KeyWatch {
    /// A hello of `instance` came from `address`.
    pub fn on_hello(&mut self, now: Instant, instance: u64, address: SocketAddr) -> Option<KeyInUseTwice> {
        came_back(&mut self.instances, now, instance, address, |replaced| {
            now.saturating_duration_since(replaced) >= LATE_PACKETS
        })
    }

    /// A handshake of a plain WireGuard peer came from `address`.
    pub fn on_handshake(&mut self, now: Instant, address: SocketAddr) -> Option<KeyInUseTwice> {
        while self
            .addresses
            .front()
            .is_some_and(|seen| now.saturating_duration_since(seen.first) > ADDRESS_RETURN)
            && self.addresses.len() > 1
        {
            self.addresses.pop_front();
        }
        came_back(&mut self.addresses, now, address.ip(), address, |_| true)
    }
}

/// Notes that `what` was seen; an alarm if it is not the last that was seen but an earlier one, whose successor came at
/// a time that `counts`.
fn came_back<K: PartialEq>(
    seen: &mut VecDeque<Seen<K>>,
    now: Instant,
    what: K,
    address: SocketAddr,
    counts: impl Fn(Instant) -> bool,
) -> Option<KeyInUseTwice> {
    if let Some(last) = seen.back_mut().filter(|last| last.what == what) {
        last.address = address;
        return None;
    }
    let earlier = seen.iter().position(|earlier| earlier.what == what);
    let Some(index) = earlier else {
        if seen.len() == REMEMBERED_MAX {
            seen.pop_front();
        }
        seen.push_back(Seen { what, address, first: now });
        return None;
    };
    let replaced_at = seen.get(index + 1).map(|successor| successor.first);
    if !replaced_at.is_some_and(counts) {
        return None;
    }
    let other = seen.back().map_or(address, |last| last.address);
    seen.remove(index);
    seen.push_back(Seen { what, address, first: now });
    Some(KeyInUseTwice { held: address, other })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "198.51.100.7:51820";
    const Q: &str = "203.0.113.9:51820";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn restarts_and_moves_are_no_alarm() {
        let mut watch = KeyWatch::default();
        let start = Instant::now();
        for (seconds, instance) in [1_u64, 1, 2, 3, 3, 4].into_iter().enumerate() {
            let now = start + Duration::from_secs(10 * seconds as u64);
            let from = address(if seconds % 2 == 0 { P } else { Q });
            assert_eq!(watch.on_hello(now, instance, from), None);
        }
    }

    #[test]
    fn instance_that_comes_back_is_the_alarm() {
        let mut watch = KeyWatch::default();
        let start = Instant::now();
        assert_eq!(watch.on_hello(start, 1, address(P)), None);
        assert_eq!(watch.on_hello(start + Duration::from_secs(5), 2, address(Q)), None);
        assert_eq!(
            watch.on_hello(start + Duration::from_secs(8), 1, address(P)),
            Some(KeyInUseTwice { held: address(P), other: address(Q) })
        );
    }

    #[test]
    fn late_hello_of_the_instance_before_is_no_alarm() {
        let mut watch = KeyWatch::default();
        let start = Instant::now();
        assert_eq!(watch.on_hello(start, 1, address(P)), None);
        assert_eq!(watch.on_hello(start + Duration::from_secs(5), 2, address(P)), None);
        assert_eq!(watch.on_hello(start + Duration::from_millis(5500), 1, address(P)), None);
        assert_eq!(watch.on_hello(start + Duration::from_secs(60), 2, address(P)), None);
    }

    #[test]
    fn quick_return_to_an_earlier_address_is_the_alarm_for_plain_peers() {
        let mut watch = KeyWatch::default();
        let start = Instant::now();
        assert_eq!(watch.on_handshake(start, address(P)), None);
        assert_eq!(watch.on_handshake(start + Duration::from_secs(10), address(Q)), None);
        assert!(watch.on_handshake(start + Duration::from_secs(20), address(P)).is_some());
    }

    #[test]
    fn slow_return_to_an_earlier_address_is_a_person_who_moves() {
        let mut watch = KeyWatch::default();
        let start = Instant::now();
        assert_eq!(watch.on_handshake(start, address(P)), None);
        assert_eq!(watch.on_handshake(start + Duration::from_secs(120), address(Q)), None);
        assert_eq!(watch.on_handshake(start + Duration::from_secs(240), address(P)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut watch = KeyWatch::default();
        let now = Instant::now();
        for instance in 0..1000 {
            assert_eq!(watch.on_hello(now, instance, address(P)), None);
        }
        assert_eq!(watch.instances.len(), REMEMBERED_MAX);
    }
}
