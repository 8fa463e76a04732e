//! A wg-quick file becomes a line: what it says is carried over, what it cannot carry over is named.
//!
//! wg-quick(8) reads `[Interface]` and `[Peer]` sections of `Key = Value` rows; keys and section names are not case
//! sensitive, `#` begins a comment, lists are separated by commas and may be continued in another row of the same key.
//!
//! | wg-quick | becomes |
//! |---|---|
//! | `PrivateKey`, `PresharedKey` | the key file |
//! | `ListenPort` | `listen`; without it any port that is free, as the kernel chooses |
//! | `Address` | `address` |
//! | `MTU` | `mtu`, if a line can have it |
//! | `PublicKey`, `Endpoint` | `peer.public-key`, `peer.address` |
//! | `AllowedIPs` | `accept`: a far end that is plain WireGuard offers nothing by itself |
//! | `PersistentKeepalive` | `keepalive-seconds`; without it 0 |
//! | `DNS`, `Table`, `PreUp` and its kin, `SaveConfig`, `FwMark`, `AllowedIPs = 0.0.0.0/0` | nothing; see [`LeftOut`] |
//!
//! A file with several peers is refused: a line has two ends. Nothing of the file is run.

mod rows;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;
use tieline_seal::{PresharedKey, PrivateKey, PublicKey};

use crate::config::document::At;
use crate::config::excerpt::excerpt;
use crate::config::problems::Collector;
use crate::config::subnet::{self, SubnetError};
use crate::config::{
    Accept, DialAddress, Draft, INTERFACE_ADDRESSES_MAX, MTU_MAX, MTU_MIN, Mistake, Place, Problems,
    SUBNETS_MAX,
};
use crate::kept_file;
use crate::secrets::Secrets;
use rows::{Row, Section, Value};

/// Bytes of a wg-quick file; one for a single peer has about 500.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;

/// What a wg-quick file says, in the terms of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The configuration to be.
    pub draft: Draft,
    /// The keys to be kept.
    pub secrets: Secrets,
    /// What is not carried over, in the order of the file.
    pub left_out: Vec<LeftOut>,
}

/// Something a wg-quick file says that a line does not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Where it stands.
    pub place: Place,
    /// The key.
    pub key: String,
    /// Why it is left out, and what to do instead.
    pub reason: Reason,
}

/// Why something is not carried over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Name servers.
    #[error("tieline leaves the resolver as it is; set the name servers ({0}) on this machine")]
    NameServers(String),
    /// A command.
    #[error(
        "tieline runs no commands of a configuration; put it into a drop-in of the unit tieline@NAME.service"
    )]
    Command,
    /// A routing table.
    #[error("tieline writes its routes into the main table, not into {0:?}")]
    Table(String),
    /// Writing the running state back.
    #[error("tieline never writes the operator's file")]
    SaveConfig,
    /// A firewall mark.
    #[error("tieline does not mark its packets; rules that match {0:?} will not match")]
    FirewallMark(String),
    /// Everything through the line.
    #[error(
        "{0} would send the whole internet through the line, which is said with `internet.use = \"everything\"` in the configuration, and name the far end's networks in `accept`"
    )]
    Everything(IpNet),
    /// A network that cannot go through a line.
    #[error(transparent)]
    Network(SubnetError),
    /// An MTU that a line cannot have.
    #[error("a line's MTU is from {MTU_MIN} to {MTU_MAX} octets, not {0}; it stays at its default")]
    Mtu(u32),
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a wg-quick file.
///
/// # Errors
///
/// Every mistake in it; what is only left out is none.
pub fn load(file: &Path) -> Result<Imported, Problems> {
    let text =
        kept_file::read_text(file, FILE_BYTES_MAX).map_err(|mistake| Problems::of_file(file, mistake))?;
    parse(file, &text)
}

/// Reads the text of a wg-quick file; `file` is only named in problems.
///
/// # Errors
///
/// Every mistake in it, none with a secret in it.
pub fn parse(file: &Path, text: &str) -> Result<Imported, Problems> {
    let mut problems = Collector::new(file, text);
    let mut import = Import::default();
    for row in rows::read(text, &mut problems) {
        import.take(text, row, &mut problems);
    }
    let private_key = import.required(text, &mut problems);
    match (problems.finish(), private_key) {
        (Some(problems), _) => Err(problems),
        (None, private_key) => {
            let private_key = private_key.expect("a key that is missing or wrong was noted");
            let preshared_key = import.preshared_key.filter(|key| !key.is_zero());
            let secrets = Secrets { preshared_key, ..Secrets::new(private_key) };
            let listen = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), import.listen_port.unwrap_or(0));
            let draft = Draft {
                listen: Some(listen),
                accept: Some(Accept::Only(import.accept)),
                mtu: import.mtu,
                addresses: import.addresses,
                keepalive: Some(import.keepalive),
                peer_public_key: import.public_key,
                peer_addresses: import.endpoint.into_iter().collect(),
                ..Draft::default()
            };
            Ok(Imported { draft, secrets, left_out: import.left_out })
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Import {
    private_key: Option<PrivateKey>,
    preshared_key: Option<PresharedKey>,
    public_key: Option<PublicKey>,
    listen_port: Option<u16>,
    mtu: Option<u16>,
    addresses: Vec<IpNet>,
    accept: Vec<IpNet>,
    endpoint: Option<DialAddress>,
    keepalive: Duration,
    left_out: Vec<LeftOut>,
    /// Keys that were there, right or wrong, to tell what is missing.
    seen: Vec<String>,
}

impl Import {
    fn take(&mut self, text: &str, row: Row, problems: &mut Collector<'_>) {
        let Row { section, value } = row;
        let key = value.key.to_ascii_lowercase();
        let is_list = matches!(
            key.as_str(),
            "address" | "allowedips" | "dns" | "preup" | "postup" | "predown" | "postdown"
        );
        if !is_list && self.seen.contains(&key) {
            value.wrong(problems, Mistake::Duplicate { value: value.key.clone() });
            return;
        }
        match (section, key.as_str()) {
            (Section::Interface, "privatekey") => self.private_key = parsed(&value, problems),
            (Section::Interface, "listenport") => self.listen_port = number(&value, "(a port)", problems),
            (Section::Interface, "address") => self.take_addresses(&value, problems),
            (Section::Interface, "mtu") => self.take_mtu(text, &value, problems),
            (Section::Interface, "dns") => {
                self.leave(text, &value, Reason::NameServers(excerpt(&value.value)))
            }
            (Section::Interface, "table") if value.value.eq_ignore_ascii_case("auto") => {}
            (Section::Interface, "table") => self.leave(text, &value, Reason::Table(excerpt(&value.value))),
            (Section::Interface, "saveconfig") if value.value.eq_ignore_ascii_case("false") => {}
            (Section::Interface, "saveconfig") => self.leave(text, &value, Reason::SaveConfig),
            (Section::Interface, "fwmark") if is_off(&value.value) => {}
            (Section::Interface, "fwmark") => {
                self.leave(text, &value, Reason::FirewallMark(excerpt(&value.value)))
            }
            (Section::Interface, "preup" | "postup" | "predown" | "postdown") => {
                self.leave(text, &value, Reason::Command)
            }
            (Section::Peer, "publickey") => self.public_key = parsed(&value, problems),
            (Section::Peer, "presharedkey") => self.preshared_key = parsed(&value, problems),
            (Section::Peer, "allowedips") => self.take_networks(text, &value, problems),
            (Section::Peer, "endpoint") => self.endpoint = parsed(&value, problems),
            (Section::Peer, "persistentkeepalive") if is_off(&value.value) => {}
            (Section::Peer, "persistentkeepalive") => {
                let seconds = number(&value, "seconds", problems).unwrap_or(0);
                self.keepalive = Duration::from_secs(seconds.into());
            }
            (section, _) => value.wrong(problems, section.unknown(&key)),
        }
        self.seen.push(key);
    }

    /// Notes what must be there and is not, and returns the one value nothing works without.
    fn required(&mut self, text: &str, problems: &mut Collector<'_>) -> Option<PrivateKey> {
        let required = [
            ("privatekey", "PrivateKey", "an [Interface] has one"),
            ("publickey", "PublicKey", "a [Peer] has one; without it nobody knows who the far end is"),
        ];
        for (key, shown, what_to_do) in required {
            if !self.seen.iter().any(|seen| seen == key) {
                problems.add(&(text.len()..text.len()), Some(shown.into()), Mistake::Missing(what_to_do));
            }
        }
        if let (Some(private_key), Some(public_key)) = (&self.private_key, self.public_key)
            && private_key.public_key() == public_key
        {
            problems.add(&(0..0), Some("PublicKey".into()), Mistake::OwnKey);
        }
        self.private_key.take()
    }

    fn take_addresses(&mut self, row: &Value, problems: &mut Collector<'_>) {
        for entry in rows::entries(row) {
            if self.addresses.len() == INTERFACE_ADDRESSES_MAX {
                return row.wrong(
                    problems,
                    Mistake::TooMany { found: INTERFACE_ADDRESSES_MAX + 1, max: INTERFACE_ADDRESSES_MAX },
                );
            }
            match subnet::parse_interface_address(&whole_address(&entry.value)) {
                Ok(address) if self.addresses.contains(&address) => {}
                Ok(address) => self.addresses.push(address),
                Err(error) => entry.wrong(problems, error.into()),
            }
        }
    }

    fn take_networks(&mut self, text: &str, row: &Value, problems: &mut Collector<'_>) {
        for entry in rows::entries(row) {
            if self.accept.len() == SUBNETS_MAX {
                return row.wrong(problems, Mistake::TooMany { found: SUBNETS_MAX + 1, max: SUBNETS_MAX });
            }
            // wg clears host bits without a word, so this does too.
            let network = match subnet::parse_subnet(&whole_address(&entry.value)) {
                Err(SubnetError::HostBits { network, .. }) => subnet::parse_subnet(&network.to_string()),
                result => result,
            };
            match network {
                Ok(network) if self.accept.contains(&network) => {}
                Ok(network) => self.accept.push(network),
                Err(SubnetError::Everything(network)) => {
                    self.leave(text, &entry, Reason::Everything(network))
                }
                Err(error @ SubnetError::NotRoutable { .. }) => {
                    self.leave(text, &entry, Reason::Network(error))
                }
                Err(error) => entry.wrong(problems, error.into()),
            }
        }
    }

    fn take_mtu(&mut self, text: &str, row: &Value, problems: &mut Collector<'_>) {
        let Ok(written) = row.value.parse::<u32>() else {
            let found = excerpt(&row.value);
            return row.wrong(
                problems,
                Mistake::OutOfRange { found, min: MTU_MIN.into(), max: MTU_MAX.into(), unit: "octets" },
            );
        };
        match u16::try_from(written).ok().filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu)) {
            Some(mtu) => self.mtu = Some(mtu),
            None => self.leave(text, row, Reason::Mtu(written)),
        }
    }

    fn leave<T>(&mut self, text: &str, at: &At<T>, reason: Reason) {
        self.left_out.push(LeftOut { place: Place::of(text, at.span.start), key: at.key.clone(), reason });
    }
}

fn parsed<T: FromStr<Err: Into<Mistake>>>(row: &Value, problems: &mut Collector<'_>) -> Option<T> {
    row.value.parse().map_err(|error: T::Err| row.wrong(problems, error.into())).ok()
}

fn number(row: &Value, unit: &'static str, problems: &mut Collector<'_>) -> Option<u16> {
    let digits = !row.value.is_empty() && row.value.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { row.value.parse().ok() } else { None };
    if number.is_none() {
        let found = excerpt(&row.value);
        row.wrong(problems, Mistake::OutOfRange { found, min: 0, max: u16::MAX.into(), unit });
    }
    number
}

/// An address without a prefix length is one host, to wg and to wg-quick.
fn whole_address(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(ip) => IpNet::from(ip).to_string(),
        Err(_) => text.to_owned(),
    }
}

fn is_off(value: &str) -> bool {
    value.eq_ignore_ascii_case("off") || value == "0"
}

#[cfg(test)]
mod tests;
