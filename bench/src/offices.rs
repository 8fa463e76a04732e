//! Two offices on the internet of `tieline-sim`, bare or with a tunnel between them.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tieline_io::namespace::{NamespaceCommand, NamespaceThread};
use tieline_io::scheduling::RealTime;
use tieline_sim::lab::office::WAN_DEVICE;
use tieline_sim::lab::{Lab, LabConfig, OfficeConfig};
use tieline_sim::path::{PathCounters, PathModel};

use crate::process::{self, Daemon};
use crate::wireguard::{self, End};

const NAMES: [&str; 2] = ["office-a", "office-b"];
/// The device of wireguard-go.
pub const TUNNEL_DEVICE: &str = "wg0";
/// The offices' addresses in a tunnel.
pub const INSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
/// Of the network in the tunnel.
pub const PREFIX_LEN: u8 = 24;
/// How long a tunnel may take until something goes through it.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// What decides how fast TCP sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// RFC 9438, what most systems use: until a queue is full.
    Cubic,
    /// Of Google: by a model of the path.
    Bbr,
}

impl Congestion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Cubic, Self::Bbr];

    /// As the kernel calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }
}

/// One office.
pub struct Office {
    /// Where its programs run.
    pub namespace: NamespaceThread,
    /// For its files.
    pub folder: PathBuf,
    /// Where the other office reaches it, through the tunnel if there is one.
    pub address: Ipv4Addr,
    /// On the internet.
    pub outside: Ipv4Addr,
}

/// Both offices; dropped, all is gone.
pub struct Offices {
    // The lab before its files.
    /// The first; files are sent from here.
    pub a: Office,
    /// The other.
    pub b: Office,
    lab: Lab,
    models: [PathModel; 2],
    _folder: TempDir,
}

impl Office {
    fn new(lab: &Lab, number: u8, folder: &Path) -> Result<Self, String> {
        let name = NAMES[usize::from(number) - 1];
        let office = lab.office(name, OfficeConfig::numbered(number)).map_err(|error| error.to_string())?;
        let folder = folder.join(name);
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let outside = Ipv4Addr::new(198, 51, 100, number);
        Ok(Self { namespace: office.gateway().clone(), folder, address: outside, outside })
    }

    /// Prepares a process of the office.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> NamespaceCommand {
        self.namespace.command(program)
    }

    /// Runs a command of words to its end, which must be a good one.
    ///
    /// # Errors
    ///
    /// What it said.
    pub fn must(&self, words: &str) -> Result<String, String> {
        let mut words = words.split_whitespace();
        process::must(self.command(words.next().unwrap_or_default()).args(words))
    }

    /// What a tunnel has to know of it.
    fn end<'a>(&'a self, command: &'a dyn Fn(&OsStr) -> NamespaceCommand, inside: Ipv4Addr) -> End<'a> {
        End { command, folder: &self.folder, outside: self.outside, inside }
    }

    /// Writes a file of the office and returns its place.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        let file = self.folder.join(name);
        fs::write(&file, content).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }

    /// Waits until a program of the office has this port, of `tcp` or `udp`. No connection is made: some would take it for their client's.
    ///
    /// # Errors
    ///
    /// If none has.
    pub fn wait_until_bound(&self, protocol: &str, port: u16) -> Result<(), String> {
        let deadline = Instant::now() + REACHED_WITHIN;
        while Instant::now() < deadline {
            if !self.must(&format!("ss -Hln --{protocol} sport = :{port}"))?.trim().is_empty() {
                return Ok(());
            }
            sleep(Duration::from_millis(20));
        }
        Err(format!("nobody has the port {port} of {protocol} within {REACHED_WITHIN:?}"))
    }

    /// Whether somebody takes connections there.
    #[must_use]
    pub fn listens_on(&self, port: u16) -> bool {
        let address = (self.address, port);
        self.namespace.run(move || std::net::TcpStream::connect(address).is_ok())
    }
}

impl Offices {
    /// Makes both, and the path from the first to the second and back.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn new(seed: u64, models: [PathModel; 2]) -> Result<Self, String> {
        let folder =
            tempfile::Builder::new().prefix("tieline-bench").tempdir().map_err(|error| error.to_string())?;
        let lab = {
            // The path's thread inherits it, so that no program keeps the path from its time. Where it is not allowed, all works as well as
            // the machine is quiet.
            let _real_time = RealTime::enter();
            Lab::new(LabConfig { seed }).map_err(|error| error.to_string())?
        };
        let a = Office::new(&lab, 1, folder.path())?;
        let b = Office::new(&lab, 2, folder.path())?;
        let mut offices = Self { a, b, lab, models: models.clone(), _folder: folder };
        offices.set_path(models)?;
        Ok(offices)
    }

    /// Makes the path there and back like this, from now on.
    ///
    /// # Errors
    ///
    /// None that we know.
    pub fn set_path(&mut self, models: [PathModel; 2]) -> Result<(), String> {
        let set = |from, to, model| self.lab.set_direction(from, to, model);
        set(NAMES[0], NAMES[1], &models[0])
            .and_then(|()| set(NAMES[1], NAMES[0], &models[1]))
            .map_err(|error| error.to_string())?;
        self.models = models;
        Ok(())
    }

    /// Both, the first one first.
    #[must_use]
    pub fn both(&self) -> [&Office; 2] {
        [&self.a, &self.b]
    }

    /// Has TCP between the offices use this from its first packet on. Set by the route: a namespace's own setting may only become what
    /// the administrator of the machine allows everybody.
    ///
    /// # Errors
    ///
    /// What `ip` said.
    pub fn use_congestion_control(&self, congestion: Congestion) -> Result<(), String> {
        for (office, other) in [(&self.a, &self.b), (&self.b, &self.a)] {
            let route = office.must(&format!("ip -oneline route get {}", other.address))?;
            let device = route.split_whitespace().skip_while(|word| *word != "dev").nth(1);
            let device = device.unwrap_or(WAN_DEVICE);
            let name = congestion.name();
            office.must(&format!("ip route replace {}/32 dev {device} congctl {name}", other.address))?;
        }
        Ok(())
    }

    /// Has the offices reach each other by these addresses.
    pub fn set_addresses(&mut self, addresses: [Ipv4Addr; 2]) {
        [self.a.address, self.b.address] = addresses;
    }

    /// Makes a tunnel of wireguard-go, and has the offices reach each other through it; it lasts as long as the processes that are
    /// returned.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub fn dig(&mut self, program: &Path) -> Result<Vec<Daemon>, String> {
        let (a, b) = (&self.a, &self.b);
        let (at_a, at_b) = (|program: &OsStr| a.command(program), |program: &OsStr| b.command(program));
        let ends = [&a.end(&at_a, INSIDE[0]), &b.end(&at_b, INSIDE[1])];
        let tunnel = wireguard::start(program, &["--foreground"], ends, PREFIX_LEN)?;
        self.set_addresses(INSIDE);
        self.wait_until_reached()?;
        Ok(tunnel)
    }

    /// Waits until each office has an answer of the other.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn wait_until_reached(&self) -> Result<(), String> {
        let deadline = Instant::now() + REACHED_WITHIN;
        while Instant::now() < deadline {
            if self.a.must(&format!("ping -n -q -c 1 -W 1 {}", self.b.address)).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(100));
        }
        Err(format!("nothing is reached through the tunnel within {REACHED_WITHIN:?}"))
    }

    /// What went there and back so far.
    ///
    /// # Errors
    ///
    /// None that we know.
    pub fn counters(&self) -> Result<[PathCounters; 2], String> {
        // What is on its way is counted when it arrives.
        sleep(self.models[0].delay + self.models[1].delay);
        let count = |from, to| self.lab.path_counters(from, to).map_err(|error| error.to_string());
        Ok([count(NAMES[0], NAMES[1])?, count(NAMES[1], NAMES[0])?])
    }
}
