//! tieline-node

pub mod config;
mod kept_file;
pub mod places;
pub mod secrets;
