//! What the common Ethernet has to say: alarms as sentences, figures for the status.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use tieline_line::lan::{Blocked, LanAlarm, LoopSign, Server, Side, StormKind};

use super::Engine;
use crate::status::LanStatus;

impl Engine {
    /// Something of the offices' networks needs somebody's attention.
    pub(super) fn on_lan_alarm(&mut self, alarm: LanAlarm) {
        let sentence = sentence(alarm);
        tracing::error!("{sentence}");
        self.alarms.raise(sentence);
    }

    /// How the common Ethernet is, if the line is joined to one.
    pub(super) fn lan_status(&self) -> Option<LanStatus> {
        let (port, joined) = (self.parts.ports.lan.as_ref()?, self.parts.joined.as_ref()?);
        let shared = &self.parts.ports.shared;
        let figures = &shared.lan;
        let ((frames_out, bytes_out), (frames_in, bytes_in)) = (figures.out.read(), figures.inwards.read());
        let blocked = Blocked::ALL.iter().map(|reason| (reason.as_str().to_owned(), figures.read(*reason)));
        let [hosts_here, hosts_there] = [0, 1].map(|side| figures.hosts[side].load(Ordering::Relaxed));
        Some(LanStatus {
            device: port.device().name().to_owned(),
            bridge: joined.bridge().to_owned(),
            far_end_takes: shared.labels.to_lan().is_some(),
            looped: figures.is_looped.load(Ordering::Relaxed),
            frames_out,
            bytes_out,
            frames_in,
            bytes_in,
            answered: figures.answered.load(Ordering::Relaxed),
            hosts_here,
            hosts_there,
            blocked: blocked.filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>(),
        })
    }
}

/// What is wrong, why, and what to do.
fn sentence(alarm: LanAlarm) -> String {
    match alarm {
        LanAlarm::Loop(sign) => {
            let cause = match sign {
                LoopSign::OwnProbe => {
                    "a loop in this office's network: what this end sent into it came back; look for a cable with both ends in one switch".to_owned()
                }
                LoopSign::FarProbe => {
                    "a loop: the two offices are joined in another way as well, by a cable, a tunnel or a second line; take that away, or `[lan]` out of this line".to_owned()
                }
                LoopSign::BackAndForth(card) => format!(
                    "a loop: {card} is seen in this office and in the other one again and again, so the two are joined in another way as well; take that away, or `[lan]` out of this line"
                ),
            };
            format!("{cause}; until it is gone no frame goes across")
        }
        LanAlarm::Storm { side, kind, source, limit } => {
            let to = match kind {
                StormKind::Broadcast => "to all",
                StormKind::Multicast => "to groups",
                StormKind::Unknown => "to hosts nobody knows",
            };
            let office = match side {
                Side::Near => "this office",
                Side::Far => "the far office",
            };
            format!(
                "a storm in {office}: far more than {limit} frames a second {to}, the last one from {source}; what is more is dropped; find that machine, or a loop behind it"
            )
        }
        LanAlarm::TwoDhcpServers([one, other]) => format!(
            "two DHCP servers answer in one network: {} and {}; if one of them is not yours, somebody has plugged in a router: take it away",
            server(one),
            server(other)
        ),
        LanAlarm::FarDhcpServer(one) => format!(
            "a DHCP server of the far office, {}, answers over the line, and is kept out here; set `lan.dhcp` alike at both ends",
            server(one)
        ),
    }
}

fn server(Server { card, address }: Server) -> String {
    format!("{address} ({card})")
}

#[cfg(test)]
mod tests {
    use tieline_wire::ethernet::MacAddress;

    use super::*;

    #[test]
    fn every_alarm_names_its_cause_and_what_to_do() {
        let card = MacAddress([2, 0, 0, 0, 0, 7]);
        let one = Server { card, address: [10, 1, 0, 1].into() };
        let storm =
            LanAlarm::Storm { side: Side::Far, kind: StormKind::Broadcast, source: card, limit: 1000 };
        for (alarm, cause) in [
            (LanAlarm::Loop(LoopSign::OwnProbe), "a cable with both ends in one switch"),
            (LanAlarm::Loop(LoopSign::FarProbe), "joined in another way as well"),
            (LanAlarm::Loop(LoopSign::BackAndForth(card)), "02:00:00:00:00:07 is seen in this office"),
            (storm, "a storm in the far office: far more than 1000 frames a second to all"),
            (LanAlarm::TwoDhcpServers([one, one]), "10.1.0.1 (02:00:00:00:00:07)"),
            (LanAlarm::FarDhcpServer(one), "set `lan.dhcp` alike at both ends"),
        ] {
            assert!(sentence(alarm).contains(cause), "{alarm:?}");
        }
    }
}
