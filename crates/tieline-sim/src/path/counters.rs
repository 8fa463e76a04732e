//! What became of the datagrams, by reason.

/// Counts of one direction since it was made. What is neither delivered nor dropped is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathCounters {
    /// Datagrams handed in.
    pub offered: u64,
    /// Datagrams that arrived, copies included.
    pub delivered: u64,
    /// Octets that arrived, overhead not included.
    pub octets_delivered: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Datagrams with flipped bits.
    pub corrupted: u64,
    /// Datagrams held back for others to overtake.
    pub reordered: u64,
    /// Dropped: larger than the MTU.
    pub too_large: u64,
    /// Dropped: handed in, or due to arrive, while the path was cut or out.
    pub cut: u64,
    /// Dropped: the queue was full.
    pub queue_full: u64,
    /// Dropped: lost by itself.
    pub lost: u64,
    /// Dropped: lost in a burst.
    pub lost_in_burst: u64,
    /// Dropped: more on its way than the model holds; a limit of the simulator, not of the modelled path.
    pub overfull: u64,
}

impl PathCounters {
    /// All that was dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.too_large + self.cut + self.queue_full + self.lost + self.lost_in_burst + self.overfull
    }
}

impl std::ops::Add for PathCounters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            delivered: self.delivered + other.delivered,
            octets_delivered: self.octets_delivered + other.octets_delivered,
            duplicated: self.duplicated + other.duplicated,
            corrupted: self.corrupted + other.corrupted,
            reordered: self.reordered + other.reordered,
            too_large: self.too_large + other.too_large,
            cut: self.cut + other.cut,
            queue_full: self.queue_full + other.queue_full,
            lost: self.lost + other.lost,
            lost_in_burst: self.lost_in_burst + other.lost_in_burst,
            overfull: self.overfull + other.overfull,
        }
    }
}
