//! A bad network for tests and demonstrations: the same model of a path, on virtual time and live.
//!
//! - [`path`]: one direction of a path as a value, from a seed: delay, jitter, loss, reordering, duplication, corruption, rate,
//!   queue, MTU, outages. [`nat`]: a NAT that forgets, likewise.
//! - [`lab`]: offices in network namespaces on this machine, with such paths between them, live. [`relay`]: where
//!   namespaces are not allowed, the same path between two UDP addresses.
//! - [`calls`]: streams of RTP both ways, and how they fared; [`copying`]: files that are copied beside them.
//! - [`offload`]: packets as a device with segmentation offload gives them.

pub mod calls;
pub mod copying;
pub mod ends;
pub mod lab;
pub mod nat;
pub mod offload;
pub mod path;
pub mod relay;
mod worker;
