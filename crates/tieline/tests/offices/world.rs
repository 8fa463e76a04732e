//! Two offices on a bad internet, the two ends of their line, and what the tests say about themselves.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tieline_io::namespace::NamespaceThread;
use tieline_io::sysctl::IpVersion;
use tieline_sim::lab::{Lab, LabConfig, Office, OfficeConfig};
use tieline_sim::path::PathModel;

use crate::end::{End, LINE};

/// A test of the system.
pub(crate) struct Test {
    /// A sentence.
    pub(crate) name: &'static str,
    /// What it does; it panics if the sentence is wrong.
    pub(crate) run: fn(),
    /// Foreign programs it needs.
    pub(crate) programs: &'static [&'static str],
    /// Too long for every day.
    pub(crate) is_soak: bool,
}

impl Test {
    pub(crate) const fn new(name: &'static str, run: fn()) -> Self {
        Self { name, run, programs: &[], is_soak: false }
    }

    pub(crate) const fn with(self, programs: &'static [&'static str]) -> Self {
        Self { programs, ..self }
    }

    pub(crate) const fn soak(self) -> Self {
        Self { is_soak: true, ..self }
    }
}

pub(crate) const A: &str = "office-a";
pub(crate) const B: &str = "office-b";
pub(crate) const STRANGER: &str = "stranger";
pub(crate) const STRANGER_ADDRESS: &str = "198.51.100.99";
/// Where both ends listen.
pub(crate) const PORT: u16 = 51820;
/// One way.
pub(crate) const DELAY: Duration = Duration::from_millis(15);
/// What the path adds to a question and its answer.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(30);

/// Two offices, 20 Mbit/s and 15 ms apart unless said otherwise.
pub(crate) struct World {
    // Ends before the lab they run in, the lab before its files.
    pub(crate) end_a: End,
    pub(crate) end_b: End,
    pub(crate) a: Office,
    pub(crate) b: Office,
    pub(crate) lab: Lab,
    pub(crate) folder: TempDir,
    /// Where the ends are reached, A's and B's.
    pub(crate) reached: [SocketAddr; 2],
}

impl World {
    /// The offices, without a line.
    pub(crate) fn bare() -> Self {
        Self::over(&PathModel::internet(20_000_000, DELAY))
    }

    /// The offices over another path.
    pub(crate) fn over(model: &PathModel) -> Self {
        let folder = tempfile::Builder::new().prefix("tieline").tempdir().unwrap();
        let lab = Lab::new(LabConfig { seed: 1 }).unwrap();
        let a = lab.office(A, OfficeConfig::numbered(1)).unwrap();
        let b = lab.office(B, OfficeConfig::numbered(2)).unwrap();
        lab.set_path(A, B, model).unwrap();
        let end_a = End::new(a.gateway(), &folder.path().join("a"));
        let end_b = End::new(b.gateway(), &folder.path().join("b"));
        let reached = [&a, &b].map(|office| (office.wan_address(IpVersion::V4).unwrap(), PORT).into());
        Self { end_a, end_b, a, b, lab, folder, reached }
    }

    /// The offices, and a cable from one gateway to the other: as fast as this machine, and segmentation offload stays whole. The
    /// ends are reached over it in this version of IP. Takes `ip`.
    pub(crate) fn cabled(version: IpVersion) -> Self {
        let mut world = Self::bare();
        let (a, b) = (world.a.gateway(), world.b.gateway());
        ip(
            a,
            &["link", "add", "cable0", "type", "veth", "peer", "name", "cable0", "netns", &shown(b.path())],
        );
        let addresses: [IpAddr; 2] = match version {
            IpVersion::V4 => ["192.0.2.1", "192.0.2.2"],
            IpVersion::V6 => ["2001:db8:ffff::1", "2001:db8:ffff::2"],
        }
        .map(|address| address.parse().unwrap());
        let length = if version == IpVersion::V4 { 30 } else { 64 };
        for (gateway, address) in [a, b].into_iter().zip(addresses) {
            let address = format!("{address}/{length}");
            // Duplicates are looked for by protocols that take a second.
            let flags: &[&str] = if version == IpVersion::V6 { &["nodad"] } else { &[] };
            ip(gateway, &[&["address", "add", &address, "dev", "cable0"], flags].concat());
            ip(gateway, &["link", "set", "cable0", "up"]);
        }
        world.reached = addresses.map(|address| (address, PORT).into());
        world
    }

    /// Has TCP between the hosts of the offices use CUBIC from its first packet on. The option of a socket comes after the
    /// connection is made, and where the system begins with BBR, its pacing stays. Takes `ip`.
    pub(crate) fn use_cubic(&self) {
        for (office, other) in [(&self.a, &self.b), (&self.b, &self.a)] {
            for version in [IpVersion::V4, IpVersion::V6] {
                let network = other.host_address(version).unwrap();
                let via = office.gateway_address(version).unwrap();
                use_cubic_towards(office.host(), network, &["via", &via.to_string()]);
            }
        }
    }

    /// The files of both ends, made by `new` and `join`; nothing runs.
    pub(crate) fn made(self) -> Self {
        let invitation = self.invite();
        self.end_b.must(&[
            "join",
            &invitation,
            "--no-up",
            "--offer",
            "10.2.0.0/24",
            "--offer",
            "fd00:0:0:2::/64",
        ]);
        self
    }

    /// The first end's files, and the invitation to be its second.
    pub(crate) fn invite(&self) -> String {
        let offers = ["--offer", "10.1.0.0/24", "--offer", "fd00:0:0:1::/64"];
        let address = self.reached[0].to_string();
        let rest = ["new", LINE, "--no-up", "--json", "--listen", "[::]:51820", "--address", &address];
        let made: Value = serde_json::from_str(&self.end_a.must(&[&rest[..], &offers[..]].concat())).unwrap();
        made["invitation"].as_str().unwrap().to_owned()
    }

    /// A line that is up, both ends introduced to each other.
    pub(crate) fn joined() -> Self {
        Self::bare().made().up()
    }

    /// Both ends started and introduced to each other.
    pub(crate) fn up(mut self) -> Self {
        self.end_a.start();
        self.end_b.start();
        self.wait_until_joined();
        self
    }

    pub(crate) fn wait_until_joined(&self) {
        self.end_a.wait_until_joined();
        self.end_b.wait_until_joined();
        self.end_a.wait_for("its networks taken", |status| taken(status) == 2);
        self.end_b.wait_for("its networks taken", |status| taken(status) == 2);
    }

    /// A third party, as far away as the offices are from each other.
    pub(crate) fn stranger(&self) -> Office {
        let stranger =
            self.lab.office(STRANGER, OfficeConfig::stranger(&[STRANGER_ADDRESS.parse().unwrap()])).unwrap();
        for office in [A, B] {
            self.lab.set_path(STRANGER, office, &PathModel::internet(20_000_000, DELAY)).unwrap();
        }
        stranger
    }

    /// An end at the stranger's, called `name`.
    pub(crate) fn end_at(&self, office: &Office, name: &str) -> End {
        End::new(office.gateway(), &self.folder.path().join(name))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What both ends say, for a test that fails.
    pub(crate) fn logs(&self) -> String {
        format!(
            "end a: {:#}\n{}\nend b: {:#}\n{}",
            self.end_a.status(),
            self.end_a.log(),
            self.end_b.status(),
            self.end_b.log()
        )
    }

    /// Fails the test with what both ends say.
    #[track_caller]
    pub(crate) fn check(&self, holds: bool, otherwise: &str) {
        assert!(holds, "{otherwise}\n{}", self.logs());
    }

    /// Fails the test, with what both ends say, if the program failed.
    #[track_caller]
    pub(crate) fn check_output(&self, output: &Output) {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        self.check(
            output.status.success(),
            &format!("{}: {}", output.status, String::from_utf8_lossy(&said)),
        );
    }
}

/// Has TCP of `namespace` to `address` use CUBIC from its first packet on; `way` is how it gets there.
pub(crate) fn use_cubic_towards(namespace: &NamespaceThread, address: IpAddr, way: &[&str]) {
    let address = address.to_string();
    ip(namespace, &[&["route", "replace", &address], way, &["congctl", "cubic"]].concat());
}

/// Runs `ip` and returns what it says.
pub(crate) fn ip(namespace: &NamespaceThread, arguments: &[&str]) -> String {
    let output = namespace.command("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn shown(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

/// What an end has dropped between two looks that a path without loss and without strangers gives no reason to drop. Everything counts
/// but what kernels send of themselves, and what arrives faster than this machine opens it.
pub(crate) fn unexpected_drops(before: &Value, status: &Value) -> Vec<(String, u64)> {
    const EXPECTED: [&str; 3] = ["link-local", "source-not-accepted", "receive-buffer-full"];
    let drops = status["drops"].as_object().unwrap();
    let unexpected = drops.iter().filter(|(reason, _)| !EXPECTED.contains(&reason.as_str()));
    let counts = unexpected.map(|(reason, count)| {
        let count = count.as_u64().unwrap() - before["drops"][reason].as_u64().unwrap_or(0);
        (reason.clone(), count)
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

fn taken(status: &Value) -> usize {
    status["far-end"]["accepts-of-us"].as_array().map_or(0, Vec::len)
}

/// Whether a program can be run.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where administrators' programs are, also for users.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Waits for other tests of this kind: what they measure is a matter of milliseconds.
pub(crate) fn quiet() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // Whoever failed with it has told.
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many random octets in a new file.
pub(crate) fn random_file(path: &Path, octets: u64) {
    use std::io::{Read, copy};
    let mut source = std::fs::File::open("/dev/urandom").unwrap().take(octets);
    copy(&mut source, &mut std::fs::File::create(path).unwrap()).unwrap();
}

/// Whether two files hold the same octets.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    std::process::Command::new("cmp").arg(one).arg(other).status().unwrap().success()
}

/// The one in the middle.
pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}
