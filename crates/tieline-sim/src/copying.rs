//! A file that is copied from one place to another as computers do it: by TCP, with CUBIC (RFC 9438), which sends more and more until a
//! queue on the way is full.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::calls::Place;

const PORT: u16 = 4450;
const CHUNK_LEN: usize = 64 << 10;
/// How long nothing may arrive until it is looked whether all is over.
const LOOK_EACH: Duration = Duration::from_millis(100);

/// A file that is being copied; it has no end.
pub struct Copying {
    is_over: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Copying {
    /// Begins.
    ///
    /// # Errors
    ///
    /// What the system said; the connection is there when this returns.
    pub fn start(from: &Place, to: &Place) -> io::Result<Self> {
        let address = SocketAddr::from((to.address, PORT));
        let listener = to.namespace.run(move || TcpListener::bind(address))?;
        let out = from.namespace.run(move || connected(address))?;
        let (inward, _) = listener.accept()?;
        inward.set_read_timeout(Some(LOOK_EACH))?;
        out.set_write_timeout(Some(LOOK_EACH))?;
        let (is_over, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, end, count) = (Arc::clone(&is_over), Arc::clone(&is_over), Arc::clone(&received));
        let threads = vec![
            std::thread::Builder::new().name("copies-out".into()).spawn(move || write(out, &over))?,
            std::thread::Builder::new().name("copies-in".into()).spawn(move || read(inward, &end, &count))?,
        ];
        Ok(Self { is_over, received, threads })
    }

    /// Octets that have arrived so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // One that panicked has copied no more; that is seen by what arrived.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A connection that has CUBIC from its first packet on, whatever the system would take.
fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Where it is not allowed, or not there, the copy is as the system makes it.
    let _ = setsockopt(&socket, sockopt::TcpCongestion, &"cubic".into());
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket.into())
}

fn write(mut stream: TcpStream, is_over: &AtomicBool) {
    let chunk: Vec<u8> = (0..CHUNK_LEN).map(|place| (place * 31 % 251) as u8).collect();
    while !is_over.load(Ordering::Relaxed) {
        match stream.write(&chunk) {
            Err(error) if !is_time_out(&error) => return,
            _ => {}
        }
    }
}

fn read(mut stream: TcpStream, is_over: &AtomicBool, received: &AtomicU64) {
    let mut chunk = vec![0; CHUNK_LEN];
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut chunk) {
            Ok(0) => return,
            Ok(octets) => drop(received.fetch_add(octets as u64, Ordering::Relaxed)),
            Err(error) if is_time_out(&error) => {}
            Err(_) => return,
        }
    }
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
