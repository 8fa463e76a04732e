//! Which acknowledgements say nothing any more once a later one waits behind them.
//!
//! Where one direction of a line is much slower than the other, the acknowledgements of a download fill it. Each says all that those before
//! it have said (RFC 9293 §3.4), so of those that wait the last one is enough; but for what else a segment may say.

use tieline_wire::transport::tcp_segment;

const HEADER_LEN_MIN: usize = 20;
const ACKNOWLEDGEMENT: usize = 8;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const WINDOW: usize = 14;
const ACK: u8 = 0x10;

const OPTION_NOP: u8 = 1;
const OPTION_TIMESTAMPS: u8 = 8;
const OPTION_TIMESTAMPS_LEN: usize = 10;

/// Whether the packet `later` of a flow says all that the packet `earlier` of the same flow says. Then both only acknowledge, with the same
/// window and no option but timestamps: selective acknowledgements, ECE and a changed window are kept, and so are duplicates, which TCP
/// counts (RFC 5681 §3.2).
pub(super) fn supersedes(later: &[u8], earlier: &[u8]) -> bool {
    let [Some(later), Some(earlier)] = [later, earlier].map(Acknowledgement::of) else { return false };
    let ahead = later.number.wrapping_sub(earlier.number);
    later.window == earlier.window && ahead != 0 && ahead < u32::MAX / 2
}

/// A segment that acknowledges and does nothing else.
struct Acknowledgement {
    number: u32,
    window: [u8; 2],
}

impl Acknowledgement {
    fn of(packet: &[u8]) -> Option<Self> {
        let segment = tcp_segment(packet)?;
        let header = segment.first_chunk::<HEADER_LEN_MIN>()?;
        let len = usize::from(header[DATA_OFFSET] >> 4) * 4;
        let options = segment.get(HEADER_LEN_MIN..len)?;
        let only_acknowledges =
            segment.len() == len && header[FLAGS] == ACK && header[DATA_OFFSET] & 0x0f == 0;
        if !only_acknowledges || !are_timestamps(options) {
            return None;
        }
        let number = header[ACKNOWLEDGEMENT..].first_chunk::<4>()?;
        Some(Self { number: u32::from_be_bytes(*number), window: [header[WINDOW], header[WINDOW + 1]] })
    }
}

/// Whether there are timestamps (RFC 7323 §3.2) or no options at all.
fn are_timestamps(mut options: &[u8]) -> bool {
    loop {
        options = match options {
            [] => return true,
            [OPTION_NOP, rest @ ..] => rest,
            [OPTION_TIMESTAMPS, len, ..] if usize::from(*len) == OPTION_TIMESTAMPS_LEN => {
                match options.get(OPTION_TIMESTAMPS_LEN..) {
                    Some(rest) => rest,
                    None => return false,
                }
            }
            _ => return false,
        };
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A segment from 10.1.0.7 to 10.2.0.9.
    pub(in super::super) fn segment(
        number: u32,
        window: u16,
        flags: u8,
        options: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let header_len = 20 + options.len();
        let len = 20 + header_len + payload.len();
        let mut packet = vec![0x45, 0, 0, len as u8, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9];
        packet.extend([0x13, 0x88, 0x01, 0xbb, 0, 0, 0, 1]);
        packet.extend(number.to_be_bytes());
        packet.extend([(header_len / 4) as u8 * 16, flags]);
        packet.extend(window.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(options);
        packet.extend(payload);
        packet
    }

    const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8];
    const SACK: [u8; 12] = [1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 10];

    #[test]
    fn a_later_acknowledgement_says_all_that_an_earlier_one_has_said() {
        let earlier = segment(1000, 500, ACK, &TIMESTAMPS, b"");
        assert!(supersedes(&segment(2448, 500, ACK, &TIMESTAMPS, b""), &earlier));
        assert!(supersedes(&segment(2448, 500, ACK, &[], b""), &segment(1000, 500, ACK, &[], b"")));
        assert!(supersedes(&segment(100, 500, ACK, &[], b""), &segment(u32::MAX - 5, 500, ACK, &[], b"")));
    }

    #[test]
    fn what_says_more_stays() {
        let earlier = segment(1000, 500, ACK, &TIMESTAMPS, b"");
        let (ece, psh, fin) = (0x40, 0x08, 0x01);
        for later in [
            segment(1000, 500, ACK, &TIMESTAMPS, b""),
            segment(999, 500, ACK, &TIMESTAMPS, b""),
            segment(2448, 501, ACK, &TIMESTAMPS, b""),
            segment(2448, 500, ACK | ece, &TIMESTAMPS, b""),
            segment(2448, 500, ACK | psh, &TIMESTAMPS, b"x"),
            segment(2448, 500, ACK | fin, &TIMESTAMPS, b""),
            segment(2448, 500, ACK, &SACK, b""),
            segment(2448, 500, ACK, &TIMESTAMPS, b"x"),
        ] {
            assert!(!supersedes(&later, &earlier), "{later:02x?}");
        }
        let last = segment(9000, 500, ACK, &TIMESTAMPS, b"");
        assert!(!supersedes(&last, &segment(2448, 500, ACK, &SACK, b"")));
        assert!(!supersedes(&last, &segment(2448, 500, ACK | ece, &TIMESTAMPS, b"")));
    }

    #[test]
    fn what_is_cut_short_is_no_acknowledgement() {
        let whole = segment(1000, 500, ACK, &TIMESTAMPS, b"");
        let later = segment(2448, 500, ACK, &TIMESTAMPS, b"");
        for len in 0..whole.len() {
            assert!(!supersedes(&later, &whole[..len]) && !supersedes(&later[..len], &whole));
        }
        assert!(!are_timestamps(&[8]) && !are_timestamps(&[8, 10, 0]) && !are_timestamps(&[0, 0]));
    }
}
