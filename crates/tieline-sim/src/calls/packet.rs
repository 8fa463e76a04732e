//! A packet of a call: the header of RTP, in place of sound first what tells it apart and when it was sent, then noise.

use tieline_wire::rtp::RtpHeader;

use super::Codec;

const NUMBER_LEN: usize = size_of::<u32>();
const SENT_LEN: usize = size_of::<u64>();

/// What a packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) call: u32,
    /// Its place in its stream, without end where that of RTP begins anew.
    pub(super) number: u32,
    /// As [`super::now`].
    pub(super) sent: u64,
}

impl Label {
    /// Writes the packet into `out`.
    pub(super) fn emit(&self, codec: Codec, out: &mut Vec<u8>) {
        out.clear();
        // Of all packets only the first one begins a talk.
        let marker = if self.number == 0 { 0x80 } else { 0 };
        out.extend([0x80, codec.payload_type() | marker]);
        out.extend((self.number as u16).to_be_bytes());
        out.extend(self.number.wrapping_mul(codec.ticks()).to_be_bytes());
        out.extend(self.call.to_be_bytes());
        let end = out.len() + codec.payload_len();
        out.extend(self.number.to_be_bytes());
        out.extend(self.sent.to_be_bytes());
        let noise = self.number.wrapping_mul(0x9e37_79b9);
        out.extend(
            (0u32..)
                .map(|place| (noise.rotate_left(place) ^ place) as u8)
                .take(end.saturating_sub(out.len())),
        );
    }

    /// Reads one.
    pub(super) fn parse(octets: &[u8]) -> Option<Self> {
        let header = RtpHeader::parse(octets).ok()?;
        let payload = octets.get(header.len..)?;
        let number = payload.first_chunk::<NUMBER_LEN>()?;
        let sent = payload.get(NUMBER_LEN..NUMBER_LEN + SENT_LEN)?.first_chunk()?;
        Some(Self { call: header.ssrc, number: u32::from_be_bytes(*number), sent: u64::from_be_bytes(*sent) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_the_length_of_its_codec_and_says_what_was_written() {
        let label = Label { call: 7, number: 70_000, sent: u64::MAX - 1 };
        for codec in Codec::ALL {
            let mut packet = Vec::new();
            label.emit(codec, &mut packet);
            assert_eq!(
                (packet.len(), Label::parse(&packet)),
                (RtpHeader::LEN + codec.payload_len(), Some(label))
            );
            let header = RtpHeader::parse(&packet).expect("RTP");
            assert_eq!((header.sequence, header.payload_type), (4464, codec.payload_type()));
            assert_eq!(Label::parse(&packet[..20]), None);
        }
    }
}
