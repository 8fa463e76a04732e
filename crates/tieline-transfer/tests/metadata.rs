//! What files keep besides their content, as the two ends are configured.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, getxattr, setxattr, statat, utimensat};
use rustix::io::Errno;
use support::{BUFFER, Offices, frames, hello, noise, order, order_into};
use tieline_transfer::metadata::{Carry, Keep, Owner};
use tieline_transfer::protocol::{FileOffer, FileTime, FolderOffer, SenderMessage, Violation};
use tieline_transfer::{
    Fate, Fault, Journal, Obstacle, Outcome, Plan, ReceiveError, Received, RelativePath, Skip, Stamp,
    receive, send,
};
use tokio::io::{AsyncWriteExt, duplex};

/// Two offices of which the receiving one keeps that.
fn offices(keep: Keep) -> Offices {
    let Offices { dir, inbox } = Offices::new();
    let inbox = Arc::new(Arc::into_inner(inbox).unwrap().with_keep(keep));
    Offices { dir, inbox }
}

fn set_time(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[tokio::test]
async fn a_file_whose_time_or_mode_is_not_kept_gets_that_of_its_arrival_and_a_plain_one() {
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    for (times, modes) in [(true, true), (true, false), (false, true), (false, false)] {
        let offices = offices(Keep { times, modes, ..Keep::default() });
        let before = SystemTime::now() - Duration::from_secs(1);
        for (name, size) in [("small", 10), ("large", 2_000_000)] {
            let path = offices.write(&format!("folder/{name}"), noise(1, size));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
            set_time(&path, then);
        }
        fs::set_permissions(offices.out("folder"), fs::Permissions::from_mode(0o700)).unwrap();
        set_time(&offices.out("folder"), then);
        offices.deliver(&[offices.out("folder")]).await;
        for (name, kept, plain) in
            [("folder", 0o700, 0o755), ("folder/small", 0o750, 0o644), ("folder/large", 0o750, 0o644)]
        {
            let meta = fs::metadata(offices.inside(name)).unwrap();
            let modified = meta.modified().unwrap();
            assert_eq!(modified == then, times, "{name}");
            assert_eq!(modified > before, !times, "{name}");
            // What others may do with a new folder is also up to whoever runs this.
            let mask = if name == "folder" { 0o700 } else { 0o7777 };
            assert_eq!(meta.mode() & mask, if modes { kept } else { plain } & mask, "{name}");
        }
    }
}

#[tokio::test]
async fn case_30_times_of_folders_are_given_back_when_all_is_in_them() {
    let offices = offices(Keep::default());
    let folders = ["tree", "tree/a", "tree/a/b", "tree/empty"];
    fs::create_dir_all(offices.out("tree/empty")).unwrap();
    offices.write("tree/a/b/large", noise(1, 3_000_000));
    (0..300).for_each(|number| drop(offices.write(&format!("tree/a/{number}"), "x")));
    let time_of = |number: u64| UNIX_EPOCH + Duration::new(1_000_000_000 + number, 77);
    let set = |from: u64| {
        for (number, folder) in (from..).zip(folders) {
            set_time(&offices.out(folder), time_of(number));
        }
    };
    set(0);
    offices.deliver(&[offices.out("tree")]).await;
    let times = || folders.map(|folder| fs::metadata(offices.inside(folder)).unwrap().modified().unwrap());
    assert_eq!(times(), [0, 1, 2, 3].map(time_of));
    offices.write("tree/a/more", "x");
    set(10);
    offices.deliver(&[offices.out("tree")]).await;
    assert_eq!(times(), [10, 11, 12, 13].map(time_of), "of folders that were there, too");
}

/// Sends all of `folder` with that, and returns what became of it.
async fn send_all(offices: &Offices, folder: &str, carry: Carry) -> Outcome {
    let plan = Plan::scan_with(&[offices.out(folder)], carry, &()).unwrap();
    let (near, far) = duplex(BUFFER);
    let (sent, received) =
        tokio::join!(send(near, order(plan), Arc::new(())), receive(far, &offices.inbox, None, Arc::new(())));
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert_eq!(sent.totals.delivered, received.totals.delivered);
    assert!(sent.interruption.is_none() && received.interruption.is_none());
    sent
}

const LINKS: Carry = Carry { links: true, owner: Owner::None, xattrs: false };

fn with_links() -> Keep {
    Keep { links: true, ..Keep::default() }
}

#[tokio::test]
async fn case_30_links_arrive_as_the_text_they_are_wherever_they_lead() {
    let offices = offices(with_links());
    offices.write("tree/file", "content");
    let long = "x/".repeat(2000);
    let targets = [
        ("inside", "file"),
        ("dangling", "nowhere"),
        ("absolute", "/etc/passwd"),
        ("out", "../../../../etc/shadow"),
        ("itself", "itself"),
        ("folder", "/"),
        ("odd", "a\nb\u{1b}[1m"),
        ("long", &long),
    ];
    for (name, target) in targets {
        symlink(target, offices.out("tree").join(name)).unwrap();
    }
    let then = UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, offices.out("tree/dangling"), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let outcome = send_all(&offices, "tree", LINKS).await;
    assert!(outcome.is_complete(), "{outcome:?}");
    for (name, target) in targets {
        let arrived = offices.inside("tree").join(name);
        assert_eq!(fs::read_link(&arrived).unwrap().as_os_str(), target, "{name}");
    }
    let dangling = fs::symlink_metadata(offices.inside("tree/dangling")).unwrap();
    assert_eq!(dangling.modified().unwrap(), then);
    let again = send_all(&offices, "tree", LINKS).await;
    assert_eq!(again.totals.already_there.files, 9, "{again:?}");
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn a_link_whose_name_is_taken_gets_a_number_and_follows_nothing() {
    let offices = offices(with_links());
    fs::create_dir(offices.out("tree")).unwrap();
    fs::create_dir(offices.inside("tree")).unwrap();
    let elsewhere = offices.write("elsewhere/file", "untouched");
    symlink("new", offices.out("tree/a")).unwrap();
    symlink("old", offices.inside("tree/a")).unwrap();
    symlink("new", offices.out("tree/b")).unwrap();
    fs::write(offices.inside("tree/b"), "new").unwrap();
    // A file never goes through a link of its name, nor a link through a folder that is one.
    offices.write("tree/c", "content");
    symlink(&elsewhere, offices.inside("tree/c")).unwrap();
    fs::create_dir(offices.out("tree/d")).unwrap();
    symlink("x", offices.out("tree/d/link")).unwrap();
    symlink(elsewhere.parent().unwrap(), offices.inside("tree/d")).unwrap();
    let outcome = send_all(&offices, "tree", LINKS).await;
    let fates: Vec<_> = outcome.entries.iter().map(|entry| entry.fate).collect();
    let (second, there) = (Fate::Delivered { copy: 2 }, Fate::AlreadyThere { copy: 1 });
    let linked = Fate::Failed(Fault::Receiver(Obstacle::Link));
    assert_eq!(fates, [there, second, second, second, linked, linked]);
    for name in ["a (2)", "b (2)"] {
        assert_eq!(fs::read_link(offices.inside("tree").join(name)).unwrap().as_os_str(), "new");
    }
    assert_eq!(fs::read_link(offices.inside("tree/a")).unwrap().as_os_str(), "old");
    assert_eq!(fs::read_dir(elsewhere.parent().unwrap()).unwrap().count(), 1);
    offices.assert_nothing_unfinished();
}

#[tokio::test]
async fn links_are_sent_and_taken_only_where_both_ends_say_so() {
    for (sent, taken) in [(false, true), (true, false)] {
        let offices = offices(Keep { links: taken, ..Keep::default() });
        fs::create_dir(offices.out("tree")).unwrap();
        symlink("x", offices.out("tree/link")).unwrap();
        let outcome = send_all(&offices, "tree", Carry { links: sent, ..Carry::default() }).await;
        let expected = if sent { Fate::Refused(Obstacle::LinksRefused) } else { Fate::Skipped(Skip::Link) };
        assert_eq!(outcome.entries[1].fate, expected);
        assert!(offices.inside("tree/link").symlink_metadata().is_err());
    }
}

#[tokio::test]
async fn a_link_has_a_receipt_for_its_text_and_files_of_an_outbox_may_be_links() {
    let offices = offices(with_links());
    symlink("target", offices.out("link")).unwrap();
    offices.write("file", "x");
    let path = |name: &str| RelativePath::parse(name.as_bytes()).unwrap();
    let plan = Plan::of_files(offices.out(""), vec![(path("link"), 6), (path("file"), 1)]).with_carry(LINKS);
    let journal = Arc::new(Journal::in_memory().unwrap());
    let (near, far) = duplex(BUFFER);
    let (sent, _) = tokio::join!(
        send(near, order_into(plan, Arc::clone(&journal)), Arc::new(())),
        receive(far, &offices.inbox, None, Arc::new(()))
    );
    assert!(sent.unwrap().is_complete());
    let delivered = journal.delivered("out", &path("link")).unwrap().unwrap();
    assert_eq!((delivered.size, delivered.hash), (6, *blake3::hash(b"target").as_bytes()));
    assert_eq!(
        delivered.stamp,
        Stamp::of(&statat(CWD, offices.out("link"), AtFlags::SYMLINK_NOFOLLOW).unwrap())
    );
    let groups = journal.kept_groups(0).unwrap();
    assert!(!groups.is_empty());
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    match setxattr(path, name, value, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => false, // This file system has none.
        set => set.map(|()| true).unwrap(),
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    let len = getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// An access control list: the owner may read and write, user 1234 too, all others all that is in `others`.
fn list(others: u8) -> Vec<u8> {
    const EVERYBODY: [u8; 4] = [0xff; 4];
    let entry = |tag: u8, rights: u8, number: [u8; 4]| [&[tag, 0, rights, 0][..], &number].concat();
    [
        vec![2, 0, 0, 0],
        entry(1, 6, EVERYBODY),
        entry(2, 6, 1234_u32.to_le_bytes()),
        entry(4, 4, EVERYBODY),
        entry(0x10, 6, EVERYBODY),
        entry(0x20, others, EVERYBODY),
    ]
    .concat()
}

#[tokio::test]
async fn case_30_extended_attributes_and_lists_arrive_where_both_ends_say_so() {
    for (sent, taken, modes) in
        [(true, true, true), (true, true, false), (true, false, true), (false, true, true)]
    {
        let offices = offices(Keep { xattrs: taken, modes, ..Keep::default() });
        for (name, size) in [("tree/small", 10), ("tree/large", 2_000_000)] {
            let path = offices.write(name, noise(1, size));
            if !set_xattr(&path, "user.note", b"octets \xff\0") {
                return;
            }
            set_xattr(&path, "user.empty", b"");
            set_xattr(&path, "system.posix_acl_access", &list(7));
        }
        set_xattr(&offices.out("tree"), "user.of-folder", b"x");
        let outcome = send_all(&offices, "tree", Carry { xattrs: sent, ..Carry::default() }).await;
        assert!(outcome.is_complete());
        let both = sent && taken;
        for name in ["tree/small", "tree/large"] {
            let path = offices.inside(name);
            assert_eq!(xattr(&path, "user.note"), both.then(|| b"octets \xff\0".to_vec()), "{name}");
            assert_eq!(xattr(&path, "user.empty"), both.then(Vec::new), "{name}");
            let expected = (both && modes).then(|| list(5));
            assert_eq!(xattr(&path, "system.posix_acl_access"), expected, "{name}");
        }
        assert_eq!(xattr(&offices.inside("tree"), "user.of-folder"), both.then(|| b"x".to_vec()));
    }
}

#[tokio::test]
async fn case_30_owners_arrive_by_number_and_by_name_as_far_as_they_may_be_given() {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    // Who is not root can give his files to nobody but himself.
    let (given_user, given_group) =
        if user.is_root() { (54_321, 12_345) } else { (user.as_raw(), group.as_raw()) };
    let name_of = |number| nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(number)).unwrap();
    for owner in [Owner::Number, Owner::Name, Owner::None] {
        let offices = offices(Keep { owner, ..Keep::default() });
        for (name, size) in [("tree/small", 10), ("tree/large", 2_000_000)] {
            let path = offices.write(name, noise(1, size));
            chown(path, Some(given_user), Some(given_group)).unwrap();
        }
        let outcome = send_all(&offices, "tree", Carry { owner, ..Carry::default() }).await;
        assert!(outcome.is_complete());
        // Nobody has these numbers, so they have no names.
        let is_given = owner == Owner::Number || (owner == Owner::Name && name_of(given_user).is_some());
        for name in ["tree/small", "tree/large"] {
            let meta = fs::metadata(offices.inside(name)).unwrap();
            let expected = if is_given { given_user } else { user.as_raw() };
            assert_eq!(meta.uid(), expected, "{owner:?} {name}");
            if owner == Owner::Number {
                assert_eq!(meta.gid(), given_group);
            }
        }
    }
}

#[tokio::test]
async fn an_owner_that_is_unknown_or_may_not_be_given_is_no_reason_not_to_deliver() {
    for (items, owner) in [
        (&b"\x05\0\x0cno such user\x06\0\x0dno such group"[..], Owner::Name),
        (b"\x03\0\x04\0\0\0\x09", Owner::Name),
        (b"\x05\0\x04root", Owner::Number),
        (b"\x05\0\x04root", Owner::None),
        (b"\x03\0\x04\xff\xff\xff\xfe\x04\0\x04\xff\xff\xff\xfe", Owner::Number),
    ] {
        let offices = offices(Keep { owner, ..Keep::default() });
        let received = attack(&offices, with_items(items)).await.unwrap();
        assert!(received.is_complete(), "{received:?}");
        assert_eq!(fs::read(offices.inside("f")).unwrap(), b"x");
    }
}

#[tokio::test]
async fn case_25_bits_and_attributes_that_give_rights_do_not_arrive() {
    let offices = offices(Keep { xattrs: true, ..Keep::default() });
    let capability = [&b"\x01\0\0\x02\xff\xff\xff\xff"[..], &[0; 12]].concat();
    let mut items = Vec::new();
    for (name, value) in [
        (&b"security.capability"[..], &capability[..]),
        (b"security.selinux", b"x"),
        (b"trusted.x", b"x"),
        (b"user.fine", b"yes"),
    ] {
        let len = u16::try_from(1 + name.len() + value.len()).unwrap();
        items.push(7);
        items.extend(len.to_be_bytes());
        items.push(u8::try_from(name.len()).unwrap());
        items.extend_from_slice(name);
        items.extend_from_slice(value);
    }
    let received = attack(&offices, with_items(&items)).await.unwrap();
    assert!(received.is_complete(), "{received:?}");
    let path = offices.inside("f");
    for name in ["security.capability", "security.selinux", "trusted.x"] {
        assert_eq!(xattr(&path, name), None, "{name}");
    }
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o755, "offered as 7777");
    if set_xattr(&path, "user.other", b"") {
        assert_eq!(xattr(&path, "user.fine"), Some(b"yes".to_vec()));
    }
}

#[tokio::test]
async fn attributes_that_are_none_or_without_their_offer_are_a_violation() {
    let violation = Violation::Attributes(0);
    let attributes = |entry, items| SenderMessage::Attributes { entry, items };
    for messages in [
        with_items(b"\x05"),
        with_items(b"\x03\0\x04\xff\xff\xff\xff"),
        vec![attributes(0, b""), attributes(0, b"")],
        vec![attributes(0, b""), SenderMessage::Folder(FolderOffer { entry: 1, mode: 0o755, path: b"a" })],
    ] {
        let offices = offices(Keep::default());
        let received = attack(&offices, messages).await.unwrap();
        let found = received.interruption.unwrap();
        assert!(matches!(found, ReceiveError::Violation(found) if found == violation), "{found:?}");
        assert_eq!(offices.arrived().len(), 0);
    }
}

/// A small file of which that is told.
fn with_items(items: &[u8]) -> Vec<SenderMessage<'_>> {
    let (stamp, modified) = (Stamp::from_bytes([7; 16]), FileTime { seconds: 0, nanoseconds: 0 });
    vec![
        SenderMessage::Attributes { entry: 0, items },
        SenderMessage::File(FileOffer { entry: 0, stamp, size: 1, mode: 0o7777, modified, path: b"f" }),
        SenderMessage::Data(b"x"),
        SenderMessage::FileEnd { hash: *blake3::hash(b"x").as_bytes() },
        SenderMessage::End,
    ]
}

/// Sends whatever it is told to, and returns what the receiver made of it.
async fn attack(offices: &Offices, messages: Vec<SenderMessage<'_>>) -> Result<Received, ReceiveError> {
    let (far, mut near) = support::by_hand(16 * 1024 * 1024);
    near.write_all(&frames(std::iter::once(hello(10, 0)).chain(messages))).await.unwrap();
    near.shutdown().await.unwrap();
    receive(far, &offices.inbox, None, Arc::new(())).await
}
