//! How a packet is served: tieline's five service classes, and what stands for them in the headers of packets (RFC 4594, RFC 5462).

use tieline_wire::{ds::Dscp, label::MplsTrafficClass};

/// A service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceClass {
    /// What keeps the line and its calls going: the line's own messages, routing, signalling.
    Control,
    /// The sound of calls.
    Voice,
    /// Where somebody waits for each packet: video calls, screens, streams.
    Interactive,
    /// Everything else.
    Standard,
    /// What may wait: files.
    Bulk,
}

impl ServiceClass {
    /// All of them, the first served first.
    pub const ALL: [Self; 5] = [Self::Control, Self::Voice, Self::Interactive, Self::Standard, Self::Bulk];

    /// The class of a code point (RFC 4594 §2.3, RFC 5865, RFC 8622). Code points without a meaning are standard (RFC 2474 §3).
    ///
    /// CS3 and AF31 are signalling in many telephone systems, though RFC 4594 has CS5 for it. Both are interactive here: the queue of
    /// signalling is ahead of everything, and video must not get into it.
    #[must_use]
    pub fn of_dscp(dscp: Dscp) -> Self {
        match dscp.value() {
            40 | 48 | 56 => Self::Control,
            44 | 46 => Self::Voice,
            // AF4x, CS4, AF3x, CS3, AF2x, CS2.
            34 | 36 | 38 | 32 | 26 | 28 | 30 | 24 | 18 | 20 | 22 | 16 => Self::Interactive,
            // AF1x, CS1, LE.
            10 | 12 | 14 | 8 | 1 => Self::Bulk,
            _ => Self::Standard,
        }
    }

    /// The class that the bits of a label stand for.
    #[must_use]
    pub fn of_traffic_class(class: MplsTrafficClass) -> Self {
        match class.value() {
            6 | 7 => Self::Control,
            5 => Self::Voice,
            3 | 4 => Self::Interactive,
            1 => Self::Bulk,
            _ => Self::Standard,
        }
    }

    /// The bits of a label that stand for the class.
    #[must_use]
    pub fn traffic_class(self) -> MplsTrafficClass {
        match self {
            Self::Control => MplsTrafficClass::CONTROL,
            Self::Voice => MplsTrafficClass::VOICE,
            Self::Interactive => MplsTrafficClass::INTERACTIVE,
            Self::Standard => MplsTrafficClass::STANDARD,
            Self::Bulk => MplsTrafficClass::BULK,
        }
    }

    /// The name it has in what people read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Voice => "voice",
            Self::Interactive => "interactive",
            Self::Standard => "standard",
            Self::Bulk => "bulk",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row of the table in `docs/operation.md`.
    #[test]
    fn code_points_have_the_class_of_their_service() {
        let rows: [(&str, ServiceClass, &[Dscp]); 9] = [
            ("telephony", ServiceClass::Voice, &[Dscp::EF, Dscp::VOICE_ADMIT]),
            ("signalling", ServiceClass::Control, &[Dscp::CS5]),
            ("network control", ServiceClass::Control, &[Dscp::CS6, Dscp::CS7]),
            (
                "conferencing, real-time interactive",
                ServiceClass::Interactive,
                &[Dscp::af(4, 1), Dscp::af(4, 2), Dscp::af(4, 3), Dscp::CS4],
            ),
            (
                "streaming, broadcast video",
                ServiceClass::Interactive,
                &[Dscp::af(3, 1), Dscp::af(3, 2), Dscp::af(3, 3), Dscp::CS3],
            ),
            (
                "low-latency data, management",
                ServiceClass::Interactive,
                &[Dscp::af(2, 1), Dscp::af(2, 2), Dscp::af(2, 3), Dscp::CS2],
            ),
            ("standard", ServiceClass::Standard, &[Dscp::DF]),
            ("high-throughput data", ServiceClass::Bulk, &[Dscp::af(1, 1), Dscp::af(1, 2), Dscp::af(1, 3)]),
            ("low priority", ServiceClass::Bulk, &[Dscp::CS1, Dscp::LE]),
        ];
        for (service, class, points) in rows {
            for point in points {
                assert_eq!(ServiceClass::of_dscp(*point), class, "{service}: {point:?}");
            }
        }
    }

    #[test]
    fn code_points_without_a_meaning_are_standard() {
        let known = [40, 48, 56, 44, 46, 34, 36, 38, 32, 26, 28, 30, 24, 18, 20, 22, 16, 10, 12, 14, 8, 1];
        for value in (0..64).filter(|value| !known.contains(value)) {
            let packet = [0x45, value << 2];
            assert_eq!(ServiceClass::of_dscp(tieline_wire::ds::of(&packet).0), ServiceClass::Standard);
        }
    }

    #[test]
    fn labels_of_the_line_have_the_class_they_were_pushed_with() {
        for class in ServiceClass::ALL {
            assert_eq!(ServiceClass::of_traffic_class(class.traffic_class()), class);
        }
        assert_eq!(ServiceClass::of_traffic_class(MplsTrafficClass::default()), ServiceClass::Standard);
    }
}
