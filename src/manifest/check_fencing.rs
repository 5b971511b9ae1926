//! Can every node be proven off that needs it, and do the devices make sense?
//!
//! Input → output: a [`Tree`] and its [`Topology`] → findings: nodes without fencing that share an exclusive resource,
//! settings that weaken fencing, devices that do not cut power, secrets in the open.

use super::check_nodes::not_zero;
use super::document::{Doc, Tree};
use super::eligibility::Eligibility;
use super::explain::Code;
use super::raw::{RawFencingDevice, RawNode};
use super::report::Report;
use super::resolve::Chain;
use super::topology::Topology;
use crate::model::{Kind, NodeRole, QuorumLoss};
use std::collections::{BTreeMap, BTreeSet};

/// Agents that take the storage away and leave the power on.
const FABRIC: [&str; 2] = ["fence_scsi", "fence_mpath"];
/// Names under which fence agents take secrets.
const SECRETS: [&str; 7] =
    ["password", "passwd", "snmp_priv_passwd", "snmp_auth_passwd", "token", "secret_key", "api_key"];

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
    if FABRIC.contains(&raw.agent.as_str()) {
        let message = format!("`{}` does not cut power: it is planned but not run by this version", raw.agent);
        let help = "use a device that switches the node off, such as a PDU or a BMC".to_owned();
        report.add(Code::FabricFencing, doc.file, doc.span(&["agent"]), message, Some(help));
    }
    for key in raw.params.iter().flat_map(BTreeMap::keys) {
        let span = || doc.key_span(&["params", key]);
        if raw.secrets.as_ref().is_some_and(|secrets| secrets.contains_key(key)) {
            let message = format!("`{key}` is in `params` and in `secrets`");
            report.add(Code::ContradictingFields, doc.file, span(), message, Some("keep the secret".into()));
        } else if SECRETS.contains(&key.as_str()) {
            let message = format!("`{key}` looks like a secret, and manifests are not a place for one");
            let help = format!("write `secrets: {{ {key}: {{ file: /etc/hafen/secrets/{} }} }}`", doc.name);
            report.add(Code::SecretInParams, doc.file, span(), message, Some(help));
        }
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
        tree.devices().filter(|(_, raw)| raw.agent == "watchdog").map(|(doc, _)| doc.name.as_str()).collect();
    let has_one =
        |node: &RawNode| node.fencing.iter().flatten().flatten().any(|name| watchdogs.contains(name.0.as_str()));
    let Some((first, _)) = tree.nodes().find(|(_, node)| has_one(node)) else { return };
    let voters = tree.nodes().filter(|(_, node)| node.role.unwrap_or(NodeRole::Voter).votes()).count();
    if voters < 3 {
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
