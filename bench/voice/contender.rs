//! What lies between the offices.

use std::path::PathBuf;

use tieline_bench::line;
use tieline_bench::offices::{INSIDE, Office, Offices, PREFIX_LEN, TUNNEL_DEVICE};
use tieline_bench::process::{self, Daemon};

use crate::case::{Case, OVERHEAD};
use crate::options::Options;

/// Of a known rate, what is used, so that the queue is ours and not the modem's.
const SHARE: f64 = 0.97;
/// What WireGuard adds to a packet over IPv4: headers of IP, UDP and its own, and the tag.
const WIREGUARD_OVERHEAD: usize = 20 + 8 + 16 + 16;
/// What may wait for the kernel's shaper, in seconds of the line.
const HTB_QUEUE_SECONDS: f64 = 0.05;
/// Some full packets, also on a slow line.
const HTB_QUEUE_MIN: f64 = 15_000.0;
/// EF in the octet of IPv4, and where its six bits are.
const EXPEDITED: &str = "0xb8 0xfc";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// No tunnel.
    Bare,
    WireguardGo,
    /// wireguard-go behind the kernel's shaper, which sends EF first.
    Htb,
    /// Without a rate: everything waits in the modem.
    TielineOneQueue,
    /// With the rates of the line.
    Tieline,
    /// It is to find them.
    TielineAuto,
}

/// A contender that is up.
pub(crate) struct Running {
    daemons: Vec<Daemon>,
}

impl Contender {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 6] =
        [Self::Bare, Self::WireguardGo, Self::Htb, Self::TielineOneQueue, Self::Tieline, Self::TielineAuto];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::WireguardGo => "wireguard-go",
            Self::Htb => "htb+wireguard-go",
            Self::TielineOneQueue => "tieline-one-queue",
            Self::Tieline => "tieline",
            Self::TielineAuto => "tieline-auto",
        }
    }

    /// The programs it needs, the one that knows its version first.
    pub(crate) fn programs(self, options: &Options) -> Vec<PathBuf> {
        match self {
            Self::Bare => vec![],
            Self::WireguardGo => vec![options.wireguard_go.clone(), "wg".into()],
            Self::Htb => vec![options.wireguard_go.clone(), "wg".into(), "tc".into()],
            Self::TielineOneQueue | Self::Tieline | Self::TielineAuto => vec![options.tieline.clone()],
        }
    }

    /// What its program calls itself.
    pub(crate) fn version(self, options: &Options) -> String {
        let program = self.programs(options).into_iter().next();
        program.map_or("the kernel's".into(), |program| process::version(&program, "--version"))
    }

    /// Starts it between the offices, and has them reach each other through it.
    ///
    /// # Errors
    ///
    /// What went wrong; nothing is left running.
    pub(crate) fn start(
        self,
        options: &Options,
        case: Case,
        offices: &mut Offices,
    ) -> Result<Running, String> {
        let rates = case.rates();
        let daemons = match self {
            Self::Bare => vec![],
            Self::WireguardGo => wireguard(options, offices)?,
            Self::Htb => {
                let daemons = wireguard(options, offices)?;
                for (office, rate) in offices.both().into_iter().zip(rates) {
                    shape(office, rate as f64 * SHARE)?;
                }
                daemons
            }
            Self::TielineOneQueue => tieline(options, offices, |_| String::new())?,
            Self::Tieline => tieline(options, offices, |place| {
                let mbit = |rate: u64| rate as f64 / 1e6;
                format!("\n[rate]\nout = \"{} Mbit/s\"\n", mbit(rates[place]))
            })?,
            Self::TielineAuto => tieline(options, offices, |_| "\n[rate]\nauto = true\n".into())?,
        };
        let running = Running { daemons };
        offices.wait_until_reached().map_err(|problem| format!("{problem}\n{}", running.logs()))?;
        Ok(running)
    }
}

impl Running {
    /// Seconds of processor time of each end so far.
    pub(crate) fn processor_seconds(&self) -> Result<Vec<f64>, String> {
        self.daemons.iter().map(Daemon::processor_seconds).collect()
    }

    /// What the daemons said last.
    pub(crate) fn logs(&self) -> String {
        self.daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n---\n")
    }
}

fn wireguard(options: &Options, offices: &mut Offices) -> Result<Vec<Daemon>, String> {
    offices.dig(&options.wireguard_go)
}

/// A line whose ends have addresses in it; `rate` says more to each end by its place.
fn tieline(
    options: &Options,
    offices: &mut Offices,
    rate: impl Fn(usize) -> String,
) -> Result<Vec<Daemon>, String> {
    let daemons = line::start(&options.tieline, offices, |place, text| {
        format!("address = [\"{}/{PREFIX_LEN}\"]\n{text}{}", INSIDE[place], rate(place))
    })?;
    offices.set_addresses(INSIDE);
    Ok(daemons)
}

/// What an administrator does before a tunnel: the kernel's shaper a little below the rate, EF before the rest.
fn shape(office: &Office, bits_per_second: f64) -> Result<(), String> {
    let (device, rate) = (TUNNEL_DEVICE, format!("{bits_per_second:.0}bit"));
    let half = format!("{:.0}bit", bits_per_second / 2.0);
    let limit = (bits_per_second / 8.0 * HTB_QUEUE_SECONDS).max(HTB_QUEUE_MIN);
    let more = format!("burst 1600 cburst 1600 overhead {}", WIREGUARD_OVERHEAD + OVERHEAD);
    for words in [
        format!("qdisc replace dev {device} root handle 1: htb default 20"),
        format!("class add dev {device} parent 1: classid 1:1 htb rate {rate} ceil {rate} {more}"),
        format!("class add dev {device} parent 1:1 classid 1:10 htb rate {half} ceil {rate} prio 0 {more}"),
        format!("class add dev {device} parent 1:1 classid 1:20 htb rate {half} ceil {rate} prio 1 {more}"),
        format!("qdisc add dev {device} parent 1:20 bfifo limit {limit:.0}"),
        format!("filter add dev {device} parent 1: protocol ip u32 match ip dsfield {EXPEDITED} flowid 1:10"),
    ] {
        office.must(&format!("tc {words}")).map_err(|problem| format!("tc {words}: {problem}"))?;
    }
    Ok(())
}
