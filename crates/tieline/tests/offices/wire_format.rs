//! What an eavesdropper sees, as tshark decodes it: WireGuard and nothing else.

use std::collections::BTreeMap;
use std::process::Command;

use crate::end::LINE;
use crate::world::{PORT, Test, World, random_file};

pub(crate) const TESTS: &[Test] =
    &[Test::new("tshark_sees_wireguard_and_nothing_malformed_in_all_that_the_line_sends", only_wireguard)
        .with(&["tshark"])];

fn only_wireguard() {
    let mut world = World::bare().made();
    let capture = world.file("line.pcap");
    world.lab.capture(&capture).unwrap();
    world.end_a.start();
    world.end_b.start();
    world.wait_until_joined();
    random_file(&world.file("sent"), 300_000);
    world.end_a.must(&["send", "--wait", LINE, world.file("sent").to_str().unwrap()]);
    world.end_b.must(&["ping", LINE, "--count", "2", "--size", "1420"]);
    // The other end opens a handshake too.
    world.end_a.kill();
    world.end_a.start();
    world.wait_until_joined();
    world.end_b.down();
    let recorded = world.lab.stop_capture().unwrap();
    assert_eq!(recorded.left_out, 0);

    let port = format!("udp.port=={PORT},wg");
    let fields =
        ["ip.proto", "ipv6.nxt", "udp.port", "wg.type", "wg.reserved", "_ws.malformed", "frame.protocols"];
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(&capture).args([
        "-n",
        "-d",
        &port,
        "-T",
        "fields",
        "-E",
        "separator=;",
        "-E",
        "occurrence=a",
    ]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = tshark.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let decoded = String::from_utf8(output.stdout).unwrap();
    let mut types: BTreeMap<&str, u64> = BTreeMap::new();
    for row in decoded.lines() {
        let columns: Vec<&str> = row.split(';').collect();
        let [_, _, ports, kind, reserved, malformed, protocols] = columns[..] else { panic!("{row}") };
        assert_eq!(ports, format!("{PORT},{PORT}"), "a packet that is not the line's: {row}");
        assert!(malformed.is_empty() && protocols.ends_with(":udp:wg"), "{row}");
        assert!(reserved.chars().all(|digit| digit == '0'), "{row}");
        *types.entry(kind).or_default() += 1;
    }
    println!("tshark: {types:?} of {} packets", recorded.packets);
    assert_eq!(types.values().sum::<u64>(), recorded.packets, "tshark did not decode every packet");
    let known: Vec<&str> = types.keys().copied().collect();
    assert_eq!(known, ["1", "2", "4"], "initiations, responses and transport data, no other type");
}
