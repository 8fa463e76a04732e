//! A line whose rate is not known, is halved, and is doubled.

use std::time::Duration;

use tieline_bench::offices::Offices;
use tieline_sim::calls::{Recording, Window};
use tieline_sim::path::{PathCounters, PathModel};

use super::{LEAD, Moment, delay_ms, finish_calls, start_calls};
use crate::bulk::Stream;
use crate::case::{Case, OVERHEAD};
use crate::metric::{self, Figures};
use crate::options::Options;

const BASE: Duration = Duration::from_secs(4);
/// After the start of the streams the rate is to be found.
const FOUND_WITHIN: Duration = Duration::from_secs(10);
/// How long it is measured how much of the line is used.
const USED_FOR: Duration = Duration::from_secs(5);
/// Until the line is doubled again.
const HALVED_FOR: Duration = Duration::from_secs(10);
const DOUBLED_WITHIN: Duration = Duration::from_secs(15);
/// Until voice is to be back, and how much later than alone it may then be.
const BACK_WITHIN_MS: u64 = 1000;
const BACK_MS: f64 = 15.0;
/// Voice is judged in pieces of this.
const PIECE_MS: u64 = 200;
const ON_THE_WAY_MAX: Duration = Duration::from_secs(2);
/// Nanoseconds.
const MS: u64 = 1_000_000;

pub(super) fn measure(options: &Options, offices: &mut Offices) -> Result<Figures, String> {
    let calls = start_calls(offices, Case::Rate.plan(), ON_THE_WAY_MAX)?;
    let (_, led) = Moment::now().wait(LEAD);
    let (base, _) = led.wait(BASE);
    let time = (FOUND_WITHIN + USED_FOR + HALVED_FOR + DOUBLED_WITHIN + USED_FOR).as_secs() + 2;
    let streams = [Stream::start(offices, 0, time)?, Stream::start(offices, 1, time)?];
    let (_, found) = Moment::now().wait(FOUND_WITHIN);
    let before = offices.counters()?;
    let (full, halved_at) = found.wait(USED_FOR);
    let share_found = share_percent(before, offices.counters()?);
    offices.set_path(halved(options))?;
    let (halved, doubled_at) = halved_at.wait(HALVED_FOR);
    offices.set_path(Case::Rate.models(options))?;
    let (_, then) = doubled_at.wait(DOUBLED_WITHIN);
    let before = offices.counters()?;
    let (_, _) = then.wait(USED_FOR);
    let share_doubled = share_percent(before, offices.counters()?);
    for stream in streams {
        stream.finish()?;
    }
    let recording = finish_calls(calls)?;

    let base_ms = p99(&recording, base);
    let back = Window { begin: halved.begin + BACK_WITHIN_MS * MS, end: halved.end };
    Ok(vec![
        (metric::BASE_P99, base_ms),
        (metric::SHARE_FOUND, share_found),
        (metric::P99, p99(&recording, full)),
        (metric::MOS, super::worst_mos(&recording.qualities(full))),
        (metric::BACK_AFTER, back_after(&recording, halved, base_ms + BACK_MS)),
        (metric::P99_HALVED, p99(&recording, back)),
        (metric::SHARE_DOUBLED, share_doubled),
        (metric::SLIP, recording.slip_ms(full, 0.99)),
    ])
}

fn halved(options: &Options) -> [PathModel; 2] {
    Case::Rate.models(options).map(|mut model| {
        if let Some(bottleneck) = &mut model.bottleneck {
            bottleneck.bits_per_second /= 2;
        }
        model
    })
}

/// Of the line's octets in [`USED_FOR`], those that were sent, of the way on which it was less.
fn share_percent(before: [PathCounters; 2], after: [PathCounters; 2]) -> f64 {
    let used = |way: usize| {
        let packets = after[way].delivered - before[way].delivered;
        let octets = after[way].octets_delivered - before[way].octets_delivered + packets * OVERHEAD as u64;
        octets as f64 * 8.0 / (Case::Rate.rates()[way] as f64 * USED_FOR.as_secs_f64())
    };
    100.0 * used(0).min(used(1))
}

fn p99(recording: &Recording, window: Window) -> f64 {
    delay_ms(recording, window, 0.99)
}

/// Seconds from the begin of the window to the end of its last piece in which voice was later than that.
fn back_after(recording: &Recording, window: Window, limit_ms: f64) -> f64 {
    let pieces = (window.end - window.begin) / (PIECE_MS * MS);
    let piece = |number| Window {
        begin: window.begin + number * PIECE_MS * MS,
        end: window.begin + (number + 1) * PIECE_MS * MS,
    };
    let last = (0..pieces).rev().find(|number| p99(recording, piece(*number)) > limit_ms);
    last.map_or(0.0, |number| ((number + 1) * PIECE_MS) as f64 / 1000.0)
}
