//! Protected packets of a far end that has gone mad: what is read is written again the same, and whatever the restorer was told, it hands
//! on nothing twice that an honest stream carries, and works again afterwards.
#![no_main]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use tieline_line::protection::{Protector, Restorer};
use tieline_wire::protected::{Protected, SYMBOL_LEN_MAX, StreamId};
use tieline_wire::protection_report::ProtectionReport;

fuzz_target!(|bytes: &[u8]| {
    let mut now = Instant::now();
    let mut restorer = Restorer::default();
    let mut rest = bytes;
    let mut streams = BTreeSet::new();
    // Packets with their length and the time since the one before, in front.
    while let Some(([len, millis], behind)) = rest.split_first_chunk::<2>() {
        let (packet, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        now += Duration::from_millis(u64::from(*millis));
        rest = behind;
        is_written_the_same(packet);
        streams.extend(packet.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets) & 0x0fff));
        if let Some(source) = restorer.handle_packet(now, packet) {
            assert!(!source.is_empty() && source.len() < packet.len());
        }
        let mut restored = 0;
        while let Some(packet) = restorer.poll_restored(now) {
            assert!((1..SYMBOL_LEN_MAX).contains(&packet.len()));
            restored += 1;
            assert!(restored <= 64, "a window has an end");
        }
        if let Some(report) = restorer.poll_report(now) {
            assert_eq!(ProtectionReport::parse(&report.emit()), Ok(report));
        }
    }
    let stream = (0..0x1000).find(|stream| !streams.contains(stream)).expect("an input is not that long");
    honest_packets_arrive(now, StreamId::of(stream), &mut restorer);
});

fn is_written_the_same(bytes: &[u8]) {
    match Protected::parse(bytes) {
        Ok(Protected::Source { position, packet }) => {
            assert_eq!([&position.emit_source()[..], packet].concat(), bytes);
        }
        Ok(Protected::Repair { repair, symbol }) => {
            assert_eq!([&repair.emit()[..], symbol].concat(), bytes);
        }
        Err(_) => {}
    }
}

fn honest_packets_arrive(now: Instant, stream: StreamId, restorer: &mut Restorer) {
    let mut protector = Protector::new(stream, 1420);
    protector.set_on(true);
    let mut arrived = Vec::new();
    for number in 0..20_u8 {
        let packet = [0x45, number, number, number];
        let header = protector.handle_packet(now, &packet).expect("it is on");
        if number % 4 != 3 {
            let source = [&header[..], &packet].concat();
            arrived.extend(restorer.handle_packet(now, &source).map(<[u8]>::to_vec));
        }
        while let Some(repair) = protector.poll_transmit(now) {
            assert_eq!(restorer.handle_packet(now, repair), None);
        }
        while let Some(packet) = restorer.poll_restored(now) {
            arrived.push(packet.to_vec());
        }
    }
    arrived.sort();
    let sent: Vec<_> = (0..20_u8).map(|number| vec![0x45, number, number, number]).collect();
    assert_eq!(arrived, sent);
}
