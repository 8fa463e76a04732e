//! Whom we measure, and how each is started between two offices.

mod bare;
mod mesh;
mod openvpn;
mod tieline;
mod wireguard;

use std::path::PathBuf;

use tieline_bench::process::{self, Daemon};

use crate::offices::Offices;
use crate::options::Options;

/// Where every tunnel listens.
const PORT: u16 = 51820;
/// The largest packet in every tunnel, where that can be set.
const MTU: u16 = 1420;

/// What carries packets from one office to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The cable itself.
    Veth,
    /// The kernel's own tunnel, which does not seal.
    Vxlan,
    /// Our packet path with sealing left out.
    Floor,
    Tieline,
    /// Told to do without AES, as where a processor has none (`bench/chacha20`).
    TielineChaCha20,
    /// One with segmentation offload.
    WireguardGo,
    /// Debian 12's, without.
    WireguardGo2022,
    Boringtun,
    Gotatun,
    Openvpn,
    Fastd,
    Tinc,
    Nebula,
    Vpncloud,
}

/// The daemons of a tunnel that is up; none for the bare cable and what the kernel does.
pub(crate) struct Running {
    pub(crate) daemons: Vec<Daemon>,
}

impl Running {
    /// What the daemons said last.
    pub(crate) fn logs(&self) -> String {
        self.daemons.iter().map(Daemon::log).collect::<Vec<_>>().join("\n---\n")
    }
}

impl Peer {
    /// In the order of the table.
    pub(crate) const ALL: [Self; 14] = [
        Self::Veth,
        Self::Vxlan,
        Self::Floor,
        Self::Tieline,
        Self::TielineChaCha20,
        Self::WireguardGo,
        Self::WireguardGo2022,
        Self::Boringtun,
        Self::Gotatun,
        Self::Openvpn,
        Self::Fastd,
        Self::Tinc,
        Self::Nebula,
        Self::Vpncloud,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Vxlan => "vxlan",
            Self::Floor => "floor",
            Self::Tieline => "tieline",
            Self::TielineChaCha20 => "tieline-chacha20",
            Self::WireguardGo => "wireguard-go",
            Self::WireguardGo2022 => "wireguard-go-2022",
            Self::Boringtun => "boringtun",
            Self::Gotatun => "gotatun",
            Self::Openvpn => "openvpn",
            Self::Fastd => "fastd",
            Self::Tinc => "tinc",
            Self::Nebula => "nebula",
            Self::Vpncloud => "vpncloud",
        }
    }

    /// Whether it is another's tunnel that seals, to be compared with.
    pub(crate) fn is_competitor(self) -> bool {
        !matches!(self, Self::Veth | Self::Vxlan | Self::Floor | Self::Tieline | Self::TielineChaCha20)
    }

    /// The programs it needs, the one that knows its version first.
    pub(crate) fn programs(self, options: &Options) -> Vec<PathBuf> {
        // A name by which it is told what is missing.
        let offloading = || {
            options.wireguard_go.clone().unwrap_or("wireguard-go with offloads (--wireguard-go PATH)".into())
        };
        match self {
            Self::Veth | Self::Vxlan => vec![],
            Self::Floor => vec![options.floor.clone()],
            Self::Tieline => vec![options.tieline.clone()],
            Self::TielineChaCha20 => vec![options.tieline.clone(), options.chacha20.clone()],
            Self::WireguardGo => vec![offloading(), "wg".into()],
            Self::WireguardGo2022 => vec!["wireguard-go".into(), "wg".into()],
            Self::Boringtun => vec![options.boringtun.clone(), "wg".into()],
            Self::Gotatun => vec![options.gotatun.clone(), "wg".into()],
            Self::Openvpn => vec!["openvpn".into(), "openssl".into()],
            Self::Fastd => vec!["fastd".into()],
            Self::Tinc => vec!["tincd".into()],
            Self::Nebula => vec!["nebula".into(), "nebula-cert".into()],
            Self::Vpncloud => vec![options.vpncloud.clone()],
        }
    }

    /// What its program calls itself.
    pub(crate) fn version(self, options: &Options) -> String {
        let Some(program) = self.programs(options).into_iter().next() else { return "the kernel's".into() };
        if self == Self::Floor {
            return "of this tree".into();
        }
        process::version(&program, "--version")
    }

    /// Starts both ends.
    ///
    /// # Errors
    ///
    /// What went wrong, in words; nothing is left running.
    pub(crate) fn start(self, options: &Options, offices: &mut Offices) -> Result<Running, String> {
        let daemons = match self {
            Self::Veth => {
                offices.target = offices.a.outside;
                Ok(vec![])
            }
            Self::Vxlan => bare::start_vxlan(offices),
            Self::Floor => bare::start_floor(&options.floor, offices),
            Self::Tieline => {
                let ends = tieline::Up { program: &options.tieline, arguments: &["up", "--foreground"] };
                tieline::start(&options.tieline, &ends, offices)
            }
            Self::TielineChaCha20 => {
                let ends = tieline::Up { program: &options.chacha20, arguments: &[] };
                tieline::start(&options.tieline, &ends, offices)
            }
            Self::WireguardGo => {
                let program =
                    options.wireguard_go.as_deref().ok_or("no wireguard-go with offloads is given")?;
                wireguard::start(program, &["--foreground"], offices)
            }
            Self::WireguardGo2022 => wireguard::start("wireguard-go".as_ref(), &["--foreground"], offices),
            Self::Boringtun => {
                wireguard::start(&options.boringtun, &["--foreground", "--disable-drop-privileges"], offices)
            }
            Self::Gotatun => {
                wireguard::start(&options.gotatun, &["--foreground", "--disable-drop-privileges"], offices)
            }
            Self::Openvpn => openvpn::start(offices),
            Self::Fastd => mesh::start_fastd(offices),
            Self::Tinc => mesh::start_tinc(offices),
            Self::Nebula => mesh::start_nebula(offices),
            Self::Vpncloud => mesh::start_vpncloud(&options.vpncloud, offices),
        };
        Ok(Running { daemons: daemons? })
    }
}
