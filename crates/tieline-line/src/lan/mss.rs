//! TCP is told to send what crosses the line in one datagram: the largest segment that it agrees on at its start is made smaller
//! (RFC 9293 §3.7.1, RFC 4459 §3.2). Else each full frame of a transfer would be cut in two pieces, which costs twice the datagrams, and
//! each lost piece a frame.

use tieline_wire::{
    checksum::Sum, control_word::ControlWord, ethernet::EthernetFrame, label::LabelStackEntry,
};

const TCP: u8 = 6;
const IPV6_HEADER_LEN: usize = 40;
const TCP_HEADER_LEN: usize = 20;
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;
const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_MSS_LEN: usize = 4;

/// Where the option is in a frame, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Agreed {
    tcp: usize,
    at: usize,
    said: u16,
    most: u16,
}

/// Makes the largest segment that the frame in `octets` agrees on, if it begins a connection, so small that a line that takes packets of `mtu`
/// octets carries it whole. `is_summed`: whether the checksum of TCP is there already.
pub fn clamp(octets: &mut [u8], mtu: usize, is_summed: bool) {
    let Some(Agreed { tcp, at, said, most }) = find(octets, mtu).filter(|found| found.said > found.most)
    else {
        return;
    };
    octets[at..at + 2].copy_from_slice(&most.to_be_bytes());
    if !is_summed {
        return;
    }
    // RFC 1624 §3: the complement of the old sum, less what it was, plus what it is. A word that is not at an even place counts the other way
    // round.
    let swapped = |value: u16| if (at - tcp) % 2 == 0 { value } else { value.swap_bytes() };
    let checksum = [octets[tcp + CHECKSUM], octets[tcp + CHECKSUM + 1]];
    let sum = Sum::of(&checksum.map(|octet| !octet))
        + Sum::of(&(!swapped(said)).to_be_bytes())
        + Sum::of(&swapped(most).to_be_bytes());
    octets[tcp + CHECKSUM..tcp + CHECKSUM + 2].copy_from_slice(&sum.checksum());
}

fn find(octets: &[u8], mtu: usize) -> Option<Agreed> {
    let frame = EthernetFrame::parse(octets).ok().filter(EthernetFrame::is_ip)?;
    let packet = frame.content;
    let header_len = match packet.first()? >> 4 {
        4 => {
            let is_fragment = packet.get(6)? & 0x1f != 0 || *packet.get(7)? != 0;
            let header_len = usize::from(packet[0] & 0x0f) * 4;
            (*packet.get(9)? == TCP && !is_fragment).then_some(header_len)?
        }
        6 => (*packet.get(6)? == TCP).then_some(IPV6_HEADER_LEN)?,
        _ => return None,
    };
    let tcp = frame.link.len() + header_len;
    let header = octets.get(tcp..tcp + TCP_HEADER_LEN)?;
    if header[FLAGS] & SYN == 0 {
        return None;
    }
    let around = LabelStackEntry::LEN + ControlWord::LEN + tcp + TCP_HEADER_LEN;
    let most = u16::try_from(mtu.checked_sub(around)?).ok()?;
    let end = tcp + usize::from(header[DATA_OFFSET] >> 4) * 4;
    let mut at = tcp + TCP_HEADER_LEN;
    while at < end {
        let len = match *octets.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => 1,
            kind => {
                let len = usize::from(*octets.get(at + 1)?);
                if kind == OPTION_MSS && len == OPTION_MSS_LEN {
                    let said = u16::from_be_bytes([*octets.get(at + 2)?, *octets.get(at + 3)?]);
                    return Some(Agreed { tcp, at: at + 2, said, most });
                }
                Some(len).filter(|len| *len >= 2)?
            }
        };
        at += len;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The beginning of a connection, with options before the size of segments, in a right packet.
    fn syn(options: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0x9c, 0x40, 1, 0xbb, 1, 2, 3, 4, 0, 0, 0, 0, 0, SYN, 0xff, 0xff, 0, 0, 0, 0];
        tcp.extend(options);
        tcp.resize(tcp.len().next_multiple_of(4), OPTION_END);
        tcp[DATA_OFFSET] = ((tcp.len() / 4) << 4) as u8;
        let len = (20 + tcp.len()) as u8;
        let ip = [0x45, 0, 0, len, 0, 0, 0x40, 0, 64, TCP, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9];
        let sum = pseudo(tcp.len()) + Sum::of(&tcp);
        tcp[CHECKSUM..CHECKSUM + 2].copy_from_slice(&sum.checksum());
        [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7, 0x08, 0][..], &ip, &tcp].concat()
    }

    fn pseudo(len: usize) -> Sum {
        Sum::of_pseudo_header([10, 1, 0, 7].into(), [10, 2, 0, 9].into(), TCP, len)
    }

    fn is_right(frame: &[u8]) -> bool {
        (pseudo(frame.len() - 34) + Sum::of(&frame[34..])).fold() == [0xff; 2]
    }

    #[test]
    fn a_segment_that_fits_the_line_is_agreed_on_and_the_checksum_stays_right() {
        for options in [&[2, 4, 0x05, 0xb4][..], &[1, 2, 4, 0x05, 0xb4], &[3, 3, 7, 2, 4, 0x05, 0xb4]] {
            let mut frame = syn(options);
            assert!(is_right(&frame));
            clamp(&mut frame, 1420, true);
            let found = find(&frame, 1420).unwrap();
            assert_eq!((found.said, found.most), (1358, 1358), "1,420 less 8, 14, 20 and 20");
            assert!(is_right(&frame), "{options:?}");
        }
    }

    #[test]
    fn a_smaller_one_and_what_begins_nothing_stay_as_they_are() {
        for options in
            [&[2, 4, 0x05, 0x4e][..], &[2, 4, 2, 0], &[], &[0, 2, 4, 5, 0xb4], &[9, 0, 2, 4, 5, 0xb4]]
        {
            let frame = syn(options);
            let mut clamped = frame.clone();
            clamp(&mut clamped, 1420, true);
            assert_eq!(clamped, frame, "{options:?}");
        }
        let mut frame = syn(&[2, 4, 0x05, 0xb4]);
        frame[34 + FLAGS] = 0x10;
        assert_eq!(find(&frame, 1420), None);
    }

    #[test]
    fn a_checksum_that_is_left_to_others_is_not_touched() {
        let mut frame = syn(&[2, 4, 0x05, 0xb4]);
        let before = frame[34 + CHECKSUM..34 + CHECKSUM + 2].to_vec();
        clamp(&mut frame, 1420, false);
        assert_eq!(frame[34 + CHECKSUM..34 + CHECKSUM + 2], before);
        assert_eq!(find(&frame, 1420).unwrap().said, 1358);
    }

    proptest! {
        #[test]
        fn no_frame_panics(mut octets in proptest::collection::vec(any::<u8>(), 0..100), v6: bool) {
            let headers = [[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7, 0x08, 0], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7, 0x86, 0xdd]];
            octets.splice(0..0, headers[usize::from(v6)]);
            clamp(&mut octets, 1420, true);
        }
    }
}
