//! The receiving end: entries of a bundle become IP packets again.

use std::time::Instant;

use tieline_wire::{
    label::Label,
    packed::{ENTRIES_MAX, Entry, EntryError, Establish, Feedback, ReferenceNumber, Window},
};

use super::{
    FEEDBACK_INTERVAL, REFERENCES_KEPT,
    reference::{Headers, Reference},
};

/// Why the rest of a bundle is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// An entry that is not understood, an empty bundle, or one of too many entries.
    #[error("the bundle is not understood")]
    Malformed,
    /// An entry that is coded against a reference which has not arrived, or which others have replaced.
    #[error("a reference that is not here")]
    UnknownReference,
    /// A packet that is longer than the line carries.
    #[error("a packet that is longer than the line carries")]
    TooLarge,
}

/// The receiving end of a label.
#[derive(Debug)]
pub struct Unpacker {
    label: Label,
    mtu: usize,
    /// By serial number modulo [`REFERENCES_KEPT`]; empty until the first arrives.
    references: Vec<Option<Reference>>,
    arrived: Option<Feedback>,
    feedback_due: Option<Instant>,
    feedback_sent: Option<Instant>,
}

impl Unpacker {
    /// One that has no reference. `mtu` is the longest IP packet of the line.
    #[must_use]
    pub fn new(label: Label, mtu: usize) -> Self {
        Self { label, mtu, references: Vec::new(), arrived: None, feedback_due: None, feedback_sent: None }
    }

    /// Under which label its bundles come.
    #[must_use]
    pub fn label(&self) -> Label {
        self.label
    }

    /// The entries of `bundle`, one by one.
    pub fn open<'u, 'b>(&'u mut self, bundle: &'b [u8]) -> Entries<'u, 'b> {
        let (window, rest) = match bundle.split_first() {
            Some((window, rest)) => (Window(*window), rest),
            // An entry is missing as well, which is found there.
            None => (Window(0), bundle),
        };
        Entries { unpacker: self, window, rest: Some(rest), count: 0 }
    }

    /// When [`Self::poll_feedback`] has something to say.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.feedback_due
    }

    /// What the sending end is to be told, if it is time.
    pub fn poll_feedback(&mut self, now: Instant) -> Option<Feedback> {
        self.feedback_due.take_if(|due| *due <= now)?;
        self.feedback_sent = Some(now);
        self.arrived
    }

    fn unpack<'b>(
        &mut self,
        now: Instant,
        window: Window,
        bundle: &'b [u8],
        out: &mut [u8],
    ) -> Result<(usize, &'b [u8]), UnpackError> {
        let (entry, rest) =
            Entry::parse(bundle, |number| Some(self.reference(window, number)?.payload_len()))?;
        let (len, establish) = match entry {
            Entry::Whole { establish, packet } => {
                out.get_mut(..packet.len()).ok_or(UnpackError::TooLarge)?.copy_from_slice(packet);
                (packet.len(), establish)
            }
            Entry::Coded(coded) => {
                let reference = self.reference(window, coded.number).ok_or(UnpackError::UnknownReference)?;
                (reference.restore(&coded, out).ok_or(UnpackError::TooLarge)?, coded.establish)
            }
        };
        if len > self.mtu {
            return Err(UnpackError::TooLarge);
        }
        if let Some(establish) = establish {
            self.keep(now, establish, &out[..len])?;
        }
        Ok((len, rest))
    }

    fn reference(&self, window: Window, number: ReferenceNumber) -> Option<&Reference> {
        let place = usize::from(number.value()) % REFERENCES_KEPT as usize;
        let reference = self.references.get(place)?.as_ref()?;
        let serial = reference.serial();
        (ReferenceNumber::of(serial) == number && window.contains(serial)).then_some(reference)
    }

    fn keep(&mut self, now: Instant, establish: Establish, packet: &[u8]) -> Result<(), UnpackError> {
        let reference = Headers::of(packet)
            .and_then(|(headers, payload)| Reference::new(headers, payload, establish))
            .ok_or(UnpackError::Malformed)?;
        self.references.resize(REFERENCES_KEPT as usize, None);
        let place = &mut self.references[(establish.serial % REFERENCES_KEPT) as usize];
        // The packet itself is good, only as a reference it comes too late.
        if place.is_some_and(|there| there.serial() > establish.serial) {
            return Ok(());
        }
        *place = Some(reference);
        self.arrived = Some(match self.arrived {
            None => Feedback { label: self.label, newest: establish.serial, before: 0 },
            Some(arrived) => with(arrived, establish.serial),
        });
        let next = self.feedback_sent.map_or(now, |sent| now.max(sent + FEEDBACK_INTERVAL));
        self.feedback_due.get_or_insert(next);
        Ok(())
    }
}

/// The entries of one bundle.
#[derive(Debug)]
pub struct Entries<'u, 'b> {
    unpacker: &'u mut Unpacker,
    window: Window,
    rest: Option<&'b [u8]>,
    count: usize,
}

impl Entries<'_, '_> {
    /// Restores the next packet at the front of `out`, which has room for the longest packet of the line, and returns its octets; `None`
    /// at the end. After an error there is nothing more: where the next entry begins is not known.
    pub fn next(&mut self, now: Instant, out: &mut [u8]) -> Option<Result<usize, UnpackError>> {
        let rest = self.rest.take()?;
        if rest.is_empty() && self.count > 0 {
            return None;
        }
        if self.count == ENTRIES_MAX {
            return Some(Err(UnpackError::Malformed));
        }
        self.count += 1;
        Some(self.unpacker.unpack(now, self.window, rest, out).map(|(len, rest)| {
            self.rest = Some(rest);
            len
        }))
    }
}

impl From<EntryError> for UnpackError {
    fn from(error: EntryError) -> Self {
        match error {
            EntryError::Malformed(_) => Self::Malformed,
            EntryError::UnknownReference(_) => Self::UnknownReference,
        }
    }
}

/// `arrived` and this one.
fn with(arrived: Feedback, serial: u32) -> Feedback {
    let Some(ahead) = serial.checked_sub(arrived.newest) else {
        let back = arrived.newest - serial - 1;
        return Feedback { before: arrived.before | 1_u64.checked_shl(back).unwrap_or(0), ..arrived };
    };
    let before = match ahead {
        0 => return arrived,
        _ => arrived.before.checked_shl(ahead).unwrap_or(0) | 1_u64.checked_shl(ahead - 1).unwrap_or(0),
    };
    Feedback { newest: serial, before, ..arrived }
}
