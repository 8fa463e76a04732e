//! A line with two paths: one is cut so that nobody is told, and what becomes of a call, of TCP and of a file.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::sysctl::IpVersion;
use tieline_sim::calls::{Calls, Codec, Place, Plan, Quality, Recording, Window, now};
use tieline_sim::lab::Office;
use tieline_sim::path::PathModel;

use crate::end::{End, LINE};
use crate::traffic::Killed;
use crate::world::{A, B, DELAY, PORT, Test, World, ip, quiet};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_path_that_is_cut_silently_is_left_within_200_ms_and_tcp_and_the_call_go_on", cut_path)
        .with(&["iperf3", "ip"]),
    Test::new("voice_that_goes_by_two_paths_loses_nothing_when_one_is_cut", cut_path_with_copies)
        .with(&["ip"]),
    Test::new("voice_that_is_lost_on_one_path_goes_by_both_and_is_lost_no_more", lossy_path).with(&["ip"]),
    Test::new("a_line_comes_up_by_the_second_path_when_the_first_is_not_there", first_path_missing)
        .with(&["ip"]),
    Test::new("a_path_follows_its_new_address_while_the_other_carries", path_moves).with(&["ip"]),
    Test::new("both_paths_are_there_again_after_one_end_was_killed", one_end_killed).with(&["ip"]),
];

/// More than any machine should need, however busy it is: the figure itself is printed.
const CHANGE_MAX_MS: f64 = 500.0;
const SETTLE: Duration = Duration::from_secs(2);
const CABLE: &str = "cable0";
const ONE_CALL: Plan = Plan { calls: 1, codec: Codec::G711, is_marked: true };

/// Two offices with two ways from one to the other: the lab's internet, and a cable. B, who dials, is told of both; A has one socket.
fn two_paths(configure: impl Fn(&World)) -> World {
    let mut world = World::cabled(IpVersion::V4);
    let outside = |office: &Office| (office.wan_address(IpVersion::V4).unwrap(), PORT).into();
    world.reached = [outside(&world.a), outside(&world.b)];
    let world = world.made();
    world.end_b.append(&format!("[[path]]\ndevice = \"{CABLE}\"\naddress = \"192.0.2.1:{PORT}\""));
    configure(&world);
    world
}

fn both_up(world: World) -> World {
    let world = world.up();
    wait_for_both(&world);
    world
}

fn wait_for_both(world: &World) {
    for end in [&world.end_a, &world.end_b] {
        end.wait_for("both paths up, the first carries", |status| {
            let paths = paths(status);
            paths.len() == 2 && paths.iter().all(|path| path["up"] == true) && paths[0]["carries"] == true
        });
    }
}

fn paths(status: &Value) -> &[Value] {
    status["paths"].as_array().map_or(&[], Vec::as_slice)
}

fn carrying(end: &End) -> Option<u64> {
    let status = end.status();
    let carries = paths(&status).iter().find(|path| path["carries"] == true);
    carries.and_then(|path| path["path"].as_u64())
}

fn shaped(world: &World) {
    for end in [&world.end_a, &world.end_b] {
        end.configure("rate.out = \"18 Mbit/s\"");
    }
}

fn place(office: &Office) -> Place {
    let address: Ipv4Addr = match office.host_address(IpVersion::V4) {
        Some(IpAddr::V4(address)) => address,
        _ => unreachable!("offices have IPv4"),
    };
    Place { namespace: office.host().clone(), address }
}

/// A call during which the first path is cut, and then is there again: what was sent around the cut, and how.
fn call_over_cut(world: &World) -> (Recording, Window) {
    let calls = Calls::start([&place(&world.a), &place(&world.b)], ONE_CALL, Duration::from_secs(1)).unwrap();
    thread::sleep(SETTLE);
    let begin = now();
    thread::sleep(Duration::from_millis(500));
    world.lab.cut(A).unwrap();
    thread::sleep(SETTLE);
    let window = Window { begin, end: now() };
    (calls.finish().unwrap(), window)
}

fn cut_path() {
    let _quiet = quiet();
    let world = both_up(two_paths(shaped));
    world.use_cubic();
    let _server = Killed(world.b.host().command("iperf3").args(["-s", "-p", "5201"]).spawn().unwrap());
    let server = world.b.host_address(IpVersion::V4).unwrap().to_string();
    // The server needs a moment to listen.
    thread::sleep(Duration::from_millis(300));
    let client = world.a.host().command("iperf3").args(["-c", &server, "-p", "5201", "-J", "-t", "8"]);
    let tcp = thread::spawn(move || client.output().unwrap());
    let (recording, window) = call_over_cut(&world);
    let gaps = recording.longest_gaps_ms(window);
    let lost: Vec<usize> = recording.qualities(window).iter().map(|quality| quality.lost).collect();
    println!("one of two paths cut: nothing for {gaps:.0?} ms, {lost:?} packets of a call lost, of each way");
    world.check(gaps.iter().all(|gap| *gap < CHANGE_MAX_MS), &format!("{gaps:?}"));
    for end in [&world.end_a, &world.end_b] {
        world.check(carrying(end) == Some(1), "the path that was cut carries");
        let rows = end.must(&["status", LINE]);
        world.check(rows.contains("path  0 to") && rows.contains("down for"), &rows);
        world.check(rows.contains("path  1 to") && rows.contains("carries, up for"), &rows);
    }
    let output = tcp.join().unwrap();
    world.check_output(&output);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = report["intervals"].as_array().unwrap().last().unwrap();
    let rate = last["sum"]["bits_per_second"].as_f64().unwrap();
    world.check(rate > 2e6, &format!("TCP has not recovered: {rate} bit/s"));
    world.lab.restore(A).unwrap();
    let restored = Instant::now();
    wait_for_both(&world);
    println!("the first path carries again {:.1?} after it was there", restored.elapsed());
    world.check(restored.elapsed() > Duration::from_secs(4), "it went back too soon");
    for end in [&world.end_a, &world.end_b] {
        world.check(end.status()["alarms"].as_array().unwrap().is_empty(), "an alarm for a path");
        world.check(end.dropped("replayed") == 0, "taken for replays");
    }
}

fn cut_path_with_copies() {
    let _quiet = quiet();
    let world = both_up(two_paths(|world| {
        shaped(world);
        // One end says so, and it holds for both.
        world.end_b.configure("voice-copies = \"always\"");
    }));
    let (recording, window) = call_over_cut(&world);
    let qualities: Vec<Quality> = recording.qualities(window);
    println!("one of two paths cut, voice by both: {qualities:?}");
    for quality in &qualities {
        world.check(quality.sent > 100 && quality.lost == 0, &format!("{quality:?}"));
        world.check(quality.duplicates == 0, &format!("the office sees copies: {quality:?}"));
    }
    for end in [&world.end_a, &world.end_b] {
        world.check(end.status()["traffic"]["copies-out"].as_u64() > Some(50), "few copies");
        world.check(end.dropped("second-copy") > 50, "the copies are not counted as such");
        world.check(end.dropped("replayed") == 0, "taken for replays");
    }
}

fn lossy_path() {
    let _quiet = quiet();
    let world = both_up(two_paths(shaped));
    let lossy = PathModel { loss: 0.05, ..PathModel::internet(20_000_000, DELAY) };
    world.lab.set_path(A, B, &lossy).unwrap();
    let calls = Calls::start([&place(&world.a), &place(&world.b)], ONE_CALL, Duration::from_secs(1)).unwrap();
    let began = now();
    // A report in half a second says what was lost, once something was.
    thread::sleep(Duration::from_secs(4));
    let window = Window { begin: now(), end: now() + 4_000_000_000 };
    thread::sleep(Duration::from_secs(4));
    let recording = calls.finish().unwrap();
    let of = |window| recording.qualities(window).iter().map(|quality| quality.lost).collect::<Vec<_>>();
    let (before, lost) = (of(Window { begin: began, end: window.begin }), of(window));
    println!(
        "one in twenty lost on one of two paths: {before:?} lost of each way in 4 s, {lost:?} in the next 4 s"
    );
    world.check(lost.iter().all(|lost| *lost == 0), &format!("{before:?}, {lost:?}"));
    for end in [&world.end_a, &world.end_b] {
        let status = end.status();
        world.check(status["traffic"]["copies-out"].as_u64() > Some(100), "voice was not copied");
        world.check(status["paths"][1]["copies"] == true, "the second path is not said to carry copies");
        // Of 64 heartbeats all may have come by chance.
        end.wait_for("the loss shown", |status| status["paths"][0]["lost-in"].as_f64() > Some(0.0));
    }
}

fn first_path_missing() {
    let world = two_paths(|_| {});
    world.lab.cut(A).unwrap();
    let began = Instant::now();
    let world = world.up();
    println!("the first path is not there: up by the second {:.1?} after the start", began.elapsed());
    for end in [&world.end_a, &world.end_b] {
        end.wait_for("the second path carries", |status| {
            paths(status).iter().any(|path| path["path"] == 1 && path["carries"] == true)
        });
    }
    world.end_a.must(&["ping", LINE, "--count", "1"]);
    world.lab.restore(A).unwrap();
    wait_for_both(&world);
}

/// B's address on the cable changes, as that of an access provider does.
fn path_moves() {
    let world = both_up(two_paths(|_| {}));
    let of_second = |status: &Value| paths(status).get(1).map(|path| path["address"].clone());
    let before = of_second(&world.end_a.status());
    let gateway = world.b.gateway();
    ip(gateway, &["address", "add", "192.0.2.3/29", "dev", CABLE]);
    ip(gateway, &["address", "del", "192.0.2.2/30", "dev", CABLE]);
    world.end_a.wait_for("the second path moved, the first did not", |status| {
        let paths = paths(status);
        let moved = of_second(status);
        let is_there = moved.as_ref().and_then(Value::as_str).is_some_and(|at| at.starts_with("192.0.2.3:"));
        moved != before && is_there && paths[1]["up"] == true && paths[0]["carries"] == true
    });
    let first = world.end_a.status()["far-end"]["address"].as_str().unwrap().to_owned();
    world.check(first == world.reached[1].to_string(), &first);
}

fn one_end_killed() {
    let mut world = both_up(two_paths(|_| {}));
    world.end_a.kill();
    world.end_a.start();
    world.wait_until_joined();
    wait_for_both(&world);
    world.end_b.kill();
    world.end_b.start();
    world.wait_until_joined();
    wait_for_both(&world);
    world.check(world.end_a.status()["alarms"].as_array().unwrap().is_empty(), "an alarm");
}
