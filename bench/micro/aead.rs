//! The AEAD alone: one packet of 1,420 octets in place with its tag beside it, as the packet path seals, by every implementation that
//! could be had. One core.

use aws_lc_rs::aead as aws;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use divan::Bencher;
use divan::counter::BytesCount;
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
fn aes_256_gcm_of_ring(bencher: Bencher<'_, '_>) {
    seal_ring(bencher, &ring::AES_256_GCM);
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

/// Each round opens a copy: the copy costs some 2 % of it.
fn open_aws(bencher: Bencher<'_, '_>, algorithm: &'static aws::Algorithm) {
    let key = aws_key(algorithm);
    let nonce = || aws::Nonce::assume_unique_for_key([0; 12]);
    let mut sealed = vec![0xa5; PACKET_LEN];
    key.seal_in_place_append_tag(nonce(), aws::Aad::empty(), &mut sealed).expect("a short packet");
    let mut copy = sealed.clone();
    bencher.counter(BytesCount::new(PACKET_LEN)).bench_local(|| {
        copy.copy_from_slice(&sealed);
        key.open_in_place(nonce(), aws::Aad::empty(), &mut copy).expect("sealed with this key").len()
    });
}

fn aws_key(algorithm: &'static aws::Algorithm) -> aws::LessSafeKey {
    let key = aws::UnboundKey::new(algorithm, &KEY[..algorithm.key_len()]).expect("a key of its length");
    aws::LessSafeKey::new(key)
}

fn seal_ring(bencher: Bencher<'_, '_>, algorithm: &'static ring::Algorithm) {
    let key = ring::UnboundKey::new(algorithm, &KEY[..algorithm.key_len()]).expect("a key of its length");
    let key = ring::LessSafeKey::new(key);
    let (mut packet, mut counter) = ([0xa5; PACKET_LEN], 0);
    bencher.counter(BytesCount::new(PACKET_LEN)).bench_local(|| {
        let nonce = ring::Nonce::assume_unique_for_key(next_nonce(&mut counter));
        key.seal_in_place_separate_tag(nonce, ring::Aad::empty(), &mut packet).expect("a short packet")
    });
}

fn next_nonce(counter: &mut u64) -> [u8; 12] {
    *counter += 1;
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}
