//! The halves on threads of their own, as a node runs them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tieline_wire::time::Now;
use tieline_wire::wireguard::TransportHeader;

use super::pair::*;
use crate::{Authentic, DropReason, Event, Notice, OVERHEAD, Opened, Outbound};

const SESSIONS: usize = 30;

#[test]
fn no_packet_is_lost_or_doubled_while_control_replaces_sessions_beside_the_packet_threads() {
    let pair = Pair::connected();
    let (start, done) = (pair.now, AtomicBool::new(false));
    let End { control: mut control_a, mut outbound, .. } = pair.a;
    let End { control: mut control_b, mut inbound, .. } = pair.b;
    let (datagrams, arriving) = mpsc::sync_channel::<Vec<u8>>(64);
    let (notices, noticed) = mpsc::channel::<Notice>();

    let (sealed, opened) = std::thread::scope(|scope| {
        let sealing = scope.spawn(|| {
            let datagrams = datagrams;
            let mut number = 0_u64;
            while !done.load(Ordering::Relaxed) {
                datagrams.send(numbered(&mut outbound, start, number)).unwrap();
                number += 1;
            }
            number
        });
        let opening = scope.spawn(move || {
            let mut expected = 0_u64;
            for mut datagram in arriving {
                let Opened::Packet { plaintext, notice } =
                    inbound.open(start, address_a(), &mut datagram).unwrap()
                else {
                    panic!("only packets are sent")
                };
                assert_eq!(plaintext, expected.to_le_bytes());
                expected += 1;
                if let Some(notice) = notice {
                    notices.send(notice).unwrap();
                }
            }
            expected
        });
        let mut now = pair_now(start);
        for _ in 0..SESSIONS {
            now = now.after(Duration::from_secs(6));
            control_a.request_session(now);
            let initiation = control_a.poll_transmit().expect("an initiation is due");
            control_b.handle_datagram(now, address_a(), &initiation.bytes);
            let response = control_b.poll_transmit().expect("it is answered");
            control_a.handle_datagram(now, address_b(), &response.bytes);
            // The sealing thread is under the new session from here; B's control learns of its first packet.
            while control_b.status(now).session.is_none_or(|session| !session.age.is_zero()) {
                let notice = noticed.recv_timeout(Duration::from_secs(10)).expect("a first packet comes");
                control_b.handle_notice(now, notice);
            }
        }
        done.store(true, Ordering::Relaxed);
        (sealing.join().unwrap(), opening.join().unwrap())
    });
    assert_eq!(sealed, opened);
    assert!(sealed >= SESSIONS as u64);
    assert_eq!(control_b.drops().snapshot().map(|(_, count)| count).sum::<u64>(), 0);
    let ready = std::iter::from_fn(|| control_b.poll_event())
        .filter(|event| matches!(event, Event::SessionReady { initiator: false, .. }));
    assert_eq!(ready.count(), SESSIONS);
}

#[test]
fn many_threads_seal_and_open_and_every_packet_is_accepted_once() {
    const SEALING: u64 = 4;
    const OPENING: usize = 3;
    const EACH: u64 = 3000;
    let pair = Pair::connected();
    let (now, End { outbound, .. }, End { mut inbound, .. }) = (pair.now, pair.a, pair.b);

    // As the medium brings them: those of one thread in the order in which it sent them.
    let (sent, arriving) = mpsc::sync_channel::<Vec<u8>>(64);
    let mut datagrams: Vec<Vec<u8>> = std::thread::scope(|scope| {
        for thread in 0..SEALING {
            let (mut outbound, sent) = (outbound.another(), sent.clone());
            scope.spawn(move || {
                (0..EACH).for_each(|number| {
                    sent.send(numbered(&mut outbound, now, thread << 32 | number)).unwrap()
                });
            });
        }
        drop(sent);
        arriving.iter().collect()
    });

    let opener = inbound.opener();
    let open = |share: &mut [Vec<u8>]| -> Vec<Authentic> {
        share.iter_mut().map(|datagram| opener.open(now, datagram).unwrap()).collect()
    };
    let share = datagrams.len().div_ceil(OPENING);
    let opened: Vec<Authentic> = std::thread::scope(|scope| {
        let threads: Vec<_> = datagrams.chunks_mut(share).map(|share| scope.spawn(|| open(share))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });

    let mut expected = [0; SEALING as usize];
    for (datagram, authentic) in datagrams.iter_mut().zip(&opened) {
        let Ok(Opened::Packet { plaintext, .. }) = inbound.accept(now, address_a(), datagram, *authentic)
        else {
            panic!("every packet is new")
        };
        let number = u64::from_le_bytes(plaintext.try_into().unwrap());
        let of_thread = &mut expected[(number >> 32) as usize];
        assert_eq!(number & 0xffff_ffff, *of_thread);
        *of_thread += 1;
    }
    assert_eq!(expected, [EACH; SEALING as usize]);
    for (datagram, authentic) in datagrams.iter_mut().zip(opened) {
        let again = inbound.accept(now, address_a(), datagram, authentic);
        assert_eq!(again, Err(DropReason::Replayed));
    }
}

#[test]
fn opening_and_accepting_apart_comes_to_the_same_as_both_in_one() {
    let Pair { a: mut near, b: End { inbound: mut whole, .. }, now, .. } = Pair::connected();
    let End { inbound: mut parted, .. } = Pair::connected().b;
    let mut datagrams: Vec<Vec<u8>> =
        (0..40).map(|number| numbered(&mut near.outbound, now, number)).collect();
    let mut keepalive = vec![0; OVERHEAD];
    near.outbound.seal(now, &mut keepalive).unwrap();
    datagrams.push(keepalive);
    datagrams.swap(3, 30);
    let doubled = datagrams[7].clone();
    datagrams.insert(20, doubled);
    let last = datagrams[9].len() - 1;
    datagrams[9][last] ^= 1;
    datagrams[11].truncate(OVERHEAD - 1);
    datagrams[13][4] ^= 0x80;
    datagrams.push(vec![1; 148]);
    datagrams.push(vec![9; 64]);
    let opener = parted.opener();
    for datagram in datagrams {
        let (mut one, mut other) = (datagram.clone(), datagram);
        let in_one = whole.open(now, address_a(), &mut one);
        let apart = opener
            .open(now, &mut other)
            .and_then(|authentic| parted.accept(now, address_a(), &mut other, authentic));
        assert_eq!(in_one, apart);
    }
    let drops: Vec<_> = whole.drops().snapshot().filter(|(_, count)| *count > 0).collect();
    assert_eq!(drops, parted.drops().snapshot().filter(|(_, count)| *count > 0).collect::<Vec<_>>());
    assert_eq!(drops.iter().map(|(_, count)| count).sum::<u64>(), 6, "{drops:?}");
}

fn numbered(outbound: &mut Outbound, now: Instant, number: u64) -> Vec<u8> {
    let mut datagram = vec![0; OVERHEAD + size_of::<u64>()];
    datagram[TransportHeader::LEN..][..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
    outbound.seal(now, &mut datagram).unwrap();
    datagram
}

/// A moment on both clocks; the wall clock is ahead of that of the pair, so that no initiation is stale.
fn pair_now(start: Instant) -> Now {
    Now { monotonic: start, wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
}
