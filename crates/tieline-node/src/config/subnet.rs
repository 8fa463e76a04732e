//! Networks and addresses as the configuration writes them, and what makes a set of them nonsense.

use std::net::IpAddr;

use ipnet::IpNet;

use super::excerpt::excerpt;

/// Why a text is no network that a line can carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    /// An address without a prefix length.
    #[error(
        "{ip} has no prefix length; write {ip}/{whole} for the one host, or say how many bits the network has"
    )]
    NoPrefix {
        /// The address.
        ip: IpAddr,
        /// The prefix length of a single host.
        whole: u8,
    },
    /// No address before the slash, or none at all.
    #[error("{0:?} is not a network; write it as 10.1.0.0/24 or 2001:db8:1::/48")]
    Shape(String),
    /// A netmask or nonsense after the slash.
    #[error("{prefix:?} is not a prefix length; after {ip}/ stands a number of bits from 0 to {max}")]
    Prefix {
        /// The address.
        ip: IpAddr,
        /// What stood after the slash.
        prefix: String,
        /// Bits of an address of that kind.
        max: u8,
    },
    /// Bits are set behind the prefix.
    #[error("{written} has host bits set; write {network}")]
    HostBits {
        /// As it was written.
        written: IpNet,
        /// The network that the address is in.
        network: IpNet,
    },
    /// Everything: the whole internet.
    #[error(
        "{0} is everything; a line carries named networks. An internet connection is shared with `internet.offer = true` at the end that has it, and `internet.use = \"everything\"` at the other"
    )]
    Everything(IpNet),
    /// A network that never leaves a machine or a link.
    #[error("{network} is {kind} and never leaves {bounds}; name a network of the office")]
    NotRoutable {
        /// The network.
        network: IpNet,
        /// What it is for.
        kind: &'static str,
        /// What it is confined to.
        bounds: &'static str,
    },
}

/// Why a text is no address for the line's own interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceAddressError {
    /// No address with a prefix length.
    #[error(transparent)]
    Shape(SubnetError),
    /// The address of the network itself, or its broadcast address.
    #[error("{written} is {what} and no address of an interface; the first that is free may be {example}")]
    NotAHost {
        /// As it was written.
        written: IpNet,
        /// The network's own address, or its broadcast address.
        what: &'static str,
        /// One that would do.
        example: IpNet,
    },
    /// An address that no interface of a line can have.
    #[error("{0} cannot be the address of an interface")]
    Unusable(IpAddr),
}

/// Reads a network; its host bits are zero, and it may be routed between offices.
///
/// # Errors
///
/// [`SubnetError`], by the first rule that is broken.
pub fn parse_subnet(text: &str) -> Result<IpNet, SubnetError> {
    let written = parse_prefixed(text)?;
    if written.addr() != written.network() {
        return Err(SubnetError::HostBits { written, network: written.trunc() });
    }
    if written.prefix_len() == 0 {
        return Err(SubnetError::Everything(written));
    }
    match confined_to(written.addr()) {
        Some((kind, bounds)) => Err(SubnetError::NotRoutable { network: written, kind, bounds }),
        None => Ok(written),
    }
}

/// Reads an address of the line's own interface with the prefix length of its network: `10.99.0.1/30`.
///
/// # Errors
///
/// [`InterfaceAddressError`], by the first rule that is broken.
pub fn parse_interface_address(text: &str) -> Result<IpNet, InterfaceAddressError> {
    let written = parse_prefixed(text).map_err(InterfaceAddressError::Shape)?;
    let ip = written.addr();
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return Err(InterfaceAddressError::Unusable(ip));
    }
    let hosts_share_a_network = written.max_prefix_len() - written.prefix_len() >= 2;
    let what = match written {
        _ if !hosts_share_a_network => None,
        _ if ip == written.network() => Some("the network's own address"),
        // IPv6 has no broadcast address (RFC 4291 §2).
        IpNet::V4(_) if ip == written.broadcast() => Some("the broadcast address"),
        IpNet::V4(_) | IpNet::V6(_) => None,
    };
    match (what, written.hosts().find(|host| *host != written.network())) {
        (Some(what), Some(host)) => {
            let example = IpNet::new(host, written.prefix_len()).unwrap_or(written);
            Err(InterfaceAddressError::NotAHost { written, what, example })
        }
        (Some(_), None) => Err(InterfaceAddressError::Unusable(ip)),
        (None, _) => Ok(written),
    }
}

/// Returns whether two networks share an address.
#[must_use]
pub fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Reads `address/bits`, with host bits or without.
fn parse_prefixed(text: &str) -> Result<IpNet, SubnetError> {
    let (ip, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| SubnetError::Shape(excerpt(text)))?;
    let max = if ip.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix else { return Err(SubnetError::NoPrefix { ip, whole: max }) };
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let bits = if digits { prefix.parse().ok() } else { None };
    bits.and_then(|bits| IpNet::new(ip, bits).ok()).ok_or_else(|| SubnetError::Prefix {
        ip,
        prefix: excerpt(prefix),
        max,
    })
}

/// Says what a network is for if it cannot leave a machine or a link.
fn confined_to(ip: IpAddr) -> Option<(&'static str, &'static str)> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let this_network = matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0);
    if ip.is_loopback() {
        Some(("for loopback", "the machine"))
    } else if ip.is_multicast() {
        Some(("for multicast", "its own network on a line"))
    } else if link_local {
        Some(("link-local", "its link"))
    } else if this_network || ip.is_unspecified() {
        Some(("for hosts without an address", "the machine"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_both_families_are_read() {
        for text in ["10.1.0.0/24", "192.0.2.7/32", "2001:db8:1::/48", "fd00::1/128", "128.0.0.0/1"] {
            assert_eq!(parse_subnet(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn every_wrong_network_is_refused_with_what_to_write() {
        let wrong = [
            ("", "\"\" is not a network; write it as 10.1.0.0/24"),
            ("office", "is not a network"),
            ("10.1.0/24", "is not a network"),
            ("10.1.0.0", "10.1.0.0 has no prefix length; write 10.1.0.0/32 for the one host"),
            ("2001:db8::1", "write 2001:db8::1/128 for the one host"),
            (
                "10.1.0.0/",
                "\"\" is not a prefix length; after 10.1.0.0/ stands a number of bits from 0 to 32",
            ),
            ("10.1.0.0/33", "\"33\" is not a prefix length"),
            ("10.1.0.0/-1", "\"-1\" is not a prefix length"),
            ("10.1.0.0/+8", "\"+8\" is not a prefix length"),
            ("10.1.0.0/255.255.255.0", "\"255.255.255.0\" is not a prefix length"),
            ("2001:db8::/129", "from 0 to 128"),
            ("10.1.0.5/24", "10.1.0.5/24 has host bits set; write 10.1.0.0/24"),
            ("2001:db8::5/64", "write 2001:db8::/64"),
            ("0.0.0.0/0", "0.0.0.0/0 is everything"),
            ("::/0", "::/0 is everything"),
            ("127.0.0.0/8", "for loopback and never leaves the machine"),
            ("::1/128", "for loopback"),
            ("224.0.0.0/4", "for multicast"),
            ("ff00::/8", "for multicast"),
            ("169.254.0.0/16", "link-local and never leaves its link"),
            ("fe80::/10", "link-local"),
            ("0.0.0.0/8", "for hosts without an address"),
        ];
        for (text, expected) in wrong {
            let error = parse_subnet(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn addresses_of_an_interface_keep_their_host_bits() {
        for text in ["10.99.0.1/30", "10.99.0.0/31", "10.99.0.1/32", "fd00::1/64", "fd00::/127"] {
            assert_eq!(parse_interface_address(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn an_address_that_no_interface_can_have_is_refused() {
        let wrong = [
            (
                "10.99.0.0/30",
                "the network's own address and no address of an interface; the first that is free may be 10.99.0.1/30",
            ),
            ("10.99.0.3/30", "the broadcast address"),
            ("fd00::/64", "may be fd00::1/64"),
            ("127.0.0.1/8", "127.0.0.1 cannot be"),
            ("0.0.0.0/0", "0.0.0.0 cannot be"),
            ("ff02::1/64", "ff02::1 cannot be"),
            ("10.99.0.1", "has no prefix length"),
        ];
        for (text, expected) in wrong {
            let error = parse_interface_address(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn networks_overlap_if_one_holds_the_other() {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        assert!(overlap(&net("10.0.0.0/8"), &net("10.1.0.0/16")));
        assert!(overlap(&net("10.1.0.0/16"), &net("10.0.0.0/8")));
        assert!(!overlap(&net("10.1.0.0/24"), &net("10.1.1.0/24")));
        assert!(!overlap(&net("10.0.0.0/8"), &net("2001:db8::/32")));
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(text in "\\PC{0,60}|[0-9a-f:./]{0,40}") {
            let _ = parse_subnet(&text);
            let _ = parse_interface_address(&text);
        }
    }
}
