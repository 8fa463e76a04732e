//! Where the demonstration plays: two offices in namespaces with a modelled internet between them, or, where that is not
//! allowed, two ends on loopback with a relay that models the path.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Duration,
};

use tieline_io::{namespace::NamespaceThread, sysctl::IpVersion};
use tieline_sim::{
    calls::Place,
    lab::{Lab, LabConfig, Office, OfficeConfig},
    path::PathModel,
    relay::Relay,
};

use super::{DemoError, RUBBISH, party::Party, row, status_of, web};

/// The line of the demonstration.
pub(crate) const LINE: &str = "demo";
/// The port that office A listens on in its namespace.
const PORT: u16 = 51820;
/// Of the path between the offices.
pub(super) const RATE_BITS_PER_SECOND: u64 = 20_000_000;
const DELAY: Duration = Duration::from_millis(15);
const OFFICE_A: &str = "office-a";
const OFFICE_B: &str = "office-b";
const STRANGER: &str = "stranger";
const STRANGER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66));
/// How long an answer to the third party would have time to come.
const SILENCE: Duration = Duration::from_millis(500);

/// The stage with both ends on it.
pub(crate) struct Stage {
    /// The end that makes the line.
    pub(crate) a: Party,
    /// The end that joins.
    pub(crate) b: Party,
    medium: Medium,
    folder: tempfile::TempDir,
}

#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is never moved about")]
enum Medium {
    Offices { lab: Lab, a: Office, b: Office, stranger: Office },
    Loopback { address_a: SocketAddr, relay: Relay },
}

impl Stage {
    /// Two offices in network namespaces, and a third party on the internet.
    pub(crate) fn offices() -> Result<Self, DemoError> {
        let lab = Lab::new(LabConfig::default())?;
        let a = lab.office(OFFICE_A, OfficeConfig::numbered(1))?;
        let b = lab.office(OFFICE_B, OfficeConfig::numbered(2))?;
        let stranger = lab.office(STRANGER, OfficeConfig::stranger(&[STRANGER_ADDRESS]))?;
        lab.set_path(OFFICE_A, OFFICE_B, &PathModel::internet(RATE_BITS_PER_SECOND, DELAY))?;
        let (at_a, at_b) = (Some(a.gateway().clone()), Some(b.gateway().clone()));
        Self::with(Medium::Offices { lab, a, b, stranger }, at_a, at_b)
    }

    /// Two ends on loopback.
    pub(crate) fn loopback() -> Result<Self, DemoError> {
        let address_a = free_address()?;
        let model = PathModel::internet(RATE_BITS_PER_SECOND, DELAY);
        let front = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let relay = Relay::spawn(front, address_a, model, 0)
            .map_err(|error| DemoError::Wrong(format!("the path could not be modelled: {error}")))?;
        Self::with(Medium::Loopback { address_a, relay }, None, None)
    }

    fn with(
        medium: Medium,
        at_a: Option<NamespaceThread>,
        at_b: Option<NamespaceThread>,
    ) -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new()
            .prefix("tieline-demo-")
            .tempdir()
            .map_err(DemoError::system("make a folder"))?;
        let a = Party::new("A", folder.path().join("a"), at_a)?;
        let b = Party::new("B", folder.path().join("b"), at_b)?;
        Ok(Self { a, b, medium, folder })
    }

    /// A folder that goes with the stage.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What there is to see, in a sentence.
    pub(crate) fn describe(&self) -> String {
        let path =
            format!("{} Mbit/s and {} ms each way", RATE_BITS_PER_SECOND / 1_000_000, DELAY.as_millis());
        match &self.medium {
            Medium::Offices { .. } => {
                format!(
                    "Two offices in network namespaces of this machine, and between them an internet of {path}.\n"
                )
            }
            Medium::Loopback { .. } => {
                format!("Two ends on loopback, without IP, and between them a path of {path}.\n")
            }
        }
    }

    /// Makes the first end; returns the command as an administrator would type it, and the invitation.
    pub(crate) fn make_first_end(&self) -> Result<(String, String), DemoError> {
        let arguments: Vec<String> = match &self.medium {
            Medium::Offices { a, .. } => {
                let address = SocketAddr::new(wan(a)?, PORT);
                let mut arguments = vec!["new".to_owned(), LINE.to_owned(), format!("--address={address}")];
                arguments.extend(a.config().lan.iter().map(|network| format!("--offer={network}")));
                arguments
            }
            Medium::Loopback { address_a, relay } => vec![
                "new".to_owned(),
                LINE.to_owned(),
                "--bare".to_owned(),
                format!("--listen={address_a}"),
                format!("--address={}", relay.address()),
            ],
        };
        let shown = arguments.join(" ");
        let report = run_quietly(&self.a, arguments)?;
        let invitation = report["invitation"].as_str().unwrap_or_default().to_owned();
        Ok((shown, invitation))
    }

    /// Makes the second end; returns the command as an administrator would type it.
    pub(crate) fn join_second_end(&self, invitation: &str) -> Result<String, DemoError> {
        let options: Vec<String> = match &self.medium {
            Medium::Offices { b, .. } => {
                b.config().lan.iter().map(|network| format!("--offer={network}")).collect()
            }
            Medium::Loopback { .. } => vec!["--bare".to_owned(), format!("--listen={}", free_address()?)],
        };
        let mut arguments = vec!["join".to_owned(), invitation.to_owned()];
        arguments.extend(options.iter().cloned());
        run_quietly(&self.b, arguments)?;
        Ok(format!("join INVITATION {}", options.join(" ")))
    }

    /// Where the phones of both offices are; none without namespaces.
    pub(super) fn phones(&self) -> Result<Option<[Place; 2]>, DemoError> {
        let Medium::Offices { a, b, .. } = &self.medium else { return Ok(None) };
        let place = |office: &Office| match office.host_address(IpVersion::V4) {
            Some(IpAddr::V4(address)) => Ok(Place { namespace: office.host().clone(), address }),
            _ => Err(DemoError::Wrong("an office has no computer with IPv4".into())),
        };
        Ok(Some([place(a)?, place(b)?]))
    }

    /// A computer in office A fetches a page from one in office B.
    pub(crate) fn fetch_page(&self) -> Result<(), DemoError> {
        let Medium::Offices { a, b, .. } = &self.medium else {
            row("web page", "left out: without namespaces there are no computers in the offices");
            return Ok(());
        };
        let server = b.host_address(IpVersion::V4);
        let server = server.ok_or_else(|| DemoError::Wrong("office B has no computer with IPv4".into()))?;
        let address = SocketAddr::new(server, 80);
        let _server =
            web::Server::start(b.host(), address).map_err(DemoError::system("start a web server"))?;
        let (octets, took) =
            web::fetch(a.host(), address).map_err(DemoError::system("fetch the page of the other office"))?;
        let took = took.as_secs_f64() * 1000.0;
        row(
            "web page",
            &format!(
                "a computer in office A fetched http://{address}/ in office B: {octets} octets in {took:.0} ms"
            ),
        );
        Ok(())
    }

    /// Pulls the cable.
    pub(crate) fn cut(&self) -> Result<(), DemoError> {
        match &self.medium {
            Medium::Offices { lab, .. } => lab.cut(OFFICE_B)?,
            Medium::Loopback { relay, .. } => relay.cut(),
        }
        Ok(())
    }

    /// Puts it back.
    pub(crate) fn restore(&self) -> Result<(), DemoError> {
        match &self.medium {
            Medium::Offices { lab, .. } => lab.restore(OFFICE_B)?,
            Medium::Loopback { relay, .. } => relay.restore(),
        }
        Ok(())
    }

    /// Somebody else tries: with rubbish, and with the invitation, which is spent. Returns what came of it.
    pub(crate) fn third_party(&self, invitation: &str) -> Result<String, DemoError> {
        let before = dropped(&self.a)?;
        let (place, target) = match &self.medium {
            Medium::Offices { a, stranger, .. } => {
                (Some(stranger.gateway().clone()), SocketAddr::new(wan(a)?, PORT))
            }
            Medium::Loopback { address_a, .. } => (None, *address_a),
        };
        let answers =
            shout(place.as_ref(), target).map_err(DemoError::system("speak for the third party"))?;
        let mut thief = Party::new("the third party", self.folder().join("thief"), place)?;
        let mut join = vec!["join".to_owned(), invitation.to_owned(), "--bare".to_owned()];
        if matches!(self.medium, Medium::Loopback { .. }) {
            join.push(format!("--listen={}", free_address()?));
        }
        run_quietly(&thief, join)?;
        thief.start()?;
        std::thread::sleep(2 * SILENCE);
        let joined = status_of(&thief)?.is_up();
        thief.stop()?;
        let ignored = dropped(&self.a)? - before;
        if answers > 0 || joined || ignored == 0 {
            return Err(DemoError::Wrong(format!(
                "a third party was not ignored: {answers} answers, joined: {joined}, {ignored} datagrams dropped"
            )));
        }
        Ok(format!("{ignored} datagrams with rubbish and with the spent invitation: no answer, all counted"))
    }

    /// How to look inside while it runs.
    pub(crate) fn how_to_look_inside(&self) -> Vec<String> {
        let mut rows = Vec::new();
        if let Medium::Offices { a, b, .. } = &self.medium {
            for (what, place) in [
                ("office A's gateway", a.gateway()),
                ("a computer in office A", a.host()),
                ("office B's gateway", b.gateway()),
                ("a computer in office B", b.host()),
            ] {
                rows.push(format!("{}    # {what}", place.nsenter()));
            }
        }
        for party in [&self.a, &self.b] {
            rows.push(format!(
                "tieline --config-dir {} --runtime-dir {} status {LINE}    # end {}",
                party.config_dir().display(),
                party.runtime_dir().display(),
                party.title()
            ));
        }
        rows
    }

    /// Takes both ends down and removes what the demonstration made.
    pub(crate) fn take_down(mut self) -> Result<(), DemoError> {
        self.b.stop()?;
        self.a.stop()?;
        let folder: PathBuf = self.folder.path().to_owned();
        drop(self);
        if folder.exists() {
            return Err(DemoError::Wrong(format!("{} could not be removed", folder.display())));
        }
        Ok(())
    }
}

fn run_quietly(party: &Party, mut arguments: Vec<String>) -> Result<serde_json::Value, DemoError> {
    arguments.extend(["--no-up".to_owned(), "--json".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    party.json(&arguments)
}

fn wan(office: &Office) -> Result<IpAddr, DemoError> {
    office
        .wan_address(IpVersion::V4)
        .ok_or_else(|| DemoError::Wrong("an office has no address outside".into()))
}

/// Sends datagrams of rubbish and returns how many answers came.
fn shout(place: Option<&NamespaceThread>, target: SocketAddr) -> std::io::Result<usize> {
    let shout = move || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(SILENCE))?;
        for number in 0..RUBBISH {
            // Each of the message types, at each length around those that the protocol has.
            let mut datagram = vec![0x5a; 16 + number];
            datagram[..4].copy_from_slice(&[(number % 5) as u8, 0, 0, 0]);
            socket.send_to(&datagram, target)?;
        }
        let mut answers = 0;
        while socket.recv(&mut [0; 2048]).is_ok() {
            answers += 1;
        }
        Ok(answers)
    };
    match place {
        Some(place) => place.run(shout),
        None => shout(),
    }
}

fn dropped(party: &Party) -> Result<u64, DemoError> {
    Ok(status_of(party)?.drops.values().sum())
}

fn free_address() -> Result<SocketAddr, DemoError> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.local_addr())
        .map_err(DemoError::system("find a free port"))
}
