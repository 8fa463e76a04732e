//! Two offices and the cable between them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tieline_bench::process;
use tieline_io::namespace::{NamespaceCommand, NamespaceThread};

/// How long a tunnel may take from its start to its first packet; the slowest here need some seconds.
const REACHED_WITHIN: Duration = Duration::from_secs(30);
/// Of the network in the tunnel, and of that on the cable.
pub(crate) const PREFIX_LEN: u8 = 24;

/// What the cable carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    /// Super-packets of up to 64 KiB in one piece, as between virtual machines of one host.
    Whole,
    /// No packet over 1,500 octets, as a real wire: segmentation and joining on the cable's devices are off.
    Wire,
}

impl Cable {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Wire => "wire",
        }
    }
}

/// One office: a namespace and a processor.
pub(crate) struct Office {
    pub(crate) namespace: NamespaceThread,
    pub(crate) name: &'static str,
    processor: &'static str,
    /// On the cable.
    pub(crate) outside: Ipv4Addr,
    /// In the tunnel.
    pub(crate) inside: Ipv4Addr,
    /// For the files of its end of the tunnel.
    pub(crate) folder: PathBuf,
}

impl Office {
    fn new(name: &'static str, number: u8, folder: &Path) -> Result<Self, String> {
        let namespace = NamespaceThread::new(name).map_err(|error| error.to_string())?;
        let folder = folder.join(name);
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self {
            namespace,
            name,
            processor: if number == 1 { "0" } else { "1" },
            outside: Ipv4Addr::new(192, 0, 2, number),
            inside: Ipv4Addr::new(10, 9, 0, number),
            folder,
        })
    }

    /// The address in the tunnel with the length of its network.
    pub(crate) fn inside_network(&self) -> String {
        format!("{}/{PREFIX_LEN}", self.inside)
    }

    /// Prepares a process of the office, on its processor.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> NamespaceCommand {
        self.namespace.command("taskset").args(["--cpu-list", self.processor]).arg(program)
    }

    /// Runs a command of words to its end, which must be a good one.
    pub(crate) fn must(&self, words: &str) -> Result<String, String> {
        let mut words = words.split_whitespace();
        let program = words.next().unwrap_or_default();
        process::must(self.command(program).args(words))
    }

    /// Writes a file of its end of the tunnel and returns its place.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        let file = self.folder.join(name);
        fs::write(&file, content).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }
}

/// Both offices. Dropped, they are gone with everything that runs in them.
pub(crate) struct Offices {
    pub(crate) a: Office,
    pub(crate) b: Office,
    /// Where office A is reached: inside the tunnel, or outside if there is none.
    pub(crate) target: Ipv4Addr,
    _folder: TempDir,
}

impl Offices {
    /// Makes both and lays the cable.
    pub(crate) fn new(cable: Cable) -> Result<Self, String> {
        let folder =
            tempfile::Builder::new().prefix("tieline-bench").tempdir().map_err(|error| error.to_string())?;
        let a = Office::new("office-a", 1, folder.path())?;
        let b = Office::new("office-b", 2, folder.path())?;
        let there = b.namespace.path();
        a.must(&format!("ip link add wan0 type veth peer name wan0 netns {}", there.display()))?;
        for office in [&a, &b] {
            office.must("ip link set lo up")?;
            office.must(&format!("ip address add {}/{PREFIX_LEN} dev wan0", office.outside))?;
            if cable == Cable::Wire {
                office.must("ethtool -K wan0 tso off gso off gro off tx-udp-segmentation off")?;
            }
        }
        for office in [&a, &b] {
            office.must("ip link set wan0 up")?;
        }
        Ok(Self { target: a.inside, a, b, _folder: folder })
    }

    pub(crate) fn both(&self) -> [&Office; 2] {
        [&self.a, &self.b]
    }

    /// The office at the other end.
    pub(crate) fn other(&self, office: &Office) -> &Office {
        if office.name == self.a.name { &self.b } else { &self.a }
    }

    /// Waits until office B has an answer of office A.
    pub(crate) fn wait_until_reached(&self) -> Result<(), String> {
        let deadline = Instant::now() + REACHED_WITHIN;
        while Instant::now() < deadline {
            let ping = self.b.must(&format!("ping -n -q -c 1 -W 1 {}", self.target));
            if ping.is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err(format!("nothing is reached through the tunnel within {REACHED_WITHIN:?}"))
    }

    /// Has TCP between the offices use CUBIC from its first packet on. iperf3's own option comes after the connection is made, and where
    /// that began with BBR, its pacing stays: half of the rate was lost to timers.
    pub(crate) fn use_cubic(&self) -> Result<(), String> {
        let is_inside = self.target == self.a.inside;
        for office in self.both() {
            let other = self.other(office);
            let address = if is_inside { other.inside } else { other.outside };
            let route = office.must(&format!("ip -oneline route get {address}"))?;
            let device = route.split_whitespace().skip_while(|word| *word != "dev").nth(1);
            let device = device.ok_or_else(|| format!("no device on the way to {address}: {route}"))?;
            office.must(&format!("ip route replace {address}/32 dev {device} congctl cubic"))?;
        }
        Ok(())
    }
}
