//! The sealing half of a line. Each thread that sends has one of its own; they share the session, so no counter is used twice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use aws_lc_rs::aead::Aad;
use tieline_wire::wireguard::{TAG_LEN, TransportHeader};

use crate::limits::{REJECT_AFTER_MESSAGES, REKEY_AFTER_TIME};
use crate::noise::aead_nonce;
use crate::notice::{Notice, NoticePace};
use crate::session::{Role, Session};
use crate::suite::Sealing;
use crate::table::Shared;

/// Octets that sealing adds before and after a packet together.
pub const OVERHEAD: usize = TransportHeader::LEN + TAG_LEN;

/// Seals packets. No lock, no allocation, no system call.
pub struct Outbound {
    shared: Arc<Shared>,
    rekey_pace: NoticePace<u64>,
}

/// What to do with a sealed datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Where it goes.
    pub to: SocketAddr,
    /// What control should hear, soon but not necessarily.
    pub notice: Option<Notice>,
}

/// Why a packet was not sealed; it is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no session. Keep the packet, ask [`crate::Control::request_session`], try again when it is
    /// ready.
    #[error("there is no session")]
    NoSession,
    /// The session is used up or too old; to be treated as [`Self::NoSession`].
    #[error("the session is used up")]
    Exhausted,
    /// There is a session, but nobody knows where the peer is.
    #[error("the peer's address is not known")]
    NoAddress,
    /// The datagram has no room for header and tag, or is longer than UDP carries.
    #[error("a datagram of {length} octets cannot be sealed")]
    Length {
        /// What was given.
        length: usize,
    },
}

impl Outbound {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, rekey_pace: NoticePace::new() }
    }

    /// Another one, for another thread. What the two seal reaches the peer in the order in which it is sent, which need not be that of
    /// the counters: send soon after sealing, for what falls behind by more than [`crate::ReplayWindow::LEN`] is lost.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }

    /// Seals a packet in place.
    ///
    /// `datagram` is [`TransportHeader::LEN`] octets of room, the packet, and [`TAG_LEN`] octets of room; all
    /// of it is to be sent. An empty packet is a keepalive. Padding an IP packet to a multiple of 16 octets,
    /// as WireGuard does, is the caller's.
    ///
    /// # Errors
    ///
    /// `NoSession`, `Exhausted`, `NoAddress`: nothing can be sealed now. `Length`: never with this datagram.
    pub fn seal(&mut self, now: Instant, datagram: &mut [u8]) -> Result<Sealed, SealError> {
        let length = datagram.len();
        if !(OVERHEAD..=DATAGRAM_MAX).contains(&length) {
            return Err(SealError::Length { length });
        }
        let table = self.shared.table.load();
        let (session, address) = table.sealing().ok_or(SealError::NoSession)?;
        if session.has_expired(now) {
            return Err(SealError::Exhausted);
        }
        let to = address.ok_or(SealError::NoAddress)?;
        let counter = take_counter(session)?;

        let (header, packet, tag) = split_datagram(datagram).ok_or(SealError::Length { length })?;
        let Sealing { receiver, key, .. } = session.sealing(counter);
        TransportHeader { receiver, counter }.emit(header);
        let computed = key
            .seal_in_place_separate_tag(aead_nonce(counter), Aad::empty(), packet)
            .map_err(|_| SealError::Length { length })?;
        tag.copy_from_slice(computed.as_ref());

        self.note_sent(now, session, !packet.is_empty(), length);
        let due = is_rekey_due(session, counter, now) && self.rekey_pace.may_tell(session.serial, now);
        Ok(Sealed { to, notice: due.then_some(Notice::RekeyDue) })
    }

    /// Whether [`Self::seal`] would find a session.
    #[must_use]
    pub fn has_session(&self, now: Instant) -> bool {
        let table = self.shared.table.load();
        table.sealing().is_some_and(|(session, address)| address.is_some() && session.is_alive(now))
    }

    fn note_sent(&self, now: Instant, session: &Session, has_content: bool, length: usize) {
        let (epoch, activity) = (self.shared.epoch, &self.shared.activity);
        session.outbound.last_sent.store(epoch, now);
        activity.sent.note(epoch, now, length);
        activity.unacknowledged_since.clear();
        if has_content {
            activity.unanswered_since.store_if_none(epoch, now);
        }
    }
}

/// Takes the next counter. A counter that was taken is never used again, whatever becomes of its packet.
fn take_counter(session: &Session) -> Result<u64, SealError> {
    // Looked at first, so that a session that is used up does not go on counting.
    if session.outbound.counter.load(Ordering::Relaxed) >= REJECT_AFTER_MESSAGES {
        return Err(SealError::Exhausted);
    }
    let counter = session.outbound.counter.fetch_add(1, Ordering::Relaxed);
    if counter < REJECT_AFTER_MESSAGES { Ok(counter) } else { Err(SealError::Exhausted) }
}

/// "After REKEY-AFTER-MESSAGES … or, if it is the initiator, after REKEY-AFTER-TIME" (paper §6.2), upon
/// sending.
fn is_rekey_due(session: &Session, counter: u64, now: Instant) -> bool {
    counter >= session.rekey_after_messages()
        || (session.role == Role::Initiator
            && now.saturating_duration_since(session.born) >= REKEY_AFTER_TIME)
}

type DatagramParts<'d> = (&'d mut [u8; TransportHeader::LEN], &'d mut [u8], &'d mut [u8; TAG_LEN]);

fn split_datagram(datagram: &mut [u8]) -> Option<DatagramParts<'_>> {
    let (header, rest) = datagram.split_first_chunk_mut()?;
    let (packet, tag) = rest.split_last_chunk_mut()?;
    Some((header, packet, tag))
}

/// The largest payload of UDP over IPv6 without jumbograms.
const DATAGRAM_MAX: usize = 65_527;
