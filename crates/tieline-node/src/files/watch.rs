//! Watching an outbox: hints as soon as the system has them, and a regular scan whatever it has.
//!
//! A [`Watch`] is about one folder, which need not be there: it is taken up when it comes, given up when it goes or another folder takes
//! its place, and taken up again. Where the system notices nothing (a file server's folder, too many folders to be watched) the
//! regular scan does it alone.
//!
//! Hints come in batches, the first of them at once, later ones no closer together than [`BATCH_EVERY`]. Of each path there is
//! one in a batch. More than [`HINTS_MAX`] paths, or a queue of the system that has run over, become [`Hint::Everything`].

mod pending;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use tieline_transfer::outbox::{Hint, Rules};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use pending::{Noting, Pending};

/// Time between two scans of everything, unless configured.
pub const RESCAN_DEFAULT: Duration = Duration::from_mins(1);
/// Paths of a batch; with more, a scan finds them sooner.
pub const HINTS_MAX: usize = 1024;
/// Time between two batches: short beside a round trip, and enough to make one hint of a hundred writes.
pub const BATCH_EVERY: Duration = Duration::from_millis(20);
/// How often it is looked whether the folder is there, and still the same.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// What a watch has to say.
#[derive(Debug)]
pub enum News {
    /// The folder is there and is watched from now on. All of it is to be looked at.
    There(OwnedFd),
    /// The folder is not there, or not any more; it is looked for until it is.
    Gone(io::Error),
    /// Something happened in it, or it is time to look.
    Hints(Vec<Hint>),
}

/// Watches one folder.
#[derive(Debug)]
pub struct Watch {
    folder: Arc<Path>,
    rules: Arc<Rules>,
    rescan: Duration,
    taken_up: Option<TakenUp>,
    check_at: Instant,
    rescan_at: Instant,
    /// When the next batch may come.
    batch_at: Instant,
    is_gone_told: bool,
}

/// A folder that is there.
#[derive(Debug)]
struct TakenUp {
    identity: Identity,
    pending: Arc<Pending>,
    /// Watches until it is dropped; `None` where the system cannot.
    _watcher: Option<RecommendedWatcher>,
}

/// Device and inode of the folder.
type Identity = (u64, u64);

impl Watch {
    /// Returns a watch of `folder`, which has to be absolute, for files that `rules` do not ignore; all of it is to be looked at every
    /// `rescan`.
    #[must_use]
    pub fn new(folder: PathBuf, rules: Rules, rescan: Duration) -> Self {
        let now = Instant::now();
        Self {
            folder: folder.into(),
            rules: rules.into(),
            rescan,
            taken_up: None,
            check_at: now,
            rescan_at: now,
            batch_at: now,
            is_gone_told: false,
        }
    }

    /// Waits for the next news. May be dropped at any time; nothing is lost by that.
    pub async fn next(&mut self) -> News {
        loop {
            let news = match &self.taken_up {
                None => self.wait_for_folder().await,
                Some(taken_up) => {
                    let pending = taken_up.pending.clone();
                    self.wait_for_hints(&pending).await
                }
            };
            if let Some(news) = news {
                return news;
            }
        }
    }

    async fn wait_for_folder(&mut self) -> Option<News> {
        sleep_until(self.check_at).await;
        let (folder, rules) = (self.folder.clone(), self.rules.clone());
        let taken = spawn_blocking(move || take_up(&folder, &rules)).await.map_err(io::Error::other);
        let now = Instant::now();
        self.check_at = now + CHECK_EVERY;
        match taken.flatten() {
            Ok((fd, taken_up)) => {
                self.taken_up = Some(taken_up);
                self.rescan_at = now + self.rescan;
                self.is_gone_told = false;
                Some(News::There(fd))
            }
            Err(error) if !self.is_gone_told => {
                self.is_gone_told = true;
                Some(News::Gone(error))
            }
            Err(_) => None,
        }
    }

    async fn wait_for_hints(&mut self, pending: &Pending) -> Option<News> {
        tokio::select! {
            () = pending.something() => {
                sleep_until(self.batch_at).await;
                let (hints, is_root_touched) = pending.take();
                self.batch_at = Instant::now() + BATCH_EVERY;
                if is_root_touched {
                    self.check_at = Instant::now();
                }
                (!hints.is_empty()).then_some(News::Hints(hints))
            }
            () = sleep_until(self.check_at) => {
                self.check_at = Instant::now() + CHECK_EVERY;
                self.check().await
            }
            () = sleep_until(self.rescan_at) => {
                self.rescan_at = Instant::now() + self.rescan;
                Some(News::Hints(vec![Hint::Everything]))
            }
        }
    }

    /// Gives the folder up if it is not the one that was taken up.
    async fn check(&mut self) -> Option<News> {
        let error = match tokio::fs::metadata(&self.folder).await {
            Ok(found)
                if self.taken_up.as_ref().is_some_and(|ours| ours.identity == (found.dev(), found.ino())) =>
            {
                return None;
            }
            Ok(_) => io::Error::new(io::ErrorKind::NotFound, "another folder has taken its place"),
            Err(error) => error,
        };
        self.taken_up = None;
        self.check_at = Instant::now();
        self.is_gone_told = true;
        Some(News::Gone(error))
    }
}

/// Opens the folder and begins to watch it; takes as long as walking through its folders takes.
fn take_up(folder: &Path, rules: &Arc<Rules>) -> io::Result<(OwnedFd, TakenUp)> {
    let fd = openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&fd)?;
    let pending = Arc::new(Pending::default());
    let watcher = watch(folder, Noting::new(folder, rules.clone(), pending.clone()));
    let taken_up = TakenUp { identity: (stat.st_dev, stat.st_ino), pending, _watcher: watcher };
    Ok((fd, taken_up))
}

/// Watches as many of the folders as the system lets us.
fn watch(folder: &Path, noting: Noting) -> Option<RecommendedWatcher> {
    let config = notify::Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(noting, config)
        .inspect_err(
            |error| warn!(?folder, %error, "cannot be watched; its files are found by the regular scan"),
        )
        .ok()?;
    if let Err(error) = watcher.watch(folder, RecursiveMode::Recursive) {
        warn!(?folder, %error, "is not watched in full; some of its files are found by the regular scan");
    }
    Some(watcher)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;
    use tieline_transfer::RelativePath;
    use tokio::time::timeout;

    use super::*;

    /// Far longer than anything takes here; no test waits for it.
    const PATIENCE: Duration = Duration::from_secs(30);
    const NEVER: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn what_is_renamed_in_has_arrived() {
        let (dir, mut watch) = watched(NEVER).await;
        fs::write(dir.path().join("elsewhere"), "content").unwrap();
        fs::rename(dir.path().join("elsewhere"), dir.path().join("out/a")).unwrap();
        assert_eq!(hints(&mut watch).await, [Hint::Arrived(path("a"))]);
    }

    #[tokio::test]
    async fn what_is_written_has_changed_also_in_a_folder_that_is_new() {
        let (dir, mut watch) = watched(NEVER).await;
        fs::write(dir.path().join("out/a"), "content").unwrap();
        assert_eq!(hints(&mut watch).await, [Hint::Changed(path("a"))]);
        fs::create_dir(dir.path().join("out/new")).unwrap();
        until(&mut watch, &Hint::Folder(path("new"))).await;
        // Until it is watched, writing to a file in it goes unnoticed.
        let writing = async {
            loop {
                fs::write(dir.path().join("out/new/b"), "content").unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let noticed = Hint::Changed(path("new/b"));
        tokio::select! {
            () = until(&mut watch, &noticed) => {}
            () = writing => {}
        }
    }

    #[tokio::test]
    async fn what_is_ignored_is_not_hinted() {
        let (dir, mut watch) = watched(NEVER).await;
        fs::write(dir.path().join("out/a.tmp"), "content").unwrap();
        fs::write(dir.path().join("out/.a.swp"), "content").unwrap();
        fs::rename(dir.path().join("out/a.tmp"), dir.path().join("out/a")).unwrap();
        assert_eq!(hints(&mut watch).await, [Hint::Arrived(path("a"))]);
    }

    #[tokio::test]
    async fn a_folder_that_vanishes_and_comes_back_is_taken_up_again() {
        let (dir, mut watch) = watched(NEVER).await;
        fs::remove_dir(dir.path().join("out")).unwrap();
        assert!(
            matches!(news(&mut watch).await, News::Gone(error) if error.kind() == io::ErrorKind::NotFound)
        );
        fs::create_dir(dir.path().join("out")).unwrap();
        assert!(matches!(news(&mut watch).await, News::There(_)));
        fs::write(dir.path().join("out/a"), "content").unwrap();
        assert_eq!(hints(&mut watch).await, [Hint::Changed(path("a"))]);
    }

    #[tokio::test]
    async fn case_20_a_folder_that_takes_the_place_of_another_is_taken_up_instead() {
        let (dir, mut watch) = watched(NEVER).await;
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::write(dir.path().join("other/inside"), "content").unwrap();
        fs::rename(dir.path().join("out"), dir.path().join("old")).unwrap();
        fs::rename(dir.path().join("other"), dir.path().join("out")).unwrap();
        assert!(matches!(news(&mut watch).await, News::Gone(_)));
        let News::There(fd) = news(&mut watch).await else { panic!("it is there") };
        assert!(rustix::fs::statat(fd, "inside", rustix::fs::AtFlags::empty()).is_ok());
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_told_once_and_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(dir.path().join("out"), Rules::default(), NEVER);
        assert!(matches!(news(&mut watch).await, News::Gone(_)));
        let (folder, later) = (dir.path().join("out"), CHECK_EVERY + CHECK_EVERY / 2);
        tokio::join!(
            async {
                tokio::time::sleep(later).await;
                fs::create_dir(folder).unwrap();
            },
            async { assert!(matches!(news(&mut watch).await, News::There(_))) },
        );
    }

    #[tokio::test]
    async fn case_20_all_of_it_is_to_be_looked_at_regularly() {
        let (_dir, mut watch) = watched(Duration::from_millis(30)).await;
        for _ in 0..3 {
            assert_eq!(hints(&mut watch).await, [Hint::Everything]);
        }
    }

    #[tokio::test]
    async fn case_20_a_thousand_files_at_once_are_few_hints_or_one_scan() {
        let (dir, mut watch) = watched(NEVER).await;
        for number in 0..2 * HINTS_MAX {
            fs::write(dir.path().join(format!("out/{number}")), "content").unwrap();
        }
        fs::write(dir.path().join("out/last"), "content").unwrap();
        loop {
            let hints = hints(&mut watch).await;
            assert!(hints.len() <= HINTS_MAX);
            if hints.contains(&Hint::Everything) || hints.contains(&Hint::Changed(path("last"))) {
                break;
            }
        }
    }

    async fn watched(rescan: Duration) -> (TempDir, Watch) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let mut watch = Watch::new(dir.path().join("out"), Rules::default(), rescan);
        assert!(matches!(news(&mut watch).await, News::There(_)));
        (dir, watch)
    }

    async fn news(watch: &mut Watch) -> News {
        timeout(PATIENCE, watch.next()).await.expect("news")
    }

    async fn hints(watch: &mut Watch) -> Vec<Hint> {
        match news(watch).await {
            News::Hints(hints) => hints,
            other => panic!("{other:?}"),
        }
    }

    async fn until(watch: &mut Watch, hint: &Hint) {
        while !hints(watch).await.contains(hint) {}
    }

    fn path(name: &str) -> RelativePath {
        RelativePath::parse(name.as_bytes()).unwrap()
    }
}
