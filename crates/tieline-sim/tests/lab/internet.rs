//! What the lab's internet does to packets is what the model says.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Completion;
use tieline_io::sysctl::IpVersion;
use tieline_sim::lab::{LabError, OfficeConfig};
use tieline_sim::nat::NatConfig;
use tieline_sim::path::PathModel;

use crate::world::{A, B, PORT, Test, World, is_silent, receive, socket, wan};

pub(crate) const TESTS: &[Test] = &[
    ("datagrams_cross_both_ways_in_both_versions_of_ip", datagrams_cross),
    ("a_train_takes_at_least_the_delay_and_the_time_of_the_rate", train_takes_its_time),
    ("a_full_queue_drops_and_the_counters_say_so", full_queue_drops),
    ("nothing_crosses_a_cut_cable_and_everything_a_restored_one", cut_and_restored),
    ("a_readdressed_office_is_reached_at_its_new_address_only", readdressed),
    ("behind_a_nat_the_invited_get_in_and_the_uninvited_do_not", behind_a_nat),
    ("damage_gets_through_to_the_receiver", damage_gets_through),
    ("a_stranger_reaches_both_offices", stranger_reaches_both),
    ("a_computer_inside_reaches_its_gateway_but_no_private_address_outside", inside_reaches_gateway),
    ("a_capture_holds_what_was_sent_and_tshark_reads_it", capture_is_readable),
    ("names_addresses_and_parties_are_taken_once", taken_once),
    ("a_dropped_lab_leaves_no_thread_and_no_namespace", nothing_is_left),
];

const MILLISECOND: Duration = Duration::from_millis(1);

fn internet() -> PathModel {
    PathModel::internet(20_000_000, 15 * MILLISECOND)
}

fn datagrams_cross() -> Completion {
    let world = World::new();
    for (version, any) in [(IpVersion::V4, "0.0.0.0"), (IpVersion::V6, "::")] {
        let (a, b) = (socket(world.a.gateway(), any), socket(world.b.gateway(), any));
        a.send_to(b"there", wan(&world.b, version)).unwrap();
        assert_eq!(receive(&b), (b"there".to_vec(), wan(&world.a, version)));
        b.send_to(b"back", wan(&world.a, version)).unwrap();
        assert_eq!(receive(&a), (b"back".to_vec(), wan(&world.b, version)));
    }
    Completion::Completed
}

/// Only what the model forces is asserted: nothing arrives earlier. A busy machine may make it later.
fn train_takes_its_time() -> Completion {
    const COUNT: u32 = 100;
    const PACKET_BITS: u32 = 1250 * 8;
    let world = World::new();
    world.lab.set_path(A, B, &internet()).unwrap();
    let (a, b) = world.sockets();
    let one = Duration::from_secs(1) * PACKET_BITS / 20_000_000;
    let begin = Instant::now();
    for number in 0..COUNT {
        let mut payload = vec![0; 1250 - 28];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        a.send_to(&payload, wan(&world.b, IpVersion::V4)).unwrap();
    }
    for number in 0..COUNT {
        let (payload, _) = receive(&b);
        assert_eq!(payload[..4], number.to_be_bytes());
        let earliest = 15 * MILLISECOND + one * (number + 1);
        assert!(begin.elapsed() >= earliest, "number {number} after {:?}, not {earliest:?}", begin.elapsed());
    }
    let begin = Instant::now();
    b.send_to(b"back", wan(&world.a, IpVersion::V4)).unwrap();
    receive(&a);
    assert!(begin.elapsed() >= 15 * MILLISECOND);
    let counters = world.lab.path_counters(A, B).unwrap();
    assert_eq!((counters.offered, counters.delivered, counters.dropped()), (COUNT.into(), COUNT.into(), 0));
    Completion::Completed
}

fn full_queue_drops() -> Completion {
    let world = World::new();
    // A second for each packet, so that no pause of this thread lets the queue run empty.
    let mut model = PathModel::internet(8 * 1028, Duration::ZERO);
    model.bottleneck.as_mut().unwrap().queue_bytes_max = 3 * 1028;
    world.lab.set_direction(A, B, &model).unwrap();
    let (a, _b) = world.sockets();
    for _ in 0..10 {
        a.send_to(&[0; 1000], wan(&world.b, IpVersion::V4)).unwrap();
    }
    let counters = eventually(|| world.lab.path_counters(A, B).unwrap(), |counters| counters.offered == 10);
    assert!(counters.queue_full >= 5, "{counters:?}");
    Completion::Completed
}

fn cut_and_restored() -> Completion {
    let world = World::new();
    let (a, b) = world.sockets();
    let to_b = wan(&world.b, IpVersion::V4);
    a.send_to(b"before", to_b).unwrap();
    assert_eq!(receive(&b).0, b"before");
    world.lab.cut(B).unwrap();
    world.lab.cut(A).unwrap();
    a.send_to(b"one", to_b).unwrap();
    eventually(|| world.lab.path_counters(A, B).unwrap(), |counters| counters.cut == 1);
    // One of two cut cables is not enough.
    world.lab.restore(A).unwrap();
    a.send_to(b"two", to_b).unwrap();
    eventually(|| world.lab.path_counters(A, B).unwrap(), |counters| counters.cut == 2);
    world.lab.restore(B).unwrap();
    a.send_to(b"after", to_b).unwrap();
    assert_eq!(receive(&b).0, b"after");
    assert!(is_silent(&b));
    Completion::Completed
}

fn readdressed() -> Completion {
    let world = World::new();
    for (version, any, new) in
        [(IpVersion::V4, "0.0.0.0", "203.0.113.9"), (IpVersion::V6, "::", "2001:db8:9::1")]
    {
        let (a, b) = (socket(world.a.gateway(), any), socket(world.b.gateway(), any));
        let (old, new): (SocketAddr, IpAddr) = (wan(&world.b, version), new.parse().unwrap());
        let new = SocketAddr::new(new, PORT);
        world.lab.readdress(B, new.ip()).unwrap();
        b.send_to(b"moved", wan(&world.a, version)).unwrap();
        assert_eq!(receive(&a), (b"moved".to_vec(), new));
        let before = world.lab.counters().no_such_address;
        a.send_to(b"to the old one", old).unwrap();
        eventually(|| world.lab.counters(), |counters| counters.no_such_address > before);
        a.send_to(b"to the new one", new).unwrap();
        assert_eq!(receive(&b).0, b"to the new one");
    }
    Completion::Completed
}

fn behind_a_nat() -> Completion {
    let world = World::new();
    let public: IpAddr = "203.0.113.77".parse().unwrap();
    world.lab.set_nat(B, Some(NatConfig::common(public))).unwrap();
    let (a, b) = world.sockets();
    let refused = |count| {
        eventually(|| world.lab.counters(), |counters| counters.refused_by_nat == count);
    };
    a.send_to(b"uninvited", SocketAddr::new(public, PORT)).unwrap();
    refused(1);
    let before = world.lab.counters().no_such_address;
    a.send_to(b"to what is hidden", wan(&world.b, IpVersion::V4)).unwrap();
    eventually(|| world.lab.counters(), |counters| counters.no_such_address > before);
    b.send_to(b"out", wan(&world.a, IpVersion::V4)).unwrap();
    let (payload, outside) = receive(&a);
    assert_eq!((payload.as_slice(), outside.ip()), (b"out".as_slice(), public));
    a.send_to(b"answer", outside).unwrap();
    assert_eq!(receive(&b), (b"answer".to_vec(), wan(&world.a, IpVersion::V4)));
    world.lab.forget_nat(B).unwrap();
    a.send_to(b"late answer", outside).unwrap();
    refused(2);
    b.send_to(b"out again", wan(&world.a, IpVersion::V4)).unwrap();
    assert_ne!(receive(&a).1, outside);
    assert!(is_silent(&b));
    assert_eq!(world.lab.nat_counters(B).unwrap().unwrap().unmapped, 2);
    Completion::Completed
}

fn damage_gets_through() -> Completion {
    let world = World::new();
    world.lab.set_direction(A, B, &PathModel { corruption: 1.0, ..PathModel::default() }).unwrap();
    for (version, any) in [(IpVersion::V4, "0.0.0.0"), (IpVersion::V6, "::")] {
        let (a, b) = (socket(world.a.gateway(), any), socket(world.b.gateway(), any));
        for length in [1, 2, 99, 100] {
            a.send_to(&vec![0; length], wan(&world.b, version)).unwrap();
            let (payload, _) = receive(&b);
            assert_eq!(payload.len(), length);
            let flipped: u32 = payload.iter().map(|octet| octet.count_ones()).sum();
            assert!((1..=3).contains(&flipped), "{flipped} bits");
        }
    }
    Completion::Completed
}

fn stranger_reaches_both() -> Completion {
    let world = World::new();
    let address: IpAddr = "203.0.113.66".parse().unwrap();
    let stranger = world.lab.office("stranger", OfficeConfig::stranger(&[address])).unwrap();
    let (a, b) = world.sockets();
    let third = socket(stranger.gateway(), "0.0.0.0");
    for (office, receiver) in [(&world.a, &a), (&world.b, &b)] {
        third.send_to(b"hello?", wan(office, IpVersion::V4)).unwrap();
        assert_eq!(receive(receiver), (b"hello?".to_vec(), SocketAddr::new(address, PORT)));
    }
    Completion::Completed
}

fn inside_reaches_gateway() -> Completion {
    let world = World::new();
    for (version, any) in [(IpVersion::V4, "0.0.0.0"), (IpVersion::V6, "::")] {
        let (gateway, inside) = (socket(world.a.gateway(), any), socket(world.a.host(), any));
        inside
            .send_to(b"gateway?", SocketAddr::new(world.a.gateway_address(version).unwrap(), PORT))
            .unwrap();
        assert_eq!(receive(&gateway).1, SocketAddr::new(world.a.host_address(version).unwrap(), PORT));
        let before = world.lab.counters().foreign_source;
        inside.send_to(b"far away?", SocketAddr::new(world.b.host_address(version).unwrap(), PORT)).unwrap();
        eventually(|| world.lab.counters(), |counters| counters.foreign_source > before);
    }
    Completion::Completed
}

fn capture_is_readable() -> Completion {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("line.pcap");
    let world = World::new();
    world.lab.capture(&file).unwrap();
    let (a, b) = world.sockets();
    for number in 0..20_u8 {
        a.send_to(&[number; 100], wan(&world.b, IpVersion::V4)).unwrap();
        assert_eq!(receive(&b).0, [number; 100]);
    }
    let outcome = world.lab.stop_capture().unwrap();
    assert_eq!((outcome.packets, outcome.left_out), (20, 0));
    a.send_to(b"not recorded", wan(&world.b, IpVersion::V4)).unwrap();
    receive(&b);
    // A file header, and for each packet a record header, the IP and UDP headers and the payload.
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 24 + 20 * (16 + 28 + 100));
    let fields = ["-Tfields", "-eip.src", "-eudp.dstport", "-eudp.length", "-eudp.checksum.status"];
    let Ok(output) = Command::new("tshark")
        .env("HOME", folder.path())
        .env_remove("XDG_CONFIG_HOME")
        .arg("-r")
        .arg(&file)
        .args(["-o", "udp.check_checksum:TRUE"])
        .args(fields)
        .output()
    else {
        return Completion::ignored_with("tshark is not installed");
    };
    let expected = format!("{}\t{PORT}\t108\t1\n", wan(&world.a, IpVersion::V4).ip()).repeat(20);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Completion::Completed
}

fn taken_once() -> Completion {
    let world = World::new();
    let again = world.lab.office(A, OfficeConfig::numbered(3));
    assert!(matches!(again, Err(LabError::NameTaken { .. })), "{again:?}");
    let again = world.lab.office("office-c", OfficeConfig::numbered(1));
    assert!(matches!(again, Err(LabError::AddressTaken { .. })), "{again:?}");
    let again = world.lab.readdress(A, wan(&world.b, IpVersion::V4).ip());
    assert!(matches!(again, Err(LabError::AddressTaken { .. })), "{again:?}");
    let nobody = world.lab.cut("nobody");
    assert!(matches!(nobody, Err(LabError::NoSuchParty { .. })), "{nobody:?}");
    let only_v4 = OfficeConfig::stranger(&["203.0.113.66".parse().unwrap()]);
    world.lab.office("stranger", only_v4).unwrap();
    let no_v6 = world.lab.readdress("stranger", "2001:db8:9::1".parse().unwrap());
    assert!(matches!(no_v6, Err(LabError::NoAddress { .. })), "{no_v6:?}");
    Completion::Completed
}

fn nothing_is_left() -> Completion {
    let world = World::new();
    let paths = [world.a.gateway(), world.a.host(), world.b.gateway(), world.b.host()]
        .map(|namespace| namespace.path());
    assert!(paths.iter().all(|path| path.exists()));
    let mut child = world.b.host().command("sleep").arg("600").spawn().unwrap();
    drop(world);
    assert!(paths.iter().all(|path| !path.exists()));
    assert!(!child.wait().unwrap().success());
    Completion::Completed
}

/// Asks until the answer is as it must become; a packet takes a moment to the lab's thread.
fn eventually<T: std::fmt::Debug>(ask: impl Fn() -> T, is_right: impl Fn(&T) -> bool) -> T {
    let begin = Instant::now();
    loop {
        let answer = ask();
        if is_right(&answer) {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "still {answer:?}");
        std::thread::sleep(MILLISECOND);
    }
}
