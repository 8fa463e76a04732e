//! The names in one folder, kept close together: a folder may have a million.

use std::os::fd::BorrowedFd;

use rustix::fs::Dir;
use rustix::io::Result;

use crate::twins::{folded, hash};

/// Names in the order of their octets.
#[derive(Debug)]
pub(super) struct Names {
    octets: Vec<u8>,
    /// Where each begins and how long it is.
    places: Vec<(u32, u8)>,
}

impl Names {
    /// Reads the names in `folder` that are wanted, at most `names_max`; the second says whether these are all.
    pub(super) fn read(
        folder: BorrowedFd<'_>,
        names_max: usize,
        is_wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<(Self, bool)> {
        let mut names = Self { octets: Vec::new(), places: Vec::new() };
        let mut is_whole = true;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || !is_wanted(name) {
                continue;
            }
            if names.places.len() >= names_max || names.push(name).is_none() {
                is_whole = false;
                break;
            }
        }
        let (octets, places) = (&names.octets, &mut names.places);
        places.sort_unstable_by(|one, other| slice(octets, *one).cmp(slice(octets, *other)));
        Ok((names, is_whole))
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn name(&self, index: usize) -> &[u8] {
        slice(&self.octets, self.places[index])
    }

    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.places.binary_search_by_key(&name, |place| slice(&self.octets, *place)).is_ok()
    }

    /// Pairs of names that some file systems would not tell apart, each with the first of its kind.
    pub(super) fn twins(&self) -> Vec<(u32, u32)> {
        // Most folders have plain names without twins: sixteen octets each, and no copy of the names, show that.
        let mut hashes: Vec<(u64, u32)> = (0..)
            .zip(&self.places)
            .map(|(index, place)| (hash(&folded(slice(&self.octets, *place))), index))
            .collect();
        hashes.sort_unstable();
        let same =
            |one: u32, other: u32| folded(self.name(one as usize)) == folded(self.name(other as usize));
        hashes
            .chunk_by(|one, other| one.0 == other.0)
            .flat_map(|group| group[1..].iter().map(move |other| (group[0].1, other.1)))
            .filter(|&(one, other)| same(one, other))
            .collect()
    }

    /// `None` if the name is longer than any, or there is no more room.
    fn push(&mut self, name: &[u8]) -> Option<()> {
        let place = (u32::try_from(self.octets.len()).ok()?, u8::try_from(name.len()).ok()?);
        self.octets.extend_from_slice(name);
        self.places.push(place);
        Some(())
    }
}

fn slice(octets: &[u8], (start, len): (u32, u8)) -> &[u8] {
    &octets[start as usize..][..usize::from(len)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&[u8]]) -> Names {
        let mut names = Names { octets: Vec::new(), places: Vec::new() };
        for name in list {
            names.push(name).unwrap();
        }
        names
    }

    #[test]
    fn names_that_differ_in_case_or_spelling_only_are_twins() {
        for (one, other, twins) in [
            ("a.txt", "A.TXT", true),
            ("a.txt", "a.tx", false),
            ("Büro", "büro", true),
            ("B\u{fc}ro", "Bu\u{308}ro", true),
            ("B\u{dc}RO", "bu\u{308}ro", true),
            ("Büro", "Buro", false),
            ("Straße", "STRASSE", true),
            ("ΟΔΟΣ", "οδος", true),
            ("οδοσ", "οδος", true),
            ("Ⅷ", "VIII", false),
        ] {
            let found = names(&[one.as_bytes(), other.as_bytes()]).twins();
            assert_eq!(found.len(), usize::from(twins), "{one} {other}");
        }
        assert!(names(&[b"a\xff", b"A\xff"]).twins().len() == 1);
        assert!(names(&[b"a\xff", b"a\xfe"]).twins().is_empty());
    }

    #[test]
    fn each_twin_is_paired_with_the_first() {
        assert_eq!(names(&[b"A", b"b", b"B", b"a", b"c", b"\xc3\xa4"]).twins().len(), 2);
        let three = names(&[b"AB", b"Ab", b"aB", b"ab"]);
        assert_eq!(three.twins(), [(0, 1), (0, 2), (0, 3)]);
    }
}
