//! Exports: their rows, names that attack whoever reads them, and one row at a time.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::audit::{Chain, Direction, Entry, Event, Link, Mark, Reason};
use crate::moment::Moment;
use crate::receipt::{Arrival, Receipt, Record, SigningKey, TransferId};

/// Names with what they may look like in a cell once the apostrophes are gone.
const HOSTILE: [(&[u8], &str); 11] = [
    (b"a\nb", "a\\u{a}b"),
    (b"a\r\n\"b\",c", "a\\u{d}\\u{a}\"b\",c"),
    (b"\x1b[2J", "\\u{1b}[2J"),
    ("a\u{202e}gpj.exe".as_bytes(), "a\\u{202e}gpj.exe"),
    (b"\xff\xfe", "\\xff\\xfe"),
    (b"=cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"),
    (b"+1", "+1"),
    (b"-1", "-1"),
    (b"@SUM(A1)", "@SUM(A1)"),
    (b"\t=1", "\\u{9}=1"),
    (b"a; =cmd|' /C calc'!A0;b", "a; =cmd|' /C calc'!A0;b"),
];

#[test]
fn receipts_are_rows_of_csv() {
    let rows = read(&csv_of([receipt(b"a/b, c.txt")]));
    assert_eq!(rows[0], Receipt::COLUMNS);
    let receipt = receipt(b"a/b, c.txt");
    let expected = [
        "2026-11-28T09:30:00.000000005Z",
        "already-there",
        "30313233343536373839616263646566",
        "3",
        "a/b, c.txt",
        "a/b, c.txt (2)",
        "18446744073709551615",
        &"ab".repeat(32),
        "1969-12-31T23:59:59.999999999Z",
        &receipt.receiver.to_string(),
        &receipt.sender.to_string(),
        &data_encoding::HEXLOWER.encode(&receipt.group),
    ];
    assert_eq!(rows[1], expected);
    assert_eq!(rows.len(), 2);
}

#[test]
fn links_are_rows_of_csv_with_empty_cells_for_what_is_not_known() {
    let link = link(b"a", None);
    let rows = read(&csv_of([link.clone()]));
    assert_eq!(rows[0], Link::COLUMNS);
    let hash = data_encoding::HEXLOWER.encode(&link.hash);
    let (zeros, transfer) = ("00".repeat(32), "01".repeat(16));
    let expected = [
        "1",
        "2026-11-28T09:30:00.000000005Z",
        "given-up",
        "sent",
        &transfer,
        "3",
        "a",
        "7",
        "",
        "",
        "",
        "",
        &zeros,
        &hash,
    ];
    assert_eq!(rows[1], expected);
}

#[test]
fn rows_of_json_are_objects_without_what_is_not_known() {
    let unknown = link(b"a\n\"b\"", None);
    let known = link(b"=1", Some("no space; free some"));
    let rows = json_of([unknown, known]);
    let of = |row: &Value, column: &str| row.get(column).cloned();
    assert_eq!(of(&rows[0], "path"), Some("a\\u{a}\"b\"".into()));
    assert_eq!(of(&rows[0], "size"), Some(7.into()));
    assert_eq!(of(&rows[0], "event"), Some("given-up".into()));
    for column in ["blake3", "reason_code", "reason", "group"] {
        assert_eq!(of(&rows[0], column), None, "{column}");
        assert!(of(&rows[1], column).is_some(), "{column}");
    }
    assert_eq!(of(&rows[1], "path"), Some("=1".into()), "no spreadsheet reads JSON");
    assert_eq!(of(&rows[1], "reason"), Some("no space; free some".into()));

    let receipts = json_of([receipt(b"a")]);
    assert_eq!(of(&receipts[0], "size"), Some(u64::MAX.into()));
    assert_eq!(receipts[0].as_object().map(serde_json::Map::len), Some(Receipt::COLUMNS.len()));
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    assert_eq!(receipt(b"a").cells().len(), Receipt::COLUMNS.len());
    assert_eq!(link(b"a", None).cells().len(), Link::COLUMNS.len());
    assert_eq!(link(b"a", Some("why")).cells().len(), Link::COLUMNS.len());
}

#[test]
fn no_name_makes_a_row_a_formula_or_a_terminal_command() {
    for (name, shown) in HOSTILE {
        for octets in
            [csv_of([receipt(name)]), csv_of([link(name, None)]), csv_of([link(b"a", Some(text_of(name)))])]
        {
            assert_harmless(&octets);
            let rows = read(&octets);
            assert_eq!(rows.len(), 2, "{shown}");
            let has_it = |cell: &String| without_marks(cell) == shown || cell == "\u{fffd}";
            assert!(rows[1].iter().any(has_it), "{shown} in {rows:?}");
        }
        let octets = written(|out| json(out, [receipt(name)].map(Ok::<_, io::Error>)));
        assert_eq!(octets.iter().filter(|&&octet| octet == b'\n').count(), 1, "{shown}");
        assert!(String::from_utf8(octets).unwrap().chars().all(|c| !is_unsafe(c)), "{shown}");
    }
}

#[test]
fn cells_that_look_like_formulas_get_an_apostrophe() {
    for (text, cell) in [
        ("=1", "'=1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@a", "'@a"),
        ("'a", "''a"),
        (" =1", "' =1"),
        ("\u{ff1d}1", "'\u{ff1d}1"),
        ("a=1", "a=1"),
        ("a-b", "a-b"),
        ("a;b", "\"a;b\""),
        ("a;=1", "\"a;'=1\""),
        (";;@", "\";;'@\""),
        ("a,b", "\"a,b\""),
        ("a\"b", "\"a\"\"b\""),
        ("=\"", "\"'=\"\"\""),
        ("", ""),
    ] {
        let octets = written(|out| csv(out, [Ok::<_, io::Error>(Named(text.into()))]));
        assert_eq!(String::from_utf8(octets).unwrap(), format!("name\r\n{cell}\r\n"));
    }
}

#[test]
fn an_export_of_nothing_has_a_header_in_csv_and_no_row_in_json() {
    assert_eq!(csv_of::<Named>([]), b"name\r\n");
    assert_eq!(written(|out| json(out, [] as [io::Result<Named>; 0])), b"");
}

#[test]
fn a_row_is_written_before_the_next_is_asked_for() {
    type Export = fn(&mut Shared<'_>, &mut dyn Iterator<Item = io::Result<Named>>) -> io::Result<u64>;
    let exports: [(Export, usize); 2] = [(|out, rows| csv(out, rows), 1), (|out, rows| json(out, rows), 0)];
    for (export, header_rows) in exports {
        let written = RefCell::new(Vec::new());
        let mut rows = (0..100).map(|number| {
            let so_far = written.borrow().iter().filter(|&&octet| octet == b'\n').count();
            assert_eq!(so_far, header_rows + number);
            Ok(Named(number.to_string()))
        });
        assert_eq!(export(&mut Shared(&written), &mut rows).unwrap(), 100);
    }
}

#[test]
fn the_first_error_of_the_rows_or_of_the_output_ends_the_export() {
    let rows = || [Ok(Named("a".into())), Err(io::Error::other("the journal")), Ok(Named("b".into()))];
    let mut out = Vec::new();
    assert_eq!(csv(&mut out, rows()).unwrap_err().to_string(), "the journal");
    assert_eq!(out, b"name\r\na\r\n");
    let mut out = Vec::new();
    assert_eq!(json(&mut out, rows()).unwrap_err().to_string(), "the journal");
    assert_eq!(out, b"{\"name\":\"a\"}\n");

    let full = || [0_u8; 20];
    let long = || [Ok::<_, io::Error>(Named("x".repeat(30)))];
    assert_eq!(csv(&mut &mut full()[..], long()).unwrap_err().kind(), io::ErrorKind::WriteZero);
    assert_eq!(json(&mut &mut full()[..], long()).unwrap_err().kind(), io::ErrorKind::WriteZero);
}

proptest! {
    #[test]
    fn any_name_comes_back_from_csv_and_json(
        names in vec(prop_oneof![vec(any::<u8>(), 1..20), "[-=+@'; \"a,\r\n\u{ff1d}\u{202e}]{1,12}".prop_map(String::into_bytes)], 1..6),
    ) {
        let rows = || names.iter().map(|name| Named(Escaped(name).to_string()));
        let octets = csv_of(rows());
        assert_harmless(&octets);
        let cells = read(&octets).split_off(1);
        prop_assert_eq!(cells.len(), names.len());
        for ((cells, object), row) in cells.iter().zip(json_of(rows())).zip(rows()) {
            prop_assert_eq!(cells.len(), 1);
            prop_assert_eq!(without_marks(&cells[0]), row.0.clone());
            prop_assert_eq!(object.get("name"), Some(&Value::from(row.0)));
        }
    }
}

/// A row of one cell.
struct Named(String);

impl Row for Named {
    const COLUMNS: &'static [&'static str] = &["name"];

    fn cells(&self) -> Vec<Cell> {
        vec![Cell::Text(self.0.clone())]
    }
}

/// An output that can be looked at while it is written.
struct Shared<'a>(&'a RefCell<Vec<u8>>);

impl Write for Shared<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn moment(seconds: i64, nanoseconds: u32) -> Moment {
    Moment::new(seconds, nanoseconds).unwrap()
}

fn receipt(path: &[u8]) -> Receipt {
    let record = Record {
        arrival: Arrival::AlreadyThere,
        transfer: TransferId(*b"0123456789abcdef"),
        entry: 3,
        size: u64::MAX,
        hash: [0xab; 32],
        modified: moment(-1, 999_999_999),
        delivered: moment(1_795_858_200, 5),
        path: path.into(),
        final_name: [path, b" (2)"].concat().into(),
    };
    let (receiver, sender) = (SigningKey::from_line_secret(&[7; 32]), SigningKey::from_line_secret(&[8; 32]));
    receiver.sign(sender.public(), vec![record]).unwrap().into_receipts().next().unwrap()
}

fn link(path: &[u8], reason: Option<&str>) -> Link {
    let known = reason.map(|_| [0xcd; 32]);
    Chain::new(Mark::START).append(Entry {
        at: moment(1_795_858_200, 5),
        event: Event::GivenUp,
        direction: Direction::Sent,
        transfer: TransferId([1; 16]),
        entry: 3,
        path: path.into(),
        size: 7,
        hash: known,
        reason: reason.map(|text| Reason { code: 2, text: text.into() }),
        receipt: known,
    })
}

/// The name as a sentence may hold it; a name that is no text is not quoted in one.
fn text_of(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or("\u{fffd}")
}

fn written(export: impl FnOnce(&mut Vec<u8>) -> io::Result<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    export(&mut out).unwrap();
    out
}

fn csv_of<R: Row>(rows: impl IntoIterator<Item = R>) -> Vec<u8> {
    written(|out| csv(out, rows.into_iter().map(Ok::<_, io::Error>)))
}

fn json_of<R: Row>(rows: impl IntoIterator<Item = R>) -> Vec<Value> {
    let octets = written(|out| json(out, rows.into_iter().map(Ok::<_, io::Error>)));
    octets.split_inclusive(|&octet| octet == b'\n').map(|row| serde_json::from_slice(row).unwrap()).collect()
}

/// No control or bidirectional character, and no cell that a spreadsheet computes, whether it separates by commas or semicolons.
fn assert_harmless(csv: &[u8]) {
    let text = std::str::from_utf8(csv).unwrap();
    assert!(text.replace("\r\n", "").chars().all(|c| !is_unsafe(c)), "{text}");
    for cell in read(csv).iter().flatten() {
        for part in cell.split(';') {
            let begin = part.trim_start_matches([' ', '"']).chars().next();
            assert!(!matches!(begin, Some('=' | '+' | '-' | '@' | '\u{ff1d}')), "{cell}");
        }
    }
}

fn is_unsafe(character: char) -> bool {
    character.is_control() && character != '\n' || ('\u{202a}'..='\u{202e}').contains(&character)
}

fn without_marks(cell: &str) -> String {
    cell.split_inclusive(';').map(|part| part.strip_prefix('\'').unwrap_or(part)).collect()
}

/// Reads CSV as RFC 4180 §2 has it, strictly.
fn read(csv: &[u8]) -> Vec<Vec<String>> {
    let text = std::str::from_utf8(csv).unwrap();
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if is_quoted && characters.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' if is_quoted => {
                is_quoted = false;
                assert!(matches!(characters.peek(), Some(',' | '\r')), "octets behind a quoted cell: {text}");
            }
            '"' => {
                assert!(cell.is_empty(), "a quote inside a cell that is not quoted: {text}");
                is_quoted = true;
            }
            character if is_quoted => cell.push(character),
            ',' => row.push(std::mem::take(&mut cell)),
            '\r' => {
                assert_eq!(characters.next(), Some('\n'), "{text}");
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\n' => panic!("a row that ends without a carriage return: {text}"),
            character => cell.push(character),
        }
    }
    assert!(!is_quoted && cell.is_empty() && row.is_empty(), "the last row has no end: {text}");
    rows
}
