//! The octets inside an invitation: what they mean, and how they become groups.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use blake2::{Blake2s256, Digest};
use tieline_seal::{InvitationSecret, PublicKey};
use zeroize::Zeroizing;

use super::group::{DATA_BITS, DATA_SYMBOLS, Group, SYMBOLS};
use super::{ADDRESSES_MAX, Invitation, InvitationError, PREFIX};
use crate::config::{DialAddress, Host};

const KEY: std::ops::Range<usize> = 1..33;
const SECRET: std::ops::Range<usize> = 33..49;
const FIELDS_START: usize = 49;
const CHECKSUM_LEN: usize = 4;

/// Groups are counted in one octet.
pub(super) const GROUPS_MAX: usize = 255;

/// Groups of an invitation without fields; fewer cannot be one.
pub(super) const GROUPS_MIN: usize = (8 * (FIELDS_START + CHECKSUM_LEN)).div_ceil(DATA_BITS);

const FIELD_PADDING: u8 = 0;
const FIELD_IPV4: u8 = 1;
const FIELD_IPV6: u8 = 2;
const FIELD_NAME: u8 = 3;
const FIELD_LINE: u8 = 4;
const FIELD_IGNORABLE_MIN: u8 = 128;

/// Why octets that arrived as they were sent are no invitation, or why something cannot be put into one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// None, or too many.
    #[error("an invitation names 1 to {ADDRESSES_MAX} addresses to dial, and not {0}")]
    Addresses(usize),
    /// The names are too long.
    #[error("the addresses are too long for an invitation: {needed} octets, and {max} are possible")]
    TooLarge {
        /// Octets needed.
        needed: usize,
        /// Octets there are.
        max: usize,
    },
    /// A field that must be understood, and is not known.
    #[error(
        "this invitation asks for something that this program does not know (field {0}): use the same version of tieline at both ends"
    )]
    UnknownField(u8),
    /// A field that holds nonsense.
    #[error("this invitation was made wrongly (field {field} holds no {expected}); ask for a new one")]
    Field {
        /// The type of the field.
        field: u8,
        /// What it should hold.
        expected: &'static str,
    },
}

/// All octets of an invitation, erased when dropped.
pub(super) struct Octets(Zeroizing<Vec<u8>>);

impl Octets {
    /// Writes an invitation down.
    ///
    /// # Errors
    ///
    /// [`ContentError::Addresses`], [`ContentError::TooLarge`].
    pub(super) fn from_invitation(invitation: &Invitation) -> Result<Self, ContentError> {
        let addresses = &invitation.addresses;
        if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
            return Err(ContentError::Addresses(addresses.len()));
        }
        // Room for the longest: octets that grow leave copies of the secret behind.
        let max = octets_of(GROUPS_MAX);
        let mut octets = Zeroizing::new(Vec::with_capacity(4 * max));
        octets.push(0);
        octets.extend_from_slice(invitation.public_key.as_bytes());
        octets.extend_from_slice(invitation.secret.expose());
        for address in addresses {
            push_address(&mut octets, address);
        }
        if let Some(line) = &invitation.line {
            push_field(&mut octets, FIELD_LINE, &[line.as_str().as_bytes()]);
        }
        let needed = octets.len() + CHECKSUM_LEN;
        let groups = (8 * needed).div_ceil(DATA_BITS);
        octets[0] = u8::try_from(groups).map_err(|_| ContentError::TooLarge { needed, max })?;
        octets.resize(octets_of(groups) - CHECKSUM_LEN, FIELD_PADDING);
        let checksum = checksum(&octets);
        octets.extend_from_slice(&checksum);
        Ok(Self(octets))
    }

    /// Joins groups; `None` if they are not all of one invitation.
    pub(super) fn from_groups(groups: &[Group]) -> Option<Self> {
        if !(GROUPS_MIN..=GROUPS_MAX).contains(&groups.len()) {
            return None;
        }
        let mut octets = Zeroizing::new(vec![0; octets_of(groups.len())]);
        let mut bits: u32 = 0;
        let mut bits_len = 0;
        let mut filled = 0;
        for symbol in groups.iter().flat_map(Group::data) {
            bits = bits << 5 | u32::from(*symbol);
            bits_len += 5;
            if bits_len >= 8 {
                bits_len -= 8;
                octets[filled] = (bits >> bits_len) as u8;
                bits &= (1 << bits_len) - 1;
                filled += 1;
            }
        }
        let (rest, sum) = octets.split_at(octets.len() - CHECKSUM_LEN);
        let whole = bits == 0 && usize::from(octets[0]) == groups.len() && checksum(rest) == sum;
        whole.then_some(Self(octets))
    }

    /// Cuts the octets into groups.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group> {
        (0..usize::from(self.0[0])).map(|number| {
            let data = std::array::from_fn(|index| self.symbol_at(number * DATA_SYMBOLS + index));
            Group::new(data, number)
        })
    }

    /// Characters of the whole text.
    pub(super) fn text_len(&self) -> usize {
        PREFIX.len() + usize::from(self.0[0]) * (SYMBOLS + 1)
    }

    /// Reads what the octets say.
    pub(super) fn to_invitation(&self) -> Result<Invitation, InvitationError> {
        let mut key = [0; KEY.end - KEY.start];
        key.copy_from_slice(&self.0[KEY]);
        let mut secret = Zeroizing::new([0; InvitationSecret::LEN]);
        secret.copy_from_slice(&self.0[SECRET]);
        let mut addresses = Vec::new();
        let mut line = None;
        let mut fields = &self.0[FIELDS_START..self.0.len() - CHECKSUM_LEN];
        while let Some((field, value, rest)) = next_field(fields)? {
            match field {
                FIELD_IPV4 | FIELD_IPV6 | FIELD_NAME => {
                    addresses.push(address(field, value)?);
                    if addresses.len() > ADDRESSES_MAX {
                        return Err(ContentError::Addresses(addresses.len()).into());
                    }
                }
                FIELD_LINE => line = Some(text(field, value, "name of a line")?),
                FIELD_IGNORABLE_MIN.. => {}
                unknown => return Err(ContentError::UnknownField(unknown).into()),
            }
            fields = rest;
        }
        let public_key = PublicKey::from_bytes(key);
        Ok(Invitation::new(public_key, InvitationSecret::from_bytes(*secret), addresses, line)?)
    }

    /// The character at `index`: five bits, zero behind the end.
    fn symbol_at(&self, index: usize) -> u8 {
        let bit = 5 * index;
        let octet = |at: usize| u16::from(self.0.get(at).copied().unwrap_or(0));
        let window = octet(bit / 8) << 8 | octet(bit / 8 + 1);
        (window >> (11 - bit % 8) & 31) as u8
    }
}

/// Whole octets that fit into so many groups.
fn octets_of(groups: usize) -> usize {
    groups * DATA_BITS / 8
}

fn checksum(octets: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = Blake2s256::new().chain_update(PREFIX).chain_update(octets).finalize();
    std::array::from_fn(|index| hash[index])
}

fn push_address(octets: &mut Vec<u8>, address: &DialAddress) {
    let port = address.port().to_be_bytes();
    match address.host() {
        Host::Ip(IpAddr::V4(ip)) => push_field(octets, FIELD_IPV4, &[&port, &ip.octets()]),
        Host::Ip(IpAddr::V6(ip)) => push_field(octets, FIELD_IPV6, &[&port, &ip.octets()]),
        Host::Name(name) => push_field(octets, FIELD_NAME, &[&port, name.as_str().as_bytes()]),
    }
}

fn push_field(octets: &mut Vec<u8>, field: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    octets.push(field);
    octets.push(u8::try_from(length).expect("a port and a DNS name have at most 255 octets"));
    for part in parts {
        octets.extend_from_slice(part);
    }
}

/// A field's type and value, and what follows it.
type Field<'f> = (u8, &'f [u8], &'f [u8]);

fn next_field(fields: &[u8]) -> Result<Option<Field<'_>>, ContentError> {
    match fields {
        [] => Ok(None),
        [FIELD_PADDING, ..] if fields.iter().all(|octet| *octet == FIELD_PADDING) => Ok(None),
        [FIELD_PADDING, ..] => Err(ContentError::Field { field: FIELD_PADDING, expected: "zeros" }),
        [field, length, rest @ ..] if rest.len() >= usize::from(*length) => {
            let (value, rest) = rest.split_at(usize::from(*length));
            Ok(Some((*field, value, rest)))
        }
        [field, ..] => Err(ContentError::Field { field: *field, expected: "value of the length it names" }),
    }
}

fn address(field: u8, value: &[u8]) -> Result<DialAddress, ContentError> {
    let expected = "address to dial";
    let wrong = ContentError::Field { field, expected };
    let Some((port, host)) = value.split_first_chunk() else { return Err(wrong) };
    let host = match (field, host) {
        (FIELD_IPV4, host) => <[u8; 4]>::try_from(host).ok().map(|ip| Host::Ip(Ipv4Addr::from(ip).into())),
        (FIELD_IPV6, host) => <[u8; 16]>::try_from(host).ok().map(|ip| Host::Ip(Ipv6Addr::from(ip).into())),
        (_, name) => Some(Host::Name(text(field, name, expected)?)),
    };
    let address = host.and_then(|host| DialAddress::new(host, u16::from_be_bytes(*port)).ok());
    address.ok_or(wrong)
}

fn text<T: std::str::FromStr>(field: u8, value: &[u8], expected: &'static str) -> Result<T, ContentError> {
    let text = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    text.ok_or(ContentError::Field { field, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(fields: &[u8]) -> Vec<Group> {
        let mut octets = vec![0; FIELDS_START];
        octets.extend_from_slice(fields);
        let groups = (8 * (octets.len() + CHECKSUM_LEN)).div_ceil(DATA_BITS);
        octets[0] = groups as u8;
        octets.resize(octets_of(groups) - CHECKSUM_LEN, FIELD_PADDING);
        let sum = checksum(&octets);
        octets.extend_from_slice(&sum);
        Octets(Zeroizing::new(octets)).groups().collect()
    }

    fn read(fields: &[u8]) -> Result<Invitation, InvitationError> {
        Octets::from_groups(&sealed(fields)).expect("whole").to_invitation()
    }

    const ADDRESS: [u8; 8] = [FIELD_IPV4, 6, 0xca, 0x6c, 192, 0, 2, 1];

    #[test]
    fn unknown_fields_are_ignored_or_refused_by_their_number() {
        let with = |field: u8| read(&[&ADDRESS[..], &[field, 2, 7, 7]].concat());
        for field in [128, 200, 255] {
            assert_eq!(with(field).expect("ignored").addresses().len(), 1);
        }
        for field in [5, 64, 127] {
            assert_eq!(with(field), Err(ContentError::UnknownField(field).into()));
        }
    }

    #[test]
    fn every_field_that_holds_nonsense_is_refused() {
        let wrong: [(&[u8], u8); 11] = [
            (&[FIELD_IPV4, 5, 0, 1, 192, 0, 2], FIELD_IPV4),
            (&[FIELD_IPV4, 6, 0, 0, 192, 0, 2, 1], FIELD_IPV4),
            (&[FIELD_IPV4, 6, 0, 1, 0, 0, 0, 0], FIELD_IPV4),
            (&[FIELD_IPV4, 1, 9], FIELD_IPV4),
            (&[FIELD_IPV6, 6, 0, 1, 192, 0, 2, 1], FIELD_IPV6),
            (&[FIELD_NAME, 2, 0, 1], FIELD_NAME),
            (&[FIELD_NAME, 4, 0, 1, b'a', b'/'], FIELD_NAME),
            (&[FIELD_NAME, 3, 0, 1, 0xff], FIELD_NAME),
            (&[FIELD_LINE, 2, b'.', b'.'], FIELD_LINE),
            (&[FIELD_LINE, 200, b'a'], FIELD_LINE),
            (&[0, 1], FIELD_PADDING),
        ];
        for (fields, field) in wrong {
            let result = read(&[&ADDRESS[..], fields].concat());
            let refused = matches!(result, Err(InvitationError::Content(ContentError::Field { field: found, .. })) if found == field);
            assert!(refused, "{fields:?}: {result:?}");
        }
    }

    #[test]
    fn no_address_or_too_many_are_refused() {
        assert_eq!(read(&[]), Err(ContentError::Addresses(0).into()));
        assert_eq!(read(&ADDRESS.repeat(4)).expect("four").addresses().len(), 4);
        assert_eq!(read(&ADDRESS.repeat(5)), Err(ContentError::Addresses(5).into()));
    }

    #[test]
    fn groups_of_a_wrong_number_are_no_invitation() {
        let groups = sealed(&ADDRESS);
        assert!(Octets::from_groups(&groups[..groups.len() - 1]).is_none());
        assert!(Octets::from_groups(&[]).is_none());
        assert!(Octets::from_groups(&vec![groups[0]; 256]).is_none());
    }
}
