//! The fields of an octet format, taken from the front; numbers are big-endian.

use crate::moment::Moment;

/// What is left of the octets.
pub(crate) struct Fields<'a>(&'a [u8]);

/// Fewer octets are left than the field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutShort;

impl<'a> Fields<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many octets are left.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], CutShort> {
        let (field, rest) = self.0.split_first_chunk().ok_or(CutShort)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], CutShort> {
        let (field, rest) = self.0.split_at_checked(len).ok_or(CutShort)?;
        self.0 = rest;
        Ok(field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, CutShort> {
        self.take().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, CutShort> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CutShort> {
        self.take().map(u64::from_be_bytes)
    }

    /// Seconds (8, signed) and nanoseconds (4); the inner error is the nanoseconds that are none.
    pub(crate) fn moment(&mut self) -> Result<Result<Moment, u32>, CutShort> {
        let seconds = self.take().map(i64::from_be_bytes)?;
        let nanoseconds = self.take().map(u32::from_be_bytes)?;
        Ok(Moment::new(seconds, nanoseconds).ok_or(nanoseconds))
    }
}

/// Appends what [`Fields::moment`] reads.
pub(crate) fn emit_moment(out: &mut Vec<u8>, moment: Moment) {
    out.extend(moment.seconds().to_be_bytes());
    out.extend(moment.nanoseconds().to_be_bytes());
}

/// Appends the length of `octets` (2) and the octets. The caller has seen that they are no more than 65,535.
pub(crate) fn emit_counted(out: &mut Vec<u8>, octets: &[u8]) {
    let len = u16::try_from(octets.len()).expect("the caller's limit fits two octets");
    out.extend(len.to_be_bytes());
    out.extend_from_slice(octets);
}
