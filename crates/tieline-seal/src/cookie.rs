//! Cookies: how an end under load makes strangers show that they receive at their address (paper §5.4.7).
//!
//! A cookie is a MAC of the source address under a secret that changes every two minutes. It travels sealed to the sender's MAC1, so that
//! only who sent the message, or sees all traffic, can make use of it; the sender then keys MAC2 with it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use blake2::digest::consts::U16;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use rand::RngCore;
use rand_chacha::ChaCha20Rng;
use subtle::ConstantTimeEq;
use tieline_wire::wireguard::{CookieReply, MAC_LEN, SessionIndex};
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::limits::{COOKIE_LATENCY_ALLOWANCE, COOKIE_REFRESH_TIME};
use crate::mac::{MacKey, cookie_reply_key, keyed_hash};

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
        rng: &mut ChaCha20Rng,
        from: SocketAddr,
        sender: SessionIndex,
        mac1: &[u8; MAC_LEN],
    ) -> CookieReply {
        if self.fresh_secret(now).is_none() {
            let mut secret = Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut *secret);
            self.secret = Some((MacKey::from_bytes(*secret), now));
        }
        let secret = self.fresh_secret(now).expect("it was made just now");
        let mut nonce = [0; CookieReply::NONCE_LEN];
        rng.fill_bytes(&mut nonce);
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

    pub(crate) fn erase(&mut self) {
        self.cookie = None;
    }
}

fn cookie_of(secret: &MacKey, from: SocketAddr) -> Zeroizing<[u8; MAC_LEN]> {
    let ip = match from.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    Zeroizing::new(secret.mac(&[&ip.octets(), &from.port().to_be_bytes()]))
}
