//! Which servers give out addresses. An office has one, or two that know of each other; another one is a router that somebody has plugged in,
//! and from then on some get addresses that lead nowhere.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use tieline_wire::ethernet::MacAddress;

use super::{LanAlarm, Side, is_fresh};

/// Servers that are known at once; the one that was silent for longest goes.
pub const SERVERS_MAX: usize = 4;
/// A server that was silent for so long is forgotten.
pub const SERVER_KEPT: Duration = Duration::from_secs(3600);

/// A server of DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// The card from which it speaks.
    pub card: MacAddress,
    /// Who it says it is.
    pub address: Ipv4Addr,
}

#[derive(Debug, Default)]
pub(super) struct Servers(Vec<(Server, Side, Instant)>);

impl Servers {
    /// Notes that `server` has spoken in an office, and says what somebody must be told of that. `is_common`: whether what it says goes across.
    pub(super) fn note(
        &mut self,
        now: Instant,
        side: Side,
        server: Server,
        is_common: bool,
    ) -> Option<LanAlarm> {
        self.0.retain(|(_, _, seen)| is_fresh(now, *seen, SERVER_KEPT));
        if let Some(known) = self.0.iter_mut().find(|(known, at, _)| (*known, *at) == (server, side)) {
            known.2 = now;
            return None;
        }
        let other = self.0.iter().find(|(_, at, _)| is_common || *at == side).map(|(other, ..)| *other);
        if self.0.len() == SERVERS_MAX
            && let Some(oldest) = (0..SERVERS_MAX).min_by_key(|index| self.0[*index].2)
        {
            self.0.remove(oldest);
        }
        self.0.push((server, side, now));
        match other {
            _ if side == Side::Far && !is_common => Some(LanAlarm::FarDhcpServer(server)),
            Some(other) => Some(LanAlarm::TwoDhcpServers([other, server])),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u8) -> Server {
        Server { card: MacAddress([2, 0, 0, 0, 0, number]), address: [10, 0, 0, number].into() }
    }

    #[test]
    fn one_server_in_each_office_is_in_order_where_each_has_its_own() {
        let now = Instant::now();
        let mut servers = Servers::default();
        assert_eq!(servers.note(now, Side::Near, server(1), false), None);
        assert_eq!(servers.note(now, Side::Near, server(1), false), None);
        let second = servers.note(now, Side::Near, server(2), false);
        assert_eq!(second, Some(LanAlarm::TwoDhcpServers([server(1), server(2)])));
        let far = servers.note(now, Side::Far, server(3), false);
        assert_eq!(far, Some(LanAlarm::FarDhcpServer(server(3))));
        assert_eq!(servers.note(now, Side::Far, server(3), false), None, "told once");
    }

    #[test]
    fn two_servers_of_one_network_are_told_wherever_they_are_until_one_was_silent_for_long() {
        let now = Instant::now();
        let mut servers = Servers::default();
        assert_eq!(servers.note(now, Side::Near, server(1), true), None);
        assert_eq!(servers.note(now + SERVER_KEPT, Side::Far, server(2), true), None);
        let both = servers.note(now + SERVER_KEPT, Side::Near, server(1), true);
        assert_eq!(both, Some(LanAlarm::TwoDhcpServers([server(2), server(1)])));
    }

    #[test]
    fn made_up_servers_take_no_more_than_there_is_room() {
        let mut servers = Servers::default();
        let start = Instant::now();
        for number in 0..100 {
            servers.note(start + Duration::from_millis(number), Side::Near, server(number as u8), false);
            assert!(servers.0.len() <= SERVERS_MAX);
        }
    }
}
