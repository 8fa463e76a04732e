//! Which rights this process has, and giving up those it does not need.
//!
//! [`confine`] is called once, after what needs rights was done (device made, port bound) and **while the process has one
//! thread**: capabilities, Landlock and seccomp belong to threads, and what a thread starts inherits them, so one call before
//! the first thread binds all that come. (`capset` is a bare system call: unlike `setuid`, glibc does not carry it to the
//! other threads, and capabilities from the file, given by `setcap`, are the first thread's to begin with.) Called later
//! it refuses and changes nothing.
//!
//! Four fences, each for what the others do not hold:
//!
//! 1. *No new privileges*: no program that is run could have more rights than we have.
//! 2. *Capabilities*: none is left, in any set, but `CAP_NET_ADMIN` where the line must move addresses and routes later, and `CAP_CHOWN`
//!    where files that arrive are to be given to their owners.
//! 3. *Landlock*: the file system is the folders we were told, the resolver's files and nothing else; TCP only to port 53.
//!    Best effort: older kernels enforce less of it, and [`Report`] says how much.
//! 4. *seccomp*: the system calls that such a program makes and no others, see [`syscalls`](self::syscalls#the-list).

mod capabilities;
mod files;
pub mod syscalls;

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

pub use self::capabilities::{bounding, effective, may_administer_network};
use crate::namespace::thread_count;

/// What the process keeps.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// Keep `CAP_NET_ADMIN`, for addresses and routes that change while the line is up.
    pub keep_net_admin: bool,
    /// Keep `CAP_CHOWN`, to give files away that this process made.
    pub keep_chown: bool,
    /// Files and folders, with all below, that may be read.
    pub read: Vec<PathBuf>,
    /// Folders, with all below, that may be read, written to and listened in (unix sockets). They must be there.
    pub write: Vec<PathBuf>,
    /// TCP ports that may be connected to, beside 53.
    pub connect: Vec<u16>,
    /// TCP ports that may be listened on.
    pub bind: Vec<u16>,
}

/// What is in force after [`confine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Capabilities that are left, by their names.
    pub capabilities: Vec<String>,
    /// Whether a program that is run could never get a capability back (the bounding set is empty).
    pub bounding_set_empty: bool,
    /// How much of the Landlock rules the kernel enforces.
    pub landlock: Enforcement,
    /// Whether the system call filter is in force.
    pub seccomp: Enforcement,
}

/// How much of a fence stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// All of it.
    Full,
    /// The parts this kernel knows; it is older than the rest.
    Partial,
    /// Nothing, for this reason.
    None(String),
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("in force"),
            Self::Partial => f.write_str("in force as far as this kernel knows it"),
            Self::None(reason) => write!(f, "not in force: {reason}"),
        }
    }
}

/// Gives up all rights but those that `confinement` names, for good.
///
/// # Errors
///
/// [`ConfineError::ThreadsRunning`] and [`ConfineError::Folder`] change nothing. After [`ConfineError::Refused`] some rights
/// may be gone already: end the process.
pub fn confine(confinement: &Confinement) -> Result<Report, ConfineError> {
    let refused = |what| move |source| ConfineError::Refused { what, source };
    let count = thread_count().map_err(refused("count our threads"))?;
    if count > 1 {
        return Err(ConfineError::ThreadsRunning { count });
    }
    let files = files::Fence::prepare(confinement)?;
    let filter = syscalls::Filter::prepare();

    rustix::thread::set_no_new_privs(true)
        .map_err(io::Error::from)
        .map_err(refused("set no-new-privileges"))?;
    let landlock = files.raise().map_err(refused("enforce Landlock rules"))?;
    let bounding_set_empty = capabilities::empty_bounding_set().map_err(refused("empty the bounding set"))?;
    capabilities::keep(confinement.keep_net_admin, confinement.keep_chown)
        .map_err(refused("drop capabilities"))?;
    // Last: the calls above are not in its list.
    let seccomp = filter.raise().map_err(refused("filter system calls"))?;
    Ok(Report {
        capabilities: effective().map_err(refused("read capabilities"))?,
        bounding_set_empty,
        landlock,
        seccomp,
    })
}

/// Keeps the process's memory, which holds keys, from being written to a core file and from being read by other processes of
/// the same user.
///
/// Not before [`crate::namespace::acquire`], which needs files of `/proc` that this takes from an ordinary user.
///
/// # Errors
///
/// What the kernel said.
pub fn disable_core_dumps() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    // The limit alone does not hold where core files are piped to a collector (`kernel.core_pattern` beginning with `|`).
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Why the process was not confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Threads that are there already would keep their rights.
    #[error("rights can only be given up before the process has threads; it has {count}")]
    ThreadsRunning {
        /// Threads of this process.
        count: usize,
    },
    /// A file or folder that is to be kept cannot be opened.
    #[error("cannot keep access to {}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel did not do a step that every kernel does.
    #[error("cannot {what}")]
    Refused {
        /// The step.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
