//! The configuration as a whole: every key, every mistake, and the two files together.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tieline_seal::{InvitationSecret, PrivateKey};

use super::files::Policy;
use super::*;
use crate::places::{PlacesChoice, Surroundings};

mod discovery;
mod files;
mod internet;
mod ports;

const FILE: &str = "/etc/tieline/berlin.toml";
const PEER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

#[test]
fn an_empty_file_is_the_default_line() {
    let config = parse("").expect("the defaults");
    assert_eq!(
        config,
        LineConfig {
            line: berlin(),
            name: "host".into(),
            listen: "[::]:51820".parse().expect("an address"),
            paths: vec![],
            voice_copies: VoiceCopies::WhenLossy,
            offer: vec![],
            accept: Accept::Offered,
            routes: true,
            device: "berlin".into(),
            mtu: 1420,
            addresses: vec![],
            inbox: "/inbox".into(),
            keepalive: None,
            peer_public_key: None,
            peer_addresses: vec![],
            files: vec![],
            transfer: no_transfer(),
            internet: InternetConfig::None,
            ports: vec![],
            discovery: DiscoveryConfig::default(),
            rate: RateConfig::default(),
            outer_dscp: OuterDscp::Map,
            lan: None,
        }
    );
}

#[test]
fn every_key_is_read() {
    let config = parse(&format!(
        r#"
        listen = "192.0.2.1:4500"
        offer = ["10.1.0.0/24", "2001:db8:1::/48"]
        accept = ["10.2.0.0/24"]
        mtu = 0x500
        address = ["10.99.0.1/30", "fd00::1/64"]
        device = "Tie_0"
        inbox = "/srv/inbox"
        name = "Büro Berlin"
        keepalive-seconds = 7
        routes = true
        outer-dscp = "none"
        voice-copies = "always"
        [peer]
        public-key = "{PEER}"
        address = ["office.example:51820", "[2001:db8::5]:51820"]
        [[path]]
        listen = "192.0.2.1:4501"
        device = "eth1"
        address = "office.example:4501"
        [[path]]
        "#
    ))
    .expect("all of it is right");
    assert_eq!(
        config,
        LineConfig {
            line: berlin(),
            name: "Büro Berlin".into(),
            listen: "192.0.2.1:4500".parse().expect("an address"),
            paths: vec![
                PathConfig {
                    listen: "192.0.2.1:4501".parse().expect("an address"),
                    device: Some("eth1".into()),
                    address: Some(dial("office.example:4501")),
                },
                PathConfig { listen: "[::]:0".parse().expect("an address"), device: None, address: None },
            ],
            voice_copies: VoiceCopies::Always,
            offer: vec![network("10.1.0.0/24"), network("2001:db8:1::/48")],
            accept: Accept::Only(vec![network("10.2.0.0/24")]),
            routes: true,
            device: "Tie_0".into(),
            mtu: 1280,
            addresses: vec![network("10.99.0.1/30"), network("fd00::1/64")],
            inbox: "/srv/inbox".into(),
            keepalive: Some(Duration::from_secs(7)),
            peer_public_key: Some(PEER.parse().expect("a key")),
            peer_addresses: vec![dial("office.example:51820"), dial("[2001:db8::5]:51820")],
            files: vec![],
            transfer: no_transfer(),
            internet: InternetConfig::None,
            ports: vec![],
            discovery: DiscoveryConfig::default(),
            rate: RateConfig::default(),
            outer_dscp: OuterDscp::None,
            lan: None,
        }
    );
}

#[test]
fn the_common_ethernet_is_read() {
    let lan = |text: &str| parse(text).expect(text).lan;
    let default = LanConfig {
        joins: lan::Joins::Bridge("br0".into()),
        device: "berlin-lan".into(),
        dhcp: false,
        router_advertisements: false,
        storm_limit: 1000,
    };
    assert_eq!(lan("routes = false\nmtu = 1300\n[lan]\nbridge = \"br0\""), Some(default.clone()));
    let all = "[lan]\ninterface = \"eth1\"\ndevice = \"tl0\"\ndhcp = true\nrouter-advertisements = true\nstorm-limit = 50";
    let joins = lan::Joins::Interface("eth1".into());
    let (dhcp, router_advertisements, storm_limit) = (true, true, 50);
    let all_of_it = LanConfig { joins, device: "tl0".into(), dhcp, router_advertisements, storm_limit };
    assert_eq!(lan(all), Some(all_of_it));
    assert_eq!(lan(""), None);
}

#[test]
fn the_end_that_dials_keeps_the_way_open_unless_told_otherwise() {
    let keepalive = |text| parse(text).expect(text).keepalive;
    assert_eq!(keepalive("peer.address = \"192.0.2.1:1\""), Some(KEEPALIVE_DEFAULT));
    assert_eq!(keepalive("keepalive-seconds = 0\npeer.address = \"192.0.2.1:1\""), None);
    assert_eq!(keepalive("keepalive-seconds = 60"), Some(Duration::from_secs(60)));
    assert_eq!(keepalive("peer.address = []"), None);
}

#[test]
fn three_mistakes_are_three_reports() {
    let problems = parse("mtu = 100\n\nofer = []\nlisten = \"51820\"\n").expect_err("three mistakes");
    assert_eq!(
        problems.to_string().lines().collect::<Vec<_>>(),
        [
            "/etc/tieline/berlin.toml:1:7: mtu: must be from 1280 to 9000 octets, and is 100",
            "/etc/tieline/berlin.toml:3:1: ofer: there is no such key; did you mean `offer`?",
            "/etc/tieline/berlin.toml:4:10: listen: \"51820\" is not an address to listen on; write [::]:51820",
        ]
    );
}

#[test]
fn every_mistake_is_reported_with_its_place_and_what_to_do() {
    let long_name = format!("name = \"{}\"", "n".repeat(65));
    let many_networks = format!("offer = [{}]", "\"10.0.0.0/8\",".repeat(257));
    let peer_twice = format!("[peer]\npublic-key = \"{PEER}\"\npublic-key = \"{PEER}\"");
    let mistakes = [
        // Syntax.
        ("mtu = ", "1:", "syntax", "is not TOML"),
        ("offer = [\"10.1.0.0/24\"", "1:", "syntax", "is not TOML"),
        ("mtu 1420", "1:", "syntax", "is not TOML"),
        ("name = \"a\nmtu = 1420", "1:", "syntax", "is not TOML"),
        ("mtu = 1420\nmtu = 1420", "2:", "syntax", "duplicate key"),
        (&peer_twice, "3:1:", "syntax", "duplicate key"),
        // Keys.
        ("dns = [\"10.1.0.1\"]", "1:1: dns:", "unknown-key", "there are peer, rate, listen, offer"),
        ("[peer]\npublickey = \"\"", "2:1: peer.publickey:", "unknown-key", "did you mean `public-key`?"),
        ("[peer]\n\"a\\nb\" = \"\"", "2:1: peer.a\\nb:", "unknown-key", "there are public-key, address"),
        ("[pear]\naddress = \"192.0.2.1:1\"", "1:2: pear:", "unknown-key", "did you mean `peer`?"),
        // Types.
        ("listen = 51820", "1:10: listen:", "type", "must be a text in quotes, and is a whole number"),
        ("offer = \"10.1.0.0/24\"", "1:9: offer:", "type", "must be a list of texts, and is a text"),
        ("offer = [\n  7,\n]", "2:3: offer[0]:", "type", "must be a text in quotes, and is a whole number"),
        ("accept = true", "1:10: accept:", "type", "a list of them, and is true or false"),
        ("mtu = \"1420\"", "1:7: mtu:", "type", "must be a whole number, and is a text"),
        ("mtu = 1420.5", "1:7: mtu:", "type", "and is a number with a fraction"),
        ("mtu = 2024-01-01", "1:7: mtu:", "type", "and is a date or a time"),
        ("routes = 1", "1:10: routes:", "type", "must be true or false, and is a whole number"),
        ("peer = 1", "1:8: peer:", "type", "must be a table, and is a whole number"),
        ("[[peer]]\naddress = \"192.0.2.1:1\"", "1:1: peer:", "type", "must be a table, and is a list"),
        ("[mtu]", "1:1: mtu:", "type", "must be a whole number, and is a table"),
        // Numbers.
        ("mtu = 1279", "1:7: mtu:", "out-of-range", "from 1280 to 9000 octets, and is 1279"),
        ("mtu = 9001", "1:7: mtu:", "out-of-range", "and is 9001"),
        ("mtu = -1420", "1:7: mtu:", "out-of-range", "and is -1420"),
        ("mtu = 99999999999999999999999", "1:7: mtu:", "out-of-range", "and is 99999999999999999999999"),
        ("keepalive-seconds = 65536", "1:21: keepalive-seconds:", "out-of-range", "from 0 to 65535 seconds"),
        // Listening.
        ("listen = \"51820\"", "1:10: listen:", "listen", "write [::]:51820"),
        ("listen = \":51820\"", "1:10: listen:", "listen", "write [::]:51820"),
        ("listen = \"*:51820\"", "1:10: listen:", "listen", "write [::]:51820"),
        ("listen = \"192.0.2.1\"", "1:10: listen:", "listen", "write 192.0.2.1:51820"),
        ("listen = \"2001:db8::1\"", "1:10: listen:", "listen", "write [2001:db8::1]:51820"),
        (
            "listen = \"office.example:51820\"",
            "1:10: listen:",
            "listen",
            "write it as [::]:51820, 0.0.0.0:51820",
        ),
        ("listen = \"224.0.0.1:51820\"", "1:10: listen:", "listen", "one of this machine's own addresses"),
        // Networks.
        (
            "offer = [\"10.1.0.5/24\"]",
            "1:10: offer[0]:",
            "host-bits",
            "10.1.0.5/24 has host bits set; write 10.1.0.0/24",
        ),
        ("offer = [\"10.1.0.0\"]", "1:10: offer[0]:", "subnet", "has no prefix length"),
        ("offer = [\"office\"]", "1:10: offer[0]:", "subnet", "is not a network"),
        ("offer = [\"0.0.0.0/0\"]", "1:10: offer[0]:", "subnet", "internet.use"),
        ("accept = [\"::/0\"]", "1:11: accept[0]:", "subnet", "internet.use"),
        (
            "offer = [\"10.1.0.0/24\", \"10.1.0.0/24\"]",
            "1:25: offer[1]:",
            "duplicate",
            "10.1.0.0/24 stands here twice",
        ),
        (
            "offer = [\"10.1.0.0/24\", \"10.0.0.0/8\"]",
            "1:25: offer[1]:",
            "overlap",
            "10.0.0.0/8 overlaps 10.1.0.0/24",
        ),
        (&many_networks, "1:9: offer:", "too-many", "has 257 entries, and at most 256 are possible"),
        ("accept = \"everything\"", "1:10: accept:", "accept", "must be \"offered\" or a list of networks"),
        (
            "offer = [\"10.0.0.0/8\"]\naccept = [\"10.1.0.0/16\"]",
            "2:11: accept[0]:",
            "accepts-own-offer",
            "10.1.0.0/16 overlaps 10.0.0.0/8, which this end offers",
        ),
        // The interface.
        ("address = [\"10.99.0.0/30\"]", "1:12: address[0]:", "interface-address", "may be 10.99.0.1/30"),
        (
            "address = [\"10.99.0.1/30\", \"10.99.0.1/30\"]",
            "1:28: address[1]:",
            "duplicate",
            "stands here twice",
        ),
        ("device = \"a/b\"", "1:10: device:", "device", "\"a/b\" cannot name an interface"),
        ("device = \"abcdefghijklmnop\"", "1:10: device:", "device", "1 to 15 letters"),
        ("device = \"\"", "1:10: device:", "device", "cannot name an interface"),
        ("routes = false\nmtu = 1400", "2:7: mtu:", "needs-routes", "has no effect while `routes = false`"),
        ("routes = false\noffer = [\"10.1.0.0/24\"]", "2:9: offer:", "needs-routes", "remove it"),
        ("routes = false\ndevice = \"tie0\"", "2:10: device:", "needs-routes", "remove it"),
        ("routes = false\naddress = [\"10.99.0.1/30\"]", "2:11: address:", "needs-routes", "remove it"),
        // Further paths.
        ("[[path]]\ndevice = \"a/b\"", "2:10: path[0].device:", "path-device", "`ip link` shows"),
        ("[[path]]\ndevice = \"abcdefghijklmnop\"", "2:10: path[0].device:", "path-device", "not the name"),
        ("[[path]]\nlisten = \"[::]:51820\"", "2:10: path[0].listen:", "listens-twice", "another port"),
        ("[[path]]\naddress = \"a\"", "2:11: path[0].address:", "dial-address", "write a:51820"),
        ("[[path]]\n[[path]]\n[[path]]\n[[path]]", "1:1: path:", "too-many", "4"),
        ("voice-copies = \"never\"", "1:16: voice-copies:", "choice", "when-lossy"),
        // The common Ethernet.
        ("[lan]", "1:1: lan:", "nothing-to-join", "write `bridge = \"br0\"`"),
        ("[lan]\nbridge = \"br0\"\ninterface = \"eth1\"", "1:1: lan:", "two-to-join", "remove one"),
        ("[lan]\nbridge = \"a/b\"", "2:10: lan.bridge:", "device", "cannot name an interface"),
        ("[lan]\nbridge = \"br0\"\nstorm-limit = 9", "3:15: lan.storm-limit:", "out-of-range", "from 10 to"),
        ("[lan]\nbridge = \"br0\"\nvlan = 5", "3:1: lan.vlan:", "unknown-key", "there are bridge, interface"),
        // Names and paths.
        ("inbox = \"inbox\"", "1:9: inbox:", "relative-path", "\"inbox\" is not an absolute path"),
        ("inbox = \"/a\\u0000b\"", "1:9: inbox:", "nul-in-path", "it holds a NUL"),
        ("name = \"\"", "1:8: name:", "end-name", "1 to 64 printable characters"),
        ("name = \"a\\tb\"", "1:8: name:", "end-name", "printable"),
        ("name = \" a\"", "1:8: name:", "end-name", "printable"),
        (&long_name, "1:8: name:", "end-name", "1 to 64"),
        // The far end.
        (
            "[peer]\npublic-key = \"abc\"",
            "2:14: peer.public-key:",
            "key",
            "a key has 44 characters, this has 3",
        ),
        (
            "[peer]\naddress = \"office.example\"",
            "2:11: peer.address:",
            "dial-address",
            "write office.example:51820",
        ),
        (
            "[peer]\naddress = [\"192.0.2.1:1\", \"192.0.2.1:0\"]",
            "2:27: peer.address[1]:",
            "dial-address",
            "\"0\" is not a port",
        ),
        (
            "[peer]\naddress = [\"a:1\", \"A:1\"]",
            "2:19: peer.address[1]:",
            "duplicate",
            "a:1 stands here twice",
        ),
    ];
    for (text, place, code, sentence) in mistakes {
        let problems = parse(text).expect_err(text);
        let shown = problems.to_string();
        assert!(shown.starts_with(&format!("{FILE}:{place}")), "{text:?}: {shown}");
        let first = problems.iter().next().expect("at least one");
        assert_eq!(first.mistake.code(), code, "{text:?}: {shown}");
        assert!(first.to_string().contains(sentence), "{text:?}: {shown}");
        assert!(
            !shown.contains('\n') || code == "syntax",
            "{text:?} is one mistake, reported as more: {shown}"
        );
    }
}

#[test]
fn a_syntax_error_does_not_hide_the_other_mistakes() {
    let problems =
        parse("listen = \nmtu = 3\noffer = [\"10.1.0.1/24\"]\n").expect_err("three mistakes").to_string();
    assert!(problems.contains("1:"), "{problems}");
    assert!(problems.contains("2:7: mtu: must be from 1280"), "{problems}");
    assert!(problems.contains("3:10: offer[0]: 10.1.0.1/24 has host bits set"), "{problems}");
}

#[test]
fn the_mistakes_of_both_files_are_reported_together() {
    let end = End::new();
    end.write("toml", "mtu = 1\n", 0o644);
    end.write("key", "private-key = \"x\"\n", 0o600);
    let problems = end.load().expect_err("a mistake in each").to_string();
    assert!(problems.contains("berlin.toml:1:7: mtu:"), "{problems}");
    assert!(problems.contains("berlin.key:1:15: private-key:"), "{problems}");
}

#[test]
fn files_that_are_missing_or_open_to_others_are_reported_together() {
    let end = End::new();
    let problems = end.load().expect_err("nothing there").to_string();
    assert_eq!(
        problems.matches("there is no such file; make a line with `tieline new`").count(),
        2,
        "{problems}"
    );
    end.write_key(0o644);
    let problems = end.load().expect_err("one is missing, one is open").to_string();
    assert!(problems.contains("berlin.toml: there is no such file"), "{problems}");
    assert!(
        problems.contains("berlin.key: others may read it (mode 644); its keys are secret: run `chmod 600"),
        "{problems}"
    );
}

#[test]
fn a_file_that_is_too_large_or_not_text_is_refused() {
    let end = End::new();
    end.write_key(0o600);
    end.write("toml", &"#".repeat(256 * 1024 + 1), 0o644);
    assert!(end.load().expect_err("too large").to_string().contains("has more than 262144 bytes"));
    std::fs::write(end.file("toml"), b"mtu = 1420\nname = \"\xff\"\n").expect("a file");
    assert!(
        end.load().expect_err("no text").to_string().contains("is not UTF-8 text: row 2 holds other bytes")
    );
}

#[test]
fn the_two_files_must_agree_who_the_far_end_is() {
    let peer_row = format!("[peer]\npublic-key = \"{PEER}\"\n");
    let other: PublicKey = PrivateKey::from_bytes([9; 32]).public_key();
    let own_row = format!("peer.public-key = \"{}\"\n", private_key().public_key());
    let secret = || InvitationSecret::from_bytes([7; 16]);
    let known = |peer| Secrets { peer_public_key: Some(peer), ..Secrets::new(private_key()) };
    let cases = [
        ("", Secrets::new(private_key()), Some("berlin.toml: peer.public-key: no far end is known")),
        (&peer_row, Secrets::new(private_key()), None),
        (&peer_row, Secrets::joining(private_key(), secret()), None),
        ("", Secrets::inviting(private_key(), secret()), None),
        ("", known(other), None),
        (&peer_row, known(PEER.parse().expect("a key")), None),
        (
            &peer_row,
            known(other),
            Some("berlin.toml:2:14: peer.public-key: is not the key that this line was paired with"),
        ),
        (
            &peer_row,
            Secrets::inviting(private_key(), secret()),
            Some("2:14: peer.public-key: stands here while an invitation"),
        ),
        (
            &own_row,
            Secrets::new(private_key()),
            Some("berlin.toml:1:19: peer.public-key: is this end's own public key"),
        ),
    ];
    for (text, secrets, expected) in cases {
        let end = End::new();
        end.write("toml", text, 0o644);
        secrets.save(&end.file("key")).expect("saved");
        match (end.load(), expected) {
            (Ok(line), None) => {
                assert_eq!(line.peer_public_key().is_none(), line.secrets.invitation.is_some())
            }
            (Err(problems), Some(expected)) => assert!(problems.to_string().contains(expected), "{problems}"),
            (loaded, expected) => panic!("{text:?}: expected {expected:?}, got {loaded:?}"),
        }
    }
}

#[test]
fn the_default_name_is_the_hosts_and_the_default_inbox_follows_the_folder() {
    let end = End::new();
    let defaults = Defaults::of(&end.places, &berlin());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("every host has a name");
    assert_eq!(defaults.name, host.trim());
    assert_eq!(defaults.inbox, end.folder.path().join("berlin/inbox"));
}

proptest! {
    #[test]
    fn garbage_never_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn garbage_made_of_the_right_words_never_panics(text in WORDS) {
        if let Err(problems) = parse(&text) {
            prop_assert!(problems.iter().count() >= 1);
            prop_assert!(serde_json::to_string(&problems).is_ok());
        }
    }
}

const WORDS: &str = "((listen|offer|accept|mtu|address|device|inbox|name|routes|keepalive-seconds|\\[peer\\]|public-key|\\[|\\]|\\{|\\}|=|\\.|,|\"|'|\"\"\"|\n|#|10\\.1\\.0\\.0/24|::/0|1420|true|\\\\u|é| ){1,3}){0,60}";

/// The files of one end in a folder of its own.
struct End {
    folder: tempfile::TempDir,
    places: Places,
}

impl End {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let choice =
            PlacesChoice { config_dir: Some(folder.path().into()), runtime_dir: Some("/run/tieline".into()) };
        let places = Places::resolve(&choice, &Surroundings::default()).expect("places");
        Self { folder, places }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.path().join(format!("berlin.{ending}"))
    }

    fn write(&self, ending: &str, text: &str, mode: u32) {
        std::fs::write(self.file(ending), text).expect("a file");
        std::fs::set_permissions(self.file(ending), PermissionsExt::from_mode(mode)).expect("ours");
    }

    fn write_key(&self, mode: u32) {
        Secrets::new(private_key()).save(&self.file("key")).expect("saved");
        std::fs::set_permissions(self.file("key"), PermissionsExt::from_mode(mode)).expect("ours");
    }

    fn load(&self) -> Result<Line, Problems> {
        Line::load(&self.places, &berlin())
    }
}

fn parse(text: &str) -> Result<LineConfig, Problems> {
    let defaults = Defaults { name: "host".into(), inbox: "/inbox".into() };
    LineConfig::parse(&berlin(), Path::new(FILE), text, &defaults)
}

fn berlin() -> LineName {
    "berlin".parse().expect("a name")
}

fn private_key() -> PrivateKey {
    PrivateKey::from_bytes([5; 32])
}

fn no_transfer() -> TransferConfig {
    TransferConfig { policy: Policy::Fair, rate: None, schedule: None }
}

fn network(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn dial(text: &str) -> DialAddress {
    text.parse().expect("an address")
}
