//! Records of a listing to octets and back; the layout is in the table of [`super`].

use super::ListingFault;
use super::fingerprint::{FINGERPRINT_LEN, Fingerprint};
use crate::fields::{CutShort, Fields};
use crate::path::COMPONENT_LEN_MAX;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A folder, by its path below the mirror; that of the mirror itself is empty. What follows is in it.
    Folder {
        /// Which.
        path: &'a [u8],
    },
    /// A file.
    File {
        /// Its number in the transfer.
        entry: u64,
        /// What it is like.
        fingerprint: Fingerprint,
        /// How it is called.
        name: &'a [u8],
    },
    /// A folder in the folder, which has a record of its own.
    Below {
        /// Its number in the transfer.
        entry: u64,
        /// How it is called.
        name: &'a [u8],
    },
    /// Something that is not sent, and whose name there stays.
    Stays {
        /// How it is called.
        name: &'a [u8],
    },
}

mod kind {
    pub(super) const FOLDER: u8 = 1;
    pub(super) const FILE: u8 = 2;
    pub(super) const BELOW: u8 = 3;
    pub(super) const STAYS: u8 = 4;
}

/// What the next record is told by: both ends keep it from one message to the next.
#[derive(Default)]
struct Before {
    entry: u64,
    name: Vec<u8>,
}

impl Before {
    /// The octets that both names begin with.
    fn shared(&self, name: &[u8]) -> usize {
        self.name.iter().zip(name).take_while(|(one, other)| one == other).count()
    }
}

/// Gathers the records of a message.
#[derive(Default)]
pub struct RecordWriter {
    before: Before,
    records: u32,
    kinds: Vec<u8>,
    lens: Vec<u8>,
    names: Vec<u8>,
    fingerprints: Vec<u8>,
    entries: Vec<u8>,
}

impl RecordWriter {
    /// Adds a record. Names and paths are as long as a [`crate::RelativePath`] has them.
    pub fn add(&mut self, record: Record<'_>) {
        self.records += 1;
        let (kind, entry, name) = match record {
            Record::Folder { path } => {
                self.kinds.push(kind::FOLDER);
                self.lens.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_be_bytes());
                self.names.extend_from_slice(path);
                self.before.name.clear();
                return;
            }
            Record::File { entry, fingerprint, name } => {
                self.fingerprints.extend(fingerprint.0);
                (kind::FILE, Some(entry), name)
            }
            Record::Below { entry, name } => (kind::BELOW, Some(entry), name),
            Record::Stays { name } => (kind::STAYS, None, name),
        };
        self.kinds.push(kind);
        if let Some(entry) = entry {
            emit_step(&mut self.entries, entry.wrapping_sub(self.before.entry).cast_signed());
            self.before.entry = entry.wrapping_add(1);
        }
        let shared = self.before.shared(name);
        let rest = &name[shared..];
        self.lens.extend([shared, rest.len()].map(|len| u8::try_from(len).unwrap_or(u8::MAX)));
        self.names.extend_from_slice(rest);
        self.before.name.truncate(shared);
        self.before.name.extend_from_slice(rest);
    }

    /// Octets of what was added.
    #[must_use]
    pub fn len(&self) -> usize {
        let columns = [&self.kinds, &self.lens, &self.names, &self.fingerprints, &self.entries];
        size_of::<u32>() + columns.iter().map(|column| column.len()).sum::<usize>()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Appends the octets of what was added, and begins the next message.
    pub fn emit(&mut self, out: &mut Vec<u8>) {
        out.extend(std::mem::take(&mut self.records).to_be_bytes());
        out.append(&mut self.kinds);
        out.append(&mut self.lens);
        out.append(&mut self.names);
        out.append(&mut self.fingerprints);
        out.append(&mut self.entries);
    }
}

/// Reads the records of the messages, in order.
#[derive(Default)]
pub struct RecordReader {
    before: Before,
}

impl RecordReader {
    /// Reads a message, and shows each of its records to `each`, up to its first error.
    ///
    /// # Errors
    ///
    /// `CutShort`, `Kind`, `Step`, `Name` for one that is too long or shares more octets than there are, `Trailing`; what `each` says.
    pub fn read<E: From<ListingFault>>(
        &mut self,
        octets: &[u8],
        mut each: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut columns = Columns::of(octets)?;
        let kinds = columns.kinds;
        for kind in kinds {
            each(self.record(*kind, &mut columns)?)?;
        }
        match columns.entries.len() {
            0 => Ok(()),
            more => Err(ListingFault::Trailing(more).into()),
        }
    }

    fn record<'r, 'c: 'r>(
        &'r mut self,
        kind: u8,
        columns: &mut Columns<'c>,
    ) -> Result<Record<'r>, ListingFault> {
        if kind == kind::FOLDER {
            self.before.name.clear();
            let len = columns.lens.u16()?;
            return Ok(Record::Folder { path: columns.names.slice(len.into())? });
        }
        let mut entry = 0;
        if matches!(kind, kind::FILE | kind::BELOW) {
            entry = self.before.entry.wrapping_add(parse_step(&mut columns.entries)?.cast_unsigned());
            self.before.entry = entry.wrapping_add(1);
        }
        let [shared, rest] = columns.lens.take()?.map(usize::from);
        if shared > self.before.name.len() || shared + rest > COMPONENT_LEN_MAX {
            return Err(ListingFault::Name);
        }
        self.before.name.truncate(shared);
        self.before.name.extend_from_slice(columns.names.slice(rest)?);
        let name = &self.before.name[..];
        Ok(match kind {
            kind::FILE => {
                Record::File { entry, fingerprint: Fingerprint(columns.fingerprints.take()?), name }
            }
            kind::BELOW => Record::Below { entry, name },
            kind::STAYS => Record::Stays { name },
            unknown => return Err(ListingFault::Kind(unknown)),
        })
    }
}

/// The columns of a message, each with as many octets as the kinds of its records say; the last one has the rest.
struct Columns<'a> {
    kinds: &'a [u8],
    lens: Fields<'a>,
    names: Fields<'a>,
    fingerprints: Fields<'a>,
    entries: Fields<'a>,
}

impl<'a> Columns<'a> {
    fn of(octets: &'a [u8]) -> Result<Self, ListingFault> {
        let mut fields = Fields::of(octets);
        let records = u32::from_be_bytes(fields.take()?);
        let kinds = fields.slice(usize::try_from(records).map_err(|_| CutShort)?)?;
        if let Some(unknown) = kinds.iter().find(|kind| !(kind::FOLDER..=kind::STAYS).contains(*kind)) {
            return Err(ListingFault::Kind(*unknown));
        }
        let lens = fields.slice(LENS_LEN * kinds.len())?;
        let name_len = |(kind, len): (&u8, &[u8; LENS_LEN])| match *kind {
            kind::FOLDER => usize::from(u16::from_be_bytes(*len)),
            _ => usize::from(len[1]),
        };
        let names = fields.slice(kinds.iter().zip(lens.as_chunks().0).map(name_len).sum())?;
        let files = kinds.iter().filter(|kind| **kind == kind::FILE).count();
        let fingerprints = fields.slice(files * FINGERPRINT_LEN)?;
        let entries = fields.slice(fields.len())?;
        let [lens, names, fingerprints, entries] = [lens, names, fingerprints, entries].map(Fields::of);
        Ok(Self { kinds, lens, names, fingerprints, entries })
    }
}

/// Octets of the lengths of a name, or of the length of a path.
const LENS_LEN: usize = 2;
/// Of an octet of a step: another one follows.
const MORE: u8 = 0x80;
/// Octets of the longest step.
const STEP_LEN_MAX: u32 = u64::BITS.div_ceil(7);

/// Appends a number that is small most of the time: even ones are positive, seven bits in an octet, the lowest ones first.
fn emit_step(out: &mut Vec<u8>, step: i64) {
    let mut left = ((step << 1) ^ (step >> (i64::BITS - 1))).cast_unsigned();
    while left >= u64::from(MORE) {
        out.push(left.to_le_bytes()[0] | MORE);
        left >>= 7;
    }
    out.push(left.to_le_bytes()[0]);
}

fn parse_step(fields: &mut Fields<'_>) -> Result<i64, ListingFault> {
    let mut folded = 0;
    for number in 0..STEP_LEN_MAX {
        let octet = fields.u8()?;
        folded |= u64::from(octet & !MORE) << (7 * number);
        if octet & MORE == 0 {
            return Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed());
        }
    }
    Err(ListingFault::Step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(octets: &[u8]) -> Result<Vec<String>, ListingFault> {
        let mut seen = Vec::new();
        let each = |record: Record<'_>| {
            seen.push(format!("{record:?}"));
            Ok::<_, ListingFault>(())
        };
        RecordReader::default().read(octets, each).map(|()| seen)
    }

    const PRINT: Fingerprint = Fingerprint(*b"print");
    const RECORDS: [Record<'_>; 6] = [
        Record::Folder { path: b"a/b" },
        Record::File { entry: 1, fingerprint: PRINT, name: b"name" },
        Record::Below { entry: 2, name: b"nano" },
        Record::Stays { name: b"nanos" },
        Record::File { entry: 0, fingerprint: Fingerprint(*b"other"), name: b"x" },
        Record::File { entry: u64::MAX, fingerprint: PRINT, name: b"y" },
    ];

    #[test]
    fn records_have_their_octets_both_ways_and_none_is_read_that_is_cut_short() {
        let octets = [
            &b"\0\0\0\x06\x01\x02\x03\x04\x02\x02"[..],
            b"\0\x03\0\x04\x02\x02\x04\x01\0\x01\0\x01",
            b"a/bnamenosxy",
            b"printotherprint",
            b"\x02\0\x05\x03",
        ]
        .concat();
        let (mut writer, mut out) = (RecordWriter::default(), Vec::new());
        RECORDS.iter().for_each(|record| writer.add(*record));
        assert_eq!(writer.len(), octets.len());
        writer.emit(&mut out);
        assert_eq!(out, octets);
        assert!(writer.is_empty());
        assert_eq!(read(&octets), Ok(RECORDS.iter().map(|record| format!("{record:?}")).collect()));
        for len in 0..octets.len() {
            assert_eq!(read(&octets[..len]), Err(ListingFault::CutShort), "cut to {len}");
        }
        assert_eq!(read(&[&octets[..], &[0]].concat()), Err(ListingFault::Trailing(1)));
    }

    #[test]
    fn what_cannot_be_a_record_is_refused() {
        for kind in [0, 5, 0xff] {
            assert_eq!(read(&[0, 0, 0, 1, kind, 0, 0]), Err(ListingFault::Kind(kind)));
        }
        assert_eq!(read(b"\0\0\0\x01\x04\x01\x01n"), Err(ListingFault::Name), "shares what there is not");
        let long = [&b"\0\0\0\x02\x04\x04\0\xff\x01\xff"[..], &[7; 510]].concat();
        assert_eq!(read(&long), Err(ListingFault::Name), "longer than a name is");
        let step = [&b"\0\0\0\x01\x03\0\x01n"[..], &[0x80; 10]].concat();
        assert_eq!(read(&step), Err(ListingFault::Step));
        assert_eq!(read(&[0xff; 9]), Err(ListingFault::CutShort));
    }

    proptest! {
        #[test]
        fn any_records_in_any_number_of_messages_come_back(
            list in prop::collection::vec((1..5_u8, any::<u64>(), prop::collection::vec(0..3_u8, 0..255)), 0..40),
            each in 1..9_usize,
        ) {
            let (mut writer, mut reader) = (RecordWriter::default(), RecordReader::default());
            let (mut expected, mut seen) = (Vec::new(), Vec::new());
            for part in list.chunks(each) {
                for (kind, entry, name) in part {
                    let entry = *entry;
                    let record = match *kind {
                        kind::FOLDER => Record::Folder { path: name },
                        kind::FILE => Record::File { entry, fingerprint: PRINT, name },
                        kind::BELOW => Record::Below { entry, name },
                        _ => Record::Stays { name },
                    };
                    expected.push(format!("{record:?}"));
                    writer.add(record);
                }
                let mut out = Vec::new();
                writer.emit(&mut out);
                reader.read(&out, |record| { seen.push(format!("{record:?}")); Ok::<_, ListingFault>(()) })?;
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn anything_at_all_does_not_panic(octets: Vec<u8>, kinds in prop::collection::vec(0..6_u8, 0..9)) {
            let _ = read(&octets);
            let count = u32::try_from(kinds.len()).unwrap().to_be_bytes();
            let _ = read(&[&count[..], &kinds, &octets].concat());
        }
    }
}
