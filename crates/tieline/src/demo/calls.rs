//! Ten calls beside files that fill the line both ways: once where all wait in one queue, once as tieline does it.
//!
//! The files are copied by computers of the offices, as people copy them. A file that is given to the line itself would not show it: it
//! leaves the queue empty even where there is only one.

use std::{fs, io::Write as _, thread, time::Duration};

use tieline_sim::{
    calls::{Calls, Codec, Place, Plan, Recording, Window, now},
    copying::Copying,
};

use super::{DemoError, is_joined, party::Party, row, stage::LINE, stage::Stage, wait_for};

/// An office that is busy on the telephone.
const PLAN: Plan = Plan { calls: 10, codec: Codec::G711, is_marked: true };
/// How long the calls are alone first.
const ALONE: Duration = Duration::from_secs(1);
/// How long it takes until the queue is as it will be.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
const MEASURED_FOR: Duration = Duration::from_secs(5);
/// What is on its way at the end is waited for.
const ON_THE_WAY_MAX: Duration = Duration::from_millis(500);

/// Shows both, and leaves the line as tieline does it. In between, the ends are started anew.
pub(super) fn show(stage: &mut Stage) -> Result<(), DemoError> {
    let Some(places) = stage.phones()? else {
        row("calls", "left out: without namespaces there are no phones in the offices");
        return Ok(());
    };
    row("calls", &format!("{} phone calls while files fill the line both ways:", PLAN.calls));
    let found = beside_files(&places)?;
    row("", &format!("all in one queue:      {found}"));
    stage.b.stop()?;
    stage.a.stop()?;
    for party in [&stage.a, &stage.b] {
        know_the_rate(party)?;
    }
    stage.a.start()?;
    wait_for(stage, "office A's end answering", |a, _| a.is_some())?;
    stage.b.start()?;
    wait_for(stage, "the line coming up again", |a, b| is_joined(a) && is_joined(b))?;
    let found = beside_files(&places)?;
    row("", &format!("with the line's rate:  {found}"));
    Ok(())
}

/// Writes down what the line carries, so that what waits does so at this end, in the order that calls need.
fn know_the_rate(party: &Party) -> Result<(), DemoError> {
    let file = party.config_dir().join(format!("{LINE}.toml"));
    let rate = format!("\n[rate]\nout = \"{} Mbit/s\"\n", super::stage::RATE_BITS_PER_SECOND / 1_000_000);
    fs::OpenOptions::new()
        .append(true)
        .open(file)
        .and_then(|mut file| file.write_all(rate.as_bytes()))
        .map_err(DemoError::system("write the line's rate into a configuration"))
}

/// Has the phones talk, copies a file each way, and says how the calls were meanwhile.
fn beside_files(places: &[Place; 2]) -> Result<String, DemoError> {
    let [a, b] = places;
    let calls = Calls::start([a, b], PLAN, ON_THE_WAY_MAX).map_err(DemoError::system("have phones talk"))?;
    thread::sleep(ALONE);
    let copy = |from, to| Copying::start(from, to).map_err(DemoError::system("copy a file"));
    let copies = [copy(a, b)?, copy(b, a)?];
    thread::sleep(SETTLED_AFTER);
    let (begin, before) = (now(), copies.each_ref().map(Copying::received));
    thread::sleep(MEASURED_FOR);
    let (end, after) = (now(), copies.each_ref().map(Copying::received));
    drop(copies);
    let recording = calls.finish().map_err(DemoError::system("listen to phones"))?;
    let mbit = |way: usize| (after[way] - before[way]) as f64 * 8e-6 / MEASURED_FOR.as_secs_f64();
    Ok(in_words(&recording, Window { begin, end }, [mbit(0), mbit(1)]))
}

fn in_words(recording: &Recording, window: Window, mbit: [f64; 2]) -> String {
    let qualities = recording.qualities(window);
    let mos = qualities.iter().map(|quality| quality.mos).fold(f64::INFINITY, f64::min);
    let missing: usize = qualities.iter().map(|quality| quality.lost + quality.late).sum();
    let sent: usize = qualities.iter().map(|quality| quality.sent).sum();
    let p99 = recording.delays_ms(window, 0.99).into_iter().fold(0.0, f64::max);
    format!(
        "MOS {mos:.2} for the worst call, p99 {p99:.0} ms one way, {:.1} % lost or late; files {:.1} and {:.1} Mbit/s",
        100.0 * missing as f64 / sent.max(1) as f64,
        mbit[0],
        mbit[1]
    )
}
