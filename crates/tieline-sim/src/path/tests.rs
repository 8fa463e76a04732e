//! Each property of a path by itself, then all of them together.

use std::time::Duration;

use super::*;

const SEED: u64 = 1;
const COUNT: u32 = 20_000;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Sends `count` numbered datagrams of 100 octets, one every `interval`, and returns what arrives when.
fn run(
    model: PathModel,
    seed: u64,
    count: u32,
    interval: Duration,
) -> (Vec<(Duration, Vec<u8>)>, PathCounters) {
    let start = Instant::now();
    let mut path = Path::new(model, seed, start);
    for number in 0..count {
        path.handle_datagram(start + interval * number, numbered(number));
    }
    let mut arrived = Vec::new();
    while let Some(at) = path.poll_timeout() {
        while let Some(datagram) = path.poll_datagram(at) {
            arrived.push((at - start, datagram));
        }
    }
    (arrived, path.counters())
}

fn numbered(number: u32) -> Vec<u8> {
    let mut datagram = number.to_be_bytes().to_vec();
    datagram.resize(100, 0xa5);
    datagram
}

fn number(datagram: &[u8]) -> u32 {
    u32::from_be_bytes(datagram[..4].try_into().unwrap())
}

fn numbers(arrived: &[(Duration, Vec<u8>)]) -> Vec<u32> {
    arrived.iter().map(|(_, datagram)| number(datagram)).collect()
}

fn share(part: u64) -> f64 {
    part as f64 / f64::from(COUNT)
}

#[test]
fn a_perfect_path_delivers_everything_at_once_in_order() {
    let (arrived, counters) = run(PathModel::default(), SEED, 100, millis(1));
    let expected: Vec<_> = (0..100).map(|number| (millis(number.into()), numbered(number))).collect();
    assert_eq!(arrived, expected);
    assert_eq!((counters.offered, counters.delivered, counters.octets_delivered), (100, 100, 10_000));
    assert_eq!(counters.dropped(), 0);
}

#[test]
fn every_datagram_takes_the_delay() {
    let (arrived, _) = run(PathModel { delay: millis(15), ..PathModel::default() }, SEED, 100, millis(1));
    assert!(arrived.iter().zip(0..).all(|((at, _), sent)| *at == millis(15 + sent)));
}

#[test]
fn jitter_spreads_arrivals_within_its_bound_and_keeps_the_order() {
    let model = PathModel { delay: millis(15), jitter: millis(10), ..PathModel::default() };
    let (arrived, _) = run(model, SEED, COUNT, millis(20));
    assert_eq!(numbers(&arrived), (0..COUNT).collect::<Vec<_>>());
    let delays: Vec<_> = arrived.iter().zip(0..).map(|((at, _), sent)| *at - millis(20) * sent).collect();
    assert!(delays.iter().all(|delay| (millis(15)..=millis(25)).contains(delay)));
    assert!(delays.iter().min().unwrap() < &millis(16) && delays.iter().max().unwrap() > &millis(24));

    let dense = PathModel { jitter: millis(10), ..PathModel::default() };
    let (arrived, _) = run(dense, SEED, COUNT, Duration::from_micros(10));
    assert_eq!(numbers(&arrived), (0..COUNT).collect::<Vec<_>>());
}

#[test]
fn loss_takes_its_share_and_only_that() {
    let (arrived, counters) = run(PathModel { loss: 0.1, ..PathModel::default() }, SEED, COUNT, millis(1));
    assert!((share(counters.lost) - 0.1).abs() < 0.01, "{counters:?}");
    assert_eq!(counters.lost + arrived.len() as u64, u64::from(COUNT));
}

#[test]
fn losses_in_bursts_have_the_length_and_share_asked_for() {
    let bursts = Some(Bursts::of(8.0, 0.05));
    let (arrived, counters) = run(PathModel { bursts, ..PathModel::default() }, SEED, COUNT, millis(1));
    assert!((share(counters.lost_in_burst) - 0.05).abs() < 0.02, "{counters:?}");
    let arrived = numbers(&arrived);
    let gaps: Vec<u32> =
        arrived.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    let mean = f64::from(gaps.iter().sum::<u32>()) / gaps.len() as f64;
    assert!((5.0..11.0).contains(&mean), "mean burst {mean}");
}

#[test]
fn reordered_datagrams_arrive_late_and_the_others_in_order() {
    let reordering = Some(Reordering { probability: 0.1, hold: millis(5) });
    let model = PathModel { delay: millis(15), reordering, ..PathModel::default() };
    let (arrived, counters) = run(model, SEED, COUNT, millis(1));
    assert!((share(counters.reordered) - 0.1).abs() < 0.01, "{counters:?}");
    assert_eq!(arrived.len(), COUNT as usize);
    let late: Vec<_> =
        arrived.iter().filter(|(at, datagram)| *at != millis(15 + u64::from(number(datagram)))).collect();
    assert_eq!(late.len() as u64, counters.reordered);
    assert!(late.iter().all(|(at, datagram)| *at <= millis(20 + u64::from(number(datagram)))));
    assert!(numbers(&arrived).windows(2).any(|pair| pair[0] > pair[1]));
}

#[test]
fn duplicates_are_copies_and_counted() {
    let (arrived, counters) =
        run(PathModel { duplication: 0.1, ..PathModel::default() }, SEED, COUNT, millis(1));
    assert!((share(counters.duplicated) - 0.1).abs() < 0.01, "{counters:?}");
    assert_eq!(arrived.len() as u64, u64::from(COUNT) + counters.duplicated);
    let copies = arrived.windows(2).filter(|pair| pair[0].1 == pair[1].1).count();
    assert_eq!(copies as u64, counters.duplicated);
}

#[test]
fn corruption_flips_between_one_bit_and_the_named_bound() {
    let (arrived, counters) =
        run(PathModel { corruption: 0.1, ..PathModel::default() }, SEED, COUNT, millis(1));
    assert!((share(counters.corrupted) - 0.1).abs() < 0.01, "{counters:?}");
    let flipped: Vec<u32> = arrived
        .iter()
        .zip(0..)
        .map(|((_, datagram), sent)| {
            datagram.iter().zip(numbered(sent)).map(|(octet, original)| (octet ^ original).count_ones()).sum()
        })
        .filter(|bits| *bits > 0)
        .collect();
    assert_eq!(flipped.len() as u64, counters.corrupted);
    assert_eq!(flipped.iter().copied().max(), Some(BITS_FLIPPED_MAX as u32));
}

#[test]
fn the_rate_spaces_datagrams_and_a_full_queue_drops_at_the_tail() {
    let bottleneck = Some(Bottleneck { bits_per_second: 1_024_000, queue_bytes_max: 1280 });
    let model = PathModel { bottleneck, overhead: 28, delay: millis(15), ..PathModel::default() };
    // 128 octets at 128 octets a millisecond; twenty at once, ten of which fit.
    let (arrived, counters) = run(model, SEED, 20, Duration::ZERO);
    let expected: Vec<_> = (0..10).map(|number| (millis(16 + u64::from(number)), numbered(number))).collect();
    assert_eq!(arrived, expected);
    assert_eq!(counters.queue_full, 10);
}

#[test]
fn datagrams_above_the_mtu_vanish_and_the_overhead_counts() {
    let model = |mtu| PathModel { mtu: Some(mtu), overhead: 28, ..PathModel::default() };
    assert_eq!(run(model(128), SEED, 5, millis(1)).1.delivered, 5);
    assert_eq!(run(model(127), SEED, 5, millis(1)).1.too_large, 5);
}

#[test]
fn an_outage_takes_what_is_sent_and_what_would_arrive_in_it() {
    let outages = vec![Outage { begin: millis(100), length: millis(50) }];
    let model = PathModel { delay: millis(20), outages, ..PathModel::default() };
    let (arrived, counters) = run(model, SEED, 200, millis(1));
    let expected: Vec<u32> = (0..80).chain(150..200).collect();
    assert_eq!(numbers(&arrived), expected);
    assert_eq!(counters.cut, 70);
}

#[test]
fn a_cut_path_carries_nothing_until_it_is_restored() {
    let start = Instant::now();
    let mut path = Path::new(PathModel { delay: millis(10), ..PathModel::default() }, SEED, start);
    path.handle_datagram(start, numbered(0));
    path.cut();
    path.handle_datagram(start, numbered(1));
    assert_eq!(path.poll_datagram(start + millis(10)), None);
    path.handle_datagram(start + millis(15), numbered(2));
    path.restore();
    path.handle_datagram(start + millis(20), numbered(3));
    assert_eq!(path.poll_datagram(start + millis(30)), Some(numbered(3)));
    assert_eq!(path.counters().cut, 3);
}

#[test]
fn nothing_is_handed_out_before_its_time() {
    let start = Instant::now();
    let mut path = Path::new(PathModel { delay: millis(10), ..PathModel::default() }, SEED, start);
    path.handle_datagram(start, numbered(0));
    assert_eq!(path.poll_datagram(start + millis(10) - Duration::from_nanos(1)), None);
    assert_eq!(path.poll_timeout(), Some(start + millis(10)));
    assert!(path.poll_datagram(start + millis(10)).is_some());
    assert_eq!(path.poll_timeout(), None);
}

#[test]
fn more_on_its_way_than_the_bound_is_dropped_and_counted() {
    let start = Instant::now();
    let mut path = Path::new(PathModel { delay: millis(10), ..PathModel::default() }, SEED, start);
    let large = vec![0; 60_000];
    let fitting = ON_THE_WAY_BYTES_MAX / large.len();
    for _ in 0..fitting + 5 {
        path.handle_datagram(start, large.clone());
    }
    assert_eq!(path.counters().overfull, 5);
    while path.poll_datagram(start + millis(10)).is_some() {}
    path.handle_datagram(start + millis(10), large);
    assert_eq!(path.counters().overfull, 5);
}

fn bad_path() -> PathModel {
    PathModel {
        mtu: Some(1500),
        bottleneck: Some(Bottleneck::new(1_000_000)),
        overhead: 28,
        delay: millis(15),
        jitter: millis(5),
        loss: 0.02,
        bursts: Some(Bursts::of(5.0, 0.02)),
        reordering: Some(Reordering { probability: 0.02, hold: millis(8) }),
        duplication: 0.02,
        corruption: 0.02,
        outages: vec![Outage { begin: millis(500), length: millis(300) }],
    }
}

#[test]
fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
    let [first, again, other] = [1, 1, 2].map(|seed| run(bad_path(), seed, 2000, millis(1)).0);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn every_datagram_is_accounted_for() {
    for seed in 0..20 {
        let (arrived, counters) = run(bad_path(), seed, 2000, Duration::from_micros(700));
        assert_eq!(
            counters.offered + counters.duplicated,
            counters.delivered + counters.dropped(),
            "{counters:?}"
        );
        assert_eq!(counters.delivered, arrived.len() as u64);
        let reasons = [counters.cut, counters.queue_full, counters.lost, counters.lost_in_burst];
        assert!(reasons.iter().all(|count| *count > 0), "{counters:?}");
    }
}

#[test]
fn one_effect_more_leaves_the_decisions_of_the_others_as_they_were() {
    let plain = PathModel { loss: 0.1, ..PathModel::default() };
    let more = PathModel { duplication: 0.5, jitter: millis(3), ..plain.clone() };
    let [plain, mut more] = [plain, more].map(|model| numbers(&run(model, SEED, 2000, millis(5)).0));
    assert!(more.len() > plain.len());
    more.dedup();
    assert_eq!(more, plain);
}

#[test]
fn senseless_probabilities_are_never_or_always() {
    for (probability, delivered) in [(-1.0, 10), (f64::NAN, 10), (2.0, 0), (f64::INFINITY, 0)] {
        let (_, counters) = run(PathModel { loss: probability, ..PathModel::default() }, SEED, 10, millis(1));
        assert_eq!(counters.delivered, delivered, "{probability}");
    }
}
