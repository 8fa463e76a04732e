//! Who the peer is, or how it is to become known.
//!
//! ```text
//!  Invited ── initiation that proves the invitation ──► candidate ── its first packet opens ──► Known
//!     ▲                                                    │
//!     └──── another key with the proof, after 5 s ─────────┘
//! ```
//!
//! A candidate has shown only that somebody who knew the secret once made this initiation; it may be a
//! recording. The preshared key in the session proves the rest: a packet opens only if both ends hold the
//! secret now.

use std::time::Instant;

use tieline_wire::tai64n::Tai64N;

use crate::cookie::CookieTaker;
use crate::drops::DropReason;
use crate::keys::{InvitationSecret, PresharedKey, PublicKey};
use crate::limits::{CANDIDATE_PATIENCE, CANDIDATES_MAX, INITIATION_INTERVAL_MIN};
use crate::mac::MacKey;

/// What is needed to speak to an end.
pub(crate) struct Remote {
    pub(crate) public_key: PublicKey,
    pub(crate) mac1: MacKey,
    pub(crate) cookies: CookieTaker,
}

impl Remote {
    pub(crate) fn new(public_key: PublicKey) -> Self {
        Self { public_key, mac1: MacKey::mac1_to(&public_key), cookies: CookieTaker::new(&public_key) }
    }
}

/// The initiation accepted last.
#[derive(Clone, Copy)]
pub(crate) struct Accepted {
    timestamp: Tai64N,
    at: Instant,
}

impl Accepted {
    /// Refuses replays and floods.
    fn check(self, now: Instant, timestamp: Tai64N) -> Result<(), DropReason> {
        if timestamp <= self.timestamp {
            return Err(DropReason::StaleTimestamp);
        }
        if now.saturating_duration_since(self.at) < INITIATION_INTERVAL_MIN {
            return Err(DropReason::InitiationFlood);
        }
        Ok(())
    }
}

/// The peer of a line that is paired.
pub(crate) struct Known {
    pub(crate) remote: Remote,
    pub(crate) preshared_key: PresharedKey,
    /// Marks our initiations as those of a joiner, until the peer's first packet.
    pub(crate) proof: Option<MacKey>,
    /// Tells who comes with the invitation after it was used; not the secret itself.
    spent: Option<MacKey>,
    accepted: Option<Accepted>,
}

/// An invitation that nobody has proved yet.
pub(crate) struct Invitation {
    preshared_key: PresharedKey,
    proof: MacKey,
    candidate: Option<Candidate>,
    /// Every key that came with the proof, with its greatest timestamp.
    seen: Vec<(PublicKey, Tai64N)>,
}

pub(crate) struct Candidate {
    remote: Remote,
    accepted: Accepted,
}

pub(crate) enum PeerState {
    Known(Box<Known>),
    Invited(Box<Invitation>),
}

impl PeerState {
    pub(crate) fn known(
        public_key: PublicKey,
        preshared_key: PresharedKey,
        proof: Option<&InvitationSecret>,
    ) -> Self {
        Self::Known(Box::new(Known {
            remote: Remote::new(public_key),
            preshared_key,
            proof: proof.map(InvitationSecret::proof_key),
            spent: None,
            accepted: None,
        }))
    }

    pub(crate) fn invited(secret: &InvitationSecret) -> Self {
        Self::Invited(Box::new(Invitation {
            preshared_key: secret.preshared_key(),
            proof: secret.proof_key(),
            candidate: None,
            seen: Vec::new(),
        }))
    }

    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        match self {
            Self::Known(known) => Some(known.remote.public_key),
            Self::Invited(_) => None,
        }
    }

    /// Who answers and cookies go to: the peer, or the candidate.
    pub(crate) fn remote_mut(&mut self) -> Option<&mut Remote> {
        match self {
            Self::Known(known) => Some(&mut known.remote),
            Self::Invited(invitation) => invitation.candidate.as_mut().map(|candidate| &mut candidate.remote),
        }
    }

    pub(crate) fn preshared_key(&self) -> &PresharedKey {
        match self {
            Self::Known(known) => &known.preshared_key,
            Self::Invited(invitation) => &invitation.preshared_key,
        }
    }

    /// Whether `mac2` over `covered` proves the invitation that is open.
    pub(crate) fn is_proved_by(&self, covered: &[u8], mac2: &[u8]) -> bool {
        match self {
            Self::Known(_) => false,
            Self::Invited(invitation) => invitation.proof.verifies(covered, mac2),
        }
    }

    /// Whether `mac2` over `covered` proves the invitation that is used up.
    pub(crate) fn is_spent_by(&self, covered: &[u8], mac2: &[u8]) -> bool {
        match self {
            Self::Known(known) => known.spent.as_ref().is_some_and(|proof| proof.verifies(covered, mac2)),
            Self::Invited(_) => false,
        }
    }

    /// Whether an initiation of `key` is welcome; `Ok(true)` if it would displace another candidate.
    pub(crate) fn check(&self, now: Instant, key: &PublicKey, timestamp: Tai64N) -> Result<bool, DropReason> {
        match self {
            Self::Known(known) => {
                if known.remote.public_key != *key {
                    return Err(DropReason::UnknownPeer);
                }
                known.accepted.map_or(Ok(()), |accepted| accepted.check(now, timestamp))?;
                Ok(false)
            }
            Self::Invited(invitation) => invitation.check(now, key, timestamp),
        }
    }

    /// Notes an initiation that was found welcome.
    pub(crate) fn accept(&mut self, now: Instant, key: PublicKey, timestamp: Tai64N) {
        let accepted = Accepted { timestamp, at: now };
        match self {
            Self::Known(known) => known.accepted = Some(accepted),
            Self::Invited(invitation) => invitation.accept(key, accepted),
        }
    }

    /// The candidate's first packet has opened: it is the peer from now on, and the invitation void.
    pub(crate) fn pair(&mut self) -> Option<(PublicKey, PresharedKey)> {
        let Self::Invited(invitation) = self else { return None };
        let Candidate { remote, accepted } = invitation.candidate.take()?;
        let paired = (remote.public_key, invitation.preshared_key.clone());
        *self = Self::Known(Box::new(Known {
            remote,
            preshared_key: paired.1.clone(),
            proof: None,
            spent: Some(invitation.proof.clone()),
            accepted: Some(accepted),
        }));
        Some(paired)
    }
}

impl Invitation {
    fn check(&self, now: Instant, key: &PublicKey, timestamp: Tai64N) -> Result<bool, DropReason> {
        let seen = self.seen.iter().find(|(seen, _)| seen == key);
        if seen.is_some_and(|(_, greatest)| timestamp <= *greatest) {
            return Err(DropReason::StaleTimestamp);
        }
        if seen.is_none() && self.seen.len() >= CANDIDATES_MAX {
            return Err(DropReason::AnotherCandidate);
        }
        let Some(candidate) = &self.candidate else { return Ok(false) };
        if candidate.remote.public_key == *key {
            candidate.accepted.check(now, timestamp)?;
            return Ok(false);
        }
        if now.saturating_duration_since(candidate.accepted.at) < CANDIDATE_PATIENCE {
            return Err(DropReason::AnotherCandidate);
        }
        Ok(true)
    }

    fn accept(&mut self, key: PublicKey, accepted: Accepted) {
        match self.seen.iter_mut().find(|(seen, _)| *seen == key) {
            Some((_, greatest)) => *greatest = accepted.timestamp,
            None => self.seen.push((key, accepted.timestamp)),
        }
        match &mut self.candidate {
            Some(candidate) if candidate.remote.public_key == key => candidate.accepted = accepted,
            _ => self.candidate = Some(Candidate { remote: Remote::new(key), accepted }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::PrivateKey;

    fn key(byte: u8) -> PublicKey {
        PrivateKey::from_bytes([byte; 32]).public_key()
    }

    fn at(timestamp: u8) -> Tai64N {
        Tai64N::from_bytes([timestamp; Tai64N::LEN])
    }

    fn secret() -> InvitationSecret {
        InvitationSecret::from_bytes([3; 16])
    }

    const LATER: Duration = Duration::from_millis(20);

    #[test]
    fn a_known_peer_is_taken_with_newer_timestamps_only() {
        let (mut peer, now) = (PeerState::known(key(1), PresharedKey::ZERO, None), Instant::now());
        assert_eq!(peer.check(now, &key(2), at(5)), Err(DropReason::UnknownPeer));
        assert_eq!(peer.check(now, &key(1), at(5)), Ok(false));
        peer.accept(now, key(1), at(5));
        assert_eq!(peer.check(now + LATER, &key(1), at(5)), Err(DropReason::StaleTimestamp));
        assert_eq!(peer.check(now + LATER, &key(1), at(4)), Err(DropReason::StaleTimestamp));
        assert_eq!(
            peer.check(now + LATER - Duration::from_nanos(1), &key(1), at(6)),
            Err(DropReason::InitiationFlood)
        );
        assert_eq!(peer.check(now + LATER, &key(1), at(6)), Ok(false));
    }

    #[test]
    fn a_known_peer_is_not_paired_and_proves_nothing() {
        let mut peer = PeerState::known(key(1), PresharedKey::ZERO, Some(&secret()));
        let mac2 = secret().proof_key().mac(&[b"message"]);
        assert!(!peer.is_proved_by(b"message", &mac2));
        assert!(!peer.is_spent_by(b"message", &mac2), "it joined, it did not invite");
        assert!(peer.pair().is_none());
        assert_eq!(peer.public_key(), Some(key(1)));
    }

    #[test]
    fn an_invitation_without_a_candidate_pairs_with_nobody() {
        let mut peer = PeerState::invited(&secret());
        assert!(peer.pair().is_none());
        assert_eq!(peer.public_key(), None);
        assert!(peer.remote_mut().is_none());
    }

    #[test]
    fn a_candidate_that_is_confirmed_becomes_the_peer_and_the_proof_is_spent() {
        let (mut peer, now) = (PeerState::invited(&secret()), Instant::now());
        let mac2 = secret().proof_key().mac(&[b"message"]);
        assert!(peer.is_proved_by(b"message", &mac2));
        assert!(!peer.is_spent_by(b"message", &mac2));
        assert_eq!(peer.check(now, &key(1), at(5)), Ok(false));
        peer.accept(now, key(1), at(5));
        assert_eq!(peer.public_key(), None, "not before its first packet");
        assert_eq!(peer.pair(), Some((key(1), secret().preshared_key())));
        assert_eq!(peer.public_key(), Some(key(1)));
        assert!(!peer.is_proved_by(b"message", &mac2));
        assert!(peer.is_spent_by(b"message", &mac2));
        assert_eq!(peer.check(now + LATER, &key(1), at(5)), Err(DropReason::StaleTimestamp));
        assert_eq!(peer.check(now + LATER, &key(2), at(6)), Err(DropReason::UnknownPeer));
        assert!(peer.pair().is_none());
    }

    #[test]
    fn a_second_candidate_waits_and_then_displaces_the_first() {
        let (mut peer, now) = (PeerState::invited(&secret()), Instant::now());
        peer.accept(now, key(1), at(5));
        let patience = now + CANDIDATE_PATIENCE;
        assert_eq!(
            peer.check(patience - Duration::from_nanos(1), &key(2), at(1)),
            Err(DropReason::AnotherCandidate)
        );
        assert_eq!(peer.check(patience, &key(2), at(1)), Ok(true));
        peer.accept(patience, key(2), at(1));
        let later = patience + CANDIDATE_PATIENCE;
        assert_eq!(peer.check(later, &key(1), at(5)), Err(DropReason::StaleTimestamp), "a recording");
        assert_eq!(peer.check(later, &key(1), at(6)), Ok(true), "the first again, in person");
        assert_eq!(peer.pair().map(|(key, _)| key), Some(key(2)));
    }

    #[test]
    fn the_same_candidate_may_try_again_at_its_own_pace() {
        let (mut peer, now) = (PeerState::invited(&secret()), Instant::now());
        peer.accept(now, key(1), at(5));
        assert_eq!(peer.check(now, &key(1), at(6)), Err(DropReason::InitiationFlood));
        assert_eq!(peer.check(now + LATER, &key(1), at(5)), Err(DropReason::StaleTimestamp));
        assert_eq!(peer.check(now + LATER, &key(1), at(6)), Ok(false));
    }
}
