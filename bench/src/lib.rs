//! What several benchmarks need: two ends that have met, packets as a device gives them, processes in namespaces, and what a report says of
//! the machine.

pub mod figures;
pub mod line;
pub mod machine;
pub mod offices;
pub mod options;
pub mod packets;
pub mod pair;
pub mod process;
pub mod wireguard;
