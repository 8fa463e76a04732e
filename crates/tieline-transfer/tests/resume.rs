//! What was cut goes on where it was: the stream ends somewhere in a large file, with or without a restart of either end.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fs, io};

use support::{BUFFER, answer, frames, hello, noise, order_into};
use tempfile::TempDir;
use tieline_transfer::content::PIECE_LEN;
use tieline_transfer::path::PARTIAL_FOLDER;
use tieline_transfer::protocol::{
    ASKED_MAX, FileOffer, FileTime, ReceiverMessage, SenderMessage, Verdict, Violation,
};
use tieline_transfer::{
    Fate, Inbox, Journal, Obstacle, Order, Outcome, Plan, Progress, ReceiveError, RelativePath, Stamp,
    receive, send,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

const PIECE: usize = PIECE_LEN as usize;
const STAMP: Stamp = Stamp::from_bytes([7; 16]);

/// Two offices that remember.
struct Line {
    dir: TempDir,
    inbox: Option<Arc<Inbox>>,
    sent: Arc<Journal>,
}

impl Line {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let sent = Arc::new(Journal::open(&dir.path().join("sent")).unwrap());
        let mut line = Self { dir, inbox: None, sent };
        line.restart_receiver();
        line
    }

    /// What is left when the process of the receiving end ends, taken up by a new one.
    fn restart_receiver(&mut self) {
        self.inbox = None;
        let journal = self.dir.path().join("received");
        let open =
            || Inbox::open(&self.dir.path().join("in"), "in", Arc::new(Journal::open(&journal).ok()?)).ok();
        // Threads of a transfer that was cut hold the lock until they are done.
        let opened = (0..1000).find_map(|_| {
            open().or_else(|| {
                std::thread::sleep(Duration::from_millis(5));
                None
            })
        });
        self.inbox = Some(Arc::new(opened.expect("the lock is free")));
    }

    fn restart_sender(&mut self) {
        let path = self.dir.path().join("sent");
        self.sent = Arc::new(Journal::in_memory().unwrap());
        self.sent = Arc::new(Journal::open(&path).unwrap());
    }

    fn inbox(&self) -> &Arc<Inbox> {
        self.inbox.as_ref().unwrap()
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join("out").join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn arrived(&self, name: &str) -> PathBuf {
        self.dir.path().join("in").join(name)
    }

    fn partials(&self) -> usize {
        fs::read_dir(self.arrived(PARTIAL_FOLDER)).unwrap().count()
    }

    fn order(&self, path: &Path) -> Order {
        let plan = Plan::scan(&[path.into()], &()).unwrap();
        order_into(plan, Arc::clone(&self.sent))
    }

    /// Sends until the cable breaks after `limit` octets.
    async fn send_until(&self, path: &Path, limit: usize) {
        let (near, far) = duplex(BUFFER);
        let (sent, received) = tokio::join!(
            send(Breaking { cable: near, left: limit }, self.order(path), Arc::new(())),
            receive(far, self.inbox(), None, Arc::new(()))
        );
        assert!(sent.unwrap().interruption.is_some());
        assert!(received.unwrap().interruption.is_some());
    }

    /// Sends to the end; how many octets of the file that took.
    async fn send(&self, path: &Path) -> (Outcome, u64) {
        let moved = Arc::new(Moved::default());
        let (near, far) = duplex(BUFFER);
        let (sent, received) = tokio::join!(
            send(near, self.order(path), Arc::new(())),
            receive(far, self.inbox(), None, moved.clone())
        );
        received.unwrap();
        (sent.unwrap(), moved.0.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Moved(AtomicU64);

impl Progress for Moved {
    fn moved(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A stream that breaks, both ways, when so many octets were written into it.
struct Breaking {
    cable: DuplexStream,
    left: usize,
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 { Poll::Ready(Ok(())) } else { Pin::new(&mut self.cable).poll_read(cx, buf) }
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let now = buf.len().min(self.left);
        if now == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = Pin::new(&mut self.cable).poll_write(cx, &buf[..now]);
        if let Poll::Ready(Ok(len)) = written {
            self.left -= len;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.cable).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.cable).poll_shutdown(cx)
    }
}

fn fate(outcome: &Outcome) -> Fate {
    assert!(outcome.interruption.is_none(), "{outcome:?}");
    outcome.entries[0].fate
}

#[tokio::test]
async fn a_large_file_goes_on_after_the_pieces_that_were_held() {
    let line = Line::new();
    let content = noise(1, 20 * PIECE + 5);
    let path = line.write("large", &content);
    line.send_until(&path, 13 * PIECE).await;
    assert!(!line.arrived("large").exists());
    assert_eq!(line.partials(), 1);
    let (outcome, moved) = line.send(&path).await;
    assert_eq!(fate(&outcome), Fate::Delivered { copy: 1 });
    assert_eq!(fs::read(line.arrived("large")).unwrap(), content);
    assert!(moved <= (8 * PIECE + 5) as u64, "{moved} octets were sent again");
    assert_eq!(line.partials(), 0);
}

#[tokio::test]
async fn many_cuts_cost_no_more_than_a_piece_and_what_was_on_the_way_each() {
    let line = Line::new();
    let content = noise(2, 30 * PIECE);
    let path = line.write("large", &content);
    for _ in 0..9 {
        line.send_until(&path, 3 * PIECE).await;
    }
    let (outcome, moved) = line.send(&path).await;
    assert_eq!(fate(&outcome), Fate::Delivered { copy: 1 });
    assert_eq!(fs::read(line.arrived("large")).unwrap(), content);
    // Each attempt brought at least its second piece.
    assert!(moved <= (21 * PIECE) as u64, "{moved}");
}

#[tokio::test]
async fn either_end_may_be_started_anew_in_between() {
    for (sender, receiver) in [(true, false), (false, true), (true, true)] {
        let mut line = Line::new();
        let content = noise(3, 12 * PIECE + 1);
        let path = line.write("large", &content);
        line.send_until(&path, 8 * PIECE).await;
        if sender {
            line.restart_sender();
        }
        if receiver {
            line.restart_receiver();
        }
        let (outcome, moved) = line.send(&path).await;
        assert_eq!(fate(&outcome), Fate::Delivered { copy: 1 });
        assert_eq!(fs::read(line.arrived("large")).unwrap(), content);
        assert!(moved <= (6 * PIECE) as u64, "{moved}");
    }
}

#[tokio::test]
async fn case_10_a_sender_that_forgot_everything_reads_the_first_part_again_and_sends_the_rest() {
    let mut line = Line::new();
    let content = noise(4, 12 * PIECE + 1);
    let path = line.write("large", &content);
    line.send_until(&path, 8 * PIECE).await;
    line.sent = Arc::new(Journal::in_memory().unwrap());
    let (outcome, moved) = line.send(&path).await;
    assert_eq!(fate(&outcome), Fate::Delivered { copy: 1 });
    assert!(moved <= (6 * PIECE) as u64, "{moved}");
}

#[tokio::test]
async fn case_10_a_receiver_that_forgot_everything_begins_anew_and_removes_the_rest() {
    let mut line = Line::new();
    let content = noise(5, 6 * PIECE);
    let path = line.write("large", &content);
    line.send_until(&path, 4 * PIECE).await;
    assert_eq!(line.partials(), 1);
    line.inbox = None;
    for name in ["received", "received-wal", "received-shm"] {
        let _ = fs::remove_file(line.dir.path().join(name));
    }
    line.restart_receiver();
    assert_eq!(line.partials(), 0);
    let (outcome, moved) = line.send(&path).await;
    assert_eq!((fate(&outcome), moved), (Fate::Delivered { copy: 1 }, content.len() as u64));
}

#[tokio::test]
async fn a_file_that_changed_in_between_begins_anew() {
    let line = Line::new();
    let path = line.write("large", &noise(6, 6 * PIECE));
    line.send_until(&path, 4 * PIECE).await;
    let content = noise(7, 6 * PIECE);
    line.write("large", &content);
    let (outcome, moved) = line.send(&path).await;
    assert_eq!((fate(&outcome), moved), (Fate::Delivered { copy: 1 }, content.len() as u64));
    assert_eq!(fs::read(line.arrived("large")).unwrap(), content);
    assert_eq!(line.partials(), 0);
}

#[tokio::test]
async fn what_is_there_already_is_not_sent_again_and_not_believed_either() {
    let line = Line::new();
    let content = noise(8, 3 * PIECE);
    let path = line.write("large", &content);
    assert_eq!(fate(&line.send(&path).await.0), Fate::Delivered { copy: 1 });
    let (outcome, moved) = line.send(&path).await;
    assert_eq!((fate(&outcome), moved), (Fate::AlreadyThere { copy: 1 }, 0));
    // Somebody changed it there: found out, and mended from what is there the next time.
    let mut changed = content.clone();
    changed[PIECE] ^= 1;
    fs::write(line.arrived("large"), &changed).unwrap();
    assert!(matches!(fate(&line.send(&path).await.0), Fate::Failed(_)));
    let (outcome, moved) = line.send(&path).await;
    assert_eq!(fate(&outcome), Fate::Delivered { copy: 2 });
    assert!((1..PIECE as u64).contains(&moved), "{moved}");
    assert_eq!(fs::read(line.arrived("large")).unwrap(), changed);
    assert_eq!(fs::read(line.arrived("large (2)")).unwrap(), content);
}

#[tokio::test]
async fn a_whole_file_that_is_gone_before_its_name_was_noted_is_sent_anew() {
    let mut line = Line::new();
    let content = noise(11, 3 * PIECE);
    let path = line.write("large", &content);
    let stamp = Stamp::of(&rustix::fs::stat(&path).unwrap());
    line.inbox = None;
    let journal = Journal::open(&line.dir.path().join("received")).unwrap();
    let name = RelativePath::parse(b"large").unwrap();
    let (id, _) = journal.begin_partial("in", &name, stamp, content.len() as u64).unwrap();
    journal.whole(&[(id, *blake3::hash(&content).as_bytes())]).unwrap();
    drop(journal);
    line.restart_receiver();
    let (outcome, moved) = line.send(&path).await;
    assert!(matches!(fate(&outcome), Fate::Failed(_)), "{outcome:?}");
    assert_eq!(moved, 0, "it was thought to be there");
    assert_eq!(fate(&line.send(&path).await.0), Fate::Delivered { copy: 1 });
    assert_eq!(fs::read(line.arrived("large")).unwrap(), content);
}

#[tokio::test]
async fn a_large_file_that_somebody_had_brought_already_leaves_nothing_unfinished() {
    let line = Line::new();
    let content = noise(12, 2 * PIECE);
    let path = line.write("large", &content);
    fs::write(line.arrived("large"), &content).unwrap();
    assert_eq!(fate(&line.send(&path).await.0), Fate::AlreadyThere { copy: 1 });
    assert_eq!(line.partials(), 0);
}

#[tokio::test]
async fn case_10_a_part_that_is_not_what_it_was_is_found_out_and_sent_anew() {
    let line = Line::new();
    let content = noise(9, 8 * PIECE);
    let path = line.write("large", &content);
    line.send_until(&path, 6 * PIECE).await;
    let partial = fs::read_dir(line.arrived(PARTIAL_FOLDER)).unwrap().next().unwrap().unwrap().path();
    // Cut short behind the journal's back: no octet of it is believed.
    fs::OpenOptions::new().write(true).open(&partial).unwrap().set_len(PIECE_LEN).unwrap();
    let (outcome, moved) = line.send(&path).await;
    assert_eq!((fate(&outcome), moved), (Fate::Delivered { copy: 1 }, content.len() as u64));
    assert_eq!(fs::read(line.arrived("large")).unwrap(), content);
}

#[tokio::test]
async fn many_large_files_are_asked_about_at_once_and_all_arrive() {
    let line = Line::new();
    let folder = line.dir.path().join("out/tree");
    fs::create_dir(&folder).unwrap();
    for number in 0..ASKED_MAX + 9 {
        fs::write(folder.join(number.to_string()), noise(number as u64, PIECE + 1 + number)).unwrap();
    }
    let (outcome, _) = line.send(&folder).await;
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(support::tree(&folder), support::tree(&line.arrived("tree")));
}

fn ask(entry: u64, path: &[u8], size: u64) -> SenderMessage<'_> {
    let modified = FileTime { seconds: 0, nanoseconds: 0 };
    SenderMessage::Ask(FileOffer { entry, stamp: STAMP, size, mode: 0o644, modified, path })
}

/// What a receiver answers to these messages, and how it ends.
async fn attack(
    line: &Line,
    messages: &[SenderMessage<'_>],
) -> (Vec<ReceiverMessage<'static>>, Option<ReceiveError>) {
    let (far, mut near) = support::by_hand(BUFFER);
    let sender = async {
        let opening = frames([hello(100, 0)].into_iter().chain(messages.iter().copied()));
        near.write_all(&opening).await.unwrap();
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = tokio::time::timeout(Duration::from_millis(500), answer(&mut near)).await
        {
            answers.push(answer);
        }
        drop(near);
        answers
    };
    let (answers, received) = tokio::join!(sender, receive(far, line.inbox(), None, Arc::new(())));
    (answers, received.unwrap().interruption)
}

#[tokio::test]
async fn case_26_questions_and_bodies_that_do_not_fit_end_the_transfer() {
    let body = |entry, from| SenderMessage::Body { entry, from };
    let large = 3 * PIECE_LEN;
    let answer = |entry, from| Violation::Answer { entry, from };
    let cases: [(&[SenderMessage<'_>], Violation); 8] = [
        (&[body(0, 0)], answer(0, 0)),
        (&[ask(0, b"a", large), body(0, PIECE_LEN)], answer(0, PIECE_LEN)),
        (&[ask(0, b"a", large), body(1, 0)], answer(1, 0)),
        (&[ask(0, b"a", large), SenderMessage::End], Violation::OutOfPlace(0x07)),
        (&[ask(0, b"a", large), ask(0, b"b", large)], Violation::Entry { entry: 0, announced: 100 }),
        (&[ask(0, b"a", large), body(0, 0), body(0, 0)], Violation::OutOfPlace(0x09)),
        (&[ask(0, b"a", large), body(0, 0), ask(1, b"b", large)], Violation::OutOfPlace(0x08)),
        (&[ask(0, b"a", 1), body(0, 0), SenderMessage::Data(b"xy")], Violation::BeyondSize(0)),
    ];
    for (messages, violation) in cases {
        let line = Line::new();
        let (_, interruption) = attack(&line, messages).await;
        assert!(
            matches!(&interruption, Some(ReceiveError::Violation(found)) if *found == violation),
            "{interruption:?} instead of {violation:?}"
        );
    }
}

#[tokio::test]
async fn too_many_questions_end_the_transfer() {
    let line = Line::new();
    let names: Vec<String> = (0..=ASKED_MAX).map(|number| number.to_string()).collect();
    let messages: Vec<_> =
        (0..).zip(&names).map(|(entry, name)| ask(entry, name.as_bytes(), 2 * PIECE_LEN)).collect();
    let (answers, interruption) = attack(&line, &messages).await;
    let gone = answers.iter().filter(|answer| matches!(answer, ReceiverMessage::Go { .. })).count();
    assert_eq!(gone, ASKED_MAX);
    assert!(
        matches!(interruption, Some(ReceiveError::Violation(Violation::TooManyAsked))),
        "{interruption:?}"
    );
}

#[tokio::test]
async fn a_question_about_what_cannot_be_is_answered_by_a_verdict() {
    let line = Line::new();
    let messages = [ask(0, b"../a", 9 * PIECE_LEN), ask(1, b"huge", u64::MAX), ask(2, b"a", 2 * PIECE_LEN)];
    let (answers, _) = attack(&line, &messages).await;
    let verdict = |entry| {
        answers.iter().find_map(|answer| match answer {
            ReceiverMessage::Verdict { entry: about, verdict } if *about == entry => Some(*verdict),
            _ => None,
        })
    };
    assert!(matches!(verdict(0), Some(Verdict::Refused(Obstacle::Name(_)))));
    assert!(matches!(verdict(1), Some(Verdict::Refused(Obstacle::NoSpace { .. }))));
    assert!(answers.contains(&ReceiverMessage::Go { entry: 2, from: 0 }));
    assert_eq!(answers.len(), 4, "the welcome, and one for each");
}

#[tokio::test]
async fn case_26_a_claim_needs_the_content_and_not_only_the_stamp() {
    let line = Line::new();
    let content = noise(10, 2 * PIECE);
    let (size, hash) = (content.len() as u64, *blake3::hash(&content).as_bytes());
    let whole = |hash| {
        let data = content.chunks(64 * 1024).map(SenderMessage::Data);
        [ask(0, b"a", size), SenderMessage::Body { entry: 0, from: 0 }]
            .into_iter()
            .chain(data)
            .chain([SenderMessage::FileEnd { hash }, SenderMessage::End])
            .collect::<Vec<_>>()
    };
    let (answers, interruption) = attack(&line, &whole(hash)).await;
    assert!(interruption.is_none(), "{interruption:?}");
    let delivered = ReceiverMessage::Verdict { entry: 0, verdict: Verdict::Delivered { copy: 1 } };
    assert!(answers.contains(&delivered), "{answers:?}");
    for (hash, expected) in [(hash, true), ([0; 32], false)] {
        let claim = [
            ask(0, b"a", size),
            SenderMessage::Body { entry: 0, from: size },
            SenderMessage::FileEnd { hash },
            SenderMessage::End,
        ];
        let (answers, _) = attack(&line, &claim).await;
        assert!(answers.contains(&ReceiverMessage::Go { entry: 0, from: size }), "{answers:?}");
        let there = ReceiverMessage::Verdict { entry: 0, verdict: Verdict::AlreadyThere { copy: 1 } };
        assert_eq!(answers.contains(&there), expected, "{answers:?}");
    }
    let path = RelativePath::parse(b"a").unwrap();
    let journal = line.dir.path().join("received");
    drop(line.inbox);
    assert_eq!(Journal::open(&journal).unwrap().arrived("in", &path).unwrap(), None, "not believed any more");
}
