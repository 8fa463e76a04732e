//! seccomp (`seccomp(2)`): which system calls are left.
//!
//! # The list
//!
//! The filter is a list of what is allowed. A list of what is forbidden would have to know every call that future kernels
//! add; a list of what is allowed fails closed, and how it fails is chosen so that it does not break: a call outside the list
//! returns `ENOSYS`, the answer of a kernel that does not have it. C library and tokio, which both run on older kernels too,
//! then take the older way (`clone3` falls back to `clone`, whose arguments a filter can see). So the list need hold
//! no more than one way of doing each thing, and a new way in a new C library does no harm.
//!
//! What the list leaves out, and an intruder would miss most: running programs (`execve`, `fork`), looking into other
//! processes (`ptrace`, `process_vm_readv`, `pidfd_getfd`), other namespaces (`setns`, `unshare`, `mount`), the kernel
//! itself (`bpf`, `io_uring_setup`, modules, `kexec_load`, `keyctl`, `perf_event_open`, `userfaultfd`), other users
//! (`setuid`), signals to others (`kill`).
//!
//! Some calls are allowed only with certain arguments: `clone` makes threads, not processes; `socket` makes IP, unix and
//! netlink sockets, not packet sockets; no memory can be written and run at once, and none that was written can be made to run
//! (libraries are mapped from files); `ioctl` cannot type into a terminal.
//!
//! On processors that the filter's compiler does not know there is none, and the report says so.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Compare, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::Enforcement;

/// Allowed with any arguments.
const ALLOWED: &[libc::c_long] = &[
    // Files, by descriptor and below folders.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    // Gives nothing away without a right that is kept only where that is wanted.
    libc::SYS_fchown,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsetxattr,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_truncate,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // Sockets that are there, pipes, waiting.
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_gettime,
    libc::SYS_timerfd_settime,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mremap,
    libc::SYS_munlock,
    libc::SYS_munmap,
    // Threads, signals to ourselves, the end.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_get_robust_list,
    libc::SYS_getcpu,
    libc::SYS_getpriority,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    // For leaving real time; entering it needs a right that is gone by then.
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    // Time, chance, and who we are.
    libc::SYS_capget,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getgroups,
    libc::SYS_getpgid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getresgid,
    libc::SYS_getresuid,
    libc::SYS_getrusage,
    libc::SYS_getsid,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_uname,
];

/// The older forms of calls above, which newer processors never had.
#[cfg(target_arch = "x86_64")]
const ALLOWED_LEGACY: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_chmod,
    libc::SYS_dup2,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getdents,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_link,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_select,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_LEGACY: &[libc::c_long] = &[];

const WRITE_AND_RUN: u64 = (libc::PROT_WRITE | libc::PROT_EXEC) as u64;

/// A compiled filter, or why there is none.
pub(super) struct Filter(Result<BpfProgram, String>);

impl Filter {
    pub(super) fn prepare() -> Self {
        let target = TargetArch::try_from(std::env::consts::ARCH)
            .map_err(|_| format!("no filter for the processor {}", std::env::consts::ARCH));
        Self(target.and_then(|target| compile(target).map_err(|error| error.to_string())))
    }

    pub(super) fn raise(self) -> io::Result<Enforcement> {
        let program = match self.0 {
            Ok(program) => program,
            Err(reason) => return Ok(Enforcement::None(reason)),
        };
        match seccompiler::apply_filter(&program) {
            Ok(()) => Ok(Enforcement::Full),
            Err(seccompiler::Error::Seccomp(error) | seccompiler::Error::Prctl(error)) => {
                match error.raw_os_error() {
                    Some(libc::ENOSYS | libc::EINVAL) => {
                        Ok(Enforcement::None("this kernel has no seccomp filters".into()))
                    }
                    _ => Err(error),
                }
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

fn compile(target: TargetArch) -> Result<BpfProgram, seccompiler::Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    rules.extend(ALLOWED.iter().chain(ALLOWED_LEGACY).map(|&call| (call, Vec::new())));
    for (call, alternatives) in conditional() {
        let alternatives = alternatives.into_iter().map(|all| {
            let conditions = all.into_iter().map(|Argument(place, width, compare, value)| {
                SeccompCondition::new(place, width, compare, value)
            });
            SeccompRule::new(conditions.collect::<Result<_, _>>()?)
        });
        rules.insert(call, alternatives.collect::<Result<_, _>>()?);
    }
    let refuse = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, target)?;
    BpfProgram::try_from(filter).map_err(seccompiler::Error::Backend)
}

/// What the argument at a place must be.
struct Argument(u8, Width, Compare, u64);

/// Allowed if all conditions of one of the alternatives hold.
fn conditional() -> Vec<(libc::c_long, Vec<Vec<Argument>>)> {
    let is = |place, value: libc::c_int| {
        Argument(place, Width::Dword, Compare::Eq, u64::from(value.cast_unsigned()))
    };
    let is_not =
        |place, value: libc::Ioctl| Argument(place, Width::Dword, Compare::Ne, u64::from(value as u32));
    let masked = |place, mask: u64, value: u64| Argument(place, Width::Qword, Compare::MaskedEq(mask), value);
    let one_of = |place, values: &[libc::c_int]| {
        values.iter().map(|&value| vec![is(place, value)]).collect::<Vec<_>>()
    };

    let thread = (libc::CLONE_THREAD | libc::CLONE_VM) as u64;
    let own_process = std::process::id().cast_signed();
    let (write, run) = (libc::PROT_WRITE as u64, libc::PROT_EXEC as u64);
    vec![
        (libc::SYS_clone, vec![vec![masked(0, thread, thread)]]),
        (libc::SYS_ioctl, vec![vec![is_not(1, libc::TIOCSTI), is_not(1, libc::TIOCLINUX)]]),
        (libc::SYS_mmap, [0, write, run].map(|rights| vec![masked(2, WRITE_AND_RUN, rights)]).into()),
        (libc::SYS_mprotect, vec![vec![masked(2, run, 0)]]),
        (
            libc::SYS_prctl,
            one_of(
                0,
                &[
                    libc::PR_SET_NAME,
                    libc::PR_GET_NAME,
                    libc::PR_SET_VMA,
                    libc::PR_GET_DUMPABLE,
                    libc::PR_CAPBSET_READ,
                    libc::PR_GET_NO_NEW_PRIVS,
                    libc::PR_GET_SECCOMP,
                ],
            ),
        ),
        // Limits of this process.
        (libc::SYS_prlimit64, one_of(0, &[0])),
        (libc::SYS_socket, one_of(0, &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK])),
        (libc::SYS_socketpair, one_of(0, &[libc::AF_UNIX])),
        // What `abort` uses.
        (libc::SYS_tgkill, one_of(0, &[own_process])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_for_this_processor() {
        let filter = Filter::prepare();
        assert!(filter.0.is_ok(), "{:?}", filter.0);
    }

    #[test]
    fn no_call_is_in_both_lists() {
        for (call, _) in conditional() {
            assert!(!ALLOWED.contains(&call) && !ALLOWED_LEGACY.contains(&call), "{call}");
        }
    }

    #[test]
    fn the_calls_an_intruder_would_miss_most_are_not_in_the_list() {
        let conditional: Vec<_> = conditional().into_iter().map(|(call, _)| call).collect();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone3,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_pidfd_getfd,
            libc::SYS_setns,
            libc::SYS_unshare,
            libc::SYS_mount,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_keyctl,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_setuid,
            libc::SYS_capset,
            libc::SYS_kill,
            libc::SYS_chroot,
            libc::SYS_reboot,
        ] {
            assert!(
                !ALLOWED.contains(&call) && !ALLOWED_LEGACY.contains(&call) && !conditional.contains(&call),
                "{call}"
            );
        }
    }
}
