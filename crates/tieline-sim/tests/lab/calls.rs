//! Calls and copies over the lab are timed and counted as the model's path says.

use std::net::IpAddr;
use std::time::Duration;

use libtest_mimic::Completion;
use tieline_io::sysctl::IpVersion;
use tieline_sim::calls::{Calls, Codec, Place, Plan, Window, now};
use tieline_sim::copying::Copying;
use tieline_sim::lab::Office;
use tieline_sim::path::PathModel;

use crate::world::{A, B, Test, World};

pub(crate) const TESTS: &[Test] = &[
    ("calls_arrive_after_the_delay_of_each_way", calls_arrive_after_the_delay),
    ("what_the_path_loses_and_doubles_is_counted_for_each_call", losses_and_copies_are_counted),
    ("a_file_is_copied_until_nobody_wants_it_any_more", a_file_is_copied),
];

const PLAN: Plan = Plan { calls: 3, codec: Codec::G711, is_marked: true };
const MILLISECOND: Duration = Duration::from_millis(1);
const LISTENED_FOR: Duration = Duration::from_millis(500);

fn place(office: &Office) -> Place {
    let Some(IpAddr::V4(address)) = office.wan_address(IpVersion::V4) else { panic!("an office has IPv4") };
    Place { namespace: office.gateway().clone(), address }
}

/// Only what the model forces is asserted: nothing arrives earlier. A busy machine may make it later.
fn calls_arrive_after_the_delay() -> Completion {
    let world = World::new();
    let delayed = |delay| PathModel { delay, ..PathModel::default() };
    world.lab.set_direction(A, B, &delayed(30 * MILLISECOND)).unwrap();
    world.lab.set_direction(B, A, &delayed(5 * MILLISECOND)).unwrap();
    let begin = now();
    let calls = Calls::start([&place(&world.a), &place(&world.b)], PLAN, LISTENED_FOR).unwrap();
    std::thread::sleep(LISTENED_FOR);
    let window = Window { begin, end: now() };
    let recording = calls.finish().unwrap();
    let least = recording.delays_ms(window, 0.0);
    assert!(least[0] >= 30.0 && least[1] >= 5.0, "{least:?}");
    let qualities = recording.qualities(window);
    assert_eq!(qualities.len(), 2 * PLAN.calls, "both ways of each call");
    for quality in qualities {
        assert!(quality.sent >= 10 && quality.lost == 0 && quality.duplicates == 0, "{quality:?}");
    }
    Completion::Completed
}

fn losses_and_copies_are_counted() -> Completion {
    let world = World::new();
    world.lab.set_direction(A, B, &PathModel { loss: 1.0, ..PathModel::default() }).unwrap();
    world.lab.set_direction(B, A, &PathModel { duplication: 1.0, ..PathModel::default() }).unwrap();
    let begin = now();
    let calls = Calls::start([&place(&world.a), &place(&world.b)], PLAN, LISTENED_FOR).unwrap();
    std::thread::sleep(LISTENED_FOR);
    let window = Window { begin, end: now() };
    let qualities = calls.finish().unwrap().qualities(window);
    let (there, back) = qualities.split_at(PLAN.calls);
    for quality in there {
        assert!(quality.lost == quality.sent && quality.mos == 1.0, "{quality:?}");
    }
    for quality in back {
        assert!(quality.duplicates == quality.sent && quality.lost == 0, "{quality:?}");
    }
    Completion::Completed
}

fn a_file_is_copied() -> Completion {
    let world = World::new();
    let copying = Copying::start(&place(&world.a), &place(&world.b)).unwrap();
    std::thread::sleep(LISTENED_FOR);
    assert!(copying.received() > 1_000_000, "{}", copying.received());
    drop(copying);
    Completion::Completed
}
