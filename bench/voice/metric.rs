//! What is measured: names and units.

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// In JSON.
    pub(crate) key: &'static str,
    /// In the table.
    pub(crate) name: &'static str,
    /// Digits after the point.
    pub(crate) digits: usize,
}

/// Those of one run, in the order of its table.
pub(crate) type Figures = Vec<(Metric, f64)>;

const fn metric(key: &'static str, name: &'static str, digits: usize) -> Metric {
    Metric { key, name, digits }
}

pub(crate) const BASE_P99: Metric = metric("base_p99_ms", "p99 alone, ms", 1);
pub(crate) const P50: Metric = metric("p50_ms", "p50, ms", 1);
pub(crate) const P99: Metric = metric("p99_ms", "p99, ms", 1);
pub(crate) const P99_WORST: Metric = metric("p99_worst_ms", "p99 of the worst call, ms", 1);
pub(crate) const MAX: Metric = metric("max_ms", "max, ms", 1);
pub(crate) const LATE: Metric = metric("late_percent", "late, %", 2);
pub(crate) const LOST: Metric = metric("lost_percent", "lost, %", 2);
pub(crate) const DUPLICATES: Metric = metric("duplicates", "duplicates", 0);
pub(crate) const JITTER: Metric = metric("jitter_ms", "jitter, ms", 2);
pub(crate) const MOS: Metric = metric("mos_worst", "MOS of the worst call", 2);
pub(crate) const BULK_UP: Metric = metric("bulk_up_mbit", "bulk A to B, Mbit/s", 2);
pub(crate) const BULK_DOWN: Metric = metric("bulk_down_mbit", "bulk B to A, Mbit/s", 2);
pub(crate) const BASE_TRIP_P99: Metric = metric("base_trip_p99_ms", "round trip p99 alone, ms", 1);
pub(crate) const TRIP_P99: Metric = metric("trip_p99_ms", "round trip p99, ms", 1);
pub(crate) const PROCESSOR: Metric = metric("processor_percent", "processor of an end, % of one core", 1);
pub(crate) const WIRE: Metric = metric("wire_ratio", "octets on the wire to octets of voice", 2);
pub(crate) const SLIP: Metric = metric("slip_p99_ms", "sent too late p99, ms", 2);
pub(crate) const SHARE_FOUND: Metric =
    metric("share_found_percent", "of the line, 10 s after the start, %", 0);
pub(crate) const BACK_AFTER: Metric = metric("back_after_s", "voice back after halving, s", 1);
pub(crate) const P99_HALVED: Metric = metric("p99_halved_ms", "p99 from 1 s after halving, ms", 1);
pub(crate) const SHARE_DOUBLED: Metric =
    metric("share_doubled_percent", "of the line, 15 s after doubling, %", 0);
pub(crate) const PESQ_ALONE: Metric = metric("pesq_alone", "PESQ alone", 2);
pub(crate) const PESQ: Metric = metric("pesq", "PESQ beside the load", 2);
pub(crate) const SET_UP: Metric = metric("set_up_ms", "set up a call, ms", 0);
pub(crate) const SET_UP_FAILED: Metric = metric("set_up_failed_percent", "calls not set up, %", 0);
pub(crate) const CALLS_G711: Metric = metric("calls_g711", "G.711 calls per Mbit/s", 1);
pub(crate) const CALLS_OPUS: Metric = metric("calls_opus", "Opus calls per Mbit/s", 1);
pub(crate) const CALLS_G729: Metric = metric("calls_g729", "G.729 calls per Mbit/s", 1);
