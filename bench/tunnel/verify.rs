//! Whether what arrives is what was sent: random octets over TCP, both ways, every one compared.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::offices::Offices;

const PORT: u16 = 5300;
const OCTETS: usize = 64 << 20;
/// Silence after which a transfer has failed.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const CHUNK: usize = 64 << 10;

/// Sends random octets from each office to the other at the same time and compares; returns how many each way.
pub(crate) fn transfer(offices: &Offices) -> Result<usize, String> {
    let fault = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let mut octets = vec![0; OCTETS];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut octets))
        .map_err(fault("/dev/urandom"))?;
    let address = SocketAddr::from((offices.target, PORT));
    // A socket stays in the namespace where it was opened, whichever thread uses it.
    let listener = offices.a.namespace.run(move || TcpListener::bind(address)).map_err(fault("listen"))?;
    let near = offices
        .b
        .namespace
        .run(move || TcpStream::connect_timeout(&address, SILENCE_MAX))
        .map_err(fault("connect"))?;
    let (far, _) = listener.accept().map_err(fault("accept"))?;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(fault("time"))?;
        stream.set_write_timeout(Some(SILENCE_MAX)).map_err(fault("time"))?;
    }
    // Different octets each way: what is only reflected is not taken for an answer.
    let (there, back) = octets.split_at(OCTETS / 2);
    std::thread::scope(|scope| {
        let jobs = [
            scope.spawn(|| send(&near, there)),
            scope.spawn(|| send(&far, back)),
            scope.spawn(|| compare(&far, there)),
            scope.spawn(|| compare(&near, back)),
        ];
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| Err("the thread ended".into())))
    })?;
    Ok(OCTETS / 2)
}

fn send(mut stream: &TcpStream, octets: &[u8]) -> Result<(), String> {
    stream.write_all(octets).map_err(|error| format!("sending: {error}"))?;
    stream.shutdown(Shutdown::Write).map_err(|error| format!("ending: {error}"))
}

fn compare(mut stream: impl Read, expected: &[u8]) -> Result<(), String> {
    let mut chunk = vec![0; CHUNK];
    let mut arrived = 0;
    loop {
        let len = stream.read(&mut chunk).map_err(|error| format!("after {arrived} octets: {error}"))?;
        if len == 0 {
            break;
        }
        if expected.get(arrived..arrived + len) != Some(&chunk[..len]) {
            return Err(format!("octets {arrived} to {} are not those that were sent", arrived + len));
        }
        arrived += len;
    }
    if arrived == expected.len() {
        Ok(())
    } else {
        Err(format!("only {arrived} of {} octets arrived", expected.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_a_missing_and_an_additional_octet_are_found() {
        let sent = [1, 2, 3, 4];
        assert_eq!(compare(&sent[..], &sent), Ok(()));
        for arrived in [&[1, 2, 9, 4][..], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
            assert!(compare(arrived, &sent).is_err(), "{arrived:?}");
        }
    }
}
