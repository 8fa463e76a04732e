//! OpenVPN between two ends that know each other's certificate by its fingerprint; cipher and everything else as it comes.

use tieline_bench::process::{self, Daemon};

use super::{MTU, PORT};
use crate::offices::{Office, Offices};

pub(super) fn start(offices: &Offices) -> Result<Vec<Daemon>, String> {
    let fingerprints = [certify(&offices.a)?, certify(&offices.b)?];
    let ends =
        [(&offices.a, "--tls-server", &fingerprints[1]), (&offices.b, "--tls-client", &fingerprints[0])];
    ends.into_iter()
        .map(|(office, role, fingerprint)| {
            let other = offices.other(office);
            let (folder, port, mtu) = (office.folder.display(), PORT, MTU);
            let arguments = format!(
                "--dev vpn0 --dev-type tun --proto udp --local {} --remote {} --port {port} {role} --dh none \
                 --cert {folder}/certificate --key {folder}/key --peer-fingerprint {fingerprint} \
                 --ifconfig {} {} --tun-mtu {mtu} --verb 1",
                office.outside, other.outside, office.inside, other.inside
            );
            let command = office.command("openvpn").args(arguments.split_whitespace());
            Daemon::start(command, office.folder.join("log"))
        })
        .collect()
}

/// Makes a certificate and returns its fingerprint.
fn certify(office: &Office) -> Result<String, String> {
    let folder = office.folder.display();
    office.must(&format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -sha256 -days 2 -subj /CN={} \
         -keyout {folder}/key -out {folder}/certificate",
        office.name
    ))?;
    let said = process::must(
        office
            .command("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(format!("{folder}/certificate")),
    )?;
    let fingerprint = said.trim().rsplit_once('=').ok_or(format!("no fingerprint: {said}"))?.1;
    Ok(fingerprint.to_owned())
}
