//! More packet threads than this machine has processors for: whatever they do at the same time, every flow arrives whole and in order.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use tieline_io::sysctl::IpVersion;
use tieline_node::node::{Node, Options};
use tieline_node::places::{Places, PlacesChoice, Surroundings};

use crate::content::{Load, Place, Streams, udp};
use crate::end::{LIMIT, LINE};
use crate::world::{Test, World, quiet, unexpected_drops};

pub(crate) const TESTS: &[Test] =
    &[Test::new("many_packet_threads_carry_every_flow_whole_and_in_order", in_order).with(&["ip"])];

/// For each direction.
const THREADS: usize = 3;
/// Set for a process that is to be an end and no test.
pub(crate) const VARIABLE: &str = "TIELINE_TEST_THREADS";

/// Octets of each stream, each way.
const OCTETS: u64 = 32 << 20;
/// Connections; their flows are spread over all threads.
const STREAMS: usize = 6;
/// Flows of numbered datagrams.
const FLOWS: usize = 6;
const DATAGRAMS: u64 = 40_000;

/// Runs an end, if that is what this process is for, as `tieline up --foreground` does.
pub(crate) fn run_end_if_asked() {
    let Some(lanes) = std::env::var(VARIABLE).ok().and_then(|lanes| lanes.parse().ok()) else { return };
    let folder = |variable| std::env::var_os(variable).map(Into::into);
    let choice =
        PlacesChoice { config_dir: folder("TIELINE_CONFIG_DIR"), runtime_dir: folder("TIELINE_RUNTIME_DIR") };
    let places = Places::resolve(&choice, &Surroundings::from_system()).unwrap();
    let options = Options { lanes, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::start(&places, &LINE.parse().unwrap(), &options).await.unwrap();
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        node.run().await.unwrap();
    });
    std::process::exit(0);
}

fn in_order() {
    let _quiet = quiet();
    let mut world = World::cabled(IpVersion::V4).made();
    world.end_a.use_threads(THREADS);
    world.end_b.use_threads(THREADS);
    let world = world.up();
    world.use_cubic();
    let before = [&world.end_a, &world.end_b].map(|end| end.status());
    for status in &before {
        assert_eq!(status["here"]["packet-threads"], THREADS);
    }
    let place = |office: &'static str| -> Place<'_> {
        let office = if office == "a" { &world.a } else { &world.b };
        (office.host(), office.host_address(IpVersion::V4).unwrap())
    };
    let (a, b) = (place("a"), place("b"));
    let load = Load { octets: Some(OCTETS), under_way_max: None };
    let streams: Vec<Streams> = (0..STREAMS).map(|_| Streams::start(a, b, load)).collect();
    let flows =
        [(a, b), (b, a)].map(|(from, to)| (0..FLOWS).map(move |_| (udp(from.0, from.1), udp(to.0, to.1))));
    std::thread::scope(|scope| {
        for (sender, receiver) in flows.into_iter().flatten() {
            scope.spawn(move || numbers_only_grow(&sender, &receiver));
        }
    });
    for stream in streams {
        assert_eq!(stream.wait(), [OCTETS, OCTETS]);
    }
    for (end, before) in [&world.end_a, &world.end_b].into_iter().zip(before) {
        let dropped = unexpected_drops(&before, &end.status());
        assert!(dropped.is_empty(), "dropped: {dropped:?}\n{}", end.log());
    }
}

/// Sends numbers as fast as it can. Some may be lost where a buffer is full, but none is behind a greater one.
fn numbers_only_grow(sender: &UdpSocket, receiver: &UdpSocket) {
    let target = receiver.local_addr().unwrap();
    let sent = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=DATAGRAMS {
                sender.send_to(&number.to_be_bytes(), target).unwrap();
            }
            sent.store(true, Ordering::Release);
        });
        receiver.set_read_timeout(Some(LIMIT / 100)).unwrap();
        let (mut last, mut count, mut buffer) = (0, 0_u64, [0; 16]);
        loop {
            let was_sent = sent.load(Ordering::Acquire);
            match receiver.recv(&mut buffer) {
                Ok(len) => {
                    let number = u64::from_be_bytes(buffer[..len].try_into().unwrap());
                    assert!(number > last, "{number} came after {last}");
                    (last, count) = (number, count + 1);
                }
                // Nothing is under way any more.
                Err(_) if was_sent => break,
                Err(_) => {}
            }
        }
        assert!(count > DATAGRAMS / 100, "only {count} of {DATAGRAMS} arrived");
    });
}
