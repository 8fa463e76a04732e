//! Namespaces on threads: kept apart, run in, and gone with the thread.

use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;

use tieline_io::namespace::{self, NamespaceError, NamespaceThread};
use tieline_io::netlink::Netlink;

use crate::harness::Test;

pub(crate) const TESTS: &[Test] = &[
    ("two_namespaces_use_the_same_port_without_meeting", two_use_the_same_port),
    ("a_process_started_in_a_namespace_is_in_it", process_is_in_it),
    ("a_process_dies_with_the_namespace_it_was_started_in", process_dies_with_namespace),
    ("a_panic_in_a_namespace_reaches_the_caller_and_the_thread_goes_on", panic_reaches_the_caller),
    ("a_job_may_send_a_job_to_its_own_namespace", job_in_job),
    ("with_threads_running_no_user_namespace_is_entered", threads_are_refused),
    ("the_path_of_a_namespace_names_it", path_names_it),
];

fn two_use_the_same_port() {
    let bind = || {
        let namespace = NamespaceThread::new("test").unwrap();
        namespace.block_on(async || Netlink::connect().unwrap().set_loopback_up().await.unwrap()).unwrap();
        namespace.run(|| UdpSocket::bind("127.0.0.1:5000").unwrap())
    };
    let (first, second) = (bind(), bind());
    assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
}

fn process_is_in_it() {
    let namespace = NamespaceThread::new("test").unwrap();
    let output = namespace.command("readlink").arg("/proc/self/ns/net").output().unwrap();
    let inside = String::from_utf8(output.stdout).unwrap();
    assert_eq!(inside.trim(), std::fs::read_link(namespace.path()).unwrap().to_str().unwrap());
    assert_ne!(inside.trim(), std::fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap());
}

fn process_dies_with_namespace() {
    let namespace = NamespaceThread::new("test").unwrap();
    let mut child = namespace.command("sleep").arg("600").spawn().unwrap();
    drop(namespace);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

fn panic_reaches_the_caller() {
    let namespace = NamespaceThread::new("test").unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| namespace.run(|| resume_unwind(Box::new("on purpose")))));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(namespace.run(|| 7), 7);
}

fn job_in_job() {
    let namespace = NamespaceThread::new("test").unwrap();
    let again = namespace.clone();
    assert_eq!(namespace.run(move || again.run(|| 7)), 7);
}

fn threads_are_refused() {
    std::thread::spawn(|| {
        let refused = namespace::isolate_network();
        assert!(matches!(refused, Err(NamespaceError::ThreadsRunning { count }) if count > 1), "{refused:?}");
    })
    .join()
    .unwrap();
}

fn path_names_it() {
    let namespace = NamespaceThread::new("test").unwrap();
    assert!(namespace.nsenter().contains(namespace.path().to_str().unwrap()));
    let inside = namespace.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    assert_eq!(std::fs::read_link(namespace.path()).unwrap(), inside);
    let started =
        Command::new("nsenter").arg(format!("--net={}", namespace.path().display())).arg("true").status();
    if let Ok(status) = started {
        assert!(status.success());
    }
}
