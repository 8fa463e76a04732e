//! Rules: by which table the machine routes what (`ip rule`).

use std::fmt;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::route::{RouteHeader, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange};
use rtnetlink::packet_route::{AddressFamily, IpProtocol};

use super::{Netlink, NetlinkError, ROUTE_PROTOCOL, undone};
use crate::sysctl::IpVersion;

/// The device that packets of this machine itself come from, as rules see it.
const LOOPBACK: &str = "lo";

/// A rule of ours: packets that it is for are routed by its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// Which packets.
    pub version: IpVersion,
    /// Which of them.
    pub selector: Selector,
    /// By which table.
    pub table: u32,
    /// In which order, of all rules; the least first.
    pub priority: u32,
}

/// Which packets a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// All.
    All,
    /// UDP that a program gave this mark (`SO_MARK`).
    MarkedUdp(u32),
    /// UDP that this machine sends from this port; and, as the kernel asks for the way back of what came in (RFC 3704), UDP to it. For that
    /// the kernel must look at ports, which it does only if there is a rule for a protocol that is not for this machine's packets alone,
    /// such as [`Self::MarkedUdp`].
    OwnUdpPort(u16),
}

impl Netlink {
    /// Lists the rules of ours, both IP versions.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn policy_rules(&self) -> Result<Vec<PolicyRule>, NetlinkError> {
        let mut rules = Vec::new();
        for version in [IpVersion::V4, IpVersion::V6] {
            let asked = match version {
                IpVersion::V4 => rtnetlink::IpVersion::V4,
                IpVersion::V6 => rtnetlink::IpVersion::V6,
            };
            let answers = self.handle.rule().get(asked).execute().try_collect::<Vec<_>>().await;
            let answers = answers.map_err(|error| NetlinkError::new("list the routing rules", error))?;
            rules.extend(answers.iter().filter_map(|message| PolicyRule::from_message(version, message)));
        }
        Ok(rules)
    }

    /// Adds a rule, unless it is there.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn add_policy_rule(&self, rule: &PolicyRule) -> Result<(), NetlinkError> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule.to_message();
        let result = request.execute().await;
        match result.map_err(|error| NetlinkError::new(format!("add the routing rule {rule}"), error)) {
            Err(NetlinkError::Exists { .. }) => Ok(()),
            result => result,
        }
    }

    /// Removes a rule of ours; returns whether it was there.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub async fn remove_policy_rule(&self, rule: &PolicyRule) -> Result<bool, NetlinkError> {
        let result = self.handle.rule().del(rule.to_message()).execute().await;
        let result =
            result.map_err(|error| NetlinkError::new(format!("remove the routing rule {rule}"), error));
        match result {
            // What this call says of a rule that is not there.
            Err(NetlinkError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
                Ok(false)
            }
            result => undone(result),
        }
    }
}

impl PolicyRule {
    fn to_message(self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = match self.version {
            IpVersion::V4 => AddressFamily::Inet,
            IpVersion::V6 => AddressFamily::Inet6,
        };
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
        message.attributes = vec![
            RuleAttribute::Table(self.table),
            RuleAttribute::Priority(self.priority),
            RuleAttribute::Protocol(RouteProtocol::from(ROUTE_PROTOCOL)),
        ];
        match self.selector {
            Selector::All => {}
            Selector::MarkedUdp(mark) => message
                .attributes
                .extend([RuleAttribute::FwMark(mark), RuleAttribute::IpProtocol(IpProtocol::Udp)]),
            Selector::OwnUdpPort(port) => message.attributes.extend([
                RuleAttribute::Iifname(LOOPBACK.to_owned()),
                RuleAttribute::IpProtocol(IpProtocol::Udp),
                RuleAttribute::SourcePortRange(RulePortRange { start: port, end: port }),
            ]),
        }
        message
    }

    fn from_message(version: IpVersion, message: &RuleMessage) -> Option<Self> {
        let mut rule =
            Self { version, selector: Selector::All, table: message.header.table.into(), priority: 0 };
        let mut is_ours = false;
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Table(table) => rule.table = *table,
                RuleAttribute::Priority(priority) => rule.priority = *priority,
                RuleAttribute::FwMark(mark) => rule.selector = Selector::MarkedUdp(*mark),
                RuleAttribute::SourcePortRange(range) => rule.selector = Selector::OwnUdpPort(range.start),
                RuleAttribute::Protocol(protocol) => is_ours = u8::from(*protocol) == ROUTE_PROTOCOL,
                _ => {}
            }
        }
        is_ours.then_some(rule)
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to table {}", self.priority, self.table)
    }
}
