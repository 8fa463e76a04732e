//! When the kernel lets a thread run: at once, for those that move packets.
//!
//! A thread that is like all others waits, when something arrives for it, until those that run have used up their slices. On a
//! busy machine these are milliseconds, and then packets wait that could have gone. One of the real-time class runs the moment it
//! wakes, before all ordinary ones; in exchange it must rest often, or nobody else runs.

use std::io;

/// The lowest priority of the class. It is over every ordinary thread; among those of real time we want no precedence.
const PRIORITY: libc::c_int = 1;

/// The calling thread is in the real-time class (`SCHED_RR`) for as long as this lives, and so are, for good, the threads that it starts
/// meanwhile.
///
/// The kernel takes the processor away from such threads for 50 ms if they leave less than a twentieth of a second to others
/// (`sched_rt_runtime_us`), so rest before it does.
#[derive(Debug)]
#[must_use = "dropped at once, it does nothing"]
pub struct RealTime(());

impl RealTime {
    /// Enters the class. The right to it goes with the capabilities that are given up by [`crate::privileges::confine`], so do it
    /// before; leaving needs no right.
    ///
    /// # Errors
    ///
    /// What the kernel said: `EPERM` for whoever has neither `CAP_SYS_NICE` nor the resource limit (`RLIMIT_RTPRIO`).
    pub fn enter() -> io::Result<Self> {
        set_policy(libc::SCHED_RR, PRIORITY)?;
        Ok(Self(()))
    }

    /// Whether the calling thread is in the class.
    #[must_use]
    pub fn is_entered() -> bool {
        // SAFETY: no memory is involved; 0 is the calling thread.
        unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) == libc::SCHED_RR.into() }
    }
}

impl Drop for RealTime {
    fn drop(&mut self) {
        if let Err(error) = set_policy(libc::SCHED_OTHER, 0) {
            tracing::warn!(%error, "a thread remains one of real time");
        }
    }
}

fn set_policy(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // Not by the C library's function, which in some libraries does nothing.
    // SAFETY: the kernel reads one `sched_param`, which lives until the call returns; 0 is the calling thread.
    match unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameter) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
