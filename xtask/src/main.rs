//! Commands for the people who work on tieline: `cargo xtask …`.
fn main() {}
