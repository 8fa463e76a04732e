//! What is to leave becomes sealed datagrams, and those that go together leave with one system call.

use std::{mem, net::SocketAddr, sync::Arc, time::Instant};

use tieline_line::{
    HEADROOM, Notice, Outbound, Outcome,
    counters::DropReason,
    cut::SuperPacket,
    protection::Protector,
    queue::{Departure, Queues},
};
use tieline_wire::{
    label::{Label, LabelStackEntry, MplsTrafficClass},
    protected::HEADER_LEN,
    vnet::VnetHeader,
};
use tokio::sync::mpsc;

use super::{Ports, Report, report, run::Run};

/// Seals and sends for one thread.
pub(super) struct Sealer {
    ports: Arc<Ports>,
    outbound: Outbound,
    reports: mpsc::Sender<Report>,
    run: Run,
    /// Packets since it was last asked, also those that were dropped: a flood of them is work as well.
    taken: usize,
}

/// What is left of an [`Outcome`] when its datagram, if there is one, lies in the run.
struct Sealed {
    datagram: Option<(SocketAddr, usize)>,
    notice: Option<Notice>,
    session_needed: bool,
}

impl From<Outcome<'_>> for Sealed {
    fn from(outcome: Outcome<'_>) -> Self {
        Self {
            datagram: outcome.datagram.map(|(to, datagram)| (to, datagram.len())),
            notice: outcome.notice,
            session_needed: outcome.session_needed,
        }
    }
}

/// Octets that a datagram has around it on an Ethernet: with its checksum, without preamble and gap.
fn headers_on_the_wire(to: SocketAddr) -> usize {
    const ETHERNET: usize = 18;
    const UDP: usize = 8;
    ETHERNET + UDP + if to.is_ipv4() { 20 } else { 40 }
}

impl Sealer {
    pub(super) fn new(ports: Arc<Ports>, outbound: Outbound, reports: mpsc::Sender<Report>) -> Self {
        Self { run: Run::new(ports.mtu), taken: 0, ports, outbound, reports }
    }

    /// How many packets it was given since this was last asked.
    pub(super) fn take_count(&mut self) -> usize {
        mem::take(&mut self.taken)
    }

    /// Seals WireGuard's keepalive.
    pub(super) fn seal_keepalive(&mut self, now: Instant) {
        let sealed = self.outbound.seal_keepalive(now, self.run.place_for_labelled()).into();
        self.finish(sealed);
    }

    /// Seals a packet of a channel; one that is too large is dropped and counted.
    pub(super) fn seal_labelled(&mut self, now: Instant, entry: LabelStackEntry, packet: &[u8]) {
        if packet.len() > self.ports.mtu {
            self.ports.shared.counters.dropped(DropReason::TooLarge);
            return;
        }
        let place = self.run.place_for_labelled();
        place[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        let sealed = self.outbound.seal_labelled(now, entry, place, packet.len()).into();
        self.finish(sealed);
    }

    /// Seals the next packet that waited for a session, if there is one of both.
    pub(super) fn seal_staged(&mut self, now: Instant) -> bool {
        let Some(outcome) = self.outbound.poll_staged(now, self.run.place_for_ip()) else { return false };
        let sealed = outcome.into();
        self.finish(sealed);
        true
    }

    /// Seals the packets in `octets`, which the device gave in one piece with the offload header before them.
    pub(super) fn seal_super_packet(&mut self, now: Instant, octets: &[u8]) {
        match self.parse(octets) {
            Err(reason) => {
                self.taken += 1;
                self.ports.shared.counters.dropped(reason);
            }
            Ok(packet) => {
                for index in 0..packet.count() {
                    let place = self.run.place_for_ip();
                    let len = packet.write(index, &mut place[HEADROOM..]);
                    let sealed = self.outbound.seal_ip(now, place, len).into();
                    self.finish(sealed);
                }
            }
        }
    }

    /// Puts the packets in `octets`, which the device gave in one piece with the offload header before them, into `queues`.
    pub(super) fn queue_super_packet(&mut self, now: Instant, octets: &[u8], queues: &mut Queues) {
        match self.parse(octets) {
            Err(reason) => {
                self.taken += 1;
                self.ports.shared.counters.dropped(reason);
            }
            Ok(packet) => {
                self.taken += packet.count();
                for index in 0..packet.count() {
                    queues.enqueue_ip(now, packet.len_max(), |place| packet.write(index, place));
                }
            }
        }
    }

    /// Seals what has waited in the queues until its turn. Returns what it takes of the wire, from the link's header on; nothing if it was
    /// not sealed.
    pub(super) fn seal_departure(&mut self, now: Instant, departure: &Departure<'_>) -> usize {
        let (front, packet) = (departure.front.octets(), departure.octets);
        let len = front.len() + packet.len();
        let place = match departure.label {
            Some(_) => self.run.place_for_labelled(),
            None => self.run.place_for_ip(),
        };
        place[HEADROOM..HEADROOM + front.len()].copy_from_slice(front);
        place[HEADROOM + front.len()..HEADROOM + len].copy_from_slice(packet);
        let sealed: Sealed = match departure.label {
            Some(entry) => self.outbound.seal_labelled(now, entry, place, len).into(),
            None => self.outbound.seal_ip(now, place, len).into(),
        };
        self.finish_departure(sealed)
    }

    /// As [`Self::seal_departure`], for a packet that is to be protected: gives it its number, under `label`.
    pub(super) fn seal_protected(
        &mut self,
        now: Instant,
        departure: &Departure<'_>,
        label: Label,
        protector: &mut Protector,
    ) -> usize {
        let packet = departure.octets;
        if departure.label.is_none() && !self.outbound.takes_ip(now, packet) {
            return self.seal_departure(now, departure);
        }
        let place = self.run.place_for_labelled();
        let mut end = HEADROOM + HEADER_LEN;
        if let Some(entry) = departure.label {
            let mut octets = [0; LabelStackEntry::LEN];
            entry.emit(&mut octets);
            place[end..end + octets.len()].copy_from_slice(&octets);
            end += octets.len();
        }
        place[end..end + packet.len()].copy_from_slice(packet);
        end += packet.len();
        let Some(header) = protector.handle_packet(now, &place[HEADROOM + HEADER_LEN..end]) else {
            return self.seal_departure(now, departure);
        };
        place[HEADROOM..HEADROOM + HEADER_LEN].copy_from_slice(&header);
        let entry = LabelStackEntry::only(label, MplsTrafficClass::VOICE);
        let sealed = self.outbound.seal_labelled(now, entry, place, end - HEADROOM).into();
        if departure.label.is_none() {
            self.ports.shared.counters.ip_out.add(packet.len());
        }
        self.finish_departure(sealed)
    }

    fn finish_departure(&mut self, sealed: Sealed) -> usize {
        let on_the_wire = sealed.datagram.map_or(0, |(to, len)| len + headers_on_the_wire(to));
        self.finish(sealed);
        on_the_wire
    }

    /// Sends what waits to leave.
    pub(super) fn flush(&mut self) {
        self.send_datagrams();
        self.run.clear();
    }

    fn parse<'p>(&self, octets: &'p [u8]) -> Result<SuperPacket<'p>, DropReason> {
        let (header, packet) = octets.split_first_chunk().ok_or(DropReason::NotIp)?;
        let header = VnetHeader::parse(header).map_err(|_| DropReason::OffloadMismatch)?;
        let packet = SuperPacket::parse(&header, packet)?;
        if packet.len_max() > self.ports.mtu { Err(DropReason::TooLarge) } else { Ok(packet) }
    }

    /// Puts what was sealed in place to the others that wait to leave, and passes on what control must know.
    fn finish(&mut self, sealed: Sealed) {
        self.taken += 1;
        if let Some((to, len)) = sealed.datagram {
            if self.run.takes(to, len) {
                self.run.add(to, len);
            } else {
                self.send_datagrams();
                self.run.begin_with(to, len);
            }
        }
        if let Some(notice) = sealed.notice {
            report(&self.ports, &self.reports, Report::Notice(notice));
        }
        if sealed.session_needed {
            report(&self.ports, &self.reports, Report::SessionNeeded);
        }
    }

    fn send_datagrams(&self) {
        let Some((datagrams, segment, count, to)) = self.run.datagrams() else { return };
        if let Err(error) = self.ports.socket.send_segments(datagrams, segment, to) {
            tracing::trace!(%to, count, %error, "the medium refused datagrams");
            for _ in 0..count {
                self.ports.shared.counters.dropped(DropReason::MediumRefused);
            }
        }
    }
}
