//! What must not go across, and what a loop and a storm do to the rest of the line.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tieline_io::sysctl::IpVersion;
use tieline_sim::path::PathModel;
use tieline_wire::checksum::Sum;

use super::Joined;
use super::site::{BRIDGE, RawPort, Site, card, frame};
use crate::end::LIMIT;
use crate::world::{DELAY, Test, World, ip};

pub(super) const OWN: Test = Test::new(
    "dhcp_router_advertisements_and_spanning_tree_stay_in_their_office_and_a_second_server_raises_the_alarm",
    own_stays,
)
.with(&["ip"]);
pub(super) const ALLOWED: Test =
    Test::new("dhcp_and_router_advertisements_go_across_where_that_is_wanted", allowed_goes).with(&["ip"]);
pub(super) const LOOP: Test =
    Test::new("a_loop_of_the_offices_is_cut_and_told_and_the_line_goes_on", loop_is_cut)
        .with(&["ip", "ping"]);
pub(super) const STORM: Test =
    Test::new("a_storm_of_broadcasts_is_limited_and_told_and_the_line_goes_on", storm).with(&["ip", "ping"]);

const ALL: [u8; 6] = [0xff; 6];

fn internet() -> PathModel {
    PathModel::internet(20_000_000, DELAY)
}

/// A datagram in a frame to all, from the card of this number.
fn datagram(from: u8, ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let len = |headers: usize| ((headers + payload.len()) as u16).to_be_bytes();
    let [a, b] = len(28);
    let mut header = [0x45, 0, a, b, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, from, 255, 255, 255, 255];
    // Some bridges drop what has a wrong one.
    let checksum = Sum::of(&header).checksum();
    header[10..12].copy_from_slice(&checksum);
    let udp = [ports[0].to_be_bytes(), ports[1].to_be_bytes(), len(8), [0, 0]].concat();
    frame(ALL, from, 0x0800, &[&header[..], &udp, payload].concat())
}

/// The answer of a server at 10.9.0.`from`.
fn offer(from: u8) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[0] = 2;
    message.extend([99, 130, 83, 99, 53, 1, 2, 54, 4, 10, 9, 0, from, 255]);
    datagram(from, [67, 68], &message)
}

/// A message in IPv6 to all.
fn ipv6(from: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, from]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    frame([0x33, 0x33, 0, 0, 0, 1], from, 0x86dd, &packet)
}

fn own_frames() -> [(&'static str, Vec<u8>); 5] {
    [
        ("dhcp", datagram(21, [68, 67], &[1; 240])),
        ("dhcp", offer(22)),
        ("dhcpv6", ipv6(23, 17, &[2, 34, 2, 35, 0, 12, 0, 0, 1, 0, 0, 1])),
        ("router-advertisement", ipv6(24, 58, &[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("link-local", frame([1, 0x80, 0xc2, 0, 0, 0], 25, 39, &[0x42, 0x42, 3, 0, 0, 0, 0, 0])),
    ]
}

/// Sends `frames` and behind them one that goes across for certain, and says from which cards any has arrived until then, in order of the
/// cards: what different hosts send may overtake one another, but not what was sent long before.
fn senders_heard(from: &RawPort, to: &RawPort, frames: &[(&str, Vec<u8>)]) -> Vec<u8> {
    const LAST: u8 = 99;
    for (_, frame) in frames {
        from.send(frame);
    }
    std::thread::sleep(Duration::from_millis(200));
    from.send(&frame(ALL, LAST, 0x88b6, &[0; 46]));
    let mut heard = Vec::new();
    loop {
        let frame = to.must_receive(|frame| frame[6..11] == card(0)[..5]);
        match frame[11] {
            LAST => {
                heard.sort_unstable();
                return heard;
            }
            other => heard.push(other),
        }
    }
}

fn own_stays() {
    let Joined { sites: [a, b], world } = Joined::over(&internet(), "", "");
    let ports = [a.port("raw0"), b.port("raw0")];
    let frames = own_frames();
    assert!(senders_heard(&ports[0], &ports[1], &frames).is_empty());
    assert!(senders_heard(&ports[1], &ports[0], &frames).is_empty());
    for end in [&world.end_a, &world.end_b] {
        let status = end.status();
        for (reason, count) in [("dhcp", 2), ("dhcpv6", 1), ("router-advertisement", 1), ("link-local", 1)] {
            let blocked = status["lan"]["blocked"][reason].as_u64();
            // Bridges and hosts send some of them by themselves.
            world.check(blocked >= Some(count), &format!("{reason}: {blocked:?}"));
        }
        world.check(status["alarms"] == serde_json::json!([]), "one server in each office is in order");
    }
    ports[0].send(&offer(26));
    let status = world.end_a.wait_for("the alarm", |status| status["alarms"] != serde_json::json!([]));
    let alarm = status["alarms"][0].as_str().unwrap();
    world.check(
        ["two DHCP servers", "10.9.0.22 (02:00:00:00:00:16)", "10.9.0.26"]
            .iter()
            .all(|part| alarm.contains(part)),
        alarm,
    );
}

fn allowed_goes() {
    let lan = "dhcp = true\nrouter-advertisements = true";
    let Joined { sites: [a, b], world } = Joined::over(&internet(), "", lan);
    let ports = [a.port("raw0"), b.port("raw0")];
    assert_eq!(senders_heard(&ports[0], &ports[1], &own_frames()), [21, 22, 23, 24]);
    ports[1].send(&offer(27));
    for end in [&world.end_a, &world.end_b] {
        let status = end.wait_for("the alarm", |status| status["alarms"] != serde_json::json!([]));
        let alarm = status["alarms"][0].as_str().unwrap();
        world.check(alarm.contains("10.9.0.22") && alarm.contains("10.9.0.27"), alarm);
    }
}

/// Pings the far office over the routed line until `until`, and says how many were sent and how many answered.
fn routed_pings(world: &World, during: impl FnOnce()) -> String {
    let target: IpAddr = world.b.host_address(IpVersion::V4).unwrap();
    let ping = world.a.host().command("ping");
    let ping = ping.args(["-n", "-c", "100", "-i", "0.02", "-W", "2", &target.to_string()]);
    let ping = ping.stdout(std::process::Stdio::piped()).spawn().unwrap();
    during();
    let output = ping.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().find(|row| row.contains("packets transmitted")).unwrap_or_default().to_owned()
}

fn loop_is_cut() {
    let Joined { sites: [a, b], world } = Joined::over(&internet(), "", "");
    world.check_output(&a.ping(&b.addresses[0], &["-c", "2"]));
    let far = b.gateway.path().into_os_string().into_string().unwrap();
    let said = routed_pings(&world, || {
        let cable = ["link", "add", "cable1", "type", "veth", "peer", "name", "cable1", "netns", &far];
        ip(&a.gateway, &cable);
        for Site { gateway, .. } in [&a, &b] {
            ip(gateway, &["link", "set", "cable1", "master", BRIDGE, "up"]);
        }
        for end in [&world.end_a, &world.end_b] {
            let status = end.wait_for("the loop is found", |status| status["lan"]["looped"] == true);
            let alarms = status["alarms"].to_string();
            world.check(alarms.contains("a loop") && alarms.contains("in another way as well"), &alarms);
        }
    });
    println!("beside a loop: {said}");
    world.check(said.contains(" 0% packet loss"), &said);
    // The hosts find each other by the cable, once the bridges have forgotten where they were.
    let deadline = Instant::now() + LIMIT;
    while !a.ping(&b.addresses[0], &["-c", "1", "-W", "1"]).status.success() {
        world.check(Instant::now() < deadline, "the hosts do not find each other by the cable");
    }
    ip(&a.gateway, &["link", "del", "cable1"]);
    let patience = Duration::from_secs(60);
    for end in [&world.end_a, &world.end_b] {
        end.wait_longer_for(patience, "the loop is gone", |status| status["lan"]["looped"] == false);
    }
    world.check_output(&a.ping(&b.addresses[0], &["-c", "2"]));
}

fn storm() {
    const RATE: u32 = 20_000;
    const LIMIT: u64 = 200;
    let Joined { sites: [a, b], world } = Joined::over(&internet(), "", &format!("storm-limit = {LIMIT}"));
    let port = a.port("raw0");
    let before = world.end_a.status()["lan"]["frames-out"].as_u64().unwrap();
    let began = Instant::now();
    let said = routed_pings(&world, || {
        let storm = frame(ALL, 31, 0x88b6, &[0; 46]);
        while began.elapsed() < Duration::from_secs(2) {
            for _ in 0..RATE / 500 {
                port.send(&storm);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    println!("beside a storm: {said}");
    world.check(said.contains(" 0% packet loss"), &said);
    let status = world.end_a.status();
    let went = status["lan"]["frames-out"].as_u64().unwrap() - before;
    let seconds = began.elapsed().as_secs() + 2;
    world.check(went < LIMIT * seconds, &format!("{went} frames went across in {seconds} s"));
    let blocked = status["lan"]["blocked"]["broadcast-storm"].as_u64();
    world.check(blocked > Some(2000), &format!("{blocked:?} frames were kept back"));
    let alarms = status["alarms"].to_string();
    world.check(
        alarms.contains("a storm in this office: far more than 200 frames a second to all, the last one from 02:00:00:00:00:1f"),
        &alarms,
    );
    world.check_output(&a.ping(&b.addresses[1], &["-c", "2"]));
}
