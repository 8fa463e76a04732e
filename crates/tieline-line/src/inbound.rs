//! The way in: sealed datagrams become packets for the device and for the channels.
//!
//! One thread at a time has it; nothing here allocates or waits. What is opened has passed, in this order: the session
//! (authentic, not replayed), the first nibble, and either the label or the check of its source address.

mod packed;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tieline_seal::{Authentic, Notice, Opened, Opener};
use tieline_wire::{
    control_word::ControlWord,
    ip::IpPacket,
    label::{Label, LabelStackEntry},
    packed::Feedback,
    protected,
    protection_report::ProtectionReport,
    sealed::{Kind, Labelled},
    wireguard::MessageType,
};

pub use self::packed::Bundle;
use self::packed::Unpackers;
use crate::{Shared, counters::DropReason, protection::Restorer};

/// Where what came in belongs.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery<'d> {
    /// A handshake message: the whole datagram, unchanged, for [`crate::Control::handle_handshake`].
    Handshake(&'d [u8]),
    /// An IP packet for the network device, without its padding.
    Ip(&'d mut [u8]),
    /// A frame of Ethernet for the device that is joined to this office's.
    Lan(&'d mut [u8]),
    /// A packet of the stream channel.
    Streams(&'d [u8]),
    /// A piece of a packet, for [`crate::pieces::Pieces::handle_piece`]; what becomes whole by it, for [`Inbound::handle_whole`].
    Piece(&'d [u8]),
    /// A message of the associated channel, for [`crate::Control::handle_associated`].
    Associated(&'d [u8]),
    /// Packed calls, for [`Inbound::unpack`].
    Packed(Bundle<'d>),
    /// Nothing further: a keepalive, or dropped and counted.
    Nothing,
}

/// What came of a datagram.
#[derive(Debug)]
pub struct Received<'d> {
    /// Where its content belongs.
    pub delivery: Delivery<'d>,
    /// What control must be told.
    pub notice: Option<Notice>,
}

impl<'d> Received<'d> {
    fn only(delivery: Delivery<'d>) -> Self {
        Self { delivery, notice: None }
    }
}

/// The receiving half of a line.
pub struct Inbound {
    session: tieline_seal::Inbound,
    restorer: Restorer,
    unpackers: Unpackers,
    shared: Arc<Shared>,
}

impl Inbound {
    pub(crate) fn new(session: tieline_seal::Inbound, mtu: usize, shared: Arc<Shared>) -> Self {
        Self { session, restorer: Restorer::default(), unpackers: Unpackers::new(mtu), shared }
    }

    /// What opens datagrams for this half in another thread, for [`Self::handle_authentic`].
    #[must_use]
    pub fn opener(&self) -> Opener {
        self.session.opener()
    }

    /// Opens `datagram` in place and says where its content belongs.
    pub fn handle_datagram<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'d mut [u8],
    ) -> Received<'d> {
        if MessageType::of(datagram) != Ok(MessageType::TransportData) {
            // The session looks, but does not keep it.
            return match self.session.open(now, from, datagram) {
                Ok(Opened::Handshake) => Received::only(Delivery::Handshake(datagram)),
                _ => Received::only(Delivery::Nothing),
            };
        }
        let opened = self.session.open(now, from, datagram);
        self.received(now, opened)
    }

    /// Says where the content of `datagram` belongs, which an [`Opener`] of this half has opened. In which order datagrams come here is
    /// the order in which they arrive.
    pub fn handle_authentic<'d>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'d mut [u8],
        authentic: Authentic,
    ) -> Received<'d> {
        if authentic.is_handshake() {
            return Received::only(Delivery::Handshake(datagram));
        }
        let opened = self.session.accept(now, from, datagram, authentic);
        self.received(now, opened)
    }

    /// Says where a packet belongs that came in pieces.
    pub fn handle_whole<'d>(&self, packet: &'d mut [u8]) -> Delivery<'d> {
        let delivery = self.deliver_source(packet).unwrap_or_else(|reason| {
            self.shared.counters.dropped(reason);
            Delivery::Nothing
        });
        // Pieces of pieces are nobody's.
        if matches!(delivery, Delivery::Piece(_)) {
            self.shared.counters.dropped(DropReason::PieceLost);
            return Delivery::Nothing;
        }
        delivery
    }

    /// Whether [`Self::poll_restored`] may give a packet.
    #[must_use]
    pub fn has_restored(&self) -> bool {
        self.restorer.has_restored()
    }

    /// Copies the next packet that was made again from others to the front of `buffer`, and says where it belongs. To be called until
    /// there is none, after each datagram.
    ///
    /// # Panics
    ///
    /// If `buffer` is shorter than [`protected::PACKET_LEN_MAX`].
    pub fn poll_restored<'d>(&mut self, now: Instant, buffer: &'d mut [u8]) -> Option<Delivery<'d>> {
        let restored = self.restorer.poll_restored(now)?;
        let len = restored.len();
        buffer[..len].copy_from_slice(restored);
        self.shared.protection.publish_received(&self.restorer.counts());
        Some(self.handle_whole(&mut buffer[..len]))
    }

    /// What control is to tell the far end of its protected packets, for [`crate::Control::report_protection`].
    pub fn poll_protection_report(&mut self, now: Instant) -> Option<ProtectionReport> {
        self.restorer.poll_report(now)
    }

    /// Restores the packets of `bundle` in `out`, one after the other, and has `deliver` take each that may be let in. `out` has room
    /// for the longest packet of the line.
    pub fn unpack(
        &mut self,
        now: Instant,
        bundle: &Bundle<'_>,
        out: &mut [u8],
        mut deliver: impl FnMut(&mut [u8]),
    ) {
        let Self { unpackers, shared, .. } = self;
        unpackers.unpack(now, bundle, out, shared, |packet| {
            let len = packet.len();
            match let_in(shared, packet) {
                Ok(packet) => {
                    shared.counters.unpacked_in.add(len);
                    deliver(packet);
                }
                Err(reason) => shared.counters.dropped(reason),
            }
        });
    }

    /// What the far end is to be told now of the packed calls that came, on the associated channel; to be asked after each batch.
    pub fn poll_packing_feedback(&mut self, now: Instant) -> Option<Feedback> {
        self.unpackers.poll_feedback(now)
    }

    fn received<'d>(
        &mut self,
        now: Instant,
        opened: Result<Opened<'d>, tieline_seal::DropReason>,
    ) -> Received<'d> {
        match opened {
            Ok(Opened::Packet { plaintext, notice }) => {
                let delivery = self.deliver(now, plaintext).unwrap_or_else(|reason| {
                    self.shared.counters.dropped(reason);
                    Delivery::Nothing
                });
                Received { delivery, notice }
            }
            Ok(Opened::Keepalive { notice }) => Received { delivery: Delivery::Nothing, notice },
            // The session has counted it by reason.
            Ok(Opened::Handshake) | Err(_) => Received::only(Delivery::Nothing),
        }
    }

    fn deliver<'d>(&mut self, now: Instant, plaintext: &'d mut [u8]) -> Result<Delivery<'d>, DropReason> {
        match Kind::of(plaintext) {
            Kind::Labelled if self.is_protected(plaintext) => self.deliver_protected(now, plaintext),
            _ => self.deliver_source(plaintext),
        }
    }

    /// Whether a labelled packet is a protected one.
    fn is_protected(&self, plaintext: &[u8]) -> bool {
        Labelled::parse(plaintext).is_ok_and(|labelled| self.shared.labels.is_protected(labelled.entry.label))
    }

    /// Delivers what is not protected, or was.
    fn deliver_source<'d>(&self, plaintext: &'d mut [u8]) -> Result<Delivery<'d>, DropReason> {
        match Kind::of(plaintext) {
            Kind::Keepalive => Ok(Delivery::Nothing),
            Kind::Ip => let_in(&self.shared, plaintext).map(Delivery::Ip),
            Kind::Labelled => self.deliver_labelled(plaintext),
            Kind::Unknown(_) => Err(DropReason::UnknownNibble),
        }
    }

    fn deliver_protected<'d>(
        &mut self,
        now: Instant,
        plaintext: &'d mut [u8],
    ) -> Result<Delivery<'d>, DropReason> {
        let (_, payload) = plaintext.split_at_mut(LabelStackEntry::LEN);
        let is_handed_on = self.restorer.handle_packet(now, payload).is_some();
        self.shared.protection.publish_received(&self.restorer.counts());
        self.shared.counters.labelled_in.add(payload.len());
        match payload.split_at_mut_checked(protected::HEADER_LEN) {
            Some((_, packet)) if is_handed_on => self.deliver_source(packet),
            // Counted by the restorer, or a repair packet.
            _ => Ok(Delivery::Nothing),
        }
    }

    fn deliver_labelled<'d>(&self, plaintext: &'d mut [u8]) -> Result<Delivery<'d>, DropReason> {
        let labelled = Labelled::parse(plaintext).map_err(|_malformed| DropReason::MalformedLabelStack)?;
        let label = labelled.entry.label;
        let (_, payload) = plaintext.split_at_mut(LabelStackEntry::LEN);
        let len = payload.len();
        let delivery = match label {
            Label::ASSOCIATED => Delivery::Associated(payload),
            Label::STREAMS => Delivery::Streams(payload),
            Label::PIECES => Delivery::Piece(payload),
            label if self.shared.labels.is_packed(label) => {
                Delivery::Packed(Bundle { label, octets: payload })
            }
            label if self.shared.labels.is_lan(label) => {
                ControlWord::parse(payload).map_err(|_malformed| DropReason::MalformedFrame)?;
                Delivery::Lan(&mut payload[ControlWord::LEN..])
            }
            _ => return Err(DropReason::UnknownLabel),
        };
        self.shared.counters.labelled_in.add(len);
        Ok(delivery)
    }
}

/// The IP packet without its padding, if it comes from where packets are accepted from.
fn let_in<'d>(shared: &Shared, plaintext: &'d mut [u8]) -> Result<&'d mut [u8], DropReason> {
    let packet = IpPacket::parse(plaintext).map_err(|_malformed| DropReason::MalformedIp)?;
    if !shared.accept.load().accepts(packet.source, packet.destination) {
        return Err(DropReason::SourceNotAccepted);
    }
    shared.counters.ip_in.add(packet.total_len);
    Ok(&mut plaintext[..packet.total_len])
}
