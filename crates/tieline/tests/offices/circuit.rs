//! `tieline pipe`: the line as a bare circuit, without root.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tieline_io::sysctl::IpVersion;
use tieline_sim::path::{PathModel, Reordering};

use crate::end::{End, LIMIT, LINE};
use crate::world::{A, B, PORT, Test, World, random_file, same};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_pipe_may_be_the_first_thing_ever_done_on_a_line_whichever_end_has_the_smaller_key", || {
        // Whose key is smaller is a matter of luck, anew with each line.
        for _ in 0..4 {
            pipe(1000, &PathModel::internet(20_000_000, Duration::from_millis(5)));
        }
    })
    .with(&["setpriv"]),
    Test::new("a_pipe_without_root_carries_16_mib_each_way_at_once_over_a_lossy_path_unchanged", || {
        pipe_over_bad_path(16 << 20);
    })
    .with(&["setpriv"]),
    Test::new("a_pipe_over_a_cut_line_says_so_once_and_goes_on_when_the_far_end_is_back", over_a_cut),
    Test::new("soak_a_pipe_without_root_carries_1_gib_each_way_at_once_over_a_lossy_path_unchanged", || {
        pipe_over_bad_path(1 << 30);
    })
    .with(&["setpriv"])
    .soak(),
];

fn pipe_over_bad_path(octets: u64) {
    let world = pipe(octets, &lossy());
    let counters = world.lab.path_counters(A, B).unwrap();
    assert!(
        counters.lost > 0 && counters.reordered > 0,
        "the path was not as bad as it should be: {counters:?}"
    );
}

fn pipe(octets: u64, path: &PathModel) -> World {
    let mut world = World::over(path);
    world.end_a.give_to_user();
    world.end_b.give_to_user();
    let address = format!("{}:{PORT}", world.a.wan_address(IpVersion::V4).unwrap());
    let new = ["new", LINE, "--bare", "--no-up", "--json", "--listen", "[::]:51820", "--address", &address];
    let made = world.end_a.command(new).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let join = ["join", made["invitation"].as_str().unwrap(), "--bare", "--no-up"];
    let joined = world.end_b.command(join).output().unwrap();
    assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));

    let files = ["sent-a", "sent-b", "came-a", "came-b"].map(|name| world.file(name));
    let [sent_a, sent_b, came_a, came_b] = &files;
    random_file(sent_a, octets);
    random_file(sent_b, octets);
    let began = Instant::now();
    let run = |end: &End, input, output, log: &str| {
        end.command(["-v", "pipe", LINE])
            .stdin(File::open(input).unwrap())
            .stdout(File::create(output).unwrap())
            .stderr(File::create(world.file(log)).unwrap())
            .spawn()
            .unwrap()
    };
    let mut ends = [run(&world.end_a, sent_a, came_a, "log-a"), run(&world.end_b, sent_b, came_b, "log-b")];
    let said = || ["log-a", "log-b"].map(|log| fs::read_to_string(world.file(log)).unwrap_or_default());
    let limit = Duration::from_secs(90 + octets / 200_000);
    wait(&mut ends, began + limit, &said);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "pipe: {octets} octets each way at once in {seconds:.1} s, {:.1} Mbit/s each way",
        octets as f64 * 8e-6 / seconds
    );
    assert!(same(sent_a, came_b), "what A sent is not what came to B\n{:?}", said());
    assert!(same(sent_b, came_a), "what B sent is not what came to A\n{:?}", said());
    world
}

fn over_a_cut() {
    let world = World::joined();
    let log = world.file("pipe.log");
    let start = |end: &End, log: File| {
        let command = end.command(["pipe", LINE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        command.spawn().unwrap()
    };
    let mut at_a = start(&world.end_a, File::create(&log).unwrap());
    let mut at_b = start(&world.end_b, File::create(world.file("other.log")).unwrap());
    let mut input = at_a.stdin.take().unwrap();
    let mut output = BufReader::new(at_b.stdout.take().unwrap()).lines();
    let mut came = || output.next().unwrap().unwrap();
    writeln!(input, "before").unwrap();
    assert_eq!(came(), "before");
    let said = |what: &str| {
        let deadline = Instant::now() + LIMIT;
        while !fs::read_to_string(&log).unwrap().contains(what) {
            assert!(Instant::now() < deadline, "not said: {what}\n{}", fs::read_to_string(&log).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    world.lab.cut(B).unwrap();
    writeln!(input, "during").unwrap();
    said("not heard any more");
    world.lab.restore(B).unwrap();
    assert_eq!(came(), "during");
    said("heard again");
    drop(input);
    drop(at_b.stdin.take());
    wait(&mut [at_a, at_b], Instant::now() + LIMIT, &|| [fs::read_to_string(&log).unwrap(), String::new()]);
    assert_eq!(fs::read_to_string(&log).unwrap().matches("not heard any more").count(), 1);
}

/// 1 % loss and packets that overtake each other, without a narrow place.
fn lossy() -> PathModel {
    let hold = Duration::from_millis(5);
    PathModel {
        delay: Duration::from_millis(5),
        loss: 0.01,
        reordering: Some(Reordering { probability: 0.02, hold }),
        ..PathModel::default()
    }
}

fn wait(ends: &mut [Child], deadline: Instant, said: &dyn Fn() -> [String; 2]) {
    loop {
        let ended: Vec<_> = ends.iter_mut().map(|end| end.try_wait().unwrap()).collect();
        if ended.iter().all(|status| status.is_some_and(|status| status.success())) {
            return;
        }
        let has_failed = ended.iter().any(|status| status.is_some_and(|status| !status.success()));
        if has_failed || Instant::now() > deadline {
            for end in ends {
                // It may have ended by itself.
                let _ = end.kill();
                let _ = end.wait();
            }
            panic!("the pipe did not end well: {ended:?}\n{}", said().join("\n---\n"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
