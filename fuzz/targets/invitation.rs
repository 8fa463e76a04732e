//! The text of an invitation, as people type it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tieline_node::invitation::Invitation;

fuzz_target!(|text: &str| {
    match text.parse::<Invitation>() {
        Ok(invitation) => {
            assert!(!invitation.addresses().is_empty());
            let written = invitation.reveal();
            let again: Invitation = written.parse().expect("our own");
            assert_eq!(again.reveal(), written);
            assert_eq!(again.addresses(), invitation.addresses());
            assert_eq!(again.public_key(), invitation.public_key());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
