//! Rows as RFC 4180 has them, harmless in a spreadsheet; the rules are in [`super`].

use std::io::{self, Write};

use super::Cell;

pub(super) fn write_header(out: &mut impl Write, columns: &[&str]) -> io::Result<()> {
    write_cells(out, columns.iter().map(|column| (*column).to_owned()))
}

pub(super) fn write_row(out: &mut impl Write, cells: &[Cell]) -> io::Result<()> {
    write_cells(
        out,
        cells.iter().map(|cell| match cell {
            Cell::Text(text) => without_formulas(text),
            Cell::Number(number) => number.to_string(),
            Cell::Absent => String::new(),
        }),
    )
}

fn write_cells(out: &mut impl Write, cells: impl Iterator<Item = String>) -> io::Result<()> {
    for (number, cell) in cells.enumerate() {
        if number > 0 {
            out.write_all(b",")?;
        }
        out.write_all(quoted(cell).as_bytes())?;
    }
    // RFC 4180 §2: "Each record is located on a separate line, delimited by a line break (CRLF)."
    out.write_all(b"\r\n")
}

/// RFC 4180 §2: "Fields containing line breaks (CRLF), double quotes, and commas should be enclosed in double-quotes." The
/// semicolon as well, for those who separate by it.
fn quoted(cell: String) -> String {
    if cell.contains(['"', ',', ';', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

fn without_formulas(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for part in text.split_inclusive(';') {
        // Who takes the quotation marks of RFC 4180 in another way than we wrote them looks past them too.
        let begin = part.trim_start_matches(|character: char| character.is_whitespace() || character == '"');
        if begin.starts_with(is_special) {
            safe.push('\'');
        }
        safe.push_str(part);
    }
    safe
}

/// What begins a formula, also as the wide forms that some spreadsheets take for the same; and the mark itself, so that it can be
/// taken away again.
fn is_special(character: char) -> bool {
    matches!(character, '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}' | '\'')
}
