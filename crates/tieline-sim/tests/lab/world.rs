//! Two offices, and datagrams between them.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use libtest_mimic::Completion;
use tieline_io::namespace::NamespaceThread;
use tieline_io::sysctl::IpVersion;
use tieline_sim::lab::{Lab, LabConfig, Office, OfficeConfig};

/// A test: its name, a sentence, and what it does.
pub(crate) type Test = (&'static str, fn() -> Completion);

pub(crate) const A: &str = "office-a";
pub(crate) const B: &str = "office-b";
pub(crate) const PORT: u16 = 51820;

/// How long a datagram may take that the model lets through. Only a test that fails waits so long.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) lab: Lab,
    pub(crate) a: Office,
    pub(crate) b: Office,
}

impl World {
    pub(crate) fn new() -> Self {
        let lab = Lab::new(LabConfig { seed: 1 }).unwrap();
        let a = lab.office(A, OfficeConfig::numbered(1)).unwrap();
        let b = lab.office(B, OfficeConfig::numbered(2)).unwrap();
        Self { lab, a, b }
    }

    /// A socket at each gateway, on [`PORT`] of all its IPv4 addresses.
    pub(crate) fn sockets(&self) -> (UdpSocket, UdpSocket) {
        (socket(self.a.gateway(), "0.0.0.0"), socket(self.b.gateway(), "0.0.0.0"))
    }
}

pub(crate) fn socket(namespace: &NamespaceThread, ip: &'static str) -> UdpSocket {
    let socket = namespace.run(move || UdpSocket::bind((ip.parse::<IpAddr>().unwrap(), PORT)).unwrap());
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Where a gateway's socket is reached.
pub(crate) fn wan(office: &Office, version: IpVersion) -> SocketAddr {
    SocketAddr::new(office.wan_address(version).unwrap(), PORT)
}

pub(crate) fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram in time");
    (buffer[..length].to_vec(), from)
}

/// Whether nothing is there now.
pub(crate) fn is_silent(socket: &UdpSocket) -> bool {
    socket.set_nonblocking(true).unwrap();
    let outcome = socket.recv_from(&mut [0; 8]);
    socket.set_nonblocking(false).unwrap();
    outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
