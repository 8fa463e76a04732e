//! A bad network for tests and demonstrations: the same model of a path, on virtual time and live.
//!
//! - [`path`]: one direction of a path as a value, from a seed: delay, jitter, loss, reordering, duplication, corruption, rate,
//!   queue, MTU, outages. [`nat`]: a NAT that forgets, likewise.

pub mod nat;
pub mod path;
