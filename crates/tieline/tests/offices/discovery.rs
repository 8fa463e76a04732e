//! `[discovery]`: devices of one office are found from the other, in each protocol as its hosts speak it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::multicast::{self, Group};
use tieline_io::sysctl::IpVersion;
use tieline_sim::lab::Office;

use crate::end::LIMIT;
use crate::world::{Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_service_is_found_by_mdns_whether_all_are_asked_or_one_asks_alone", mdns),
    Test::new("a_device_is_found_by_ssdp_and_announces_itself", ssdp),
    Test::new("a_printer_is_found_by_ws_discovery_and_announces_itself", ws_discovery),
    Test::new("a_name_of_netbios_is_found", netbios),
    Test::new("nothing_is_relayed_that_one_end_does_not_want", one_end_only),
    Test::new("what_is_said_too_often_or_comes_back_is_not_relayed_and_is_counted", too_much),
];

const MDNS: Group = Group { address: Ipv4Addr::new(224, 0, 0, 251), port: 5353, hops: 255 };
const SSDP: Group = Group { address: Ipv4Addr::new(239, 255, 255, 250), port: 1900, hops: 2 };
const WS_DISCOVERY: Group = Group { address: Ipv4Addr::new(239, 255, 255, 250), port: 3702, hops: 1 };
const NETBIOS: Group = Group { address: Ipv4Addr::BROADCAST, port: 137, hops: 1 };
/// The device of a host in its office's network.
const HOST_DEVICE: &str = "eth0";
const ALL: &str =
    "[discovery]\nrelay = [\"mdns\", \"ssdp\", \"ws-discovery\", \"netbios\"]\ninterfaces = [\"lan0\"]";

fn world(at_a: &str, at_b: &str) -> World {
    let world = World::bare().made();
    world.end_a.append(at_a);
    world.end_b.append(at_b);
    world.up()
}

fn relaying() -> World {
    let world = world(ALL, ALL);
    for end in [&world.end_a, &world.end_b] {
        end.wait_for("discovery", |status| status["discovery"]["is-open"] == true);
    }
    world
}

fn mdns() {
    let world = relaying();
    let (at_a, at_b) = (member(&world.a, MDNS), member(&world.b, MDNS));
    // Of class IN, with the wish that the answer come to the asker alone; the relay takes that away.
    let question = |class: u8| {
        [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x04_ipp\x04_tcp\x05local\0\0\x0c", &[class, 1]]
            .concat()
    };
    let response = [&[0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0][..], b"the printer is at 10.2.0.2"].concat();
    at_a.send_to(&question(0x80), MDNS.destination()).unwrap();
    let from = hear(&at_b, &question(0));
    assert_eq!(from.port(), 5353, "who asks for all asks from the port of all");
    at_b.send_to(&response, MDNS.destination()).unwrap();
    let from = hear(&at_a, &response);
    assert_eq!(from.port(), 5353, "RFC 6762 §6: a response from another port is none");

    // One who asks once, from a port of its own, is answered alone.
    let alone = asker(&world.a, MDNS);
    let question = [&[7, 7][..], &question(0)[2..]].concat();
    alone.send_to(&question, MDNS.destination()).unwrap();
    let from = hear(&at_b, &question);
    at_b.send_to(&response, from).unwrap();
    hear(&alone, &response);
    let status = world.end_a.status();
    let relay = relay(&status, "mdns");
    world.check(relay["said-out"] == 2 && relay["said-in"] == 1 && relay["answers-in"] == 1, "miscounted");
    world.check(relay["dropped"] == serde_json::json!({}), "something was dropped");
}

fn ssdp() {
    let world = relaying();
    let device = member(&world.b, SSDP);
    let question = b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n";
    let answer =
        b"HTTP/1.1 200 OK\r\nLOCATION: http://10.2.0.2:49152/description.xml\r\nST: upnp:rootdevice\r\n\r\n";
    ask(&world, &device, SSDP, question, answer);
    let listener = member(&world.a, SSDP);
    let notify = b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNTS: ssdp:alive\r\n\r\n";
    device.send_to(notify, SSDP.destination()).unwrap();
    hear(&listener, notify);
}

fn ws_discovery() {
    let world = relaying();
    let device = member(&world.b, WS_DISCOVERY);
    let message = |action: &str| {
        format!("<soap:Envelope><soap:Header><wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/{action}</wsa:Action></soap:Header></soap:Envelope>")
            .into_bytes()
    };
    ask(&world, &device, WS_DISCOVERY, &message("Probe"), &message("ProbeMatches"));
    let listener = member(&world.a, WS_DISCOVERY);
    device.send_to(&message("Hello"), WS_DISCOVERY.destination()).unwrap();
    hear(&listener, &message("Hello"));
}

fn netbios() {
    let world = relaying();
    let server = member(&world.b, NETBIOS);
    let question = [
        &[0x12, 0x34, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 32][..],
        b"FHFAEBEECACACACACACACACACACACAAA",
        &[0, 0, 0x20, 0, 1],
    ]
    .concat();
    let answer = [&[0x12, 0x34, 0x85, 0, 0, 0, 0, 1, 0, 0, 0, 0, 32][..], b"... 10.2.0.2"].concat();
    ask(&world, &server, NETBIOS, &question, &answer);
}

/// A host at A asks all, one at B answers whoever asked it, and the host at A hears that.
fn ask(world: &World, device: &UdpSocket, group: Group, question: &[u8], answer: &[u8]) {
    let asker = asker(&world.a, group);
    asker.send_to(question, group.destination()).unwrap();
    let from = hear(device, question);
    assert_eq!(
        from.ip(),
        world.b.gateway_address(IpVersion::V4).unwrap(),
        "the relay asks, whom the device can answer"
    );
    device.send_to(answer, from).unwrap();
    let from = hear(&asker, answer);
    assert_eq!(from.port(), group.port, "an answer comes from where was asked");
}

fn one_end_only() {
    let world = world(ALL, "[discovery]\nrelay = [\"ssdp\"]\ninterfaces = [\"lan0\"]");
    world.end_a.wait_for("discovery", |status| status["discovery"]["is-open"] == true);
    let device = member(&world.b, WS_DISCOVERY);
    let hello = b"http://schemas.xmlsoap.org/ws/2005/04/discovery/Hello<";
    member(&world.a, WS_DISCOVERY).send_to(hello, WS_DISCOVERY.destination()).unwrap();
    world.end_a.wait_for("it was sent", |status| relay(status, "ws-discovery")["said-out"] == 1);
    must_hear_nothing(&device);
    drop(world);

    let world = self::world(ALL, "");
    let status = world.end_a.wait_for("trouble", |status| status["discovery"]["trouble"].is_string());
    let trouble = status["discovery"]["trouble"].as_str().unwrap();
    assert!(trouble.contains("`[discovery]` is not in the configuration"), "{trouble}");
    assert_eq!(world.end_b.status()["discovery"], Value::Null);
}

fn too_much() {
    const SAID: u64 = 2000;
    let world = relaying();
    let (at_a, at_b) = (member(&world.a, SSDP), member(&world.b, SSDP));
    let notify = |number: u64| format!("NOTIFY * HTTP/1.1\r\nUSN: {number}\r\n\r\n").into_bytes();
    // What comes back to where it came from, as by a bridge between the offices.
    at_a.send_to(&notify(SAID), SSDP.destination()).unwrap();
    hear(&at_b, &notify(SAID));
    at_b.send_to(&notify(SAID), SSDP.destination()).unwrap();
    world.end_b.wait_for("a loop", |status| relay(status, "ssdp")["dropped"]["loop"] == 1);

    let began = Instant::now();
    for number in 0..SAID {
        at_a.send_to(&notify(number), SSDP.destination()).unwrap();
        thread::sleep(Duration::from_micros(200));
    }
    world.end_a.wait_for("drops", |status| {
        relay(status, "ssdp")["dropped"]["rate"].as_u64().is_some_and(|count| count > SAID / 2)
    });
    let most = 100 + 50 * (began.elapsed().as_secs() + 1);
    let (mut came, mut buffer) = (0, [0; 100]);
    while at_b.recv(&mut buffer).is_ok() {
        came += 1;
    }
    println!("discovery: of {SAID} announcements {came} were relayed");
    world.check((50..=most).contains(&came), &format!("{came} of them came; {most} may"));
}

/// A socket of the office's host that hears what is said to the group.
fn member(office: &Office, group: Group) -> UdpSocket {
    configured(office.host().run(move || multicast::listening(HOST_DEVICE, group)))
}

/// One that asks the group.
fn asker(office: &Office, group: Group) -> UdpSocket {
    configured(office.host().run(move || multicast::asking(HOST_DEVICE, group)))
}

fn configured(socket: io::Result<UdpSocket>) -> UdpSocket {
    let socket = socket.unwrap();
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

/// Waits until exactly this comes, past what kernels and other things say.
fn hear(socket: &UdpSocket, expected: &[u8]) -> SocketAddr {
    let deadline = Instant::now() + LIMIT;
    let mut buffer = vec![0; 65_535];
    loop {
        if let Ok((len, from)) = socket.recv_from(&mut buffer)
            && buffer[..len] == *expected
        {
            return from;
        }
        assert!(Instant::now() < deadline, "not heard: {}", String::from_utf8_lossy(expected));
    }
}

fn must_hear_nothing(socket: &UdpSocket) {
    let heard = socket.recv_from(&mut [0; 100]);
    assert!(heard.is_err(), "heard {heard:?}");
}

/// A protocol in a status.
fn relay<'s>(status: &'s Value, protocol: &str) -> &'s Value {
    let relay = status["discovery"]["relay"].as_array().unwrap();
    relay.iter().find(|relay| relay["protocol"] == protocol).unwrap()
}
