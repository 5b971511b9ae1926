//! Who hears whom, and who decides: what is left of a cluster when some of it is broken.
//!
//! Input: a spec and what is [`Broken`]. Output: the [`Reach`]: whether a majority of the voters is left, which nodes it does
//! not hear, and how each of them could be proven off.
//!
//! Two nodes hear each other where both have an address in one network that works. The majority is what one voter, the
//! leader, hears: the one that hears most. What it does not hear is cut off, however well it lives.
//!
//! Nodes without addresses, as imports have them, are taken to be heard always. Remote nodes are none of this.

use crate::model::{DeviceId, FencingDevice, NodeId, NodeRole, Spec};
use std::collections::{BTreeMap, BTreeSet};

/// What is lost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Broken {
    pub nodes: BTreeSet<NodeId>,
    pub devices: BTreeSet<DeviceId>,
    pub links: BTreeSet<usize>,
}

/// How a lost node is made harmless.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// By a device.
    Attempt,
    /// By time alone: its watchdog.
    ByItself,
    /// By nothing; why, in words.
    None(String),
}

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    /// More than half of the voters hear each other.
    pub quorum: bool,
    /// Voters that do, and how many there are.
    pub votes: (usize, usize),
    /// Without power.
    pub down: BTreeSet<NodeId>,
    /// With power, but not heard by the majority. Empty without a quorum: then each part is as good as the other.
    pub cut_off: BTreeSet<NodeId>,
    /// Of the lost nodes, those that nothing proves off, and why.
    pub unproven: BTreeMap<NodeId, String>,
}

impl Reach {
    /// Nodes that the majority has to do without.
    pub fn lost(&self) -> impl Iterator<Item = &NodeId> {
        self.down.iter().chain(&self.cut_off)
    }
}

/// What is left of a cluster of which this is broken.
pub fn reach(spec: &Spec, broken: &Broken) -> Reach {
    let members = || spec.nodes.iter().filter(|(_, node)| node.role != NodeRole::Remote);
    let alive = || members().filter(|(name, _)| !broken.nodes.contains(*name));
    let voters = members().filter(|(_, node)| node.role.votes()).count();
    let hears = |a: &NodeId, b: &NodeId| a == b || share_a_link(spec, broken, a, b);
    let heard_by = |leader: &NodeId| -> BTreeSet<NodeId> {
        alive().filter(|(name, _)| hears(leader, name)).map(|(name, _)| name.clone()).collect()
    };
    let votes_of = |part: &BTreeSet<NodeId>| {
        part.iter().filter(|name| spec.nodes.get(*name).is_some_and(|node| node.role.votes())).count()
    };
    let mut best: (usize, BTreeSet<NodeId>) = (0, BTreeSet::new());
    for (leader, _) in alive().filter(|(_, node)| node.role.votes()) {
        let part = heard_by(leader);
        let votes = votes_of(&part);
        if (votes, part.len()) > (best.0, best.1.len()) {
            best = (votes, part);
        }
    }
    let quorum = best.0 * 2 > voters;
    let down = members().map(|(name, _)| name).filter(|name| broken.nodes.contains(*name)).cloned().collect();
    let cut_off = match quorum {
        true => alive().map(|(name, _)| name).filter(|name| !best.1.contains(*name)).cloned().collect(),
        false => BTreeSet::new(),
    };
    let mut reach = Reach { quorum, votes: (best.0, voters), down, cut_off, unproven: BTreeMap::new() };
    let unproven = reach.lost().filter_map(|name| match proof(spec, name, &broken.devices) {
        Proof::None(why) => Some((name.clone(), why)),
        Proof::Attempt | Proof::ByItself => None,
    });
    reach.unproven = unproven.collect();
    reach
}

fn share_a_link(spec: &Spec, broken: &Broken, a: &NodeId, b: &NodeId) -> bool {
    let links = |name: &NodeId| spec.nodes.get(name).map_or(0, |node| node.addresses.len());
    let (a, b) = (links(a), links(b));
    if a == 0 || b == 0 || broken.links.is_empty() {
        return true;
    }
    (0..a.min(b)).any(|link| !broken.links.contains(&link))
}

/// Levels that still work without these devices.
pub(super) fn working_levels(spec: &Spec, node: &NodeId, lost: &BTreeSet<DeviceId>) -> Vec<Vec<DeviceId>> {
    let levels = spec.nodes.get(node).map(|node| node.fencing.as_slice()).unwrap_or_default();
    let works = |level: &&Vec<DeviceId>| !level.is_empty() && !level.iter().any(|device| lost.contains(device));
    levels.iter().filter(works).cloned().collect()
}

/// How a node could be proven off while these devices do not answer.
pub(super) fn proof(spec: &Spec, node: &NodeId, lost: &BTreeSet<DeviceId>) -> Proof {
    let policy = &spec.cluster.fencing;
    if !policy.enabled {
        // `assumeOff` is no proof: a running cluster waits all the same.
        return Proof::None("fencing is disabled".into());
    }
    let levels = working_levels(spec, node, lost);
    let is_watchdog = |device: &DeviceId| spec.devices.get(device).is_some_and(FencingDevice::is_watchdog);
    if !levels.is_empty() {
        let by_itself = levels.iter().all(|level| level.iter().all(is_watchdog));
        return if by_itself { Proof::ByItself } else { Proof::Attempt };
    }
    let all = spec.nodes.get(node).map(|node| node.fencing.as_slice()).unwrap_or_default();
    let gone: BTreeSet<&str> = all.iter().flatten().filter(|d| lost.contains(*d)).map(DeviceId::as_str).collect();
    let gone: Vec<&str> = gone.into_iter().collect();
    Proof::None(match gone.as_slice() {
        [] => "it has no fencing devices".into(),
        [one] => format!("{one} does not answer"),
        [several @ .., last] => format!("{} and {last} do not answer", several.join(", ")),
    })
}
