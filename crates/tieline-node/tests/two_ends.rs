//! Two whole ends on loopback, in one process and without a network device: pairing, streams, pipes and files for real.

#![expect(clippy::unwrap_used, reason = "a test says with a panic what went wrong")]

use std::{
    cell::Cell,
    net::{SocketAddr, UdpSocket},
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use rand::{TryRngCore, rngs::OsRng};
use tieline_node::{
    api::client::{Client, ClientError},
    config::{Draft, Line},
    node::{Node, Options, StartError},
    places::{LineName, Places, PlacesChoice, Surroundings},
    secrets::Secrets,
    status::{FarEndKind, LineState, Status},
};
use tieline_seal::{InvitationSecret, PrivateKey};
use tieline_transfer::receipt::{LineKeys, TransferId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::{JoinHandle, LocalSet},
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn invitation_joins_two_ends_and_is_void_then() {
    local(async {
        let office = Office::new();
        let (a, b) = office.invited_pair();
        let (a_up, b_up) = (a.up().await, b.up().await);
        let (status_a, status_b) = (a.wait_for(is_connected).await, b.wait_for(is_connected).await);
        assert_eq!(status_a.state, LineState::Up);
        assert_eq!(status_a.far_end.public_key, Some(status_b.here.public_key));
        assert_eq!(status_b.far_end.name.as_deref(), Some(status_a.here.name.as_str()));
        let kept = a.line().secrets;
        assert!(kept.invitation.is_none(), "the invitation is void");
        assert_eq!(kept.preshared_key, b.line().secrets.preshared_key);
        assert!(b.line().secrets.proof.is_none(), "the proof is not shown again");
        assert!(a.client.ping(1420).await.unwrap().round_trip_seconds.is_some());
        let Err(ClientError::Refused(words)) = a.client.ping(1421).await else { panic!("more than the MTU") };
        assert!(words.contains("the largest on this line has 1420"), "{words}");
        a.down(a_up).await;
        b.down(b_up).await;
    })
    .await;
}

#[tokio::test]
async fn pipe_carries_both_ways_byte_for_byte_and_passes_ends_on() {
    local(async {
        let office = Office::new();
        let (a, b) = office.invited_pair();
        let (a_up, b_up) = (a.up().await, b.up().await);
        b.wait_for(is_connected).await;
        let (near, far) = tokio::join!(a.client.pipe(), b.client.pipe());
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        let there: Vec<u8> = (0..3_000_000_u32).map(|index| (index * 7 % 251) as u8).collect();
        let back: Vec<u8> = there.iter().rev().copied().collect();
        let (mut at_far, mut at_near) = (Vec::new(), Vec::new());
        let near_side = async {
            let (mut reader, mut writer) = tokio::io::split(&mut near);
            let write = async {
                writer.write_all(&there).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            tokio::join!(write, async { reader.read_to_end(&mut at_near).await.unwrap() });
        };
        let far_side = async {
            let (mut reader, mut writer) = tokio::io::split(&mut far);
            let write = async {
                writer.write_all(&back).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            tokio::join!(write, async { reader.read_to_end(&mut at_far).await.unwrap() });
        };
        timeout(PATIENCE, async { tokio::join!(near_side, far_side) }).await.expect("both ways end");
        assert!(at_far == there && at_near == back);
        a.down(a_up).await;
        b.down(b_up).await;
    })
    .await;
}

#[tokio::test]
async fn second_pipe_at_one_end_is_refused_in_words() {
    local(async {
        let office = Office::new();
        let (a, b) = office.invited_pair();
        let (a_up, b_up) = (a.up().await, b.up().await);
        b.wait_for(is_connected).await;
        let client = a.client.clone();
        let waiting = tokio::task::spawn_local(async move { drop(client.pipe().await) });
        sleep(Duration::from_millis(100)).await;
        let Err(ClientError::Refused(words)) = a.client.pipe().await else { panic!("a second pipe") };
        assert!(words.contains("already"), "{words}");
        waiting.abort();
        a.down(a_up).await;
        b.down(b_up).await;
    })
    .await;
}

#[tokio::test]
async fn files_arrive_verified_in_the_inbox_of_either_end() {
    local(async {
        let office = Office::new();
        let (a, b) = office.invited_pair();
        let (a_up, b_up) = (a.up().await, b.up().await);
        b.wait_for(is_connected).await;
        a.wait_for(is_connected).await;
        let source = office.folder.path().join("plan.txt");
        std::fs::write(&source, "the plan").unwrap();
        for (from, to) in [(&a, &b), (&b, &a)] {
            let stream = from.client.files(Some("today")).await.unwrap();
            let plan = tieline_transfer::Plan::scan(std::slice::from_ref(&source), &()).unwrap();
            let journal = Arc::new(tieline_transfer::Journal::in_memory().unwrap());
            let signing_key = from.client.status().await.unwrap().here.signing_key.unwrap();
            let keys = LineKeys::without_secret(signing_key.parse().unwrap());
            let transfer = TransferId::random().unwrap();
            let order = tieline_transfer::Order { plan, journal, outbox: String::new(), transfer, keys };
            let outcome = tieline_transfer::send(stream, order, Arc::new(())).await.unwrap();
            assert!(outcome.is_complete());
            let arrived = to.line().config.inbox.join("today/plan.txt");
            assert_eq!(std::fs::read_to_string(arrived).unwrap(), "the plan");
        }
        a.down(a_up).await;
        b.down(b_up).await;
    })
    .await;
}

#[tokio::test]
async fn goodbye_that_arrives_when_the_far_end_is_back_does_not_take_it_down() {
    local(async {
        let office = Office::new();
        let relay = Relay::new().await;
        let (a, b) = office.pair_over(relay.beyond, relay.address);
        let (a_up, b_up) = (a.up().await, b.up().await);
        b.wait_for(is_connected).await;
        relay.holds.set(true);
        b.down(b_up).await;
        // What was sent last reaches the relay.
        sleep(Duration::from_millis(100)).await;
        assert!(!a.client.status().await.unwrap().far_end.taken_down, "the goodbye is on its way");
        relay.holds.set(false);
        let b_up = b.up().await;
        b.wait_for(is_connected).await;
        a.wait_for(is_connected).await;
        // What the streams have to say first is said.
        sleep(Duration::from_millis(500)).await;
        relay.release.notify_one();
        sleep(Duration::from_millis(300)).await;
        let status = a.client.status().await.unwrap();
        assert!(is_connected(&status) && !status.far_end.taken_down, "{status:#?}");
        b.down(b_up).await;
        let status = a.wait_for(|status| status.far_end.taken_down).await;
        assert_eq!(status.state, LineState::Silent);
        a.down(a_up).await;
    })
    .await;
}

#[tokio::test]
async fn line_that_is_up_is_not_brought_up_twice() {
    local(async {
        let office = Office::new();
        let (a, _) = office.invited_pair();
        let up = a.up().await;
        let again = Node::start(&a.places, &a.name, &unconfined()).await;
        assert!(matches!(again, Err(StartError::AlreadyUp { .. })));
        a.down(up).await;
        assert!(matches!(a.client.status().await, Err(ClientError::NotUp { .. })));
    })
    .await;
}

fn is_connected(status: &Status) -> bool {
    status.is_up() && status.far_end.streams && status.far_end.kind == FarEndKind::Tieline
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

fn unconfined() -> Options {
    Options { without_routes: true, unconfined: true, ..Options::default() }
}

struct Office {
    folder: tempfile::TempDir,
}

struct End {
    places: Places,
    name: LineName,
    client: Client,
}

impl Office {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// The first end with a pending invitation, and the end that has taken it.
    fn invited_pair(&self) -> (End, End) {
        let address = free_address();
        self.pair_over(address, address)
    }

    /// The same, of which the first listens on `address_a` and is dialled at `dialled`.
    fn pair_over(&self, address_a: SocketAddr, dialled: SocketAddr) -> (End, End) {
        let mut rng = OsRng.unwrap_err();
        let secret = InvitationSecret::generate(&mut rng);
        let (first, second) = (PrivateKey::generate(&mut rng), PrivateKey::generate(&mut rng));
        let public_key = first.public_key();
        let a = self.end("a", Secrets::inviting(first, secret.clone()), address_a, Draft::default());
        let joiner = Draft {
            peer_public_key: Some(public_key),
            peer_addresses: vec![dialled.to_string().parse().unwrap()],
            ..Draft::default()
        };
        let b = self.end("b", Secrets::joining(second, secret), free_address(), joiner);
        (a, b)
    }

    fn end(&self, folder: &str, secrets: Secrets, listen: SocketAddr, draft: Draft) -> End {
        let choose = |name: &str| Some(self.folder.path().join(folder).join(name));
        let choice = PlacesChoice { config_dir: choose("etc"), runtime_dir: choose("run") };
        let places = Places::resolve(&choice, &Surroundings::from_system()).unwrap();
        let name: LineName = "berlin".parse().unwrap();
        places.make_config_dir().unwrap();
        let files = places.files(&name);
        let draft = Draft { listen: Some(listen), routes: Some(false), ..draft };
        draft.create(&name, &files.config).unwrap();
        secrets.create(&files.key).unwrap();
        End { places, client: Client::new(&files.socket), name }
    }
}

impl End {
    async fn up(&self) -> JoinHandle<()> {
        let node = Node::start(&self.places, &self.name, &unconfined()).await.unwrap();
        tokio::task::spawn_local(async { node.run().await.expect("nothing of it ends by itself") })
    }

    async fn down(&self, up: JoinHandle<()>) {
        self.client.down().await.unwrap();
        timeout(PATIENCE, up).await.expect("it goes down").unwrap();
        assert!(!Path::new(&self.places.files(&self.name).socket).exists());
    }

    fn line(&self) -> Line {
        Line::load(&self.places, &self.name).unwrap()
    }

    async fn wait_for(&self, condition: impl Fn(&Status) -> bool) -> Status {
        let waited = timeout(PATIENCE, async {
            loop {
                let status = self.client.status().await.unwrap();
                if condition(&status) {
                    return status;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        match waited.await {
            Ok(status) => status,
            Err(_elapsed) => panic!("not within {PATIENCE:?}: {:#?}", self.client.status().await),
        }
    }
}

/// A path to one end, which can hold back what goes there and let it go later.
struct Relay {
    /// Where the near end sends.
    address: SocketAddr,
    /// Where the far end is to listen.
    beyond: SocketAddr,
    holds: Rc<Cell<bool>>,
    release: Rc<Notify>,
}

impl Relay {
    async fn new() -> Self {
        let bind = || tokio::net::UdpSocket::bind("127.0.0.1:0");
        let (near, far) = (bind().await.unwrap(), bind().await.unwrap());
        let relay = Self {
            address: near.local_addr().unwrap(),
            beyond: free_address(),
            holds: Rc::default(),
            release: Rc::default(),
        };
        let (beyond, holds, release) = (relay.beyond, Rc::clone(&relay.holds), Rc::clone(&relay.release));
        tokio::task::spawn_local(async move {
            let (mut held, mut near_end) = (Vec::new(), None);
            let (mut there, mut back) = ([0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    Ok((len, from)) = near.recv_from(&mut there) => {
                        near_end = Some(from);
                        if holds.get() {
                            held.push(there[..len].to_vec());
                        } else {
                            far.send_to(&there[..len], beyond).await.unwrap();
                        }
                    }
                    Ok((len, _)) = far.recv_from(&mut back) => {
                        // Who went away is not reached.
                        let _ = near.send_to(&back[..len], near_end.unwrap()).await;
                    }
                    () = release.notified() => {
                        for datagram in held.drain(..) {
                            far.send_to(&datagram, beyond).await.unwrap();
                        }
                    }
                }
            }
        });
        relay
    }
}

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
