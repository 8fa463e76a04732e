//! The generic associated channel (RFC 5586): what the two ends say to each other beneath all services.
//!
//! Under label 13 an associated channel header (§2.1) says which message follows:
//!
//! | 4 bits: 0001 | 4: version, 0 | 8: reserved, 0 | 16: channel type |
//!
//! The channel types are from the range that IANA leaves for experiments (0x7FF8 to 0x7FFF), and, since that is full, from just below
//! it. A type or version that we do not know is dropped and counted by the line, never an error towards the peer.
//!
//! Hello, 44 octets, or 58 with an announcement ([`Announcement`]); longer ones are accepted and the rest ignored, so that
//! the message can grow:
//!
//! | 0: lowest version (1) | 1: highest version (1) | 2: flags (2) | 4: instance (8) | 12: stream certificate, SHA-256 (32) |
//! | 44: announcement of the second suite, or nothing (14) |
//!
//! Alert, 4 octets:
//!
//! | 0: code (2) | 2: zero (2) |

use crate::{
    ParseError,
    mtu_probe::MtuProbe,
    packed::Feedback,
    path_heartbeat::{self, Heartbeat},
    protection_report::{self, ProtectionReport},
    rate_report::{self, RateReport},
    stamp::{self, ReflectorPacket, SenderPacket},
    suite::Announcement,
};

/// Octets of the associated channel header.
pub const HEADER_LEN: usize = 4;
/// Octets of a hello without an announcement.
pub const HELLO_LEN: usize = 44;
/// The longest message of this channel, with its header.
pub const MESSAGE_LEN_MAX: usize = HEADER_LEN + HELLO_LEN + Announcement::LEN;
const _: () =
    assert!(stamp::LEN <= HELLO_LEN && protection_report::LEN <= HELLO_LEN && Feedback::LEN <= HELLO_LEN);
const _: () = assert!(rate_report::LEN <= HELLO_LEN && path_heartbeat::LEN <= HELLO_LEN);

/// The version of the line protocol spoken by this program, also the only one so far.
pub const VERSION: u8 = 1;

const ALERT_LEN: usize = 4;
const TYPE_MTU_PROBE: u16 = 0x7ff6;
const TYPE_HELLO: u16 = 0x7ff8;
const TYPE_STAMP_SENDER: u16 = 0x7ff9;
const TYPE_STAMP_REFLECTOR: u16 = 0x7ffa;
const TYPE_ALERT: u16 = 0x7ffb;
const TYPE_PROTECTION: u16 = 0x7ffe;
const TYPE_PACKING: u16 = 0x7ffd;
const TYPE_RATE_REPORT: u16 = 0x7ffc;
const TYPE_PATH_HEARTBEAT: u16 = 0x7ff7;
const FLAG_ANSWER_WANTED: u16 = 0x0001;
const FLAG_JOINS_PIECES: u16 = 0x0002;
const FLAG_TAKES_PATHS: u16 = 0x0004;
const FLAG_CARRIES_ECN: u16 = 0x0008;
const FLAG_ANSWERS_MTU_PROBES: u16 = 0x0010;

/// A message of the associated channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// "I am a tieline, and this is who I am since I started."
    Hello(Hello),
    /// A measurement packet.
    StampSender(SenderPacket),
    /// Its answer.
    StampReflector(ReflectorPacket),
    /// Something that the other end's operator should know.
    Alert(Alert),
    /// How protected packets arrive.
    Protection(ProtectionReport),
    /// Which references of packed calls have arrived.
    Packing(Feedback),
    /// What has arrived, and when.
    RateReport(RateReport),
    /// How long may datagrams be.
    MtuProbe(MtuProbe),
    /// That a path is there.
    PathHeartbeat(Heartbeat),
}

/// The first message between two tielines; a plain WireGuard peer never answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The lowest version of the line protocol this end speaks.
    pub version_min: u8,
    /// The highest.
    pub version_max: u8,
    /// Whether the receiver shall answer with its own hello.
    pub answer_wanted: bool,
    /// Whether the sender makes packets whole that come in pieces (label 17).
    pub joins_pieces: bool,
    /// Whether the sender gives packets the marks of congestion that the path sets around them (RFC 6040).
    pub carries_ecn: bool,
    /// Whether the sender answers probes of how long datagrams may be.
    pub answers_mtu_probes: bool,
    /// Whether the sender understands heartbeats of paths, and so a line with several.
    pub takes_paths: bool,
    /// Drawn at random when the process starts, so that a restart can be told, and one key in two places too.
    pub instance: u64,
    /// SHA-256 of the certificate that this instance uses in the stream channel (DER).
    pub certificate: [u8; 32],
    /// What else than the first cipher suite the sender opens, and of which session it says so.
    pub announcement: Option<Announcement>,
}

impl Hello {
    /// The highest version that both ends speak.
    #[must_use]
    pub fn common_version(&self, min: u8, max: u8) -> Option<u8> {
        let highest = self.version_max.min(max);
        (highest >= self.version_min.max(min)).then_some(highest)
    }

    fn len(&self) -> usize {
        HELLO_LEN + self.announcement.map_or(0, |_| Announcement::LEN)
    }
}

/// What an end tells the other's operator; codes we do not know survive as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// The line is being taken down on purpose.
    Goodbye,
    /// Your key is in use at two places at once.
    KeyInUseTwice,
    /// A code of a later version.
    Other(u16),
}

impl Alert {
    fn code(self) -> u16 {
        match self {
            Self::Goodbye => 1,
            Self::KeyInUseTwice => 2,
            Self::Other(code) => code,
        }
    }
}

impl Message {
    /// Reads a message with its associated channel header.
    ///
    /// # Errors
    ///
    /// `Truncated` if header or message is cut short; `Field` for a first nibble other than 1, a header version other
    /// than 0, an unknown channel type, or a hello whose highest version is below its lowest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(ParseError::Truncated { needed: HEADER_LEN, found: bytes.len() });
        };
        if header[0] != 0x10 {
            return Err(ParseError::Field { field: "first nibble and version", value: header[0].into() });
        }
        match u16::from_be_bytes([header[2], header[3]]) {
            TYPE_HELLO => parse_hello(body).map(Self::Hello),
            TYPE_STAMP_SENDER => SenderPacket::parse(body).map(Self::StampSender),
            TYPE_STAMP_REFLECTOR => ReflectorPacket::parse(body).map(Self::StampReflector),
            TYPE_ALERT => parse_alert(body).map(Self::Alert),
            TYPE_PROTECTION => ProtectionReport::parse(body).map(Self::Protection),
            TYPE_PACKING => Feedback::parse(body).map(Self::Packing),
            TYPE_RATE_REPORT => RateReport::parse(body).map(Self::RateReport),
            TYPE_MTU_PROBE => MtuProbe::parse(body).map(Self::MtuProbe),
            TYPE_PATH_HEARTBEAT => Heartbeat::parse(body).map(Self::PathHeartbeat),
            other => Err(ParseError::Field { field: "channel type", value: other.into() }),
        }
    }

    /// The message's octets with its associated channel header, appended to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let (channel_type, body): (u16, &[u8]) = match self {
            Self::Hello(hello) => (TYPE_HELLO, &emit_hello(hello)[..hello.len()]),
            Self::StampSender(packet) => (TYPE_STAMP_SENDER, &packet.emit()),
            Self::StampReflector(packet) => (TYPE_STAMP_REFLECTOR, &packet.emit()),
            Self::Alert(alert) => (TYPE_ALERT, &emit_alert(*alert)),
            Self::Protection(report) => (TYPE_PROTECTION, &report.emit()),
            Self::Packing(feedback) => (TYPE_PACKING, &feedback.emit()),
            Self::RateReport(report) => (TYPE_RATE_REPORT, &report.emit()),
            Self::MtuProbe(probe) => (TYPE_MTU_PROBE, &probe.emit()),
            Self::PathHeartbeat(heartbeat) => (TYPE_PATH_HEARTBEAT, &heartbeat.emit()),
        };
        out.extend_from_slice(&[0x10, 0]);
        out.extend_from_slice(&channel_type.to_be_bytes());
        out.extend_from_slice(body);
    }
}

fn parse_hello(body: &[u8]) -> Result<Hello, ParseError> {
    let Some((octets, behind)) = body.split_first_chunk::<HELLO_LEN>() else {
        return Err(ParseError::Truncated { needed: HELLO_LEN, found: body.len() });
    };
    let [version_min, version_max, flags_high, flags_low, rest @ ..] = octets;
    if version_max < version_min {
        return Err(ParseError::Field { field: "highest version", value: (*version_max).into() });
    }
    let flags = u16::from_be_bytes([*flags_high, *flags_low]);
    let mut instance = [0; 8];
    let mut certificate = [0; 32];
    instance.copy_from_slice(&rest[..8]);
    certificate.copy_from_slice(&rest[8..40]);
    Ok(Hello {
        version_min: *version_min,
        version_max: *version_max,
        answer_wanted: flags & FLAG_ANSWER_WANTED != 0,
        joins_pieces: flags & FLAG_JOINS_PIECES != 0,
        carries_ecn: flags & FLAG_CARRIES_ECN != 0,
        answers_mtu_probes: flags & FLAG_ANSWERS_MTU_PROBES != 0,
        takes_paths: flags & FLAG_TAKES_PATHS != 0,
        instance: u64::from_be_bytes(instance),
        certificate,
        announcement: Announcement::parse(behind),
    })
}

fn emit_hello(hello: &Hello) -> [u8; HELLO_LEN + Announcement::LEN] {
    let mut out = [0; HELLO_LEN + Announcement::LEN];
    out[0] = hello.version_min;
    out[1] = hello.version_max;
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let flags = flag(hello.answer_wanted, FLAG_ANSWER_WANTED)
        | flag(hello.joins_pieces, FLAG_JOINS_PIECES)
        | flag(hello.takes_paths, FLAG_TAKES_PATHS)
        | flag(hello.carries_ecn, FLAG_CARRIES_ECN)
        | flag(hello.answers_mtu_probes, FLAG_ANSWERS_MTU_PROBES);
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[4..12].copy_from_slice(&hello.instance.to_be_bytes());
    out[12..44].copy_from_slice(&hello.certificate);
    if let Some(announcement) = &hello.announcement {
        out[HELLO_LEN..].copy_from_slice(&announcement.emit());
    }
    out
}

fn parse_alert(body: &[u8]) -> Result<Alert, ParseError> {
    let Some([code_high, code_low, ..]) = body.first_chunk::<ALERT_LEN>() else {
        return Err(ParseError::Truncated { needed: ALERT_LEN, found: body.len() });
    };
    Ok(match u16::from_be_bytes([*code_high, *code_low]) {
        1 => Alert::Goodbye,
        2 => Alert::KeyInUseTwice,
        code => Alert::Other(code),
    })
}

fn emit_alert(alert: Alert) -> [u8; ALERT_LEN] {
    let [high, low] = alert.code().to_be_bytes();
    [high, low, 0, 0]
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::label::Label;
    use crate::path_heartbeat::PathId;
    use crate::protected::StreamId;
    use crate::rate_report::{Answer, Micros};
    use crate::stamp::NtpTimestamp;
    use crate::wireguard::SessionIndex;

    fn hello() -> Hello {
        Hello {
            version_min: 1,
            version_max: 2,
            answer_wanted: true,
            joins_pieces: false,
            carries_ecn: false,
            answers_mtu_probes: false,
            takes_paths: false,
            instance: 0x0102_0304_0506_0708,
            certificate: [0xcc; 32],
            announcement: None,
        }
    }

    fn announcing() -> Hello {
        let [announcer, hearer, aes] = [1, 2, 3].map(SessionIndex);
        Hello { announcement: Some(Announcement { announcer, hearer, aes }), ..hello() }
    }

    fn emitted(message: Message) -> Vec<u8> {
        let mut out = Vec::new();
        message.emit(&mut out);
        out
    }

    #[test]
    fn hello_has_golden_octets() {
        let bytes = emitted(Message::Hello(hello()));
        assert_eq!(&bytes[..16], &[0x10, 0, 0x7f, 0xf8, 1, 2, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        let joins = emitted(Message::Hello(Hello { joins_pieces: true, ..hello() }));
        assert_eq!(joins[6..8], [0, 3]);
        let hello = Hello { takes_paths: true, carries_ecn: true, answers_mtu_probes: true, ..hello() };
        let able = emitted(Message::Hello(hello));
        assert_eq!((&able[6..8], Message::parse(&able)), (&[0, 0x1d][..], Ok(Message::Hello(hello))));
        assert_eq!(&bytes[16..], &[0xcc; 32]);
        assert_eq!(bytes.len(), HEADER_LEN + HELLO_LEN);
    }

    #[test]
    fn hello_that_announces_the_second_suite_is_the_same_with_more_behind() {
        let bytes = emitted(Message::Hello(announcing()));
        assert_eq!(bytes.len(), MESSAGE_LEN_MAX);
        assert_eq!(bytes[..HEADER_LEN + HELLO_LEN], emitted(Message::Hello(hello())));
        assert_eq!(&bytes[HEADER_LEN + HELLO_LEN..], &[0, 1, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(Message::parse(&bytes), Ok(Message::Hello(announcing())));
        for len in HEADER_LEN + HELLO_LEN..bytes.len() {
            assert_eq!(Message::parse(&bytes[..len]), Ok(Message::Hello(hello())), "{len} octets");
        }
    }

    #[test]
    fn every_message_round_trips() {
        let timestamp = NtpTimestamp::from_wall(UNIX_EPOCH + Duration::from_secs(1));
        let sender = SenderPacket { sequence: 9, ssid: 0, timestamp };
        let reflector = ReflectorPacket { sequence: 9, timestamp, received: timestamp, sender };
        let report =
            RateReport { sequence: 3, sent: Micros(4), ceiling_kbit: 0, answer: Answer::Wanted, heard: None };
        let heartbeat = Heartbeat {
            path: PathId::FIRST,
            carries: true,
            wants_copies: false,
            is_busy: false,
            interval: Duration::from_secs(1),
            sequence: 5,
            hears: None,
            lost_per_mille: 0,
        };
        for message in [
            Message::Hello(hello()),
            Message::StampSender(sender),
            Message::StampReflector(reflector),
            Message::Alert(Alert::Goodbye),
            Message::Alert(Alert::KeyInUseTwice),
            Message::Alert(Alert::Other(700)),
            Message::Protection(ProtectionReport {
                stream: StreamId::of(7),
                expected: 100,
                received: 98,
                restored: 2,
            }),
            Message::Packing(Feedback { label: Label::FIRST_GIVEN_OUT, newest: 7, before: 0b101 }),
            Message::RateReport(report),
            Message::MtuProbe(MtuProbe { number: 1, packet_len: 1420, is_answer: false }),
            Message::PathHeartbeat(heartbeat),
        ] {
            let bytes = emitted(message);
            assert_eq!(Message::parse(&bytes), Ok(message));
            for len in 0..bytes.len() {
                assert!(matches!(Message::parse(&bytes[..len]), Err(ParseError::Truncated { .. })));
            }
        }
    }

    #[test]
    fn longer_hello_of_a_later_version_is_understood() {
        for hello in [hello(), announcing()] {
            let mut bytes = emitted(Message::Hello(hello));
            bytes.extend_from_slice(b"more");
            assert_eq!(Message::parse(&bytes), Ok(Message::Hello(hello)));
        }
    }

    #[test]
    fn headers_and_fields_that_stand_for_nothing_are_refused() {
        let bytes = emitted(Message::Hello(hello()));
        let refused = |index: usize, value: u8| {
            let mut bytes = bytes.clone();
            bytes[index] = value;
            assert!(matches!(Message::parse(&bytes), Err(ParseError::Field { .. })), "octet {index}");
        };
        refused(0, 0x00);
        refused(0, 0x11);
        refused(3, 0xff);
        refused(5, 0);
    }

    #[test]
    fn versions_are_negotiated_to_the_highest_common_one() {
        assert_eq!(hello().common_version(1, 1), Some(1));
        assert_eq!(hello().common_version(2, 9), Some(2));
        assert_eq!(hello().common_version(3, 9), None);
    }
}
