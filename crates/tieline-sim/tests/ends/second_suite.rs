//! Two ends whose processors do AES in hardware change to AES-256-GCM, whatever becomes of what they say about it.

use std::time::Duration;

use tieline_line::counters::DropReason;
use tieline_line::greeting::FarEnd;
use tieline_seal::Suite;
use tieline_sim::ends::{Ends, Kind, Side};
use tieline_sim::path::{PathModel, Reordering};

use crate::{MS, SECOND, path};

const AES: (Suite, Option<Suite>) = (Suite::Aes256Gcm, Some(Suite::Aes256Gcm));
const CHACHA: (Suite, Option<Suite>) = (Suite::ChaCha20Poly1305, Some(Suite::ChaCha20Poly1305));

fn started(seed: u64, model: &PathModel, fast_aes: [bool; 2]) -> Ends {
    let mut ends = Ends::new(seed, model);
    for (side, fast_aes) in Side::BOTH.into_iter().zip(fast_aes) {
        ends.setup(side).fast_aes = fast_aes;
        ends.start(side);
    }
    ends
}

/// What an end seals with, and what the last packet it opened was sealed with.
fn ciphers(ends: &Ends, side: Side) -> Option<(Suite, Option<Suite>)> {
    let session = ends.status(side)?.session?;
    Some((session.cipher_out, session.cipher_in))
}

fn both_have(ends: &Ends, wanted: (Suite, Option<Suite>)) -> bool {
    Side::BOTH.iter().all(|side| ciphers(ends, *side) == Some(wanted))
}

#[test]
fn the_cipher_changes_within_two_round_trips_of_the_first_session() {
    for delay in [Duration::ZERO, 15 * MS, 150 * MS] {
        let mut ends = started(1, &path(delay), [true, true]);
        let aes_out = |ends: &mut Ends| {
            Side::BOTH.iter().all(|side| ciphers(ends, *side).is_some_and(|(out, _)| out == Suite::Aes256Gcm))
        };
        // One round trip for the handshake, half a one until the responder may speak, half a one for what it says.
        let took = ends.run_until(10 * SECOND, aes_out);
        assert!(took.is_some_and(|took| took <= 4 * delay + 50 * MS), "{took:?} at a delay of {delay:?}");
        ends.advance(2 * SECOND);
        assert!(both_have(&ends, AES));
    }
}

#[test]
fn no_packet_is_lost_when_the_cipher_changes_under_steady_traffic_and_with_every_session_again() {
    let swapping = PathModel {
        jitter: 5 * MS,
        reordering: Some(Reordering { probability: 0.1, hold: 20 * MS }),
        ..path(15 * MS)
    };
    for model in [path(Duration::ZERO), path(150 * MS), swapping] {
        let mut ends = started(2, &model, [true, true]);
        for side in Side::BOTH {
            ends.set_traffic(side, Some(7 * MS));
        }
        // Sessions are 120 s old when they are replaced.
        for _ in 0..4 {
            ends.advance(100 * SECOND);
            assert!(both_have(&ends, AES), "{model:?}");
        }
        for side in Side::BOTH {
            ends.set_traffic(side, None);
        }
        ends.advance(SECOND);
        assert_eq!([ends.missing(Side::A), ends.missing(Side::B)], [0, 0], "{model:?}");
        for side in Side::BOTH {
            for reason in [tieline_seal::DropReason::NotAuthentic, tieline_seal::DropReason::UnknownReceiver]
            {
                assert_eq!(ends.session_drops(side, reason), 0, "{side:?} {reason:?}");
            }
        }
    }
}

#[test]
fn an_end_without_fast_aes_or_of_an_older_version_keeps_both_at_chacha20() {
    // An older end says hello without an announcement too, and overlooks one.
    for fast_aes in [[true, false], [false, true], [false, false]] {
        let mut ends = started(3, &path(15 * MS), fast_aes);
        ends.advance(300 * SECOND);
        assert!(both_have(&ends, CHACHA), "{fast_aes:?}");
        for side in Side::BOTH {
            assert!(matches!(ends.far_end(side), Some(FarEnd::Tieline(_))));
            assert_eq!(ends.drops(side, DropReason::MalformedMessage), 0);
        }
    }
}

#[test]
fn plain_wireguard_keeps_chacha20() {
    let mut ends = Ends::new(4, &path(15 * MS));
    ends.setup(Side::A).fast_aes = true;
    ends.setup(Side::B).kind = Kind::WireGuard;
    for side in Side::BOTH {
        ends.start(side);
        ends.set_traffic(side, Some(SECOND));
    }
    for _ in 0..4 {
        ends.advance(90 * SECOND);
        assert!(both_have(&ends, CHACHA));
    }
    assert_eq!(ends.far_end(Side::A), Some(FarEnd::IpOnly));
}

#[test]
fn announcements_that_are_lost_or_repeated_are_made_up_for() {
    for seed in 0..40 {
        let model = PathModel { loss: 0.5, duplication: 0.3, ..path(15 * MS) };
        let mut ends = started(seed, &model, [true, true]);
        let turned = ends.run_until(100 * SECOND, |ends| {
            Side::BOTH.iter().all(|side| ciphers(ends, *side).is_some_and(|(out, _)| out == Suite::Aes256Gcm))
        });
        assert!(turned.is_some(), "seed {seed}");
    }
}

#[test]
fn an_end_that_is_started_anew_without_fast_aes_gets_what_it_can_open() {
    let mut ends = started(5, &path(15 * MS), [true, true]);
    ends.advance(5 * SECOND);
    assert!(both_have(&ends, AES));
    for (fast_aes, wanted) in [(false, CHACHA), (true, AES)] {
        ends.kill(Side::B);
        ends.setup(Side::B).fast_aes = fast_aes;
        ends.start(Side::B);
        ends.advance(5 * SECOND);
        assert!(both_have(&ends, wanted), "{wanted:?}");
        for side in Side::BOTH {
            let number = ends.send(side);
            ends.advance(SECOND);
            assert!(ends.arrival(number).is_some());
        }
    }
}
