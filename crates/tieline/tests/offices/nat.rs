//! An end behind a NAT that forgets.

use std::time::{Duration, Instant};

use tieline_io::sysctl::IpVersion;
use tieline_sim::nat::NatConfig;

use crate::end::{LIMIT, LINE};
use crate::probe::Probe;
use crate::world::{B, Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_line_through_a_nat_that_forgets_after_30_s_stays_reachable_while_idle", idle_behind_nat),
    Test::new("a_line_through_a_nat_comes_back_after_the_nat_has_lost_its_mappings", forgetful_nat),
];

fn behind_nat() -> World {
    let mut world = World::bare().made();
    world.lab.set_nat(B, Some(NatConfig::common("203.0.113.7".parse().unwrap()))).unwrap();
    world.end_a.start();
    world.end_b.start();
    world.wait_until_joined();
    let status = world.end_a.status();
    world.check(status["far-end"]["behind-nat"] == true, "A does not say that B is behind a NAT");
    world
}

fn inwards(world: &World) -> Probe {
    let at = |office: &tieline_sim::lab::Office| office.host_address(IpVersion::V4).unwrap();
    Probe::start((world.a.host(), at(&world.a)), (world.b.host(), at(&world.b)))
}

fn idle_behind_nat() {
    let world = behind_nat();
    std::thread::sleep(Duration::from_secs(40));
    let since = Instant::now();
    let probe = inwards(&world);
    let arrival = probe.first_since(since, LIMIT);
    world.check(arrival.is_some(), "B is not reached any more");
    let took = arrival.unwrap().arrived - since;
    println!("NAT of 30 s, idle for 40 s: first packet inwards after {took:.1?}");
    world.check(took < Duration::from_millis(500), &format!("B was reached only after {took:?}"));
    world.end_a.must(&["ping", LINE, "--count", "1"]);
}

fn forgetful_nat() {
    let world = behind_nat();
    let probe = inwards(&world);
    world.check(probe.first_since(Instant::now(), LIMIT).is_some(), "B is not reached at all");
    world.lab.forget_nat(B).unwrap();
    // As long as nothing went outwards, what is on its way inwards is lost.
    let forgotten = Instant::now() + Duration::from_millis(20);
    let limit = Duration::from_secs(40);
    let arrival = probe.first_since(forgotten, limit);
    world.check(arrival.is_some(), "the line does not come back");
    println!(
        "NAT lost its mappings: traffic inwards again after {:.1?}",
        arrival.unwrap().arrived - forgotten
    );
}
