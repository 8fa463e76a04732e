//! The control task's part in a shared internet connection: what the far end offers, and what it may use, decides what is set up.

use ipnet::IpNet;
use tieline_line::{accept::AcceptTable, greeting::FarEnd};
use tieline_wire::control::Internet as Offered;

use super::Engine;
use crate::{
    internet::{self, Internet, own_networks},
    offers,
    status::{InternetRole, InternetStatus},
};

impl Engine {
    /// Makes it so for the far end's `networks`, and lets in what follows from it.
    pub(super) async fn settle_internet(&mut self, accepted: AcceptTable, networks: &[IpNet]) -> AcceptTable {
        let offered = self.offered_internet();
        let line_address = offers::line_address(&self.parts.line.secrets.private_key.public_key());
        let sources = match &self.parts.network {
            Some(network) => network.sources().await,
            None => Vec::new(),
        };
        let (table, result) = match &mut self.parts.internet {
            None => return accepted,
            Some(Internet::Offer(offer)) => match offer.settle(networks).await {
                Ok(state) => {
                    self.parts.streams.set_internet(state.offered);
                    (accepted, Ok(()))
                }
                Err(error) => (accepted, Err(error)),
            },
            Some(Internet::Use(steering)) => {
                let own = own_networks(&self.parts.line.config, line_address);
                let carried = internet::carried(steering.used(), offered.unwrap_or_default());
                let result = steering.settle(&carried, &own, &sources).await;
                (accepted.with_internet(steering.carried(), &own), result)
            }
        };
        self.internet_fault = result.err().map(|error| {
            tracing::error!(%error, "the internet connection is not shared as it should be");
            error.to_string()
        });
        table
    }

    /// What of its internet connection the far end offers, or offered last. A far end that cannot say so is believed to offer what the
    /// operator uses: nothing goes another way in any case.
    fn offered_internet(&self) -> Option<Offered> {
        match (self.parts.control.far_end(), &self.far_hello) {
            (FarEnd::IpOnly, _) => Some(Offered { ipv4: true, ipv6: true }),
            (_, Some(hello)) => hello.internet,
            (_, None) => self.parts.state.peer_internet,
        }
    }

    pub(super) fn internet_status(&mut self) -> Option<InternetStatus> {
        let offered = self.offered_internet();
        let fault = self.internet_fault.clone();
        let stopped = self.parts.internet.as_mut()?.stopped();
        Some(match self.parts.internet.as_ref()? {
            Internet::Offer(offer) => {
                let state = offer.state();
                InternetStatus {
                    role: InternetRole::Offers,
                    ipv4: state.offered.ipv4,
                    ipv6: state.offered.ipv6,
                    uplinks: state.uplinks.clone(),
                    networks: Vec::new(),
                    why_not: fault.or_else(|| state.why_not.clone()),
                    stopped: None,
                }
            }
            Internet::Use(steering) => {
                let carries = |v4| steering.carried().iter().any(|network| network.addr().is_ipv4() == v4);
                let uses = |v4| steering.used().iter().any(|network| network.addr().is_ipv4() == v4);
                let why_not = match offered {
                    None => Some("the far end does not offer its internet connection: write `internet.offer = true` there".to_owned()),
                    Some(offered) => [(true, offered.ipv4, "IPv4"), (false, offered.ipv6, "IPv6")]
                        .into_iter()
                        .find(|(v4, is_offered, _)| uses(*v4) && !is_offered)
                        .map(|(.., name)| format!("the far end's internet connection has no {name}, so it is blocked here")),
                };
                InternetStatus {
                    role: InternetRole::Uses,
                    ipv4: carries(true),
                    ipv6: carries(false),
                    uplinks: steering.uplinks().to_vec(),
                    networks: steering.used().to_vec(),
                    why_not: fault.or(why_not),
                    stopped,
                }
            }
        })
    }
}
