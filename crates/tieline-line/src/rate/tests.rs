use proptest::prelude::*;
use tieline_wire::rate_report::{Heard, Micros};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    Config { auto: true, ceiling: None, ceiling_in: None, overhead: 46, datagram_len_max: 1472 }
}

fn traffic(datagrams: u64) -> Traffic {
    let counted = Counted { datagrams, octets: datagrams * 1000 };
    Traffic { sent: counted, received: counted, backlogged: Duration::ZERO }
}

fn answer_to(report: &RateReport, sequence: u32) -> RateReport {
    let heard = Heard { sequence: report.sequence, arrived: report.sent, datagrams: 1, octets: 80 };
    RateReport { sequence, sent: report.sent, ceiling_kbit: 0, answer: Answer::NotWanted, heard: Some(heard) }
}

/// What `rate` reports of itself within `time`.
fn drive(rate: &mut Rate, from: Instant, time: Duration, traffic: &Traffic) -> Vec<(Duration, RateReport)> {
    let (mut now, mut reports) = (from, Vec::new());
    loop {
        rate.handle_timeout(now, traffic);
        while let Some(report) = rate.poll_report(now, traffic) {
            reports.push((now - from, report));
        }
        match rate.poll_timeout(now).filter(|at| *at <= from + time) {
            Some(at) => now = at.max(now + Duration::from_nanos(1)),
            None => return reports,
        }
    }
}

#[test]
fn what_can_be_taken_in_is_said_until_it_is_answered() {
    let start = Instant::now();
    let taking = Config { auto: false, ceiling_in: Some(5_000_001), ..config() };
    let mut rate = Rate::new(start, taking);
    assert_eq!(drive(&mut rate, start, SECOND, &traffic(0)), []);
    rate.handle_far_end(start);
    let reports = drive(&mut rate, start, SECOND, &traffic(0));
    let millis: Vec<_> = reports.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(millis, [0, 250, 750]);
    assert!(reports.iter().all(|(_, report)| report.ceiling_kbit == 5001 && report.answer == Answer::Wanted));
    rate.handle_report(start + SECOND, start + SECOND, &answer_to(&reports[0].1, 0), &traffic(0));
    assert_eq!(drive(&mut rate, start + SECOND, 60 * SECOND, &traffic(0)), []);
    rate.handle_far_end(start + 61 * SECOND);
    assert_eq!(drive(&mut rate, start + 61 * SECOND, Duration::ZERO, &traffic(0)).len(), 1);
}

#[test]
fn far_end_that_never_answers_leaves_what_is_configured() {
    let start = Instant::now();
    let mut rate = Rate::new(start, Config { ceiling: Some(50_000_000), ..config() });
    rate.handle_far_end(start);
    assert_eq!(rate.bits_per_second(start), Some(controller::RATE_START as u64));
    let reports = drive(&mut rate, start, 60 * SECOND, &traffic(0));
    assert_eq!(reports.len(), ANNOUNCEMENTS_MAX as usize);
    assert_eq!(rate.bits_per_second(start + 60 * SECOND), Some(50_000_000));
}

#[test]
fn ceiling_of_the_far_end_holds_until_it_is_another_one() {
    let start = Instant::now();
    let mut rate = Rate::new(start, Config { auto: false, ceiling: Some(50_000_000), ..config() });
    rate.handle_far_end(start);
    let own =
        RateReport { sequence: 0, sent: Micros(0), ceiling_kbit: 8000, answer: Answer::Wanted, heard: None };
    rate.handle_report(start, start, &own, &traffic(0));
    assert_eq!(rate.bits_per_second(start), Some(8_000_000));
    let answer = rate.poll_report(start, &traffic(0)).unwrap();
    assert_eq!(answer.heard.map(|heard| heard.sequence), Some(0));
    assert_eq!(answer.answer, Answer::NotWanted);
    rate.handle_far_end(start);
    assert_eq!(rate.bits_per_second(start), Some(50_000_000));
}

#[test]
fn reports_of_an_older_time_tell_nothing_and_answers_keep_their_distance() {
    let start = Instant::now();
    let mut rate = Rate::new(start, Config { auto: false, ..config() });
    let ask = |sequence| RateReport {
        sequence,
        sent: Micros(0),
        ceiling_kbit: 0,
        answer: Answer::AtOnce,
        heard: None,
    };
    let mut answers = Vec::new();
    for step in 0..100 {
        let now = start + Duration::from_millis(1) * step;
        rate.handle_report(now, now, &ask(if step == 50 { 7 } else { 1000 + step }), &traffic(0));
        answers.extend(rate.poll_report(now, &traffic(0)));
    }
    assert!(answers.len() <= 21, "{} answers in 100 ms", answers.len());
    let heard: Vec<_> = answers.iter().filter_map(|answer| answer.heard).collect();
    assert!(heard.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
}

proptest! {
    /// Whatever the far end says: no panic, a rate within its bounds, and no more reports than may be.
    #[test]
    fn any_reports_keep_the_rate_within_its_bounds(
        steps in prop::collection::vec(
            (any::<[u32; 5]>(), any::<u64>(), 0_u8..8, 0_u64..2000, any::<bool>()),
            1..60,
        ),
        ceiling in prop::option::of(1_u64..10_u64.pow(12)),
    ) {
        let start = Instant::now();
        let mut rate = Rate::new(start, Config { ceiling, ..config() });
        rate.handle_far_end(start);
        let (mut now, mut last) = (start, 0);
        for (index, ([sequence, sent, ceiling_kbit, arrived, datagrams], octets, kind, wait, known)) in
            steps.into_iter().enumerate()
        {
            let traffic = traffic(index as u64 * 50);
            let heard = Heard {
                sequence: if known { last } else { sequence },
                arrived: Micros(arrived),
                datagrams,
                octets,
            };
            let report = RateReport {
                sequence,
                sent: Micros(sent),
                ceiling_kbit: if kind == 0 { ceiling_kbit } else { 0 },
                answer: [Answer::NotWanted, Answer::Wanted, Answer::AtOnce][usize::from(kind % 3)],
                heard: (kind < 6).then_some(heard),
            };
            rate.handle_report(now, now, &report, &traffic);
            let time = Duration::from_millis(wait);
            let reports = drive(&mut rate, now, time, &traffic);
            prop_assert!(reports.len() <= 2 + (time.as_millis() / GAP_MIN.as_millis()) as usize);
            last = reports.last().map_or(last, |(_, report)| report.sequence);
            now += time;
            let bits = rate.bits_per_second(now).unwrap_or(u64::MAX);
            prop_assert!(bits >= 1000.min(ceiling.unwrap_or(1000)));
            prop_assert!(ceiling.is_none_or(|most| bits <= most.max(controller::RATE_MIN as u64)));
        }
    }
}
