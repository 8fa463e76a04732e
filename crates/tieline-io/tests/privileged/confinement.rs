//! A confined process still does its work, and nothing else. Each test is a process of its own, since there is no way back.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use tieline_io::namespace;
use tieline_io::netlink::{Netlink, Route};
use tieline_io::privileges::{
    ConfineError, Confinement, Enforcement, Report, bounding, confine, disable_core_dumps, effective,
};
use tieline_io::scheduling::RealTime;
use tieline_io::tun::TunDevice;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UdpSocket, UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Test, ignore, probe_folder};

pub(crate) const PROBES: &[Test] = &[
    ("a_confined_process_runs_threads_timers_sockets_and_name_lookups", runs_tokio),
    ("a_confined_process_receives_files_whole_and_durably", receives_files),
    ("a_confined_process_still_moves_addresses_and_routes_if_asked", moves_addresses),
    ("no_capability_but_net_admin_is_left_in_any_thread", no_capability_is_left),
    ("without_net_admin_no_capability_is_left_at_all", without_net_admin),
    ("a_confined_process_has_threads_of_real_time_if_it_entered_that_before", runs_in_real_time),
    ("a_confined_process_runs_no_programs_and_makes_no_processes", runs_no_programs),
    ("a_confined_process_opens_no_packet_socket_and_enters_no_namespace", opens_no_packet_socket),
    ("a_confined_process_makes_no_memory_both_written_and_run", no_written_memory_is_run),
    ("a_confined_process_reads_and_writes_only_what_it_was_left", files_are_fenced),
    ("a_confined_process_connects_by_tcp_only_where_it_was_left", tcp_is_fenced),
    ("a_process_with_threads_is_not_confined_by_half", threads_are_refused),
    ("a_folder_that_is_not_there_is_named_and_nothing_changes", missing_folder_is_named),
    ("the_memory_of_the_process_goes_into_no_core_file", no_core_file),
];

/// A line's folders, and one that is none of its business.
struct Folders {
    root: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let root = probe_folder();
        for name in ["config", "inbox", "other"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("file"), name).unwrap();
        }
        std::os::unix::fs::symlink(root.join("other/file"), root.join("inbox/link")).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn confinement(&self) -> Confinement {
        let (read, write) = (vec![self.path("config")], vec![self.path("inbox")]);
        Confinement { keep_net_admin: true, read, write, ..Confinement::default() }
    }

    fn confine(self) -> (Report, Self) {
        let report = confine(&self.confinement()).unwrap();
        (report, self)
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// An empty network of its own, with loopback up.
fn network() {
    namespace::isolate_network().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Netlink::connect().unwrap().set_loopback_up().await.unwrap() });
}

fn runs_tokio() {
    network();
    let (report, folders) = Folders::new().confine();
    assert_eq!(report.seccomp, Enforcement::Full);
    runtime().block_on(async {
        let blocking = tokio::task::spawn_blocking(|| std::thread::current().id()).await.unwrap();
        assert_ne!(blocking, std::thread::current().id());
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        let _ = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();

        let (first, second) = (bound().await, bound().await);
        first.send_to(b"x", second.local_addr().unwrap()).await.unwrap();
        assert_eq!(second.recv(&mut [0; 8]).await.unwrap(), 1);

        let found: Vec<_> = tokio::net::lookup_host("localhost:80").await.unwrap().collect();
        assert!(found.iter().any(|address| address.ip().is_loopback()), "{found:?}");

        let path = folders.path("inbox").join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"hello");
    });
    assert!(std::thread::available_parallelism().is_ok());
}

async fn bound() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

fn receives_files() {
    use rustix::fs::{CWD, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps};
    let (_, folders) = Folders::new().confine();
    let inbox = fs::File::open(folders.path("inbox")).unwrap();
    rustix::fs::mkdirat(&inbox, "partial", Mode::RWXU).unwrap();
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let partial =
        rustix::fs::openat2(&inbox, "partial/data", flags, Mode::RUSR | Mode::WUSR, resolve).unwrap();
    let mut partial = fs::File::from(partial);
    partial.write_all(b"whole").unwrap();
    let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    rustix::fs::futimens(&partial, &times).unwrap();
    rustix::fs::fchmod(&partial, Mode::RUSR).unwrap();
    partial.sync_all().unwrap();
    rustix::fs::renameat_with(&inbox, "partial/data", &inbox, "data", RenameFlags::NOREPLACE).unwrap();
    inbox.sync_all().unwrap();
    rustix::fs::unlinkat(&inbox, "partial", rustix::fs::AtFlags::REMOVEDIR).unwrap();
    rustix::fs::statvfs(folders.path("inbox")).unwrap();
    let text =
        rustix::fs::openat(CWD, folders.path("inbox").join("data"), OFlags::RDONLY, Mode::empty()).unwrap();
    assert_eq!(io::read_to_string(fs::File::from(text)).unwrap(), "whole");
    fs::remove_dir_all(folders.path("inbox").join("file")).unwrap_err();
    fs::remove_file(folders.path("inbox").join("file")).unwrap();
}

fn moves_addresses() {
    network();
    let device = TunDevice::create("tie0", 1420).unwrap();
    let (_, _folders) = Folders::new().confine();
    runtime().block_on(async {
        let netlink = Netlink::connect().unwrap();
        netlink.add_address(device.index(), "192.0.2.1/24".parse().unwrap()).await.unwrap();
        netlink.set_link_up(device.index(), None).await.unwrap();
        let route = Route::through("10.2.0.0/16".parse().unwrap(), device.index());
        netlink.replace_route(&route).await.unwrap();
        assert!(netlink.remove_route(&route).await.unwrap());
    });
}

fn no_capability_is_left() {
    let (report, _folders) = Folders::new().confine();
    assert_eq!((report.capabilities, report.bounding_set_empty), (vec!["CAP_NET_ADMIN".to_owned()], true));
    std::thread::spawn(|| {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let row = status.lines().find(|row| row.starts_with(name)).unwrap();
            row[name.len()..].trim().to_owned()
        };
        for (set, expected) in
            [("CapInh:", 0), ("CapPrm:", 1 << 12), ("CapEff:", 1 << 12), ("CapBnd:", 0), ("CapAmb:", 0)]
        {
            assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), expected, "{set}");
        }
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    })
    .join()
    .unwrap();
}

fn without_net_admin() {
    let folders = Folders::new();
    let report = confine(&Confinement { keep_net_admin: false, ..folders.confinement() }).unwrap();
    assert!(report.capabilities.is_empty());
    assert!(effective().unwrap().is_empty() && bounding().unwrap().is_empty());
    assert!(TunDevice::create("tie0", 1420).is_err());
}

fn runs_in_real_time() {
    let Ok(real_time) = RealTime::enter() else {
        ignore("real time is for root outside of user namespaces, and for whoever has the limit");
    };
    let _confined = Folders::new().confine();
    let started_meanwhile = std::thread::spawn(policy).join().unwrap();
    drop(real_time);
    let started_afterwards = std::thread::spawn(policy).join().unwrap();
    assert_eq!(
        [started_meanwhile, policy(), started_afterwards],
        [libc::SCHED_RR, libc::SCHED_OTHER, libc::SCHED_OTHER]
    );
}

/// Of the calling thread.
fn policy() -> libc::c_int {
    // SAFETY: no memory is lent; 0 is the calling thread.
    unsafe { libc::sched_getscheduler(0) }
}

fn runs_no_programs() {
    let (_, _folders) = Folders::new().confine();
    assert!(Command::new("/bin/true").status().is_err());
    // SAFETY: it must fail; if it does not, both processes end at once.
    let forked = unsafe { libc::fork() };
    assert_eq!((forked, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOSYS)));
}

fn opens_no_packet_socket() {
    use socket2::{Domain, Socket, Type};
    let (_, _folders) = Folders::new().confine();
    let refused = Socket::new(Domain::PACKET, Type::RAW, None).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ENOSYS));
    let refused = namespace::isolate_network().unwrap_err();
    assert_eq!(std::error::Error::source(&refused).unwrap().to_string(), enosys().to_string());
}

fn enosys() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSYS)
}

fn no_written_memory_is_run() {
    let (_, _folders) = Folders::new().confine();
    let map = |rights| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: maps fresh memory at a place that the kernel chooses.
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, flags, -1, 0) }
    };
    assert_eq!(map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC), libc::MAP_FAILED);
    let page = map(libc::PROT_READ | libc::PROT_WRITE);
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: the page is ours and nobody uses it.
    let made_to_run = unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC) };
    assert_eq!((made_to_run, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::ENOSYS)));
}

fn need_landlock(report: &Report) {
    if let Enforcement::None(reason) = &report.landlock {
        ignore(&format!("Landlock is missing: {reason}"));
    }
}

fn files_are_fenced() {
    let (report, folders) = Folders::new().confine();
    need_landlock(&report);
    let denied = |result: io::Result<()>, what: &str| {
        assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied), "{what}");
    };
    let read = |path: &Path| fs::read(path).map(drop);
    let write = |path: &Path| fs::write(path, "x");
    read(&folders.path("config/file")).unwrap();
    read(&folders.path("inbox/file")).unwrap();
    write(&folders.path("inbox/new")).unwrap();
    denied(write(&folders.path("config/file")), "write to what may be read");
    denied(write(&folders.path("config/new")), "make a file where may be read");
    denied(read(&folders.path("other/file")), "read elsewhere");
    denied(write(&folders.path("other/new")), "make a file elsewhere");
    denied(fs::read_dir(folders.path("other")).map(drop), "list a folder elsewhere");
    denied(read(Path::new("/etc/passwd")), "read a file of the system");
    denied(read(Path::new("/proc/1/environ")), "look at another process");
    denied(read(&folders.path("inbox/link")), "read through a link");
    let out = fs::rename(folders.path("inbox/file"), folders.path("other/moved"));
    assert!(out.is_err(), "move a file out");
}

fn tcp_is_fenced() {
    network();
    let allowed = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = allowed.local_addr().unwrap().port();
    let folders = Folders::new();
    let report = confine(&Confinement { connect: vec![port], ..folders.confinement() }).unwrap();
    need_landlock(&report);
    if report.landlock == Enforcement::Partial {
        ignore("this kernel's Landlock may know nothing of TCP (Linux 6.7 does)");
    }
    TcpStream::connect(allowed.local_addr().unwrap()).unwrap();
    let refused = TcpStream::connect(other.local_addr().unwrap()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert_eq!(TcpListener::bind("127.0.0.1:8080").unwrap_err().kind(), ErrorKind::PermissionDenied);
}

fn threads_are_refused() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv().is_err());
    let before = effective().unwrap();
    let refused = confine(&Folders::new().confinement());
    assert!(matches!(refused, Err(ConfineError::ThreadsRunning { count: 2 })), "{refused:?}");
    assert_eq!(effective().unwrap(), before);
    drop(stop);
    assert!(thread.join().unwrap());
}

fn missing_folder_is_named() {
    let before = effective().unwrap();
    let refused =
        confine(&Confinement { write: vec!["/nonexistent/inbox".into()], ..Confinement::default() });
    assert_eq!(refused.unwrap_err().to_string(), "cannot keep access to /nonexistent/inbox");
    assert_eq!(effective().unwrap(), before);
}

fn no_core_file() {
    disable_core_dumps().unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    let dumpable = rustix::process::dumpable_behavior().unwrap();
    assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
    // And a confined process has not lost its own view of itself by it.
    let (_, _folders) = Folders::new().confine();
    assert!(fs::read_dir("/proc/self/task").unwrap().count() >= 1);
    assert_eq!(
        fs::read_to_string("/proc/self/status").unwrap().lines().filter(|row| row.starts_with("Cap")).count(),
        5
    );
}
