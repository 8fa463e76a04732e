//! What carriers see of how packets are marked, and what becomes of what they mark.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::namespace::NamespaceThread;
use tieline_io::sysctl::IpVersion;
use tieline_io::udp::{ReceiveBuffers, UdpSocket};
use tieline_io::wait::wait_readable;

use crate::end::LIMIT;
use crate::world::{Test, World};

pub(crate) const TESTS: &[Test] =
    &[Test::new("marks_of_the_path_reach_the_hosts_and_carriers_see_which_packets_are_calls", marks)
        .with(&["nft"])];

const EF: u8 = 46 << 2;
const ECT0: u8 = 2;
const CE: u8 = 3;

fn marks() {
    let world = World::joined();
    let (a, b) = (socket(world.a.host(), &world, true), socket(world.b.host(), &world, false));
    let to = b.local_addr().unwrap();
    let carrier = world.a.gateway();
    // Behind tieline, where a carrier would be.
    for command in [
        "add table ip carrier",
        "add counter ip carrier calls",
        "add counter ip carrier marked",
        "add chain ip carrier out { type filter hook output priority 0 ; }",
        "add rule ip carrier out udp length > 100 ip dscp ef counter name calls",
        "add rule ip carrier out ip ecn ect0 counter name marked ip ecn set ce",
    ] {
        nft(&world, carrier, command);
    }
    assert_eq!(arriving(&a, &b, to, EF | ECT0), Some(CE), "{}", world.logs());
    assert_eq!(arriving(&a, &b, to, ECT0), Some(CE));
    assert_eq!(arriving(&a, &b, to, EF), Some(0), "a packet that takes no marks goes in one that takes none");
    let counted = nft(&world, carrier, "list counters table ip carrier");
    for counter in ["calls", "marked"] {
        world.check(counted.contains(&format!("counter {counter} {{\n\t\tpackets 2 ")), &counted);
    }
    nft(&world, carrier, "flush chain ip carrier out");
    nft(&world, carrier, "add rule ip carrier out udp length > 100 ip ecn not-ect ip ecn set ce");
    assert_eq!(arriving(&a, &b, to, EF), None, "its transport could not hear of it");
    let drops: Value = world.end_b.status()["drops"]["congestion-unheard"].clone();
    assert_eq!(drops, 1);
}

/// Sends one packet with the DS octet `ds`, and returns with which mark it came.
fn arriving(from: &UdpSocket, at: &UdpSocket, to: SocketAddr, ds: u8) -> Option<u8> {
    from.send_segments(&[7; 160], 160, to, ds).unwrap();
    let until = Instant::now() + if ds == EF { Duration::from_secs(1) } else { LIMIT };
    let mut buffers = ReceiveBuffers::default();
    while Instant::now() < until {
        wait_readable(&[at.as_fd()], Some(Duration::from_millis(100))).unwrap();
        if let Ok(mut batch) = at.recv_batch(&mut buffers) {
            return batch.next().map(|datagram| datagram.ecn);
        }
    }
    None
}

fn socket(host: &NamespaceThread, world: &World, is_a: bool) -> UdpSocket {
    let office = if is_a { &world.a } else { &world.b };
    let address = office.host_address(IpVersion::V4).unwrap();
    host.run(move || UdpSocket::bind(SocketAddr::new(address, 0)).unwrap())
}

fn nft(world: &World, namespace: &NamespaceThread, command: &str) -> String {
    let output = namespace.command("nft").arg(command).output().unwrap();
    world.check_output(&output);
    String::from_utf8(output.stdout).unwrap()
}
