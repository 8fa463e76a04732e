//! From the configuration as written to values that cannot hold nonsense.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tieline_line::{marks::OuterDscp, queue::Rate};
use tieline_seal::PublicKey;

use super::discovery;
use super::document::{At, OneOrMany};
use super::excerpt::excerpt;
use super::files;
use super::mistake::Mistake;
use super::path;
use super::ports;
use super::problems::{Collector, Place, Problem, Problems};
use super::subnet::{overlap, parse_interface_address, parse_subnet};
use super::written::{self, Written};
use super::{
    Accept, Defaults, DialAddress, END_NAME_CHARACTERS_MAX, KEEPALIVE_DEFAULT, LISTEN_DEFAULT, LineConfig,
    MTU_DEFAULT, PORT_DEFAULT, RateConfig,
};
use crate::places::LineName;
use crate::secrets::Secrets;

/// Where the far end's key stands, or would stand: what the key file says is checked against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerKeyPlace {
    file: PathBuf,
    place: Option<Place>,
}

/// Reads a whole configuration.
pub(super) fn read(
    line: &LineName,
    file: &Path,
    text: &str,
    defaults: &Defaults,
) -> Result<(LineConfig, PeerKeyPlace), Problems> {
    let mut problems = Collector::new(file, text);
    let written = written::read(text, &mut problems);
    written.check_effect(&mut problems);
    let place = written.peer_public_key.as_ref().map(|key| Place::of(text, key.span.start));
    let config = convert(line, written, defaults, &mut problems);
    match problems.finish() {
        Some(problems) => Err(problems),
        None => Ok((config, PeerKeyPlace { file: file.into(), place })),
    }
}

impl PeerKeyPlace {
    /// Returns how the two files contradict each other, if they do.
    pub(super) fn disagreement(&self, config: &LineConfig, secrets: &Secrets) -> Option<Problems> {
        let own = secrets.private_key.public_key();
        let mistake = match (config.peer_public_key, secrets.peer_public_key) {
            (Some(key), _) if key == own => Mistake::OwnKey,
            (Some(key), Some(paired)) if key != paired => {
                Mistake::PeerKeysDiffer { paired: paired.to_string() }
            }
            (Some(_), None) if secrets.invitation.is_some() => Mistake::InvitationPending,
            (None, None) if secrets.invitation.is_none() => Mistake::NoPeer,
            _ => return None,
        };
        let key = Some("peer.public-key".to_owned());
        Some(Problem { file: self.file.clone(), place: self.place, key, mistake }.into())
    }
}

/// Whether an end may be called so: something that can be printed, and is not too long.
pub(super) fn is_end_name(name: &str) -> bool {
    let characters = name.chars().count();
    (1..=END_NAME_CHARACTERS_MAX).contains(&characters)
        && !name.chars().any(char::is_control)
        && name.trim().len() == name.len()
}

const OUTER_DSCP: &[(&str, OuterDscp)] =
    &[("map", OuterDscp::Map), ("copy", OuterDscp::Copy), ("none", OuterDscp::None)];

/// Turns every value over. A value that is wrong is noted and its default stands in for it, so that the rest can be
/// looked at; the result is of use only if nothing was noted.
fn convert(
    line: &LineName,
    written: Written,
    defaults: &Defaults,
    problems: &mut Collector<'_>,
) -> LineConfig {
    let offer = written.offer.map(|list| subnets(list, problems)).unwrap_or_default();
    check_overlaps(&offer, problems);
    let (accept, accepted) = accept_of(written.accept, problems);
    check_both_ends(&accepted, &offer, problems);
    let peer_addresses = written.peer_address.map(|list| dial_addresses(list, problems)).unwrap_or_default();
    let keepalive_default = if peer_addresses.is_empty() { None } else { Some(KEEPALIVE_DEFAULT) };
    let keepalive = match written.keepalive_seconds {
        Some(At { value: 0, .. }) => None,
        Some(At { value: seconds, .. }) => Some(Duration::from_secs(seconds.into())),
        None => keepalive_default,
    };
    let listen = convert_or(written.listen, LISTEN_DEFAULT, problems, parse_listen_address);
    let inbox = convert_or(written.inbox, defaults.inbox.clone(), problems, absolute_path);
    LineConfig {
        line: line.clone(),
        name: convert_or(written.name, defaults.name.clone(), problems, end_name),
        listen,
        paths: path::paths(written.paths, listen, problems),
        voice_copies: path::voice_copies(written.voice_copies, problems),
        offer: offer.into_iter().map(|network| network.value).collect(),
        accept,
        routes: written.routes.is_none_or(|routes| routes.value),
        device: convert_or(written.device, line.to_string(), problems, device),
        mtu: written.mtu.map_or(MTU_DEFAULT, |mtu| mtu.value),
        addresses: written.address.map(|list| interface_addresses(list, problems)).unwrap_or_default(),
        files: files::typed::files(written.files, &inbox, problems),
        transfer: files::typed::transfer(written.transfer, problems),
        internet: written.internet.convert(problems),
        ports: ports::convert(written.ports, problems),
        discovery: discovery::convert(written.discovery, problems),
        inbox,
        keepalive,
        peer_public_key: written.peer_public_key.and_then(|key| convert_one(key, problems, public_key)),
        peer_addresses,
        lan: written.lan.and_then(|lan| super::lan::convert(lan, line, problems)),
        rate: RateConfig {
            out: convert_some(written.rate_out, problems, line_rate),
            inwards: convert_some(written.rate_in, problems, line_rate),
            auto: written.rate_auto.is_some_and(|auto| auto.value),
        },
        outer_dscp: files::typed::choice(written.outer_dscp, OUTER_DSCP, problems),
    }
}

pub(super) fn convert_some<T>(
    written: Option<At<String>>,
    problems: &mut Collector<'_>,
    read: impl FnOnce(&str) -> Result<T, Mistake>,
) -> Option<T> {
    convert_one(written?, problems, read)
}

/// A rate is written as for files.
fn line_rate(text: &str) -> Result<Rate, Mistake> {
    let rate: tieline_transfer::schedule::Rate = text.parse()?;
    Ok(Rate::from_bits_per_second(rate.bits_per_second()))
}

pub(super) fn convert_one<T>(
    written: At<String>,
    problems: &mut Collector<'_>,
    read: impl FnOnce(&str) -> Result<T, Mistake>,
) -> Option<T> {
    read(&written.value).map_err(|mistake| written.wrong(problems, mistake)).ok()
}

pub(super) fn convert_or<T>(
    written: Option<At<String>>,
    default: T,
    problems: &mut Collector<'_>,
    read: impl FnOnce(&str) -> Result<T, Mistake>,
) -> T {
    written.and_then(|written| convert_one(written, problems, read)).unwrap_or(default)
}

/// Converts each entry of a list; notes those that are wrong, and those that are there twice.
pub(super) fn convert_each<T: PartialEq + std::fmt::Display>(
    list: At<Vec<At<String>>>,
    problems: &mut Collector<'_>,
    read: impl Fn(&str) -> Result<T, Mistake>,
) -> Vec<At<T>> {
    let mut converted: Vec<At<T>> = Vec::with_capacity(list.value.len());
    for entry in list.value {
        match read(&entry.value) {
            Ok(value) if converted.iter().any(|earlier| earlier.value == value) => {
                entry.wrong(problems, Mistake::Duplicate { value: value.to_string() });
            }
            Ok(value) => converted.push(entry.map(|_| value)),
            Err(mistake) => entry.wrong(problems, mistake),
        }
    }
    converted
}

fn subnets(list: At<Vec<At<String>>>, problems: &mut Collector<'_>) -> Vec<At<IpNet>> {
    convert_each(list, problems, |text| Ok(parse_subnet(text)?))
}

fn interface_addresses(list: At<Vec<At<String>>>, problems: &mut Collector<'_>) -> Vec<IpNet> {
    let addresses = convert_each(list, problems, |text| Ok(parse_interface_address(text)?));
    addresses.into_iter().map(|address| address.value).collect()
}

fn dial_addresses(written: OneOrMany, problems: &mut Collector<'_>) -> Vec<DialAddress> {
    let list = match written {
        OneOrMany::One(one) => one.clone().map(|_| vec![one]),
        OneOrMany::Many(many) => many,
    };
    let addresses = convert_each(list, problems, |text| Ok(text.parse::<DialAddress>()?));
    addresses.into_iter().map(|address| address.value).collect()
}

fn accept_of(written: Option<OneOrMany>, problems: &mut Collector<'_>) -> (Accept, Vec<At<IpNet>>) {
    match written {
        None => (Accept::Offered, Vec::new()),
        Some(OneOrMany::One(word)) => {
            if word.value != "offered" {
                word.wrong(problems, Mistake::Accept(excerpt(&word.value)));
            }
            (Accept::Offered, Vec::new())
        }
        Some(OneOrMany::Many(list)) => {
            let accepted = subnets(list, problems);
            (Accept::Only(accepted.iter().map(|network| network.value).collect()), accepted)
        }
    }
}

fn check_overlaps(offer: &[At<IpNet>], problems: &mut Collector<'_>) {
    for (index, network) in offer.iter().enumerate() {
        if let Some(other) = offer[..index].iter().find(|other| overlap(&network.value, &other.value)) {
            network.wrong(problems, Mistake::Overlap { one: network.value, other: other.value });
        }
    }
}

fn check_both_ends(accepted: &[At<IpNet>], offer: &[At<IpNet>], problems: &mut Collector<'_>) {
    for network in accepted {
        if let Some(ours) = offer.iter().find(|ours| overlap(&network.value, &ours.value)) {
            network
                .wrong(problems, Mistake::AcceptsOwnOffer { accepted: network.value, offered: ours.value });
        }
    }
}

fn end_name(text: &str) -> Result<String, Mistake> {
    if is_end_name(text) {
        Ok(text.to_owned())
    } else {
        Err(Mistake::EndName { max: END_NAME_CHARACTERS_MAX })
    }
}

/// Reads an address to listen on: IP address and port, where port 0 is any that is free.
///
/// # Errors
///
/// [`Mistake::Listen`], with what was probably meant.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, Mistake> {
    let meant = match text.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_multicast() => return Ok(address),
        Ok(_) => None,
        Err(_) => listen_meant(text),
    };
    Err(Mistake::Listen { written: excerpt(text), meant })
}

/// A port alone and an address alone are what people write for the usual rest.
fn listen_meant(text: &str) -> Option<String> {
    let port = text.trim_start_matches('*').trim_start_matches(':').parse::<u16>();
    let ip = text.trim_start_matches('[').trim_end_matches(']').parse();
    match (port, ip) {
        (Ok(port), _) => Some(format!("[::]:{port}")),
        (Err(_), Ok(ip)) => Some(SocketAddr::new(ip, PORT_DEFAULT).to_string()),
        (Err(_), Err(_)) => None,
    }
}

pub(super) fn device(text: &str) -> Result<String, Mistake> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = (1..=LineName::BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
    if fits { Ok(text.to_owned()) } else { Err(Mistake::Device(excerpt(text))) }
}

pub(super) fn absolute_path(text: &str) -> Result<PathBuf, Mistake> {
    let path = PathBuf::from(text);
    if text.contains('\0') {
        Err(Mistake::NulInPath)
    } else if path.is_absolute() {
        Ok(path)
    } else {
        Err(Mistake::RelativePath(path))
    }
}

fn public_key(text: &str) -> Result<PublicKey, Mistake> {
    Ok(text.parse()?)
}
