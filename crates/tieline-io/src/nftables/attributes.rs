//! Netlink's messages and attributes, as octets (`linux/netlink.h`).
//!
//! | message: length (4), type (2), flags (2), sequence number (4), port (4), family (1), version (1), resource (2), attributes |
//! |---|
//!
//! | attribute: length (2), type (2), value, zeros up to a multiple of 4 |
//! |---|
//!
//! Numbers of the headers are in this machine's order, those inside nf_tables' attributes big-endian.

/// Octets before the attributes of a message: netlink's header, and netfilter's.
const NETLINK_HEADER_LEN: usize = 16;
const HEADER_LEN: usize = NETLINK_HEADER_LEN + 4;
const ATTRIBUTE_HEADER_LEN: usize = 4;
/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Attributes one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

/// A message to the kernel.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) family: u8,
    pub(super) attributes: Attributes,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn octets(mut self, kind: u16, value: &[u8]) -> Self {
        // Ours are names, numbers and addresses, and lists of them that a transaction bounds.
        let length = u16::try_from(ATTRIBUTE_HEADER_LEN + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        self.octets(kind, &[text.as_bytes(), b"\0"].concat())
    }

    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.octets(kind, &number.to_be_bytes())
    }

    pub(super) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.octets(kind | NESTED, &inner.0)
    }
}

impl Message {
    pub(super) fn emit(&self, sequence: u32) -> Vec<u8> {
        self.emit_whole(sequence, 0, 0)
    }

    pub(super) fn emit_with(&self, sequence: u32, more_flags: u16) -> Vec<u8> {
        self.emit_whole(sequence, more_flags, 0)
    }

    /// With the number of a subsystem, as the ends of a batch have it.
    pub(super) fn emit_for(&self, sequence: u32, resource: u16) -> Vec<u8> {
        self.emit_whole(sequence, 0, resource)
    }

    fn emit_whole(&self, sequence: u32, more_flags: u16, resource: u16) -> Vec<u8> {
        let length = HEADER_LEN + self.attributes.0.len();
        let mut octets = Vec::with_capacity(length);
        // What does not fit into a transaction is refused by its length.
        octets.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        octets.extend(self.kind.to_ne_bytes());
        octets.extend((self.flags | more_flags).to_ne_bytes());
        octets.extend(sequence.to_ne_bytes());
        octets.extend([0; 4]);
        octets.extend([self.family, 0]);
        octets.extend(resource.to_be_bytes());
        octets.extend(&self.attributes.0);
        octets
    }
}

/// The first message of `octets`: its type, what follows netlink's header, and what follows the message.
pub(super) fn split_message(octets: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let header = octets.first_chunk::<NETLINK_HEADER_LEN>()?;
    let [l0, l1, l2, l3, k0, k1, ..] = *header;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let payload = octets.get(NETLINK_HEADER_LEN..length)?;
    let behind = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes([k0, k1]), payload, behind))
}

/// The number of an error message's error; 0 for none.
pub(super) fn error_of(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(libc::EPROTO, |code| i32::from_ne_bytes(*code).saturating_neg())
}

/// What follows the headers of a message whose netlink header is gone.
pub(super) fn attributes_of(payload: &[u8]) -> &[u8] {
    payload.get(HEADER_LEN - NETLINK_HEADER_LEN..).unwrap_or_default()
}

/// The attributes in `octets`: types and values.
pub(super) fn children(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *octets.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = octets.get(ATTRIBUTE_HEADER_LEN..length)?;
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & TYPE_MASK, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_again() {
        let inner = Attributes::new().number(2, 0x0102_0304);
        let outer = Attributes::new().text(1, "ab").nested(4, &inner);
        assert_eq!(outer.0.len(), 8 + 4 + 8);
        let mut found = children(&outer.0);
        assert_eq!(found.next(), Some((1, &b"ab\0"[..])));
        let (kind, nested) = found.next().unwrap();
        assert_eq!((kind, children(nested).next()), (4, Some((2, &[1, 2, 3, 4][..]))));
        assert_eq!(found.next(), None);
    }

    #[test]
    fn what_is_cut_short_ends_the_list_and_never_panics() {
        let octets = Attributes::new().text(1, "abcdef").0;
        for length in 0..octets.len() {
            assert!(children(&octets[..length]).count() <= 1);
            assert!(split_message(&octets[..length]).is_none());
        }
        assert_eq!(children(&[0, 0, 1, 0, 9]).count(), 0, "an attribute shorter than its header");
        assert_eq!(error_of(&[]), libc::EPROTO);
    }
}
