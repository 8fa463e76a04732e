//! Whether a log is whole: every link has its hash, its number and the link before it.

use super::{Link, Mark};

/// Checks links in their order, one at a time.
#[derive(Clone, Copy, Debug)]
pub struct Verifier {
    last: Mark,
    links: u64,
    known: Option<Mark>,
}

/// What a sound log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many links were checked.
    pub links: u64,
    /// The last one; the mark to keep elsewhere.
    pub last: Mark,
}

/// Where a log is broken, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is sound up to link {sound}; then {fault}")]
pub struct Break {
    /// The last link that is sound, 0 if none is.
    pub sound: u64,
    /// What comes after it.
    pub fault: Fault,
}

/// What is wrong after the last sound link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The link does not have its hash.
    #[error("link {number} was altered: its content and its hash do not fit")]
    Altered {
        /// Its number, as it says.
        number: u64,
    },
    /// Links are missing.
    #[error("link {found} follows: what was between is gone")]
    Gap {
        /// The number that follows.
        found: u64,
    },
    /// A link that should have come before.
    #[error("link {found} stands out of order, or twice")]
    Order {
        /// The number that follows.
        found: u64,
    },
    /// The link continues another log.
    #[error("link {number} continues another link than the one before it: one of the two was replaced")]
    Unlinked {
        /// Its number.
        number: u64,
    },
    /// The log is sound, but not the one that was known.
    #[error("link {number} is another one than was known: the log was written anew")]
    Replaced {
        /// Its number.
        number: u64,
    },
    /// The end is missing.
    #[error("the log ends, though it is known to go on to link {known}: its end was cut off")]
    Cut {
        /// The last number that is known.
        known: u64,
    },
}

impl Verifier {
    /// Starts after `after`, [`Mark::START`] for a whole log.
    ///
    /// `known` is a link that is known to be in it, best the last one that was seen: without it nobody can tell that the end of a
    /// log is missing, or that all of it was written anew. Links after `known` are checked as well. A `known` before `after` is
    /// never met, and says nothing.
    #[must_use]
    pub fn new(after: Mark, known: Option<Mark>) -> Self {
        Self { last: after, links: 0, known }
    }

    /// Checks the next link.
    ///
    /// # Errors
    ///
    /// Any [`Fault`] but `Cut`. The verifier then still is at the last sound link.
    pub fn check(&mut self, link: &Link) -> Result<(), Break> {
        match self.fault_of(link) {
            Some(fault) => Err(Break { sound: self.last.number, fault }),
            None => {
                self.last = link.mark();
                self.links += 1;
                Ok(())
            }
        }
    }

    /// Says what was found, after the last link.
    ///
    /// # Errors
    ///
    /// `Cut`; `Replaced` if the known link is the one that we started after, and is another.
    pub fn finish(self) -> Result<Verified, Break> {
        let fault = match self.known {
            Some(known) if known.number > self.last.number => Fault::Cut { known: known.number },
            Some(known) if known.number == self.last.number && known != self.last => {
                Fault::Replaced { number: known.number }
            }
            _ => return Ok(Verified { links: self.links, last: self.last }),
        };
        Err(Break { sound: self.last.number, fault })
    }

    fn fault_of(&self, link: &Link) -> Option<Fault> {
        let number = link.number;
        // Octets beyond the limits are not in the hash.
        if !link.entry.fits() || link.hash != link.computed_hash() {
            return Some(Fault::Altered { number });
        }
        match number.checked_sub(self.last.number) {
            None | Some(0) => return Some(Fault::Order { found: number }),
            Some(1) => {}
            Some(_) => return Some(Fault::Gap { found: number }),
        }
        if link.previous != self.last.hash {
            return Some(Fault::Unlinked { number });
        }
        let is_replaced = self.known.is_some_and(|known| known.number == number && known.hash != link.hash);
        is_replaced.then_some(Fault::Replaced { number })
    }
}

/// Checks a whole log, or the part of it after `after`; see [`Verifier::new`].
///
/// # Errors
///
/// The first [`Break`].
pub fn verify(
    after: Mark,
    links: impl IntoIterator<Item = Link>,
    known: Option<Mark>,
) -> Result<Verified, Break> {
    let mut verifier = Verifier::new(after, known);
    for link in links {
        verifier.check(&link)?;
    }
    verifier.finish()
}
