//! One end of the line, as `tieline up --foreground` runs it, under a policy.

use tieline_node::node::{Node, Options};
use tieline_node::places::{Places, PlacesChoice, Surroundings};
use tieline_node::streams::congestion::{Policy, Rate};

/// Runs the end of `line` until it is killed.
///
/// # Errors
///
/// Why it did not come up, or went down.
pub(crate) fn run(line: &str, policy: &str, rate_mbit: &str) -> Result<(), String> {
    let rate: u64 = rate_mbit.parse().map_err(|error| format!("{rate_mbit}: {error}"))?;
    let policy = match policy {
        "fair" => Policy::Fair,
        "fixed" => Policy::Fixed(Rate::from_bits_per_second(rate * 1_000_000)),
        "trickle" => Policy::Trickle,
        other => return Err(format!("there is no policy {other}")),
    };
    let folder = |variable| std::env::var_os(variable).map(Into::into);
    let choice =
        PlacesChoice { config_dir: folder("TIELINE_CONFIG_DIR"), runtime_dir: folder("TIELINE_RUNTIME_DIR") };
    let places = Places::resolve(&choice, &Surroundings::from_system()).map_err(|error| error.to_string())?;
    let name = line.parse().map_err(|error| format!("{line}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        let node =
            Node::start(&places, &name, &Options::default()).await.map_err(|error| error.to_string())?;
        node.streams().limits().set_policy(policy);
        node.run().await.map_err(|error| error.to_string())
    })
}
