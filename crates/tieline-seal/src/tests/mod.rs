//! Both ends on virtual time.

mod handshake;
mod hostile;
mod pair;
mod pairing;
mod restart;
mod roaming;
mod simultaneous;
mod timers;
mod under_load;
