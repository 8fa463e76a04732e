//! What is told of a file or folder beyond its offer: the items of an attributes message.
//!
//! Each item is | tag (1) | length (2) | octets |, numbers big-endian. An item comes once at most, but extended attributes; a user or a
//! group is told in one way. Tags of a later version are ignored.
//!
//! | tag | of | octets |
//! |---|---|---|
//! | 1 | a folder | when it was modified: seconds (8, signed), nanoseconds (4) |
//! | 2 | a file with holes | octets of it that are none (8); a hint how much room it takes |
//! | 3, 4 | any | number of the user, of the group it belongs to (4); not 2^32 - 1 |
//! | 5, 6 | any | name of the user, of the group: 1 to 255 octets of UTF-8 |
//! | 7 | any | an extended attribute: length of the name (1), name, value; up to 64 of these, with 32,768 octets of names and values |

use super::owners::{self, NOBODY, Names, Owner, Principal};
use super::xattrs::{self, XATTRS_LEN_MAX, XATTRS_MAX, Xattr};
use crate::fields::{CutShort, Fields};
use crate::metadata::Keep;
use crate::moment::Moment;
use crate::protocol::FileTime;

const MODIFIED: u8 = 1;
const ROOM: u8 = 2;
const USER_NUMBER: u8 = 3;
const GROUP_NUMBER: u8 = 4;
const USER_NAME: u8 = 5;
const GROUP_NAME: u8 = 6;
const XATTR: u8 = 7;

/// What is told of one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// When a folder was modified.
    pub(crate) modified: Option<FileTime>,
    /// How many octets of a file take room.
    pub(crate) room: Option<u64>,
    /// Who it belongs to.
    pub(crate) user: Option<Principal>,
    pub(crate) group: Option<Principal>,
    pub(crate) xattrs: Vec<Xattr>,
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
        let mut xattrs_room = XATTRS_LEN_MAX;
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
                USER_NUMBER => once(&mut attributes.user, number(&mut item)?)?,
                GROUP_NUMBER => once(&mut attributes.group, number(&mut item)?)?,
                USER_NAME => once(&mut attributes.user, name(&mut item)?)?,
                GROUP_NAME => once(&mut attributes.group, name(&mut item)?)?,
                XATTR => {
                    let xattr = xattr(&mut item)?;
                    xattrs_room = xattrs_room.checked_sub(xattr.len()).ok_or(Malformed)?;
                    if attributes.xattrs.len() >= XATTRS_MAX {
                        return Err(Malformed);
                    }
                    attributes.xattrs.push(xattr);
                }
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
        for (principal, number_tag, name_tag) in
            [(&self.user, USER_NUMBER, USER_NAME), (&self.group, GROUP_NUMBER, GROUP_NAME)]
        {
            match principal {
                Some(Principal::Number(number)) => {
                    item(&mut out, number_tag, |out| out.extend(number.to_be_bytes()));
                }
                // A longer one would be no name at the other end.
                Some(Principal::Name(name)) if name.len() <= owners::NAME_LEN_MAX => {
                    item(&mut out, name_tag, |out| out.extend_from_slice(name.as_bytes()));
                }
                Some(Principal::Name(_)) | None => {}
            }
        }
        for Xattr { name, value } in &self.xattrs {
            item(&mut out, XATTR, |out| {
                out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
                out.extend_from_slice(name);
                out.extend_from_slice(value);
            });
        }
        out
    }

    /// Without what is not given to files here, and with users and groups by their numbers here. Says also whether one of them is
    /// not known.
    pub(crate) fn kept(self, keep: Keep, names: &mut Names) -> (Self, bool) {
        let Self { modified, room, user, group, mut xattrs } = self;
        let is_wanted = |told: &Principal| match told {
            Principal::Name(_) => keep.owner == Owner::Name,
            Principal::Number(_) => keep.owner == Owner::Number,
        };
        let (user, group) = (user.filter(is_wanted), group.filter(is_wanted));
        let told = (user.is_some(), group.is_some());
        let user = user.and_then(|user| names.user(user, keep.owner)).map(Principal::Number);
        let group = group.and_then(|group| names.group(group, keep.owner)).map(Principal::Number);
        let is_unknown = told != (user.is_some(), group.is_some());
        xattrs.retain(|xattr| {
            let is_kept = keep.xattrs && (keep.modes || !xattr.is_acl());
            if is_kept && !xattrs::may_travel(&xattr.name) {
                tracing::debug!(name = %xattr.name.escape_ascii(), "an extended attribute that no file is given");
                return false;
            }
            is_kept
        });
        let xattrs = xattrs.into_iter().map(Xattr::cleaned).collect();
        (Self { modified: modified.filter(|_| keep.times), room, user, group, xattrs }, is_unknown)
    }
}

fn number(item: &mut Fields<'_>) -> Result<Principal, Malformed> {
    match u32::from_be_bytes(item.take()?) {
        NOBODY => Err(Malformed),
        number => Ok(Principal::Number(number)),
    }
}

fn name(item: &mut Fields<'_>) -> Result<Principal, Malformed> {
    let name = std::str::from_utf8(item.slice(item.len())?).map_err(|_| Malformed)?;
    let fits = (1..=owners::NAME_LEN_MAX).contains(&name.len());
    if fits { Ok(Principal::Name(name.into())) } else { Err(Malformed) }
}

fn xattr(item: &mut Fields<'_>) -> Result<Xattr, Malformed> {
    let name_len = usize::from(item.u8()?);
    let name = item.slice(name_len)?;
    Ok(Xattr { name: name.into(), value: item.slice(item.len())?.into() })
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
    use proptest::prelude::*;

    use super::*;

    const MODIFIED_ITEM: &[u8] = b"\x01\0\x0c\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff";

    fn all() -> Attributes {
        Attributes {
            modified: Some(FileTime { seconds: -1, nanoseconds: 999_999_999 }),
            room: Some(7),
            user: Some(Principal::Name("root".into())),
            group: Some(Principal::Number(6)),
            xattrs: vec![xattr(b"user.a", b"v"), xattr(b"user.b", b"")],
        }
    }

    fn xattr(name: &[u8], value: &[u8]) -> Xattr {
        Xattr { name: name.into(), value: value.into() }
    }

    #[test]
    fn items_have_their_octets_both_ways() {
        let octets = [
            MODIFIED_ITEM,
            b"\x02\0\x08\0\0\0\0\0\0\0\x07\x05\0\x04root\x04\0\x04\0\0\0\x06",
            b"\x07\0\x08\x06user.av\x07\0\x07\x06user.b",
        ]
        .concat();
        assert_eq!(all().emit(), octets);
        assert_eq!(Attributes::parse(&octets), Ok(all()));
        assert_eq!(Attributes::default().emit(), b"");
        assert_eq!(Attributes::parse(b""), Ok(Attributes::default()));
    }

    #[test]
    fn what_is_cut_short_too_long_twice_or_no_time_is_refused() {
        let octets = all().emit();
        let ends = [15, 26, 33, 40, 51];
        for len in 1..octets.len() {
            let cut = Attributes::parse(&octets[..len]);
            assert_eq!(cut.is_ok(), ends.contains(&len), "{len}");
        }
        for wrong in [
            &[MODIFIED_ITEM, MODIFIED_ITEM].concat()[..],
            b"\x02\0\x09\0\0\0\0\0\0\0\x07\0",
            b"\x01\0\x0c\0\0\0\0\0\0\0\0\x3b\x9a\xca\x00",
            b"\x03\0\x04\xff\xff\xff\xff",
            b"\x05\0\x01a\x03\0\x04\0\0\0\0",
            b"\x05\0\0",
            b"\x06\0\x01\xff",
            &[&b"\x06\x01\0"[..], &[b'a'; 256]].concat(),
            b"\x07\0\0",
            b"\x07\0\x02\x02a",
            &b"\x07\0\x02\x01a".repeat(XATTRS_MAX + 1),
            &[&b"\x07\x80\x01\x01a"[..], &vec![0; XATTRS_LEN_MAX]].concat(),
        ] {
            assert_eq!(Attributes::parse(wrong), Err(Malformed), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_octets_are_parsed_are_bounded_and_come_out_again(
            mut octets in prop::collection::vec(any::<u8>(), 0..200),
            tag in MODIFIED..=XATTR,
        ) {
            if let [first, high, low, rest @ ..] = &mut octets[..] {
                // An item of some length; few random octets are one.
                (*first, *high, *low) = (tag, 0, u8::try_from(rest.len()).unwrap());
            }
            if let Ok(attributes) = Attributes::parse(&octets) {
                prop_assert!(attributes.xattrs.len() <= XATTRS_MAX);
                prop_assert_eq!(Attributes::parse(&attributes.emit()), Ok(attributes));
            }
        }
    }

    #[test]
    fn items_of_a_later_version_are_ignored() {
        let octets = [b"\xff\0\x03abc", MODIFIED_ITEM, b"\0\0\0"].concat();
        assert_eq!(Attributes::parse(&octets).unwrap().modified, all().modified);
    }

    #[test]
    fn what_is_not_kept_is_dropped_at_once() {
        let mut names = Names::default();
        let nothing = Keep { times: false, modes: false, links: false, owner: Owner::None, xattrs: false };
        let room_only = Attributes { room: Some(7), ..Attributes::default() };
        assert_eq!(all().kept(nothing, &mut names), (room_only, false));
        let keep = Keep { owner: Owner::Name, xattrs: true, ..Keep::default() };
        let kept = Attributes { user: Some(Principal::Number(0)), group: None, ..all() };
        assert_eq!(all().kept(keep, &mut names), (kept, false));
        let numbers = Keep { owner: Owner::Number, xattrs: true, ..Keep::default() };
        assert_eq!(all().kept(numbers, &mut names), (Attributes { user: None, ..all() }, false));
        let stranger = Attributes { user: Some(Principal::Name("no such user".into())), ..all() };
        assert_eq!(stranger.kept(keep, &mut names), (Attributes { user: None, group: None, ..all() }, true));
    }

    #[test]
    fn case_25_attributes_that_give_rights_are_dropped_and_lists_are_rights() {
        let wrong = [&b"security.capability"[..], b"trusted.x", b"system.nfs4_acl", b"", b"user."];
        let acls = [xattrs::ACL_ACCESS, xattrs::ACL_DEFAULT];
        let all = [&wrong[..], &acls, &[b"user.x"]].concat();
        let xattrs = all.into_iter().map(|name| xattr(name, b"v")).collect();
        let attributes = Attributes { xattrs, ..Attributes::default() };
        let kept = |modes| {
            let keep = Keep { modes, xattrs: true, ..Keep::default() };
            let (attributes, _) = attributes.clone().kept(keep, &mut Names::default());
            attributes.xattrs.iter().map(|xattr| xattr.name.to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(kept(true), [xattrs::ACL_ACCESS, xattrs::ACL_DEFAULT, b"user.x"]);
        assert_eq!(kept(false), [b"user.x"]);
    }
}
