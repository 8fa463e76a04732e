//! The control half of a line: handshakes, timers, cookies and the session table.
//!
//! The parts: `initiate` opens handshakes and repeats them, `respond` answers those of the peer, `timers`
//! says what is due.

mod initiate;
mod respond;
mod timers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tieline_wire::suite::Announcement;
use tieline_wire::time::Now;
use tieline_wire::wireguard::{MAC_LEN, MessageType, SessionIndex};

use self::initiate::Attempts;
use crate::activity::{Activity, Epoch};
use crate::config::{AttemptStatus, Config, Event, Pace, Peer, SessionStatus, Status, Transmit};
use crate::cookie::CookieGiver;
use crate::drops::{DropCounters, DropReason};
use crate::inbound::{Inbound, reason_of};
use crate::keys::{PrivateKey, PublicKey};
use crate::limits::{EVENTS_MAX, TRANSMITS_MAX};
use crate::load::Load;
use crate::mac::MacKey;
use crate::notice::Notice;
use crate::outbound::Outbound;
use crate::peer::PeerState;
use crate::random::Generator;
use crate::session::{Role, Session};
use crate::suite::Aes;
use crate::table::{Shared, Table};
use crate::timestamps::OwnTimestamps;

/// Makes the three halves of a line. `seed` must be fresh from the system's generator: all keys of the line's
/// sessions come from it.
#[must_use]
pub fn split(config: Config, now: Now, seed: [u8; 32]) -> (Control, Outbound, Inbound) {
    let control = Control::new(config, now, seed);
    let outbound = Outbound::new(Arc::clone(&control.shared));
    let inbound = Inbound::new(Arc::clone(&control.shared), control.own.mac1.clone());
    (control, outbound, inbound)
}

/// The control half of a line.
///
/// It is a value. Feed it one input (`handle_*`, `request_session`, `set_*`, `hold_address`), then drain
/// [`Self::poll_transmit`] and [`Self::poll_event`] until both are empty, then wait for the next input or for
/// [`Self::poll_timeout`], whichever is first. Events that are not fetched in time are dropped and counted as
/// [`DropReason::QueueFull`].
pub struct Control {
    own: Own,
    peer: PeerState,
    random: Generator,
    shared: Arc<Shared>,
    attempts: Attempts,
    timestamps: OwnTimestamps,
    cookies: CookieGiver,
    load: Load,
    /// Our last response: its index and MAC1, in case the peer asks for a cookie.
    answered: Option<(SessionIndex, [u8; MAC_LEN])>,
    held_address: Option<SocketAddr>,
    persistent_keepalive: Option<Duration>,
    persistent_asked_at: Option<Instant>,
    always_on: bool,
    fast_aes: bool,
    /// The packet that last made a session due for replacement.
    rekey_asked_by: Option<Instant>,
    sessions_made: u64,
    /// When keys were last derived, which is when a handshake was last seen to the end by us.
    derived_at: Option<Instant>,
    ready_at: Option<Instant>,
    /// Whether the layer above was told that there is a session.
    is_up: bool,
    /// The last input.
    looked_at: Instant,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

struct Own {
    private_key: PrivateKey,
    public_key: PublicKey,
    mac1: MacKey,
}

impl Control {
    fn new(config: Config, now: Now, seed: [u8; 32]) -> Self {
        let public_key = config.private_key.public_key();
        let peer = match &config.peer {
            Peer::Known { public_key, preshared_key, proof } => {
                PeerState::known(*public_key, preshared_key.clone(), proof.as_ref())
            }
            Peer::Invited { secret } => PeerState::invited(secret),
        };
        let table = Table {
            address: config.address,
            prevails: peer.public_key().is_some_and(|peer| public_key < peer),
            ..Table::default()
        };
        let mut control = Self {
            cookies: CookieGiver::new(&public_key),
            own: Own { mac1: MacKey::mac1_to(&public_key), public_key, private_key: config.private_key },
            peer,
            random: Generator::new(seed),
            shared: Arc::new(Shared {
                epoch: Epoch(now.monotonic),
                table: ArcSwap::from_pointee(table),
                activity: Activity::default(),
                drops: DropCounters::new(),
                is_roaming: AtomicBool::new(true),
            }),
            attempts: Attempts::default(),
            timestamps: OwnTimestamps::above(config.timestamp_floor),
            load: Load::default(),
            answered: None,
            held_address: None,
            persistent_keepalive: config.persistent_keepalive.filter(|interval| !interval.is_zero()),
            persistent_asked_at: None,
            always_on: config.always_on,
            fast_aes: config.fast_aes,
            rekey_asked_by: None,
            sessions_made: 0,
            derived_at: None,
            ready_at: None,
            is_up: false,
            looked_at: now.monotonic,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        };
        if control.always_on || control.persistent_keepalive.is_some() {
            control.want_session(now.monotonic);
        }
        control
    }

    /// Takes a datagram that [`Inbound::open`] said is part of a handshake. One that is dropped is counted.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        self.look(now.monotonic);
        let result = match MessageType::of(datagram).map_err(reason_of) {
            Ok(MessageType::HandshakeInitiation) => self.on_initiation(now, from, datagram),
            Ok(MessageType::HandshakeResponse) => self.on_response(now, from, datagram),
            Ok(MessageType::CookieReply) => self.on_cookie_reply(now, datagram),
            Ok(MessageType::TransportData) => Err(DropReason::UnknownType),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = result {
            self.shared.drops.count(reason);
        }
    }

    /// Takes what a data half reported.
    pub fn handle_notice(&mut self, now: Now, notice: Notice) {
        self.look(now.monotonic);
        match notice {
            Notice::Confirmed { from } | Notice::Moved { from } => {
                if self.shared.table.load().sessions().next().is_some() {
                    self.move_peer(from);
                }
            }
            Notice::RekeyDue => self.rekey_if_due(now.monotonic),
        }
        self.send_due_initiation(now);
    }

    /// Opens a handshake unless one is under way: somebody has a packet and no session, or wants to know
    /// whether the path is whole.
    pub fn request_session(&mut self, now: Now) {
        self.look(now.monotonic);
        self.want_session(now.monotonic);
        self.send_due_initiation(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.look(now.monotonic);
        self.fire_timers(now.monotonic);
        self.rekey_if_due(now.monotonic);
        self.send_due_initiation(now);
    }

    /// When [`Self::handle_timeout`] is to be called; while there is a session at most a second ahead.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        self.next_timeout(now.monotonic)
    }

    /// A handshake datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What the layer above should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Tells where the peer is, as a name was resolved anew. An authentic datagram from elsewhere overrules
    /// it.
    pub fn set_address(&mut self, address: SocketAddr) {
        self.change_table(|table| table.address = Some(address));
        if self.attempts.is_wanted_without_address() || (self.always_on && !self.is_up) {
            self.want_session(self.looked_at);
        }
    }

    /// Whether packets that come from elsewhere show that the peer has moved, as they do unless told otherwise. If not, the layer above knows
    /// several addresses of the peer, and the peer may send a packet from each: what comes a second time is no replay then, but counted
    /// as [`DropReason::SecondCopy`].
    pub fn set_roaming(&mut self, is_roaming: bool) {
        self.shared.is_roaming.store(is_roaming, Ordering::Relaxed);
    }

    /// Sets how fast unanswered initiations follow each other.
    pub fn set_pace(&mut self, pace: Pace) {
        self.attempts.set_pace(pace, &mut self.random);
    }

    /// While an address is held, initiations of the peer from any other are dropped and counted: its key is in use
    /// twice. A move under the newest session, which the machine at this address has, is followed.
    pub fn hold_address(&mut self, address: Option<SocketAddr>) {
        self.held_address = address;
    }

    /// What the peer is to be told, inside the session, about the newest session; `None` if there is none or this end
    /// has no second suite.
    #[must_use]
    pub fn announcement(&self) -> Option<Announcement> {
        let table = self.shared.table.load();
        let (newest, _) = table.sealing()?;
        announcement_of(newest)
    }

    /// Takes what the peer told about a session, and returns what it is to be told about the same one. Without a second
    /// suite here, or if the session is not known any more, nothing comes of it.
    pub fn handle_announcement(&mut self, heard: &Announcement) -> Option<Announcement> {
        let table = self.shared.table.load();
        let (session, _) = table.find(heard.hearer)?;
        if (session.local_index, session.remote_index) != (heard.hearer, heard.announcer) {
            return None;
        }
        session.aes.as_ref()?.announce(heard.aes);
        announcement_of(session)
    }

    /// The counters of this line's drops; shared by all three halves.
    #[must_use]
    pub fn drops(&self) -> &DropCounters {
        &self.shared.drops
    }

    /// Our own public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.own.public_key
    }

    /// Where the peer is, as far as is known.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.shared.table.load().address
    }

    /// Initiations since one was answered.
    #[must_use]
    pub fn initiations(&self) -> u32 {
        self.attempts.streak().map_or(0, |(_, initiations)| initiations)
    }

    /// When the last authentic packet of the peer was opened.
    #[must_use]
    pub fn last_received(&self) -> Option<Instant> {
        self.shared.activity.received.last.load(self.shared.epoch)
    }

    /// When a packet was last opened under the newest session; of two machines with the peer's key, that of the
    /// one which has the line.
    #[must_use]
    pub fn last_received_newest(&self) -> Option<Instant> {
        let table = self.shared.table.load();
        let (newest, _) = table.sealing()?;
        newest.inbound.last_received.load(self.shared.epoch)
    }

    /// What is known, without secrets.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let now = now.monotonic;
        let table = self.shared.table.load();
        let session = table.sealing().map(|(session, _)| session).filter(|session| session.is_alive(now));
        Status {
            peer: self.peer.public_key(),
            address: table.address,
            session: session.map(|session| SessionStatus {
                role: session.role,
                age: now.saturating_duration_since(session.born),
                packets_sent: session.outbound.counter.load(Ordering::Relaxed),
                cipher_out: session.sealing(session.outbound.counter.load(Ordering::Relaxed)).suite,
                cipher_in: session.inbound.last_suite(),
            }),
            last_handshake: self.ready_at.map(|at| now.saturating_duration_since(at)),
            attempt: self.attempts.streak().map(|(since, initiations)| AttemptStatus {
                initiations,
                age: now.saturating_duration_since(since),
            }),
            last_timestamp: self.timestamps.last(),
            is_under_load: self.load.is_under_load(now),
            sent_datagrams: self.shared.activity.sent.datagrams(),
            sent_bytes: self.shared.activity.sent.bytes(),
            received_datagrams: self.shared.activity.received.datagrams(),
            received_bytes: self.shared.activity.received.bytes(),
        }
    }

    /// What the halves share, for tests that set what would take years to reach.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Catches up with the data halves: what they confirmed becomes current. Every input starts here.
    fn look(&mut self, now: Instant) {
        self.looked_at = now;
        // Ends because a session that is established does not wait any more.
        while let Some(session) = self.confirmed_in_waiting() {
            self.establish(now, session);
        }
        if self.shared.table.load().has_expired(now) {
            self.change_table(|table| table.forget_expired(now));
        }
        if let PeerState::Known(known) = &mut self.peer
            && known.proof.is_some()
            && self.shared.activity.received.last.load(self.shared.epoch).is_some()
        {
            known.proof = None;
        }
    }

    fn confirmed_in_waiting(&self) -> Option<Arc<Session>> {
        self.shared.table.load().confirmed_in_waiting().cloned()
    }

    /// Puts a session that is proved from both ends into its place.
    fn establish(&mut self, now: Instant, session: Arc<Session>) {
        let paired = self.peer.pair();
        let (role, agreed_with) = (session.role, session.agreed_with);
        let takes_over = self.shared.table.load().takes_over(&session);
        let prevails = self.peer.public_key().is_some_and(|peer| self.own.public_key < peer);
        self.change_table(|table| {
            table.prevails = prevails;
            table.settle(session);
        });
        if let Some((public_key, preshared_key)) = paired {
            self.tell(Event::Paired { public_key, preshared_key });
        }
        if !takes_over {
            return;
        }
        self.attempts.end();
        if role == Role::Responder {
            self.attempts.yield_to_peer();
        }
        self.ready_at = Some(now);
        self.is_up = true;
        self.move_peer(agreed_with);
        self.tell(Event::SessionReady { initiator: role == Role::Initiator, address: agreed_with });
        if role == Role::Initiator {
            self.tell(Event::SendKeepalive);
        }
    }

    fn move_peer(&mut self, to: SocketAddr) {
        let from = self.shared.table.load().address;
        if from != Some(to) {
            self.change_table(|table| table.address = Some(to));
            self.held_address = self.held_address.map(|_| to);
            self.tell(Event::PeerMoved { from, to });
        }
    }

    fn change_table(&self, change: impl FnOnce(&mut Table)) {
        let mut table = Table::clone(&self.shared.table.load());
        change(&mut table);
        self.shared.table.store(Arc::new(table));
    }

    fn next_serial(&mut self) -> u64 {
        self.sessions_made += 1;
        self.sessions_made
    }

    /// A random index that names nothing of ours yet.
    fn fresh_index(&mut self) -> SessionIndex {
        loop {
            let index = self.random.index();
            // At most 22 of 2^32 are taken: the loop ends at once but for chances of one in 2^27.
            if self.shared.table.load().find(index).is_none() && !self.attempts.names(index) {
                return index;
            }
        }
    }

    /// An index for the second suite of the session that gets `local_index`, if this end has that suite.
    fn aes_index(&mut self, local_index: SessionIndex) -> Option<SessionIndex> {
        if !self.fast_aes {
            return None;
        }
        loop {
            let index = self.fresh_index();
            if index != local_index {
                return Some(index);
            }
        }
    }

    fn transmit(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.transmits.len() < TRANSMITS_MAX {
            self.transmits.push_back(Transmit { to, bytes: bytes.to_vec() });
        } else {
            self.shared.drops.count(DropReason::QueueFull);
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        } else {
            self.shared.drops.count(DropReason::QueueFull);
        }
    }
}

fn announcement_of(session: &Session) -> Option<Announcement> {
    let aes = session.aes.as_ref().map(|aes: &Aes| aes.local_index)?;
    Some(Announcement { announcer: session.local_index, hearer: session.remote_index, aes })
}
