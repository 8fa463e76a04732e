//! Capabilities (`capabilities(7)`): root's power in pieces.

use std::io;

use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// The capabilities that this thread can use now, by their names.
///
/// # Errors
///
/// What the kernel said.
pub fn effective() -> io::Result<Vec<String>> {
    Ok(names(thread::capabilities(None)?.effective))
}

/// The capabilities that a program run by this thread could still come by, by their names.
///
/// # Errors
///
/// What the kernel said.
pub fn bounding() -> io::Result<Vec<String>> {
    let mut set = CapabilitySet::empty();
    for one in each() {
        match thread::capability_is_in_bounding_set(one) {
            Ok(there) => set.set(one, there),
            // The first number that the kernel has no capability for.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(names(set))
}

/// Whether this thread may make devices and change addresses and routes.
#[must_use]
pub fn may_administer_network() -> bool {
    thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Drops all capabilities of this thread from all sets, except that `CAP_NET_ADMIN` and `CAP_CHOWN` stay usable if they are wanted and
/// were there. A program that is run inherits none.
pub(super) fn keep(net_admin: bool, chown: bool) -> io::Result<()> {
    let had = thread::capabilities(None)?.permitted;
    let mut wanted = CapabilitySet::empty();
    wanted.set(CapabilitySet::NET_ADMIN, net_admin);
    wanted.set(CapabilitySet::CHOWN, chown);
    let kept = had.intersection(wanted);
    thread::clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(thread::set_capabilities(None, sets)?)
}

/// Empties the bounding set; returns whether it is empty. Without `CAP_SETPCAP` it cannot be, and matters less: "no new
/// privileges" already keeps a program from gaining what its file would give it.
pub(super) fn empty_bounding_set() -> io::Result<bool> {
    for one in each() {
        match thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(Errno::PERM) => return Ok(bounding()?.is_empty()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bounding()?.is_empty())
}

/// Every capability a kernel might have, the known and the unknown.
fn each() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

fn names(set: CapabilitySet) -> Vec<String> {
    let held = each().zip(0..).filter(|(one, _)| set.contains(*one));
    held.map(|(one, number)| name(one).unwrap_or_else(|| format!("capability {number}"))).collect()
}

/// As `capabilities(7)` spells it.
fn name(one: CapabilitySet) -> Option<String> {
    let (name, _) = one.iter_names().next()?;
    Some(format!("CAP_{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_names_of_the_manual_page() {
        let set = CapabilitySet::NET_ADMIN | CapabilitySet::CHECKPOINT_RESTORE | CapabilitySet::CHOWN;
        assert_eq!(names(set), ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_CHECKPOINT_RESTORE"]);
    }

    #[test]
    fn a_capability_of_a_newer_kernel_is_listed_by_its_number() {
        assert_eq!(names(CapabilitySet::from_bits_retain(1 << 60)), ["capability 60"]);
    }
}
