//! What was asked for.

use std::path::PathBuf;
use std::time::Duration;

use tieline_bench::offices::Congestion;
use tieline_bench::options::{self, list, number};

use crate::case::Case;
use crate::contender::Contender;

const USAGE: &str = "\
cargo xtask bench files [OPTION]...
  --case NAME,...      of clean, loss1, loss5, loss10, small, changed, edits, insert, tiny (all of these if none is named), and
                       sparse, million, which take long
  --only NAME,...      of tieline, rsync-ssh, rsync-daemon, scp, tar-ssh, syq, qcp, sendme
  --rounds N           runs of each (default 3)
  --mib N              size of the large file (default 1024)
  --files N            files of the tree (default 20000), about 12,500 octets each
  --gib N              size of the sparse file (default 100)
  --many N             files of the case million (default 1000000)
  --line N             Mbit/s of the path (default 100)
  --rtt N              its round trip in ms (default 80)
  --seed N             what the path loses, and what is in the files (default 1)
  --congestion NAME,... of cubic, bbr: for rivals, all but sendme (default both)
  --carried N          so many of the fastest rivals of each case are run again in a tunnel of wireguard-go (default 1)
  --limit N            seconds after which a run is given up (default 900)
  --syq, --qcp, --sendme, --wireguard-go PATH
Nothing else should run.";

/// More make no sense, and a slip of the finger should not run for a week.
const ROUNDS_MAX: u32 = 100;
const MIB_MAX: u64 = 1 << 20;
const FILES_MAX: u64 = 10_000_000;
const MBIT_MAX: u64 = 100_000;
const MILLISECONDS_MAX: u64 = 10_000;
const LIMIT_MAX: u64 = 7 * 24 * 3600;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) cases: Vec<Case>,
    pub(crate) only: Vec<Contender>,
    pub(crate) rounds: u32,
    pub(crate) mib: u64,
    pub(crate) files: u64,
    pub(crate) gib: u64,
    pub(crate) many: u64,
    pub(crate) line_mbit: u64,
    pub(crate) round_trip: Duration,
    pub(crate) seed: u64,
    pub(crate) congestions: Vec<Congestion>,
    pub(crate) carried: usize,
    pub(crate) limit: Duration,
    pub(crate) tieline: PathBuf,
    pub(crate) syq: PathBuf,
    pub(crate) qcp: PathBuf,
    pub(crate) sendme: PathBuf,
    pub(crate) wireguard_go: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cases: Case::USUAL.to_vec(),
            only: Vec::new(),
            rounds: 3,
            mib: 1024,
            files: 20_000,
            gib: 100,
            many: 1_000_000,
            line_mbit: 100,
            round_trip: Duration::from_millis(80),
            seed: 1,
            congestions: Congestion::ALL.to_vec(),
            carried: 1,
            limit: Duration::from_mins(15),
            tieline: "tieline".into(),
            syq: "syq".into(),
            qcp: "qcp".into(),
            sendme: "sendme".into(),
            wireguard_go: "wireguard-go".into(),
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
            "--congestion" => self.congestions = list(name, value, &Congestion::ALL, Congestion::name)?,
            "--rounds" => self.rounds = number(name, value, ROUNDS_MAX)?,
            "--mib" => self.mib = number(name, value, MIB_MAX)?,
            "--files" => self.files = number(name, value, FILES_MAX)?,
            "--gib" => self.gib = number(name, value, MIB_MAX)?,
            "--many" => self.many = number(name, value, FILES_MAX)?,
            "--line" => self.line_mbit = number(name, value, MBIT_MAX)?,
            "--rtt" => self.round_trip = Duration::from_millis(number(name, value, MILLISECONDS_MAX)?),
            "--seed" => self.seed = number(name, value, u64::MAX)?,
            "--carried" => {
                self.carried = value.parse().map_err(|error| format!("{name} {value}: {error}"))?
            }
            "--limit" => self.limit = Duration::from_secs(number(name, value, LIMIT_MAX)?),
            "--tieline" => self.tieline = value.into(),
            "--syq" => self.syq = value.into(),
            "--qcp" => self.qcp = value.into(),
            "--sendme" => self.sendme = value.into(),
            "--wireguard-go" => self.wireguard_go = value.into(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whom to measure, in the order of the table.
    pub(crate) fn wanted(&self) -> Vec<Contender> {
        let is_wanted = |contender: &Contender| self.only.is_empty() || self.only.contains(contender);
        Contender::ALL.into_iter().filter(is_wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn cases_that_take_long_are_only_run_when_they_are_named() {
        assert!(!parse(&[]).expect("good options").cases.contains(&Case::Sparse));
        let options = parse(&["--case", "sparse,tiny", "--only", "scp,tieline"]).expect("good options");
        assert_eq!(options.cases, [Case::Sparse, Case::Tiny]);
        assert_eq!(options.wanted(), [Contender::Tieline, Contender::Scp], "in the order of the table");
    }

    #[test]
    fn what_is_no_option_or_out_of_range_is_refused() {
        for arguments in [
            &["--case", "all"][..],
            &["--only", "ftp"],
            &["--rounds", "0"],
            &["--line", "100001"],
            &["--carried", "few"],
            &["--bogus", "1"],
            &["--mib"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
