//! The helper process that runs the hooks of a line: started before the line's process gives its rights up, and asked over a socket.
//!
//! It is told the commands when it starts, and afterwards only which of them to run and with what in its environment and on its input. So
//! who takes over the process of a line can have the operator's hooks run, and no other program.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::runner::{RUNNING_MAX, Reply, Request};

/// The subcommand of this program that is the helper.
pub const SUBCOMMAND: &str = "run-hooks";

/// The helper, as the process of the line has it.
#[derive(Debug)]
pub struct Helper(StdStream);

impl Helper {
    /// Starts the helper, which is this program, with the commands that it may run.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn start(commands: &[Vec<String>]) -> io::Result<Self> {
        let (mut ours, theirs) = StdStream::pair()?;
        let output: OwnedFd = theirs.try_clone()?.into();
        let mut helper = Command::new("/proc/self/exe");
        helper.arg(SUBCOMMAND).stdin(OwnedFd::from(theirs)).stdout(output).stderr(Stdio::inherit());
        // What is sent to the terminal's processes is not for hooks that run.
        helper.current_dir("/").process_group(0);
        // It ends when the socket does, and init has it then: it outlives us if hooks are still running.
        drop(helper.spawn()?);
        let mut row = serde_json::to_vec(commands)?;
        row.push(b'\n');
        ours.write_all(&row)?;
        ours.set_nonblocking(true)?;
        Ok(Self(ours))
    }

    /// Has hooks run until nobody asks for more, or the helper has ended.
    pub(super) async fn serve(self, mut requests: mpsc::Receiver<Request>) {
        if let Err(error) = self.try_serve(&mut requests).await {
            warn!(%error, "the helper that runs the hooks has ended; none is run until the line is taken down and up");
        }
    }

    async fn try_serve(self, requests: &mut mpsc::Receiver<Request>) -> io::Result<()> {
        let (replies, mut writer) = UnixStream::from_std(self.0)?.into_split();
        let mut replies = BufReader::new(replies).lines();
        let mut running = 0;
        loop {
            tokio::select! {
                request = requests.recv(), if running < RUNNING_MAX => {
                    let Some(request) = request else { return Ok(()) };
                    let mut row = serde_json::to_vec(&request)?;
                    row.push(b'\n');
                    writer.write_all(&row).await?;
                    running += 1;
                }
                reply = replies.next_line() => {
                    let reply = reply?.ok_or(io::ErrorKind::UnexpectedEof)?;
                    running = running.saturating_sub(1);
                    log(&serde_json::from_str(&reply)?);
                }
            }
        }
    }
}

fn log(reply: &Reply) {
    let Reply { command, trouble, output } = reply;
    match trouble {
        Some(trouble) => warn!(command, trouble, output, "a hook did not work"),
        None => info!(command, output, "a hook has run"),
    }
}
