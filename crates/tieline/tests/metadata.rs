//! What files of a pair of folders keep besides their content, from one confined process to the other.

#[path = "program/mod.rs"]
mod program;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, chown, symlink};
use std::path::Path;

use program::Office;
use program::ends::{line, wait_for};
use rustix::fs::{XattrFlags, getxattr, setxattr};

const MIB: u64 = 1 << 20;

fn pair(folder: &Path, way: &str) -> String {
    let path = folder.join(way).display().to_string();
    format!(
        "\n[[files]]\nname = \"pair\"\n{way} = \"{path}\"\nlinks = \"text\"\nowner = \"number\"\nxattrs = true\n"
    )
}

#[test]
fn case_30_links_owners_attributes_and_holes_of_an_outbox_arrive_at_a_confined_end() {
    let folders = tempfile::tempdir().expect("a folder");
    let near_config = |_: &Office| pair(folders.path(), "outbox");
    let far_config = |_: &Office| pair(folders.path(), "inbox");
    let (near, far) = line(near_config, far_config);
    near.wait_until_up();

    let staged = folders.path().join("staged");
    fs::create_dir(&staged).expect("made");
    symlink("../nowhere", staged.join("link")).expect("made");
    let file = File::create(staged.join("file")).expect("made");
    file.write_all_at(b"x", 50 * MIB).expect("written");
    file.set_len(100 * MIB).expect("longer");
    let has_xattrs = setxattr(staged.join("file"), "user.note", b"kept", XattrFlags::empty()).is_ok();
    // Who is not root can give his files to nobody but himself.
    let is_root = rustix::process::geteuid().is_root();
    let (user, group) = if is_root {
        (12_345, 54_321)
    } else {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    };
    chown(staged.join("file"), Some(user), Some(group)).expect("given");
    fs::rename(&staged, folders.path().join("outbox/put")).expect("put");

    let inside = |name: &str| folders.path().join("inbox/put").join(name);
    wait_for("the link arrives", || inside("link").symlink_metadata().is_ok());
    wait_for("the file arrives", || inside("file").exists());
    assert_eq!(fs::read_link(inside("link")).expect("a link").as_os_str(), "../nowhere");
    let arrived = fs::metadata(inside("file")).expect("it is there");
    assert_eq!((arrived.uid(), arrived.gid(), arrived.len()), (user, group, 100 * MIB));
    let sent = fs::metadata(folders.path().join("outbox/sent/put/file"));
    if sent.is_ok_and(|sent| sent.blocks() * 512 < 50 * MIB) {
        assert!(arrived.blocks() * 512 < 50 * MIB, "its holes take room");
    }
    if has_xattrs {
        let mut value = [0; 4];
        assert_eq!(getxattr(inside("file"), "user.note", &mut value), Ok(4));
        assert_eq!(value, *b"kept");
    }
    wait_for("both are receipted", || {
        near.log().iter().filter(|(event, _)| event == "delivered").count() == 2
    });
    assert!(far.succeed(&["receipts", "line", "--verify"]).contains("sound"));
}
