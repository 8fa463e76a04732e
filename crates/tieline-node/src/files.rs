//! The service `files`: what leaves one office arrives in the other.

pub mod watch;
