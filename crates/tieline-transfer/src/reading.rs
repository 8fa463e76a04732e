//! The sender's thread: files become frames, gathered into blocks for the stream.
//!
//! Small files follow one another. A large one is asked about, and a small one that was delivered before in another version, or with the
//! same content; their data is sent when the answer has come, while the plan goes on. A large one that changed is [compared apart](apart).

mod apart;
mod questions;
mod same;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc as sync_mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::fstat;
use tokio::sync::mpsc;

use self::apart::{Done, Leaving, Task, compare_all};
use self::questions::Question;
use self::same::SameContent;
use crate::beneath;
use crate::blocks::{Block, Blocks, Closed};
use crate::content::{ContentHasher, HASH_LEN, PIECE_LEN, pieces_within};
use crate::holes::hash_zeros;
use crate::ledger::Version;
use crate::links::Link;
use crate::metadata::attributes::Attributes;
use crate::metadata::{Carry, Names};
use crate::mirror::{self, FingerprintKey, MirrorRules};
use crate::outcome::{Fate, Fault, Turn, Work};
use crate::path::RelativePath;
use crate::plan::{Entry, Plan, PlannedKind, open_root};
use crate::protocol::{DATA_LEN_MAX, FileOffer, FolderOffer, LinkOffer, SenderMessage};
use crate::sender::{Job, Settled};
use crate::source::{Source, SourceFault};
use crate::stamp::Stamp;
use crate::summing::Sums;

/// Files from here on are asked about: less than a piece of it cannot be there.
const ASK_LEN_MIN: u64 = PIECE_LEN + 1;
/// How often the journal is told how what was read hashed; what it was not told is read again after a restart.
const KNOW_EVERY: Duration = Duration::from_secs(1);
/// Told with an abandoned file that the receiver has decided against already.
const ABANDON_DECIDED: u16 = 3;

/// What the receiver made of a question.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It wants the data from there on, and may have an old version with these sums.
    Go { index: usize, from: u64, sums: Sums },
    /// It does not want it.
    Settled { index: usize },
    /// It has said what it wants of a mirror.
    Checked,
    /// Not from the receiver: what was found of a large file with its sums.
    Compared(Done),
}

/// Reads everything in the plan, in order.
///
/// # Errors
///
/// `Closed` if the transfer ended meanwhile.
pub(crate) fn read_all(
    job: &Job,
    blocks: mpsc::Sender<Block>,
    answers: mpsc::Receiver<Answer>,
    more_answers: &mpsc::WeakSender<Answer>,
    settled: mpsc::Sender<Settled>,
) -> Result<(), Closed> {
    let has_ended = AtomicBool::new(false);
    let (tasks, tasks_out) = sync_mpsc::sync_channel(1);
    let leaving = Leaving(&has_ended);
    let out = Blocks::new(blocks, Arc::clone(&job.progress));
    let roots = Roots { plan: &job.plan, open: None };
    let names = Names::default();
    let (asked, asked_small, is_checked) = (BTreeMap::new(), 0, false);
    let (to_compare, is_comparing) = (VecDeque::new(), false);
    let reading = Reading {
        job,
        out,
        roots,
        names,
        answers,
        settled,
        asked,
        asked_small,
        is_checked,
        tasks,
        to_compare,
        is_comparing,
        same: SameContent::default(),
    };
    thread::scope(|scope| {
        let has_ended = &has_ended;
        scope.spawn(move || compare_all(job, &tasks_out, more_answers, has_ended));
        // Whatever comes of it, the other thread ends as well.
        let _leaving = leaving;
        reading.run()
    })
}

/// What is at a path that is to be sent.
enum Found<'j> {
    File(Source<'j>),
    Link(Link),
}

struct Reading<'j> {
    job: &'j Job,
    out: Blocks,
    roots: Roots<'j>,
    answers: mpsc::Receiver<Answer>,
    settled: mpsc::Sender<Settled>,
    names: Names,
    /// Files that were asked about.
    asked: BTreeMap<usize, Question>,
    /// How many of them are short.
    asked_small: usize,
    /// Whether the receiver has said what it wants of a mirror.
    is_checked: bool,
    /// To the thread that compares large files.
    tasks: sync_mpsc::SyncSender<Task>,
    /// Files for it, each of them one that was asked about.
    to_compare: VecDeque<Task>,
    /// Whether it has one.
    is_comparing: bool,
    same: SameContent,
}

impl<'j> Reading<'j> {
    fn run(mut self) -> Result<(), Closed> {
        let job = self.job;
        if let Some(rules) = job.plan.mirror {
            self.list(rules)?;
        }
        for (index, Entry { path, kind, .. }) in job.plan.entries.iter().enumerate() {
            while let Ok(answer) = self.answers.try_recv() {
                self.on_answer(answer)?;
            }
            if job.plan.mirror.is_some() && !job.ledger.is_wanted(index) {
                if let PlannedKind::File { size, .. } = *kind {
                    job.progress.held(size);
                }
                continue;
            }
            match *kind {
                PlannedKind::Folder { mode, modified } => {
                    job.ledger.offered(index);
                    job.ledger.ended(index, None);
                    let told = self.told_of_folder(index);
                    self.tell(index, &Attributes { modified: Some(modified), ..told })?;
                    let folder = FolderOffer { entry: index as u64, mode, path: path.as_bytes() };
                    self.out.put(SenderMessage::Folder(folder))?;
                }
                PlannedKind::File { .. } => self.on_file(index)?,
            }
            self.out.offer_block()?;
        }
        self.send_later()?;
        while !self.asked.is_empty() {
            self.out.flush()?;
            self.wait_for_answer()?;
        }
        job.ledger.all_ended();
        self.out.put(SenderMessage::End)?;
        self.out.flush()
    }

    /// Lists what is to be in a mirror, and waits until the receiver has said what it wants of it.
    fn list(&mut self, rules: MirrorRules) -> Result<(), Closed> {
        let job = self.job;
        let mut key = [0; FingerprintKey::LEN];
        aws_lc_rs::rand::fill(&mut key).map_err(|error| {
            tracing::error!(%error, "no random numbers for the key of a listing");
            Closed
        })?;
        let key = FingerprintKey(key);
        self.out.put(SenderMessage::Mirror { rules, key })?;
        let root = self.roots.open(0).map_err(|fault| {
            tracing::error!(%fault, "the folder that is to be mirrored");
            Closed
        })?;
        for (index, fault) in mirror::list(job, &root, rules.by_content, key, &mut self.out)? {
            self.give_up(index, fault);
        }
        job.ledger.all_listed();
        self.out.put(SenderMessage::Listed)?;
        self.out.flush()?;
        while !self.is_checked {
            self.wait_for_answer()?;
        }
        Ok(())
    }

    fn on_file(&mut self, index: usize) -> Result<(), Closed> {
        if self.turn(index) == Turn::Later {
            return Ok(());
        }
        let mut source = match self.find(index) {
            Ok(Found::File(source)) => source,
            Ok(Found::Link(link)) => return self.send_link(index, &link),
            Err(fault) => {
                self.give_up(index, fault);
                return Ok(());
            }
        };
        match self.claim(index, &mut source) {
            Ok(Some(hash)) => self.ask(index, &source, |offer| SenderMessage::Claim { hash, offer }),
            Ok(None) => match self.is_for_later(index, &mut source) {
                Ok(true) => Ok(()),
                Ok(false) => self.send_or_ask(index, source),
                Err(fault) => {
                    self.give_up(index, fault);
                    Ok(())
                }
            },
            Err(fault) => {
                self.give_up(index, fault);
                Ok(())
            }
        }
    }

    /// Offers a file with its data, or asks first from where that is wanted.
    fn send_or_ask(&mut self, index: usize, source: Source<'j>) -> Result<(), Closed> {
        if source.size >= ASK_LEN_MIN || self.may_be_changed(index, &source) {
            return self.ask(index, &source, SenderMessage::Ask);
        }
        self.job.ledger.offered(index);
        let told = source.told(self.job.plan.carry, &mut self.names);
        self.tell(index, &told)?;
        self.out.put(SenderMessage::File(self.offer(index, &source)))?;
        self.send_data(index, source, ContentHasher::new())
    }

    /// Opens a file that waited, if it is its turn and can be sent; else it is known what becomes of it.
    fn next_source(&mut self, index: usize) -> Option<Source<'j>> {
        if self.turn(index) == Turn::Later {
            return None;
        }
        self.source(index).map_err(|fault| self.give_up(index, fault)).ok()
    }

    fn find(&mut self, index: usize) -> Result<Found<'j>, SourceFault> {
        let Entry { root, path, .. } = &self.job.plan.entries[index];
        if self.job.plan.carry.links
            && let Some(link) = Link::read(self.roots.open(*root)?.as_fd(), path)?
        {
            return Ok(Found::Link(link));
        }
        Ok(Found::File(self.source(index)?))
    }

    /// What is told of a folder beyond its offer; nothing of one that cannot be opened any more.
    fn told_of_folder(&mut self, index: usize) -> Attributes {
        let (Entry { root, path, .. }, carry) = (&self.job.plan.entries[index], self.job.plan.carry);
        if carry == Carry::default() {
            return Attributes::default();
        }
        let opened = self.roots.open(*root).and_then(|root| {
            let folder = beneath::open_folder(root.as_fd(), Some(path))?;
            let stat = fstat(&folder)?;
            Ok((folder, stat))
        });
        opened.map_or_else(
            |_| Attributes::default(),
            |(folder, stat)| carry.told(folder.as_fd(), &stat, &mut self.names),
        )
    }

    fn send_link(&mut self, index: usize, link: &Link) -> Result<(), Closed> {
        let Link { target, modified, .. } = link;
        self.job.ledger.offered(index);
        self.job.ledger.ended(index, Some(link.version()));
        let (entry, path) = (index as u64, self.job.plan.entries[index].path.as_bytes());
        self.job.progress.held(target.len() as u64);
        self.out.put(SenderMessage::Link(LinkOffer { entry, modified: *modified, target, path }))
    }

    /// Tells what the offer of an entry does not, which has to follow.
    fn tell(&mut self, index: usize, attributes: &Attributes) -> Result<(), Closed> {
        match &attributes.emit()[..] {
            [] => Ok(()),
            items => self.out.put(SenderMessage::Attributes { entry: index as u64, items }),
        }
    }

    fn wait_for_answer(&mut self) -> Result<(), Closed> {
        let start = Instant::now();
        let answer = self.answers.blocking_recv().ok_or(Closed)?;
        self.job.progress.spent(Work::Answer, start.elapsed());
        self.on_answer(answer)
    }

    /// Hashes what is at the receiving end already: from the journal as far as it knows, the rest from the file.
    fn hash_up_to(&self, from: u64, source: &mut Source<'_>) -> Result<ContentHasher, SourceFault> {
        let mut pieces = match from {
            0 => Vec::new(),
            _ => self.job.journal.known_pieces(source.stamp).unwrap_or_else(|error| {
                tracing::warn!(%error, "a file is read again from its start");
                Vec::new()
            }),
        };
        let usable = (from / PIECE_LEN).min(pieces_within(source.size));
        pieces.truncate(usize::try_from(usable).unwrap_or(usize::MAX));
        let mut hasher = ContentHasher::resume(pieces);
        source.go_to(hasher.len())?;
        let mut buffer = Vec::with_capacity(DATA_LEN_MAX);
        while hasher.len() < from {
            buffer.clear();
            let want = usize::try_from(from - hasher.len()).unwrap_or(usize::MAX).min(DATA_LEN_MAX);
            source.read(want, &mut buffer)?;
            hasher.update(&buffer);
        }
        Ok(hasher)
    }

    /// Sends what is left of a file, and its end.
    fn send_data(
        &mut self,
        index: usize,
        mut source: Source<'j>,
        hasher: ContentHasher,
    ) -> Result<(), Closed> {
        let job = self.job;
        job.progress.file(&job.plan.entries[index].path, source.size);
        job.progress.held(source.size - source.left());
        let mut hashing = Hashing::new(hasher, source.stamp);
        self.out.begin_file();
        while source.left() > 0 {
            if job.ledger.is_settled(index) {
                return self.out.put(SenderMessage::Abandon { code: ABANDON_DECIDED });
            }
            if self.turn(index) == Turn::Never {
                return self.abandon(index, SourceFault::Cancelled);
            }
            let left = source.left();
            let put = match source.skip_hole(left) {
                Ok(0) => self.out.put_data(&mut source, DATA_LEN_MAX, |data| hashing.hasher.update(data))?,
                Ok(len) => {
                    self.out.put_hole(len)?;
                    hash_zeros(&mut hashing.hasher, len);
                    job.progress.held(len);
                    Ok(0)
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = put {
                return self.abandon(index, fault);
            }
            hashing.tell(job);
        }
        self.end(index, source, hashing.hasher.finalize())
    }

    /// Ends a file whose data was sent, if it is still the same.
    fn end(&mut self, index: usize, source: Source<'j>, hash: [u8; HASH_LEN]) -> Result<(), Closed> {
        let (stamp, size, modified) = (source.stamp, source.size, source.modified);
        if let Err(fault) = source.check_unchanged() {
            return self.abandon(index, fault);
        }
        self.job.ledger.ended(index, Some(Version { stamp, size, hash, modified }));
        self.out.put(SenderMessage::FileEnd { hash })
    }

    fn abandon(&mut self, index: usize, fault: SourceFault) -> Result<(), Closed> {
        self.give_up(index, fault);
        self.out.put(SenderMessage::Abandon { code: fault.abandon_code() })
    }

    fn give_up(&self, index: usize, fault: SourceFault) {
        let fate = Fate::Failed(Fault::Source(fault));
        if self.job.ledger.give_up(index, fate) {
            // The recording thread ends after this one.
            let _ = self.settled.blocking_send(Settled { index, fate, version: None, receipt: None });
        }
    }

    fn turn(&self, index: usize) -> Turn {
        self.job.progress.turn(&self.job.plan.entries[index].path)
    }

    fn source(&mut self, index: usize) -> Result<Source<'j>, SourceFault> {
        if self.turn(index) == Turn::Never {
            return Err(SourceFault::Cancelled);
        }
        let Entry { root, path, .. } = &self.job.plan.entries[index];
        Source::open(self.roots.open(*root)?, path)
    }

    fn offer(&self, index: usize, source: &Source<'_>) -> FileOffer<'j> {
        let path: &RelativePath = &self.job.plan.entries[index].path;
        FileOffer {
            entry: index as u64,
            stamp: source.stamp,
            size: source.size,
            mode: source.mode,
            modified: source.modified,
            path: path.as_bytes(),
        }
    }
}

/// How a file hashes that is being sent, of which the journal is told now and then.
struct Hashing {
    hasher: ContentHasher,
    stamp: Stamp,
    /// Pieces that the journal knows of, and since when.
    known: usize,
    known_since: Instant,
}

impl Hashing {
    fn new(hasher: ContentHasher, stamp: Stamp) -> Self {
        let known = hasher.pieces().len();
        Self { hasher, stamp, known, known_since: Instant::now() }
    }

    fn tell(&mut self, job: &Job) {
        let pieces = self.hasher.pieces();
        if pieces.len() == self.known || self.known_since.elapsed() < KNOW_EVERY {
            return;
        }
        if let Err(error) = job.journal.know_pieces(self.stamp, self.known as u64, &pieces[self.known..]) {
            // Then it is read again after a restart.
            tracing::warn!(%error, "how a file hashed is not remembered");
        }
        (self.known, self.known_since) = (pieces.len(), Instant::now());
    }
}

/// The root that is being read from, held open; entries come root by root.
struct Roots<'j> {
    plan: &'j Plan,
    open: Option<(usize, Arc<OwnedFd>)>,
}

impl Roots<'_> {
    fn open(&mut self, root: usize) -> Result<Arc<OwnedFd>, SourceFault> {
        match &self.open {
            Some((held, folder)) if *held == root => Ok(Arc::clone(folder)),
            _ => {
                let folder = Arc::new(open_root(&self.plan.roots[root])?);
                self.open = Some((root, Arc::clone(&folder)));
                Ok(folder)
            }
        }
    }
}
