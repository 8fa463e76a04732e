//! What need not be sent is not: packed data, changed files, the same content under another name. And what arrives is the same.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use support::{BUFFER, Offices, noise, order_into};
use tieline_transfer::{Fate, Fault, Journal, Obstacle, Outcome, Plan, receive, send};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn text_is_packed_and_noise_is_not() {
    let line = Line::new();
    let text: String = (0..300_000).map(|row| format!("row {row}: nothing new\n")).collect();
    let paths: Vec<PathBuf> = (0..3)
        .map(|number| line.offices.write(&format!("text{number}"), &text[number * 10..]))
        .chain([line.offices.write("noise", noise(1, 3 * MIB))])
        .chain(
            (0..200)
                .map(|number| line.offices.write(&format!("small{number}"), &text[number * 999..][..999])),
        )
        .collect();
    let octets = line.deliver(&paths).await.0;
    assert_eq!(line.offices.arrived(), support::tree(&line.offices.out("")));
    let (wanted, noise) = (3 * text.len() as u64 / 6, 3 * MIB as u64);
    assert!(octets > noise && octets < noise + wanted, "{octets} of {} and {noise}", 3 * text.len());
}

#[tokio::test]
async fn a_file_that_is_noise_in_its_front_and_text_behind_is_packed_from_there_on() {
    let line = Line::new();
    let content = [noise(1, 2 * MIB), b"all the same ".repeat(700_000)].concat();
    let path = line.offices.write("mixed", &content);
    let octets = line.deliver(&[path]).await.0;
    assert_eq!(fs::read(line.offices.inside("mixed")).unwrap(), content);
    assert!(octets < 4 * MIB as u64, "{octets} of {}", content.len());
}

#[tokio::test]
async fn of_a_large_file_only_what_changed_is_sent() {
    let line = Line::new();
    let mut content = noise(1, 20 * MIB + 77);
    let path = line.offices.write("disk.img", &content);
    line.deliver(from_ref(&path)).await;
    for edit in 0..40 {
        content[edit * 500_000..][..4096].copy_from_slice(&noise(100 + edit as u64, 4096));
    }
    line.offices.write("disk.img", &content);
    let (sent, told) = line.deliver(from_ref(&path)).await;
    assert_eq!(fs::read(line.offices.inside("disk (2).img")).unwrap(), content);
    assert!(sent + told < 40 * 4096 * 2, "{sent} and {told} octets");
    // The newest version is what the next one is compared with, and what is put in front moves all of it.
    let content = [noise(2, 10_000), content].concat();
    line.offices.write("disk.img", &content);
    let (sent, told) = line.deliver(&[path]).await;
    assert_eq!(fs::read(line.offices.inside("disk (3).img")).unwrap(), content);
    assert!(sent + told < 120_000, "{sent} and {told} octets");
}

#[tokio::test]
async fn of_a_short_file_that_was_sent_before_only_what_changed_is_sent() {
    let line = Line::new();
    let mut content = noise(1, 200_000);
    let path = line.offices.write("report", &content);
    line.deliver(from_ref(&path)).await;
    content.splice(100_000..100_000, *b"one more word");
    line.offices.write("report", &content);
    let (sent, told) = line.deliver(&[path]).await;
    assert_eq!(fs::read(line.offices.inside("report (2)")).unwrap(), content);
    assert!(sent + told < 10_000, "{sent} and {told} octets");
}

#[tokio::test]
async fn what_was_renamed_or_touched_is_not_sent_again() {
    let line = Line::new();
    let small: Vec<PathBuf> =
        (0..50).map(|number| line.offices.write(&format!("a/{number}"), noise(number, 10_000))).collect();
    let large = line.offices.write("large", noise(99, 5 * MIB));
    let paths = [&small[..], from_ref(&large)].concat();
    line.deliver(&paths).await;
    fs::rename(line.offices.out("a"), line.offices.out("b")).unwrap();
    fs::rename(&large, line.offices.out("renamed")).unwrap();
    let touched = line.offices.write("b/7", noise(7, 10_000));
    let paths: Vec<PathBuf> = (0..50).map(|number| line.offices.out(&format!("b/{number}"))).collect();
    let paths = [&paths[..], &[line.offices.out("renamed")]].concat();
    let (sent, _) = line.deliver(&paths).await;
    assert!(sent < 20_000, "{sent} octets");
    let arrived = line.offices.arrived();
    for path in [touched, line.offices.out("renamed")] {
        let name = path.strip_prefix(line.offices.out("")).unwrap().file_name().unwrap().to_str().unwrap();
        let content = arrived.get(name.as_bytes()).unwrap().clone();
        assert_eq!(content, Some(fs::read(&path).unwrap()), "{name}");
    }
}

#[tokio::test]
async fn a_file_of_which_the_old_version_is_gone_is_sent_whole() {
    let line = Line::new();
    let mut content = noise(1, 3 * MIB);
    let path = line.offices.write("a", &content);
    line.deliver(from_ref(&path)).await;
    fs::remove_file(line.offices.inside("a")).unwrap();
    content[0] ^= 1;
    line.offices.write("a", &content);
    let (sent, _) = line.deliver(from_ref(&path)).await;
    assert_eq!(fs::read(line.offices.inside("a")).unwrap(), content);
    assert!(sent > 3 * MIB as u64);
    fs::rename(&path, line.offices.out("b")).unwrap();
    fs::remove_file(line.offices.inside("a")).unwrap();
    line.deliver(&[line.offices.out("b")]).await;
    assert_eq!(fs::read(line.offices.inside("b")).unwrap(), content);
}

#[tokio::test]
async fn what_was_changed_in_the_inbox_is_not_taken_for_the_same_twice() {
    let line = Line::new();
    let content = noise(1, 3 * MIB);
    let path = line.offices.write("a", &content);
    line.deliver(from_ref(&path)).await;
    fs::rename(&path, line.offices.out("b")).unwrap();
    fs::write(line.offices.inside("a"), noise(2, 3 * MIB)).unwrap();
    let (outcome, _) = line.send(&[line.offices.out("b")]).await;
    let fate = Fate::Failed(Fault::Receiver(Obstacle::OldVersion));
    assert_eq!(outcome.entries[0].fate, fate);
    assert!(!line.offices.inside("b").exists());
    line.offices.assert_nothing_unfinished();
    line.deliver(&[line.offices.out("b")]).await;
    assert_eq!(fs::read(line.offices.inside("b")).unwrap(), content);
}

#[tokio::test]
async fn a_changed_file_that_is_cut_goes_on_where_it_was() {
    let line = Line::new();
    let old = noise(1, 40 * MIB);
    let path = line.offices.write("a", &old);
    line.deliver(from_ref(&path)).await;
    let mut content = old;
    for part in 0..10 {
        let at = part * 4 * MIB;
        content[at..at + 2 * MIB].copy_from_slice(&noise(10 + part as u64, 2 * MIB));
    }
    line.offices.write("a", &content);
    let (cut, _) = line.send_until(from_ref(&path), 10 * MIB as u64).await;
    assert!(cut.interruption.is_some());
    let (outcome, sent) = line.send(&[path]).await;
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(fs::read(line.offices.inside("a (2)")).unwrap(), content);
    assert!(sent < 16 * MIB as u64, "{sent} octets");
}

#[tokio::test]
async fn the_same_content_is_sent_once_in_one_transfer() {
    for (len, copies) in [(3 * MIB, 4), (20_000, 100), (2048, 3)] {
        let line = Line::new();
        let content = noise(7, len);
        let mut paths: Vec<PathBuf> =
            (0..copies).map(|number| line.offices.write(&format!("same{number}"), &content)).collect();
        // As long and with the same front, but another one.
        let mut other = content.clone();
        other[len / 3] ^= 1;
        paths.push(line.offices.write("same-but-one", &other));
        let octets = line.deliver(&paths).await.0;
        assert_eq!(line.offices.arrived(), support::tree(&line.offices.out("")));
        assert!(octets < (2 * len + 200 * copies + 2000) as u64, "{octets} for {copies} times {len}");
    }
}

#[tokio::test]
async fn what_is_the_same_as_a_file_that_was_not_taken_is_sent_for_itself() {
    let line = Line::new();
    fs::write(line.offices.inside("a"), "in the way").unwrap();
    let content = noise(7, 50_000);
    let paths = [line.offices.write("a/file", &content), line.offices.write("b", &content)];
    let (sent, _) = line.send(&[line.offices.out("a"), paths[1].clone()]).await;
    assert_eq!(sent.totals.delivered.files, 1, "{sent:#?}");
    assert_eq!(fs::read(line.offices.inside("b")).unwrap(), content);
}

/// Two offices that remember each other.
struct Line {
    offices: Offices,
    journal: Arc<Journal>,
}

impl Line {
    fn new() -> Self {
        Self { offices: Offices::new(), journal: Arc::new(Journal::in_memory().unwrap()) }
    }

    /// Sends, demands that everything arrives, and returns how many octets went there and back.
    async fn deliver(&self, paths: &[PathBuf]) -> (u64, u64) {
        let (near, far) = duplex(BUFFER);
        let counted = [Arc::default(), Arc::default()];
        let (near, far) = (Counted::new(near, &counted[0]), Counted::new(far, &counted[1]));
        let plan = Plan::scan(paths, &()).unwrap();
        let order = order_into(plan, Arc::clone(&self.journal));
        let (sent, received) = tokio::join!(
            send(near, order, Arc::new(())),
            receive(far, &self.offices.inbox, None, Arc::new(()))
        );
        let (sent, received) = (sent.unwrap(), received.unwrap());
        assert!(sent.is_complete() && received.is_complete(), "{sent:#?} {received:#?}");
        self.offices.assert_nothing_unfinished();
        (counted[0].load(Ordering::Relaxed), counted[1].load(Ordering::Relaxed))
    }

    /// Sends, whatever comes of it, and returns how many octets went there.
    async fn send(&self, paths: &[PathBuf]) -> (Outcome, u64) {
        self.send_until(paths, u64::MAX).await
    }

    /// As [`Self::send`], over a stream that breaks after so many octets.
    async fn send_until(&self, paths: &[PathBuf], limit: u64) -> (Outcome, u64) {
        let (near, far) = duplex(BUFFER);
        let counted = Arc::default();
        let near = Counted { limit, ..Counted::new(near, &counted) };
        let order = order_into(Plan::scan(paths, &()).unwrap(), Arc::clone(&self.journal));
        let (sent, _) = tokio::join!(
            send(near, order, Arc::new(())),
            receive(far, &self.offices.inbox, None, Arc::new(()))
        );
        (sent.unwrap(), counted.load(Ordering::Relaxed))
    }
}

/// A stream that counts what is written to it.
struct Counted {
    stream: DuplexStream,
    written: Arc<AtomicU64>,
    /// After so many it breaks.
    limit: u64,
}

impl Counted {
    fn new(stream: DuplexStream, written: &Arc<AtomicU64>) -> Self {
        Self { stream, written: Arc::clone(written), limit: u64::MAX }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        if self.written.load(Ordering::Relaxed) >= self.limit {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        if let Poll::Ready(Ok(len)) = written {
            self.written.fetch_add(len as u64, Ordering::Relaxed);
        }
        written
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
