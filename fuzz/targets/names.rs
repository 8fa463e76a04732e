//! What people write for places in networks: addresses to dial, networks, names of lines and keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_node::config::DialAddress;
use tieline_node::config::subnet::{overlap, parse_interface_address, parse_subnet};
use tieline_node::places::LineName;
use tieline_seal::{PresharedKey, PrivateKey, PublicKey};

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<DialAddress>() {
        assert_eq!(address.to_string().parse::<DialAddress>().as_ref(), Ok(&address));
    }
    if let Ok(subnet) = parse_subnet(text) {
        assert_eq!(parse_subnet(&subnet.to_string()).ok(), Some(subnet));
        assert!(overlap(&subnet, &subnet));
    }
    if let Ok(address) = parse_interface_address(text) {
        assert_eq!(parse_interface_address(&address.to_string()).ok(), Some(address));
    }
    match text.parse::<LineName>() {
        Ok(name) => {
            assert_eq!(name.as_str(), text);
            assert!(
                text.len() <= LineName::BYTES_MAX && !text.contains(['/', '\0']) && !text.starts_with('.')
            );
        }
        Err(_) => {
            if let Some(nearest) = LineName::nearest(text) {
                assert!(nearest.as_str().parse::<LineName>().is_ok());
            }
        }
    }
    if let Ok(key) = text.parse::<PrivateKey>() {
        assert_eq!(key.reveal().parse::<PrivateKey>().ok(), Some(key));
    }
    if let Ok(key) = text.parse::<PresharedKey>() {
        assert_eq!(key.reveal().parse::<PresharedKey>().ok(), Some(key));
    }
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string().parse::<PublicKey>().ok(), Some(key));
    }
});
