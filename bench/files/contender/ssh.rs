//! A server of SSH in office B with keys and settings of its own, and what a client in office A has to know of it.

use std::path::Path;

use tieline_bench::process::{self, Daemon};

use super::wait_for_port;
use tieline_bench::offices::Offices;

pub(super) const SSHD: &str = "/usr/sbin/sshd";
/// The name by which the client knows the server.
pub(super) const HOST: &str = "office-b";
/// The settings of the client, in the folder of office A.
pub(super) const CONFIG: &str = "ssh_config";
const PORT: u16 = 2222;
/// What the fastest of today's processors do in hardware.
const CIPHER: &str = "aes128-gcm@openssh.com";

/// Makes keys, and starts the server, which finds `program` by its name.
///
/// # Errors
///
/// What went wrong.
pub(super) fn start(offices: &Offices, program: &Path) -> Result<Daemon, String> {
    let (a, b) = (&offices.a, &offices.b);
    let (ours, theirs) = (a.folder.join("key"), b.folder.join("host_key"));
    for (office, key) in [(a, &ours), (b, &theirs)] {
        let keygen = office.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        process::must(keygen.arg(key))?;
    }
    let folder = program.parent().filter(|folder| folder.is_absolute());
    let folder = folder.map(|folder| format!("{}:", folder.display())).unwrap_or_default();
    let path = folder + &std::env::var("PATH").unwrap_or_default();
    let settings = b.write(
        "sshd_config",
        &format!(
            "Port {PORT}\nListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n\
             LogLevel ERROR\nMaxStartups 100\nSubsystem sftp internal-sftp\nSetEnv PATH={path}\n",
            b.address,
            theirs.display(),
            ours.with_extension("pub").display(),
        ),
    )?;
    a.write(
        CONFIG,
        &format!(
            "Host {HOST}\nHostName {}\nPort {PORT}\nUser root\nIdentityFile {}\nIdentitiesOnly yes\nBatchMode yes\n\
             StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nGlobalKnownHostsFile /dev/null\nLogLevel ERROR\n\
             Ciphers {CIPHER}\nCompression no\n",
            b.address,
            ours.display(),
        ),
    )?;
    let server = Daemon::start(command(offices, &settings), b.folder.join("sshd.log"))?;
    wait_for_port(b, PORT, &server)?;
    Ok(server)
}

/// It wants an empty folder of root's at a place that may not be there: in a mount namespace of its own it is.
fn command(offices: &Offices, settings: &Path) -> tieline_io::namespace::NamespaceCommand {
    let script =
        "mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 755 /run/sshd && exec \"$0\" -D -e -f \"$1\"";
    offices.b.command("unshare").args(["--mount", "sh", "-c", script, SSHD]).arg(settings)
}
