//! The device in the office's bridge, and what decides about its frames for the threads of both directions.

use std::{
    io,
    io::IoSlice,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tieline_io::tun::TunDevice;
use tieline_line::{
    Shared, flow,
    lan::{self, Blocked, Config, Lan, Verdict, mss, super_frame::SuperFrame},
};
use tieline_wire::{
    ethernet::{EthernetFrame, LINK_LEN_MAX},
    vnet::VnetHeader,
};
use tokio::sync::mpsc;

use super::{Ports, Report, report};

/// The device, and what decides about its frames.
#[derive(Debug)]
pub struct LanPort {
    device: TunDevice,
    /// Shared by the threads of both directions; held while one frame is looked at, of up to 64 KiB where it will be cut.
    lan: Mutex<Lan>,
    /// Octets of the longest packet in a frame.
    mtu: usize,
    /// Whether the device's cable is out.
    is_unplugged: AtomicBool,
    shared: Arc<Shared>,
}

impl LanPort {
    /// `mtu` is that of the device.
    #[must_use]
    pub fn new(device: TunDevice, mtu: usize, config: Config, now: Instant, shared: Arc<Shared>) -> Self {
        shared.labels.take_frames();
        Self {
            device,
            lan: Mutex::new(Lan::new(config, now, Arc::clone(&shared))),
            mtu,
            is_unplugged: AtomicBool::new(false),
            shared,
        }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &TunDevice {
        &self.device
    }

    /// Octets of the longest frame, behind the control word.
    #[must_use]
    pub fn packet_len_max(&self) -> usize {
        lan::packet_len_max(self.mtu)
    }

    /// The line has this number from now on: it is paired. The threads of the packet path wait for this once, at most.
    pub fn set_line(&self, number: [u8; 8]) {
        self.lock().set_line(number);
    }

    /// Decides about what the device gave, with the offload header before it: the frames that go across, if they do. `line_mtu` is that of
    /// the line.
    pub(super) fn take<'f>(
        &self,
        now: Instant,
        octets: &'f mut [u8],
        line_mtu: usize,
        to_control: (&Ports, &mpsc::Sender<Report>),
    ) -> Option<SuperFrame<'f>> {
        let (header, octets) = octets.split_first_chunk_mut()?;
        let header = VnetHeader::parse(header).ok();
        if let Some(header) = &header {
            mss::clamp(octets, line_mtu, header.checksum.is_none());
        }
        let frame = EthernetFrame::parse(octets).ok();
        let parsed = header
            .zip(frame)
            .and_then(|(header, frame)| Some((frame, SuperFrame::parse(&header, &frame).ok()?)));
        let Some((frame, frames)) = parsed else {
            self.shared.lan.blocked(Blocked::Malformed);
            return None;
        };
        let mut lan = self.lock();
        let verdict = lan.handle_near(now, &frame, frames.count());
        tell(&mut lan, to_control);
        drop(lan);
        match verdict {
            Verdict::Forward if frames.len_max() > LINK_LEN_MAX + self.mtu => {
                self.shared.lan.blocked(Blocked::TooLarge);
                None
            }
            Verdict::Forward => Some(frames),
            Verdict::Answer(answer) => {
                self.write_plain(answer.octets());
                None
            }
            Verdict::Stay => None,
        }
    }

    /// Decides about a frame that has come from the far end: the octets of its headers, if it goes to the device.
    pub(super) fn admit(
        &self,
        now: Instant,
        octets: &[u8],
        to_control: (&Ports, &mpsc::Sender<Report>),
    ) -> Option<usize> {
        let Ok(frame) = EthernetFrame::parse(octets) else {
            self.shared.lan.blocked(Blocked::Malformed);
            return None;
        };
        let mut lan = self.lock();
        let goes = lan.handle_far(now, &frame);
        tell(&mut lan, to_control);
        goes.then(|| {
            self.shared.lan.inwards.add(octets.len());
            frame.link.len()
        })
    }

    /// Sends a probe into the office, if one is due, pulls or plugs the device's cable, and says when the next one is.
    pub(super) fn probe(&self, now: Instant) -> Instant {
        let mut lan = self.lock();
        let probe = lan.poll_probe(now);
        let (next, is_plugged) = (lan.poll_timeout(), lan.is_plugged(now));
        drop(lan);
        if self.is_unplugged.swap(!is_plugged, Ordering::Relaxed) == is_plugged
            && let Err(error) = self.device.set_carrier(is_plugged)
        {
            tracing::debug!(%error, "the bridge is not told that its hosts are found by another way");
        }
        if let Some(probe) = probe {
            self.write_plain(probe.octets());
        }
        next
    }

    /// Writes a frame that lies in parts, the offload header first, into the queue of its flow.
    pub(super) fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let packet = parts.get(2).map_or(&[][..], |part| part);
        let queues = self.device.queues();
        queues[flow::hash(packet) as usize % queues.len()].write_parts(parts)
    }

    fn write_plain(&self, frame: &[u8]) {
        let header = VnetHeader::PLAIN.to_octets();
        let parts = [IoSlice::new(&header), IoSlice::new(frame)];
        // Who does not hear it asks again.
        let _ = self.device.queue().write_parts(&parts);
    }

    fn lock(&self) -> MutexGuard<'_, Lan> {
        self.lan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(lan: &mut Lan, (ports, reports): (&Ports, &mpsc::Sender<Report>)) {
    while let Some(alarm) = lan.poll_alarm() {
        report(ports, reports, Report::Lan(alarm));
    }
}
