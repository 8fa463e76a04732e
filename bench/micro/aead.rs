//! The AEAD alone: one packet of 1,420 octets in place with its tag beside it and a nonce of its own, as the packet path seals. One core.
//!
//! aws-lc-rs is what the product has. ring is the other one with assembly, and its nearest kin. The chacha20poly1305 crate is in the
//! product as well, for cookies. dryoc is the only one known to be faster somewhere: it has AVX-512, and without that it is slower than the
//! two with assembly (1,270 ns in the trials below, its choice of AVX-512 switched off).
//!
//! Tried at the same size and left out, with the least that sealing took where aws-lc-rs took 964 ns (Xeon with AVX-512, not quiet,
//! 2026-11-28): libsodium 1.0.22 1,412 ns; OpenSSL 3.0.22 and 3.6.3 with one context for all packets 1,536 and 1,617 ns, of which a new
//! nonce and the tag are 700, which `openssl speed` does not count; graviola 0.4 2,779 ns; chacha20poly1305 0.11 3,217 ns; cryptoxide,
//! orion and libcrux 4,252 ns and more. OpenSSL and libsodium would add minutes to the build.

use aws_lc_rs::aead as aws;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use divan::Bencher;
use divan::counter::BytesCount;
use dryoc::classic::crypto_aead_chacha20poly1305_ietf as dryoc;
use ring::aead as ring;

const PACKET_LEN: usize = 1420;
const KEY: [u8; 32] = [7; 32];

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 100)]
fn chacha20_poly1305_of_aws_lc_rs(bencher: Bencher<'_, '_>) {
    seal_aws(bencher, &aws::CHACHA20_POLY1305);
}

#[divan::bench(sample_size = 100)]
fn chacha20_poly1305_of_aws_lc_rs_open(bencher: Bencher<'_, '_>) {
    open_aws(bencher, &aws::CHACHA20_POLY1305);
}

#[divan::bench(sample_size = 100)]
fn aes_256_gcm_of_aws_lc_rs(bencher: Bencher<'_, '_>) {
    seal_aws(bencher, &aws::AES_256_GCM);
}

#[divan::bench(sample_size = 100)]
fn aes_256_gcm_of_aws_lc_rs_open(bencher: Bencher<'_, '_>) {
    open_aws(bencher, &aws::AES_256_GCM);
}

#[divan::bench(sample_size = 100)]
fn aes_128_gcm_of_aws_lc_rs(bencher: Bencher<'_, '_>) {
    seal_aws(bencher, &aws::AES_128_GCM);
}

#[divan::bench(sample_size = 100)]
fn chacha20_poly1305_of_ring(bencher: Bencher<'_, '_>) {
    seal_ring(bencher, &ring::CHACHA20_POLY1305);
}

#[divan::bench(sample_size = 100)]
fn chacha20_poly1305_of_ring_open(bencher: Bencher<'_, '_>) {
    let key = ring_key(&ring::CHACHA20_POLY1305);
    let nonce = || ring::Nonce::assume_unique_for_key([0; 12]);
    let mut sealed = [0xa5; PACKET_LEN];
    let tag =
        key.seal_in_place_separate_tag(nonce(), ring::Aad::empty(), &mut sealed).expect("a short packet");
    open_copy(bencher, &sealed, |copy| {
        key.open_in_place_separate_tag(nonce(), ring::Aad::empty(), tag, copy, 0..).is_ok()
    });
}

#[divan::bench(sample_size = 100)]
fn aes_256_gcm_of_ring(bencher: Bencher<'_, '_>) {
    seal_ring(bencher, &ring::AES_256_GCM);
}

#[divan::bench(sample_size = 100)]
fn chacha20_poly1305_of_dryoc(bencher: Bencher<'_, '_>) {
    let (mut packet, mut counter, mut tag) = ([0xa5; PACKET_LEN], 0, [0; 16]);
    bencher.counter(BytesCount::new(PACKET_LEN)).bench_local(|| {
        let nonce = next_nonce(&mut counter);
        dryoc::crypto_aead_chacha20poly1305_ietf_encrypt_detached_inplace(
            &mut packet,
            &mut tag,
            None,
            &nonce,
            &KEY,
        )
        .expect("a short packet");
        tag
    });
}

#[divan::bench(sample_size = 100)]
fn chacha20_poly1305_of_dryoc_open(bencher: Bencher<'_, '_>) {
    let (nonce, mut sealed, mut tag) = ([0; 12], [0xa5; PACKET_LEN], [0; 16]);
    dryoc::crypto_aead_chacha20poly1305_ietf_encrypt_detached_inplace(
        &mut sealed,
        &mut tag,
        None,
        &nonce,
        &KEY,
    )
    .expect("a short packet");
    open_copy(bencher, &sealed, |copy| {
        dryoc::crypto_aead_chacha20poly1305_ietf_decrypt_detached_inplace(copy, &tag, None, &nonce, &KEY)
            .is_ok()
    });
}

#[divan::bench(sample_size = 100)]
fn chacha20_poly1305_of_rustcrypto(bencher: Bencher<'_, '_>) {
    let cipher = ChaCha20Poly1305::new(&KEY.into());
    let (mut packet, mut counter) = ([0xa5; PACKET_LEN], 0);
    bencher.counter(BytesCount::new(PACKET_LEN)).bench_local(|| {
        let nonce = next_nonce(&mut counter);
        cipher.encrypt_in_place_detached(&nonce.into(), &[], &mut packet).expect("a short packet")
    });
}

fn seal_aws(bencher: Bencher<'_, '_>, algorithm: &'static aws::Algorithm) {
    let key = aws_key(algorithm);
    let (mut packet, mut counter) = ([0xa5; PACKET_LEN], 0);
    bencher.counter(BytesCount::new(PACKET_LEN)).bench_local(|| {
        let nonce = aws::Nonce::assume_unique_for_key(next_nonce(&mut counter));
        key.seal_in_place_separate_tag(nonce, aws::Aad::empty(), &mut packet).expect("a short packet")
    });
}

fn open_aws(bencher: Bencher<'_, '_>, algorithm: &'static aws::Algorithm) {
    let key = aws_key(algorithm);
    let nonce = || aws::Nonce::assume_unique_for_key([0; 12]);
    let mut sealed = vec![0xa5; PACKET_LEN];
    key.seal_in_place_append_tag(nonce(), aws::Aad::empty(), &mut sealed).expect("a short packet");
    open_copy(bencher, &sealed, |copy| key.open_in_place(nonce(), aws::Aad::empty(), copy).is_ok());
}

/// Each round opens a copy, which costs some 2 % of it.
fn open_copy(bencher: Bencher<'_, '_>, sealed: &[u8], mut open: impl FnMut(&mut [u8]) -> bool) {
    let mut copy = sealed.to_vec();
    bencher.counter(BytesCount::new(PACKET_LEN)).bench_local(|| {
        copy.copy_from_slice(sealed);
        assert!(open(&mut copy), "sealed with this key");
    });
}

fn aws_key(algorithm: &'static aws::Algorithm) -> aws::LessSafeKey {
    let key = aws::UnboundKey::new(algorithm, &KEY[..algorithm.key_len()]).expect("a key of its length");
    aws::LessSafeKey::new(key)
}

fn seal_ring(bencher: Bencher<'_, '_>, algorithm: &'static ring::Algorithm) {
    let key = ring_key(algorithm);
    let (mut packet, mut counter) = ([0xa5; PACKET_LEN], 0);
    bencher.counter(BytesCount::new(PACKET_LEN)).bench_local(|| {
        let nonce = ring::Nonce::assume_unique_for_key(next_nonce(&mut counter));
        key.seal_in_place_separate_tag(nonce, ring::Aad::empty(), &mut packet).expect("a short packet")
    });
}

fn ring_key(algorithm: &'static ring::Algorithm) -> ring::LessSafeKey {
    let key = ring::UnboundKey::new(algorithm, &KEY[..algorithm.key_len()]).expect("a key of its length");
    ring::LessSafeKey::new(key)
}

fn next_nonce(counter: &mut u64) -> [u8; 12] {
    *counter += 1;
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}
