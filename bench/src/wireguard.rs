//! Programs that are set up as WireGuard is, by `wg` over a socket.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tieline_io::namespace::NamespaceCommand;

use crate::process::{self, Daemon};

/// The largest packet in the tunnel.
pub const MTU: u16 = 1420;
/// Where both ends listen.
const PORT: u16 = 51820;

/// One end of a tunnel.
pub struct End<'a> {
    /// Prepares a process of it.
    pub command: &'a dyn Fn(&OsStr) -> NamespaceCommand,
    /// For its files.
    pub folder: &'a Path,
    /// Where the other end reaches it.
    pub outside: Ipv4Addr,
    /// Its address in the tunnel.
    pub inside: Ipv4Addr,
}

impl End<'_> {
    fn command(&self, program: impl AsRef<OsStr>) -> NamespaceCommand {
        (self.command)(program.as_ref())
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf, String> {
        let file = self.folder.join(name);
        fs::write(&file, content).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(file)
    }
}

/// Starts `program` with these arguments at both ends; their device is `wg0`, in a network of `prefix_len` bits.
///
/// # Errors
///
/// What went wrong; nothing is left running.
pub fn start(
    program: &Path,
    arguments: &[&str],
    ends: [&End<'_>; 2],
    prefix_len: u8,
) -> Result<Vec<Daemon>, String> {
    let mut keys = Vec::new();
    for end in ends {
        let private = process::must(end.command("wg").arg("genkey"))?;
        let file = end.write("private-key", &private)?;
        let public = process::must(end.command("sh").arg("-c").arg("wg pubkey <\"$0\"").arg(&file))?;
        keys.push((private.trim().to_owned(), public.trim().to_owned()));
    }
    [0, 1]
        .into_iter()
        .map(|number| {
            let (end, other) = (ends[number], ends[1 - number]);
            let settings = format!(
                "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n[Peer]\nPublicKey = {}\n\
                 Endpoint = {}:{PORT}\nAllowedIPs = {}/32\n",
                keys[number].0,
                keys[1 - number].1,
                other.outside,
                other.inside
            );
            run(program, arguments, end, prefix_len, &end.write("settings", &settings)?)
        })
        .collect()
}

/// In a mount namespace of its own: where it has its socket, others have theirs. The shell becomes the daemon, so that what is measured
/// of the process is the daemon's.
fn run(
    program: &Path,
    arguments: &[&str],
    end: &End<'_>,
    prefix_len: u8,
    settings: &Path,
) -> Result<Daemon, String> {
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/wireguard || exit 1
         (for look in $(seq 500); do [ -S /run/wireguard/wg0.sock ] && break; sleep 0.02; done
          wg setconf wg0 '{}' && ip address add {}/{prefix_len} dev wg0 && ip link set wg0 mtu {MTU} up) &
         exec \"$0\" \"$@\"",
        settings.display(),
        end.inside,
    );
    let command = end.command("unshare").args(["--mount", "sh", "-c", &script]);
    let command = command.arg(program).args(arguments).arg("wg0").env("WG_PROCESS_FOREGROUND", "1");
    Daemon::start(command, end.folder.join("log"))
}
