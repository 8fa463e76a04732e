//! The sending thread: takes packets of control, of the streams and of the device, seals them, and sends what goes together with
//! one system call.

use std::{
    io,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tieline_io::{
    tun::{self, OFFLOAD_HEADER_LEN},
    wait::wait_readable,
};
use tieline_line::{HEADROOM, Notice, Outbound, Outcome, Outgoing, counters::DropReason, cut::SuperPacket};
use tieline_wire::{
    label::{Label, LabelStackEntry, MplsTrafficClass},
    vnet::VnetHeader,
};
use tokio::sync::mpsc;

use super::{Ports, Report, Watch, pace::Pace, report, run::Run};

/// Packets that one source may send before the next is served.
const TURN_PACKETS: usize = 32;
/// Octets that the device may send before the others are served: some 200 µs at full speed.
const TURN_OCTETS: usize = 256 << 10;
/// The longest packet of the device.
const PACKET_LEN_MAX: usize = 65_535;

pub(super) struct Sender {
    ports: Arc<Ports>,
    outbound: Outbound,
    reports: mpsc::Sender<Report>,
    run: Run,
    /// Packets since the last look at the pace, also those that were dropped: a flood of them is work as well.
    taken: usize,
    /// What was read from the device, with the header before it.
    packet: Box<[u8]>,
    /// Somebody removed the device: its descriptor is readable for ever, without anything to read.
    device_is_gone: bool,
}

/// What is left of an [`Outcome`] when its datagram, if there is one, lies in the run.
struct Sealed {
    datagram: Option<(std::net::SocketAddr, usize)>,
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

impl Sender {
    pub(super) fn new(ports: Arc<Ports>, outbound: Outbound, reports: mpsc::Sender<Report>) -> Self {
        let packet = vec![0; OFFLOAD_HEADER_LEN + PACKET_LEN_MAX].into_boxed_slice();
        Self { run: Run::new(ports.mtu), taken: 0, ports, outbound, reports, packet, device_is_gone: false }
    }

    pub(super) fn run(mut self) {
        let ports = Arc::clone(&self.ports);
        let _watch = Watch { ports: Arc::clone(&ports), reports: self.reports.clone() };
        let mut pace = Pace::new(Instant::now());
        while !self.is_stopping() {
            let busy = self.send_control() | self.send_staged() | self.send_streams() | self.send_device();
            self.send_run();
            pace.count(std::mem::take(&mut self.taken));
            pace.rest(!busy, || {
                self.sleep();
                // Cleared before the next look, so that no wake is lost: not even for what waits for a session.
                ports.sending.clear();
            });
        }
        // What control said last, such as that this end goes down.
        while self.send_control() {}
        self.send_run();
    }

    /// Then only control still sends, and soon: where the medium takes nothing, each turn would wait long for it.
    fn is_stopping(&self) -> bool {
        self.ports.stopping.load(Ordering::Acquire)
    }

    fn sleep(&self) {
        let waited = match self.ports.device.as_ref().filter(|_| !self.device_is_gone) {
            Some(device) => wait_readable(&[self.ports.sending.as_fd(), device.as_fd()], None),
            None => wait_readable(&[self.ports.sending.as_fd()], None),
        };
        if let Err(error) = waited {
            tracing::error!(%error, "the sending thread cannot wait");
        }
    }

    fn send_control(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let mut busy = false;
        for outgoing in std::iter::from_fn(|| ports.outgoing.pop()).take(TURN_PACKETS) {
            busy = true;
            match outgoing {
                Outgoing::Keepalive => {
                    let place = self.run.place_for_labelled();
                    let sealed = self.outbound.seal_keepalive(Instant::now(), place).into();
                    self.finish(sealed);
                }
                Outgoing::Labelled { entry, payload } => self.seal_labelled(Instant::now(), entry, &payload),
            }
        }
        busy
    }

    fn send_staged(&mut self) -> bool {
        let now = Instant::now();
        let mut busy = false;
        // All of it: what comes from the device now was sent later.
        while !self.is_stopping()
            && let Some(outcome) = self.outbound.poll_staged(now, self.run.place_for_ip())
        {
            let sealed = outcome.into();
            self.finish(sealed);
            busy = true;
        }
        busy
    }

    fn send_streams(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let entry = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
        let now = Instant::now();
        let mut packets = 0;
        while packets < TURN_PACKETS
            && !self.is_stopping()
            && let Some(packet) = ports.streams.poll_packet()
        {
            packets += 1;
            self.seal_labelled(now, entry, &packet);
        }
        if packets > 0 {
            ports.streams.wake_senders();
        }
        packets > 0
    }

    /// Seals a packet of a channel; one that is too large is dropped and counted.
    fn seal_labelled(&mut self, now: Instant, entry: LabelStackEntry, packet: &[u8]) {
        if packet.len() > self.ports.mtu {
            self.ports.shared.counters.dropped(DropReason::TooLarge);
            return;
        }
        let place = self.run.place_for_labelled();
        place[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        let sealed = self.outbound.seal_labelled(now, entry, place, packet.len()).into();
        self.finish(sealed);
    }

    fn send_device(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let Some(device) = ports.device.as_ref().filter(|_| !self.device_is_gone) else { return false };
        let now = Instant::now();
        let (mut packets, mut octets) = (0, 0);
        while packets < TURN_PACKETS && octets < TURN_OCTETS && !self.is_stopping() {
            match device.read(&mut self.packet) {
                Ok(len) => {
                    packets += 1;
                    octets += len;
                    self.seal_super_packet(now, len);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if tun::is_gone(&error) => {
                    // Said once, so it may wait until control has room for it.
                    self.device_is_gone = self.reports.try_send(Report::DeviceGone).is_ok();
                    break;
                }
                Err(error) => {
                    tracing::debug!(%error, "the device gives no packet");
                    break;
                }
            }
        }
        packets > 0
    }

    /// Seals the packets in `self.packet[..len]`, which the device gave in one piece.
    fn seal_super_packet(&mut self, now: Instant, len: usize) {
        let octets = std::mem::take(&mut self.packet);
        match self.parse(&octets[..len]) {
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
        self.packet = octets;
    }

    /// What the device gave: the offload header, and the packet that it is about.
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

    fn send_run(&mut self) {
        self.send_datagrams();
        self.run.clear();
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
