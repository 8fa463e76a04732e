//! What a line starts from, and what its control half reports.

use std::net::SocketAddr;
use std::time::Duration;

use tieline_wire::tai64n::Tai64N;

use crate::keys::{InvitationSecret, PresharedKey, PrivateKey, PublicKey};
use crate::session::Role;
use crate::suite::Suite;

/// What a line starts from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our static key.
    pub private_key: PrivateKey,
    /// The other end.
    pub peer: Peer,
    /// Where the peer is, if anybody knows; later it is where its authentic datagrams come from.
    pub address: Option<SocketAddr>,
    /// Send an empty packet after so much silence, so that a NAT on the way does not forget us; `None`:
    /// never.
    pub persistent_keepalive: Option<Duration>,
    /// The greatest timestamp sent in an earlier life: none at or below it is sent again, whatever the wall
    /// clock says.
    pub timestamp_floor: Option<Tai64N>,
    /// Have a session whenever there can be one, not only when somebody sends.
    pub always_on: bool,
    /// Whether AES-256-GCM is the faster suite on this machine; then sessions with a peer that says the same change to
    /// it.
    pub fast_aes: bool,
}

/// The other end of a line.
#[derive(Clone, Debug)]
pub enum Peer {
    /// It is known by its key.
    Known {
        /// Its static key.
        public_key: PublicKey,
        /// What both ends share beforehand; [`PresharedKey::ZERO`] for nothing.
        preshared_key: PresharedKey,
        /// The invitation that we answer as its joiner. It is shown until the peer's first packet.
        proof: Option<InvitationSecret>,
    },
    /// Whoever proves this invitation first.
    Invited {
        /// The secret of the invitation.
        secret: InvitationSecret,
    },
}

/// How fast initiations follow each other while none is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// As the paper says: every [`crate::limits::REKEY_TIMEOUT`] and a little more.
    #[default]
    Paper,
    /// Every [`crate::limits::CUT_RETRY_TIMEOUT`]; only between two tielines while they know that the path is
    /// cut.
    Cut,
}

/// A handshake datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub to: SocketAddr,
    /// What goes there.
    pub bytes: Vec<u8>,
}

/// What control tells the layer above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session was agreed, the first or the next one: packets that waited for it can be sealed.
    SessionReady {
        /// Whether we opened the handshake. If so, seal something at once, for the peer may not use the
        /// session before.
        initiator: bool,
        /// Where the peer is.
        address: SocketAddr,
    },
    /// The session has expired and there is no other.
    SessionLost,
    /// The peer's datagrams come from another address now; ours go there.
    PeerMoved {
        /// Where it was, if that was known.
        from: Option<SocketAddr>,
        /// Where it is.
        to: SocketAddr,
    },
    /// A joiner has proved the invitation and is our peer from now on. To be kept, for the invitation is
    /// void.
    Paired {
        /// The joiner's key.
        public_key: PublicKey,
        /// The key derived from the invitation.
        preshared_key: PresharedKey,
    },
    /// The peer opened a handshake that was accepted. Whoever has its key can; two sources in turn are one
    /// key in two places.
    HandshakeFrom {
        /// Where the initiation came from.
        address: SocketAddr,
        /// Where the peer was known to be.
        known_address: Option<SocketAddr>,
    },
    /// Nobody answered for [`crate::limits::REKEY_ATTEMPT_TIME`].
    GaveUp {
        /// Whether initiations go on nevertheless.
        still_trying: bool,
    },
    /// An empty packet is to be sealed and sent. May be left out if another packet was sealed since this
    /// event was made.
    SendKeepalive,
}

/// What control knows, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The peer's key; `None` while its joiner is awaited.
    pub peer: Option<PublicKey>,
    /// Where our datagrams go.
    pub address: Option<SocketAddr>,
    /// The session that packets are sealed under.
    pub session: Option<SessionStatus>,
    /// How long ago a session was last agreed.
    pub last_handshake: Option<Duration>,
    /// The initiations that are not answered so far.
    pub attempt: Option<AttemptStatus>,
    /// The greatest timestamp sent; keep it for [`Config::timestamp_floor`].
    pub last_timestamp: Option<Tai64N>,
    /// Whether strangers are asked for cookies.
    pub is_under_load: bool,
    /// Datagrams sealed so far.
    pub sent_datagrams: u64,
    /// Octets of all sealed datagrams so far, with their headers.
    pub sent_bytes: u64,
    /// Datagrams opened so far.
    pub received_datagrams: u64,
    /// Octets of all opened datagrams so far, with their headers.
    pub received_bytes: u64,
}

/// A session, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Who opened its handshake.
    pub role: Role,
    /// How long ago it was agreed.
    pub age: Duration,
    /// Packets sealed under it.
    pub packets_sent: u64,
    /// With what the next packet is sealed.
    pub cipher_out: Suite,
    /// With what the last packet of the peer was sealed; `None` before the first.
    pub cipher_in: Option<Suite>,
}

/// A streak of initiations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptStatus {
    /// How many were sent.
    pub initiations: u32,
    /// How long ago the first was due.
    pub age: Duration,
}
