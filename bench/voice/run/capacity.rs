//! How many calls of each codec there is room for.

use std::time::Duration;

use tieline_bench::offices::Offices;
use tieline_sim::calls::{Codec, Plan};

use super::{Moment, finish_calls, start_calls, worst_mos};
use crate::case::Case;
use crate::metric::{self, Figures};

/// What the worst call may lose against one that is alone.
const MOS_LOST_MAX: f64 = 0.1;
/// Until a number of calls has shown itself.
const LEAD: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(4);
/// What was not heard so much later was not heard, and the queue is nearly empty for the next ones.
const ON_THE_WAY_MAX: Duration = Duration::from_secs(1);
/// Numbers so close to each other, as a share, are one.
const CLOSE: f64 = 0.03;

pub(super) fn measure(offices: &Offices) -> Result<Figures, String> {
    let mbit = Case::Capacity.rates()[0] as f64 / 1e6;
    let metrics = [metric::CALLS_G711, metric::CALLS_OPUS, metric::CALLS_G729];
    let codecs = Codec::ALL.into_iter().zip(metrics);
    codecs.map(|(codec, metric)| Ok((metric, most_calls(offices, codec)? as f64 / mbit))).collect()
}

/// Halves what is left between a number that was good and one that was not. The first that cannot be good has more sound than the line.
fn most_calls(offices: &Offices, codec: Codec) -> Result<usize, String> {
    let alone = mos(offices, codec, 1)?;
    let packets = 1.0 / Codec::INTERVAL.as_secs_f64();
    let call = codec.payload_len() as f64 * 8.0 * packets;
    let (mut good, mut bad) = (1, (Case::Capacity.rates()[0] as f64 / call) as usize + 1);
    while bad - good > ((good as f64 * CLOSE) as usize).max(1) {
        let middle = usize::midpoint(good, bad);
        let score = mos(offices, codec, middle)?;
        eprintln!("  {middle} {} calls: MOS {score:.2}, of one {alone:.2}", codec.name());
        if score >= alone - MOS_LOST_MAX { good = middle } else { bad = middle }
    }
    Ok(good)
}

fn mos(offices: &Offices, codec: Codec, calls: usize) -> Result<f64, String> {
    let calls = start_calls(offices, Plan { calls, codec, is_marked: true }, ON_THE_WAY_MAX)?;
    let (_, led) = Moment::now().wait(LEAD);
    let (window, _) = led.wait(WINDOW);
    Ok(worst_mos(&finish_calls(calls)?.qualities(window)))
}
