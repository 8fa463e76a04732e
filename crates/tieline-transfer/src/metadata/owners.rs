//! Who a file belongs to, told by name or by number.
//!
//! Names are looked up where the system keeps them (`nsswitch.conf`), each once in a transfer.

use std::collections::BTreeMap;

use nix::unistd::{Gid, Group, Uid, User};

/// How the owner of a file is told to the far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// Not at all: it belongs to whoever runs the line.
    #[default]
    None,
    /// By name, where both ends know it.
    Name,
    /// By number.
    Number,
}

/// Octets of a name of a user or a group; systems take 32, directories more.
pub(crate) const NAME_LEN_MAX: usize = 255;
/// Look-ups that are remembered, of each kind.
const KNOWN_MAX: usize = 256;
/// "Leave it as it is" for `chown(2)`, and so nobody's number.
pub(crate) const NOBODY: u32 = u32::MAX;

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    Name(Box<str>),
    Number(u32),
}

/// What was looked up in one transfer.
#[derive(Debug, Default)]
pub(crate) struct Names {
    users: Known,
    groups: Known,
}

#[derive(Debug, Default)]
struct Known {
    names: BTreeMap<u32, Option<Box<str>>>,
    numbers: BTreeMap<Box<str>, Option<u32>>,
}

impl Names {
    /// How these two, of a file here, are told to the far end; a number without a name is not told by name.
    pub(crate) fn told(&mut self, owner: Owner, user: u32, group: u32) -> [Option<Principal>; 2] {
        match owner {
            Owner::None => [None, None],
            Owner::Number => [user, group].map(|number| Some(Principal::Number(number))),
            Owner::Name => {
                let user = remember(&mut self.users.names, user, |&number| {
                    Some(User::from_uid(Uid::from_raw(number)).ok()??.name)
                });
                let group = remember(&mut self.groups.names, group, |&number| {
                    Some(Group::from_gid(Gid::from_raw(number)).ok()??.name)
                });
                [user, group].map(|name| name.map(Principal::Name))
            }
        }
    }

    /// The number that a user has here, if he is told in the way that is wanted, and known.
    pub(crate) fn user(&mut self, told: Principal, wanted: Owner) -> Option<u32> {
        number(&mut self.users, told, wanted, |name| Some(User::from_name(name).ok()??.uid.as_raw()))
    }

    /// The same of a group.
    pub(crate) fn group(&mut self, told: Principal, wanted: Owner) -> Option<u32> {
        number(&mut self.groups, told, wanted, |name| Some(Group::from_name(name).ok()??.gid.as_raw()))
    }
}

fn number(
    known: &mut Known,
    told: Principal,
    wanted: Owner,
    find: impl FnOnce(&str) -> Option<u32>,
) -> Option<u32> {
    match (told, wanted) {
        (Principal::Number(number), Owner::Number) => Some(number),
        (Principal::Name(name), Owner::Name) => remember(&mut known.numbers, name, |name| find(name)),
        (Principal::Number(_), Owner::None | Owner::Name)
        | (Principal::Name(_), Owner::None | Owner::Number) => None,
    }
}

fn remember<K: Ord, V, W: From<V> + Clone>(
    known: &mut BTreeMap<K, Option<W>>,
    key: K,
    find: impl FnOnce(&K) -> Option<V>,
) -> Option<W> {
    if let Some(found) = known.get(&key) {
        return found.clone();
    }
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    let found = find(&key).map(W::from);
    known.insert(key, found.clone());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Principal {
        Principal::Name(name.into())
    }

    #[test]
    fn the_first_user_is_told_and_found_in_both_ways() {
        let mut names = Names::default();
        assert_eq!(names.told(Owner::None, 0, 0), [None, None]);
        assert_eq!(names.told(Owner::Number, 0, 7), [0, 7].map(|number| Some(Principal::Number(number))));
        assert_eq!(names.told(Owner::Name, 0, 0), [Some(name("root")), Some(name("root"))]);
        for _ in 0..2 {
            assert_eq!(names.user(name("root"), Owner::Name), Some(0));
            assert_eq!(names.group(name("root"), Owner::Name), Some(0));
        }
        assert_eq!(names.user(Principal::Number(9), Owner::Number), Some(9));
    }

    #[test]
    fn case_30_who_is_unknown_or_told_in_another_way_is_nobody() {
        let mut names = Names::default();
        let nobody = 4_000_000_000;
        assert_eq!(names.told(Owner::Name, nobody, nobody), [None, None]);
        for unknown in ["", "no such user", "ro\0ot", "../root", &"x".repeat(10_000)] {
            assert_eq!(names.user(name(unknown), Owner::Name), None);
            assert_eq!(names.group(name(unknown), Owner::Name), None);
        }
        for wanted in [Owner::None, Owner::Number] {
            assert_eq!(names.user(name("root"), wanted), None);
        }
        for wanted in [Owner::None, Owner::Name] {
            assert_eq!(names.group(Principal::Number(0), wanted), None);
        }
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut known = BTreeMap::new();
        for number in 0..2 * KNOWN_MAX {
            assert_eq!(remember(&mut known, number, |&number| Some(number)), Some(number));
            assert!(known.len() <= KNOWN_MAX);
        }
    }
}
