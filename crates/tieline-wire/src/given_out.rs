//! The labels that the receiving end of a channel gives out, as its hello on the control stream announces them: by the name of the channel.
//!
//! A channel of which the far end announces no label, or one that no end may give out, is not used towards it.

use std::collections::BTreeMap;

use crate::label::Label;

/// Labels in a row that packed calls have: each thread that packs uses one of its own.
pub const PACKED_CALLS_LABELS: u32 = 4;
/// Labels from here on do not begin with the nibble that says "labelled" ([`crate::sealed`]).
const FIRST_TOO_LARGE: u32 = 1 << 16;

const PACKED_CALLS: &str = "packed-calls";
const PROTECTED: &str = "protected";
const LAN: &str = "lan";

/// The labels that one end gives out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenOut {
    /// The first of the labels of [`crate::packed`].
    pub packed_calls: Option<Label>,
    /// The label under which protected packets are understood.
    pub protected: Option<Label>,
    /// The label under which Ethernet frames are taken ([`crate::ethernet`]).
    pub lan: Option<Label>,
}

impl GivenOut {
    /// What an announcement says; names that are not known are ignored.
    #[must_use]
    pub fn parse(labels: &BTreeMap<String, u32>) -> Self {
        let label = |name: &str, count: u32| {
            let first = *labels.get(name)?;
            let end = first.checked_add(count)?;
            let is_allowed = first >= Label::FIRST_GIVEN_OUT.value() && end <= FIRST_TOO_LARGE;
            Label::new(first).ok().filter(|_| is_allowed)
        };
        Self {
            packed_calls: label(PACKED_CALLS, PACKED_CALLS_LABELS),
            protected: label(PROTECTED, 1),
            lan: label(LAN, 1),
        }
    }

    /// The announcement.
    #[must_use]
    pub fn emit(&self) -> BTreeMap<String, u32> {
        [(PACKED_CALLS, self.packed_calls), (PROTECTED, self.protected), (LAN, self.lan)]
            .into_iter()
            .filter_map(|(name, label)| Some((name.to_owned(), label?.value())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(labels: &[(&str, u32)]) -> GivenOut {
        GivenOut::parse(&labels.iter().map(|(name, label)| ((*name).to_owned(), *label)).collect())
    }

    #[test]
    fn an_announcement_round_trips() {
        let label = |value| Some(Label::new(value).unwrap());
        let given_out = GivenOut { packed_calls: label(32), protected: label(36), lan: label(37) };
        assert_eq!(announced(&[("packed-calls", 32), ("protected", 36), ("lan", 37)]), given_out);
        for given_out in
            [given_out, GivenOut { protected: None, lan: None, ..given_out }, GivenOut::default()]
        {
            assert_eq!(GivenOut::parse(&given_out.emit()), given_out);
        }
    }

    #[test]
    fn what_no_end_may_give_out_is_not_used() {
        for value in [0, 13, 16, 31, 65_533, 65_536, 1 << 20, u32::MAX] {
            assert_eq!(announced(&[("packed-calls", value), ("fax", 40)]), GivenOut::default(), "{value}");
        }
        assert!(announced(&[("packed-calls", 65_532)]).packed_calls.is_some());
        assert!(announced(&[("protected", 65_535)]).protected.is_some());
        assert!(announced(&[("protected", 65_536)]).protected.is_none());
    }
}
