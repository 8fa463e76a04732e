//! tieline-node

pub mod config;
pub mod invitation;
mod kept_file;
pub mod places;
pub mod secrets;
