//! Speaks with a WireGuard implementation over UDP and appends everything that passes to a recording, for
//! `tests/recorded.rs`.
//!
//! `tests/vectors/record-wireguard-go.sh` sets up the other end and runs this.

#[path = "../tests/recording/mod.rs"]
mod recording;

use std::error::Error;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use tieline_seal::{
    Config, Control, Event, Inbound, OVERHEAD, Opened, Outbound, Peer, PresharedKey, PrivateKey, split,
};
use tieline_wire::time::Now;
use tieline_wire::wireguard::TransportHeader;

use recording::{Action, Exchange, Recording, Step};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [
        file,
        name,
        peer_program,
        private_key,
        peer_public_key,
        preshared_key,
        peer_address,
        own_ip,
        peer_ip,
    ] = &arguments[..]
    else {
        return Err(
            "FILE answer|open|flooded… PROGRAM PRIVATE PUBLIC PRESHARED ADDRESS OWN-IP PEER-IP".into()
        );
    };
    let file = PathBuf::from(file);
    let mut recording = match std::fs::read_to_string(&file) {
        Ok(text) => toml::from_str(&text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => Recording { exchanges: Vec::new() },
        Err(error) => return Err(error.into()),
    };
    let exchange = Exchange {
        name: name.clone(),
        peer_program: peer_program.clone(),
        private_key: private_key.clone(),
        peer_public_key: peer_public_key.clone(),
        preshared_key: preshared_key.clone(),
        peer_address: peer_address.parse()?,
        seed: HEXLOWER.encode(&[0x5e; 32]),
        start: u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?,
        steps: Vec::new(),
    };
    let end = End::new(exchange, own_ip.parse()?, peer_ip.parse()?)?;
    let exchange = match name.split('-').next() {
        Some("answer") => end.answer()?,
        Some("open") => end.open()?,
        Some("flooded") => end.open_through_a_flood()?,
        _ => return Err("the name begins with what is to be done".into()),
    };
    recording.exchanges.push(exchange);
    std::fs::write(&file, toml::to_string(&recording)?)?;
    Ok(())
}

struct End {
    control: Control,
    outbound: Outbound,
    inbound: Inbound,
    socket: UdpSocket,
    start: Instant,
    exchange: Exchange,
    own_ip: Ipv4Addr,
    peer_ip: Ipv4Addr,
}

impl End {
    fn new(exchange: Exchange, own_ip: Ipv4Addr, peer_ip: Ipv4Addr) -> Result<Self, Box<dyn Error>> {
        let start = Instant::now();
        let wall = UNIX_EPOCH + Duration::from_nanos(exchange.start);
        let config = Config {
            private_key: exchange.private_key.parse()?,
            peer: Peer::Known {
                public_key: exchange.peer_public_key.parse()?,
                preshared_key: exchange.preshared_key.parse()?,
                proof: None,
            },
            address: Some(exchange.peer_address),
            persistent_keepalive: None,
            timestamp_floor: None,
            always_on: false,
            fast_aes: false,
        };
        let seed =
            HEXLOWER.decode(exchange.seed.as_bytes())?.try_into().map_err(|_| "a seed has 32 octets")?;
        let (control, outbound, inbound) = split(config, Now { monotonic: start, wall }, seed);
        let socket = UdpSocket::bind("0.0.0.0:51820")?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok(Self { control, outbound, inbound, socket, start, exchange, own_ip, peer_ip })
    }

    /// The other end opens the line with a packet.
    fn answer(mut self) -> Result<Exchange, Box<dyn Error>> {
        self.next_packet(Duration::from_secs(10))?;
        self.exchange_echoes(2)?;
        Ok(self.exchange)
    }

    /// We open the line.
    fn open(mut self) -> Result<Exchange, Box<dyn Error>> {
        self.request_session()?;
        let until = Instant::now() + Duration::from_secs(2);
        while !self.outbound.has_session(Instant::now()) {
            if Instant::now() > until {
                return Err("no answer to the initiation".into());
            }
            self.turn()?;
        }
        self.exchange_echoes(2)?;
        Ok(self.exchange)
    }

    /// As before, but a stranger floods the other end with initiations until it asks for a cookie and gets
    /// it.
    fn open_through_a_flood(mut self) -> Result<Exchange, Box<dyn Error>> {
        let flood = self.flood()?;
        flood()?;
        self.request_session()?;
        flood()?;
        let until = Instant::now() + Duration::from_secs(12);
        let mut flooded_at = Instant::now();
        while !self.outbound.has_session(Instant::now()) {
            if Instant::now() > until {
                return Err("no session through the flood".into());
            }
            if flooded_at.elapsed() > Duration::from_millis(200) {
                flood()?;
                flooded_at = Instant::now();
            }
            self.turn()?;
        }
        let replies = self.exchange.steps.iter().filter(
            |step| matches!(&step.action, Action::ReceiveHandshake { datagram } if datagram.starts_with("03")),
        );
        if replies.count() == 0 {
            return Err("the other end asked for no cookie".into());
        }
        self.exchange_echoes(1)?;
        Ok(self.exchange)
    }

    /// A stranger that knows the other end's public key.
    fn flood(&self) -> Result<impl Fn() -> std::io::Result<()> + use<>, Box<dyn Error>> {
        let config = Config {
            private_key: PrivateKey::from_bytes([0x66; 32]),
            peer: Peer::Known {
                public_key: self.exchange.peer_public_key.parse()?,
                preshared_key: PresharedKey::ZERO,
                proof: None,
            },
            address: Some(self.exchange.peer_address),
            persistent_keepalive: None,
            timestamp_floor: None,
            always_on: false,
            fast_aes: false,
        };
        let now = Now::from_system();
        let (mut stranger, ..) = split(config, now, [0x66; 32]);
        stranger.request_session(now);
        let initiation = stranger.poll_transmit().ok_or("no initiation")?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        Ok(move || {
            for _ in 0..3000 {
                socket.send_to(&initiation.bytes, initiation.to)?;
            }
            Ok(())
        })
    }

    fn request_session(&mut self) -> Result<(), Box<dyn Error>> {
        let now = self.step(Action::Request);
        self.control.request_session(now);
        self.drain()
    }

    /// Sends echo requests and takes the replies of the other end's system, which show that it opened what we
    /// sealed.
    fn exchange_echoes(&mut self, count: u8) -> Result<(), Box<dyn Error>> {
        for number in 0..count {
            let request = echo_request(self.own_ip, self.peer_ip, number);
            self.seal(&request)?;
            let reply = self.next_packet(Duration::from_secs(2))?;
            if reply.get(20) != Some(&0) {
                return Err("that is no echo reply".into());
            }
        }
        Ok(())
    }

    fn next_packet(&mut self, patience: Duration) -> Result<Vec<u8>, Box<dyn Error>> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(packet) = self.turn()? {
                return Ok(packet);
            }
        }
        Err("no packet came".into())
    }

    /// Takes a datagram or lets a timer go off; returns a packet with content.
    fn turn(&mut self) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
        let mut buffer = [0; 2048];
        let packet = match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => self.receive(from, &mut buffer[..length])?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => return Err(error.into()),
        };
        let now = self.now();
        if self.control.poll_timeout(now).is_some_and(|at| at <= now.monotonic) {
            let now = self.step(Action::Timeout);
            self.control.handle_timeout(now);
        }
        self.drain()?;
        Ok(packet)
    }

    fn receive(&mut self, from: SocketAddr, datagram: &mut [u8]) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
        let hex = HEXLOWER.encode(datagram);
        let now = self.now();
        let (packet, notice) = match self.inbound.open(now.monotonic, from, datagram)? {
            Opened::Handshake => {
                let now = self.step_at(now, Action::ReceiveHandshake { datagram: hex });
                self.control.handle_datagram(now, from, datagram);
                return Ok(None);
            }
            Opened::Keepalive { notice } => (Vec::new(), notice),
            Opened::Packet { plaintext, notice } => (plaintext.to_vec(), notice),
        };
        self.step_at(now, Action::Open { datagram: hex, packet: HEXLOWER.encode(&packet) });
        if let Some(notice) = notice {
            self.control.handle_notice(now, notice);
        }
        Ok(Some(packet).filter(|packet| !packet.is_empty()))
    }

    fn drain(&mut self) -> Result<(), Box<dyn Error>> {
        loop {
            if let Some(transmit) = self.control.poll_transmit() {
                self.step(Action::Transmit { datagram: HEXLOWER.encode(&transmit.bytes) });
                self.socket.send_to(&transmit.bytes, transmit.to)?;
            } else if let Some(event) = self.control.poll_event() {
                if event == Event::SendKeepalive {
                    self.seal(&[])?;
                }
            } else {
                return Ok(());
            }
        }
    }

    fn seal(&mut self, packet: &[u8]) -> Result<(), Box<dyn Error>> {
        let mut datagram = vec![0; packet.len() + OVERHEAD];
        datagram[TransportHeader::LEN..TransportHeader::LEN + packet.len()].copy_from_slice(packet);
        let now = self.now();
        let sealed = self.outbound.seal(now.monotonic, &mut datagram)?;
        let hex = HEXLOWER.encode(&datagram);
        self.step_at(now, Action::Seal { packet: HEXLOWER.encode(packet), datagram: hex });
        self.socket.send_to(&datagram, sealed.to)?;
        Ok(())
    }

    fn now(&self) -> Now {
        let elapsed = self.start.elapsed();
        let wall = UNIX_EPOCH + Duration::from_nanos(self.exchange.start) + elapsed;
        Now { monotonic: self.start + elapsed, wall }
    }

    fn step(&mut self, action: Action) -> Now {
        self.step_at(self.now(), action)
    }

    fn step_at(&mut self, now: Now, action: Action) -> Now {
        let at = (now.monotonic - self.start).as_nanos().try_into().unwrap_or(u64::MAX);
        self.exchange.steps.push(Step { at, action });
        now
    }
}

/// An IPv4 packet with an echo request, padded to a multiple of 16 octets as WireGuard pads.
fn echo_request(from: Ipv4Addr, to: Ipv4Addr, number: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend([8, 0, 0, 0, 0x12, 0x34, 0, number]);
    put_checksum(&mut packet[..20], 10);
    put_checksum(&mut packet[20..], 2);
    packet.resize(packet.len().next_multiple_of(16), 0);
    packet
}

/// The internet checksum (RFC 1071).
fn put_checksum(octets: &mut [u8], at: usize) {
    octets[at..at + 2].fill(0);
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    octets[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
