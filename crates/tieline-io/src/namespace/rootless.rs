//! The right to make network namespaces: had, or got by a user namespace.

use std::fs;
use std::io::{self, Read, Write};

use rustix::process::{WaitOptions, getgid, getuid, waitpid};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::NamespaceError;

/// By what right this process makes network namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It had the capabilities already.
    Privileged,
    /// It is root of a user namespace of its own, and an ordinary user outside.
    Rootless,
}

/// Sees to it that this process may make network namespaces, by entering a user namespace if need be.
///
/// The attempt is made in a child process first, so after an error this process is as it was. Inside a user namespace our
/// user is called root and all other users are `nobody`; files keep the owners they have.
///
/// # Errors
///
/// [`NamespaceError`] says in a sentence what the system forbids; [`NamespaceError::ThreadsRunning`] if called too late.
pub fn acquire() -> Result<Standing, NamespaceError> {
    if may_make_namespaces() && attempt(&[Step::Network]).is_ok() {
        return Ok(Standing::Privileged);
    }
    attempt(&[Step::User, Step::Network])?;
    Step::User.take()?;
    Ok(Standing::Rootless)
}

/// Takes this process to a new network namespace of its own, with nothing in it but a loopback device that is down. For
/// tests, so that nothing they do reaches the machine's network. Call it after [`acquire`] and before there are threads.
///
/// # Errors
///
/// [`NamespaceError::ThreadsRunning`], or what the system forbids.
pub fn isolate_network() -> Result<(), NamespaceError> {
    check_single_threaded()?;
    Step::Network.take()
}

fn may_make_namespaces() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

#[derive(Clone, Copy)]
enum Step {
    User,
    Network,
}

impl Step {
    fn take(self) -> Result<(), NamespaceError> {
        self.try_take().map_err(|source| self.fault(source))
    }

    fn try_take(self) -> io::Result<()> {
        match self {
            Self::User => enter_user_namespace(),
            Self::Network => unshare(UnshareFlags::NEWNET),
        }
    }

    fn fault(self, source: io::Error) -> NamespaceError {
        match self {
            Self::User => NamespaceError::NoUserNamespace { source },
            Self::Network => NamespaceError::NoNetworkNamespace { source },
        }
    }
}

fn enter_user_namespace() -> io::Result<()> {
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    unshare(UnshareFlags::NEWUSER)?;
    // Without this the kernel lets an ordinary user map no group: it could drop a group that keeps it out of a file.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: unsharing user and network namespaces takes away no memory, descriptor or lock that other code counts on;
    // what must not happen, unsharing the descriptor table (`FILES`), is not asked for.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

fn check_single_threaded() -> Result<(), NamespaceError> {
    let count = thread_count().map_err(|source| NamespaceError::NotStarted { source })?;
    if count > 1 { Err(NamespaceError::ThreadsRunning { count }) } else { Ok(()) }
}

/// Threads of this process.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Takes the steps in a child process that then ends, to see whether they can be taken.
fn attempt(steps: &[Step]) -> Result<(), NamespaceError> {
    check_single_threaded()?;
    let not_started = |source| NamespaceError::NotStarted { source };
    let (mut reader, mut writer) = io::pipe().map_err(not_started)?;
    // SAFETY: this process has one thread, so the child finds no lock held by a thread that it does not have; it may run
    // any code, and leaves by `_exit` so that nothing of the parent's is flushed or dropped twice.
    match unsafe { libc::fork() } {
        -1 => Err(not_started(io::Error::last_os_error())),
        0 => {
            let failed =
                steps.iter().zip(0_u8..).find_map(|(step, place)| Some((place, step.try_take().err()?)));
            let status = failed.is_none_or(|(place, error)| {
                let number = error.raw_os_error().unwrap_or(libc::EIO);
                writer.write_all(&[place]).and_then(|()| writer.write_all(&number.to_ne_bytes())).is_ok()
            });
            // SAFETY: as above.
            unsafe { libc::_exit(i32::from(!status)) }
        }
        child => {
            drop(writer);
            let mut told = Vec::new();
            let read = reader.read_to_end(&mut told);
            reap(child);
            read.map_err(not_started)?;
            match told.as_slice() {
                [] => Ok(()),
                [place, number @ ..] => {
                    let number = number.try_into().map(i32::from_ne_bytes).unwrap_or(libc::EIO);
                    let step = steps.get(usize::from(*place)).copied().unwrap_or(Step::User);
                    Err(step.fault(io::Error::from_raw_os_error(number)))
                }
            }
        }
    }
}

fn reap(child: i32) {
    let child = rustix::process::Pid::from_raw(child);
    // It closed its end of the pipe, so it is on its way out; a failure means somebody else reaped it.
    let _ = rustix::io::retry_on_intr(|| waitpid(child, WaitOptions::empty()));
}
