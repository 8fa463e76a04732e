//! The floor: the packet path with sealing left out. It takes packets from a device with segmentation offload, cuts them, puts 16 octets
//! before and 16 behind each, as long as header and tag are, and sends them; what arrives it joins and gives to the device. It has the
//! system calls, buffers, cutting, joining and pace of the product and one thread of real time for each direction, but no key, counter, queue, check of
//! addresses or control. Whoever sends to it is believed: a program for measurements, in a namespace of its own.
//!
//! `floor DEVICE LOCAL REMOTE`, such as `floor floor0 192.0.2.1:51820 192.0.2.2:51820`. It ends when it is killed.

mod inwards;
mod outwards;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tieline_io::scheduling::RealTime;
use tieline_io::tun::TunDevice;
use tieline_io::udp::UdpSocket;
use tieline_node::packet_path::intake::QUEUES;

/// The largest packet of the device, as the product has it.
const MTU: u16 = 1420;
/// What stands before a packet in a datagram.
const FRONT_LEN: usize = 16;
/// What stands behind it.
const BACK_LEN: usize = 16;

struct Path {
    device: TunDevice,
    socket: UdpSocket,
    remote: SocketAddr,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [device, local, remote] = arguments.as_slice() else {
        eprintln!("floor DEVICE LOCAL REMOTE");
        return ExitCode::FAILURE;
    };
    match open(device, local, remote) {
        Ok((path, _real_time)) => {
            let path = Arc::new(path);
            let other = Arc::clone(&path);
            let out = std::thread::spawn(move || outwards::run(&other));
            let error = inwards::run(&path);
            eprintln!("floor: {error}");
            drop(out);
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("floor: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn open(device: &str, local: &str, remote: &str) -> Result<(Path, RealTime), String> {
    let address = |text: &str| text.parse::<SocketAddr>().map_err(|error| format!("{text}: {error}"));
    let device = TunDevice::create_with_offload(device, MTU, QUEUES).map_err(|error| error.to_string())?;
    let socket = UdpSocket::bind(address(local)?).map_err(|error| error.to_string())?;
    let real_time = RealTime::enter().map_err(|error| format!("real time: {error}"))?;
    Ok((Path { device, socket, remote: address(remote)? }, real_time))
}
