//! Packed calls: packets of calls that wait together share one sealed packet, without the headers that the other end can put back.
//!
//! [`Packer`] is at the sending end, [`Unpacker`] at the receiving end of a label; what goes between them is described in
//! [`tieline_wire::packed`]. What arrives is bit-identical to what was sent, or does not arrive.
//!
//! A packet of RTP in UDP in IP is mostly what the one before it was: the same addresses, ports and SSRC, a sequence number that is one
//! more, a timestamp and perhaps an identification that are one step further, and checksums that follow from the rest. So the sending end
//! makes now and then a packet a *reference*, and says of the others only which reference, how far behind it, and what is not as expected.
//!
//! - *Never against what may be lost.* Nothing is coded against a reference before the far end has said that it has it
//!   ([`tieline_wire::packed::Feedback`]); until then packets go whole. So the loss of a bundle costs what was in it and nothing else.
//! - *Bit-identical or whole.* The sending end restores each packet itself, by the same function as the far end, and compares.
//! - *Never against something else of the same name.* References are numbered, and known to entries by the lower 18 bits of the number.
//!   The sending end codes only against the newest [`REFERENCES_USED`], and takes a number for another reference no sooner than
//!   [`NUMBER_TIME_MIN`] after the last use of the first: a session opens nothing that is older. A label is used by one packer only, and
//!   the far end gives out another where there may be another, so what was agreed with a process that is gone is gone with its label.
//!
//! What is unusual needs no cases of its own. A marker, another payload type, a jump of the timestamp, a random identification cost the
//! octets that say so. Another DS octet, TTL, port, IP option or a wrong checksum do not fit the reference: the packet goes whole, and a
//! new reference is made of it if it is of a call.

mod context;
mod numbers;
mod packer;
mod reference;
mod steady;
mod unpacker;
mod worth;

use std::time::Duration;

pub use self::packer::{Bundle, Packer};
pub use self::unpacker::{Entries, UnpackError, Unpacker};
pub use self::worth::{Load, bundle_len_max, hold};

/// Calls, in one direction, whose headers are elided at a time; that which was silent for longest goes.
pub const CONTEXTS_MAX: usize = 256;
/// References that the receiving end keeps, the newest.
pub const REFERENCES_KEPT: u32 = 1024;
/// The newest references, against which the sending end codes; fewer than are kept, for bundles that overtake each other.
pub const REFERENCES_USED: u32 = REFERENCES_KEPT - 64;
/// Between the last use of a reference and another of the same number.
pub const NUMBER_TIME_MIN: Duration = Duration::from_secs(200);
const _: () = assert!(NUMBER_TIME_MIN.as_secs() > tieline_seal::limits::REJECT_AFTER_TIME.as_secs());
/// References of one call that are offered and not acknowledged.
pub const OFFERS_MAX: usize = 4;
/// A call makes no offer so soon after another: the answer may be under way.
pub const OFFER_INTERVAL: Duration = Duration::from_millis(100);
/// An offer that is not acknowledged after so long never will be.
pub const OFFER_TIME_MAX: Duration = Duration::from_secs(2);
/// How far behind its reference a packet is when a new reference is wanted. The distance has one octet.
pub const RENEW_DISTANCE: u8 = 128;
/// The receiving end speaks at most this often.
pub const FEEDBACK_INTERVAL: Duration = Duration::from_millis(20);
/// Octets of the longest headers that are elided: IPv6, UDP, RTP.
pub const HEADERS_LEN_MAX: usize = 60;

#[cfg(test)]
mod tests;
