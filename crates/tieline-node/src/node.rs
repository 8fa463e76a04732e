//! Bringing one end up and keeping it up until it is told to go down.
//!
//! The order matters: everything that needs rights or can fail for the operator's sake comes first, in one thread, and
//! nothing on the system is changed before the configuration was read whole. Then the process gives up what it does not
//! need, and only then are there threads.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, thread};

use ipnet::IpNet;
use rand::{TryRngCore, rngs::OsRng};
use tieline_io::{
    lock::{FileLock, LockError},
    privileges::{self, ConfineError, Confinement},
    processor,
    scheduling::RealTime,
    tun::{TunDevice, TunError},
    udp::UdpError,
    wait::Waker,
};
use tieline_line::{accept::AcceptTable, lan};
use tieline_seal::{Peer, PresharedKey};
use tieline_transfer::{
    InboxError, Journal, JournalError,
    receipt::{LineKeys, VerifyingKey},
};
use tieline_wire::{associated, control::Hello, ethernet::MacAddress, label::LabelStackEntry, time::Now};
use tokio::{net::UnixListener, sync::mpsc};

use crate::{
    api,
    calls::Watched,
    config::{DiscoveryConfig, InternetConfig, LanConfig, Line, LineConfig, Problems, VoiceCopies},
    discovery::{self, Discovery},
    engine::{Command, Engine, Inputs, PacketPathEnded, Parts},
    files::{Files, notices, setup},
    internet::{Internet, InternetError},
    lan::{Joined, LanError, line_number},
    network::{Network, NetworkError},
    offers,
    packet_path::{
        Devices, HANDSHAKES_MAX, PacketPath, Ports, REPORTS_MAX, ToControl, intake::QUEUES, lan::LanPort,
        medium::Medium,
    },
    places::{LineFiles, LineName, Places, PlacesError},
    ports::{BindError, PortTable},
    signing,
    state::State,
    status,
    streams::{
        Setup, Streams,
        channel::StreamChannel,
        identity::{Identity, IdentityError},
    },
};

/// Packet threads for each direction on a machine with many processors. All that comes in is delivered by one after the other, so more
/// would wait for each other.
pub const LANES_MAX: usize = 4;
/// Messages of the far end, and commands, that wait for the control task.
const INBOX_MAX: usize = 16;

/// What distinguishes one run from another.
#[derive(Clone, Debug)]
pub struct Options {
    /// Leave the network alone even if the configuration routes: for `pipe` and `send` without a running line.
    pub without_routes: bool,
    /// Keep every right; for a process that does other things too.
    pub unconfined: bool,
    /// As [`tieline_seal::Config::fast_aes`].
    pub fast_aes: bool,
    /// Packet threads for each direction, at least one; with a network device only, without one there is one.
    pub lanes: usize,
}

impl Default for Options {
    /// A line's end as `up` runs it, with what this processor is good at.
    fn default() -> Self {
        // Half of the processors for each direction, but no more than the one replay window can keep in order.
        let lanes = thread::available_parallelism().map_or(1, |processors| processors.get() / 2);
        let lanes = lanes.clamp(1, LANES_MAX);
        Self { without_routes: false, unconfined: false, fast_aes: processor::has_fast_aes(), lanes }
    }
}

/// Why an end did not come up, each with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration or the keys are wrong; every mistake is in it.
    #[error("{0}")]
    Config(#[from] Problems),
    /// The folders cannot be used.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// Another process runs the line.
    #[error("line {line} is up already; `tieline down {line}` takes it down")]
    AlreadyUp {
        /// The line.
        line: LineName,
    },
    /// The lock file cannot be used.
    #[error("the line cannot be locked")]
    Lock(#[source] LockError),
    /// The medium.
    #[error("{source}; change `listen` in the configuration, or end the other program")]
    Medium {
        /// What the socket said.
        source: UdpError,
    },
    /// The network device.
    #[error(
        "{source}; run as root, or give the program CAP_NET_ADMIN, or set `routes = false` for a line without a network device"
    )]
    Device {
        /// What the device said.
        source: TunError,
    },
    /// Addresses and routes.
    #[error("the network device could not be set up")]
    Network(#[from] NetworkError),
    /// Sharing the internet connection.
    #[error("the internet connection cannot be shared")]
    Internet(#[from] Box<InternetError>),
    /// A port that is offered here.
    #[error(transparent)]
    Port(#[from] BindError),
    /// Networks in which devices are to be found.
    #[error(transparent)]
    Discovery(#[from] discovery::BindError),
    /// This office's Ethernet.
    #[error("the line cannot be joined to this office's Ethernet: {0}")]
    Lan(#[source] Box<LanError>),
    /// The inbox.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// What is remembered of files.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The stream channel.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Rights could not be given up.
    #[error("the process could not give up the rights it does not need")]
    Confine(#[from] ConfineError),
    /// The local API.
    #[error("the local API cannot listen on {}", .socket.display())]
    Api {
        /// Where.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Anything else that the system refused.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// One end that is up.
pub struct Node {
    engine: Engine,
    inputs: Inputs,
    commands: mpsc::Sender<Command>,
    streams: Streams,
    calls: Watched,
    files: Files,
    journal: Arc<Journal>,
    keys: LineKeys,
    listener: UnixListener,
    _socket_file: SocketFile,
    _path: PacketPath,
    _lock: FileLock,
}

impl Node {
    /// Brings the end up. Must be called on a runtime of one thread before the process has others, unless
    /// [`Options::unconfined`].
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left behind then.
    pub async fn start(places: &Places, name: &LineName, options: &Options) -> Result<Self, StartError> {
        let mut joined = None;
        let started = Self::start_joining(places, name, options, &mut joined).await;
        // What else was changed goes by itself.
        if started.is_err()
            && let Some(joined) = joined
        {
            joined.leave().await;
        }
        started
    }

    /// As [`Self::start`]; what is left in `joined` if that fails is to be left.
    async fn start_joining(
        places: &Places,
        name: &LineName,
        options: &Options,
        joined: &mut Option<Joined>,
    ) -> Result<Self, StartError> {
        let line = Line::load(places, name)?;
        places.make_runtime_dir()?;
        let files = places.files(name);
        let lock = lock(&files, name)?;
        let state = State::load(&files.state).of_peer(line.peer_public_key());
        let config = line.config.clone();
        let routes = config.routes && !options.without_routes;

        let medium =
            Medium::open(config.listen, &config.paths).map_err(|source| StartError::Medium { source })?;
        // One queue is in better order than several, and one thread fills all lines whose rate is worth stating.
        let lanes = if config.rate.is_shaped() { 1 } else { options.lanes.max(1) };
        let device = routes
            .then(|| TunDevice::create_with_offload(&config.device, config.mtu, lanes * QUEUES))
            .transpose()
            .map_err(|source| StartError::Device { source })?;
        let line_address = offers::line_address(&line.secrets.private_key.public_key());
        let network = match &device {
            Some(device) => {
                let shares = config.internet != InternetConfig::None;
                let (index, addresses) = (device.index(), &config.addresses);
                Some(Network::set_up(index, addresses, &config.offer, line_address, shares).await?)
            }
            None => None,
        };
        let internet = match &device {
            Some(device) => set_up_internet(&files, &config, device.index(), &medium).await?,
            None => None,
        };
        let office_ports = PortTable::new(&config.ports);
        let bound_ports = office_ports.bind().await?;
        let discovery =
            Discovery::new(&if routes { config.discovery.clone() } else { DiscoveryConfig::default() });
        let bound_networks = discovery.bind()?;
        let lan = match config.lan.as_ref().filter(|_| !options.without_routes) {
            Some(lan) => Some(join_lan(&line, lan, lanes, joined).await?),
            None => None,
        };
        places.make_data_dir(name)?;
        let journal = Arc::new(Journal::open(&files.journal)?);
        let keys = signing::keys_of_line(&line.secrets.private_key, line.peer_public_key(), &journal)?;
        let helper = setup::start_helper(&config).map_err(|source| {
            let what = "start the helper that runs hooks";
            StartError::System { what, source }
        })?;
        let tellers = notices::tellers(&name.to_string(), &config.files, helper);
        let inboxes = setup::open_inboxes(&config, &journal, &keys, &tellers)?;
        for outbox in config.files.iter().filter_map(|pair| pair.outbox.as_ref()) {
            places.make_outbox(&outbox.folder)?;
        }
        let (listener, socket_file) = listen(&files)?;
        let identity = Identity::generate()?;
        // Whoever may not is told by `doctor` what is missed.
        let real_time = RealTime::enter()
            .inspect_err(|error| tracing::debug!(%error, "the packet threads will not run in real time"))
            .ok();
        let confinement = if options.unconfined {
            status::Confinement { landlock: "off".into(), seccomp: "off".into(), ..Default::default() }
        } else {
            let keeps = routes || joined.as_ref().is_some_and(Joined::has_made);
            confine(places, &files, &config, &office_ports, keeps, internet.as_ref())?
        };

        let now = Now::from_system();
        let line_config = tieline_line::Config {
            session: session_config(&line, &state, now, options.fast_aes),
            certificate: identity.fingerprint(),
            accept: AcceptTable::default(),
            mtu: config.mtu.into(),
        };
        let (mut control, outbound, inbound, shared) = tieline_line::split(line_config, now, random()?);
        control.set_sockets(now.monotonic, medium.count(), config.voice_copies == VoiceCopies::Always);
        let system = |what| move |source| StartError::System { what, source };
        let sending = Arc::new(Waker::new().map_err(system("make a waker"))?);
        let channel = StreamChannel::new(config.mtu.into(), Arc::clone(&sending));
        let mtu = config.mtu.into();
        let lan = lan.map(|(device, config, mtu)| {
            LanPort::new(device, mtu, config, now.monotonic, Arc::clone(&shared))
        });
        let devices = Devices { routed: device, lan };
        let ports =
            Ports::new(medium, devices, Arc::clone(&channel), sending, shared, mtu, config.outer_dscp)
                .map_err(system("make a waker"))?;

        let (report_sender, reports) = mpsc::channel(REPORTS_MAX);
        let (handshake_sender, handshakes) = mpsc::channel(HANDSHAKES_MAX);
        let (far_end_sender, far_end) = mpsc::channel(INBOX_MAX);
        let (commands, command_receiver) = mpsc::channel(INBOX_MAX);
        let hello =
            hello(&config, keys.own(), ports.medium.first().local_addr().map_or(0, |address| address.port()));
        let peer = line.peer_public_key();
        let own = line.secrets.private_key.public_key();
        let streams = Streams::new(
            channel,
            Setup {
                identity,
                own_key: own,
                inboxes: Some(inboxes.clone()),
                hello: hello.clone(),
                labels: Arc::clone(&ports.shared.labels),
                ports: office_ports.clone(),
                discovery: discovery.clone(),
                packet_len_max: config.mtu - LabelStackEntry::LEN as u16,
                reports: far_end_sender,
                calls_at_risk: calls_at_risk(&ports),
            },
        )
        .map_err(system("make the stream endpoint"))?;
        if let Some(peer) = peer {
            streams.set_peer(peer);
        }
        office_ports.start(bound_ports, &streams);
        discovery.start(bound_networks, &streams);
        let outboxes = setup::outboxes(&files, &config, &tellers);
        let sends = Files::start(outboxes, inboxes, &streams, &journal, &keys);
        tokio::spawn(sends.clone().follow(config.transfer.clone(), streams.clone()));
        let calls = ports.calls.clone();
        let drops = control.session().drops().clone();
        let to_control = ToControl { reports: report_sender, handshakes: handshake_sender };
        let path = PacketPath::start(Arc::clone(&ports), outbound, inbound, to_control)
            .map_err(system("start the packet threads"))?;
        let in_real_time = real_time.is_some();
        drop(real_time);
        let engine = Engine::new(Parts {
            control,
            ports,
            drops,
            line,
            key_file: files.key,
            state,
            state_file: files.state,
            network,
            internet,
            joined: joined.take(),
            streams: streams.clone(),
            office_ports,
            discovery,
            hello,
            takes_files: true,
            keys: keys.clone(),
            journal: Arc::clone(&journal),
            confinement,
            real_time: in_real_time,
        });
        Ok(Self {
            engine,
            inputs: Inputs { reports, handshakes, far_end, commands: command_receiver },
            commands,
            streams,
            calls,
            files: sends,
            journal,
            keys,
            listener,
            _socket_file: socket_file,
            _path: path,
            _lock: lock,
        })
    }

    /// Where commands for this end can be sent.
    #[must_use]
    pub fn commands(&self) -> mpsc::Sender<Command> {
        self.commands.clone()
    }

    /// The stream channel of this end.
    #[must_use]
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// Runs until the end is told to go down; then nothing of it is left.
    ///
    /// # Errors
    ///
    /// If it ended without being told.
    pub async fn run(self) -> Result<(), PacketPathEnded> {
        let api = tokio::spawn(api::server::serve(
            self.listener,
            self.commands,
            self.streams,
            self.calls,
            self.files,
            self.journal,
            self.keys,
        ));
        let ended = self.engine.run(self.inputs).await;
        api.abort();
        ended
    }
}

/// The file of the API's socket, for as long as somebody may connect to it.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, "the API's socket was gone already");
        }
    }
}

/// The datagrams of a line that holds all else to itself must be told from all else.
async fn set_up_internet(
    files: &LineFiles,
    config: &LineConfig,
    device: u32,
    medium: &Medium,
) -> Result<Option<Internet>, StartError> {
    let ports: Vec<u16> = medium.local_addresses().flatten().map(|address| address.port()).collect();
    let internet = Internet::set_up(files, config, device, &ports).await.map_err(Box::new)?;
    if let Some(mark) = internet.as_ref().and_then(Internet::mark) {
        medium.set_mark(mark).map_err(|error| Box::new(InternetError::Mark(error)))?;
    }
    Ok(internet)
}

fn lock(files: &LineFiles, name: &LineName) -> Result<FileLock, StartError> {
    FileLock::try_acquire(&files.lock).map_err(|error| match error {
        LockError::Held { .. } => StartError::AlreadyUp { line: name.clone() },
        other => StartError::Lock(other),
    })
}

/// The lock is ours, so a socket that is there belongs to a process that is not.
fn listen(files: &LineFiles) -> Result<(UnixListener, SocketFile), StartError> {
    let api = |source| StartError::Api { socket: files.socket.clone(), source };
    match std::fs::remove_file(&files.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(api(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&files.socket).map_err(api)?;
    let file = SocketFile(files.socket.clone());
    let only_owner = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(&files.socket, only_owner).map_err(api)?;
    Ok((listener, file))
}

/// Puts the line into this office's Ethernet: its device there, what decides about frames, and the largest packet of that Ethernet.
async fn join_lan(
    line: &Line,
    config: &LanConfig,
    lanes: usize,
    joined: &mut Option<Joined>,
) -> Result<(TunDevice, lan::Config, usize), StartError> {
    let [a, b, c, d, e, rest @ ..] = random()?;
    let (place, device) = Joined::join(&line.config.line, config, [a, b, c, d, e], lanes)
        .await
        .map_err(|error| StartError::Lan(Box::new(error)))?;
    let mtu = place.mtu();
    *joined = Some(place);
    let mut end = [0; 8];
    end.copy_from_slice(&rest[..8]);
    let config = lan::Config {
        line: line_number(line.secrets.private_key.public_key(), line.peer_public_key()),
        end,
        device: MacAddress([Joined::CARD_PREFIX, a, b, c, d, e]),
        // Of its own, for the bridge knows the device's.
        probes_from: MacAddress([Joined::CARD_PREFIX, b, c, d, e, a ^ 1]),
        dhcp: config.dhcp,
        router_advertisements: config.router_advertisements,
        storm_limit: config.storm_limit.into(),
    };
    Ok((device, config, mtu))
}

fn confine(
    places: &Places,
    files: &LineFiles,
    config: &LineConfig,
    ports: &PortTable,
    keep_net_admin: bool,
    internet: Option<&Internet>,
) -> Result<status::Confinement, StartError> {
    let system = |source| StartError::System { what: "switch off core dumps", source };
    privileges::disable_core_dumps().map_err(system)?;
    let report = privileges::confine(&Confinement {
        keep_net_admin,
        keep_chown: setup::gives_owners(config),
        read: setup::account_files(config),
        write: vec![
            places.config_dir().to_owned(),
            places.runtime_dir().to_owned(),
            files.data.clone(),
            config.inbox.clone(),
        ]
        .into_iter()
        .chain(setup::pair_folders(config))
        .chain(internet.into_iter().flat_map(Internet::written_settings))
        .collect(),
        connect: setup::webhook_ports(config).chain(ports.tcp_destinations()).collect(),
        ..Confinement::default()
    })?;
    Ok(status::Confinement {
        capabilities: report.capabilities,
        landlock: report.landlock.to_string(),
        seccomp: report.seccomp.to_string(),
    })
}

fn session_config(line: &Line, state: &State, now: Now, fast_aes: bool) -> tieline_seal::Config {
    let secrets = &line.secrets;
    let peer = match (line.peer_public_key(), &secrets.invitation) {
        (None, Some(secret)) => Peer::Invited { secret: secret.clone() },
        (Some(public_key), _) => Peer::Known {
            public_key,
            preshared_key: secrets.preshared_key.clone().unwrap_or(PresharedKey::ZERO),
            proof: secrets.proof.clone(),
        },
        (None, None) => unreachable!("a configuration without a far end is refused when it is read"),
    };
    let configured = line.config.peer_addresses.iter().find_map(|address| address.socket_address());
    tieline_seal::Config {
        private_key: secrets.private_key.clone(),
        peer,
        address: state.peer_address.or(configured),
        persistent_keepalive: line.config.keepalive,
        timestamp_floor: state.timestamp_floor(now.wall),
        always_on: true,
        fast_aes,
    }
}

fn hello(config: &LineConfig, signing_key: VerifyingKey, port: u16) -> Hello {
    let own = config.addresses.iter().map(|address| IpNet::from(address.addr()));
    Hello {
        version: associated::VERSION,
        name: config.name.clone(),
        software: crate::SOFTWARE.to_owned(),
        offers: if config.routes { config.offer.iter().copied().chain(own).collect() } else { Vec::new() },
        services: ["files", "pipe", "test", "port", "discovery"].map(str::to_owned).into(),
        // Given out anew with each control stream.
        labels: BTreeMap::new(),
        mtu: config.mtu,
        port,
        signing_key: Some(signing_key.to_string()),
        // Told when it is known.
        internet: None,
    }
}

/// Counts the calls that a line filled by this end would harm.
fn calls_at_risk(ports: &Arc<Ports>) -> Box<dyn Fn() -> usize + Send + Sync> {
    let ports = Arc::clone(ports);
    Box::new(move || if ports.rate().is_some() { 0 } else { ports.calls.going_on(Now::from_system()) })
}

fn random() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).map_err(|error| StartError::System {
        what: "draw random numbers",
        source: io::Error::other(error),
    })?;
    Ok(seed)
}
