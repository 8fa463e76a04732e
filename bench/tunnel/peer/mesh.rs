//! Daemons that would connect more than two: fastd, tinc, nebula and vpncloud. Ciphers as their manuals recommend or their defaults are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tieline_bench::process::Daemon;

use super::{MTU, PORT};
use crate::offices::{Office, Offices};

pub(super) fn start_fastd(offices: &Offices) -> Result<Vec<Daemon>, String> {
    let keys = [fastd_key(&offices.a)?, fastd_key(&offices.b)?];
    let ends = [(&offices.a, &keys[0].0, &keys[1].1), (&offices.b, &keys[1].0, &keys[0].1)];
    ends.into_iter()
        .map(|(office, secret, public_of_other)| {
            let settings = format!(
                "log level warn;\nmode tun;\ninterface \"fastd0\";\nmtu {MTU};\nmethod \"salsa2012+umac\";\n\
                 bind {}:{PORT};\nsecret \"{secret}\";\n\
                 on up \"ip address add {} dev fastd0; ip link set fastd0 up\";\n\
                 peer \"other\" {{ key \"{public_of_other}\"; remote {}:{PORT}; }}\n",
                office.outside,
                office.inside_network(),
                offices.other(office).outside
            );
            let settings = office.write("settings", &settings)?;
            let command = office.command("fastd").arg("--config").arg(settings);
            Daemon::start(command, office.folder.join("log"))
        })
        .collect()
}

fn fastd_key(office: &Office) -> Result<(String, String), String> {
    let said = office.must("fastd --generate-key")?;
    let value = |name: &str| {
        let row = said.lines().find_map(|row| row.strip_prefix(name));
        row.map(|value| value.trim().to_owned()).ok_or(format!("fastd says no {name} {said}"))
    };
    Ok((value("Secret:")?, value("Public:")?))
}

pub(super) fn start_tinc(offices: &Offices) -> Result<Vec<Daemon>, String> {
    let name = |office: &Office| office.name.replace('-', "_");
    for office in offices.both() {
        let other = offices.other(office);
        let hosts = office.folder.join("hosts");
        fs::create_dir(&hosts).map_err(|error| error.to_string())?;
        office.write(
            "tinc.conf",
            &format!(
                "Name = {}\nConnectTo = {}\nInterface = tinc0\nDeviceType = tun\nAddressFamily = ipv4\n",
                name(office),
                name(other)
            ),
        )?;
        let up = format!(
            "#!/bin/sh\nip address add {} dev tinc0\nip link set tinc0 mtu {MTU} up\n",
            office.inside_network()
        );
        let up = office.write("tinc-up", &up)?;
        fs::set_permissions(up, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        let host = format!("Address = {}\nPort = {PORT}\nSubnet = {}/32\n", office.outside, office.inside);
        office.write(&format!("hosts/{}", name(office)), &host)?;
        office.must(&format!("tincd --config={} --generate-keys=2048", office.folder.display()))?;
    }
    for office in offices.both() {
        let file = format!("hosts/{}", name(office));
        let host = fs::read_to_string(office.folder.join(&file)).map_err(|error| error.to_string())?;
        offices.other(office).write(&file, &host)?;
    }
    let start = |office: &Office| {
        let folder = office.folder.display();
        let arguments = format!("--config={folder} --pidfile={folder}/pid --no-detach");
        let command = office.command("tincd").args(arguments.split_whitespace());
        Daemon::start(command, office.folder.join("log"))
    };
    offices.both().into_iter().map(start).collect()
}

/// It measures its ciphers when it starts and takes the fastest that both ends allow; both allow all that seal. 2.3.0 neither sets nor
/// reads the device's address rightly and will not start without a default route, so all of that is done for it.
pub(super) fn start_vpncloud(program: &Path, offices: &Offices) -> Result<Vec<Daemon>, String> {
    let start = |office: &Office| {
        office.must("ip route add default dev wan0")?;
        let [listen, peer] = [office.outside, offices.other(office).outside].map(|ip| format!("{ip}:{PORT}"));
        let up = format!(
            "ip address add {} dev vpncloud0; ip link set vpncloud0 mtu {MTU} up",
            office.inside_network()
        );
        let arguments = format!(
            "--type tun --device vpncloud0 --password bench --listen {listen} --peer {peer} --no-port-forwarding \
             --no-auto-claim --claim {}/32 --ifup",
            office.inside
        );
        let command = office.command(program).args(arguments.split_whitespace()).arg(up);
        Daemon::start(command, office.folder.join("log"))
    };
    offices.both().into_iter().map(start).collect()
}

pub(super) fn start_nebula(offices: &Offices) -> Result<Vec<Daemon>, String> {
    let authority = offices.a.folder.display().to_string();
    offices.a.must(&format!(
        "nebula-cert ca -name bench -out-crt {authority}/ca.crt -out-key {authority}/ca.key"
    ))?;
    offices
        .both()
        .into_iter()
        .map(|office| {
            let folder = office.folder.display();
            office.must(&format!(
                "nebula-cert sign -ca-crt {authority}/ca.crt -ca-key {authority}/ca.key -name {} -ip {} \
                 -out-crt {folder}/host.crt -out-key {folder}/host.key",
                office.name,
                office.inside_network()
            ))?;
            let settings = office.write("settings.yml", &nebula_settings(offices, office, &authority))?;
            let command = office.command("nebula").arg("-config").arg(settings);
            Daemon::start(command, office.folder.join("log"))
        })
        .collect()
}

/// The first office is the lighthouse of the second.
fn nebula_settings(offices: &Offices, office: &Office, authority: &str) -> String {
    let (folder, a) = (office.folder.display(), &offices.a);
    let lighthouse = if office.name == a.name {
        "{am_lighthouse: true}".to_owned()
    } else {
        format!("{{am_lighthouse: false, hosts: [\"{}\"]}}", a.inside)
    };
    format!(
        "pki: {{ca: \"{authority}/ca.crt\", cert: \"{folder}/host.crt\", key: \"{folder}/host.key\"}}\n\
         static_host_map: {{\"{}\": [\"{}:{PORT}\"]}}\n\
         lighthouse: {lighthouse}\n\
         listen: {{host: 0.0.0.0, port: {PORT}}}\n\
         tun: {{dev: nebula0, mtu: {MTU}}}\n\
         firewall:\n  outbound: [{{port: any, proto: any, host: any}}]\n  inbound: [{{port: any, proto: any, host: any}}]\n",
        a.inside, a.outside
    )
}
