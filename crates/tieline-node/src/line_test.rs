//! Measuring a line: a call to nobody, alone and beside a full line ([`tieline_line::test_call`], [`crate::streams::load`]).
//!
//! As with [`crate::status`], fields are added, never renamed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_line::test_call::{ANSWER_WAIT, Figures, Way};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use crate::{
    engine::Command,
    streams::{
        Streams,
        load::{Arrived, LoadError},
    },
};

/// Which way the line is filled beside the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// None.
    #[default]
    None,
    /// Towards the far end.
    Out,
    /// Towards this one.
    In,
}

/// One phase of a test. Times in seconds, shares from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TestPhase {
    /// How the line was filled.
    pub load: Load,
    /// What arrived of that, in bits per second, without the headers of the line; none if it was not filled.
    pub bits_per_second: Option<f64>,
    /// Packets of the call that were sent.
    pub packets_sent: u32,
    /// How long those took that came back; none if none did.
    pub round_trip: Option<Spread>,
    /// From this end to the far one.
    pub out: Option<WayReport>,
    /// From the far end to this one.
    pub inwards: Option<WayReport>,
}

/// How some times are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spread {
    /// The least.
    pub min_seconds: f64,
    /// Half are not longer.
    pub p50_seconds: f64,
    /// Of a hundred one is longer.
    pub p99_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
}

/// What one way was like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WayReport {
    /// The share that was lost.
    pub lost: f64,
    /// The share that came later than a phone's buffer waits.
    pub late: f64,
    /// How much longer than the least of the test packets took.
    pub wait: Spread,
    /// Jitter (RFC 3550).
    pub jitter_seconds: f64,
    /// R of the E-model (ITU-T G.107), for G.711.
    pub r: f64,
    /// The same as a mean opinion score.
    pub mos: f64,
}

/// Why a phase was not measured.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// A phase lasts still, or nobody would answer.
    #[error(
        "nothing is measured: another test is going on, or the far end is no tieline that is heard; `tieline status` says which"
    )]
    NotBegun,
    /// The line was not filled.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The end goes down.
    #[error("this end is going down")]
    GoingDown,
}

/// Measures for so long.
///
/// # Errors
///
/// [`TestError`].
pub async fn measure(
    commands: &mpsc::Sender<Command>,
    streams: &Streams,
    load: Load,
    lasts: Duration,
) -> Result<TestPhase, TestError> {
    if !ask(commands, |reply| Command::BeginTest(lasts, reply)).await? {
        return Err(TestError::NotBegun);
    }
    let (arrived, ()) = tokio::join!(fill(streams, load, lasts), sleep(lasts + ANSWER_WAIT));
    let arrived = arrived?;
    let figures = ask(commands, Command::TestFigures).await?.ok_or(TestError::NotBegun)?;
    Ok(TestPhase::new(load, arrived, &figures))
}

async fn fill(streams: &Streams, load: Load, lasts: Duration) -> Result<Option<Arrived>, LoadError> {
    match load {
        Load::None => Ok(None),
        Load::Out => streams.send_load(lasts).await.map(Some),
        Load::In => streams.receive_load(lasts).await.map(Some),
    }
}

async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, TestError> {
    let (sender, answer) = oneshot::channel();
    commands.send(command(sender)).await.map_err(|_gone| TestError::GoingDown)?;
    answer.await.map_err(|_gone| TestError::GoingDown)
}

impl TestPhase {
    fn new(load: Load, arrived: Option<Arrived>, figures: &Figures) -> Self {
        let [out, inwards] = figures.ways.as_ref().map_or([None, None], |ways| {
            ways.each_ref().map(|way| Spread::of(&way.waits).map(|wait| WayReport::new(way, wait)))
        });
        Self {
            load,
            bits_per_second: arrived.and_then(|arrived| arrived.bits_per_second()),
            packets_sent: figures.sent,
            round_trip: Spread::of(&figures.round_trips),
            out,
            inwards,
        }
    }
}

impl WayReport {
    fn new(way: &Way, wait: Spread) -> Self {
        Self {
            lost: way.lost,
            late: way.late,
            wait,
            jitter_seconds: way.jitter.as_secs_f64(),
            r: way.rating.r(),
            mos: way.rating.mos(),
        }
    }
}

impl Spread {
    /// Of times in order; none of none.
    fn of(sorted: &[Duration]) -> Option<Self> {
        let at = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted.get(place).map(Duration::as_secs_f64)
        };
        Some(Self { min_seconds: at(0)?, p50_seconds: at(50)?, p99_seconds: at(99)?, max_seconds: at(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_that_of_the_times() {
        assert_eq!(Spread::of(&[]), None);
        let times: Vec<_> = (1..=200).map(Duration::from_secs).collect();
        let wanted = Spread { min_seconds: 1.0, p50_seconds: 100.0, p99_seconds: 198.0, max_seconds: 200.0 };
        assert_eq!(Spread::of(&times), Some(wanted));
        let one = Spread::of(&times[..1]).unwrap();
        assert_eq!((one.min_seconds, one.p99_seconds), (1.0, 1.0));
    }
}
