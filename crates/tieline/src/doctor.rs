//! What can be wrong with a line, and how each of it shows.
//!
//! A check looks at one thing and yields a [`Finding`]: a sentence that says what is so, why, and what to do. Checks of this
//! machine need no running line; the others read what the running end has counted, and measure.

pub(crate) mod leak;

use std::net::IpAddr;

use serde::Serialize;
use tieline_io::{
    privileges,
    sysctl::{self, IpVersion},
    tun,
    udp::{RECEIVE_BUFFER_BYTES, UdpError, UdpSocket},
};
use tieline_node::{
    api::client::Client,
    config::LineConfig,
    status::{DeviceOffload, FarEndKind, InternetRole, LineState, Offload, Status},
};

/// Clocks that are further apart than this make handshakes fail after restarts, and logs hard to compare.
const CLOCK_APART_SECONDS_MAX: f64 = 60.0;
/// Probes that are sent before the path counts as lossy or too narrow.
const PROBES: usize = 3;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing.
    Hint,
    /// Keeps the line from doing its work.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What it is, for programs.
    pub(crate) check: &'static str,
    pub(crate) severity: Severity,
    /// What is so and what to do, for people.
    pub(crate) sentence: String,
}

impl Finding {
    pub(crate) fn good(check: &'static str, sentence: impl Into<String>) -> Self {
        Self { check, severity: Severity::Good, sentence: sentence.into() }
    }

    pub(crate) fn hint(check: &'static str, sentence: impl Into<String>) -> Self {
        Self { check, severity: Severity::Hint, sentence: sentence.into() }
    }

    pub(crate) fn fault(check: &'static str, sentence: impl Into<String>) -> Self {
        Self { check, severity: Severity::Fault, sentence: sentence.into() }
    }
}

/// What this machine is and allows, whether the line runs or not.
pub(crate) fn check_machine(config: &LineConfig) -> Vec<Finding> {
    let mut findings = vec![Finding::good("configuration", "the configuration and the keys have no mistake")];
    for version in [IpVersion::V4, IpVersion::V6] {
        findings.extend(check_forwarding(config, version));
    }
    findings
}

/// Computers behind this end are only reached if this machine forwards.
fn check_forwarding(config: &LineConfig, version: IpVersion) -> Option<Finding> {
    let (name, key) = match version {
        IpVersion::V4 => ("IPv4", "net.ipv4.ip_forward"),
        IpVersion::V6 => ("IPv6", "net.ipv6.conf.all.forwarding"),
    };
    let behind = config.offer.iter().find(|offer| {
        let same = matches!(
            (offer.network(), version),
            (IpAddr::V4(_), IpVersion::V4) | (IpAddr::V6(_), IpVersion::V6)
        );
        same && offer.prefix_len() < offer.max_prefix_len()
    })?;
    Some(match sysctl::is_forwarding(version) {
        Ok(true) => Finding::good("forwarding", format!("this machine forwards {name}")),
        Ok(false) => Finding::fault(
            "forwarding",
            format!(
                "this machine does not forward {name}, so {behind} is not reached through it: `sysctl -w {key}=1`, and put it into /etc/sysctl.d to keep it"
            ),
        ),
        Err(error) => Finding::hint(
            "forwarding",
            format!("whether this machine forwards {name} cannot be read: {error}"),
        ),
    })
}

/// What would keep the line from coming up.
pub(crate) fn check_before_start(config: &LineConfig) -> Vec<Finding> {
    let line = &config.line;
    let mut findings =
        vec![Finding::fault("not-up", format!("the line is not up here: `tieline up {line}` brings it up"))];
    if config.routes || config.lan.is_some() {
        findings.push(check_rights());
    }
    findings.push(match UdpSocket::bind(config.listen) {
        Ok(_) => Finding::good("port", format!("UDP {} is free", config.listen)),
        Err(UdpError::InUse { address, .. }) => Finding::fault(
            "port",
            format!("UDP {address} is in use by another program: end that one (`ss -lunp` names it) or change `listen`"),
        ),
        Err(error) => Finding::fault("port", format!("{error}: change `listen`")),
    });
    findings
}

fn check_rights() -> Finding {
    if let Err(error) = tun::check_available() {
        return Finding::fault("permission", format!("{error}: run as root, or load the `tun` module"));
    }
    if privileges::may_administer_network() {
        return Finding::good("permission", "this user may make network devices");
    }
    Finding::fault(
        "permission",
        "this user may not make network devices: run as root, give the program CAP_NET_ADMIN, or set `routes = false` and leave out `[lan]`",
    )
}

/// What the running end has seen.
pub(crate) fn check_running(config: &LineConfig, status: &Status) -> Vec<Finding> {
    let mut findings = vec![check_far_end(config, status)];
    findings.extend(check_strangers(status));
    findings.extend(check_nat(status));
    findings.extend(check_networks(status));
    findings.extend(check_internet(status));
    findings.extend(check_clock(status));
    findings.extend(check_offload(status));
    findings.extend(check_scheduling(status));
    findings.extend(status.alarms.iter().map(|alarm| Finding::fault("alarm", alarm.clone())));
    if status.confinement.landlock != "in force" || status.confinement.seccomp != "in force" {
        let words = format!(
            "not all fences around the process stand (Landlock {}, seccomp {}); a newer kernel has them",
            status.confinement.landlock, status.confinement.seccomp
        );
        findings.push(Finding::hint("confinement", words));
    }
    findings
}

fn check_far_end(config: &LineConfig, status: &Status) -> Finding {
    let far = &status.far_end;
    let heard = status.quality.heard_seconds_ago;
    match (status.state, far.kind) {
        (LineState::Up, FarEndKind::Incompatible) => Finding::fault(
            "version",
            "the far end's tieline and this one have no version in common; update the older one; until then only IP passes",
        ),
        (LineState::Up, FarEndKind::IpOnly) => Finding::hint(
            "far-end",
            "the far end is plain WireGuard: IP passes; files, pipes and measurements need a tieline there",
        ),
        (LineState::Up, _) => Finding::good("far-end", "the far end is there"),
        (LineState::Inviting, _) => Finding::hint(
            "far-end",
            "nobody has joined yet: run `tieline join` with the invitation in the other office; if it was tried, UDP to this machine is blocked (see the address in the invitation, the router's port forwarding and the firewall)",
        ),
        (LineState::Silent | LineState::Waiting, _) if far.taken_down => Finding::fault(
            "far-end-down",
            "the far end was taken down over there: `tieline up` in the other office brings it up",
        ),
        (LineState::Silent, _) => Finding::fault(
            "no-answer",
            format!(
                "the far end was there and has not been heard for {:.0} s: its internet connection or its machine is down, or this one's is",
                heard.unwrap_or_default()
            ),
        ),
        (LineState::Waiting, _) => no_answer(config, status),
    }
}

/// Nobody answers; what has arrived nevertheless tells why.
fn no_answer(config: &LineConfig, status: &Status) -> Finding {
    let dropped = |reason: &str| status.drops.get(reason).copied().unwrap_or(0);
    let whom = match (&status.far_end.address, config.peer_addresses.first()) {
        (Some(address), _) => address.to_string(),
        (None, Some(configured)) => {
            return Finding::fault(
                "dns",
                format!(
                    "the far end's address {configured} cannot be found: check the name and this machine's DNS"
                ),
            );
        }
        (None, None) => {
            return Finding::fault(
                "no-answer",
                "the far end has not called, and this end does not know where it is: bring the other end up; if it is up, UDP to this machine is blocked",
            );
        }
    };
    if dropped("unknown-peer") > 0 {
        return Finding::fault(
            "wrong-key",
            format!(
                "somebody calls with a key that is not the far end's; if it is the far end at {whom}, its key has changed: compare `public-key` here with `tieline status` there"
            ),
        );
    }
    if dropped("bad-mac1") > 0 {
        return Finding::fault(
            "wrong-key",
            format!(
                "somebody calls who has a wrong public key for this end ({}): compare with `public-key` there",
                status.here.public_key
            ),
        );
    }
    if dropped("stale-timestamp") > 0 {
        return Finding::fault(
            "clock",
            "the far end's handshakes are older than ones it sent before: its clock has gone back; set it right there",
        );
    }
    if dropped("medium-refused") > 0 {
        return Finding::fault(
            "no-route",
            format!("this machine cannot send to {whom}: no route, or a firewall here forbids it"),
        );
    }
    Finding::fault(
        "no-answer",
        format!(
            "no answer from {whom}: the far end is down, the address is wrong, a firewall or router there does not pass UDP to it, or it has another key for this end"
        ),
    )
}

fn check_strangers(status: &Status) -> Option<Finding> {
    const STRANGERS: [&str; 5] = ["bad-mac1", "unknown-peer", "no-proof", "spent-invitation", "replayed"];
    let count: u64 = STRANGERS.iter().filter_map(|reason| status.drops.get(*reason)).sum();
    (count > 0 && status.is_up()).then(|| {
        Finding::hint("strangers", format!("{count} datagrams of others were ignored; nobody got an answer"))
    })
}

fn check_nat(status: &Status) -> Option<Finding> {
    status.far_end.behind_nat.then(|| {
        Finding::hint(
            "nat",
            "the far end is behind a NAT: it must call first after a long silence; the line's own probes keep the NAT open while both ends are up",
        )
    })
}

fn check_networks(status: &Status) -> Vec<Finding> {
    let far = &status.far_end;
    let here = far.refused.iter().map(|refused| {
        format!("the far end's network {} is not reached from here: {}", refused.network, refused.reason)
    });
    let there = far.refuses_of_us.iter().map(|refused| {
        format!("our network {} is not reached from the far end: {}", refused.network, refused.reason)
    });
    here.chain(there).map(|sentence| Finding::fault("networks", sentence)).collect()
}

/// Whether the internet connection that is to be shared is.
fn check_internet(status: &Status) -> Option<Finding> {
    let internet = status.internet.as_ref()?;
    let uplinks = internet.uplinks.join(", ");
    Some(match (&internet.why_not, internet.role) {
        (None, InternetRole::Offers) => Finding::good(
            "internet",
            format!("the far end may use the internet connection here, by {uplinks}"),
        ),
        (None, InternetRole::Uses) => {
            Finding::good("internet", "the internet is reached by way of the far end")
        }
        (Some(why), InternetRole::Offers) if internet.ipv4 || internet.ipv6 => {
            Finding::hint("internet", format!("the internet connection here is offered in part: {why}"))
        }
        (Some(why), InternetRole::Offers) => {
            Finding::fault("internet", format!("the internet connection here cannot be offered: {why}"))
        }
        (Some(why), InternetRole::Uses) if internet.ipv4 || internet.ipv6 => {
            Finding::hint("internet", format!("the internet is reached by way of the far end in part: {why}"))
        }
        (Some(why), InternetRole::Uses) => {
            Finding::fault("internet", format!("the internet is not reached by way of the far end: {why}"))
        }
    })
}

fn check_clock(status: &Status) -> Option<Finding> {
    let ahead = status.quality.clock_ahead_seconds?;
    if ahead.abs() <= CLOCK_APART_SECONDS_MAX {
        return Some(Finding::good("clock", "the clocks of both ends agree"));
    }
    let way = if ahead > 0.0 { "ahead of" } else { "behind" };
    Some(Finding::hint(
        "clock",
        format!(
            "the far end's clock is {:.0} s {way} this one: set the wrong one right (`timedatectl`)",
            ahead.abs()
        ),
    ))
}

/// Whether packets wait for other programs of this machine.
fn check_scheduling(status: &Status) -> Option<Finding> {
    (!status.here.real_time?).then(|| {
        Finding::hint(
            "real-time",
            "where this machine is busy, calls wait some milliseconds for other programs: run as root with CAP_SYS_NICE, or give the process the limit RTPRIO 1 (systemd: LimitRTPRIO=1)",
        )
    })
}

/// Whether many packets are moved in one go, and how much may wait for that.
fn check_offload(status: &Status) -> Vec<Finding> {
    let Some(offload) = &status.here.offload else {
        let words = "whether many packets are moved in one go is unknown: the process is older than this program; take the line down and up again";
        return vec![Finding::hint("offload", words)];
    };
    let &Offload { device, datagrams_per_send, joins_received, receive_buffer_bytes } = offload;
    let parts = [
        (device == Some(DeviceOffload::None)).then_some("the network device gives one packet at a time"),
        (device == Some(DeviceOffload::Tcp))
            .then_some("the network device joins TCP but not UDP (Linux 6.2 does)"),
        (datagrams_per_send <= 1).then_some("each datagram is sent by itself (UDP_SEGMENT, Linux 4.18)"),
        (!joins_received).then_some("each datagram is received by itself (UDP_GRO, Linux 5.0)"),
    ];
    let missing: Vec<_> = parts.into_iter().flatten().collect();
    let mut findings = vec![if missing.is_empty() {
        let of_device = if device.is_some() { "the network device and " } else { "" };
        Finding::good("offload", format!("{of_device}the UDP socket move many packets in one go"))
    } else {
        Finding::hint("offload", format!("slower than need be: {}", missing.join("; ")))
    }];
    if receive_buffer_bytes < RECEIVE_BUFFER_BYTES {
        findings.push(Finding::hint(
            "receive-buffer",
            format!(
                "the kernel grants {receive_buffer_bytes} of {RECEIVE_BUFFER_BYTES} octets for what waits to be received, so bursts may be lost: `sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}`"
            ),
        ));
    }
    findings
}

/// Whether packets of the line's full size pass.
pub(crate) async fn check_path(client: &Client, status: &Status) -> Option<Finding> {
    if !status.is_up() || status.far_end.kind != FarEndKind::Tieline {
        return None;
    }
    let mtu = status.here.mtu;
    let (small, full) = (answered(client, 0).await, answered(client, mtu).await);
    Some(match (small, full) {
        (_, true) => Finding::good("mtu", format!("packets of the full {mtu} octets pass both ways")),
        (true, false) => Finding::fault(
            "mtu",
            format!(
                "small packets pass but those of {mtu} octets do not: the path is narrower; set `mtu` at both ends to {} or find the largest that passes with `tieline ping {} --size N`",
                mtu.saturating_sub(80).max(1280),
                status.line
            ),
        ),
        (false, false) => {
            Finding::fault("loss", format!("none of {PROBES} probes was answered: the path loses packets"))
        }
    })
}

async fn answered(client: &Client, size: u16) -> bool {
    for _ in 0..PROBES {
        if client.ping(size).await.is_ok_and(|pong| pong.round_trip_seconds.is_some()) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that is up and well, changed as `change` says.
    fn status(change: impl FnOnce(&mut Status)) -> Status {
        let mut status: Status = serde_json::from_value(serde_json::json!({
            "line": "berlin", "state": "up", "pid": 1, "software": "tieline", "running-seconds": 60,
            "here": {
                "name": "a", "public-key": "K", "listen": "[::]:51820", "device": "berlin", "address": "fd00::1",
                "mtu": 1420, "offers": [], "inbox": null, "files-received": 0,
                "offload": {
                    "device": "tcp-and-udp", "datagrams-per-send": 64, "joins-received": true,
                    "receive-buffer-bytes": RECEIVE_BUFFER_BYTES
                },
                "real-time": true
            },
            "far-end": {
                "kind": "tieline", "name": "b", "software": "tieline", "public-key": "L",
                "address": "198.51.100.7:51820", "line-address": null, "accepted": [], "refused": [],
                "accepts-of-us": [], "refuses-of-us": [], "taken-down": false, "streams": true, "behind-nat": false
            },
            "session": null,
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
        }))
        .unwrap();
        change(&mut status);
        status
    }

    fn config() -> LineConfig {
        let name = "berlin".parse().unwrap();
        let defaults = tieline_node::config::Defaults { name: "a".into(), inbox: "/inbox".into() };
        LineConfig::parse(&name, "berlin.toml".as_ref(), "", &defaults).unwrap()
    }

    fn checks(change: impl FnOnce(&mut Status)) -> Vec<(&'static str, Severity)> {
        let findings = check_running(&config(), &status(change));
        findings.iter().map(|finding| (finding.check, finding.severity)).collect()
    }

    fn waiting_with(reason: &str) -> Vec<(&'static str, Severity)> {
        checks(|status| {
            status.state = LineState::Waiting;
            status.drops.insert(reason.to_owned(), 3);
        })
    }

    #[test]
    fn healthy_line_has_no_fault() {
        assert_eq!(
            checks(|_| {}),
            [("far-end", Severity::Good), ("clock", Severity::Good), ("offload", Severity::Good)]
        );
    }

    #[test]
    fn what_has_arrived_tells_why_nobody_answers() {
        for (reason, check) in [
            ("unknown-peer", "wrong-key"),
            ("bad-mac1", "wrong-key"),
            ("stale-timestamp", "clock"),
            ("medium-refused", "no-route"),
            ("too-short", "no-answer"),
        ] {
            assert_eq!(waiting_with(reason)[0], (check, Severity::Fault), "{reason}");
        }
    }

    #[test]
    fn each_trouble_of_a_running_line_is_found() {
        let refused = || tieline_wire::control::RefusedOffer {
            network: "10.1.0.0/24".parse().unwrap(),
            reason: "it overlaps".into(),
        };
        let fault = |check| (check, Severity::Fault);
        let hint = |check| (check, Severity::Hint);
        assert!(checks(|s| s.state = LineState::Silent).contains(&fault("no-answer")));
        assert!(checks(|s| s.far_end.kind = FarEndKind::IpOnly).contains(&hint("far-end")));
        assert!(checks(|s| s.far_end.kind = FarEndKind::Incompatible).contains(&fault("version")));
        assert!(checks(|s| s.far_end.behind_nat = true).contains(&hint("nat")));
        let internet = |role, ipv4, why: Option<&str>| {
            let internet = tieline_node::status::InternetStatus {
                role,
                ipv4,
                ipv6: ipv4,
                uplinks: vec!["eth0".into()],
                networks: vec![],
                why_not: why.map(str::to_owned),
                stopped: None,
            };
            checks(|s| s.internet = Some(internet))
        };
        for role in [InternetRole::Offers, InternetRole::Uses] {
            assert!(internet(role, true, None).contains(&("internet", Severity::Good)));
            assert!(internet(role, true, Some("no IPv6")).contains(&hint("internet")));
            assert!(internet(role, false, Some("nothing")).contains(&fault("internet")));
        }
        assert!(checks(|s| s.far_end.refused.push(refused())).contains(&fault("networks")));
        assert!(checks(|s| s.far_end.refuses_of_us.push(refused())).contains(&fault("networks")));
        assert!(checks(|s| s.quality.clock_ahead_seconds = Some(-3600.0)).contains(&hint("clock")));
        assert!(checks(|s| s.alarms.push("the key is in use twice".into())).contains(&fault("alarm")));
        assert!(
            checks(|s| s.confinement.landlock = "not in force: old".into()).contains(&hint("confinement"))
        );
        assert!(!checks(|_| ()).iter().any(|(_, severity)| *severity != Severity::Good));
        let slow = checks(|s| {
            s.here.offload = Some(Offload {
                device: Some(DeviceOffload::Tcp),
                datagrams_per_send: 1,
                joins_received: false,
                receive_buffer_bytes: 212_992,
            });
        });
        assert!(slow.contains(&hint("offload")) && slow.contains(&hint("receive-buffer")));
        assert!(checks(|s| s.here.offload = None).contains(&hint("offload")), "an older process");
        assert!(checks(|s| s.here.real_time = Some(false)).contains(&hint("real-time")));
        let gone = checks(|s| (s.state, s.far_end.taken_down) = (LineState::Silent, true));
        assert!(gone.contains(&fault("far-end-down")));
    }

    #[test]
    fn port_that_another_program_has_is_named() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut config = config();
        (config.listen, config.routes) = (taken.local_addr().unwrap(), false);
        let findings = check_before_start(&config);
        assert!(findings.iter().any(|found| found.check == "port" && found.severity == Severity::Fault));
    }
}
