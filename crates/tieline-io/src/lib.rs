//! The operating system, and nothing above it: sockets, devices, addresses, rights.
//!
//! No module here knows a protocol of tieline; every other crate forbids `unsafe`, so what needs it is here, block by
//! block under a `SAFETY` comment. The modules do not need each other, except that [`tun`] and [`netlink`] together make a
//! device that carries packets:
//!
//! - [`udp`]: one dual-stack socket, received in batches. [`tun`]: a network device whose other side is this process.
//! - [`netlink`]: links, addresses, routes and rules of the machine. [`nftables`]: tables of its packet filter. [`sysctl`]: whether it forwards.
//! - [`multicast`]: what is said to all of one network. [`tcp`]: what a connection that is passed on must be told.
//! - [`wait`]: how a packet thread sleeps until a descriptor or another thread has something for it.
//! - [`local_time`]: the clock on the wall. [`lock`]: one process per line. [`privileges`]: which rights we have, and giving up those we do not need.
//! - [`processor`]: whether it does AES in hardware. [`resident`]: what of the program stays in memory.
//! - [`watch`]: what passes a device, for whoever looks for packets that should not be there.
//! - [`namespace`]: network namespaces on threads of their own, for the lab and the demo, without root where possible.
//!
//! Linux only.

#[cfg(not(target_os = "linux"))]
compile_error!("tieline needs Linux: TUN devices, netlink, Landlock and seccomp are used as Linux has them");

pub mod local_time;
pub mod lock;
pub mod multicast;
pub mod namespace;
pub mod netlink;
pub mod nftables;
pub mod privileges;
pub mod processor;
pub mod resident;
pub mod scheduling;
pub mod sysctl;
pub mod tcp;
pub mod tun;
pub mod udp;
pub mod wait;
pub mod watch;
