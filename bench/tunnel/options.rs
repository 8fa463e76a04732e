//! What was asked for.

use std::path::PathBuf;

use tieline_bench::options::{self, list, number};

use crate::offices::Cable;
use crate::peer::Peer;

const USAGE: &str = "\
cargo xtask bench tunnel [OPTION]...
  --seconds N          of each TCP measurement (default 5)
  --rounds N           runs of each tunnel on each cable (default 3)
  --only PEER,...      of veth, vxlan, floor (these three seal nothing), tieline, tieline-chacha20, wireguard-go,
                       wireguard-go-2022, boringtun, gotatun, openvpn, fastd, tinc, nebula, vpncloud
  --cable KIND         whole (64 KiB in one piece), wire (no packet over 1,500 octets) or both (default)
  --wireguard-go PATH  one with segmentation offload (0.0.20230223 or newer); without it only Debian 12's of 2022, if that is installed
  --boringtun PATH     default boringtun-cli
  --gotatun PATH       default gotatun
  --vpncloud PATH      default vpncloud
  --json PATH          where the figures of every run go
  --verify             measures nothing: sends random octets through each tunnel, both ways, and compares every one
Each end of a tunnel has one processor; nothing else should run.";

/// More make no sense, and a slip of the finger should not run for a week.
const ROUNDS_MAX: u32 = 100;
const SECONDS_MAX: u32 = 600;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) seconds: u32,
    pub(crate) rounds: u32,
    pub(crate) only: Vec<Peer>,
    pub(crate) cables: Vec<Cable>,
    pub(crate) verify: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) tieline: PathBuf,
    pub(crate) chacha20: PathBuf,
    pub(crate) floor: PathBuf,
    pub(crate) wireguard_go: Option<PathBuf>,
    pub(crate) boringtun: PathBuf,
    pub(crate) gotatun: PathBuf,
    pub(crate) vpncloud: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seconds: 5,
            rounds: 3,
            only: Vec::new(),
            cables: vec![Cable::Whole, Cable::Wire],
            verify: false,
            json: None,
            tieline: "tieline".into(),
            chacha20: "chacha20".into(),
            floor: "floor".into(),
            wireguard_go: None,
            boringtun: "boringtun-cli".into(),
            gotatun: "gotatun".into(),
            vpncloud: "vpncloud".into(),
        }
    }
}

impl Options {
    /// # Errors
    ///
    /// What is wrong with the arguments, or how they are used, in sentences.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        options::parse(arguments, USAGE, &["--verify"], Self::set)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match name {
            "--seconds" => self.seconds = number(name, value, SECONDS_MAX)?,
            "--rounds" => self.rounds = number(name, value, ROUNDS_MAX)?,
            "--only" => self.only = list(name, value, &Peer::ALL, Peer::name)?,
            "--cable" => {
                self.cables = match value {
                    "whole" => vec![Cable::Whole],
                    "wire" => vec![Cable::Wire],
                    "both" => vec![Cable::Whole, Cable::Wire],
                    _ => return Err(format!("--cable {value}: whole, wire or both")),
                }
            }
            "--verify" => self.verify = true,
            "--json" => self.json = Some(value.into()),
            "--tieline" => self.tieline = value.into(),
            "--chacha20" => self.chacha20 = value.into(),
            "--floor" => self.floor = value.into(),
            "--wireguard-go" => self.wireguard_go = Some(value.into()),
            "--boringtun" => self.boringtun = value.into(),
            "--gotatun" => self.gotatun = value.into(),
            "--vpncloud" => self.vpncloud = value.into(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whom to measure, in the order of the table.
    pub(crate) fn wanted(&self) -> Vec<Peer> {
        let is_wanted = |peer: &Peer| self.only.is_empty() || self.only.contains(peer);
        Peer::ALL.into_iter().filter(is_wanted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, String> {
        Options::parse(&arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn peers_are_measured_in_the_order_of_the_table_whatever_the_order_of_the_option() {
        let options = parse(&["--only", "tieline,veth", "--rounds", "2"]).expect("good options");
        assert_eq!((options.wanted(), options.rounds), (vec![Peer::Veth, Peer::Tieline], 2));
    }

    #[test]
    fn what_is_no_option_or_out_of_range_is_refused() {
        for arguments in [
            &["--only", "vpn"][..],
            &["--rounds", "0"],
            &["--seconds", "601"],
            &["--bogus", "1"],
            &["--json"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
