//! AES-256-GCM beside ChaCha20-Poly1305: who seals with what, and what is refused.

use std::time::Duration;

use tieline_wire::suite::Announcement;
use tieline_wire::wireguard::{SessionIndex, TransportHeader};

use super::pair::{Flight, KEY_A, KEY_B, Pair, Side, address_b, config};
use crate::limits::{AES_REJECT_AFTER_MESSAGES, REKEY_AFTER_TIME};
use crate::{Config, DropReason, Suite};

/// A pair whose handshake is done, and which of its ends have fast AES.
fn pair(fast_aes: [bool; 2]) -> Pair {
    let [a, b] = fast_aes;
    let mut pair = Pair::of(
        Config { fast_aes: a, ..config(KEY_A, KEY_B, Some(address_b())) },
        Config { fast_aes: b, ..config(KEY_B, KEY_A, None) },
    );
    pair.connect();
    pair
}

/// What the layer above does: `from` tells the other end.
fn announce(pair: &mut Pair, from: Side) {
    let announced = pair.end(from).control.announcement().expect("it has the suite and a session");
    pair.end(other(from)).control.handle_announcement(&announced);
}

fn both_announced() -> Pair {
    let mut pair = pair([true, true]);
    announce(&mut pair, Side::A);
    announce(&mut pair, Side::B);
    pair
}

fn other(side: Side) -> Side {
    match side {
        Side::A => Side::B,
        Side::B => Side::A,
    }
}

/// What each end seals with, and what the last packet it opened was sealed with.
fn ciphers(pair: &mut Pair, side: Side) -> (Suite, Option<Suite>) {
    let now = pair.now_at(side);
    let session = pair.end(side).control.status(now).session.expect("there is a session");
    (session.cipher_out, session.cipher_in)
}

fn launched(pair: &mut Pair, from: Side, packet: &[u8]) -> Flight {
    pair.send(from, packet).unwrap();
    pair.take()
}

fn receiver(flight: &Flight) -> SessionIndex {
    SessionIndex(u32::from_le_bytes(*flight.bytes[4..].first_chunk().unwrap()))
}

fn counter(flight: &Flight) -> u64 {
    u64::from_le_bytes(*flight.bytes[8..].first_chunk().unwrap())
}

/// The same datagram to another index.
fn readdressed(flight: &Flight, index: SessionIndex) -> Flight {
    let mut flight = flight.clone();
    flight.bytes[4..8].copy_from_slice(&index.0.to_le_bytes());
    flight
}

#[test]
fn after_both_announcements_both_directions_are_sealed_with_aes() {
    let mut pair = both_announced();
    for side in [Side::A, Side::B] {
        pair.pass(side, &[0x45; 1420]);
        pair.send(side, &[]).unwrap();
        pair.settle();
    }
    for side in [Side::A, Side::B] {
        assert_eq!(ciphers(&mut pair, side), (Suite::Aes256Gcm, Some(Suite::Aes256Gcm)), "{side:?}");
        assert_eq!(pair.end(side).drops(), []);
    }
}

#[test]
fn one_announcement_turns_one_direction_only() {
    let mut pair = pair([true, true]);
    announce(&mut pair, Side::A);
    pair.pass(Side::B, b"to A");
    pair.pass(Side::A, b"to B");
    assert_eq!(ciphers(&mut pair, Side::A), (Suite::ChaCha20Poly1305, Some(Suite::Aes256Gcm)));
    assert_eq!(ciphers(&mut pair, Side::B), (Suite::Aes256Gcm, Some(Suite::ChaCha20Poly1305)));
}

#[test]
fn an_end_without_fast_aes_announces_nothing_and_is_deaf_to_announcements() {
    let mut pair = pair([true, false]);
    assert_eq!(pair.b.control.announcement(), None);
    announce(&mut pair, Side::A);
    pair.pass(Side::B, b"to A");
    pair.pass(Side::A, b"to B");
    for side in [Side::A, Side::B] {
        let chacha = Suite::ChaCha20Poly1305;
        assert_eq!(ciphers(&mut pair, side), (chacha, Some(chacha)), "{side:?}");
    }
}

#[test]
fn nothing_is_announced_without_a_session() {
    let mut pair = Pair::of(
        Config { fast_aes: true, ..config(KEY_A, KEY_B, Some(address_b())) },
        config(KEY_B, KEY_A, None),
    );
    assert_eq!(pair.a.control.announcement(), None);
    pair.connect();
    assert!(pair.a.control.announcement().is_some());
}

#[test]
fn both_suites_count_in_one_sequence_and_share_one_replay_window() {
    let mut pair = pair([true, true]);
    let before = launched(&mut pair, Side::A, b"with ChaCha20");
    announce(&mut pair, Side::B);
    let after = launched(&mut pair, Side::A, b"with AES");
    assert_ne!(receiver(&before), receiver(&after));
    assert_eq!(counter(&after), counter(&before) + 1);
    // Overtaken, and then repeated.
    assert_eq!(pair.deliver(&after), Ok(()));
    assert_eq!(pair.deliver(&before), Ok(()));
    for flight in [&before, &after] {
        assert_eq!(pair.deliver(flight), Err(DropReason::Replayed));
        let to_other_index = if flight == &before { receiver(&after) } else { receiver(&before) };
        let readdressed = readdressed(flight, to_other_index);
        assert_eq!(pair.deliver(&readdressed), Err(DropReason::Replayed), "the counter is used up");
    }
    assert_eq!(pair.b.received, [&b"with AES"[..], b"with ChaCha20"]);
}

#[test]
fn a_datagram_of_one_suite_at_the_index_of_the_other_is_refused() {
    let mut pair = pair([true, true]);
    let chacha = launched(&mut pair, Side::A, b"with ChaCha20");
    announce(&mut pair, Side::B);
    let aes = launched(&mut pair, Side::A, b"with AES");
    let swapped = [readdressed(&chacha, receiver(&aes)), readdressed(&aes, receiver(&chacha))];
    for flight in &swapped {
        assert_eq!(pair.deliver(flight), Err(DropReason::NotAuthentic));
    }
    assert_eq!(ciphers(&mut pair, Side::B).1, Some(Suite::ChaCha20Poly1305), "that of the handshake's end");
    for flight in [chacha, aes] {
        assert_eq!(pair.deliver(&flight), Ok(()), "the forgery has used up nothing");
    }
}

#[test]
fn the_first_packet_confirms_a_session_under_either_suite() {
    // Announced within a session that is known to one end only, which no layer above does: B seals under AES at once.
    let mut pair = Pair::of(
        Config { fast_aes: true, ..config(KEY_A, KEY_B, Some(address_b())) },
        Config { fast_aes: true, ..config(KEY_B, KEY_A, None) },
    );
    pair.a.keeps_alive = false;
    let now = pair.now_at(Side::A);
    pair.a.control.request_session(now);
    pair.settle();
    assert!(!pair.b.has_session(now), "it waits for the first packet");
    let table = pair.b.control.shared().table.load_full();
    let waiting = &table.next[0];
    let announced = Announcement {
        announcer: waiting.local_index,
        hearer: waiting.remote_index,
        aes: waiting.aes.as_ref().unwrap().local_index,
    };
    assert!(pair.a.control.handle_announcement(&announced).is_some());
    pair.pass(Side::A, b"the first");
    assert!(pair.b.has_session(now));
    assert_eq!(ciphers(&mut pair, Side::B).1, Some(Suite::Aes256Gcm));
}

#[test]
fn an_announcement_holds_for_the_session_it_names_and_no_other() {
    let mut pair = both_announced();
    let of_first = pair.b.control.announcement().unwrap();
    pair.pass(Side::A, b"first session");
    pair.advance(REKEY_AFTER_TIME);
    pair.pass(Side::A, b"asks for the second session");
    pair.advance(Duration::from_secs(1));
    let of_second = pair.b.control.announcement().unwrap();
    assert_ne!(of_first, of_second);
    assert_eq!(ciphers(&mut pair, Side::A).0, Suite::ChaCha20Poly1305, "each session begins with it");
    pair.a.control.handle_announcement(&of_first);
    pair.a.control.handle_announcement(&Announcement { hearer: of_second.hearer, ..of_first });
    pair.a.control.handle_announcement(&Announcement { announcer: of_second.announcer, ..of_first });
    assert_eq!(ciphers(&mut pair, Side::A).0, Suite::ChaCha20Poly1305, "a late one is for the old session");
    assert!(pair.a.control.handle_announcement(&of_second).is_some());
    assert_eq!(ciphers(&mut pair, Side::A).0, Suite::Aes256Gcm);
    pair.pass(Side::A, b"second session");
}

#[test]
fn an_announcement_repeated_or_changed_later_changes_nothing() {
    let mut pair = both_announced();
    let announced = pair.b.control.announcement().unwrap();
    let changed = Announcement { aes: SessionIndex(announced.aes.0.wrapping_add(1)), ..announced };
    for again in [announced, changed] {
        pair.a.control.handle_announcement(&again);
        pair.pass(Side::A, b"as before");
    }
}

#[test]
fn keys_of_aes_are_not_used_beyond_their_limit_and_the_line_goes_on() {
    use std::sync::atomic::Ordering;

    let mut pair = both_announced();
    let shared = pair.a.control.shared().table.load_full();
    let session = shared.current.as_ref().unwrap();
    let set_counter = |next| session.outbound.counter.store(next, Ordering::Relaxed);
    set_counter(AES_REJECT_AFTER_MESSAGES - 1);
    let last = launched(&mut pair, Side::A, b"the last with AES");
    let next = launched(&mut pair, Side::A, b"the next");
    assert_eq!((counter(&last), counter(&next)), (AES_REJECT_AFTER_MESSAGES - 1, AES_REJECT_AFTER_MESSAGES));
    let beyond = readdressed(&next, receiver(&last));
    assert_eq!(pair.deliver(&beyond), Err(DropReason::ExhaustedSession), "the other end keeps to it as well");
    assert_eq!(pair.deliver(&last), Ok(()));
    assert_eq!(pair.deliver(&next), Ok(()));
    assert_eq!(ciphers(&mut pair, Side::B).1, Some(Suite::ChaCha20Poly1305));
}

#[test]
fn half_of_what_aes_keys_may_seal_asks_for_the_next_session() {
    use std::sync::atomic::Ordering;

    for uses_aes in [true, false] {
        let mut pair = if uses_aes { both_announced() } else { pair([true, true]) };
        let shared = pair.b.control.shared().table.load_full();
        shared
            .current
            .as_ref()
            .unwrap()
            .outbound
            .counter
            .store(AES_REJECT_AFTER_MESSAGES / 2, Ordering::Relaxed);
        pair.advance(Duration::from_secs(6));
        pair.trace.clear();
        pair.pass(Side::B, b"more");
        assert_eq!(pair.times_of(Side::B, 1).len(), usize::from(uses_aes), "initiations of B");
    }
}

#[test]
fn no_header_of_a_datagram_but_its_index_tells_the_suite() {
    let mut pair = pair([true, true]);
    let chacha = launched(&mut pair, Side::A, &[7; 100]);
    announce(&mut pair, Side::B);
    let aes = launched(&mut pair, Side::A, &[7; 100]);
    assert_eq!(chacha.bytes.len(), aes.bytes.len());
    assert_eq!(chacha.bytes[..4], aes.bytes[..4]);
    assert_ne!(chacha.bytes[TransportHeader::LEN..], aes.bytes[TransportHeader::LEN..]);
}
