//! Traffic whose every octet is known at both sides: streams both ways at once, and numbered datagrams.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tieline_io::namespace::NamespaceThread;

use crate::end::LIMIT;

/// Octets that a stream's side writes or reads at once.
const CHUNK: usize = 128 << 10;
/// Numbered datagrams that are under way at most. So many, and a short stream, fit into the buffer of any socket however long nobody
/// reads it: what does not arrive was lost by the line, not by a machine that had something else to do.
const UNDER_WAY_MAX: u64 = 16;
/// Numbered datagrams in a [`TICK`]: 5,000 a second, if there is time for them.
const IN_A_TICK: u64 = 5;
const TICK: Duration = Duration::from_millis(1);
/// Octets of the longest numbered datagram.
const NUMBERED_LEN_MAX: u64 = 1300;

/// An address and the namespace that has it.
pub(crate) type Place<'n> = (&'n NamespaceThread, IpAddr);

/// Fills `octets` with what stands at `offset` of the sequence that `seed` stands for. Both are in words of eight octets.
pub(crate) fn fill(octets: &mut [u8], seed: u64, offset: u64) {
    for (word, place) in octets.chunks_mut(8).zip(offset..) {
        // The finaliser of SplitMix64.
        let mut mixed = seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..word.len()]);
    }
}

/// One connection with a stream each way, of which the reading sides compare every octet.
pub(crate) struct Streams {
    over: Arc<AtomicBool>,
    sides: Vec<[JoinHandle<u64>; 2]>,
}

/// How much a stream carries.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// All of it; with none, as much as there is time for until [`Streams::end`].
    pub(crate) octets: Option<u64>,
    /// Under way at most; with none, as much as TCP takes.
    pub(crate) under_way_max: Option<u64>,
}

impl Streams {
    pub(crate) fn start(from: Place<'_>, to: Place<'_>, load: Load) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let address = to.1;
        let listener = to.0.run(move || TcpListener::bind((address, 0)).unwrap());
        let target = listener.local_addr().unwrap();
        let near = from.0.run(move || TcpStream::connect_timeout(&target, LIMIT).unwrap());
        let (far, _) = listener.accept().unwrap();
        for end in [&near, &far] {
            end.set_read_timeout(Some(LIMIT)).unwrap();
            end.set_write_timeout(Some(LIMIT)).unwrap();
        }
        let ways = [(&near, &far, 1), (&far, &near, 2)];
        let sides = ways.map(|(writer, reader, seed)| {
            let (writer, reader) = (writer.try_clone().unwrap(), reader.try_clone().unwrap());
            let (is_over, arrived) = (Arc::clone(&over), Arc::new(AtomicU64::new(0)));
            let counted = Arc::clone(&arrived);
            let seed = seed + u64::from(target.port()) * 4;
            [
                std::thread::spawn(move || write(writer, seed, load, &is_over, &arrived)),
                std::thread::spawn(move || read(reader, seed, &counted)),
            ]
        });
        Self { over, sides: sides.into() }
    }

    /// Ends the streams; then as [`Self::wait`].
    pub(crate) fn end(self) -> Vec<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until all has arrived, and returns how many octets that was each way.
    pub(crate) fn wait(self) -> Vec<u64> {
        let finished = self.sides.into_iter().map(|sides| {
            let [written, read] = sides.map(|side| side.join().expect("a stream carries what was written"));
            assert_eq!(written, read, "the end came too soon");
            read
        });
        finished.collect()
    }
}

fn write(mut stream: TcpStream, seed: u64, load: Load, over: &AtomicBool, arrived: &AtomicU64) -> u64 {
    let mut chunk = vec![0; CHUNK];
    let (octets, under_way_max) = (load.octets.unwrap_or(u64::MAX), load.under_way_max.unwrap_or(u64::MAX));
    let mut written = 0;
    let mut progress = Instant::now();
    while written < octets && !over.load(Ordering::Relaxed) {
        // Whole words.
        let room = under_way_max.saturating_sub(written - arrived.load(Ordering::Relaxed)) / 8 * 8;
        if room == 0 {
            assert!(progress.elapsed() < LIMIT, "the far side does not read on");
            std::thread::sleep(TICK / 20);
            continue;
        }
        let len = usize::try_from(room.min(octets - written)).unwrap_or(CHUNK).min(CHUNK);
        fill(&mut chunk[..len], seed, written / 8);
        stream.write_all(&chunk[..len]).expect("the far side reads on");
        written += len as u64;
        progress = Instant::now();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    written
}

fn read(mut stream: TcpStream, seed: u64, arrived: &AtomicU64) -> u64 {
    let (mut chunk, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut count = 0;
    loop {
        // In whole chunks, so that each begins with a whole word.
        let mut len = 0;
        while len < CHUNK {
            match stream.read(&mut chunk[len..]).expect("the far side writes on") {
                0 => break,
                more => len += more,
            }
            arrived.store(count + len as u64, Ordering::Relaxed);
        }
        fill(&mut expected[..len], seed, count / 8);
        let wrong = chunk[..len].iter().zip(&expected).position(|(came, expected)| came != expected);
        assert_eq!(wrong.map(|place| count + place as u64), None, "this octet is not what was written");
        count += len as u64;
        if len < CHUNK {
            return count;
        }
    }
}

/// Numbered datagrams of many sizes from one place to another, each with its own content.
pub(crate) struct Numbered {
    /// Whether nothing more is to be sent, and whether nothing more is waited for.
    over: [Arc<AtomicBool>; 2],
    sender: JoinHandle<u64>,
    receiver: JoinHandle<Vec<u64>>,
    arrived: Arc<AtomicU64>,
}

impl Numbered {
    pub(crate) fn start(from: Place<'_>, to: Place<'_>) -> Self {
        let [sender, receiver] = [from, to].map(|(namespace, address)| udp(namespace, address));
        let target = receiver.local_addr().unwrap();
        let over: [Arc<AtomicBool>; 2] = Default::default();
        let arrived = Arc::new(AtomicU64::new(0));
        let ([sent, received], counts) = (over.clone(), [Arc::clone(&arrived), Arc::clone(&arrived)]);
        let [known, counted] = counts;
        let sender = std::thread::spawn(move || send_numbered(&sender, target, &sent, &known));
        let receiver = std::thread::spawn(move || receive_numbered(&receiver, &received, &counted));
        Self { over, sender, receiver, arrived }
    }

    /// Ends them and returns how many there were, and the numbers of those that did not arrive.
    pub(crate) fn finish(self) -> (u64, Vec<u64>) {
        let [is_sent, is_received] = &self.over;
        is_sent.store(true, Ordering::Relaxed);
        let sent = self.sender.join().expect("the sender sends");
        // What was sent last has time to arrive.
        let deadline = Instant::now() + LIMIT / 4;
        while self.arrived.load(Ordering::Relaxed) < sent && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
        // A repetition would come soon.
        std::thread::sleep(LIMIT / 100);
        is_received.store(true, Ordering::Relaxed);
        let arrivals = self.receiver.join().expect("every datagram arrives as it was sent, and once");
        let has_arrived = |number: &u64| {
            arrivals.get(*number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
        };
        (sent, (0..sent).filter(|number| !has_arrived(number)).collect())
    }
}

/// A socket, with a time out.
pub(crate) fn udp(namespace: &NamespaceThread, address: IpAddr) -> UdpSocket {
    let socket = namespace.run(move || UdpSocket::bind((address, 0)).unwrap());
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

fn numbered(number: u64) -> Vec<u8> {
    let mut datagram = vec![0; (8 + number * 37 % (NUMBERED_LEN_MAX - 8)) as usize];
    fill(&mut datagram[8..], number, 0);
    datagram[..8].copy_from_slice(&number.to_be_bytes());
    datagram
}

fn send_numbered(socket: &UdpSocket, target: SocketAddr, over: &AtomicBool, arrived: &AtomicU64) -> u64 {
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..IN_A_TICK {
            if sent - arrived.load(Ordering::Relaxed) >= UNDER_WAY_MAX {
                break;
            }
            assert!(socket.send_to(&numbered(sent), target).is_ok(), "number {sent} is not sent");
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
    sent
}

/// Returns a bit for each number that arrived.
fn receive_numbered(socket: &UdpSocket, over: &AtomicBool, arrived: &AtomicU64) -> Vec<u64> {
    socket.set_read_timeout(Some(LIMIT / 100)).unwrap();
    let mut arrivals: Vec<u64> = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        if over.load(Ordering::Relaxed) {
            return arrivals;
        }
        // Nothing came within the time out.
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        let number = u64::from_be_bytes(*buffer[..len].first_chunk().expect("a number"));
        assert!(buffer[..len] == numbered(number), "number {number} is not what was sent");
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        arrivals.resize(arrivals.len().max(word + 1), 0);
        assert_eq!(arrivals[word] & bit, 0, "number {number} arrived twice");
        arrivals[word] |= bit;
        arrived.fetch_add(1, Ordering::Relaxed);
    }
}
