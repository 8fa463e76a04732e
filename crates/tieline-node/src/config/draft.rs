//! A configuration that the program writes for the operator: every key with its reason, those not chosen commented out.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use tieline_seal::PublicKey;

use super::{Accept, DialAddress, LineConfig};
use crate::kept_file::{self, Existing, PUBLIC_MODE, WriteError};
use crate::places::LineName;

/// What is chosen when a line is made; `None` leaves a key to its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// `listen`.
    pub listen: Option<SocketAddr>,
    /// `offer`.
    pub offer: Vec<IpNet>,
    /// `accept`.
    pub accept: Option<Accept>,
    /// `mtu`, in octets.
    pub mtu: Option<u16>,
    /// `address`.
    pub addresses: Vec<IpNet>,
    /// `device`.
    pub device: Option<String>,
    /// `routes`.
    pub routes: Option<bool>,
    /// `keepalive-seconds`; zero is off.
    pub keepalive: Option<Duration>,
    /// `peer.public-key`.
    pub peer_public_key: Option<PublicKey>,
    /// `peer.address`.
    pub peer_addresses: Vec<DialAddress>,
}

impl Draft {
    /// Returns the text of the file.
    #[must_use]
    pub fn to_text(&self, line: &LineName) -> String {
        let mut page = Page(String::with_capacity(4096));
        page.remark(&format!("The line {line}, as this end sees it. `tieline up {line}` runs it; mistakes are reported all at once."));
        page.remark("A row that begins with # is the default, or an example.");

        page.remark("\nWhere this end listens: IP address and UDP port. [::] is every address, IPv6 and IPv4; port 0 is any that is free.");
        page.row("listen", self.listen.map(quoted), "\"[::]:51820\"");

        page.remark("\nThe networks here that the far end may reach.");
        page.row("offer", list(&self.offer), "[\"10.1.0.0/24\"]");

        page.remark("\nWhose packets may come in, and what is sent to the far end: \"offered\" is all that it offers, a list is a limit.");
        let accept = self.accept.as_ref().map(|accept| match accept {
            Accept::Offered => quoted("offered"),
            Accept::Only(networks) => array(networks),
        });
        page.row("accept", accept, "\"offered\"");

        page.remark("\nIP between the offices. With false the line has no interface and needs no root: for pipe, send and ports.");
        page.row("routes", self.routes.map(|routes| routes.to_string()), "true");

        page.remark("\nThe interface: its name, its own addresses if it is to have any, its MTU in octets (1280 to 9000).");
        page.row("device", self.device.as_deref().map(quoted), &quoted(line));
        page.row("address", list(&self.addresses), "[\"10.99.0.1/30\"]");
        page.row("mtu", self.mtu.map(|mtu| mtu.to_string()), "1420");

        page.remark("\nWhere files from the far end arrive, and what we call ourselves to it (default: the host's name).");
        page.row("inbox", None, "\"/srv/inbox\"");
        page.row("name", None, &quoted(line));

        page.remark("\nSeconds between the packets that keep a way back through a NAT open; 0 is off. Default: 25 if peer.address is set, else 0.");
        page.row("keepalive-seconds", self.keepalive.map(|keepalive| keepalive.as_secs().to_string()), "25");

        page.remark("\nWhat the internet connection here carries outwards. Say it, and calls go first: a copy of files no longer ruins them.");
        page.row("rate.out", None, "\"20 Mbit/s\"");
        page.remark("And inwards, for the far end to keep to.");
        page.row("rate.in", None, "\"50 Mbit/s\"");
        page.remark(
            "Or have tieline find what the line carries outwards, and follow it; rate.out is the most then.",
        );
        page.row("rate.auto", None, "true");
        page.remark("\nWhat carriers see of how packets are marked: \"map\", a code point for each class of service; \"copy\"; or \"none\".");
        page.row("outer-dscp", None, "\"map\"");

        page.remark("\nThe far end may use the internet connection here (docs/offices.md).");
        page.row("internet.offer", None, "false");
        page.remark(
            "Or this end uses that of the far end, and no other: internet.use = \"everything\", or a list of networks.",
        );
        page.remark("\nThe Ethernet of both offices as one: the bridge of this machine that is joined, here and at the far end.");
        page.row("lan.bridge", None, "\"br0\"");

        page.raw("\n[peer]\n");
        page.remark("The far end's public key. Pairing finds it by itself and keeps it in the key file.");
        page.row("public-key", self.peer_public_key.map(quoted), "\"…\"");
        page.remark("\nWhere the far end can be dialled, \"HOST:PORT\" or a list tried in turn. Without one, we wait for it.");
        let addresses = match self.peer_addresses.as_slice() {
            [] => None,
            [one] => Some(quoted(one)),
            several => Some(array(several)),
        };
        page.row("address", addresses, "\"office.example:51820\"");
        page.0
    }

    /// Writes the file of a line that is new.
    ///
    /// # Errors
    ///
    /// [`std::io::ErrorKind::AlreadyExists`] if there is one, which stays; else what the system said.
    pub fn create(&self, line: &LineName, file: &Path) -> Result<(), WriteError> {
        kept_file::write(file, self.to_text(line).as_bytes(), PUBLIC_MODE, Existing::Keep)
    }
}

impl From<&LineConfig> for Draft {
    /// Chooses everything but what comes from the machine, `inbox` and `name`, and `[[path]]` and `[[files]]`, of which a new line has none.
    fn from(config: &LineConfig) -> Self {
        Self {
            listen: Some(config.listen),
            offer: config.offer.clone(),
            accept: Some(config.accept.clone()),
            mtu: config.routes.then_some(config.mtu),
            addresses: config.addresses.clone(),
            device: config.routes.then(|| config.device.clone()),
            routes: Some(config.routes),
            keepalive: Some(config.keepalive.unwrap_or_default()),
            peer_public_key: config.peer_public_key,
            peer_addresses: config.peer_addresses.clone(),
        }
    }
}

struct Page(String);

impl Page {
    fn raw(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// A comment; a newline before it leaves a row empty.
    fn remark(&mut self, text: &str) {
        let (gap, text) = text.strip_prefix('\n').map_or(("", text), |text| ("\n", text));
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(self.0, "{gap}# {text}");
    }

    /// A key with its value, or commented out with its default.
    fn row(&mut self, key: &str, chosen: Option<String>, default: &str) {
        let _ = match chosen {
            Some(value) => writeln!(self.0, "{key} = {value}"),
            None => writeln!(self.0, "# {key} = {default}"),
        };
    }
}

fn list<T: Display>(values: &[T]) -> Option<String> {
    if values.is_empty() { None } else { Some(array(values)) }
}

fn array<T: Display>(values: &[T]) -> String {
    let values: Vec<_> = values.iter().map(quoted).collect();
    format!("[{}]", values.join(", "))
}

fn quoted(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Defaults;
    use super::*;

    fn berlin() -> LineName {
        "berlin".parse().expect("a name")
    }

    fn read_back(draft: &Draft) -> LineConfig {
        let defaults = Defaults { name: "host".into(), inbox: "/inbox".into() };
        let text = draft.to_text(&berlin());
        LineConfig::parse(&berlin(), Path::new("berlin.toml"), &text, &defaults)
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    }

    #[test]
    fn a_draft_without_choices_is_the_default_configuration() {
        let config = read_back(&Draft::default());
        let defaults = Defaults { name: "host".into(), inbox: "/inbox".into() };
        assert_eq!(
            LineConfig::parse(&berlin(), Path::new("x"), "", &defaults).expect("the defaults"),
            config
        );
    }

    #[test]
    fn every_commented_row_is_valid_once_uncommented() {
        let text = Draft::default()
            .to_text(&berlin())
            .replace("\"…\"", "\"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\"");
        let text: Vec<_> = text
            .lines()
            .map(|row| {
                row.strip_prefix("# ")
                    .filter(|row| row.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
                    .unwrap_or(row)
            })
            .collect();
        let text = text.join("\n");
        assert_eq!(
            text.lines().filter(|row| row.contains(" = ") && !row.starts_with('#')).count(),
            18,
            "{text}"
        );
        let defaults = Defaults { name: "host".into(), inbox: "/inbox".into() };
        LineConfig::parse(&berlin(), Path::new("berlin.toml"), &text, &defaults)
            .unwrap_or_else(|problems| panic!("{problems}"));
    }

    fn networks() -> impl Strategy<Value = Vec<IpNet>> {
        // Distinct, and none overlapping another.
        proptest::collection::btree_set(any::<u8>(), 0..6).prop_map(|octets| {
            octets.iter().map(|octet| format!("10.{octet}.0.0/16").parse().expect("a network")).collect()
        })
    }

    fn drafts() -> impl Strategy<Value = Draft> {
        let accept = prop_oneof![
            Just(None),
            Just(Some(Accept::Offered)),
            proptest::collection::btree_set(any::<u16>(), 0..6).prop_map(|nets| Some(Accept::Only(
                nets.iter().map(|net| format!("2001:db8:{net:x}::/48").parse().expect("a network")).collect()
            ))),
        ];
        let peers = proptest::sample::subsequence(
            vec!["192.0.2.1:7", "[2001:db8::1]:51820", "office.example:1"],
            0..=3,
        )
        .prop_map(|texts| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<_>>());
        let key = proptest::option::of(any::<[u8; 32]>().prop_map(PublicKey::from_bytes));
        let keepalive =
            proptest::option::of(any::<u16>().prop_map(|seconds| Duration::from_secs(seconds.into())));
        let mtu = proptest::option::of(super::super::MTU_MIN..=super::super::MTU_MAX);
        let device = proptest::option::of("[a-zA-Z0-9_-]{1,15}");
        let listen = proptest::option::of((any::<bool>(), any::<u16>()).prop_map(|(six, port)| {
            if six {
                SocketAddr::new("2001:db8::7".parse().expect("an address"), port)
            } else {
                ([0, 0, 0, 0], port).into()
            }
        }));
        (listen, networks(), accept, mtu, device, keepalive, key, peers).prop_map(
            |(listen, offer, accept, mtu, device, keepalive, peer_public_key, peer_addresses)| Draft {
                listen,
                offer,
                accept,
                mtu,
                addresses: vec!["10.99.0.1/30".parse().expect("an address")],
                device,
                routes: None,
                keepalive,
                peer_public_key,
                peer_addresses,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_equal(draft in drafts()) {
            let config = read_back(&draft);
            prop_assert_eq!(&config.offer, &draft.offer);
            prop_assert_eq!(config.peer_public_key, draft.peer_public_key);
            prop_assert_eq!(&config.peer_addresses, &draft.peer_addresses);
            prop_assert_eq!(draft.accept.as_ref().is_none_or(|accept| *accept == config.accept), true);
            prop_assert_eq!(draft.listen.is_none_or(|listen| listen == config.listen), true);
            prop_assert_eq!(draft.mtu.is_none_or(|mtu| mtu == config.mtu), true);
            prop_assert_eq!(draft.device.as_ref().is_none_or(|device| *device == config.device), true);
            prop_assert_eq!(draft.keepalive.is_none_or(|keepalive| keepalive == config.keepalive.unwrap_or_default()), true);
            prop_assert_eq!(read_back(&Draft::from(&config)), config);
        }
    }
}
