//! `[[port]]`: every key, every mistake.

use tieline_wire::control::PortProtocol;

use super::super::ports::PORTS_MAX;
use super::*;

#[test]
fn both_sides_of_ports_are_read() {
    let config = parse(
        r#"
        [[port]]
        name = "intranet"
        to = "192.0.2.10:80"
        [[port]]
        name = "dns"
        protocol = "udp"
        listen = "127.0.0.1:5353"
        [[port]]
        name = "dns"
        listen = "127.0.0.1:5353"
        "#,
    )
    .expect("three ports");
    let [intranet, udp, tcp] = &config.ports[..] else { panic!("{:?}", config.ports) };
    assert_eq!((intranet.name.as_str(), intranet.protocol), ("intranet", PortProtocol::Tcp));
    assert_eq!(intranet.side, PortSide::To(dial("192.0.2.10:80")));
    let listen = PortSide::Listen("127.0.0.1:5353".parse().expect("an address"));
    assert_eq!((udp.protocol, &udp.side), (PortProtocol::Udp, &listen));
    assert_eq!((tcp.protocol, &tcp.side), (PortProtocol::Tcp, &listen));
}

#[test]
fn every_mistake_in_a_port_is_reported() {
    let many = "[[port]]\nname = \"a\"\n".repeat(PORTS_MAX + 1);
    let port = |rows: &str| format!("[[port]]\nname = \"a\"\n{rows}");
    let mistakes = [
        ("[[port]]\nlisten = \"127.0.0.1:80\"".to_owned(), "missing"),
        ("[[port]]\nname = \"a b\"\nlisten = \"127.0.0.1:80\"".to_owned(), "port-name"),
        (port(""), "port-side"),
        (port("to = \"h:1\"\nlisten = \"127.0.0.1:80\""), "port-side"),
        (port("to = \"192.0.2.10\""), "port-to"),
        (port("to = \"\""), "port-to"),
        (port("to = \"192.0.2.10:0\""), "dial-address"),
        (port("listen = \"8080\""), "port-listen"),
        (port("listen = \"127.0.0.1:0\""), "port-listen"),
        (port("listen = \"224.0.0.251:80\""), "port-listen"),
        (port("listen = \"localhost:80\""), "port-listen"),
        (port("listen = \"127.0.0.1:80\"\nprotocol = \"sctp\""), "choice"),
        (port("listen = \"127.0.0.1:80\"\nport = 80"), "unknown-key"),
        (port("to = \"h:1\"\n[[port]]\nname = \"A\"\nto = \"h:2\""), "duplicate"),
        (port("listen = \"[::1]:1\"\n[[port]]\nname = \"b\"\nlisten = \"[::1]:1\""), "duplicate"),
        (many, "too-many"),
    ];
    for (text, code) in mistakes {
        let problems = parse(&text).expect_err(&text);
        let codes: Vec<_> = problems.iter().map(|problem| problem.mistake.code()).collect();
        assert_eq!(codes, [code], "{text}\n{problems}");
    }
}

#[test]
fn a_port_alone_is_said_back_as_an_address() {
    let problems = parse("[[port]]\nname = \"a\"\nlisten = \":8080\"").expect_err("a mistake");
    assert!(problems.to_string().contains("write 127.0.0.1:8080 for programs on this machine"), "{problems}");
}
