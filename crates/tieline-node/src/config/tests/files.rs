//! `[[files]]` and `[transfer]`: every key, every mistake.

use tieline_transfer::SameName;
use tieline_transfer::outbox::rules::IGNORE_DEFAULT;
use tieline_transfer::outbox::{DoneSuffix, NamePattern, Rules, after::After};

use super::super::files::{Expected, Hooks, InboxConfig, Metadata, OutboxConfig, Owner, PAIRS_MAX, Policy};
use super::*;

#[test]
fn a_pair_with_a_folder_alone_has_the_defaults() {
    let config = parse(
        "[[files]]\nname = \"mail\"\noutbox = \"/srv/out\"\n[[files]]\nname = \"b\"\ninbox = \"/srv/in\"",
    )
    .expect("two pairs");
    let [mail, b] = &config.files[..] else { panic!("{:?}", config.files) };
    let outbox = mail.outbox.as_ref().expect("an outbox");
    assert_eq!(outbox.rules, Rules::default());
    assert_eq!(outbox.rules.ignore.len(), IGNORE_DEFAULT.len());
    assert_eq!((outbox.rescan, outbox.after, outbox.priority), (Duration::from_mins(1), After::Move, 5));
    assert_eq!(mail.inbox, None);
    assert_eq!(
        mail.metadata,
        Metadata { owner: Owner::None, times: true, modes: true, xattrs: false, links: false }
    );
    assert_eq!((&mail.expect, &mail.hooks, &mail.webhook), (&vec![], &Hooks::default(), &None));
    assert_eq!(b.outbox, None);
    assert_eq!(b.inbox, Some(InboxConfig { folder: "/srv/in".into(), same_name: SameName::KeepBoth }));
    assert_eq!(config.transfer, no_transfer());
}

#[test]
fn what_files_keep_is_said_at_either_end() {
    for way in ["outbox", "inbox"] {
        let keys = "links = \"text\"\nowner = \"name\"\ntimes = false\nmodes = false\nxattrs = true";
        let text = format!("[[files]]\nname = \"a\"\n{way} = \"/srv/a\"\n{keys}");
        let config = parse(&text).expect("a pair");
        let kept = Metadata { owner: Owner::Name, times: false, modes: false, xattrs: true, links: true };
        assert_eq!(config.files[0].metadata, kept, "{way}");
    }
}

#[test]
fn every_key_of_the_files_is_read() {
    let config = parse(
        r#"
        [[files]]
        name = "Payroll_1"
        outbox = "/srv/out"
        inbox = "/srv/in"
        after = "keep"
        settle = "500ms"
        rescan = "5min"
        ignore = ["*.bak"]
        done-suffix = ".ready"
        priority = 9
        links = "text"
        same-name = "newest"
        owner = "number"
        times = false
        modes = false
        xattrs = true
        expect = [{ name = "payroll*.csv", by = "18:00" }, { name = "*.pdf", by = "7:30" }]
        on-delivered = "/usr/local/bin/delivered"
        on-failed = "mail -s 'it failed' admin"
        on-waiting = "true"
        webhook = "http://127.0.0.1:8080/tieline?line=berlin"
        [transfer]
        policy = "fixed"
        rate = "50 Mbit/s"
        schedule = "22:00-06:00 full, else 30 %"
        "#,
    )
    .expect("all of it is right");
    let pattern = |text: &str| text.parse::<NamePattern>().expect("a pattern");
    let expected = |name, by: &str| Expected { name: pattern(name), by: by.parse().expect("a time") };
    assert_eq!(
        config.files,
        [FilesConfig {
            name: "Payroll_1".parse().expect("a name"),
            outbox: Some(OutboxConfig {
                folder: "/srv/out".into(),
                rules: Rules {
                    settle: Duration::from_millis(500),
                    ignore: vec![pattern("*.bak")],
                    done_suffix: Some(".ready".parse::<DoneSuffix>().expect("an ending")),
                    links: true,
                },
                rescan: Duration::from_mins(5),
                after: After::Keep,
                priority: 9,
            }),
            inbox: Some(InboxConfig { folder: "/srv/in".into(), same_name: SameName::Newest }),
            metadata: Metadata {
                owner: Owner::Number,
                times: false,
                modes: false,
                xattrs: true,
                links: true
            },
            expect: vec![expected("payroll*.csv", "18:00"), expected("*.pdf", "07:30")],
            hooks: Hooks {
                delivered: Some(vec!["/usr/local/bin/delivered".into()]),
                failed: Some(["mail", "-s", "it failed", "admin"].map(Into::into).into()),
                waiting: Some(vec!["true".into()]),
            },
            webhook: Some("http://127.0.0.1:8080/tieline?line=berlin".parse().expect("an address")),
        }]
    );
    assert_eq!(config.transfer.policy, Policy::Fixed);
    assert_eq!(config.transfer.rate.map(|rate| rate.bits_per_second()), Some(50_000_000));
    assert_eq!(
        config.transfer.schedule.map(|schedule| schedule.to_string()).as_deref(),
        Some("22:00-06:00 full, else 30 %")
    );
}

#[test]
fn without_a_suffix_there_are_no_markers_and_without_patterns_nothing_is_ignored() {
    let config = parse(&outbox("done-suffix = \"\"\nignore = []")).expect("right");
    let rules = &config.files[0].outbox.as_ref().expect("an outbox").rules;
    assert_eq!((&rules.done_suffix, &rules.ignore), (&None, &vec![]));
}

#[test]
fn every_mistake_in_the_files_is_reported_with_its_place_and_what_to_do() {
    let many = "[[files]]\n".repeat(PAIRS_MAX + 1);
    let long_suffix = format!("done-suffix = \"{}\"", "x".repeat(33));
    let long_command = format!("on-failed = \"{}\"", "x".repeat(4097));
    let many_patterns = format!("ignore = [{}]", "\"a\",".repeat(65));
    let many_expected = format!("expect = [{}]", "{ name = \"a\", by = \"18:00\" },".repeat(33));
    let mistakes = [
        // Keys and types.
        ("files = 1", "1:9: files:", "type", "must be a list of tables, and is a whole number"),
        ("[files]", "1:1: files:", "type", "must be a list of tables, and is a table"),
        ("files = [1]", "1:10: files[0]:", "type", "must be a table, and is a whole number"),
        (&many, "1:1: files:", "too-many", "has 17 entries, and at most 16 are possible"),
        ("[transfer]\nrates = \"\"", "2:1: transfer.rates:", "unknown-key", "did you mean `rate`?"),
        ("[[file]]\nname = \"a\"", "1:3: file:", "unknown-key", "did you mean `files`?"),
        (&outbox("setle = \"2s\""), "4:1: files[0].setle:", "unknown-key", "did you mean `settle`?"),
        (
            &outbox("expect = [{ name = \"a\", by = \"18:00\", on = 1 }]"),
            "4:39: files[0].expect[0].on:",
            "unknown-key",
            "there are name, by",
        ),
        // What must be there.
        (
            "[[files]]\noutbox = \"/o\"",
            "1:1: files[0].name:",
            "missing",
            "write the name that the pair has at both ends",
        ),
        ("[[files]]\nname = \"a\"", "1:1: files[0]:", "no-folder", "write at least one of them"),
        (
            "[[files]]\nname = \"a\"\nsettle = \"1s\"",
            "1:1: files[0]:",
            "no-folder",
            "write at least one of them",
        ),
        (
            &outbox("expect = [{ name = \"a\" }]"),
            "4:11: files[0].expect[0].by:",
            "missing",
            "such as \"18:00\"",
        ),
        (
            &outbox("expect = [{ by = \"18:00\" }]"),
            "4:11: files[0].expect[0].name:",
            "missing",
            "such as \"payroll*.csv\"",
        ),
        ("transfer.policy = \"fixed\"", "1:1: transfer.rate:", "missing", "write what is paid for"),
        // Names and folders.
        ("[[files]]\nname = \"\"\ninbox = \"/i\"", "2:8: files[0].name:", "pair-name", "1 to 32 letters"),
        ("[[files]]\nname = \"a b\"\ninbox = \"/i\"", "2:8: files[0].name:", "pair-name", "letters, digits"),
        (
            "[[files]]\nname = \"a\"\ninbox = \"/i\"\n[[files]]\nname = \"A\"\ninbox = \"/j\"",
            "5:8: files[1].name:",
            "duplicate",
            "A stands here twice",
        ),
        (
            "[[files]]\nname = \"a\"\noutbox = \"out\"",
            "3:10: files[0].outbox:",
            "relative-path",
            "not an absolute path",
        ),
        (
            "[[files]]\nname = \"a\"\noutbox = \"/srv/a\"\ninbox = \"/srv/a/in\"",
            "4:9: files[0].inbox:",
            "folders-overlap",
            "\"/srv/a/in\" and \"/srv/a\" are not apart",
        ),
        (
            "[[files]]\nname = \"a\"\noutbox = \"/srv/a\"\n[[files]]\nname = \"b\"\noutbox = \"/srv\"",
            "6:10: files[1].outbox:",
            "folders-overlap",
            "\"/srv\" and \"/srv/a\" are not apart",
        ),
        (
            "[[files]]\nname = \"a\"\noutbox = \"/inbox/a\"",
            "3:10: files[0].outbox:",
            "folders-overlap",
            "\"/inbox\"",
        ),
        // Keys of a folder that is not there.
        (&inbox("settle = \"1s\""), "4:10: files[0].settle:", "needs-folder", "without `outbox`"),
        (&inbox("rescan = \"9s\""), "4:10: files[0].rescan:", "needs-folder", "without `outbox`"),
        (&inbox("after = \"keep\""), "4:9: files[0].after:", "needs-folder", "without `outbox`"),
        (&inbox("ignore = []"), "4:10: files[0].ignore:", "needs-folder", "without `outbox`"),
        (&inbox("done-suffix = \"\""), "4:15: files[0].done-suffix:", "needs-folder", "without `outbox`"),
        (&inbox("priority = 3"), "4:12: files[0].priority:", "needs-folder", "without `outbox`"),
        (&outbox("same-name = \"refuse\""), "4:13: files[0].same-name:", "needs-folder", "without `inbox`"),
        // Words.
        (
            &outbox("after = \"delete\""),
            "4:9: files[0].after:",
            "choice",
            "\"move\" or \"keep\" or \"remove\", and is \"delete\"",
        ),
        (&outbox("links = \"follow\""), "4:9: files[0].links:", "choice", "\"skip\" or \"text\""),
        (&outbox("owner = true"), "4:9: files[0].owner:", "type", "a text in quotes"),
        (&outbox("owner = \"root\""), "4:9: files[0].owner:", "choice", "\"none\" or \"name\" or \"number\""),
        (
            &inbox("same-name = \"merge\""),
            "4:13: files[0].same-name:",
            "choice",
            "\"keep-both\" or \"newest\" or \"refuse\"",
        ),
        (
            "[transfer]\npolicy = \"fast\"",
            "2:10: transfer.policy:",
            "choice",
            "\"fair\" or \"fixed\" or \"trickle\"",
        ),
        // Values.
        (
            &outbox("settle = \"2\""),
            "4:10: files[0].settle:",
            "duration",
            "write it as 500ms, 2s, 5min or 1h",
        ),
        (
            &outbox("settle = \"2h\""),
            "4:10: files[0].settle:",
            "duration-range",
            "must be from 0s to 1h, and is 2h",
        ),
        (
            &outbox("rescan = \"0s\""),
            "4:10: files[0].rescan:",
            "duration-range",
            "must be from 1s to 24h, and is 0s",
        ),
        (
            &outbox("ignore = [\"a\", \"*/b\"]"),
            "4:16: files[0].ignore[1]:",
            "pattern",
            "has '/', which no name has",
        ),
        (
            &outbox("priority = 10"),
            "4:12: files[0].priority:",
            "out-of-range",
            "must be from 1 to 9 (the greatest goes first), and is 10",
        ),
        (&outbox("ignore = [\"a\", \"a\"]"), "4:16: files[0].ignore[1]:", "duplicate", "stands here twice"),
        (&outbox(&many_patterns), "4:10: files[0].ignore:", "too-many", "has 65 entries, and at most 64"),
        (
            &outbox(&long_suffix),
            "4:15: files[0].done-suffix:",
            "done-suffix",
            "cannot be the ending of a name",
        ),
        (
            &outbox("expect = [{ name = \"[a]\", by = \"18:00\" }]"),
            "4:20: files[0].expect[0].name:",
            "pattern",
            "`[`",
        ),
        (
            &outbox("expect = [{ name = \"a\", by = \"24:00\" }]"),
            "4:30: files[0].expect[0].by:",
            "time-of-day",
            "18:00",
        ),
        (&outbox(&many_expected), "4:10: files[0].expect:", "too-many", "has 33 entries, and at most 32"),
        (&outbox("on-delivered = \" \""), "4:16: files[0].on-delivered:", "command", "cannot be a command"),
        (&outbox(&long_command), "4:13: files[0].on-failed:", "command", "at most 4096 octets"),
        (&outbox("on-failed = \"a 'b\""), "4:13: files[0].on-failed:", "command", "every quote closed"),
        (&outbox("on-waiting = \"a\\u0000\""), "4:14: files[0].on-waiting:", "command", "without a NUL"),
        (
            &outbox("webhook = \"https://a/\""),
            "4:11: files[0].webhook:",
            "webhook",
            "write it as http://host/path",
        ),
        (
            &outbox("webhook = \"/path\""),
            "4:11: files[0].webhook:",
            "webhook",
            "not an address to be told at",
        ),
        (
            &outbox("webhook = \"http://a b/\""),
            "4:11: files[0].webhook:",
            "webhook",
            "not an address to be told at",
        ),
        ("rate.out = \"6 MB/s\"", "1:12: rate.out:", "rate", "1 MB/s is 8 Mbit/s"),
        ("rate.auto = \"yes\"", "1:13: rate.auto:", "type", "true or false"),
        ("[rate]\nmax = \"6 Mbit/s\"", "2:1: rate.max:", "unknown-key", "out"),
        ("[transfer]\nrate = \"50\"", "2:8: transfer.rate:", "rate", "such as 50 Mbit/s"),
        ("[transfer]\nrate = \"6 MB/s\"", "2:8: transfer.rate:", "rate", "1 MB/s is 8 Mbit/s"),
        (
            "[transfer]\nschedule = \"22:00-06:00 full, else 30 %\"",
            "2:12: transfer.schedule:",
            "share-of-nothing",
            "write `rate` beside it",
        ),
        (
            "[transfer]\nschedule = \"22:00-06:00 full, els 30 %\"",
            "2:12: transfer.schedule:",
            "schedule",
            "at character 19: `els` is no day and no time",
        ),
    ];
    for (text, place, code, sentence) in mistakes {
        let problems = parse(text).expect_err(text);
        let shown = problems.to_string();
        let first = problems.iter().next().expect("at least one");
        assert!(shown.starts_with(&format!("{FILE}:{place}")), "{text:?}: {shown}");
        assert_eq!(first.mistake.code(), code, "{text:?}: {shown}");
        assert!(first.to_string().contains(sentence), "{text:?}: {shown}");
        assert!(!shown.contains('\n'), "{text:?} is one mistake, reported as more: {shown}");
    }
}

#[test]
fn the_mistakes_of_all_pairs_are_reported_together() {
    let first = "[[files]]\nname = \"a\"\noutbox = \"out\"\nafter = \"burn\"\n";
    let second = "[[files]]\nname = \"a/b\"\ninbox = \"/in\"\nsettel = \"1s\"\n";
    let text = &format!("{first}{second}[transfer]\nrate = \"0 bit/s\"");
    let problems = parse(text).expect_err("five mistakes").to_string();
    let starts: Vec<_> =
        problems.lines().map(|row| row.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    let keys = [
        "3:10: files[0].outbox",
        "4:9: files[0].after",
        "6:8: files[1].name",
        "8:1: files[1].settel",
        "10:8: transfer.rate",
    ];
    assert_eq!(starts, keys.map(|key| format!("{FILE}:{key}")));
}

proptest! {
    #[test]
    fn garbage_made_of_the_words_of_files_never_panics(text in WORDS) {
        if let Err(problems) = parse(&text) {
            prop_assert!(problems.iter().count() >= 1);
        }
    }
}

const WORDS: &str = "((\\[\\[files\\]\\]|\\[transfer\\]|files|name|outbox|inbox|settle|expect|by|ignore|rate|schedule|webhook|\\[|\\]|\\{|\\}|=|\\.|,|\"|\n|\"/a\"|\"2s\"|\"18:00\"|\"50 Mbit/s\"|\"http://a\"| ){1,3}){0,60}";

fn outbox(more: &str) -> String {
    format!("[[files]]\nname = \"a\"\noutbox = \"/out\"\n{more}")
}

fn inbox(more: &str) -> String {
    format!("[[files]]\nname = \"a\"\ninbox = \"/in\"\n{more}")
}
