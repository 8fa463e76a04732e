//! The session layer: a batch of 47 packets of 1,420 octets, as a super-packet of 64 KiB gives them, sealed and opened one behind the
//! other. Against the AEAD alone this adds header, counter, table of sessions, replay window and book-keeping.

use std::time::Instant;

use divan::Bencher;
use divan::counter::BytesCount;
use tieline_bench::packets::{MTU, SEGMENTS};
use tieline_bench::pair::address;
use tieline_seal::{Config, Inbound, Outbound, Peer, PresharedKey, PrivateKey, Suite, split};
use tieline_wire::time::Now;
use tieline_wire::wireguard::{TAG_LEN, TransportHeader};

const DATAGRAM_LEN: usize = TransportHeader::LEN + MTU + TAG_LEN;
const BATCH_OCTETS: usize = SEGMENTS * MTU;
const SUITES: [Suite; 2] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];

fn main() {
    divan::main();
}

#[divan::bench(args = SUITES, sample_size = 10)]
fn seal_47(bencher: Bencher<'_, '_>, suite: Suite) {
    let (mut outbound, _, now, _control) = connected(suite);
    let mut batch = vec![0xa5; SEGMENTS * DATAGRAM_LEN];
    bencher.counter(BytesCount::new(BATCH_OCTETS)).bench_local(|| seal(&mut outbound, now, &mut batch));
}

#[divan::bench(args = SUITES, sample_size = 1, sample_count = 3000)]
fn open_47(bencher: Bencher<'_, '_>, suite: Suite) {
    let (mut outbound, mut inbound, now, _control) = connected(suite);
    let sealed = || {
        let mut batch = vec![0xa5; SEGMENTS * DATAGRAM_LEN];
        seal(&mut outbound, now, &mut batch);
        batch
    };
    bencher.counter(BytesCount::new(BATCH_OCTETS)).with_inputs(sealed).bench_local_refs(|batch| {
        for datagram in batch.chunks_exact_mut(DATAGRAM_LEN) {
            inbound.open(now, address(1), datagram).expect("an authentic datagram");
        }
    });
}

fn seal(outbound: &mut Outbound, now: Instant, batch: &mut [u8]) {
    for datagram in batch.chunks_exact_mut(DATAGRAM_LEN) {
        outbound.seal(now, datagram).expect("a session");
    }
}

/// One end's sealing half and the other's opening half; the rest must be kept.
fn connected(suite: Suite) -> (Outbound, Inbound, Instant, impl Sized) {
    let (now, fast_aes) = (Now::from_system(), suite == Suite::Aes256Gcm);
    let (mut near, mut outbound, near_in) = split(config(1, 2, fast_aes), now, [1; 32]);
    let (mut far, far_out, mut inbound) = split(config(2, 1, fast_aes), now, [2; 32]);
    near.request_session(now);
    let initiation = near.poll_transmit().expect("an initiation").bytes;
    far.handle_datagram(now, address(1), &initiation);
    let response = far.poll_transmit().expect("a response").bytes;
    near.handle_datagram(now, address(2), &response);
    let mut confirmation = [0; TransportHeader::LEN + TAG_LEN];
    outbound.seal(now.monotonic, &mut confirmation).expect("a session");
    inbound.open(now.monotonic, address(1), &mut confirmation).expect("an authentic datagram");
    if let Some(announcement) = far.announcement() {
        near.handle_announcement(&announcement);
    }
    (outbound, inbound, now.monotonic, (near, near_in, far, far_out))
}

fn config(own: u8, other: u8, fast_aes: bool) -> Config {
    let key = |number| PrivateKey::from_bytes([number; 32]);
    Config {
        private_key: key(own),
        peer: Peer::Known {
            public_key: key(other).public_key(),
            preshared_key: PresharedKey::ZERO,
            proof: None,
        },
        address: Some(address(other)),
        persistent_keepalive: None,
        timestamp_floor: None,
        always_on: false,
        fast_aes,
    }
}
