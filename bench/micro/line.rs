//! The packet path without the kernel: 64 KiB of a TCP stream cut into 47 packets, sealed, opened, and joined again; and one packet by
//! itself. What classifies and what looks a label up is measured with the datagram that it belongs to.

use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::BytesCount;
use tieline_bench::packets::{MTU, SEGMENTS, segments, super_packet};
use tieline_bench::pair::{End, Pair, address};
use tieline_line::calls::Calls;
use tieline_line::cut::SuperPacket;
use tieline_line::join::Joiner;
use tieline_line::{Delivery, HEADROOM, TAILROOM};
use tieline_seal::Suite;
use tieline_wire::ip::IpPacket;
use tieline_wire::label::{Label, LabelStackEntry, MplsTrafficClass};
use tieline_wire::time::Now;

const BATCH_OCTETS: usize = SEGMENTS * MTU;

const SUITES: [Suite; 2] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];
/// Octets of a packet of the stream channel, so that its datagram is as long as that of a full IP packet.
const STREAM_PACKET_LEN: usize = MTU - LabelStackEntry::LEN;

/// Where the sequence number of RTP lies in a packet of IPv4 and UDP.
const RTP_SEQUENCE: usize = 20 + 8 + 2;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 10)]
fn cut_64_kib(bencher: Bencher<'_, '_>) {
    let (header, packet) = super_packet();
    let mut out = vec![0; MTU];
    bencher.counter(BytesCount::new(BATCH_OCTETS)).bench_local(|| {
        let whole = SuperPacket::parse(&header, &packet).expect("a good packet");
        (0..whole.count()).map(|index| whole.write(index, &mut out)).sum::<usize>()
    });
}

/// With the checksums of every packet, which decide whether it may be joined.
#[divan::bench(sample_size = 1, sample_count = 3000)]
fn join_64_kib(bencher: Bencher<'_, '_>) {
    let packets = segments();
    bencher.counter(BytesCount::new(BATCH_OCTETS)).with_inputs(|| packets.clone()).bench_local_refs(
        |packets| {
            let mut joiner = Joiner::new(true);
            for packet in packets.iter_mut() {
                joiner.push(packet).expect("each follows the one before");
            }
            joiner.flush(|parts| assert_eq!(parts.len(), SEGMENTS + 1))
        },
    );
}

#[divan::bench]
fn classify_ip(bencher: Bencher<'_, '_>) {
    let packet = segments().swap_remove(0);
    bencher.bench_local(|| IpPacket::parse(divan::black_box(&packet)));
}

/// What looking for calls costs a packet that is of none.
#[divan::bench]
fn watch_tcp(bencher: Bencher<'_, '_>) {
    let (packet, now, mut calls) = (segments().swap_remove(0), Now::from_system(), Calls::default());
    bencher.bench_local(|| calls.handle_packet(now, divan::black_box(&packet)));
}

/// And one that is: 1 of 100 calls.
#[divan::bench]
fn watch_rtp(bencher: Bencher<'_, '_>) {
    let (mut calls, mut now) = (Calls::default(), Now::from_system());
    let mut packets: Vec<_> = (0..100).map(rtp_packet).collect();
    let mut sequence = 0u16;
    let mut next = packets.len();
    bencher.bench_local(|| {
        if next == packets.len() {
            (next, sequence, now) = (0, sequence.wrapping_add(1), now.after(Duration::from_millis(20)));
        }
        packets[next][RTP_SEQUENCE..RTP_SEQUENCE + 2].copy_from_slice(&sequence.to_be_bytes());
        calls.handle_packet(now, divan::black_box(&packets[next]));
        next += 1;
    });
}

#[divan::bench(args = SUITES, sample_size = 100)]
fn seal_ip(bencher: Bencher<'_, '_>, suite: Suite) {
    let Pair { mut near, now, far: _far } = Pair::connected(suite);
    let packet = segments().swap_remove(0);
    let mut buffer = vec![0; HEADROOM + MTU + TAILROOM];
    bencher.counter(BytesCount::new(MTU)).bench_local(|| {
        // It was sealed in place; the copy stands for the one that cutting makes.
        buffer[HEADROOM..HEADROOM + MTU].copy_from_slice(&packet);
        near.outbound.seal_ip(now.monotonic, &mut buffer, MTU).datagram.map(|(_, datagram)| datagram.len())
    });
}

#[divan::bench(args = SUITES, sample_size = 100)]
fn seal_labelled(bencher: Bencher<'_, '_>, suite: Suite) {
    let Pair { mut near, now, far: _far } = Pair::connected(suite);
    let mut buffer = vec![0xa5; HEADROOM + MTU + TAILROOM];
    bencher
        .counter(BytesCount::new(MTU))
        .bench_local(|| seal_stream(&mut near, now.monotonic, &mut buffer).map(<[u8]>::len));
}

#[divan::bench(args = SUITES, sample_size = 1, sample_count = 3000)]
fn handle_47_datagrams_ip(bencher: Bencher<'_, '_>, suite: Suite) {
    let Pair { mut near, mut far, now } = Pair::connected(suite);
    let packets = segments();
    let sealed = || -> Vec<Vec<u8>> {
        let mut buffer = vec![0; HEADROOM + MTU + TAILROOM];
        let mut seal = |packet: &Vec<u8>| {
            buffer[HEADROOM..HEADROOM + MTU].copy_from_slice(packet);
            let outcome = near.outbound.seal_ip(now.monotonic, &mut buffer, MTU);
            outcome.datagram.expect("a session").1.to_vec()
        };
        packets.iter().map(&mut seal).collect()
    };
    bencher.counter(BytesCount::new(BATCH_OCTETS)).with_inputs(sealed).bench_local_refs(|datagrams| {
        for datagram in datagrams.iter_mut() {
            let received = far.inbound.handle_datagram(now.monotonic, address(1), datagram);
            assert!(matches!(received.delivery, Delivery::Ip(_)));
        }
    });
}

#[divan::bench(args = SUITES, sample_size = 1, sample_count = 3000)]
fn handle_47_datagrams_labelled(bencher: Bencher<'_, '_>, suite: Suite) {
    let Pair { mut near, mut far, now } = Pair::connected(suite);
    let sealed = || -> Vec<Vec<u8>> {
        let mut buffer = vec![0xa5; HEADROOM + MTU + TAILROOM];
        let mut seal = |_| seal_stream(&mut near, now.monotonic, &mut buffer).expect("a session").to_vec();
        (0..SEGMENTS).map(&mut seal).collect()
    };
    bencher.counter(BytesCount::new(BATCH_OCTETS)).with_inputs(sealed).bench_local_refs(|datagrams| {
        for datagram in datagrams.iter_mut() {
            let received = far.inbound.handle_datagram(now.monotonic, address(1), datagram);
            assert!(matches!(received.delivery, Delivery::Streams(_)));
        }
    });
}

/// All of it in one go: what one super-packet costs the two processors together, the kernel left out.
#[divan::bench(args = SUITES, sample_size = 10)]
fn cut_seal_open_join_64_kib(bencher: Bencher<'_, '_>, suite: Suite) {
    let Pair { mut near, mut far, now } = Pair::connected(suite);
    let (header, packet) = super_packet();
    let mut places = vec![vec![0; HEADROOM + MTU + TAILROOM]; SEGMENTS];
    let front = LabelStackEntry::LEN;
    bencher.counter(BytesCount::new(BATCH_OCTETS)).bench_local(|| {
        let whole = SuperPacket::parse(&header, &packet).expect("a good packet");
        let mut joiner = Joiner::new(true);
        for (index, place) in places.iter_mut().enumerate() {
            let len = whole.write(index, &mut place[HEADROOM..]);
            let outcome = near.outbound.seal_ip(now.monotonic, place, len);
            let datagram_len = outcome.datagram.expect("a session").1.len();
            let datagram = &mut place[front..front + datagram_len];
            match far.inbound.handle_datagram(now.monotonic, address(1), datagram).delivery {
                Delivery::Ip(packet) => joiner.push(packet).expect("each follows the one before"),
                other => panic!("{other:?}"),
            }
        }
        joiner.flush(|parts| assert_eq!(parts.len(), SEGMENTS + 1))
    });
}

fn seal_stream<'b>(near: &mut End, now: Instant, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let entry = LabelStackEntry::only(Label::STREAMS, MplsTrafficClass::BULK);
    near.outbound.seal_labelled(now, entry, buffer, STREAM_PACKET_LEN).datagram.map(|(_, datagram)| datagram)
}

/// G.711 from phone number `phone`.
fn rtp_packet(phone: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0xb8, 0, 200, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, phone, 10, 2, 0, 9];
    packet.extend([0x40, 0x00, 0x40, 0x00, 0, 180, 0, 0]);
    packet.extend([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, phone]);
    packet.resize(200, 0xd5);
    packet
}
