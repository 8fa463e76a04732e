//! Calls that nobody announced: what the line says of them, beside what the phones themselves have counted.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::namespace::NamespaceThread;
use tieline_io::sysctl::IpVersion;
use tieline_sim::path::PathModel;

use crate::end::{End, LIMIT, LINE};
use crate::world::{DELAY, Test, World, quiet};

pub(crate) const TESTS: &[Test] = &[
    Test::new("calls_both_ways_are_seen_where_they_come_out_and_are_good_on_a_good_path", good_calls),
    Test::new("loss_of_a_call_is_what_the_phone_has_missed_and_its_score_says_so", lossy_call),
    Test::new("a_test_fills_no_line_that_nothing_shapes_while_somebody_speaks", test_beside_call),
];

const PACKET_TIME: Duration = Duration::from_millis(20);
/// Packets until a stream is recognised; the fifth is the first that is counted.
const UNCOUNTED: usize = 4;

/// A codec as it is seen on the wire.
#[derive(Clone, Copy)]
struct Codec {
    payload_type: u8,
    octets: usize,
    clock: u32,
}

const G711: Codec = Codec { payload_type: 8, octets: 160, clock: 8_000 };
const OPUS: Codec = Codec { payload_type: 111, octets: 60, clock: 48_000 };

/// Somebody who speaks, and somebody who listens in another office and counts.
struct Conversation {
    from: SocketAddr,
    to: SocketAddr,
    threads: Option<(JoinHandle<()>, JoinHandle<usize>)>,
}

impl Conversation {
    fn start(speaker: &UdpSocket, listener: &UdpSocket, codec: Codec, packets: u16) -> Self {
        let [speaker, listener] = [speaker, listener].map(|socket| socket.try_clone().unwrap());
        let (from, to) = (speaker.local_addr().unwrap(), listener.local_addr().unwrap());
        let speaks = thread::spawn(move || speak(&speaker, to, codec, packets));
        let listens = thread::spawn(move || listen(&listener));
        Self { from, to, threads: Some((speaks, listens)) }
    }

    /// Waits until it is over and returns how many packets arrived.
    fn arrived(&mut self) -> usize {
        let (speaks, listens) = self.threads.take().expect("asked once");
        speaks.join().unwrap();
        listens.join().unwrap()
    }

    /// What `end` says of it, where it comes out; waits until that is as wanted.
    fn wait_for(&self, end: &End, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let said: Value = serde_json::from_str(&end.must(&["calls", LINE, "--json"])).unwrap();
            let mut calls = said["calls"].as_array().unwrap().iter();
            let ours = calls
                .find(|call| call["there"] == self.from.to_string() && call["here"] == self.to.to_string());
            if let Some(call) = ours.filter(|call| wanted(call)) {
                return call.clone();
            }
            assert!(Instant::now() < deadline, "not in {LIMIT:?}: {what}\n{said:#}\n{}", end.log());
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn test_beside_call() {
    let world = World::joined();
    let (a, b) = (bind(host(&world, true)), bind(host(&world, false)));
    let mut call = Conversation::start(&a, &b, G711, 800);
    call.wait_for(&world.end_b, "it is seen", |call| call["state"] == "talking");
    let told = world.end_a.run(&["test", LINE, "--json", "--seconds", "3"]);
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    let measured: Vec<_> =
        report["phases"].as_array().unwrap().iter().map(|phase| phase["load"].clone()).collect();
    world.check(!told.status.success() && measured == ["none"], &format!("{report:#}"));
    // Each end sees the call, so neither of them sends.
    let refused = report["refused"].as_array().unwrap();
    let says = |refused: &Value| refused.as_str().is_some_and(|text| text.contains("calls are going on (1)"));
    world.check(refused.len() == 2 && refused.iter().all(says), &format!("{report:#}"));
    assert_eq!(call.arrived(), 800);
}

fn good_calls() {
    let _quiet = quiet();
    let world = World::joined();
    let (a, b) = (bind(host(&world, true)), bind(host(&world, false)));
    let mut out = Conversation::start(&a, &b, G711, 400);
    let mut back = Conversation::start(&b, &a, OPUS, 400);
    for (one, end, codec, answer) in
        [(&out, &world.end_b, "G.711", "Opus"), (&back, &world.end_a, "Opus", "G.711")]
    {
        let is_rated = |call: &Value| !call["from-there"]["quality"]["mos-now"].is_null();
        let call = one.wait_for(end, "a call that is rated", is_rated);
        assert_eq!(call["state"], "talking", "{call:#}");
        let voice = &call["from-there"];
        assert_eq!((&voice["codec"], &voice["packet-seconds"]), (&codec.into(), &0.02.into()), "{call:#}");
        assert!(voice["jitter-seconds"].as_f64().unwrap() < 0.005, "{call:#}");
        assert!(voice["quality"]["mos-now"].as_f64().unwrap() > 4.3, "{call:#}");
        let delay = Duration::from_secs_f64(voice["quality"]["delay-seconds"].as_f64().unwrap());
        assert!(delay.abs_diff(DELAY) < Duration::from_millis(5), "{call:#}");
        assert_eq!(call["from-here"]["codec"], answer, "both directions are one call: {call:#}");
        assert!(call["from-here"]["quality"].is_null());
    }
    let arrived = out.arrived();
    back.arrived();
    let call = out.wait_for(&world.end_b, "silence", |call| call["state"] == "quiet");
    assert_eq!(call["from-there"]["packets-expected"], arrived - UNCOUNTED, "{call:#}");
    assert_eq!(call["from-there"]["packets-lost"], 0);
    let said = world.end_b.must(&["calls"]);
    let rows = |from: &Conversation| {
        said.lines().find(|row| row.starts_with(&from.from.to_string())).unwrap_or_default().to_owned()
    };
    assert!(rows(&out).contains("G.711 20 ms") && rows(&out).contains("quiet for"), "{said}");
    assert!(rows(&back).contains("Opus 20 ms") && rows(&back).contains("into the line"), "{said}");
    assert!(world.end_b.must(&["calls", "--hours"]).contains("hour (UTC)"));
}

fn lossy_call() {
    let _quiet = quiet();
    let model = PathModel { loss: 0.05, ..PathModel::internet(20_000_000, DELAY) };
    let world = World::over(&model).made().up();
    let (a, b) = (bind(host(&world, true)), bind(host(&world, false)));
    let mut call = Conversation::start(&a, &b, G711, 600);
    let arrived = call.arrived();
    let said = call.wait_for(&world.end_b, "silence", |call| call["state"] == "quiet");
    let voice = &said["from-there"];
    let number = |key: &str| voice[key].as_u64().unwrap();
    let counted = number("packets-expected") - number("packets-lost");
    // What came before it was recognised, by five packets without loss, is not counted.
    let uncounted = arrived - usize::try_from(counted).unwrap();
    assert!((UNCOUNTED..50).contains(&uncounted), "{arrived} arrived: {said:#}");
    let lost = voice["lost"].as_f64().unwrap();
    let expected = 1.0 - arrived as f64 / 600.0;
    assert!((lost - expected).abs() < 0.01, "{lost} of {expected}: {said:#}");
    // At 95 ms: 4.26 of 1 %, 3.82 of 5 %, 3.4 of 8 %.
    let mos = voice["quality"]["mos"].as_f64().unwrap();
    assert!((3.4..4.26).contains(&mos), "{said:#}");
    // The last seconds are no whole interval, so the call may be worse than its worst.
    let [worst, last] = ["mos-worst", "mos-now"].map(|key| voice["quality"][key].as_f64().unwrap());
    assert!(worst <= last && worst < 4.26, "{said:#}");
}

/// A phone of office A, or of B.
fn host(world: &World, is_a: bool) -> (&NamespaceThread, IpAddr) {
    let office = if is_a { &world.a } else { &world.b };
    (office.host(), office.host_address(IpVersion::V4).unwrap())
}

/// RTP goes to even ports.
fn bind((namespace, address): (&NamespaceThread, IpAddr)) -> UdpSocket {
    let socket = namespace.run(move || {
        let mut ports = (20_000..21_000).step_by(2);
        ports.find_map(|port| UdpSocket::bind((address, port)).ok()).expect("a free port")
    });
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    socket
}

fn speak(socket: &UdpSocket, to: SocketAddr, codec: Codec, packets: u16) {
    let began = Instant::now();
    let step = codec.clock / 50;
    for n in 0..packets {
        let mut packet = vec![0x80, codec.payload_type];
        packet.extend(n.wrapping_add(65_400).to_be_bytes());
        packet.extend((u32::from(n) * step).to_be_bytes());
        packet.extend([0xca, 0xfe, 0xba, 0xbe]);
        packet.resize(packet.len() + codec.octets, 0xd5);
        socket.send_to(&packet, to).unwrap();
        let next = PACKET_TIME * (u32::from(n) + 1);
        thread::sleep(next.saturating_sub(began.elapsed()));
    }
}

/// How many numbers arrived, until nothing comes any more.
fn listen(socket: &UdpSocket) -> usize {
    let (mut numbers, mut packet) = (HashSet::new(), [0; 2048]);
    while let Ok(len) = socket.recv(&mut packet) {
        assert!(len > 12, "a whole packet");
        numbers.insert([packet[2], packet[3]]);
    }
    numbers.len()
}
