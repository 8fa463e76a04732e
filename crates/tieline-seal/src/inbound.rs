//! The opening half of a line.
//!
//! It has two parts. [`Opener`] does what costs time and depends on nothing that came before: many threads may have one each. [`Inbound`],
//! of which there is one, does what depends on the order: the replay window, and where the peer is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use aws_lc_rs::aead::Aad;
use tieline_wire::ParseError;
use tieline_wire::wireguard::{
    CookieReply, HandshakeInitiation, HandshakeResponse, MessageType, TAG_LEN, TransportHeader,
};

use crate::drops::{DropCounters, DropReason};
use crate::limits::REKEY_AFTER_TIME_RECEIVING;
use crate::mac::MacKey;
use crate::noise::aead_nonce;
use crate::notice::{Notice, NoticePace};
use crate::session::{Retired, Role, Session};
use crate::suite::Suite;
use crate::table::{Shared, Table};
use crate::window::ReplayWindow;

/// Tells what is authentic. No lock, no allocation, no system call.
#[derive(Clone)]
pub struct Opener {
    shared: Arc<Shared>,
    own_mac1: MacKey,
}

/// Opens datagrams in the order of their arrival. No lock, no allocation, no system call.
pub struct Inbound {
    opener: Opener,
    windows: Windows,
    rekey_pace: NoticePace<u64>,
    move_pace: NoticePace<SocketAddr>,
}

/// What an [`Opener`] found in a datagram that is authentic, for [`Inbound::accept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentic(Content);

impl Authentic {
    /// Whether it is part of a handshake: [`Opened::Handshake`].
    #[must_use]
    pub fn is_handshake(self) -> bool {
        self.0 == Content::Handshake
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Handshake,
    Packet(Number),
}

/// Which packet of which session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    session: u64,
    counter: u64,
    suite: Suite,
}

/// What a datagram turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened<'d> {
    /// Part of a handshake: give the whole datagram to [`crate::Control::handle_datagram`].
    Handshake,
    /// An empty packet: the peer holds the line open.
    Keepalive {
        /// For control.
        notice: Option<Notice>,
    },
    /// A packet of the peer.
    Packet {
        /// What it sealed, padding included; it lies inside the datagram given.
        plaintext: &'d mut [u8],
        /// For control.
        notice: Option<Notice>,
    },
}

impl Opener {
    /// Opens a datagram in place. The MAC1 of handshake messages is checked here, cheaply, before control is
    /// bothered. Whether a packet is new, [`Inbound::accept`] says.
    ///
    /// # Errors
    ///
    /// Why it is to be dropped; already counted. The datagram's content is undefined then.
    pub fn open(&self, now: Instant, datagram: &mut [u8]) -> Result<Authentic, DropReason> {
        let table = self.shared.table.load();
        let result = self.open_if(now, datagram, &table, |_, _| true);
        if let Err(reason) = result {
            self.shared.drops.count(reason);
        }
        result
    }

    /// As [`Self::open`], but not counted, and a packet is opened only if its session and counter pass `is_wanted`.
    fn open_if(
        &self,
        now: Instant,
        datagram: &mut [u8],
        table: &Table,
        is_wanted: impl FnOnce(&Session, u64) -> bool,
    ) -> Result<Authentic, DropReason> {
        let content = match MessageType::of(datagram).map_err(reason_of)? {
            MessageType::TransportData => Content::Packet(open_packet(now, datagram, table, is_wanted)?),
            MessageType::HandshakeInitiation => {
                let message = HandshakeInitiation::parse(datagram).map_err(reason_of)?;
                self.check_mac1(&datagram[..HandshakeInitiation::MAC1], &message.mac1)?
            }
            MessageType::HandshakeResponse => {
                let message = HandshakeResponse::parse(datagram).map_err(reason_of)?;
                self.check_mac1(&datagram[..HandshakeResponse::MAC1], &message.mac1)?
            }
            MessageType::CookieReply => {
                CookieReply::parse(datagram).map_err(reason_of)?;
                Content::Handshake
            }
        };
        Ok(Authentic(content))
    }

    fn check_mac1(&self, covered: &[u8], mac1: &[u8]) -> Result<Content, DropReason> {
        if self.own_mac1.verifies(covered, mac1) { Ok(Content::Handshake) } else { Err(DropReason::BadMac1) }
    }
}

fn open_packet(
    now: Instant,
    datagram: &mut [u8],
    table: &Table,
    is_wanted: impl FnOnce(&Session, u64) -> bool,
) -> Result<Number, DropReason> {
    let (header, sealed) = TransportHeader::parse(datagram).map_err(reason_of)?;
    let (session, opening) = table.find(header.receiver).ok_or(DropReason::UnknownReceiver)?;
    if session.has_expired(now) {
        return Err(DropReason::ExpiredSession);
    }
    if header.counter >= opening.suite.reject_after_messages() {
        return Err(DropReason::ExhaustedSession);
    }
    if !is_wanted(session, header.counter) {
        return Err(DropReason::Replayed);
    }
    opening
        .key
        .open_in_place(aead_nonce(header.counter), Aad::empty(), sealed)
        .map_err(|_| DropReason::NotAuthentic)?;
    Ok(Number { session: session.serial, counter: header.counter, suite: opening.suite })
}

impl Inbound {
    pub(crate) fn new(shared: Arc<Shared>, own_mac1: MacKey) -> Self {
        Self {
            opener: Opener { shared, own_mac1 },
            windows: Windows::new(),
            rekey_pace: NoticePace::new(),
            move_pace: NoticePace::new(),
        }
    }

    /// What opens datagrams for this half in another thread.
    #[must_use]
    pub fn opener(&self) -> Opener {
        self.opener.clone()
    }

    /// Opens a datagram in place and accepts it: [`Opener::open`] and [`Self::accept`] in one, which spares opening what is a replay.
    ///
    /// # Errors
    ///
    /// Why it is to be dropped; already counted. The datagram's content is undefined then.
    pub fn open<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'d mut [u8],
    ) -> Result<Opened<'d>, DropReason> {
        let table = self.opener.shared.table.load();
        let windows = &mut self.windows;
        let is_fresh = |session: &Session, counter| windows.of(session, &table).is_fresh(counter);
        let opened = self.opener.open_if(now, datagram, &table, is_fresh);
        let result = opened.and_then(|authentic| self.accept_from(now, from, datagram, authentic, &table));
        self.counted(result)
    }

    /// Accepts a datagram that was opened, if it is none that was accepted before. In which order datagrams come here is the order in
    /// which they arrive.
    ///
    /// # Errors
    ///
    /// Why it is to be dropped; already counted.
    pub fn accept<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'d mut [u8],
        authentic: Authentic,
    ) -> Result<Opened<'d>, DropReason> {
        let table = self.opener.shared.table.load();
        let result = self.accept_from(now, from, datagram, authentic, &table);
        self.counted(result)
    }

    /// The counters of this line's drops.
    #[must_use]
    pub fn drops(&self) -> &DropCounters {
        &self.opener.shared.drops
    }

    fn counted<T>(&self, result: Result<T, DropReason>) -> Result<T, DropReason> {
        let shared = &self.opener.shared;
        let named = |reason| match reason {
            DropReason::Replayed if !shared.is_roaming.load(Ordering::Relaxed) => DropReason::SecondCopy,
            reason => reason,
        };
        result.map_err(named).inspect_err(|reason| shared.drops.count(*reason))
    }

    fn accept_from<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'d mut [u8],
        Authentic(content): Authentic,
        table: &Table,
    ) -> Result<Opened<'d>, DropReason> {
        let Content::Packet(number) = content else { return Ok(Opened::Handshake) };
        let length = datagram.len();
        let (_, sealed) = TransportHeader::parse(datagram).map_err(reason_of)?;
        let (plaintext, _tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(DropReason::TooShort)?;
        let is_session = |session: &&Arc<Session>| session.serial == number.session;
        let session = table.sessions().find(is_session).ok_or(DropReason::UnknownReceiver)?;
        let window = self.windows.of(session, table);
        if !window.is_fresh(number.counter) {
            return Err(DropReason::Replayed);
        }
        let is_first = session.confirm().map_err(|Retired| DropReason::UnknownReceiver)?;
        window.accept(number.counter);
        session.inbound.note_suite(number.suite);
        note_received(&self.opener.shared, now, session, !plaintext.is_empty(), length);

        let notice = if is_first {
            Some(Notice::Confirmed { from })
        } else if table.address != Some(from)
            && self.opener.shared.is_roaming.load(Ordering::Relaxed)
            && may_move_peer(session, table)
            && self.move_pace.may_tell(from, now)
        {
            Some(Notice::Moved { from })
        } else if is_rekey_due(session, now) && self.rekey_pace.may_tell(session.serial, now) {
            Some(Notice::RekeyDue)
        } else {
            None
        };
        Ok(if plaintext.is_empty() {
            Opened::Keepalive { notice }
        } else {
            Opened::Packet { plaintext, notice }
        })
    }
}

/// Only the newest session that the peer has used says where it is. Of two machines with the peer's key the one
/// that lost the line still seals under an older session, and must not draw our datagrams away.
fn may_move_peer(session: &Session, table: &Table) -> bool {
    table
        .sealing()
        .is_none_or(|(newest, _)| newest.serial == session.serial || newest.inbound.last_received.is_none())
}

/// The initiator replaces a session under which it only receives, in time before it dies (paper §6.2).
fn is_rekey_due(session: &Session, now: Instant) -> bool {
    session.role == Role::Initiator
        && now.saturating_duration_since(session.born) >= REKEY_AFTER_TIME_RECEIVING
}

fn note_received(shared: &Shared, now: Instant, session: &Session, has_content: bool, length: usize) {
    let (epoch, activity) = (shared.epoch, &shared.activity);
    session.inbound.last_received.store(epoch, now);
    activity.received.note(epoch, now, length);
    activity.unanswered_since.clear();
    if has_content {
        activity.unacknowledged_since.store_if_none(epoch, now);
    }
}

/// The reason that stands for a datagram of the wrong form.
pub(crate) fn reason_of(error: ParseError) -> DropReason {
    match error {
        ParseError::Truncated { .. } => DropReason::TooShort,
        ParseError::Length { .. } => DropReason::TooLong,
        ParseError::Field { .. } => DropReason::UnknownType,
    }
}

/// The replay windows of the sessions in the table. They live here and not in the session, because only this
/// half has to do with them.
struct Windows(Box<[SessionWindow; Table::SESSIONS_MAX]>);

struct SessionWindow {
    serial: Option<u64>,
    window: ReplayWindow,
}

impl Windows {
    fn new() -> Self {
        const UNUSED: SessionWindow = SessionWindow { serial: None, window: ReplayWindow::new() };
        Self(Box::new([UNUSED; Table::SESSIONS_MAX]))
    }

    /// The window of `session`. One that belongs to no session of the table any more is cleared for a new
    /// session.
    fn of(&mut self, session: &Session, table: &Table) -> &mut ReplayWindow {
        let known = self.0.iter().position(|window| window.serial == Some(session.serial));
        let slot = known.unwrap_or_else(|| {
            let is_unused = |window: &SessionWindow| {
                !table.sessions().any(|session| window.serial == Some(session.serial))
            };
            let unused = self.0.iter().position(is_unused);
            let unused = unused
                .expect("a table has no more sessions than there are windows, and one of them has none");
            self.0[unused] = SessionWindow { serial: Some(session.serial), window: ReplayWindow::new() };
            unused
        });
        &mut self.0[slot].window
    }
}
