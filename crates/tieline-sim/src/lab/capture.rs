//! A record of what went through the lab's internet, as tshark and tcpdump read it (pcap, raw IP).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Octets of a capture at most; then it goes on without growing and counts what it leaves out.
pub const CAPTURE_BYTES_MAX: u64 = 1 << 30;

/// The variant of pcap whose times are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
const VERSION: [u16; 2] = [2, 4];
const SNAP_LENGTH: u32 = 65_535;
/// Packets begin with the IP header.
const LINKTYPE_RAW: u32 = 101;
const HEADER_BYTES: u64 = 24;
const RECORD_HEADER_BYTES: u64 = 16;

/// A capture being written.
pub(super) struct Capture {
    file: BufWriter<File>,
    octets: u64,
    outcome: CaptureOutcome,
    fault: Option<io::Error>,
}

/// What a capture holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureOutcome {
    /// Packets in the file.
    pub packets: u64,
    /// Packets left out because the file had reached [`CAPTURE_BYTES_MAX`].
    pub left_out: u64,
}

impl Capture {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&MAGIC.to_ne_bytes())?;
        file.write_all(&VERSION[0].to_ne_bytes())?;
        file.write_all(&VERSION[1].to_ne_bytes())?;
        // Time zone and accuracy: nobody fills them in.
        file.write_all(&[0; 8])?;
        file.write_all(&SNAP_LENGTH.to_ne_bytes())?;
        file.write_all(&LINKTYPE_RAW.to_ne_bytes())?;
        file.flush()?;
        Ok(Self { file, octets: HEADER_BYTES, outcome: CaptureOutcome::default(), fault: None })
    }

    /// Records a packet. A fault of the file is kept for [`Self::finish`].
    pub(super) fn record(&mut self, at: SystemTime, packet: &[u8]) {
        let octets = RECORD_HEADER_BYTES + packet.len() as u64;
        if self.octets + octets > CAPTURE_BYTES_MAX {
            self.outcome.left_out += 1;
            return;
        }
        if self.fault.is_some() {
            return;
        }
        match self.write(at, packet) {
            Ok(()) => {
                self.octets += octets;
                self.outcome.packets += 1;
            }
            Err(fault) => self.fault = Some(fault),
        }
    }

    fn write(&mut self, at: SystemTime, packet: &[u8]) -> io::Result<()> {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let length = packet.len() as u32;
        for number in [at.as_secs() as u32, at.subsec_nanos(), length, length] {
            self.file.write_all(&number.to_ne_bytes())?;
        }
        self.file.write_all(packet)
    }

    /// Puts what was recorded into the file, so that a reader finds it.
    pub(super) fn flush(&mut self) {
        if let Err(fault) = self.file.flush() {
            self.fault.get_or_insert(fault);
        }
    }

    pub(super) fn finish(mut self) -> io::Result<CaptureOutcome> {
        self.flush();
        self.fault.map_or(Ok(self.outcome), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_file_is_a_pcap_of_raw_ip_with_nanoseconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("line.pcap");
        let mut capture = Capture::create(&path).unwrap();
        capture.record(UNIX_EPOCH + Duration::new(0x0102_0304, 5), &[0x45, 1, 2]);
        assert_eq!(capture.finish().unwrap(), CaptureOutcome { packets: 1, left_out: 0 });
        let words: Vec<u32> = [0xa1b2_3c4d, 0, 0, 0, 65_535, 101, 0x0102_0304, 5, 3, 3].into();
        let mut expected: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        expected[4..8].copy_from_slice(&[2_u16.to_ne_bytes(), 4_u16.to_ne_bytes()].concat());
        expected.extend([0x45, 1, 2]);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let fault = Capture::create(Path::new("/dev/full")).err().unwrap();
        assert_eq!(fault.kind(), io::ErrorKind::StorageFull);
        let file = BufWriter::new(File::create("/dev/full").unwrap());
        let mut capture = Capture { file, octets: 0, outcome: CaptureOutcome::default(), fault: None };
        capture.record(UNIX_EPOCH, &[0x45]);
        assert_eq!(capture.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
