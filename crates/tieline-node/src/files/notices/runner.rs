//! What the helper process does: it runs hooks and says how they ended.
//!
//! A hook is a program with arguments, run without a shell. It has what happened in variables that begin with `TIELINE_` and as one row of
//! JSON on its standard input. It leads a process group of its own, which is ended with it; after `TIME_MAX` at the latest.
//!
//! The first row of the helper's input are the commands; each row after that is a `Request`, answered by a `Reply` in any order.

use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::{Deserialize, Serialize};

/// Hooks that run at once.
pub(super) const RUNNING_MAX: usize = 4;
/// How long one may run.
const TIME_MAX: Duration = Duration::from_mins(1);
/// How long it may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether it has ended, where its output does not say so.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Octets of its output that are kept; the rest is read and forgotten.
const OUTPUT_LEN_MAX: usize = 4096;
/// Octets that are read at once, as many as a pipe takes at once.
const READ_LEN: usize = 4096;
/// How often it is read after its end: as much as a pipe holds.
const READS_MAX: usize = 16;
/// With what the names of variables begin: none that says how programs are run.
pub(super) const PREFIX: &str = "TIELINE_";

/// Which hook is to be run, and with what.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) hook: usize,
    /// Names and octets.
    pub(super) variables: Vec<(String, Vec<u8>)>,
    pub(super) input: String,
}

/// How a hook ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) command: String,
    /// What went wrong.
    pub(super) trouble: Option<String>,
    /// What it wrote, on both streams.
    pub(super) output: String,
}

/// Runs hooks as asked on standard input until that ends.
///
/// # Errors
///
/// If it cannot be read, or is not what it must be.
pub fn run() -> io::Result<()> {
    let mut rows = io::stdin().lock().lines();
    let commands: Vec<Vec<String>> = match rows.next() {
        Some(commands) => serde_json::from_str(&commands?)?,
        None => return Ok(()),
    };
    let replies = Mutex::new(io::stdout());
    let reply = |reply: &Reply| -> io::Result<()> {
        let mut row = serde_json::to_vec(reply)?;
        row.push(b'\n');
        let mut out = replies.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(&row)?;
        out.flush()
    };
    let (slots, ended) = mpsc::sync_channel(RUNNING_MAX);
    let ended = Mutex::new(ended);
    // Ends when those that run have ended.
    thread::scope(|scope| {
        for row in rows {
            let request: Request = serde_json::from_str(&row?)?;
            let command = commands.get(request.hook).ok_or(io::ErrorKind::InvalidData)?;
            let (reply, ended) = (&reply, &ended);
            slots.send(()).map_err(io::Error::other)?;
            scope.spawn(move || {
                let told = reply(&run_one(command, &request, TIME_MAX));
                // There is one for each that runs.
                let _ = ended.lock().unwrap_or_else(PoisonError::into_inner).try_recv();
                told
            });
        }
        Ok(())
    })
}

fn run_one(command: &[String], request: &Request, time_max: Duration) -> Reply {
    let mut output = Vec::new();
    let trouble = match try_run(command, request, time_max, &mut output) {
        Ok(None) => None,
        Ok(Some(trouble)) => Some(trouble),
        Err(error) => Some(format!("it cannot be run: {error}")),
    };
    let output = String::from_utf8_lossy(&output).trim_end().escape_debug().to_string();
    Reply { command: command.join(" "), trouble, output }
}

/// Runs one to its end; returns what went wrong with it.
fn try_run(
    command: &[String],
    request: &Request,
    time_max: Duration,
    output: &mut Vec<u8>,
) -> io::Result<Option<String>> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (mut reader, writer) = io::pipe()?;
    let mut prepared = Command::new(program);
    prepared.args(arguments).process_group(0);
    for (name, value) in &request.variables {
        if name.starts_with(PREFIX) && !value.contains(&0) {
            prepared.env(name, OsString::from_vec(value.clone()));
        }
    }
    prepared.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = prepared.spawn()?;
    // It holds the ends of the pipe that are for the child.
    drop(prepared);
    if let Some(mut input) = child.stdin.take() {
        // A row is short of what a pipe holds, and a hook that does not read it is as good as any.
        let _ = input.write_all(request.input.as_bytes()).and_then(|()| input.write_all(b"\n"));
    }
    let until = Instant::now() + time_max;
    let Some(status) = wait(&mut child, &mut reader, output, until)? else {
        end_group(&child, Signal::TERM);
        if wait(&mut child, &mut reader, output, Instant::now() + GRACE)?.is_none() {
            end_group(&child, Signal::KILL);
            child.wait()?;
        }
        return Ok(Some(format!("it was ended: it ran for more than {time_max:?}")));
    };
    Ok((!status.success()).then(|| status.to_string()))
}

/// Gathers output until the hook has ended, or the time has come; none if it is still running. What it left running ends with it.
fn wait(
    child: &mut Child,
    reader: &mut io::PipeReader,
    output: &mut Vec<u8>,
    until: Instant,
) -> io::Result<Option<ExitStatus>> {
    let mut is_open = true;
    while Instant::now() < until {
        if has_ended(child)? {
            end_group(child, Signal::KILL);
            for _ in 0..READS_MAX {
                if !is_open || !is_readable(reader, Duration::ZERO)? {
                    break;
                }
                is_open = read(reader, output)?;
            }
            return child.wait().map(Some);
        }
        if !is_open {
            thread::sleep(LOOK_EVERY);
        } else if is_readable(reader, LOOK_EVERY)? {
            is_open = read(reader, output)?;
        }
    }
    Ok(None)
}

/// Whether it has ended. It is not taken yet: until it is, no other process can have its number.
fn has_ended(child: &Child) -> io::Result<bool> {
    let Some(pid) = pid(child) else { return Ok(true) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

/// Reads what there is; false at the end.
fn read(reader: &mut io::PipeReader, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut some = [0; READ_LEN];
    let len = reader.read(&mut some)?;
    let room = OUTPUT_LEN_MAX.saturating_sub(output.len());
    output.extend(&some[..len.min(room)]);
    Ok(len > 0)
}

fn is_readable(reader: &io::PipeReader, wait: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)];
    let wait = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    Ok(poll(&mut fds, Some(&wait))? > 0)
}

/// Ends whatever is left of a hook's process group.
fn end_group(child: &Child, signal: Signal) {
    // Nothing of it may be left.
    let _ = pid(child).map(|group| kill_process_group(group, signal));
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &[&str], time_max: Duration) -> Reply {
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let variables = vec![
            ("TIELINE_FILE".to_owned(), b"/in/a b".to_vec()),
            ("PATH".to_owned(), b"/nowhere".to_vec()),
            ("TIELINE_BAD".to_owned(), b"a\0b".to_vec()),
        ];
        run_one(&command, &Request { hook: 0, variables, input: "{}".into() }, time_max)
    }

    #[test]
    fn a_hook_has_what_happened_in_its_environment_and_on_its_input_and_no_shell() {
        let script = "cat; echo \"$TIELINE_FILE $TIELINE_BAD\"; test \"$PATH\" != /nowhere; echo \"$1\" >&2";
        let reply = run(&["sh", "-c", script, "sh", "$(echo no shell) *"], TIME_MAX);
        assert_eq!(reply.trouble, None, "{reply:?}");
        assert_eq!(reply.output, "{}\\n/in/a b \\n$(echo no shell) *");
        assert!(reply.command.starts_with("sh -c"));
    }

    #[test]
    fn a_hook_that_fails_or_is_not_there_says_why() {
        assert_eq!(run(&["sh", "-c", "exit 3"], TIME_MAX).trouble.as_deref(), Some("exit status: 3"));
        let missing = run(&["/nowhere/hook"], TIME_MAX).trouble.unwrap();
        assert!(missing.starts_with("it cannot be run: "), "{missing}");
    }

    #[test]
    fn a_hook_that_runs_for_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script =
            format!("trap '' TERM; sleep 1000 & echo $$ $! > {}; wait; wait; sleep 1000", file.display());
        let reply = run(&["sh", "-c", &script], Duration::from_millis(500));
        assert!(reply.trouble.unwrap().starts_with("it was ended"));
        let pids = std::fs::read_to_string(file).unwrap();
        for pid in pids.split_whitespace() {
            // Whoever takes in orphans may not have buried it yet.
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(status.is_empty() || status.contains(") Z "), "{status}");
        }
    }

    #[test]
    fn what_a_hook_leaves_running_is_ended_and_not_waited_for() {
        let start = Instant::now();
        let reply = run(&["sh", "-c", "sleep 1000 & echo done"], TIME_MAX);
        assert_eq!((reply.trouble, &*reply.output), (None, "done"));
        assert!(start.elapsed() < TIME_MAX);
    }

    #[test]
    fn only_the_beginning_of_a_long_output_is_kept() {
        let reply = run(&["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"], TIME_MAX);
        assert_eq!((reply.trouble, reply.output.len()), (None, OUTPUT_LEN_MAX));
    }
}
