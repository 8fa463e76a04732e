//! Packets under a session whose keys the fuzzer has: reordered, repeated, mutated, sent from elsewhere.
//!
//! The session is agreed once for the process; an input goes on where the last one stopped, which makes no difference to it, for
//! no counter comes twice and time stands still.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tieline_fuzz::pair::{Flight, Pair, Side};
use tieline_seal::DropReason;
use tieline_wire::wireguard::{TAG_LEN, TransportHeader};

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    /// Seals a packet and keeps the datagram.
    Seal { from_b: bool, packet: &'a [u8] },
    /// Delivers a kept datagram, again or for the first time, from the right or from another address.
    Deliver { which: u8, port: Option<u16> },
    /// Delivers a kept datagram with one octet changed.
    Mutate { which: u8, at: u16, mask: u8 },
    /// Delivers a part of a kept datagram.
    Cut { which: u8, len: u16 },
    /// Delivers a kept datagram with something behind it.
    Extend { which: u8, by: &'a [u8] },
    /// Delivers one end's datagram to itself.
    Reflect { which: u8 },
    /// Delivers what nobody sealed, under the session's index.
    Forge { like: u8, counter: u64, rest: &'a [u8] },
    /// Delivers anything.
    Garbage { to_b: bool, bytes: &'a [u8] },
}

struct Kept {
    flight: Flight,
    packet: Vec<u8>,
    counter: u64,
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    PAIR.with_borrow_mut(|pair| run(pair.get_or_insert_with(Pair::connected), steps));
});

fn run(pair: &mut Pair, steps: Vec<Step<'_>>) {
    let mut kept: Vec<Kept> = Vec::new();
    let mut delivered = BTreeSet::new();
    for step in steps.into_iter().take(STEPS_MAX) {
        let pick = |which: u8| (!kept.is_empty()).then(|| usize::from(which) % kept.len());
        match step {
            Step::Seal { from_b, packet } => {
                pair.send(Side::of(from_b), packet).expect("the session stands still");
                let flight = pair.wire.pop().expect("one datagram");
                kept.push(keep(flight, packet));
            }
            Step::Deliver { which, port } => {
                let Some(index) = pick(which) else { continue };
                let Kept { flight, packet, .. } = &kept[index];
                let from = port.map_or(flight.from, |port| SocketAddr::new(flight.from.ip(), port));
                let result = pair.deliver(&Flight { from, ..flight.clone() });
                if delivered.insert(index) {
                    assert_eq!(result, Ok(()));
                    let received = std::mem::take(&mut pair.end(flight.to).received);
                    assert_eq!(received.concat(), *packet);
                    assert_eq!(received.len(), usize::from(!packet.is_empty()));
                } else {
                    assert_eq!(result, Err(DropReason::Replayed));
                }
            }
            Step::Mutate { which, at, mask } => {
                let Some(index) = pick(which).filter(|_| mask != 0) else { continue };
                let mut flight = kept[index].flight.clone();
                let at = usize::from(at) % flight.bytes.len();
                flight.bytes[at] ^= mask;
                refuses(pair, &flight);
            }
            Step::Cut { which, len } => {
                let Some(index) = pick(which) else { continue };
                let mut flight = kept[index].flight.clone();
                flight.bytes.truncate(usize::from(len) % flight.bytes.len());
                refuses(pair, &flight);
            }
            Step::Extend { which, by } => {
                let Some(index) = pick(which).filter(|_| !by.is_empty()) else { continue };
                let mut flight = kept[index].flight.clone();
                flight.bytes.extend_from_slice(by);
                refuses(pair, &flight);
            }
            Step::Reflect { which } => {
                let Some(index) = pick(which) else { continue };
                let mut flight = kept[index].flight.clone();
                flight.to = flight.to.other();
                refuses(pair, &flight);
            }
            Step::Forge { like, counter, rest } => {
                let Some(index) = pick(like) else { continue };
                let mut flight = kept[index].flight.clone();
                flight.bytes.truncate(COUNTER_AT);
                flight.bytes.extend(counter.to_le_bytes());
                flight.bytes.extend_from_slice(rest);
                if flight.bytes != kept[index].flight.bytes {
                    refuses(pair, &flight);
                }
            }
            Step::Garbage { to_b, bytes } => {
                let to = Side::of(to_b);
                let from = pair.end(to.other()).address;
                if kept.iter().all(|kept| kept.flight.bytes != bytes) {
                    refuses(pair, &Flight { from, to, bytes: bytes.to_vec() });
                }
            }
        }
        // Nothing of this makes an end speak; a roaming peer is followed, so both are put back where they were.
        assert!(pair.wire.is_empty(), "{:?}", pair.wire);
        for side in [Side::A, Side::B] {
            let peer = pair.end(side.other()).address;
            pair.end(side).control.set_address(peer);
        }
    }
    deliver_the_rest(pair, &kept, &delivered);
}

/// Nothing that was tried in between keeps an honest packet from arriving.
fn deliver_the_rest(pair: &mut Pair, kept: &[Kept], delivered: &BTreeSet<usize>) {
    let mut rest: Vec<_> = (0..kept.len()).filter(|index| !delivered.contains(index)).collect();
    rest.sort_by_key(|index| std::cmp::Reverse(kept[*index].counter));
    for index in rest {
        let Kept { flight, packet, .. } = &kept[index];
        assert_eq!(pair.deliver(flight), Ok(()));
        assert_eq!(std::mem::take(&mut pair.end(flight.to).received).concat(), *packet);
    }
}

fn refuses(pair: &mut Pair, flight: &Flight) {
    let result = pair.deliver(flight);
    let received = std::mem::take(&mut pair.end(flight.to).received);
    assert!(received.is_empty(), "{flight:?} is taken for a packet");
    // A cookie reply is not checked before control sees it; nothing else of an attacker gets that far without the public key.
    let is_for_control = flight.bytes.first().is_some_and(|kind| (1..=3).contains(kind));
    assert!(result.is_err() || is_for_control, "{flight:?} is not refused");
}

fn keep(flight: Flight, packet: &[u8]) -> Kept {
    assert_eq!(flight.bytes.len(), TransportHeader::LEN + packet.len() + TAG_LEN);
    let mut bytes = flight.bytes.clone();
    let (header, _) = TransportHeader::parse(&mut bytes).expect("our own");
    Kept { flight, packet: packet.to_vec(), counter: header.counter }
}

thread_local! {
    static PAIR: RefCell<Option<Pair>> = const { RefCell::new(None) };
}

const COUNTER_AT: usize = 8;
/// Far less than the replay window, so that nothing is too old.
const STEPS_MAX: usize = 256;
