//! Telling people and programs what became of files: commands that are run (hooks), and addresses that are told by HTTP (webhooks).
//!
//! ```text
//!  outboxes, inboxes ─▶ Teller (one for each pair) ─┬─ requests ─▶ the helper process ─▶ commands, up to 4 at once
//!                                                   └─ posts ────▶ one task for each webhook
//! ```
//!
//! The process of a line can run no programs, so a helper does that which was started before ([`helper`], [`runner`]). What waits to be told
//! is bounded; what does not fit is dropped, counted and logged.

pub mod helper;
pub mod runner;
mod webhook;

pub(super) use webhook::port;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::Serialize;
use tieline_transfer::moment::Moment;
use tokio::sync::mpsc;
use tracing::warn;

use self::runner::Request;
use crate::config::FilesConfig;

/// What waits to be told, of each pair's webhook and of all hooks.
const WAITING_MAX: usize = 1024;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A file is at its receiving end, verified and durable.
    Delivered,
    /// A file was given up, or could not be delivered; told once for each version of it.
    Failed,
    /// Files have waited for long; told once until something moves again.
    Waiting,
    /// A file that is expected has not come in time.
    Expected,
}

/// Which way a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To the far end.
    Sent,
    /// From the far end.
    Received,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What happened.
    pub event: Event,
    /// Which way the file goes.
    pub direction: Way,
    /// Its name below the outbox or inbox, escaped as for people; of an expected one, its pattern.
    pub path: String,
    /// Where it is at this end, in octets.
    #[serde(skip)]
    pub file: Option<Vec<u8>>,
    /// Octets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The hash of its content, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many files wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

/// Tells what happens to the files of one pair; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Teller(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    line: String,
    pair: String,
    /// By their numbers in the helper.
    hooks: Hooks,
    requests: Option<mpsc::Sender<Request>>,
    posts: Option<mpsc::Sender<String>>,
    dropped: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hooks {
    delivered: Option<usize>,
    failed: Option<usize>,
    waiting: Option<usize>,
}

impl Hooks {
    fn of(&self, event: Event) -> Option<usize> {
        match event {
            Event::Delivered => self.delivered,
            Event::Failed => self.failed,
            Event::Waiting | Event::Expected => self.waiting,
        }
    }
}

/// The commands of all hooks of a line; the number of each is its place.
#[must_use]
pub fn commands(pairs: &[FilesConfig]) -> Vec<Vec<String>> {
    let of_pair = |pair: &FilesConfig| {
        let hooks = &pair.hooks;
        [hooks.delivered.clone(), hooks.failed.clone(), hooks.waiting.clone()].into_iter().flatten()
    };
    pairs.iter().flat_map(of_pair).collect()
}

/// A teller for each pair, in their order. Must be called on the runtime that is to do it.
#[must_use]
pub fn tellers(line: &str, pairs: &[FilesConfig], helper: Option<helper::Helper>) -> Vec<Teller> {
    let requests = helper.map(|helper| {
        let (requests, requests_out) = mpsc::channel(WAITING_MAX);
        tokio::spawn(helper.serve(requests_out));
        requests
    });
    let mut numbers = 0..;
    let mut number = |is_there: bool| if is_there { numbers.next() } else { None };
    let teller = |pair: &FilesConfig| {
        let hooks = Hooks {
            delivered: number(pair.hooks.delivered.is_some()),
            failed: number(pair.hooks.failed.is_some()),
            waiting: number(pair.hooks.waiting.is_some()),
        };
        let posts = pair.webhook.clone().map(|address| {
            let (posts, posts_out) = mpsc::channel(WAITING_MAX);
            tokio::spawn(webhook::serve(address, posts_out));
            posts
        });
        let (line, pair, dropped) = (line.to_owned(), pair.name.to_string(), AtomicU64::new(0));
        Teller(Some(Arc::new(Inner { line, pair, hooks, requests: requests.clone(), posts, dropped })))
    };
    pairs.iter().map(teller).collect()
}

impl Teller {
    /// Whether somebody wants to know of such events.
    #[must_use]
    pub fn wants(&self, event: Event) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.posts.is_some() || inner.hooks.of(event).is_some())
    }

    /// Tells it, if somebody wants to know. Never waits.
    pub fn tell(&self, notice: &Notice) {
        let Some(inner) = &self.0 else { return };
        let hook = inner.hooks.of(notice.event);
        if hook.is_none() && inner.posts.is_none() {
            return;
        }
        let time = Moment::from(SystemTime::now()).to_string();
        let told = Told { line: &inner.line, pair: &inner.pair, time: &time, notice };
        // All of it is texts and numbers.
        let json = serde_json::to_string(&told).expect("values that JSON has");
        let mut is_taken = true;
        if let (Some(hook), Some(requests)) = (hook, &inner.requests) {
            let request = Request { hook, variables: variables(&told), input: json.clone() };
            is_taken &= requests.try_send(request).is_ok();
        }
        if let Some(posts) = &inner.posts {
            is_taken &= posts.try_send(json).is_ok();
        }
        if !is_taken {
            let dropped = inner.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // Often enough to be seen, and never as often as it happens.
            if dropped.is_power_of_two() {
                warn!(
                    pair = inner.pair,
                    dropped, "hooks or the webhook are too slow, or end: notices are dropped"
                );
            }
        }
    }
}

/// A notice with where and when.
#[derive(Serialize)]
struct Told<'n> {
    line: &'n str,
    pair: &'n str,
    time: &'n str,
    #[serde(flatten)]
    notice: &'n Notice,
}

/// What a hook finds in its environment.
fn variables(told: &Told<'_>) -> Vec<(String, Vec<u8>)> {
    let Notice { event, direction, path, file, size, blake3, reason, files } = told.notice;
    let word = |value: &dyn fmt::Debug| format!("{value:?}").to_ascii_lowercase().into_bytes();
    let mut variables = vec![
        ("LINE", Some(told.line.as_bytes().to_vec())),
        ("PAIR", Some(told.pair.as_bytes().to_vec())),
        ("TIME", Some(told.time.as_bytes().to_vec())),
        ("EVENT", Some(word(event))),
        ("DIRECTION", Some(word(direction))),
        ("PATH", Some(path.as_bytes().to_vec())),
    ];
    variables.push(("FILE", file.clone()));
    variables.push(("SIZE", size.map(|size| size.to_string().into_bytes())));
    variables.push(("BLAKE3", blake3.as_ref().map(|hash| hash.as_bytes().to_vec())));
    variables.push(("REASON", reason.as_ref().map(|reason| reason.as_bytes().to_vec())));
    variables.push(("FILES", files.map(|files| files.to_string().into_bytes())));
    let there = variables.into_iter().filter_map(|(name, value)| Some((name, value?)));
    there.map(|(name, value)| (format!("{}{name}", runner::PREFIX), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_row_of_json_and_variables() {
        let notice = Notice {
            event: Event::Failed,
            direction: Way::Sent,
            path: "a\\nb".into(),
            file: Some(b"/out/a\nb".to_vec()),
            size: Some(7),
            blake3: None,
            reason: Some("its name".into()),
            files: None,
        };
        let told = Told { line: "berlin", pair: "mail", time: "now", notice: &notice };
        assert_eq!(
            serde_json::to_string(&told).unwrap(),
            r#"{"line":"berlin","pair":"mail","time":"now","event":"failed","direction":"sent","path":"a\\nb","size":7,"reason":"its name"}"#
        );
        let variables = variables(&told);
        let value =
            |name: &str| variables.iter().find(|(other, _)| other == name).map(|(_, value)| &value[..]);
        assert_eq!(value("TIELINE_EVENT"), Some(&b"failed"[..]));
        assert_eq!(value("TIELINE_FILE"), Some(&b"/out/a\nb"[..]));
        assert_eq!((value("TIELINE_SIZE"), value("TIELINE_BLAKE3")), (Some(&b"7"[..]), None));
    }

    #[tokio::test]
    async fn what_nobody_takes_is_dropped_and_counted_and_never_waited_for() {
        let (requests, mut taken) = mpsc::channel(2);
        let inner = Inner {
            line: "l".into(),
            pair: "p".into(),
            hooks: Hooks { delivered: Some(3), ..Hooks::default() },
            requests: Some(requests),
            posts: None,
            dropped: AtomicU64::new(0),
        };
        let (inner, failed) = (Arc::new(inner), Event::Failed);
        let teller = Teller(Some(Arc::clone(&inner)));
        let (direction, path) = (Way::Received, "a".to_owned());
        let (file, size, blake3, reason, files) = (None, None, None, None, None);
        let event = Event::Delivered;
        let notice = Notice { event, direction, path, file, size, blake3, reason, files };
        teller.tell(&Notice { event: failed, ..notice.clone() });
        assert!(taken.try_recv().is_err(), "there is no hook for it");
        (0..5).for_each(|_| teller.tell(&notice));
        assert_eq!(inner.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(taken.recv().await.unwrap().hook, 3);
        Teller::default().tell(&notice);
    }
}
