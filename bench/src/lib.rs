//! What several benchmarks need: two ends that have met, and packets as a device gives them.

pub mod packets;
pub mod pair;
