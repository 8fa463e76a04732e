//! Landlock (`landlock(7)`): which files and TCP ports are left.

use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{ConfineError, Confinement, Enforcement};

/// The newest rules we know the meaning of; older kernels enforce what they know of them.
const RULES: ABI = ABI::V6;

/// DNS answers too long for UDP come over TCP (RFC 7766).
const DNS_PORT: u16 = 53;

/// What the C library reads to resolve names and tell the time, and the standard library to count processors. Those that a
/// system has not are passed over.
const SYSTEM_READ: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    // Where a resolver manager keeps what `/etc/resolv.conf` leads to.
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
    // Name service modules, which the C library loads at the first look-up.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/dev/random",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self",
    "/proc/stat",
    "/proc/sys/net",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
];

const SYSTEM_WRITE: &[&str] = &["/dev/null"];

/// The rules, ready to be enforced.
pub(super) struct Fence(RulesetCreated);

impl Fence {
    pub(super) fn prepare(confinement: &Confinement) -> Result<Self, ConfineError> {
        let mut ruleset = empty_ruleset().map_err(unusable)?;
        for path in &confinement.read {
            let path = open(path)?;
            ruleset = allow(ruleset, path, reading()).map_err(unusable)?;
        }
        for path in &confinement.write {
            let path = open(path)?;
            ruleset = allow(ruleset, path, writing()).map_err(unusable)?;
        }
        let system = SYSTEM_READ.iter().map(|path| (path, reading()));
        for (path, access) in system.chain(SYSTEM_WRITE.iter().map(|path| (path, writing()))) {
            if let Ok(path) = PathFd::new(path) {
                ruleset = allow(ruleset, path, access).map_err(unusable)?;
            }
        }
        let ports = [DNS_PORT].iter().chain(&confinement.connect).map(|&port| (port, AccessNet::ConnectTcp));
        for (port, access) in ports.chain(confinement.bind.iter().map(|&port| (port, AccessNet::BindTcp))) {
            ruleset = ruleset.add_rule(NetPort::new(port, access)).map_err(unusable)?;
        }
        Ok(Self(ruleset))
    }

    pub(super) fn raise(self) -> io::Result<Enforcement> {
        let status = self.0.restrict_self().map_err(io::Error::other)?;
        Ok(match status.ruleset {
            RulesetStatus::FullyEnforced => Enforcement::Full,
            RulesetStatus::PartiallyEnforced => Enforcement::Partial,
            RulesetStatus::NotEnforced => {
                Enforcement::None("this kernel has no Landlock that allows to move files (Linux 5.19 has), or it is not enabled".into())
            }
        })
    }
}

/// Rules that forbid everything they handle.
///
/// Before Linux 5.19 any rules at all forbid to move a file from one folder to another, whatever they allow (`AccessFs::Refer`
/// is unknown there), and files that arrive could not be delivered: there must be none then.
fn empty_ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()
}

fn reading() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Everything but what a line never makes or does: devices, running programs.
fn writing() -> BitFlags<AccessFs> {
    AccessFs::from_all(RULES)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev)
}

fn open(path: &Path) -> Result<PathFd, ConfineError> {
    // The error's own text says "failed to open", which ours says already; its cause is what counts.
    PathFd::new(path).map_err(|error| {
        let source = match error {
            landlock::PathFdError::OpenCall { source, .. } => source,
            other => io::Error::other(other),
        };
        ConfineError::Folder { path: path.to_owned(), source }
    })
}

fn allow(
    ruleset: RulesetCreated,
    path: PathFd,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let is_folder = rustix::fs::fstat(&path).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
    });
    // A right that only a folder can give, given for a file, would make the whole rule invalid.
    let access = if is_folder { access } else { access & AccessFs::from_file(RULES) };
    ruleset.add_rule(PathBeneath::new(path, access))
}

fn unusable(error: RulesetError) -> ConfineError {
    ConfineError::Refused { what: "make Landlock rules", source: io::Error::other(error) }
}
