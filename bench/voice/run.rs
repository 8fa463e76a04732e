//! One run: fresh offices, one contender, one case.

mod beside;
mod capacity;
mod phones;
mod rate;

use std::thread::sleep;
use std::time::{Duration, Instant};

use tieline_bench::offices::{Office, Offices};
use tieline_sim::calls::{Calls, Place, Plan, Quality, Recording, Window, now};

use crate::case::{Case, Load};
use crate::contender::Contender;
use crate::metric::Figures;
use crate::options::Options;

/// What calls need until the first ones have been heard everywhere and nothing is new any more.
const LEAD: Duration = Duration::from_secs(2);

/// Measures it all.
///
/// # Errors
///
/// What went wrong; a run of which a part failed has no figures.
pub(crate) fn run(
    options: &Options,
    case: Case,
    contender: Contender,
    round: u32,
) -> Result<Figures, String> {
    let mut offices = Offices::new(options.seed + u64::from(round), case.models(options))?;
    let running = contender.start(options, case, &mut offices)?;
    if let Load::Tcp { congestion, .. } = case.load() {
        offices.use_congestion_control(congestion)?;
    }
    let measured = match case {
        Case::Capacity => capacity::measure(&offices),
        Case::Rate => rate::measure(options, &mut offices),
        Case::Phones => phones::measure(options, &offices),
        _ => beside::measure(options, case, &offices, &running),
    };
    measured.map_err(|problem| format!("{problem}\n{}", running.logs()))
}

/// A moment on both clocks: that of the packets, and that which nobody sets.
#[derive(Clone, Copy)]
struct Moment {
    wall: u64,
    at: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { wall: now(), at: Instant::now() }
    }

    /// So much later, and returns the window between.
    fn wait(self, time: Duration) -> (Window, Self) {
        sleep(time.saturating_sub(self.at.elapsed()));
        let end = Self::now();
        (Window { begin: self.wall, end: end.wall }, end)
    }
}

/// Has the phones of both offices talk.
fn start_calls(offices: &Offices, plan: Plan, longer: Duration) -> Result<Calls, String> {
    let place = |office: &Office| Place { namespace: office.namespace.clone(), address: office.address };
    let places = offices.both().map(place);
    Calls::start([&places[0], &places[1]], plan, longer).map_err(|error| format!("calls: {error}"))
}

/// Ends the calls and returns what was sent and heard.
fn finish_calls(calls: Calls) -> Result<Recording, String> {
    calls.finish().map_err(|error| format!("calls: {error}"))
}

/// Of the worse way, the one-way delay below which such a share of all packets lies.
fn delay_ms(recording: &Recording, window: Window, share: f64) -> f64 {
    recording.delays_ms(window, share).into_iter().fold(0.0, f64::max)
}

/// The worst of the streams by a figure that is bad when it is high.
fn worst(qualities: &[Quality], figure: impl Fn(&Quality) -> f64) -> f64 {
    qualities.iter().map(figure).fold(0.0, f64::max)
}

/// The lowest score.
fn worst_mos(qualities: &[Quality]) -> f64 {
    qualities.iter().map(|quality| quality.mos).fold(f64::INFINITY, f64::min)
}
