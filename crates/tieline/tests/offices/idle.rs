//! What an end costs that has nothing to do.

use std::fs;
use std::time::Duration;

use crate::world::{Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new("an_idle_end_needs_at_most_20_mib_and_a_thousandth_of_a_processor", || {
        idle(Duration::from_secs(20))
    }),
    Test::new("soak_an_idle_end_needs_at_most_20_mib_and_a_thousandth_of_a_processor_over_a_rekey", || {
        idle(Duration::from_secs(150));
    })
    .soak(),
];

const RESIDENT_KIB_MAX: u64 = 20 * 1024;
/// Idle: 0.1 % of one processor.
const PROCESSOR_SHARE_MAX: f64 = 0.001;

fn idle(span: Duration) {
    let world = World::joined();
    // What a start leaves to do is done.
    std::thread::sleep(Duration::from_secs(5));
    let ends = [("a", world.end_a.pid()), ("b", world.end_b.pid())];
    let before = ends.map(|(_, pid)| processor_time(pid));
    std::thread::sleep(span);
    for ((name, pid), before) in ends.into_iter().zip(before) {
        let share = (processor_time(pid) - before).as_secs_f64() / span.as_secs_f64();
        let resident = resident_kib(pid);
        println!(
            "idle end {name}: {resident} KiB resident, {:.3} % of a processor over {span:?}",
            share * 100.0
        );
        world.check(resident <= RESIDENT_KIB_MAX, &format!("end {name} has {resident} KiB resident"));
        world.check(
            share <= PROCESSOR_SHARE_MAX,
            &format!("end {name} uses {:.3} % of a processor", share * 100.0),
        );
    }
}

/// What all threads of a process have had of the processors, to the nanosecond.
fn processor_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let schedule = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        schedule.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let row = status.lines().find(|row| row.starts_with("VmRSS:")).unwrap();
    row.split_whitespace().nth(1).unwrap().parse().unwrap()
}
