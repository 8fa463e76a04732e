//! wg-quick files: what is imported is a configuration that tieline itself accepts, and no mistake shows a key.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tieline_fuzz::{assert_no_secret_is_shown, defaults};
use tieline_node::config::LineConfig;
use tieline_node::wg_quick;

fuzz_target!(|text: &str| {
    match wg_quick::parse(Path::new("office.conf"), text) {
        Ok(imported) => {
            let line = "office".parse().expect("a name");
            let written = imported.draft.to_text(&line);
            LineConfig::parse(&line, Path::new("office.toml"), &written, &defaults())
                .unwrap_or_else(|problems| panic!("{problems}\n{written}"));
            for left_out in imported.left_out {
                assert!(!left_out.reason.to_string().is_empty());
            }
        }
        Err(problems) => {
            assert!(problems.iter().next().is_some());
            assert_no_secret_is_shown(text, SECRETS, &problems.to_string());
            assert_no_secret_is_shown(text, SECRETS, &serde_json::to_string(&problems).expect("JSON"));
        }
    }
});

const SECRETS: &[&str] = &["PrivateKey", "PresharedKey"];
