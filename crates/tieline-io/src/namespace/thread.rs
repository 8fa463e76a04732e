//! A network namespace with a thread inside.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{Pid, UnshareFlags, gettid};

use super::NamespaceError;
use super::rootless::unshare;

/// Jobs that may wait for the thread; whoever sends one waits for its answer anyway.
const JOBS_MAX: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and the thread that lives in it. Clones share both; the last one to go ends them.
#[derive(Clone, Debug)]
pub struct NamespaceThread {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    thread: Pid,
    namespace: File,
    jobs: Option<SyncSender<Job>>,
    handle: Option<JoinHandle<()>>,
}

impl NamespaceThread {
    /// Makes a network namespace with nothing in it but a loopback device that is down. `name` names the thread, not the
    /// namespace, which has none.
    ///
    /// # Errors
    ///
    /// [`NamespaceError`]; see [`super::acquire`] for how to get the right to it.
    pub fn new(name: &str) -> Result<Self, NamespaceError> {
        let (jobs, inbox) = sync_channel::<Job>(JOBS_MAX);
        let (answer, answered) = sync_channel(1);
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || live(&inbox, &answer))
            .map_err(|source| NamespaceError::NotStarted { source })?;
        let died = |_| NamespaceError::NotStarted { source: io::Error::other("the thread ended at once") };
        let (thread, namespace) = answered.recv().map_err(died)??;
        let shared =
            Shared { name: name.to_owned(), thread, namespace, jobs: Some(jobs), handle: Some(handle) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Runs `job` on the thread, and so in the namespace, and waits for its answer. What it opens there (sockets, devices)
    /// stays in the namespace wherever it is carried. A panic in `job` goes on in the caller.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        if gettid() == self.shared.thread {
            return job();
        }
        let (answer, answered) = sync_channel(1);
        let work: Job = Box::new(move || {
            // The receiver waits below for as long as the job takes.
            let _ = answer.send(catch_unwind(AssertUnwindSafe(job)));
        });
        let jobs = self.shared.jobs.as_ref().expect("the inbox is open until the last clone is dropped");
        jobs.send(work).expect("the thread takes jobs until the last clone is dropped");
        answered.recv().expect("every job is answered").unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs the future that `job` makes on the thread, on a tokio runtime that lasts as long as the future: for
    /// [`crate::netlink`].
    ///
    /// # Errors
    ///
    /// What the kernel said about the runtime's descriptors.
    pub fn block_on<T: Send + 'static, F: Future<Output = T>>(
        &self,
        job: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<T> {
        self.run(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(async move { job().await }))
        })
    }

    /// Prepares a process to run in the namespace.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> NamespaceCommand {
        NamespaceCommand { namespace: self.clone(), command: Command::new(program) }
    }

    /// Under what name the thread appears.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where the namespace is to be found while this process lives: an argument for `nsenter --net=`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let process = std::process::id();
        Path::new("/proc").join(format!("{process}/task/{}/ns/net", self.shared.thread.as_raw_nonzero()))
    }

    /// The shell command that starts a shell in here: for a person who wants to look inside.
    #[must_use]
    pub fn nsenter(&self) -> String {
        let process = std::process::id();
        // Where we are root only in a user namespace, a visitor must become that root first.
        let same_user_namespace =
            std::fs::read_link("/proc/1/ns/user").ok() == std::fs::read_link("/proc/self/ns/user").ok();
        let user = if same_user_namespace {
            String::new()
        } else {
            format!("--user=/proc/{process}/ns/user --preserve-credentials ")
        };
        format!("nsenter {user}--net={}", self.path().display())
    }
}

impl AsFd for NamespaceThread {
    /// The namespace, for moving links into it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.namespace.as_fd()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.jobs = None;
        // The last clone may go in a job on the thread itself, which cannot wait for its own end.
        if let Some(handle) = self.handle.take()
            && handle.thread().id() != std::thread::current().id()
        {
            // A job's panic was caught, so the thread has none to tell.
            let _ = handle.join();
        }
    }
}

fn live(inbox: &Receiver<Job>, answer: &SyncSender<Result<(Pid, File), NamespaceError>>) {
    let entered = unshare(UnshareFlags::NEWNET)
        .and_then(|()| File::open("/proc/thread-self/ns/net"))
        .map(|namespace| (gettid(), namespace))
        .map_err(|source| NamespaceError::NoNetworkNamespace { source });
    let usable = entered.is_ok();
    if answer.send(entered).is_err() || !usable {
        return;
    }
    for job in inbox {
        job();
    }
}

/// A process to be started in a namespace.
///
/// It is started by the namespace's thread and killed when that thread ends, so when the last [`NamespaceThread`] of the
/// namespace is dropped or this process dies; nothing is left behind.
#[derive(Debug)]
pub struct NamespaceCommand {
    namespace: NamespaceThread,
    command: Command,
}

impl NamespaceCommand {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes a variable from its environment.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets its working folder.
    #[must_use]
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets its standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// Sets its standard output.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    /// Sets its standard error.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.command.stderr(stderr);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`].
    pub fn spawn(self) -> io::Result<Child> {
        let Self { namespace, mut command } = self;
        let die_with_the_thread = || Ok(set_parent_process_death_signal(Some(Signal::KILL))?);
        // SAFETY: the closure runs between fork and exec and makes one system call; it neither allocates nor locks.
        unsafe { command.pre_exec(die_with_the_thread) };
        namespace.run(move || command.spawn())
    }

    /// Starts it and waits until it ends.
    ///
    /// # Errors
    ///
    /// As [`Command::status`].
    pub fn status(self) -> io::Result<ExitStatus> {
        // Held until it has ended: dropping the last one would kill it.
        let _namespace = self.namespace.clone();
        self.spawn()?.wait()
    }

    /// Starts it, waits until it ends, and returns what it wrote.
    ///
    /// # Errors
    ///
    /// As [`Command::output`].
    pub fn output(self) -> io::Result<Output> {
        let _namespace = self.namespace.clone();
        self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?.wait_with_output()
    }
}
