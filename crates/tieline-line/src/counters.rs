//! What went through the line and what was dropped, by reason.
//!
//! The packet path adds, everybody may read: relaxed atomics, shared by reference, never reset.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why the line, above the session, dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// In: the first nibble stands for nothing.
    UnknownNibble,
    /// In: an IP header that lies about its length or version.
    MalformedIp,
    /// In: a source address that the far end has not offered or that we have not accepted.
    SourceNotAccepted,
    /// In: a label stack that is cut short or has more than one entry.
    MalformedLabelStack,
    /// In: a label that no channel has.
    UnknownLabel,
    /// In: a message of the associated channel that is not understood.
    MalformedMessage,
    /// In: packets of a channel whose queue is full.
    ChannelQueueFull,
    /// In: a piece of a packet that lacked others, or is none.
    PieceLost,
    /// In: a packet that the path marked, and whose transport takes no marks (RFC 6040 §4.2).
    CongestionUnheard,
    /// In: a heartbeat by another socket than that of its path, or of no path.
    PathElsewhere,
    /// In: a packet for a line without a network device.
    NoDevice,
    /// In: packed calls that are not understood.
    MalformedBundle,
    /// In: a packet of a call, and those packed behind it, without what they were coded against.
    UnknownReference,
    /// In: a packet of a call that would be larger than the line carries.
    UnpackedTooLarge,
    /// In: what should be a frame of Ethernet and is none.
    MalformedFrame,
    /// Out: a packet that is no IP packet.
    NotIp,
    /// Out: what the device says about how a packet is to be cut or completed does not fit the packet.
    OffloadMismatch,
    /// Out: a packet that means something on its own link only, such as the kernel's search for routers.
    LinkLocal,
    /// Out: a packet of a channel, and no session to seal it with.
    NoSession,
    /// Out: a packet larger than the line carries.
    TooLarge,
    /// Out: more packets than may wait for a session.
    StagedQueueFull,
    /// Out: a packet that waited for a session for too long.
    StagedTooLong,
    /// Out: the medium refused it.
    MediumRefused,
    /// Out: control's queue of packets was full.
    ControlQueueFull,
    /// Out: the queues had no room left.
    QueueFull,
    /// Out: its flow's queue was long for too long.
    QueueTooLong,
    /// Out: voice that waited until it was of no use.
    VoiceTooLate,
}

impl DropReason {
    /// Every reason, in the order of their counters.
    pub const ALL: [Self; 27] = [
        Self::UnknownNibble,
        Self::MalformedIp,
        Self::SourceNotAccepted,
        Self::MalformedLabelStack,
        Self::UnknownLabel,
        Self::MalformedMessage,
        Self::ChannelQueueFull,
        Self::PieceLost,
        Self::CongestionUnheard,
        Self::PathElsewhere,
        Self::NoDevice,
        Self::MalformedBundle,
        Self::UnknownReference,
        Self::UnpackedTooLarge,
        Self::MalformedFrame,
        Self::NotIp,
        Self::OffloadMismatch,
        Self::LinkLocal,
        Self::NoSession,
        Self::TooLarge,
        Self::StagedQueueFull,
        Self::StagedTooLong,
        Self::MediumRefused,
        Self::ControlQueueFull,
        Self::QueueFull,
        Self::QueueTooLong,
        Self::VoiceTooLate,
    ];

    /// The name it has in `status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownNibble => "unknown-nibble",
            Self::MalformedIp => "malformed-ip",
            Self::SourceNotAccepted => "source-not-accepted",
            Self::MalformedLabelStack => "malformed-label-stack",
            Self::UnknownLabel => "unknown-label",
            Self::MalformedMessage => "malformed-message",
            Self::ChannelQueueFull => "channel-queue-full",
            Self::PieceLost => "piece-lost",
            Self::CongestionUnheard => "congestion-unheard",
            Self::PathElsewhere => "path-elsewhere",
            Self::NoDevice => "no-device",
            Self::MalformedBundle => "malformed-bundle",
            Self::UnknownReference => "unknown-reference",
            Self::UnpackedTooLarge => "unpacked-too-large",
            Self::MalformedFrame => "malformed-frame",
            Self::NotIp => "not-ip",
            Self::OffloadMismatch => "offload-mismatch",
            Self::LinkLocal => "link-local",
            Self::NoSession => "no-session",
            Self::TooLarge => "too-large",
            Self::StagedQueueFull => "staged-queue-full",
            Self::StagedTooLong => "staged-too-long",
            Self::MediumRefused => "medium-refused",
            Self::ControlQueueFull => "control-queue-full",
            Self::QueueFull => "line-queue-full",
            Self::QueueTooLong => "line-queue-too-long",
            Self::VoiceTooLate => "voice-too-late",
        }
    }
}

/// Packets and octets of one direction and kind.
#[derive(Debug, Default)]
pub struct Flow {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Flow {
    /// Counts one packet of `len` octets.
    pub fn add(&self, len: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Packets and octets so far.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// The counters of one line.
#[derive(Debug, Default)]
pub struct Counters {
    /// IP packets sealed.
    pub ip_out: Flow,
    /// IP packets opened and let in.
    pub ip_in: Flow,
    /// Labelled packets sealed.
    pub labelled_out: Flow,
    /// Labelled packets opened.
    pub labelled_in: Flow,
    /// IP packets that left packed, as they were before; they are among `ip_out`.
    pub packed_out: Flow,
    /// Bundles in which they left.
    pub bundles_out: Flow,
    /// IP packets that came packed, as they are now; they are among `ip_in`.
    pub unpacked_in: Flow,
    /// Datagrams of voice that went by a second path as well.
    pub copied_out: Flow,
    /// IP packets that the queues marked instead of dropping them (RFC 3168).
    pub queue_marked: Flow,
    /// Acknowledgements that a later one has replaced in the queues.
    pub acks_thinned: Flow,
    drops: [AtomicU64; DropReason::ALL.len()],
}

impl Counters {
    /// Counts one dropped packet.
    pub fn dropped(&self, reason: DropReason) {
        self.drops[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many packets were dropped for `reason`.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let counters = Counters::default();
        let mut names = Vec::new();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            counters.dropped(reason);
            assert_eq!(counters.drops(reason), 1);
            assert!(!names.contains(&reason.as_str()));
            names.push(reason.as_str());
        }
    }

    #[test]
    fn flows_count_packets_and_octets() {
        let counters = Counters::default();
        counters.ip_in.add(20);
        counters.ip_in.add(1400);
        assert_eq!(counters.ip_in.read(), (2, 1420));
        assert_eq!(counters.ip_out.read(), (0, 0));
    }
}
