//! Calls, first alone, then beside a load.

use std::fs::File;
use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use tieline_bench::line::{self, LINE};
use tieline_bench::offices::Offices;
use tieline_sim::calls::{Codec, Plan, Quality, Recording, Window};
use tieline_sim::path::PathCounters;

use super::{LEAD, Moment, delay_ms, finish_calls, start_calls, worst, worst_mos};
use crate::bulk::{Carried, Stream};
use crate::case::{Case, Load};
use crate::contender::Running;
use crate::metric::{self, Figures, Metric};
use crate::options::Options;
use crate::trips::{Answers, Trips};

/// Calls alone.
const BASE: Duration = Duration::from_secs(4);
/// How long a load takes until the queue is what it will be.
const SETTLED_AFTER: Duration = Duration::from_secs(4);
/// The same where a queue lasts two seconds.
const SETTLED_AFTER_ON_A_SLOW_LINE: Duration = Duration::from_secs(10);
/// How much longer the load is there than it is measured.
const LONGER: Duration = Duration::from_secs(1);
/// Packets may be on their way so long when the last was sent: what a modem of a slow line holds.
const ON_THE_WAY_MAX: Duration = Duration::from_millis(2500);
/// RTP, UDP and IPv4.
const HEADERS_LEN: usize = 12 + 8 + 20;

/// Everything that is counted beside the calls.
struct Counts {
    processor: Vec<f64>,
    paths: [PathCounters; 2],
}

/// A load that goes on.
enum Begun {
    Nothing,
    Tcp([Option<Stream>; 2]),
    File { process: Child, octets: usize, begin: Instant },
}

/// What it carried, in Mbit/s each way.
enum Done {
    Nothing,
    Tcp([Option<Carried>; 2]),
    File(f64),
}

pub(super) fn measure(
    options: &Options,
    case: Case,
    offices: &Offices,
    running: &Running,
) -> Result<Figures, String> {
    let (load, plan) = (case.load(), case.plan());
    let calls = start_calls(offices, plan, ON_THE_WAY_MAX)?;
    let trips = (load != Load::Nothing).then(|| Trips::start(offices)).transpose()?;
    let (_, led) = Moment::now().wait(LEAD);
    let (base, _) = led.wait(if load == Load::Nothing { Duration::ZERO } else { BASE });
    let settled_after = match case {
        Case::Slow => SETTLED_AFTER_ON_A_SLOW_LINE,
        _ if load == Load::Nothing => Duration::ZERO,
        _ => SETTLED_AFTER,
    };
    let time = Duration::from_secs(options.seconds);
    let begun = Begun::start(options, case, offices, settled_after + time + LONGER)?;
    let (_, settled) = Moment::now().wait(settled_after);
    let before = Counts::now(offices, running)?;
    let (window, end) = settled.wait(time);
    let counts = Counts::now(offices, running)?.since(&before);
    let done = begun.finish()?;
    let recording = finish_calls(calls)?;
    let answers = trips.map(Trips::finish).transpose()?;

    let mut figures = Vec::new();
    if load != Load::Nothing {
        figures.push((metric::BASE_P99, delay_ms(&recording, base, 0.99)));
    }
    figures.extend(of_voice(&recording, window));
    figures.extend(done.figures(settled.at, end.at));
    if let Some(answers) = answers {
        figures.extend(of_trips(&answers, base, window));
    }
    figures.extend(counts.figures(load, plan, window));
    figures.push((metric::SLIP, recording.slip_ms(window, 0.99)));
    Ok(figures)
}

fn of_voice(recording: &Recording, window: Window) -> Figures {
    let qualities = recording.qualities(window);
    let sent: usize = qualities.iter().map(|quality| quality.sent).sum();
    let count = |figure: fn(&Quality) -> usize| qualities.iter().map(figure).sum::<usize>() as f64;
    let percent = |figure| 100.0 * count(figure) / sent.max(1) as f64;
    vec![
        (metric::P50, delay_ms(recording, window, 0.5)),
        (metric::P99, delay_ms(recording, window, 0.99)),
        (metric::P99_WORST, worst(&qualities, |quality| quality.p99_ms)),
        (metric::MAX, worst(&qualities, |quality| quality.max_ms)),
        (metric::LATE, percent(|quality| quality.late)),
        (metric::LOST, percent(|quality| quality.lost)),
        (metric::DUPLICATES, count(|quality| quality.duplicates)),
        (metric::JITTER, worst(&qualities, |quality| quality.jitter_ms)),
        (metric::MOS, worst_mos(&qualities)),
    ]
}

fn of_trips(answers: &Answers, base: Window, window: Window) -> Figures {
    let of = |metric: Metric, window| Some((metric, answers.ms(window, 0.99)?));
    [of(metric::BASE_TRIP_P99, base), of(metric::TRIP_P99, window)].into_iter().flatten().collect()
}

impl Counts {
    fn now(offices: &Offices, running: &Running) -> Result<Self, String> {
        Ok(Self { processor: running.processor_seconds()?, paths: offices.counters()? })
    }

    fn since(&self, before: &Self) -> Self {
        let processor = self.processor.iter().zip(&before.processor).map(|(after, before)| after - before);
        let path = |way: usize| {
            let (after, before) = (self.paths[way], before.paths[way]);
            PathCounters {
                delivered: after.delivered - before.delivered,
                octets_delivered: after.octets_delivered - before.octets_delivered,
                lost: after.lost - before.lost,
                lost_in_burst: after.lost_in_burst - before.lost_in_burst,
                ..PathCounters::default()
            }
        };
        Self { processor: processor.collect(), paths: [path(0), path(1)] }
    }

    fn figures(&self, load: Load, plan: Plan, window: Window) -> Figures {
        let seconds = (window.end - window.begin) as f64 / 1e9;
        let mut figures = Vec::new();
        if load == Load::Nothing {
            let packets = 2.0 * plan.calls as f64 * seconds / Codec::INTERVAL.as_secs_f64();
            let voice = packets * (plan.codec.payload_len() + HEADERS_LEN) as f64;
            figures.push((metric::WIRE, self.paths.iter().map(octets_sent).sum::<f64>() / voice));
        }
        // Of no tunnel there is no process.
        if let Some(most) = self.processor.iter().copied().reduce(f64::max) {
            figures.push((metric::PROCESSOR, 100.0 * most / seconds));
        }
        figures
    }
}

/// What is lost counts as large as what arrives.
fn octets_sent(path: &PathCounters) -> f64 {
    let lost = (path.lost + path.lost_in_burst) as f64;
    path.octets_delivered as f64 * (1.0 + lost / (path.delivered as f64).max(1.0))
}

impl Begun {
    fn start(options: &Options, case: Case, offices: &Offices, time: Duration) -> Result<Self, String> {
        match case.load() {
            Load::Nothing => Ok(Self::Nothing),
            Load::Tcp { ways, .. } => {
                let stream = |way: usize| ways[way].then(|| Stream::start(offices, way, time.as_secs()));
                Ok(Self::Tcp([stream(0).transpose()?, stream(1).transpose()?]))
            }
            Load::File => {
                let octets = (case.rates()[0] as f64 / 8.0 * time.as_secs_f64()) as usize;
                let file = random_file(offices, octets)?;
                let send =
                    line::command(&options.tieline, &offices.a).args(["send", "--wait", LINE]).arg(file);
                let begin = Instant::now();
                let process =
                    send.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn();
                let process = process.map_err(|error| format!("tieline send: {error}"))?;
                Ok(Self::File { process, octets, begin })
            }
        }
    }

    fn finish(self) -> Result<Done, String> {
        match self {
            Self::Nothing => Ok(Done::Nothing),
            Self::Tcp([up, down]) => {
                let finish = |stream: Option<Stream>| stream.map(Stream::finish).transpose();
                Ok(Done::Tcp([finish(up)?, finish(down)?]))
            }
            Self::File { mut process, octets, begin } => {
                let status = process.wait().map_err(|error| format!("tieline send: {error}"))?;
                let seconds = begin.elapsed().as_secs_f64();
                if !status.success() {
                    return Err(format!("tieline send: {status}"));
                }
                Ok(Done::File(octets as f64 * 8e-6 / seconds))
            }
        }
    }
}

impl Done {
    fn figures(&self, begin: Instant, end: Instant) -> Figures {
        match self {
            Self::Nothing => vec![],
            Self::Tcp([up, down]) => {
                let of =
                    |metric, carried: &Option<Carried>| Some((metric, carried.as_ref()?.mbit(begin, end)));
                [of(metric::BULK_UP, up), of(metric::BULK_DOWN, down)].into_iter().flatten().collect()
            }
            Self::File(mbit) => vec![(metric::BULK_UP, *mbit)],
        }
    }
}

fn random_file(offices: &Offices, octets: usize) -> Result<std::path::PathBuf, String> {
    let file = offices.a.folder.join("large");
    let fault = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut target = File::create(&file).map_err(fault)?;
    let mut source = File::open("/dev/urandom").map_err(fault)?.take(octets as u64);
    std::io::copy(&mut source, &mut target).map_err(fault)?;
    Ok(file)
}
