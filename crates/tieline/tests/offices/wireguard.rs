//! The far end is wireguard-go, set up with `wg`: what works with it, and what `status` says of it.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tieline_io::sysctl::IpVersion;

use crate::end::{LIMIT, LINE};
use crate::probe::Probe;
use crate::traffic::Killed;
use crate::world::{B, PORT, Test, World};

pub(crate) const PROGRAMS: &[&str] = &["wireguard-go", "wg", "unshare", "ip"];

pub(crate) const TESTS: &[Test] = &[
    Test::new("wireguard_go_that_dials_us_is_reached_with_and_without_a_preshared_key", || {
        both_kinds_of_keys(Dials::Them);
    })
    .with(PROGRAMS),
    Test::new("wireguard_go_that_we_dial_is_reached_with_and_without_a_preshared_key", || {
        both_kinds_of_keys(Dials::Us);
    })
    .with(PROGRAMS),
    Test::new("either_end_of_a_line_to_wireguard_go_may_be_killed_and_started_again", restarts)
        .with(PROGRAMS),
    Test::new("wireguard_go_may_change_its_address", roaming).with(PROGRAMS),
    Test::new("soak_a_line_to_wireguard_go_carries_traffic_for_ten_minutes_across_rekeys", ten_minutes)
        .with(PROGRAMS)
        .soak(),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dials {
    Us,
    Them,
}

/// A tieline in office A and a wireguard-go in office B.
pub(crate) struct Pair {
    wireguard: Option<Killed>,
    script: String,
    log: std::path::PathBuf,
    pub(crate) world: World,
}

impl Pair {
    fn new(dials: Dials, with_preshared_key: bool) -> Self {
        Self::over(World::bare(), dials, with_preshared_key)
    }

    /// A pair in offices that have no line yet.
    pub(crate) fn over(world: World, dials: Dials, with_preshared_key: bool) -> Self {
        let key = || world.end_a.must(&["key", "gen"]).trim().to_owned();
        let (ours, theirs) = (key(), key());
        let preshared = with_preshared_key.then(|| world.end_a.must(&["key", "psk"]).trim().to_owned());
        let preshared = preshared.map(|key| format!("PresharedKey = {key}\n")).unwrap_or_default();
        let dialled = |who, address: std::net::SocketAddr| {
            if dials == who {
                format!("Endpoint = {address}\nPersistentKeepalive = 25\n")
            } else {
                String::new()
            }
        };
        let file = |private: &str, public: &str, accepted: &str, dialled: String| {
            format!(
                "[Interface]\nPrivateKey = {private}\nListenPort = {PORT}\n[Peer]\nPublicKey = {public}\n{preshared}AllowedIPs = {accepted}\n{dialled}"
            )
        };
        let (our_public, their_public) = (public(&world, &ours), public(&world, &theirs));
        let our_accepted = "10.2.0.0/24, fd00:0:0:2::/64";
        let their_accepted = "10.1.0.0/24, fd00:0:0:1::/64";
        let our_file = file(&ours, &their_public, our_accepted, dialled(Dials::Us, world.reached[1]));
        let their_file = file(&theirs, &our_public, their_accepted, dialled(Dials::Them, world.reached[0]));
        fs::write(world.file("ours.conf"), our_file).unwrap();
        fs::write(world.file("theirs.conf"), their_file).unwrap();
        world.end_a.must(&["import", world.file("ours.conf").to_str().unwrap(), "--name", LINE]);
        // What wg-quick files have no word for.
        world.end_a.configure("offer = [\"10.1.0.0/24\", \"fd00:0:0:1::/64\"]");
        let script = script(world.file("theirs.conf").to_str().unwrap());
        let log = world.file("wireguard-go.log");
        Self { wireguard: None, script, log, world }
    }

    pub(crate) fn up(mut self) -> Self {
        self.world.end_a.start();
        self.start_wireguard();
        self
    }

    fn start_wireguard(&mut self) -> Instant {
        let log = fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let command = self.world.b.gateway().command("unshare").args(["--mount", "sh", "-c", &self.script]);
        let command = command.env("LOG_LEVEL", "verbose").stdin(Stdio::null());
        let child: Child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.wireguard = Some(Killed(child));
        Instant::now()
    }

    pub(crate) fn probes(&self) -> [Probe; 2] {
        let at = |office: &tieline_sim::lab::Office| office.host_address(IpVersion::V4).unwrap();
        let (a, b) = (&self.world.a, &self.world.b);
        let (a, b) = ((a.host(), at(a)), (b.host(), at(b)));
        [Probe::start(a, b), Probe::start(b, a)]
    }

    /// Waits until traffic flows both ways, and returns how long that took.
    pub(crate) fn check_traffic(&self, probes: &[Probe; 2], since: Instant) -> Duration {
        for probe in probes {
            let arrived = probe.first_since(since, LIMIT).is_some();
            self.check(arrived, "no traffic");
        }
        since.elapsed()
    }

    pub(crate) fn check(&self, holds: bool, otherwise: &str) {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let ours = &self.world.end_a;
        assert!(holds, "{otherwise}\n{:#}\n{}\nwireguard-go:\n{log}", ours.status(), ours.log());
    }
}

fn public(world: &World, private: &str) -> String {
    let file = world.file("private-key");
    fs::write(&file, private).unwrap();
    let input = fs::File::open(&file).unwrap();
    let command = world.end_a.command(["key", "pub"]).stdin(input).stdout(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs wireguard-go in a mount namespace of its own: where it has its socket, others may have theirs, and only root may
/// write.
fn script(file: &str) -> String {
    format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/wireguard || exit 1
         (until [ -S /run/wireguard/wg0.sock ]; do sleep 0.01; done
          wg setconf wg0 {file} && ip link set wg0 up mtu 1420 &&
          ip route add 10.1.0.0/24 dev wg0 && ip -6 route add fd00:0:0:1::/64 dev wg0) &
         exec wireguard-go --foreground wg0"
    )
}

fn both_kinds_of_keys(dials: Dials) {
    for with_preshared_key in [false, true] {
        let pair = Pair::new(dials, with_preshared_key).up();
        let probes = pair.probes();
        pair.check_traffic(&probes, Instant::now());
        for version in [IpVersion::V4, IpVersion::V6] {
            let target = pair.world.b.host_address(version).unwrap().to_string();
            let ping =
                pair.world.a.host().command("ping").args(["-n", "-c", "2", "-i", "0.2", "-w", "10", &target]);
            pair.check(ping.output().unwrap().status.success(), "no answer to ping");
        }
        let status = pair.world.end_a.wait_longer_for(Duration::from_secs(40), "ip-only", |status| {
            status["far-end"]["kind"] == "ip-only"
        });
        assert_eq!(status["state"], "up");
        for direction in ["out", "in"] {
            assert_eq!(status["session"]["cipher"][direction], "ChaCha20-Poly1305", "{status:#}");
        }
        assert!(!pair.world.end_a.run(&["ping", LINE]).status.success(), "nobody there answers probes");
        let file = pair.world.file("ours.conf");
        for command in [&["send", "--wait", LINE, file.to_str().unwrap()][..], &["pipe", LINE]] {
            let asked = Instant::now();
            let refused = pair.world.end_a.run(command);
            let said = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{said}");
            assert!(said.contains("the far end is plain WireGuard"), "{said}");
            assert!(asked.elapsed() < Duration::from_secs(5), "it is known already");
        }
    }
}

fn restarts() {
    let mut pair = Pair::new(Dials::Them, true).up();
    let probes = pair.probes();
    pair.check_traffic(&probes, Instant::now());
    pair.world.end_a.kill();
    std::thread::sleep(Duration::from_secs(1));
    let started = pair.world.end_a.spawn();
    println!("wireguard-go: traffic {:.1?} after our restart", pair.check_traffic(&probes, started));
    drop(pair.wireguard.take());
    std::thread::sleep(Duration::from_secs(1));
    let started = pair.start_wireguard();
    println!("wireguard-go: traffic {:.1?} after its restart", pair.check_traffic(&probes, started));
}

fn roaming() {
    let pair = Pair::new(Dials::Them, false).up();
    let probes = pair.probes();
    pair.check_traffic(&probes, Instant::now());
    let moved = Instant::now();
    pair.world.lab.readdress(B, "198.51.100.77".parse().unwrap()).unwrap();
    println!("wireguard-go: traffic {:.1?} after its new address", pair.check_traffic(&probes, moved));
    pair.world.end_a.wait_for("the new address", |status| {
        status["far-end"]["address"].as_str().is_some_and(|address| address.contains("198.51.100.77"))
    });
}

fn ten_minutes() {
    for dials in [Dials::Them, Dials::Us] {
        let pair = Pair::new(dials, true).up();
        let probes = pair.probes();
        pair.check_traffic(&probes, Instant::now());
        let began = Instant::now();
        std::thread::sleep(Duration::from_secs(300));
        for probe in &probes {
            let gap = probe.longest_gap_since(began);
            println!("wireguard-go: {} packets in 300 s, longest gap {gap:.1?}", probe.count_since(began));
            pair.check(gap < Duration::from_secs(1), "traffic stopped for a while");
        }
        let age = pair.world.end_a.status()["session"]["age-seconds"].as_u64();
        pair.check(age.is_some_and(|age| age < 125), "the session was not renewed");
    }
}
