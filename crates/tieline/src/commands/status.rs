//! `status`: how a line is, for people and for programs.

use std::fmt::{self, Write as _};

use clap::Args;
use serde::Serialize;
use tieline_node::{
    api::client::{Client, ClientError},
    places::{LineName, Places},
    status::{
        Cipher, DiscoveryStatus, FarEndKind, InternetRole, InternetStatus, LanStatus, LineState, PathStatus,
        PortStatus, Protection, RateStatus, Status, Traffic,
    },
};

use crate::args::Reporting;
use crate::failure::{CommandError, Exit, Failure};
use crate::{output, process};

/// Show how a line is
///
/// Without a name, all lines that are configured here. The exit status is 0 if the line (each line) is up and its far end is
/// there, 1 if not.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The line [default: all that are configured]
    name: Option<LineName>,

    #[command(flatten)]
    pub(crate) reporting: Reporting,
}

/// A line is not up. The status has said so already.
#[derive(Debug, thiserror::Error)]
#[error("not every line is up")]
struct NotUp;

impl CommandError for NotUp {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn is_silent(&self) -> bool {
        true
    }
}

/// All lines that were asked for.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Lines(Vec<Row>);

/// One line: running, or why it cannot be asked.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    Running(Box<Status>),
    Down { line: LineName, error: String },
}

/// Asks and tells.
///
/// # Errors
///
/// If a line is not up, or its far end not there.
pub(crate) fn run(places: &Places, args: &StatusArgs) -> Result<(), Failure> {
    if let Some(name) = &args.name {
        let status = process::runtime()?.block_on(Client::new(&places.files(name).socket).status())?;
        output::report(args.reporting.json, &super::up::Up(status.clone()))?;
        return if status.is_up() { Ok(()) } else { Err(NotUp.into()) };
    }
    let names = places.lines()?;
    let rows: Vec<Row> = process::runtime()?.block_on(async {
        let mut rows = Vec::new();
        for line in names {
            rows.push(match Client::new(&places.files(&line).socket).status().await {
                Ok(status) => Row::Running(Box::new(status)),
                Err(ClientError::NotUp { .. }) => Row::Down { line, error: "down".to_owned() },
                Err(error) => Row::Down { line, error: error.to_string() },
            });
        }
        rows
    });
    let all_up = rows.iter().all(|row| matches!(row, Row::Running(status) if status.is_up()));
    output::report(args.reporting.json, &Lines(rows))?;
    if all_up { Ok(()) } else { Err(NotUp.into()) }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(
                f,
                "no line is configured here; `tieline new` makes one, `tieline join` takes an invitation"
            );
        }
        for (number, row) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            match row {
                Row::Running(status) => f.write_str(&to_text(status))?,
                Row::Down { line, error } => writeln!(f, "{:>12}  {line} — {error}", "line")?,
            }
        }
        Ok(())
    }
}

/// The status as a person reads it, one thing a row.
#[must_use]
pub(crate) fn to_text(status: &Status) -> String {
    let mut page = Page::default();
    page.row("line", &format!("{} — {}", status.line, headline(status)));
    page.row("far end", &far_end(status));
    if let Some(address) = status.far_end.address {
        page.row("reached at", &address.to_string());
    }
    page.row("listening", &status.here.listen.to_string());
    if let Some(device) = &status.here.device {
        page.row("device", &format!("{device}, {} (MTU {})", status.here.address, status.here.mtu));
    }
    if let Some(address) = status.far_end.line_address.filter(|_| status.here.device.is_some()) {
        page.row("far address", &address.to_string());
    }
    if let Some(len) = status.far_end.path_packet_len.filter(|len| *len < status.here.mtu.into()) {
        page.row("path", &format!("takes packets of up to {len} octets whole; longer ones may not arrive"));
    }
    networks(&mut page, status);
    if let Some(internet) = &status.internet {
        page.row("internet", &internet_in_words(internet));
    }
    page.row("round trip", &round_trip(status));
    for one in &status.paths {
        page.row("path", &path(one));
    }
    if let Some(session) = &status.session {
        let opened = if session.initiator { "opened here" } else { "opened by the far end" };
        page.row("session", &format!("{} old, {opened}", seconds(session.age_seconds)));
        page.row("cipher", &cipher(session.cipher.as_ref()));
    }
    let traffic = &status.traffic;
    page.row(
        "traffic",
        &format!(
            "{} out, {} in; {} and {} IP packets",
            octets(traffic.sealed_bytes_out),
            octets(traffic.sealed_bytes_in),
            traffic.ip_packets_out,
            traffic.ip_packets_in
        ),
    );
    if let Some(rate) = status.rate.as_ref().and_then(rate) {
        page.row("rate", &rate);
    }
    if let Some(protection) = status.protection.as_ref().and_then(protection) {
        page.row("voice", &protection);
    }
    if let Some(packed) = packed(&status.traffic) {
        page.row("packed", &packed);
    }
    if let Some(lan) = &status.lan {
        common_ethernet(&mut page, lan);
    }
    page.row("streams", if status.far_end.streams { "connected" } else { "not connected" });
    if let Some(inbox) = &status.here.inbox {
        page.row("inbox", &format!("{} ({} files received)", inbox.display(), status.here.files_received));
    }
    if let Some(twins) = status.here.name_twins.filter(|twins| *twins > 0) {
        page.row(
            "names",
            &format!("{twins} differ from another by case or spelling only; the log names them"),
        );
    }
    for port in &status.ports {
        page.row("port", &self::port(port));
    }
    if let Some(discovery) = &status.discovery {
        self::discovery(&mut page, discovery);
    }
    for (reason, count) in &status.drops {
        page.row("dropped", &format!("{count} × {}", drop_in_words(reason)));
    }
    for alarm in &status.alarms {
        page.row("ALARM", alarm);
    }
    page.row("process", &format!("{}, up for {}", status.pid, seconds(status.running_seconds)));
    page.0
}

/// How one of several paths is.
fn path(path: &PathStatus) -> String {
    let address = path.address.map_or_else(|| "address not known".to_owned(), |address| address.to_string());
    let by = path.device.as_ref().map(|device| format!(" by {device}")).unwrap_or_default();
    let since = seconds(path.since_seconds as u64);
    if !path.up {
        let carries = if path.carries { ", and no other is up" } else { "" };
        return format!("{} to {address}{by}: down for {since}{carries}", path.path);
    }
    let role = match (path.carries, path.copies) {
        (true, _) => "carries",
        (false, true) => "carries copies of voice",
        (false, false) => "stands by",
    };
    let round_trip = path.round_trip_seconds.map_or_else(
        || "round trip not known".to_owned(),
        |seconds| format!("round trip {:.1} ms", seconds * 1000.0),
    );
    let percent = |lost: Option<f64>| lost.unwrap_or(0.0) * 100.0;
    format!(
        "{} to {address}{by}: {role}, up for {since}, {round_trip}, lost {:.1} % out, {:.1} % in",
        path.path,
        percent(path.lost_out),
        percent(path.lost_in)
    )
}

/// The Ethernet of both offices: what goes across, and what does not.
fn common_ethernet(page: &mut Page, lan: &LanStatus) {
    let LanStatus { device, bridge, frames_out, frames_in, hosts_here, hosts_there, answered, .. } = lan;
    let state = match (lan.looped, lan.far_end_takes) {
        (true, _) => "nothing goes across because of a loop",
        (false, true) => "joined",
        (false, false) => "the far end takes no frames yet: it needs `[lan]` as well",
    };
    page.row("ethernet", &format!("{device} in {bridge}, {state}"));
    page.row(
        "frames",
        &format!(
            "{frames_out} out, {frames_in} in; {hosts_here} hosts here, {hosts_there} there; {answered} questions for addresses answered here"
        ),
    );
    for (reason, count) in &lan.blocked {
        page.row("kept here", &format!("{count} × {}", kept_in_words(reason)));
    }
}

/// Why a frame did not go across.
fn kept_in_words(reason: &str) -> String {
    let words = match reason {
        "dhcp" => "DHCP: each office has its own",
        "dhcpv6" => "DHCPv6: each office has its own",
        "router-advertisement" => "an IPv6 router that says it is one: each office has its own",
        "link-local" => "spanning tree and others that are for the next switch only",
        "same-side" => "frames for a host of the same office",
        "broadcast-storm" => "more frames to all than go across",
        "multicast-storm" => "more frames to groups than go across",
        "unknown-storm" => "more frames to hosts nobody knows than go across",
        "loop" => "frames while there was a loop",
        "too-large" => "frames longer than the office's Ethernet has",
        "no-far-end" => "frames while the far end took none",
        _ => return reason.replace(['-', '_'], " "),
    };
    format!("{words} [{reason}]")
}

/// How fast this end sends, and why no faster.
fn rate(rate: &RateStatus) -> Option<String> {
    let now = rate.now? as f64 / 1e6;
    let why = match rate.why.as_deref() {
        None => "as configured".to_owned(),
        Some("start") => "nothing is known of the path yet".to_owned(),
        Some("climbing") => "found so far, and rising".to_owned(),
        Some("delay") => "packets were late: what waits on the path is let off".to_owned(),
        Some("loss") => "packets were lost: what waits on the path is let off".to_owned(),
        Some("cruising") => "a little below what the path carries".to_owned(),
        Some("ceiling") => "the most that is configured, here or there".to_owned(),
        Some("silence") => "no reports come from the far end".to_owned(),
        Some(other) => other.to_owned(),
    };
    Some(format!("{now:.1} Mbit/s out, {why}"))
}

/// What is known of the loss of voice; nothing before the first packet.
fn protection(protection: &Protection) -> Option<String> {
    if protection.packets_out + protection.packets_in == 0 {
        return None;
    }
    let loss = protection.loss_per_mille.map_or_else(
        || "loss not known".to_owned(),
        |loss| format!("{}.{} % lost in the last ten seconds", loss / 10, loss % 10),
    );
    let on = if protection.on { "protected" } else { "not protected" };
    Some(format!(
        "{on}, {loss}; made again {} of {} lost out, {} in",
        protection.restored_out, protection.lost_out, protection.restored_in
    ))
}

/// How much was saved on calls; nothing while none were packed.
fn packed(traffic: &Traffic) -> Option<String> {
    let Traffic { packed_packets_out: sent, packed_bundles_out: bundles, packed_packets_in: came, .. } =
        *traffic;
    (sent + came > 0).then(|| format!("{sent} packets of calls went in {bundles}, {came} came packed"))
}

/// A port: where it leads, what goes on, and what is in the way.
fn port(port: &PortStatus) -> String {
    let way = match (&port.listen, &port.to) {
        (Some(listen), _) => format!("offered at {listen}"),
        (None, to) => format!("leads to {}", to.as_deref().unwrap_or("nowhere")),
    };
    let unit = if port.protocol == "udp" { "clients" } else { "connections" };
    let mut said = format!(
        "{} ({}) {way}: {} {unit} now, {} in all, {} out, {} in",
        port.name,
        port.protocol,
        port.connections,
        port.connections_total,
        octets(port.octets_out),
        octets(port.octets_in)
    );
    if port.broken > 0 {
        let _ = write!(said, ", {} broken", port.broken);
    }
    for (reason, count) in &port.refused {
        let _ = write!(said, ", {count} × {}", reason.replace('-', " "));
    }
    match &port.trouble {
        Some(trouble) => _ = write!(said, "; refused: {trouble}"),
        None if !port.is_ready && port.listen.is_some() => {
            said.push_str("; refuses: the far end is not there")
        }
        None => {}
    }
    said
}

/// What is relayed to find devices, one protocol a row.
fn discovery(page: &mut Page, discovery: &DiscoveryStatus) {
    for relay in &discovery.relay {
        let mut said = format!(
            "{} on {}: {} out with {} answers back, {} in with {} answers back",
            relay.protocol,
            discovery.interfaces.join(", "),
            relay.said_out,
            relay.answers_in,
            relay.said_in,
            relay.answers_out
        );
        for (reason, count) in &relay.dropped {
            let _ = write!(said, ", {count} × {}", reason.replace('-', " "));
        }
        page.row("discovery", &said);
    }
    match &discovery.trouble {
        Some(trouble) => page.row("discovery", &format!("nothing is relayed: {trouble}")),
        None if !discovery.is_open => page.row("discovery", "nothing is relayed yet"),
        None => {}
    }
}

fn headline(status: &Status) -> &'static str {
    match (status.state, status.far_end.kind) {
        (LineState::Inviting, _) => {
            "waiting for the other office to join; nobody has used the invitation yet"
        }
        (LineState::Waiting, _) => {
            "waiting for the far end, which has not answered; `tieline doctor` looks for the reason"
        }
        (LineState::Silent, _) => "the far end is not heard any more; `tieline doctor` looks for the reason",
        (LineState::Up, FarEndKind::Tieline) => "up",
        (LineState::Up, FarEndKind::IpOnly) => "up, IP only: the far end is plain WireGuard",
        (LineState::Up, FarEndKind::Incompatible) => {
            "up, IP only: the far end's tieline is of another age, update the older one"
        }
        (LineState::Up, FarEndKind::Unknown) => "up, asking the far end what it is",
    }
}

fn far_end(status: &Status) -> String {
    let far = &status.far_end;
    let mut words = far.name.clone().unwrap_or_else(|| "not known yet".to_owned());
    if let Some(software) = &far.software {
        let _ = write!(words, " ({software})");
    }
    if let Some(key) = &far.public_key {
        let _ = write!(words, ", key {key}");
    }
    words
}

fn networks(page: &mut Page, status: &Status) {
    let far = &status.far_end;
    for network in &far.accepted {
        page.row("reaches", &network.to_string());
    }
    for refused in &far.refused {
        page.row("not reached", &format!("{}: {}", refused.network, refused.reason));
    }
    for offer in &status.here.offers {
        let taken = if far.accepts_of_us.contains(offer) {
            "taken by the far end"
        } else {
            "not taken by the far end yet"
        };
        let refused = far.refuses_of_us.iter().find(|refused| refused.network == *offer);
        let words =
            refused.map_or_else(|| taken.to_owned(), |refused| format!("refused: {}", refused.reason));
        page.row("offers", &format!("{offer}, {words}"));
    }
}

fn internet_in_words(internet: &InternetStatus) -> String {
    let versions = match (internet.ipv4, internet.ipv6) {
        (true, true) => "IPv4 and IPv6",
        (true, false) => "IPv4",
        (false, true) => "IPv6",
        (false, false) => "nothing yet",
    };
    let uplinks = internet.uplinks.join(", ");
    let mut words = match internet.role {
        InternetRole::Offers => format!("offered to the far end: {versions}, by {uplinks}"),
        InternetRole::Uses => format!("by way of the far end: {versions}; never by {uplinks}"),
    };
    if let Some(why) = &internet.why_not {
        let _ = write!(words, "; {why}");
    }
    if let Some(stopped) = internet.stopped.filter(|stopped| *stopped > 0) {
        let _ = write!(words, "; {stopped} packets were stopped there");
    }
    words
}

fn round_trip(status: &Status) -> String {
    let quality = &status.quality;
    let Some(last) = quality.round_trip_seconds else { return "not measured".to_owned() };
    let millis = |seconds: Option<f64>| format!("{:.1}", seconds.unwrap_or(last) * 1000.0);
    format!(
        "{} ms (least {}, usual {}), {} of {} probes answered",
        millis(Some(last)),
        millis(quality.round_trip_min_seconds),
        millis(quality.round_trip_smoothed_seconds),
        quality.probes_answered,
        quality.probes_sent
    )
}

/// One name if both directions have the same.
fn cipher(cipher: Option<&Cipher>) -> String {
    match cipher {
        None => "unknown: the process is older than this program and does not say".to_owned(),
        Some(Cipher { out, r#in: Some(suite) }) if suite != out => format!("{out} out, {suite} in"),
        Some(Cipher { out, .. }) => out.clone(),
    }
}

/// A reason of the counters as somebody says it who is not a network specialist.
fn drop_in_words(reason: &str) -> String {
    let words = match reason {
        "bad-mac1" => "datagrams of strangers who do not know this end's key",
        "unknown-receiver" => "datagrams that belong to no session (a stranger's, or late after a restart)",
        "replayed" => "datagrams that were sent a second time (a replay)",
        "second-copy" => "datagrams that had come by another path already",
        "not-authentic" => "datagrams that were forged or damaged",
        "unknown-peer" => "attempts with a key that is not the far end's",
        "no-proof" => "attempts to join without the invitation",
        "spent-invitation" => "attempts to join with an invitation that is spent",
        "stale-timestamp" => "handshakes that were replayed, or of a far end whose clock went back",
        "source-not-accepted" => "packets from networks that are not accepted",
        _ => return reason.replace(['-', '_'], " "),
    };
    format!("{words} [{reason}]")
}

/// A duration as people say it.
#[must_use]
pub(crate) fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// An amount of octets as people say it.
#[must_use]
pub(crate) fn octets(octets: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut amount = octets as f64;
    let mut unit = 0;
    while amount >= 1000.0 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{octets} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn row(&mut self, what: &str, value: &str) {
        let _ = writeln!(self.0, "{what:>12}  {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_durations_are_said_as_people_say_them() {
        assert_eq!(octets(999), "999 B");
        assert_eq!(octets(1_500_000), "1.5 MB");
        assert_eq!(seconds(59), "59 s");
        assert_eq!(seconds(3_725), "1 h 2 min");
        assert_eq!(seconds(90_000), "1 days 1 h");
    }

    #[test]
    fn a_path_is_told_with_what_it_is_for_and_how_good_it_is() {
        let standing_by = PathStatus {
            path: 1,
            listen: None,
            device: Some("eth1".to_owned()),
            address: Some("192.0.2.7:51820".parse().unwrap()),
            up: true,
            since_seconds: 61.5,
            carries: false,
            far_end_uses: false,
            copies: false,
            round_trip_seconds: Some(0.0251),
            lost_in: Some(0.0),
            lost_out: Some(0.0625),
        };
        assert_eq!(
            path(&standing_by),
            "1 to 192.0.2.7:51820 by eth1: stands by, up for 1 min 1 s, round trip 25.1 ms, lost 6.2 % out, 0.0 % in"
        );
        let copying =
            PathStatus { copies: true, device: None, round_trip_seconds: None, ..standing_by.clone() };
        assert!(
            path(&copying).contains("51820: carries copies of voice, up for 1 min 1 s, round trip not known")
        );
        let down = PathStatus { up: false, carries: true, address: None, ..standing_by };
        assert_eq!(path(&down), "1 to address not known by eth1: down for 1 min 1 s, and no other is up");
    }

    #[test]
    fn protection_is_told_once_somebody_speaks() {
        let silent = Protection { on: true, ..Protection::default() };
        assert_eq!(protection(&silent), None);
        let heard = Protection { packets_in: 9, restored_in: 1, ..Protection::default() };
        assert_eq!(
            protection(&heard).unwrap(),
            "not protected, loss not known; made again 0 of 0 lost out, 1 in"
        );
        let lossy = Protection {
            loss_per_mille: Some(21),
            packets_out: 500,
            lost_out: 10,
            restored_out: 10,
            ..silent
        };
        assert_eq!(
            protection(&lossy).unwrap(),
            "protected, 2.1 % lost in the last ten seconds; made again 10 of 10 lost out, 0 in"
        );
    }

    #[test]
    fn a_port_says_where_it_leads_and_what_is_in_the_way() {
        let to = PortStatus { name: "intranet".into(), protocol: "tcp".into(), ..PortStatus::default() };
        let offered = PortStatus {
            listen: Some(([127, 0, 0, 1], 8080).into()),
            connections_total: 3,
            broken: 1,
            refused: [("line-down".to_owned(), 2)].into(),
            ..to.clone()
        };
        let to = PortStatus { to: Some("h:80".into()), trouble: Some("no".into()), ..to };
        assert_eq!(
            port(&to),
            "intranet (tcp) leads to h:80: 0 connections now, 0 in all, 0 B out, 0 B in; refused: no"
        );
        assert_eq!(
            port(&offered),
            "intranet (tcp) offered at 127.0.0.1:8080: 0 connections now, 3 in all, 0 B out, 0 B in, 1 broken, 2 × line down; refuses: the far end is not there"
        );
    }

    #[test]
    fn the_common_ethernet_is_told_with_what_was_kept_from_it() {
        let blocked = [("dhcp".to_owned(), 3)].into();
        let (device, bridge) = ("berlin-lan".into(), "br0".into());
        let lan =
            LanStatus { device, bridge, frames_out: 7, hosts_there: 2, blocked, ..LanStatus::default() };
        let mut page = Page::default();
        common_ethernet(&mut page, &lan);
        for part in [
            "berlin-lan in br0, the far end takes no frames yet",
            "7 out, 0 in; 0 hosts here, 2 there",
            "kept here  3 × DHCP: each office has its own [dhcp]",
        ] {
            assert!(page.0.contains(part), "{}", page.0);
        }
    }

    #[test]
    fn a_cipher_is_said_once_unless_the_directions_differ() {
        let said = |out: &str, r#in: Option<&str>| {
            cipher(Some(&Cipher { out: out.to_owned(), r#in: r#in.map(str::to_owned) }))
        };
        assert_eq!(said("AES-256-GCM", None), "AES-256-GCM");
        assert_eq!(said("AES-256-GCM", Some("AES-256-GCM")), "AES-256-GCM");
        assert_eq!(said("AES-256-GCM", Some("ChaCha20-Poly1305")), "AES-256-GCM out, ChaCha20-Poly1305 in");
    }

    #[test]
    fn a_cipher_that_an_older_process_does_not_say_is_unknown() {
        assert!(cipher(None).starts_with("unknown"));
    }

    #[test]
    fn unknown_reasons_are_shown_as_they_are() {
        assert_eq!(drop_in_words("medium-refused"), "medium refused");
        assert!(drop_in_words("replayed").contains("replay"));
    }
}
