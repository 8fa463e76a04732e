//! Opening handshakes: initiations, their repetition, and what comes back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tieline_wire::time::Now;
use tieline_wire::wireguard::{CookieReply, HandshakeInitiation, HandshakeResponse, MAC_LEN, SessionIndex};

use super::Control;
use crate::config::{Event, Pace};
use crate::drops::DropReason;
use crate::inbound::reason_of;
use crate::limits::{
    CUT_RETRY_JITTER_MAX, CUT_RETRY_TIMEOUT, PENDING_INITIATIONS_MAX, REKEY_ATTEMPT_TIME, REKEY_TIMEOUT,
    REKEY_TIMEOUT_JITTER_MAX, ZERO_KEYS_AFTER_TIME,
};
use crate::noise::Initiator;
use crate::peer::{Known, PeerState};
use crate::random::Generator;
use crate::session::{Agreed, Role, Session};

/// Our initiations: those whose answers are out, and when the next is due.
#[derive(Default)]
pub(super) struct Attempts {
    /// Oldest first, at most [`PENDING_INITIATIONS_MAX`].
    pending: VecDeque<Pending>,
    streak: Option<Streak>,
    last_sent_at: Option<Instant>,
    pace: Pace,
    wanted_without_address: bool,
}

/// An initiation whose answer is out.
struct Pending {
    index: SessionIndex,
    state: Initiator,
    mac1: [u8; MAC_LEN],
    sent_at: Instant,
}

/// Initiations until one is answered.
struct Streak {
    since: Instant,
    /// When somebody last asked for the session.
    wanted_at: Instant,
    due_at: Instant,
    initiations: u32,
    gave_up: bool,
}

impl Attempts {
    pub(super) fn names(&self, index: SessionIndex) -> bool {
        self.pending.iter().any(|pending| pending.index == index)
    }

    /// When the streak began and how many initiations it has.
    pub(super) fn streak(&self) -> Option<(Instant, u32)> {
        self.streak.as_ref().map(|streak| (streak.since, streak.initiations))
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.streak.as_ref().map(|streak| streak.due_at)
    }

    pub(super) fn last_sent_at(&self) -> Option<Instant> {
        self.last_sent_at
    }

    pub(super) fn is_wanted_without_address(&self) -> bool {
        self.wanted_without_address
    }

    /// There is a session: nothing more is due.
    pub(super) fn end(&mut self) {
        self.streak = None;
        self.wanted_without_address = false;
    }

    /// Gives up all initiations whose answers are out: the peer has sent a packet under a session that it opened
    /// itself, so it needs none of ours.
    pub(super) fn yield_to_peer(&mut self) {
        self.pending.clear();
    }

    /// Gives up what the answer to the initiation at `position` makes needless: what is older is overtaken, and
    /// what followed it faster than the paper's pace is the same attempt once more. So one attempt ends with one
    /// session, and the sessions of a path of long delay do not chase each other.
    ///
    /// What followed it at the paper's pace stays: its answer is welcome, for a plain WireGuard peer has
    /// forgotten the session of the earlier one by then.
    fn settle(&mut self, position: usize) {
        let Some(answered) = self.pending.drain(..=position).next_back() else { return };
        self.pending
            .retain(|later| later.sent_at.saturating_duration_since(answered.sent_at) >= REKEY_TIMEOUT);
    }

    pub(super) fn set_pace(&mut self, pace: Pace, random: &mut Generator) {
        if self.pace == pace {
            return;
        }
        self.pace = pace;
        let (Some(streak), Some(sent_at)) = (&mut self.streak, self.last_sent_at) else { return };
        let due_at = sent_at + interval(pace) + jitter(pace, random);
        streak.due_at = match pace {
            Pace::Cut => streak.due_at.min(due_at),
            Pace::Paper => due_at,
        };
    }

    /// When the oldest unanswered initiation is to be erased.
    pub(super) fn erase_at(&self) -> Option<Instant> {
        self.pending.front().map(|pending| pending.sent_at + ZERO_KEYS_AFTER_TIME)
    }

    pub(super) fn erase_old(&mut self, now: Instant) {
        self.pending.retain(|pending| now.saturating_duration_since(pending.sent_at) < ZERO_KEYS_AFTER_TIME);
    }
}

impl Control {
    /// Begins a streak of initiations, or keeps the one under way from giving up.
    pub(super) fn want_session(&mut self, now: Instant) {
        let has_address = self.shared.table.load().address.is_some();
        if !has_address || matches!(self.peer, PeerState::Invited(_)) {
            self.attempts.wanted_without_address = true;
            return;
        }
        if let Some(streak) = &mut self.attempts.streak {
            streak.wanted_at = now;
            return;
        }
        let earliest = self.attempts.last_sent_at.map(|sent_at| sent_at + interval(self.attempts.pace));
        self.attempts.wanted_without_address = false;
        self.attempts.streak = Some(Streak {
            since: now,
            wanted_at: now,
            due_at: earliest.map_or(now, |earliest| earliest.max(now)),
            initiations: 0,
            gave_up: false,
        });
    }

    /// Sends the initiation that is due, or gives up.
    pub(super) fn send_due_initiation(&mut self, now: Now) {
        let Some(streak) = &mut self.attempts.streak else { return };
        if now.monotonic < streak.due_at {
            return;
        }
        if now.monotonic.saturating_duration_since(streak.since) >= REKEY_ATTEMPT_TIME {
            let is_wanted = now.monotonic.saturating_duration_since(streak.wanted_at) < REKEY_ATTEMPT_TIME
                || self.always_on;
            if !streak.gave_up || !is_wanted {
                streak.gave_up = true;
                self.events_of_giving_up(is_wanted);
            }
            if !is_wanted {
                self.attempts.streak = None;
                return;
            }
        }
        self.send_initiation(now);
    }

    fn events_of_giving_up(&mut self, still_trying: bool) {
        self.tell(Event::GaveUp { still_trying });
    }

    fn send_initiation(&mut self, now: Now) {
        let Some(to) = self.shared.table.load().address else { return };
        let index = self.fresh_index();
        let ephemeral = self.random.secret();
        let timestamp = self.timestamps.take(now.wall);
        self.schedule_next(now.monotonic);
        let PeerState::Known(known) = &self.peer else { return };
        let Known { remote, preshared_key, proof, .. } = &**known;
        let own = &self.own.private_key;
        let started = Initiator::start(own, &remote.public_key, preshared_key, ephemeral, timestamp);
        // Fails only if the peer's key is a point of low order: no handshake with it can ever succeed.
        let Ok((state, noise)) = started else { return };

        let mut message =
            HandshakeInitiation { sender: index, noise, mac1: [0; MAC_LEN], mac2: [0; MAC_LEN] };
        let mut bytes = [0; HandshakeInitiation::LEN];
        message.emit(&mut bytes);
        message.mac1 = remote.mac1.mac(&[&bytes[..HandshakeInitiation::MAC1]]);
        message.emit(&mut bytes);
        let covered = &bytes[..HandshakeInitiation::MAC2];
        let proof = || proof.as_ref().map(|proof| proof.mac(&[covered]));
        message.mac2 = remote.cookies.mac2(now.monotonic, covered).or_else(proof).unwrap_or_default();
        message.emit(&mut bytes);

        if self.attempts.pending.len() >= PENDING_INITIATIONS_MAX {
            self.attempts.pending.pop_front();
        }
        let pending = Pending { index, state, mac1: message.mac1, sent_at: now.monotonic };
        self.attempts.pending.push_back(pending);
        self.transmit(to, &bytes);
    }

    fn schedule_next(&mut self, now: Instant) {
        let pace = self.attempts.pace;
        let due_at = now + interval(pace) + jitter(pace, &mut self.random);
        self.attempts.last_sent_at = Some(now);
        if let Some(streak) = &mut self.attempts.streak {
            streak.initiations = streak.initiations.saturating_add(1);
            streak.due_at = due_at;
        }
    }

    /// Message 2 of a handshake that we opened.
    pub(super) fn on_response(
        &mut self,
        now: Now,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let message = HandshakeResponse::parse(datagram).map_err(reason_of)?;
        self.check_macs(now.monotonic, from, datagram, message.sender, &message.mac1, &message.mac2, false)?;
        let position = self.attempts.pending.iter().position(|pending| pending.index == message.receiver);
        let position = position.ok_or(DropReason::UnknownReceiver)?;
        let pending = &mut self.attempts.pending[position];
        let keys = pending.state.finish(&message.noise).map_err(|_| DropReason::NotAuthentic)?;
        let (local_index, remote_index) = (pending.index, message.sender);
        let (opened, with) = (pending.sent_at, from);
        let aes_index = self.aes_index(local_index);
        let agreed = Agreed { local_index, aes_index, remote_index, role: Role::Initiator, opened, with };
        self.attempts.settle(position);
        let session = Session::new(self.next_serial(), agreed, now.monotonic, &keys);
        self.derived_at = Some(now.monotonic);
        self.establish(now.monotonic, Arc::new(session));
        Ok(())
    }

    /// A cookie instead of an answer: the next initiation or response carries it.
    pub(super) fn on_cookie_reply(&mut self, now: Now, datagram: &[u8]) -> Result<(), DropReason> {
        let reply = CookieReply::parse(datagram).map_err(reason_of)?;
        let initiation = self.attempts.pending.iter().find(|pending| pending.index == reply.receiver);
        let answered = self.answered.filter(|(index, _)| *index == reply.receiver);
        let mac1 = initiation.map(|pending| pending.mac1).or(answered.map(|(_, mac1)| mac1));
        let mac1 = mac1.ok_or(DropReason::BadCookie)?;
        let remote = self.peer.remote_mut().ok_or(DropReason::BadCookie)?;
        if remote.cookies.take(now.monotonic, &reply, &mac1) { Ok(()) } else { Err(DropReason::BadCookie) }
    }
}

fn interval(pace: Pace) -> Duration {
    match pace {
        Pace::Paper => REKEY_TIMEOUT,
        Pace::Cut => CUT_RETRY_TIMEOUT,
    }
}

fn jitter(pace: Pace, random: &mut Generator) -> Duration {
    let most = match pace {
        Pace::Paper => REKEY_TIMEOUT_JITTER_MAX,
        Pace::Cut => CUT_RETRY_JITTER_MAX,
    };
    random.jitter(most)
}
