use super::*;

const PACKET: [u8; 24] =
    [0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 7, 10, 2, 0, 9, b'w', b'h', b'o', b'l'];
const ESTABLISH: Establish = Establish { serial: 0x0102_4506, timestamp_step: 160, identification_step: 1 };
const ESTABLISH_OCTETS: [u8; 8] = [1, 2, 0x45, 6, 0, 160, 0, 1];

fn plain(payload: &[u8]) -> Coded<'_> {
    Coded {
        number: ReferenceNumber::of(ESTABLISH.serial),
        distance: 7,
        kind: None,
        timestamp: None,
        identification: None,
        has_length: false,
        establish: None,
        payload,
    }
}

fn full(payload: &[u8]) -> Coded<'_> {
    Coded {
        kind: Some(0x88),
        timestamp: Some(0x0a0b_0c0d),
        identification: Some(0x1234),
        has_length: true,
        establish: Some(ESTABLISH),
        ..plain(payload)
    }
}

fn emitted(entry: Entry<'_>) -> Vec<u8> {
    let mut out = [0xa5; 9000];
    let len = entry.emit(&mut out).unwrap();
    assert!(out[len..].iter().all(|octet| *octet == 0xa5));
    out[..len].to_vec()
}

fn parsed(bytes: &[u8], payload_len: u16) -> Result<(Entry<'_>, &[u8]), EntryError> {
    Entry::parse(bytes, |_| Some(payload_len))
}

#[test]
fn what_goes_as_expected_takes_three_octets() {
    let octets = [0x05, 0x06, 7, b'v', b'o', b'x'];
    assert_eq!(emitted(Entry::Coded(plain(b"vox"))), octets);
    let (entry, rest) = parsed(&octets, 2).unwrap();
    assert_eq!((entry, rest), (Entry::Coded(plain(b"vo")), &b"x"[..]));
}

#[test]
fn what_is_changed_stands_there_in_order() {
    let octets =
        [&[0x7d, 0x06, 7, 0x1f, 0x88, 0x0a, 0x0b, 0x0c, 0x0d, 0x12, 0x34, 3][..], &ESTABLISH_OCTETS, b"vox"]
            .concat();
    assert_eq!(emitted(Entry::Coded(full(b"vox"))), octets);
    assert_eq!(parsed(&octets, 160), Ok((Entry::Coded(full(b"vox")), &[][..])));
}

#[test]
fn fields_have_a_place_in_the_head_unless_they_are_all_or_establish() {
    let some = Entry::Coded(Coded { identification: Some(0xbeef), has_length: true, ..plain(b"vox") });
    let octets = [0x65, 0x06, 7, 0xbe, 0xef, 3, b'v', b'o', b'x'];
    assert_eq!(emitted(some), octets);
    assert_eq!(parsed(&octets, 160), Ok((some, &[][..])));
    let all = emitted(Entry::Coded(Coded { establish: None, ..full(b"vox") }));
    assert_eq!(all[..4], [0x7d, 0x06, 7, 0x0f]);
    let establishes = emitted(Entry::Coded(Coded { establish: Some(ESTABLISH), ..plain(b"vox") }));
    assert_eq!(establishes, [&[0x7d, 0x06, 7, 0x10][..], &ESTABLISH_OCTETS, b"vox"].concat());
}

#[test]
fn a_bundle_reads_as_the_document_says() {
    let bundle =
        [1, 0x05, 0x06, 7, b'v', b'o', b'x', 0x15, 0x06, 8, 0x0a, 0x0b, 0x0c, 0x0d, b'v', b'o', b'x'];
    assert_eq!(Window::of(0x0600), Window(bundle[0]));
    assert!(Window(bundle[0]).contains(0x0506));
    let (first, rest) = parsed(&bundle[1..], 3).unwrap();
    assert_eq!(first, Entry::Coded(plain(b"vox")));
    let second = Coded { distance: 8, timestamp: Some(0x0a0b_0c0d), ..plain(b"vox") };
    assert_eq!(parsed(rest, 3), Ok((Entry::Coded(second), &[][..])));
}

#[test]
fn a_window_and_a_number_tell_a_serial_number() {
    for next in [0, 1, 1023, 1024, 5000, 262_143, 262_144, u32::MAX] {
        let window = Window::of(next);
        assert_eq!(window.0, (next / 1024 % 256) as u8);
        let first = (next / 1024).saturating_sub(1) * 1024;
        assert!(window.contains(next) && window.contains(first), "{next}");
        assert!(!window.contains(next.wrapping_add(1024)), "{next}");
        assert!(first == 0 || !window.contains(first - 1), "{next}");
        assert!(window.contains(next.wrapping_add(Window::DISTINCT)));
    }
}

#[test]
fn whole_packets_bring_their_own_length() {
    for (establish, head) in
        [(None, vec![0x80]), (Some(ESTABLISH), [&[0xc0][..], &ESTABLISH_OCTETS].concat())]
    {
        let entry = Entry::Whole { establish, packet: &PACKET };
        let octets = [&head[..], &PACKET].concat();
        assert_eq!(emitted(entry), octets);
        let with_more = [&octets[..], b"next"].concat();
        assert_eq!(parsed(&with_more, 0), Ok((entry, &b"next"[..])));
    }
    assert_eq!(
        emitted(Entry::Whole { establish: None, packet: &PACKET }).len(),
        PACKET.len() + WHOLE_OVERHEAD
    );
}

#[test]
fn every_length_and_every_set_of_fields_round_trips() {
    let payload = [0x5a; PAYLOAD_LEN_MAX + 1];
    for len in [0, 1, 0xdf, 0xe0, 0xe1, 0xff, 0x100, 1400, PAYLOAD_LEN_MAX] {
        for fields in 0..0x20 {
            let has = |field: Fields| Fields(fields).contains(field);
            let coded = full(&payload[..len]);
            let coded = Coded {
                kind: coded.kind.filter(|_| has(Fields::KIND)),
                timestamp: coded.timestamp.filter(|_| has(Fields::TIMESTAMP)),
                identification: coded.identification.filter(|_| has(Fields::IDENTIFICATION)),
                has_length: has(Fields::LENGTH),
                establish: coded.establish.filter(|_| has(Fields::ESTABLISHES)),
                ..coded
            };
            let octets = emitted(Entry::Coded(coded));
            assert_eq!(parsed(&octets, len as u16), Ok((Entry::Coded(coded), &[][..])));
        }
    }
    let too_long = Entry::Coded(full(&payload));
    assert_eq!(too_long.emit(&mut [0; 9000]), None);
}

#[test]
fn what_does_not_fit_is_not_written() {
    for entry in [Entry::Whole { establish: Some(ESTABLISH), packet: &PACKET }, Entry::Coded(full(b"vox"))] {
        let len = emitted(entry).len();
        for room in 0..len {
            assert_eq!(entry.emit(&mut vec![0; room]), None, "{room}");
        }
    }
}

#[test]
fn entries_that_are_cut_short_are_refused() {
    for entry in [Entry::Whole { establish: Some(ESTABLISH), packet: &PACKET }, Entry::Coded(full(b"vox"))] {
        let octets = emitted(entry);
        for len in 0..octets.len() {
            let result = parsed(&octets[..len], 160);
            assert!(matches!(result, Err(EntryError::Malformed(ParseError::Truncated { .. }))), "{len}");
        }
    }
    // The second octet of a length, and the payload that a reference promises.
    for octets in [&[0x40, 5, 7, 0xe0][..], &[0, 5, 7, 1, 2]] {
        assert!(matches!(parsed(octets, 3), Err(EntryError::Malformed(ParseError::Truncated { .. }))));
    }
}

#[test]
fn reserved_bits_and_what_is_no_packet_are_refused() {
    let whole = emitted(Entry::Whole { establish: Some(ESTABLISH), packet: &PACKET });
    let coded = emitted(Entry::Coded(full(b"vox")));
    let refused = |octets: &[u8], at: usize, value: u8| {
        let mut octets = octets.to_vec();
        octets[at] = value;
        let result = parsed(&octets, 160);
        assert!(matches!(result, Err(EntryError::Malformed(ParseError::Field { .. }))), "{at}: {result:?}");
    };
    (0..6).for_each(|bit| refused(&whole, 0, 0xc0 | 1 << bit));
    refused(&whole, 9, 0x55);
    (5..8).for_each(|bit| refused(&coded, 3, 1 << bit));
}

#[test]
fn a_reference_that_is_not_here_is_named() {
    let octets = [0x07, 0xff, 0, 1, 2];
    let number = ReferenceNumber::of(u32::MAX);
    let result = Entry::parse(&octets, |asked| {
        assert_eq!(asked, number);
        None
    });
    assert_eq!(result, Err(EntryError::UnknownReference(number)));
    assert_eq!(number.value(), 0x7ff);
}
