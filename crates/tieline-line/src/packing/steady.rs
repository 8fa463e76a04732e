//! What grows by the same step from packet to packet.

/// The step of a number that usually grows by one step. A lone jump does not change it; the same jump twice does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steady {
    step: Option<u16>,
    last: Option<u16>,
}

impl Steady {
    /// Takes the next difference; `None` if it is larger than a step may be.
    pub(super) fn on_difference(&mut self, difference: Option<u16>) {
        if difference.is_some() && (self.step.is_none() || difference == self.last) {
            self.step = difference;
        }
        self.last = difference;
    }

    pub(super) fn step(&self) -> Option<u16> {
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_jump_changes_nothing_and_a_new_step_is_learnt() {
        let mut steady = Steady::default();
        let mut after = |difference| {
            steady.on_difference(difference);
            steady.step()
        };
        assert_eq!(
            [None, Some(160), None, Some(160)].map(&mut after),
            [None, Some(160), Some(160), Some(160)]
        );
        assert_eq!(
            [Some(4000), Some(160), Some(80), Some(80)].map(&mut after),
            [160, 160, 160, 80].map(Some)
        );
    }
}
