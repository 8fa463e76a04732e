//! What the kernel's network is set to (`/proc/sys/net`), in the network namespace of the calling thread.
//!
//! The program only reads, but for an end that offers its internet connection: that must forward, and [`Setting`] remembers what was so
//! before. Else whether the machine forwards is the operator's decision, and `doctor` says so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name below `/proc/sys/net`, with slashes.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Setting {
    /// Reads it as it is now.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, `InvalidInput` if it is no name of one.
    pub fn read(key: String) -> io::Result<Self> {
        path_of(&key)?;
        Ok(Self { value: read(&key)?, key })
    }

    /// Makes it so, unless it is.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn write(&self) -> io::Result<()> {
        if read(&self.key)? == self.value {
            return Ok(());
        }
        fs::write(path_of(&self.key)?, &self.value)
    }

    /// The file that it is in.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is no name of one.
    pub fn file(&self) -> io::Result<PathBuf> {
        path_of(&self.key)
    }

    /// All that [`set_forwarding`] changes, in the order in which it is to be written so that it is as now again: the kernel carries the
    /// first over to all devices.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub fn all_of_forwarding(version: IpVersion) -> io::Result<Vec<Self>> {
        let (first, of_devices) = match version {
            IpVersion::V4 => ([FORWARDING_V4, "ipv4/conf/all/accept_redirects"].as_slice(), "ipv4/conf"),
            IpVersion::V6 => ([FORWARDING_V6].as_slice(), "ipv6/conf"),
        };
        let mut devices = Vec::new();
        for entry in fs::read_dir(Path::new(SYSCTL).join(of_devices))? {
            devices.push(entry?.file_name().to_string_lossy().into_owned());
        }
        devices.sort();
        let of_devices = devices
            .iter()
            .filter(|device| *device != "all")
            .map(|device| format!("{of_devices}/{device}/forwarding"));
        first.iter().map(|key| (*key).to_owned()).chain(of_devices).map(Self::read).collect()
    }
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

/// A name that leads to no other file.
fn path_of(key: &str) -> io::Result<PathBuf> {
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{key}` is not the name of a setting"),
        ));
    }
    Ok(Path::new(SYSCTL).join(key))
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
    fn a_setting_leads_to_no_other_file_and_is_read_with_all_that_forwarding_changes() {
        for key in ["../kernel/hostname", "/etc/passwd", "ipv4//ip_forward", ""] {
            assert_eq!(Setting::read(key.to_owned()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let settings = Setting::all_of_forwarding(IpVersion::V4).unwrap();
        assert_eq!(settings[0].key, FORWARDING_V4);
        assert!(settings.iter().any(|setting| setting.key == "ipv4/conf/lo/forwarding"), "{settings:?}");
        settings[0].write().expect("it is so already");
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
