//! What the kernel's network is set to (`/proc/sys/net`), in the network namespace of the calling thread.
//!
//! The program only reads: whether the machine forwards is the operator's decision, and `doctor` says so. Writing is for
//! namespaces that we made ourselves.

use std::fs;
use std::io;
use std::path::Path;

const SYSCTL: &str = "/proc/sys/net";
const FORWARDING_V4: &str = "ipv4/ip_forward";
const FORWARDING_V6: &str = "ipv6/conf/all/forwarding";

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whether the machine forwards packets between its devices, as a router does.
///
/// # Errors
///
/// `NotFound` if the system has not that version of IP.
pub fn is_forwarding(version: IpVersion) -> io::Result<bool> {
    let key = match version {
        IpVersion::V4 => FORWARDING_V4,
        IpVersion::V6 => FORWARDING_V6,
    };
    Ok(read(key)? != "0")
}

/// Makes the namespace forward, or not. For namespaces of our own.
///
/// # Errors
///
/// What the kernel said.
pub fn set_forwarding(version: IpVersion, forward: bool) -> io::Result<()> {
    let key = match version {
        IpVersion::V4 => FORWARDING_V4,
        IpVersion::V6 => FORWARDING_V6,
    };
    fs::write(Path::new(SYSCTL).join(key), if forward { "1" } else { "0" })
}

/// What the machine does with IPv4 packets whose source it would reach through another device (RFC 3704 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePathFilter {
    /// Takes them.
    Off,
    /// Drops them unless the way back is the way they came. Breaks asymmetric routes.
    Strict,
    /// Drops them only if it knows no way back at all.
    Loose,
}

/// The reverse path filter of a device: the stricter in order of [`ReversePathFilter::Off`], `Strict`, `Loose` of its own
/// setting and that for all devices, as the kernel combines them.
///
/// # Errors
///
/// `NotFound` if there is no such device.
pub fn reverse_path_filter(device: &str) -> io::Result<ReversePathFilter> {
    if device.contains('/') || matches!(device, "." | "..") {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not the name of a network device"));
    }
    let of = |device: &str| read(&format!("ipv4/conf/{device}/rp_filter"));
    let strictest = of(device)?.max(of("all")?);
    Ok(match strictest.as_str() {
        "0" => ReversePathFilter::Off,
        "1" => ReversePathFilter::Strict,
        _ => ReversePathFilter::Loose,
    })
}

/// Octets up to which a socket may ask for its receive buffer without privilege.
///
/// # Errors
///
/// What the kernel said; in a network namespace other than the first the key is not there on old kernels.
pub fn receive_buffer_bytes_max() -> io::Result<usize> {
    let text = read("core/rmem_max")?;
    text.parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("net.core.rmem_max holds `{text}`")))
}

fn read(key: &str) -> io::Result<String> {
    Ok(fs::read_to_string(Path::new(SYSCTL).join(key))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_leads_to_no_other_file() {
        for name in ["../../../../etc/passwd", "..", "a/b"] {
            assert_eq!(reverse_path_filter(name).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn settings_of_this_machine_can_be_read() {
        is_forwarding(IpVersion::V4).expect("every Linux with a network has the key");
        reverse_path_filter("lo").expect("every network namespace has a loopback device");
    }

    #[test]
    fn a_missing_device_is_not_found() {
        assert_eq!(reverse_path_filter("no-such-device").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
