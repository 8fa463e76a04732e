use std::os::fd::AsFd;

use super::*;

const IN_TURN: Mark = Mark { is_first: false };

fn office() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let outbox = dir.path().join("outbox");
    fs::create_dir(&outbox).unwrap();
    fs::create_dir_all(dir.path().join("tree/below")).unwrap();
    fs::write(dir.path().join("tree/below/file"), "in a tree").unwrap();
    fs::write(dir.path().join("single"), "alone").unwrap();
    (dir, outbox)
}

fn put_all(dir: &Path, outbox: &Path, to: Option<&str>) -> Spooled {
    let plan = Plan::scan(&[dir.join("tree"), dir.join("single")], &()).unwrap();
    let to = to.map(|to| RelativePath::parse(to.as_bytes()).unwrap());
    put(&plan, outbox, to.as_ref(), IN_TURN, &()).unwrap()
}

fn names(spooled: &Spooled) -> Vec<String> {
    spooled.names.iter().map(ToString::to_string).collect()
}

#[test]
fn files_and_trees_are_in_the_outbox_and_the_originals_where_they_were() {
    let (dir, outbox) = office();
    let spooled = put_all(dir.path(), &outbox, None);
    assert_eq!(
        (names(&spooled), spooled.files, spooled.bytes),
        (vec!["tree".into(), "single".into()], 2, 14)
    );
    assert_eq!(fs::read_to_string(outbox.join("tree/below/file")).unwrap(), "in a tree");
    assert_eq!(fs::read_to_string(outbox.join("single")).unwrap(), "alone");
    assert!(dir.path().join("single").exists());
    assert_eq!(fs::read_dir(outbox.join(PARTIAL_FOLDER)).unwrap().count(), 0);
}

#[test]
fn times_and_permissions_come_along() {
    let (dir, outbox) = office();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_007);
    let file = File::options().write(true).open(dir.path().join("single")).unwrap();
    file.set_modified(time).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    put_all(dir.path(), &outbox, None);
    let copy = fs::metadata(outbox.join("single")).unwrap();
    assert_eq!((copy.modified().unwrap(), copy.mode() & 0o7777), (time, 0o640));
}

#[test]
fn a_name_that_waits_already_gets_a_number_and_nothing_is_replaced() {
    let (dir, outbox) = office();
    put_all(dir.path(), &outbox, Some("to/there"));
    fs::write(dir.path().join("single"), "another").unwrap();
    let spooled = put_all(dir.path(), &outbox, Some("to/there"));
    assert_eq!(names(&spooled), ["to/there/tree (2)", "to/there/single (2)"]);
    assert_eq!(fs::read_to_string(outbox.join("to/there/single")).unwrap(), "alone");
    assert_eq!(fs::read_to_string(outbox.join("to/there/single (2)")).unwrap(), "another");
}

#[test]
fn what_cannot_be_read_is_reported_and_the_rest_is_there() {
    let (dir, outbox) = office();
    let plan = Plan::scan(&[dir.path().join("missing"), dir.path().join("single")], &()).unwrap();
    let spooled = put(&plan, &outbox, None, IN_TURN, &()).unwrap();
    assert_eq!(names(&spooled), ["single"]);
    assert_eq!(spooled.left_out.len(), 1);
    fs::remove_file(dir.path().join("tree/below/file")).unwrap();
    let plan = Plan::scan(&[dir.path().join("tree"), dir.path().join("single")], &()).unwrap();
    fs::remove_file(dir.path().join("single")).unwrap();
    let spooled = put(&plan, &outbox, None, IN_TURN, &()).unwrap();
    assert_eq!((names(&spooled), spooled.left_out.len()), (vec!["tree".into()], 1));
}

#[test]
fn what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not() {
    let (dir, outbox) = office();
    let all = outbox.join(PARTIAL_FOLDER);
    for name in ["put-1", "put-2"] {
        fs::create_dir_all(all.join(name).join("0")).unwrap();
    }
    let _held = lock(&all.join("put-2")).unwrap();
    put_all(dir.path(), &outbox, None);
    assert!(!all.join("put-1").exists());
    assert!(all.join("put-2").exists());
}

#[test]
fn a_copy_is_told_from_a_file_that_was_put_there_by_hand() {
    let (dir, outbox) = office();
    let plan = Plan::scan(&[dir.path().join("tree")], &()).unwrap();
    for is_first in [false, true] {
        let spooled = put(&plan, &outbox, None, Mark { is_first }, &()).unwrap();
        assert!(spooled.has_marks, "the folder of the tests is on a file system without marks");
        let root = File::open(&outbox).unwrap();
        let file = spooled.names[0].join(&RelativePath::parse(b"below/file").unwrap()).unwrap();
        assert_eq!(Mark::of(root.as_fd(), &file), Some(Mark { is_first }));
    }
    fs::write(outbox.join("by-hand"), "x").unwrap();
    let root = File::open(&outbox).unwrap();
    for name in ["by-hand", "nothing", "tree"] {
        assert_eq!(Mark::of(root.as_fd(), &RelativePath::parse(name.as_bytes()).unwrap()), None, "{name}");
    }
}

#[test]
fn an_outbox_that_is_not_there_is_named() {
    let (dir, _) = office();
    let plan = Plan::scan(&[dir.path().join("single")], &()).unwrap();
    let error = put(&plan, &dir.path().join("nowhere"), None, IN_TURN, &()).unwrap_err().to_string();
    assert!(error.contains("nowhere cannot be written to"), "{error}");
}
