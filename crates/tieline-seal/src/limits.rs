//! The constants of the protocol, by the names of the paper (§6), and the bounds that are ours.

use std::time::Duration;

/// Packets after which a session is replaced (§6.1).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;

/// Packets after which a session neither seals nor opens (§6.1): the replay window must not reach the end of
/// the counter.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// As [`REKEY_AFTER_MESSAGES`], for a session under which AES-256-GCM is used: half of what it may seal, so that the
/// next session is there in time.
pub const AES_REKEY_AFTER_MESSAGES: u64 = AES_REJECT_AFTER_MESSAGES / 2;

/// Counters below this may be used with AES-256-GCM; above it, the session goes on with ChaCha20-Poly1305.
///
/// Every nonce is used once, so what remains is that a cipher of 128-bit blocks never repeats one where a random
/// function would: σ blocks under one key tell the two apart with a probability of at most σ²/2¹²⁹. 2²⁸ packets of up to
/// 1,500 octets are less than 2³⁵ blocks: below 2⁻⁵⁹, and so within the 2⁻⁵⁷ that RFC 9001 (appendix B.1) aims at for
/// QUIC. With the largest datagrams of UDP, 4,096 blocks, it is 2⁻⁴⁹.
pub const AES_REJECT_AFTER_MESSAGES: u64 = 1 << 28;

/// Age at which the initiator of a session replaces it (§6.1).
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);

/// Age at which a session neither seals nor opens (§6.1).
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);

/// How long one streak of unanswered initiations lasts (§6.1).
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);

/// Between two initiations (§6.1).
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);

/// At most so much is added to [`REKEY_TIMEOUT`] at random, so that two ends do not go on colliding (§6.1).
pub const REKEY_TIMEOUT_JITTER_MAX: Duration = Duration::from_millis(333);

/// Silence after a received packet that is filled with a keepalive (§6.5).
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Age at which the initiator replaces a session because it still receives under it (§6.2).
pub const REKEY_AFTER_TIME_RECEIVING: Duration = Duration::from_secs(180 - 10 - 5);

/// Silence after a sent packet that asks for a new session (§6.5).
pub const UNANSWERED_TIMEOUT: Duration = Duration::from_secs(10 + 5);

/// After so long without a new session everything ephemeral is erased (§6.3).
pub const ZERO_KEYS_AFTER_TIME: Duration = Duration::from_secs(3 * 180);

/// How long a cookie and the secret behind it are used (§5.4.7).
pub const COOKIE_REFRESH_TIME: Duration = Duration::from_secs(120);

/// A cookie held is given up so much earlier than it is refreshed, because the datagram still has to travel.
pub const COOKIE_LATENCY_ALLOWANCE: Duration = Duration::from_secs(5);

/// Initiations of one peer closer than this are dropped (as all implementations do; the paper leaves the
/// number open).
pub const INITIATION_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// How far a start with a clock behind leaps above the timestamps of an earlier life: what was sent after the last
/// of them was written down, by a clock that was ahead, in a cut of this length.
pub const TIMESTAMP_LEAP: Duration = Duration::from_secs(600);

/// Between two initiations while two tielines know that the path between them is cut ([`crate::Pace::Cut`]).
pub const CUT_RETRY_TIMEOUT: Duration = Duration::from_millis(300);

/// At most so much is added to [`CUT_RETRY_TIMEOUT`] at random.
pub const CUT_RETRY_JITTER_MAX: Duration = Duration::from_millis(50);

/// Handshake messages with a right MAC1 in one second above which an end is under load and asks for cookies.
/// An honest peer sends five a second at the very most.
pub const HANDSHAKES_PER_SECOND_MAX: u32 = 40;

/// An end remains under load so long after the rate has fallen.
pub const UNDER_LOAD_AFTER_TIME: Duration = Duration::from_secs(1);

/// Under load: handshakes one source address may ask for at once, though it showed its cookie.
pub const SOURCE_BURST: u32 = 5;

/// Under load: the time in which a source address earns one more handshake.
pub const SOURCE_INTERVAL: Duration = Duration::from_millis(50);

/// Under load: source addresses told apart at a time; each costs about 48 octets.
pub const SOURCES_MAX: usize = 1024;

/// Initiations kept while their answers are out: at [`CUT_RETRY_TIMEOUT`] enough for a round trip of 1.2 s.
pub const PENDING_INITIATIONS_MAX: usize = 4;

/// Sessions in waiting for their first packet. An initiator takes the first answer to any of its pending
/// initiations, so the session for it is among as many as those.
pub const NEXT_SESSIONS_MAX: usize = PENDING_INITIATIONS_MAX;

/// Sessions that were replaced and still open what is under way. One turn leaves two at most: the session from
/// before it and, if initiations crossed, the one that did not prevail. So these are two turns in quick
/// succession.
pub const PREVIOUS_SESSIONS_MAX: usize = 4;

/// Keys that may show the proof of one invitation; whoever holds the secret has no reason for more.
pub const CANDIDATES_MAX: usize = 16;

/// How long a candidate of the pairing is waited for before another key may take its place.
pub const CANDIDATE_PATIENCE: Duration = REKEY_TIMEOUT;

/// Datagrams waiting in [`crate::Control::poll_transmit`].
pub const TRANSMITS_MAX: usize = 16;

/// Events waiting in [`crate::Control::poll_event`].
pub const EVENTS_MAX: usize = 64;

/// Control looks at what the data halves did at least so often while a session is up.
pub const ACTIVITY_CHECK: Duration = Duration::from_secs(1);

/// The data halves repeat a notice at most so often.
pub const NOTICE_INTERVAL: Duration = Duration::from_millis(100);
