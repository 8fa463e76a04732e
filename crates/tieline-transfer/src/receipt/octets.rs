//! Groups to octets and back; the layout is in the table of [`super`].

use super::{
    Arrival, Group, GroupError, HEADER_LEN, RECORD_LEN_MIN, Record, SIGNATURE_LEN, TransferId, VerifyingKey,
    check_count, check_name,
};
use crate::fields::{CutShort, Fields, emit_counted, emit_moment};
use crate::moment::Moment;

const MAGIC: [u8; 17] = *b"tieline receipt v";
const VERSION: u8 = b'1';

mod what {
    pub(super) const DELIVERED: u8 = 1;
    pub(super) const ALREADY_THERE: u8 = 2;
}

impl Group {
    /// Reads a group that fills `bytes`. Nothing is allocated that is larger than `bytes`, beyond what [`Record`] takes for each.
    ///
    /// # Errors
    ///
    /// [`GroupError`]: any of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, GroupError> {
        let mut fields = Fields::of(bytes);
        if fields.take()? != MAGIC {
            return Err(GroupError::Magic);
        }
        match fields.u8()? {
            VERSION => {}
            later => return Err(GroupError::Version(later)),
        }
        let receiver = VerifyingKey::from_bytes(fields.take()?)?;
        let sender = VerifyingKey::from_bytes(fields.take()?)?;
        let count = usize::from(fields.u16()?);
        check_count(count)?;
        if fields.len() < count * RECORD_LEN_MIN {
            return Err(GroupError::Truncated);
        }
        let records = (0..count).map(|number| parse_record(&mut fields, number)).collect::<Result<_, _>>()?;
        let signature = fields.take()?;
        match fields.len() {
            0 => Ok(Self { receiver, sender, records, signature }),
            more => Err(GroupError::Trailing(more)),
        }
    }

    /// Appends its octets to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        out.reserve(self.emitted_len());
        self.emit_signed(out);
        out.extend(self.signature);
    }

    /// What the signature is over.
    pub(super) fn signed_octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.emitted_len());
        self.emit_signed(&mut octets);
        octets
    }

    fn emit_signed(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.push(VERSION);
        out.extend(self.receiver.as_bytes());
        out.extend(self.sender.as_bytes());
        let count = u16::try_from(self.records.len()).expect("no group has more than RECORDS_MAX records");
        out.extend(count.to_be_bytes());
        for record in &self.records {
            emit_record(out, record);
        }
    }

    /// An upper bound.
    fn emitted_len(&self) -> usize {
        let records: usize = self.records.iter().map(Record::len_max).sum();
        HEADER_LEN + records + SIGNATURE_LEN
    }
}

fn emit_record(out: &mut Vec<u8>, record: &Record) {
    out.push(match record.arrival {
        Arrival::Delivered => what::DELIVERED,
        Arrival::AlreadyThere => what::ALREADY_THERE,
    });
    out.extend(record.transfer.0);
    out.extend(record.entry.to_be_bytes());
    out.extend(record.size.to_be_bytes());
    out.extend(record.hash);
    emit_moment(out, record.modified);
    emit_moment(out, record.delivered);
    emit_counted(out, &record.path);
    let is_as_offered = record.final_name == record.path;
    emit_counted(out, if is_as_offered { &[] } else { &record.final_name });
}

fn parse_record(fields: &mut Fields<'_>, number: usize) -> Result<Record, GroupError> {
    let arrival = match fields.u8()? {
        what::DELIVERED => Arrival::Delivered,
        what::ALREADY_THERE => Arrival::AlreadyThere,
        other => return Err(GroupError::Field { record: number, field: "what", value: u64::from(other) }),
    };
    let transfer = TransferId(fields.take()?);
    let (entry, size, hash) = (fields.u64()?, fields.u64()?, fields.take()?);
    let modified = parse_moment(fields, number, "modified nanoseconds")?;
    let delivered = parse_moment(fields, number, "delivered nanoseconds")?;
    let path_len = usize::from(fields.u16()?);
    check_name(number, "path length", path_len)?;
    let path = fields.slice(path_len)?;
    let final_name = parse_final_name(fields, number, path)?;
    let (path, final_name) = (path.into(), final_name.into());
    Ok(Record { arrival, transfer, entry, size, hash, modified, delivered, path, final_name })
}

fn parse_final_name<'a>(
    fields: &mut Fields<'a>,
    number: usize,
    path: &'a [u8],
) -> Result<&'a [u8], GroupError> {
    let len = usize::from(fields.u16()?);
    if len == 0 {
        return Ok(path);
    }
    check_name(number, "final name length", len)?;
    match fields.slice(len)? {
        same if same == path => Err(GroupError::Repeated(number)),
        name => Ok(name),
    }
}

fn parse_moment(fields: &mut Fields<'_>, record: usize, field: &'static str) -> Result<Moment, GroupError> {
    fields.moment()?.map_err(|value| GroupError::Field { record, field, value: u64::from(value) })
}

impl From<CutShort> for GroupError {
    fn from(_: CutShort) -> Self {
        Self::Truncated
    }
}
