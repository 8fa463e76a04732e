//! A sending thread: takes packets of control, of the streams and of the device, in this order, and has them sealed and sent.

use std::{
    io,
    ops::ControlFlow,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tieline_io::{
    tun::{self, TunDevice, TunQueue},
    wait::Waker,
};
use tieline_line::{
    Outbound, Outgoing,
    calls::Calls,
    class::ServiceClass,
    protection::Protector,
    queue::{Queues, Rate},
};
use tieline_wire::{
    label::{Label, LabelStackEntry, MplsTrafficClass},
    time::Now,
    transport::is_udp,
    vnet::VnetHeader,
};
use tokio::sync::mpsc;

use super::{
    Ports, Report, Watch,
    intake::{Intake, QUEUES, Source, Sources},
    pace::Pace,
    packing::Packing,
    protection::Protection,
    sealer::Sealer,
};
use crate::flows::FlowsStatus;

/// What may wait of the streams before the queues, and how long that takes the line.
const STREAMS_WAIT_MAX: Duration = Duration::from_millis(10);
/// Packets that control or the streams may send before others are served.
const TURN_PACKETS: usize = 32;

pub(super) struct Sender {
    ports: Arc<Ports>,
    /// Which of the sending threads it is. The first one also serves control and the streams.
    lane: usize,
    reports: mpsc::Sender<Report>,
    intake: Intake,
    sealer: Sealer,
    /// What the phones of this office say, before the line has done anything to it.
    calls: Calls,
    /// Where packets wait for their turn, once it is known what the line carries.
    queues: Option<Queues>,
    packing: Packing,
    /// Numbers voice, and makes repair packets for it.
    protector: Option<Protector>,
    /// When the next probe is due in the office's Ethernet.
    probe_due: Option<Instant>,
}

impl Sender {
    pub(super) fn new(
        ports: Arc<Ports>,
        lane: usize,
        outbound: Outbound,
        reports: mpsc::Sender<Report>,
    ) -> io::Result<Self> {
        let queues = queues_of(&ports, lane);
        let intake = Intake::new(Instant::now(), queues, Some(ports.senders[lane].as_fd()))?;
        let packing = Packing::new(lane, ports.mtu, Instant::now());
        let sealer = Sealer::new(Arc::clone(&ports), outbound, reports.clone());
        let stream = ports.shared.protection.stream(lane);
        let protector = stream.map(|stream| Protector::new(stream, ports.mtu));
        Ok(Self {
            ports,
            lane,
            reports,
            intake,
            sealer,
            calls: Calls::default(),
            queues: None,
            packing,
            protector,
            probe_due: None,
        })
    }

    pub(super) fn run(mut self) {
        let _watch = Watch { ports: Arc::clone(&self.ports), reports: self.reports.clone() };
        let is_first = self.lane == 0;
        let mut pace = Pace::of_sending(Instant::now());
        while !self.is_stopping() {
            self.follow_rate();
            if is_first {
                self.tell_flows();
                self.probe_lan();
            }
            let busy = (is_first && self.send_control())
                | self.send_staged()
                | (is_first && self.send_streams())
                | self.send_device()
                | self.release();
            self.sealer.flush();
            self.watch_calls();
            pace.count(self.sealer.take_count());
            pace.rest(!busy, |limit| match limit {
                Some(pause) => self.pause(pause),
                None => self.sleep(),
            });
        }
        // What control said last, such as that this end goes down.
        self.queues = None;
        while is_first && self.send_control() {}
        self.sealer.flush();
    }

    /// Then only control still sends, and soon: where the medium takes nothing, each turn would wait long for it.
    fn is_stopping(&self) -> bool {
        self.ports.stopping.load(Ordering::Acquire)
    }

    /// Makes the queues as fast as the line is. Each sending thread has its part of it.
    fn follow_rate(&mut self) {
        let part = |rate: Rate| rate.bits_per_second() / self.ports.lanes() as u64;
        let Some(rate) = self.ports.rate().map(|rate| Rate::from_bits_per_second(part(rate))) else { return };
        let queues = self.queues.get_or_insert_with(|| {
            let shared = Arc::clone(&self.ports.shared);
            let queues = Queues::new(Rate::MIN, self.ports.mtu, shared, Instant::now());
            match &self.ports.lan {
                Some(lan) => queues.with_frames(lan.packet_len_max()),
                None => queues,
            }
        });
        queues.set_cuts(self.ports.far_end_joins.load(Ordering::Relaxed));
        if queues.rate() == rate {
            return;
        }
        queues.set_rate(rate);
        self.ports.streams.set_outgoing_max(rate.octets_in(STREAMS_WAIT_MAX) / self.ports.mtu);
    }

    /// Tells those who asked what goes out.
    fn tell_flows(&self) {
        while let Some(reply) = self.ports.flow_requests.pop() {
            let now = Instant::now();
            let told = self.queues.as_ref().map(|queues| FlowsStatus::new(queues.rate(), queues.flows(now)));
            // Whoever asked may have gone.
            let _ = reply.send(told.unwrap_or_default());
        }
    }

    /// Sends what the line can carry now of what waits in the queues.
    fn release(&mut self) -> bool {
        let Some(queues) = &mut self.queues else { return false };
        let now = Instant::now();
        let mut protection = Protection::of(&mut self.protector, &self.ports, self.lane);
        let mut busy = protection.as_mut().is_some_and(|protection| protection.repair(now, queues));
        self.packing.follow(now, &self.ports.shared.labels, queues);
        while let Some((class, octets)) =
            self.sealer.seal_next(now, queues, &mut self.packing, protection.as_mut())
        {
            busy = true;
            queues.handle_sent(now, octets);
            if class == ServiceClass::Voice {
                self.packing.add_load(octets);
            }
            if let Some(protection) = &mut protection {
                protection.repair(now, queues);
            }
        }
        if self.lane == 0 {
            let backlogged = queues.backlogged(now).as_nanos() as u64;
            self.ports.backlogged.store(backlogged, Ordering::Relaxed);
        }
        busy
    }

    /// How long until the line can carry the next packet that waits, or a repair packet or a probe is due; none if nothing waits.
    fn until_release(&self) -> Option<Duration> {
        let protector = self.protector.as_ref().filter(|_| self.ports.shared.labels.to_protect().is_some());
        let queues = self.queues.as_ref();
        let repair = protector.filter(|_| queues.is_some()).and_then(Protector::poll_timeout);
        let release = queues.and_then(Queues::poll_timeout);
        let timeout = [release, repair, self.probe_due].into_iter().flatten().min()?;
        Some(timeout.saturating_duration_since(Instant::now()))
    }

    /// Until there is something to send.
    fn sleep(&mut self) {
        let ports = Arc::clone(&self.ports);
        let waker = self.waker(&ports);
        let limit = self.until_release();
        let waited = self.intake.wait(limit);
        if let Err(error) = waited {
            tracing::error!(%error, "the sending thread cannot wait");
        }
        // Cleared before the next look, so that no wake is lost: not even for what waits for a session.
        waker.clear();
    }

    /// Rests for a while, but not from lone packets.
    fn pause(&mut self, pause: Duration) {
        let ports = Arc::clone(&self.ports);
        let pause = self.until_release().map_or(pause, |until| until.min(pause));
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let queues = self.device_queues(&ports);
            if queues.is_empty() || left.is_zero() {
                return thread::sleep(left);
            }
            match self.intake.wait_for_lone(queues, left) {
                Ok(true) => {
                    self.send_device();
                    self.release();
                    self.sealer.flush();
                }
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(%error, "the sending thread cannot wait");
                    return thread::sleep(left);
                }
            }
        }
    }

    fn waker<'p>(&self, ports: &'p Ports) -> &'p Waker {
        &ports.senders[self.lane]
    }

    /// The queues of the devices that this thread serves.
    fn device_queues<'p>(&self, ports: &'p Ports) -> Sources<'p> {
        queues_of(ports, self.lane)
    }

    /// Looks for other ways between the offices, if it is time.
    fn probe_lan(&mut self) {
        let Some(lan) = &self.ports.lan else { return };
        let now = Instant::now();
        if self.probe_due.is_none_or(|due| due <= now) {
            self.probe_due = Some(lan.probe(now));
        }
    }

    /// Looks at all calls, if their time has come, and shows what is known of them as they go in.
    fn watch_calls(&mut self) {
        let Some(turn) = self.calls.poll_timeout() else { return };
        let now = Now::from_system();
        if turn <= now.monotonic {
            self.calls.handle_timeout(now, None);
            self.ports.calls.outgoing[self.lane].store(Arc::new(self.calls.snapshot()));
        }
    }

    fn send_control(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let mut busy = false;
        for outgoing in std::iter::from_fn(|| ports.outgoing.pop()).take(TURN_PACKETS) {
            busy = true;
            let now = Instant::now();
            match outgoing {
                Outgoing::Keepalive => self.sealer.seal_keepalive(now),
                Outgoing::Labelled { entry, payload } => self.send_labelled(now, entry, &payload),
                Outgoing::ByPath { path, entry, payload } => {
                    let octets = self.sealer.send_by_path(now, path, entry, &payload);
                    if let Some(queues) = &mut self.queues {
                        queues.handle_sent(now, octets);
                    }
                }
            }
        }
        busy
    }

    fn send_staged(&mut self) -> bool {
        let now = Instant::now();
        let mut busy = false;
        // All of it: what comes from the device now was sent later.
        while !self.is_stopping() && self.sealer.seal_staged(now) {
            busy = true;
        }
        busy
    }

    fn send_streams(&mut self) -> bool {
        let entry = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
        let now = Instant::now();
        let ports = Arc::clone(&self.ports);
        let room = self.queues.as_ref().map_or(TURN_PACKETS, Queues::streams_room);
        let mut packets = 0;
        while packets < TURN_PACKETS.min(room)
            && !self.is_stopping()
            && let Some(packet) = ports.streams.poll_packet()
        {
            packets += 1;
            self.send_labelled(now, entry, &packet);
        }
        if packets > 0 {
            self.ports.streams.wake_senders();
        }
        packets > 0
    }

    fn send_labelled(&mut self, now: Instant, entry: LabelStackEntry, packet: &[u8]) {
        match &mut self.queues {
            Some(queues) => queues.enqueue_labelled(now, entry, packet),
            None => self.sealer.seal_labelled(now, entry, packet),
        }
    }

    fn send_device(&mut self) -> bool {
        let ports = Arc::clone(&self.ports);
        let devices = self.device_queues(&ports);
        let at = Now::from_system();
        let now = at.monotonic;
        let Self { intake, sealer, queues, calls, .. } = self;
        let taken = intake.take(devices, now, |source, packet| {
            match (source, queues.as_mut()) {
                (Source::Lan, queues) => sealer.take_frames(at, packet, queues, calls),
                (Source::Routed, queues) => {
                    watch(calls, at, packet);
                    match queues {
                        Some(queues) => sealer.queue_super_packet(now, packet, queues),
                        None => sealer.seal_super_packet(now, packet),
                    }
                }
            }
            match ports.stopping.load(Ordering::Acquire) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        taken.unwrap_or_else(|(source, error)| {
            if tun::is_gone(&error) {
                // Said once, so it may wait until control has room for it.
                if self.reports.try_send(Report::DeviceGone(source)).is_ok()
                    && let Err(error) = self.intake.forget(devices, source)
                {
                    tracing::error!(%error, "a device that is gone is still waited for");
                }
            } else {
                tracing::debug!(%error, "the device gives no packet");
            }
            false
        })
    }
}

/// The queues of the devices that sending thread number `lane` serves.
fn queues_of(ports: &Ports, lane: usize) -> Sources<'_> {
    fn own(device: &TunDevice, lane: usize) -> &[TunQueue] {
        device.queues().get(QUEUES * lane..QUEUES * (lane + 1)).unwrap_or_default()
    }
    Sources {
        routed: ports.device.as_ref().map_or(&[], |device| own(device, lane)),
        lan: ports.lan.as_ref().map_or(&[], |port| own(port.device(), lane)),
    }
}

/// Has `calls` look at what the device gave, if that is one packet and not several in one piece, as calls never are.
fn watch(calls: &mut Calls, now: Now, octets: &[u8]) {
    let Some((header, packet)) = octets.split_first_chunk() else { return };
    if is_udp(packet) && VnetHeader::parse(header).is_ok_and(|header| header.segments.is_none()) {
        calls.handle_packet(now, packet);
    }
}
