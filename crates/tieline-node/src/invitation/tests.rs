//! What people and mail programs do to an invitation, and what the program says to it.

use proptest::prelude::*;

use super::group::{SYMBOL_VALUES, SYMBOLS, character};
use super::*;

/// Computed by an independent program from the description at the head of the module.
const GOLDEN: [(&str, &[&str], Option<&str>); 3] = [
    (
        "tieline1-3400G-20G38-0G2GV-C1R8A-14505-P30D5-1R7HK-048J6-2CA1D-A5GQM-30CHD-M6RWB-3MF1K-ZW7HB-YBSZT-9XFP8-YZWF4-KYQV7-ZKYZM-XZR1Y-0V56A-SJR0Q-E42G5-0A972-SZC07",
        &["203.0.113.5:51820"],
        None,
    ),
    (
        "tieline1-4000A-20G38-0G2GV-C1R8A-14505-P30D5-1R7HK-048J6-2CA1D-A5GQM-30CHD-M6RWB-3MF1K-ZW7HB-YBSZT-9XFP8-YZWF4-KYQV7-ZKYZM-XZR2R-288S9-88019-1PW0R-0000Q-0000R-0000S-0000T-0184Y-0HQQX-6V3F6-03C3N-3PP9B",
        &["[2001:db8::5]:4500"],
        Some("oslo"),
    ),
    (
        "tieline1-5C00N-20G38-0G2GV-C1R8A-14505-P30D5-1R7HK-048J6-2CA1D-A5GQM-30CHD-M6RWB-3MF1K-ZW7HB-YBSZT-9XFP8-YZWF4-KYQV7-ZKYZM-XZR3T-2356H-RVV65-CSMPD-6S9EK-CNW6C-2VBGP-DHJGF-21PAG-DK5GF-0W859-0891Q-35103-046VE-G000C-00002-00003-00004-0005F-0G36J-4SBJK-DHMP9-XBEQE-1E904",
        &["office.example:51820", "203.0.113.5:51820", "[2001:db8::5]:4500"],
        Some("berlin"),
    ),
];

fn sample() -> Invitation {
    invitation(&["office.example:51820", "203.0.113.5:51820", "[2001:db8::5]:4500"], Some("berlin"))
}

fn invitation(addresses: &[&str], line: Option<&str>) -> Invitation {
    let key = std::array::from_fn(|index| index as u8);
    let secret = std::array::from_fn(|index| 0xf0 + index as u8);
    let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
    let line = line.map(|line| line.parse().expect("a name"));
    Invitation::new(PublicKey::from_bytes(key), InvitationSecret::from_bytes(secret), addresses, line)
        .expect("it fits")
}

fn text() -> String {
    sample().reveal().to_string()
}

/// The groups of the sample, without what stands before them.
fn groups() -> Vec<String> {
    text().split('-').skip(1).map(str::to_owned).collect()
}

fn joined(groups: &[String]) -> String {
    format!("{PREFIX}-{}", groups.join("-"))
}

fn read(text: &str) -> Result<Invitation, InvitationError> {
    text.parse()
}

fn flaws(text: &str) -> Vec<Flaw> {
    match read(text) {
        Err(InvitationError::Damaged(flaws)) => flaws,
        other => panic!("{text:?} is read as {other:?}"),
    }
}

#[test]
fn the_text_is_what_the_description_says() {
    for (text, addresses, line) in GOLDEN {
        let invitation = invitation(addresses, line);
        assert_eq!(invitation.reveal().as_str(), text);
        assert_eq!(read(text), Ok(invitation));
    }
}

#[test]
fn every_wrong_character_is_found_in_its_group_and_the_right_one_is_guessed() {
    let groups = groups();
    for (number, group) in groups.iter().enumerate() {
        for index in 0..SYMBOLS {
            for value in 0..SYMBOL_VALUES {
                let mut changed = group.clone();
                changed.replace_range(index..=index, &character(value).to_string());
                if changed == *group {
                    continue;
                }
                let mut damaged = groups.clone();
                damaged[number].clone_from(&changed);
                let expected =
                    Flaw::Wrong { group: number + 1, text: changed, suggestion: Some(group.clone()) };
                assert_eq!(flaws(&joined(&damaged)), [expected]);
            }
        }
    }
}

#[test]
fn every_strange_character_is_found_in_its_group_and_the_right_one_is_guessed() {
    let groups = groups();
    for (number, group) in groups.iter().enumerate() {
        for index in 0..SYMBOLS {
            let mut damaged = groups.clone();
            damaged[number].replace_range(index..=index, "?");
            let (text, suggestion) = (damaged[number].clone(), Some(group.clone()));
            let expected = Flaw::Character { group: number + 1, text, character: '?', suggestion };
            assert_eq!(flaws(&joined(&damaged)), [expected]);
        }
    }
}

#[test]
fn every_swap_of_neighbouring_characters_is_found_where_it_is() {
    let text: Vec<char> = text().chars().collect();
    let mut found = 0;
    for index in PREFIX.len() + 1..text.len() - 1 {
        let mut swapped = text.clone();
        swapped.swap(index, index + 1);
        if swapped == text {
            continue;
        }
        let swapped: String = swapped.into_iter().collect();
        if text[index] == '-' || text[index + 1] == '-' {
            assert_eq!(read(&swapped), Ok(sample()), "a dash may be anywhere");
            continue;
        }
        let group = (index - PREFIX.len() - 1) / (SYMBOLS + 1) + 1;
        match &flaws(&swapped)[..] {
            [Flaw::Wrong { group: named, suggestion: Some(meant), .. }] => {
                assert_eq!((*named, meant), (group, &groups()[group - 1]));
            }
            other => panic!("{swapped}: {other:?}"),
        }
        found += 1;
    }
    assert!(found > 80, "only {found} swaps were looked at");
}

#[test]
fn every_swap_across_a_border_without_dashes_is_found_in_both_groups() {
    let groups = groups();
    for number in 1..groups.len() {
        let mut damaged = groups.clone();
        let (last, first) = (damaged[number - 1].remove(SYMBOLS - 1), damaged[number].remove(0));
        if last == first {
            continue;
        }
        damaged[number - 1].push(first);
        damaged[number].insert(0, last);
        let named: Vec<usize> =
            flaws(&joined(&damaged).replacen('-', "!", 1).replace('-', " ").replacen('!', "-", 1))
                .iter()
                .map(|flaw| if let Flaw::Wrong { group, .. } = flaw { *group } else { panic!("{flaw:?}") })
                .collect();
        assert_eq!(named, [number, number + 1]);
    }
}

#[test]
fn every_error_in_the_beginning_is_said_to_be_there() {
    let text = text();
    for index in 0..PREFIX.len() {
        for value in b'!'..=b'~' {
            let mut damaged = text.clone();
            damaged.replace_range(index..=index, &char::from(value).to_string());
            match read(&damaged) {
                Ok(invitation) => assert_eq!(invitation, sample(), "a look-alike: {damaged}"),
                Err(InvitationError::Beginning { begins }) => assert!(damaged.starts_with(&begins)),
                Err(InvitationError::Version { version }) => assert_eq!(index, 7, "{version}"),
                Err(other) => panic!("{damaged}: {other:?}"),
            }
        }
    }
    for begins in [
        "",
        "tieline",
        "tieline-7G0K2",
        "hello",
        "http://example/tieline1-7G0K2",
        "tieline0-7G0K2",
        "tieline12345-7G0K2",
    ] {
        assert!(matches!(read(begins), Err(InvitationError::Beginning { .. })), "{begins}");
    }
}

#[test]
fn a_later_version_is_named() {
    for version in [2, 3, 12, 999] {
        let later = text().replacen("tieline1", &format!("tieline{version}"), 1);
        assert_eq!(read(&later), Err(InvitationError::Version { version }));
    }
    let message = read(&text().replacen('1', "2", 1)).expect_err("a later version").to_string();
    assert!(message.contains("has version 2 of the format, and this program knows version 1"), "{message}");
}

#[test]
fn every_lost_group_is_named() {
    let groups = groups();
    let total = groups.len();
    for number in 0..total {
        let mut damaged = groups.clone();
        damaged.remove(number);
        let expected = if number + 1 == total {
            Flaw::Truncated { first: total, total }
        } else {
            Flaw::Missing { first: number + 1, last: number + 1 }
        };
        assert_eq!(flaws(&joined(&damaged)), [expected]);
    }
    let mut damaged = groups.clone();
    damaged.drain(6..9);
    assert_eq!(flaws(&joined(&damaged)), [Flaw::Missing { first: 7, last: 9 }]);
}

#[test]
fn every_doubled_group_is_named() {
    let groups = groups();
    for number in 0..groups.len() {
        let mut damaged = groups.clone();
        damaged.insert(number, groups[number].clone());
        match &flaws(&joined(&damaged))[..] {
            [Flaw::Added { after, text }] => {
                assert!((number..=number + 1).contains(after), "group {number}: after {after}");
                assert_eq!(text, &groups[number]);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_swap_of_two_groups_is_named() {
    let groups = groups();
    for first in 0..groups.len() {
        for second in first + 1..groups.len() {
            let mut damaged = groups.clone();
            damaged.swap(first, second);
            if first % 32 == second % 32 {
                assert_eq!(read(&joined(&damaged)), Err(InvitationError::Checksum));
                continue;
            }
            assert_eq!(flaws(&joined(&damaged)), [Flaw::Swapped { first: first + 1, second: second + 1 }]);
        }
    }
}

#[test]
fn every_truncation_is_named() {
    let text = text();
    for end in PREFIX.len() + 2..text.len() {
        let cut = &text[..end];
        if cut.ends_with('-') {
            continue;
        }
        let (whole, rest) = ((end - PREFIX.len()) / (SYMBOLS + 1), (end - PREFIX.len()) % (SYMBOLS + 1));
        let total = groups().len();
        match &flaws(cut)[..] {
            // Of the first group, which says how many there are, not enough is left.
            _ if whole == 0 => {}
            [Flaw::Truncated { first, total: named }] if rest == 0 => {
                assert_eq!((*first, *named), (whole + 1, total), "{cut}");
            }
            [Flaw::Length { group, .. }] if whole + 1 == total => assert_eq!(*group, total),
            [Flaw::Length { group, .. }, Flaw::Truncated { first, .. }] => {
                assert_eq!((*group, *first), (whole + 1, whole + 2), "{cut}");
            }
            other => panic!("{cut}: {other:?}"),
        }
    }
}

#[test]
fn a_lost_or_doubled_character_is_found_in_its_group() {
    let groups = groups();
    for (number, group) in groups.iter().enumerate() {
        for index in 0..SYMBOLS {
            let mut shorter = groups.clone();
            shorter[number].remove(index);
            let mut longer = groups.clone();
            longer[number].insert(index, group.as_bytes()[index].into());
            for (damaged, found) in [(shorter, SYMBOLS - 1), (longer, SYMBOLS + 1)] {
                let (text, suggestion) = (damaged[number].clone(), Some(group.clone()));
                let expected = Flaw::Length { group: number + 1, text, found, suggestion };
                assert_eq!(flaws(&joined(&damaged)), [expected]);
            }
        }
    }
}

#[test]
fn several_flaws_are_all_named() {
    let mut damaged = groups();
    let other = if damaged[2].starts_with('Z') { "Y" } else { "Z" };
    damaged[2].replace_range(0..1, other);
    damaged[9].push('7');
    damaged.remove(14);
    let message = read(&joined(&damaged)).expect_err("three flaws").to_string();
    assert!(message.starts_with("group 3 \""), "{message}");
    assert!(message.contains("does not check: a character in it is wrong; group 10 \""), "{message}");
    assert!(message.ends_with("has 6 characters and must have 5; group 15 is missing"), "{message}");
}

#[test]
fn a_first_group_that_is_wrong_or_lost_does_not_confuse_the_rest() {
    let groups = groups();
    let mut wrong = groups.clone();
    wrong[0] = "ZZZZZ".into();
    assert!(matches!(&flaws(&joined(&wrong))[..], [Flaw::Wrong { group: 1, .. }]));
    assert_eq!(flaws(&joined(&groups[1..])), [Flaw::Missing { first: 1, last: 1 }]);
}

#[test]
fn without_dashes_a_lost_character_is_found_from_its_group_on() {
    let bare = groups().concat();
    for index in 0..bare.len() {
        let mut damaged = bare.clone();
        damaged.remove(index);
        match &flaws(&format!("{PREFIX}-{damaged}"))[..] {
            [Flaw::Shifted { group }] => {
                let right = index / SYMBOLS + 1;
                // One group in 32 checks by chance.
                assert!((right..=right + 2).contains(group), "{index}: {group}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn groups_of_two_invitations_do_not_mix() {
    let secret = InvitationSecret::from_bytes([1; 16]);
    let other =
        Invitation::new(sample().public_key, secret, sample().addresses, sample().line).expect("it fits");
    let other: Vec<String> = other.reveal().split('-').skip(1).map(str::to_owned).collect();
    let mut mixed = groups();
    mixed[15].clone_from(&other[15]);
    assert_ne!(mixed, groups(), "the secret is in that group");
    assert_eq!(read(&joined(&mixed)), Err(InvitationError::Checksum));
}

#[test]
fn what_mail_and_chat_programs_do_is_undone() {
    let text = text();
    let wrapped_between: String = text
        .split('-')
        .collect::<Vec<_>>()
        .chunks(8)
        .map(|row| row.join("-"))
        .collect::<Vec<_>>()
        .join("-\n");
    let rows: Vec<String> =
        text.as_bytes().chunks(40).map(|row| String::from_utf8_lossy(row).into_owned()).collect();
    let handled = [
        text.to_lowercase(),
        text.to_uppercase(),
        format!("  {text}\r\n"),
        format!("\"{text}\"."),
        format!("<{text}>"),
        format!("> {}", wrapped_between.replace('\n', "\n> ")),
        rows.join("\n"),
        rows.join("\r\n>> "),
        text.replace('-', "\u{2010}"),
        text.replace('-', "\u{2013}"),
        text.replace('-', " - "),
        text.replace('-', " "),
        text.replace('-', "-\u{200b}"),
        text.replacen('-', " ", 1).replace('-', ""),
        text.replacen('-', "~", 1).replace('-', "").replacen('~', "-", 1),
        text.replace("tieline1-", "TieLine 1 - "),
        text.replace("tieline1-", "tie1inel-"),
        text.replace('0', "O").replace('1', "l"),
        text.replace('0', "o").replace('1', "I").replace('V', "U"),
        text.replacen("tieline1-", "tieline1", 1),
    ];
    for handled in handled {
        assert_eq!(read(&handled), Ok(sample()), "{handled}");
    }
}

#[test]
fn more_text_than_an_invitation_has_is_refused_unread() {
    let long = format!("{}{}", text(), "-ABCDE".repeat(2000));
    assert!(matches!(read(&long), Err(InvitationError::TooLong { .. })));
    let many = joined(&vec!["ABCDE".to_owned(); 1000]);
    assert!(matches!(read(&many), Err(InvitationError::Damaged(_))));
    let many_short = joined(&vec!["A".to_owned(); 4000]);
    assert!(read(&many_short).expect_err("nonsense").to_string().len() < 2000, "an error stays readable");
}

#[test]
fn the_longest_invitation_is_written_and_read() {
    let name =
        format!("{}.example:51820", ["abcdefgh.".repeat(6).as_str(); 2].concat().trim_end_matches('.'));
    let longest = invitation(
        &[&name, &name.replace('a', "b"), "[2001:db8::1]:65535", "192.0.2.1:1"],
        Some("abcdefghijklmno"),
    );
    assert_eq!(read(&longest.reveal()), Ok(longest));
    let label = "a".repeat(60);
    let huge: DialAddress = format!("{label}.{label}.{label}.{label}:1").parse().expect("a name");
    let addresses = vec![huge.clone(), huge.clone(), huge];
    let refused = Invitation::new(sample().public_key, sample().secret, addresses, None);
    assert!(matches!(refused, Err(ContentError::TooLarge { max: 637, .. })), "{refused:?}");
}

#[test]
fn the_secret_is_not_in_the_debug_form() {
    let shown = format!("{:?} {:#?}", sample(), sample());
    assert!(
        !shown.contains("240") && !shown.contains("secret") && !shown.contains(&text()[60..90]),
        "{shown}"
    );
}

fn any_invitation() -> impl Strategy<Value = Invitation> {
    let address = prop_oneof![
        (any::<[u8; 4]>(), 1..=u16::MAX)
            .prop_map(|(ip, port)| format!("{}:{port}", std::net::Ipv4Addr::from(ip))),
        (any::<[u8; 16]>(), 1..=u16::MAX)
            .prop_map(|(ip, port)| format!("[{}]:{port}", std::net::Ipv6Addr::from(ip))),
        ("[a-z][a-z0-9-]{0,20}[a-z0-9](\\.[a-z]{2,10}){0,3}", 1..=u16::MAX)
            .prop_map(|(name, port)| format!("{name}:{port}")),
    ];
    let address =
        address.prop_filter_map("some addresses are no hosts", |text| text.parse::<DialAddress>().ok());
    let addresses = proptest::collection::vec(address, 1..=ADDRESSES_MAX);
    let line = proptest::option::of("[a-z][a-z0-9-]{0,14}".prop_map(|name| name.parse().expect("a name")));
    (any::<[u8; 32]>(), any::<[u8; 16]>(), addresses, line).prop_map(|(key, secret, addresses, line)| {
        let secret = InvitationSecret::from_bytes(secret);
        Invitation::new(PublicKey::from_bytes(key), secret, addresses, line).expect("it fits")
    })
}

proptest! {
    #[test]
    fn every_invitation_survives_a_round_trip(invitation in any_invitation()) {
        prop_assert_eq!(read(&invitation.reveal()), Ok(invitation.clone()));
        prop_assert_eq!(read(&invitation.reveal().to_lowercase().replace('-', " ")), Ok(invitation));
    }

    #[test]
    fn garbage_never_panics(text in "\\PC{0,300}|tieline1-([0-9A-Z]{4,6}[- ]?){0,60}") {
        let _ = read(&text);
    }

    #[test]
    fn any_two_changes_are_noticed(first in 0..180_usize, second in 0..180_usize, one in 0..32_u8, other in 0..32_u8) {
        let mut damaged: Vec<char> = text().chars().collect();
        for (index, value) in [(first, one), (second, other)] {
            let index = PREFIX.len() + 1 + index % (damaged.len() - PREFIX.len() - 1);
            if damaged[index] != '-' {
                damaged[index] = character(value);
            }
        }
        let damaged: String = damaged.into_iter().collect();
        prop_assert_eq!(damaged == text(), read(&damaged).is_ok());
    }
}
