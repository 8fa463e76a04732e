//! Services of one office that are offered at the other by name: `[[port]]`.
//!
//! The end that has the service says where it is (`to`), the other where it is offered (`listen`). The other asks by name and protocol only,
//! so what can be reached through the line is decided where it is.
//!
//! | key of `[[port]]` | default | range | why it is there |
//! |---|---|---|---|
//! | `name` | must be there | 1 to 32 letters, digits, `-`, `_` | both ends call it so |
//! | `protocol` | `"tcp"` | `"tcp"`, `"udp"` | what the service speaks; one name may stand for both, in two sections |
//! | `to` | this or `listen` | `"HOST:PORT"` | where the service is, seen from this end |
//! | `listen` | this or `to` | IP address and port | where this end offers the far end's service |

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use tieline_wire::control::PortProtocol;

use super::dial_address::{DialAddress, DialAddressError};
use super::document::{At, Table};
use super::excerpt::excerpt;
use super::mistake::Mistake;
use super::problems::Collector;
use super::typed::{convert_one, convert_some};

/// Ports of one line; each holds a socket, and is a row in every report.
pub const PORTS_MAX: usize = 32;

/// One service, as one end of the line sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// What both ends call it.
    pub name: PortName,
    /// What it speaks; never [`PortProtocol::Unknown`].
    pub protocol: PortProtocol,
    /// Which end this is.
    pub side: PortSide,
}

/// Which end of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSide {
    /// The one that has the service: where it is.
    To(DialAddress),
    /// The one that offers it: where.
    Listen(SocketAddr),
}

/// The name of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortName(Box<str>);

/// A text that cannot name a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot name a port; use 1 to {} letters, digits, - and _", PortName::LEN_MAX)]
pub struct PortNameError;

impl PortName {
    /// Octets of a name.
    pub const LEN_MAX: usize = 32;

    /// Returns it as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PortName {
    type Err = PortNameError;

    /// Reads a name.
    fn from_str(text: &str) -> Result<Self, PortNameError> {
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let fits = (1..=Self::LEN_MAX).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.into())) } else { Err(PortNameError) }
    }
}

impl fmt::Display for PortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every key of one `[[port]]`; `None` where it is not there, or is wrong and was noted.
#[derive(Debug)]
pub(super) struct WrittenPort {
    name: Option<At<String>>,
    protocol: Option<At<String>>,
    to: Option<At<String>>,
    listen: Option<At<String>>,
}

/// Takes all ports out of the file.
pub(super) fn read(file: &mut Table<'_>, problems: &mut Collector<'_>) -> Vec<WrittenPort> {
    file.tables("port", PORTS_MAX, problems).into_iter().map(|table| read_one(table, problems)).collect()
}

fn read_one(mut table: Table<'_>, problems: &mut Collector<'_>) -> WrittenPort {
    let name = table.required_text("name", "write the name that the service has at both ends", problems);
    let written = WrittenPort {
        name,
        protocol: table.text("protocol", problems),
        to: table.text("to", problems),
        listen: table.text("listen", problems),
    };
    if table.had("to") == table.had("listen") {
        table.wrong(problems, Mistake::PortSide);
    }
    table.finish(problems);
    written
}

/// Turns all ports over. One without a name or an address is left out; that was noted then.
pub(super) fn convert(written: Vec<WrittenPort>, problems: &mut Collector<'_>) -> Vec<PortConfig> {
    let mut ports: Vec<PortConfig> = Vec::with_capacity(written.len());
    for port in written {
        ports.extend(convert_port(port, &ports, problems));
    }
    ports
}

fn convert_port(
    written: WrittenPort,
    others: &[PortConfig],
    problems: &mut Collector<'_>,
) -> Option<PortConfig> {
    let protocol = convert_some(written.protocol, problems, protocol).unwrap_or_default();
    let mut others = others.iter().filter(|other| other.protocol == protocol);
    let place = written.name.as_ref().map(|name| name.clone().map(drop));
    let name: Option<PortName> =
        written.name.and_then(|name| convert_one(name, problems, |text| Ok(text.parse()?)));
    if let (Some(name), Some(place)) = (&name, place) {
        // People say names aloud, so case does not tell two services apart.
        if others.clone().any(|other| other.name.as_str().eq_ignore_ascii_case(name.as_str())) {
            place.wrong(problems, Mistake::Duplicate { value: name.to_string() });
        }
    }
    let listen_place = written.listen.as_ref().map(|listen| listen.clone().map(drop));
    let listen = convert_some(written.listen, problems, listen);
    if let (Some(listen), Some(place)) = (listen, listen_place)
        && others.any(|other| other.side == PortSide::Listen(listen))
    {
        place.wrong(problems, Mistake::Duplicate { value: listen.to_string() });
    }
    let to = convert_some(written.to, problems, destination);
    let side = to.map(PortSide::To).or(listen.map(PortSide::Listen))?;
    Some(PortConfig { name: name?, protocol, side })
}

fn protocol(text: &str) -> Result<PortProtocol, Mistake> {
    match text {
        "tcp" => Ok(PortProtocol::Tcp),
        "udp" => Ok(PortProtocol::Udp),
        _ => Err(Mistake::Choice { known: "\"tcp\" or \"udp\"".to_owned(), found: excerpt(text) }),
    }
}

fn destination(text: &str) -> Result<DialAddress, Mistake> {
    text.parse().map_err(|error| match error {
        // Their sentences tell of the far end's usual port.
        DialAddressError::Empty | DialAddressError::NoPort { .. } => Mistake::PortTo(excerpt(text)),
        other => Mistake::DialAddress(other),
    })
}

fn listen(text: &str) -> Result<SocketAddr, Mistake> {
    match text.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_multicast() && address.port() != 0 => Ok(address),
        Ok(_) => Err(Mistake::PortListen { written: excerpt(text), meant: None }),
        Err(_) => {
            // A port alone is what people write for this machine.
            let port = text.trim_start_matches('*').trim_start_matches(':').parse::<u16>();
            let meant = port.ok().filter(|port| *port != 0).map(|port| format!("127.0.0.1:{port}"));
            Err(Mistake::PortListen { written: excerpt(text), meant })
        }
    }
}
