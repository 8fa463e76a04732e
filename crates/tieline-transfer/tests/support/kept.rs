//! What an end keeps of its transfers, read whole, and whether it is sound.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use tieline_transfer::Journal;
use tieline_transfer::audit::Link;
use tieline_transfer::proof::{Broken, Proof, Sound};
use tieline_transfer::receipt::{Group, Receipt};

use super::receiver_keys;

/// Every group, verified.
pub(crate) fn groups(journal: &Journal) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut after = 0;
    loop {
        let page = journal.kept_groups(after).unwrap();
        let Some(last) = page.last() else { return groups };
        after = last.last;
        for kept in page {
            let group = Group::parse(&kept.octets).unwrap();
            group.verify(&receiver_keys().own()).unwrap();
            assert_eq!(kept.digest, group.digest());
            groups.push(group);
        }
    }
}

pub(crate) fn receipts(journal: &Journal) -> Vec<Receipt> {
    groups(journal).into_iter().flat_map(Group::into_receipts).collect()
}

pub(crate) fn log(journal: &Journal) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    loop {
        let page = journal.kept_links(links.last().map_or(0, |link| link.number)).unwrap();
        if page.is_empty() {
            return links;
        }
        links.extend(page.iter().map(|kept| kept.link().unwrap()));
    }
}

/// What `tieline receipts --verify` finds.
pub(crate) fn proof_of(journal: &Journal) -> Result<Sound, Broken> {
    let mut proof = Proof::new(journal.known_keys().unwrap(), journal.extent().unwrap().log_start);
    let mut last = 0;
    loop {
        let page = journal.kept_groups(last).unwrap();
        let Some(newest) = page.last() else { break };
        last = newest.last;
        page.iter().try_for_each(|group| proof.check_group(group))?;
    }
    let mut last = 0;
    loop {
        let page = journal.kept_links(last).unwrap();
        let Some(newest) = page.last() else { break };
        last = newest.number;
        page.iter().try_for_each(|link| proof.check_link(link))?;
    }
    proof.finish()
}
