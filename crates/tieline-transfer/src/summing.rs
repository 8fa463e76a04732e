//! The sums of old versions that the receiver sends, until they are all there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::delta::{Signature, SumRequest};
use crate::ledger::Ledger;
use crate::protocol::{SUMS_OPEN_MAX, Violation};

/// Gathers sums, and sees that there are not more than there may be.
#[derive(Debug)]
pub(crate) struct Summing {
    /// By entry.
    coming: BTreeMap<u64, Vec<u8>>,
    /// Octets of all of which no use was made yet.
    open: Arc<AtomicUsize>,
}

/// Sums that came with an answer.
#[derive(Debug)]
pub(crate) struct Sums {
    content: SumsContent,
    octets: usize,
    open: Arc<AtomicUsize>,
}

/// What they are sums of.
#[derive(Debug)]
pub(crate) enum SumsContent {
    /// There are none.
    None,
    /// What the receiver thought useful.
    First(Signature),
    /// What was asked for.
    Wanted(Vec<u8>),
}

impl Sums {
    /// Whether there are none.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self.content, SumsContent::None)
    }

    /// Takes them into use. From now on the receiver may send others in their place, so this comes before whatever tells it so.
    pub(crate) fn into_content(mut self) -> SumsContent {
        std::mem::replace(&mut self.content, SumsContent::None)
    }
}

impl Drop for Sums {
    fn drop(&mut self) {
        self.open.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

impl Summing {
    pub(crate) fn new() -> Self {
        Self { coming: BTreeMap::new(), open: Arc::default() }
    }

    /// Takes some more of the sums for an entry.
    ///
    /// # Errors
    ///
    /// `Sums` if none are expected, or not so many.
    pub(crate) fn on_sums(&mut self, ledger: &Ledger, entry: u64, octets: &[u8]) -> Result<(), Violation> {
        let open = self.open.fetch_add(octets.len(), Ordering::Relaxed);
        if !ledger.is_asked(entry) || open + octets.len() > SUMS_OPEN_MAX {
            return Err(Violation::Sums(entry));
        }
        self.coming.entry(entry).or_default().extend_from_slice(octets);
        Ok(())
    }

    /// The answer has come: the sums are all there. `wanted` octets were asked for, or none.
    ///
    /// # Errors
    ///
    /// `Delta` for octets that are no sums, or not those that were asked for.
    pub(crate) fn on_go(&mut self, entry: u64, wanted: Option<usize>) -> Result<Sums, Violation> {
        let octets = self.coming.remove(&entry).unwrap_or_default();
        let (len, open) = (octets.len(), Arc::clone(&self.open));
        let content = match wanted {
            _ if octets.is_empty() => SumsContent::None,
            Some(expected) if expected != len => {
                return Err(crate::delta::DeltaViolation::SumsLen { expected, got: len }.into());
            }
            Some(_) => SumsContent::Wanted(octets),
            None => {
                let (request, sums) = SumRequest::parse(&octets)?;
                SumsContent::First(Signature::parse(request, sums.into())?)
            }
        };
        Ok(Sums { content, octets: len, open })
    }
}
