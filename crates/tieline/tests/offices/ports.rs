//! `[[port]]`: services of one office at the other, by ordinary users, without a network device.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_io::sysctl::IpVersion;
use tieline_sim::path::PathModel;

use crate::end::{LIMIT, LINE};
use crate::world::{B, Test, World};

pub(crate) const TESTS: &[Test] = &[
    Test::new("a_port_without_root_carries_100_connections_and_50_mb_unchanged", many_connections)
        .with(&["setpriv"]),
    Test::new("a_port_passes_the_end_of_each_direction_on_by_itself", half_close).with(&["setpriv"]),
    Test::new("a_port_refuses_what_is_not_there_by_a_reset_and_says_why_at_both_ends", refusals)
        .with(&["setpriv"]),
    Test::new("a_ports_connection_outlives_a_cut_of_3_s_and_what_is_new_in_a_longer_one_is_refused_at_once", cut)
        .with(&["setpriv"]),
    Test::new("a_ports_connections_break_and_do_not_end_when_either_end_is_killed_and_new_ones_work_after_its_start", kill)
        .with(&["setpriv"]),
    Test::new("clients_of_a_port_that_take_nothing_are_waited_for_and_stop_nobody_else", stalled)
        .with(&["setpriv"]),
    Test::new("a_udp_port_carries_datagrams_of_any_size_each_to_who_asked", datagrams).with(&["setpriv"]),
    Test::new("a_udp_port_drops_what_a_slow_line_does_not_carry_and_counts_it", flood).with(&["setpriv"]),
    Test::new("a_port_that_cannot_be_offered_is_refused_with_advice", not_offered),
    Test::new("soak_a_port_carries_as_much_as_a_pipe", as_fast_as_a_pipe).with(&["setpriv", "ip"]).soak(),
];

/// How soon something happens that happens at once, on a machine that does other things too.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Where A offers the service that is called `web`.
const OFFERED: &str = "127.0.0.1:8080";
/// Where A offers the one that is called `dns`.
const OFFERED_UDP: &str = "127.0.0.1:5300";

/// A bare line of two ordinary users. The services are on the host at B, `web` at port 80 and `dns` at port 53.
fn world(path: &PathModel) -> World {
    world_over(World::over(path))
}

fn world_over(mut world: World) -> World {
    world.end_a.give_to_user();
    world.end_b.give_to_user();
    let address = world.reached[0].to_string();
    let new = ["new", LINE, "--bare", "--no-up", "--json", "--listen", "[::]:51820", "--address", &address];
    let made: Value = serde_json::from_str(&world.end_a.must(&new)).unwrap();
    world.end_b.must(&["join", made["invitation"].as_str().unwrap(), "--bare", "--no-up"]);
    let host = world.b.host_address(IpVersion::V4).unwrap();
    world.end_a.append(&format!(
        "[[port]]\nname = \"web\"\nlisten = \"{OFFERED}\"\n[[port]]\nname = \"dns\"\nprotocol = \"udp\"\nlisten = \"{OFFERED_UDP}\""
    ));
    world.end_b.append(&format!(
        "[[port]]\nname = \"web\"\nto = \"{host}:80\"\n[[port]]\nname = \"dns\"\nprotocol = \"udp\"\nto = \"{host}:53\""
    ));
    world.end_a.start();
    world.end_b.start();
    for end in [&world.end_a, &world.end_b] {
        end.wait_for("streams", |status| status["far-end"]["streams"] == true);
    }
    world
}

fn many_connections() {
    const CONNECTIONS: u64 = 100;
    const OCTETS: usize = 500_000;
    let world = world(&PathModel::internet(200_000_000, Duration::from_millis(5)));
    serve_web(&world, |mut socket| {
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).unwrap();
        socket.write_all(&page(u64::from_be_bytes(asked), OCTETS)).unwrap();
    });
    let all_open = Arc::new(Barrier::new(CONNECTIONS as usize));
    let began = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            let (mut socket, all_open) = (connect(&world), Arc::clone(&all_open));
            thread::spawn(move || {
                all_open.wait();
                socket.write_all(&number.to_be_bytes()).unwrap();
                let mut came = Vec::new();
                socket.read_to_end(&mut came).unwrap();
                assert!(came == page(number, OCTETS), "page {number} came changed: {} octets", came.len());
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let seconds = began.elapsed().as_secs_f64();
    println!("port: 50 MB over {CONNECTIONS} connections in {seconds:.1} s");
    let status = world.end_a.wait_for("all ended", |status| port(status, "web")["connections"] == 0);
    let web = port(&status, "web");
    world.check(web["connections-total"] == CONNECTIONS && web["broken"] == 0, "not all ended well");
    world.check(web["octets-in"] == CONNECTIONS * OCTETS as u64, "the octets are not those that came");
    world.check(status["confinement"]["capabilities"] == serde_json::json!([]), "it has rights");
}

fn half_close() {
    let world = world(&PathModel::internet(20_000_000, Duration::from_millis(5)));
    // Says how much came once it was all of it.
    serve_web(&world, |mut socket| {
        let mut came = Vec::new();
        socket.read_to_end(&mut came).unwrap();
        socket.write_all(&came.len().to_be_bytes()).unwrap();
    });
    let mut socket = connect(&world);
    socket.write_all(&page(0, 100_000)).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut came = Vec::new();
    socket.read_to_end(&mut came).unwrap();
    assert_eq!(came, 100_000_u64.to_be_bytes());
}

fn refusals() {
    let mut world = world(&PathModel::internet(20_000_000, Duration::from_millis(5)));
    // Nobody listens at B's host.
    must_break(&mut connect(&world), LIMIT);
    let at_a =
        world.end_a.wait_for("refused", |status| port(status, "web")["refused"]["far-end-refused"] == 1);
    let at_b = world.end_b.wait_for("refused", |status| port(status, "web")["refused"]["not-reached"] == 1);
    let trouble = |status: &Value| port(status, "web")["trouble"].as_str().unwrap().to_owned();
    assert!(trouble(&at_a).contains("not reached: Connection refused"), "{}", trouble(&at_a));
    assert!(!trouble(&at_a).contains("10.2.0.2"), "where it is, is told: {}", trouble(&at_a));
    assert!(trouble(&at_b).contains("10.2.0.2:80"), "{}", trouble(&at_b));
    // The service begins; then it stops in the middle of a connection.
    serve_web(&world, |mut socket| {
        socket.read_exact(&mut [0; 8]).unwrap();
        socket.write_all(b"half of it").unwrap();
        tieline_io::tcp::pass_on(&socket).unwrap();
        // Without an end.
        drop(socket);
    });
    let mut socket = connect(&world);
    socket.write_all(&[0; 8]).unwrap();
    must_break(&mut socket, LIMIT);
    world.end_a.wait_for("broken", |status| port(status, "web")["broken"] == 1);
    assert_eq!(port(&world.end_b.status(), "web")["trouble"], Value::Null, "it was reached");
    // A name that only this end knows.
    world.end_a.down();
    world.end_a.append("[[port]]\nname = \"fax\"\nlisten = \"127.0.0.1:8081\"");
    world.end_a.start();
    world.end_a.wait_for("streams", |status| status["far-end"]["streams"] == true);
    let mut socket = world.a.gateway().run(|| TcpStream::connect("127.0.0.1:8081")).unwrap();
    must_break(&mut socket, LIMIT);
    let status = world.end_a.wait_for("refused", |status| port(status, "fax")["trouble"] != Value::Null);
    let trouble = port(&status, "fax")["trouble"].as_str().unwrap();
    assert!(trouble.contains("no port of this name"), "{trouble}");
    let said = String::from_utf8(world.end_a.run(&["status", LINE]).stdout).unwrap();
    assert!(said.contains("fax (tcp) offered at 127.0.0.1:8081"), "{said}");
}

fn cut() {
    const OCTETS: usize = 8_000_000;
    let world = world(&PathModel::internet(20_000_000, Duration::from_millis(5)));
    serve_web(&world, |mut socket| socket.write_all(&page(1, OCTETS)).unwrap());
    let mut socket = connect(&world);
    let mut came = vec![0; OCTETS / 4];
    socket.read_exact(&mut came).unwrap();
    world.lab.cut(B).unwrap();
    thread::sleep(Duration::from_secs(3));
    world.lab.restore(B).unwrap();
    socket.read_to_end(&mut came).unwrap();
    assert!(came == page(1, OCTETS), "what came after the cut is not the rest: {} octets", came.len());

    drop(socket);
    let mut socket = connect(&world);
    socket.read_exact(&mut came[..1000]).unwrap();
    world.lab.cut(B).unwrap();
    world.end_a.wait_for("silence", |status| port(status, "web")["is-ready"] == false);
    must_break(&mut connect(&world), AT_ONCE);
    let status = world.end_a.status();
    assert_eq!(port(&status, "web")["refused"]["line-down"], 1);
    assert_eq!(port(&status, "web")["connections"], 1, "the one before the cut is open");
    world.lab.restore(B).unwrap();
    came.truncate(1000);
    socket.read_to_end(&mut came).unwrap();
    assert!(came == page(1, OCTETS), "what came after the longer cut is not the rest");
    must_work(&world, OCTETS);
}

fn kill() {
    const OCTETS: usize = 1_000_000;
    let mut world = world(&PathModel::internet(20_000_000, Duration::from_millis(5)));
    serve_web(&world, |mut socket| {
        // Who asks for nothing is kept waiting; if it breaks, that is what is looked for.
        let mut asked = [0; 8];
        if socket.read_exact(&mut asked).is_ok() {
            let _ = socket.write_all(&page(1, OCTETS));
        }
    });
    let ask = |world: &World| {
        let mut socket = connect(world);
        socket.write_all(&[0; 8]).unwrap();
        let mut came = Vec::new();
        socket.read_to_end(&mut came).unwrap();
        assert!(came == page(1, OCTETS));
    };
    ask(&world);
    let mut socket = connect(&world);
    world.end_b.wait_for("it is open", |status| port(status, "web")["connections"] == 1);
    world.end_a.kill();
    must_break(&mut socket, AT_ONCE);
    world.end_a.start();
    world.end_a.wait_for("ready", |status| port(status, "web")["is-ready"] == true);
    ask(&world);
    let mut socket = connect(&world);
    world.end_b.wait_for("it is open", |status| port(status, "web")["connections"] == 1);
    world.end_b.kill();
    world.end_b.start();
    must_break(&mut socket, LIMIT);
    world.end_a.wait_for("ready", |status| port(status, "web")["is-ready"] == true);
    ask(&world);
    // Taken down, it breaks as well.
    let mut socket = connect(&world);
    world.end_b.wait_for("it is open", |status| port(status, "web")["connections"] == 1);
    world.end_b.down();
    must_break(&mut socket, AT_ONCE);
}

fn stalled() {
    const STALLED: usize = 60;
    const OCTETS: usize = 4_000_000;
    let world = world(&PathModel::internet(400_000_000, Duration::from_millis(5)));
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&taken);
    serve_web(&world, move |mut socket| {
        let mut asked = [0; 1];
        socket.read_exact(&mut asked).unwrap();
        if asked[0] == 1 {
            return socket.write_all(&page(1, OCTETS)).unwrap();
        }
        // As much as it takes.
        let octets = [0; 16 << 10];
        while let Ok(len) = socket.write(&octets) {
            counted.fetch_add(len as u64, Ordering::Relaxed);
        }
    });
    let ask = |what: u8| {
        let mut socket = connect(&world);
        socket.write_all(&[what]).unwrap();
        socket
    };
    let sockets: Vec<_> = (0..STALLED).map(|_| ask(0)).collect();
    // First the kernel's buffers fill, with some MiB each.
    let limit = Duration::from_secs(90);
    let status = world.end_a.wait_longer_for(limit, "no more than may be stalled", |status| {
        port(status, "web")["connections"].as_u64().is_some_and(|count| count <= 40)
    });
    let stalled = port(&status, "web")["refused"]["stalled"].as_u64().unwrap();
    world.check((20..=30).contains(&stalled), "not those that are too many were given up");
    let mut came = Vec::new();
    ask(1).read_to_end(&mut came).unwrap();
    assert!(came == page(1, OCTETS), "who takes what comes does not get it all: {} octets", came.len());
    let before = taken.load(Ordering::Relaxed);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(taken.load(Ordering::Relaxed), before, "somebody takes what nobody reads");
    drop(sockets);
}

fn datagrams() {
    const CLIENTS: u16 = 300;
    let world = world(&PathModel::internet(50_000_000, Duration::from_millis(5)));
    serve_udp(&world, |question| [b"answer to ", question].concat());
    // As many as never have a place at once: who has got its answer makes room.
    let clients: Vec<_> = (0..CLIENTS).map(|_| udp_client(&world)).collect();
    for (number, client) in clients.iter().enumerate() {
        ask_until_answered(client, &number.to_be_bytes());
    }
    let client = udp_client(&world);
    for len in [0, 1, 512, 1200, 1472, 2000, 9000, 65_507 - 10] {
        ask_until_answered(&client, &page(len as u64, len));
    }
    let status = world.end_a.status();
    let dns = port(&status, "dns");
    world.check(dns["connections"].as_u64().unwrap() <= 128, "more clients than places");
    world.check(dns["connections-total"].as_u64().unwrap() > u64::from(CLIENTS), "clients are missing");
    world.check(dns["refused"] == serde_json::json!({}), "something was refused");
}

fn flood() {
    const SENT: u64 = 4000;
    let world = world(&PathModel::internet(2_000_000, Duration::from_millis(5)));
    let came = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&came);
    serve_udp(&world, move |question| {
        counted.fetch_add(1, Ordering::Relaxed);
        question[..5].to_vec()
    });
    let client = udp_client(&world);
    ask_until_answered_with(&client, b"begin", b"begin");
    for _ in 0..SENT {
        client.send(&[7; 1000]).unwrap();
        thread::sleep(Duration::from_micros(250));
    }
    let status = world.end_a.wait_for("drops", |status| {
        port(status, "dns")["refused"]["queue-full"].as_u64().is_some_and(|count| count > SENT / 2)
    });
    let began = Instant::now();
    ask_until_answered_with(&client, b"after", b"after");
    let late = began.elapsed();
    world.check(late < Duration::from_secs(3), &format!("what is new waits behind what is old: {late:?}"));
    let came = came.load(Ordering::Relaxed);
    let dropped = port(&status, "dns")["refused"]["queue-full"].as_u64().unwrap();
    println!("udp port: of {SENT} datagrams {came} came, {dropped} were dropped before a line of 2 Mbit/s");
    world.check(came > 100, "hardly anything came");
}

fn not_offered() {
    let world = World::bare().made();
    world.end_a.append("[[port]]\nname = \"web\"\nlisten = \"192.0.2.99:80\"");
    let output = world.end_a.run(&["up", "--foreground", LINE]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("port web cannot be offered at 192.0.2.99:80"), "{said}");
    assert!(said.contains("choose one of its own"), "{said}");
}

fn as_fast_as_a_pipe() {
    const OCTETS: usize = 1 << 30;
    let world = world_over(World::cabled(IpVersion::V4));
    serve_web(&world, |mut socket| {
        let block = page(1, 1 << 20);
        for _ in 0..OCTETS / block.len() {
            socket.write_all(&block).unwrap();
        }
    });
    let rate = |octets: usize, began: Instant| octets as f64 * 8e-6 / began.elapsed().as_secs_f64();
    for _ in 0..3 {
        let began = Instant::now();
        let octets = std::io::copy(&mut connect(&world), &mut std::io::sink()).unwrap();
        println!("port: {:.0} Mbit/s", rate(octets as usize, began));
        let began = Instant::now();
        let zeros = std::fs::File::open("/dev/zero").unwrap();
        let head = world.b.gateway().command("head").args(["-c", &OCTETS.to_string()]).stdin(zeros);
        let mut head = head.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let sending = world.end_b.command(["pipe", LINE]).stdin(head.stdout.take().unwrap());
        let mut sending = sending.stdout(std::process::Stdio::null()).spawn().unwrap();
        let taking = world.end_a.command(["pipe", LINE]).stdout(std::process::Stdio::null()).spawn();
        assert!(taking.unwrap().wait().unwrap().success());
        assert!(sending.wait().unwrap().success() && head.wait().unwrap().success());
        println!("pipe: {:.0} Mbit/s", rate(OCTETS, began));
    }
}

/// Serves each connection to the service at B by a thread.
fn serve_web(world: &World, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let address: SocketAddr = (world.b.host_address(IpVersion::V4).unwrap(), 80).into();
    let listener = world.b.host().run(move || TcpListener::bind(address)).unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (socket, serve) = (socket.unwrap(), Arc::clone(&serve));
            thread::spawn(move || serve(socket));
        }
    });
}

/// Connects to the port at A.
fn connect(world: &World) -> TcpStream {
    let connected = world.a.gateway().run(|| TcpStream::connect(OFFERED)).unwrap();
    connected.set_read_timeout(Some(LIMIT)).unwrap();
    connected
}

/// Takes the connection for broken only if it is reset.
fn must_break(socket: &mut TcpStream, limit: Duration) {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut came = Vec::new();
    let error = socket.read_to_end(&mut came).expect_err("a break that looks like an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

fn must_work(world: &World, octets: usize) {
    let mut came = Vec::new();
    connect(world).read_to_end(&mut came).unwrap();
    assert!(came == page(1, octets));
}

/// Answers each datagram to the UDP service at B.
fn serve_udp(world: &World, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
    let address: SocketAddr = (world.b.host_address(IpVersion::V4).unwrap(), 53).into();
    let socket = world.b.host().run(move || UdpSocket::bind(address)).unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(&answer(&buffer[..len]), from).unwrap();
        }
    });
}

/// A client of the UDP port at A.
fn udp_client(world: &World) -> UdpSocket {
    let connected = world.a.gateway().run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(OFFERED_UDP)?;
        std::io::Result::Ok(socket)
    });
    let socket = connected.unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

fn ask_until_answered(client: &UdpSocket, question: &[u8]) {
    ask_until_answered_with(client, question, &[b"answer to ", question].concat());
}

/// Repeats the question, as who speaks UDP does, until this answer is there. Others may come before it.
fn ask_until_answered_with(client: &UdpSocket, question: &[u8], answer: &[u8]) {
    let deadline = Instant::now() + LIMIT;
    let mut buffer = vec![0; 65_535];
    loop {
        client.send(question).unwrap();
        while let Ok(len) = client.recv(&mut buffer) {
            if buffer[..len] == *answer {
                return;
            }
        }
        assert!(Instant::now() < deadline, "no answer to {} octets", question.len());
    }
}

/// What the service says to who asks with this number.
fn page(number: u64, octets: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..octets).map(|_| next()).collect()
}

/// A port in a status.
fn port<'s>(status: &'s Value, name: &str) -> &'s Value {
    let ports = status["ports"].as_array().unwrap();
    ports.iter().find(|port| port["name"] == name).unwrap()
}
