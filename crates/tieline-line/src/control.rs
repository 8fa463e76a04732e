//! The control side of a line: it decides, the packet path obeys.
//!
//! One value holds what is slow and rare: handshakes and timers (in [`tieline_seal::Control`]), the greeting, liveness, the
//! watch over the key, and which sources are accepted. Drive it so: one `handle_*`, then drain [`Control::poll_timestamp`], [`Control::poll_datagram`],
//! [`Control::poll_packet`] and [`Control::poll_event`] until each is empty, then wait for [`Control::poll_timeout`].

mod by_path;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tieline_seal::{Notice, Pace, PresharedKey, PublicKey, Tai64N, limits::TIMESTAMP_LEAP};
use tieline_wire::{
    associated::{self, Alert, Hello},
    label::{Label, LabelStackEntry, MplsTrafficClass},
    mtu_probe::MtuProbe,
    protection_report::ProtectionReport,
    rate_report::RateReport,
    stamp::{NtpTimestamp, ReflectorPacket, SenderPacket},
    time::Now,
};

use by_path::TrafficLook;

use crate::{
    Shared,
    accept::AcceptTable,
    counters::DropReason,
    greeting::{FarEnd, Greeting, Heard},
    key_watch::{HOLD_TIME, KeyInUseTwice, KeyWatch},
    liveness::{Liveness, Measured, Reachability},
    path_mtu::PathMtu,
    paths::{self, Path, PathId, Paths, Routes},
    protection::Reports,
    redial::{FarSide, Redial},
    test_call::{self, TestCall},
};

/// Packets that control has for the sending thread; more are dropped and counted.
pub const OUTGOING_MAX: usize = 64;
/// Events that wait to be polled; more are dropped, the oldest first, since the newest tell how things are.
const EVENTS_MAX: usize = 256;

/// Packets that were sent since the path was confirmed, from which on there is traffic: this end's own messages are fewer.
const TRAFFIC_PACKETS_MIN: u64 = 32;

/// How far timestamps may run ahead of what was written down; a start leaps above them by more.
pub const TIMESTAMP_STEP_UNWRITTEN: Duration = Duration::from_secs(300);
const _: () = assert!(2 * TIMESTAMP_STEP_UNWRITTEN.as_secs() <= TIMESTAMP_LEAP.as_secs());

/// A packet that the sending thread is asked to seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// An empty packet.
    Keepalive,
    /// A packet under a label.
    Labelled {
        /// The label and how it is to be served.
        entry: LabelStackEntry,
        /// What the channel carries.
        payload: Vec<u8>,
    },
    /// A packet under a label that goes by this path, whichever carries.
    ByPath {
        /// Which one.
        path: PathId,
        /// The label and how it is to be served.
        entry: LabelStackEntry,
        /// What the channel carries.
        payload: Vec<u8>,
    },
}

/// A handshake datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// By which socket, and where to.
    pub by: Path,
    /// The datagram.
    pub bytes: Vec<u8>,
}

/// What the layers above must know.
#[derive(Clone, Debug)]
pub enum Event {
    /// There is a session: what was staged can be sent.
    SessionReady,
    /// There is none any more.
    SessionLost,
    /// Authentic datagrams now come from another address.
    PeerMoved {
        /// The address that was used before, if any.
        from: Option<SocketAddr>,
        /// The address that is used from now on.
        to: SocketAddr,
    },
    /// The invitation was taken up: keep these and forget it.
    Paired {
        /// The far end's key.
        public_key: PublicKey,
        /// The preshared key that came of the invitation.
        preshared_key: PresharedKey,
    },
    /// The far end was recognised, was restarted, or turned out to be something else.
    FarEnd(FarEnd),
    /// The far end is heard, or no longer.
    Reachability(Reachability),
    /// The far end says that it is being taken down.
    Goodbye,
    /// The far end's key is in use at two places.
    KeyInUseTwice(KeyInUseTwice),
    /// The far end says that our own key is in use at two places.
    OurKeyInUseTwice,
    /// A probe was answered.
    Answered {
        /// Which one.
        sequence: u32,
        /// The round trip, without the time the far end held it.
        round_trip: Duration,
    },
    /// The far end reports what arrives there, for [`crate::rate::Rate::handle_report`].
    RateReport {
        /// When it came.
        arrived: Instant,
        /// What it says.
        report: RateReport,
    },
    /// Something became of the paths, of which the line has several.
    Path(paths::Event),
    /// The far end's address is not known, or nobody answers there: dial the next of those that are configured.
    Dial,
    /// No answer to handshakes for [`tieline_seal::limits::REKEY_ATTEMPT_TIME`]; trying goes on.
    NoAnswer,
}

/// The control side of a line.
pub struct Control {
    session: tieline_seal::Control,
    greeting: Greeting,
    liveness: Liveness,
    key_watch: KeyWatch,
    redial: Redial,
    reachability: Reachability,
    holding: bool,
    outgoing: VecDeque<Outgoing>,
    events: VecDeque<Event>,
    /// The timestamp that was given out last to be written down.
    written: Option<Tai64N>,
    mtu: usize,
    path_mtu: PathMtu,
    /// Packets sent when the path was last probed.
    sent_at_probe: u64,
    protection: Reports,
    test_call: Option<TestCall>,
    /// The test call of the far end: its session, and how many of its packets came.
    reflected: (u16, u32),
    paths: Paths,
    routes: Routes,
    /// The socket that the last handshake message came by, for its answer.
    handshake_socket: usize,
    transmits: VecDeque<Transmit>,
    traffic: TrafficLook,
    shared: Arc<Shared>,
}

impl Control {
    pub(crate) fn new(
        session: tieline_seal::Control,
        greeting: Greeting,
        now: Instant,
        written: Option<Tai64N>,
        mtu: usize,
        shared: Arc<Shared>,
    ) -> Self {
        let address = session.address();
        Self {
            session,
            greeting,
            paths: Paths::new(now, 1, address, false),
            routes: Routes::default(),
            handshake_socket: 0,
            transmits: VecDeque::new(),
            traffic: TrafficLook::default(),
            liveness: Liveness::new(now),
            key_watch: KeyWatch::default(),
            redial: Redial::new(now),
            reachability: Reachability::Unknown,
            holding: false,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            written,
            mtu,
            path_mtu: PathMtu::new(mtu),
            sent_at_probe: 0,
            protection: Reports::default(),
            test_call: None,
            reflected: (0, 0),
            shared,
        }
    }

    /// Takes a handshake message that [`crate::Inbound`] passed on.
    pub fn handle_handshake(&mut self, now: Now, from: impl Into<Path>, datagram: &[u8]) {
        let from = from.into();
        self.handshake_socket = from.socket;
        self.session.handle_datagram(now, from.remote, datagram);
        self.after_session_input(now, from.socket);
    }

    /// Takes what one of the packet path's halves reported, of a datagram that came by `socket`.
    pub fn handle_notice(&mut self, now: Now, socket: usize, notice: Notice) {
        self.session.handle_notice(now, notice);
        self.after_session_input(now, socket);
    }

    /// There is something to send and no session, or somebody wants to know whether the path is whole.
    pub fn request_session(&mut self, now: Now) {
        self.session.request_session(now);
        self.after_session_input(now, self.handshake_socket);
    }

    /// Takes a message of the associated channel that arrived at `arrived` from `from`.
    pub fn handle_associated(&mut self, now: Now, arrived: Now, from: impl Into<Path>, message: &[u8]) {
        let from = from.into();
        self.traffic.associated += 1;
        let parsed = associated::Message::parse(message);
        if matches!(parsed, Ok(message) if !matches!(message, associated::Message::Hello(_))) {
            self.greeting.on_tieline_heard(now.monotonic);
        }
        match parsed {
            Err(_malformed) => self.shared.counters.dropped(DropReason::MalformedMessage),
            Ok(associated::Message::Hello(hello)) => self.on_hello(now, from.remote, hello),
            Ok(associated::Message::StampSender(probe)) => {
                self.reflect(now, arrived, probe, message.len());
            }
            Ok(associated::Message::StampReflector(answer)) => {
                if let Some(test_call) = &mut self.test_call {
                    test_call.handle_answer(arrived, &answer);
                }
                if let Some(round_trip) = self.liveness.handle_answer(arrived, &answer) {
                    let usual = self.liveness.measured().round_trip_smoothed;
                    self.shared.on_round_trip(usual.unwrap_or(round_trip));
                    self.push_event(Event::Answered { sequence: answer.sender.sequence, round_trip });
                }
            }
            Ok(associated::Message::Alert(Alert::Goodbye)) => self.push_event(Event::Goodbye),
            Ok(associated::Message::Alert(Alert::KeyInUseTwice)) => {
                self.push_event(Event::OurKeyInUseTwice);
            }
            Ok(associated::Message::Protection(report)) => self.on_protection_report(now.monotonic, report),
            Ok(associated::Message::Packing(feedback)) => {
                self.shared.labels.set_feedback(feedback);
            }
            Ok(associated::Message::MtuProbe(probe)) if probe.is_answer => {
                self.path_mtu.handle_answer(arrived.monotonic, &probe);
                self.probe_path(now.monotonic);
            }
            Ok(associated::Message::MtuProbe(probe)) => self.answer_mtu_probe(&probe, message.len()),
            Ok(associated::Message::RateReport(report)) => {
                self.push_event(Event::RateReport { arrived: arrived.monotonic, report });
            }
            Ok(associated::Message::PathHeartbeat(heartbeat)) => {
                let handled = self.paths.handle_heartbeat(now.monotonic, arrived.monotonic, from, &heartbeat);
                if handled.is_err() {
                    self.shared.counters.dropped(DropReason::PathElsewhere);
                }
            }
            Ok(associated::Message::Alert(Alert::Other(_))) => {
                self.shared.counters.dropped(DropReason::MalformedMessage);
            }
        }
        self.after_liveness_input(now);
        self.follow_paths(now.monotonic);
    }

    /// Tells the far end what arrives here.
    pub fn report_rate(&mut self, report: RateReport) {
        self.push_message(&associated::Message::RateReport(report));
    }

    /// Tells the far end how its protected packets arrive.
    pub fn report_protection(&mut self, report: ProtectionReport) {
        self.push_message(&associated::Message::Protection(report));
    }

    /// What the far end reported of our voice.
    #[must_use]
    pub fn protection(&self) -> &Reports {
        &self.protection
    }

    /// Does what is due; to be called when [`Self::poll_timeout`] is reached.
    pub fn handle_timeout(&mut self, now: Now) {
        self.settle_protection(now.monotonic);
        self.session.handle_timeout(now);
        self.after_session_input(now, self.handshake_socket);
        if let Some(heard) = self.session.last_received() {
            self.liveness.on_heard(heard);
        }
        self.liveness.handle_timeout(now.monotonic);
        self.ask(now.monotonic);
        if let Some(probe) = self.liveness.poll_probe(now) {
            self.push_message(&associated::Message::StampSender(probe));
        }
        if let Some(probe) = self.test_call.as_mut().and_then(|call| call.poll_probe(now)) {
            self.push_voice(&associated::Message::StampSender(probe), test_call::PACKET_LEN);
        }
        self.probe_path(now.monotonic);
        self.after_liveness_input(now);
        self.release_hold(now.monotonic);
        if self.redial.handle_timeout(now.monotonic, &self.far_side(now)) {
            self.push_event(Event::Dial);
        }
        self.handle_path_timeout(now.monotonic);
    }

    /// When to call [`Self::handle_timeout`] next.
    #[must_use]
    pub fn poll_timeout(&self, now: Now) -> Option<Instant> {
        let redial = self.redial.poll_timeout(&self.far_side(now));
        let test_call = self.test_call.as_ref().and_then(TestCall::poll_timeout);
        let paths = self.paths.poll_timeout();
        let (session, greeting) = (self.session.poll_timeout(now), self.greeting.poll_timeout());
        let (liveness, path_mtu) = (self.liveness.poll_timeout(), self.path_mtu.poll_timeout());
        [session, greeting, liveness, redial, test_call, path_mtu, paths].into_iter().flatten().min()
    }

    /// A timestamp to write down before the datagrams are sent, for [`tieline_seal::Config::timestamp_floor`] of the next
    /// process; without it a clock that steps back shuts that out. Asked for seldom: with the first initiation, and when
    /// [`TIMESTAMP_STEP_UNWRITTEN`] has passed.
    pub fn poll_timestamp(&mut self, now: Now) -> Option<Tai64N> {
        let last = self.session.status(now).last_timestamp?;
        let written = self.written.and_then(Tai64N::to_wall);
        let next = written.and_then(|written| written.checked_add(TIMESTAMP_STEP_UNWRITTEN));
        if next.is_some_and(|next| last < Tai64N::from_wall(next)) {
            return None;
        }
        self.written = Some(last);
        Some(last)
    }

    /// The next handshake datagram to send.
    pub fn poll_datagram(&mut self) -> Option<Transmit> {
        self.next_transmit()
    }

    /// The next packet for the sending thread to seal.
    pub fn poll_packet(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// From now on lets in what comes from `networks` and nothing else.
    pub fn set_accepted(&mut self, table: AcceptTable) {
        self.shared.accept.store(Arc::new(table));
    }

    /// Dials the far end at `address`, unless it has answered meanwhile.
    pub fn dial(&mut self, now: Now, address: SocketAddr) {
        if !self.redial.is_welcome(now.monotonic, &self.far_side(now)) {
            // It answers by another path.
            if !self.paths.is_up(PathId::FIRST) && self.paths.are_watched() {
                self.dial_path(now, PathId::FIRST, address);
            }
            return;
        }
        if self.session.status(now).address != Some(address) {
            self.session.set_address(address);
        }
        self.paths.set_address(PathId::FIRST, address);
        self.request_session(now);
    }

    /// Sends a probe now and returns its sequence number, which [`Event::Answered`] will name; none unless the far end
    /// is a tieline. The probe and its answer are padded to a packet of `packet_len` octets, label included, or have their
    /// own length if that is more.
    pub fn probe(&mut self, now: Now, packet_len: usize) -> Option<u32> {
        let sequence = self.liveness.probe_now(now.monotonic)?;
        let probe = self.liveness.poll_probe(now)?;
        self.push_padded(&associated::Message::StampSender(probe), packet_len);
        Some(sequence)
    }

    /// Begins a phase of a test call that lasts so long ([`crate::test_call`]); `ssid` is its session, unless a test goes on. Returns
    /// whether it did; it does not while another phase lasts, or if the far end answers no probes.
    pub fn begin_test_phase(&mut self, now: Now, lasts: Duration, ssid: u16) -> bool {
        let is_answered = matches!(self.far_end(), FarEnd::Tieline(_));
        let now = now.monotonic;
        if !is_answered || self.test_call.as_ref().is_some_and(|call| call.is_busy(now)) {
            return false;
        }
        let test_call = self.test_call.take().filter(|call| call.goes_on(now));
        self.test_call.insert(test_call.unwrap_or_else(|| TestCall::new(now, ssid))).begin_phase(now, lasts);
        true
    }

    /// What the last phase of the test call was like.
    #[must_use]
    pub fn test_figures(&self) -> Option<test_call::Figures> {
        self.test_call.as_ref().map(TestCall::figures)
    }

    /// Tells the far end that this end is being taken down.
    pub fn say_goodbye(&mut self) {
        self.push_message(&associated::Message::Alert(Alert::Goodbye));
    }

    /// What the far end is, as far as is known.
    #[must_use]
    pub fn far_end(&self) -> FarEnd {
        self.greeting.far_end()
    }

    /// Whether the far end is heard.
    #[must_use]
    pub fn reachability(&self) -> Reachability {
        self.reachability
    }

    /// What the probes have measured.
    #[must_use]
    pub fn measured(&self) -> &Measured {
        self.liveness.measured()
    }

    /// What is known of how long packets may be to pass the path in one datagram.
    #[must_use]
    pub fn path_mtu(&self) -> &PathMtu {
        &self.path_mtu
    }

    /// The session layer, to look at.
    #[must_use]
    pub fn session(&self) -> &tieline_seal::Control {
        &self.session
    }

    /// What there is to know for dialling.
    fn far_side(&self, now: Now) -> FarSide {
        let status = self.session.status(now);
        let ago = |age| now.monotonic.checked_sub(age).unwrap_or(now.monotonic);
        FarSide {
            has_key: status.peer.is_some(),
            has_address: status.address.is_some(),
            initiation: status.attempt.map(|attempt| ago(attempt.age)),
            session: status.session.map(|session| ago(session.age)),
            heard: self.session.last_received(),
            is_known: self.greeting.far_end() != FarEnd::Unknown,
        }
    }

    /// Says the hello that is due, or finds that the far end answers none.
    fn ask(&mut self, now: Instant) {
        let before = self.greeting.far_end();
        let (heard, announcement) = (self.session.last_received(), self.session.announcement());
        if let Some(hello) = self.greeting.poll_hello(now, heard, announcement) {
            self.push_message(&associated::Message::Hello(hello));
        }
        let far_end = self.greeting.far_end();
        if far_end != before {
            // It was unknown, or was a tieline and is one no more: it answers no probes.
            self.liveness.stop();
            self.path_mtu.stop();
            self.on_far_end(now);
        }
    }

    fn on_protection_report(&mut self, now: Instant, report: ProtectionReport) {
        self.protection.handle_report(now, report);
        self.settle_protection(now);
    }

    fn on_hello(&mut self, now: Now, from: SocketAddr, hello: Hello) {
        let announced = hello.announcement.filter(|_| self.greeting.understands(&hello));
        let ours = announced.and_then(|announced| self.session.handle_announcement(&announced));
        let is_late = announced.is_some() && ours != self.session.announcement();
        let heard = self.greeting.handle_hello(hello, is_late);
        if hello.answer_wanted {
            self.push_message(&associated::Message::Hello(self.greeting.answer(ours)));
        }
        if heard != Heard::Known {
            match hello.answers_mtu_probes {
                true => self.path_mtu.start(now.monotonic),
                false => self.path_mtu.stop(),
            }
            self.on_far_end(now.monotonic);
        }
        self.liveness.start(now.monotonic);
        if let Some(alarm) = self.key_watch.on_hello(now.monotonic, hello.instance, from) {
            self.raise_alarm(alarm);
            self.push_message(&associated::Message::Alert(Alert::KeyInUseTwice));
        }
    }

    /// The answer is as long as the probe, so that both ways are measured alike (RFC 8762 §4.3). The packets of a test call are counted,
    /// and go as voice.
    fn reflect(&mut self, now: Now, arrived: Now, probe: SenderPacket, message_len: usize) {
        let is_test_call = probe.ssid != 0;
        if is_test_call {
            let (ssid, count) = self.reflected;
            self.reflected = (probe.ssid, if ssid == probe.ssid { count.wrapping_add(1) } else { 0 });
        }
        let answer = ReflectorPacket {
            sequence: if is_test_call { self.reflected.1 } else { probe.sequence },
            timestamp: NtpTimestamp::from_wall(now.wall),
            received: NtpTimestamp::from_wall(arrived.wall),
            sender: probe,
        };
        self.liveness.on_heard(arrived.monotonic);
        let (answer, len) = (associated::Message::StampReflector(answer), LabelStackEntry::LEN + message_len);
        match is_test_call {
            true => self.push_voice(&answer, len),
            false => self.push_padded(&answer, len),
        }
    }

    /// Sends the probe of the path that is due.
    fn probe_path(&mut self, now: Instant) {
        let counters = &self.shared.counters;
        let sent = counters.ip_out.read().0 + counters.labelled_out.read().0;
        let has_traffic = sent.saturating_sub(self.sent_at_probe) >= TRAFFIC_PACKETS_MIN;
        let round_trip = self.liveness.measured().round_trip_smoothed;
        if let Some(probe) = self.path_mtu.poll_probe(now, round_trip, has_traffic) {
            self.sent_at_probe = sent;
            self.push_padded(&associated::Message::MtuProbe(probe), probe.packet_len.into());
        }
    }

    /// Packets go by another path, of which it is not known how long they may be.
    fn restart_path_mtu(&mut self, now: Instant) {
        if self.path_mtu.poll_timeout().is_some() {
            self.path_mtu.start(now);
        }
    }

    /// Answers a probe that came as long as it was sent.
    fn answer_mtu_probe(&mut self, probe: &MtuProbe, message_len: usize) {
        if LabelStackEntry::LEN + message_len == usize::from(probe.packet_len) {
            self.push_message(&associated::Message::MtuProbe(MtuProbe { is_answer: true, ..*probe }));
        } else {
            self.shared.counters.dropped(DropReason::MalformedMessage);
        }
    }

    fn after_session_input(&mut self, now: Now, socket: usize) {
        while let Some(event) = self.session.poll_event() {
            match event {
                tieline_seal::Event::SessionReady { initiator, address } => {
                    self.paths.handle_session(Path { socket, remote: address });
                    if initiator {
                        // The far end may not use the session before it has opened a packet of it.
                        self.push_packet(Outgoing::Keepalive);
                    }
                    self.greeting.on_session(now.monotonic);
                    self.liveness.on_heard(now.monotonic);
                    self.push_event(Event::SessionReady);
                }
                tieline_seal::Event::SessionLost => self.push_event(Event::SessionLost),
                // Where the far end is on each of several paths, heartbeats say.
                tieline_seal::Event::PeerMoved { .. } if self.paths.are_watched() => {}
                tieline_seal::Event::PeerMoved { from, to } => {
                    self.paths.handle_session(Path { socket, remote: to });
                    self.restart_path_mtu(now.monotonic);
                    self.push_event(Event::PeerMoved { from, to });
                }
                tieline_seal::Event::Paired { public_key, preshared_key } => {
                    self.push_event(Event::Paired { public_key, preshared_key });
                }
                tieline_seal::Event::HandshakeFrom { address, .. } => {
                    self.on_handshake(now.monotonic, address);
                }
                tieline_seal::Event::SendKeepalive => self.push_packet(Outgoing::Keepalive),
                tieline_seal::Event::GaveUp { .. } => self.push_event(Event::NoAnswer),
            }
        }
        self.after_liveness_input(now);
        self.follow_paths(now.monotonic);
    }

    /// Of a plain WireGuard peer only the addresses of its handshakes tell whether its key is in two places.
    fn on_handshake(&mut self, now: Instant, address: SocketAddr) {
        if self.greeting.far_end() == FarEnd::IpOnly
            && let Some(alarm) = self.key_watch.on_handshake(now, address)
        {
            self.raise_alarm(alarm);
        }
    }

    /// Tells about a change of reachability, and hurries while the path is cut.
    fn after_liveness_input(&mut self, now: Now) {
        let reachability = self.liveness.reachability();
        if reachability == self.reachability {
            return;
        }
        self.reachability = reachability;
        match reachability {
            Reachability::Silent => {
                self.session.set_pace(Pace::Cut);
                self.session.request_session(now);
            }
            Reachability::Alive | Reachability::Unknown => self.session.set_pace(Pace::Paper),
        }
        self.push_event(Event::Reachability(reachability));
    }

    fn raise_alarm(&mut self, alarm: KeyInUseTwice) {
        self.holding = true;
        self.session.hold_address(Some(alarm.held));
        self.push_event(Event::KeyInUseTwice(alarm));
    }

    fn release_hold(&mut self, now: Instant) {
        let silence = |heard: Instant| now.saturating_duration_since(heard);
        if self.holding && self.session.last_received_newest().map_or(Duration::MAX, silence) > HOLD_TIME {
            self.holding = false;
            self.session.hold_address(None);
        }
    }

    fn push_message(&mut self, message: &associated::Message) {
        self.push_padded(message, 0);
    }

    fn push_padded(&mut self, message: &associated::Message, packet_len: usize) {
        self.push_served(message, packet_len, MplsTrafficClass::CONTROL);
    }

    fn push_voice(&mut self, message: &associated::Message, packet_len: usize) {
        self.push_served(message, packet_len, MplsTrafficClass::VOICE);
    }

    fn push_served(&mut self, message: &associated::Message, packet_len: usize, class: MplsTrafficClass) {
        let mut payload = Vec::with_capacity(associated::MESSAGE_LEN_MAX);
        message.emit(&mut payload);
        payload.resize(payload.len().max(packet_len.saturating_sub(LabelStackEntry::LEN)), 0);
        // The far end's probe may be longer than anything that this end carries.
        if payload.len() + LabelStackEntry::LEN > self.mtu {
            self.shared.counters.dropped(DropReason::TooLarge);
            return;
        }
        let entry = LabelStackEntry::only(Label::ASSOCIATED, class);
        self.traffic.associated += 1;
        self.push_packet(Outgoing::Labelled { entry, payload });
    }

    fn push_packet(&mut self, packet: Outgoing) {
        if self.outgoing.len() == OUTGOING_MAX {
            self.shared.counters.dropped(DropReason::ControlQueueFull);
            return;
        }
        self.outgoing.push_back(packet);
    }

    fn push_event(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
