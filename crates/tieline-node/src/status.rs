//! What one end says of itself: the answer of the local API to `status`, for people and for programs.
//!
//! The field names are part of the program's interface (`tieline status --json`); fields are added, never renamed.
//!
//! The process that answers may be older than the program that asks, for it runs on while the program is updated. So a field that
//! is added may be absent: it is an `Option`, or has a default that claims nothing.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tieline_wire::control::RefusedOffer;

/// How the line is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineState {
    /// The invitation has not been taken up yet.
    Inviting,
    /// There is no session: the far end has not answered.
    Waiting,
    /// The far end is there.
    Up,
    /// There was a session, but the far end is not heard, or said that it is being taken down.
    Silent,
}

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FarEndKind {
    /// Not known yet.
    Unknown,
    /// A tieline.
    Tieline,
    /// Plain WireGuard: IP only.
    IpOnly,
    /// A tieline of a version that has nothing in common with this one.
    Incompatible,
}

/// One end, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The line.
    pub line: String,
    /// How it is.
    pub state: LineState,
    /// Process id.
    pub pid: u32,
    /// Program and version.
    pub software: String,
    /// For how long the process has run.
    pub running_seconds: u64,
    /// This end.
    pub here: Here,
    /// The other end.
    pub far_end: FarEnd,
    /// The session, if there is one.
    pub session: Option<Session>,
    /// What the probes measured.
    pub quality: Quality,
    /// The paths of the line, best first; nothing if it has one only.
    #[serde(default)]
    pub paths: Vec<PathStatus>,
    /// What went through.
    pub traffic: Traffic,
    /// Protection of voice against loss; none if the far end takes none, or the process is too old to say.
    pub protection: Option<Protection>,
    /// How fast this end sends; nothing if nothing limits it.
    #[serde(default)]
    pub rate: Option<RateStatus>,
    /// The internet connection that is shared, if this end has a part in it; none too if the process is too old to say.
    #[serde(default)]
    pub internet: Option<InternetStatus>,
    /// Services that are reached by name; none if the process is too old to say.
    #[serde(default)]
    pub ports: Vec<PortStatus>,
    /// What is relayed to find devices; none if nothing is, or the process is too old to say.
    #[serde(default)]
    pub discovery: Option<DiscoveryStatus>,
    /// The Ethernet of both offices as one; none if the line is not joined to this one's, or the process is too old to say.
    #[serde(default)]
    pub lan: Option<LanStatus>,
    /// What was dropped, by reason; only reasons that occurred.
    pub drops: BTreeMap<String, u64>,
    /// What needs somebody's attention, in sentences.
    pub alarms: Vec<String>,
    /// Which rights the process has kept.
    pub confinement: Confinement,
}

/// The common Ethernet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LanStatus {
    /// The line's device in the bridge.
    pub device: String,
    /// The bridge of this office.
    pub bridge: String,
    /// Whether the far end takes frames.
    pub far_end_takes: bool,
    /// Whether nothing goes across, because the offices are joined in another way as well.
    pub looped: bool,
    /// Frames that left for the other office.
    pub frames_out: u64,
    /// Their octets.
    pub bytes_out: u64,
    /// Frames that came from there.
    pub frames_in: u64,
    /// Their octets.
    pub bytes_in: u64,
    /// Questions for a far host's address that were answered here.
    pub answered: u64,
    /// Hosts of this office that are known.
    pub hosts_here: u64,
    /// Hosts of the other office that are known.
    pub hosts_there: u64,
    /// Frames that were kept from going across, by reason; only reasons that occurred.
    pub blocked: BTreeMap<String, u64>,
}

/// This end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Here {
    /// What it calls itself.
    pub name: String,
    /// Its public key.
    pub public_key: String,
    /// The public key (Ed25519) of its receipts, in hexadecimal; none if the process is too old to say.
    pub signing_key: Option<String>,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its network device, if it routes.
    pub device: Option<String>,
    /// Its address on the line.
    pub address: IpAddr,
    /// The largest IP packet of the line.
    pub mtu: u16,
    /// The networks it offers.
    pub offers: Vec<IpNet>,
    /// What the kernel does for many packets in one go; none if the process is too old to say.
    pub offload: Option<Offload>,
    /// Whether the threads that move packets run before other programs' (`SCHED_RR`); none if the process is too old to say.
    pub real_time: Option<bool>,
    /// Threads that move packets, for each direction; none if the process is too old to say.
    pub packet_threads: Option<usize>,
    /// Where files arrive.
    pub inbox: Option<PathBuf>,
    /// Files delivered into the inbox since the start.
    pub files_received: u64,
    /// Names that appeared in an inbox since the start and differ from another there by case or by Unicode's spellings of one character
    /// only; none if the process is too old to say.
    pub name_twins: Option<u64>,
}

/// What the kernel does for many packets in one go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Offload {
    /// What the network device gives and takes in one piece: `tcp-and-udp`, `tcp`, or `none`.
    pub device: Option<DeviceOffload>,
    /// Datagrams that one system call sends.
    pub datagrams_per_send: usize,
    /// Whether datagrams are received joined.
    pub joins_received: bool,
    /// Octets that may wait in the socket to be received.
    pub receive_buffer_bytes: usize,
}

/// What the network device gives and takes in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceOffload {
    /// Streams of TCP and runs of UDP.
    TcpAndUdp,
    /// Streams of TCP.
    Tcp,
    /// Nothing: one packet at a time.
    None,
}

/// The other end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FarEnd {
    /// What it is.
    pub kind: FarEndKind,
    /// What it calls itself.
    pub name: Option<String>,
    /// Program and version.
    pub software: Option<String>,
    /// Its public key, once it is known.
    pub public_key: Option<String>,
    /// The public key (Ed25519) of its receipts, in hexadecimal, once it is known.
    pub signing_key: Option<String>,
    /// Where it is reached.
    pub address: Option<SocketAddr>,
    /// Its address on the line.
    pub line_address: Option<IpAddr>,
    /// Its networks that are routed into the line here.
    pub accepted: Vec<IpNet>,
    /// Its networks that are not, and why.
    pub refused: Vec<RefusedOffer>,
    /// Networks of this end that the far end routes into the line.
    pub accepts_of_us: Vec<IpNet>,
    /// Networks of this end that the far end does not take, and why.
    pub refuses_of_us: Vec<RefusedOffer>,
    /// Whether it said that it is being taken down, and has not come back since.
    #[serde(default)]
    pub taken_down: bool,
    /// Whether the stream connection is up, which files and pipes need.
    pub streams: bool,
    /// Whether its datagrams come from another port than the one it listens on: a NAT lies between.
    #[serde(default)]
    pub behind_nat: bool,
    /// Octets of the longest packet that is known to pass the path in one datagram; none if the far end answers no probes of that.
    #[serde(default)]
    pub path_packet_len: Option<usize>,
}

/// The session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Session {
    /// Seconds since it was agreed.
    pub age_seconds: u64,
    /// Whether this end opened its handshake.
    pub initiator: bool,
    /// Packets sealed under it.
    pub packets_sent: u64,
    /// The cipher suite in each direction; none if the process is too old to say.
    pub cipher: Option<Cipher>,
}

/// With what packets are sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cipher {
    /// Those that this end sends.
    pub out: String,
    /// Those of the far end; none before the first.
    pub r#in: Option<String>,
}

/// How fast an end sends, in bits per second on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RateStatus {
    /// What may be sent now.
    pub now: Option<u64>,
    /// What the path is believed to carry; none unless that is to be found.
    pub found: Option<u64>,
    /// Why it is what it is: `start`, `climbing`, `delay`, `loss`, `cruising`, `ceiling` or `silence`; none unless it is to be found.
    pub why: Option<String>,
    /// For how long that has been so.
    pub since_seconds: Option<f64>,
    /// What the far end says that it can take in.
    pub far_end_takes: Option<u64>,
    /// How much later than at best datagrams arrive there.
    pub delay_seconds: f64,
    /// What of them is lost of late, from 0 to 1.
    pub loss: f64,
}

/// What this end does with internet connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InternetRole {
    /// The far end may use that of this end.
    Offers,
    /// This end uses that of the far end.
    Uses,
}

/// An internet connection that is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InternetStatus {
    /// Which part this end has in it.
    pub role: InternetRole,
    /// Whether IPv4 goes that way now.
    pub ipv4: bool,
    /// Whether IPv6 does.
    pub ipv6: bool,
    /// The devices of this machine that lead to the internet: by which the far end's packets go; or by which none of ours go.
    pub uplinks: Vec<String>,
    /// What this end uses it for; what cannot go that way now goes nowhere.
    pub networks: Vec<IpNet>,
    /// Why not all of it goes that way, in a sentence.
    pub why_not: Option<String>,
    /// Packets that were about to leave by this end's own connection and were dropped.
    pub stopped: Option<u64>,
}

/// Protection of voice against loss, each way, counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Protection {
    /// Whether repair packets are sent now.
    pub on: bool,
    /// Loss of our voice in the last ten seconds, in thousandths; none if the far end reported nothing.
    pub loss_per_mille: Option<u64>,
    /// Packets of voice sent with a number.
    pub packets_out: u64,
    /// Repair packets sent.
    pub repairs_out: u64,
    /// How many times the octets on the wire that they would have cost alone these packets cost; none before the first.
    pub cost: Option<f64>,
    /// Times that a repair packet had to wait, for it would have cost too much.
    pub withheld: u64,
    /// Packets of voice too large to be protected.
    pub too_large: u64,
    /// Packets of ours that did not arrive.
    pub lost_out: u64,
    /// Those of them that the far end made again.
    pub restored_out: u64,
    /// Packets of voice that came with a number.
    pub packets_in: u64,
    /// Packets that did not come and were made again.
    pub restored_in: u64,
    /// How much later than the others they were there, on average.
    pub restored_later_seconds: Option<f64>,
    /// What came and was not handed on, by reason; only reasons that occurred.
    pub drops: BTreeMap<String, u64>,
}

/// One of several paths of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PathStatus {
    /// Its number, the same at both ends; the first is 0.
    pub path: usize,
    /// Where this end listens on it.
    pub listen: Option<SocketAddr>,
    /// The device that it is bound to.
    pub device: Option<String>,
    /// Where the far end is reached on it.
    pub address: Option<SocketAddr>,
    /// Whether both ends hear each other on it.
    pub up: bool,
    /// For how long it is up, or is not.
    pub since_seconds: f64,
    /// Whether this end's packets go by it.
    pub carries: bool,
    /// Whether the far end's packets come by it.
    pub far_end_uses: bool,
    /// Whether voice goes by it a second time.
    pub copies: bool,
    /// The round trip of the last heartbeat.
    pub round_trip_seconds: Option<f64>,
    /// What of the far end's last 64 heartbeats did not come, from 0 to 1.
    pub lost_in: Option<f64>,
    /// What of ours did not arrive there.
    pub lost_out: Option<f64>,
}

/// A service of one office that is offered at the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PortStatus {
    /// What both ends call it.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Where this end offers it, if the service is at the far end.
    pub listen: Option<SocketAddr>,
    /// Where the service is, if it is at this end.
    pub to: Option<String>,
    /// Whether the far end is there, so that a new connection comes to something.
    pub is_ready: bool,
    /// Connections now, or clients of UDP.
    pub connections: u64,
    /// Those since the start.
    pub connections_total: u64,
    /// Octets to the far end.
    pub octets_out: u64,
    /// Octets from the far end.
    pub octets_in: u64,
    /// Connections that broke, at either side, and did not end.
    pub broken: u64,
    /// Connections, or datagrams of UDP, that went nowhere, by reason; only reasons that occurred.
    pub refused: BTreeMap<String, u64>,
    /// Why the last one was refused, until one is not.
    pub trouble: Option<String>,
}

/// What is relayed so that devices of one office are found in the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiscoveryStatus {
    /// The devices to the networks of this office.
    pub interfaces: Vec<String>,
    /// Whether the far end takes what is said here.
    pub is_open: bool,
    /// Why not, if something is in the way.
    pub trouble: Option<String>,
    /// Protocol by protocol.
    pub relay: Vec<RelayStatus>,
}

/// One protocol of discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RelayStatus {
    /// `mdns`, `ssdp`, `ws-discovery`, `netbios`.
    pub protocol: String,
    /// Questions and announcements to the far end.
    pub said_out: u64,
    /// Those from there.
    pub said_in: u64,
    /// Answers to the far end.
    pub answers_out: u64,
    /// Those from there.
    pub answers_in: u64,
    /// What was not relayed, by reason; only reasons that occurred.
    pub dropped: BTreeMap<String, u64>,
}

/// What the probes measured; times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Quality {
    /// Seconds since anything authentic came.
    pub heard_seconds_ago: Option<f64>,
    /// The last round trip.
    pub round_trip_seconds: Option<f64>,
    /// The smallest round trip.
    pub round_trip_min_seconds: Option<f64>,
    /// The smoothed round trip.
    pub round_trip_smoothed_seconds: Option<f64>,
    /// By how much the far end's wall clock is ahead of ours; negative if behind.
    pub clock_ahead_seconds: Option<f64>,
    /// Probes sent.
    pub probes_sent: u64,
    /// Probes answered.
    pub probes_answered: u64,
}

/// Packets and octets since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Traffic {
    /// Octets of sealed datagrams sent.
    pub sealed_bytes_out: u64,
    /// Octets of sealed datagrams opened.
    pub sealed_bytes_in: u64,
    /// IP packets sent.
    pub ip_packets_out: u64,
    /// Their octets.
    pub ip_bytes_out: u64,
    /// IP packets received.
    pub ip_packets_in: u64,
    /// Their octets.
    pub ip_bytes_in: u64,
    /// Labelled packets sent.
    pub labelled_packets_out: u64,
    /// Labelled packets received.
    pub labelled_packets_in: u64,
    /// Packets of calls that were sent packed; they are among the IP packets.
    #[serde(default)]
    pub packed_packets_out: u64,
    /// The bundles in which they were.
    #[serde(default)]
    pub packed_bundles_out: u64,
    /// Packets of calls that came packed.
    #[serde(default)]
    pub packed_packets_in: u64,
    /// Datagrams of voice that went by a second path as well.
    #[serde(default)]
    pub copies_out: u64,
}

/// Which rights the process has kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Confinement {
    /// Its capabilities.
    pub capabilities: Vec<String>,
    /// How much of the Landlock rules the kernel enforces.
    pub landlock: String,
    /// Whether the system call filter is in force.
    pub seccomp: String,
}

/// The answer of the local API to `ping`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pong {
    /// The round trip, without the time the far end held the probe; none if no answer came in time.
    pub round_trip_seconds: Option<f64>,
}

impl Status {
    /// Whether the far end is there now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == LineState::Up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first processes answered, which had the fewest fields.
    const OLDEST: &str = r#"{
        "line": "berlin", "state": "up", "pid": 1, "software": "tieline 0.1.0", "running-seconds": 60,
        "here": {
            "name": "a", "public-key": "K", "listen": "[::]:51820", "device": "berlin", "address": "fd00::1", "mtu": 1420,
            "offers": ["10.1.0.0/24"], "inbox": "/inbox", "files-received": 0
        },
        "far-end": {
            "kind": "tieline", "name": "b", "software": "tieline 0.1.0", "public-key": "L",
            "address": "198.51.100.7:51820", "line-address": "fd00::2", "accepted": [], "refused": [],
            "accepts-of-us": [], "refuses-of-us": [], "streams": true
        },
        "session": { "age-seconds": 5, "initiator": true, "packets-sent": 7 },
        "quality": {
            "heard-seconds-ago": 0.1, "round-trip-seconds": 0.03, "round-trip-min-seconds": 0.03,
            "round-trip-smoothed-seconds": 0.03, "clock-ahead-seconds": 0.0, "probes-sent": 1, "probes-answered": 1
        },
        "traffic": {
            "sealed-bytes-out": 0, "sealed-bytes-in": 0, "ip-packets-out": 0, "ip-bytes-out": 0, "ip-packets-in": 0,
            "ip-bytes-in": 0, "labelled-packets-out": 0, "labelled-packets-in": 0
        },
        "drops": {}, "alarms": [],
        "confinement": { "capabilities": [], "landlock": "in force", "seccomp": "in force" }
    }"#;

    #[test]
    fn answer_of_an_older_process_is_read_and_claims_nothing_that_it_does_not_say() {
        let status: Status = serde_json::from_str(OLDEST).unwrap();
        assert!(status.is_up());
        assert_eq!(status.here.offload, None);
        assert_eq!((status.here.signing_key, status.far_end.signing_key), (None, None));
        assert!(!status.far_end.taken_down && !status.far_end.behind_nat);
        assert_eq!(status.session.unwrap().cipher, None);
    }
}
