//! `tieline receipts`, as whoever has to prove something runs it.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::path::Path;

use program::Office;
use program::ends::{End, line, wait_for};
use serde_json::Value;
use tieline_transfer::Journal;

/// A name that nothing else in a journal has, and that a table has to quote.
const NAME: &str = "a, \"quoted\" name";

fn plain(_: &Office) -> String {
    String::new()
}

/// Two ends, and what arrived: one file, the same again, another of its name, and one with a name that has to be quoted.
fn line_with_receipts(folder: &Path) -> (End, End) {
    let (near, far) = line(plain, plain);
    near.wait_until_up();
    for (name, content, receipts) in
        [("report", "1", 1), ("report", "1", 2), ("report", "22", 3), (NAME, "333", 4)]
    {
        let file = folder.join(name);
        fs::write(&file, content).expect("written");
        near.send(&file);
        wait_for("it is receipted", || rows(&near, &["--json"]).len() == receipts);
    }
    (near, far)
}

fn rows(end: &End, arguments: &[&str]) -> Vec<Value> {
    let told = end.succeed(&[&["receipts", "line"], arguments].concat());
    told.lines().map(|row| serde_json::from_str(row).expect("JSON")).collect()
}

fn column<'r>(rows: &'r [Value], key: &str) -> Vec<&'r str> {
    rows.iter().map(|row| row[key].as_str().expect(key)).collect()
}

#[test]
fn both_ends_show_the_same_receipts_in_every_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let (near, far) = line_with_receipts(folder.path());
    let receipts = rows(&near, &["--json"]);
    assert_eq!(receipts, rows(&far, &["--json"]), "both ends have the same");
    assert_eq!(column(&receipts, "what"), ["delivered", "already-there", "delivered", "delivered"]);
    assert_eq!(column(&receipts, "path"), ["report", "report", "report", NAME]);
    assert_eq!(column(&receipts, "final_name"), ["report", "report", "report (2)", NAME]);
    let sizes: Vec<u64> = receipts.iter().filter_map(|row| row["size"].as_u64()).collect();
    assert_eq!(sizes, [1, 1, 2, 3]);
    let hashes = column(&receipts, "blake3");
    assert!(hashes[0] == hashes[1] && hashes[1] != hashes[2] && hashes[0].len() == 64);

    let table = near.succeed(&["receipts", "line", "--csv"]);
    let table: Vec<&str> = table.lines().collect();
    assert!(table[0].starts_with("delivered,what,transfer,entry,path,"), "{}", table[0]);
    assert_eq!(table.len(), 5);
    assert!(table[4].contains(r#","a, ""quoted"" name","#), "{}", table[4]);

    let shown = near.succeed(&["receipts", "line"]);
    let shown: Vec<&str> = shown.lines().collect();
    assert_eq!(shown.len(), 4);
    assert!(shown[2].ends_with("  report  2 B  as report (2)"), "{}", shown[2]);
    assert_eq!(rows(&near, &["--json", "--since", "2999-01-01"]).len(), 0);
    assert_eq!(rows(&near, &["--json", "--since", "2020-02-29"]), receipts);
    assert_eq!(near.office.run(&["receipts", "line", "--since", "yesterday"]).status, 2);
}

#[test]
fn the_log_of_each_end_says_what_became_of_every_file_and_leads_to_its_receipt() {
    let folder = tempfile::tempdir().expect("a folder");
    let (near, far) = line_with_receipts(folder.path());
    let receipts = rows(&near, &["--json"]);
    for (end, direction) in [(&near, "sent"), (&far, "received")] {
        let log = rows(end, &["--log", "--json"]);
        assert_eq!(column(&log, "event"), ["delivered", "already-there", "delivered", "delivered"]);
        assert_eq!(column(&log, "direction"), [direction; 4]);
        assert_eq!(column(&log, "group"), column(&receipts, "group"));
        assert_eq!(column(&log, "previous")[1..], column(&log, "hash")[..3], "a chain");
        let table = end.succeed(&["receipts", "line", "--log", "--csv"]);
        assert!(table.starts_with("number,time,event,direction,") && table.lines().count() == 5, "{table}");
        let shown = end.succeed(&["receipts", "line", "--log"]);
        assert!(shown.lines().all(|row| row.contains(&format!("  {direction}  "))), "{shown}");
    }
}

#[test]
fn what_is_sound_is_said_to_be_so_with_the_line_up_or_down_and_what_was_meddled_with_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut near, _far) = line_with_receipts(folder.path());
    let verify = ["receipts", "line", "--verify", "--json"];
    let verified = near.office.json(&verify);
    assert_eq!((&verified["sound"], &verified["receipts"]), (&true.into(), &4.into()));
    near.kill();
    assert_eq!(near.office.json(&verify), verified, "with the line down");
    let said = near.succeed(&["receipts", "line", "--verify"]);
    assert!(said.starts_with("all is sound: 4 receipts"), "{said}");

    let journal = near.kept("journal");
    // Whoever closes it last brings all of it into one file.
    drop(Journal::open(&journal).expect("the journal"));
    let mut octets = fs::read(&journal).expect("read");
    // Wherever it is: some of it may be what the database keeps of rows that are gone.
    let places: Vec<usize> =
        (0..octets.len() - NAME.len()).filter(|at| octets[*at..].starts_with(NAME.as_bytes())).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| octets[at] ^= 1);
    fs::write(&journal, octets).expect("written");
    let told = near.office.run(&["receipts", "line", "--verify"]);
    assert_eq!(told.status, 1, "{}", told.out);
    assert!(told.err.contains("not sound: "), "{}", told.err);
}

#[test]
fn a_line_that_was_never_up_has_none_and_says_so() {
    let office = Office::new();
    let told = office.run(&["receipts", "line"]);
    assert_eq!(told.status, 2);
    assert!(told.err.contains("it was never up here"), "{}", told.err);
}
