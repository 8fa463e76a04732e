//! Cookies: how an end under load makes strangers show that they receive at their address (paper §5.4.7).
//!
//! A cookie is a MAC of the source address under a secret that changes every two minutes. It travels sealed
//! to the sender's MAC1, so that only who sent the message, or sees all traffic, can make use of it; the
//! sender then keys MAC2 with it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use blake2::digest::consts::U16;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use subtle::ConstantTimeEq;
use tieline_wire::wireguard::{CookieReply, MAC_LEN, SessionIndex};
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::limits::{COOKIE_LATENCY_ALLOWANCE, COOKIE_REFRESH_TIME};
use crate::mac::{MacKey, cookie_reply_key, keyed_hash};
use crate::random::Generator;

/// The side under load, which gives cookies out.
pub(crate) struct CookieGiver {
    reply_key: [u8; 32],
    secret: Option<(MacKey, Instant)>,
}

impl CookieGiver {
    pub(crate) fn new(own: &PublicKey) -> Self {
        Self { reply_key: cookie_reply_key(own), secret: None }
    }

    /// Whether `mac2` over `covered` was made with the cookie of `from`.
    pub(crate) fn verifies(&self, now: Instant, from: SocketAddr, covered: &[u8], mac2: &[u8]) -> bool {
        let Some(secret) = self.fresh_secret(now) else { return false };
        let expected = keyed_hash::<U16>(&*cookie_of(secret, from), &[covered]);
        expected.ct_eq(mac2).into()
    }

    /// Makes the reply to the message of `sender` that carried `mac1`.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        random: &mut Generator,
        from: SocketAddr,
        sender: SessionIndex,
        mac1: &[u8; MAC_LEN],
    ) -> CookieReply {
        if self.fresh_secret(now).is_none() {
            self.secret = Some((MacKey::from_bytes(*random.secret()), now));
        }
        let secret = self.fresh_secret(now).expect("it was made just now");
        let nonce = random.nonce();
        let mut cookie = cookie_of(secret, from);
        let tag = XChaCha20Poly1305::new(&self.reply_key.into())
            .encrypt_in_place_detached(XNonce::from_slice(&nonce), mac1, &mut *cookie)
            .expect("16 octets are below the AEAD's limit");
        let mut sealed_cookie = [0; CookieReply::SEALED_COOKIE_LEN];
        sealed_cookie[..MAC_LEN].copy_from_slice(&*cookie);
        sealed_cookie[MAC_LEN..].copy_from_slice(&tag);
        CookieReply { receiver: sender, nonce, sealed_cookie }
    }

    fn fresh_secret(&self, now: Instant) -> Option<&MacKey> {
        self.secret
            .as_ref()
            .filter(|(_, born)| now.saturating_duration_since(*born) < COOKIE_REFRESH_TIME)
            .map(|(secret, _)| secret)
    }
}

/// The side that is asked for a cookie.
pub(crate) struct CookieTaker {
    reply_key: [u8; 32],
    cookie: Option<(Zeroizing<[u8; MAC_LEN]>, Instant)>,
}

impl CookieTaker {
    pub(crate) fn new(peer: &PublicKey) -> Self {
        Self { reply_key: cookie_reply_key(peer), cookie: None }
    }

    /// Keeps the cookie of `reply` if the peer sealed it to the message of ours that carried `mac1`.
    pub(crate) fn take(&mut self, now: Instant, reply: &CookieReply, mac1: &[u8; MAC_LEN]) -> bool {
        let (sealed, tag) = reply.sealed_cookie.split_at(MAC_LEN);
        let mut cookie = Zeroizing::new([0; MAC_LEN]);
        cookie.copy_from_slice(sealed);
        let opened = XChaCha20Poly1305::new(&self.reply_key.into()).decrypt_in_place_detached(
            XNonce::from_slice(&reply.nonce),
            mac1,
            &mut *cookie,
            Tag::from_slice(tag),
        );
        if opened.is_ok() {
            self.cookie = Some((cookie, now));
        }
        opened.is_ok()
    }

    /// MAC2 over `covered`, if there is a cookie that the peer still knows.
    pub(crate) fn mac2(&self, now: Instant, covered: &[u8]) -> Option<[u8; MAC_LEN]> {
        let (cookie, born) = self.cookie.as_ref()?;
        let is_fresh = now.saturating_duration_since(*born)
            < COOKIE_REFRESH_TIME.saturating_sub(COOKIE_LATENCY_ALLOWANCE);
        is_fresh.then(|| keyed_hash::<U16>(&**cookie, &[covered]).into())
    }
}

fn cookie_of(secret: &MacKey, from: SocketAddr) -> Zeroizing<[u8; MAC_LEN]> {
    let ip = match from.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    Zeroizing::new(secret.mac(&[&ip.octets(), &from.port().to_be_bytes()]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keys::PrivateKey;

    struct Scene {
        giver: CookieGiver,
        taker: CookieTaker,
        random: Generator,
        now: Instant,
    }

    const MAC1: [u8; MAC_LEN] = [0x11; MAC_LEN];
    const COVERED: &[u8] = b"all of a message before mac2";

    fn scene() -> Scene {
        let key = PrivateKey::from_bytes([1; 32]).public_key();
        Scene {
            giver: CookieGiver::new(&key),
            taker: CookieTaker::new(&key),
            random: Generator::new([5; 32]),
            now: Instant::now(),
        }
    }

    fn source(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    impl Scene {
        fn reply(&mut self, from: SocketAddr) -> CookieReply {
            self.giver.reply(self.now, &mut self.random, from, SessionIndex(7), &MAC1)
        }

        fn verifies(&self, from: SocketAddr, mac2: &[u8]) -> bool {
            self.giver.verifies(self.now, from, COVERED, mac2)
        }
    }

    #[test]
    fn a_cookie_makes_a_mac2_for_its_address_and_port_alone() {
        let mut scene = scene();
        let from = source("192.0.2.1:1000");
        let reply = scene.reply(from);
        assert_eq!(reply.receiver, SessionIndex(7));
        assert!(scene.taker.take(scene.now, &reply, &MAC1));
        let mac2 = scene.taker.mac2(scene.now, COVERED).unwrap();
        assert!(scene.verifies(from, &mac2));
        assert!(!scene.verifies(source("192.0.2.1:1001"), &mac2));
        assert!(!scene.verifies(source("192.0.2.2:1000"), &mac2));
        assert!(!scene.giver.verifies(scene.now, from, b"another message", &mac2));
    }

    #[test]
    fn a_reply_is_believed_only_with_the_mac1_we_sent_and_from_the_peer() {
        let mut scene = scene();
        let reply = scene.reply(source("192.0.2.1:1000"));
        assert!(!scene.taker.take(scene.now, &reply, &[0x12; MAC_LEN]));
        let mut stranger = CookieTaker::new(&PrivateKey::from_bytes([2; 32]).public_key());
        assert!(!stranger.take(scene.now, &reply, &MAC1));
        for octet in 0..CookieReply::SEALED_COOKIE_LEN {
            let mut forged = reply;
            forged.sealed_cookie[octet] ^= 1;
            assert!(!scene.taker.take(scene.now, &forged, &MAC1), "octet {octet}");
        }
        assert_eq!(scene.taker.mac2(scene.now, COVERED), None);
    }

    #[test]
    fn the_secret_changes_every_two_minutes_and_old_cookies_with_it() {
        let mut scene = scene();
        let from = source("192.0.2.1:1000");
        let reply = scene.reply(from);
        scene.taker.take(scene.now, &reply, &MAC1);
        let mac2 = scene.taker.mac2(scene.now, COVERED).unwrap();
        scene.now += COOKIE_REFRESH_TIME - Duration::from_nanos(1);
        assert!(scene.verifies(from, &mac2));
        scene.now += Duration::from_nanos(1);
        assert!(!scene.verifies(from, &mac2), "the secret is too old");
        scene.reply(from);
        assert!(!scene.verifies(from, &mac2), "the secret is another one");
    }

    #[test]
    fn a_cookie_is_given_up_in_time() {
        let mut scene = scene();
        let reply = scene.reply(source("192.0.2.1:1000"));
        scene.taker.take(scene.now, &reply, &MAC1);
        let last = scene.now + COOKIE_REFRESH_TIME - COOKIE_LATENCY_ALLOWANCE;
        assert!(scene.taker.mac2(last - Duration::from_nanos(1), COVERED).is_some());
        assert!(scene.taker.mac2(last, COVERED).is_none());
    }

    #[test]
    fn without_a_cookie_given_nothing_verifies() {
        let scene = scene();
        assert!(!scene.verifies(source("192.0.2.1:1000"), &[0; MAC_LEN]));
    }
}
