//! A running end: the three parts of a line, driven as their contract says, or a plain WireGuard peer in its place.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tieline_line::accept::AcceptTable;
use tieline_line::{
    Control, Delivery, Event, HEADROOM, Inbound, Outbound, Outcome, Outgoing, Shared, TAILROOM,
};
use tieline_seal::limits::KEEPALIVE_TIMEOUT;
use tieline_seal::{Opened, SealError, Tai64N};
use tieline_wire::sealed::{Kind, padded_len};
use tieline_wire::time::Now;
use tieline_wire::wireguard::{MessageType, TAG_LEN, TransportHeader};

/// The largest packet of both ends, label included.
pub const MTU: usize = 1420;

/// Packets that a plain WireGuard peer keeps while it has no session.
const STAGED_MAX: usize = 128;

/// What came of an input.
#[derive(Default)]
pub(super) struct Output {
    /// For the medium.
    pub(super) datagrams: Vec<(SocketAddr, Vec<u8>)>,
    /// For the network device.
    pub(super) packets: Vec<Vec<u8>>,
    /// For the stream channel.
    pub(super) streams: Vec<Vec<u8>>,
    /// For whoever watches.
    pub(super) events: Vec<Event>,
    /// For the disk, before anything is sent.
    pub(super) timestamp: Option<Tai64N>,
}

/// What runs at one end.
pub(super) enum Process {
    Tieline(Box<Tieline>),
    WireGuard(Box<WireGuard>),
}

/// A tieline.
pub(super) struct Tieline {
    pub(super) control: Control,
    outbound: Outbound,
    inbound: Inbound,
    pub(super) shared: Arc<Shared>,
    buffer: Vec<u8>,
    /// Whether what the packet path reports reaches control; a full queue loses it.
    pub(super) hears_notices: bool,
}

/// A peer that speaks WireGuard and nothing more: it knows no labels. When it sends a keepalive is wireguard-go's way.
pub(super) struct WireGuard {
    pub(super) control: tieline_seal::Control,
    outbound: tieline_seal::Outbound,
    inbound: tieline_seal::Inbound,
    staged: VecDeque<Vec<u8>>,
    /// Since when a packet received with content has had nothing in return. To wireguard-go a message of a handshake is something, to our
    /// session layer it is not.
    unacknowledged_since: Option<Instant>,
    has_persistent_keepalive: bool,
}

impl Process {
    pub(super) fn tieline(
        session: tieline_seal::Config,
        certificate: [u8; 32],
        accept: AcceptTable,
        now: Now,
        seed: [u8; 32],
    ) -> Self {
        let config = tieline_line::Config { session, certificate, accept, mtu: MTU };
        let (control, outbound, inbound, shared) = tieline_line::split(config, now, seed);
        let buffer = vec![0xa5; HEADROOM + MTU + TAILROOM];
        Self::Tieline(Box::new(Tieline { control, outbound, inbound, shared, buffer, hears_notices: true }))
    }

    pub(super) fn wireguard(session: tieline_seal::Config, now: Now, seed: [u8; 32]) -> Self {
        let has_persistent_keepalive = session.persistent_keepalive.is_some();
        let (control, outbound, inbound) = tieline_seal::split(session, now, seed);
        Self::WireGuard(Box::new(WireGuard {
            control,
            outbound,
            inbound,
            staged: VecDeque::new(),
            unacknowledged_since: None,
            has_persistent_keepalive,
        }))
    }

    pub(super) fn session(&self) -> &tieline_seal::Control {
        match self {
            Self::Tieline(tieline) => tieline.control.session(),
            Self::WireGuard(wireguard) => &wireguard.control,
        }
    }

    /// What every shell does first: it asks for a session.
    pub(super) fn begin(&mut self, now: Now, out: &mut Output) {
        match self {
            Self::Tieline(tieline) => {
                tieline.control.request_session(now);
                tieline.drain(now, out);
            }
            Self::WireGuard(wireguard) => {
                wireguard.control.handle_timeout(now);
                wireguard.drain(now, out);
            }
        }
    }

    pub(super) fn send(&mut self, now: Now, packet: &[u8], out: &mut Output) {
        match self {
            Self::Tieline(tieline) => tieline.send(now, packet, out),
            Self::WireGuard(wireguard) => wireguard.send(now, packet, out),
        }
    }

    pub(super) fn receive(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8], out: &mut Output) {
        match self {
            Self::Tieline(tieline) => tieline.receive(now, from, datagram, out),
            Self::WireGuard(wireguard) => wireguard.receive(now, from, datagram, out),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Now, out: &mut Output) {
        match self {
            Self::Tieline(tieline) => {
                tieline.control.handle_timeout(now);
                tieline.drain(now, out);
            }
            Self::WireGuard(wireguard) => wireguard.handle_timeout(now, out),
        }
    }

    pub(super) fn poll_timeout(&self, now: Now) -> Option<Instant> {
        match self {
            Self::Tieline(tieline) => tieline.control.poll_timeout(now),
            Self::WireGuard(wireguard) => wireguard.poll_timeout(now),
        }
    }

    /// The far end's name was looked up and is here.
    pub(super) fn dial(&mut self, now: Now, address: SocketAddr, out: &mut Output) {
        let Self::Tieline(tieline) = self else { return };
        tieline.control.dial(now, address);
        tieline.drain(now, out);
    }
}

impl Tieline {
    fn send(&mut self, now: Now, packet: &[u8], out: &mut Output) {
        self.buffer[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        let outcome = self.outbound.seal_ip(now.monotonic, &mut self.buffer, packet.len());
        let reports = Reports::of(outcome, out);
        self.report(now, reports);
        self.drain(now, out);
    }

    fn receive(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8], out: &mut Output) {
        let received = self.inbound.handle_datagram(now.monotonic, from, datagram);
        let notice = received.notice;
        let mut message = None;
        let mut is_handshake = false;
        match received.delivery {
            // Simulated ends have no rate and no Ethernet, so they cut nothing and pack nothing.
            Delivery::Nothing | Delivery::Piece(_) | Delivery::Packed(_) | Delivery::Lan(_) => {}
            Delivery::Ip(packet) => out.packets.push(packet.to_vec()),
            Delivery::Streams(packet) => out.streams.push(packet.to_vec()),
            Delivery::Associated(associated) => message = Some(associated.to_vec()),
            Delivery::Handshake(_) => is_handshake = true,
        }
        if let Some(message) = message {
            self.control.handle_associated(now, now, from, &message);
            self.drain(now, out);
        }
        if is_handshake {
            self.control.handle_handshake(now, from, datagram);
            self.drain(now, out);
        }
        self.report(now, Reports { notice, session_needed: false });
        self.drain(now, out);
    }

    fn report(&mut self, now: Now, reports: Reports) {
        if !self.hears_notices {
            return;
        }
        if let Some(notice) = reports.notice {
            self.control.handle_notice(now, 0, notice);
        }
        if reports.session_needed {
            self.control.request_session(now);
        }
    }

    /// Takes out all that is there, in the order in which a node does: handshakes, control's packets, what was staged.
    pub(super) fn drain(&mut self, now: Now, out: &mut Output) {
        out.timestamp = self.control.poll_timestamp(now).or(out.timestamp);
        loop {
            if let Some(transmit) = self.control.poll_datagram() {
                out.datagrams.push((transmit.by.remote, transmit.bytes));
            } else if let Some(packet) = self.control.poll_packet() {
                let reports = self.seal_outgoing(now, &packet, out);
                self.report(now, reports);
            } else if let Some(event) = self.control.poll_event() {
                out.events.push(event);
            } else if let Some(outcome) = self.outbound.poll_staged(now.monotonic, &mut self.buffer) {
                let reports = Reports::of(outcome, out);
                self.report(now, reports);
            } else {
                break;
            }
        }
    }

    fn seal_outgoing(&mut self, now: Now, packet: &Outgoing, out: &mut Output) -> Reports {
        let outcome = match packet {
            Outgoing::Keepalive => self.outbound.seal_keepalive(now.monotonic, &mut self.buffer),
            // A simulated end has one path.
            Outgoing::Labelled { entry, payload } | Outgoing::ByPath { entry, payload, .. } => {
                self.buffer[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
                self.outbound.seal_labelled(now.monotonic, *entry, &mut self.buffer, payload.len())
            }
        };
        Reports::of(outcome, out)
    }
}

/// What the sending thread tells control.
struct Reports {
    notice: Option<tieline_line::Notice>,
    session_needed: bool,
}

impl Reports {
    fn of(outcome: Outcome<'_>, out: &mut Output) -> Self {
        out.datagrams.extend(outcome.datagram.map(|(to, datagram)| (to, datagram.to_vec())));
        Self { notice: outcome.notice, session_needed: outcome.session_needed }
    }
}

impl WireGuard {
    /// Seals whatever it is given, padded if it is IP: also what no tieline would send.
    fn send(&mut self, now: Now, packet: &[u8], out: &mut Output) {
        let mut padded = packet.to_vec();
        if Kind::of(packet) == Kind::Ip {
            padded.resize(padded_len(packet.len(), MTU), 0);
        }
        if self.staged.len() == STAGED_MAX {
            self.staged.pop_front();
        }
        self.staged.push_back(padded);
        self.drain(now, out);
        if !self.staged.is_empty() {
            self.control.request_session(now);
            self.drain(now, out);
        }
    }

    fn receive(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8], out: &mut Output) {
        let mut is_handshake = false;
        let notice = match self.inbound.open(now.monotonic, from, datagram) {
            Err(_counted) => None,
            Ok(Opened::Handshake) => {
                is_handshake = true;
                None
            }
            Ok(Opened::Keepalive { notice }) => notice,
            Ok(Opened::Packet { plaintext, notice }) => {
                self.unacknowledged_since.get_or_insert(now.monotonic);
                if let Ok(packet) = tieline_wire::ip::IpPacket::parse(plaintext) {
                    out.packets.push(plaintext[..packet.total_len].to_vec());
                }
                notice
            }
        };
        if is_handshake {
            self.control.handle_datagram(now, from, datagram);
        }
        if let Some(notice) = notice {
            self.control.handle_notice(now, notice);
        }
        self.drain(now, out);
    }

    fn drain(&mut self, now: Now, out: &mut Output) {
        loop {
            if let Some(transmit) = self.control.poll_transmit() {
                if MessageType::of(&transmit.bytes) != Ok(MessageType::CookieReply) {
                    self.unacknowledged_since = None;
                }
                out.datagrams.push((transmit.to, transmit.bytes));
            } else if let Some(event) = self.control.poll_event() {
                if self.calls_for_keepalive(&event) {
                    // Without a session there is nothing to keep alive.
                    let _ = self.seal(now, &[], out);
                }
            } else if self.outbound.has_session(now.monotonic)
                && let Some(packet) = self.staged.pop_front()
            {
                if self.seal(now, &packet, out).is_err() {
                    self.staged.push_front(packet);
                    break;
                }
            } else {
                break;
            }
        }
    }

    /// The initiator says at once that it has the session, with what is staged or with nothing.
    fn calls_for_keepalive(&self, event: &tieline_seal::Event) -> bool {
        match event {
            tieline_seal::Event::SessionReady { initiator, .. } => *initiator && self.staged.is_empty(),
            tieline_seal::Event::SendKeepalive => self.has_persistent_keepalive,
            _ => false,
        }
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Output) {
        self.control.handle_timeout(now);
        if self.keepalive_at().is_some_and(|due| due <= now.monotonic) {
            self.unacknowledged_since = None;
            if self.seal(now, &[], out).is_err() {
                self.control.request_session(now);
            }
        }
        self.drain(now, out);
    }

    fn poll_timeout(&self, now: Now) -> Option<Instant> {
        self.control.poll_timeout(now).into_iter().chain(self.keepalive_at()).min()
    }

    fn keepalive_at(&self) -> Option<Instant> {
        self.unacknowledged_since.map(|since| since + KEEPALIVE_TIMEOUT)
    }

    fn seal(&mut self, now: Now, packet: &[u8], out: &mut Output) -> Result<(), SealError> {
        let mut datagram = vec![0; TransportHeader::LEN + packet.len() + TAG_LEN];
        datagram[TransportHeader::LEN..TransportHeader::LEN + packet.len()].copy_from_slice(packet);
        let sealed = self.outbound.seal(now.monotonic, &mut datagram)?;
        self.unacknowledged_since = None;
        out.datagrams.push((sealed.to, datagram));
        if let Some(notice) = sealed.notice {
            self.control.handle_notice(now, notice);
        }
        Ok(())
    }
}
