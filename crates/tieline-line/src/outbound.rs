//! The way out: packets of the device and of the channels become sealed datagrams.
//!
//! Each sending thread has its own. Nothing here allocates but `Staged`, which holds what cannot be sealed because there is
//! no session yet; that is the slow path of the first packet.
//!
//! A buffer has [`HEADROOM`] octets before the packet and [`TAILROOM`] after it, so that header, label, padding and tag go
//! around the packet where it lies:
//!
//! ```text
//! | 4: label or unused | 16: data message header | the packet … | padding | 16: tag |      an IP packet
//! | 16: data message header | 4: label | the packet …                     | 16: tag |      a labelled packet
//! ```

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tieline_seal::{Notice, SealError, Sealed};
use tieline_wire::{
    ip::IpPacket,
    label::LabelStackEntry,
    sealed,
    wireguard::{TAG_LEN, TransportHeader},
};

use crate::{Shared, counters::DropReason};

/// Octets that a buffer has before the packet.
pub const HEADROOM: usize = TransportHeader::LEN + LabelStackEntry::LEN;
/// Octets that a buffer has after the packet.
pub const TAILROOM: usize = TAG_LEN + sealed::PADDING_MULTIPLE;
/// Packets that wait for a session; the oldest goes first.
pub const STAGED_PACKETS_MAX: usize = 128;
/// A packet that has waited for longer than this is of no use to anybody.
pub const STAGED_TIME_MAX: Duration = Duration::from_secs(5);
/// Control is told at most this often that a session is needed.
pub const SESSION_NEEDED_INTERVAL: Duration = Duration::from_millis(100);

/// What became of a packet.
#[derive(Debug)]
pub struct Outcome<'b> {
    /// The datagram to send now, and where to; none if the packet is staged or dropped.
    pub datagram: Option<(SocketAddr, &'b [u8])>,
    /// What control must be told.
    pub notice: Option<Notice>,
    /// Whether control must be told that a session is needed; said at most every [`SESSION_NEEDED_INTERVAL`].
    pub session_needed: bool,
}

impl<'b> Outcome<'b> {
    const NOTHING: Self = Self { datagram: None, notice: None, session_needed: false };

    fn sealed(sealed: Sealed, datagram: &'b [u8]) -> Self {
        Self { datagram: Some((sealed.to, datagram)), notice: sealed.notice, session_needed: false }
    }
}

/// The sending half of a line.
pub struct Outbound {
    session: tieline_seal::Outbound,
    staged: Staged,
    session_asked: Option<Instant>,
    mtu: usize,
    shared: Arc<Shared>,
}

impl Outbound {
    pub(crate) fn new(session: tieline_seal::Outbound, mtu: usize, shared: Arc<Shared>) -> Self {
        Self { session, staged: Staged::default(), session_asked: None, mtu, shared }
    }

    /// Another one, for another thread; what waits for a session in this one stays here. See [`tieline_seal::Outbound::another`] for
    /// what holds of the order.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(self.session.another(), self.mtu, Arc::clone(&self.shared))
    }

    /// Whether [`Self::seal_ip`] would seal `packet` now, and neither stage nor drop it.
    #[must_use]
    pub fn takes_ip(&self, now: Instant, packet: &[u8]) -> bool {
        objection(packet, self.mtu).is_none() && self.session.has_session(now)
    }

    /// Seals the IP packet at `buffer[HEADROOM..HEADROOM + len]`; without a session it is staged.
    ///
    /// # Panics
    ///
    /// If `buffer` is shorter than `HEADROOM + len + TAILROOM`.
    pub fn seal_ip<'b>(&mut self, now: Instant, buffer: &'b mut [u8], len: usize) -> Outcome<'b> {
        if let Some(reason) = objection(&buffer[HEADROOM..HEADROOM + len], self.mtu) {
            self.shared.counters.dropped(reason);
            return Outcome::NOTHING;
        }
        let padded = sealed::padded_len(len, self.mtu);
        buffer[HEADROOM + len..HEADROOM + padded].fill(0);
        let datagram = LabelStackEntry::LEN..HEADROOM + padded + TAG_LEN;
        match self.session.seal(now, &mut buffer[datagram.clone()]) {
            Ok(sealed) => {
                self.shared.counters.ip_out.add(len);
                Outcome::sealed(sealed, &buffer[datagram])
            }
            Err(error) => {
                if self.staged.push(now, &buffer[HEADROOM..HEADROOM + len]) {
                    self.shared.counters.dropped(DropReason::StagedQueueFull);
                }
                self.not_sealed(now, error)
            }
        }
    }

    /// Seals the packet at `buffer[HEADROOM..HEADROOM + len]` under the label of `entry`; without a session it is dropped,
    /// since what channels carry is repeated by those who care.
    ///
    /// # Panics
    ///
    /// If `buffer` is shorter than `HEADROOM + len + TAILROOM`.
    pub fn seal_labelled<'b>(
        &mut self,
        now: Instant,
        entry: LabelStackEntry,
        buffer: &'b mut [u8],
        len: usize,
    ) -> Outcome<'b> {
        if len + LabelStackEntry::LEN > self.mtu {
            self.shared.counters.dropped(DropReason::TooLarge);
            return Outcome::NOTHING;
        }
        let mut label = [0; LabelStackEntry::LEN];
        entry.emit(&mut label);
        buffer[TransportHeader::LEN..HEADROOM].copy_from_slice(&label);
        let datagram = 0..HEADROOM + len + TAG_LEN;
        match self.session.seal(now, &mut buffer[datagram.clone()]) {
            Ok(sealed) => {
                self.shared.counters.labelled_out.add(len);
                Outcome::sealed(sealed, &buffer[datagram])
            }
            Err(error) => {
                self.shared.counters.dropped(DropReason::NoSession);
                self.not_sealed(now, error)
            }
        }
    }

    /// Whether [`Self::seal_ip`] would seal the packet.
    #[must_use]
    pub fn is_for_the_far_end(&self, packet: &[u8]) -> bool {
        objection(packet, self.mtu).is_none()
    }

    /// Seals an empty packet, WireGuard's keepalive, into `buffer`.
    ///
    /// # Panics
    ///
    /// If `buffer` is shorter than `HEADROOM + TAILROOM`.
    pub fn seal_keepalive<'b>(&mut self, now: Instant, buffer: &'b mut [u8]) -> Outcome<'b> {
        let datagram = 0..TransportHeader::LEN + TAG_LEN;
        match self.session.seal(now, &mut buffer[datagram.clone()]) {
            Ok(sealed) => Outcome::sealed(sealed, &buffer[datagram]),
            Err(error) => self.not_sealed(now, error),
        }
    }

    /// Seals the next packet that has waited for a session; none if none waits or there still is no session.
    ///
    /// # Panics
    ///
    /// If `buffer` is shorter than `HEADROOM + mtu + TAILROOM`.
    pub fn poll_staged<'b>(&mut self, now: Instant, buffer: &'b mut [u8]) -> Option<Outcome<'b>> {
        if self.staged.queue.is_empty() || !self.session.has_session(now) {
            return None;
        }
        let packet = self.staged.pop(now, &self.shared)?;
        buffer[HEADROOM..HEADROOM + packet.len()].copy_from_slice(&packet);
        Some(self.seal_ip(now, buffer, packet.len()))
    }

    fn not_sealed(&mut self, now: Instant, error: SealError) -> Outcome<'static> {
        let asked = self
            .session_asked
            .is_some_and(|asked| now.saturating_duration_since(asked) < SESSION_NEEDED_INTERVAL);
        let missing = matches!(error, SealError::NoSession | SealError::Exhausted);
        let session_needed = missing && !asked;
        if session_needed {
            self.session_asked = Some(now);
        }
        Outcome { session_needed, ..Outcome::NOTHING }
    }
}

/// Why a packet of the device is not for the far end, if it is not.
fn objection(packet: &[u8], mtu: usize) -> Option<DropReason> {
    let Some(parsed) = IpPacket::parse(packet).ok().filter(|parsed| parsed.total_len == packet.len()) else {
        return Some(DropReason::NotIp);
    };
    if parsed.is_link_local() {
        return Some(DropReason::LinkLocal);
    }
    (packet.len() > mtu).then_some(DropReason::TooLarge)
}

/// Packets that wait for a session.
#[derive(Debug, Default)]
struct Staged {
    queue: VecDeque<(Instant, Vec<u8>)>,
}

impl Staged {
    /// Adds a packet; whether the oldest had to go for it.
    fn push(&mut self, now: Instant, packet: &[u8]) -> bool {
        let full = self.queue.len() == STAGED_PACKETS_MAX;
        if full {
            self.queue.pop_front();
        }
        self.queue.push_back((now, packet.to_vec()));
        full
    }

    fn pop(&mut self, now: Instant, shared: &Shared) -> Option<Vec<u8>> {
        while let Some((staged, packet)) = self.queue.pop_front() {
            if now.saturating_duration_since(staged) <= STAGED_TIME_MAX {
                return Some(packet);
            }
            shared.counters.dropped(DropReason::StagedTooLong);
        }
        None
    }
}
