//! An invitation: one line of text that one office gives to the other, by mail or by telephone, to become a pair.
//!
//! It holds the inviting end's public key, a one-time secret, where to dial, and a name for the line. Whoever has it
//! first can be the far end, so it is as secret as a key until it is used, and worth nothing afterwards. What the secret
//! becomes is for `tieline-seal` to say; this module is about text that survives people.
//!
//! # Text
//!
//! ```text
//! tieline1-7G0K2-M9XQA-…-4TVNB
//! ───┬───┬ ─┬──┬
//!    │   │  │  └ the check character of the group
//!    │   │  └ four characters of five bits each, most significant first
//!    │   └ version of the format
//!    └ so that it can be recognised
//! ```
//!
//! - **Characters** are Crockford's base 32: digits and capital letters without I, L, O and U. When reading, case does not
//!   matter, O is 0, I and L are 1, U is V. Dashes of every kind, spaces, line breaks, quotation marks and full stops
//!   may be lost, added or changed.
//! - **The check character** makes Σ αⁱ·cᵢ equal to the group's number modulo 32, over GF(32) = GF(2)\[x\]/(x⁵+x²+1) with
//!   α = x, characters counted from the right, groups from 0. So every wrong character and every swap of two characters
//!   in a group is found, *in that group*; and a group in the wrong place does not check, but would check in its own:
//!   that is how a lost, doubled or swapped group is recognised.
//! - **The checksum** inside finds what is left, and confirms a guess at what was meant.
//!
//! # Octets
//!
//! The data characters are one string of bits, cut into octets; up to 7 bits at the end are zero.
//!
//! | octets | what |
//! |---|---|
//! | 1 | number of groups |
//! | 32 | public key of the inviting end |
//! | 16 | the secret |
//! | … | fields: type (1), length (1), value |
//! | … | zeros up to the last four octets |
//! | 4 | checksum: the first octets of BLAKE2s-256 of `tieline1` and all octets before |
//!
//! | type | value |
//! |---|---|
//! | 1 | UDP port (2, big endian) and IPv4 address (4) of the inviting end |
//! | 2 | UDP port (2) and IPv6 address (16) |
//! | 3 | UDP port (2) and DNS name |
//! | 4 | suggested name of the line |
//! | below 128 | unknown: the invitation asks for something this program cannot do, and is refused |
//! | 128 and above | unknown: ignored |

mod diagnosis;
mod group;
mod octets;
mod reading;

use std::fmt;
use std::str::FromStr;

use tieline_seal::{InvitationSecret, PublicKey};
use zeroize::Zeroizing;

use crate::config::DialAddress;
use crate::places::LineName;
use octets::Octets;

pub use diagnosis::Flaw;
pub use octets::ContentError;

/// Bytes of text that are looked at: five times the longest invitation, for what mail adds.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Addresses in one invitation: a name and one of each family, and one to spare.
pub const ADDRESSES_MAX: usize = 4;

/// What stands before the groups.
const PREFIX: &str = "tieline1";

/// The version of the format that this module reads and writes.
const VERSION: u32 = 1;

/// What one end tells the other so that they become a pair.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    public_key: PublicKey,
    secret: InvitationSecret,
    addresses: Vec<DialAddress>,
    line: Option<LineName>,
}

/// Why a text is no invitation; every variant says it to the person who typed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It starts with something else.
    #[error("an invitation begins with {PREFIX}-, and this begins with {begins:?}")]
    Beginning {
        /// How it starts, cut.
        begins: String,
    },
    /// A format of later years.
    #[error(
        "this invitation has version {version} of the format, and this program knows version {VERSION}: use the same version of tieline at both ends"
    )]
    Version {
        /// The version.
        version: u32,
    },
    /// More text than any invitation has.
    #[error("{bytes} bytes are too many for an invitation; give only the row that begins with {PREFIX}-")]
    TooLong {
        /// How many there are.
        bytes: usize,
    },
    /// Something happened to it on the way, and it can be said where.
    #[error("{}", diagnosis::sentence(.0))]
    Damaged(Vec<Flaw>),
    /// Every group checks, and the whole does not.
    #[error(
        "every group checks by itself, but not the whole: groups of two invitations are mixed, or several characters of a group are wrong; compare all of it, or ask for a new one"
    )]
    Checksum,
    /// It arrived as it was sent, and makes no sense.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl Invitation {
    /// Puts an invitation together.
    ///
    /// # Errors
    ///
    /// [`ContentError::Addresses`] for none or more than [`ADDRESSES_MAX`], [`ContentError::TooLarge`] if the names are
    /// so long that it cannot be written.
    pub fn new(
        public_key: PublicKey,
        secret: InvitationSecret,
        addresses: Vec<DialAddress>,
        line: Option<LineName>,
    ) -> Result<Self, ContentError> {
        let invitation = Self { public_key, secret, addresses, line };
        Octets::from_invitation(&invitation)?;
        Ok(invitation)
    }

    /// Returns the key of the end that invites.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Returns the one-time secret.
    #[must_use]
    pub fn secret(&self) -> &InvitationSecret {
        &self.secret
    }

    /// Returns where to dial, best first; at least one.
    #[must_use]
    pub fn addresses(&self) -> &[DialAddress] {
        &self.addresses
    }

    /// Returns the name that the inviting end suggests for the line.
    #[must_use]
    pub fn line(&self) -> Option<&LineName> {
        self.line.as_ref()
    }

    /// Writes the text, secret included: for the one person it is meant for.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let octets = Octets::from_invitation(self).expect("checked when it was made");
        let mut text = Zeroizing::new(String::with_capacity(octets.text_len()));
        text.push_str(PREFIX);
        for group in octets.groups() {
            text.push('-');
            group.write(&mut text);
        }
        text
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(InvitationError::TooLong { bytes: text.len() });
        }
        let words = reading::words_after_prefix(text)?;
        match reading::groups(&words).and_then(|groups| Octets::from_groups(&groups)) {
            Some(octets) => octets.to_invitation(),
            None => Err(diagnosis::diagnose(&words)),
        }
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Invitation")
            .field("public_key", &self.public_key)
            .field("addresses", &self.addresses)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
