//! How a stream did, from what was sent and what arrived.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use tieline_line::emodel::{Conditions, Rating};

use super::receiver::Arrival;
use super::sender::Departure;
use super::{Codec, Plan};

/// A phone's buffer: what comes so much later than the quickest packet is not heard.
const BUFFER_MS: f64 = 60.0;
/// Sound is complete only at the end of its packet.
const PACKET_MS: f64 = 20.0;
/// Of the smoothing of jitter (RFC 3550 §6.4.1).
const JITTER_GAIN: f64 = 1.0 / 16.0;

/// A time, as [`super::now`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From this moment.
    pub begin: u64,
    /// To before this one.
    pub end: u64,
}

impl Window {
    /// Whether it is within.
    #[must_use]
    pub fn contains(self, at: u64) -> bool {
        (self.begin..self.end).contains(&at)
    }
}

/// Of one stream: one way of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// One-way delay, below which half of the packets lie; those that were lost have none.
    pub p50_ms: f64,
    /// Below which 99 of a hundred lie.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Packets.
    pub sent: usize,
    /// Packets that never arrived.
    pub lost: usize,
    /// Packets that came too late for a phone's buffer of 60 ms.
    pub late: usize,
    /// Copies beyond the first.
    pub duplicates: usize,
    /// The mean of what RFC 3550 §6.4.1 calls so.
    pub jitter_ms: f64,
    /// Mean opinion score by the E-model, with that buffer: 1, bad, to 4.5.
    pub mos: f64,
}

/// Of each stream of one way, those of its packets that were sent in the window.
pub(super) fn of_way(plan: Plan, sent: &[Departure], heard: &[Arrival], window: Window) -> Vec<Quality> {
    let mut streams: BTreeMap<u32, (Vec<u32>, Vec<Arrival>)> = BTreeMap::new();
    for label in sent.iter().map(|departure| departure.label).filter(|label| window.contains(label.sent)) {
        streams.entry(label.call).or_default().0.push(label.number);
    }
    for arrival in heard.iter().filter(|arrival| window.contains(arrival.label.sent)) {
        streams.entry(arrival.label.call).or_default().1.push(*arrival);
    }
    streams.into_values().map(|(numbers, arrivals)| of_stream(plan.codec, &numbers, &arrivals)).collect()
}

/// The delay of each packet of one way, for ever if it is lost.
pub(super) fn delays_ms(sent: &[Departure], heard: &[Arrival], window: Window) -> Vec<f64> {
    let arrived: BTreeMap<(u32, u32), f64> = heard
        .iter()
        .rev()
        .filter(|arrival| window.contains(arrival.label.sent))
        .map(|arrival| ((arrival.label.call, arrival.label.number), arrival.delay_ms()))
        .collect();
    let labels = sent.iter().map(|departure| departure.label).filter(|label| window.contains(label.sent));
    labels.map(|label| arrived.get(&(label.call, label.number)).copied().unwrap_or(f64::INFINITY)).collect()
}

/// The longest time between two packets of one call, one behind the other in the order of arrival.
pub(super) fn longest_gap_ms(heard: &[Arrival], window: Window) -> f64 {
    let mut last: BTreeMap<u32, f64> = BTreeMap::new();
    let mut longest = 0.0_f64;
    for arrival in heard.iter().filter(|arrival| window.contains(arrival.label.sent)) {
        let came = arrival.arrived as f64 / 1e6;
        if let Some(before) = last.insert(arrival.label.call, came) {
            longest = longest.max(came - before);
        }
    }
    longest
}

fn of_stream(codec: Codec, numbers: &[u32], arrivals: &[Arrival]) -> Quality {
    // The first copy counts.
    let mut delays: BTreeMap<u32, f64> = BTreeMap::new();
    let mut duplicates = 0;
    for arrival in arrivals {
        match delays.entry(arrival.label.number) {
            Entry::Vacant(entry) => drop(entry.insert(arrival.delay_ms())),
            Entry::Occupied(_) => duplicates += 1,
        }
    }
    let mut sorted: Vec<f64> = delays.values().copied().collect();
    let least = percentile(&mut sorted, 0.0).unwrap_or_default();
    let in_time = |number: &u32| delays.get(number).is_some_and(|ms| *ms <= least + BUFFER_MS);
    let bursts = bursts(numbers.iter().map(in_time));
    let missing = numbers.iter().filter(|number| !in_time(number)).count();
    let lost = numbers.len().saturating_sub(delays.len());
    let loss = missing as f64 / numbers.len().max(1) as f64;
    // How long bursts are on average, to how long they are if each packet is lost by itself.
    let burst_ratio = (missing as f64 / f64::from(bursts.max(1)) * (1.0 - loss)).max(1.0);
    let delay = Duration::from_secs_f64((PACKET_MS + least + BUFFER_MS) / 1000.0);
    let rating = Rating::of(&Conditions { delay, loss, burst_ratio, impairment: codec.impairment() });
    Quality {
        p50_ms: percentile(&mut sorted, 0.5).unwrap_or(f64::INFINITY),
        p99_ms: percentile(&mut sorted, 0.99).unwrap_or(f64::INFINITY),
        max_ms: percentile(&mut sorted, 1.0).unwrap_or(f64::INFINITY),
        sent: numbers.len(),
        lost,
        late: missing - lost,
        duplicates,
        jitter_ms: jitter_ms(arrivals),
        // Of silence the model thinks better than anybody would.
        mos: if delays.is_empty() { 1.0 } else { rating.mos() },
    }
}

/// How often something was missing, each time one or several together.
fn bursts(in_time: impl Iterator<Item = bool>) -> u32 {
    let (mut bursts, mut was_in_time) = (0, true);
    for is_in_time in in_time {
        bursts += u32::from(was_in_time && !is_in_time);
        was_in_time = is_in_time;
    }
    bursts
}

/// In the order of arrival, copies included, as RTCP reports it.
fn jitter_ms(arrivals: &[Arrival]) -> f64 {
    let transits = arrivals.iter().map(|arrival| {
        let at = f64::from(arrival.label.number) * Codec::INTERVAL.as_secs_f64() * 1000.0;
        // Only differences count: a later zero keeps the digits.
        arrival.arrived.saturating_sub(arrivals[0].arrived) as f64 / 1e6 - at
    });
    let (mut jitter, mut sum, mut before) = (0.0, 0.0, None::<f64>);
    for transit in transits {
        if let Some(before) = before {
            jitter += ((transit - before).abs() - jitter) * JITTER_GAIN;
            sum += jitter;
        }
        before = Some(transit);
    }
    sum / arrivals.len().saturating_sub(1).max(1) as f64
}

/// The value below which `share` of them lie (0 to 1); `None` of none.
pub(super) fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::super::Label;
    use super::*;

    const MS: u64 = 1_000_000;

    fn arrival(number: u32, delay_ms: u64) -> Arrival {
        let sent = u64::from(number) * 20 * MS;
        Arrival { label: Label { call: 0, number, sent }, arrived: sent + delay_ms * MS }
    }

    #[test]
    fn what_is_lost_late_and_doubled_is_told_apart() {
        let numbers: Vec<u32> = (0..10).collect();
        let mut arrivals: Vec<Arrival> = (0..8).map(|number| arrival(number, 10)).collect();
        arrivals.push(arrival(8, 71));
        arrivals.push(arrival(3, 90));
        let quality = of_stream(Codec::G711, &numbers, &arrivals);
        assert_eq!((quality.sent, quality.lost, quality.late, quality.duplicates), (10, 1, 1, 1));
        assert_eq!((quality.p50_ms, quality.max_ms), (10.0, 71.0), "the first copy counts");
        assert!(quality.mos < 4.0);
    }

    #[test]
    fn a_steady_delay_has_no_jitter_and_is_not_late() {
        let numbers: Vec<u32> = (0..100).collect();
        let arrivals: Vec<Arrival> = numbers.iter().map(|number| arrival(*number, 90)).collect();
        let quality = of_stream(Codec::G711, &numbers, &arrivals);
        assert!(quality.late == 0 && quality.jitter_ms < 1e-9, "{quality:?}");
        assert!(quality.mos > 4.2 && quality.mos < 4.36, "{}", quality.mos);
    }

    #[test]
    fn a_stream_of_which_nothing_arrives_is_the_worst() {
        let quality = of_stream(Codec::G711, &[1, 2, 3], &[]);
        assert_eq!((quality.lost, quality.mos, quality.p99_ms), (3, 1.0, f64::INFINITY));
    }

    #[test]
    fn jitter_is_smoothed_as_the_standard_says() {
        let arrivals = [arrival(0, 10), arrival(1, 26), arrival(2, 26)];
        // 16 ms once make 1 ms, which fades by a sixteenth: 1 and 0.9375, on average.
        assert!((jitter_ms(&arrivals) - 0.96875).abs() < 1e-9);
    }

    #[test]
    fn only_what_was_sent_in_the_window_counts() {
        let label = |number| arrival(number, 10).label;
        let plan = Plan { calls: 1, codec: Codec::G711, is_marked: true };
        let sent: Vec<Departure> =
            (0..10).map(|number| Departure { label: label(number), late: Duration::ZERO }).collect();
        let heard: Vec<Arrival> = (0..10).map(|number| arrival(number, 10)).collect();
        let qualities = of_way(plan, &sent, &heard, Window { begin: 40 * MS, end: 100 * MS });
        assert_eq!(qualities.iter().map(|quality| quality.sent).collect::<Vec<_>>(), [3]);
    }
}
