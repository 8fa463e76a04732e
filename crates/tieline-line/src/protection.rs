//! Protection of voice against loss: numbers and repair packets at the sending end, copies removed and lost packets made again at the
//! receiving one.
//!
//! It is one sliding-window code (RFC 8681) over all calls together, not one for each: with ten calls a window is ten times shorter in
//! time. Source packets go out at once and are handed on at once, in whatever order they come, for a phone's jitter buffer sorts them; a
//! repair packet follows two of them, or one after [`REPAIR_DELAY`]. Nothing here ever waits for what may be lost.
//!
//! ```text
//!  packet ─▶ Protector ─▶ source ─┐                       ┌─▶ Restorer ─▶ packet, once
//!                 ▲     └▶ repair ─┴─ sealed, the medium ──┘      │
//!         on, off ─┴───────── report: expected, received, restored ◀
//! ```
//!
//! - Voice always has numbers: they cost a packet of G.711 nothing, and from them follows the loss. Repair packets turn on when loss is
//!   seen and off when it is gone ([`demand`]).
//! - With repairs a packet never costs more than twice what it would cost alone; a repair that would is left out and counted.
//! - [`Restorer`] takes a packet that comes twice, by two media or because it was made again too early, only once.
//! - Both are bounded: one window of packets each, the receiving end one for each lane of the far end. Nothing is allocated before the
//!   first packet.
//!
//! Which schemes were compared, and with what figures: `docs/decisions/voice-protection.md`. Octets: `tieline_wire::protected`. Read first:
//! RFC 8681 §3 and §5.

pub mod demand;
mod figures;
mod protector;
mod reports;
mod restorer;
mod sequence;

use std::time::Duration;

use cu_fec::{Error, Field, RlcConfig};
use tieline_wire::protected::SYMBOL_LEN_MAX;

pub use figures::Figures;
pub use protector::{Protector, ProtectorCounts};
pub use reports::Reports;
pub use restorer::{Restorer, RestorerCounts};

/// Source packets that a repair packet covers at most. A burst of a third of it can be made again.
pub const WINDOW: usize = 24;
/// Source packets for which one repair packet goes out.
pub const SOURCES_PER_REPAIR: u8 = 2;
/// A source packet waits no longer than this for the repair packet that covers it: half the time between two packets of a call, so that a
/// lone call's repairs are not lost in one burst with what they repair.
pub const REPAIR_DELAY: Duration = Duration::from_millis(10);
/// No repair packet covers an older packet, and none is handed on that is made again later than this: no phone waits for it.
pub const OF_USE: Duration = Duration::from_millis(100);
/// While protected packets come, the far end is told this often how they do.
pub const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// What protection may cost, in octets on the wire: so many times what the packets cost alone.
const COST_FACTOR: usize = 2;

/// The arithmetic of a code over `window` symbols of at least `len` octets. It costs as much as its symbols are long, and what calls need
/// fits into the shortest; so both ends begin there and begin anew with longer ones when they must. Zeros at the end of a symbol change
/// nothing, so each end does that by itself.
fn config(len: usize, window: usize) -> Result<RlcConfig, Error> {
    RlcConfig::new(len.next_multiple_of(SYMBOL_LEN_STEP).min(SYMBOL_LEN_MAX), window, Field::Gf256)
}

/// Symbols become longer by so many octets.
const SYMBOL_LEN_STEP: usize = 256;
