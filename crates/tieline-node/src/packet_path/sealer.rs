//! What is to leave becomes sealed datagrams, and those that go together leave with one system call.

use std::{
    mem,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tieline_line::{
    HEADROOM, Notice, Outbound, Outcome,
    calls::Calls,
    class::ServiceClass,
    counters::DropReason,
    cut::SuperPacket,
    lan::{self, Blocked},
    packing::Bundle,
    paths::{Path, PathId, Routes},
    queue::{Departure, FrameShape, Front, Queues, piece_len, piece_len_max},
};
use tieline_wire::{
    control_word::{ControlWord, Part, next_sequence},
    label::{Label, LabelStackEntry, MplsTrafficClass},
    protected::HEADER_LEN,
    time::Now,
    transport::is_udp,
    vnet::VnetHeader,
};
use tokio::sync::mpsc;

use super::{
    Ports, Report,
    packing::Packing,
    protection::Protection,
    report,
    run::{Run, Way},
};

/// Seals and sends for one thread.
pub(super) struct Sealer {
    ports: Arc<Ports>,
    outbound: Outbound,
    reports: mpsc::Sender<Report>,
    run: Run,
    /// By which paths packets go, and which version of that this is.
    routes: Routes,
    routes_version: u64,
    /// Where a frame is written that leaves in pieces; empty before the first.
    frame: Vec<u8>,
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

fn put_label(entry: LabelStackEntry, place: &mut [u8]) {
    let mut octets = [0; LabelStackEntry::LEN];
    entry.emit(&mut octets);
    place.copy_from_slice(&octets);
}

/// Octets that a datagram has around it on an Ethernet: with its checksum, without preamble and gap.
fn headers_on_the_wire(to: SocketAddr) -> usize {
    const ETHERNET: usize = 18;
    const UDP: usize = 8;
    ETHERNET + UDP + if to.is_ipv4() { 20 } else { 40 }
}

impl Sealer {
    pub(super) fn new(ports: Arc<Ports>, outbound: Outbound, reports: mpsc::Sender<Report>) -> Self {
        let (run, routes) = (Run::new(ports.mtu), Routes::default());
        Self { run, routes, routes_version: 0, frame: Vec::new(), taken: 0, ports, outbound, reports }
    }

    /// How many packets it was given since this was last asked.
    pub(super) fn take_count(&mut self) -> usize {
        mem::take(&mut self.taken)
    }

    /// Seals WireGuard's keepalive.
    pub(super) fn seal_keepalive(&mut self, now: Instant) {
        let sealed = self.outbound.seal_keepalive(now, self.run.place_for_labelled()).into();
        self.finish(sealed, 0);
    }

    /// Seals a packet of a channel that goes by this path, whichever carries, and sends it at once: a path that takes nothing holds up no other.
    /// Returns what it takes of the wire of the path that carries.
    pub(super) fn send_by_path(
        &mut self,
        now: Instant,
        path: PathId,
        entry: LabelStackEntry,
        packet: &[u8],
    ) -> usize {
        self.flush();
        self.follow_routes();
        // It is gone since this was said.
        let Some(by) = self.routes.all[path.number()] else { return 0 };
        let place = self.run.place_for_labelled();
        place[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        let sealed: Sealed = self.outbound.seal_labelled(now, entry, place, packet.len()).into();
        let len = sealed.datagram.map_or(0, |(_, len)| len + headers_on_the_wire(by.remote));
        let ds = self.ports.outer_dscp.around_other(ServiceClass::Control);
        self.finish_by(sealed, Some(by), ds);
        if len > 0 && self.ports.medium.send_to(self.run.last(), by, ds).is_err() {
            self.ports.shared.counters.dropped(DropReason::MediumRefused);
        }
        self.run.clear();
        if self.routes.carrying == Some(by) { len } else { 0 }
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
        let class = ServiceClass::of_traffic_class(entry.class);
        self.finish(sealed, self.ports.outer_dscp.around_other(class));
    }

    /// Seals the next packet that waited for a session, if there is one of both.
    pub(super) fn seal_staged(&mut self, now: Instant) -> bool {
        let Some(outcome) = self.outbound.poll_staged(now, self.run.place_for_ip()) else { return false };
        let sealed = outcome.into();
        // It lies sealed already; what waited for a session is little.
        self.finish(sealed, 0);
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
                    let ds = self.ports.mark_around(None, &place[HEADROOM..HEADROOM + len]);
                    let sealed = self.outbound.seal_ip(now, place, len).into();
                    self.finish(sealed, ds);
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

    /// Takes what the device in the office's bridge gave in one piece, with the offload header before it: the frames that go across are put
    /// into `queues`, or sealed where there are none.
    pub(super) fn take_frames(
        &mut self,
        at: Now,
        octets: &mut [u8],
        mut queues: Option<&mut Queues>,
        calls: &mut Calls,
    ) {
        self.taken += 1;
        let (ports, now) = (Arc::clone(&self.ports), at.monotonic);
        let Some(lan) = &ports.lan else { return };
        let Some(frames) = lan.take(now, octets, ports.mtu, (&ports, &self.reports)) else { return };
        let Some(label) = ports.shared.labels.to_lan() else {
            return ports.shared.lan.blocked(Blocked::NoFarEnd);
        };
        if let Some(packet) = frames.only_packet().filter(|packet| is_udp(packet)) {
            calls.handle_packet(at, packet);
        }
        let entry = LabelStackEntry::only(label, frames.class().traffic_class());
        let shape = FrameShape {
            len_max: ControlWord::LEN + frames.len_max(),
            ip_at: ControlWord::LEN + frames.link_len(),
            priority: frames.priority(),
        };
        let write = |index: usize, place: &mut [u8]| {
            let (word, rest) = place.split_at_mut(ControlWord::LEN);
            word.copy_from_slice(&lan::CONTROL_WORD.emit());
            let len = frames.write(index, rest);
            ports.shared.lan.out.add(len);
            ControlWord::LEN + len
        };
        for index in 0..frames.count() {
            match &mut queues {
                Some(queues) => queues.enqueue_frame(now, entry, shape, |place| write(index, place)),
                None => self.seal_frame(now, entry, shape.len_max, |place| write(index, place)),
            }
        }
    }

    /// Seals a packet of at most `len_max` octets under the label of `entry`, in pieces if it is too long.
    fn seal_frame(
        &mut self,
        now: Instant,
        entry: LabelStackEntry,
        len_max: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        let ds = self.ports.outer_dscp.around_other(ServiceClass::of_traffic_class(entry.class));
        if LabelStackEntry::LEN + len_max <= self.ports.mtu {
            let place = self.run.place_for_labelled();
            let len = write(&mut place[HEADROOM..]);
            let sealed = self.outbound.seal_labelled(now, entry, place, len).into();
            return self.finish(sealed, ds);
        }
        if !self.ports.far_end_joins.load(Ordering::Relaxed) {
            return self.ports.shared.counters.dropped(DropReason::TooLarge);
        }
        let mut whole = mem::take(&mut self.frame);
        whole.resize(whole.len().max(len_max), 0);
        let len = write(&mut whole);
        self.seal_pieces(now, entry, &whole[..len], ds);
        self.frame = whole;
    }

    /// Seals `packet`, which would get the label of `entry`, in pieces, in datagrams with this DS octet.
    fn seal_pieces(&mut self, now: Instant, entry: LabelStackEntry, packet: &[u8], ds: u8) {
        let piece_len = piece_len(packet.len(), piece_len_max(self.ports.mtu));
        let pieces = packet.chunks(piece_len.max(1));
        let count = pieces.len();
        let mut sequence = self.ports.shared.piece_numbers.take(count);
        for (index, octets) in pieces.enumerate() {
            let word = ControlWord { part: Part::new(index == 0, index + 1 == count), sequence };
            sequence = next_sequence(sequence);
            let front = Front::of_piece(word, (index == 0).then_some(entry));
            let front = front.octets();
            let place = self.run.place_for_labelled();
            let (start, end) = (HEADROOM + front.len(), HEADROOM + front.len() + octets.len());
            place[HEADROOM..start].copy_from_slice(front);
            place[start..end].copy_from_slice(octets);
            let piece = LabelStackEntry::only(Label::PIECES, entry.class);
            let sealed = self.outbound.seal_labelled(now, piece, place, end - HEADROOM).into();
            self.finish(sealed, ds);
        }
    }

    /// Seals what is next in the queues: voice with the number that protects it, and with a packet of a call others that wait, if they are
    /// packed. Returns as what it was served and what it takes of the wire, as [`Self::seal_departure`]; `None` if nothing may leave now.
    pub(super) fn seal_next(
        &mut self,
        now: Instant,
        queues: &mut Queues,
        packing: &mut Packing,
        protection: Option<&mut Protection<'_>>,
    ) -> Option<(ServiceClass, usize)> {
        let packer = packing.packer(queues);
        let departure = queues.poll_transmit(now)?;
        let class = departure.class;
        let mut protection = protection.filter(|protection| protection.is_for(&departure));
        let is_call = class == ServiceClass::Voice && departure.label.is_none();
        // Where packets are lost, each that is lost had better be one of a call, and not of many.
        let is_repaired = protection.as_ref().is_some_and(|protection| protection.is_on());
        let Some((packer, len_max)) = packer.filter(|_| is_call && !is_repaired) else {
            return Some((class, self.seal_departure_protected(now, &departure, protection)));
        };
        let Self { run, outbound, ports, .. } = self;
        let place = run.place_for_labelled();
        // Before the bundle is room for the number and the label of what is protected.
        let start = HEADROOM + HEADER_LEN + LabelStackEntry::LEN;
        let mut bundle = Bundle::new(&mut place[start..start + len_max]);
        let counters = &ports.shared.counters;
        let mut push = |packet: &[u8]| {
            let fits = outbound.is_for_the_far_end(packet) && packer.push(now, packet, &mut bundle);
            if fits {
                counters.ip_out.add(packet.len());
                counters.packed_out.add(packet.len());
            }
            fits
        };
        if !push(departure.octets) {
            return Some((class, self.seal_departure_protected(now, &departure, protection)));
        }
        queues.take_voice(now, push);
        let len = bundle.len();
        counters.bundles_out.add(len);
        let entry = LabelStackEntry::only(packer.label(), MplsTrafficClass::VOICE);
        let number = protection.as_mut().and_then(|protection| {
            put_label(entry, &mut place[start - LabelStackEntry::LEN..start]);
            protection.number(now, &mut place[HEADROOM..start + len])
        });
        let sealed = match number {
            Some(protected) => outbound.seal_labelled(now, protected, place, start - HEADROOM + len).into(),
            None => {
                place.copy_within(start..start + len, HEADROOM);
                outbound.seal_labelled(now, entry, place, len).into()
            }
        };
        let ds = ports.outer_dscp.around_other(class);
        Some((class, self.finish_departure(class, sealed, ds)))
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
        let ds = match departure.label {
            Some(_) => self.ports.outer_dscp.around_other(departure.class),
            None => self.ports.mark_around(Some(departure.class), packet),
        };
        self.finish_departure(departure.class, sealed, ds)
    }

    /// As [`Self::seal_departure`]; what is to be protected gets its number.
    fn seal_departure_protected(
        &mut self,
        now: Instant,
        departure: &Departure<'_>,
        protection: Option<&mut Protection<'_>>,
    ) -> usize {
        let packet = departure.octets;
        let takes = departure.label.is_some() || self.outbound.takes_ip(now, packet);
        let Some(protection) = protection.filter(|_| takes) else {
            return self.seal_departure(now, departure);
        };
        let place = self.run.place_for_labelled();
        let mut start = HEADROOM + HEADER_LEN;
        if let Some(entry) = departure.label {
            put_label(entry, &mut place[start..start + LabelStackEntry::LEN]);
            start += LabelStackEntry::LEN;
        }
        let end = start + packet.len();
        place[start..end].copy_from_slice(packet);
        let Some(entry) = protection.number(now, &mut place[HEADROOM..end]) else {
            return self.seal_departure(now, departure);
        };
        let sealed = self.outbound.seal_labelled(now, entry, place, end - HEADROOM).into();
        if departure.label.is_none() {
            self.ports.shared.counters.ip_out.add(packet.len());
        }
        let ds = self.ports.outer_dscp.around_other(departure.class);
        self.finish_departure(departure.class, sealed, ds)
    }

    /// Voice goes by a second path as well, if that is wanted: the very same datagram, of which the far end takes the first that comes.
    fn finish_departure(&mut self, class: ServiceClass, sealed: Sealed, ds: u8) -> usize {
        let Some((to, len)) = sealed.datagram else {
            self.finish(sealed, ds);
            return 0;
        };
        self.finish(sealed, ds);
        if let Some(by) = self.routes.copying.filter(|_| class == ServiceClass::Voice) {
            let counters = &self.ports.shared.counters;
            match self.ports.medium.send_to(self.run.last(), by, ds) {
                Ok(()) => counters.copied_out.add(len),
                Err(_refused) => counters.dropped(DropReason::MediumRefused),
            }
        }
        len + headers_on_the_wire(self.routes.carrying.map_or(to, |path| path.remote))
    }

    fn follow_routes(&mut self) {
        let version = self.ports.shared.routes_version();
        if version != self.routes_version {
            (self.routes, self.routes_version) = (self.ports.shared.routes(), version);
        }
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

    /// Puts what was sealed in place to the others that wait to leave, with the DS octet `ds`, and passes on what control must know.
    fn finish(&mut self, sealed: Sealed, ds: u8) {
        self.follow_routes();
        self.finish_by(sealed, self.routes.carrying, ds);
    }

    /// The same by this path, or to where the session says.
    fn finish_by(&mut self, sealed: Sealed, by: Option<Path>, ds: u8) {
        self.taken += 1;
        if let Some((to, len)) = sealed.datagram {
            let way = Way { by: by.unwrap_or(Path::from(to)), ds };
            if self.run.takes(way, len) {
                self.run.add(way, len);
            } else {
                self.send_datagrams();
                self.run.begin_with(way, len);
            }
        }
        if let Some(notice) = sealed.notice {
            report(&self.ports, &self.reports, Report::Notice { socket: 0, notice });
        }
        if sealed.session_needed {
            report(&self.ports, &self.reports, Report::SessionNeeded);
        }
    }

    fn send_datagrams(&self) {
        let Some((datagrams, segment, count, Way { by, ds })) = self.run.datagrams() else { return };
        if let Err(error) = self.ports.medium.send_segments(datagrams, segment, by, ds) {
            tracing::trace!(to = %by.remote, count, %error, "the medium refused datagrams");
            for _ in 0..count {
                self.ports.shared.counters.dropped(DropReason::MediumRefused);
            }
        }
    }
}
