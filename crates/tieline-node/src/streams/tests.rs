//! Stream channels without a line: what one sends is delivered to the other, as long as the path between them is whole.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use noq::{Connection, Endpoint, EndpointConfig, VarInt};
use tempfile::TempDir;
use tieline_io::wait::Waker;
use tieline_line::{Event, greeting::FarEnd, labels::Labels, liveness::Reachability};
use tieline_seal::{PrivateKey, PublicKey};
use tieline_transfer::receipt::{LineKeys, SigningKey};
use tieline_transfer::{Inbox, Journal, inbox::TRANSFERS_MAX, protocol};
use tieline_wire::{
    associated,
    control::{ControlMessage, Hello, StreamRequest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::JoinHandle,
    time::{advance, pause, resume, sleep, timeout},
};

use super::{
    CONNECT_WAIT_MAX, FromFarEnd, NoStreams, OpenError, PLACE_WAIT_MAX, STREAMS_MAX, Setup, Streams,
    channel::{ChannelSocket, StreamChannel, far_address},
    congestion::Limits,
    frame,
    identity::Identity,
    lanes::{BLOCK_LEN_MAX, LANES, SendingLanes},
    patience::QUIET_MAX,
    transport_config,
};
use crate::files::{inboxes::Inboxes, incoming::Incoming, notices::Teller};
use crate::ports::PortTable;
use crate::{config::DiscoveryConfig, discovery::Discovery};

const PACKET_LEN_MAX: u16 = 1416;
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for whatever must not happen.
const A_WHILE: Duration = Duration::from_millis(100);
const FILES: StreamRequest = StreamRequest::Files { folder: None };

#[tokio::test]
async fn accepting_end_gives_no_stream_before_the_far_end_has_opened_the_control_stream() {
    let (path, near, far) = Path::new();
    let (smaller, larger) = keys();
    let (client, server) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (client_is, server_is) = (client.fingerprint(), server.fingerprint());
    let accepting = End::new(near, larger, server);
    accepting.streams.set_peer(smaller);
    accepting.streams.set_far_end(client_is).await.unwrap();
    let endpoint = bare_endpoint(far);
    let config = client.client_config(server_is).unwrap();
    let connection = endpoint.connect_with(config, far_address(), "tieline").unwrap().await.unwrap();
    sleep(A_WHILE).await;
    assert!(!accepting.streams.is_connected(), "there is no control stream");
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    frame::write(&mut send, &ControlMessage::Hello(Hello::default())).await.unwrap();
    accepting.wait_until_connected().await;
    drop(path);
}

#[tokio::test]
async fn connecting_end_gives_no_stream_before_its_control_stream_is_open() {
    let (path, near, far) = Path::new();
    let (smaller, larger) = keys();
    let (client, server) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (client_is, server_is) = (client.fingerprint(), server.fingerprint());
    let endpoint = bare_endpoint(far);
    let mut config = server.server_config(client_is).unwrap();
    let mut transport = transport_config(PACKET_LEN_MAX, &Limits::default(), false);
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    endpoint.set_server_config(Some(config));
    let connecting = End::new(near, smaller, client);
    connecting.streams.set_peer(larger);
    connecting.streams.set_far_end(server_is).await.unwrap();
    let connection: Connection = endpoint.accept().await.unwrap().await.unwrap();
    let streams = connecting.streams.clone();
    let service = tokio::spawn(async move { streams.open(&StreamRequest::Pipe).await });
    sleep(A_WHILE).await;
    assert!(!connecting.streams.is_connected(), "no stream may be opened yet");
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(2));
    let (_send, mut recv) = connection.accept_bi().await.unwrap();
    let first = frame::read_control(&mut recv).await.unwrap();
    assert!(matches!(first, ControlMessage::Hello(_)), "the control stream is the first: {first:?}");
    connecting.wait_until_connected().await;
    service.abort();
    drop(path);
}

#[tokio::test]
async fn pipe_outlives_a_cut_and_breaks_at_once_when_the_far_end_says_goodbye() {
    let pair = Pair::connected().await;
    let (near, far) = tokio::join!(pair.connecting.streams.pipe(), pair.accepting.streams.pipe());
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    pair.path.set_whole(false);
    far.send.write_all(b"late").await.unwrap();
    let mut came = [0; 4];
    assert!(timeout(A_WHILE, near.recv.read_exact(&mut came)).await.is_err(), "it waits");
    pair.path.set_whole(true);
    timeout(PATIENCE, near.recv.read_exact(&mut came)).await.expect("it goes on").unwrap();
    assert_eq!(&came, b"late");
    // Of the far end's last words only the goodbye arrives.
    pair.path.set_whole(false);
    pair.connecting.streams.handle_event(&Event::Goodbye);
    let read = timeout(A_WHILE, near.recv.read(&mut came)).await.expect("at once");
    assert!(read.is_err(), "a break does not look like an end");
    assert!(!pair.connecting.streams.is_connected());
}

#[tokio::test]
async fn who_waits_for_a_far_end_that_has_no_streams_is_told_at_once() {
    let (_path, near, far) = Path::new();
    let (smaller, larger) = keys();
    let hello = hello_of(7);
    for (channel, own, other) in [(near, smaller, larger), (far, larger, smaller)] {
        let end = End::new(channel, own, Identity::generate().unwrap());
        end.streams.set_peer(other);
        let waiting = async { tokio::join!(end.streams.pipe(), end.streams.open(&FILES)) };
        let learning = async {
            sleep(A_WHILE).await;
            end.streams.handle_event(&Event::FarEnd(FarEnd::IpOnly));
        };
        let ((pipe, files), ()) =
            timeout(3 * A_WHILE, async { tokio::join!(waiting, learning) }).await.expect("at once");
        for error in [pipe.unwrap_err(), files.unwrap_err()] {
            assert!(matches!(error, OpenError::NoStreams(NoStreams::IpOnly)), "{error}");
        }
        end.streams.handle_event(&Event::FarEnd(FarEnd::Incompatible(hello)));
        let error = timeout(A_WHILE, end.streams.open(&FILES)).await.expect("at once").unwrap_err();
        assert!(matches!(error, OpenError::NoStreams(NoStreams::Incompatible)), "{error}");
        end.streams.handle_event(&Event::FarEnd(FarEnd::Tieline(hello)));
        assert!(timeout(A_WHILE, end.streams.pipe()).await.is_err(), "a tieline is waited for");
    }
}

#[tokio::test]
async fn far_end_that_turns_out_to_be_plain_wireguard_breaks_what_is_open() {
    let pair = Pair::connected().await;
    let (near, far) = tokio::join!(pair.connecting.streams.pipe(), pair.accepting.streams.pipe());
    let (mut near, _far) = (near.unwrap(), far.unwrap());
    pair.path.set_whole(false);
    pair.connecting.streams.handle_event(&Event::FarEnd(FarEnd::IpOnly));
    let read = timeout(A_WHILE, near.recv.read(&mut [0])).await.expect("at once");
    assert!(read.is_err());
}

#[tokio::test]
async fn plain_wireguard_is_sent_nothing_until_it_says_hello() {
    let channel = StreamChannel::new(PACKET_LEN_MAX.into(), Arc::new(Waker::new().unwrap()));
    let (smaller, larger) = keys();
    let far_is = Identity::generate().unwrap().fingerprint();
    let end = End::new(Arc::clone(&channel), smaller, Identity::generate().unwrap());
    let sends = async || {
        sleep(A_WHILE).await;
        std::iter::from_fn(|| channel.poll_packet()).count() > 0
    };
    end.streams.set_peer(larger);
    end.streams.set_far_end(far_is).await.unwrap();
    assert!(sends().await, "a tieline is connected to");
    end.streams.handle_event(&Event::FarEnd(FarEnd::IpOnly));
    // What QUIC says as it leaves.
    sends().await;
    pass(3 * CONNECT_WAIT_MAX).await;
    assert!(!sends().await);
    end.streams.handle_event(&Event::FarEnd(FarEnd::Tieline(hello_of(1))));
    end.streams.set_far_end(far_is).await.unwrap();
    assert!(sends().await, "a tieline is connected to");
}

#[tokio::test]
async fn who_finds_every_place_taken_waits_for_one_and_is_told_when_none_comes_free() {
    let pair = Pair::connected().await;
    let connection = pair.connecting.streams.0.connection.borrow().clone().unwrap();
    let mut taken = Vec::new();
    // The control stream has one.
    for _ in 1..STREAMS_MAX {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        // Nobody is at the far end of the pipe, so it lasts.
        frame::write(&mut send, &StreamRequest::Pipe).await.unwrap();
        taken.push((send, recv));
    }
    let open = || {
        let streams = pair.connecting.streams.clone();
        tokio::spawn(async move { streams.open(&FILES).await.map(drop) })
    };
    let in_vain = open();
    sleep(A_WHILE).await;
    pass(2 * PLACE_WAIT_MAX).await;
    assert!(in_vain.is_finished(), "it does not wait for ever");
    let error = in_vain.await.unwrap().unwrap_err();
    assert!(matches!(error, OpenError::TooMany), "{error}");
    let in_time = open();
    sleep(A_WHILE).await;
    assert!(!in_time.is_finished(), "it waits");
    // QUIC tells of places that are free when they are some.
    taken.truncate(taken.len() / 2);
    timeout(PATIENCE, in_time).await.expect("there is a place").unwrap().unwrap();
}

#[tokio::test]
async fn silent_senders_hold_their_places_through_a_cut_and_lose_them_when_the_line_is_there() {
    const WELCOME: u8 = 0x41;
    const STOP: u8 = 0x44;
    let pair = Pair::connected().await;
    let mut silent = Vec::new();
    for _ in 0..TRANSFERS_MAX {
        let (kind, lanes) = pair.begin_transfer().await;
        assert_eq!(kind, WELCOME);
        silent.push(lanes);
    }
    assert_eq!(pair.begin_transfer().await.0, STOP, "every place is taken");
    let heard = |reachability| pair.accepting.streams.handle_event(&Event::Reachability(reachability));
    heard(Reachability::Silent);
    pass(3 * QUIET_MAX).await;
    heard(Reachability::Alive);
    assert_eq!(pair.begin_transfer().await.0, STOP, "a cut does not count");
    pass(2 * QUIET_MAX).await;
    assert_eq!(pair.begin_transfer().await.0, WELCOME, "the places are free");
    assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap(), 0, "the stream is ended");
    silent[0].write_all(b"too late").await.unwrap();
    assert!(silent[0].flush().await.is_err());
}

/// The files of an inbox by their names.
fn arrived(inbox: &TempDir) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(inbox.path()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    files
        .map(|path| (path.file_name().unwrap().to_string_lossy().into(), std::fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_file_larger_than_a_streams_window_goes_through_its_lanes() {
    let pair = Pair::connected().await;
    let office = tempfile::tempdir().unwrap();
    let content: Vec<u8> =
        (0..5_000_001_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let file = office.path().join("large");
    std::fs::write(&file, &content).unwrap();
    let lanes = pair.connecting.streams.open_files(None).await.unwrap();
    let order = tieline_transfer::Order {
        plan: tieline_transfer::Plan::scan(&[file], &()).unwrap(),
        journal: Arc::new(Journal::in_memory().unwrap()),
        transfer: tieline_transfer::receipt::TransferId([1; 16]),
        keys: LineKeys::new(SigningKey::from_line_secret(&[1; 32])),
        outbox: String::new(),
    };
    let outcome =
        timeout(PATIENCE, tieline_transfer::send(lanes, order, Arc::new(()))).await.unwrap().unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert!(arrived(&pair._inbox) == [("large".to_owned(), content)]);
}

#[tokio::test]
async fn blocks_of_no_length_or_too_long_and_lanes_that_do_not_come_end_a_transfer() {
    let pair = Pair::connected().await;
    for prefix in [0_u32, (BLOCK_LEN_MAX + 1) as u32, u32::MAX] {
        let connection = pair.connecting.streams.0.connection.borrow().clone().unwrap();
        let mut circuit = pair.connecting.streams.open(&FILES).await.unwrap();
        let first = u64::from(circuit.send.id());
        for number in 1..LANES {
            let mut lane = connection.open_uni().await.unwrap();
            lane.write_all(&first.to_be_bytes()).await.unwrap();
            lane.write_all(&[number]).await.unwrap();
            lane.finish().unwrap();
        }
        circuit.send.write_all(&prefix.to_be_bytes()).await.unwrap();
        let end = timeout(PATIENCE, circuit.recv.read_to_end(1024)).await.expect("it is not waited for");
        assert!(end.is_ok_and(|said| said.is_empty()), "{prefix}");
    }
    pause();
    let mut alone = pair.connecting.streams.open(&FILES).await.unwrap();
    let end = timeout(PATIENCE, alone.recv.read_to_end(1024)).await.expect("it is not waited for");
    assert!(end.is_ok_and(|said| said.is_empty()), "without its lanes");
}

#[tokio::test]
async fn certificate_that_was_not_announced_is_refused_by_both_sides() {
    let (_path, near, far) = Path::new();
    let (near, far) = (bare_endpoint(near), bare_endpoint(far));
    let [client, server, other] = [(); 3].map(|()| Identity::generate().unwrap());
    for (expected_client, expected_server) in [(&other, &server), (&client, &other)] {
        far.set_server_config(Some(server.server_config(expected_client.fingerprint()).unwrap()));
        let config = client.client_config(expected_server.fingerprint()).unwrap();
        let connecting = near.connect_with(config, far_address(), "tieline").unwrap();
        let accepting = async { far.accept().await.unwrap().await };
        let (_, accepted) = timeout(PATIENCE, async { tokio::join!(connecting, accepting) }).await.unwrap();
        assert!(accepted.is_err());
    }
}

/// Lets time go by. The clock does not do so by itself while threads wait for a disk or for a sender.
async fn pass(duration: Duration) {
    const STEP: Duration = Duration::from_secs(5);
    pause();
    for _ in 0..duration.as_secs() / STEP.as_secs() {
        advance(STEP).await;
    }
    resume();
    // For what other threads do then.
    sleep(A_WHILE).await;
}

/// Two ends that are connected.
struct Pair {
    path: Path,
    connecting: End,
    accepting: End,
    _inbox: TempDir,
}

impl Pair {
    /// The accepting end takes files.
    async fn connected() -> Self {
        let (path, near, far) = Path::new();
        let (smaller, larger) = keys();
        let (client, server) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let (client_is, server_is) = (client.fingerprint(), server.fingerprint());
        let folder = tempfile::tempdir().unwrap();
        let journal = Arc::new(Journal::in_memory().unwrap());
        let inbox = Arc::new(Inbox::open(folder.path(), "inbox", Arc::clone(&journal)).unwrap());
        let incoming = Incoming::new("", inbox, journal, &[], Teller::default());
        let connecting = End::new(near, smaller, client);
        let accepting = End::with_inbox(far, larger, server, Some(Inboxes::new(incoming, BTreeMap::new())));
        connecting.streams.set_peer(larger);
        accepting.streams.set_peer(smaller);
        accepting.streams.set_far_end(client_is).await.unwrap();
        connecting.streams.set_far_end(server_is).await.unwrap();
        connecting.wait_until_connected().await;
        accepting.wait_until_connected().await;
        Self { path, connecting, accepting, _inbox: folder }
    }

    /// Announces a file, and returns the kind of the answer.
    async fn begin_transfer(&self) -> (u8, SendingLanes) {
        let mut lanes = self.connecting.streams.open_files(None).await.unwrap();
        let (oldest, newest) = (protocol::VERSION, protocol::VERSION);
        let mut hello = Vec::new();
        protocol::SenderMessage::Hello(protocol::Hello { oldest, newest, entries: 1, bytes: 1 })
            .emit(&mut hello);
        lanes.write_all(&hello).await.unwrap();
        lanes.flush().await.unwrap();
        let mut answer = vec![0; lanes.read_u32().await.unwrap() as usize];
        lanes.read_exact(&mut answer).await.unwrap();
        (answer[0], lanes)
    }
}

/// One end's streams, and what they hear.
struct End {
    streams: Streams,
    _heard: mpsc::Receiver<FromFarEnd>,
}

impl End {
    fn new(channel: Arc<StreamChannel>, own_key: PublicKey, identity: Identity) -> Self {
        Self::with_inbox(channel, own_key, identity, None)
    }

    fn with_inbox(
        channel: Arc<StreamChannel>,
        own_key: PublicKey,
        identity: Identity,
        inboxes: Option<Inboxes>,
    ) -> Self {
        let (reports, heard) = mpsc::channel(64);
        let setup = Setup {
            identity,
            own_key,
            inboxes,
            hello: Hello::default(),
            labels: Arc::new(Labels::new(0)),
            ports: PortTable::new(&[]),
            discovery: Discovery::new(&DiscoveryConfig::default()),
            packet_len_max: PACKET_LEN_MAX,
            reports,
            calls_at_risk: Box::new(|| 0),
        };
        Self { streams: Streams::new(channel, setup).unwrap(), _heard: heard }
    }

    async fn wait_until_connected(&self) {
        let connected = async {
            while !self.streams.is_connected() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, connected).await.expect("connected");
    }
}

/// What takes packets from one channel to the other, until it is dropped.
struct Path {
    is_whole: Arc<AtomicBool>,
    ways: [JoinHandle<()>; 2],
}

impl Path {
    fn new() -> (Self, Arc<StreamChannel>, Arc<StreamChannel>) {
        let channel = || StreamChannel::new(PACKET_LEN_MAX.into(), Arc::new(Waker::new().unwrap()));
        let (near, far) = (channel(), channel());
        let is_whole = Arc::new(AtomicBool::new(true));
        let way = |from: &Arc<StreamChannel>, to: &Arc<StreamChannel>| {
            tokio::spawn(deliver(Arc::clone(from), Arc::clone(to), Arc::clone(&is_whole)))
        };
        let ways = [way(&near, &far), way(&far, &near)];
        (Self { is_whole, ways }, near, far)
    }

    fn set_whole(&self, is_whole: bool) {
        self.is_whole.store(is_whole, Ordering::Relaxed);
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.ways.iter().for_each(JoinHandle::abort);
    }
}

async fn deliver(from: Arc<StreamChannel>, to: Arc<StreamChannel>, is_whole: Arc<AtomicBool>) {
    loop {
        while let Some(packet) = from.poll_packet() {
            if is_whole.load(Ordering::Relaxed) {
                // QUIC repeats what finds no room.
                let _ = to.deliver(&packet);
                to.wake_reader();
            }
        }
        from.wake_senders();
        sleep(Duration::from_millis(1)).await;
    }
}

/// The hello of a far end that speaks `version`.
fn hello_of(version: u8) -> associated::Hello {
    associated::Hello {
        version_min: version,
        version_max: version,
        answer_wanted: false,
        joins_pieces: false,
        carries_ecn: false,
        answers_mtu_probes: false,
        takes_paths: false,
        instance: 1,
        certificate: [0; 32],
        announcement: None,
    }
}

/// Two keys, the smaller first.
fn keys() -> (PublicKey, PublicKey) {
    let key = |octet| PrivateKey::from_bytes([octet; 32]).public_key();
    let (one, other) = (key(1), key(2));
    if one < other { (one, other) } else { (other, one) }
}

fn bare_endpoint(channel: Arc<StreamChannel>) -> Endpoint {
    let socket = Box::new(ChannelSocket(channel));
    Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, Arc::new(noq::TokioRuntime))
        .unwrap()
}
