//! `new`: makes the first end of a line, and the invitation for the second.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::{Serialize, Serializer};
use tieline_node::config::dial_address::DialAddressError;
use tieline_node::config::subnet::parse_subnet;
use tieline_node::config::{DialAddress, Draft, Host, LISTEN_DEFAULT, parse_listen_address};
use tieline_node::invitation::{ContentError, Invitation};
use tieline_node::places::{LineName, Places, PlacesChoice};
use tieline_node::secrets::Secrets;
use tieline_seal::{InvitationSecret, PrivateKey};
use zeroize::Zeroizing;

use super::offers::{self, OffersError};
use super::two_files::{self, MakeError};
use super::{own_addresses, ports};
use crate::args::{BringUp, Reporting};
use crate::failure::{CommandError, Exit, Failure};
use crate::process::{self, UpError};
use crate::{failure, output};

/// Make a line, print the invitation for its other end, and bring this end up
///
/// Writes NAME.toml and NAME.key, and starts this end, which then waits for the other. The invitation is for one other
/// end: whoever has it first becomes that end, and then it is void.
#[derive(Debug, Args)]
#[command(after_help = "Example: tieline new berlin --offer 10.1.0.0/24 --address office.example:51820")]
pub(crate) struct NewArgs {
    /// The name of the line: 1 to 15 of a-z, 0-9 and -; it also names the network interface
    name: LineName,

    /// IP address and UDP port to listen on [default: every address, and the first free port from 51820 on]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_listen_address)]
    listen: Option<SocketAddr>,

    /// A network here that the far end may reach, as 10.1.0.0/24; may be given several times
    #[arg(long, value_name = "SUBNET", value_parser = parse_subnet)]
    offer: Vec<IpNet>,

    /// Where the far end shall dial, as office.example:51820; may be given several times, best first
    /// [default: this machine's own addresses]
    #[arg(long, value_name = "HOST:PORT")]
    address: Vec<DialAddress>,

    /// Make a bare line for pipe, send and ports: no IP, no network interface, no root
    #[arg(long, conflicts_with = "offer")]
    bare: bool,

    #[command(flatten)]
    bring_up: BringUp,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Why no line was made.
#[derive(Debug, thiserror::Error)]
enum NewError {
    #[error(transparent)]
    Offers(#[from] OffersError),
    #[error("an invitation names the port to dial, so it cannot be any that is free; give --listen a port")]
    AnyPort,
    #[error("every port from 51820 on is taken; give one with --listen")]
    NoFreePort,
    #[error(
        "this machine has no address that a far end could dial; say with --address how it is reached from outside"
    )]
    NoAddress,
    #[error("{0} cannot be dialled; say with --address how this end is reached from outside")]
    Listen(#[source] DialAddressError),
    #[error(transparent)]
    Invitation(#[from] ContentError),
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error(
        "the line is made and its invitation stands, but this end is not up; `tieline up {line}` tries again"
    )]
    NotUp { line: LineName, source: UpError },
}

impl CommandError for NewError {
    fn exit(&self) -> Exit {
        match self {
            Self::Offers(_) | Self::AnyPort | Self::NoAddress | Self::Listen(_) | Self::Invitation(_) => {
                Exit::Wrong
            }
            Self::NoFreePort => Exit::Failed,
            Self::Make(error) => error.exit(),
            Self::NotUp { source, .. } => source.exit(),
        }
    }

    fn is_in_report(&self) -> bool {
        matches!(self, Self::NotUp { .. })
    }
}

/// What was made; as text, what a person needs to know and do next.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Made {
    line: LineName,
    config: PathBuf,
    key: PathBuf,
    public_key: String,
    listen: SocketAddr,
    offers: Vec<IpNet>,
    routes: bool,
    /// Where the far end will dial.
    addresses: Vec<String>,
    /// Whether none of them means anything outside the networks of this machine.
    only_private_addresses: bool,
    /// Whether this end is brought up now.
    comes_up: bool,
    /// Why it is not up, if it was to come up.
    not_up: Option<String>,
    #[serde(serialize_with = "reveal")]
    invitation: Zeroizing<String>,
}

/// Makes the line, tells what was made, and brings this end up.
///
/// # Errors
///
/// Whatever kept it from being made, and then nothing was; or from being brought up, after what was made was told.
pub(crate) fn run(choice: &PlacesChoice, places: &Places, args: &NewArgs) -> Result<(), Failure> {
    let mut made = make(places, args)?;
    let as_json = args.reporting.json;
    let BringUp { no_up, foreground } = args.bring_up;
    if no_up || foreground {
        output::report(as_json, &made)?;
        return if foreground { Ok(process::run_in_foreground(places, &args.name)?) } else { Ok(()) };
    }
    // A person sees the invitation whatever comes next; a program gets one document with all of it.
    if !as_json {
        output::text(&made.to_string())?;
    }
    let started = process::runtime().and_then(|runtime| {
        runtime.block_on(process::start_detached(choice, places, &args.name))?;
        Ok(())
    });
    let started = started.map_err(|source| NewError::NotUp { line: args.name.clone(), source });
    made.not_up = started.as_ref().err().map(|error| failure::sentence(error));
    if as_json {
        output::json(&made)?;
    }
    Ok(started?)
}

fn make(places: &Places, args: &NewArgs) -> Result<Made, NewError> {
    offers::check(&args.offer)?;
    let listen = listen_address(places, args.listen)?;
    let addresses = addresses_to_dial(&args.address, listen)?;
    let rng = &mut OsRng.unwrap_err();
    let private_key = PrivateKey::generate(rng);
    let secret = InvitationSecret::generate(rng);
    let public_key = private_key.public_key();
    let invitation = Invitation::new(public_key, secret.clone(), addresses.clone(), Some(args.name.clone()))?;
    let draft = Draft {
        listen: Some(listen),
        offer: args.offer.clone(),
        routes: args.bare.then_some(false),
        ..Draft::default()
    };
    let files = two_files::make(places, &args.name, &draft, &Secrets::inviting(private_key, secret))?;
    Ok(Made {
        line: args.name.clone(),
        config: files.config,
        key: files.key,
        public_key: public_key.to_string(),
        listen,
        offers: args.offer.clone(),
        routes: !args.bare,
        comes_up: !args.bring_up.no_up,
        not_up: None,
        only_private_addresses: addresses.iter().all(is_private),
        addresses: addresses.iter().map(DialAddress::to_string).collect(),
        invitation: invitation.reveal(),
    })
}

fn listen_address(places: &Places, chosen: Option<SocketAddr>) -> Result<SocketAddr, NewError> {
    match chosen {
        Some(listen) if listen.port() == 0 => Err(NewError::AnyPort),
        Some(listen) => Ok(listen),
        None => {
            let port = ports::first_free(places).ok_or(NewError::NoFreePort)?;
            Ok(SocketAddr::new(LISTEN_DEFAULT.ip(), port))
        }
    }
}

/// What was given; else the address listened on, if it is one; else those this machine has.
fn addresses_to_dial(given: &[DialAddress], listen: SocketAddr) -> Result<Vec<DialAddress>, NewError> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    if !listen.ip().is_unspecified() {
        return DialAddress::new(Host::from(listen), listen.port())
            .map(|one| vec![one])
            .map_err(NewError::Listen);
    }
    let own = own_addresses::find(listen);
    let addresses: Vec<DialAddress> =
        own.into_iter().filter_map(|ip| DialAddress::new(Host::Ip(ip), listen.port()).ok()).collect();
    if addresses.is_empty() { Err(NewError::NoAddress) } else { Ok(addresses) }
}

fn is_private(address: &DialAddress) -> bool {
    match address.host() {
        Host::Ip(ip) => own_addresses::is_private(*ip),
        Host::Name(_) => false,
    }
}

fn reveal<S: Serializer>(invitation: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(invitation)
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = &self.line;
        writeln!(f, "The line {line} is made.\n")?;
        writeln!(f, "  configuration  {}", self.config.display())?;
        writeln!(f, "  keys           {}", self.key.display())?;
        writeln!(f, "  listens on     {}", self.listen)?;
        writeln!(f, "  dialled at     {}", self.addresses.join(", "))?;
        match (self.routes, self.offers.as_slice()) {
            (false, _) => writeln!(f, "  offers         no IP: a bare line")?,
            (true, []) => {
                writeln!(f, "  offers         no network; name them in the configuration, or with --offer")?
            }
            (true, offers) => {
                let offers: Vec<String> = offers.iter().map(IpNet::to_string).collect();
                writeln!(f, "  offers         {}", offers.join(", "))?;
            }
        }
        writeln!(
            f,
            "\nThe invitation, for the other end and for nobody else:\n\n{}\n",
            self.invitation.as_str()
        )?;
        writeln!(f, "What to do next:\n")?;
        if !self.comes_up {
            writeln!(f, "  here:   tieline up {line}")?;
        }
        writeln!(
            f,
            "  there:  tieline join INVITATION{}",
            if self.routes { " [--offer SUBNET]..." } else { " --bare" }
        )?;
        writeln!(f, "  here:   tieline status {line}")?;
        writeln!(f, "\nWhoever takes the invitation first becomes the other end; then it is void.")?;
        if self.only_private_addresses {
            let port = self.listen.port();
            writeln!(
                f,
                "\nThese addresses mean something only in your own networks. If the other end is elsewhere, let your router\n\
                 forward UDP port {port} to this machine, remove the two files, and make the line again with\n\
                 --address followed by your router's public address or name and :{port}."
            )?;
        }
        Ok(())
    }
}
