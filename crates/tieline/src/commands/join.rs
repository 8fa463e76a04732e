//! `join`: takes an invitation, and makes the second end of the line.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::Serialize;
use tieline_node::config::subnet::parse_subnet;
use tieline_node::config::{DialAddress, Draft, LISTEN_DEFAULT, PORT_DEFAULT, parse_listen_address};
use tieline_node::invitation::{Invitation, InvitationError, TEXT_BYTES_MAX};
use tieline_node::places::{LineName, Places, PlacesChoice};
use tieline_node::secrets::Secrets;
use tieline_node::status::Status;
use tieline_seal::PrivateKey;
use zeroize::Zeroizing;

use super::offers::{self, OffersError};
use super::two_files::{self, MakeError};
use super::up::{self, NotReached};
use super::{ports, status};
use crate::args::{BringUp, Reporting};
use crate::failure::{CommandError, Exit, Failure};
use crate::output;
use crate::process::{self, UpError};

/// Take an invitation: make this end of the line and bring it up
///
/// Writes NAME.toml and NAME.key, starts this end, and says what it reached. The invitation may be given as it came by
/// mail, in several words; with - it is read from standard input, so that neither the shell's history nor the list of
/// processes shows it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  tieline join tieline1-7G0K2-… --offer 10.2.0.0/24\n  tieline join - < invitation.txt"
)]
pub(crate) struct JoinArgs {
    /// The invitation that `tieline new` printed at the other end, or - for standard input
    #[arg(required = true, value_name = "INVITATION")]
    invitation: Vec<String>,

    /// What to call the line here [default: what the invitation suggests]
    #[arg(long)]
    name: Option<LineName>,

    /// A network here that the far end may reach, as 10.2.0.0/24; may be given several times
    #[arg(long, value_name = "SUBNET", value_parser = parse_subnet)]
    offer: Vec<IpNet>,

    /// IP address and UDP port to listen on [default: every address, and port 51820, or any if that one is taken]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = parse_listen_address)]
    listen: Option<SocketAddr>,

    /// Make a bare line for pipe, send and ports: no IP, no network interface, no root
    #[arg(long, conflicts_with = "offer")]
    bare: bool,

    #[command(flatten)]
    bring_up: BringUp,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// Why no end was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// There is no invitation to read.
    #[error("the invitation cannot be read from standard input")]
    Input(#[source] io::Error),
    /// It is none, or is damaged.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// Nobody says what to call it.
    #[error("the invitation suggests no name for the line; give it one with --name")]
    NoName,
    /// Networks that exclude each other.
    #[error(transparent)]
    Offers(#[from] OffersError),
    /// The files.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The files are there, and that is all.
    #[error("this end is made but not up; `tieline up {line}` tries again")]
    NotUp {
        /// The line.
        line: LineName,
        /// Why it is not up.
        source: UpError,
    },
}

/// How long the far end may take to answer before we tell that it did not; a person waits.
const PATIENCE: Duration = Duration::from_secs(10);

impl CommandError for JoinError {
    fn exit(&self) -> Exit {
        match self {
            Self::Input(_) => Exit::Failed,
            Self::Invitation(_) | Self::NoName | Self::Offers(_) => Exit::Wrong,
            Self::Make(error) => error.exit(),
            Self::NotUp { source, .. } => source.exit(),
        }
    }
}

/// What was made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Joined {
    pub(crate) line: LineName,
    pub(crate) config: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) public_key: String,
    /// Who invited.
    pub(crate) peer_public_key: String,
    /// Where it is dialled.
    pub(crate) addresses: Vec<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) offers: Vec<IpNet>,
    pub(crate) routes: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    made: Joined,
    /// How the line is; null if it was not brought up, or runs in this process from now on.
    status: Option<Status>,
}

/// Makes this end, brings it up, and tells what it reached.
///
/// # Errors
///
/// Whatever kept it from being made; then nothing was. Or why the line is not up, or the far end not there.
pub(crate) fn run(choice: &PlacesChoice, places: &Places, args: &JoinArgs) -> Result<(), Failure> {
    let made = make(places, args)?;
    let line = made.line.clone();
    let as_json = args.reporting.json;
    let BringUp { no_up, foreground } = args.bring_up;
    // A person sees what was made while the far end is waited for.
    if !as_json {
        output::text(&made.to_string())?;
    }
    if no_up || foreground {
        if as_json {
            output::json(&Report { made, status: None })?;
        } else if no_up {
            output::text(&format!("\nWhat to do next:\n\n  here:   tieline up {line}\n"))?;
        }
        return if foreground { Ok(process::run_in_foreground(places, &line)?) } else { Ok(()) };
    }
    let up = up::bring_up(choice, places, &line, PATIENCE);
    let status = up.map_err(|source| JoinError::NotUp { line: line.clone(), source })?;
    let reached = status.is_up();
    if as_json {
        output::json(&Report { made, status: Some(status) })?;
    } else {
        output::text(&format!("\n{}", status::to_text(&status)))?;
    }
    if reached { Ok(()) } else { Err(NotReached { seconds: PATIENCE.as_secs(), line }.into()) }
}

/// Writes the two files of this end; brings nothing up.
///
/// # Errors
///
/// [`JoinError`]; then nothing was written.
pub(crate) fn make(places: &Places, args: &JoinArgs) -> Result<Joined, JoinError> {
    let invitation: Invitation = text_of(&args.invitation)?.parse()?;
    let line = args.name.clone().or_else(|| invitation.line().cloned()).ok_or(JoinError::NoName)?;
    offers::check(&args.offer)?;
    let listen = args.listen.unwrap_or_else(|| default_listen(places));
    let private_key = PrivateKey::generate(&mut OsRng.unwrap_err());
    let public_key = private_key.public_key().to_string();
    let draft = Draft {
        listen: Some(listen),
        offer: args.offer.clone(),
        routes: args.bare.then_some(false),
        peer_public_key: Some(invitation.public_key()),
        peer_addresses: invitation.addresses().to_vec(),
        ..Draft::default()
    };
    let secrets = Secrets::joining(private_key, invitation.secret().clone());
    let files = two_files::make(places, &line, &draft, &secrets)?;
    Ok(Joined {
        line,
        config: files.config,
        key: files.key,
        public_key,
        peer_public_key: invitation.public_key().to_string(),
        addresses: invitation.addresses().iter().map(DialAddress::to_string).collect(),
        listen,
        offers: args.offer.clone(),
        routes: !args.bare,
    })
}

fn text_of(words: &[String]) -> Result<Zeroizing<String>, JoinError> {
    if words != ["-"] {
        return Ok(Zeroizing::new(words.join(" ")));
    }
    // Room for all of it at once, and for one byte too many, which is then named as such.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * TEXT_BYTES_MAX));
    let limit = TEXT_BYTES_MAX as u64 + 1;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(JoinError::Input)?;
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The end that dials needs no port of its own: the usual one if it is free, so that firewalls have something to go by.
fn default_listen(places: &Places) -> SocketAddr {
    let any: IpAddr = LISTEN_DEFAULT.ip();
    let usual = ports::first_free(places).filter(|port| *port == PORT_DEFAULT);
    SocketAddr::new(any, usual.unwrap_or(0))
}

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "This end of the line {} is made.\n", self.line)?;
        writeln!(f, "  configuration  {}", self.config.display())?;
        writeln!(f, "  keys           {}", self.key.display())?;
        writeln!(f, "  listens on     {}", self.listen)?;
        writeln!(f, "  dials          {}", self.addresses.join(", "))?;
        match (self.routes, self.offers.as_slice()) {
            (false, _) => writeln!(f, "  offers         no IP: a bare line"),
            (true, []) => {
                writeln!(f, "  offers         no network; name them in the configuration, or with --offer")
            }
            (true, offers) => {
                let offers: Vec<String> = offers.iter().map(IpNet::to_string).collect();
                writeln!(f, "  offers         {}", offers.join(", "))
            }
        }
    }
}
