//! Two ends that report to each other over a path on virtual time. The near one sends: calls first, then bulk without end, no
//! faster than its rate lets it. The far one only answers, by a clock of its own.

use std::time::{Duration, Instant};

use tieline_line::rate::{Config, Counted, Rate, Traffic};
use tieline_sim::path::{Bottleneck, Carried, Path, PathModel};
use tieline_wire::rate_report::RateReport;

/// IPv4, UDP and Ethernet.
pub(crate) const OVERHEAD: usize = 46;
/// The largest datagram, as UDP payload.
pub(crate) const DATAGRAM_LEN: usize = 1472;
/// A call's packet of G.711, sealed.
const VOICE_LEN: usize = 232;
const REPORT_LEN: usize = 80;
const VOICE_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(crate) enum Item {
    Bulk,
    Voice(Instant),
    Cross(usize),
    Report(RateReport),
}

impl Carried for Item {
    fn octet_count(&self) -> usize {
        match self {
            Self::Bulk => DATAGRAM_LEN,
            Self::Voice(_) => VOICE_LEN,
            Self::Cross(len) => *len,
            Self::Report(_) => REPORT_LEN,
        }
    }

    fn bit_count(&self) -> usize {
        0
    }

    fn flip_bit(&mut self, _bit: usize) {}
}

/// What the near end sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    pub(crate) calls: u32,
    pub(crate) bulk: bool,
    /// Bits a second that others send through the same bottleneck.
    pub(crate) cross: u64,
}

/// What one step of 100 ms was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) seconds: f64,
    pub(crate) rate: f64,
    /// Bits a second that arrived, on the wire.
    pub(crate) delivered: f64,
}

pub(crate) struct World {
    pub(crate) near: Rate,
    far: Rate,
    out: Path<Item>,
    back: Path<Item>,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) offered: Offered,
    /// Of a report, either way.
    skew: f64,
    near_traffic: Traffic,
    far_traffic: Traffic,
    delivered_bits: f64,
    free_at: Instant,
    voice_at: Instant,
    cross_at: Instant,
    waiting_voice: Vec<Instant>,
    pub(crate) steps: Vec<Step>,
    /// When a voice packet arrived, how long after it was made.
    pub(crate) voice: Vec<(Instant, Duration)>,
    pub(crate) reports: u64,
}

impl World {
    pub(crate) fn new(model: PathModel, config: Config, seed: u64, skew: f64) -> Self {
        let start = Instant::now();
        let back = PathModel { bottleneck: None, ..model.clone() };
        let mut world = Self {
            near: Rate::new(start, config),
            far: Rate::new(start, Config { auto: false, ceiling: None, ceiling_in: None, ..config }),
            out: Path::new(PathModel { overhead: OVERHEAD, ..model }, seed, start),
            back: Path::new(back, seed ^ 0x5555, start),
            start,
            now: start,
            offered: Offered { calls: 10, bulk: true, cross: 0 },
            skew,
            near_traffic: Traffic::default(),
            far_traffic: Traffic::default(),
            delivered_bits: 0.0,
            free_at: start,
            voice_at: start,
            cross_at: start,
            waiting_voice: Vec::new(),
            steps: Vec::new(),
            voice: Vec::new(),
            reports: 0,
        };
        world.near.handle_far_end(start);
        world.far.handle_far_end(start);
        world
    }

    /// Lets `time` pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let step_end = self.now + Duration::from_millis(100);
            let before = self.delivered_bits;
            while let Some(next) = self.next().filter(|next| *next < step_end) {
                self.advance(next);
                self.turn();
            }
            self.advance(step_end);
            self.turn();
            self.steps.push(Step {
                seconds: (self.now - self.start).as_secs_f64(),
                rate: self.near.bits_per_second(self.now).expect("a rate") as f64,
                delivered: (self.delivered_bits - before) * 10.0,
            });
        }
    }

    /// From now on the path out has this rate.
    pub(crate) fn set_rate(&mut self, bits_per_second: u64) {
        self.change(|model| {
            let bottleneck = model.bottleneck.as_mut().expect("a line has a rate");
            *bottleneck = Bottleneck { bits_per_second, ..*bottleneck };
        });
    }

    /// From now on the path out is like this.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut PathModel)) {
        let mut model = self.out.model().clone();
        change(&mut model);
        self.out.set_model(model);
    }

    pub(crate) fn cut(&mut self, cut: bool) {
        if cut {
            self.out.cut();
            self.back.cut();
        } else {
            self.out.restore();
            self.back.restore();
        }
    }

    fn advance(&mut self, to: Instant) {
        if self.offered.bulk {
            self.near_traffic.backlogged += to - self.now;
        }
        self.now = to;
    }

    fn next(&self) -> Option<Instant> {
        let has_packet = self.offered.bulk || !self.waiting_voice.is_empty();
        let far = self.far.poll_timeout(self.far_time(self.now)).map(|at| self.near_time(at));
        [
            has_packet.then_some(self.free_at),
            (self.offered.calls > 0).then_some(self.voice_at),
            (self.offered.cross > 0).then_some(self.cross_at),
            self.near.poll_timeout(self.now),
            far,
            self.out.poll_timeout(),
            self.back.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| at.max(self.now))
    }

    fn turn(&mut self) {
        self.make_voice();
        self.send_cross();
        self.near.handle_timeout(self.now, &self.near_traffic);
        while let Some(report) = self.near.poll_report(self.now, &self.near_traffic) {
            self.reports += 1;
            self.send(Item::Report(report));
        }
        let far_now = self.far_time(self.now);
        self.far.handle_timeout(far_now, &self.far_traffic);
        while let Some(report) = self.far.poll_report(far_now, &self.far_traffic) {
            count(&mut self.far_traffic.sent, REPORT_LEN);
            self.back.handle_datagram(self.now, Item::Report(report));
        }
        self.send_waiting();
        self.arrive();
    }

    fn make_voice(&mut self) {
        while self.offered.calls > 0 && self.now >= self.voice_at {
            self.waiting_voice.extend((0..self.offered.calls).map(|_| self.voice_at));
            self.voice_at += VOICE_INTERVAL;
        }
    }

    fn send_cross(&mut self) {
        let cross = self.offered.cross;
        self.cross_at = self.cross_at.max(self.now - Duration::from_millis(1));
        while cross > 0 && self.now >= self.cross_at {
            self.out.handle_datagram(self.now, Item::Cross(1400));
            self.cross_at += Duration::from_secs_f64((1400 + OVERHEAD) as f64 * 8.0 / cross as f64);
        }
    }

    fn send_waiting(&mut self) {
        while self.now >= self.free_at {
            let item = match self.waiting_voice.is_empty() {
                false => Item::Voice(self.waiting_voice.remove(0)),
                true if self.offered.bulk => Item::Bulk,
                true => return,
            };
            self.send(item);
        }
    }

    fn send(&mut self, item: Item) {
        let rate = self.near.bits_per_second(self.now).expect("a rate");
        let len = item.octet_count();
        let time = Duration::from_secs_f64((len + OVERHEAD) as f64 * 8.0 / rate as f64);
        self.free_at = self.free_at.max(self.now) + time;
        count(&mut self.near_traffic.sent, len);
        self.out.handle_datagram(self.now, item);
    }

    fn arrive(&mut self) {
        while let Some(item) = self.out.poll_datagram(self.now) {
            let len = item.octet_count();
            if let Item::Cross(_) = item {
                continue;
            }
            count(&mut self.far_traffic.received, len);
            self.delivered_bits += (len + OVERHEAD) as f64 * 8.0;
            match item {
                Item::Voice(made) => self.voice.push((self.now, self.now - made)),
                Item::Report(report) => {
                    let far_now = self.far_time(self.now);
                    self.far.handle_report(far_now, far_now, &report, &self.far_traffic);
                }
                Item::Bulk | Item::Cross(_) => {}
            }
        }
        while let Some(item) = self.back.poll_datagram(self.now) {
            count(&mut self.near_traffic.received, item.octet_count());
            if let Item::Report(report) = item {
                self.near.handle_report(self.now, self.now, &report, &self.near_traffic);
            }
        }
    }

    fn far_time(&self, at: Instant) -> Instant {
        self.start + Duration::from_secs(1000) + (at - self.start).mul_f64(1.0 + self.skew)
    }

    fn near_time(&self, at: Instant) -> Instant {
        // Rounding must not make it too early.
        let since = (at - self.start - Duration::from_secs(1000)).div_f64(1.0 + self.skew);
        self.start + since + Duration::from_nanos(100)
    }
}

fn count(counted: &mut Counted, len: usize) {
    counted.datagrams += 1;
    counted.octets += len as u64;
}
