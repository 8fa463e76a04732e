//! What is measured: which calls, over which line, beside what.

use tieline_bench::offices::Congestion;
use tieline_sim::calls::{Codec, Plan};
use tieline_sim::path::{Bottleneck, Bursts, PathModel};

use crate::contender::Contender;
use crate::options::Options;

/// Octets of the queue of a modem.
const QUEUE: usize = 256_000;
/// What Ethernet adds to each packet, which counts for the rate.
pub(crate) const OVERHEAD: usize = 18;

/// One table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// Both ways of a line are full.
    Both,
    /// The same by BBR.
    BothBbr,
    /// The same with phones that do not mark what they send.
    Unmarked,
    /// The way up of an unequal line is full.
    Uplink,
    /// A slow line.
    Slow,
    /// The rate is not known and changes.
    Rate,
    /// Packets are lost, each by itself.
    Loss,
    /// Packets are lost together.
    Bursts,
    /// How many calls there is room for.
    Capacity,
    /// A file by the program.
    File,
    /// Many calls, for the processor.
    Fifty,
    /// Real phones and SIPp.
    Phones,
}

/// What lies beside the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    Nothing,
    /// Streams of TCP from A to B, and from B to A.
    Tcp {
        ways: [bool; 2],
        congestion: Congestion,
    },
    /// A file from A to B, by the program.
    File,
}

impl Case {
    pub(crate) const ALL: [Self; 12] = [
        Self::Both,
        Self::BothBbr,
        Self::Unmarked,
        Self::Uplink,
        Self::Slow,
        Self::Rate,
        Self::Loss,
        Self::Bursts,
        Self::Capacity,
        Self::File,
        Self::Fifty,
        Self::Phones,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::BothBbr => "both-bbr",
            Self::Unmarked => "unmarked",
            Self::Uplink => "uplink",
            Self::Slow => "slow",
            Self::Rate => "rate",
            Self::Loss => "loss",
            Self::Bursts => "bursts",
            Self::Capacity => "capacity",
            Self::File => "file",
            Self::Fifty => "fifty",
            Self::Phones => "phones",
        }
    }

    /// For the head of its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Both => "20/20 Mbit/s, both ways full by CUBIC, 10 calls",
            Self::BothBbr => "20/20 Mbit/s, both ways full by BBR, 10 calls",
            Self::Unmarked => "20/20 Mbit/s, both ways full by CUBIC, 10 calls that nobody marked",
            Self::Uplink => "5 Mbit/s up, 20 down, the way up full by CUBIC, 5 calls",
            Self::Slow => "1/1 Mbit/s, both ways full by CUBIC, 3 calls",
            Self::Rate => {
                "a rate that is not known: 20/20 Mbit/s, after 15 s half of it, after 25 s all of it; both ways full by CUBIC, 10 calls"
            }
            Self::Loss => "20/20 Mbit/s, 2 % lost, 10 calls alone",
            Self::Bursts => "20/20 Mbit/s, 1 % lost in bursts of 5, 10 calls alone",
            Self::Capacity => "2/2 Mbit/s, as many calls as are within 0.1 MOS of one alone",
            Self::File => "20/20 Mbit/s, a file by `tieline send`, 10 calls",
            Self::Fifty => "27/27 Mbit/s, one way full by CUBIC, 50 calls",
            Self::Phones => {
                "20/20 Mbit/s, both ways full by CUBIC, one call of baresip and nine of SIPp through kamailio"
            }
        }
    }

    /// Bits a second from A to B, and back.
    pub(crate) fn rates(self) -> [u64; 2] {
        match self {
            Self::Uplink => [5_000_000, 20_000_000],
            Self::Slow => [1_000_000; 2],
            Self::Capacity => [2_000_000; 2],
            Self::Fifty => [27_000_000; 2],
            _ => [20_000_000; 2],
        }
    }

    /// The path there and back.
    pub(crate) fn models(self, options: &Options) -> [PathModel; 2] {
        self.rates().map(|bits_per_second| PathModel {
            bottleneck: Some(Bottleneck { bits_per_second, queue_bytes_max: QUEUE }),
            overhead: OVERHEAD,
            delay: options.delay,
            loss: if self == Self::Loss { 0.02 } else { 0.0 },
            bursts: (self == Self::Bursts).then(|| Bursts::of(5.0, 0.01)),
            ..PathModel::default()
        })
    }

    pub(crate) fn plan(self) -> Plan {
        let calls = match self {
            Self::Uplink => 5,
            Self::Slow => 3,
            Self::Fifty => 50,
            _ => 10,
        };
        Plan { calls, codec: Codec::G711, is_marked: self != Self::Unmarked }
    }

    pub(crate) fn load(self) -> Load {
        let cubic = |ways| Load::Tcp { ways, congestion: Congestion::Cubic };
        match self {
            Self::Both | Self::Unmarked | Self::Slow | Self::Rate | Self::Phones => cubic([true; 2]),
            Self::BothBbr => Load::Tcp { ways: [true; 2], congestion: Congestion::Bbr },
            Self::Uplink | Self::Fifty => cubic([true, false]),
            Self::Loss | Self::Bursts | Self::Capacity => Load::Nothing,
            Self::File => Load::File,
        }
    }

    /// Who takes part, in the order of the table.
    pub(crate) fn contenders(self) -> &'static [Contender] {
        use Contender::{Bare, Htb, Tieline, TielineAuto, TielineOneQueue, WireguardGo};
        match self {
            Self::Both | Self::BothBbr | Self::Uplink | Self::Slow => {
                &[Bare, WireguardGo, Htb, TielineOneQueue, Tieline]
            }
            Self::Unmarked => &[Htb, Tieline],
            Self::Rate => &[Htb, TielineAuto],
            Self::Phones => &[Htb, TielineOneQueue, Tieline],
            Self::Loss | Self::Bursts => &[WireguardGo, Tieline],
            Self::Capacity => &[Bare, WireguardGo, Tieline],
            Self::File => &[TielineOneQueue, Tieline],
            Self::Fifty => &[WireguardGo, Tieline],
        }
    }
}
