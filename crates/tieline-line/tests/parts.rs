//! The three parts of a line one by one, against a far end that has the key and sends whatever the test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ipnet::IpNet;
use tieline_line::accept::AcceptTable;
use tieline_line::control::{OUTGOING_MAX, TIMESTAMP_STEP_UNWRITTEN};
use tieline_line::counters::DropReason;
use tieline_line::greeting::FarEnd;
use tieline_line::liveness::Reachability;
use tieline_line::outbound::{SESSION_NEEDED_INTERVAL, STAGED_PACKETS_MAX, STAGED_TIME_MAX};
use tieline_line::path_mtu::START_PAUSE;
use tieline_line::{
    Config, Control, Delivery, Event, HEADROOM, Inbound, Outbound, Outgoing, Shared, TAILROOM, split,
};
use tieline_seal::{Opened, Peer, PresharedKey, PrivateKey, Suite};
use tieline_wire::associated::{Alert, Hello, Message};
use tieline_wire::label::{Label, LabelStackEntry, MplsTrafficClass};
use tieline_wire::stamp::{NtpTimestamp, SenderPacket};
use tieline_wire::suite::Announcement;
use tieline_wire::time::Now;
use tieline_wire::wireguard::{SessionIndex, TAG_LEN, TransportHeader};

const MTU: usize = 1420;
const CONTROL: LabelStackEntry = LabelStackEntry {
    label: Label::ASSOCIATED,
    class: MplsTrafficClass::CONTROL,
    bottom: true,
    ttl: LabelStackEntry::TTL,
};

#[test]
fn frames_are_taken_under_the_label_that_was_given_out_for_them_and_behind_a_control_word() {
    let mut line = Line::connected();
    assert_eq!(line.shared.labels.give_out().lan, None, "this end has no Ethernet yet");
    line.shared.labels.take_frames();
    let label = line.shared.labels.give_out().lan.unwrap();
    let entry = LabelStackEntry::only(label, MplsTrafficClass::STANDARD);
    let mut packet = labelled(entry, b"\0\0\0\0a frame");
    assert_eq!(line.open(&packet), Given::Lan(b"a frame".to_vec()));
    let whole = line.inbound.handle_whole(&mut packet);
    assert_eq!(whole, Delivery::Lan(&mut b"a frame".to_owned()), "also if it came in pieces");
    for wrong in [&b"\x10\0\0\0a frame"[..], b"\0\0"] {
        assert_eq!(line.open(&labelled(entry, wrong)), Given::Nothing);
    }
    assert_eq!(line.shared.counters.drops(DropReason::MalformedFrame), 2);
}

#[test]
fn packed_packets_are_let_in_by_their_sources_under_labels_that_were_given_out() {
    let mut line = Line::connected();
    let first = line.shared.labels.give_out().packed_calls.unwrap().value();
    let entry = |label| LabelStackEntry::only(Label::new(label).unwrap(), MplsTrafficClass::VOICE);
    let [good, bad] = [[10, 2, 0, 9], [10, 3, 0, 1]].map(|source| ipv4(source, 24));
    let bundle = [&[0, 0x80][..], &good, &[0x80], &bad, &[0x80], &good, &[0x55]].concat();
    for label in first..first + 4 {
        let given = line.open(&labelled(entry(label), &bundle));
        assert_eq!(given, Given::Packed(vec![good.clone(), good.clone()]));
    }
    assert_eq!(line.shared.counters.unpacked_in.read(), (8, 8 * 24));
    assert_eq!(line.shared.counters.drops(DropReason::SourceNotAccepted), 4);
    assert_eq!(line.shared.counters.drops(DropReason::MalformedBundle), 4);
    for label in [first - 1, first + 4] {
        assert_eq!(line.open(&labelled(entry(label), &bundle)), Given::Nothing);
    }
}

#[test]
fn every_reason_to_drop_what_comes_in_has_its_own_count_and_nothing_else_happens() {
    let unknown = LabelStackEntry::only(Label::new(33).unwrap(), MplsTrafficClass::BULK);
    let deep = LabelStackEntry { bottom: false, ..CONTROL };
    let cases = [
        (vec![0x51, 0], DropReason::UnknownNibble),
        (vec![0x45, 0, 0, 99], DropReason::MalformedIp),
        (ipv4([10, 3, 0, 1], 20), DropReason::SourceNotAccepted),
        (vec![0, 0, 0], DropReason::MalformedLabelStack),
        (labelled(deep, &[0; 4]), DropReason::MalformedLabelStack),
        (labelled(unknown, &[1]), DropReason::UnknownLabel),
    ];
    let mut line = Line::connected();
    for (packet, reason) in cases {
        let before = line.drops();
        assert_eq!(line.open(&packet), Given::Nothing, "{reason:?}");
        assert_eq!(difference(before, line.drops()), [(reason, 1)]);
    }
    assert_eq!(line.shared.counters.ip_in.read(), (0, 0));
    assert_eq!(line.shared.counters.labelled_in.read(), (0, 0));
}

#[test]
fn what_comes_in_goes_where_its_nibble_and_label_say_and_is_counted() {
    let mut line = Line::connected();
    let packet = ipv4([10, 2, 0, 1], 21);
    let padded = [packet.clone(), vec![0; 11]].concat();
    assert_eq!(line.open(&padded), Given::Ip(packet), "without its padding");
    let streams = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
    assert_eq!(line.open(&labelled(streams, b"quic")), Given::Streams(b"quic".to_vec()));
    assert_eq!(line.open(&labelled(CONTROL, b"message")), Given::Associated(b"message".to_vec()));
    assert_eq!(line.open(&[]), Given::Nothing, "a keepalive");
    assert_eq!(line.shared.counters.ip_in.read(), (1, 21));
    assert_eq!(line.shared.counters.labelled_in.read(), (2, 11));
    assert_eq!(difference([0; DropReason::ALL.len()], line.drops()), []);
}

#[test]
fn sources_are_let_in_by_the_table_that_was_set_last() {
    let mut line = Line::connected();
    let packet = ipv4([10, 3, 0, 1], 20);
    assert_eq!(line.open(&packet), Given::Nothing);
    line.control.set_accepted(AcceptTable::new(&["10.3.0.0/16".parse::<IpNet>().unwrap()]));
    assert_eq!(line.open(&packet), Given::Ip(packet.clone()));
    assert_eq!(line.open(&ipv4([10, 2, 0, 1], 20)), Given::Nothing);
}

#[test]
fn an_ip_packet_goes_out_padded_and_opens_at_the_far_end() {
    let mut line = Line::connected();
    for len in [20, 32, 33, MTU - 1, MTU] {
        let packet = ipv4([10, 1, 0, 1], len);
        let opened = line.send_ip(&packet).unwrap();
        assert_eq!(opened.len(), len.next_multiple_of(16).min(MTU));
        assert_eq!(opened[..len], packet);
        assert!(opened[len..].iter().all(|octet| *octet == 0), "nothing of the buffer leaks");
    }
    assert_eq!(line.shared.counters.ip_out.read().0, 5);
}

#[test]
fn a_labelled_packet_goes_out_as_it_is() {
    let mut line = Line::connected();
    assert_eq!(line.send_labelled(b"message"), Some(labelled(CONTROL, b"message")));
    assert_eq!(line.shared.counters.labelled_out.read(), (1, 7));
}

#[test]
fn every_reason_not_to_send_has_its_own_count() {
    let mut line = Line::connected();
    let expect = |line: &mut Line, reason, act: &dyn Fn(&mut Line)| {
        let before = line.drops();
        act(line);
        assert_eq!(difference(before, line.drops()), [(reason, 1)]);
    };
    expect(&mut line, DropReason::NotIp, &|line| assert_eq!(line.send_ip(&[0x60; 39]), None));
    expect(&mut line, DropReason::NotIp, &|line| {
        let longer_than_it_says = [ipv4([10, 1, 0, 1], 20), vec![0]].concat();
        assert_eq!(line.send_ip(&longer_than_it_says), None);
    });
    expect(&mut line, DropReason::LinkLocal, &|line| {
        assert_eq!(line.send_ip(&ipv4([169, 254, 0, 1], 20)), None);
    });
    expect(&mut line, DropReason::TooLarge, &|line| {
        assert_eq!(line.send_ip(&ipv4([10, 1, 0, 1], MTU + 1)), None);
    });
    expect(&mut line, DropReason::TooLarge, &|line| {
        assert_eq!(line.send_labelled(&[0; MTU - LabelStackEntry::LEN + 1]), None);
    });

    let mut line = Line::new();
    expect(&mut line, DropReason::NoSession, &|line| assert_eq!(line.send_labelled(b"message"), None));
    for _ in 0..STAGED_PACKETS_MAX {
        line.send_ip(&ipv4([10, 1, 0, 1], 20));
    }
    expect(&mut line, DropReason::StagedQueueFull, &|line| {
        assert_eq!(line.send_ip(&ipv4([10, 1, 0, 1], 20)), None);
    });
}

#[test]
fn a_session_is_asked_for_at_once_and_then_at_its_pace() {
    let mut line = Line::new();
    let mut ask = |after| {
        line.now = line.now.after(after);
        let packet = ipv4([10, 1, 0, 1], 20);
        line.buffer[HEADROOM..HEADROOM + 20].copy_from_slice(&packet);
        line.outbound.seal_ip(line.now.monotonic, &mut line.buffer, 20).session_needed
    };
    assert!(ask(Duration::ZERO));
    assert!(!ask(SESSION_NEEDED_INTERVAL - Duration::from_millis(1)));
    assert!(ask(Duration::from_millis(1)));
}

#[test]
fn staged_packets_leave_in_their_order_once_there_is_a_session_unless_they_are_old() {
    let mut line = Line::new();
    line.send_ip(&ipv4([10, 1, 0, 1], 20));
    line.now = line.now.after(STAGED_TIME_MAX);
    line.send_ip(&ipv4([10, 1, 0, 2], 20));
    line.send_ip(&ipv4([10, 1, 0, 3], 20));
    assert!(line.outbound.poll_staged(line.now.monotonic, &mut line.buffer).is_none(), "no session");
    line.now = line.now.after(Duration::from_millis(1));
    line.connect();
    let sources: Vec<u8> = std::iter::from_fn(|| line.poll_staged()).map(|packet| packet[15]).collect();
    assert_eq!(sources, [2, 3]);
    assert_eq!(line.shared.counters.drops(DropReason::StagedTooLong), 1);
}

#[test]
fn a_hello_is_answered_and_makes_the_far_end_known_and_probed() {
    let mut line = Line::connected();
    line.outgoing();
    line.hear(&Message::Hello(hello(5)));
    let answers = line.outgoing();
    assert!(matches!(answers[..], [Message::Hello(Hello { answer_wanted: false, .. })]), "{answers:?}");
    assert!(matches!(line.control.far_end(), FarEnd::Tieline(Hello { instance: 5, .. })));
    let events = line.events();
    assert!(events.iter().any(|event| matches!(event, Event::FarEnd(FarEnd::Tieline(_)))), "{events:?}");
    line.control.handle_timeout(line.now);
    assert!(line.outgoing().iter().any(|message| matches!(message, Message::StampSender(_))));
    line.hear(&Message::Hello(Hello { answer_wanted: false, ..hello(5) }));
    assert_eq!((line.outgoing(), line.events().len()), (vec![], 0), "the same again is no news");
    line.now = line.now.after(START_PAUSE);
    line.control.handle_timeout(line.now);
    let is_long = |message: &Message| matches!(message, Message::MtuProbe(probe) if usize::from(probe.packet_len) == MTU);
    assert!(line.outgoing().iter().any(is_long), "the path is probed");
}

#[test]
fn a_far_end_without_a_common_version_is_told_as_such() {
    let mut line = Line::connected();
    line.hear(&Message::Hello(Hello { version_min: 9, version_max: 9, ..hello(5) }));
    assert!(matches!(line.control.far_end(), FarEnd::Incompatible(_)));
}

#[test]
fn an_announcement_of_the_far_end_is_answered_with_ours_and_turns_the_cipher() {
    let mut line = Line::with_aes([true, true]);
    line.outgoing();
    assert_eq!(line.cipher_out(), Suite::ChaCha20Poly1305);
    line.hear(&Message::Hello(line.far_hello()));
    assert_eq!(line.cipher_out(), Suite::Aes256Gcm);
    let answers = line.hellos();
    let [Hello { answer_wanted: false, announcement: Some(ours), .. }] = answers[..] else {
        panic!("{answers:?}")
    };
    assert!(line.far.0.handle_announcement(&ours).is_some(), "it names the session that both have");
    let packet = ipv4([10, 1, 0, 1], 32);
    assert_eq!(line.send_ip(&packet), Some(packet), "the far end opens it");
    let packet = ipv4([10, 2, 0, 1], 32);
    assert_eq!(line.open(&packet), Given::Ip(packet), "and this one what the far end seals");
    let session = line.control.session().status(line.now).session.unwrap();
    assert_eq!(session.cipher_in, Some(Suite::Aes256Gcm));
}

#[test]
fn an_end_asks_until_it_is_told_about_the_session_it_asked_about() {
    let mut line = Line::with_aes([true, true]);
    line.control.handle_timeout(line.now);
    let asked = line.hellos();
    assert!(matches!(asked[..], [Hello { answer_wanted: true, announcement: Some(_), .. }]), "{asked:?}");
    let of_another =
        Announcement { announcer: SessionIndex(1), hearer: SessionIndex(2), aes: SessionIndex(3) };
    let late = Hello { announcement: Some(of_another), answer_wanted: false, ..hello(5) };
    line.hear(&Message::Hello(late));
    assert_eq!(line.cipher_out(), Suite::ChaCha20Poly1305);
    line.now = line.now.after(Duration::from_millis(250));
    line.control.handle_timeout(line.now);
    assert_eq!(line.hellos(), asked, "once more");
    line.hear(&Message::Hello(Hello { answer_wanted: false, ..line.far_hello() }));
    assert_eq!(line.cipher_out(), Suite::Aes256Gcm);
    line.now = line.now.after(Duration::from_secs(60));
    line.control.handle_timeout(line.now);
    assert_eq!(line.hellos(), []);
}

#[test]
fn announcements_that_are_repeated_forged_or_for_nobody_change_nothing() {
    let mut line = Line::with_aes([true, true]);
    let announced = line.far_hello();
    line.hear(&Message::Hello(announced));
    let other_index = announced.announcement.map(|told| Announcement { aes: SessionIndex(7), ..told });
    for again in [announced, Hello { announcement: other_index, ..announced }, hello(5)] {
        line.hear(&Message::Hello(again));
        assert_eq!(line.cipher_out(), Suite::Aes256Gcm);
        let packet = ipv4([10, 1, 0, 1], 32);
        assert_eq!(line.send_ip(&packet), Some(packet), "the far end still opens it");
    }

    let mut line = Line::with_aes([false, true]);
    line.outgoing();
    line.hear(&Message::Hello(line.far_hello()));
    assert_eq!(line.cipher_out(), Suite::ChaCha20Poly1305);
    assert!(matches!(line.hellos()[..], [Hello { announcement: None, .. }]), "it has nothing to announce");
}

#[test]
fn what_an_end_of_another_age_announces_is_not_taken() {
    let mut line = Line::with_aes([true, true]);
    line.hear(&Message::Hello(Hello { version_min: 9, version_max: 9, ..line.far_hello() }));
    assert_eq!(line.cipher_out(), Suite::ChaCha20Poly1305);
}

#[test]
fn a_far_end_that_announces_nothing_is_an_answer_and_keeps_the_cipher() {
    let mut line = Line::with_aes([true, false]);
    assert_eq!(line.far_hello().announcement, None);
    line.control.handle_timeout(line.now);
    assert_eq!(line.hellos().len(), 1);
    line.hear(&Message::Hello(Hello { answer_wanted: false, ..line.far_hello() }));
    line.now = line.now.after(Duration::from_secs(60));
    line.control.handle_timeout(line.now);
    assert_eq!(line.hellos(), [], "nothing more is asked");
    assert_eq!(line.cipher_out(), Suite::ChaCha20Poly1305);
}

#[test]
fn a_probe_is_answered_at_its_own_length_up_to_the_mtu() {
    let mut line = Line::connected();
    for len in [0, 100, MTU, MTU + 1] {
        line.outgoing_packets();
        let mut message = Vec::new();
        Message::StampSender(probe(line.now)).emit(&mut message);
        message.resize(message.len().max(len.saturating_sub(LabelStackEntry::LEN)), 0);
        line.control.handle_associated(line.now, line.now, far_address(), &message);
        let lengths: Vec<usize> = line.outgoing_packets().iter().map(Vec::len).collect();
        assert_eq!(lengths, if len <= MTU { vec![message.len()] } else { vec![] }, "a probe of {len} octets");
    }
    assert_eq!(line.shared.counters.drops(DropReason::TooLarge), 1);
}

#[test]
fn alerts_are_told_and_what_is_not_understood_is_counted() {
    let mut line = Line::connected();
    line.events();
    line.hear(&Message::Alert(Alert::Goodbye));
    line.hear(&Message::Alert(Alert::KeyInUseTwice));
    assert!(matches!(line.events()[..], [Event::Goodbye, Event::OurKeyInUseTwice]));
    line.hear(&Message::Alert(Alert::Other(77)));
    line.control.handle_associated(line.now, line.now, far_address(), b"rubbish");
    assert_eq!(line.shared.counters.drops(DropReason::MalformedMessage), 2);
    assert_eq!(line.events().len(), 0);
}

#[test]
fn packets_of_control_are_bounded_and_the_rest_counted() {
    let mut line = Line::connected();
    line.outgoing();
    for _ in 0..OUTGOING_MAX + 3 {
        line.hear(&Message::StampSender(probe(line.now)));
    }
    assert_eq!(line.outgoing().len(), OUTGOING_MAX);
    assert_eq!(line.shared.counters.drops(DropReason::ControlQueueFull), 3);
}

#[test]
fn events_that_nobody_polls_are_bounded_and_the_newest_are_kept() {
    let mut line = Line::connected();
    for _ in 0..1000 {
        line.hear(&Message::Alert(Alert::KeyInUseTwice));
    }
    line.hear(&Message::Alert(Alert::Goodbye));
    let events = line.events();
    assert_eq!(events.len(), 256);
    assert!(matches!(events.last(), Some(Event::Goodbye)));
}

#[test]
fn silence_of_a_tieline_is_told_and_makes_the_handshakes_quick() {
    let mut line = Line::connected();
    line.hear(&Message::Hello(hello(5)));
    assert_eq!(line.control.reachability(), Reachability::Alive);
    let initiations = line.pass(Duration::from_secs(3 + 10));
    assert_eq!(line.control.reachability(), Reachability::Silent);
    // 10 s at 300 ms and up to 50 ms more.
    assert!((28..=34).contains(&initiations), "{initiations} in 10 s of silence");
    let told = line.events();
    assert!(told.iter().any(|event| matches!(event, Event::Reachability(Reachability::Silent))));
}

#[test]
fn a_probe_on_request_is_sent_at_once_and_its_answer_told_by_number() {
    let mut line = Line::connected();
    assert_eq!(line.control.probe(line.now, 0), None, "not known to be a tieline");
    line.hear(&Message::Hello(hello(5)));
    line.outgoing();
    let sequence = line.control.probe(line.now, 0).unwrap();
    let sent = line.outgoing();
    let [Message::StampSender(probe)] = sent[..] else { panic!("{sent:?}") };
    assert_eq!(probe.sequence, sequence);
    let at_far_end = NtpTimestamp::from_wall(line.now.wall);
    let answer = tieline_wire::stamp::ReflectorPacket {
        sequence,
        timestamp: at_far_end,
        received: at_far_end,
        sender: probe,
    };
    line.events();
    line.now = line.now.after(Duration::from_millis(30));
    line.hear(&Message::StampReflector(answer));
    let events = line.events();
    let [Event::Answered { sequence: answered, round_trip }] = events[..] else { panic!("{events:?}") };
    assert_eq!((answered, round_trip), (sequence, Duration::from_millis(30)));
    assert_eq!(line.control.measured().answered, 1);
}

#[test]
fn two_instances_in_turn_are_the_alarm_and_the_far_end_is_told() {
    let mut line = Line::connected();
    line.hear(&Message::Hello(hello(5)));
    line.now = line.now.after(Duration::from_secs(10));
    line.hear(&Message::Hello(hello(6)));
    line.now = line.now.after(Duration::from_secs(10));
    line.events();
    line.outgoing();
    line.hear(&Message::Hello(hello(5)));
    assert!(line.events().iter().any(|event| matches!(event, Event::KeyInUseTwice(_))));
    assert!(line.outgoing().contains(&Message::Alert(Alert::KeyInUseTwice)));
}

#[test]
fn timestamps_are_to_be_written_down_before_the_first_is_sent_and_then_seldom() {
    let mut line = Line::new();
    assert_eq!(line.control.poll_timestamp(line.now), None, "none was used");
    line.control.request_session(line.now);
    let first = line.control.poll_timestamp(line.now).expect("before the first datagram");
    assert_eq!(line.control.session().status(line.now).last_timestamp, Some(first));
    let mut asked = 0;
    for _ in 0..620 {
        line.now = line.now.after(Duration::from_secs(1));
        line.control.request_session(line.now);
        line.control.handle_timeout(line.now);
        asked += usize::from(line.control.poll_timestamp(line.now).is_some());
    }
    assert_eq!(asked, 2, "every {TIMESTAMP_STEP_UNWRITTEN:?}");
}

fn hello(instance: u64) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        answer_wanted: true,
        joins_pieces: true,
        carries_ecn: true,
        answers_mtu_probes: true,
        takes_paths: true,
        instance,
        certificate: [7; 32],
        announcement: None,
    }
}

fn probe(now: Now) -> SenderPacket {
    SenderPacket { sequence: 3, ssid: 0, timestamp: NtpTimestamp::from_wall(now.wall) }
}

fn far_address() -> SocketAddr {
    ([198, 51, 100, 1], 51820).into()
}

fn near_address() -> SocketAddr {
    ([192, 0, 2, 1], 51820).into()
}

fn labelled(entry: LabelStackEntry, payload: &[u8]) -> Vec<u8> {
    let mut octets = [0; LabelStackEntry::LEN];
    entry.emit(&mut octets);
    [&octets, payload].concat()
}

fn ipv4(source: [u8; 4], len: usize) -> Vec<u8> {
    let mut packet = vec![0xee; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).expect("a short packet").to_be_bytes());
    packet[12..16].copy_from_slice(&source);
    packet
}

fn difference(
    before: [u64; DropReason::ALL.len()],
    after: [u64; DropReason::ALL.len()],
) -> Vec<(DropReason, u64)> {
    let counts = before.iter().zip(after).map(|(before, after)| after - before);
    DropReason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
}

/// [`Delivery`] with octets of its own.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    Nothing,
    Ip(Vec<u8>),
    Lan(Vec<u8>),
    Streams(Vec<u8>),
    Associated(Vec<u8>),
    Piece(Vec<u8>),
    Packed(Vec<Vec<u8>>),
    Handshake,
}

/// A line and, at its far end, the bare session layer.
struct Line {
    control: Control,
    outbound: Outbound,
    inbound: Inbound,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    far: (tieline_seal::Control, tieline_seal::Outbound, tieline_seal::Inbound),
    now: Now,
}

impl Line {
    fn new() -> Self {
        Self::of([false, false])
    }

    /// Says which of the two, this end and the far one, has fast AES.
    fn of([near_aes, far_aes]: [bool; 2]) -> Self {
        let now = Now { monotonic: Instant::now(), wall: UNIX_EPOCH + Duration::from_secs(1_800_000_000) };
        let (near_key, far_key) = (PrivateKey::from_bytes([1; 32]), PrivateKey::from_bytes([2; 32]));
        let session = |private_key: &PrivateKey, peer: &PrivateKey, address, fast_aes| tieline_seal::Config {
            private_key: private_key.clone(),
            peer: Peer::Known {
                public_key: peer.public_key(),
                preshared_key: PresharedKey::ZERO,
                proof: None,
            },
            address: Some(address),
            persistent_keepalive: None,
            timestamp_floor: None,
            always_on: false,
            fast_aes,
        };
        let far = tieline_seal::split(session(&far_key, &near_key, near_address(), far_aes), now, [9; 32]);
        let config = Config {
            session: session(&near_key, &far_key, far_address(), near_aes),
            certificate: [4; 32],
            accept: AcceptTable::new(&["10.2.0.0/16".parse::<IpNet>().expect("a network")]),
            mtu: MTU,
        };
        let (control, outbound, inbound, shared) = split(config, now, [8; 32]);
        let buffer = vec![0xa5; HEADROOM + MTU + 100 + TAILROOM];
        Self { control, outbound, inbound, shared, buffer, far, now }
    }

    fn connected() -> Self {
        let mut line = Self::new();
        line.connect();
        line
    }

    fn with_aes(near_and_far: [bool; 2]) -> Self {
        let mut line = Self::of(near_and_far);
        line.connect();
        line
    }

    fn connect(&mut self) {
        self.control.request_session(self.now);
        let initiation = self.control.poll_datagram().expect("an initiation");
        let mut datagram = initiation.bytes;
        assert_eq!(self.far.2.open(self.now.monotonic, near_address(), &mut datagram), Ok(Opened::Handshake));
        self.far.0.handle_datagram(self.now, near_address(), &datagram);
        let mut response = self.far.0.poll_transmit().expect("a response").bytes;
        assert_eq!(self.receive(&mut response), Given::Handshake);
        self.control.handle_handshake(self.now, far_address(), &response);
        let outcome = self.outbound.seal_keepalive(self.now.monotonic, &mut self.buffer);
        let (_, datagram) = outcome.datagram.expect("there is a session");
        let mut datagram = datagram.to_vec();
        self.far_open(&mut datagram);
    }

    /// What the inbound half makes of a packet that the far end seals.
    fn open(&mut self, packet: &[u8]) -> Given {
        let mut datagram = vec![0; TransportHeader::LEN + packet.len() + TAG_LEN];
        datagram[TransportHeader::LEN..TransportHeader::LEN + packet.len()].copy_from_slice(packet);
        self.far.1.seal(self.now.monotonic, &mut datagram).expect("the far end has a session");
        self.receive(&mut datagram)
    }

    fn receive(&mut self, datagram: &mut [u8]) -> Given {
        match self.inbound.handle_datagram(self.now.monotonic, far_address(), datagram).delivery {
            Delivery::Nothing => Given::Nothing,
            Delivery::Ip(packet) => Given::Ip(packet.to_vec()),
            Delivery::Lan(frame) => Given::Lan(frame.to_vec()),
            Delivery::Streams(packet) => Given::Streams(packet.to_vec()),
            Delivery::Piece(piece) => Given::Piece(piece.to_vec()),
            Delivery::Packed(bundle) => {
                let mut packets = Vec::new();
                let deliver = |packet: &mut [u8]| packets.push(packet.to_vec());
                self.inbound.unpack(self.now.monotonic, &bundle, &mut [0; MTU], deliver);
                Given::Packed(packets)
            }
            Delivery::Associated(message) => Given::Associated(message.to_vec()),
            Delivery::Handshake(_) => Given::Handshake,
        }
    }

    /// What the far end opens of an IP packet that this end sends.
    fn send_ip(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.buffer.fill(0xa5);
        self.buffer[HEADROOM..HEADROOM + packet.len()].copy_from_slice(packet);
        let outcome = self.outbound.seal_ip(self.now.monotonic, &mut self.buffer, packet.len());
        let mut datagram = outcome.datagram?.1.to_vec();
        Some(self.far_open(&mut datagram))
    }

    fn send_labelled(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.buffer[HEADROOM..HEADROOM + payload.len()].copy_from_slice(payload);
        let outcome =
            self.outbound.seal_labelled(self.now.monotonic, CONTROL, &mut self.buffer, payload.len());
        let mut datagram = outcome.datagram?.1.to_vec();
        Some(self.far_open(&mut datagram))
    }

    fn poll_staged(&mut self) -> Option<Vec<u8>> {
        let outcome = self.outbound.poll_staged(self.now.monotonic, &mut self.buffer)?;
        let mut datagram = outcome.datagram?.1.to_vec();
        Some(self.far_open(&mut datagram))
    }

    fn far_open(&mut self, datagram: &mut [u8]) -> Vec<u8> {
        match self.far.2.open(self.now.monotonic, near_address(), datagram) {
            Ok(Opened::Packet { plaintext, .. }) => plaintext.to_vec(),
            Ok(Opened::Keepalive { .. }) => Vec::new(),
            other => panic!("the far end opens it: {other:?}"),
        }
    }

    fn hear(&mut self, message: &Message) {
        let mut octets = Vec::new();
        message.emit(&mut octets);
        self.control.handle_associated(self.now, self.now, far_address(), &octets);
    }

    /// What this end seals with.
    fn cipher_out(&self) -> Suite {
        self.control.session().status(self.now).session.expect("there is a session").cipher_out
    }

    /// The hello of the far end, with what its session layer has to announce.
    fn far_hello(&self) -> Hello {
        Hello { announcement: self.far.0.announcement(), ..hello(5) }
    }

    /// Our hellos since they were last looked at.
    fn hellos(&mut self) -> Vec<Hello> {
        let hellos = self.outgoing().into_iter().filter_map(|message| match message {
            Message::Hello(hello) => Some(hello),
            _ => None,
        });
        hellos.collect()
    }

    fn outgoing_packets(&mut self) -> Vec<Vec<u8>> {
        let packets = std::iter::from_fn(|| self.control.poll_packet());
        let payloads = packets.filter_map(|packet| match packet {
            Outgoing::Keepalive => None,
            Outgoing::Labelled { payload, .. } | Outgoing::ByPath { payload, .. } => Some(payload),
        });
        payloads.collect()
    }

    fn outgoing(&mut self) -> Vec<Message> {
        self.outgoing_packets().iter().map(|payload| Message::parse(payload).expect("a message")).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.control.poll_event()).collect()
    }

    /// Lets time pass without a word from the far end; returns how many initiations were sent.
    fn pass(&mut self, time: Duration) -> usize {
        let end = self.now.monotonic + time;
        let mut initiations = 0;
        while let Some(next) = self.control.poll_timeout(self.now).filter(|next| *next <= end) {
            self.now = self.now.after(next.saturating_duration_since(self.now.monotonic));
            self.control.handle_timeout(self.now);
            initiations += std::iter::from_fn(|| self.control.poll_datagram()).count();
            while self.control.poll_packet().is_some() {}
        }
        initiations
    }

    fn drops(&self) -> [u64; DropReason::ALL.len()] {
        DropReason::ALL.map(|reason| self.shared.counters.drops(reason))
    }
}
