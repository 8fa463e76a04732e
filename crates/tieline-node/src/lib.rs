//! One end of a line, running: threads, tasks, services, local API.
//!
//! Everything that touches the system is here, and nothing that a line *is*: that is in `tieline-line`. [`node`] brings an end
//! up; [`packet_path`] moves packets in two threads; [`engine`] is the one task that decides; [`streams`] is the QUIC
//! connection and its services; [`api`] is how the program's other commands reach a running end. What an end keeps
//! between runs is in [`config`], [`secrets`] and [`state`], in the folders of [`places`].

pub mod api;
pub mod calls;
pub mod config;
pub mod discovery;
pub mod engine;
pub mod files;
pub mod flows;
pub mod internet;
pub mod invitation;
mod kept_file;
pub mod lan;
pub mod line_test;
pub mod network;
pub mod node;
pub mod offers;
pub mod packet_path;
pub mod packet_ring;
pub mod places;
pub mod ports;
pub mod secrets;
pub mod signing;
pub mod state;
pub mod status;
pub mod streams;
pub mod wg_quick;

/// Program and version, as the far end and `status` show it.
pub const SOFTWARE: &str = concat!("tieline ", env!("CARGO_PKG_VERSION"));
