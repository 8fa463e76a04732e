//! The flows that go out over a shaped line, as the local API shows them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tieline_line::{
    class::ServiceClass,
    queue::{FlowReport, Rate},
};
use tieline_wire::transport;

/// What goes out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FlowsStatus {
    /// What the line carries of what we send, in bits per second; none: it is not known, so nothing is queued here and no flow is told
    /// from others.
    pub rate: Option<u64>,
    /// The flows of the last half minute.
    pub flows: Vec<FlowStatus>,
}

/// One flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FlowStatus {
    /// `tcp`, `udp` or the number of another protocol; `streams` for what tieline itself sends: files and control.
    pub protocol: String,
    /// Who sends; port 0 where there is none.
    pub from: Option<SocketAddr>,
    /// To whom.
    pub to: Option<SocketAddr>,
    /// The code point that its packets have (RFC 2474).
    pub dscp: u8,
    /// How it is served: `control`, `voice`, `interactive`, `standard` or `bulk`.
    pub class: String,
    /// Why so.
    pub why: String,
    /// Packets that left.
    pub packets: u64,
    /// Their octets, without headers of the line.
    pub bytes: u64,
    /// Packets dropped in the queue.
    pub dropped: u64,
    /// Packets marked instead (RFC 3168).
    pub marked: u64,
    /// How long the latest packets have waited in the queue, in seconds.
    pub delay_seconds: f64,
    /// Packets that wait now.
    pub waiting: usize,
}

impl FlowsStatus {
    /// As the sending thread tells it: those that are served first come first.
    #[must_use]
    pub fn new(rate: Rate, flows: impl Iterator<Item = FlowReport>) -> Self {
        let mut reports: Vec<FlowReport> = flows.collect();
        let order = |report: &FlowReport| (report.class, std::cmp::Reverse(report.figures.octets));
        reports.sort_by_key(order);
        Self { rate: Some(rate.bits_per_second()), flows: reports.iter().map(FlowStatus::new).collect() }
    }
}

impl FlowStatus {
    fn new(report: &FlowReport) -> Self {
        let FlowReport { key, class, why, figures, waiting } = report;
        let class: ServiceClass = *class;
        Self {
            protocol: match key.map(|key| key.tuple.protocol) {
                None => "streams".into(),
                Some(transport::TCP) => "tcp".into(),
                Some(transport::UDP) => "udp".into(),
                Some(other) => other.to_string(),
            },
            from: key.map(|key| key.tuple.source),
            to: key.map(|key| key.tuple.destination),
            dscp: key.map_or(0, |key| key.dscp.value()),
            class: class.as_str().into(),
            why: why.as_str().into(),
            packets: figures.packets,
            bytes: figures.octets,
            dropped: figures.dropped,
            marked: figures.marked,
            delay_seconds: figures.delay.as_secs_f64(),
            waiting: *waiting,
        }
    }
}
