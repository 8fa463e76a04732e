//! Octet formats of tieline and their newtypes.
//!
//! Everything here is a pure function between octets and values: no state, no clock, no IO. Each module is one format with
//! its diagram; the whole of them is described for other implementers in `docs/wire-format.md`.
//!
//! - [`wireguard`] — the four messages of the WireGuard protocol, [`tai64n`] — the timestamp inside the first.
//! - [`sealed`] — what a sealed packet carries, told by its first four bits.
//! - [`label`] — MPLS label stack entries. [`associated`] — the associated channel under label 13, with [`stamp`],
//!   [`suite`], [`rate_report`] and [`path_heartbeat`] in it.
//! - [`control_word`] — which part of a packet follows.
//! - [`control`] — the messages on the control stream, [`given_out`] — the labels that they announce.
//! - [`discovery`] — what one network says to find devices, for the other.
//! - [`protected`] — voice with numbers and repair symbols, [`protection_report`] — how it arrives.
//! - [`ip`] — as much of IP as a line needs, [`ds`] — how it wants to be served, [`transport`] — whose flow it is, [`rtp`] — sound.
//! - [`ethernet`] — frames, and what in them a line has to know.
//! - [`packed`] — calls that share packets and leave their headers out.
//! - [`vnet`] — what stands before packets of a network device, [`checksum`] — the checksum that it may leave to others.
//! - [`time`] — the two clocks as one input.

pub mod associated;
pub mod checksum;
pub mod control;
pub mod control_word;
pub mod discovery;
pub mod ds;
pub mod ethernet;
pub mod given_out;
pub mod ip;
pub mod label;
pub mod mtu_probe;
pub mod packed;
pub mod path_heartbeat;
pub mod protected;
pub mod protection_report;
pub mod rate_report;
pub mod rtp;
pub mod sealed;
pub mod stamp;
pub mod suite;
pub mod tai64n;
pub mod time;
pub mod transport;
pub mod vnet;
pub mod wireguard;

/// Why octets are not the value they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer octets than the format needs.
    #[error("truncated: {needed} octets are needed, {found} are there")]
    Truncated {
        /// Octets that the format needs at least.
        needed: usize,
        /// Octets that were there.
        found: usize,
    },
    /// More octets than the format has.
    #[error("{found} octets where the format has {expected}")]
    Length {
        /// Octets the format has.
        expected: usize,
        /// Octets that were there.
        found: usize,
    },
    /// A field holds a value that the format does not allow.
    #[error("field `{field}` holds {value}, which the format does not allow")]
    Field {
        /// The name of the field in the standard.
        field: &'static str,
        /// What it held.
        value: u64,
    },
}
