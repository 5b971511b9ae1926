//! Can every node be proven off that needs it, and do the devices make sense?
//!
//! Input → output: a [`Tree`] and its [`Topology`] → findings: nodes without fencing that share an exclusive resource,
//! settings that weaken fencing, devices that do not cut power or cannot be read.

use super::check_nodes::not_zero;
use super::check_redfish;
use super::document::{Doc, Tree};
use super::eligibility::Eligibility;
use super::explain::Code;
use super::raw::{RawFencingDevice, RawNode};
use super::report::Report;
use super::resolve::{Chain, FENCING_TIMEOUT, lease_timing};
use super::topology::Topology;
use crate::model::watchdog::{MIN_WATCHDOG_VOTERS, WATCHDOG_AGENT};
use crate::model::{AgentMetadata, Kind, NodeRole, QuorumLoss, duration, no_power_cut};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(tree: &Tree, topology: &Topology, report: &mut Report) {
    levels(tree, report);
    for (doc, raw) in tree.devices() {
        device(doc, raw, report);
    }
    if tree.incomplete || tree.broken_kinds.contains(&Kind::Node) || tree.broken_kinds.contains(&Kind::Cluster) {
        return;
    }
    unused(tree, report);
    let enabled = policy(tree, report);
    delays(tree, report);
    if enabled {
        unfenced(tree, topology, report);
        watchdogs(tree, topology, report);
    }
}

fn levels(tree: &Tree, report: &mut Report) {
    for (doc, node) in tree.nodes() {
        for (l, level) in node.fencing.iter().flatten().enumerate() {
            let l = l.to_string();
            if level.is_empty() {
                let message = "a fencing level without devices";
                let help = "remove the level, or name the devices that switch this node off".to_owned();
                report.add(Code::EmptyList, doc.file, doc.span(&["fencing", &l]), message, Some(help));
            }
            let mut seen = BTreeSet::new();
            for (d, name) in level.iter().enumerate() {
                if !seen.insert(&name.0) {
                    let message = format!("the device `{}` is in this level twice", name.0);
                    let span = doc.span(&["fencing", &l, &d.to_string()]);
                    report.add(Code::NoEffect, doc.file, span, message, None);
                }
            }
        }
    }
}

fn device(doc: &Doc, raw: &RawFencingDevice, report: &mut Report) {
    not_zero(doc, &["timeout"], raw.timeout, report);
    not_zero(doc, &["check"], raw.check, report);
    check_redfish::check(doc, raw, report);
    if let Some(instead) = leaves_on(raw) {
        let message =
            format!("`{}` {instead} and does not cut power, so it cannot prove that a node is off", raw.agent);
        let help = "use a device that switches the node off, such as a PDU or a BMC".to_owned();
        report.add(Code::FabricFencing, doc.file, doc.span(&["agent"]), message, Some(help));
    }
    for key in raw.params.iter().flat_map(BTreeMap::keys) {
        let span = || doc.key_span(&["params", key]);
        if raw.secrets.as_ref().is_some_and(|secrets| secrets.contains_key(key)) {
            let message = format!("`{key}` is in `params` and in `secrets`");
            report.add(Code::ContradictingFields, doc.file, span(), message, Some("keep the secret".into()));
        }
    }
}

/// What the agent does instead of cutting power.
fn leaves_on(raw: &RawFencingDevice) -> Option<&'static str> {
    let params = raw.params.iter().flat_map(BTreeMap::keys);
    no_power_cut(&raw.agent, params.chain(raw.secrets.iter().flat_map(BTreeMap::keys)))
}

/// Refuses an agent that says of itself that it cannot read the power. What a snapshot says is not asked: it names no such
/// actions, of any fence agent.
pub(super) fn readable(doc: &Doc, raw: &RawFencingDevice, metadata: &AgentMetadata, report: &mut Report) {
    if !metadata.reads_power() && leaves_on(raw).is_none() {
        let message = format!(
            "`{}` has no action `status`: nothing reads the power after `off`, so it cannot prove that a node is off",
            raw.agent
        );
        let help = "use a device that can be read, such as a PDU or a BMC".to_owned();
        report.add(Code::FabricFencing, doc.file, doc.span(&["agent"]), message, Some(help));
    }
}

fn unused(tree: &Tree, report: &mut Report) {
    let used: BTreeSet<&str> = tree
        .nodes()
        .flat_map(|(_, node)| node.fencing.iter().flatten().flatten())
        .map(|name| name.0.as_str())
        .collect();
    for (doc, _) in tree.devices().filter(|(doc, _)| !used.contains(doc.name.as_str())) {
        let message = format!("no node has the fencing device `{}` in a level", doc.name);
        report.add(Code::UnusedDevice, doc.file, doc.name_span(), message, None);
    }
}

/// A delay is part of the attempt, so one as long as the attempt leaves no time to switch anything off.
fn delays(tree: &Tree, report: &mut Report) {
    let fencing = tree.clusters().next().and_then(|(_, cluster)| cluster.fencing.as_ref());
    let timeout = fencing.and_then(|fencing| fencing.timeout).map_or(FENCING_TIMEOUT, |time| time.0);
    for (doc, raw) in tree.devices() {
        if let Some(delay) = raw.delay.map(|time| time.0).filter(|delay| *delay >= timeout) {
            let (delay, timeout) = (duration::format(delay), duration::format(timeout));
            let message = format!("the delay of {delay} uses up the whole attempt (`fencing.timeout: {timeout}`)");
            let help = "shorten the delay, or give the Cluster a longer `fencing.timeout`".to_owned();
            report.add(Code::LongDelay, doc.file, doc.span(&["delay"]), message, Some(help));
        }
    }
}

/// Judges the Cluster's fencing settings. Returns whether fencing is enabled.
fn policy(tree: &Tree, report: &mut Report) -> bool {
    let Some((doc, cluster)) = tree.clusters().next() else { return false };
    let Some(fencing) = &cluster.fencing else { return true };
    let enabled = fencing.enabled.unwrap_or(true);
    if let Some(after) = fencing.assume_off {
        let span = doc.key_span(&["fencing", "assumeOff"]);
        if enabled {
            let help = "remove `assumeOff`; with fencing nothing needs to be assumed".to_owned();
            let message = "`assumeOff` has a meaning only with `enabled: false`";
            report.add(Code::ContradictingFields, doc.file, span, message, Some(help));
        } else {
            let after = crate::model::duration::format(after.0);
            let message = format!("UNSAFE: a node that is silent for {after} is taken to be off, even if it runs");
            report.add(Code::AssumeOff, doc.file, span, message, Some("use fencing devices instead".into()));
        }
    } else if !enabled && tree.nodes().count() > 1 {
        let message = "fencing is disabled: what ran on a lost node waits for it, or for an operator";
        let help = "after a loss run `hafen fence confirm NODE`, once the node is off".to_owned();
        report.add(Code::FencingDisabled, doc.file, doc.span(&["fencing", "enabled"]), message, Some(help));
    }
    enabled
}

/// Nodes that may hold a resource which another node would have to take over, and cannot be proven off.
fn unfenced(tree: &Tree, topology: &Topology, report: &mut Report) {
    let eligibility = Eligibility::of(tree);
    // A guest is fenced by what it runs inside of, and nothing is run on any remote node yet.
    let remote = |place: usize| eligibility.nodes[place].1.role == Some(NodeRole::Remote);
    let no_levels =
        |place: usize| !remote(place) && eligibility.nodes[place].1.fencing.as_ref().is_none_or(Vec::is_empty);
    let mut open: BTreeSet<usize> = (0..eligibility.nodes.len()).filter(|place| no_levels(*place)).collect();
    for (resource, _) in tree.resources() {
        if open.is_empty() {
            break;
        }
        let nodes = eligibility.of_resource(topology, &resource.name);
        if nodes.len() < 2 || !is_exclusive(topology, &resource.name, nodes.len()) {
            continue;
        }
        for place in nodes.iter().filter(|place| open.remove(place)) {
            let doc = eligibility.nodes[*place].0;
            let message = format!(
                "the node `{}` cannot be fenced, but may run `{}`, which {} nodes share",
                doc.name,
                resource.name,
                nodes.len()
            );
            let help = "name its devices, as in `fencing: [[pdu]]`, or disable fencing in the Cluster".to_owned();
            report.add(Code::NoFencing, doc.file, doc.name_span(), message, Some(help));
        }
    }
}

/// A watchdog is evidence only if nothing outlives the quorum on its node, and a majority is left without it.
fn watchdogs(tree: &Tree, topology: &Topology, report: &mut Report) {
    let watchdogs: BTreeSet<&str> =
        tree.devices().filter(|(_, raw)| raw.agent == WATCHDOG_AGENT).map(|(doc, _)| doc.name.as_str()).collect();
    let has_one =
        |node: &RawNode| node.fencing.iter().flatten().flatten().any(|name| watchdogs.contains(name.0.as_str()));
    let Some((first, _)) = tree.nodes().find(|(_, node)| has_one(node)) else { return };
    let voters = tree.nodes().filter(|(_, node)| node.role.unwrap_or(NodeRole::Voter).votes()).count();
    timing(tree, first, report);
    if voters < MIN_WATCHDOG_VOTERS {
        let message = format!(
            "with fewer than three voters (here {voters}) a watchdog is no evidence: no majority is left without its node"
        );
        let help = "add voters or a witness, up to three".to_owned();
        report.add(Code::WatchdogVoters, first.file, first.span(&["fencing"]), message, Some(help));
    }
    let cluster = tree.clusters().next().and_then(|(_, cluster)| cluster.quorum_loss).unwrap_or(QuorumLoss::Stop);
    let eligibility = Eligibility::of(tree);
    for (doc, resource) in tree.resources() {
        let loss = Chain::of(tree, topology, &doc.name, resource).quorum_loss().unwrap_or(cluster);
        if matches!(loss, QuorumLoss::Stop | QuorumLoss::Fence) {
            continue;
        }
        let nodes = eligibility.of_resource(topology, &doc.name);
        if let Some(place) = nodes.into_iter().find(|place| has_one(eligibility.nodes[*place].1)) {
            let node = &eligibility.nodes[place].0.name;
            let message = format!("`quorumLoss: {loss:?}` of `{}` does not go with the watchdog of `{node}`", doc.name);
            let help = "write `quorumLoss: Stop`".to_owned();
            report.add(Code::WatchdogQuorumLoss, doc.file, doc.span(&["quorumLoss"]), message, Some(help));
        }
    }
}

/// A lease that is over must mean that its node is.
fn timing(tree: &Tree, first: &Doc, report: &mut Report) {
    let Some((doc, cluster)) = tree.clusters().next() else { return };
    let timing = lease_timing(cluster);
    let sum = timing.sum(timing.whole_timeout());
    if !sum.holds() {
        let message = format!("the lease of `{}`, which its watchdog fences, is too short: {sum}", first.name);
        let help = "make `leaseTtl` longer, or what comes before its end shorter".to_owned();
        report.add(Code::WatchdogTiming, doc.file, doc.span(&["watchdog"]), message, Some(help));
    }
}

/// Whether a node that may run it could be needed to give it up: false for copies that every node has anyway.
fn is_exclusive(topology: &Topology, resource: &str, nodes: usize) -> bool {
    match topology.clone_around(resource) {
        None => true,
        Some((_, clone)) => {
            let fewer = clone.max.is_some_and(|max| (max as usize) < nodes);
            clone.promotable.is_some() || clone.globally_unique == Some(true) || fewer
        }
    }
}
