//! Many short frames as one: compressed together, so that a question, an answer or a verdict costs a few octets.
//!
//! Either end gathers frames that leave at the same time in a [`Bundler`], and the other takes them apart with an [`Unbundler`], in
//! order and as if each had come by itself. All bundles of one direction are one stream of [`compress`](crate::compress), so what
//! comes again in each frame, such as a folder's name or a transfer's, is not sent again. Long frames and frames that are
//! alone go as they are.
//!
//! | 0: octets of the frames (4) | 4: whole frames, each with its length before it, compressed |
//!
//! A bundle becomes at most [`BUNDLE_LEN_MAX`] octets, and none is in another one.

use std::io;

use crate::compress::{Compressor, Decompressor};
use crate::protocol::{PREFIX_LEN, Violation, frame_len, is_bundle};

/// Octets of the frames of a bundle, before they are compressed.
pub const BUNDLE_LEN_MAX: usize = 48 * 1024;
/// Octets of data of a file up to which they are gathered with what is around them.
pub(crate) const DATA_IN_BUNDLE_MAX: usize = 1024;
/// Fewer octets are not worth the compressor's time: two frames between the data of two files.
const BUNDLE_LEN_MIN: usize = 192;

/// Gathers frames, and makes bundles of them.
pub struct Bundler {
    /// Writes the frame of a bundle: octets that it becomes, and the compressed ones.
    emit: fn(u32, &[u8], &mut Vec<u8>),
    pending: Vec<u8>,
    compressor: State,
}

/// The compressor of one direction; what the other end has of it before is needed to read what follows.
enum State {
    NotYet,
    Running(Box<Compressor>),
    Ended,
}

impl Bundler {
    /// Gathers for an end whose bundles `emit` writes.
    #[must_use]
    pub fn new(emit: fn(u32, &[u8], &mut Vec<u8>)) -> Self {
        Self { emit, pending: Vec::new(), compressor: State::NotYet }
    }

    /// Takes the frame that `frame` appends, with its prefix. What has to leave before it goes to the end of `out`.
    pub fn add(&mut self, out: &mut Vec<u8>, frame: impl FnOnce(&mut Vec<u8>)) {
        let start = self.pending.len();
        frame(&mut self.pending);
        if self.pending.len() > BUNDLE_LEN_MAX {
            let last = self.pending.split_off(start);
            self.flush(out);
            if last.len() > BUNDLE_LEN_MAX { out.extend(last) } else { self.pending = last }
        }
    }

    /// Appends everything that was gathered to `out`.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if self.pending.len() < BUNDLE_LEN_MIN || self.pack(out).is_none() {
            out.append(&mut self.pending);
        }
        self.pending.clear();
    }

    /// Octets that wait.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    fn pack(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let compressor = match &mut self.compressor {
            State::Ended => return None,
            State::Running(compressor) => compressor,
            begin => {
                *begin = Compressor::of_frames().map_or(State::Ended, |new| State::Running(Box::new(new)));
                let State::Running(compressor) = begin else { return None };
                compressor
            }
        };
        let mut packed = Vec::new();
        if let Err(error) = compressor.compress(&self.pending, &mut packed) {
            tracing::warn!(%error, "frames are sent one by one from here on");
            self.compressor = State::Ended;
            return None;
        }
        (self.emit)(u32::try_from(self.pending.len()).ok()?, &packed, out);
        Some(())
    }
}

/// Takes bundles apart.
#[derive(Default)]
pub struct Unbundler {
    decompressor: Option<Decompressor>,
    frames: Vec<u8>,
    /// What of them was taken.
    taken: usize,
}

impl Unbundler {
    /// Opens a bundle that becomes `len` octets. The frames of the one before must all have been taken.
    ///
    /// # Errors
    ///
    /// `Bundle` if it is too long, or not compressed as it should be.
    pub fn open(&mut self, len: u32, packed: &[u8]) -> Result<(), Violation> {
        let len = usize::try_from(len).ok().filter(|len| (1..=BUNDLE_LEN_MAX).contains(len));
        let len = len.ok_or(Violation::Bundle)?;
        if self.decompressor.is_none() {
            self.decompressor = Some(Decompressor::new().map_err(|_: io::Error| Violation::Bundle)?);
        }
        self.frames.clear();
        self.taken = 0;
        let Some(decompressor) = &mut self.decompressor else { return Err(Violation::Bundle) };
        decompressor.decompress(packed, len, &mut self.frames).map_err(|_| Violation::Bundle)
    }

    /// Returns the next frame of the open bundle, without its prefix.
    ///
    /// # Errors
    ///
    /// `EmptyFrame`, `FrameTooLong`; `Bundle` if it is cut short, or itself a bundle.
    pub fn take(&mut self) -> Result<Option<&[u8]>, Violation> {
        let rest = &self.frames[self.taken..];
        if rest.is_empty() {
            return Ok(None);
        }
        let (prefix, rest) = rest.split_first_chunk::<PREFIX_LEN>().ok_or(Violation::Bundle)?;
        let len = frame_len(*prefix)?;
        let frame = rest.get(..len).filter(|frame| !is_bundle(frame)).ok_or(Violation::Bundle)?;
        self.taken += PREFIX_LEN + len;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::SenderMessage;

    fn emit(len: u32, packed: &[u8], out: &mut Vec<u8>) {
        SenderMessage::Bundle { len, packed }.emit(out);
    }

    fn add(bundler: &mut Bundler, out: &mut Vec<u8>, message: SenderMessage<'_>) {
        bundler.add(out, |frame| message.emit(frame));
    }

    /// The frames of what was written, bundles taken apart; and how many bundles there were.
    fn frames_of(mut octets: &[u8]) -> (Vec<Vec<u8>>, usize) {
        let (mut unbundler, mut frames, mut bundles) = (Unbundler::default(), Vec::new(), 0);
        while let Some((prefix, rest)) = octets.split_first_chunk::<PREFIX_LEN>() {
            let (frame, rest) = rest.split_at(frame_len(*prefix).unwrap());
            octets = rest;
            if let Ok(SenderMessage::Bundle { len, packed }) = SenderMessage::parse(frame) {
                bundles += 1;
                unbundler.open(len, packed).unwrap();
                while let Some(frame) = unbundler.take().unwrap() {
                    frames.push(frame.to_vec());
                }
            } else {
                frames.push(frame.to_vec());
            }
        }
        (frames, bundles)
    }

    #[test]
    fn what_says_the_same_again_and_again_costs_a_few_octets() {
        let (mut bundler, mut out) = (Bundler::new(emit), Vec::new());
        for entry in 0..1000 {
            add(&mut bundler, &mut out, SenderMessage::Body { entry, from: 0 });
        }
        bundler.flush(&mut out);
        assert!(out.len() < 1000 * 4, "{}", out.len());
        let (frames, bundles) = frames_of(&out);
        assert_eq!((frames.len(), bundles), (1000, 1));
    }

    #[test]
    fn what_is_alone_or_long_goes_as_it_is_and_in_its_turn() {
        let (mut bundler, mut out) = (Bundler::new(emit), Vec::new());
        add(&mut bundler, &mut out, SenderMessage::End);
        bundler.flush(&mut out);
        assert_eq!(out, b"\0\0\0\x01\x07");
        let long = vec![7; BUNDLE_LEN_MAX];
        for message in [SenderMessage::Listed, SenderMessage::Data(&long), SenderMessage::End] {
            add(&mut bundler, &mut out, message);
        }
        bundler.flush(&mut out);
        let (frames, bundles) = frames_of(&out);
        let kinds: Vec<u8> = frames.iter().map(|frame| frame[0]).collect();
        assert_eq!((kinds, bundles), (vec![0x07, 0x1a, 0x04, 0x07], 0));
    }

    #[test]
    fn case_26_a_bundle_that_cannot_be_one_is_refused() {
        let pack = |octets: &[u8]| {
            let mut packed = Vec::new();
            Compressor::of_frames().unwrap().compress(octets, &mut packed).unwrap();
            (u32::try_from(octets.len()).unwrap(), packed)
        };
        let open = |len, packed: &[u8]| {
            let mut unbundler = Unbundler::default();
            unbundler.open(len, packed)?;
            while unbundler.take()?.is_some() {}
            Ok(())
        };
        let mut inner = Vec::new();
        emit(1, b"x", &mut inner);
        for (octets, violation) in [
            (&b"\0\0\0\0"[..], Violation::EmptyFrame),
            (b"\0\xff\0\0", Violation::FrameTooLong(0x00ff_0000)),
            (b"\0\0", Violation::Bundle),
            (b"\0\0\0\x02\x07", Violation::Bundle),
            (&inner, Violation::Bundle),
        ] {
            let (len, packed) = pack(octets);
            assert_eq!(open(len, &packed), Err(violation), "{octets:?}");
        }
        let (len, packed) = pack(&[0; BUNDLE_LEN_MAX]);
        for wrong in [0, 1, len - 1, len + 1, u32::MAX] {
            assert_eq!(open(wrong, &packed), Err(Violation::Bundle), "{wrong}");
        }
        assert_eq!(open(5, b"no zstd"), Err(Violation::Bundle));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            list in prop::collection::vec((0..3_usize, 1..2000_usize, any::<u8>()), 0..200), each in 1..50_usize
        ) {
            let (mut bundler, mut out, mut expected) = (Bundler::new(emit), Vec::new(), Vec::new());
            for (number, (scale, len, octet)) in list.into_iter().enumerate() {
                let data = vec![octet; len * [1, 1, 30][scale]];
                expected.push([&[0x04][..], &data].concat());
                add(&mut bundler, &mut out, SenderMessage::Data(&data));
                if number % each == 0 {
                    bundler.flush(&mut out);
                }
            }
            bundler.flush(&mut out);
            prop_assert_eq!(frames_of(&out).0, expected);
        }

        #[test]
        fn anything_at_all_is_bounded_and_does_not_panic(len in 0..70_000_u32, octets: Vec<u8>, honest: bool) {
            let mut packed = octets.clone();
            if honest {
                packed.clear();
                Compressor::of_frames().unwrap().compress(&octets, &mut packed).unwrap();
            }
            let len = if honest { u32::try_from(octets.len()).unwrap() } else { len };
            let mut unbundler = Unbundler::default();
            if unbundler.open(len, &packed).is_ok() {
                while let Ok(Some(frame)) = unbundler.take() {
                    prop_assert!(!frame.is_empty());
                }
            }
        }
    }
}
