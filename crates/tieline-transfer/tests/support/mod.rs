//! Two offices in two temporary folders, joined by a stream in memory.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

pub(crate) mod kept;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use tempfile::TempDir;
use tieline_transfer::bundle::Unbundler;
use tieline_transfer::path::PARTIAL_FOLDER;
use tieline_transfer::protocol::{Hello, PREFIX_LEN, ReceiverMessage, SenderMessage, VERSION, frame_len};
use tieline_transfer::receipt::{KEY_LEN, LineKeys, SigningKey, TransferId};
use tieline_transfer::{
    EntryReport, Inbox, InboxError, Journal, Order, Outcome, Plan, Progress, ReceiveError, Received,
    SendError, receive, send,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::sync::Notify;

/// Opens an inbox with a journal of its own, that ends with it.
pub(crate) fn open_inbox(path: &Path) -> Result<Inbox, InboxError> {
    let journal = Arc::new(Journal::in_memory().unwrap());
    Ok(Inbox::open(path, "inbox", journal)?.with_keys(receiver_keys()))
}

/// A plan to be sent once, remembered by nobody afterwards.
pub(crate) fn order(plan: Plan) -> Order {
    order_into(plan, Arc::new(Journal::in_memory().unwrap()))
}

/// A plan to be sent once, remembered by `journal`.
pub(crate) fn order_into(plan: Plan, journal: Arc<Journal>) -> Order {
    Order { plan, journal, outbox: "out".into(), transfer: TRANSFER, keys: sender_keys() }
}

pub(crate) const TRANSFER: TransferId = TransferId(*b"a transfer of ss");

/// The keys of the two offices, who have not met yet.
pub(crate) fn sender_keys() -> LineKeys {
    LineKeys::new(SigningKey::from_line_secret(&[1; KEY_LEN]))
}

pub(crate) fn receiver_keys() -> LineKeys {
    LineKeys::new(SigningKey::from_line_secret(&[2; KEY_LEN]))
}

/// What `tokio::io::duplex` holds: small enough that both ends have to listen while they talk.
pub(crate) const SMALL_BUFFER: usize = 61;
pub(crate) const BUFFER: usize = 64 * 1024;

/// Names below a folder with the content of files; folders have none.
pub(crate) type Tree = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A sending office with a folder of files, and a receiving one with an inbox.
pub(crate) struct Offices {
    pub(crate) dir: TempDir,
    pub(crate) inbox: Arc<Inbox>,
}

impl Offices {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let inbox = Arc::new(open_inbox(&dir.path().join("in")).unwrap());
        Self { dir, inbox }
    }

    /// A path of the sending office.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    /// A path of the inbox.
    pub(crate) fn inside(&self, name: &str) -> PathBuf {
        self.dir.path().join("in").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.out(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) async fn send(
        &self,
        paths: &[PathBuf],
    ) -> (Result<Outcome, SendError>, Result<Received, ReceiveError>) {
        self.send_to(paths, None, BUFFER).await
    }

    pub(crate) async fn send_to(
        &self,
        paths: &[PathBuf],
        folder: Option<&[u8]>,
        buffer: usize,
    ) -> (Result<Outcome, SendError>, Result<Received, ReceiveError>) {
        let plan = Plan::scan(paths, &()).unwrap();
        let (near, far) = duplex(buffer);
        tokio::join!(send(near, order(plan), Arc::new(())), receive(far, &self.inbox, folder, Arc::new(())),)
    }

    /// Sends and demands that everything arrives.
    pub(crate) async fn deliver(&self, paths: &[PathBuf]) -> Outcome {
        let (sent, received) = self.send(paths).await;
        let (sent, received) = (sent.unwrap(), received.unwrap());
        assert!(sent.is_complete(), "{sent:#?}");
        assert!(received.is_complete(), "{received:#?}");
        assert_eq!(sent.totals, received.totals);
        sent
    }

    /// Everything in the inbox but the private folder.
    pub(crate) fn arrived(&self) -> Tree {
        let mut tree = tree(&self.dir.path().join("in"));
        tree.retain(|name, _| !name.starts_with(PARTIAL_FOLDER.as_bytes()));
        tree
    }

    /// Waits until no thread of an ended transfer holds anything unfinished.
    pub(crate) fn assert_nothing_unfinished(&self) {
        let partial = self.inside(PARTIAL_FOLDER);
        for _ in 0..500 {
            if fs::read_dir(&partial).unwrap().next().is_none() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("unfinished files stay: {:?}", fs::read_dir(&partial).unwrap().collect::<Vec<_>>());
    }
}

pub(crate) fn tree(root: &Path) -> Tree {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                found.insert(name, None);
                folders.push(path);
            } else if meta.is_file() {
                found.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    found
}

/// Octets that do not repeat, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

/// Remembers what it was shown.
#[derive(Default)]
pub(crate) struct Watcher {
    pub(crate) started: Mutex<Vec<(u64, u64)>>,
    pub(crate) files: Mutex<Vec<String>>,
    pub(crate) moved: Mutex<u64>,
    pub(crate) settled: Mutex<Vec<EntryReport>>,
}

impl Progress for Watcher {
    fn started(&self, entries: u64, bytes: u64) {
        self.started.lock().unwrap().push((entries, bytes));
    }
    fn file(&self, name: &tieline_transfer::RelativePath, _size: u64) {
        self.files.lock().unwrap().push(name.to_string());
    }
    fn moved(&self, bytes: u64) {
        *self.moved.lock().unwrap() += bytes;
    }
    fn settled(&self, entry: &EntryReport) {
        self.settled.lock().unwrap().push(entry.clone());
    }
}

/// Octets of one message after the other.
pub(crate) fn frames<'a>(messages: impl IntoIterator<Item = SenderMessage<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    messages.into_iter().for_each(|message| message.emit(&mut out));
    out
}

pub(crate) fn hello(entries: u64, bytes: u64) -> SenderMessage<'static> {
    SenderMessage::Hello(Hello { oldest: VERSION, newest: VERSION, entries, bytes })
}

/// Reads the next message of a receiver; none at the end of the stream.
pub(crate) async fn answer<R: AsyncRead + Unpin>(stream: &mut R) -> Option<ReceiverMessage<'static>> {
    let mut prefix = [0; PREFIX_LEN];
    stream.read_exact(&mut prefix).await.ok()?;
    let mut frame = vec![0; frame_len(prefix).unwrap()];
    stream.read_exact(&mut frame).await.unwrap();
    // The few of a test stay until it ends.
    Some(ReceiverMessage::parse(frame.leak()).unwrap())
}

/// Two ends of a stream: one for an end of a transfer, the other for whoever speaks and hears by hand, frame by frame.
pub(crate) fn by_hand(buffer: usize) -> (DuplexStream, DuplexStream) {
    let ((end, inner), (outer, hand)) = (duplex(buffer), duplex(buffer));
    tokio::spawn(async move {
        let ((mut heard, mut inner), (mut said, mut outer)) = (split(inner), split(outer));
        let forth = async {
            take_apart(&mut heard, &mut outer).await?;
            outer.shutdown().await
        };
        let back = async {
            copy(&mut said, &mut inner).await?;
            inner.shutdown().await
        };
        // When one of both hangs up, so does the other.
        let _ = tokio::try_join!(forth, back);
    });
    (end, hand)
}

/// Copies frames, bundles taken apart.
async fn take_apart(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut bundle = Unbundler::default();
    let mut prefix = [0; PREFIX_LEN];
    while from.read_exact(&mut prefix).await.is_ok() {
        let mut frame = vec![0; frame_len(prefix).unwrap()];
        if from.read_exact(&mut frame).await.is_err() {
            break;
        }
        let sent = SenderMessage::parse(&frame).ok();
        let packed = match (sent, ReceiverMessage::parse(&frame)) {
            (Some(SenderMessage::Bundle { len, packed }), _)
            | (_, Ok(ReceiverMessage::Bundle { len, packed })) => Some((len, packed)),
            _ => None,
        };
        let Some((len, packed)) = packed else {
            to.write_all(&[&prefix[..], &frame].concat()).await?;
            continue;
        };
        bundle.open(len, packed).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = bundle.take().unwrap() {
            frames.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
            frames.extend_from_slice(frame);
        }
        to.write_all(&frames).await?;
    }
    Ok(())
}

/// Says hello for ten entries and waits to be welcome.
pub(crate) async fn let_in(mut stream: DuplexStream) -> DuplexStream {
    stream.write_all(&frames([hello(10, 0)])).await.unwrap();
    assert_eq!(answer(&mut stream).await, Some(ReceiverMessage::Welcome { version: VERSION }));
    stream
}

/// Wakes somebody when so many octets have moved.
pub(crate) struct Mark {
    moved: AtomicU64,
    at: u64,
    pub(crate) reached: Notify,
}

impl Mark {
    pub(crate) fn at(at: u64) -> Arc<Self> {
        Arc::new(Self { moved: AtomicU64::new(0), at, reached: Notify::new() })
    }
}

impl Progress for Mark {
    fn moved(&self, bytes: u64) {
        if self.moved.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.at {
            self.reached.notify_one();
        }
    }
}

/// Says these octets to the inbox and closes; returns the answers without the welcome, and what the receiver says of it.
pub(crate) async fn attack(
    offices: &Offices,
    octets: &[u8],
) -> (Vec<ReceiverMessage<'static>>, Result<Received, ReceiveError>) {
    let (far, near) = by_hand(BUFFER);
    let (mut reader, mut writer) = split(near);
    let talk = async {
        // The receiver may hang up at any point.
        let _ = writer.write_all(octets).await;
        let _ = writer.shutdown().await;
    };
    let listen = async {
        let mut answers = Vec::new();
        while let Some(answer) = answer(&mut reader).await {
            answers.push(answer);
        }
        answers
    };
    let everything = async { tokio::join!(talk, listen, receive(far, &offices.inbox, None, Arc::new(()))) };
    let ((), mut answers, received) =
        tokio::time::timeout(std::time::Duration::from_secs(60), everything).await.expect("nobody hangs");
    answers.retain(|answer| !matches!(answer, ReceiverMessage::Welcome { .. }));
    (answers, received)
}
