//! Network namespaces on threads of their own, as root or without.
//!
//! A network namespace belongs to a thread, not to a process, so one process can stand in several: each
//! [`NamespaceThread`] is one namespace with a thread inside that runs what it is sent. It has no name and no mount; it is
//! gone when its thread and the processes started in it are gone, and those die with the thread. So it ends with
//! the process that made it, however that ends.
//!
//! Making one takes `CAP_SYS_ADMIN`. Who lacks it can have it in a user namespace (`user_namespaces(7)`), inside which
//! this process is root over its own namespaces and nobody anywhere else. [`acquire`] gets there, and must be called before
//! the process has a second thread.

mod rootless;
mod thread;

use std::io;

pub(crate) use self::rootless::thread_count;
pub use self::rootless::{Standing, acquire, isolate_network};
pub use self::thread::{NamespaceCommand, NamespaceThread};

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// A user namespace is entered by a whole process, and this one has several threads.
    #[error("a user namespace can only be entered before the process has threads; it has {count}")]
    ThreadsRunning {
        /// Threads of this process.
        count: usize,
    },
    /// The system has or allows no user namespaces to this user.
    #[error(
        "this system does not let this user make user namespaces \
         (see sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone); run it as root instead"
    )]
    NoUserNamespace {
        /// What the kernel said.
        source: io::Error,
    },
    /// The system does not let a user namespace make network namespaces.
    #[error(
        "this system lets this user make no network namespaces \
         (on Ubuntu see sysctl kernel.apparmor_restrict_unprivileged_userns); run it as root instead"
    )]
    NoNetworkNamespace {
        /// What the kernel said.
        source: io::Error,
    },
    /// The process of the attempt, or the thread of a namespace, could not be started.
    #[error("cannot start a thread or process for a network namespace")]
    NotStarted {
        /// What the kernel said.
        source: io::Error,
    },
}
