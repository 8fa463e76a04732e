//! Stream channels without a line: what one sends is delivered to the other, as long as the path between them is whole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use noq::{Connection, Endpoint, EndpointConfig, VarInt};
use tieline_io::wait::Waker;
use tieline_seal::{PrivateKey, PublicKey};
use tieline_wire::control::{ControlMessage, Hello, StreamRequest};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    FromFarEnd, Setup, Streams,
    channel::{ChannelSocket, StreamChannel, far_address},
    frame,
    identity::Identity,
    transport_config,
};

const PACKET_LEN_MAX: u16 = 1416;
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for whatever must not happen.
const A_WHILE: Duration = Duration::from_millis(100);

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
    let mut transport = transport_config(PACKET_LEN_MAX);
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

/// One end's streams, and what they hear.
struct End {
    streams: Streams,
    _heard: mpsc::Receiver<FromFarEnd>,
}

impl End {
    fn new(channel: Arc<StreamChannel>, own_key: PublicKey, identity: Identity) -> Self {
        let (reports, heard) = mpsc::channel(64);
        let setup = Setup {
            identity,
            own_key,
            inbox: None,
            hello: Hello::default(),
            packet_len_max: PACKET_LEN_MAX,
            reports,
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
            }
        }
        from.wake_senders();
        sleep(Duration::from_millis(1)).await;
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
