//! Receipts and logs of whole transfers: what both ends keep of them, and what the sending end does not take for a receipt.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use support::kept::{groups, log, proof_of, receipts};
use support::{BUFFER, Offices, TRANSFER, frames, noise, order, order_into, receiver_keys, sender_keys};
use tieline_transfer::audit::{Direction, Entry, Event, Link, Mark, verify};
use tieline_transfer::moment::Moment;
use tieline_transfer::protocol::{
    FRAME_LEN_MAX, KeyFault, PREFIX_LEN, ReceiverMessage, SenderMessage, VERSION, Verdict, Violation,
    frame_len,
};
use tieline_transfer::receipt::{
    Arrival, KeyChanged, LineKeys, Receipt, Record, SigningKey, TransferId, VerifyError,
};
use tieline_transfer::{
    Inbox, Journal, Outcome, Plan, ReceiveError, Received, SendError, StopReason, receive, send,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

// ---- whole transfers ----

#[tokio::test]
async fn receipts_of_a_delivered_tree_verify_and_name_every_file() {
    let office = Office::new();
    let mut expected = BTreeMap::new();
    for (name, content) in [("a", &b"1"[..]), ("b/empty", b""), ("b/c", b"22"), ("big", &noise(1, 3_000_000))]
    {
        office.write(name, content);
        expected.insert(name.as_bytes().to_vec(), (content.len() as u64, *blake3::hash(content).as_bytes()));
    }
    fs::write(office.dir.path().join("in").join("a"), "another").unwrap();
    let (sent, received) = office.send().await;
    assert!(sent.unwrap().is_complete() && received.unwrap().is_complete());
    let receipts = receipts(&office.sent);
    let named: BTreeMap<_, _> = receipts
        .iter()
        .map(|Receipt { record, .. }| (record.path.to_vec(), (record.size, record.hash)))
        .collect();
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, content)| ([b"out/", &name[..]].concat(), content)).collect();
    assert_eq!(named, expected);
    assert_eq!(receipts.len(), 4, "one for each file, none for folders");
    for Receipt { receiver, sender, record, .. } in &receipts {
        assert_eq!((*receiver, *sender), (receiver_keys().own(), sender_keys().own()));
        assert_eq!((record.transfer, record.arrival), (TRANSFER, Arrival::Delivered));
        assert_eq!(record.path, record.final_name);
        let status = fs::metadata(office.dir.path().join("in").join(text(&record.path))).unwrap();
        assert_eq!(record.modified, Moment::from(status.modified().unwrap()));
    }
    assert_eq!(groups(&office.sent), groups(&office.received), "both ends have the same");
}

#[tokio::test]
async fn a_copy_is_receipted_under_its_name_and_what_was_there_as_such() {
    let office = Office::new();
    office.write("a.txt", b"new");
    fs::create_dir(office.dir.path().join("in/out")).unwrap();
    fs::write(office.dir.path().join("in/out/a.txt"), "old").unwrap();
    for _ in 0..2 {
        assert!(office.send().await.0.unwrap().is_complete());
    }
    let receipts = receipts(&office.sent);
    let said = |receipt: &Receipt| (receipt.record.arrival, text(&receipt.record.final_name));
    assert_eq!(said(&receipts[0]), (Arrival::Delivered, "out/a (2).txt".into()));
    assert_eq!(said(&receipts[1]), (Arrival::AlreadyThere, "out/a (2).txt".into()));
}

#[tokio::test]
async fn more_files_than_one_frame_has_room_for_are_receipted_in_several_groups() {
    let office = Office::new();
    let folders = ["x", "y"].map(|letter| vec![letter.repeat(250); 14].join("/"));
    for number in 0..40 {
        office.write(&format!("{}/{number}", folders[number % 2]), number.to_string().as_bytes());
    }
    assert!(office.send().await.0.unwrap().is_complete());
    let groups = groups(&office.sent);
    assert!(groups.len() > 2, "{} groups", groups.len());
    for group in &groups {
        let mut octets = Vec::new();
        group.emit(&mut octets);
        assert!(octets.len() < FRAME_LEN_MAX);
    }
    assert_eq!(receipts(&office.sent).len(), 40);
}

#[tokio::test]
async fn case_35_both_logs_agree_and_every_file_ends_once() {
    let office = Office::new();
    for number in 0..300 {
        office.write(&format!("{number}"), &noise(number, 1000));
    }
    let locked = office.write("locked", b"x");
    fs::set_permissions(locked, fs::Permissions::from_mode(0o000)).unwrap();
    fs::create_dir_all(office.dir.path().join("in/out/7")).unwrap();
    for copy in 2..=99 {
        fs::create_dir(office.dir.path().join(format!("in/out/7 ({copy})"))).unwrap();
    }
    office.send().await.0.unwrap();
    let (here, there) = (log(&office.sent), log(&office.received));
    for links in [&here, &there] {
        verify(Mark::START, links.iter().cloned(), None).unwrap();
        let mut entries: Vec<u64> = links.iter().map(|link| link.entry.entry).collect();
        entries.sort_unstable();
        assert!(entries.is_sorted_by(|one, next| one < next), "an entry ended twice");
    }
    assert!(here.iter().all(|link| link.entry.direction == Direction::Sent));
    assert!(there.iter().all(|link| link.entry.direction == Direction::Received));
    assert_eq!(facts(&here), facts(&there));
    assert_eq!(facts(&here).values().filter(|fact| fact.0 == Event::Failed).count(), 1);
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(here.len(), 301, "every file");
    assert_eq!(there.len(), if is_root { 301 } else { 300 }, "what could not be read was never offered");
}

#[tokio::test]
async fn case_35_both_logs_agree_after_transfers_that_were_cut_anywhere() {
    let office = Office::new();
    for number in 0..20 {
        office.write(&format!("{number:02}"), &noise(number, 40_000));
    }
    let mut cut = 0;
    while !office.send_for(Duration::from_millis(cut)).await {
        cut += 2;
    }
    let (here, there) = (log(&office.sent), log(&office.received));
    for links in [&here, &there] {
        verify(Mark::START, links.iter().cloned(), None).unwrap();
    }
    let delivered = |links: &[Link]| -> BTreeMap<Vec<u8>, [u8; 32]> {
        let is_here = |link: &&Link| matches!(link.entry.event, Event::Delivered | Event::AlreadyThere);
        links
            .iter()
            .filter(is_here)
            .map(|link| (link.entry.path.to_vec(), link.entry.hash.unwrap()))
            .collect()
    };
    assert_eq!(delivered(&here).len(), 20);
    assert_eq!(delivered(&here), delivered(&there));
    let receipted = receipts(&office.sent);
    for Link { entry, .. } in here {
        let group = entry.receipt.unwrap();
        let is_its = |receipt: &&Receipt| {
            receipt.group == group
                && (receipt.record.transfer, receipt.record.entry) == (entry.transfer, entry.entry)
        };
        assert_eq!(receipted.iter().filter(is_its).count(), 1);
    }
}

#[tokio::test]
async fn receipts_and_logs_are_there_after_a_restart_and_go_on() {
    let mut office = Office::new();
    office.write("a", b"1");
    assert!(office.send().await.0.unwrap().is_complete());
    let before = (groups(&office.sent), log(&office.sent), groups(&office.received), log(&office.received));
    office.restart();
    let after = (groups(&office.sent), log(&office.sent), groups(&office.received), log(&office.received));
    assert_eq!(before, after);
    office.write("b", b"2");
    assert!(office.send().await.0.unwrap().is_complete());
    for journal in [&office.sent, &office.received] {
        assert_eq!(verify(Mark::START, log(journal), None).unwrap().links, 3, "a, then a and b");
    }
}

// ---- proof ----

#[tokio::test]
async fn what_both_ends_keep_is_proved_and_any_row_that_was_meddled_with_is_found() {
    let office = Office::new();
    for number in 0..20 {
        office.write(&format!("{number}"), &noise(number, 100));
        if number % 7 == 0 {
            assert!(office.send().await.0.unwrap().is_complete());
        }
    }
    for journal in [&office.sent, &office.received] {
        let sound = proof_of(journal).unwrap();
        assert_eq!((sound.receipts, sound.log.links), (1 + 8 + 15, 1 + 8 + 15));
    }
    let path = office.dir.path().join("sent");
    drop((office.inbox, office.received, office.sent));
    for (statement, found) in [
        (
            "UPDATE receipt_group SET octets = cast(substr(octets, 1, length(octets) - 1) || 'x' AS BLOB) WHERE last = 1",
            "name",
        ),
        ("UPDATE receipt_group SET octets = x'00' WHERE last = 1", "altered"),
        ("UPDATE receipt_group SET digest = x'00' WHERE last = 1", "name"),
        ("DELETE FROM receipt_group WHERE last = 1", "gone"),
        ("DELETE FROM receipt_group WHERE last = 9", "gone"),
        ("DELETE FROM receipt_group WHERE last = 24", "receipt that is not there"),
        ("DELETE FROM signing_key", "no end of this line"),
        ("UPDATE audit_link SET entry = x'00' WHERE number = 3", "altered"),
        (
            "UPDATE audit_link SET entry = (SELECT entry FROM audit_link WHERE number = 4) WHERE number = 3",
            "altered",
        ),
        ("UPDATE audit_link SET hash = x'00' WHERE number = 3", "altered"),
        ("UPDATE audit_link SET previous = hash WHERE number = 3", "altered"),
        ("DELETE FROM audit_link WHERE number = 1", "gone"),
        ("DELETE FROM audit_link WHERE number = 12", "gone"),
        ("DELETE FROM audit_link WHERE number > 9", "log names no receipt of"),
        ("DELETE FROM audit_link", "log names no receipt of"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        let copied = copy.path().join("journal");
        fs::copy(&path, &copied).unwrap();
        let database = rusqlite::Connection::open(&copied).unwrap();
        assert!(database.execute(statement, []).unwrap() > 0, "{statement}");
        drop(database);
        let broken = proof_of(&Journal::open(&copied).unwrap()).unwrap_err().to_string();
        assert!(broken.contains(found), "{statement}: {broken}");
    }
}

// ---- keys ----

#[tokio::test]
async fn an_end_with_another_key_than_before_is_refused_by_either_end() {
    let office = Office::new();
    office.write("a", b"1");
    let stranger = SigningKey::from_line_secret(&[9; 32]).public();
    let known = receiver_keys();
    known.learn(stranger).unwrap();
    let inbox = Inbox::open(&office.dir.path().join("other"), "in", Arc::clone(&office.received)).unwrap();
    let (sent, received) = office.exchange(&Arc::new(inbox.with_keys(known)), sender_keys()).await;
    let changed = KeyChanged { known: stranger, found: sender_keys().own() };
    let violation = Violation::Key(KeyFault::Changed(changed));
    assert!(
        matches!(received.unwrap().interruption, Some(ReceiveError::Violation(found)) if found == violation)
    );
    let told = StopReason::Violation { code: violation.code() };
    assert!(matches!(sent.unwrap().interruption, Some(SendError::Refused(reason)) if reason == told));

    let known = sender_keys();
    known.learn(stranger).unwrap();
    let (sent, _) = office.exchange(office.inbox.as_ref().unwrap(), known).await;
    let changed = KeyChanged { known: stranger, found: receiver_keys().own() };
    let violation = Violation::Key(KeyFault::Changed(changed));
    let outcome = sent.unwrap();
    assert!(matches!(outcome.interruption, Some(SendError::Violation(found)) if found == violation));
    assert!(outcome.entries.iter().all(|entry| !entry.fate.is_delivered()));
    assert_eq!(receipts(&office.sent), []);
}

#[tokio::test]
async fn a_far_end_that_is_known_to_sign_must_sign() {
    let (keys, far_end) = (sender_keys(), receiver_keys());
    keys.learn(far_end.own()).unwrap();
    let outcome = hear(keys, |_| vec![Told::Verdicts(vec![0])]).await;
    assert!(matches!(outcome.interruption, Some(SendError::Violation(Violation::NoReceipt(0)))));
    assert!(outcome.entries.iter().all(|entry| !entry.fate.is_delivered()));
}

// ---- a receiver that signs whatever it likes ----

#[tokio::test]
async fn a_receiver_that_signs_what_was_sent_is_believed() {
    let told = |records: &[Record]| {
        vec![Told::Identify(2), Told::Signed(2, 1, records.to_vec()), Told::Verdicts(vec![0, 1]), Told::Done]
    };
    let outcome = hear(sender_keys(), told).await;
    assert!(outcome.interruption.is_none(), "{outcome:?}");
    assert!(outcome.is_complete());
}

#[tokio::test]
async fn a_receipt_that_does_not_say_what_was_sent_is_found_out() {
    type Change = fn(&mut Record);
    let changes: [(&str, Change); 9] = [
        ("another hash", |record| record.hash[0] ^= 1),
        ("another size", |record| record.size += 1),
        ("another path", |record| record.path = (*b"other").into()),
        ("another name", |record| record.final_name = (*b"out/a (2)").into()),
        ("another transfer", |record| record.transfer = TransferId([0; 16])),
        ("another time", |record| record.modified = Moment::new(1, 1).unwrap()),
        ("it was there", |record| record.arrival = Arrival::AlreadyThere),
        ("another file", |record| record.entry = 1),
        ("no file at all", |record| record.entry = u64::MAX),
    ];
    for (what, change) in changes {
        let told = |records: &[Record]| {
            let mut record = records[0].clone();
            change(&mut record);
            vec![Told::Identify(2), Told::Signed(2, 1, vec![record]), Told::Verdicts(vec![0]), Told::Done]
        };
        let outcome = hear(sender_keys(), told).await;
        let told = outcome.interruption.as_ref().unwrap();
        let expected = [Violation::Receipt(0), Violation::NoReceipt(0)];
        assert!(matches!(told, SendError::Violation(found) if expected.contains(found)), "{what}: {told}");
        assert!(outcome.entries.iter().all(|entry| !entry.fate.is_delivered()), "{what}");
    }
}

#[tokio::test]
async fn receipts_in_the_wrong_place_are_found_out() {
    let identify = || Told::Identify(2);
    let signed = |records: &[Record]| Told::Signed(2, 1, records.to_vec());
    let verdicts = |entries: &[u64]| Told::Verdicts(entries.to_vec());
    type Answers = Box<dyn Fn(&[Record]) -> Vec<Told>>;
    let cases: Vec<(Violation, Answers)> = vec![
        (
            Violation::NoReceipt(1),
            Box::new(move |all| vec![identify(), signed(&all[..1]), verdicts(&[0, 1])]),
        ),
        (Violation::NoReceipt(0), Box::new(move |all| vec![identify(), verdicts(&[0]), signed(all)])),
        (
            Violation::Receipt(1),
            Box::new(move |all| vec![identify(), signed(all), verdicts(&[0]), signed(&all[1..])]),
        ),
        (
            Violation::Receipt(0),
            Box::new(move |all| vec![identify(), signed(&[all[0].clone(), all[0].clone()])]),
        ),
        (Violation::OutOfPlace(0x46), Box::new(move |all| vec![signed(all), verdicts(&[0, 1])])),
        (Violation::OutOfPlace(0x47), Box::new(move |_| vec![identify(), identify()])),
        (
            Violation::Receipt(7),
            Box::new(move |all| {
                let about_nothing = Record { entry: 7, ..all[0].clone() };
                let records = vec![all[0].clone(), all[1].clone(), about_nothing];
                vec![identify(), Told::Signed(2, 1, records), verdicts(&[0, 1]), Told::Done]
            }),
        ),
    ];
    for (violation, told) in cases {
        let outcome = hear(sender_keys(), told).await;
        let found = outcome.interruption.as_ref().unwrap();
        assert!(matches!(found, SendError::Violation(found) if *found == violation), "{violation}: {found}");
    }
}

#[tokio::test]
async fn receipts_signed_by_or_for_somebody_else_or_not_at_all_are_found_out() {
    let key = |seed| SigningKey::from_line_secret(&[seed; 32]).public();
    let receiver = Violation::Unproved(VerifyError::Receiver { found: key(3), expected: key(2) });
    for (who, whom, violation) in [(3, 1, receiver), (2, 4, Violation::OtherSender(key(4)))] {
        let told = |records: &[Record]| {
            vec![Told::Identify(2), Told::Signed(who, whom, records.to_vec()), Told::Verdicts(vec![0, 1])]
        };
        let outcome = hear(sender_keys(), told).await;
        assert!(matches!(outcome.interruption, Some(SendError::Violation(found)) if found == violation));
        assert!(outcome.entries.iter().all(|entry| !entry.fate.is_delivered()));
    }
    // Every octet of a group is signed, or is the signature.
    for octet in [100, 140, 200, 300] {
        let told = |records: &[Record]| {
            vec![Told::Identify(2), Told::Spoilt(records.to_vec(), octet), Told::Verdicts(vec![0, 1])]
        };
        let outcome = hear(sender_keys(), told).await;
        let found = outcome.interruption.as_ref().unwrap();
        assert!(
            matches!(found, SendError::Violation(Violation::Unproved(_) | Violation::Group(_))),
            "{octet}: {found}"
        );
        assert!(outcome.entries.iter().all(|entry| !entry.fate.is_delivered()));
    }
}

// ---- an office with journals on a disk ----

struct Office {
    dir: tempfile::TempDir,
    sent: Arc<Journal>,
    received: Arc<Journal>,
    inbox: Option<Arc<Inbox>>,
}

impl Office {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let [sent, received] =
            ["sent", "received"].map(|name| Arc::new(Journal::open(&dir.path().join(name)).unwrap()));
        for journal in [&sent, &received] {
            journal.know_key(&[1; 32], &sender_keys().own()).unwrap();
            journal.know_key(&[2; 32], &receiver_keys().own()).unwrap();
        }
        let mut office = Self { dir, sent, received, inbox: None };
        office.open_inbox();
        office
    }

    fn open_inbox(&mut self) {
        let path = self.dir.path().join("in");
        let open = || Inbox::open(&path, "in", Arc::clone(&self.received)).ok();
        // Threads of a transfer that was cut hold the lock until they are done.
        let opened = (0..1000).find_map(|_| {
            open().or_else(|| {
                std::thread::sleep(Duration::from_millis(5));
                None
            })
        });
        self.inbox = Some(Arc::new(opened.unwrap().with_keys(receiver_keys())));
    }

    fn restart(&mut self) {
        self.inbox = None;
        let nothing = Arc::new(Journal::in_memory().unwrap());
        for (journal, name) in [(&mut self.sent, "sent"), (&mut self.received, "received")] {
            // The file is free when the last owner is gone.
            *journal = Arc::clone(&nothing);
            let path = self.dir.path().join(name);
            let opened = (0..1000).find_map(|_| {
                Journal::open(&path).ok().or_else(|| {
                    std::thread::sleep(Duration::from_millis(5));
                    None
                })
            });
            *journal = Arc::new(opened.unwrap());
        }
        self.open_inbox();
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join("out").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    async fn send(&self) -> (Result<Outcome, SendError>, Result<Received, ReceiveError>) {
        self.exchange(self.inbox.as_ref().unwrap(), sender_keys()).await
    }

    /// Sends until the cable is cut, and says whether everything was sent before.
    async fn send_for(&self, time: Duration) -> bool {
        match tokio::time::timeout(time, self.send()).await {
            Ok((Ok(sent), _)) => sent.is_complete(),
            // The inbox is busy with threads of transfers that were cut.
            Ok((Err(_), _)) | Err(_) => false,
        }
    }

    async fn exchange(
        &self,
        inbox: &Arc<Inbox>,
        keys: LineKeys,
    ) -> (Result<Outcome, SendError>, Result<Received, ReceiveError>) {
        let plan = Plan::scan(&[self.dir.path().join("out")], &()).unwrap();
        let (near, far) = duplex(BUFFER);
        let mut order = order_into(plan, Arc::clone(&self.sent));
        order.keys = keys;
        let watcher = Arc::new(());
        tokio::join!(send(near, order, watcher), receive(far, inbox, None, Arc::new(())))
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// What both ends must say of an entry in the same way.
type Fact = (Event, Vec<u8>, u64, Option<[u8; 32]>, Option<[u8; 32]>);

fn facts(links: &[Link]) -> BTreeMap<u64, Fact> {
    let fact = |entry: &Entry| (entry.event, entry.path.to_vec(), entry.size, entry.hash, entry.receipt);
    links.iter().map(|link| (link.entry.entry, fact(&link.entry))).collect()
}

// ---- a receiver written by hand ----

enum Told {
    Identify(u8),
    /// By whom, for whom.
    Signed(u8, u8, Vec<Record>),
    /// Signed, and then one octet changed.
    Spoilt(Vec<Record>, usize),
    Verdicts(Vec<u64>),
    Done,
}

impl Told {
    fn octets(&self) -> Vec<u8> {
        let key = |seed: u8| SigningKey::from_line_secret(&[seed; 32]);
        let sign = |who, whom, records: &Vec<Record>| {
            let mut octets = Vec::new();
            key(who).sign(key(whom).public(), records.clone()).unwrap().emit(&mut octets);
            octets
        };
        let mut out = Vec::new();
        match self {
            Self::Identify(who) => ReceiverMessage::Identify { key: key(*who).public() }.emit(&mut out),
            Self::Signed(who, whom, records) => {
                ReceiverMessage::Receipt(&sign(*who, *whom, records)).emit(&mut out);
            }
            Self::Spoilt(records, octet) => {
                let mut octets = sign(2, 1, records);
                octets[*octet] ^= 1;
                ReceiverMessage::Receipt(&octets).emit(&mut out);
            }
            Self::Verdicts(entries) => {
                for entry in entries {
                    let verdict = Verdict::Delivered { copy: 1 };
                    ReceiverMessage::Verdict { entry: *entry, verdict }.emit(&mut out);
                }
            }
            Self::Done => ReceiverMessage::Done.emit(&mut out),
        }
        out
    }
}

/// Takes two files to their end, then says what `told` makes of the true records of them.
async fn hear(keys: LineKeys, told: impl Fn(&[Record]) -> Vec<Told>) -> Outcome {
    let offices = Offices::new();
    let plan = Plan::scan(&[offices.write("a", "1"), offices.write("b", "2")], &()).unwrap();
    let (near, mut far) = support::by_hand(BUFFER);
    let receiver = async {
        let welcome = frames_of(ReceiverMessage::Welcome { version: VERSION });
        far.write_all(&welcome).await.unwrap();
        let records = true_records(&mut far).await;
        for told in told(&records) {
            // The sender may hang up as soon as it does not like what it hears.
            let _ = far.write_all(&told.octets()).await;
        }
        let _ = far.shutdown().await;
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
    };
    let mut order = order(plan);
    order.keys = keys;
    let everything = async { tokio::join!(send(near, order, Arc::new(())), receiver) };
    let (sent, ()) = tokio::time::timeout(Duration::from_secs(30), everything).await.expect("nobody hangs");
    sent.unwrap()
}

fn frames_of(message: ReceiverMessage<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(&mut out);
    out
}

/// What an honest receiver would sign.
async fn true_records(far: &mut DuplexStream) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let mut prefix = [0; PREFIX_LEN];
        far.read_exact(&mut prefix).await.unwrap();
        let mut frame = vec![0; frame_len(prefix).unwrap()];
        far.read_exact(&mut frame).await.unwrap();
        match SenderMessage::parse(&frame).unwrap() {
            SenderMessage::Identify { transfer, key } => {
                assert_eq!((transfer, key), (TRANSFER, sender_keys().own()));
            }
            SenderMessage::File(file) => records.push(Record {
                arrival: Arrival::Delivered,
                transfer: TRANSFER,
                entry: file.entry,
                size: file.size,
                hash: [0; 32],
                modified: file.modified.into(),
                delivered: Moment::new(7, 7).unwrap(),
                path: file.path.into(),
                final_name: file.path.into(),
            }),
            SenderMessage::FileEnd { hash } => records.last_mut().unwrap().hash = hash,
            SenderMessage::End => return records,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_sender_that_asks_for_no_receipts_gets_none_and_is_logged() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(Journal::in_memory().unwrap());
    let inbox = Inbox::open(&dir.path().join("in"), "in", Arc::clone(&journal)).unwrap();
    let inbox = Arc::new(inbox.with_keys(receiver_keys()));
    let (far, mut near) = support::by_hand(BUFFER);
    let file = tieline_transfer::protocol::FileOffer {
        entry: 0,
        stamp: tieline_transfer::Stamp::from_bytes([0; 16]),
        size: 1,
        mode: 0o644,
        modified: tieline_transfer::protocol::FileTime { seconds: 0, nanoseconds: 0 },
        path: b"a",
    };
    let hash = *blake3::hash(b"x").as_bytes();
    let messages = [
        support::hello(1, 1),
        SenderMessage::File(file),
        SenderMessage::Data(b"x"),
        SenderMessage::FileEnd { hash },
        SenderMessage::End,
    ];
    near.write_all(&frames(messages)).await.unwrap();
    let (received, answers) = tokio::join!(receive(far, &inbox, None, Arc::new(())), async {
        let mut answers = Vec::new();
        while let Some(answer) = support::answer(&mut near).await {
            answers.push(answer);
        }
        answers
    });
    assert!(received.unwrap().is_complete());
    let delivered = ReceiverMessage::Verdict { entry: 0, verdict: Verdict::Delivered { copy: 1 } };
    assert_eq!(answers, [ReceiverMessage::Welcome { version: VERSION }, delivered, ReceiverMessage::Done]);
    assert_eq!(groups(&journal), []);
    let links = log(&journal);
    assert_eq!(links.len(), 1);
    assert_eq!((links[0].entry.event, links[0].entry.receipt), (Event::Delivered, None));
}
