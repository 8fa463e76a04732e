//! What seals nothing: our packet path without it (`bench/floor`), and the kernel's VXLAN.

use std::path::Path;
use std::time::Duration;

use tieline_bench::process::Daemon;

use super::{MTU, PORT};
use crate::offices::Offices;

/// Looks for the device, and the time between two.
const LOOKS: u32 = 100;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// RFC 7348 §5; a device's features may depend on it.
const VXLAN_PORT: u16 = 4789;

pub(super) fn start_floor(program: &Path, offices: &Offices) -> Result<Vec<Daemon>, String> {
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

/// The kernel has it without a daemon.
pub(super) fn start_vxlan(offices: &Offices) -> Result<Vec<Daemon>, String> {
    for office in offices.both() {
        let [local, remote] = [office.outside, offices.other(office).outside];
        office.must(&format!(
            "ip link add vxlan0 type vxlan id 5 dstport {VXLAN_PORT} local {local} remote {remote} dev wan0"
        ))?;
        office.must(&format!("ip address add {} dev vxlan0", office.inside_network()))?;
        office.must(&format!("ip link set vxlan0 mtu {MTU} up"))?;
    }
    Ok(vec![])
}
