//! What the path between the two ends sees of how packets are marked, and what becomes of what it marks itself.
//!
//! A line is a pipe (RFC 2983): a packet's code point comes out as it went in, whatever the path makes of that around it. The one around
//! it is chosen here ([`OuterDscp`]). Congestion is another matter: a mark that the path sets must reach the ends of TCP (RFC 6040). So a
//! packet that takes marks is sent in a datagram that takes them, if the far end carries them over ([`carry_over`]). Where several packets
//! are in one datagram, or a part of one, the datagram takes none.

use tieline_wire::ds::{self, Dscp, Ecn};

use crate::class::ServiceClass;

/// Which code point goes around packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OuterDscp {
    /// One for each class of service, of those that carriers know.
    #[default]
    Map,
    /// The packet's own; that of its class around what is no IP packet.
    Copy,
    /// None: nobody on the path shall see which packets are voice.
    None,
}

impl OuterDscp {
    /// The DS octet of a datagram with `packet`, an IP packet that is served as `class`, or as its own code point says.
    #[must_use]
    pub fn around_ip(self, class: Option<ServiceClass>, packet: &[u8], carries_ecn: bool) -> u8 {
        let (inner, ecn) = ds::of(packet);
        let dscp = match self {
            Self::Map => mapped(class.unwrap_or_else(|| ServiceClass::of_dscp(inner)), inner),
            Self::Copy => inner,
            Self::None => Dscp::DF,
        };
        ds::octet(dscp, if carries_ecn { ecn } else { Ecn::NotEct })
    }

    /// The DS octet of a datagram with anything else.
    #[must_use]
    pub fn around_other(self, class: ServiceClass) -> u8 {
        let dscp = if self == Self::None { Dscp::DF } else { mapped(class, Dscp::DF) };
        ds::octet(dscp, Ecn::NotEct)
    }
}

/// The code point of a class; within one, that of the service which `inner` names.
fn mapped(class: ServiceClass, inner: Dscp) -> Dscp {
    match (class, inner.value()) {
        (ServiceClass::Control, 40) => Dscp::CS5,
        (ServiceClass::Control, _) => Dscp::CS6,
        (ServiceClass::Voice, _) => Dscp::EF,
        (ServiceClass::Interactive, 32 | 34 | 36 | 38) => Dscp::af(4, 1),
        (ServiceClass::Interactive, _) => Dscp::af(2, 1),
        (ServiceClass::Standard, _) => Dscp::DF,
        (ServiceClass::Bulk, 1 | 8) => Dscp::LE,
        (ServiceClass::Bulk, _) => Dscp::af(1, 1),
    }
}

/// Gives an IP packet that came out of a datagram with the mark `outer` the mark that it is to have (RFC 6040 §4.2). False: it is to be
/// dropped.
#[must_use]
pub fn carry_over(outer: Ecn, packet: &mut [u8]) -> bool {
    let inner = ds::of(packet).1;
    match inner.decapsulated(outer) {
        Some(ecn) if ecn == inner => true,
        Some(ecn) => {
            ds::set_ecn(packet, ecn);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(dscp: Dscp, ecn: Ecn) -> Vec<u8> {
        let mut packet = vec![0; 40];
        let octet = ds::octet(dscp, ecn);
        (packet[0], packet[1]) = (6 << 4 | octet >> 4, octet << 4);
        packet
    }

    /// Each row of the table in `docs/operation.md`.
    #[test]
    fn code_points_around_packets_are_those_of_their_service() {
        let rows: [(Dscp, &[Dscp]); 8] = [
            (Dscp::EF, &[Dscp::EF, Dscp::VOICE_ADMIT]),
            (Dscp::CS5, &[Dscp::CS5]),
            (Dscp::CS6, &[Dscp::CS6, Dscp::CS7]),
            (Dscp::af(4, 1), &[Dscp::af(4, 1), Dscp::af(4, 2), Dscp::af(4, 3), Dscp::CS4]),
            (
                Dscp::af(2, 1),
                &[Dscp::af(3, 1), Dscp::af(3, 2), Dscp::CS3, Dscp::af(2, 1), Dscp::af(2, 3), Dscp::CS2],
            ),
            (Dscp::DF, &[Dscp::DF]),
            (Dscp::af(1, 1), &[Dscp::af(1, 1), Dscp::af(1, 2), Dscp::af(1, 3)]),
            (Dscp::LE, &[Dscp::CS1, Dscp::LE]),
        ];
        for (outer, inner) in rows {
            for inner in inner {
                let packet = packet(*inner, Ecn::Ect0);
                let around = |policy: OuterDscp| policy.around_ip(None, &packet, false) >> 2;
                assert_eq!(around(OuterDscp::Map), outer.value(), "{inner:?}");
                assert_eq!(around(OuterDscp::Copy), inner.value());
                assert_eq!(around(OuterDscp::None), 0);
            }
        }
    }

    #[test]
    fn a_packet_goes_as_what_it_is_served_and_not_as_what_it_claims() {
        let around =
            |class, dscp| OuterDscp::Map.around_ip(Some(class), &packet(dscp, Ecn::NotEct), true) >> 2;
        assert_eq!(around(ServiceClass::Voice, Dscp::DF), Dscp::EF.value(), "a call that nobody marked");
        assert_eq!(around(ServiceClass::Standard, Dscp::EF), 0, "a copy of files that claims to be one");
    }

    #[test]
    fn what_is_no_ip_packet_goes_as_its_class_and_takes_no_marks() {
        let points =
            ServiceClass::ALL.map(|class| [OuterDscp::Map, OuterDscp::Copy].map(|p| p.around_other(class)));
        let wanted = [Dscp::CS6, Dscp::EF, Dscp::af(2, 1), Dscp::DF, Dscp::af(1, 1)];
        assert_eq!(points, wanted.map(|dscp| [ds::octet(dscp, Ecn::NotEct); 2]));
        assert!(ServiceClass::ALL.iter().all(|class| OuterDscp::None.around_other(*class) == 0));
    }

    #[test]
    fn datagrams_take_the_marks_that_their_packet_takes_if_the_far_end_carries_them_over() {
        for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
            for policy in [OuterDscp::Map, OuterDscp::Copy, OuterDscp::None] {
                let around = |carries| policy.around_ip(None, &packet(Dscp::DF, ecn), carries);
                assert_eq!((around(true), around(false)), (ecn.bits(), 0));
            }
        }
    }

    #[test]
    fn a_mark_of_the_path_is_carried_over_or_the_packet_is_dropped() {
        let mut marked = packet(Dscp::EF, Ecn::Ect0);
        assert!(carry_over(Ecn::Ce, &mut marked));
        assert_eq!(ds::of(&marked), (Dscp::EF, Ecn::Ce));
        let mut deaf = packet(Dscp::EF, Ecn::NotEct);
        assert!(carry_over(Ecn::Ect0, &mut deaf) && ds::of(&deaf).1 == Ecn::NotEct);
        assert!(!carry_over(Ecn::Ce, &mut deaf));
    }
}
