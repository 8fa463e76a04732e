//! The configuration as the file has it: known keys, right types, places. What the values mean is not looked at.

use super::discovery::{self, WrittenDiscovery};
use super::document::{At, OneOrMany, Table, parse};
use super::files::written::{WrittenFiles, WrittenTransfer, read_files, read_transfer};
use super::internet::{self, WrittenInternet};
use super::lan::{self, WrittenLan};
use super::mistake::Mistake;
use super::path::{WrittenPath, read_paths};
use super::ports::{self, WrittenPort};
use super::problems::Collector;
use super::{INTERFACE_ADDRESSES_MAX, MTU_MAX, MTU_MIN, PEER_ADDRESSES_MAX, SUBNETS_MAX};

/// Every key of the file; `None` where it is not there, or is wrong and was noted.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) listen: Option<At<String>>,
    pub(super) offer: Option<At<Vec<At<String>>>>,
    pub(super) accept: Option<OneOrMany>,
    pub(super) mtu: Option<At<u16>>,
    pub(super) address: Option<At<Vec<At<String>>>>,
    pub(super) device: Option<At<String>>,
    pub(super) routes: Option<At<bool>>,
    pub(super) inbox: Option<At<String>>,
    pub(super) name: Option<At<String>>,
    pub(super) keepalive_seconds: Option<At<u16>>,
    pub(super) peer_public_key: Option<At<String>>,
    pub(super) peer_address: Option<OneOrMany>,
    pub(super) rate_out: Option<At<String>>,
    pub(super) rate_in: Option<At<String>>,
    pub(super) rate_auto: Option<At<bool>>,
    pub(super) outer_dscp: Option<At<String>>,
    pub(super) paths: Vec<WrittenPath>,
    pub(super) voice_copies: Option<At<String>>,
    pub(super) lan: Option<WrittenLan>,
    pub(super) files: Vec<WrittenFiles>,
    pub(super) transfer: WrittenTransfer,
    pub(super) internet: WrittenInternet,
    pub(super) ports: Vec<WrittenPort>,
    pub(super) discovery: WrittenDiscovery,
}

/// Reads the file as far as it can be read; everything else is noted in `problems`.
pub(super) fn read(text: &str, problems: &mut Collector<'_>) -> Written {
    let mut file = parse(text, problems);
    let mut peer: Table<'_> = file.table("peer", "peer.", problems);
    let mut rate: Table<'_> = file.table("rate", "rate.", problems);
    let written = Written {
        listen: file.text("listen", problems),
        offer: file.texts("offer", SUBNETS_MAX, problems),
        accept: file.text_or_texts("accept", SUBNETS_MAX, problems),
        mtu: file.number("mtu", MTU_MIN..=MTU_MAX, "octets", problems),
        address: file.texts("address", INTERFACE_ADDRESSES_MAX, problems),
        device: file.text("device", problems),
        routes: file.boolean("routes", problems),
        inbox: file.text("inbox", problems),
        name: file.text("name", problems),
        keepalive_seconds: file.number("keepalive-seconds", 0..=u16::MAX, "seconds", problems),
        peer_public_key: peer.text("public-key", problems),
        peer_address: peer.text_or_texts("address", PEER_ADDRESSES_MAX, problems),
        rate_out: rate.text("out", problems),
        rate_in: rate.text("in", problems),
        rate_auto: rate.boolean("auto", problems),
        outer_dscp: file.text("outer-dscp", problems),
        paths: read_paths(&mut file, problems),
        voice_copies: file.text("voice-copies", problems),
        lan: lan::read(&mut file, problems),
        files: read_files(&mut file, problems),
        transfer: read_transfer(&mut file, problems),
        internet: internet::read(&mut file, problems),
        ports: ports::read(&mut file, problems),
        discovery: discovery::read(&mut file, problems),
    };
    file.finish(problems);
    peer.finish(problems);
    rate.finish(problems);
    written
}

impl Written {
    /// Notes the keys that do nothing on a bare line: whoever wrote them expects an interface.
    pub(super) fn check_effect(&self, problems: &mut Collector<'_>) {
        if self.routes.as_ref().is_none_or(|routes| routes.value) {
            return;
        }
        let places = [
            self.offer.as_ref().filter(|offer| !offer.value.is_empty()).map(|offer| offer.clone().map(drop)),
            // Frames have to fit it as well.
            self.mtu.clone().filter(|_| self.lan.is_none()).map(|mtu| mtu.map(drop)),
            self.address.as_ref().filter(|list| !list.value.is_empty()).map(|list| list.clone().map(drop)),
            self.device.clone().map(|device| device.map(drop)),
            self.discovery
                .relay
                .as_ref()
                .filter(|relay| !relay.value.is_empty())
                .map(|relay| relay.clone().map(drop)),
        ];
        for place in places.into_iter().flatten().chain(self.internet.places()) {
            place.wrong(problems, Mistake::NeedsRoutes);
        }
    }
}
