//! The far end is wireguard-go, nothing slows them down, and every octet that arrives is compared.

use std::time::Instant;

use tieline_io::sysctl::IpVersion;
use tieline_io::udp::UdpSocket;

use crate::content::{Load, Place, Streams, fill, udp};
use crate::wireguard::{Dials, PROGRAMS, Pair};
use crate::world::{Test, World, quiet, unexpected_drops};

pub(crate) const TESTS: &[Test] = &[
    Test::new(
        "wireguard_go_that_we_dial_over_ipv4_carries_streams_at_full_speed_and_datagrams_of_every_size",
        || {
            at_full_speed(IpVersion::V4, Dials::Us, 160 << 20);
        },
    )
    .with(PROGRAMS),
    Test::new(
        "wireguard_go_that_dials_us_over_ipv6_carries_streams_at_full_speed_and_datagrams_of_every_size",
        || {
            at_full_speed(IpVersion::V6, Dials::Them, 160 << 20);
        },
    )
    .with(PROGRAMS),
    Test::new("soak_wireguard_go_carries_a_gibibyte_each_way_at_full_speed_in_each_version_of_ip", || {
        at_full_speed(IpVersion::V4, Dials::Us, 1 << 30);
        at_full_speed(IpVersion::V6, Dials::Them, 1 << 30);
    })
    .with(PROGRAMS)
    .soak(),
];

/// The largest packet of both ends.
const MTU: usize = 1420;
/// Datagrams of one size that are sent in one go.
const RUN: usize = 4;
/// Sizes that are under way at once: few enough for every socket's buffer.
const SIZES_AT_ONCE: usize = 12;

fn at_full_speed(outside: IpVersion, dials: Dials, octets: u64) {
    let _quiet = quiet();
    let pair = Pair::over(World::cabled(outside), dials, true).up();
    pair.check_traffic(&pair.probes(), Instant::now());
    // Before there was a session, there was no room for all that was sent.
    let before = pair.world.end_a.status();
    pair.world.use_cubic();
    let both = [IpVersion::V4, IpVersion::V6];
    for version in both {
        let [a, b] = places(&pair, version);
        every_size(a, b);
        every_size(b, a);
    }
    let began = Instant::now();
    let streams = both.map(|version| {
        let [a, b] = places(&pair, version);
        Streams::start(a, b, Load { octets: Some(octets), under_way_max: None })
    });
    let arrived: Vec<u64> = streams.into_iter().flat_map(|streams| streams.wait()).collect();
    assert_eq!(arrived, [octets; 4]);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "wireguard-go over {outside:?}, dials {dials:?}: {octets} octets each way in IPv4 and IPv6 at once in {seconds:.1} s, {:.0} Mbit/s in all",
        arrived.iter().sum::<u64>() as f64 * 8e-6 / seconds
    );
    let status = pair.world.end_a.status();
    println!("drops: {}", status["drops"]);
    let dropped = unexpected_drops(&before, &status);
    pair.check(dropped.is_empty(), &format!("dropped: {dropped:?}"));
}

fn places(pair: &Pair, version: IpVersion) -> [Place<'_>; 2] {
    [&pair.world.a, &pair.world.b].map(|office| (office.host(), office.host_address(version).unwrap()))
}

/// Datagrams of every size that the line carries whole, some of each in one go. All arrive, unchanged.
fn every_size(from: Place<'_>, to: Place<'_>) {
    let address = from.1;
    let sender = from.0.run(move || UdpSocket::bind((address, 0).into()).unwrap());
    let receiver = udp(to.0, to.1);
    let target = receiver.local_addr().unwrap();
    let headers = if to.1.is_ipv4() { 28 } else { 48 };
    let sizes: Vec<usize> = (1..=MTU - headers).collect();
    let mut buffer = vec![0; 65_536];
    for some in sizes.chunks(SIZES_AT_ONCE) {
        let mut expected = Vec::new();
        for size in some {
            let mut run = vec![0; size * RUN];
            fill(&mut run, *size as u64, 0);
            sender.send_segments(&run, *size, target, 0).unwrap();
            expected.extend(run.chunks(*size).map(<[u8]>::to_vec));
        }
        while !expected.is_empty() {
            let lens = || expected.iter().map(Vec::len).collect::<Vec<_>>();
            let came = receiver.recv(&mut buffer);
            let len = came.unwrap_or_else(|error| panic!("{error}; still missing: {:?}", lens()));
            let found = expected.iter().position(|datagram| *datagram == buffer[..len]);
            let found =
                found.unwrap_or_else(|| panic!("{len} octets that nobody sent; missing: {:?}", lens()));
            expected.swap_remove(found);
        }
    }
}
