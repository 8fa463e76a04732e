//! The three halves on three threads, as a node runs them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tieline_wire::time::Now;
use tieline_wire::wireguard::TransportHeader;

use super::pair::*;
use crate::{Event, Notice, OVERHEAD, Opened};

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
                let mut datagram = vec![0; OVERHEAD + size_of::<u64>()];
                datagram[TransportHeader::LEN..][..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
                outbound.seal(start, &mut datagram).unwrap();
                datagrams.send(datagram).unwrap();
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

/// A moment on both clocks; the wall clock is ahead of that of the pair, so that no initiation is stale.
fn pair_now(start: Instant) -> Now {
    Now { monotonic: start, wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
}
