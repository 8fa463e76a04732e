//! `[discovery]`: every key, every mistake.

use tieline_wire::discovery::DiscoveryProtocol;

use super::*;

#[test]
fn what_is_relayed_is_read() {
    let config = parse("[discovery]\nrelay = [\"mdns\", \"netbios\"]\ninterfaces = [\"eth1\", \"eth0.10\"]")
        .expect("it is right");
    let relay = vec![DiscoveryProtocol::Mdns, DiscoveryProtocol::Netbios];
    let interfaces = vec!["eth1".to_owned(), "eth0.10".to_owned()];
    assert_eq!(config.discovery, DiscoveryConfig { relay, interfaces });
    assert_eq!(parse("[discovery]\nrelay = []").expect("nothing").discovery, DiscoveryConfig::default());
}

#[test]
fn every_mistake_in_discovery_is_reported() {
    for (text, code) in [
        ("relay = [\"mdns\"]", "no-interfaces"),
        ("relay = [\"mdns\"]\ninterfaces = []", "no-interfaces"),
        ("relay = [\"bonjour\"]\ninterfaces = [\"eth1\"]", "choice"),
        ("relay = [\"mdns\", \"mdns\"]\ninterfaces = [\"eth1\"]", "duplicate"),
        ("relay = [\"mdns\"]\ninterfaces = [\"eth 1\"]", "interface"),
        ("relay = [\"mdns\"]\ninterfaces = [\"eth1\", \"eth1\"]", "duplicate"),
        ("relay = \"mdns\"", "type"),
        ("interface = [\"eth1\"]", "unknown-key"),
    ] {
        let problems = parse(&format!("[discovery]\n{text}")).expect_err(text);
        let codes: Vec<_> = problems.iter().map(|problem| problem.mistake.code()).collect();
        assert_eq!(codes, [code], "{text}\n{problems}");
    }
    let bare = "routes = false\n[discovery]\nrelay = [\"mdns\"]\ninterfaces = [\"eth1\"]";
    let problems = parse(bare).expect_err("nothing is routed");
    assert!(problems.to_string().contains("no effect while `routes = false`"), "{problems}");
}
