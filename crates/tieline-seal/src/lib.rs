//! The WireGuard protocol, sans IO.
//!
//! A line is three values, made by [`split`]: [`Control`] does handshakes, timers and cookies; [`Outbound`]
//! seals packets and belongs to the thread that sends; [`Inbound`] opens them and belongs to the thread that
//! receives. Where there are more threads, each that sends has an [`Outbound`], each that opens an [`Opener`]. They share a table of sessions that control swaps whole, and a few atomics. Nothing here reads a
//! clock, draws a random number from the system or opens a socket.
//!
//! ```text
//!   packets ──► Outbound::seal ──► datagrams          datagrams ──► Inbound::open ──► packets
//!                   │     ▲                                             │   │
//!            notice │     │ session table                        notice │   │ handshake datagrams
//!                   ▼     │                                             ▼   ▼
//!                 Control ◄─────────────────────────────────────────────┴───┘
//! ```
//!
//! What it is not: it knows no channels, no queues and no meaning of a packet; it keeps no packet waiting.
//!
//! The standard is <https://www.wireguard.com/papers/wireguard.pdf>; section numbers in this crate are its.
//! Read §5.4 for the messages, §6 for the timers. Three things are ours and no business of a
//! plain WireGuard peer: how an invitation is proved (module `peer`), what becomes of handshakes that cross or
//! overtake each other (module `table`), and a second cipher suite between two tielines (module `suite`).

mod activity;
mod config;
mod control;
mod cookie;
mod drops;
mod inbound;
mod keys;
pub mod limits;
mod load;
mod mac;
mod noise;
mod notice;
mod outbound;
mod peer;
mod random;
mod session;
mod suite;
mod table;
mod timestamps;
mod window;

#[cfg(test)]
mod tests;

pub use config::{AttemptStatus, Config, Event, Pace, Peer, SessionStatus, Status, Transmit};
pub use control::{Control, split};
pub use drops::{DropCounters, DropReason};
pub use inbound::{Authentic, Inbound, Opened, Opener};
pub use keys::{InvitationSecret, KEY_LEN, KeyError, PresharedKey, PrivateKey, PublicKey};
pub use mac::stamp_mac1;
pub use notice::Notice;
pub use outbound::{OVERHEAD, Outbound, SealError, Sealed};
pub use session::Role;
pub use suite::Suite;
pub use tieline_wire::suite::Announcement;
pub use tieline_wire::tai64n::Tai64N;
pub use window::ReplayWindow;
