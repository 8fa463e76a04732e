//! Any list of messages against a plain model of a receiver: what is answered, what is in the inbox afterwards, and nothing else.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use support::{Offices, Tree, answer, frames, hello};
use tieline_transfer::path::copy_name;
use tieline_transfer::protocol::{
    FileOffer, FileTime, FolderOffer, ReceiverMessage, SenderMessage, Verdict, Violation,
};
use tieline_transfer::{Obstacle, ReceiveError, RelativePath, Stamp, receive};
use tokio::io::AsyncWriteExt;

const ANNOUNCED: u64 = 40;
/// Names that get into each other's way, and some that nobody may have.
const NAMES: [&str; 9] = ["a", "b", "a/a", "a/b", "a/b/c", "b.txt", "../a", ".tieline-partial/0", "c\n"];
const CONTENTS: [&[u8]; 4] = [b"", b"x", b"y", b"xy"];

/// What a sender may do; `skip` leaves entry numbers out.
#[derive(Clone, Debug)]
enum Action {
    Folder { name: usize, skip: u64 },
    File { name: usize, content: usize, skip: u64, flaw: Flaw },
    Stray(usize),
    Later,
}

/// What may be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    Hash,
    Short,
    Long,
    Abandoned,
    NumberAgain,
}

fn any_action() -> impl Strategy<Value = Action> {
    let flaw = prop_oneof![
        12 => Just(Flaw::None), 1 => Just(Flaw::Hash), 1 => Just(Flaw::Short), 1 => Just(Flaw::Abandoned)
    ];
    let fatal = prop_oneof![Just(Flaw::Long), Just(Flaw::NumberAgain)];
    let file = |flaw: BoxedStrategy<Flaw>| {
        (0..NAMES.len(), 0..CONTENTS.len(), 0..2_u64, flaw)
            .prop_map(|(name, content, skip, flaw)| Action::File { name, content, skip, flaw })
    };
    prop_oneof![
        12 => file(flaw.boxed()),
        1 => file(fatal.boxed()),
        4 => (0..NAMES.len(), 0..2_u64).prop_map(|(name, skip)| Action::Folder { name, skip }),
        1 => Just(Action::Later),
        1 => (0..3_usize).prop_map(Action::Stray),
    ]
}

/// The receiver as the documents describe it, on a map instead of a disk.
#[derive(Default)]
struct Model {
    inbox: Tree,
    verdicts: BTreeMap<u64, Verdict>,
    violation: Option<Violation>,
}

impl Model {
    fn make_folder(&mut self, path: &RelativePath) -> Result<bool, Verdict> {
        let mut created = false;
        let mut so_far: Vec<u8> = Vec::new();
        for component in path.components() {
            if !so_far.is_empty() {
                so_far.push(b'/');
            }
            so_far.extend(component);
            match self.inbox.get(&so_far) {
                Some(Some(_)) => return Err(Verdict::Failed(Obstacle::InTheWay)),
                Some(None) => created = false,
                None => {
                    self.inbox.insert(so_far.clone(), None);
                    created = true;
                }
            }
        }
        Ok(created)
    }

    fn folder(&mut self, entry: u64, name: &str) {
        let verdict = match RelativePath::parse(name.as_bytes()) {
            Err(fault) => Verdict::Refused(fault.into()),
            Ok(path) => match self.make_folder(&path) {
                Ok(true) => Verdict::Delivered { copy: 1 },
                Ok(false) => Verdict::AlreadyThere { copy: 1 },
                Err(verdict) => verdict,
            },
        };
        self.verdicts.insert(entry, verdict);
    }

    fn file(&mut self, entry: u64, name: &str, content: &[u8]) {
        let verdict = self.place(name, content).unwrap_or_else(|verdict| verdict);
        self.verdicts.insert(entry, verdict);
    }

    fn place(&mut self, name: &str, content: &[u8]) -> Result<Verdict, Verdict> {
        let path = RelativePath::parse(name.as_bytes()).map_err(|fault| Verdict::Refused(fault.into()))?;
        let (folder, name) = path.split_last();
        if let Some(folder) = &folder {
            self.make_folder(folder)?;
        }
        for copy in 1.. {
            let name = copy_name(name, copy);
            let at = match &folder {
                Some(folder) => [folder.as_bytes(), b"/", &name].concat(),
                None => name,
            };
            match self.inbox.get(&at) {
                Some(Some(there)) if there == content => return Ok(Verdict::AlreadyThere { copy }),
                Some(_) => {}
                None => {
                    self.inbox.insert(at, Some(content.to_vec()));
                    return Ok(Verdict::Delivered { copy });
                }
            }
        }
        unreachable!("there are not so many")
    }
}

/// The messages of the actions, and what a receiver makes of them.
fn play(actions: &[Action]) -> (Vec<u8>, Model) {
    let mut model = Model::default();
    let mut messages = vec![hello(ANNOUNCED, 0)];
    let mut next = 0;
    for action in actions {
        match *action {
            Action::Later => messages.push(SenderMessage::Unknown(0xaa)),
            Action::Stray(which) => {
                let stray =
                    [SenderMessage::Data(b"x"), SenderMessage::FileEnd { hash: [0; 32] }, hello(1, 1)][which];
                messages.push(stray);
                model.violation = Some(Violation::OutOfPlace(stray.kind()));
            }
            Action::Folder { name, skip } => {
                let entry = next + skip;
                next = entry + 1;
                messages.push(SenderMessage::Folder(FolderOffer {
                    entry,
                    mode: 0o755,
                    path: NAMES[name].as_bytes(),
                }));
                if entry >= ANNOUNCED {
                    model.violation = Some(Violation::Entry { entry, announced: ANNOUNCED });
                } else {
                    model.folder(entry, NAMES[name]);
                }
            }
            Action::File { name, content, skip, flaw } => {
                let number_again = flaw == Flaw::NumberAgain && next > 0;
                let entry = if number_again { next - 1 } else { next + skip };
                next = entry + 1;
                file(&mut messages, &mut model, (entry, number_again), NAMES[name], CONTENTS[content], flaw);
            }
        }
        if model.violation.is_some() {
            return (frames(messages), model);
        }
    }
    messages.push(SenderMessage::End);
    (frames(messages), model)
}

fn file<'a>(
    messages: &mut Vec<SenderMessage<'a>>,
    model: &mut Model,
    (entry, number_again): (u64, bool),
    name: &'a str,
    content: &'a [u8],
    flaw: Flaw,
) {
    let size = content.len() as u64 + u64::from(flaw == Flaw::Short);
    let modified = FileTime { seconds: 0, nanoseconds: 0 };
    messages.push(SenderMessage::File(FileOffer {
        entry,
        stamp: Stamp::from_bytes([0; 16]),
        size,
        mode: 0o644,
        modified,
        path: name.as_bytes(),
    }));
    if number_again || entry >= ANNOUNCED {
        model.violation = Some(Violation::Entry { entry, announced: ANNOUNCED });
        return;
    }
    messages.extend(content.chunks(1).map(SenderMessage::Data));
    let refused = RelativePath::parse(name.as_bytes()).err().map(|fault| Verdict::Refused(fault.into()));
    if let Some(verdict) = refused {
        model.verdicts.insert(entry, verdict);
    }
    let fail = |model: &mut Model, obstacle| {
        model.verdicts.insert(entry, refused.unwrap_or(Verdict::Failed(obstacle)));
    };
    match flaw {
        Flaw::Long => {
            messages.push(SenderMessage::Data(b"z"));
            model.violation = Some(Violation::BeyondSize(entry));
            return;
        }
        Flaw::Abandoned => return messages.push(SenderMessage::Abandon { code: 1 }),
        Flaw::Hash => fail(model, Obstacle::HashMismatch),
        Flaw::Short => fail(model, Obstacle::TooShort),
        Flaw::None | Flaw::NumberAgain => model.file(entry, name, content),
    }
    let hash = if flaw == Flaw::Hash { [1; 32] } else { *blake3::hash(content).as_bytes() };
    messages.push(SenderMessage::FileEnd { hash });
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_receiver_does_what_the_model_does(
        actions in prop::collection::vec(any_action(), 0..30),
        buffer in 1..2000_usize,
    ) {
        let (octets, model) = play(&actions);
        let offices = Offices::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (answers, received) = runtime.block_on(async {
            let (far, near) = support::by_hand(buffer);
            let (mut reader, mut writer) = tokio::io::split(near);
            let talk = async {
                let _ = writer.write_all(&octets).await;
                let _ = writer.shutdown().await;
            };
            let listen = async {
                let mut answers = Vec::new();
                while let Some(answer) = answer(&mut reader).await {
                    answers.push(answer);
                }
                answers
            };
            let receiving = receive(far, &offices.inbox, None, Arc::new(()));
            let everything = async { tokio::join!(talk, listen, receiving) };
            let ((), answers, received) =
                tokio::time::timeout(Duration::from_secs(60), everything).await.expect("nobody hangs");
            (answers, received.unwrap())
        });
        let mut verdicts = BTreeMap::new();
        for answer in &answers {
            if let ReceiverMessage::Verdict { entry, verdict } = answer {
                prop_assert_eq!(verdicts.insert(*entry, *verdict), None, "two verdicts on one entry");
            }
        }
        prop_assert_eq!(verdicts, model.verdicts);
        match model.violation {
            None => {
                prop_assert!(received.interruption.is_none());
                prop_assert_eq!(answers.last(), Some(&ReceiverMessage::Done));
            }
            Some(expected) => {
                let told = received.interruption;
                prop_assert!(matches!(&told, Some(ReceiveError::Violation(found)) if *found == expected), "{:?}", told);
                prop_assert!(matches!(answers.last(), Some(ReceiverMessage::Stop(_))));
            }
        }
        offices.assert_nothing_unfinished();
        prop_assert_eq!(offices.arrived(), model.inbox);
    }
}
