//! Everything that can be wrong with the files of a line, each in a sentence that says what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use tieline_seal::KeyError;
use tieline_transfer::outbox::PatternError;
use tieline_transfer::outbox::rules::DoneSuffixError;
use tieline_transfer::schedule::{RateError, ScheduleError, TimeOfDayError};

use super::dial_address::DialAddressError;
use super::files::PairNameError;
use super::ports::PortNameError;
use super::subnet::{InterfaceAddressError, SubnetError};

/// What is wrong at one place.
///
/// Values that are secret are never part of it.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// There is no such file.
    #[error("there is no such file; make a line with `tieline new` or `tieline join`")]
    NotFound,
    /// The system does not let us read it.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// A folder, a device, a pipe.
    #[error("is not a regular file")]
    NotAFile,
    /// A file of secrets that others may read.
    #[error("others may read it (mode {mode:03o}); its keys are secret: run `chmod 600 {}`", .file.display())]
    TooOpen {
        /// The permission bits.
        mode: u32,
        /// The file.
        file: PathBuf,
    },
    /// Larger than any file of that kind needs to be.
    #[error("has more than {max} bytes; this cannot be the right file")]
    TooLarge {
        /// The most that is read.
        max: u64,
    },
    /// Not text.
    #[error("is not UTF-8 text: row {row} holds other bytes")]
    NotUtf8 {
        /// The first row that is not, from 1.
        row: usize,
    },
    /// Not TOML.
    #[error("{0}")]
    Syntax(String),
    /// More mistakes than anybody reads at once.
    #[error("and {0} more mistakes; mend these first")]
    More(usize),

    /// A key that does not exist.
    #[error("there is no such key; {}", meant.map_or_else(|| format!("there are {known}"), |meant| format!("did you mean `{meant}`?")))]
    UnknownKey {
        /// The key that is spelled nearly so.
        meant: Option<&'static str>,
        /// All keys of that table.
        known: String,
    },
    /// A value of another type.
    #[error("must be {expected}, and is {found}")]
    Type {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A key that must be there and is not.
    #[error("is missing; {0}")]
    Missing(&'static str),
    /// A number out of range.
    #[error("must be from {min} to {max} {unit}, and is {found}")]
    OutOfRange {
        /// What was written.
        found: String,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// A list with too many entries.
    #[error("has {found} entries, and at most {max} are possible")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },

    /// Not a socket address to listen on.
    #[error("{written:?} is not an address to listen on; {}", .meant.as_ref().map_or_else(|| "write it as [::]:51820, 0.0.0.0:51820 or one of this machine's own addresses".to_owned(), |meant| format!("write {meant}")))]
    Listen {
        /// What was written, cut.
        written: String,
        /// What was probably meant.
        meant: Option<String>,
    },
    /// Not a network.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// Not an interface address.
    #[error(transparent)]
    InterfaceAddress(#[from] InterfaceAddressError),
    /// Not the address of the far end.
    #[error(transparent)]
    DialAddress(#[from] DialAddressError),
    /// The same thing twice.
    #[error("{value} stands here twice; remove one")]
    Duplicate {
        /// What is there twice.
        value: String,
    },
    /// Two of our networks that share addresses.
    #[error("{one} overlaps {other}; offer the larger one alone")]
    Overlap {
        /// The network at this place.
        one: IpNet,
        /// The network it overlaps.
        other: IpNet,
    },
    /// A network that would be at both ends.
    #[error("{accepted} overlaps {offered}, which this end offers; a network is at one end of a line only")]
    AcceptsOwnOffer {
        /// What is accepted.
        accepted: IpNet,
        /// What is offered.
        offered: IpNet,
    },
    /// `accept` is a word other than `offered`.
    #[error("must be \"offered\" or a list of networks, and is {0:?}")]
    Accept(String),
    /// Not a name for a network interface.
    #[error("{0:?} cannot name an interface; use 1 to 15 letters, digits, - and _")]
    Device(String),
    /// Not a name that a device can have.
    #[error("{0:?} is not the name of a network device; `ip link` shows those of this machine")]
    PathDevice(String),
    /// Two paths that would listen at one place.
    #[error("another path listens on {0} already; give this one another port or address")]
    ListensTwice(SocketAddr),
    /// Not a name for an end.
    #[error("cannot be the name of an end; use 1 to {max} printable characters")]
    EndName {
        /// The longest name.
        max: usize,
    },
    /// A path that depends on where the program was started.
    #[error("{0:?} is not an absolute path; write where the folder is from / on")]
    RelativePath(PathBuf),
    /// A path that no file can have.
    #[error("cannot be a path: it holds a NUL")]
    NulInPath,
    /// A key that does nothing here.
    #[error("has no effect while `routes = false`; remove it, or set `routes = true`")]
    NeedsRoutes,
    /// A key that does nothing without another.
    #[error("has no effect without `{0}`; remove it, or write that too")]
    NeedsKey(&'static str),
    /// An internet connection that is offered, and another that is used.
    #[error(
        "stands beside `offer = true`; one end of a line offers its internet connection, the other uses it"
    )]
    OffersAndUsesInternet,
    /// `use` is a word other than `everything`.
    #[error("must be \"everything\" or a list of networks, and is {0:?}")]
    InternetUse(String),
    /// Nobody who can be asked for names.
    #[error("{0:?} is not the IP address of a resolver; write one such as \"10.1.0.1\"")]
    Resolver(String),
    /// Two resolvers of one version of IP.
    #[error("is of the same version of IP as {other}; write one address, or one of each version")]
    SecondResolver {
        /// The one before.
        other: String,
    },

    /// An Ethernet that is joined to nothing.
    #[error(
        "has neither `bridge` nor `interface`; write `bridge = \"br0\"` for a bridge of this machine, or `interface = \"eth1\"`, and a bridge is made for it"
    )]
    NothingToJoin,
    /// An Ethernet that is joined to two things.
    #[error("has both `bridge` and `interface`; remove one")]
    TwoToJoin,

    /// A word that is none of those there are.
    #[error("must be {known}, and is {found:?}")]
    Choice {
        /// The words.
        known: String,
        /// What was written, cut.
        found: String,
    },
    /// Not a length of time.
    #[error("{0:?} is not a length of time; write it as 500ms, 2s, 5min or 1h")]
    Duration(String),
    /// A length of time out of range.
    #[error("must be from {min} to {max}, and is {found}")]
    DurationRange {
        /// What was written, cut.
        found: String,
        /// The least.
        min: String,
        /// The most.
        max: String,
    },
    /// Not a rate.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// Not a schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Not a time of day.
    #[error(transparent)]
    TimeOfDay(#[from] TimeOfDayError),
    /// Not a pattern for names.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Not the ending of a name.
    #[error(transparent)]
    DoneSuffix(#[from] DoneSuffixError),
    /// Not a name for a pair of folders.
    #[error(transparent)]
    PairName(#[from] PairNameError),
    /// A pair of folders without a folder.
    #[error("has neither `outbox` nor `inbox`; write at least one of them")]
    NoFolder,
    /// A key of a folder that is not there.
    #[error("has no effect without `{0}`; remove it, or write where that is")]
    NeedsFolder(&'static str),
    /// Two folders that share files.
    #[error("{one:?} and {other:?} are not apart; a file in both would be sent twice, or back")]
    FoldersOverlap {
        /// The folder at this place.
        one: PathBuf,
        /// The folder that it is in, or that is in it.
        other: PathBuf,
    },
    /// Not a command.
    #[error(
        "cannot be a command; write a program and its arguments, with every quote closed, in at most {max} octets without a NUL"
    )]
    Command {
        /// The longest command.
        max: usize,
    },
    /// A share of a rate that is not there.
    #[error(
        "has a share in percent, and nothing says of what; write `rate` beside it, such as \"50 Mbit/s\""
    )]
    ShareOfNothing,
    /// Not the address of a webhook.
    #[error(
        "{0:?} is not an address to be told at; write it as http://host/path (https is not known: tell a program on this machine, which passes it on)"
    )]
    Webhook(String),

    /// Not a name for a port.
    #[error(transparent)]
    PortName(#[from] PortNameError),
    /// A port with no side, or with both.
    #[error(
        "needs either `to` (where the service is, at the end that has it) or `listen` (where this end offers the far end's service)"
    )]
    PortSide,
    /// Not where a service is.
    #[error(
        "{0:?} is not where a service is; write its host and port, such as \"192.0.2.10:80\" or \"intranet.example:80\""
    )]
    PortTo(String),
    /// Not where a service can be offered.
    #[error("{written:?} is not where a service can be offered; {}", .meant.as_ref().map_or_else(|| "write an address of this machine and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned(), |meant| format!("write {meant} for programs on this machine")))]
    PortListen {
        /// What was written, cut.
        written: String,
        /// What was probably meant.
        meant: Option<String>,
    },

    /// Discovery without networks.
    #[error("needs `interfaces` beside it: the devices to the networks of this office, such as [\"eth1\"]")]
    NoInterfaces,
    /// Not the name of a device of the machine.
    #[error("{0:?} cannot be the name of a device of this machine; `ip link` shows those there are")]
    Interface(String),

    /// Not a key in base64.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Not the secret of an invitation in base64.
    #[error("is not the secret of an invitation, {octets} octets in base64; pair anew with `tieline new`")]
    Secret {
        /// Octets of such a secret.
        octets: usize,
    },
    /// The far end's key is this end's own.
    #[error("is this end's own public key; write the far end's")]
    OwnKey,
    /// Both files name a peer, and not the same.
    #[error("is not the key that this line was paired with, {paired}; remove this row, or pair anew")]
    PeerKeysDiffer {
        /// The key that pairing left in the key file.
        paired: String,
    },
    /// The far end is named while anybody with the invitation may become it.
    #[error(
        "stands here while an invitation is pending; remove this row, or remove `invitation` from the key file"
    )]
    InvitationPending,
    /// Nobody is known, nobody is expected.
    #[error(
        "no far end is known and no invitation is pending; write its `public-key` here, or pair anew with `tieline new`"
    )]
    NoPeer,
    /// A proof without anybody to give it to.
    #[error(
        "stands beside an invitation of our own; a line is either the inviting or the invited end, make the line anew"
    )]
    BothEnds,

    /// A wg-quick file with more than one peer.
    #[error(
        "is a second peer, and a line has two ends; write a file for each peer, and import each as a line of its own"
    )]
    SecondPeer,
    /// A section that wg-quick files do not have.
    #[error("there is no section [{0}] in a wg-quick file; there are [Interface] and [Peer]")]
    UnknownSection(String),
    /// A row before the first section.
    #[error("stands before the first section; a wg-quick file begins with [Interface] or [Peer]")]
    OutsideSection,
    /// A row that is none.
    #[error("is neither a [Section] nor Key = Value")]
    NotARow,
}

impl Mistake {
    /// Returns a name of the mistake for programs; it does not change when the sentence does.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Unreadable(_) => "unreadable",
            Self::NotAFile => "not-a-file",
            Self::TooOpen { .. } => "too-open",
            Self::TooLarge { .. } => "too-large",
            Self::NotUtf8 { .. } => "not-utf8",
            Self::Syntax(_) => "syntax",
            Self::More(_) => "more",
            Self::UnknownKey { .. } => "unknown-key",
            Self::Type { .. } => "type",
            Self::Missing(_) => "missing",
            Self::OutOfRange { .. } => "out-of-range",
            Self::TooMany { .. } => "too-many",
            Self::Listen { .. } => "listen",
            Self::Subnet(SubnetError::HostBits { .. }) => "host-bits",
            Self::Subnet(_) => "subnet",
            Self::InterfaceAddress(_) => "interface-address",
            Self::DialAddress(_) => "dial-address",
            Self::Duplicate { .. } => "duplicate",
            Self::Overlap { .. } => "overlap",
            Self::AcceptsOwnOffer { .. } => "accepts-own-offer",
            Self::Accept(_) => "accept",
            Self::Device(_) => "device",
            Self::PathDevice(_) => "path-device",
            Self::ListensTwice(_) => "listens-twice",
            Self::EndName { .. } => "end-name",
            Self::RelativePath(_) => "relative-path",
            Self::NulInPath => "nul-in-path",
            Self::NeedsRoutes => "needs-routes",
            Self::NeedsKey(_) => "needs-key",
            Self::OffersAndUsesInternet => "offers-and-uses-internet",
            Self::InternetUse(_) => "internet-use",
            Self::Resolver(_) => "resolver",
            Self::SecondResolver { .. } => "second-resolver",
            Self::NothingToJoin => "nothing-to-join",
            Self::TwoToJoin => "two-to-join",
            Self::Choice { .. } => "choice",
            Self::Duration(_) => "duration",
            Self::DurationRange { .. } => "duration-range",
            Self::Rate(_) => "rate",
            Self::Schedule(_) => "schedule",
            Self::TimeOfDay(_) => "time-of-day",
            Self::Pattern(_) => "pattern",
            Self::DoneSuffix(_) => "done-suffix",
            Self::PairName(_) => "pair-name",
            Self::NoFolder => "no-folder",
            Self::NeedsFolder(_) => "needs-folder",
            Self::FoldersOverlap { .. } => "folders-overlap",
            Self::Command { .. } => "command",
            Self::ShareOfNothing => "share-of-nothing",
            Self::Webhook(_) => "webhook",
            Self::PortName(_) => "port-name",
            Self::PortSide => "port-side",
            Self::PortTo(_) => "port-to",
            Self::PortListen { .. } => "port-listen",
            Self::NoInterfaces => "no-interfaces",
            Self::Interface(_) => "interface",
            Self::Key(_) => "key",
            Self::Secret { .. } => "secret",
            Self::OwnKey => "own-key",
            Self::PeerKeysDiffer { .. } => "peer-keys-differ",
            Self::InvitationPending => "invitation-pending",
            Self::NoPeer => "no-peer",
            Self::BothEnds => "both-ends",
            Self::SecondPeer => "second-peer",
            Self::UnknownSection(_) => "unknown-section",
            Self::OutsideSection => "outside-section",
            Self::NotARow => "not-a-row",
        }
    }
}
