//! Where the far end can be reached: a host and a port, as a person writes them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::excerpt::excerpt;

/// A host, by address or by name, and a UDP port: `203.0.113.5:51820`, `[2001:db8::5]:51820`, `office.example:51820`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DialAddress {
    host: Host,
    port: u16,
}

/// The host of a [`DialAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address, never the unspecified one.
    Ip(IpAddr),
    /// A name to ask the DNS for.
    Name(HostName),
}

/// A DNS name as hosts have them: labels of letters, digits, `-` and `_`, in lower case, without the final dot
/// (RFC 1035 §2.3.4: labels of at most 63, in all at most 253 characters as text).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName(String);

/// Why a text is no [`DialAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialAddressError {
    /// Nothing there.
    #[error("an address is missing; write HOST:PORT, as in office.example:51820")]
    Empty,
    /// No port.
    #[error("{host} has no port; write {host}:51820 if the far end uses the usual one")]
    NoPort {
        /// What was written, in brackets if it is IPv6; without what may be a key.
        host: String,
    },
    /// What follows the last colon is no port.
    #[error("{0:?} is not a port; a port is a number from 1 to 65535")]
    Port(String),
    /// Colons without brackets.
    #[error("an IPv6 address stands in brackets before its port, as in [2001:db8::5]:51820; this is {0:?}")]
    Brackets(String),
    /// The text in brackets is no IPv6 address.
    #[error("{0:?} is not an IPv6 address")]
    Ipv6(String),
    /// A zone (`%eth0`) is part of it.
    #[error(
        "{0:?} holds a zone; link-local addresses cannot be dialled, write a global or unique local address"
    )]
    Zone(String),
    /// Looks like an IPv4 address and is none.
    #[error("{0:?} is not an IPv4 address; it has four numbers from 0 to 255, without leading zeros")]
    Ipv4(String),
    /// An address that nobody can be reached at.
    #[error("{0} is not the address of one host that can be dialled")]
    NotAHost(IpAddr),
    /// A name with a character that host names do not have.
    #[error("{name:?} is not a host name: {character:?} cannot be in one{}", if .character.is_ascii() { "" } else { "; write it in its xn-- form" })]
    NameCharacter {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
    /// A label is empty, too long, or has `-` at an edge.
    #[error(
        "{name:?} is not a host name: its part {label:?} must have 1 to 63 characters and no - at its ends"
    )]
    NameLabel {
        /// The name, cut.
        name: String,
        /// The label, cut.
        label: String,
    },
    /// Longer than the DNS carries.
    #[error("a host name has at most {max} characters; this has {found}", max = HostName::BYTES_MAX)]
    NameTooLong {
        /// Characters found.
        found: usize,
    },
}

impl DialAddress {
    /// Joins host and port.
    ///
    /// # Errors
    ///
    /// [`DialAddressError::Port`] for port 0, [`DialAddressError::NotAHost`] for the unspecified, a multicast or the
    /// broadcast address.
    pub fn new(host: Host, port: u16) -> Result<Self, DialAddressError> {
        if port == 0 {
            return Err(DialAddressError::Port("0".into()));
        }
        match host {
            Host::Ip(ip) if !is_one_host(ip) => Err(DialAddressError::NotAHost(ip)),
            host => Ok(Self { host, port }),
        }
    }

    /// Returns the host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the UDP port, never 0.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the socket address if the host is given by address, `None` if the DNS must be asked.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl HostName {
    /// Longest name, in bytes (all are ASCII).
    pub const BYTES_MAX: usize = 253;

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DialAddress {
    type Err = DialAddressError;

    fn from_str(text: &str) -> Result<Self, DialAddressError> {
        if text.is_empty() {
            return Err(DialAddressError::Empty);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inside, after) =
                rest.split_once(']').ok_or_else(|| DialAddressError::Brackets(excerpt(text)))?;
            let ip = parse_ipv6(inside)?;
            return match after.strip_prefix(':') {
                Some(port) => Self::new(Host::Ip(ip), parse_port(port)?),
                None if after.is_empty() => Err(DialAddressError::NoPort { host: format!("[{ip}]") }),
                None => Err(DialAddressError::Brackets(excerpt(text))),
            };
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(DialAddressError::NoPort { host: excerpt(&text.parse::<Host>()?.to_string()) });
        };
        if host.contains(':') {
            return match text.parse::<Ipv6Addr>() {
                Ok(ip) => Err(DialAddressError::NoPort { host: format!("[{ip}]") }),
                Err(_) => Err(DialAddressError::Brackets(excerpt(text))),
            };
        }
        Self::new(host.parse()?, parse_port(port)?)
    }
}

impl FromStr for Host {
    type Err = DialAddressError;

    /// Reads an IPv4 address or a host name.
    fn from_str(text: &str) -> Result<Self, DialAddressError> {
        match text.parse::<Ipv4Addr>() {
            Ok(ip) => Ok(Self::Ip(ip.into())),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

impl FromStr for HostName {
    type Err = DialAddressError;

    fn from_str(text: &str) -> Result<Self, DialAddressError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(DialAddressError::Empty);
        }
        // RFC 1123 §2.1: a name whose last label is a number cannot be told from an address.
        let last_label = name.rsplit('.').next().unwrap_or(name);
        if !last_label.is_empty() && last_label.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(DialAddressError::Ipv4(excerpt(text)));
        }
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
        if let Some(character) = name.chars().find(|character| !allowed(*character)) {
            return Err(DialAddressError::NameCharacter { name: excerpt(text), character });
        }
        if name.len() > Self::BYTES_MAX {
            return Err(DialAddressError::NameTooLong { found: name.len() });
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
                return Err(DialAddressError::NameLabel { name: excerpt(text), label: excerpt(label) });
            }
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for DialAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Host {
    /// IPv6 addresses stand in brackets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(formatter),
            Self::Ip(IpAddr::V6(ip)) => write!(formatter, "[{ip}]"),
            Self::Name(name) => name.0.fmt(formatter),
        }
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address.ip().to_canonical())
    }
}

fn is_one_host(ip: IpAddr) -> bool {
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(ip.is_unspecified() || ip.is_multicast() || broadcast)
}

fn parse_ipv6(text: &str) -> Result<IpAddr, DialAddressError> {
    if text.contains('%') {
        return Err(DialAddressError::Zone(excerpt(text)));
    }
    let ip: Ipv6Addr = text.parse().map_err(|_| DialAddressError::Ipv6(excerpt(text)))?;
    // A mapped address is IPv4 on the wire, and is written so everywhere else.
    Ok(IpAddr::V6(ip).to_canonical())
}

fn parse_port(text: &str) -> Result<u16, DialAddressError> {
    // `u16::from_str` would take `+51820`.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|port| *port != 0).ok_or_else(|| DialAddressError::Port(excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        let same =
            ["203.0.113.5:51820", "[2001:db8::5]:1", "office.example:65535", "a_b.example:7", "localhost:9"];
        for text in same {
            assert_eq!(text.parse::<DialAddress>().expect(text).to_string(), text);
        }
        let other =
            [("Office.Example.:51820", "office.example:51820"), ("[::ffff:192.0.2.1]:5", "192.0.2.1:5")];
        for (text, canonical) in other {
            assert_eq!(text.parse::<DialAddress>().expect(text).to_string(), canonical);
        }
    }

    #[test]
    fn every_wrong_address_is_refused_with_what_to_write() {
        let long_label = format!("{}.example:1", "a".repeat(64));
        let long_name = format!("{}a:1", "a.".repeat(127));
        let wrong = [
            ("", "an address is missing"),
            ("office.example", "office.example has no port; write office.example:51820"),
            ("192.0.2.1", "192.0.2.1 has no port"),
            ("2001:db8::5", "[2001:db8::5] has no port; write [2001:db8::5]:51820"),
            ("[2001:db8::5]", "[2001:db8::5] has no port"),
            ("[2001:db8::5", "stands in brackets"),
            ("[2001:db8::5]x", "stands in brackets"),
            ("2001:db8:::5:51820", "stands in brackets"),
            ("[2001:db8::g]:1", "\"2001:db8::g\" is not an IPv6 address"),
            ("[fe80::1%eth0]:1", "holds a zone"),
            ("192.0.2.256:1", "is not an IPv4 address"),
            ("192.0.2:1", "is not an IPv4 address"),
            ("192.0.2.:1", "is not an IPv4 address"),
            ("192.0.2.1.:1", "is not an IPv4 address"),
            ("192.0.02.1:1", "is not an IPv4 address"),
            ("0.0.0.0:1", "0.0.0.0 is not the address of one host"),
            ("[::]:1", ":: is not the address of one host"),
            ("224.0.0.1:1", "is not the address of one host"),
            ("255.255.255.255:1", "is not the address of one host"),
            ("office.example:", "\"\" is not a port"),
            ("office.example:0", "\"0\" is not a port"),
            ("office.example:65536", "\"65536\" is not a port"),
            ("office.example:+1", "\"+1\" is not a port"),
            ("office.example:https", "\"https\" is not a port"),
            ("office example:1", "' ' cannot be in one"),
            ("https://office.example:1", "stands in brackets"),
            ("münchen.example:1", "write it in its xn-- form"),
            ("office..example:1", "its part \"\""),
            (".example:1", "its part \"\""),
            ("-a.example:1", "its part \"-a\""),
            (&long_label, "must have 1 to 63 characters"),
            (&long_name, "at most 253 characters; this has 255"),
            (":51820", "an address is missing"),
        ];
        for (text, expected) in wrong {
            let error = text.parse::<DialAddress>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_refused_or_survives_a_round_trip(text in "\\PC{0,80}|[0-9a-f:.\\[\\]%]{0,40}") {
            if let Ok(address) = text.parse::<DialAddress>() {
                proptest::prop_assert_eq!(address.to_string().parse::<DialAddress>(), Ok(address));
            }
        }
    }
}
