//! Two ends only: whoever else sends something gets no answer, and is counted.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tieline_io::sysctl::IpVersion;
use tieline_sim::lab::Office;

use crate::end::{End, LINE};
use crate::world::{A, B, PORT, STRANGER, Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_third_machine_with_the_spent_invitation_gets_no_answer_and_is_counted", spent_invitation),
    Test::new("a_third_machine_with_a_key_of_its_own_gets_no_answer_and_is_counted", wrong_key),
    Test::new("replayed_datagrams_of_the_line_get_no_answer_and_are_counted", replay),
    Test::new("noise_at_the_port_gets_no_answer_and_is_counted", noise),
];

/// Checks that nothing came back, and that the line is as it was.
fn check_silence(world: &World, counted: &str) {
    let towards = world.lab.path_counters(STRANGER, A).unwrap();
    world.check(towards.delivered > 0, "the stranger has sent nothing");
    for office in [A, B] {
        let back = world.lab.path_counters(office, STRANGER).unwrap();
        world.check(back.offered == 0, &format!("{office} answered a stranger: {back:?}"));
    }
    world.check(world.end_a.dropped(counted) > 0, &format!("nothing was counted as {counted}"));
    world.end_a.must(&["ping", LINE, "--count", "1"]);
}

fn spent_invitation() {
    let world = World::bare();
    let invitation = world.invite();
    world.end_b.must(&["join", &invitation, "--no-up"]);
    let mut world = world;
    world.end_a.start();
    world.end_b.start();
    world.end_b.wait_until_joined();
    let stranger = world.stranger();
    let mut third = world.end_at(&stranger, "third");
    third.must(&["join", &invitation, "--no-up"]);
    third.start();
    let spent = |status: &serde_json::Value| status["drops"]["spent-invitation"].as_u64() >= Some(1);
    world.end_a.wait_for("the spent invitation counted", spent);
    assert_eq!(third.status()["state"], "waiting", "the third machine believes that it reached somebody");
    check_silence(&world, "spent-invitation");
}

fn wrong_key() {
    let world = World::joined();
    let stranger = world.stranger();
    let mut third = imported(&world, &stranger);
    third.start();
    world
        .end_a
        .wait_for("the unknown key counted", |status| status["drops"]["unknown-peer"].as_u64() >= Some(1));
    assert_eq!(third.status()["state"], "waiting", "the third machine believes that it reached somebody");
    check_silence(&world, "unknown-peer");
}

/// An end that knows where A is and what its public key is, but not any key that A knows.
fn imported(world: &World, stranger: &Office) -> End {
    let third = world.end_at(stranger, "third");
    let key = third.must(&["key", "gen"]);
    let status = world.end_a.status();
    let file = world.file("wg0.conf");
    let text = format!(
        "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.1.0.0/24\nEndpoint = {}:{PORT}\n",
        key.trim(),
        status["here"]["public-key"].as_str().unwrap(),
        world.a.wan_address(IpVersion::V4).unwrap()
    );
    fs::write(&file, text).unwrap();
    third.must(&["import", file.to_str().unwrap(), "--name", LINE]);
    third
}

fn replay() {
    let mut world = World::bare().made();
    let file = world.file("line.pcap");
    world.lab.capture(&file).unwrap();
    world.end_a.start();
    world.end_b.start();
    world.wait_until_joined();
    world.end_a.must(&["ping", LINE, "--count", "5", "--interval", "0.1"]);
    world.lab.stop_capture().unwrap();
    let to_a = datagrams_to(&file, world.a.wan_address(IpVersion::V4).unwrap());
    let initiation = to_a.iter().filter(|datagram| datagram.first() == Some(&1)).count();
    let transport = to_a.iter().filter(|datagram| datagram.first() == Some(&4)).count();
    world.check(initiation > 0 && transport > 0, "the capture lacks datagrams of the line");
    let stranger = world.stranger();
    let before = (world.end_a.dropped("stale-timestamp"), world.end_a.dropped("replayed"));
    send_to_a(&world, &stranger, &to_a);
    world.end_a.wait_for("the replays counted", |status| {
        let drops = &status["drops"];
        drops["stale-timestamp"].as_u64() > Some(before.0) && drops["replayed"].as_u64() > Some(before.1)
    });
    check_silence(&world, "replayed");
}

fn noise() {
    let world = World::joined();
    let stranger = world.stranger();
    let mut datagrams = vec![vec![9; 200], Vec::new(), vec![4, 0, 0, 0]];
    // Right in length and type, wrong in everything else.
    datagrams.extend([148, 92, 64, 96].iter().zip(1..).map(|(length, kind)| {
        let mut datagram = vec![0x5a; *length];
        datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
        datagram
    }));
    send_to_a(&world, &stranger, &datagrams);
    let reasons = ["unknown-type", "too-short", "bad-mac1", "unknown-receiver"];
    for reason in reasons {
        world.end_a.wait_for(reason, |status| status["drops"][reason].as_u64() >= Some(1));
    }
    check_silence(&world, "bad-mac1");
}

fn send_to_a(world: &World, stranger: &Office, datagrams: &[Vec<u8>]) {
    let target = SocketAddr::new(world.a.wan_address(IpVersion::V4).unwrap(), PORT);
    let socket = stranger.gateway().run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    for datagram in datagrams {
        socket.send_to(datagram, target).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The payloads of the UDP datagrams over IPv4 to `address` in a capture of the lab.
fn datagrams_to(file: &std::path::Path, address: std::net::IpAddr) -> Vec<Vec<u8>> {
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    const UDP_HEADER: usize = 8;
    let bytes = fs::read(file).unwrap();
    let mut rest = &bytes[FILE_HEADER..];
    let mut found = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(RECORD_HEADER) {
        let length = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        let (packet, after) = after.split_at(length);
        rest = after;
        let header_length = usize::from(packet[0] & 15) * 4;
        let is_to_address = packet[0] >> 4 == 4
            && std::net::Ipv4Addr::new(packet[16], packet[17], packet[18], packet[19]) == address;
        if is_to_address && packet[9] == 17 {
            found.push(packet[header_length + UDP_HEADER..].to_vec());
        }
    }
    found
}
