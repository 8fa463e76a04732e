//! One end's key in use at two places at once: an alarm, not a flapping line.

use std::time::{Duration, Instant};

use tieline_io::sysctl::IpVersion;

use crate::end::LIMIT;
use crate::probe::Probe;
use crate::world::{STRANGER_ADDRESS, Test, World};

pub(crate) const TESTS: &[Test] = &[Test::new(
    "a_copy_of_an_ends_keys_run_elsewhere_raises_an_alarm_at_both_ends_and_does_not_take_the_line",
    two_places,
)];

/// The alarm is certain only when the first machine comes back; until then it may have moved.
const ALARM_LIMIT: Duration = Duration::from_secs(60);

fn two_places() {
    let world = World::joined();
    let stranger = world.stranger();
    let mut copy = world.end_b.copied_to(stranger.gateway(), &world.file("copy"));
    copy.start();
    let alarmed = |status: &serde_json::Value, words: &str| {
        let alarms = status["alarms"].as_array().cloned().unwrap_or_default();
        alarms.iter().any(|alarm| alarm.as_str().is_some_and(|alarm| alarm.contains(words)))
    };
    let at = |office: &tieline_sim::lab::Office| office.host_address(IpVersion::V4).unwrap();
    let probe = Probe::start((world.b.host(), at(&world.b)), (world.a.host(), at(&world.a)));
    let status = world.end_a.wait_longer_for(ALARM_LIMIT, "the alarm at A", |status| {
        alarmed(status, "the far end's key is in use at two places")
    });
    let sentence = status["alarms"].to_string();
    world.check(
        sentence.contains(STRANGER_ADDRESS),
        &format!("the alarm does not name both places: {sentence}"),
    );
    world.end_b.wait_longer_for(ALARM_LIMIT, "the alarm at B", |status| {
        alarmed(status, "this end's key is in use at another place")
    });
    let since = Instant::now();
    world.check(probe.first_since(since, LIMIT).is_some(), "the line does not work for either");
    std::thread::sleep(Duration::from_secs(10));
    let gap = probe.longest_gap_since(since);
    println!("key in use twice: longest gap {gap:.1?} in 10 s after the alarm");
    world.check(gap < Duration::from_secs(1), &format!("the line flaps: a gap of {gap:?}"));
}
