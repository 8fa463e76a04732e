//! Somebody on the path damages datagrams of a batch, which arrives as one batch all the same: every other packet of it comes out,
//! in the order in which it arrived, and each harm is counted by its reason.
//!
//! The far end dials whoever does the harm, in the near end's gateway, and from there the datagrams go on over loopback as the kernel
//! takes them in one piece (`UDP_SEGMENT`) and hands them over in one (`UDP_GRO`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use serde_json::Value;
use tieline_io::namespace::NamespaceThread;
use tieline_io::sysctl::IpVersion;
use tieline_io::udp::{ReceiveBuffers, UdpSocket};
use tieline_io::wait::wait_readable;
use tieline_wire::sealed::padded_len;
use tieline_wire::wireguard::{MessageType, TAG_LEN, TransportHeader};

use crate::content::{Load, Streams, fill, udp};
use crate::end::{LIMIT, LINE};
use crate::world::{PORT, Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new("harm_to_datagrams_of_a_batch_is_harm_to_those_datagrams_only", datagrams).with(&["ip"]),
    Test::new("streams_through_harmed_batches_arrive_unchanged_and_every_harm_is_counted", streams)
        .with(&["ip"]),
];

/// Where the harm is done, in the near end's gateway.
const HARM_PORT: u16 = 51821;
const MTU: usize = 1420;
/// Datagrams of one batch.
const COUNT: usize = 32;
/// Octets in each.
const SIZE: usize = 1000;
const ROUNDS: u64 = 40;
/// Octets each way; of the way that is harmed most batches are damaged.
const STREAM: u64 = 16 << 20;
/// Octets of a stream under way at most: all that is harmed has room in the socket's buffer.
const UNDER_WAY_MAX: u64 = 256 << 10;
/// Datagrams that are a batch worth to be harmed.
const HARMED_MIN: usize = 16;

fn datagrams() {
    let (world, harm) = harmed_world();
    let before = world.end_a.status();
    let given = packets_given(world.a.gateway());
    let mut rng = StdRng::seed_from_u64(1);
    let mut arrived = 0;
    for version in [IpVersion::V4, IpVersion::V6] {
        let (source, address) =
            (world.b.host_address(version).unwrap(), world.a.host_address(version).unwrap());
        let sender = world.b.host().run(move || UdpSocket::bind((source, 0).into()).unwrap());
        let receiver = udp(world.a.host(), address);
        let target = receiver.local_addr().unwrap();
        let headers = if version == IpVersion::V4 { 28 } else { 48 };
        let len = sealed_len(headers + SIZE);
        for round in 0..ROUNDS {
            let content = |number: usize| {
                let mut octets = vec![0; SIZE];
                fill(&mut octets, round, (number * SIZE) as u64);
                octets
            };
            let untouched = harm.expect_batch(len, rng.next_u64());
            let run: Vec<u8> = (0..COUNT).flat_map(content).collect();
            sender.send_segments(&run, SIZE, target, 0).unwrap();
            let mut buffer = vec![0; 2 * SIZE];
            for (place, number) in untouched.iter().enumerate() {
                let came = receiver.recv(&mut buffer);
                world.check(
                    came.is_ok(),
                    &format!("{version:?}, round {round}: only {place} of {untouched:?}"),
                );
                let is_right = buffer[..came.unwrap()] == content(*number);
                let otherwise = || {
                    format!("{version:?}, round {round}: at place {place} of {untouched:?} something else")
                };
                world.check(is_right, &otherwise());
            }
            arrived += untouched.len();
        }
        receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        world.check(receiver.recv(&mut [0]).is_err(), "more arrives than was left untouched");
    }
    let given = packets_given(world.a.gateway()) - given;
    println!("harm: {arrived} datagrams came out, in {given} packets for the device, of {:?}", harm.counts());
    check_counts(&world, &before, &harm.end());
}

fn streams() {
    let (world, harm) = harmed_world();
    let before = world.end_a.status();
    let given = packets_given(world.a.gateway());
    harm.harm_streams(sealed_len(MTU), 2);
    let both = [IpVersion::V4, IpVersion::V6].map(|version| {
        let [b, a] =
            [&world.b, &world.a].map(|office| (office.host(), office.host_address(version).unwrap()));
        Streams::start(b, a, Load { octets: Some(STREAM), under_way_max: Some(UNDER_WAY_MAX) })
    });
    for streams in both {
        assert_eq!(streams.wait(), [STREAM; 2]);
    }
    let given = packets_given(world.a.gateway()) - given;
    let came = world.end_a.status()["traffic"]["ip-packets-in"].as_u64();
    println!("harm: {came:?} packets of streams came out, in {given} for the device, of {:?}", harm.counts());
    world.check(harm.counts().values().all(|count| *count >= 10), "hardly any harm was done");
    world.check(came.is_some_and(|came| given < came / 2), "hardly anything came in batches");
    check_counts(&world, &before, &harm.end());
}

/// What is sealed in so many octets of a datagram.
fn sealed_len(packet: usize) -> usize {
    TransportHeader::LEN + padded_len(packet, MTU) + TAG_LEN
}

/// Offices whose line goes through somebody who does no harm yet. The kernel keeps the order of packets on one processor, so whoever
/// has to do with it has the same one.
fn harmed_world() -> (World, Harm) {
    let mut world = World::cabled(IpVersion::V4);
    world.reached[0].set_port(HARM_PORT);
    let harm = Harm::start(world.a.gateway(), world.reached[0]);
    let mut world = world.made();
    world.end_a.start();
    let threads = std::fs::read_dir(format!("/proc/{}/task", world.end_a.pid())).unwrap();
    for thread in threads {
        let number = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        // A thread that is not there any more moves no packets.
        let _ = sched_setaffinity(Pid::from_raw(number), &one_processor());
    }
    world.end_b.start();
    world.wait_until_joined();
    (world, harm)
}

fn one_processor() -> CpuSet {
    let allowed = sched_getaffinity(None).unwrap();
    let first = (0..CpuSet::MAX_CPU).find(|number| allowed.is_set(*number)).unwrap();
    let mut one = CpuSet::new();
    one.set(first);
    one
}

/// How many packets the line's device was given for this machine; what was joined is one.
fn packets_given(gateway: &NamespaceThread) -> u64 {
    let table = gateway.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    let row = table.lines().find_map(|row| row.trim_start().strip_prefix(&format!("{LINE}:"))).unwrap();
    row.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits until the near end has counted exactly these harms, and nothing else.
fn check_counts(world: &World, before: &Value, harms: &Counts) {
    let count = |status: &Value, reason: &str| status["drops"][reason].as_u64().unwrap_or(0);
    let difference = |status: &Value| -> BTreeMap<String, u64> {
        let reasons = status["drops"].as_object().unwrap().keys();
        let reasons = reasons.filter(|reason| *reason != "link-local");
        let counts = reasons.map(|reason| (reason.clone(), count(status, reason) - count(before, reason)));
        counts.filter(|(_, count)| *count > 0).collect()
    };
    let expected: BTreeMap<String, u64> =
        harms.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
    let status =
        world.end_a.wait_for(&format!("these drops: {expected:?}"), |status| difference(status) == expected);
    world.check(status["state"] == "up", "the line did not survive it");
}

type Counts = BTreeMap<&'static str, u64>;

/// What is to be done to the datagrams that come by.
#[derive(Default)]
enum Rule {
    #[default]
    Nothing,
    /// To a batch of [`COUNT`] datagrams of `len` octets, which are collected until all are there.
    Batch { len: usize, seed: u64, collected: Vec<Vec<u8>> },
    /// To what comes together of datagrams of `len` octets.
    Streams { len: usize, rng: Box<StdRng> },
}

#[derive(Default)]
struct Doing {
    rule: Rule,
    counts: Counts,
}

/// Somebody between the ends. Dropped, it is gone.
struct Harm {
    over: Arc<AtomicBool>,
    doing: Arc<Mutex<Doing>>,
    thread: Option<JoinHandle<()>>,
}

impl Harm {
    /// Takes what comes to `here` on to the end beside it, and its answers back.
    fn start(gateway: &NamespaceThread, here: SocketAddr) -> Self {
        let (over, doing) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Doing::default())));
        let inside = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let [outer, inner] =
            gateway.run(move || [here, inside].map(|address| UdpSocket::bind(address).unwrap()));
        let (is_over, does) = (Arc::clone(&over), Arc::clone(&doing));
        let thread = std::thread::spawn(move || relay(&outer, &inner, &is_over, &does));
        Self { over, doing, thread: Some(thread) }
    }

    /// Harms the next batch of datagrams of `len` octets, and returns the places of those that are left alone, in the order in
    /// which they will arrive.
    fn expect_batch(&self, len: usize, seed: u64) -> Vec<usize> {
        self.doing.lock().unwrap().rule = Rule::Batch { len, seed, collected: Vec::new() };
        let stand_ins = (0..COUNT).map(|_| vec![0; len]).collect();
        harmed(&mut StdRng::seed_from_u64(seed), stand_ins, &mut Counts::new())
            .iter()
            .filter_map(|datagram| datagram.untouched)
            .collect()
    }

    /// Harms batches of datagrams of `len` octets from now on, wherever they come together.
    fn harm_streams(&self, len: usize, seed: u64) {
        let rng = Box::new(StdRng::seed_from_u64(seed));
        self.doing.lock().unwrap().rule = Rule::Streams { len, rng };
    }

    fn counts(&self) -> Counts {
        self.doing.lock().unwrap().counts.clone()
    }

    /// Does no more harm, and says what harm was done.
    fn end(&self) -> Counts {
        let mut doing = self.doing.lock().unwrap();
        doing.rule = Rule::Nothing;
        doing.counts.clone()
    }
}

impl Drop for Harm {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It says itself why it failed.
            let _ = thread.join();
        }
    }
}

fn relay(outer: &UdpSocket, inner: &UdpSocket, over: &AtomicBool, doing: &Mutex<Doing>) {
    sched_setaffinity(None, &one_processor()).unwrap();
    let end = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut buffers = ReceiveBuffers::default();
    let mut far = None;
    while !over.load(Ordering::Relaxed) {
        wait_readable(&[outer.as_fd(), inner.as_fd()], Some(LIMIT / 200)).unwrap();
        let mut came = Vec::new();
        if let Ok(datagrams) = outer.recv_batch(&mut buffers) {
            for datagram in datagrams {
                far = Some(datagram.from);
                came.push(datagram.octets.to_vec());
            }
        }
        send(inner, end, &doing.lock().unwrap().harm(came));
        let back: Vec<_> = match inner.recv_batch(&mut buffers) {
            Ok(datagrams) => datagrams.map(|datagram| datagram.octets.to_vec()).collect(),
            // Nothing came, or the end beside us is not there yet.
            Err(_) => continue,
        };
        if let Some(far) = far {
            send(outer, far, &back);
        }
    }
}

/// Sends in one piece what is of one length; the last of a piece may be shorter.
fn send(socket: &UdpSocket, to: SocketAddr, datagrams: &[Vec<u8>]) {
    let mut rest = datagrams;
    while let Some(first) = rest.first() {
        let alike =
            rest.iter().take(65_507 / first.len()).take_while(|next| next.len() == first.len()).count();
        let with_shorter = rest.get(alike).is_some_and(|next| next.len() < first.len());
        let fits = (alike + 1) * first.len() <= 65_507;
        let (piece, behind) = rest.split_at(alike + usize::from(with_shorter && fits));
        // Who is not there yet refuses it, and is sent it again.
        let _ = socket.send_segments(&piece.concat(), first.len(), to, 0);
        rest = behind;
    }
}

impl Doing {
    /// What goes on of what came.
    fn harm(&mut self, came: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let Self { rule, counts } = self;
        match rule {
            Rule::Nothing => came,
            Rule::Batch { len, seed, collected } => {
                let (batch, mut others): (Vec<_>, Vec<_>) =
                    came.into_iter().partition(|datagram| datagram.len() == *len);
                collected.extend(batch);
                if collected.len() == COUNT {
                    let mut rng = StdRng::seed_from_u64(*seed);
                    let harmed = harmed(&mut rng, std::mem::take(collected), counts);
                    others.extend(harmed.into_iter().map(|datagram| datagram.octets));
                    *rule = Rule::Nothing;
                }
                others
            }
            Rule::Streams { len, rng } => {
                let full = came.iter().filter(|datagram| datagram.len() == *len).count();
                let is_data = came.iter().all(|datagram| datagram[0] == MessageType::TransportData as u8);
                if full < HARMED_MIN || !is_data || rng.random_bool(0.5) {
                    return came;
                }
                harmed(rng, came, counts).into_iter().map(|datagram| datagram.octets).collect()
            }
        }
    }
}

struct Datagram {
    /// Its place in what came, if it is as it was and was not there before.
    untouched: Option<usize>,
    octets: Vec<u8>,
}

/// Does each kind of harm once, and counts it under the reason for which it is dropped.
fn harmed(rng: &mut StdRng, came: Vec<Vec<u8>>, counts: &mut Counts) -> Vec<Datagram> {
    let untouched = |(place, octets)| Datagram { untouched: Some(place), octets };
    let mut batch: Vec<Datagram> = came.into_iter().enumerate().map(untouched).collect();
    let mut places: Vec<usize> = (0..batch.len()).collect();
    places.shuffle(rng);
    let [forged, misdirected, cut, repeated, one, other, ..] = places[..] else { panic!("a batch of a few") };
    let mut count = |reason| *counts.entry(reason).or_default() += 1;

    let octet = rng.random_range(TransportHeader::LEN..batch[forged].octets.len());
    batch[forged].octets[octet] ^= 1 << rng.random_range(0..8);
    batch[forged].untouched = None;
    count("not-authentic");

    batch[misdirected].octets[rng.random_range(4..8)] ^= 1 << rng.random_range(0..8);
    batch[misdirected].untouched = None;
    count("unknown-receiver");

    batch[cut].octets.truncate(rng.random_range(4..TransportHeader::DATAGRAM_MIN));
    batch[cut].untouched = None;
    count("too-short");

    batch.swap(one, other);

    let mut rubbish = vec![0; batch[repeated].octets.len()];
    rng.fill_bytes(&mut rubbish);
    rubbish[0] = 0xff;
    let copy = Datagram { untouched: None, octets: batch[repeated].octets.clone() };
    batch.insert(rng.random_range(repeated + 1..=batch.len()), copy);
    count("replayed");

    let place = rng.random_range(0..=batch.len());
    batch.insert(place, Datagram { untouched: None, octets: rubbish });
    count("unknown-type");
    batch
}
