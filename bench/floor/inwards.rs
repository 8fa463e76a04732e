//! From the medium to the device.

use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use tieline_io::tun::Offload;
use tieline_io::udp::ReceiveBuffers;
use tieline_io::wait::wait_readable;
use tieline_line::flow;
use tieline_line::join::Joiner;
use tieline_node::packet_path::pace::Pace;
use tieline_wire::ip::IpPacket;

use crate::{BACK_LEN, FRONT_LEN, Path};

/// Runs until the medium cannot be waited for, and says why.
pub(super) fn run(path: &Path) -> io::Error {
    let mut buffers = ReceiveBuffers::default();
    let joins_udp = path.device.offload() == Offload::TcpAndUdp;
    let mut pace = Pace::of_receiving(Instant::now());
    loop {
        let mut is_done = false;
        match path.socket.recv_batch(&mut buffers) {
            Ok(datagrams) => {
                let mut joiner = Joiner::new(joins_udp);
                for datagram in datagrams {
                    pace.count(1);
                    if let Some(packet) = packet_of(datagram.octets)
                        && let Err(packet) = joiner.push(packet)
                    {
                        write(path, &mut joiner);
                        // An empty joiner takes everything.
                        let _ = joiner.push(packet);
                    }
                }
                write(path, &mut joiner);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_done = true,
            // An ICMP answer to something sent earlier, for instance; the socket stays usable.
            Err(_) => {}
        }
        let rested = pace.rest(is_done, |limit| match limit {
            Some(pause) => {
                thread::sleep(pause);
                Ok(())
            }
            None => wait_readable(&[path.socket.as_fd()], None).map(drop),
        });
        if let Some(Err(error)) = rested {
            return error;
        }
    }
}

/// The packet in a datagram, without its padding.
fn packet_of(datagram: &mut [u8]) -> Option<&mut [u8]> {
    let end = datagram.len().checked_sub(BACK_LEN)?;
    let padded = datagram.get_mut(FRONT_LEN..end)?;
    let len = IpPacket::parse(padded).ok()?.total_len;
    padded.get_mut(..len)
}

fn write(path: &Path, joiner: &mut Joiner<'_>) {
    // What the device refuses is lost; the measurement shows it.
    joiner.flush(|parts| {
        let flow = parts.get(1).map_or(0, |packet| flow::hash(packet));
        let queues = path.device.queues();
        queues[flow as usize % queues.len()].write_parts(parts).is_ok()
    });
}
