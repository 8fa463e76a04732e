//! Links, addresses, routes and rules of the machine, by rtnetlink (RFC 3549); never by running `ip`.
//!
//! A [`Netlink`] speaks for the network namespace of the thread that made it. Addresses, and routes through a device, hang on a device
//! of ours, so they go when the device goes (see [`crate::tun`]). Rules, and routes that lead nowhere, stay until somebody removes
//! them. Routes and rules also bear [`ROUTE_PROTOCOL`], so that `ip route` shows whose
//! they are and [`Netlink::replace_route`] never takes away one that is not ours.

mod address;
mod bridge;
mod change;
mod link;
mod route;
mod rule;

use std::io;

use rtnetlink::Handle;
use tokio::task::AbortHandle;

pub use self::address::{Address, USABLE_WITHIN};
pub use self::change::AddressChanges;
pub use self::link::Link;
pub use self::route::{MAIN_TABLE, ROUTE_PROTOCOL, Route, RouteKind, Way};
pub use self::rule::{PolicyRule, Selector};

/// A connection to the kernel's routing tables. Clones share it; it closes with the last of them.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: Handle,
    _connection: std::sync::Arc<AbortOnDrop>,
}

impl Netlink {
    /// Connects to the kernel, in the network namespace of the calling thread.
    ///
    /// Must be called within a tokio runtime; the connection lives on it.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn connect() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let task = tokio::spawn(connection);
        Ok(Self { handle, _connection: std::sync::Arc::new(AbortOnDrop(task.abort_handle())) })
    }
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why the kernel did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// We lack `CAP_NET_ADMIN` in this namespace.
    #[error("cannot {what}: it needs CAP_NET_ADMIN")]
    Forbidden {
        /// What was asked.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is there already.
    #[error("cannot {what}: it is there already")]
    Exists {
        /// What was asked.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A route to the same destination is there that is not ours.
    #[error("cannot {what}: the machine has another route there ({existing})")]
    RouteTaken {
        /// What was asked.
        what: String,
        /// The route in the way.
        existing: Box<Route>,
    },
    /// The link, address or route is not there.
    #[error("cannot {what}: no such thing")]
    NotFound {
        /// What was asked.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel took it, but did not put it to use in time.
    #[error("cannot {what}: the kernel did not put it to use in {} s", USABLE_WITHIN.as_secs())]
    NotUsable {
        /// What was asked.
        what: String,
    },
    /// The kernel refused for another reason.
    #[error("cannot {what}")]
    Kernel {
        /// What was asked.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer was none that this request can have.
    #[error("cannot {what}: the kernel's answer makes no sense")]
    Protocol {
        /// What was asked.
        what: String,
        /// What the library made of it.
        source: rtnetlink::Error,
    },
}

impl NetlinkError {
    fn new(what: impl Into<String>, error: rtnetlink::Error) -> Self {
        let what = what.into();
        let rtnetlink::Error::NetlinkError(message) = error else {
            return Self::Protocol { what, source: error };
        };
        let source = message.to_io();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden { what, source },
            Some(libc::EEXIST) => Self::Exists { what, source },
            Some(libc::ENODEV | libc::ESRCH | libc::ENXIO | libc::EADDRNOTAVAIL) => {
                Self::NotFound { what, source }
            }
            _ => Self::Kernel { what, source },
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// For requests that undo: what is gone already is as good as undone. Returns whether there was something to undo.
fn undone(result: Result<(), NetlinkError>) -> Result<bool, NetlinkError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}
