//! A line: the lasting private connection of two ends, sans IO.
//!
//! A line is three values. [`Outbound`] seals what goes out and [`Inbound`] opens what comes in; each is owned by one
//! thread. [`Control`] does everything that is slow or rare. They share the session's keys, a table of accepted sources and
//! counters, all of which are read or added to without a lock. Nothing here knows a clock, a socket or a thread: time,
//! datagrams and randomness are arguments, so that two whole lines run on virtual time in a test.
//!
//! ```text
//!  device, channels ─▶ Outbound ─▶ datagrams           datagrams ─▶ Inbound ─▶ device, channels
//!                        │   ▲                                        │
//!                notices ▼   │ packets (hello, probes, keepalives)    ▼ handshakes, associated channel, notices
//!                       Control ◀──────────────────────────────────────
//! ```
//!
//! Read first: `docs/wire-format.md`, then RFC 5586 (associated channel) and RFC 8762 (STAMP).

pub mod accept;
pub mod calls;
pub mod class;
pub mod control;
pub mod counters;
pub mod cut;
pub mod emodel;
pub mod flow;
pub mod greeting;
pub mod inbound;
pub mod join;
pub mod key_watch;
pub mod labels;
pub mod lan;
pub mod liveness;
pub mod marks;
pub mod outbound;
pub mod packing;
pub mod path_mtu;
pub mod paths;
pub mod pieces;
pub mod protection;
pub mod queue;
pub mod rate;
pub mod redial;
pub mod rtp_evidence;
pub mod test_call;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tieline_wire::time::Now;

pub use control::{Control, Event, Outgoing};
pub use inbound::{Bundle, Delivery, Inbound, Received};
pub use outbound::{HEADROOM, Outbound, Outcome, TAILROOM};
pub use tieline_seal::{Authentic, Notice, Opener};

use crate::{
    accept::AcceptTable, counters::Counters, greeting::Greeting, labels::Labels, paths::Routes,
    pieces::PieceNumbers,
};

/// What makes a line this line.
#[derive(Debug)]
pub struct Config {
    /// Keys, the far end, its address.
    pub session: tieline_seal::Config,
    /// SHA-256 of the certificate that this end uses in the stream channel (DER).
    pub certificate: [u8; 32],
    /// The sources that are let in from the start.
    pub accept: AcceptTable,
    /// The largest packet that the line carries, in octets, label included.
    pub mtu: usize,
}

/// What the three parts of a line have in common.
#[derive(Debug, Default)]
pub struct Shared {
    /// What went through and what was dropped.
    pub counters: Counters,
    /// What is protected against loss.
    pub protection: protection::Figures,
    /// The labels that the two ends have given out.
    pub labels: Arc<Labels>,
    /// The numbers of the pieces that this end sends.
    pub piece_numbers: PieceNumbers,
    /// What went through the Ethernet of both offices, and what was kept out of it.
    pub lan: lan::LanFigures,
    accept: ArcSwap<AcceptTable>,
    routes: ArcSwap<Routes>,
    /// Counts the changes of `routes`.
    routes_version: AtomicU64,
    /// Nanoseconds; [`UNKNOWN`] before the first measurement.
    one_way_delay: AtomicU64,
}

/// A delay that was not measured.
const UNKNOWN: u64 = u64::MAX;

impl Shared {
    /// `process` is random.
    fn new(accept: AcceptTable, process: u16) -> Self {
        Self {
            counters: Counters::default(),
            protection: protection::Figures::new(process),
            labels: Arc::default(),
            piece_numbers: PieceNumbers::default(),
            lan: lan::LanFigures::default(),
            accept: ArcSwap::from_pointee(accept),
            routes: ArcSwap::default(),
            routes_version: AtomicU64::new(0),
            one_way_delay: AtomicU64::new(UNKNOWN),
        }
    }

    /// How long a packet is on its way to this end: half of the usual round trip, which is all that one end can know by itself. None
    /// before the first probe is answered, and of a far end that answers none.
    #[must_use]
    pub fn one_way_delay(&self) -> Option<Duration> {
        let nanos = self.one_way_delay.load(Ordering::Relaxed);
        (nanos != UNKNOWN).then(|| Duration::from_nanos(nanos))
    }

    /// By which paths packets leave.
    #[must_use]
    pub fn routes(&self) -> Routes {
        **self.routes.load()
    }

    /// Another number each time that [`Self::routes`] changes.
    #[must_use]
    pub fn routes_version(&self) -> u64 {
        self.routes_version.load(Ordering::Acquire)
    }

    fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
        self.routes_version.fetch_add(1, Ordering::Release);
    }

    fn on_round_trip(&self, usual: Duration) {
        let nanos = u64::try_from((usual / 2).as_nanos()).unwrap_or(UNKNOWN);
        self.one_way_delay.store(nanos, Ordering::Relaxed);
    }
}

/// Makes the three parts of a line. `seed` decides everything that is random, so that a run can be repeated.
#[must_use]
pub fn split(config: Config, now: Now, seed: [u8; 32]) -> (Control, Outbound, Inbound, Arc<Shared>) {
    let mut rng = ChaCha20Rng::from_seed(seed);
    let mut session_seed = [0; 32];
    rng.fill_bytes(&mut session_seed);
    let greeting = Greeting::new(rng.next_u64(), config.certificate);
    let labels = Arc::new(Labels::new(rng.next_u32()));
    let shared = Arc::new(Shared { labels, ..Shared::new(config.accept, rng.next_u32() as u16) });
    let written = config.session.timestamp_floor;
    let (control, outbound, inbound) = tieline_seal::split(config.session, now, session_seed);
    (
        Control::new(control, greeting, now.monotonic, written, config.mtu, Arc::clone(&shared)),
        Outbound::new(outbound, config.mtu, Arc::clone(&shared)),
        Inbound::new(inbound, config.mtu, Arc::clone(&shared)),
        shared,
    )
}
