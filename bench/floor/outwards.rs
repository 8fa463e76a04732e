//! From the device to the medium.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use tieline_io::tun::OFFLOAD_HEADER_LEN;
use tieline_io::wait::wait_readable;
use tieline_line::cut::SuperPacket;
use tieline_node::packet_path::pace::Pace;
use tieline_wire::sealed::padded_len;
use tieline_wire::vnet::VnetHeader;

use crate::{BACK_LEN, FRONT_LEN, MTU, Path};

/// The longest packet of the device.
const PACKET_LEN_MAX: usize = 65_535;
/// Datagrams and octets that the kernel takes in one go.
const DATAGRAMS_MAX: usize = 64;
const OCTETS_MAX: usize = 65_507;
/// Packets of the device in one go: as many as the product takes in a turn.
const TURN_PACKETS: usize = 32;

/// Datagrams that leave together: of one size, but for the last.
struct Run {
    octets: Box<[u8]>,
    len: usize,
    segment: usize,
    count: usize,
}

/// Runs until the device or the medium fails for good, and says how.
pub(super) fn run(path: &Path) -> io::Error {
    let mut packet = vec![0; OFFLOAD_HEADER_LEN + PACKET_LEN_MAX].into_boxed_slice();
    let room = OCTETS_MAX + FRONT_LEN + usize::from(MTU) + BACK_LEN;
    let mut run = Run { octets: vec![0; room].into_boxed_slice(), len: 0, segment: 0, count: 0 };
    let mut pace = Pace::new(Instant::now());
    loop {
        let mut is_done = false;
        for _ in 0..TURN_PACKETS {
            match path.device.read(&mut packet) {
                Ok(len) => pace.count(cut(path, &mut run, &packet[..len])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_done = true;
                    break;
                }
                Err(error) => return error,
            }
        }
        run.send(path);
        if let Some(Err(error)) = pace.rest(is_done, || wait_readable(&[path.device.as_fd()], None)) {
            return error;
        }
    }
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
            let _ = path.socket.send_segments(&self.octets[..self.len], self.segment, path.remote);
        }
        (self.len, self.segment, self.count) = (0, 0, 0);
    }
}
