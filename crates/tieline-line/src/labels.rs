//! The labels that the two ends have given out, and what each has heard under them: control writes, the packet path looks up.
//!
//! An end gives out other labels on each control stream, and takes what still comes under those before; so nothing that was agreed with a
//! process that is gone is mixed up with what is agreed with the next one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tieline_wire::{
    given_out::{GivenOut, PACKED_CALLS_LABELS},
    label::Label,
    packed::Feedback,
};

/// Labels that are given out together, with room for channels to come.
const TOGETHER: u32 = 8;
/// How often labels can be given out before the first ones come again; all are below 65,536 ([`tieline_wire::sealed`]).
const TIMES: u32 = ((1 << 16) - FIRST) / TOGETHER;
const FIRST: u32 = Label::FIRST_GIVEN_OUT.value();
/// Where the labels stand among those that are given out together, behind those of packed calls.
const PROTECTED: u32 = PACKED_CALLS_LABELS;
const LAN: u32 = PACKED_CALLS_LABELS + 1;
const _: () = assert!(LAN < TOGETHER);

/// The labels of a line.
#[derive(Debug, Default)]
pub struct Labels {
    /// How often this end has given out labels, from a random start, so that those of another process are others.
    times: AtomicU32,
    /// Whether this end takes frames of Ethernet.
    takes_frames: AtomicBool,
    ours: ArcSwap<[GivenOut; 2]>,
    far: ArcSwap<GivenOut>,
    feedback: [ArcSwapOption<Feedback>; PACKED_CALLS_LABELS as usize],
}

impl Labels {
    /// None yet; `random` decides which will be the first.
    #[must_use]
    pub fn new(random: u32) -> Self {
        Self { times: AtomicU32::new(random % TIMES), ..Self::default() }
    }

    /// From now on a label is given out for frames of Ethernet as well.
    pub fn take_frames(&self) {
        self.takes_frames.store(true, Ordering::Relaxed);
    }

    /// Gives out labels for a control stream that begins. Those of the one before are still understood, and no others.
    pub fn give_out(&self) -> GivenOut {
        let times = self.times.fetch_add(1, Ordering::Relaxed) % TIMES;
        let first = FIRST + times * TOGETHER;
        let given_out = GivenOut {
            packed_calls: Label::new(first).ok(),
            protected: Label::new(first + PROTECTED).ok(),
            lan: Label::new(first + LAN).ok().filter(|_| self.takes_frames.load(Ordering::Relaxed)),
        };
        let [before, _] = **self.ours.load();
        self.ours.store(Arc::new([given_out, before]));
        given_out
    }

    /// The far end has given out these; none any more if it is gone.
    pub fn set_far(&self, given_out: GivenOut) {
        self.far.store(Arc::new(given_out));
    }

    /// The label under which packing thread number `lane` sends packed calls to the far end, if it takes any.
    #[must_use]
    pub fn to_pack(&self, lane: usize) -> Option<Label> {
        let lane = u32::try_from(lane).ok().filter(|lane| *lane < PACKED_CALLS_LABELS)?;
        Label::new(self.far.load().packed_calls?.value() + lane).ok()
    }

    /// Whether packed calls come under `label`.
    #[must_use]
    pub fn is_packed(&self, label: Label) -> bool {
        let of = |given_out: &GivenOut| {
            let first = given_out.packed_calls?.value();
            Some((first..first + PACKED_CALLS_LABELS).contains(&label.value()))
        };
        label >= Label::FIRST_GIVEN_OUT
            && self.ours.load().iter().any(|given_out| of(given_out) == Some(true))
    }

    /// The label under which the far end takes protected packets, if it takes any.
    #[must_use]
    pub fn to_protect(&self) -> Option<Label> {
        self.far.load().protected
    }

    /// Whether protected packets come under `label`.
    #[must_use]
    pub fn is_protected(&self, label: Label) -> bool {
        label >= Label::FIRST_GIVEN_OUT
            && self.ours.load().iter().any(|given_out| given_out.protected == Some(label))
    }

    /// The label under which the far end takes frames of Ethernet, if it takes any.
    #[must_use]
    pub fn to_lan(&self) -> Option<Label> {
        self.far.load().lan
    }

    /// Whether frames of Ethernet come under `label`.
    #[must_use]
    pub fn is_lan(&self, label: Label) -> bool {
        label >= Label::FIRST_GIVEN_OUT
            && self.ours.load().iter().any(|given_out| given_out.lan == Some(label))
    }

    /// The far end says what has arrived under a label of its own. A later word says all that those shortly before it said.
    pub(crate) fn set_feedback(&self, feedback: Feedback) {
        let first = self.far.load().packed_calls.map(Label::value);
        let lane = first.and_then(|first| feedback.label.value().checked_sub(first));
        if let Some(place) = lane.and_then(|lane| self.feedback.get(lane as usize)) {
            place.store(Some(Arc::new(feedback)));
        }
    }

    /// Takes what the far end said last about the bundles of packing thread number `lane`.
    #[must_use]
    pub fn take_feedback(&self, lane: usize) -> Option<Feedback> {
        let place = self.feedback.get(lane)?;
        // Nothing was said, mostly: a look is cheaper than a swap.
        place.load().as_ref()?;
        place.swap(None).map(|feedback| *feedback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(value: u32) -> Label {
        Label::new(value).unwrap()
    }

    #[test]
    fn labels_are_given_out_once_and_those_before_are_understood() {
        let labels = Labels::new(TIMES - 1);
        assert!(!labels.is_packed(label(32)));
        let [last, first, second] = [(); 3].map(|()| labels.give_out().packed_calls.unwrap());
        assert_eq!([last, first, second], [label(65_528), label(32), label(40)]);
        for (value, is_packed) in
            [(31, false), (32, true), (35, true), (36, false), (40, true), (43, true), (44, false)]
        {
            assert_eq!(labels.is_packed(label(value)), is_packed, "{value}");
        }
        assert!(!labels.is_packed(last));
        let protected = Label::new(second.value() + PACKED_CALLS_LABELS).unwrap();
        assert!(labels.is_protected(protected) && !labels.is_packed(protected));
        assert!(!labels.is_protected(second) && !labels.is_protected(Label::STREAMS));
    }

    #[test]
    fn frames_have_a_label_only_where_they_are_taken() {
        let labels = Labels::new(0);
        assert_eq!(labels.give_out().lan, None);
        labels.take_frames();
        let lan = labels.give_out().lan.unwrap();
        assert_eq!(lan, label(45));
        assert!(labels.is_lan(lan) && !labels.is_protected(lan) && !labels.is_packed(lan));
        assert!(!labels.is_lan(label(37)) && !labels.is_lan(Label::PIECES));
        assert_eq!(labels.to_lan(), None);
        labels.set_far(GivenOut { lan: Some(label(50)), ..GivenOut::default() });
        assert_eq!(labels.to_lan(), Some(label(50)));
    }

    #[test]
    fn each_thread_packs_under_a_label_of_its_own() {
        let labels = Labels::new(0);
        assert_eq!((labels.to_pack(0), labels.to_protect()), (None, None));
        labels.set_far(GivenOut { packed_calls: Some(label(100)), ..GivenOut::default() });
        assert_eq!([0, 3, 4].map(|lane| labels.to_pack(lane)), [Some(label(100)), Some(label(103)), None]);
        labels.set_far(GivenOut::default());
        assert_eq!(labels.to_pack(0), None);
    }

    #[test]
    fn feedback_reaches_the_thread_whose_label_it_names_once() {
        let labels = Labels::new(0);
        let feedback = |value| Feedback { label: label(value), newest: value, before: 0 };
        labels.set_feedback(feedback(100));
        labels.set_far(GivenOut { packed_calls: Some(label(100)), ..GivenOut::default() });
        for value in [99, 101, 104] {
            labels.set_feedback(feedback(value));
        }
        assert_eq!(
            [0, 1, 1, 2, 3, 4].map(|lane| labels.take_feedback(lane)),
            [None, Some(feedback(101)), None, None, None, None]
        );
    }
}
