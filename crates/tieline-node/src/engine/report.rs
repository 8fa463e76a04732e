//! The control task's account of itself: [`Status`].

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use tieline_io::{tun, udp::Capacity};
use tieline_line::{
    counters::{Counters, DropReason},
    greeting::FarEnd as Greeted,
    liveness::Reachability,
};
use tieline_seal::Role;
use tieline_wire::time::Now;

use super::Engine;
use crate::{
    offers,
    packet_path::Ports,
    status::{
        Cipher, DeviceOffload, FarEnd, FarEndKind, Here, LineState, Offload, PathStatus, Protection, Quality,
        RateStatus, Session, Status, Traffic,
    },
};

impl Engine {
    /// How things are now.
    pub(super) fn report(&mut self) -> Status {
        let now = Now::from_system();
        let session = self.parts.control.session().status(now);
        let config = &self.parts.line.config;
        Status {
            line: config.line.to_string(),
            state: self.state(session.session.is_some()),
            pid: std::process::id(),
            software: crate::SOFTWARE.to_owned(),
            running_seconds: self.started.elapsed().as_secs(),
            here: self.here(),
            far_end: self.far_end(),
            session: session.session.map(|session| Session {
                age_seconds: session.age.as_secs(),
                initiator: session.role == Role::Initiator,
                packets_sent: session.packets_sent,
                cipher: Some(Cipher {
                    out: session.cipher_out.to_string(),
                    r#in: session.cipher_in.map(|suite| suite.to_string()),
                }),
            }),
            quality: self.quality(now),
            paths: self.paths(now.monotonic),
            traffic: traffic(&self.parts.ports.shared.counters, &session),
            protection: self.protection(),
            rate: self.rate_status(),
            internet: self.internet_status(),
            ports: self.parts.office_ports.status(self.parts.streams.is_far_end_there()),
            discovery: self.parts.discovery.status(),
            lan: self.lan_status(),
            drops: self.drops(),
            alarms: self.alarms.sentences(),
            confinement: self.parts.confinement.clone(),
        }
    }

    fn state(&self, has_session: bool) -> LineState {
        if self.peer().is_none() {
            LineState::Inviting
        } else if self.is_far_end_down() || self.parts.control.reachability() == Reachability::Silent {
            LineState::Silent
        } else if has_session {
            LineState::Up
        } else {
            LineState::Waiting
        }
    }

    fn here(&self) -> Here {
        let config = &self.parts.line.config;
        let key = self.parts.line.secrets.private_key.public_key();
        let ports = &self.parts.ports;
        Here {
            name: config.name.clone(),
            public_key: key.to_string(),
            signing_key: Some(self.parts.keys.own().to_string()),
            listen: ports.medium.first().local_addr().unwrap_or(config.listen),
            device: ports.device.as_ref().map(|device| device.name().to_owned()),
            address: offers::line_address(&key).into(),
            mtu: config.mtu,
            offers: self.parts.hello.offers.clone(),
            offload: Some(offload(ports)),
            real_time: Some(self.parts.real_time),
            packet_threads: Some(ports.lanes()),
            inbox: self.parts.takes_files.then(|| config.inbox.clone()),
            files_received: self.files_received,
            name_twins: Some(self.name_twins),
        }
    }

    fn far_end(&self) -> FarEnd {
        let kind = match self.parts.control.far_end() {
            Greeted::Unknown => FarEndKind::Unknown,
            Greeted::Tieline(_) => FarEndKind::Tieline,
            Greeted::IpOnly => FarEndKind::IpOnly,
            Greeted::Incompatible(_) => FarEndKind::Incompatible,
        };
        let peer = self.peer();
        FarEnd {
            kind,
            name: self
                .far_hello
                .as_ref()
                .map(|hello| hello.name.clone())
                .or_else(|| self.parts.state.peer_name.clone()),
            software: self.far_hello.as_ref().map(|hello| hello.software.clone()),
            public_key: peer.map(|key| key.to_string()),
            signing_key: self.parts.keys.far_end().map(|key| key.to_string()),
            address: self.parts.control.address(),
            line_address: peer.map(|key| IpAddr::from(offers::line_address(&key))),
            accepted: self.decision.accepted.clone(),
            refused: self.decision.refused.clone(),
            accepts_of_us: self.of_us.accepted.clone(),
            refuses_of_us: self.of_us.refused.clone(),
            taken_down: self.is_far_end_down(),
            streams: self.parts.streams.is_connected(),
            behind_nat: self.far_hello.as_ref().is_some_and(|hello| {
                // The port of its hello is that of its first path.
                let first = self.parts.control.first_address();
                hello.port != 0 && first.is_some_and(|address| address.port() != hello.port)
            }),
            path_packet_len: self.parts.control.path_mtu().known(),
        }
    }

    fn paths(&self, now: Instant) -> Vec<PathStatus> {
        let medium = &self.parts.ports.medium;
        let listens: Vec<_> = medium.local_addresses().collect();
        let share = |per_mille: Option<u16>| per_mille.map(|lost| f64::from(lost) / 1000.0);
        let row = |path: tieline_line::paths::PathStatus| PathStatus {
            path: path.path.number(),
            listen: listens.get(path.socket).copied().flatten(),
            device: medium.device(path.path.number()).map(str::to_owned),
            address: path.remote,
            up: path.is_up,
            since_seconds: now.saturating_duration_since(path.since).as_secs_f64(),
            carries: path.carries,
            far_end_uses: path.far_end_uses,
            copies: path.copies,
            round_trip_seconds: path.round_trip.map(|time| time.as_secs_f64()),
            lost_in: share(path.lost_in),
            lost_out: share(path.lost_out),
        };
        self.parts.control.path_status(now).into_iter().map(row).collect()
    }

    fn quality(&self, now: Now) -> Quality {
        let measured = self.parts.control.measured();
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        let heard = self.parts.control.session().last_received();
        Quality {
            heard_seconds_ago: seconds(heard.map(|heard| now.monotonic.saturating_duration_since(heard))),
            round_trip_seconds: seconds(measured.round_trip_last),
            round_trip_min_seconds: seconds(measured.round_trip_min),
            round_trip_smoothed_seconds: seconds(measured.round_trip_smoothed),
            clock_ahead_seconds: measured.clock_ahead_seconds,
            probes_sent: measured.sent,
            probes_answered: measured.answered,
        }
    }

    fn rate_status(&self) -> Option<RateStatus> {
        let now = Instant::now();
        let status = self.rate.status(now);
        let is_found = self.rate.is_found();
        (is_found || status.now.is_some()).then(|| RateStatus {
            now: status.now,
            found: status.estimate,
            why: is_found.then(|| status.reason.as_str().to_owned()),
            since_seconds: is_found.then(|| now.saturating_duration_since(status.since).as_secs_f64()),
            far_end_takes: status.far_ceiling,
            delay_seconds: status.delay.as_secs_f64(),
            loss: status.loss,
        })
    }

    fn protection(&self) -> Option<Protection> {
        let figures = &self.parts.ports.shared.protection;
        self.parts.ports.shared.labels.to_protect()?;
        let (sent, received, reports) = (figures.sent(), figures.received(), self.parts.control.protection());
        let ratio = |a: u64, b: u64| (b > 0).then(|| a as f64 / b as f64);
        let drops = [
            ("copies", received.copies),
            ("behind", received.behind),
            ("too-late", received.too_late),
            ("malformed", received.malformed),
            ("contradictions", received.contradictions),
        ];
        Some(Protection {
            on: figures.is_on(),
            loss_per_mille: reports.loss_per_mille(),
            packets_out: sent.sources,
            repairs_out: sent.repairs,
            cost: ratio(sent.octets, sent.octets_alone),
            withheld: sent.withheld,
            too_large: sent.too_large,
            lost_out: reports.lost(),
            restored_out: reports.restored(),
            packets_in: received.received,
            restored_in: received.restored,
            restored_later_seconds: ratio(received.restored_late_micros, received.restored)
                .map(|micros| micros / 1e6),
            drops: drops
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(reason, count)| (reason.to_owned(), count))
                .collect(),
        })
    }

    fn drops(&self) -> BTreeMap<String, u64> {
        let session = self.parts.drops.snapshot().map(|(reason, count)| (reason.as_str().to_owned(), count));
        let counters = &self.parts.ports.shared.counters;
        // What the kernel dropped before anybody here saw it.
        let kernel = self.parts.ports.medium.dropped_by_kernel();
        let kernel = std::iter::once(("receive-buffer-full".to_owned(), kernel));
        let line = DropReason::ALL.iter().map(|reason| (reason.as_str().to_owned(), counters.drops(*reason)));
        let stray = ("stray-datagram".to_owned(), self.parts.office_ports.stray_datagrams());
        session.chain(line).chain(kernel).chain([stray]).filter(|(_, count)| *count > 0).collect()
    }
}

fn offload(ports: &Ports) -> Offload {
    let Capacity { datagrams_per_send, joins_received, receive_buffer_bytes } = ports.medium.capacity();
    let device = ports.device.as_ref().map(|device| match device.offload() {
        tun::Offload::TcpAndUdp => DeviceOffload::TcpAndUdp,
        tun::Offload::Tcp => DeviceOffload::Tcp,
        tun::Offload::None => DeviceOffload::None,
    });
    Offload { device, datagrams_per_send, joins_received, receive_buffer_bytes }
}

fn traffic(counters: &Counters, session: &tieline_seal::Status) -> Traffic {
    let (ip_packets_out, ip_bytes_out) = counters.ip_out.read();
    let (ip_packets_in, ip_bytes_in) = counters.ip_in.read();
    Traffic {
        sealed_bytes_out: session.sent_bytes,
        sealed_bytes_in: session.received_bytes,
        ip_packets_out,
        ip_bytes_out,
        ip_packets_in,
        ip_bytes_in,
        labelled_packets_out: counters.labelled_out.read().0,
        labelled_packets_in: counters.labelled_in.read().0,
        packed_packets_out: counters.packed_out.read().0,
        packed_bundles_out: counters.bundles_out.read().0,
        packed_packets_in: counters.unpacked_in.read().0,
        copies_out: counters.copied_out.read().0,
    }
}
