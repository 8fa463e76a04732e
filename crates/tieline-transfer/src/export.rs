//! Receipts and audit logs for other programs: CSV for spreadsheets, JSON for everything else.
//!
//! Rows are written one at a time, so an export takes no more memory than its longest row. Names are shown as people see them
//! ([`Escaped`]): no octet of a name can end a row, move a cursor or turn text round. Hashes and keys are hexadecimal, moments are
//! RFC 3339 in UTC.
//!
//! CSV is that of RFC 4180 with a header. Spreadsheets take a cell for a formula if it begins with `=`, `+`, `-` or `@`, and a name
//! can do that; in such a cell an apostrophe is put before it. Where the list separator is a semicolon they divide a cell of ours
//! there, so an apostrophe is put after a semicolon that such a sign follows, too. Whoever reads the CSV back drops one apostrophe
//! at the start of a cell, and one after each semicolon. JSON needs none of this: one object per row, without the fields that are
//! not known.

mod csv;
mod rows;

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::path::Escaped;

/// Something that is exported as one row.
pub trait Row {
    /// The names of its columns: of letters and underscores.
    const COLUMNS: &'static [&'static str];

    /// Its cells, one for each column.
    fn cells(&self) -> Vec<Cell>;
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Text that may be shown; made of names and sentences by [`Cell::escaped`].
    Text(String),
    /// A number.
    Number(u64),
    /// Nothing is known.
    Absent,
}

/// Writes a header and `rows` to `out`, best a buffered one, and returns how many rows there were.
///
/// # Errors
///
/// The first error of `rows` or of `out`.
pub fn csv<R: Row, E: From<io::Error>>(
    out: &mut impl Write,
    rows: impl IntoIterator<Item = Result<R, E>>,
) -> Result<u64, E> {
    csv::write_header(out, R::COLUMNS)?;
    each(rows, |row: R| csv::write_row(out, &row.cells()))
}

/// Writes each of `rows` to `out`, best a buffered one, as a JSON object on a row of its own, and returns how many there were.
///
/// # Errors
///
/// The first error of `rows` or of `out`.
pub fn json<R: Row, E: From<io::Error>>(
    out: &mut impl Write,
    rows: impl IntoIterator<Item = Result<R, E>>,
) -> Result<u64, E> {
    each(rows, |row: R| {
        serde_json::to_writer(&mut *out, &Object { columns: R::COLUMNS, cells: &row.cells() })?;
        out.write_all(b"\n")
    })
}

impl Cell {
    /// Octets or text of anybody, as they may be shown.
    #[must_use]
    pub fn escaped(octets: &[u8]) -> Self {
        Self::Text(Escaped(octets).to_string())
    }
}

fn each<R, E: From<io::Error>>(
    rows: impl IntoIterator<Item = Result<R, E>>,
    mut write: impl FnMut(R) -> io::Result<()>,
) -> Result<u64, E> {
    let mut count = 0;
    for row in rows {
        write(row?)?;
        count += 1;
    }
    Ok(count)
}

struct Object<'a> {
    columns: &'a [&'a str],
    cells: &'a [Cell],
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.columns.iter().zip(self.cells).filter(|(_, cell)| **cell != Cell::Absent))
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Absent => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests;
