//! Whether networks given on the command line can be offered together.

use ipnet::IpNet;
use tieline_node::config::subnet::overlap;

use crate::failure::{CommandError, Exit};

/// Networks that exclude each other; each pair is told.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.sentences())]
pub(crate) struct OffersError(Vec<(IpNet, IpNet)>);

impl CommandError for OffersError {
    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}

impl OffersError {
    fn sentences(&self) -> String {
        let sentences: Vec<String> = self.0.iter().map(|(one, other)| sentence(one, other)).collect();
        sentences.join("\n")
    }
}

/// Checks that no network is there twice or overlaps another.
///
/// # Errors
///
/// [`OffersError`] with all that do.
pub(crate) fn check(offers: &[IpNet]) -> Result<(), OffersError> {
    let mut clashes = Vec::new();
    for (index, one) in offers.iter().enumerate() {
        clashes
            .extend(offers[..index].iter().filter(|other| overlap(one, other)).map(|other| (*one, *other)));
    }
    if clashes.is_empty() { Ok(()) } else { Err(OffersError(clashes)) }
}

fn sentence(one: &IpNet, other: &IpNet) -> String {
    if one == other {
        format!("--offer {one} is there twice; remove one")
    } else {
        format!("--offer {one} overlaps --offer {other}; offer the larger one alone")
    }
}
