//! A file server of one office, used from the other: a real samba, set up as the cookbook says.

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use tieline_sim::path::PathModel;

use crate::end::LIMIT;
use crate::world::{Test, World, random_file, same};

pub(crate) const TESTS: &[Test] = &[Test::new(
    "a_file_server_at_headquarters_is_found_by_its_name_and_carries_100_mb_each_way_and_200_small_files",
    file_server,
)
.with(&["smbd", "nmbd", "smbclient", "nmblookup"])];

const SMALL_FILES: usize = 200;

fn file_server() {
    let mut world = World::over(&PathModel::internet(200_000_000, Duration::from_millis(10))).made();
    configure_as_written(&world);
    world.end_a.start();
    world.end_b.start();
    for end in [&world.end_a, &world.end_b] {
        end.wait_for("its network taken", |status| {
            status["far-end"]["accepts-of-us"].as_array().is_some_and(|taken| taken.len() == 1)
        });
        end.wait_for("discovery", |status| status["discovery"]["is-open"] == true);
    }
    let server = Server::start(&world);

    let found = found_by_name(&world);
    world.check(found, "its name is not found");
    random_file(&world.file("large"), 100_000_000);
    let began = Instant::now();
    client(&world, "put large large; get large back");
    let seconds = began.elapsed().as_secs_f64();
    println!("samba: 100 MB there and back in {seconds:.1} s, {:.0} Mbit/s", 1600.0 / seconds);
    world.check(
        same(&world.file("large"), &server.folder.join("large")),
        "what came to the server is not what was sent",
    );
    world.check(same(&world.file("large"), &world.file("back")), "what came back is not what was sent");

    let small = world.file("small");
    fs::create_dir(&small).unwrap();
    for number in 0..SMALL_FILES {
        fs::write(small.join(number.to_string()), format!("file {number}").repeat(number)).unwrap();
    }
    client(&world, "recurse; prompt; mkdir all; cd all; lcd small; mput *");
    let listing = client(&world, "cd all; ls");
    for number in 0..SMALL_FILES {
        let name = number.to_string();
        world.check(
            same(&small.join(&name), &server.folder.join("all").join(&name)),
            "a small file has changed",
        );
        world.check(
            listing.lines().any(|row| row.split_whitespace().next() == Some(&name)),
            "a file is not listed",
        );
    }
}

/// The two files of the cookbook, with what they leave to `tieline join`.
fn configure_as_written(world: &World) {
    const PAGE: &str = include_str!("../../../../docs/offices.md");
    let section =
        PAGE.split("\n## ").find(|section| section.starts_with("One file server for both")).unwrap();
    let files: Vec<&str> =
        section.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let [headquarters, branch] = files[..] else { panic!("{} files", files.len()) };
    fs::write(world.end_a.config_file(), headquarters).unwrap();
    let joined = fs::read_to_string(world.end_b.config_file()).unwrap();
    let key = joined.lines().find_map(|row| row.strip_prefix("public-key = \"")).unwrap();
    fs::write(world.end_b.config_file(), branch.replace('…', key.trim_end_matches('"'))).unwrap();
}

/// Asks for the server's name as old computers do, from the branch.
fn found_by_name(world: &World) -> bool {
    let deadline = Instant::now() + LIMIT;
    loop {
        let asked = samba(world, world.b.host().command("nmblookup").args(["-s", "samba/smb.conf", "FILES"]));
        if String::from_utf8_lossy(&asked.stdout).contains("10.1.0.2 FILES<00>") {
            return true;
        }
        if Instant::now() > deadline {
            println!(
                "nmblookup: {}{}",
                String::from_utf8_lossy(&asked.stdout),
                String::from_utf8_lossy(&asked.stderr)
            );
            return false;
        }
    }
}

/// Runs commands of the client at the branch, which must succeed, and returns what it said.
fn client(world: &World, commands: &str) -> String {
    let arguments = ["//10.1.0.2/public", "-N", "-s", "samba/smb.conf", "-c", commands];
    let output = samba(world, world.b.host().command("smbclient").args(arguments));
    world.check_output(&output);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn samba(world: &World, command: tieline_io::namespace::NamespaceCommand) -> Output {
    command.current_dir(world.folder.path()).stdin(Stdio::null()).output().unwrap()
}

/// Samba at headquarters' host. Ends when it is dropped.
struct Server {
    folder: std::path::PathBuf,
    daemons: Vec<Child>,
}

impl Server {
    fn start(world: &World) -> Self {
        let folder = world.file("samba");
        for name in ["public", "private", "state", "log"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("smb.conf"), configuration(&folder)).unwrap();
        let mut server = Self { folder: folder.join("public"), daemons: Vec::new() };
        for program in ["smbd", "nmbd"] {
            let log = fs::File::create(folder.join(program)).unwrap();
            let arguments = ["-F", "--no-process-group", "-s", "samba/smb.conf", "-l", "samba/log"];
            let daemon = world.a.host().command(program).args(arguments).current_dir(world.folder.path());
            server.daemons.push(
                daemon.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap(),
            );
        }
        let deadline = Instant::now() + LIMIT;
        let is_there = || world.a.host().run(|| std::net::TcpStream::connect("10.1.0.2:445")).is_ok();
        while !is_there() {
            assert!(Instant::now() < deadline, "{}", fs::read_to_string(folder.join("smbd")).unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // It may have ended by itself.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[global]
server role = standalone server
netbios name = FILES
map to guest = bad user
guest account = root
interfaces = eth0
bind interfaces only = yes
disable spoolss = yes
load printers = no
private dir = {folder}/private
lock directory = {folder}/state
state directory = {folder}/state
cache directory = {folder}/state
pid directory = {folder}/state
ncalrpc dir = {folder}/state/ncalrpc
[public]
path = {folder}/public
read only = no
guest ok = yes
"
    )
}
