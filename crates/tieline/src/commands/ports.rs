//! Which UDP port a line that is new can have.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;

use tieline_node::config::{Defaults, FILE_BYTES_MAX, LineConfig, PORT_DEFAULT};
use tieline_node::places::Places;

/// Ports that are tried; nobody has more lines on one machine without choosing ports himself.
const PORTS: RangeInclusive<u16> = PORT_DEFAULT..=PORT_DEFAULT + 99;

/// Returns the first usual port that no other line of these places has and no program listens on now; `None` if there
/// is none.
pub(crate) fn first_free(places: &Places) -> Option<u16> {
    let taken = ports_of_other_lines(places);
    PORTS.into_iter().find(|port| !taken.contains(port) && is_free(*port))
}

/// The ports that configurations name; one that cannot be read names none, which is for `up` to say.
fn ports_of_other_lines(places: &Places) -> Vec<u16> {
    let lines = places.lines().unwrap_or_default();
    let port = |line| {
        let file = places.files(&line).config;
        let text = read(&file)?;
        let config = LineConfig::parse(&line, &file, &text, &Defaults::of(places, &line)).ok()?;
        Some(config.listen.port())
    };
    lines.into_iter().filter_map(port).collect()
}

fn read(file: &Path) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return None;
    }
    std::fs::read_to_string(file).ok()
}

/// Whether no program listens on the port, in either family. A family that the system does not have is free.
fn is_free(port: u16) -> bool {
    let any_address = [IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    !any_address.into_iter().any(|ip| {
        let bound = UdpSocket::bind(SocketAddr::new(ip, port));
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_free_in_either_family() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(socket) = UdpSocket::bind((ip, 0)) else { continue };
            let port = socket.local_addr().expect("bound").port();
            assert!(!is_free(port), "{ip}");
            drop(socket);
            assert!(is_free(port), "{ip}");
        }
    }
}
