//! One office goes to the internet by way of the other, and by no other way: whatever becomes of the line.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::namespace::NamespaceThread;
use tieline_sim::lab::{Office, OfficeConfig};
use tieline_sim::path::PathModel;

use crate::end::LINE;
use crate::restore::Picture;
use crate::world::{A, B, DELAY, PORT, STRANGER, Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_host_goes_to_the_internet_by_way_of_the_other_office_as_that_office", goes_by_the_far_end)
        .with(&["ip", "nft"]),
    Test::new(
        "nothing_of_an_office_leaves_by_its_own_uplink_while_the_line_is_cut_killed_restarted_or_moved",
        leaks_nothing,
    )
    .with(&["ip", "nft"]),
    Test::new(
        "nothing_of_an_office_leaves_by_its_own_uplink_in_ten_thousand_tries",
        leaks_nothing_of_ten_thousand,
    )
    .with(&["ip", "nft"])
    .soak(),
    Test::new("only_some_networks_and_names_go_by_way_of_the_other_office", only_some_networks)
        .with(&["ip", "nft"]),
    Test::new("segments_of_tcp_to_the_internet_fit_into_the_line", segments_are_clamped).with(&["nft"]),
    Test::new("internet_through_headquarters_works_as_the_cookbook_says", cookbook),
    Test::new("doctor_finds_out_whether_anything_leaves_by_the_own_uplink", doctor_finds_leaks)
        .with(&["ip", "nft"]),
    Test::new("what_sharing_the_internet_changes_is_restored_after_down_and_after_kill_9", restored)
        .with(&["ip", "nft", "sysctl"]),
];

/// A server on the internet, which says who asked it.
const SERVER: &str = "198.51.100.99:7";
const SERVER_V6: &str = "[2001:db8:0:99::1]:7";

/// Two offices of which the first offers its internet connection and the second uses it; a server on the internet.
struct Shared {
    world: World,
    server: Office,
}

/// A party of both versions of IP that answers at [`SERVER`] and [`SERVER_V6`].
fn server(world: &World) -> Office {
    let addresses = [SERVER, SERVER_V6].map(|server| server.parse::<SocketAddr>().unwrap().ip());
    let server = world.lab.office(STRANGER, OfficeConfig::stranger(&addresses)).unwrap();
    for office in [A, B] {
        world.lab.set_path(STRANGER, office, &PathModel::internet(20_000_000, DELAY)).unwrap();
    }
    serve(server.gateway(), SERVER);
    serve(server.gateway(), SERVER_V6);
    server
}

impl Shared {
    fn new() -> Self {
        Self::using("internet.use = \"everything\"")
    }

    fn using(row: &str) -> Self {
        let world = World::bare().made();
        world.end_a.configure("internet.offer = true");
        world.end_b.configure(row);
        let server = server(&world);
        // As the second office went to the internet before: by a NAT of its own.
        nft(world.b.gateway(), "add table inet office");
        nft(world.b.gateway(), "add chain inet office out { type nat hook postrouting priority 100; }");
        nft(world.b.gateway(), "add rule inet office out oifname wan0 masquerade");
        Self { world, server }
    }

    fn up(self) -> Self {
        let Self { world, server } = self;
        let shared = Self { world: world.up(), server };
        shared.wait_until_carried();
        shared
    }

    fn wait_until_carried(&self) {
        self.world
            .end_b
            .wait_for("the internet by way of the far end", |status| status["internet"]["ipv4"] == true);
    }
}

fn goes_by_the_far_end() {
    let shared = Shared::new();
    set_strict_reverse_path_filter(shared.world.b.gateway());
    let shared = shared.up();
    let world = &shared.world;
    let status = world.end_a.status();
    assert_eq!(status["internet"]["role"], "offers", "{status:#}");
    assert_eq!(ask(world.b.host(), SERVER).as_deref(), Some("198.51.100.1"), "as office A\n{}", world.logs());
    // The gateway itself goes the same way.
    assert_eq!(ask(world.b.gateway(), SERVER).as_deref(), Some("198.51.100.1"), "{}", world.logs());
    // IPv6 is there as well, and so is carried.
    assert_eq!(ask(world.b.host(), SERVER_V6).as_deref(), Some("2001:db8:0:1::1"), "{}", world.logs());
}

/// The kernel then drops what came in by another way than it would go back.
fn set_strict_reverse_path_filter(namespace: &NamespaceThread) {
    namespace.run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap());
}

fn only_some_networks() {
    let shared =
        Shared::using("internet.use = [\"198.51.100.99/32\"]\ninternet.dns = \"198.51.100.99\"").up();
    let world = &shared.world;
    serve(world.a.gateway(), "198.51.100.1:7");
    serve(shared.server.gateway(), "198.51.100.99:53");
    assert_eq!(ask(world.b.host(), SERVER).as_deref(), Some("198.51.100.1"), "{}", world.logs());
    assert_eq!(ask(world.b.host(), "198.51.100.1:7").as_deref(), Some("198.51.100.2"), "all else as before");
    // Whoever is asked for names, the resolver answers.
    for namespace in [world.b.host(), world.b.gateway()] {
        assert_eq!(ask(namespace, "192.0.2.53:53").as_deref(), Some("198.51.100.1"), "{}", world.logs());
    }
}

fn segments_are_clamped() {
    let shared = Shared::new().up();
    let world = &shared.world;
    let capture = world.file("segments.pcap");
    let listener = shared.server.gateway().run(|| std::net::TcpListener::bind(SERVER).unwrap());
    world.lab.capture(&capture).unwrap();
    let sent = world.b.host().run(|| std::net::TcpStream::connect(SERVER).unwrap());
    listener.accept().unwrap();
    drop(sent);
    world.lab.stop_capture().unwrap();
    let octets = std::fs::read(&capture).unwrap();
    // The first option of what opens the connection, at either end of it: kind 2, length 4, the size.
    let openings =
        packets(&octets).filter(|packet| packet[0] == 0x45 && packet[9] == 6 && packet[33] & 2 != 0);
    let sizes: Vec<_> = openings.map(|packet| u16::from_be_bytes([packet[42], packet[43]])).collect();
    assert!(!sizes.is_empty(), "no connection was opened");
    let line_mtu = 1420;
    assert!(sizes[0] <= line_mtu - 40, "what B asks for fits into the line: {sizes:?}");
}

fn cookbook() {
    const PAGE: &str = include_str!("../../../../docs/offices.md");
    let section =
        PAGE.split("\n## ").find(|section| section.starts_with("Internet through headquarters")).unwrap();
    let files: Vec<&str> =
        section.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let [headquarters, branch] = files[..] else { panic!("{} files", files.len()) };
    let mut world = World::bare().made();
    std::fs::write(world.end_a.config_file(), headquarters).unwrap();
    let joined = std::fs::read_to_string(world.end_b.config_file()).unwrap();
    let key =
        joined.lines().find_map(|row| row.strip_prefix("public-key = \"")).unwrap().trim_end_matches('"');
    std::fs::write(world.end_b.config_file(), branch.replace('…', key)).unwrap();
    let _server = server(&world);
    world.end_a.start();
    world.end_b.start();
    world.end_b.wait_for("the internet by way of the far end", |status| status["internet"]["ipv4"] == true);
    assert_eq!(ask(world.b.host(), SERVER).as_deref(), Some("198.51.100.1"), "{}", world.logs());
    // The page names a resolver at headquarters.
    serve(world.a.host(), "10.1.0.2:53");
    assert_eq!(ask(world.b.host(), "192.0.2.53:53").as_deref(), Some("10.2.0.2"), "{}", world.logs());
}

/// Tries in each of five troubles, from two places to four targets by two protocols.
fn leaks_nothing() {
    leaks_nothing_of(20);
}

fn leaks_nothing_of_ten_thousand() {
    leaks_nothing_of(125);
}

fn leaks_nothing_of(tries: usize) {
    let shared = Shared::new();
    let mut world = shared.world;
    let capture = world.file("leaks.pcap");
    // Without the line it leaves by the own uplink, and is seen there.
    world.lab.capture(&capture).unwrap();
    let _ = ask(world.b.host(), SERVER);
    world.lab.stop_capture().unwrap();
    assert!(leaks(&capture) > 0, "the capture would see a leak");

    world.lab.capture(&capture).unwrap();
    world = world.up();
    world.end_b.wait_for("the internet by way of the far end", |status| status["internet"]["ipv4"] == true);
    assert!(ask(world.b.host(), SERVER).is_some(), "{}", world.logs());

    world.lab.cut(A).unwrap();
    try_all(&world, tries);
    world.lab.restore(A).unwrap();

    world.end_b.kill();
    try_all(&world, tries);
    world.end_b.spawn();
    try_all(&world, tries);
    world.wait_until_joined();
    world.end_b.wait_for("the internet by way of the far end", |status| status["internet"]["ipv4"] == true);
    assert!(ask(world.b.host(), SERVER).is_some(), "after kill -9 and a restart\n{}", world.logs());

    world.lab.readdress(B, "198.51.100.22".parse().unwrap()).unwrap();
    try_all(&world, tries);
    world.end_a.down();
    try_all(&world, tries);
    let outcome = world.lab.stop_capture().unwrap();
    assert!(outcome.left_out == 0 && outcome.packets > 100, "{outcome:?}");
    assert_eq!(leaks(&capture), 0, "{} packets leaked: {}", leaks(&capture), capture.display());

    world.end_b.down();
    world.lab.capture(&capture).unwrap();
    let _ = ask(world.b.host(), SERVER);
    world.lab.stop_capture().unwrap();
    assert!(leaks(&capture) > 0, "taken down on purpose, the office uses its own uplink again");
}

/// Runs `nft`.
fn nft(namespace: &NamespaceThread, command: &str) {
    let output = namespace.command("nft").arg(command).output().unwrap();
    assert!(output.status.success(), "nft {command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What `doctor` finds of leaks.
fn leak_finding(world: &World, arguments: &[&str]) -> (String, String) {
    let output = world.end_b.run(&[&["doctor", LINE, "--json"], arguments].concat());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = said["findings"].as_array().unwrap();
    let leak =
        findings.iter().find(|finding| finding["check"] == "leak").unwrap_or_else(|| panic!("{said:#}"));
    let text = |key: &str| leak[key].as_str().unwrap().to_owned();
    (text("severity"), text("sentence"))
}

fn doctor_finds_leaks() {
    let shared = Shared::new();
    let (severity, sentence) = leak_finding(&shared.world, &[]);
    assert!(severity == "fault" && sentence.contains("nothing holds it"), "{sentence}");
    let mut world = shared.up().world;

    for arguments in [&[][..], &["--cut-line"]] {
        let (severity, sentence) = leak_finding(&world, arguments);
        assert!(severity == "good" && sentence.contains("none left by wan0"), "{arguments:?}: {sentence}");
    }
    // A program that names the device gets as far as the second fence.
    let stopped = world.end_b.status()["internet"]["stopped"].as_u64().unwrap();
    assert!(stopped > 0, "{:#}", world.end_b.status());
    assert!(ask(world.b.host(), SERVER).is_some(), "the way into the line is open again");

    world.end_b.kill();
    let (severity, sentence) = leak_finding(&world, &[]);
    assert!(severity == "good" && sentence.contains("none left"), "while it is killed: {sentence}");

    nft(world.b.gateway(), "delete table inet tieline-berlin");
    let (severity, sentence) = leak_finding(&world, &[]);
    assert!(severity == "fault" && sentence.contains("left by wan0"), "without the second fence: {sentence}");
}

/// Many connections and questions for names, from the host and from the gateway.
fn try_all(world: &World, tries: usize) {
    for namespace in [world.b.host(), world.b.gateway()] {
        namespace.run(move || {
            for target in [SERVER, SERVER_V6, "198.51.100.99:53", "198.51.100.1:53"] {
                let target: SocketAddr = target.parse().unwrap();
                let any = any_like(target);
                for _ in 0..tries {
                    let socket = std::net::UdpSocket::bind(any).unwrap();
                    // Nobody may be there: that is what is tried.
                    let _ = socket.send_to(b"who", target);
                    let _ = std::net::TcpStream::connect_timeout(&target, Duration::from_millis(1));
                }
            }
        });
    }
}

/// Packets of the second office that others than its line have sent.
fn leaks(capture: &Path) -> usize {
    let octets = std::fs::read(capture).unwrap();
    packets(&octets).filter(|packet| is_leak(packet)).count()
}

fn is_leak(packet: &[u8]) -> bool {
    let from_b_v4 = |source: &[u8]| {
        source == [198, 51, 100, 2] || source == [198, 51, 100, 22] || source[..3] == [10, 2, 0]
    };
    let from_b_v6 = |source: &[u8]| source[..8] == [0x20, 1, 0xd, 0xb8, 0, 0, 0, 2] || source[0] == 0xfd;
    let udp_port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    match packet[0] >> 4 {
        4 if from_b_v4(&packet[12..16]) => !(packet[9] == 17 && udp_port(20) == PORT),
        6 if from_b_v6(&packet[8..24]) => !(packet[6] == 17 && udp_port(40) == PORT),
        _ => false,
    }
}

/// The packets of a capture.
fn packets(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &octets[24..];
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.get(8..12)?.first_chunk()?) as usize;
        let packet = rest.get(16..16 + length)?;
        rest = &rest[16 + length..];
        Some(packet)
    })
}

fn restored() {
    let shared = Shared::new();
    let mut world = shared.world;
    // Or that it is switched on would not be seen.
    world.a.gateway().run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap());
    let look = |world: &World| [&world.a, &world.b].map(|office| All::of(office.gateway()));
    let before = look(&world);
    world.end_a.start();
    world.end_b.start();
    world.wait_until_joined();
    world.end_b.wait_for("the internet by way of the far end", |status| status["internet"]["ipv4"] == true);
    let during = look(&world);
    assert!(during[0] != before[0] && during[1] != before[1]);
    assert!(during[0].text().contains("tieline-berlin"), "{}", during[0].text());
    world.end_a.down();
    world.end_b.down();
    compare(&look(&world), &before, "after down");

    world.end_a.start();
    world.end_b.start();
    world.wait_until_joined();
    world.end_a.kill();
    world.end_b.kill();
    // What holds the office's packets back outlives the process; `down` removes it, as of a process that runs.
    assert!(look(&world)[1] != before[1]);
    world.end_a.must(&["down", LINE]);
    world.end_b.must(&["down", LINE]);
    compare(&look(&world), &before, "after kill -9 and down");

    world.end_a.start();
    world.end_b.start();
    world.end_a.kill();
    world.end_b.kill();
    world.end_a.start();
    world.end_b.start();
    world.wait_until_joined();
    world.end_a.down();
    world.end_b.down();
    compare(&look(&world), &before, "after kill -9, up and down");
    // Killed while it sets up, early and late.
    for milliseconds in [5, 20, 40, 60, 80, 100, 120, 150, 200] {
        world.end_a.spawn();
        world.end_b.spawn();
        std::thread::sleep(Duration::from_millis(milliseconds));
        world.end_a.kill();
        world.end_b.kill();
        for end in [&world.end_a, &world.end_b] {
            // There may be nothing to take down yet.
            end.run(&["down", LINE]);
        }
        compare(&look(&world), &before, &format!("killed after {milliseconds} ms, and down"));
    }
    assert!(!world.end_b.run(&["down", LINE]).status.success(), "there is nothing left to take down");
}

#[track_caller]
fn compare(now: &[All; 2], before: &[All; 2], when: &str) {
    for (now, before) in now.iter().zip(before) {
        assert!(now == before, "{when}:\n{}\nand before:\n{}", now.text(), before.text());
    }
}

/// All that sharing an internet connection may change in a network namespace.
#[derive(PartialEq)]
struct All {
    network: Picture,
    filter: Value,
    settings: String,
}

impl All {
    fn of(namespace: &NamespaceThread) -> Self {
        let said = |program: &str, arguments: &[&str]| {
            let output = namespace.command(program).args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let filter = serde_json::from_str(&said("nft", &["-j", "list", "ruleset"])).unwrap();
        let settings = said("sysctl", &["-e", "net.ipv4", "net.ipv6"]);
        // The kernel's own counts and times.
        let settings = settings.lines().filter(|row| !row.contains("_mem") && !row.contains("flush"));
        Self { network: Picture::of(namespace), filter, settings: settings.collect::<Vec<_>>().join("\n") }
    }

    fn text(&self) -> String {
        format!("{:?}\n{}\n{}", self.network, self.filter, self.settings)
    }
}

/// Answers each datagram and connection with the address that it came from, as long as the namespace lasts.
fn serve(namespace: &NamespaceThread, address: &'static str) {
    let socket = namespace.run(move || std::net::UdpSocket::bind(address).unwrap());
    std::thread::spawn(move || {
        let mut packet = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut packet) {
            let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
        }
    });
}

/// Any address of that version of IP.
fn any_like(target: SocketAddr) -> &'static str {
    if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
}

/// As whom the server sees whoever asks from `namespace`; none if there is no answer.
fn ask(namespace: &NamespaceThread, server: &'static str) -> Option<String> {
    namespace.run(move || {
        let socket = std::net::UdpSocket::bind(any_like(server.parse().unwrap())).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            // There may be no route at the moment: that is what is asked.
            let _ = socket.send_to(b"who", server);
            let mut answer = [0; 64];
            if let Ok(length) = socket.recv(&mut answer) {
                return Some(String::from_utf8_lossy(&answer[..length]).into_owned());
            }
        }
        None
    })
}
