//! The program as a person or a script meets it: the subcommands that make and read files and bring nothing up.

#[path = "program/mod.rs"]
mod program;

use std::os::unix::fs::PermissionsExt;

use program::{Office, run, skip_without};

const WG_QUICK: &str = "[Interface]
PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
ListenPort = 51820
Address = 10.99.0.1/24
DNS = 10.1.0.53
PostUp = touch NEVER
[Peer]
PublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
AllowedIPs = 10.99.0.2/32, 10.2.0.0/24, 0.0.0.0/0
Endpoint = office.example:51820
";

#[test]
fn new_makes_two_files_and_an_invitation_that_join_takes() {
    let (berlin, oslo) = (Office::new(), Office::new());
    let made = berlin.json(&[
        "new",
        "line",
        "--no-up",
        "--offer",
        "10.1.0.0/24",
        "--address",
        "office.example:51820",
        "--json",
    ]);
    assert_eq!(made["line"], "line");
    assert_eq!(made["addresses"], serde_json::json!(["office.example:51820"]));
    assert_eq!(made["offers"], serde_json::json!(["10.1.0.0/24"]));
    assert_eq!(made["only-private-addresses"], false);
    assert_eq!(berlin.files(), ["line.key", "line.toml"]);
    assert_eq!(berlin.mode("line.key"), 0o600);

    let invitation = made["invitation"].as_str().expect("an invitation");
    let joined = oslo.json(&["join", invitation, "--offer", "10.2.0.0/24", "--no-up", "--json"]);
    assert_eq!(joined["line"], "line", "the name that the invitation suggests");
    assert_eq!(joined["peer-public-key"], made["public-key"]);
    assert_eq!(joined["addresses"], made["addresses"]);
    assert_eq!(oslo.files(), ["line.key", "line.toml"]);
    assert_eq!(oslo.mode("line.key"), 0o600);
    let config = oslo.read("line.toml");
    assert!(config.contains(made["public-key"].as_str().expect("a key")), "{config}");
    assert!(config.contains("\noffer = [\"10.2.0.0/24\"]\n"), "{config}");
}

#[test]
fn new_tells_a_person_what_to_do_next() {
    let office = Office::new();
    let told = office.run(&["new", "berlin", "--no-up", "--listen", "127.0.0.1:4500"]);
    assert_eq!(told.status, 0, "{}", told.err);
    for expected in [
        "The line berlin is made.",
        "dialled at     127.0.0.1:4500",
        "\ntieline1-",
        "tieline up berlin",
        "tieline join INVITATION",
    ] {
        assert!(told.out.contains(expected), "{expected}: {}", told.out);
    }
    assert!(told.out.contains("let your router"), "a loopback address is a private one: {}", told.out);
    assert!(
        told.out.lines().filter(|row| !row.starts_with("tieline1-")).all(|row| row.len() <= 120),
        "{}",
        told.out
    );
}

#[test]
fn new_and_join_never_write_over_a_line() {
    let office = Office::new();
    let made = office.json(&["new", "berlin", "--no-up", "--address", "192.0.2.1:1", "--json"]);
    let before = (office.read("berlin.toml"), office.read("berlin.key"));
    let invitation = made["invitation"].as_str().expect("an invitation");
    for again in
        [vec!["new", "berlin", "--no-up", "--address", "192.0.2.1:1"], vec!["join", invitation, "--no-up"]]
    {
        let told = office.run(&again);
        assert_eq!(told.status, 2, "{again:?}");
        assert!(told.err.contains("there is a line berlin already"), "{}", told.err);
        assert_eq!((office.read("berlin.toml"), office.read("berlin.key")), before);
    }
    std::fs::remove_file(office.config().join("berlin.key")).expect("the operator removes one of the two");
    let told = office.run(&["new", "berlin", "--no-up", "--address", "192.0.2.1:1"]);
    assert_eq!(told.status, 2);
    assert!(told.err.contains("berlin.toml exists"), "{}", told.err);
    assert_eq!(office.files(), ["berlin.toml"], "half a line is not left behind");
}

#[test]
fn both_ends_can_be_made_in_one_folder_under_two_names_and_listen_apart() {
    let office = Office::new();
    let made = office.json(&["new", "berlin", "--no-up", "--address", "192.0.2.1:1", "--json"]);
    let invitation = made["invitation"].as_str().expect("an invitation");
    let joined = office.json(&["join", invitation, "--name", "oslo", "--no-up", "--json"]);
    assert_ne!(made["listen"], joined["listen"], "two lines cannot listen on one port");
    let second = office.json(&["new", "rome", "--no-up", "--address", "192.0.2.1:1", "--json"]);
    assert_ne!(made["listen"], second["listen"]);
    assert_eq!(office.files().len(), 6);
}

#[test]
fn an_invitation_is_taken_as_mail_brings_it() {
    let berlin = Office::new();
    let made = berlin.json(&["new", "berlin", "--no-up", "--address", "192.0.2.1:1", "--json"]);
    let invitation = made["invitation"].as_str().expect("an invitation");
    let words: Vec<String> =
        invitation.to_lowercase().replace('-', " ").split(' ').map(str::to_owned).collect();
    let mut arguments = vec!["join", "--no-up"];
    arguments.extend(words.iter().map(String::as_str));
    assert_eq!(Office::new().run(&arguments).status, 0, "several words");

    let wrapped =
        invitation.as_bytes().chunks(30).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n> ");
    let told = Office::new().run_with_input(&["join", "--no-up", "-"], format!("> {wrapped}\n").as_bytes());
    assert_eq!(told.status, 0, "quoted and wrapped, on standard input: {}", told.err);
}

#[test]
fn a_typo_in_an_invitation_is_named_and_nothing_is_made() {
    let berlin = Office::new();
    let made = berlin.json(&["new", "berlin", "--no-up", "--address", "192.0.2.1:1", "--json"]);
    let invitation = made["invitation"].as_str().expect("an invitation");
    let mut groups: Vec<String> = invitation.split('-').map(str::to_owned).collect();
    let meant = groups[7].clone();
    let typo = if meant.starts_with('7') { "8" } else { "7" };
    groups[7].replace_range(0..1, typo);
    let office = Office::new();
    let told = office.run(&["join", &groups.join("-")]);
    assert_eq!(told.status, 2);
    assert!(told.err.contains("group 7"), "{}", told.err);
    assert!(told.err.contains(&format!("it is probably {meant}")), "{}", told.err);

    groups.remove(7);
    let told = office.run(&["join", &groups.join("-"), "--json"]);
    assert_eq!(told.status, 2);
    let json: serde_json::Value = serde_json::from_str(&told.out).expect("mistakes are JSON as well");
    assert_eq!(json["error"], "group 7 is missing");
    assert_eq!(office.files(), [""; 0]);
    for nonsense in ["hello", "tieline2-ABCDE", "-"] {
        assert_eq!(office.run(&["join", nonsense]).status, 2, "{nonsense}");
    }
}

#[test]
fn wrong_arguments_are_told_with_status_2_and_nothing_is_made() {
    let office = Office::new();
    let wrong: [(&[&str], &str); 10] = [
        (&["new", "Berlin"], "made of a-z"),
        (&["new", "berlin", "--offer", "10.1.0.5/24"], "has host bits set; write 10.1.0.0/24"),
        (
            &["new", "berlin", "--offer", "10.0.0.0/8", "--offer", "10.1.0.0/16"],
            "--offer 10.1.0.0/16 overlaps --offer 10.0.0.0/8",
        ),
        (&["new", "berlin", "--offer", "10.0.0.0/8", "--offer", "10.0.0.0/8"], "is there twice"),
        (&["new", "berlin", "--address", "office.example"], "write office.example:51820"),
        (&["new", "berlin", "--listen", "51820"], "write [::]:51820"),
        (&["new", "berlin", "--listen", "[::]:0"], "give --listen a port"),
        (&["new", "berlin", "--bare", "--offer", "10.0.0.0/8"], "cannot be used with"),
        (&["new"], "required arguments"),
        (&["nwe"], "unrecognized subcommand"),
    ];
    for (arguments, expected) in wrong {
        let told = office.run(arguments);
        assert_eq!(told.status, 2, "{arguments:?}");
        assert!(told.err.contains(expected), "{arguments:?}: {}", told.err);
        assert_eq!(told.out, "", "{arguments:?}");
    }
    assert_eq!(office.files(), [""; 0]);
}

#[test]
fn a_bare_line_is_made_without_routes() {
    let (berlin, oslo) = (Office::new(), Office::new());
    let made = berlin.json(&["new", "berlin", "--bare", "--no-up", "--address", "192.0.2.1:1", "--json"]);
    assert_eq!(made["routes"], false);
    let joined =
        oslo.json(&["join", made["invitation"].as_str().expect("text"), "--bare", "--no-up", "--json"]);
    assert_eq!(joined["routes"], false);
    for office in [berlin, oslo] {
        assert!(office.read("berlin.toml").contains("\nroutes = false\n"));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let office = Office::new();
    let file = office.config().join("not-a-folder");
    std::fs::create_dir_all(office.config()).expect("a folder");
    std::fs::write(&file, "").expect("a file");
    let told = run(
        &["new", "berlin", "--no-up", "--address", "192.0.2.1:1", "--config-dir", &file.to_string_lossy()],
        &[],
    );
    assert_eq!(told.status, 2);
    assert!(told.err.contains("not-a-folder is not a folder"), "{}", told.err);
}

#[test]
fn import_makes_a_line_of_a_wg_quick_file_and_names_what_it_leaves_out() {
    let office = Office::new();
    let file = office.config().with_file_name("WG0.conf");
    let never = office.config().with_file_name("never");
    std::fs::write(&file, WG_QUICK.replace("NEVER", &never.to_string_lossy())).expect("a file");
    let file = file.to_string_lossy().into_owned();
    let told = office.run(&["import", &file]);
    assert_eq!(told.status, 0, "{}", told.err);
    for expected in
        [":5:7: DNS: ", ":6:10: PostUp: ", ":9:41: AllowedIPs: 0.0.0.0/0", "The line wg0 is made of"]
    {
        assert!(told.out.contains(expected), "{expected}: {}", told.out);
    }
    let config = office.read("wg0.toml");
    assert!(config.contains("accept = [\"10.99.0.2/32\", \"10.2.0.0/24\"]"), "{config}");
    assert!(config.contains("address = \"office.example:51820\""), "{config}");
    assert_eq!(office.mode("wg0.key"), 0o600);
    assert!(!never.exists(), "nothing of the file is run");

    let report = office.json(&["import", &file, "--name", "again", "--json"]);
    assert_eq!(report["left-out"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["left-out"][0]["key"], "DNS");
}

#[test]
fn import_refuses_several_peers_and_reports_every_mistake_at_once() {
    let office = Office::new();
    let file = office.config().with_file_name("wg0.conf");
    std::fs::write(
        &file,
        format!("{WG_QUICK}[Peer]\n").replace("ListenPort = 51820", "ListenPort = x\nAdress = y"),
    )
    .expect("a file");
    let told = office.run(&["import", &file.to_string_lossy()]);
    assert_eq!(told.status, 2);
    for expected in [
        "wg0.conf:3:14: ListenPort:",
        "wg0.conf:4:10: Adress: there is no such key; did you mean `Address`?",
        "a line has two ends",
    ] {
        assert!(told.err.contains(expected), "{expected}: {}", told.err);
    }
    assert!(told.err.ends_with("tieline: nothing was changed; mend these mistakes first\n"), "{}", told.err);
    let told = office.run(&["import", &file.to_string_lossy(), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!(json["problems"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["problems"][0]["row"], 3);
    assert_eq!(office.files(), [""; 0]);
}

#[test]
fn keys_are_those_of_wg() {
    if skip_without("wg") {
        return;
    }
    let wg = |arguments: &[&str], input: &[u8]| program::run_other("wg", arguments, input);
    let private = run(&["key", "gen"], &[]).out;
    assert_eq!(run(&["key", "pub"], private.as_bytes()), wg(&["pubkey"], private.as_bytes()));
    let theirs = wg(&["genkey"], &[]).out;
    assert_eq!(run(&["key", "pub"], theirs.as_bytes()), wg(&["pubkey"], theirs.as_bytes()));
    // Any 32 octets are a private key to wg, clamped or not.
    let unclamped = "/////////////////////////////////////////f8=\n";
    assert_eq!(run(&["key", "pub"], unclamped.as_bytes()), wg(&["pubkey"], unclamped.as_bytes()));
    for nonsense in [
        "",
        "abc\n",
        "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBm!=\n",
        "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=x\n",
    ] {
        let told = run(&["key", "pub"], nonsense.as_bytes());
        assert_eq!(told.status, wg(&["pubkey"], nonsense.as_bytes()).status, "{nonsense:?}");
        assert_eq!(told.status, 1);
        assert!(told.err.starts_with("tieline: standard input holds no private key: "), "{}", told.err);
    }
}

#[test]
fn keys_are_fresh_and_of_the_right_shape() {
    for kind in ["gen", "psk"] {
        let keys: Vec<String> = (0..3).map(|_| run(&["key", kind], &[]).out).collect();
        assert!(keys.iter().all(|key| key.len() == 45 && key.ends_with("=\n")), "{kind}: {keys:?}");
        assert!(keys[0] != keys[1] && keys[1] != keys[2], "{kind}");
    }
}

#[test]
fn a_secret_that_goes_into_an_open_file_is_warned_about() {
    let office = Office::new();
    let told = |mode: u32| {
        let file = std::fs::File::create(office.config().with_file_name("key")).expect("a file");
        file.set_permissions(PermissionsExt::from_mode(mode)).expect("ours");
        program::run_into(&["key", "gen"], file)
    };
    assert!(told(0o644).contains("others may read the file"));
    assert_eq!(told(0o600), "");
}

#[test]
fn every_shell_gets_completions_for_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let told = run(&["completions", shell], &[]);
        assert_eq!(told.status, 0, "{shell}");
        for subcommand in ["new", "join", "key", "import", "completions", "man"] {
            assert!(told.out.contains(subcommand), "{shell}: {subcommand}");
        }
    }
    assert_eq!(run(&["completions", "tcsh"], &[]).status, 2);
}

#[test]
fn there_is_a_manual_page_for_every_subcommand() {
    let office = Office::new();
    let folder = office.config().join("man1");
    assert_eq!(run(&["man", "--dir", &folder.to_string_lossy()], &[]).status, 0);
    for page in [
        "tieline.1",
        "tieline-new.1",
        "tieline-join.1",
        "tieline-key.1",
        "tieline-key-gen.1",
        "tieline-import.1",
    ] {
        let text = std::fs::read_to_string(folder.join(page)).expect(page);
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(run(&["man"], &[]).out.contains(".TH tieline 1"));
}

#[test]
fn a_wrong_log_filter_is_told() {
    let told = program::run_with_variable(&["key", "gen"], "TIELINE_LOG", "tieline=loudly=x");
    assert_eq!(told.status, 2);
    assert!(told.err.contains("TIELINE_LOG holds no filter"), "{}", told.err);
}
