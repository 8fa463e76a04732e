//! The four messages of the WireGuard protocol (paper §5.4), octet for octet.
//!
//! All integers are little endian. The first octet tells the type, the three after it are zero. What Noise
//! and the AEAD make of the fields is not known here.
//!
//! ```text
//! handshake initiation, 148 octets          handshake response, 92 octets
//!   0  type = 1, 3 zero octets                0  type = 2, 3 zero octets
//!   4  sender index                           4  sender index
//!   8  Noise message 1:                       8  receiver index
//!        ephemeral 32                        12  Noise message 2:
//!        static 32 + tag 16                        ephemeral 32
//!        timestamp 12 + tag 16                     nothing 0 + tag 16
//! 116  mac1 16                               60  mac1 16
//! 132  mac2 16                               76  mac2 16
//!
//! cookie reply, 64 octets                   transport data, 32 octets and more
//!   0  type = 3, 3 zero octets                0  type = 4, 3 zero octets
//!   4  receiver index                         4  receiver index
//!   8  nonce 24                               8  counter
//!  32  cookie 16 + tag 16                    16  packet, then tag 16
//! ```

use std::fmt;

use crate::ParseError;

/// Octets of an AEAD tag.
pub const TAG_LEN: usize = 16;

/// Octets of `mac1`, `mac2` and a cookie.
pub const MAC_LEN: usize = 16;

/// Names a session at the end that receives under it; chosen at random by that end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIndex(pub u32);

impl fmt::Debug for SessionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionIndex({:#010x})", self.0)
    }
}

/// What the first four octets say a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MessageType {
    /// Opens a handshake.
    HandshakeInitiation = 1,
    /// Answers an initiation.
    HandshakeResponse = 2,
    /// Sent instead of an answer by an end under load.
    CookieReply = 3,
    /// A sealed packet.
    TransportData = 4,
}

impl MessageType {
    /// Reads the type at the front of `datagram`; no other octet is looked at.
    ///
    /// # Errors
    ///
    /// `Truncated` below four octets; `Field` for another type or reserved octets that are not zero.
    pub fn of(datagram: &[u8]) -> Result<Self, ParseError> {
        let Some((front, _)) = datagram.split_first_chunk::<TYPE_LEN>() else {
            return Err(ParseError::Truncated { needed: TYPE_LEN, found: datagram.len() });
        };
        match u32::from_le_bytes(*front) {
            1 => Ok(Self::HandshakeInitiation),
            2 => Ok(Self::HandshakeResponse),
            3 => Ok(Self::CookieReply),
            4 => Ok(Self::TransportData),
            other => Err(ParseError::Field { field: "type", value: other.into() }),
        }
    }

    fn emit(self, out: &mut [u8]) {
        out[..TYPE_LEN].copy_from_slice(&(self as u32).to_le_bytes());
    }

    fn expect(self, datagram: &[u8]) -> Result<(), ParseError> {
        match Self::of(datagram)? {
            found if found == self => Ok(()),
            found => Err(ParseError::Field { field: "type", value: found as u64 }),
        }
    }
}

/// The first message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeInitiation {
    /// The index under which the initiator wants to receive.
    pub sender: SessionIndex,
    /// The first message of Noise IKpsk2: ephemeral key, sealed static key, sealed timestamp.
    pub noise: [u8; Self::NOISE_LEN],
    /// Shows that the sender knows the receiver's public key.
    pub mac1: [u8; MAC_LEN],
    /// Shows that the sender receives at its address; zero without a cookie.
    pub mac2: [u8; MAC_LEN],
}

impl HandshakeInitiation {
    /// Octets on the wire.
    pub const LEN: usize = 148;
    /// Octets of the Noise message.
    pub const NOISE_LEN: usize = 108;
    /// Where `mac1` starts; it covers all before it.
    pub const MAC1: usize = Self::NOISE + Self::NOISE_LEN;
    /// Where `mac2` starts; it covers all before it.
    pub const MAC2: usize = Self::MAC1 + MAC_LEN;

    const SENDER: usize = TYPE_LEN;
    const NOISE: usize = Self::SENDER + INDEX_LEN;

    /// Reads a whole datagram.
    ///
    /// # Errors
    ///
    /// `Truncated` or `Length` unless it has exactly [`Self::LEN`] octets, `Field` for another type.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        MessageType::HandshakeInitiation.expect(datagram)?;
        let datagram = exactly::<{ Self::LEN }>(datagram)?;
        Ok(Self {
            sender: index_at(datagram, Self::SENDER),
            noise: array_at(datagram, Self::NOISE),
            mac1: array_at(datagram, Self::MAC1),
            mac2: array_at(datagram, Self::MAC2),
        })
    }

    /// Writes the message.
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        MessageType::HandshakeInitiation.emit(out);
        put(out, Self::SENDER, &self.sender.0.to_le_bytes());
        put(out, Self::NOISE, &self.noise);
        put(out, Self::MAC1, &self.mac1);
        put(out, Self::MAC2, &self.mac2);
    }
}

/// The second message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeResponse {
    /// The index under which the responder wants to receive.
    pub sender: SessionIndex,
    /// The initiation's sender index.
    pub receiver: SessionIndex,
    /// The second message of Noise IKpsk2: ephemeral key, sealed nothing.
    pub noise: [u8; Self::NOISE_LEN],
    /// As in [`HandshakeInitiation`].
    pub mac1: [u8; MAC_LEN],
    /// As in [`HandshakeInitiation`].
    pub mac2: [u8; MAC_LEN],
}

impl HandshakeResponse {
    /// Octets on the wire.
    pub const LEN: usize = 92;
    /// Octets of the Noise message.
    pub const NOISE_LEN: usize = 48;
    /// Where `mac1` starts; it covers all before it.
    pub const MAC1: usize = Self::NOISE + Self::NOISE_LEN;
    /// Where `mac2` starts; it covers all before it.
    pub const MAC2: usize = Self::MAC1 + MAC_LEN;

    const SENDER: usize = TYPE_LEN;
    const RECEIVER: usize = Self::SENDER + INDEX_LEN;
    const NOISE: usize = Self::RECEIVER + INDEX_LEN;

    /// Reads a whole datagram.
    ///
    /// # Errors
    ///
    /// `Truncated` or `Length` unless it has exactly [`Self::LEN`] octets, `Field` for another type.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        MessageType::HandshakeResponse.expect(datagram)?;
        let datagram = exactly::<{ Self::LEN }>(datagram)?;
        Ok(Self {
            sender: index_at(datagram, Self::SENDER),
            receiver: index_at(datagram, Self::RECEIVER),
            noise: array_at(datagram, Self::NOISE),
            mac1: array_at(datagram, Self::MAC1),
            mac2: array_at(datagram, Self::MAC2),
        })
    }

    /// Writes the message.
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        MessageType::HandshakeResponse.emit(out);
        put(out, Self::SENDER, &self.sender.0.to_le_bytes());
        put(out, Self::RECEIVER, &self.receiver.0.to_le_bytes());
        put(out, Self::NOISE, &self.noise);
        put(out, Self::MAC1, &self.mac1);
        put(out, Self::MAC2, &self.mac2);
    }
}

/// What an end under load sends instead of doing the work of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply {
    /// The sender index of the message that is not answered.
    pub receiver: SessionIndex,
    /// The nonce of XChaCha20-Poly1305.
    pub nonce: [u8; Self::NONCE_LEN],
    /// The cookie and its tag.
    pub sealed_cookie: [u8; Self::SEALED_COOKIE_LEN],
}

impl CookieReply {
    /// Octets on the wire.
    pub const LEN: usize = 64;
    /// Octets of the nonce.
    pub const NONCE_LEN: usize = 24;
    /// Octets of the sealed cookie.
    pub const SEALED_COOKIE_LEN: usize = MAC_LEN + TAG_LEN;

    const RECEIVER: usize = TYPE_LEN;
    const NONCE: usize = Self::RECEIVER + INDEX_LEN;
    const SEALED_COOKIE: usize = Self::NONCE + Self::NONCE_LEN;

    /// Reads a whole datagram.
    ///
    /// # Errors
    ///
    /// `Truncated` or `Length` unless it has exactly [`Self::LEN`] octets, `Field` for another type.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        MessageType::CookieReply.expect(datagram)?;
        let datagram = exactly::<{ Self::LEN }>(datagram)?;
        Ok(Self {
            receiver: index_at(datagram, Self::RECEIVER),
            nonce: array_at(datagram, Self::NONCE),
            sealed_cookie: array_at(datagram, Self::SEALED_COOKIE),
        })
    }

    /// Writes the message.
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        MessageType::CookieReply.emit(out);
        put(out, Self::RECEIVER, &self.receiver.0.to_le_bytes());
        put(out, Self::NONCE, &self.nonce);
        put(out, Self::SEALED_COOKIE, &self.sealed_cookie);
    }
}

/// The front of a sealed packet; the packet and its tag follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportHeader {
    /// The session, by the receiver's index.
    pub receiver: SessionIndex,
    /// The number of the packet within the session; also its nonce.
    pub counter: u64,
}

impl TransportHeader {
    /// Octets before the packet.
    pub const LEN: usize = 16;
    /// The shortest sealed packet: a keepalive, which is empty.
    pub const DATAGRAM_MIN: usize = Self::LEN + TAG_LEN;

    const RECEIVER: usize = TYPE_LEN;
    const COUNTER: usize = Self::RECEIVER + INDEX_LEN;

    /// Reads the header of `datagram` and returns it with the sealed packet behind it.
    ///
    /// # Errors
    ///
    /// `Truncated` below [`Self::DATAGRAM_MIN`] octets, `Field` for another type.
    pub fn parse(datagram: &mut [u8]) -> Result<(Self, &mut [u8]), ParseError> {
        MessageType::TransportData.expect(datagram)?;
        if datagram.len() < Self::DATAGRAM_MIN {
            return Err(ParseError::Truncated { needed: Self::DATAGRAM_MIN, found: datagram.len() });
        }
        let header = Self {
            receiver: index_at(datagram, Self::RECEIVER),
            counter: u64::from_le_bytes(array_at(datagram, Self::COUNTER)),
        };
        Ok((header, &mut datagram[Self::LEN..]))
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; Self::LEN]) {
        MessageType::TransportData.emit(out);
        put(out, Self::RECEIVER, &self.receiver.0.to_le_bytes());
        put(out, Self::COUNTER, &self.counter.to_le_bytes());
    }
}

fn exactly<const LEN: usize>(datagram: &[u8]) -> Result<&[u8; LEN], ParseError> {
    if datagram.len() < LEN {
        return Err(ParseError::Truncated { needed: LEN, found: datagram.len() });
    }
    datagram.try_into().map_err(|_| ParseError::Length { expected: LEN, found: datagram.len() })
}

/// Callers have checked that `bytes` reaches to `at + N`.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn index_at(bytes: &[u8], at: usize) -> SessionIndex {
    SessionIndex(u32::from_le_bytes(array_at(bytes, at)))
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

const TYPE_LEN: usize = 4;
const INDEX_LEN: usize = 4;

const _: () = {
    assert!(HandshakeInitiation::MAC2 + MAC_LEN == HandshakeInitiation::LEN);
    assert!(HandshakeResponse::MAC2 + MAC_LEN == HandshakeResponse::LEN);
    assert!(CookieReply::SEALED_COOKIE + CookieReply::SEALED_COOKIE_LEN == CookieReply::LEN);
    assert!(TransportHeader::COUNTER + size_of::<u64>() == TransportHeader::LEN);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up from `first`, so that every octet of a message is another one.
    fn counting<const N: usize>(first: u8) -> [u8; N] {
        std::array::from_fn(|at| first.wrapping_add(at as u8))
    }

    fn initiation() -> HandshakeInitiation {
        HandshakeInitiation {
            sender: SessionIndex(0x0403_0201),
            noise: counting(0x10),
            mac1: counting(0x80),
            mac2: counting(0xc0),
        }
    }

    fn response() -> HandshakeResponse {
        HandshakeResponse {
            sender: SessionIndex(0x0403_0201),
            receiver: SessionIndex(0x0807_0605),
            noise: counting(0x10),
            mac1: counting(0x80),
            mac2: counting(0xc0),
        }
    }

    fn cookie_reply() -> CookieReply {
        CookieReply {
            receiver: SessionIndex(0x0403_0201),
            nonce: counting(0x10),
            sealed_cookie: counting(0x80),
        }
    }

    fn golden(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn an_initiation_has_the_octets_of_the_paper() {
        let mut out = [0xa5; HandshakeInitiation::LEN];
        initiation().emit(&mut out);
        let expected = golden(&[
            &[1, 0, 0, 0, 1, 2, 3, 4],
            &counting::<108>(0x10),
            &counting::<16>(0x80),
            &counting::<16>(0xc0),
        ]);
        assert_eq!(out.as_slice(), expected);
        assert_eq!(HandshakeInitiation::parse(&out), Ok(initiation()));
        assert_eq!(out[HandshakeInitiation::MAC1], 0x80);
        assert_eq!(out[HandshakeInitiation::MAC2], 0xc0);
    }

    #[test]
    fn a_response_has_the_octets_of_the_paper() {
        let mut out = [0xa5; HandshakeResponse::LEN];
        response().emit(&mut out);
        let expected = golden(&[
            &[2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
            &counting::<48>(0x10),
            &counting::<16>(0x80),
            &counting::<16>(0xc0),
        ]);
        assert_eq!(out.as_slice(), expected);
        assert_eq!(HandshakeResponse::parse(&out), Ok(response()));
        assert_eq!(out[HandshakeResponse::MAC1], 0x80);
        assert_eq!(out[HandshakeResponse::MAC2], 0xc0);
    }

    #[test]
    fn a_cookie_reply_has_the_octets_of_the_paper() {
        let mut out = [0xa5; CookieReply::LEN];
        cookie_reply().emit(&mut out);
        let expected = golden(&[&[3, 0, 0, 0, 1, 2, 3, 4], &counting::<24>(0x10), &counting::<32>(0x80)]);
        assert_eq!(out.as_slice(), expected);
        assert_eq!(CookieReply::parse(&out), Ok(cookie_reply()));
    }

    #[test]
    fn a_transport_header_has_the_octets_of_the_paper() {
        let header = TransportHeader { receiver: SessionIndex(0x0403_0201), counter: 0x0c0b_0a09_0807_0605 };
        let mut out = [0xa5; TransportHeader::LEN];
        header.emit(&mut out);
        assert_eq!(out, [4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let mut datagram = [&out[..], &[0x77; 19]].concat();
        let (parsed, sealed) = TransportHeader::parse(&mut datagram).unwrap();
        assert_eq!(parsed, header);
        assert_eq!(sealed, [0x77; 19]);
    }

    #[test]
    fn a_keepalive_is_the_shortest_transport_datagram() {
        let mut keepalive = [0; 32];
        keepalive[0] = 4;
        assert_eq!(TransportHeader::parse(&mut keepalive).unwrap().1.len(), TAG_LEN);
        assert_eq!(
            TransportHeader::parse(&mut keepalive[..31]).unwrap_err(),
            ParseError::Truncated { needed: 32, found: 31 }
        );
    }

    #[test]
    fn every_length_but_the_right_one_is_refused() {
        fn check<T: fmt::Debug>(kind: u8, right: usize, parse: impl Fn(&[u8]) -> Result<T, ParseError>) {
            let mut datagram = [0; 200];
            datagram[0] = kind;
            for length in 0..datagram.len() {
                let result = parse(&datagram[..length]).map(drop);
                match length {
                    0..TYPE_LEN => {
                        assert_eq!(result, Err(ParseError::Truncated { needed: TYPE_LEN, found: length }));
                    }
                    _ if length < right => {
                        assert_eq!(result, Err(ParseError::Truncated { needed: right, found: length }));
                    }
                    _ if length > right => {
                        assert_eq!(result, Err(ParseError::Length { expected: right, found: length }));
                    }
                    _ => assert_eq!(result, Ok(())),
                }
            }
        }
        check(1, 148, HandshakeInitiation::parse);
        check(2, 92, HandshakeResponse::parse);
        check(3, 64, CookieReply::parse);
    }

    #[test]
    fn types_are_read_with_their_reserved_octets() {
        let of = |bytes: &[u8]| MessageType::of(bytes);
        assert_eq!(of(&[1, 0, 0, 0]), Ok(MessageType::HandshakeInitiation));
        assert_eq!(of(&[2, 0, 0, 0]), Ok(MessageType::HandshakeResponse));
        assert_eq!(of(&[3, 0, 0, 0]), Ok(MessageType::CookieReply));
        assert_eq!(of(&[4, 0, 0, 0, 9]), Ok(MessageType::TransportData));
        for (bytes, value) in
            [([0, 0, 0, 0], 0), ([5, 0, 0, 0], 5), ([4, 1, 0, 0], 0x104), ([1, 0, 0, 0x80], 0x8000_0001)]
        {
            assert_eq!(of(&bytes), Err(ParseError::Field { field: "type", value }));
        }
        assert_eq!(of(&[4, 0, 0]), Err(ParseError::Truncated { needed: 4, found: 3 }));
    }

    #[test]
    fn a_message_of_another_type_is_refused() {
        let mut datagram = [0; HandshakeInitiation::LEN];
        datagram[0] = 2;
        assert_eq!(HandshakeInitiation::parse(&datagram), Err(ParseError::Field { field: "type", value: 2 }));
        assert_eq!(
            TransportHeader::parse(&mut datagram).unwrap_err(),
            ParseError::Field { field: "type", value: 2 }
        );
    }
}
