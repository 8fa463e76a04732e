//! What can go wrong with a UDP socket, by what can be done about it.

use std::io;
use std::net::SocketAddr;

/// What an error of [`UdpSocket::send_to`](super::UdpSocket::send_to) means for the sender. None of them ends the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFault {
    /// The kernel's buffer is full: wait until writable, or drop.
    Full,
    /// There is no way there now (no route, no network, refused, address gone): try later.
    Unreachable,
    /// A firewall of this machine forbids it.
    Forbidden,
    /// Larger than the path, as far as the kernel knows it.
    TooLarge,
    /// This socket does not speak that IP version.
    WrongFamily,
    /// Anything else.
    Other,
}

impl SendFault {
    /// Sorts an error of sending by what can be done about it.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::Unsupported && error.raw_os_error().is_none() {
            return Self::WrongFamily;
        }
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Self::Full,
            Some(
                libc::ECONNREFUSED
                | libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::EADDRNOTAVAIL,
            ) => Self::Unreachable,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::EMSGSIZE) => Self::TooLarge,
            Some(libc::EAFNOSUPPORT) => Self::WrongFamily,
            _ => Self::Other,
        }
    }

    /// The name under which it is counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::WrongFamily => "wrong_family",
            Self::Other => "other",
        }
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// Another socket has the port.
    #[error("UDP {address} is in use by another program")]
    InUse {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The port is below `net.ipv4.ip_unprivileged_port_start` and we lack `CAP_NET_BIND_SERVICE`.
    #[error("listening on UDP {address} is not permitted to this user")]
    Forbidden {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The address is not one of this machine's.
    #[error("{address} is not an address of this machine")]
    NotOurs {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The system lacks that IP version.
    #[error("this system cannot open a socket for {address}")]
    NoFamily {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on UDP {address}")]
    Other {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl UdpError {
    pub(super) fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::InUse { address, source },
            Some(libc::EACCES | libc::EPERM) => Self::Forbidden { address, source },
            Some(libc::EADDRNOTAVAIL) => Self::NotOurs { address, source },
            Some(libc::EAFNOSUPPORT) => Self::NoFamily { address, source },
            _ => Self::Other { address, source },
        }
    }

    /// The IPv6 wildcard is refused only where IPv6 is missing or switched off (`disable_ipv6`).
    pub(super) fn means_no_ipv6(&self) -> bool {
        matches!(self, Self::NotOurs { address, .. } | Self::NoFamily { address, .. } if address.is_ipv6())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::UdpSocket;

    #[test]
    fn send_faults_are_sorted_by_what_can_be_done() {
        let v4 = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let fault = |socket: &UdpSocket, octets: &[u8], to: &str| {
            SendFault::of(&socket.send_to(octets, to.parse().unwrap()).unwrap_err())
        };
        assert_eq!(fault(&v4, b"x", "[::1]:9"), SendFault::WrongFamily);
        assert_eq!(fault(&v4, &[0; 65_508], "127.0.0.1:9"), SendFault::TooLarge);
        for (number, expected) in [
            (libc::EAGAIN, SendFault::Full),
            (libc::ENOBUFS, SendFault::Full),
            (libc::ENETUNREACH, SendFault::Unreachable),
            (libc::EHOSTUNREACH, SendFault::Unreachable),
            (libc::ECONNREFUSED, SendFault::Unreachable),
            (libc::EPERM, SendFault::Forbidden),
            (libc::EINVAL, SendFault::Other),
        ] {
            assert_eq!(SendFault::of(&io::Error::from_raw_os_error(number)), expected);
        }
    }

    #[test]
    fn only_a_missing_ip_version_lets_the_wildcard_fall_back_to_ipv4() {
        let falls_back = |address: &str, number| {
            UdpError::new(address.parse().unwrap(), io::Error::from_raw_os_error(number)).means_no_ipv6()
        };
        assert!(falls_back("[::]:1", libc::EAFNOSUPPORT) && falls_back("[::]:1", libc::EADDRNOTAVAIL));
        assert!(!falls_back("[::]:1", libc::EADDRINUSE) && !falls_back("[::]:1", libc::EACCES));
        assert!(!falls_back("0.0.0.0:1", libc::EADDRNOTAVAIL));
    }
}
