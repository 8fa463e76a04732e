//! What one network says to find devices, on its way to the other.
//!
//! | 0: kind (1) | 1: protocol (1) | 2: number of the question (4), but for announcements | then: the UDP payload, 1 to 9,000 octets |
//!
//! A *question* was sent by a host to all of its network and is answered to that host alone; an *answer* is one of the answers to it.
//! An *announcement* is for all and has no answer of its own. Each is a message on a stream, with its length before it (2).

use std::fmt;

/// Octets of the largest payload: that of mDNS (RFC 6762 §17), and more than the others need.
pub const PAYLOAD_LEN_MAX: usize = 9_000;
/// Octets of the longest message.
pub const MESSAGE_LEN_MAX: usize = NUMBER_END + PAYLOAD_LEN_MAX;

const HEAD_LEN: usize = 2;
const NUMBER_END: usize = HEAD_LEN + 4;

const QUESTION: u8 = 1;
const ANSWER: u8 = 2;
const ANNOUNCEMENT: u8 = 3;

/// How devices are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiscoveryProtocol {
    /// Multicast DNS (RFC 6762).
    Mdns,
    /// SSDP, of UPnP.
    Ssdp,
    /// WS-Discovery.
    WsDiscovery,
    /// Names of NetBIOS (RFC 1002 §4.2).
    Netbios,
}

impl DiscoveryProtocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mdns, Self::Ssdp, Self::WsDiscovery, Self::Netbios];

    /// What people call it, in configuration and status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mdns => "mdns",
            Self::Ssdp => "ssdp",
            Self::WsDiscovery => "ws-discovery",
            Self::Netbios => "netbios",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Mdns => 1,
            Self::Ssdp => 2,
            Self::WsDiscovery => 3,
            Self::Netbios => 4,
        }
    }
}

impl fmt::Display for DiscoveryProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed<'a> {
    /// What it is.
    pub kind: RelayedKind,
    /// Which protocol.
    pub protocol: DiscoveryProtocol,
    /// What was in the UDP datagram.
    pub payload: &'a [u8],
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayedKind {
    /// A question, with the number that its answers bear.
    Question(u32),
    /// An answer to the question with this number.
    Answer(u32),
    /// For all.
    Announcement,
}

/// Why octets are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayedError {
    /// Too few octets for what it is.
    #[error("a message of discovery that is cut off")]
    Truncated,
    /// More than [`PAYLOAD_LEN_MAX`].
    #[error("a payload of discovery of {0} octets")]
    TooLong(usize),
    /// A kind of a later version.
    #[error("a message of discovery of unknown kind {0}")]
    Kind(u8),
    /// A protocol of a later version.
    #[error("an unknown protocol of discovery, {0}")]
    Protocol(u8),
}

impl<'a> Relayed<'a> {
    /// Reads a message, which is all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`RelayedError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RelayedError> {
        let (&[kind, protocol], rest) = bytes.split_first_chunk().ok_or(RelayedError::Truncated)?;
        let known = DiscoveryProtocol::ALL.into_iter().find(|known| known.code() == protocol);
        let (kind, payload) = match kind {
            QUESTION | ANSWER => {
                let (number, payload) = rest.split_first_chunk().ok_or(RelayedError::Truncated)?;
                let number = u32::from_be_bytes(*number);
                let is_question = kind == QUESTION;
                (
                    if is_question { RelayedKind::Question(number) } else { RelayedKind::Answer(number) },
                    payload,
                )
            }
            ANNOUNCEMENT => (RelayedKind::Announcement, rest),
            other => return Err(RelayedError::Kind(other)),
        };
        let protocol = known.ok_or(RelayedError::Protocol(protocol))?;
        match payload.len() {
            0 => Err(RelayedError::Truncated),
            1..=PAYLOAD_LEN_MAX => Ok(Self { kind, protocol, payload }),
            len => Err(RelayedError::TooLong(len)),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// `Truncated` if there is no payload, `TooLong`.
    pub fn emit(&self) -> Result<Vec<u8>, RelayedError> {
        match self.payload.len() {
            0 => return Err(RelayedError::Truncated),
            1..=PAYLOAD_LEN_MAX => {}
            len => return Err(RelayedError::TooLong(len)),
        }
        let (kind, number) = match self.kind {
            RelayedKind::Question(number) => (QUESTION, Some(number)),
            RelayedKind::Answer(number) => (ANSWER, Some(number)),
            RelayedKind::Announcement => (ANNOUNCEMENT, None),
        };
        let mut bytes = Vec::with_capacity(NUMBER_END + self.payload.len());
        bytes.extend([kind, self.protocol.code()]);
        bytes.extend(number.iter().flat_map(|number| number.to_be_bytes()));
        bytes.extend(self.payload);
        Ok(bytes)
    }
}

/// Takes the wish for an answer to the asker alone (RFC 6762 §5.4) out of the questions of an mDNS message: whoever asks in its place
/// hears what is said to all. What is no such message stays as it is.
pub fn ask_all(message: &mut [u8]) {
    const HEADER_LEN: usize = 12;
    const UNICAST_RESPONSE: u8 = 0x80;
    let Some(&[high, low]) = message.get(4..6).and_then(|count| count.first_chunk()) else { return };
    let mut at = HEADER_LEN;
    for _ in 0..u16::from_be_bytes([high, low]) {
        let Some(end) = end_of_name(message, at) else { return };
        // Type, then class, whose first bit it is.
        let Some(class) = message.get_mut(end + 2) else { return };
        *class &= !UNICAST_RESPONSE;
        at = end + 4;
    }
}

/// Where the name that begins at `at` ends, in its place: what a pointer leads to is elsewhere.
fn end_of_name(message: &[u8], mut at: usize) -> Option<usize> {
    const POINTER: u8 = 0xc0;
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            len if len & POINTER == POINTER => return Some(at + 2),
            len if len & POINTER == 0 => at += 1 + usize::from(len),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_golden_octets() {
        let golden = [
            (RelayedKind::Question(0x0102_0304), DiscoveryProtocol::Ssdp, &[1, 2, 1, 2, 3, 4, b'x'][..]),
            (RelayedKind::Answer(5), DiscoveryProtocol::Netbios, &[2, 4, 0, 0, 0, 5, b'x']),
            (RelayedKind::Announcement, DiscoveryProtocol::Mdns, &[3, 1, b'x']),
            (RelayedKind::Announcement, DiscoveryProtocol::WsDiscovery, &[3, 3, b'x']),
        ];
        for (kind, protocol, bytes) in golden {
            let message = Relayed { kind, protocol, payload: b"x" };
            assert_eq!(message.emit().unwrap(), bytes);
            assert_eq!(Relayed::parse(bytes).unwrap(), message);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let long = [&[3, 1][..], &[0; PAYLOAD_LEN_MAX + 1]].concat();
        for (bytes, error) in [
            (&[][..], RelayedError::Truncated),
            (&[3], RelayedError::Truncated),
            (&[3, 1], RelayedError::Truncated),
            (&[1, 1, 0, 0, 0], RelayedError::Truncated),
            (&[1, 1, 0, 0, 0, 0], RelayedError::Truncated),
            (&[0, 1, 7], RelayedError::Kind(0)),
            (&[4, 1, 7], RelayedError::Kind(4)),
            (&[3, 0, 7], RelayedError::Protocol(0)),
            (&[3, 5, 7], RelayedError::Protocol(5)),
            (&long, RelayedError::TooLong(PAYLOAD_LEN_MAX + 1)),
        ] {
            assert_eq!(Relayed::parse(bytes), Err(error));
        }
        let message = Relayed { payload: &[], ..Relayed::parse(&[3, 1, 7]).unwrap() };
        assert_eq!(message.emit(), Err(RelayedError::Truncated));
    }

    #[test]
    fn questions_of_mdns_are_asked_of_all() {
        // Two questions, the second with a pointer to the first's name: `x.local` of type PTR, unicast response wanted.
        let head = [0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0];
        let question =
            |class: u8| [&b"\x01x\x05local\0\0\x0c"[..], &[class, 1], &[0xc0, 12, 0, 1, class, 1]].concat();
        let mut message = [&head[..], &question(0x80)].concat();
        ask_all(&mut message);
        assert_eq!(message, [&head[..], &question(0)].concat());
    }

    /// Octets at random, the same ones each time.
    fn rubbish(state: &mut u64, below: u64) -> Vec<u8> {
        let mut next = |below: u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*state >> 33) % below
        };
        (0..next(80)).map(|_| next(below) as u8).collect()
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        let (mut state, mut read) = (1, 0);
        for _ in 0..100_000 {
            let bytes = rubbish(&mut state, 6);
            if let Ok(message) = Relayed::parse(&bytes) {
                assert_eq!(message.emit().unwrap(), bytes);
                read += 1;
            }
        }
        assert!(read > 10_000, "{read} of them were messages");
    }

    #[test]
    fn asking_all_changes_no_length_and_twice_is_as_good_as_once() {
        let mut state = 1;
        for _ in 0..100_000 {
            let bytes = rubbish(&mut state, 256);
            let mut once = bytes.clone();
            ask_all(&mut once);
            assert_eq!(once.len(), bytes.len());
            let mut twice = once.clone();
            ask_all(&mut twice);
            assert_eq!(twice, once);
        }
    }
}
