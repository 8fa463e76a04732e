//! How fast this end may send: as configured, as the far end can take it in, or as the path is found to carry it.

use std::{sync::Arc, time::Instant};

use tieline_line::{
    queue::{self, SHAPED_PERCENT},
    rate::{Config, Counted, Rate, Status, Traffic},
};
use tieline_wire::{
    rate_report::RateReport,
    wireguard::{TAG_LEN, TransportHeader},
};

use crate::{config::RateConfig, packet_path::Ports};

/// Octets that a datagram has around it on an Ethernet, over IPv4: as the sending thread counts them there; over IPv6 it counts 20 more.
const OVERHEAD: usize = 46;

/// The rates of the line, and who must know of them.
pub(super) struct LineRate {
    rate: Rate,
    auto: bool,
    ports: Arc<Ports>,
}

impl LineRate {
    pub(super) fn new(now: Instant, config: RateConfig, ports: Arc<Ports>) -> Self {
        let rate = Rate::new(
            now,
            Config {
                auto: config.auto,
                ceiling: config.out.map(queue::Rate::bits_per_second),
                ceiling_in: config.inwards.map(queue::Rate::bits_per_second),
                overhead: OVERHEAD,
                datagram_len_max: ports.mtu + TransportHeader::LEN + TAG_LEN,
            },
        );
        let rate = Self { rate, auto: config.auto, ports };
        rate.apply(now);
        rate
    }

    /// There is a far end that is a tieline, or another one than before.
    pub(super) fn on_far_end(&mut self, now: Instant) {
        self.rate.handle_far_end(now);
        self.apply(now);
    }

    /// Packets go by another path.
    pub(super) fn on_path(&mut self, now: Instant) {
        self.rate.handle_path(now);
        self.apply(now);
    }

    pub(super) fn on_report(
        &mut self,
        now: Instant,
        arrived: Instant,
        report: &RateReport,
        session: &tieline_seal::Status,
    ) {
        self.rate.handle_report(now, arrived, report, &self.traffic(session));
        self.apply(now);
    }

    /// Does what is due, and returns what is to be told the far end.
    pub(super) fn poll_report(&mut self, now: Instant, session: &tieline_seal::Status) -> Option<RateReport> {
        let traffic = self.traffic(session);
        self.rate.handle_timeout(now, &traffic);
        let report = self.rate.poll_report(now, &traffic);
        self.apply(now);
        report
    }

    /// When to look again.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.rate.poll_timeout(now)
    }

    pub(super) fn is_found(&self) -> bool {
        self.auto
    }

    pub(super) fn status(&self, now: Instant) -> Status {
        self.rate.status(now)
    }

    fn traffic(&self, session: &tieline_seal::Status) -> Traffic {
        Traffic {
            sent: Counted { datagrams: session.sent_datagrams, octets: session.sent_bytes },
            received: Counted { datagrams: session.received_datagrams, octets: session.received_bytes },
            backlogged: self.ports.backlogged(),
        }
    }

    /// Has the sending threads keep to it. What is found is what may leave, and the queues leave a share of what they are told.
    fn apply(&self, now: Instant) {
        let bits = self.rate.bits_per_second(now).map(|bits| match self.auto {
            true => bits.saturating_mul(100) / SHAPED_PERCENT,
            false => bits,
        });
        if self.ports.set_rate(bits.map(queue::Rate::from_bits_per_second)) {
            self.ports.wake_senders();
        }
    }
}
