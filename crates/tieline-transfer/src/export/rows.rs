//! Which columns a receipt and a link have.

use data_encoding::HEXLOWER;

use super::{Cell, Row};
use crate::audit::Link;
use crate::receipt::{Arrival, Receipt};

impl Row for Receipt {
    const COLUMNS: &'static [&'static str] = &[
        "delivered",
        "what",
        "transfer",
        "entry",
        "path",
        "final_name",
        "size",
        "blake3",
        "modified",
        "receiver",
        "sender",
        "group",
    ];

    fn cells(&self) -> Vec<Cell> {
        let record = &self.record;
        vec![
            shown(record.delivered),
            shown(match record.arrival {
                Arrival::Delivered => "delivered",
                Arrival::AlreadyThere => "already-there",
            }),
            shown(record.transfer),
            Cell::Number(record.entry),
            Cell::escaped(&record.path),
            Cell::escaped(&record.final_name),
            Cell::Number(record.size),
            hex(&record.hash),
            shown(record.modified),
            shown(self.receiver),
            shown(self.sender),
            hex(&self.group),
        ]
    }
}

impl Row for Link {
    const COLUMNS: &'static [&'static str] = &[
        "number",
        "time",
        "event",
        "direction",
        "transfer",
        "entry",
        "path",
        "size",
        "blake3",
        "reason_code",
        "reason",
        "group",
        "previous",
        "hash",
    ];

    fn cells(&self) -> Vec<Cell> {
        let entry = &self.entry;
        let reason = entry.reason.as_ref();
        vec![
            Cell::Number(self.number),
            shown(entry.at),
            shown(entry.event.word()),
            shown(entry.direction.word()),
            shown(entry.transfer),
            Cell::Number(entry.entry),
            Cell::escaped(&entry.path),
            Cell::Number(entry.size),
            known(entry.hash, |hash| hex(&hash)),
            known(reason, |reason| Cell::Number(u64::from(reason.code))),
            known(reason, |reason| Cell::escaped(reason.text.as_bytes())),
            known(entry.receipt, |group| hex(&group)),
            hex(&self.previous),
            hex(&self.hash),
        ]
    }
}

fn shown(value: impl ToString) -> Cell {
    Cell::Text(value.to_string())
}

fn hex(octets: &[u8]) -> Cell {
    Cell::Text(HEXLOWER.encode(octets))
}

fn known<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Cell {
    value.map_or(Cell::Absent, cell)
}
