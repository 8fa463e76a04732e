//! One end of a line as `tieline up --foreground LINE` runs it, told that its processor is no good at AES: so it seals with
//! ChaCha20-Poly1305, as towards plain WireGuard.
//!
//! `chacha20 LINE`, with the folders in `TIELINE_CONFIG_DIR` and `TIELINE_RUNTIME_DIR`. It ends when it is killed.

use std::process::ExitCode;

use tieline_node::node::{Node, Options};
use tieline_node::places::{LineName, Places, PlacesChoice, Surroundings};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [line] = arguments.as_slice() else {
        eprintln!("chacha20 LINE");
        return ExitCode::FAILURE;
    };
    match run(line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("chacha20: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: &str) -> Result<(), String> {
    let folder = |variable| std::env::var_os(variable).map(Into::into);
    let choice =
        PlacesChoice { config_dir: folder("TIELINE_CONFIG_DIR"), runtime_dir: folder("TIELINE_RUNTIME_DIR") };
    let places = Places::resolve(&choice, &Surroundings::from_system()).map_err(|error| error.to_string())?;
    let line = line.parse::<LineName>().map_err(|error| format!("{line}: {error}"))?;
    let options = Options { fast_aes: false, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let node = Node::start(&places, &line, &options).await.map_err(|error| error.to_string())?;
        node.run().await.map_err(|error| error.to_string())
    })
}
