//! The frame by which the ends of a line find out that their offices are joined in another way as well.
//!
//! Each end sends it into its own office, to a group that bridges forward, under the EtherType for local experiments (IEEE 802 §9.2.4).
//! An end that hears one of its own line, whichever end sent it, has found a loop. It never goes through its own line.
//!
//! | 14: Ethernet | 12: "tieline loop" | 8: line | 8: end |

use super::{EthernetFrame, MacAddress, ShortFrame};

/// To whom probes go.
const GROUP: MacAddress = MacAddress([0x03, 0x74, 0x69, 0x65, 0x6c, 0x70]);
const ETHERTYPE: u16 = 0x88b5;
const MAGIC: [u8; 12] = *b"tieline loop";

/// A probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopProbe {
    /// The line, by a number that both ends know.
    pub line: [u8; 8],
    /// Who sent it: random, drawn when its process started.
    pub end: [u8; 8],
}

impl LoopProbe {
    /// Reads the probe in a frame, if it is one.
    #[must_use]
    pub fn parse(frame: &EthernetFrame<'_>) -> Option<Self> {
        let (magic, rest) = frame.content.split_first_chunk::<12>()?;
        let (line, rest) = rest.split_first_chunk::<8>()?;
        let end = rest.first_chunk::<8>()?;
        let is_probe = frame.ethertype == ETHERTYPE && *magic == MAGIC;
        is_probe.then_some(Self { line: *line, end: *end })
    }

    /// The frame, sent by the card `source`.
    #[must_use]
    pub fn emit(&self, source: MacAddress) -> Option<ShortFrame> {
        let mut link = [0; super::HEADER_LEN];
        link[12..].copy_from_slice(&ETHERTYPE.to_be_bytes());
        let mut content = [0; 28];
        content[..12].copy_from_slice(&MAGIC);
        content[12..20].copy_from_slice(&self.line);
        content[20..].copy_from_slice(&self.end);
        ShortFrame::new(&link, GROUP, source, &content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_written_and_read_the_same() {
        let probe = LoopProbe { line: *b"the line", end: [9; 8] };
        let frame = probe.emit(MacAddress([2, 0, 0, 0, 0, 7])).unwrap();
        let mut expected = b"\x03tielp\x02\0\0\0\0\x07\x88\xb5tieline loopthe line".to_vec();
        expected.extend([9; 8]);
        expected.resize(60, 0);
        assert_eq!(frame.octets(), expected);
        let read = |octets: &[u8]| LoopProbe::parse(&EthernetFrame::parse(octets).ok()?);
        assert_eq!(read(frame.octets()), Some(probe));
        for at in [12, 14, 25] {
            let mut other = expected.clone();
            other[at] ^= 1;
            assert_eq!(read(&other), None, "{at}");
        }
        for len in 0..42 {
            assert_eq!(read(&expected[..len]), None);
        }
    }
}
