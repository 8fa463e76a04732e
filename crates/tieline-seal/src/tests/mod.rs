//! Both ends on virtual time.

mod handshake;
mod pair;
