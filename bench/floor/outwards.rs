//! From the device to the medium.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tieline_line::cut::SuperPacket;
use tieline_node::packet_path::intake::{Intake, Sources};
use tieline_node::packet_path::pace::Pace;
use tieline_wire::sealed::padded_len;
use tieline_wire::vnet::VnetHeader;

use crate::{BACK_LEN, FRONT_LEN, MTU, Path};

/// Datagrams and octets that the kernel takes in one go.
const DATAGRAMS_MAX: usize = 64;
const OCTETS_MAX: usize = 65_507;

/// Datagrams that leave together: of one size, but for the last.
struct Run {
    octets: Box<[u8]>,
    len: usize,
    segment: usize,
    count: usize,
}

/// Runs until the device or the medium fails for good, and says how.
pub(super) fn run(path: &Path) -> io::Error {
    let room = OCTETS_MAX + FRONT_LEN + usize::from(MTU) + BACK_LEN;
    let mut run = Run { octets: vec![0; room].into_boxed_slice(), len: 0, segment: 0, count: 0 };
    let mut intake = match Intake::new(Instant::now(), sources(path), None) {
        Ok(intake) => intake,
        Err(error) => return error,
    };
    let mut pace = Pace::of_sending(Instant::now());
    loop {
        let result = match send(path, &mut intake, &mut run) {
            Ok(datagrams) => {
                pace.count(datagrams);
                let rested = pace.rest(datagrams == 0, |limit| match limit {
                    Some(pause) => rest(path, &mut intake, &mut run, pause),
                    None => intake.wait(None),
                });
                rested.unwrap_or(Ok(()))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            return error;
        }
    }
}

/// Sends what the device has; returns how many datagrams that made.
fn send(path: &Path, intake: &mut Intake, run: &mut Run) -> io::Result<usize> {
    let mut datagrams = 0;
    let taken = intake.take(sources(path), Instant::now(), |_, packet| {
        datagrams += cut(path, run, packet);
        ControlFlow::Continue(())
    });
    taken.map_err(|(_, error)| error)?;
    run.send(path);
    Ok(datagrams)
}

fn sources(path: &Path) -> Sources<'_> {
    Sources { routed: path.device.queues(), lan: &[] }
}

/// Rests for a while, but not from lone packets.
fn rest(path: &Path, intake: &mut Intake, run: &mut Run, pause: Duration) -> io::Result<()> {
    let until = Instant::now() + pause;
    while let left = until.saturating_duration_since(Instant::now())
        && !left.is_zero()
        && intake.wait_for_lone(sources(path), left)?
    {
        send(path, intake, run)?;
    }
    Ok(())
}

/// Returns how many datagrams that made.
fn cut(path: &Path, run: &mut Run, octets: &[u8]) -> usize {
    let parsed = octets
        .split_first_chunk()
        .and_then(|(header, packet)| SuperPacket::parse(&VnetHeader::parse(header).ok()?, packet).ok());
    let Some(packet) = parsed.filter(|packet| packet.len_max() <= usize::from(MTU)) else { return 0 };
    for index in 0..packet.count() {
        let place = &mut run.octets[run.len..];
        place[..FRONT_LEN].fill(0);
        let len = packet.write(index, &mut place[FRONT_LEN..]);
        let padded = padded_len(len, MTU.into());
        place[FRONT_LEN + len..FRONT_LEN + padded + BACK_LEN].fill(0);
        run.add(path, FRONT_LEN + padded + BACK_LEN);
    }
    packet.count()
}

impl Run {
    /// Adds the datagram of `len` octets that lies behind the others; what it does not go with leaves first.
    fn add(&mut self, path: &Path, len: usize) {
        let is_open = self.len == self.segment * self.count && self.count < DATAGRAMS_MAX;
        let fits = is_open && len <= self.segment && self.len + len <= OCTETS_MAX;
        if self.count > 0 && !fits {
            let sealed = self.len..self.len + len;
            self.send(path);
            self.octets.copy_within(sealed, 0);
        }
        if self.count == 0 {
            self.segment = len;
        }
        self.len += len;
        self.count += 1;
    }

    fn send(&mut self, path: &Path) {
        if self.count > 0 {
            // What the medium refuses is lost, as on any medium; the measurement shows it.
            let _ = path.socket.send_segments(&self.octets[..self.len], self.segment, path.remote, 0);
        }
        (self.len, self.segment, self.count) = (0, 0, 0);
    }
}
