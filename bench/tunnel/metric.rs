//! What is measured: names, units and which way is better.

/// One figure of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// In JSON; with its unit.
    pub(crate) key: &'static str,
    /// In the table; with its unit.
    pub(crate) name: &'static str,
    pub(crate) more_is_better: bool,
    /// Digits after the point.
    pub(crate) digits: usize,
}

/// How many there are.
pub(crate) const COUNT: usize = 14;

/// The figures of one run, in the order of [`METRICS`]; `None` where there is none (a bare cable and the kernel have no daemon).
pub(crate) type Figures = [Option<f64>; COUNT];

/// In the order of the table.
pub(crate) const METRICS: [Metric; COUNT] = [
    more("tcp_b_to_a_gbit_s", "TCP, one stream B to A, Gbit/s", 2),
    more("tcp_a_to_b_gbit_s", "TCP, one stream A to B, Gbit/s", 2),
    more("tcp_four_gbit_s", "TCP, four streams B to A, Gbit/s", 2),
    more("udp_1200_packets_s", "UDP 1,200 octets, < 0.5 % loss, packets/s", 0),
    more("udp_200_packets_s", "UDP 200 octets, < 0.5 % loss, packets/s", 0),
    less("idle_p50_us", "idle round trip p50, µs", 0),
    less("idle_p99_us", "idle round trip p99, µs", 0),
    less("loaded_p50_us", "round trip beside one TCP stream p50, µs", 0),
    less("loaded_p99_us", "round trip beside one TCP stream p99, µs", 0),
    more("loaded_tcp_gbit_s", "TCP beside the round trips, Gbit/s", 2),
    less("daemons_s_gb", "processor seconds per GB, both daemons", 2),
    less("machine_s_gb", "processor seconds per GB, whole machine", 2),
    less("peak_mib", "peak memory of the larger end, MiB", 1),
    less("tcp_retransmits", "TCP segments sent again, all single streams", 0),
];

const fn more(key: &'static str, name: &'static str, digits: usize) -> Metric {
    Metric { key, name, more_is_better: true, digits }
}

const fn less(key: &'static str, name: &'static str, digits: usize) -> Metric {
    Metric { key, name, more_is_better: false, digits }
}
