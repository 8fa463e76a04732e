//! Real phones and calls by SIPp, first alone, then beside a full line.

use std::time::Duration;

use tieline_bench::offices::Offices;

use super::Moment;
use crate::bulk::Stream;
use crate::metric::{self, Figures, Metric};
use crate::options::Options;
use crate::phones::{self, Listened, Phones, SetUp};

/// In so long a phrase is said twice, and at least once from its begin to its end.
const ALONE: Duration = Duration::from_secs(18);
const SETTLED_AFTER: Duration = Duration::from_secs(4);
/// The same for three phrases.
const BESIDE: Duration = Duration::from_secs(27);
/// How long calls are set up.
const SET_UP_FOR: Duration = Duration::from_secs(20);
const LONGER: Duration = Duration::from_secs(1);

pub(super) fn measure(options: &Options, offices: &Offices) -> Result<Figures, String> {
    let phones = Phones::start(options, offices)?;
    let alone = Moment::now();
    let (_, alone_until) = alone.wait(ALONE);
    let time = (SETTLED_AFTER + BESIDE + LONGER).as_secs();
    let streams = [Stream::start(offices, 0, time)?, Stream::start(offices, 1, time)?];
    let (_, beside) = Moment::now().wait(SETTLED_AFTER);
    let set_up = phones::set_up_calls(offices, SET_UP_FOR)?;
    let (_, beside_until) = beside.wait(BESIDE);
    let listened = phones.finish(options)?;
    let [up, down] = streams.map(Stream::finish);

    let mut figures = Vec::new();
    figures.extend(worst(metric::PESQ_ALONE, &listened, alone, alone_until));
    figures.extend(worst(metric::PESQ, &listened, beside, beside_until));
    let SetUp { made, failed, ms } = set_up;
    figures.push((metric::SET_UP, ms));
    figures.push((metric::SET_UP_FAILED, 100.0 * f64::from(failed) / f64::from(made.max(1))));
    figures.push((metric::BULK_UP, up?.mbit(beside.at, beside_until.at)));
    figures.push((metric::BULK_DOWN, down?.mbit(beside.at, beside_until.at)));
    Ok(figures)
}

/// Of the office in which less was understood.
fn worst(metric: Metric, listened: &[Listened], begin: Moment, end: Moment) -> Option<(Metric, f64)> {
    let means = listened.iter().map(|listened| listened.mean(begin.at, end.at));
    // Where no phrase was found nothing was understood.
    means.map(|mean| mean.unwrap_or(1.0)).reduce(f64::min).map(|mean| (metric, mean))
}
