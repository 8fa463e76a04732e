//! What is sent, and what first: files that are cancelled, and files that go before others.

#[path = "program/mod.rs"]
mod program;

use std::fs;
use std::path::Path;

use program::Office;
use program::ends::{End, line, noise, wait_for};

/// Such that a megabyte takes a tenth of a second.
const RATE: &str = "\n[transfer]\npolicy = \"fixed\"\nrate = \"80 Mbit/s\"\n";
/// A file that takes some seconds at [`RATE`].
const LARGE: usize = 40 << 20;

fn slow(_: &Office) -> String {
    RATE.to_owned()
}

fn cancel(end: &End, paths: &[&str]) -> serde_json::Value {
    let told = end.succeed(&[&["cancel", "line", "--json"], paths].concat());
    serde_json::from_str(&told).expect("JSON")
}

#[test]
fn what_waits_and_is_cancelled_is_never_sent_whatever_is_restarted_but_another_version_of_it_is() {
    let (mut near, mut far) = line(slow, slow);
    far.kill();
    near.wait_until_up();
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["report", "tree/a", "tree/b", "other"] {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, name).expect("written");
    }
    for name in ["report", "tree"] {
        near.send(&folder.path().join(name));
    }
    fs::write(near.kept("outbox/by-hand"), "by hand").expect("written");
    wait_for("they wait", || near.figure("waiting-files") == Some(4));

    let done = cancel(&near, &["report", "tree/", "by-hand"]);
    assert_eq!((&done["files"], &done["staying"]), (&4.into(), &1.into()), "{done}");
    assert!(!near.kept("outbox/report").exists() && !near.kept("outbox/tree").exists());
    assert!(near.kept("outbox/by-hand").exists(), "it is nobody's copy");
    wait_for("nothing waits", || near.figure("waiting-files") == Some(0));
    for path in ["report", "by-hand", "nothing"] {
        let told = near.office.run(&["cancel", "line", path]);
        assert_eq!(told.status, 1, "{path} twice: {}", told.out);
        assert!(told.out.contains("nothing of this name waits"), "{}", told.out);
    }
    near.kill();
    near.start();
    far.start();
    near.send(&folder.path().join("other"));
    wait_for("what follows arrives", || far.kept("inbox/other").exists());
    for path in ["report", "tree/a", "tree/b", "by-hand"] {
        assert_eq!(near.fates(path), ["cancelled"], "{path}");
        assert!(far.fates(path).is_empty() && !far.kept("inbox").join(path).exists(), "{path}");
    }
    fs::write(near.kept("outbox/by-hand"), "another version").expect("written");
    wait_for("it is sent", || far.kept("inbox/by-hand").exists());
    wait_for("it is receipted", || near.fates("by-hand") == ["cancelled", "delivered"]);
    assert!(near.succeed(&["receipts", "line", "--verify"]).contains("sound"));
}

#[test]
fn a_file_that_is_cancelled_on_its_way_leaves_nothing_at_either_end() {
    let (near, far) = line(slow, slow);
    near.wait_until_up();
    let folder = tempfile::tempdir().expect("a folder");
    for (name, len) in [("large", LARGE), ("small", 1000)] {
        fs::write(folder.path().join(name), noise(len)).expect("written");
    }
    near.send(&folder.path().join("large"));
    wait_for("a quarter of it is sent", || {
        near.figure("moved-bytes").is_some_and(|moved| moved >= LARGE as u64 / 4)
    });
    assert_eq!(cancel(&near, &["large"])["files"], 1);
    near.send(&folder.path().join("small"));
    wait_for("what follows arrives", || far.kept("inbox/small").exists());
    wait_for("the far end has heard", || far.fates("large") == ["cancelled"]);
    wait_for("nothing is left of it", || far.unfinished().is_empty());
    assert_eq!(near.fates("large"), ["cancelled"]);
    assert!(!near.kept("outbox/large").exists() && !far.kept("inbox/large").exists());
    wait_for("nothing waits", || near.figure("waiting-files") == Some(0));
    let moved = near.figure("moved-bytes").expect("it answers");
    assert!(moved < LARGE as u64, "all of it was sent");
}

#[test]
fn what_has_a_greater_priority_goes_before_what_waits_already() {
    const FILES: usize = 60;
    let pair = |folder: &Path, name: &str, priority: u8| {
        let outbox = folder.join(name).display().to_string();
        format!(
            "\n[[files]]\nname = \"{name}\"\noutbox = \"{outbox}\"\npriority = {priority}\nsettle = \"0s\"\n"
        )
    };
    let folders = tempfile::tempdir().expect("a folder");
    let config = |_: &Office| pair(folders.path(), "low", 2) + &pair(folders.path(), "high", 8) + RATE;
    let (near, far) = line(config, slow);
    near.wait_until_up();
    let put = |name: &str, len: usize| {
        let (staged, target) = (folders.path().join("staged"), folders.path().join(name));
        // Else the far end would have the content already.
        fs::write(&staged, [name.as_bytes(), &noise(len)].concat()).expect("written");
        fs::rename(staged, target).expect("put");
    };
    for number in 0..FILES {
        put(&format!("low/{number:02}"), 1 << 20);
    }
    let arrived = || far.log().into_iter().map(|(_, path)| path).collect::<Vec<_>>();
    wait_for("some have arrived", || arrived().len() >= 5);
    wait_for("the limit is named", || near.outbox("low").is_some_and(|outbox| outbox["limit"] == "cap"));
    put("high/urgent", 1 << 20);
    let urgent = folders.path().join("first");
    fs::write(&urgent, "before all others").expect("written");
    near.succeed(&["send", "line", "--first", urgent.to_str().expect("a name")]);
    wait_for("all have arrived", || arrived().len() == FILES + 2);
    let arrived = arrived();
    for name in ["urgent", "first"] {
        let place = arrived.iter().position(|path| path.ends_with(name)).expect("it arrived");
        assert!(place < FILES - 10, "{name} came as number {place}: {arrived:?}");
    }
    let outbox = near.outbox("high").expect("it answers");
    assert_eq!(outbox["priority"], 8);
}
