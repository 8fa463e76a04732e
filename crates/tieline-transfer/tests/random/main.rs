//! Random lives of two offices that send files, against a plain model of the outbox: files are put, changed, renamed and removed, also
//! while they are sent; the line is cut, either end is killed or started anew, the power of the receiving end goes, its disk fails or is
//! full. When it is over and all is well again, every file that was ever in the outbox has come to exactly one end, and both logs agree:
//!
//! - *delivered*: whole, under one final name, receipted and logged at both ends;
//! - *refused*: the far end does not take its name, and both logs say so;
//! - *given up*: it was changed, renamed or removed before it was delivered, or a file of the inbox stands where it needs a folder.
//!
//! `TIELINE_SEED=n cargo test -p tieline-transfer --test random` repeats life n, `TIELINE_RUNS=n` does so many. The threads of both ends are
//! as free here as ever, so what happens before a mishap is not the same for the same seed each time; what people do and what goes wrong is.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod attempt;
mod cable;
mod check;
mod model;
mod receiver;
mod sender;
#[path = "../sim/mod.rs"]
mod sim;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attempt::Mishap;
use check::check;
use model::{Act, Model, Name};
use receiver::Receiver;
use sender::Sender;
use sim::Random;
use support::{receiver_keys, sender_keys};
use tempfile::TempDir;
use tieline_transfer::Journal;
use tieline_transfer::outbox::Hint;
use tieline_transfer::outbox::after::After;
use tieline_transfer::receipt::TransferId;
use tokio::runtime::Runtime;

/// As many as a plain `cargo test` does; `cargo xtask simulate files` does more.
const RUNS: u64 = 500;
/// Most of a life is waiting for the clock of the kernel to tick.
const LIVES_AT_ONCE: usize = 8;
/// Attempts in calm after which nothing may be due: one finds out what was lost, the next brings it, and what stands in the way of something
/// is tried eleven times.
const ATTEMPTS_MAX: usize = 6 + 11;
/// Two minutes each, in which there need be nothing to attempt.
const ROUNDS_MAX: usize = 60;

#[test]
fn case_35_whatever_is_done_every_file_comes_to_one_end_and_both_logs_agree() {
    if let Some(seed) = number_of("TIELINE_SEED") {
        Life::new(seed, true).live().unwrap();
        return;
    }
    let runs = number_of("TIELINE_RUNS").unwrap_or(RUNS);
    let failed = Mutex::new(BTreeSet::new());
    let ends = Mutex::new(check::Ends::default());
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..LIVES_AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < runs)
                {
                    let lived = catch_unwind(AssertUnwindSafe(|| Life::new(seed, false).live()));
                    match lived {
                        Ok(Ok(more)) => ends.lock().unwrap().add(more),
                        broken => {
                            let why = broken
                                .map_or_else(|_panic| "it panicked".into(), |broken| broken.unwrap_err());
                            eprintln!("life {seed}: {why}; TIELINE_SEED={seed} repeats it");
                            failed.lock().unwrap().insert(seed);
                        }
                    }
                }
            });
        }
    });
    println!("{runs} lives: {:?}", ends.into_inner().unwrap());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {runs} lives failed: {failed:?}", failed.len());
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

pub(crate) struct Life {
    is_told: bool,
    random: Random,
    runtime: Runtime,
    _dir: TempDir,
    model: Model,
    sender: Sender,
    receiver: Receiver,
    /// Transfers of which one end did not hear the last word.
    cut: BTreeSet<TransferId>,
    /// Files whose names may be on a disk that could not say so.
    unsaid: BTreeSet<Name>,
}

impl Life {
    fn new(seed: u64, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let after = [After::Keep, After::Move, After::Remove][usize::try_from(random.below(3)).unwrap()];
        let dir = temporary_folder();
        let sender = Sender::new(dir.path(), after);
        let model = Model::new(&sender.folder, &dir.path().join("elsewhere"), random.below(5) == 0);
        let receiver = Receiver::new(dir.path(), seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (cut, unsaid) = (BTreeSet::new(), BTreeSet::new());
        Self { is_told, random, runtime, _dir: dir, model, sender, receiver, cut, unsaid }
    }

    fn live(mut self) -> Result<check::Ends, String> {
        for _ in 0..6 + self.random.below(14) {
            match self.random.below(16) {
                0..7 => {
                    let act = Act::any(&mut self.random, &self.model);
                    self.act(&act);
                }
                7 => self.restart_sender(),
                8 => {
                    let power_cut = self.random.coin();
                    self.tell(&("the receiver starts anew", power_cut));
                    self.receiver.restart(power_cut);
                }
                9 => {
                    let left = (!self.random.coin()).then(|| self.random.below(30_000));
                    self.tell(&("room on the disk", left));
                    self.receiver.disk.leave_room(left);
                }
                _ => {
                    let seconds = [0, 1, 2, 3, 40][usize::try_from(self.random.below(5)).unwrap()];
                    self.pass(Duration::from_secs(seconds));
                }
            }
        }
        self.come_to_rest()?;
        check(&self)
    }

    fn act(&mut self, act: &Act) {
        let hint = self.model.act(act);
        self.tell(&(act, &hint));
        // A watch may have missed it.
        if let Some(hint) = hint.filter(|_| self.random.below(4) > 0) {
            self.sender.hint(hint);
        }
    }

    fn restart_sender(&mut self) {
        self.tell(&"the sender starts anew");
        self.sender.restart();
    }

    /// Time passes, and what is due is sent.
    fn pass(&mut self, time: Duration) {
        if self.random.below(4) == 0 {
            self.sender.hint(Hint::Everything);
        }
        if self.sender.wait(time) == 0 {
            return;
        }
        let mishap = Mishap::any(&mut self.random);
        let meanwhile = (self.random.below(3) == 0).then(|| Act::any(&mut self.random, &self.model));
        self.attempt(mishap, meanwhile);
    }

    /// Nothing goes wrong any more: everything that is due is sent.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.tell(&"calm");
        self.receiver.restart(false);
        self.receiver.disk.leave_room(None);
        drop(self.receiver.inbox());
        let (mut attempts, mut quiet) = (0, 0);
        for _ in 0..ROUNDS_MAX {
            let mut due = 0;
            // Twice, for what has to settle.
            for _ in 0..2 {
                self.sender.hint(Hint::Everything);
                due = self.sender.wait(Duration::from_secs(60));
            }
            quiet = if due == 0 && !self.sender.has_waiting() { quiet + 1 } else { 0 };
            // What was to be tried again at the end of a round has to settle first.
            if quiet == 2 {
                return Ok(());
            }
            if due > 0 {
                attempts += 1;
                self.attempt(Mishap::Nothing, None);
            }
            if attempts > ATTEMPTS_MAX {
                break;
            }
        }
        Err(format!("something is due after {ATTEMPTS_MAX} attempts in calm"))
    }

    #[expect(clippy::print_stdout, reason = "for whoever looks at one life")]
    fn tell(&self, what: &dyn Debug) {
        if self.is_told {
            println!("{what:?}");
        }
    }
}

/// In memory, where there is such a place: the journals wait for the disk at every commit.
fn temporary_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

/// Drops what nobody else has any more, once the threads of a transfer that ended are done with it.
fn alone<T>(shared: Arc<T>) {
    for _ in 0..5000 {
        if Arc::strong_count(&shared) == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("a thread goes on");
}

fn open_journal(path: &Path) -> Arc<Journal> {
    let journal = Journal::open(path).unwrap();
    for (line_key, keys) in [([1; 32], sender_keys()), ([2; 32], receiver_keys())] {
        journal.know_key(&line_key, &keys.own()).unwrap();
    }
    Arc::new(journal)
}
