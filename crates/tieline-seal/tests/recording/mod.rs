//! How an exchange with a foreign implementation is written down: `examples/record.rs` writes it,
//! `tests/recorded.rs` replays it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A file of exchanges.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recording {
    /// One after the other, each with keys of its own.
    #[serde(rename = "exchange")]
    pub(crate) exchanges: Vec<Exchange>,
}

/// All that our end was given and all that came out of it. Keys are base64, octets hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) name: String,
    /// The version line of the program at the other end.
    pub(crate) peer_program: String,
    pub(crate) private_key: String,
    pub(crate) peer_public_key: String,
    pub(crate) preshared_key: String,
    pub(crate) peer_address: SocketAddr,
    pub(crate) seed: String,
    /// The wall clock at the start, in nanoseconds since 1970.
    pub(crate) start: u64,
    #[serde(rename = "step")]
    pub(crate) steps: Vec<Step>,
}

/// One input of our end, or one output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Nanoseconds since the start.
    pub(crate) at: u64,
    #[serde(flatten)]
    pub(crate) action: Action,
}

/// What happened.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Action {
    /// A session was asked for.
    Request,
    /// A timer went off.
    Timeout,
    /// A handshake datagram came in.
    ReceiveHandshake { datagram: String },
    /// A sealed datagram came in and opened to this packet.
    Open { datagram: String, packet: String },
    /// Control had a handshake datagram to send.
    Transmit { datagram: String },
    /// A packet was sealed.
    Seal { packet: String, datagram: String },
}
