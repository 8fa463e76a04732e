//! What is told of a file or folder beyond its offer: the items of an attributes message.
//!
//! Each item is | tag (1) | length (2) | octets |, numbers big-endian. An item comes once at most. Tags of a later version are ignored.
//!
//! | tag | of | octets |
//! |---|---|---|
//! | 1 | a folder | when it was modified: seconds (8, signed), nanoseconds (4) |
//! | 2 | a file with holes | octets of it that are none (8); a hint how much room it takes |

use crate::fields::{CutShort, Fields};
use crate::metadata::Keep;
use crate::moment::Moment;
use crate::protocol::FileTime;

const MODIFIED: u8 = 1;
const ROOM: u8 = 2;

/// What is told of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// When a folder was modified.
    pub(crate) modified: Option<FileTime>,
    /// How many octets of a file take room.
    pub(crate) room: Option<u64>,
}

/// Octets that are no attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<CutShort> for Malformed {
    fn from(CutShort: CutShort) -> Self {
        Self
    }
}

impl Attributes {
    /// Reads the items of a message.
    pub(crate) fn parse(items: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::of(items);
        let mut attributes = Self::default();
        while fields.len() > 0 {
            let (tag, len) = (fields.u8()?, fields.u16()?);
            let mut item = Fields::of(fields.slice(usize::from(len))?);
            match tag {
                MODIFIED => {
                    let moment = item.moment()?.map_err(|_| Malformed)?;
                    let (seconds, nanoseconds) = (moment.seconds(), moment.nanoseconds());
                    once(&mut attributes.modified, FileTime { seconds, nanoseconds })?;
                }
                ROOM => once(&mut attributes.room, item.u64()?)?,
                _ => continue,
            }
            if item.len() > 0 {
                return Err(Malformed);
            }
        }
        Ok(attributes)
    }

    /// The items of a message; none if there is nothing to be told.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(modified) = self.modified {
            item(&mut out, MODIFIED, |out| crate::fields::emit_moment(out, Moment::from(modified)));
        }
        if let Some(room) = self.room {
            item(&mut out, ROOM, |out| out.extend(room.to_be_bytes()));
        }
        out
    }

    /// Without what is not given to files here.
    pub(crate) fn kept(self, keep: Keep) -> Self {
        Self { modified: self.modified.filter(|_| keep.times), ..self }
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    if place.replace(value).is_some() { Err(Malformed) } else { Ok(()) }
}

fn item(out: &mut Vec<u8>, tag: u8, octets: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend([0; 2]);
    octets(out);
    let len = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
    out[start..start + 2].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED_ITEM: &[u8] = b"\x01\0\x0c\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff";

    fn all() -> Attributes {
        Attributes { modified: Some(FileTime { seconds: -1, nanoseconds: 999_999_999 }), room: Some(7) }
    }

    #[test]
    fn items_have_their_octets_both_ways() {
        let octets = [MODIFIED_ITEM, b"\x02\0\x08\0\0\0\0\0\0\0\x07"].concat();
        assert_eq!(all().emit(), octets);
        assert_eq!(Attributes::parse(&octets), Ok(all()));
        assert_eq!(Attributes::default().emit(), b"");
        assert_eq!(Attributes::parse(b""), Ok(Attributes::default()));
    }

    #[test]
    fn what_is_cut_short_too_long_twice_or_no_time_is_refused() {
        let octets = all().emit();
        for len in 1..octets.len() {
            let cut = Attributes::parse(&octets[..len]);
            assert_eq!(cut.is_ok(), len == MODIFIED_ITEM.len(), "{len}");
        }
        for wrong in [
            &[MODIFIED_ITEM, MODIFIED_ITEM].concat()[..],
            b"\x02\0\x09\0\0\0\0\0\0\0\x07\0",
            b"\x01\0\x0c\0\0\0\0\0\0\0\0\x3b\x9a\xca\x00",
        ] {
            assert_eq!(Attributes::parse(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    #[test]
    fn items_of_a_later_version_are_ignored() {
        let octets = [b"\xff\0\x03abc", MODIFIED_ITEM, b"\0\0\0"].concat();
        assert_eq!(Attributes::parse(&octets).unwrap().modified, all().modified);
    }

    #[test]
    fn what_is_not_kept_is_dropped_at_once() {
        let keep = Keep { times: false, ..Keep::default() };
        assert_eq!(all().kept(keep), Attributes { modified: None, room: Some(7) });
        assert_eq!(all().kept(Keep::default()), all());
    }
}
