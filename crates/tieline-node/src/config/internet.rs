//! Sharing an internet connection: `[internet]`.
//!
//! | key | default | range | why it is there |
//! |---|---|---|---|
//! | `offer` | `false` | | the far end may use this end's internet connection |
//! | `by` | where the default routes lead | the name of a network device | with `offer`: which connection, if there are several |
//! | `use` | none | `"everything"`, or at most 256 networks | what goes to the internet by way of the far end, and by no other way |
//! | `dns` | none | an address, or two, one of each version of IP | with `use`: who is asked for names instead of whoever would be asked |

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::SUBNETS_MAX;
use super::document::{At, OneOrMany, Table};
use super::excerpt::excerpt;
use super::mistake::Mistake;
use super::problems::Collector;
use super::subnet::parse_subnet;
use super::typed::{convert_each, convert_some, device};

/// Addresses in `dns`: one of each version of IP.
const DNS_MAX: usize = 2;

/// What this end does with internet connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum InternetConfig {
    /// Nothing.
    #[default]
    None,
    /// The far end may use that of this end.
    Offer {
        /// By which device; if none, where the default routes lead.
        by: Option<String>,
    },
    /// This end uses that of the far end.
    Use {
        /// What goes that way.
        networks: Used,
        /// Who is asked for names instead of whoever would be asked; at most one of each version of IP.
        dns: Vec<IpAddr>,
    },
}

/// What goes to the internet by way of the far end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Used {
    /// All of it, of both versions of IP.
    Everything,
    /// What is for these networks.
    Only(Vec<IpNet>),
}

impl InternetConfig {
    /// The networks that are reached by way of the far end and no other way; everything is two.
    #[must_use]
    pub fn used(&self) -> Vec<IpNet> {
        match self {
            Self::Use { networks: Used::Everything, .. } => {
                vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
            }
            Self::Use { networks: Used::Only(networks), .. } => networks.clone(),
            Self::None | Self::Offer { .. } => Vec::new(),
        }
    }

    /// Whether this end offers its connection.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        matches!(self, Self::Offer { .. })
    }
}

/// `[internet]` as the file has it.
#[derive(Debug)]
pub(super) struct WrittenInternet {
    offer: Option<At<bool>>,
    by: Option<At<String>>,
    used: Option<OneOrMany>,
    dns: Option<OneOrMany>,
}

/// Takes `[internet]` out of the file.
pub(super) fn read(file: &mut Table<'_>, problems: &mut Collector<'_>) -> WrittenInternet {
    let mut table = file.table("internet", "internet.", problems);
    let written = WrittenInternet {
        offer: table.boolean("offer", problems),
        by: table.text("by", problems),
        used: table.text_or_texts("use", SUBNETS_MAX, problems),
        dns: table.text_or_texts("dns", DNS_MAX, problems),
    };
    table.finish(problems);
    written
}

impl WrittenInternet {
    /// The places of keys that do something only where IP is routed.
    pub(super) fn places(&self) -> impl Iterator<Item = At<()>> {
        let offer = self.offer.as_ref().filter(|offer| offer.value).map(|offer| offer.clone().map(drop));
        offer.into_iter().chain(self.used.as_ref().map(place))
    }

    /// Turns it into what this end does; what is wrong is noted.
    pub(super) fn convert(self, problems: &mut Collector<'_>) -> InternetConfig {
        let offers = self.offer.as_ref().is_some_and(|offer| offer.value);
        if let (true, Some(used)) = (offers, &self.used) {
            place(used).wrong(problems, Mistake::OffersAndUsesInternet);
        }
        if let (false, Some(by)) = (offers, &self.by) {
            by.wrong(problems, Mistake::NeedsKey("offer = true"));
        }
        if let (None, Some(dns)) = (&self.used, &self.dns) {
            place(dns).wrong(problems, Mistake::NeedsKey("use"));
        }
        let by = convert_some(self.by, problems, device);
        let dns = self.dns.map(|dns| addresses(dns, problems)).unwrap_or_default();
        match self.used {
            Some(used) => InternetConfig::Use { networks: networks(used, problems), dns },
            None if offers => InternetConfig::Offer { by },
            None => InternetConfig::None,
        }
    }
}

fn networks(written: OneOrMany, problems: &mut Collector<'_>) -> Used {
    match written {
        OneOrMany::One(word) => {
            if word.value != "everything" {
                word.wrong(problems, Mistake::InternetUse(excerpt(&word.value)));
            }
            Used::Everything
        }
        OneOrMany::Many(list) => {
            let networks = convert_each(list, problems, |text| Ok(parse_subnet(text)?));
            Used::Only(networks.into_iter().map(|network| network.value).collect())
        }
    }
}

fn addresses(written: OneOrMany, problems: &mut Collector<'_>) -> Vec<IpAddr> {
    let list = match written {
        OneOrMany::One(one) => one.clone().map(|_| vec![one]),
        OneOrMany::Many(many) => many,
    };
    let mut found: Vec<IpAddr> = Vec::new();
    for address in convert_each(list, problems, resolver) {
        match found.iter().find(|other| other.is_ipv4() == address.value.is_ipv4()) {
            Some(other) => {
                let other = other.to_string();
                address.wrong(problems, Mistake::SecondResolver { other });
            }
            None => found.push(address.value),
        }
    }
    found
}

fn resolver(text: &str) -> Result<IpAddr, Mistake> {
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback();
    text.parse().ok().filter(usable).ok_or_else(|| Mistake::Resolver(excerpt(text)))
}

fn place(written: &OneOrMany) -> At<()> {
    match written {
        OneOrMany::One(one) => one.clone().map(drop),
        OneOrMany::Many(many) => many.clone().map(drop),
    }
}
