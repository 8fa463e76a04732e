//! Key files: no text panics, and no mistake shows a key.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tieline_fuzz::assert_no_secret_is_shown;
use tieline_node::secrets::Secrets;

fuzz_target!(|text: &str| {
    match Secrets::parse(Path::new("berlin.key"), text) {
        Ok(secrets) => {
            assert!(secrets.invitation.is_none() || secrets.proof.is_none(), "one end is not both");
            assert_no_secret_is_shown(text, SECRETS, &format!("{secrets:?}"));
        }
        Err(problems) => {
            assert!(problems.iter().next().is_some());
            assert_no_secret_is_shown(text, SECRETS, &problems.to_string());
            assert_no_secret_is_shown(text, SECRETS, &serde_json::to_string(&problems).expect("JSON"));
        }
    }
});

const SECRETS: &[&str] = &["private-key", "preshared-key"];
