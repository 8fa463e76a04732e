//! A batch of sealed datagrams that somebody on the way has damaged: what was not touched comes out, whole and in its order, and each harm
//! has its own count.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod pair;

use std::collections::BTreeSet;

use pair::{End, MTU, connected, start};
use proptest::{prelude::*, sample::Index};
use tieline_line::{Delivery, HEADROOM, TAILROOM, counters, join::Joiner};
use tieline_seal::DropReason;
use tieline_sim::offload::{Content, Flow, cut};
use tieline_wire::{time::Now, vnet::VNET_HEADER_LEN, vnet::VnetHeader, wireguard::TransportHeader};

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// What may happen to a datagram of a batch.
#[derive(Clone, Debug)]
enum Harm {
    Flip(Index, Index, u8),
    FlipInHeader(Index, usize, u8),
    Truncate(Index, Index),
    Lengthen(Index, u8),
    Repeat(Index, Index),
    Swap(Index, Index),
    Lose(Index),
    Insert(Index, Vec<u8>),
}

fn harm() -> impl Strategy<Value = Harm> {
    let rubbish = prop::collection::vec(any::<u8>(), 0..1500);
    prop_oneof![
        (any::<Index>(), any::<Index>(), 0..8_u8).prop_map(|(one, octet, bit)| Harm::Flip(one, octet, bit)),
        // The header has few octets, and each field of it a reason of its own.
        (any::<Index>(), 0..TransportHeader::LEN, 0..8_u8)
            .prop_map(|(one, octet, bit)| Harm::FlipInHeader(one, octet, bit)),
        any::<(Index, Index)>().prop_map(|(one, len)| Harm::Truncate(one, len)),
        any::<(Index, u8)>().prop_map(|(one, octet)| Harm::Lengthen(one, octet)),
        any::<(Index, Index)>().prop_map(|(one, place)| Harm::Repeat(one, place)),
        any::<(Index, Index)>().prop_map(|(one, other)| Harm::Swap(one, other)),
        any::<Index>().prop_map(Harm::Lose),
        (any::<Index>(), rubbish).prop_map(|(place, octets)| Harm::Insert(place, octets)),
    ]
}

fn do_harm(batch: &mut Vec<Vec<u8>>, harm: &Harm) {
    let len = batch.len();
    match harm {
        Harm::Insert(place, octets) => batch.insert(place.index(len + 1), rubbish(octets)),
        _ if len == 0 => {}
        Harm::Flip(one, octet, bit) => {
            let datagram = &mut batch[one.index(len)];
            if !datagram.is_empty() {
                let octet = octet.index(datagram.len());
                datagram[octet] ^= 1 << bit;
            }
        }
        Harm::FlipInHeader(one, octet, bit) => {
            if let Some(octet) = batch[one.index(len)].get_mut(*octet) {
                *octet ^= 1 << bit;
            }
        }
        Harm::Truncate(one, to) => {
            let datagram = &mut batch[one.index(len)];
            datagram.truncate(to.index(datagram.len() + 1));
        }
        Harm::Lengthen(one, octet) => batch[one.index(len)].push(*octet),
        Harm::Repeat(one, place) => batch.insert(place.index(len + 1), batch[one.index(len)].clone()),
        Harm::Swap(one, other) => batch.swap(one.index(len), other.index(len)),
        Harm::Lose(one) => drop(batch.remove(one.index(len))),
    }
}

/// Octets that nobody sealed; what they would be as a part of a handshake is another test's.
fn rubbish(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    if let Some(first @ 1..=3) = octets.first_mut() {
        *first = 4;
    }
    octets
}

fn flow() -> impl Strategy<Value = Flow> {
    (any::<bool>(), prop::bool::weighted(0.7), 0..2_usize).prop_map(|(is_v4, is_tcp, stamps)| Flow {
        is_v4,
        is_tcp,
        port: 80,
        options: vec![1; if is_tcp { 12 * stamps } else { 0 }],
        traffic_class: 0,
    })
}

/// A run of up to 64 segments.
fn content() -> impl Strategy<Value = Content> {
    let flags = prop::sample::select(vec![ACK, ACK, ACK | PSH]);
    (flow(), any::<u32>(), any::<u16>(), flags, 1..64_usize, 1..1300_u16, any::<u16>()).prop_map(
        |(flow, sequence, identification, flags, count, size, short)| {
            let size = size.min((60_000 / count) as u16);
            let len = count * usize::from(size) - usize::from(short % size);
            let payload = (0..len).map(|place| (place * 31 % 251) as u8).collect();
            Content { flow, sequence, identification, flags, payload, size }
        },
    )
}

/// What is to be expected of a batch, said as plainly as it can be.
struct Model<'o> {
    originals: &'o [Vec<u8>],
    accepted: BTreeSet<usize>,
}

impl Model<'_> {
    /// The packet that comes out of a datagram, by its number, or why none does.
    fn judge(&mut self, datagram: &[u8]) -> Result<usize, DropReason> {
        if let Some(number) = self.originals.iter().position(|original| original == datagram) {
            return if self.accepted.insert(number) { Ok(number) } else { Err(DropReason::Replayed) };
        }
        let original = &self.originals[0];
        if datagram.len() < 4 {
            return Err(DropReason::TooShort);
        }
        if datagram[..4] != original[..4] {
            return Err(DropReason::UnknownType);
        }
        if datagram.len() < TransportHeader::DATAGRAM_MIN {
            return Err(DropReason::TooShort);
        }
        if datagram[4..8] != original[4..8] {
            return Err(DropReason::UnknownReceiver);
        }
        let counter = &datagram[8..16];
        let is_spent = |number: &usize| &self.originals[*number][8..16] == counter;
        // The first of all confirmed the session.
        let is_spent = counter == [0; 8] || self.accepted.iter().any(is_spent);
        Err(if is_spent { DropReason::Replayed } else { DropReason::NotAuthentic })
    }
}

/// The datagrams in which an end sends these packets.
fn seal(end: &mut End, now: Now, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut buffer = vec![0xa5; HEADROOM + MTU + TAILROOM];
    let sealed = packets.iter().map(|packet| {
        buffer[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        end.outbound.seal_ip(now.monotonic, &mut buffer, packet.len()).datagram.unwrap().1.to_vec()
    });
    sealed.collect()
}

/// What the far end writes to its device of a batch, as the receiving thread does it.
fn receive(end: &mut End, now: Now, from: &End, batch: &mut [Vec<u8>]) -> Vec<(VnetHeader, Vec<u8>)> {
    let mut joiner = Joiner::new(true);
    let mut written = Vec::new();
    let mut write = |parts: &[std::io::IoSlice<'_>]| {
        let header: [u8; VNET_HEADER_LEN] = parts[0][..].try_into().unwrap();
        let packet = parts[1..].iter().flat_map(|part| part.to_vec()).collect();
        written.push((VnetHeader::parse(&header).unwrap(), packet));
    };
    for datagram in batch {
        let received = end.inbound.handle_datagram(now.monotonic, from.address, datagram);
        match received.delivery {
            Delivery::Ip(packet) => {
                if let Err(packet) = joiner.push(packet) {
                    joiner.flush(&mut write);
                    joiner.push(packet).unwrap();
                }
            }
            delivery => assert_eq!(delivery, Delivery::Nothing),
        }
    }
    joiner.flush(&mut write);
    written
}

/// The packets that the kernel makes of what is written to the device.
fn cut_again(written: &[(VnetHeader, Vec<u8>)]) -> Vec<Vec<u8>> {
    let parts = written.iter().flat_map(|(header, packet)| match *header {
        VnetHeader::PLAIN => vec![packet.clone()],
        _ => cut(header, packet),
    });
    parts.collect()
}

fn session_drops(end: &End) -> Vec<u64> {
    end.control.session().drops().snapshot().map(|(_, count)| count).collect()
}

/// Sends the packets through the harms, checks all that comes of it, and returns what was written.
fn check(packets: &[Vec<u8>], harm: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<(VnetHeader, Vec<u8>)> {
    let now = start();
    let [mut near, mut far] = connected(now);
    let originals = seal(&mut near, now, packets);
    let mut batch = originals.clone();
    harm(&mut batch);
    let mut model = Model { originals: &originals, accepted: BTreeSet::new() };
    let mut drops = session_drops(&far);
    let mut expected = Vec::new();
    for datagram in &batch {
        match model.judge(datagram) {
            Ok(number) => expected.push(packets[number].clone()),
            Err(reason) => drops[reason as usize] += 1,
        }
    }
    let written = receive(&mut far, now, &near, &mut batch);
    // Without printing all of it.
    let came = cut_again(&written);
    let first_wrong = came.iter().zip(&expected).position(|(came, expected)| came != expected);
    assert_eq!(first_wrong, None, "what was not touched, in the order in which it came");
    assert_eq!(came.len(), expected.len(), "packets came");
    assert_eq!(session_drops(&far), drops, "in the order of {:?}", DropReason::ALL);
    assert_eq!(far.shared.counters.ip_in.read().0, expected.len() as u64);
    for reason in counters::DropReason::ALL {
        assert_eq!(far.shared.counters.drops(reason), 0, "{reason:?}");
    }
    written
}

proptest! {
    #[test]
    fn harm_to_datagrams_of_a_batch_is_harm_to_those_datagrams_only(
        contents in prop::collection::vec(content(), 1..5),
        harms in prop::collection::vec(harm(), 0..20),
    ) {
        let packets: Vec<Vec<u8>> = contents.iter().flat_map(Content::cut).collect();
        check(&packets, |batch| harms.iter().for_each(|harm| do_harm(batch, harm)));
    }
}

/// Forty segments of one stream.
fn stream(is_tcp: bool) -> Vec<Vec<u8>> {
    let flow = Flow { is_v4: true, is_tcp, port: 80, options: Vec::new(), traffic_class: 0 };
    let payload = (0..40 * 1000).map(|place| (place % 251) as u8).collect();
    Content { flow, sequence: 7, identification: 9, flags: ACK, payload, size: 1000 }.cut()
}

/// Of each packet that is written, how many segments it has.
fn segments(written: &[(VnetHeader, Vec<u8>)]) -> Vec<usize> {
    written.iter().map(|(_, packet)| packet.len() / 1000).collect()
}

#[test]
fn an_untouched_batch_is_written_in_one_piece() {
    for is_tcp in [true, false] {
        assert_eq!(segments(&check(&stream(is_tcp), |_| ())), [40]);
    }
}

#[test]
fn a_forged_segment_leaves_a_gap_and_what_is_around_it_is_joined() {
    assert_eq!(segments(&check(&stream(true), |batch| batch[9][700] ^= 1)), [9, 30]);
}

#[test]
fn a_repeated_segment_and_rubbish_do_not_even_part_what_they_stand_between() {
    let written = check(&stream(true), |batch| {
        batch.insert(5, batch[4].clone());
        batch.insert(20, vec![0xff; 1052]);
        batch.insert(30, batch[29][..20].to_vec());
    });
    assert_eq!(segments(&written), [40]);
}

#[test]
fn segments_that_changed_places_come_out_in_their_new_places() {
    assert_eq!(segments(&check(&stream(true), |batch| batch.swap(9, 10))), [9, 1, 1, 29]);
}
