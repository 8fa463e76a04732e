//! A line made as a user makes it: `new` at one end, `join` at the other.

use serde_json::Value;
use tieline_io::namespace::NamespaceCommand;

use crate::process;

/// The name of the line.
pub const LINE: &str = "bench";
/// Where the first end listens.
pub const PORT: u16 = 51820;

/// Makes the line. `ends` prepare the program at each end, without arguments; the first is reached at `address`.
///
/// # Errors
///
/// What the program said.
pub fn make(ends: [&dyn Fn() -> NamespaceCommand; 2], address: impl std::fmt::Display) -> Result<(), String> {
    let listen = format!("0.0.0.0:{PORT}");
    let address = format!("{address}:{PORT}");
    let new = ["new", LINE, "--no-up", "--json", "--listen", &listen, "--address", &address];
    let made = process::must(ends[0]().args(new))?;
    let made: Value = serde_json::from_str(&made).map_err(|error| format!("{made}: {error}"))?;
    let invitation = made["invitation"].as_str().ok_or("there is no invitation")?;
    process::must(ends[1]().args(["join", invitation, "--no-up", "--name", LINE])).map(drop)
}
