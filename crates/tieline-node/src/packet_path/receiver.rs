//! The receiving thread: opens what the medium brings and gives it to the device, to the streams and to control.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tieline_io::{tun::Offload, udp::ReceiveBuffers, wait::wait_readable};
use tieline_line::{Delivery, Inbound, counters::DropReason, join::Joiner};
use tieline_wire::time::Now;

use super::{Handshake, Ports, Report, ToControl, Watch, pace::Pace, report};

pub(super) struct Receiver {
    ports: Arc<Ports>,
    inbound: Inbound,
    control: ToControl,
}

impl Receiver {
    pub(super) fn new(ports: Arc<Ports>, inbound: Inbound, control: ToControl) -> Self {
        Self { ports, inbound, control }
    }

    pub(super) fn run(mut self) {
        let ports = Arc::clone(&self.ports);
        let _watch = Watch { ports: Arc::clone(&ports), reports: self.control.reports.clone() };
        let mut buffers = ReceiveBuffers::default();
        let joins_udp = ports.device.as_ref().is_some_and(|device| device.offload() == Offload::TcpAndUdp);
        let mut pace = Pace::new(Instant::now());
        while !ports.stopping.load(Ordering::Acquire) {
            let mut is_done = false;
            match ports.socket.recv_batch(&mut buffers) {
                Ok(datagrams) => {
                    let now = Now::from_system();
                    let mut joiner = Joiner::new(joins_udp);
                    for datagram in datagrams {
                        pace.count(1);
                        self.receive(now, datagram.from, datagram.octets, &mut joiner);
                    }
                    self.write(&mut joiner);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_done = true,
                // An ICMP answer to something sent earlier, for instance; the socket stays usable.
                Err(error) => tracing::debug!(%error, "the socket gives no datagram"),
            }
            pace.rest(is_done, || self.sleep());
        }
    }

    fn sleep(&self) {
        if let Err(error) = wait_readable(&[self.ports.socket.as_fd(), self.ports.receiving.as_fd()], None) {
            tracing::error!(%error, "the receiving thread cannot wait");
        }
    }

    fn receive<'b>(&mut self, now: Now, from: SocketAddr, datagram: &'b mut [u8], joiner: &mut Joiner<'b>) {
        let ports = &self.ports;
        let received = self.inbound.handle_datagram(now.monotonic, from, datagram);
        match received.delivery {
            Delivery::Nothing => {}
            Delivery::Ip(packet) => {
                if let Err(packet) = joiner.push(packet) {
                    self.write(joiner);
                    // An empty joiner takes everything.
                    let _ = joiner.push(packet);
                }
            }
            Delivery::Streams(packet) => {
                if ports.streams.deliver(packet).is_err() {
                    ports.shared.counters.dropped(DropReason::ChannelQueueFull);
                }
            }
            Delivery::Associated(message) => {
                let message = message.to_vec();
                report(ports, &self.control.reports, Report::Associated { arrived: now, from, message });
            }
            Delivery::Handshake(datagram) => {
                let handshake = Handshake { from, datagram: datagram.to_vec() };
                if self.control.handshakes.try_send(handshake).is_err() {
                    ports.shared.counters.dropped(DropReason::ControlQueueFull);
                }
            }
        }
        if let Some(notice) = received.notice {
            report(ports, &self.control.reports, Report::Notice(notice));
        }
    }

    /// Writes what was joined to the device.
    fn write(&self, joiner: &mut Joiner<'_>) {
        let ports = &self.ports;
        joiner.flush(|parts| {
            let written = ports.device.as_ref().map(|device| device.write_parts(parts));
            if !matches!(written, Some(Ok(()))) {
                // The first part is the offload header, every other a packet.
                for _ in 1..parts.len() {
                    ports.shared.counters.dropped(DropReason::NoDevice);
                }
            }
        });
    }
}
