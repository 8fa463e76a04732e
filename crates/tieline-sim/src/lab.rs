//! Offices on one machine, with a bad internet between them: real packets, real devices, the real clock.
//!
//! Each office is a network namespace with a device to the internet ([`office::WAN_DEVICE`]), and behind it another with a
//! computer in it. The internet is this process: it holds the other side of each such device, reads the IP packets that come
//! out, sends each by the [`Path`](crate::path::Path) modelled for its direction, and writes it into the device of the party
//! whose address it bears. So every packet on the way is seen, counted, and can be recorded.
//!
//! Nothing has a name outside the process and nothing outlives it: dropped or killed, all of it is gone, the
//! processes started in it too. It takes root, or [`Lab::prepare`] at the beginning of `main`.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use tieline_sim::lab::{Lab, LabConfig, LabError, OfficeConfig};
//! # use tieline_sim::path::PathModel;
//! # fn main() -> Result<(), LabError> {
//! Lab::prepare()?;
//! let lab = Lab::new(LabConfig { seed: 1 })?;
//! let a = lab.office("office-a", OfficeConfig::numbered(1))?;
//! let b = lab.office("office-b", OfficeConfig::numbered(2))?;
//! lab.set_path("office-a", "office-b", &PathModel::internet(20_000_000, Duration::from_millis(15)))?;
//! let reached = a.gateway().command("ping").args(["-c1", "198.51.100.2"]).status();
//! # Ok(())
//! # }
//! ```

mod capture;
mod exchange;
pub mod office;
mod packet;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tieline_io::namespace::{self, NamespaceError, NamespaceThread, Standing};
use tieline_io::netlink::NetlinkError;
use tieline_io::tun::{TunDevice, TunError};

use self::capture::Capture;
pub use self::capture::{CAPTURE_BYTES_MAX, CaptureOutcome};
use self::exchange::Exchange;
pub use self::exchange::{LabCounters, PARTIES_MAX};
pub use self::office::{Office, OfficeConfig};
use crate::nat::{Nat, NatConfig, NatCounters};
use crate::path::{PathCounters, PathModel};
use crate::worker::Worker;

/// What a lab starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabConfig {
    /// Decides what the paths lose, delay and damage.
    pub seed: u64,
}

/// Some parties and the internet between them.
pub struct Lab {
    seed: u64,
    exchange: Worker<Exchange>,
    parties: Mutex<BTreeMap<String, Member>>,
}

/// A party as the exchange knows it.
#[derive(Clone)]
struct Member {
    place: usize,
    office: Office,
    wan: Vec<IpAddr>,
}

impl Lab {
    /// Gets the right to make a lab, by a user namespace if need be. Call it at the beginning of `main`, before the process
    /// has threads; see [`namespace::acquire`].
    ///
    /// # Errors
    ///
    /// What the system forbids, in a sentence.
    pub fn prepare() -> Result<Standing, LabError> {
        Ok(namespace::acquire()?)
    }

    /// Whether this process could make a lab now, by making a namespace with a device in it.
    ///
    /// # Errors
    ///
    /// What is missing, in a sentence.
    pub fn supported() -> Result<(), LabError> {
        NamespaceThread::new("lab-attempt")?.run(|| TunDevice::create(office::WAN_DEVICE, 1500)).map(drop)?;
        Ok(())
    }

    /// An internet with nobody in it.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn new(config: LabConfig) -> Result<Self, LabError> {
        let exchange = Worker::spawn("lab-internet", Exchange::new(config.seed))
            .map_err(|source| LabError::System { what: "start the lab's internet", source })?;
        Ok(Self { seed: config.seed, exchange, parties: Mutex::default() })
    }

    /// Adds a party, with a perfect path to every other.
    ///
    /// # Errors
    ///
    /// A name or address that another party has, one party too many ([`PARTIES_MAX`]), or what the system said.
    pub fn office(&self, name: &str, config: OfficeConfig) -> Result<Office, LabError> {
        let mut parties = self.parties();
        if parties.contains_key(name) {
            return Err(LabError::NameTaken { name: name.to_owned() });
        }
        let wan: Vec<IpAddr> = config.wan.iter().map(ipnet::IpNet::addr).collect();
        wan.iter().try_for_each(|address| self.check_free(*address))?;
        let (office, device) = Office::build(name, config)?;
        let addresses = wan.clone();
        let attached = self.exchange.ask(move |exchange| exchange.attach(device, addresses));
        let place = attached.map_err(|_| LabError::TooManyParties)?;
        parties.insert(name.to_owned(), Member { place, office: office.clone(), wan });
        Ok(office)
    }

    /// Makes both directions between two parties like `model`, from now on.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`].
    pub fn set_path(&self, one: &str, other: &str, model: &PathModel) -> Result<(), LabError> {
        self.set_direction(one, other, model)?;
        self.set_direction(other, one, model)
    }

    /// Makes the way from one party to another like `model`, from now on. Its outages count from when the later of the two
    /// was added.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`].
    pub fn set_direction(&self, from: &str, to: &str, model: &PathModel) -> Result<(), LabError> {
        let (from, to, model) = (self.member(from)?.place, self.member(to)?.place, model.clone());
        self.exchange.ask(move |exchange| exchange.set_model(from, to, model));
        Ok(())
    }

    /// Pulls a party's cable: nothing goes in or out, and what is on its way there is lost.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`].
    pub fn cut(&self, party: &str) -> Result<(), LabError> {
        let place = self.member(party)?.place;
        self.exchange.ask(move |exchange| exchange.set_cut(place, true));
        Ok(())
    }

    /// Plugs a party's cable in again.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`].
    pub fn restore(&self, party: &str) -> Result<(), LabError> {
        let place = self.member(party)?.place;
        self.exchange.ask(move |exchange| exchange.set_cut(place, false));
        Ok(())
    }

    /// Gives a party another address on the internet in place of the one of the same version of IP, as access providers do
    /// overnight. What is on its way to the old one is lost.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`], [`LabError::AddressTaken`], [`LabError::NoAddress`] if it has none of that version to
    /// replace, or what the system said.
    pub fn readdress(&self, party: &str, address: IpAddr) -> Result<(), LabError> {
        let mut parties = self.parties();
        let member =
            parties.get_mut(party).ok_or_else(|| LabError::NoSuchParty { name: party.to_owned() })?;
        self.check_free(address)?;
        let replaced = member.wan.iter_mut().find(|own| own.is_ipv4() == address.is_ipv4());
        let own = replaced.ok_or_else(|| LabError::NoAddress { name: party.to_owned() })?;
        let (place, old) = (member.place, *own);
        member.office.replace_wan_address(old, address)?;
        self.exchange.ask(move |exchange| exchange.readdress(place, old, address));
        *own = address;
        Ok(())
    }

    /// Puts a NAT in front of a party, or takes it away. Its addresses of that version of IP then reach nobody
    /// outside, and nobody reaches them but through the NAT.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`], [`LabError::AddressTaken`].
    pub fn set_nat(&self, party: &str, config: Option<NatConfig>) -> Result<(), LabError> {
        let member = self.member(party)?;
        if let Some(config) = config
            && !member.wan.contains(&config.public)
        {
            self.check_free(config.public)?;
        }
        let (place, seed) = (member.place, self.seed);
        let nat = config.map(|config| Nat::new(config, seed.wrapping_add(place as u64)));
        self.exchange.ask(move |exchange| *exchange.nat_mut(place) = nat);
        Ok(())
    }

    /// Has a party's NAT forget all mappings, as after a power failure. Without a NAT nothing happens.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`].
    pub fn forget_nat(&self, party: &str) -> Result<(), LabError> {
        let place = self.member(party)?.place;
        self.exchange.ask(move |exchange| exchange.nat_mut(place).as_mut().map(Nat::forget));
        Ok(())
    }

    /// What a party's NAT refused, if it has one.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`].
    pub fn nat_counters(&self, party: &str) -> Result<Option<NatCounters>, LabError> {
        let place = self.member(party)?.place;
        Ok(self.exchange.ask(move |exchange| exchange.nat_mut(place).as_ref().map(Nat::counters)))
    }

    /// Records every packet that a party sends to another, as it leaves (behind its NAT), in a new file for tshark. Ends a
    /// capture before. The file is never more than a fraction of a second behind.
    ///
    /// # Errors
    ///
    /// What the system said about the file.
    pub fn capture(&self, file: &Path) -> Result<(), LabError> {
        let capture = Capture::create(file).map_err(capture_fault)?;
        let before = self.exchange.ask(move |exchange| exchange.capture_mut().replace(capture));
        before.map_or(Ok(()), |before| before.finish().map(drop)).map_err(capture_fault)
    }

    /// Ends the capture and closes its file.
    ///
    /// # Errors
    ///
    /// What the system said about the file at any time since [`Self::capture`].
    pub fn stop_capture(&self) -> Result<CaptureOutcome, LabError> {
        let capture = self.exchange.ask(|exchange| exchange.capture_mut().take());
        capture.map_or(Ok(CaptureOutcome::default()), Capture::finish).map_err(capture_fault)
    }

    /// What became of the packets from one party to another.
    ///
    /// # Errors
    ///
    /// [`LabError::NoSuchParty`].
    pub fn path_counters(&self, from: &str, to: &str) -> Result<PathCounters, LabError> {
        let (from, to) = (self.member(from)?.place, self.member(to)?.place);
        Ok(self.exchange.ask(move |exchange| exchange.path_counters(from, to)))
    }

    /// What became of packets that went to nobody.
    #[must_use]
    pub fn counters(&self) -> LabCounters {
        self.exchange.ask(|exchange: &mut Exchange| exchange.counters)
    }

    fn parties(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        // Whoever panicked with it left it whole: the table is written last.
        self.parties.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, name: &str) -> Result<Member, LabError> {
        self.parties().get(name).cloned().ok_or_else(|| LabError::NoSuchParty { name: name.to_owned() })
    }

    fn check_free(&self, address: IpAddr) -> Result<(), LabError> {
        match self.exchange.ask(move |exchange| exchange.owner_of(address)) {
            Some(_) => Err(LabError::AddressTaken { address }),
            None => Ok(()),
        }
    }
}

/// Why the lab did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No network namespaces here.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// No network devices here.
    #[error(transparent)]
    Device(#[from] TunError),
    /// The kernel refused an address, a route or a device.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Something else of the system failed.
    #[error("cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The lab has a party of that name.
    #[error("the lab has a party `{name}` already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The lab has no party of that name.
    #[error("the lab has no party `{name}`")]
    NoSuchParty {
        /// The name.
        name: String,
    },
    /// A party has that address.
    #[error("a party of the lab has the address {address} already")]
    AddressTaken {
        /// The address.
        address: IpAddr,
    },
    /// There is no address to replace.
    #[error("`{name}` has no address of that version of IP")]
    NoAddress {
        /// The party.
        name: String,
    },
    /// The lab is full.
    #[error("a lab has at most {PARTIES_MAX} parties")]
    TooManyParties,
}

fn capture_fault(source: io::Error) -> LabError {
    LabError::System { what: "write the capture", source }
}
