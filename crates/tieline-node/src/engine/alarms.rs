//! What needs somebody's attention, as sentences, until the process ends.

use std::time::{Duration, Instant};

use tieline_line::key_watch::KeyInUseTwice;

/// Other alarms that are kept; the oldest goes first.
const OTHERS_MAX: usize = 16;

/// The alarms of one end.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    far_key: Option<(Instant, KeyInUseTwice)>,
    own_key: Option<Instant>,
    others: Vec<String>,
}

impl Alarms {
    /// The far end's key is in use at two places.
    pub(super) fn raise_far_key(&mut self, alarm: KeyInUseTwice) {
        self.far_key = Some((Instant::now(), alarm));
    }

    /// The far end says that our own key is in use at two places.
    pub(super) fn raise_own_key(&mut self) {
        self.own_key = Some(Instant::now());
    }

    /// Anything else, as a sentence.
    pub(super) fn raise(&mut self, sentence: String) {
        if self.others.contains(&sentence) {
            return;
        }
        if self.others.len() == OTHERS_MAX {
            self.others.remove(0);
        }
        self.others.push(sentence);
    }

    /// The alarms as sentences.
    #[must_use]
    pub(super) fn sentences(&self) -> Vec<String> {
        let far_key = self.far_key.map(|(since, KeyInUseTwice { held, other })| {
            format!(
                "the far end's key is in use at two places at once: {held} (held to) and {other}, {}; find the machine at {other} and give it a line of its own with `tieline new`",
                ago(since)
            )
        });
        let own_key = self.own_key.map(|since| {
            format!(
                "the far end says that this end's key is in use at another place too, {}; a copy of this machine's keys is running elsewhere: take it down, and pair anew if you do not know where",
                ago(since)
            )
        });
        far_key.into_iter().chain(own_key).chain(self.others.iter().cloned()).collect()
    }
}

fn ago(since: Instant) -> String {
    let elapsed: Duration = since.elapsed();
    format!("seen {} s ago", elapsed.as_secs())
}
