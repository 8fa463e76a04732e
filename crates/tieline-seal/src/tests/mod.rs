//! Both ends on virtual time.

mod chaos;
mod handshake;
mod hostile;
mod long_round_trip;
mod pair;
mod pairing;
mod restart;
mod roaming;
mod second_suite;
mod simultaneous;
mod threads;
mod timers;
mod under_load;
