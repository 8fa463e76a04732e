//! Real programs as an office has them: a telephone system (kamailio) and a phone (baresip) in office A, another phone in office B that
//! registers across the line, calls by SIPp, and what was heard judged by PESQ.

mod heard;
mod phone;
mod sipp;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tieline_bench::offices::{Office, Offices};
use tieline_bench::process::{self, Daemon};

use self::heard::Speech;
use self::phone::Phone;
pub(crate) use self::sipp::{SetUp, set_up_calls};
use crate::options::Options;

/// What is needed beside what all cases need.
const PROGRAMS: [&str; 3] = ["baresip", "kamailio", "sipp"];
/// The names under which the phones register.
const NAMES: [&str; 2] = ["100", "200"];
/// Where the telephone system listens.
const SYSTEM: u16 = 5060;
/// Calls of SIPp beside that of the phones, each with speech both ways.
const CALLS: u32 = 9;

/// A call between the phones, and those of SIPp, that go on.
pub(crate) struct Phones {
    speech: Speech,
    phones: [Phone; 2],
    _system: Daemon,
    _sipp: [Daemon; 2],
}

/// What was heard in each office.
pub(crate) struct Listened {
    begin: Instant,
    /// When each phrase was said, and its score.
    scores: Vec<(Duration, f64)>,
}

/// What of that which is needed is not installed.
pub(crate) fn missing(options: &Options) -> Vec<String> {
    let mut missing = process::missing(&PROGRAMS.map(PathBuf::from));
    if !options.speech.is_file() {
        missing.push(options.speech.display().to_string());
    }
    let modules = Command::new(&options.python).args(["-c", "import numpy, pesq"]).output();
    if !modules.is_ok_and(|output| output.status.success()) {
        missing.push(format!("modules numpy and pesq of {}", options.python.display()));
    }
    missing
}

impl Phones {
    /// Starts everything and has the far phone call the near one.
    ///
    /// # Errors
    ///
    /// What did not start.
    pub(crate) fn start(options: &Options, offices: &Offices) -> Result<Self, String> {
        let (a, b) = (&offices.a, &offices.b);
        let speech = Speech::prepare(options, &a.folder)?;
        let configuration = include_str!("phones/kamailio.cfg").replace("@ADDRESS@", &a.address.to_string());
        let file = a.write("kamailio.cfg", &configuration)?;
        let kamailio = a.command("kamailio").args(["-DD", "-E", "-f"]).arg(file);
        let kamailio = kamailio.args(["-P".into(), a.folder.join("kamailio.pid")]);
        let kamailio = kamailio.args(["-Y".into(), a.folder.clone()]);
        let system = Daemon::start(kamailio, a.folder.join("kamailio.log"))?;
        a.wait_until_bound("udp", SYSTEM).map_err(|problem| format!("{problem}\n{}", system.log()))?;
        let near = Phone::start(a, a, NAMES[0], &speech.said, None)?;
        near.wait_until_registered()?;
        let sipp = sipp::start_calls(offices, CALLS, &speech.alaw)?;
        let far = Phone::start(b, a, NAMES[1], &speech.said, Some(NAMES[0]))?;
        let phones = [near, far];
        Ok(Self { speech, phones, _system: system, _sipp: sipp })
    }

    /// Ends the call and judges what was heard of it.
    ///
    /// # Errors
    ///
    /// What could not be judged, and what the phones said.
    pub(crate) fn finish(self, options: &Options) -> Result<Vec<Listened>, String> {
        let logs = || self.phones.iter().map(Phone::log).collect::<Vec<_>>().join("\n---\n");
        let recordings: Result<Vec<(PathBuf, Instant)>, String> =
            self.phones.iter().map(Phone::recording).collect();
        let recordings = recordings.map_err(|problem| format!("{problem}\n{}", logs()))?;
        for phone in self.phones {
            phone.hang_up();
        }
        let judge = |(file, begin): (PathBuf, Instant)| {
            Ok(Listened { begin, scores: self.speech.judge(options, &file)? })
        };
        recordings.into_iter().map(judge).collect()
    }
}

impl Listened {
    /// The mean score of the phrases that were wholly heard between these moments; none if there was none.
    pub(crate) fn mean(&self, begin: Instant, end: Instant) -> Option<f64> {
        let is_within = |at: &Duration| self.begin + *at >= begin && self.begin + *at + heard::PHRASE <= end;
        let scores: Vec<f64> =
            self.scores.iter().filter(|(at, _)| is_within(at)).map(|(_, score)| *score).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}

/// The configuration of a program of the office.
fn filled(text: &str, office: &Office, values: &[(&str, String)]) -> String {
    let text = text.replace("@ADDRESS@", &office.address.to_string());
    let text = text.replace("@FOLDER@", &office.folder.display().to_string());
    values.iter().fold(text, |text, (name, value)| text.replace(name, value))
}
