//! Files as wg-quick users have them.

use proptest::prelude::*;

use super::*;
use crate::config::{Defaults, LineConfig};

const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const PEER: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const PRESHARED: &str = "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak=";

fn read(text: &str) -> Result<Imported, Problems> {
    parse(Path::new("/etc/wireguard/wg0.conf"), text)
}

fn plain(interface: &str, peer: &str) -> String {
    format!("[Interface]\nPrivateKey = {KEY}\n{interface}\n[Peer]\nPublicKey = {PEER}\n{peer}\n")
}

#[test]
fn a_full_file_becomes_a_line() {
    let imported = read(&format!(
        "# the office\r\n[interface]\r\nprivatekey={KEY}\r\nListenPort = 4500\r\nAddress = 10.99.0.1/30, fd00::1/64\r\n\
         Address=192.0.2.7 # one host\r\nMTU = 1380\r\n\r\n[Peer]\r\nPublicKey = {PEER}\r\nPresharedKey = {PRESHARED}\r\n\
         AllowedIPs = 10.2.0.0/24,2001:db8:2::/48\r\nAllowedIPs = 10.99.0.2\r\nEndpoint = office.example:51820\r\n\
         PersistentKeepalive = 25\r\n"
    ))
    .expect("all of it can be carried over");
    let networks =
        |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect::<Vec<IpNet>>();
    assert_eq!(
        imported.draft,
        Draft {
            listen: Some("[::]:4500".parse().expect("an address")),
            offer: vec![],
            accept: Some(Accept::Only(networks(&["10.2.0.0/24", "2001:db8:2::/48", "10.99.0.2/32"]))),
            mtu: Some(1380),
            addresses: networks(&["10.99.0.1/30", "fd00::1/64", "192.0.2.7/32"]),
            device: None,
            routes: None,
            keepalive: Some(Duration::from_secs(25)),
            peer_public_key: Some(PEER.parse().expect("a key")),
            peer_addresses: vec!["office.example:51820".parse().expect("an address")],
        }
    );
    let mut secrets = Secrets::new(KEY.parse().expect("a key"));
    secrets.preshared_key = Some(PRESHARED.parse().expect("a key"));
    assert_eq!(imported.secrets, secrets);
    assert_eq!(imported.left_out, []);
}

#[test]
fn what_is_not_said_is_as_wireguard_has_it() {
    let imported = read(&plain("", "")).expect("enough for a line");
    assert_eq!(imported.draft.listen, Some("[::]:0".parse().expect("any port")));
    assert_eq!(imported.draft.accept, Some(Accept::Only(vec![])));
    assert_eq!(imported.draft.keepalive, Some(Duration::ZERO));
    assert_eq!(imported.secrets.preshared_key, None);
    for off in
        ["PersistentKeepalive = off", "PersistentKeepalive = 0", "AllowedIPs =", "Endpoint = 192.0.2.1:1"]
    {
        assert_eq!(
            read(&plain("FwMark = off\nTable = auto\nSaveConfig = false", off)).expect(off).left_out,
            []
        );
    }
}

#[test]
fn everything_that_is_left_out_is_named_with_its_place_and_reason() {
    let cases = [
        (
            "DNS = 10.1.0.53, example.org",
            "",
            "DNS",
            "set the name servers (10.1.0.53, example.org) on this machine",
        ),
        ("PostUp = iptables -A FORWARD -i %i -j ACCEPT", "", "PostUp", "runs no commands"),
        ("PreUp = true", "", "PreUp", "runs no commands"),
        ("PreDown = true", "", "PreDown", "runs no commands"),
        ("postdown = true", "", "postdown", "drop-in of the unit tieline@NAME.service"),
        ("Table = off", "", "Table", "into the main table, not into \"off\""),
        ("Table = 1234", "", "Table", "not into \"1234\""),
        ("SaveConfig = true", "", "SaveConfig", "never writes the operator's file"),
        ("FwMark = 0xca6c", "", "FwMark", "rules that match \"0xca6c\" will not match"),
        ("MTU = 1200", "", "MTU", "from 1280 to 9000 octets, not 1200"),
        ("", "AllowedIPs = 0.0.0.0/0", "AllowedIPs", "0.0.0.0/0 would send the whole internet"),
        ("", "AllowedIPs = 10.2.0.0/24, ::/0", "AllowedIPs", "::/0 would send the whole internet"),
        ("", "AllowedIPs = 224.0.0.5/32", "AllowedIPs", "for multicast"),
    ];
    for (interface, peer, key, reason) in cases {
        let text = plain(interface, peer);
        let left_out = read(&text).expect("a line all the same").left_out;
        let [only] = &left_out[..] else { panic!("{interface}{peer}: {left_out:?}") };
        assert_eq!(only.key, key);
        assert_eq!(only.place.row, if peer.is_empty() { 3 } else { 6 });
        assert!(only.reason.to_string().contains(reason), "{}", only.reason);
    }
    let left_out = read(&plain("PostUp = a\nPostUp = b\nDNS = 1.1.1.1", "AllowedIPs = ::/0, 0.0.0.0/0"))
        .expect("a line")
        .left_out;
    assert_eq!(left_out.len(), 5, "each is named: {left_out:?}");
    let json = serde_json::to_value(&left_out[0]).expect("JSON");
    assert_eq!(json["place"]["row"], 3);
    assert!(json["reason"].as_str().is_some_and(|reason| reason.contains("runs no commands")));
}

#[test]
fn host_bits_of_allowed_addresses_are_cleared_as_wg_does() {
    let imported = read(&plain("", "AllowedIPs = 10.2.0.7/24, 10.2.0.0/24")).expect("a line");
    assert_eq!(imported.draft.accept, Some(Accept::Only(vec!["10.2.0.0/24".parse().expect("a network")])));
}

#[test]
fn several_peers_are_refused_with_the_reason() {
    let text = plain("", &format!("[Peer]\nPublicKey = {PRESHARED}\nnonsense\n[Peer]\n"));
    assert_eq!(
        read(&text).expect_err("three peers").to_string(),
        "/etc/wireguard/wg0.conf:6:1: is a second peer, and a line has two ends; write a file for each peer, and import each as a line of its own\n\
         /etc/wireguard/wg0.conf:9:1: is a second peer, and a line has two ends; write a file for each peer, and import each as a line of its own"
    );
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let cases = [
        (plain("Adress = 10.0.0.1/24", ""), "3:10: Adress: there is no such key; did you mean `Address`?"),
        (
            plain("AllowedIPs = 10.0.0.0/8", ""),
            "3:14: AllowedIPs: there is no such key; there are PrivateKey",
        ),
        (plain("", "Jc = 4"), "6:6: Jc: there is no such key; there are PublicKey"),
        (plain("ListenPort = 70000", ""), "3:14: ListenPort: must be from 0 to 65535 (a port), and is 70000"),
        (plain("ListenPort = 1\nListenPort = 2", ""), "4:14: ListenPort: ListenPort stands here twice"),
        (plain("MTU = big", ""), "3:7: MTU: must be from 1280 to 9000 octets, and is big"),
        (plain("Address = 10.0.0.0/24", ""), "3:11: Address: 10.0.0.0/24 is the network's own address"),
        (plain("Address = 10.0.0.1/24, x", ""), "3:24: Address: \"x\" is not a network"),
        (plain("", "AllowedIPs = 10.0.0.0/33"), "6:14: AllowedIPs: \"33\" is not a prefix length"),
        (plain("", "Endpoint = office.example"), "6:12: Endpoint: office.example has no port"),
        (
            plain("", "PersistentKeepalive = often"),
            "6:23: PersistentKeepalive: must be from 0 to 65535 seconds",
        ),
        (plain("", "PresharedKey = abc"), "6:16: PresharedKey: a key has 44 characters, this has 3"),
        (plain("", "[Relay]\nX = 1"), "6:1: there is no section [Relay] in a wg-quick file"),
        (plain("", "what is this"), "6:1: is neither a [Section] nor Key = Value"),
        (format!("MTU = 1400\n{}", plain("", "")), "1:1: stands before the first section"),
        (format!("[Interface]\nPrivateKey = {KEY}\n"), "3:1: PublicKey: is missing; a [Peer] has one"),
        (format!("[Peer]\nPublicKey = {PEER}\n"), "3:1: PrivateKey: is missing; an [Interface] has one"),
    ];
    for (text, expected) in cases {
        let problems = read(&text).expect_err(&text).to_string();
        assert!(problems.starts_with(&format!("/etc/wireguard/wg0.conf:{expected}")), "{text}: {problems}");
        assert_eq!(problems.lines().count(), 1, "{text}: {problems}");
    }
    let own: PrivateKey = KEY.parse().expect("a key");
    let text = plain("", "").replace(PEER, &own.public_key().to_string());
    assert!(read(&text).expect_err("a mirror").to_string().contains("is this end's own public key"));
}

#[test]
fn no_report_shows_a_secret() {
    let texts = [
        format!("[Interface]\nPrivateKey {KEY}\n"),
        format!("{KEY}\n"),
        format!("[Interface]\nPrivateKey = {KEY}{KEY}\n"),
        format!("[Interface]\nPrivateKey = {}\n", KEY.replace('+', "!")),
        format!("[Interface]\nListenPort = 5PrivateKey = {KEY}\n"),
        format!("[Interface]\nMTU = 14{KEY}\n"),
        format!("[Interface]\nAddress = 10.1.0.1/24 PrivateKey = {KEY}\n"),
        format!(
            "[Interface]\nPrivateKey = {KEY}\n[Peer]\nEndpoint = hq.example:51820 PresharedKey = {KEY}\n"
        ),
        // Some keys could be the name of a host.
        format!("[Peer]\nEndpoint = {}\n", KEY.trim_end_matches('=').replace(['+', '/'], "x")),
    ];
    for text in texts {
        let problems = read(&text).expect_err("mistakes");
        let shown = format!("{problems} {problems:?}").to_ascii_lowercase();
        assert!(!shown.contains(&KEY[8..20].to_ascii_lowercase()), "{problems}");
    }
    let shown = format!("{:?}", read(&plain("", "")).expect("a line"));
    assert!(!shown.contains(&KEY[..12]), "{shown}");
}

#[test]
fn what_is_imported_is_a_valid_configuration() {
    let text = plain(
        "Address = 10.99.0.1/24\nListenPort = 51820",
        "AllowedIPs = 10.99.0.0/24, 10.2.0.0/16\nEndpoint = [2001:db8::1]:51820",
    );
    let line = "wg0".parse().expect("a name");
    let written = read(&text).expect("a line").draft.to_text(&line);
    let defaults = Defaults { name: "host".into(), inbox: "/inbox".into() };
    let config = LineConfig::parse(&line, Path::new("wg0.toml"), &written, &defaults).expect("valid");
    assert_eq!(config.peer_addresses.len(), 1);
    assert_eq!(config.keepalive, None);
}

proptest! {
    #[test]
    fn garbage_never_panics_and_what_is_imported_is_valid(
        text in "\\PC{0,200}|(\\[(Interface|Peer)\\]\n((PrivateKey|PublicKey|Address|AllowedIPs|Endpoint|MTU|DNS) ?= ?[0-9a-f.:/,#é ]{0,30}\n){0,6}){0,4}"
    ) {
        let _ = read(&text);
    }
}
