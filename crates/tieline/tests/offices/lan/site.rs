//! An office's Ethernet: a bridge in the gateway, a computer behind it, and a port whose other side is the test.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tieline_io::namespace::NamespaceThread;
use tieline_io::tun::{OFFLOAD_HEADER_LEN, TunDevice};
use tieline_io::wait::wait_readable;
use tieline_sim::lab::Office;

use crate::end::{End, LIMIT};
use crate::world::ip;

/// The bridge in each gateway.
pub(crate) const BRIDGE: &str = "br0";
/// Octets of the longest frame that a test sends.
const FRAME_LEN_MAX: usize = 65_535 + 22;

/// One office's Ethernet.
pub(crate) struct Site {
    pub(crate) gateway: NamespaceThread,
    /// The computer.
    pub(crate) pc: NamespaceThread,
    /// Its addresses in the common network.
    pub(crate) addresses: [String; 2],
}

impl Site {
    /// The Ethernet of office `number`, with a computer at 10.9.0.N and fd09::N.
    pub(crate) fn new(office: &Office, number: u8) -> Self {
        let gateway = office.gateway().clone();
        let pc = NamespaceThread::new(&format!("pc-{number}")).unwrap();
        ip(&gateway, &["link", "add", BRIDGE, "type", "bridge"]);
        ip(&gateway, &["link", "set", BRIDGE, "up"]);
        let namespace = pc.path().into_os_string().into_string().unwrap();
        ip(&gateway, &["link", "add", "pc0", "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
        ip(&gateway, &["link", "set", "pc0", "master", BRIDGE, "up"]);
        let addresses = [format!("10.9.0.{number}"), format!("fd09::{number}")];
        ip(&pc, &["link", "set", "lo", "up"]);
        ip(&pc, &["address", "add", &format!("{}/24", addresses[0]), "dev", "eth0"]);
        ip(&pc, &["address", "add", &format!("{}/64", addresses[1]), "dev", "eth0", "nodad"]);
        ip(&pc, &["link", "set", "eth0", "up"]);
        Self { gateway, pc, addresses }
    }

    /// Joins `end` to this Ethernet; `rows` are added to its `[lan]`.
    pub(crate) fn join(&self, end: &End, rows: &str) {
        end.append(&format!("[lan]\nbridge = \"{BRIDGE}\"\n{rows}"));
    }

    /// A port of the bridge whose frames the test sends and receives.
    pub(crate) fn port(&self, name: &'static str) -> RawPort {
        let device = self.gateway.run(move || TunDevice::create_tap(name, 1500, 1)).unwrap();
        ip(&self.gateway, &["link", "set", name, "master", BRIDGE, "up"]);
        RawPort { device }
    }

    /// Pings an address from the computer, so many times.
    pub(crate) fn ping(&self, target: &str, options: &[&str]) -> std::process::Output {
        let all = [&["-n", "-i", "0.05", "-W", "5"], options, &[target]].concat();
        self.pc.command("ping").args(all).output().unwrap()
    }
}

/// A port of a bridge.
pub(crate) struct RawPort {
    device: TunDevice,
}

impl RawPort {
    /// Sends a frame into the office.
    pub(crate) fn send(&self, frame: &[u8]) {
        let header = [0; OFFLOAD_HEADER_LEN];
        let parts = [IoSlice::new(&header), IoSlice::new(frame)];
        self.device.queue().write_parts(&parts).unwrap();
    }

    /// The next frame that comes out of the office and is wanted; none if none comes in that time.
    pub(crate) fn receive(&self, within: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + within;
        let mut buffer = vec![0; OFFLOAD_HEADER_LEN + FRAME_LEN_MAX];
        loop {
            match self.device.queue().read(&mut buffer) {
                Ok(len) if wanted(&buffer[OFFLOAD_HEADER_LEN..len]) => {
                    return Some(buffer[OFFLOAD_HEADER_LEN..len].to_vec());
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    wait_readable(&[self.device.queue().as_fd()], Some(left)).unwrap();
                }
                Err(error) => panic!("the port gives no frame: {error}"),
            }
        }
    }

    /// As [`Self::receive`], within the time in which everything must happen.
    pub(crate) fn must_receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.receive(LIMIT, wanted).expect("the frame arrives")
    }
}

/// A frame from the card `2:0:0:0:0:from` to `to`, of this type.
pub(crate) fn frame(to: [u8; 6], from: u8, ethertype: u16, content: &[u8]) -> Vec<u8> {
    [&to[..], &card(from), &ethertype.to_be_bytes(), content].concat()
}

/// A card.
pub(crate) fn card(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}
