//! Entries to octets and back, and the hash of a link; the layout is in the tables of [`super`].

use super::{
    Direction, Entry, Event, HASH_LEN, Link, PATH_LEN_MAX, Reason, TEXT_LEN_MAX, kept_path, kept_text,
};
use crate::fields::{CutShort, Fields, emit_counted, emit_moment};
use crate::receipt::TransferId;

const LINK_MAGIC: &[u8; 16] = b"tieline audit v1";

mod follows {
    pub(super) const HASH: u8 = 0x01;
    pub(super) const REASON: u8 = 0x02;
    pub(super) const RECEIPT: u8 = 0x04;
    pub(super) const ALL: u8 = HASH | REASON | RECEIPT;
}

/// Why octets are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Fewer octets than the fields have.
    #[error("an entry of the audit log that is cut short")]
    Truncated,
    /// Octets behind the last field.
    #[error("{0} octets follow an entry of the audit log")]
    Trailing(usize),
    /// A field outside its range.
    #[error("an entry of the audit log with {value} in field `{field}`")]
    Field {
        /// The field.
        field: &'static str,
        /// What it held.
        value: u64,
    },
    /// A reason that is not UTF-8.
    #[error("an entry of the audit log whose reason is no text")]
    Text,
}

impl Entry {
    /// Reads an entry that fills `bytes`.
    ///
    /// # Errors
    ///
    /// [`EntryError`]: any of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut fields = Fields::of(bytes);
        let event = parse_event(fields.u8()?)?;
        let direction = parse_direction(fields.u8()?)?;
        let optional = fields.u8()?;
        if optional & !follows::ALL != 0 {
            return Err(EntryError::Field { field: "optional fields", value: u64::from(optional) });
        }
        let has = |field| optional & field != 0;
        let at = fields
            .moment()?
            .map_err(|value| EntryError::Field { field: "nanoseconds", value: u64::from(value) })?;
        let transfer = TransferId(fields.take()?);
        let (entry, size) = (fields.u64()?, fields.u64()?);
        let path = counted(&mut fields, "path length", PATH_LEN_MAX)?.into();
        let hash = has(follows::HASH).then(|| fields.take()).transpose()?;
        let reason = has(follows::REASON).then(|| parse_reason(&mut fields)).transpose()?;
        let receipt = has(follows::RECEIPT).then(|| fields.take()).transpose()?;
        match fields.len() {
            0 => Ok(Self { at, event, direction, transfer, entry, path, size, hash, reason, receipt }),
            more => Err(EntryError::Trailing(more)),
        }
    }

    /// Appends its octets to `out`. Of a path or text that is too long, only what [`super::Chain::append`] would keep.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let flag = |is_there: bool, flag| if is_there { flag } else { 0 };
        out.push(event_code(self.event));
        out.push(direction_code(self.direction));
        out.push(
            flag(self.hash.is_some(), follows::HASH)
                | flag(self.reason.is_some(), follows::REASON)
                | flag(self.receipt.is_some(), follows::RECEIPT),
        );
        emit_moment(out, self.at);
        out.extend(self.transfer.0);
        out.extend(self.entry.to_be_bytes());
        out.extend(self.size.to_be_bytes());
        emit_counted(out, kept_path(&self.path));
        out.extend(self.hash.iter().flatten());
        if let Some(reason) = &self.reason {
            out.extend(reason.code.to_be_bytes());
            emit_counted(out, kept_text(&reason.text).as_bytes());
        }
        out.extend(self.receipt.iter().flatten());
    }
}

impl Link {
    /// The hash that it must have.
    pub(super) fn computed_hash(&self) -> [u8; HASH_LEN] {
        let mut octets = LINK_MAGIC.to_vec();
        octets.extend(self.number.to_be_bytes());
        octets.extend(self.previous);
        self.entry.emit(&mut octets);
        *blake3::hash(&octets).as_bytes()
    }
}

fn event_code(event: Event) -> u8 {
    match event {
        Event::Offered => 1,
        Event::Delivered => 2,
        Event::AlreadyThere => 3,
        Event::Refused => 4,
        Event::GivenUp => 5,
        Event::Failed => 6,
        Event::Cancelled => 7,
        Event::Removed => 8,
    }
}

fn parse_event(code: u8) -> Result<Event, EntryError> {
    Event::ALL
        .into_iter()
        .find(|event| event_code(*event) == code)
        .ok_or(EntryError::Field { field: "event", value: u64::from(code) })
}

fn direction_code(direction: Direction) -> u8 {
    match direction {
        Direction::Sent => 1,
        Direction::Received => 2,
    }
}

fn parse_direction(code: u8) -> Result<Direction, EntryError> {
    [Direction::Sent, Direction::Received]
        .into_iter()
        .find(|direction| direction_code(*direction) == code)
        .ok_or(EntryError::Field { field: "direction", value: u64::from(code) })
}

fn parse_reason(fields: &mut Fields<'_>) -> Result<Reason, EntryError> {
    let code = fields.u16()?;
    let text = counted(fields, "text length", TEXT_LEN_MAX)?;
    let text = std::str::from_utf8(text).map_err(|_| EntryError::Text)?;
    Ok(Reason { code, text: text.into() })
}

fn counted<'a>(fields: &mut Fields<'a>, field: &'static str, len_max: usize) -> Result<&'a [u8], EntryError> {
    match usize::from(fields.u16()?) {
        len if len > len_max => Err(EntryError::Field { field, value: len as u64 }),
        len => Ok(fields.slice(len)?),
    }
}

impl From<CutShort> for EntryError {
    fn from(_: CutShort) -> Self {
        Self::Truncated
    }
}
