//! What the sending end knows of one call: what its packets are like, and which references the far end has of it.

use std::time::Instant;

use tieline_wire::packed::{Coded, Establish, Feedback, Fields, PAYLOAD_LEN_MAX, ReferenceNumber};

use super::{
    OFFER_INTERVAL, OFFER_TIME_MAX, OFFERS_MAX, RENEW_DISTANCE,
    numbers::Numbers,
    reference::{Headers, RTP_MARKER, Reference, Variable},
    steady::Steady,
};

/// Farther ahead in sequence numbers is behind (RFC 1982).
const AHEAD_MAX: u16 = 1 << 15;

const ANYTHING: Fields = Fields::NONE
    .and(Fields::KIND, true)
    .and(Fields::TIMESTAMP, true)
    .and(Fields::IDENTIFICATION, true)
    .and(Fields::LENGTH, true);

/// One call in one direction.
#[derive(Debug)]
pub(super) struct Context {
    /// When it last had a packet.
    pub(super) used: Instant,
    last: Last,
    /// The number after that of a packet which came out of order. If the next one has it, the sender has begun to count anew.
    after_late: Option<u16>,
    timestamp: Steady,
    identification: Steady,
    current: Option<Reference>,
    offers: [Option<Offer>; OFFERS_MAX],
    /// What of the last packet was not as the one before it let one expect.
    unsteady: Fields,
}

/// The packet before.
#[derive(Clone, Copy, Debug)]
struct Last {
    variable: Variable,
    payload_len: usize,
}

/// A reference that the far end has been sent and may not have.
#[derive(Clone, Copy, Debug)]
struct Offer {
    made: Instant,
    reference: Reference,
}

impl Context {
    pub(super) fn new(now: Instant, headers: &Headers, payload: &[u8]) -> Self {
        Self {
            used: now,
            last: Last { variable: headers.variable, payload_len: payload.len() },
            after_late: None,
            timestamp: Steady::default(),
            identification: Steady::default(),
            current: None,
            offers: [None; OFFERS_MAX],
            unsteady: ANYTHING,
        }
    }

    /// Looks at a packet of the call. Looking twice at the same does no harm.
    pub(super) fn on_packet(&mut self, now: Instant, headers: &Headers, payload: &[u8]) {
        self.used = now;
        let (before, this) = (self.last, Last { variable: headers.variable, payload_len: payload.len() });
        let sequence = this.variable.sequence;
        let ahead = sequence.wrapping_sub(before.variable.sequence);
        if ahead == 1 {
            let timestamp =
                u16::try_from(this.variable.timestamp.wrapping_sub(before.variable.timestamp)).ok();
            let identification = this.variable.identification.wrapping_sub(before.variable.identification);
            self.timestamp.on_difference(timestamp);
            self.identification.on_difference(Some(identification));
            self.unsteady = Fields::NONE
                .and(Fields::KIND, this.variable.kind != before.variable.kind & !RTP_MARKER)
                .and(Fields::TIMESTAMP, timestamp != self.timestamp.step())
                .and(Fields::IDENTIFICATION, Some(identification) != self.identification.step())
                .and(Fields::LENGTH, this.payload_len != before.payload_len);
        } else if ahead > 1 {
            self.unsteady = ANYTHING;
        }
        match ahead {
            0 => {}
            1..AHEAD_MAX => (self.last, self.after_late) = (this, None),
            _ if self.after_late == Some(sequence) => (self.last, self.after_late) = (this, None),
            _ => self.after_late = Some(sequence.wrapping_add(1)),
        }
    }

    /// How the packet is coded, and against what; `None` if it cannot be.
    pub(super) fn code<'p>(
        &self,
        headers: &Headers,
        payload: &'p [u8],
        numbers: &Numbers,
    ) -> Option<(Reference, Coded<'p>)> {
        let reference = self.current.filter(|reference| numbers.is_kept(reference.serial()))?;
        let (distance, needed) = reference.difference(headers, payload)?;
        let has = |field| needed.contains(field);
        let coded = Coded {
            number: ReferenceNumber::of(reference.serial()),
            distance,
            kind: has(Fields::KIND).then_some(headers.variable.kind),
            timestamp: has(Fields::TIMESTAMP).then_some(headers.variable.timestamp),
            identification: has(Fields::IDENTIFICATION).then_some(headers.variable.identification),
            has_length: has(Fields::LENGTH),
            establish: None,
            payload,
        };
        (payload.len() <= PAYLOAD_LEN_MAX).then_some((reference, coded))
    }

    /// The reference that the packet shall become, if one is wanted now, with the next serial number.
    pub(super) fn offer(
        &self,
        now: Instant,
        headers: &Headers,
        payload: &[u8],
        coded: Option<&Coded<'_>>,
        numbers: &Numbers,
    ) -> Option<(Establish, Reference)> {
        // What has to be said of this packet, and would not have to be if the one before were its reference, a new one spares.
        let is_wanted = coded
            .is_none_or(|coded| coded.distance >= RENEW_DISTANCE || !self.unsteady.contains(coded.fields()));
        let is_newest = self.last.variable.sequence == headers.variable.sequence;
        if !is_wanted || !is_newest || !self.may_offer(now) {
            return None;
        }
        let establish = Establish {
            serial: numbers.peek(now)?,
            timestamp_step: self.timestamp.step()?,
            identification_step: self.identification.step()?,
        };
        Some((establish, Reference::new(*headers, payload, establish)?))
    }

    fn may_offer(&self, now: Instant) -> bool {
        let has_room = self.offers.iter().any(|offer| offer.is_none_or(|offer| offer.is_over(now)));
        let newest = self.offers.iter().flatten().map(|offer| offer.made).max();
        has_room && newest.is_none_or(|made| now >= made + OFFER_INTERVAL)
    }

    /// The packet goes, and becomes a reference if it arrives.
    pub(super) fn on_offered(&mut self, now: Instant, reference: Reference) {
        let room = self.offers.iter_mut().find(|offer| offer.is_none_or(|offer| offer.is_over(now)));
        if let Some(room) = room {
            *room = Some(Offer { made: now, reference });
        }
    }

    /// The far end says what it has.
    pub(super) fn on_feedback(&mut self, feedback: &Feedback) {
        let arrived = self.offers.iter().flatten().map(|offer| offer.reference);
        let newest =
            arrived.filter(|reference| feedback.names(reference.serial())).max_by_key(Reference::serial);
        let Some(newest) = newest else { return };
        self.current = Some(newest);
        for offer in &mut self.offers {
            *offer = offer.filter(|offer| offer.reference.serial() > newest.serial());
        }
    }
}

impl Offer {
    fn is_over(&self, now: Instant) -> bool {
        now >= self.made + OFFER_TIME_MAX
    }
}
