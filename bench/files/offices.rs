//! Two offices and the path between them, bare or with a tunnel on it.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tieline_bench::process::{self, Daemon};
use tieline_bench::wireguard::{self, End};
use tieline_io::namespace::{NamespaceCommand, NamespaceThread};
use tieline_sim::lab::office::WAN_DEVICE;
use tieline_sim::lab::{Lab, LabConfig, OfficeConfig};
use tieline_sim::path::{PathCounters, PathModel};

use crate::case::Case;
use crate::contender::{Congestion, Contestant};
use crate::options::Options;

const NAMES: [&str; 2] = ["office-a", "office-b"];
const TUNNEL_DEVICE: &str = "wg0";
/// Of the network in the tunnel.
const PREFIX_LEN: u8 = 24;
/// How long the tunnel may take until something goes through it.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// One office.
pub(crate) struct Office {
    namespace: NamespaceThread,
    /// For its files.
    pub(crate) folder: PathBuf,
    /// Where the other office reaches it, through the tunnel if there is one.
    pub(crate) address: Ipv4Addr,
    outside: Ipv4Addr,
}

/// Both offices; dropped, all is gone.
pub(crate) struct Offices {
    // The tunnel before the offices, the lab before its files.
    tunnel: Vec<Daemon>,
    /// From here it is sent.
    pub(crate) a: Office,
    pub(crate) b: Office,
    lab: Lab,
    model: PathModel,
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
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> NamespaceCommand {
        self.namespace.command(program)
    }

    /// What a tunnel has to know of it.
    fn end<'a>(&'a self, command: &'a dyn Fn(&OsStr) -> NamespaceCommand, inside: Ipv4Addr) -> End<'a> {
        End { command, folder: &self.folder, outside: self.outside, inside }
    }

    /// Writes a file of the office and returns its place.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        let file = self.folder.join(name);
        fs::write(&file, content).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }

    /// Whether somebody takes connections there.
    pub(crate) fn listens_on(&self, port: u16) -> bool {
        let address = (self.address, port);
        self.namespace.run(move || std::net::TcpStream::connect(address).is_ok())
    }
}

impl Offices {
    /// Makes both, and the path between them as the case wants it.
    pub(crate) fn new(
        options: &Options,
        case: Case,
        contestant: Contestant,
        round: u32,
    ) -> Result<Self, String> {
        let folder =
            tempfile::Builder::new().prefix("tieline-files").tempdir().map_err(|error| error.to_string())?;
        let lab = Lab::new(LabConfig { seed: options.seed + u64::from(round) })
            .map_err(|error| error.to_string())?;
        let a = Office::new(&lab, 1, folder.path())?;
        let b = Office::new(&lab, 2, folder.path())?;
        let model = PathModel {
            loss: case.loss(),
            ..PathModel::internet(options.line_mbit * 1_000_000, options.round_trip / 2)
        };
        lab.set_path(NAMES[0], NAMES[1], &model).map_err(|error| error.to_string())?;
        let mut offices = Self { tunnel: Vec::new(), a, b, lab, model, _folder: folder };
        if contestant.is_carried {
            offices.dig(&options.wireguard_go)?;
        }
        if let Some(congestion) = contestant.congestion {
            let device = if contestant.is_carried { TUNNEL_DEVICE } else { WAN_DEVICE };
            offices.use_congestion_control(congestion, device)?;
        }
        Ok(offices)
    }

    /// Set by the route: a namespace's own setting may only become what the administrator of the machine allows everybody.
    fn use_congestion_control(&self, congestion: Congestion, device: &str) -> Result<(), String> {
        for (office, other) in [(&self.a, &self.b), (&self.b, &self.a)] {
            let route = office.command("ip").args(["route", "replace"]).arg(format!("{}/32", other.address));
            process::must(route.args(["dev", device, "congctl", congestion.name()]))?;
        }
        Ok(())
    }

    /// Makes a tunnel, and has the offices reach each other through it.
    fn dig(&mut self, program: &Path) -> Result<(), String> {
        let inside = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
        let (a, b) = (&self.a, &self.b);
        let (at_a, at_b) = (|program: &OsStr| a.command(program), |program: &OsStr| b.command(program));
        let ends = [&a.end(&at_a, inside[0]), &b.end(&at_b, inside[1])];
        let tunnel = wireguard::start(program, &["--foreground"], ends, PREFIX_LEN)?;
        self.tunnel = tunnel;
        [self.a.address, self.b.address] = inside;
        let deadline = Instant::now() + REACHED_WITHIN;
        while Instant::now() < deadline {
            let ping = self.a.command("ping").args(["-n", "-q", "-c", "1", "-W", "1"]);
            if process::must(ping.arg(self.b.address.to_string())).is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(100));
        }
        Err(format!("nothing is reached through the tunnel within {REACHED_WITHIN:?}"))
    }

    /// What went there and back so far.
    pub(crate) fn counters(&self) -> Result<[PathCounters; 2], String> {
        // What is on its way is counted when it arrives.
        sleep(self.model.delay * 2);
        let count = |from, to| self.lab.path_counters(from, to).map_err(|error| error.to_string());
        Ok([count(NAMES[0], NAMES[1])?, count(NAMES[1], NAMES[0])?])
    }
}
