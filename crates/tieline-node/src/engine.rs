//! The control task of a running line: it drives [`tieline_line::Control`] and tells everybody else what follows.
//!
//! It owns what is decided and not yet known elsewhere: where the far end is dialled, which networks are routed, who waits
//! for an answer. It waits for the packet path's reports, the far end's messages, the local API's commands, resolved names
//! and the line's own deadline, handles one, then hands on all that came of it.

mod alarms;
mod dial;
mod farewell;
mod internet;
mod lan;
mod names;
mod paths;
mod rate;
mod report;

use std::sync::atomic::Ordering;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tieline_line::{
    Control, Event, Outgoing, accept::AcceptTable, counters::DropReason, greeting::FarEnd,
    liveness::Reachability, test_call::Figures,
};
use tieline_seal::{DropCounters, PublicKey};
use tieline_transfer::{Journal, receipt::LineKeys};
use tieline_wire::{
    associated,
    control::{Accepted, Hello, RefusedOffer},
    given_out::GivenOut,
    time::Now,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::sleep_until,
};

use crate::discovery::Discovery;
use crate::flows::FlowsStatus;
use crate::{
    config::{Accept, Line},
    internet::Internet,
    lan::{Joined, line_number},
    network::Network,
    offers::{self, Decision, Surroundings},
    packet_path::{Handshake, Ports, Report, intake::Source},
    ports::PortTable,
    secrets::Secrets,
    signing,
    state::State,
    status::{Confinement, Pong, Status},
    streams::{FromFarEnd, Streams},
};
use alarms::Alarms;
use dial::Dial;
use farewell::{Farewell, NewestSession};
use paths::PathDials;
use rate::LineRate;

/// Pings that wait for their answer at once; more are refused.
const PINGS_MAX: usize = 16;
/// How often it is looked for traffic where the rate is to be found; while there is, reports say when.
const TRAFFIC_LOOK: Duration = Duration::from_secs(1);
/// How long a ping waits for its answer.
pub const PING_WAIT_MAX: Duration = Duration::from_secs(3);

/// What the local API asks of the control task.
#[derive(Debug)]
pub enum Command {
    /// How are things.
    Status(oneshot::Sender<Status>),
    /// Send a probe in a packet of so many octets and tell when its answer is there.
    Ping(u16, oneshot::Sender<Pong>),
    /// Speak to the far end for so long ([`tieline_line::test_call`]); whether it does.
    BeginTest(Duration, oneshot::Sender<bool>),
    /// What the call to the far end was like.
    TestFigures(oneshot::Sender<Option<Figures>>),
    /// What goes out, flow by flow.
    Flows(oneshot::Sender<FlowsStatus>),
    /// Go down.
    Down,
}

/// What the control task is made of.
pub struct Parts {
    /// The line.
    pub control: Control,
    /// What the packet path works with.
    pub ports: Arc<Ports>,
    /// The session's counters.
    pub drops: DropCounters,
    /// Configuration and keys.
    pub line: Line,
    /// Where the keys are kept.
    pub key_file: PathBuf,
    /// What is remembered from one process to the next.
    pub state: State,
    /// Where that is kept.
    pub state_file: PathBuf,
    /// The routing side, unless this is a bare line.
    pub network: Option<Network>,
    /// What this end does with internet connections, if anything.
    pub internet: Option<Internet>,
    /// The line's place in this office's Ethernet, if it has one.
    pub joined: Option<Joined>,
    /// The stream channel.
    pub streams: Streams,
    /// The ports of this end.
    pub office_ports: PortTable,
    /// The relay of discovery.
    pub discovery: Discovery,
    /// What this end says of itself.
    pub hello: Hello,
    /// The keys of receipts.
    pub keys: LineKeys,
    /// What is remembered of files.
    pub journal: Arc<Journal>,
    /// Whether files can come in.
    pub takes_files: bool,
    /// Which rights the process has kept.
    pub confinement: Confinement,
    /// Whether the packet threads run in real time.
    pub real_time: bool,
}

/// Where the control task hears from everybody.
pub struct Inputs {
    /// The packet path.
    pub reports: mpsc::Receiver<Report>,
    /// Handshake messages out of the packet path.
    pub handshakes: mpsc::Receiver<Handshake>,
    /// The control stream.
    pub far_end: mpsc::Receiver<FromFarEnd>,
    /// The local API.
    pub commands: mpsc::Receiver<Command>,
}

/// Why a line ended that nobody took down.
#[derive(Debug, thiserror::Error)]
#[error(
    "a thread of the packet path has ended, which is a mistake in tieline; the line is taken down, start it again"
)]
pub struct PacketPathEnded;

/// The control task.
pub struct Engine {
    parts: Parts,
    started: Instant,
    dial: Dial,
    path_dials: PathDials,
    alarms: Alarms,
    far_hello: Option<Hello>,
    decision: Decision,
    of_us: Accepted,
    pings: VecDeque<(u32, Instant, oneshot::Sender<Pong>)>,
    files_received: u64,
    name_twins: u64,
    farewell: Farewell,
    /// When the last message of the associated channel arrived, of which the line's next events come.
    message_arrived: Instant,
    rate: LineRate,
    /// Why the internet connection is not shared as it should be, from the kernel.
    internet_fault: Option<String>,
    /// When it was last looked whether there is traffic, so that a rate can be found.
    looked_for_traffic: Instant,
}

impl Engine {
    /// Puts the task together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let mark = parts.internet.as_ref().and_then(Internet::mark);
        let dial = Dial::new(parts.line.config.peer_addresses.clone(), mark);
        let path_dials = PathDials::new(&parts.line.config.paths, mark);
        let rate = LineRate::new(Instant::now(), parts.line.config.rate, Arc::clone(&parts.ports));
        Self {
            parts,
            started: Instant::now(),
            dial,
            path_dials,
            alarms: Alarms::default(),
            far_hello: None,
            decision: Decision::default(),
            of_us: Accepted::default(),
            pings: VecDeque::new(),
            files_received: 0,
            name_twins: 0,
            farewell: Farewell::default(),
            message_arrived: Instant::now(),
            rate,
            internet_fault: None,
            looked_for_traffic: Instant::now(),
        }
    }

    /// Runs until somebody says [`Command::Down`] or nobody can any more.
    ///
    /// # Errors
    ///
    /// If the packet path has ended, so that nothing goes through the line any more.
    pub async fn run(mut self, mut inputs: Inputs) -> Result<(), PacketPathEnded> {
        self.settle_networks().await;
        self.parts.control.request_session(Now::from_system());
        self.hand_on().await;
        loop {
            let deadline = self.next_deadline();
            // Without an order: a flood of handshakes must starve neither the timers nor `down`.
            tokio::select! {
                Some(report) = inputs.reports.recv() => self.on_report(report)?,
                Some(Handshake { from, datagram }) = inputs.handshakes.recv() => {
                    self.parts.control.handle_handshake(Now::from_system(), from, &datagram);
                }
                Some(message) = inputs.far_end.recv() => self.on_far_end(message).await,
                Some(address) = self.dial.resolved() => self.dial(address),
                Some((path, address)) = self.path_dials.resolved() => {
                    self.parts.control.dial_path(Now::from_system(), path, address);
                }
                // A network that comes to this machine must not be routed into the line, one that goes may be.
                () = changed(&mut self.parts.network) => self.settle_networks().await,
                command = inputs.commands.recv() => match command {
                    None | Some(Command::Down) => break,
                    Some(command) => self.on_command(command),
                },
                () = sleep_until(deadline.into()) => self.on_deadline(),
            }
            self.hand_on().await;
        }
        self.parts.streams.close().await;
        self.parts.control.say_goodbye();
        self.hand_on().await;
        if let Some(internet) = &mut self.parts.internet {
            internet.restore().await;
        }
        if let Some(joined) = self.parts.joined.take() {
            joined.leave().await;
        }
        Ok(())
    }

    fn next_deadline(&self) -> Instant {
        let now = Now::from_system();
        let far = now.monotonic + Duration::from_secs(60);
        let ping = self.pings.front().map(|(_, until, _)| *until);
        let rate = self.rate.poll_timeout(now.monotonic);
        // Nobody says when traffic begins.
        let look = self.rate.is_found().then_some(self.looked_for_traffic + TRAFFIC_LOOK);
        [self.parts.control.poll_timeout(now), ping, rate, look]
            .into_iter()
            .flatten()
            .min()
            .map_or(far, |next| next.min(far))
    }

    fn on_deadline(&mut self) {
        let now = Now::from_system();
        self.parts.control.handle_timeout(now);
        self.report_rate(now);
        while let Some((_, _, ping)) = self.pings.pop_front_if(|(_, until, _)| *until <= now.monotonic) {
            // Whoever asked may have gone.
            let _ = ping.send(Pong { round_trip_seconds: None });
        }
    }

    /// Tells the far end what arrives here, if that is due.
    fn report_rate(&mut self, now: Now) {
        self.looked_for_traffic = now.monotonic;
        let session = self.parts.control.session().status(now);
        while let Some(report) = self.rate.poll_report(now.monotonic, &session) {
            self.parts.control.report_rate(report);
        }
    }

    fn on_report(&mut self, report: Report) -> Result<(), PacketPathEnded> {
        let now = Now::from_system();
        let control = &mut self.parts.control;
        match report {
            Report::Associated { arrived, from, message } => {
                self.message_arrived = arrived.monotonic;
                control.handle_associated(now, arrived, from, &message);
            }
            Report::Notice { socket, notice } => control.handle_notice(now, socket, notice),
            Report::Protection(report) => control.report_protection(report),
            Report::SessionNeeded => control.request_session(now),
            Report::Lan(alarm) => self.on_lan_alarm(alarm),
            Report::DeviceGone(source) => {
                let (device, what) = match source {
                    Source::Routed => ("network device", "no IP goes through the line"),
                    Source::Lan => ("device in the office's bridge", "no frame goes through the line"),
                };
                tracing::error!("somebody removed the {device}: {what} any more");
                self.alarms
                    .raise(format!("somebody removed the {device}, so {what}: take it down and up again"));
            }
            Report::ThreadEnded => return Err(PacketPathEnded),
        }
        Ok(())
    }

    fn dial(&mut self, address: SocketAddr) {
        tracing::info!(%address, "dialling the far end");
        self.parts.control.dial(Now::from_system(), address);
    }

    async fn on_far_end(&mut self, message: FromFarEnd) {
        match message {
            FromFarEnd::Hello(hello) => {
                tracing::info!(name = %hello.name, software = %hello.software, "the far end introduced itself");
                self.parts.state.peer_name = Some(hello.name.clone());
                self.parts.state.peer_offers.clone_from(&hello.offers);
                self.parts.state.peer_internet = hello.internet;
                self.parts.ports.shared.labels.set_far(GivenOut::parse(&hello.labels));
                self.learn_signing_key(&hello).await;
                self.far_hello = Some(hello);
                self.remember();
                self.settle_networks().await;
            }
            FromFarEnd::Accepted(accepted) => {
                for refused in &accepted.refused {
                    tracing::warn!(network = %refused.network, reason = %refused.reason, "the far end does not take our network");
                }
                self.of_us = accepted;
            }
            FromFarEnd::FilesReceived { delivered, failed, twins } => {
                tracing::info!(delivered, failed, "files came in");
                self.files_received += delivered;
                self.name_twins += twins;
            }
        }
    }

    async fn learn_signing_key(&mut self, hello: &Hello) {
        let (Some(peer), Some(shown)) = (self.peer(), hello.signing_key.clone()) else { return };
        let (keys, journal) = (self.parts.keys.clone(), Arc::clone(&self.parts.journal));
        let learnt = spawn_blocking(move || signing::learn_far_key(&keys, peer, &shown, &journal)).await;
        if let Ok(Err(error)) = learnt {
            tracing::error!(%error, "receipts of the far end are not taken");
            self.alarms.raise(format!(
                "the far end's receipts for files are not taken: {error}; if nobody changed anything there, its machine or this one was meddled with"
            ));
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Status(reply) => {
                let status = self.report();
                // Whoever asked may have gone.
                let _ = reply.send(status);
            }
            Command::Ping(packet_len, reply) => self.ping(packet_len, reply),
            Command::BeginTest(lasts, reply) => {
                let ssid = self.started.elapsed().as_millis() as u16 | 1;
                let begun = self.parts.control.begin_test_phase(Now::from_system(), lasts, ssid);
                let _ = reply.send(begun);
            }
            Command::TestFigures(reply) => {
                let _ = reply.send(self.parts.control.test_figures());
            }
            Command::Flows(reply) => self.parts.ports.ask_for_flows(reply),
            Command::Down => {}
        }
    }

    fn ping(&mut self, packet_len: u16, reply: oneshot::Sender<Pong>) {
        let now = Now::from_system();
        let sequence = if self.pings.len() < PINGS_MAX {
            self.parts.control.probe(now, packet_len.into())
        } else {
            None
        };
        match sequence {
            Some(sequence) => self.pings.push_back((sequence, now.monotonic + PING_WAIT_MAX, reply)),
            None => {
                let _ = reply.send(Pong { round_trip_seconds: None });
            }
        }
    }

    /// Hands on all that came of the last input: datagrams to the medium, packets to the sending thread, events to those
    /// whom they concern.
    async fn hand_on(&mut self) {
        let mut woken = false;
        // First of all: a pairing must be written down before the far end has the answer that completes it.
        while let Some(event) = self.parts.control.poll_event() {
            woken |= matches!(event, Event::SessionReady);
            self.on_event(event).await;
        }
        if self.parts.control.poll_timestamp(Now::from_system()).is_some() {
            self.remember();
        }
        while let Some(transmit) = self.parts.control.poll_datagram() {
            if let Err(error) = self.parts.ports.medium.send_to(&transmit.bytes, transmit.by, 0) {
                tracing::debug!(to = %transmit.by.remote, %error, "a handshake message was not sent");
                self.parts.ports.shared.counters.dropped(DropReason::MediumRefused);
            }
        }
        while let Some(packet) = self.parts.control.poll_packet() {
            self.queue(packet);
            woken = true;
        }
        if woken {
            self.parts.ports.wake_senders();
        }
    }

    fn queue(&mut self, packet: Outgoing) {
        if self.parts.ports.outgoing.push(packet).is_err() {
            self.parts.ports.shared.counters.dropped(DropReason::ControlQueueFull);
        }
    }

    async fn on_event(&mut self, event: Event) {
        if matches!(event, Event::Goodbye)
            && !self.farewell.on_goodbye(self.message_arrived, self.newest_session())
        {
            return tracing::debug!("a goodbye of an earlier instance of the far end comes late");
        }
        self.parts.streams.handle_event(&event);
        match event {
            Event::SessionReady => self.on_session(),
            Event::SessionLost => tracing::info!("the session has expired"),
            Event::PeerMoved { from, to } => {
                if from.is_some() {
                    tracing::info!(?from, %to, "the far end has moved");
                }
                self.parts.state.peer_address = Some(to);
                self.remember();
                // A network that holds the far end's new address must not be routed into the line.
                self.settle_networks().await;
            }
            Event::Paired { public_key, preshared_key } => {
                tracing::info!(%public_key, "paired: the invitation is void");
                self.parts.streams.set_peer(public_key);
                self.parts.state = std::mem::take(&mut self.parts.state).of_peer(Some(public_key));
                self.parts.line.secrets.on_paired(public_key, preshared_key);
                if let Some(lan) = &self.parts.ports.lan {
                    let own = self.parts.line.secrets.private_key.public_key();
                    lan.set_line(line_number(own, Some(public_key)));
                }
                self.keep_secrets();
                self.settle_networks().await;
            }
            Event::RateReport { arrived, report } => {
                let now = Now::from_system();
                let session = self.parts.control.session().status(now);
                self.rate.on_report(now.monotonic, arrived, &report, &session);
                self.report_rate(now);
            }
            Event::Path(event) => self.on_path(event).await,
            Event::FarEnd(far_end) => self.on_far_end_kind(far_end).await,
            Event::Reachability(reachability) => self.on_reachability(reachability),
            Event::Goodbye => tracing::info!("the far end is being taken down"),
            Event::KeyInUseTwice(alarm) => {
                tracing::error!(held = %alarm.held, other = %alarm.other, "the far end's key is in use at two places");
                self.alarms.raise_far_key(alarm);
            }
            Event::OurKeyInUseTwice => {
                tracing::error!("the far end says that our own key is in use at another place too");
                self.alarms.raise_own_key();
            }
            Event::Answered { sequence, round_trip } => self.on_answered(sequence, round_trip),
            Event::Dial => {
                if let Some(address) = self.dial.next() {
                    self.dial(address);
                }
            }
            Event::NoAnswer => tracing::info!("no answer from the far end; trying on"),
        }
    }

    fn on_session(&mut self) {
        self.farewell.on_session();
        self.dial.forget_candidates();
        tracing::info!(address = ?self.parts.control.address(), "session agreed");
        if self.parts.line.secrets.proof.is_some() {
            self.parts.line.secrets.on_proved();
            self.keep_secrets();
        }
        self.parts.state.peer_address = self.parts.control.first_address();
        self.remember();
    }

    async fn on_far_end_kind(&mut self, far_end: FarEnd) {
        let hello = match far_end {
            FarEnd::Tieline(hello) => Some(hello),
            FarEnd::IpOnly | FarEnd::Incompatible(_) | FarEnd::Unknown => None,
        };
        let is_able = |able: fn(&associated::Hello) -> bool| hello.as_ref().is_some_and(able);
        let ports = &self.parts.ports;
        ports.far_end_joins.store(is_able(|hello| hello.joins_pieces), Ordering::Relaxed);
        ports.far_end_carries_ecn.store(is_able(|hello| hello.carries_ecn), Ordering::Relaxed);
        // Those of a process that is gone; this one announces its own.
        self.parts.ports.shared.labels.set_far(GivenOut::default());
        match far_end {
            FarEnd::Tieline(hello) => {
                tracing::info!("the far end is a tieline");
                self.rate.on_far_end(Instant::now());
                if let Err(error) = self.parts.streams.set_far_end(hello.certificate).await {
                    tracing::error!(%error, "no streams to the far end");
                }
            }
            FarEnd::IpOnly => tracing::info!("the far end is plain WireGuard: IP only"),
            FarEnd::Incompatible(hello) => {
                tracing::error!(
                    min = hello.version_min,
                    max = hello.version_max,
                    "the far end speaks other versions only"
                );
            }
            FarEnd::Unknown => {}
        }
        self.settle_networks().await;
    }

    fn on_reachability(&mut self, reachability: Reachability) {
        match reachability {
            Reachability::Alive => {
                tracing::info!("the far end is heard");
                self.parts.streams.wake_up();
            }
            Reachability::Silent => tracing::warn!("the far end is not heard any more"),
            Reachability::Unknown => {}
        }
    }

    fn on_answered(&mut self, sequence: u32, round_trip: Duration) {
        if let Some(index) = self.pings.iter().position(|(asked, ..)| *asked == sequence)
            && let Some((_, _, reply)) = self.pings.remove(index)
        {
            let _ = reply.send(Pong { round_trip_seconds: Some(round_trip.as_secs_f64()) });
        }
    }

    /// Decides anew which of the far end's networks are let in and routed, and makes it so.
    async fn settle_networks(&mut self) {
        let Some(peer) = self.peer() else { return };
        let line_network = offers::line_network(&peer);
        let mut decision = self.decide().await;
        let mut networks: Vec<_> =
            decision.accepted.iter().copied().chain(std::iter::once(line_network)).collect();
        if let Some(network) = &mut self.parts.network {
            for (failed, error) in network.set_routes(&networks).await {
                networks.retain(|network| *network != failed);
                decision.accepted.retain(|accepted| *accepted != failed);
                decision.refused.push(RefusedOffer { network: failed, reason: error.to_string() });
            }
        }
        let accepted = self.settle_internet(AcceptTable::new(&networks), &networks).await;
        self.parts.control.set_accepted(accepted);
        for refused in decision.refused.iter().filter(|refused| !self.decision.refused.contains(refused)) {
            tracing::warn!(network = %refused.network, reason = %refused.reason, "a network of the far end is not taken");
        }
        if self.decision != decision {
            self.parts.streams.set_accepted(Accepted {
                accepted: decision.accepted.clone(),
                refused: decision.refused.clone(),
            });
            self.decision = decision;
        }
    }

    async fn decide(&mut self) -> Decision {
        let local = match &mut self.parts.network {
            Some(network) => network.local_networks().await.to_vec(),
            None => Vec::new(),
        };
        let config = &self.parts.line.config;
        let far_addresses: Vec<_> = self.parts.control.addresses().map(|address| address.ip()).collect();
        let surroundings = Surroundings {
            own_address: offers::line_address(&self.parts.line.secrets.private_key.public_key()),
            accept: &config.accept,
            own_offers: &config.offer,
            local: &local,
            far_addresses: &far_addresses,
        };
        offers::decide(&self.networks_of_far_end(), &surroundings)
    }

    /// What the far end offers now, or offered last, or, if it cannot say, what the operator listed.
    fn networks_of_far_end(&self) -> Vec<ipnet::IpNet> {
        let is_tieline = matches!(self.parts.control.far_end(), FarEnd::Tieline(_));
        match (&self.far_hello, &self.parts.line.config.accept) {
            (Some(hello), _) if is_tieline => hello.offers.clone(),
            (_, Accept::Only(networks)) => networks.clone(),
            (_, Accept::Offered) => self.parts.state.peer_offers.clone(),
        }
    }

    fn newest_session(&self) -> Option<NewestSession> {
        let now = Now::from_system();
        let session = self.parts.control.session();
        let age = session.status(now).session?.age;
        let agreed = now.monotonic.checked_sub(age)?;
        Some(NewestSession { agreed, heard: session.last_received_newest() })
    }

    /// Whether the far end said that it is being taken down, and is not back.
    fn is_far_end_down(&self) -> bool {
        self.farewell.holds(self.newest_session())
    }

    fn peer(&self) -> Option<PublicKey> {
        self.parts.line.peer_public_key()
    }

    fn remember(&mut self) {
        let timestamp = self.parts.control.session().status(Now::from_system()).last_timestamp;
        self.parts.state.set_last_timestamp(timestamp);
        if let Err(error) = self.parts.state.save(&self.parts.state_file) {
            tracing::warn!(file = %self.parts.state_file.display(), %error, "the state could not be kept");
        }
    }

    fn keep_secrets(&mut self) {
        let secrets: &Secrets = &self.parts.line.secrets;
        if let Err(error) = secrets.save(&self.parts.key_file) {
            tracing::error!(file = %self.parts.key_file.display(), %error, "the keys could not be kept: the pairing is lost with this process");
            self.alarms.raise(format!(
                "the pairing could not be written to {}: {error}; make room and pair again, or it is lost when this process ends",
                self.parts.key_file.display()
            ));
        }
    }
}

/// Waits until an address or a device of this machine has changed; for ever if nothing is routed.
async fn changed(network: &mut Option<Network>) {
    match network {
        Some(network) => network.changed().await,
        None => std::future::pending().await,
    }
}
