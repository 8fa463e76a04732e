//! Configuration files: no text panics, every mistake has a sentence, and what is accepted survives being written.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tieline_fuzz::defaults;
use tieline_node::config::{Draft, LineConfig};

fuzz_target!(|text: &str| {
    let line = "berlin".parse().expect("a name");
    match LineConfig::parse(&line, Path::new("berlin.toml"), text, &defaults()) {
        Ok(config) => {
            let written = Draft::from(&config).to_text(&line);
            let again = LineConfig::parse(&line, Path::new("berlin.toml"), &written, &defaults())
                .unwrap_or_else(|problems| panic!("{problems}\n{written}"));
            assert_eq!(Draft::from(&again), Draft::from(&config), "{written}");
        }
        Err(problems) => {
            assert!(problems.iter().next().is_some());
            for problem in problems.iter() {
                assert!(!problem.to_string().is_empty());
            }
            serde_json::to_string(&problems).expect("JSON");
        }
    }
});
