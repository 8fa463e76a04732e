//! Our packet path with sealing left out (`bench/floor`).

use std::path::Path;
use std::time::Duration;

use super::PORT;
use crate::offices::Offices;
use crate::process::Daemon;

/// Looks for the device, and the time between two.
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

pub(super) fn start(program: &Path, offices: &Offices) -> Result<Vec<Daemon>, String> {
    let mut daemons = Vec::new();
    for office in offices.both() {
        let [local, remote] =
            [office.outside, offices.other(office).outside].map(|ip| format!("{ip}:{PORT}"));
        let command = office.command(program).args(["floor0", &local, &remote]);
        let daemon = Daemon::start(command, office.folder.join("log"))?;
        let mut looks = (0..LOOKS).map(|_| {
            std::thread::sleep(BETWEEN_LOOKS);
            office.must(&format!("ip address add {} dev floor0", office.inside_network()))
        });
        if !looks.any(|looked| looked.is_ok()) {
            return Err(format!("the floor does not come up: {}", daemon.log()));
        }
        office.must("ip link set floor0 up")?;
        daemons.push(daemon);
    }
    Ok(daemons)
}
