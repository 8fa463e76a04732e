//! Programs that are set up as WireGuard is, by `wg` over a socket.

use std::path::Path;

use super::{MTU, PORT};
use crate::offices::{Office, Offices};
use crate::process::{self, Daemon};

pub(super) fn start(program: &Path, arguments: &[&str], offices: &Offices) -> Result<Vec<Daemon>, String> {
    let mut keys = Vec::new();
    for office in offices.both() {
        let private = process::must(office.command("wg").arg("genkey"))?;
        let file = office.write("private-key", &private)?;
        let public = process::must(office.command("sh").arg("-c").arg("wg pubkey <\"$0\"").arg(&file))?;
        keys.push((private.trim().to_owned(), public.trim().to_owned()));
    }
    let ends = [(&offices.a, &keys[0].0, &keys[1].1), (&offices.b, &keys[1].0, &keys[0].1)];
    ends.into_iter()
        .map(|(office, private, public_of_other)| {
            let other = offices.other(office);
            let settings = format!(
                "[Interface]\nPrivateKey = {private}\nListenPort = {PORT}\n[Peer]\nPublicKey = {public_of_other}\n\
                 Endpoint = {}:{PORT}\nAllowedIPs = {}/32\n",
                other.outside, other.inside
            );
            run(program, arguments, office, &office.write("settings", &settings)?)
        })
        .collect()
}

/// In a mount namespace of its own: where it has its socket, others have theirs. The shell becomes the daemon, so that what is measured
/// of the process is the daemon's.
fn run(program: &Path, arguments: &[&str], office: &Office, settings: &Path) -> Result<Daemon, String> {
    let script = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/wireguard || exit 1
         (for look in $(seq 500); do [ -S /run/wireguard/wg0.sock ] && break; sleep 0.02; done
          wg setconf wg0 '{}' && ip address add {} dev wg0 && ip link set wg0 mtu {MTU} up) &
         exec \"$0\" \"$@\"",
        settings.display(),
        office.inside_network(),
    );
    let command = office.command("unshare").args(["--mount", "sh", "-c", &script]);
    let command = command.arg(program).args(arguments).arg("wg0").env("WG_PROCESS_FOREGROUND", "1");
    Daemon::start(command, office.folder.join("log"))
}
