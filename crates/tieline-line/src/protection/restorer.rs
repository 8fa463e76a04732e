//! The receiving end: every packet once, and lost ones made again.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use cu_fec::{DensityThreshold, EncodingSymbolId, Error, RepairPayloadId, RlcDecoder};
use tieline_wire::{
    protected::{Position, Protected, Repair, SYMBOL_LEN_MAX, SYMBOL_PREFIX_LEN, StreamId, WINDOW_MAX},
    protection_report::ProtectionReport,
};

use super::{
    OF_USE, REPORT_INTERVAL, config,
    sequence::{SequenceWindow, Verdict},
};

/// Source packets that are kept to make others again: a full window, and as many as may be late.
const KEPT: usize = WINDOW_MAX + 16;
/// A number that is too far behind is taken for the first of a new count if no packet was taken for so long.
const SILENCE: Duration = Duration::from_secs(2);

/// As many equations as packets can be missing, so that the store is never full.
type Decoder = RlcDecoder<SYMBOL_LEN_MAX, KEPT, KEPT>;

/// What a restorer has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestorerCounts {
    /// Source packets that came, each counted once.
    pub received: u64,
    /// Source packets that should have come.
    pub expected: u64,
    /// Packets made again and handed on.
    pub restored: u64,
    /// How much later than they should have come, summed up, in microseconds.
    pub restored_late_micros: u64,
    /// Repair packets that came.
    pub repairs: u64,
    /// Dropped: source packets that came again, or had been made again before.
    pub copies: u64,
    /// Dropped: source packets too far behind to be told from copies, or of a stream that has ended.
    pub behind: u64,
    /// Dropped: made again when nobody waited for them any more.
    pub too_late: u64,
    /// Dropped: neither source nor repair packets.
    pub malformed: u64,
    /// Times that what was known was thrown away, because repair packets contradicted it.
    pub contradictions: u64,
}

impl RestorerCounts {
    /// As many as there are.
    pub(super) const COUNT: usize = 10;

    /// All of them, in order.
    pub(super) fn values(&self) -> [u64; Self::COUNT] {
        let Self { received, expected, restored, restored_late_micros, repairs, .. } = *self;
        let Self { copies, behind, too_late, malformed, contradictions, .. } = *self;
        let arrived = [received, expected, restored, restored_late_micros, repairs];
        let dropped = [copies, behind, too_late, malformed, contradictions];
        std::array::from_fn(|at| if at < 5 { arrived[at] } else { dropped[at - 5] })
    }

    /// From all of them.
    pub(super) fn of(values: [u64; Self::COUNT]) -> Self {
        let [received, expected, restored, restored_late_micros, repairs, dropped @ ..] = values;
        let [copies, behind, too_late, malformed, contradictions] = dropped;
        Self {
            received,
            expected,
            restored,
            restored_late_micros,
            repairs,
            copies,
            behind,
            too_late,
            malformed,
            contradictions,
        }
    }
}

/// Restores what arrives at an end.
///
/// One packet in with [`Self::handle_packet`], then [`Self::poll_restored`] until there is nothing more.
#[derive(Default)]
pub struct Restorer {
    lanes: [Lane; StreamId::LANES],
    counts: RestorerCounts,
}

/// What comes from one lane of the far end.
#[derive(Default)]
struct Lane {
    /// None before the first packet.
    run: Option<Run>,
    /// The stream before.
    ended: Option<StreamId>,
    report_due: Option<Instant>,
}

/// One run of numbers.
struct Run {
    stream: StreamId,
    /// What the far end is told of it.
    report: ProtectionReport,
    window: SequenceWindow,
    /// When a packet was last taken.
    taken: Instant,
    /// When each of the newest numbers was passed, at its place modulo [`KEPT`].
    passed: [Instant; KEPT],
    decoder: Box<Decoder>,
    /// Whether the decoder may have made a packet again that was not handed on.
    has_recovered: bool,
    /// What is handed on.
    restored: Box<[u8; SYMBOL_LEN_MAX]>,
}

impl Restorer {
    /// Takes what stood behind the label of protected packets, and returns the packet in it if that is to be handed on.
    pub fn handle_packet<'p>(&mut self, now: Instant, bytes: &'p [u8]) -> Option<&'p [u8]> {
        let Ok(protected) = Protected::parse(bytes) else {
            self.counts.malformed += 1;
            return None;
        };
        match protected {
            Protected::Source { position, packet } => {
                self.on_source(now, position, packet)?;
                Some(packet)
            }
            Protected::Repair { repair, symbol } => {
                self.on_repair(now, repair, symbol);
                None
            }
        }
    }

    /// Whether [`Self::poll_restored`] may give a packet.
    #[must_use]
    pub fn has_restored(&self) -> bool {
        self.lanes.iter().filter_map(|lane| lane.run.as_ref()).any(|run| run.has_recovered)
    }

    /// The next packet that was made again.
    pub fn poll_restored(&mut self, now: Instant) -> Option<&[u8]> {
        let counts = &mut self.counts;
        self.lanes.iter_mut().filter_map(|lane| lane.run.as_mut()).find_map(|run| run.restore(now, counts))
    }

    /// What the far end should be told, of each lane once every [`REPORT_INTERVAL`] in which something came.
    pub fn poll_report(&mut self, now: Instant) -> Option<ProtectionReport> {
        let is_due = |lane: &&mut Lane| lane.report_due.is_some_and(|due| due <= now);
        let lane = self.lanes.iter_mut().find(is_due)?;
        lane.report_due = None;
        Some(lane.run.as_ref()?.report)
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> RestorerCounts {
        self.counts
    }

    fn on_source(&mut self, now: Instant, position: Position, packet: &[u8]) -> Option<()> {
        let counts = &mut self.counts;
        let run = self.lanes[position.stream.lane()].run_of(now, position, counts)?;
        let number = run.window.extend(position.sequence);
        run.advance(now, number, counts);
        match run.window.take(number) {
            Verdict::New => {}
            Verdict::Copy => {
                counts.copies += 1;
                return None;
            }
            Verdict::Behind => {
                counts.behind += 1;
                return None;
            }
        }
        run.taken = now;
        counts.received += 1;
        run.report.received = run.report.received.wrapping_add(1);
        let mut symbol = [0; SYMBOL_LEN_MAX];
        // Parsed: at most PACKET_LEN_MAX.
        symbol[..SYMBOL_PREFIX_LEN].copy_from_slice(&(packet.len() as u16).to_be_bytes());
        symbol[SYMBOL_PREFIX_LEN..][..packet.len()].copy_from_slice(packet);
        run.fit(SYMBOL_PREFIX_LEN + packet.len());
        let symbol = &symbol[..run.decoder.config().symbol_size()];
        let report = run.decoder.receive_source(EncodingSymbolId::new(number), symbol);
        run.learn(report.map(|report| report.recovered()), counts);
        Some(())
    }

    fn on_repair(&mut self, now: Instant, repair: Repair, symbol: &[u8]) {
        let counts = &mut self.counts;
        let lane = &mut self.lanes[repair.newest.stream.lane()];
        let Some(run) = lane.run_of(now, repair.newest, counts) else { return };
        counts.repairs += 1;
        let newest = run.window.extend(repair.newest.sequence);
        run.advance(now, newest, counts);
        let first = newest.wrapping_sub(u32::from(repair.window) - 1);
        let window = u16::from(repair.window);
        // Parsed: the window is not empty.
        let Ok(id) = RepairPayloadId::new(repair.key, DensityThreshold::FULL, window, first.into()) else {
            return;
        };
        let mut whole = [0; SYMBOL_LEN_MAX];
        whole[..symbol.len()].copy_from_slice(symbol);
        run.fit(symbol.len());
        let report = run.decoder.receive_repair(id, &whole[..run.decoder.config().symbol_size()]);
        run.learn(report.map(|report| report.recovered()), counts);
    }
}

impl Lane {
    /// The run that a packet at `position` belongs to, a new one if it is the first of its stream.
    fn run_of(&mut self, now: Instant, position: Position, counts: &mut RestorerCounts) -> Option<&mut Run> {
        if self.ended == Some(position.stream) && self.run.as_ref().is_some_and(|run| !run.is_silent(now)) {
            counts.behind += 1;
            return None;
        }
        let begins = self.run.as_ref().is_none_or(|run| {
            let number = run.window.extend(position.sequence);
            run.stream != position.stream || (run.is_silent(now) && run.window.is_behind(number))
        });
        if begins {
            self.ended = self.run.as_ref().map(|run| run.stream).filter(|ended| *ended != position.stream);
            self.run = Run::new(now, position);
        }
        self.report_due.get_or_insert(now + REPORT_INTERVAL);
        self.run.as_mut()
    }
}

impl Run {
    /// None never: the configuration is made of constants that fit.
    fn new(now: Instant, first: Position) -> Option<Self> {
        Some(Self {
            stream: first.stream,
            report: ProtectionReport { stream: first.stream, expected: 0, received: 0, restored: 0 },
            window: SequenceWindow::before(first.sequence),
            taken: now,
            passed: [now; KEPT],
            decoder: Box::new(decoder(1)?),
            has_recovered: false,
            restored: Box::new([0; SYMBOL_LEN_MAX]),
        })
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.taken) > SILENCE
    }

    /// The next packet that was made again.
    fn restore(&mut self, now: Instant, counts: &mut RestorerCounts) -> Option<&[u8]> {
        while let Some(number) = self.next_recovered() {
            let symbol = self.decoder.symbol(EncodingSymbolId::new(number))?;
            let symbol_len = symbol.len();
            self.restored[..symbol_len].copy_from_slice(symbol);
            let late = now.saturating_duration_since(self.passed[number as usize % KEPT]);
            if late > OF_USE {
                counts.too_late += 1;
                continue;
            }
            let len = usize::from(u16::from_be_bytes([self.restored[0], self.restored[1]]));
            if !(1..=symbol_len - SYMBOL_PREFIX_LEN).contains(&len) {
                counts.malformed += 1;
                continue;
            }
            counts.restored += 1;
            counts.restored_late_micros += u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
            self.report.restored = self.report.restored.wrapping_add(1);
            return Some(&self.restored[SYMBOL_PREFIX_LEN..SYMBOL_PREFIX_LEN + len]);
        }
        None
    }

    /// Makes `number` the newest if it is ahead.
    fn advance(&mut self, now: Instant, number: u32, counts: &mut RestorerCounts) {
        let ahead = self.window.advance(number);
        counts.expected += u64::from(ahead);
        self.report.expected = self.report.expected.wrapping_add(ahead);
        for back in 0..ahead.min(KEPT as u32) {
            self.passed[number.wrapping_sub(back) as usize % KEPT] = now;
        }
    }

    /// Remembers what the decoder says of a symbol.
    fn learn(&mut self, recovered: Result<usize, Error>, counts: &mut RestorerCounts) {
        match recovered {
            Ok(recovered) => self.has_recovered |= recovered > 0,
            // Of use to nobody: it is about packets that are not kept any more.
            Err(Error::WindowExpired) => {}
            // Never from an honest far end. What was derived from it cannot be told from what was not.
            Err(_) => {
                counts.contradictions += 1;
                self.forget(self.decoder.config().symbol_size());
            }
        }
    }

    /// Makes sure that symbols of `len` octets can be taken.
    fn fit(&mut self, len: usize) {
        if len > self.decoder.config().symbol_size() {
            self.forget(len);
        }
    }

    /// Begins anew, with symbols of up to `len` octets.
    fn forget(&mut self, len: usize) {
        if let Some(decoder) = decoder(len) {
            *self.decoder = decoder;
        }
        self.has_recovered = false;
    }

    /// The oldest packet that the decoder has and nobody was given.
    fn next_recovered(&mut self) -> Option<u32> {
        if !self.has_recovered {
            return None;
        }
        let (first, span) = self.decoder.window()?;
        for offset in 0..span as u32 {
            let number = first.wrapping_add(offset);
            if self.decoder.symbol(number).is_some() && self.window.take(number.get()) == Verdict::New {
                return Some(number.get());
            }
        }
        self.has_recovered = false;
        None
    }
}

/// A decoder for symbols of up to `len` octets.
fn decoder(len: usize) -> Option<Decoder> {
    Decoder::new(config(len, KEPT).ok()?, KEPT).ok()
}
