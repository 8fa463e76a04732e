//! What was asked for.

use std::path::PathBuf;
use std::time::Duration;

use tieline_bench::options::{self, list, number};

use crate::case::Case;
use crate::contender::Contender;

const USAGE: &str = "\
cargo xtask bench voice [OPTION]...
  --case NAME,...      of both, both-bbr, unmarked, uplink, slow, rate, loss, bursts, capacity, file, fifty, phones (all of
                       these if none is named)
  --only NAME,...      of bare, wireguard-go, htb+wireguard-go, tieline-one-queue, tieline, tieline-auto
  --rounds N           runs of each (default 1; one round of everything takes about 25 minutes)
  --seconds N          for which the calls are measured beside a full line (default 10)
  --delay N            ms of the path, one way (default 10)
  --seed N             what the path loses (default 1)
  --json PATH          where the figures of every run go
  --wireguard-go PATH
  --speech PATH        what phones say: 8 s of sound at least, 8 kHz, one channel, 16 bits (default: a prompt of Debian's
                       asterisk-core-sounds-en-wav)
  --python PATH        one that has the modules pesq and numpy (default python3)
Nothing else should run.";

/// A prompt of one person, 16 s.
const SPEECH: &str = "/usr/share/asterisk/sounds/en_US_f_Allison/vm-options.wav";

/// More make no sense, and a slip of the finger should not run for a week.
const ROUNDS_MAX: u32 = 100;
const SECONDS_MAX: u64 = 600;
const MILLISECONDS_MAX: u64 = 1000;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cases: Vec<Case>,
    pub(crate) only: Vec<Contender>,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) delay: Duration,
    pub(crate) seed: u64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) tieline: PathBuf,
    pub(crate) wireguard_go: PathBuf,
    pub(crate) speech: PathBuf,
    pub(crate) python: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cases: Case::ALL.to_vec(),
            only: Vec::new(),
            rounds: 1,
            seconds: 10,
            delay: Duration::from_millis(10),
            seed: 1,
            json: None,
            tieline: "tieline".into(),
            wireguard_go: "wireguard-go".into(),
            speech: SPEECH.into(),
            python: "python3".into(),
        }
    }
}

impl Options {
    /// # Errors
    ///
    /// What is wrong with the arguments, or how they are used, in sentences.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        options::parse(arguments, USAGE, &[], Self::set)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "--case" => self.cases = list(name, value, &Case::ALL, Case::name)?,
            "--only" => self.only = list(name, value, &Contender::ALL, Contender::name)?,
            "--rounds" => self.rounds = number(name, value, ROUNDS_MAX)?,
            "--seconds" => self.seconds = number(name, value, SECONDS_MAX)?,
            "--delay" => self.delay = Duration::from_millis(number(name, value, MILLISECONDS_MAX)?),
            "--seed" => self.seed = number(name, value, u64::MAX)?,
            "--json" => self.json = Some(value.into()),
            "--tieline" => self.tieline = value.into(),
            "--wireguard-go" => self.wireguard_go = value.into(),
            "--speech" => self.speech = value.into(),
            "--python" => self.python = value.into(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Who of a case is wanted, in the order of its table.
    pub(crate) fn wanted(&self, case: Case) -> Vec<Contender> {
        let is_wanted = |contender: &Contender| self.only.is_empty() || self.only.contains(contender);
        case.contenders().iter().copied().filter(is_wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn contenders_are_those_of_the_case_in_its_order() {
        let options =
            parse(&["--case", "loss", "--only", "tieline,bare,wireguard-go"]).expect("good options");
        assert_eq!(options.cases, [Case::Loss]);
        assert_eq!(options.wanted(Case::Loss), [Contender::WireguardGo, Contender::Tieline]);
    }

    #[test]
    fn what_is_no_option_or_out_of_range_is_refused() {
        for arguments in [&["--case", "none"][..], &["--only", "vpn"], &["--seconds", "0"], &["--json"]] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
