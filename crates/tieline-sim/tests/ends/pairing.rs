//! `new` and `join` over a bad path.

use tieline_line::Event;
use tieline_seal::{DropReason, InvitationSecret};
use tieline_sim::ends::{Ends, Side};
use tieline_sim::path::{Bursts, PathModel, Reordering};

use crate::{MS, SECOND, path, until_arrival};

fn invited(seed: u64, model: &PathModel) -> Ends {
    let mut ends = Ends::new(seed, model);
    ends.invite(&InvitationSecret::from_bytes([seed as u8 | 1; 16]));
    ends.start(Side::B);
    ends.advance(SECOND);
    ends.start(Side::A);
    ends
}

fn pairings(ends: &mut Ends) -> usize {
    let events = ends.take_events(Side::B);
    events.iter().filter(|(_, event)| matches!(event, Event::Paired { .. })).count()
}

#[test]
fn a_joiner_is_paired_and_reached_in_one_round_trip_and_its_way() {
    for sender in Side::BOTH {
        let mut ends = invited(1, &path(15 * MS));
        let took = until_arrival(&mut ends, sender, 10 * SECOND);
        assert!(took.is_some_and(|took| took <= 3 * 15 * MS + 50 * MS), "{took:?}: {sender:?} sends");
        assert_eq!(pairings(&mut ends), 1);
    }
}

#[test]
fn pairing_succeeds_over_a_bad_path_whatever_is_lost_and_when_an_end_is_killed_within() {
    let bad = PathModel {
        loss: 0.2,
        bursts: Some(Bursts::of(3.0, 0.1)),
        jitter: 10 * MS,
        reordering: Some(Reordering { probability: 0.3, hold: 100 * MS }),
        duplication: 0.2,
        corruption: 0.1,
        ..path(30 * MS)
    };
    for seed in 0..60 {
        let mut ends = invited(seed, &bad);
        if seed % 3 > 0 {
            ends.advance((seed as u32 * 7 % 150) * MS);
            ends.restart(if seed % 3 == 1 { Side::A } else { Side::B });
        }
        ends.set_traffic(Side::A, Some(500 * MS));
        ends.set_traffic(Side::B, Some(500 * MS));
        let up = ends.run_until(120 * SECOND, |ends| {
            !ends.take_received(Side::A).is_empty() && ends.status(Side::B).unwrap().peer.is_some()
        });
        assert!(up.is_some(), "seed {seed}");
        assert_eq!(pairings(&mut ends), 1, "seed {seed}");
        ends.set_model(&path(30 * MS));
        ends.restart(Side::A);
        let took = until_arrival(&mut ends, Side::B, 10 * SECOND);
        assert!(took.is_some_and(|took| took <= 6 * SECOND), "seed {seed}: {took:?} as a known pair");
    }
}

#[test]
fn whoever_comes_with_a_spent_invitation_is_told_nothing_and_counted() {
    let mut ends = invited(2, &path(15 * MS));
    ends.advance(SECOND);
    // A second joiner with the same invitation and a key of its own, at A's address.
    let other = tieline_seal::PrivateKey::from_bytes([0x77; 32]);
    ends.kill(Side::A);
    let secret = InvitationSecret::from_bytes([3; 16]);
    ends.setup(Side::A).private_key = other;
    if let tieline_seal::Peer::Known { proof, .. } = &mut ends.setup(Side::A).peer {
        *proof = Some(secret);
    }
    ends.start(Side::A);
    ends.advance(20 * SECOND);
    assert!(ends.session_drops(Side::B, DropReason::SpentInvitation) >= 2);
    assert!(ends.status(Side::A).unwrap().session.is_none());
}
