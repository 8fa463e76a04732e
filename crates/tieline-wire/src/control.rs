//! The messages that open streams: JSON in a length-prefixed frame.
//!
//! | 0: length of what follows, big-endian (4) | 4: one JSON object (length) |
//!
//! The control stream is the first stream that the QUIC client opens; on it each end sends its [`ControlMessage::Hello`],
//! then further messages whenever something changes. Every other stream starts with a [`StreamRequest`] of the end that
//! opens it and a [`StreamAnswer`] of the other; if that accepts, the stream belongs to the service.
//!
//! JSON because these messages are few, are read by people in captures and logs, and must grow: unknown fields are
//! ignored, unknown message types become [`ControlMessage::Unknown`]. The bounds below hold before anything is allocated.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Octets of the length before each message.
pub const PREFIX_LEN: usize = 4;
/// The longest message; a longer one is refused by its prefix.
pub const MESSAGE_LEN_MAX: usize = 64 * 1024;
/// Networks that an operator may offer.
pub const OFFERS_MAX: usize = 256;
/// Networks in one list of a message: what an operator offers, and the 16 addresses that the end's own device may have.
pub const NETWORKS_MAX: usize = OFFERS_MAX + 16;
/// Characters of a name of an end, a service or a folder.
pub const NAME_LEN_MAX: usize = 255;

/// Why a message cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The prefix announces more than [`MESSAGE_LEN_MAX`].
    #[error("a message of {0} octets; {MESSAGE_LEN_MAX} are allowed")]
    TooLong(usize),
    /// Not the JSON that the message is made of.
    #[error("a message that is not understood")]
    Json(#[from] serde_json::Error),
    /// A list or name beyond its bound.
    #[error("`{field}` has {found} entries or characters; {max} are allowed")]
    Bound {
        /// Which field.
        field: &'static str,
        /// How many it has.
        found: usize,
        /// How many it may have.
        max: usize,
    },
}

/// A message on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ControlMessage {
    /// Who this end is and what it offers; sent first, and again when it changes.
    Hello(Hello),
    /// What of the other end's offers this end has accepted.
    Accepted(Accepted),
    /// A type of a later version; ignored.
    #[serde(other)]
    Unknown,
}

/// What an end says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Hello {
    /// The version of the line protocol in use, as the hellos of the associated channel settled it.
    pub version: u8,
    /// What its operator calls this end.
    pub name: String,
    /// Program and version, for people.
    pub software: String,
    /// The networks that may be reached here.
    pub offers: Vec<IpNet>,
    /// The services that streams may be opened for.
    pub services: Vec<String>,
    /// Labels given out, by channel.
    pub labels: BTreeMap<String, u32>,
    /// The largest IP packet that this end takes, in octets.
    pub mtu: u16,
    /// The UDP port that this end listens on; if its datagrams come from another, a NAT lies between.
    pub port: u16,
    /// The public key (Ed25519) of its receipts for files, in hexadecimal; none from an end that signs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<String>,
    /// Its internet connection, if the other end may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internet: Option<Internet>,
}

/// An internet connection that is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Internet {
    /// Whether IPv4 leads to the internet there.
    pub ipv4: bool,
    /// Whether IPv6 does.
    pub ipv6: bool,
}

/// What became of the other end's offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Accepted {
    /// Networks that are now routed into the line here.
    pub accepted: Vec<IpNet>,
    /// Networks that are not, and why.
    pub refused: Vec<RefusedOffer>,
}

/// An offered network that is not routed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedOffer {
    /// The network.
    pub network: IpNet,
    /// Why not, in a sentence for the operator.
    pub reason: String,
}

/// The first message on every stream but the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "service", rename_all = "kebab-case")]
pub enum StreamRequest {
    /// Files are coming, for the inbox or a folder below it.
    Files {
        /// A relative path below the inbox; none for the inbox itself.
        #[serde(default)]
        folder: Option<String>,
    },
    /// A bare circuit: what goes in at one end comes out at the other.
    Pipe,
    /// Octets that are thrown away, to see what the line carries.
    Test {
        /// For how long the other end is to send them; none: the end that opens the stream sends.
        #[serde(default)]
        send_seconds: Option<u64>,
    },
    /// A connection to a service of the other end, which knows by the name where it is. What is for the service follows at once, before
    /// the answer.
    Port {
        /// What both ends call it.
        name: String,
        /// What it speaks.
        protocol: PortProtocol,
    },
    /// What this end's networks say to find devices, for those of the other end: messages of [`crate::discovery`].
    Discovery,
    /// A service of a later version; refused.
    #[serde(other)]
    Unknown,
}

/// What a service behind a port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortProtocol {
    /// TCP: the stream carries the octets of one connection.
    #[default]
    Tcp,
    /// UDP: the stream and datagrams of QUIC carry those between the service and one client.
    Udp,
    /// A protocol of a later version; refused.
    #[serde(other)]
    Unknown,
}

/// The answer to a [`StreamRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum StreamAnswer {
    /// The stream belongs to the service from here on.
    Accepted,
    /// It does not, and why, in a sentence.
    Refused {
        /// The sentence.
        reason: String,
    },
}

/// The message with its prefix.
///
/// # Errors
///
/// `TooLong` if it has more than [`MESSAGE_LEN_MAX`] octets.
pub fn emit<M: Serialize>(message: &M) -> Result<Vec<u8>, MessageError> {
    let json = serde_json::to_vec(message)?;
    if json.len() > MESSAGE_LEN_MAX {
        return Err(MessageError::TooLong(json.len()));
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most MESSAGE_LEN_MAX")]
    let prefix = (json.len() as u32).to_be_bytes();
    Ok([&prefix[..], &json].concat())
}

/// How many octets follow a prefix.
///
/// # Errors
///
/// `TooLong`.
pub fn len_of(prefix: [u8; PREFIX_LEN]) -> Result<usize, MessageError> {
    let len = u32::from_be_bytes(prefix) as usize;
    if len > MESSAGE_LEN_MAX {
        return Err(MessageError::TooLong(len));
    }
    Ok(len)
}

/// Reads the message that followed a prefix.
///
/// # Errors
///
/// `Json` if it is not such a message, `TooLong` if the caller did not keep to [`len_of`].
pub fn parse<M: DeserializeOwned>(json: &[u8]) -> Result<M, MessageError> {
    if json.len() > MESSAGE_LEN_MAX {
        return Err(MessageError::TooLong(json.len()));
    }
    Ok(serde_json::from_slice(json)?)
}

/// Reads a message of the control stream and holds it to the bounds of this module.
///
/// # Errors
///
/// As [`parse`], and `Bound`.
pub fn parse_control(json: &[u8]) -> Result<ControlMessage, MessageError> {
    let mut message = parse(json)?;
    strip_control_characters(&mut message);
    let bounds = match &message {
        ControlMessage::Hello(hello) => vec![
            ("offers", hello.offers.len(), NETWORKS_MAX),
            ("services", hello.services.len(), OFFERS_MAX),
            ("labels", hello.labels.len(), OFFERS_MAX),
            ("name", hello.name.chars().count(), NAME_LEN_MAX),
            ("software", hello.software.chars().count(), NAME_LEN_MAX),
            ("signing-key", hello.signing_key.as_ref().map_or(0, String::len), NAME_LEN_MAX),
        ],
        ControlMessage::Accepted(accepted) => vec![
            ("accepted", accepted.accepted.len(), NETWORKS_MAX),
            ("refused", accepted.refused.len(), NETWORKS_MAX),
        ],
        ControlMessage::Unknown => Vec::new(),
    };
    match bounds.into_iter().find(|(_, found, max)| found > max) {
        Some((field, found, max)) => Err(MessageError::Bound { field, found, max }),
        None => Ok(message),
    }
}

/// What the far end calls itself is shown on terminals, where control characters are commands.
fn strip_control_characters(message: &mut ControlMessage) {
    let strip = |text: &mut String| text.retain(|character| !character.is_control());
    match message {
        ControlMessage::Hello(hello) => {
            strip(&mut hello.name);
            strip(&mut hello.software);
        }
        ControlMessage::Accepted(accepted) => {
            accepted.refused.iter_mut().for_each(|refused| strip(&mut refused.reason));
        }
        ControlMessage::Unknown => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8]) -> &[u8] {
        let (prefix, body) = bytes.split_first_chunk::<PREFIX_LEN>().unwrap();
        assert_eq!(len_of(*prefix).unwrap(), body.len());
        body
    }

    #[test]
    fn hello_round_trips_and_has_readable_octets() {
        let hello = ControlMessage::Hello(Hello {
            version: 1,
            name: "berlin".into(),
            software: "tieline 0.1.0".into(),
            offers: vec!["10.1.0.0/24".parse().unwrap()],
            services: vec!["files".into()],
            labels: BTreeMap::new(),
            mtu: 1420,
            port: 51820,
            signing_key: Some("ab".repeat(32)),
            internet: Some(Internet { ipv4: true, ipv6: false }),
        });
        let bytes = emit(&hello).unwrap();
        assert_eq!(
            std::str::from_utf8(body(&bytes)).unwrap(),
            r#"{"type":"hello","version":1,"name":"berlin","software":"tieline 0.1.0","offers":["10.1.0.0/24"],"services":["files"],"labels":{},"mtu":1420,"port":51820,"signing-key":"abababababababababababababababababababababababababababababababab","internet":{"ipv4":true,"ipv6":false}}"#
        );
        assert_eq!(parse_control(body(&bytes)).unwrap(), hello);
    }

    #[test]
    fn unknown_fields_and_types_are_ignored() {
        let hello = parse_control(br#"{"type":"hello","name":"x","colour":"blue"}"#).unwrap();
        assert_eq!(hello, ControlMessage::Hello(Hello { name: "x".into(), ..Hello::default() }));
        assert_eq!(parse_control(br#"{"type":"tomorrow","x":1}"#).unwrap(), ControlMessage::Unknown);
        assert_eq!(parse::<StreamRequest>(br#"{"service":"fax"}"#).unwrap(), StreamRequest::Unknown);
    }

    #[test]
    fn request_for_a_port_round_trips_and_has_readable_octets() {
        for (protocol, word) in [(PortProtocol::Tcp, "tcp"), (PortProtocol::Udp, "udp")] {
            let request = StreamRequest::Port { name: "intranet".into(), protocol };
            let bytes = emit(&request).unwrap();
            let json = format!(r#"{{"service":"port","name":"intranet","protocol":"{word}"}}"#);
            assert_eq!(std::str::from_utf8(body(&bytes)).unwrap(), json);
            assert_eq!(parse::<StreamRequest>(body(&bytes)).unwrap(), request);
        }
        let later: StreamRequest = parse(br#"{"service":"port","name":"x","protocol":"sctp"}"#).unwrap();
        assert_eq!(later, StreamRequest::Port { name: "x".into(), protocol: PortProtocol::Unknown });
    }

    #[test]
    fn control_characters_reach_no_terminal() {
        let message = parse_control(br#"{"type":"hello","name":"a\u001b[2Jb","software":"x\r\ny"}"#).unwrap();
        let clean = Hello { name: "a[2Jb".into(), software: "xy".into(), ..Hello::default() };
        assert_eq!(message, ControlMessage::Hello(clean));
    }

    #[test]
    fn bounds_hold() {
        assert!(matches!(len_of([0, 1, 0, 1]), Err(MessageError::TooLong(65537))));
        assert_eq!(len_of([0, 1, 0, 0]).unwrap(), 65536);
        let many = vec!["10.0.0.0/8"; NETWORKS_MAX + 1];
        let json = serde_json::json!({ "type": "hello", "offers": many }).to_string();
        assert!(matches!(parse_control(json.as_bytes()), Err(MessageError::Bound { field: "offers", .. })));
        let json = serde_json::json!({ "type": "hello", "name": "n".repeat(256) }).to_string();
        assert!(matches!(parse_control(json.as_bytes()), Err(MessageError::Bound { field: "name", .. })));
        assert!(emit(&StreamAnswer::Refused { reason: "r".repeat(MESSAGE_LEN_MAX) }).is_err());
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        for json in [&b""[..], b"{", b"[]", b"\xff", br#"{"type":"hello","offers":["10.0.0.0/33"]}"#] {
            assert!(matches!(parse_control(json), Err(MessageError::Json(_))));
        }
    }
}
