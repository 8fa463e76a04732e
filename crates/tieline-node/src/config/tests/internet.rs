//! `[internet]`: every key, every mistake.

use super::super::internet::{InternetConfig, Used};
use super::*;

fn internet(text: &str) -> InternetConfig {
    parse(&format!("[internet]\n{text}")).expect(text).internet
}

#[test]
fn a_connection_is_offered_or_used_for_everything_or_for_networks() {
    assert_eq!(internet(""), InternetConfig::None);
    assert_eq!(internet("offer = false"), InternetConfig::None);
    assert_eq!(internet("offer = true"), InternetConfig::Offer { by: None });
    assert_eq!(internet("offer = true\nby = \"eth0\""), InternetConfig::Offer { by: Some("eth0".into()) });
    let everything = internet("use = \"everything\"\ndns = \"10.1.0.1\"");
    assert_eq!(
        everything,
        InternetConfig::Use { networks: Used::Everything, dns: vec!["10.1.0.1".parse().unwrap()] }
    );
    assert_eq!(everything.used().len(), 2, "both versions of IP");
    let some = internet("use = [\"203.0.113.0/24\"]\ndns = [\"10.1.0.1\", \"fd00::1\"]");
    assert_eq!(some.used(), ["203.0.113.0/24".parse().unwrap()]);
}

#[test]
fn every_mistake_is_told() {
    for (text, code) in [
        ("offer = true\nuse = \"everything\"", "offers-and-uses-internet"),
        ("by = \"eth0\"", "needs-key"),
        ("dns = \"10.1.0.1\"", "needs-key"),
        ("use = \"all\"", "internet-use"),
        ("use = [\"0.0.0.0/0\"]", "subnet"),
        ("offer = true\nby = \"a b\"", "device"),
        ("use = \"everything\"\ndns = \"office\"", "resolver"),
        ("use = \"everything\"\ndns = \"127.0.0.1\"", "resolver"),
        ("use = \"everything\"\ndns = [\"10.1.0.1\", \"10.1.0.2\"]", "second-resolver"),
        ("uses = \"everything\"", "unknown-key"),
        ("offer = 1", "type"),
    ] {
        let problems = parse(&format!("[internet]\n{text}")).expect_err(text);
        let codes: Vec<_> = problems.iter().map(|problem| problem.mistake.code()).collect();
        assert_eq!(codes, [code], "{text}");
    }
    let bare = parse("routes = false\n[internet]\nuse = \"everything\"").expect_err("a bare line");
    assert!(bare.to_string().contains("routes = false"), "{bare}");
}
