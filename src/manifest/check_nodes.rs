//! Are the nodes, the cluster's settings and the number of voters sensible?
//!
//! Input → output: a [`Tree`] → findings about addresses, voters, detection and the cluster's times.

use super::document::{Doc, Tree};
use super::explain::Code;
use super::raw::{RawCluster, Time};
use super::report::Report;
use super::tree::Span;
use crate::model::{Detection, Kind, NodeRole, duration};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) fn check(tree: &Tree, report: &mut Report) {
    addresses(tree, report);
    remotes(tree, report);
    voters(tree, report);
    for (doc, cluster) in tree.clusters() {
        detection(doc, cluster, report);
        let fencing = cluster.fencing.as_ref();
        not_zero(doc, &["fencing", "timeout"], fencing.and_then(|fencing| fencing.timeout), report);
        not_zero(doc, &["fencing", "assumeOff"], fencing.and_then(|fencing| fencing.assume_off), report);
        if let Some(dog) = &cluster.watchdog {
            let times = [
                ("leaseTtl", dog.lease_ttl),
                ("selfStopAfter", dog.self_stop_after),
                ("stopBudget", dog.stop_budget),
                ("timeout", dog.timeout),
            ];
            times.into_iter().for_each(|(field, time)| not_zero(doc, &["watchdog", field], time, report));
        }
        not_zero(doc, &["source", "interval"], cluster.source.as_ref().and_then(|source| source.interval), report);
    }
}

/// Refuses a time of zero where it would mean that nothing can ever work.
pub(super) fn not_zero(doc: &Doc, path: &[&str], time: Option<Time>, report: &mut Report) {
    if time.is_some_and(|time| time.0.is_zero()) {
        let field = path.last().copied().unwrap_or_default();
        let help = Some("remove the line to get the default".into());
        report.add(Code::ZeroDuration, doc.file, doc.span(path), format!("`{field}` must not be zero"), help);
    }
}

fn addresses(tree: &Tree, report: &mut Report) {
    let mut first: BTreeMap<IpAddr, (&Doc, Span)> = BTreeMap::new();
    for (doc, node) in tree.nodes() {
        if node.addresses.as_ref().is_none_or(Vec::is_empty) && node.role != Some(NodeRole::Remote) {
            let message = format!("the node `{}` has no address", doc.name);
            let help = "fill them in, one per network: `addresses: [192.0.2.1]`".to_owned();
            report.add(Code::NoAddress, doc.file, doc.span(&["addresses"]), message, Some(help));
        }
        for (place, address) in node.addresses.iter().flatten().enumerate() {
            let span = doc.span(&["addresses", &place.to_string()]);
            if let Some((other, at)) = first.get(&address.0) {
                let at = report.place(other.file, *at);
                let message = format!("the address {} already belongs to the node `{}` ({at})", address.0, other.name);
                report.add(Code::DuplicateAddress, doc.file, span, message, None);
            } else {
                first.insert(address.0, (doc, span));
            }
        }
    }
}

fn remotes(tree: &Tree, report: &mut Report) {
    for (doc, node) in tree.nodes() {
        let is_remote = node.role == Some(NodeRole::Remote);
        if is_remote {
            let message = format!("`{}` is a remote node: planned for, but nothing runs there", doc.name);
            let help = "run hafen there and write `role: Agent`".to_owned();
            report.add(Code::PlannedOnly, doc.file, doc.span(&["role"]), message, Some(help));
        }
        match (is_remote, &node.connection) {
            (true, None) => {
                let message = format!("the remote node `{}` has no `connection`", doc.name);
                let help = "name the resource over which it is reached".to_owned();
                report.add(Code::RemoteWithoutConnection, doc.file, doc.span(&["role"]), message, Some(help));
            }
            (false, Some(_)) => {
                let message = format!("`{}` is no remote node, and has no `connection`", doc.name);
                let help = "write `role: Remote`, or remove the line".to_owned();
                report.add(Code::RemoteWithoutConnection, doc.file, doc.key_span(&["connection"]), message, Some(help));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }
}

fn voters(tree: &Tree, report: &mut Report) {
    if tree.incomplete || tree.broken_kinds.contains(&Kind::Node) {
        return;
    }
    let role = |role: Option<NodeRole>| role.unwrap_or(NodeRole::Voter);
    let voters: Vec<(&Doc, NodeRole)> =
        tree.nodes().map(|(doc, node)| (doc, role(node.role))).filter(|(_, role)| role.votes()).collect();
    let witness = voters.iter().any(|(_, role)| *role == NodeRole::Witness);
    let Some((last, _)) = voters.last() else {
        if let Some((cluster, _)) = tree.clusters().next() {
            let help = "add a Node with `role: Voter`".to_owned();
            report.add(Code::NoVoters, cluster.file, cluster.name_span(), "no node votes", Some(help));
        }
        return;
    };
    let names = voters.iter().map(|(doc, _)| format!("`{}`", doc.name)).collect::<Vec<_>>().join(", ");
    let span = last.name_span();
    match voters.len() {
        2 if !witness => {
            let message = format!("two voters ({names}) without a witness: neither can go on alone");
            let help = "add a third voter, or a small machine with `role: Witness`".to_owned();
            report.add(Code::TwoVoters, last.file, span, message, Some(help));
        }
        count if count % 2 == 0 => {
            let message = format!("{count} voters: an even number survives no more than {} would", count - 1);
            let help = "make one of them `role: Agent`, or add a voter or witness".to_owned();
            report.add(Code::EvenVoters, last.file, span, message, Some(help));
        }
        count if count > 7 => {
            let help = "make the others `role: Agent`".to_owned();
            report.add(Code::TooManyVoters, last.file, span, format!("{count} voters"), Some(help));
        }
        _ => {}
    }
}

fn detection(doc: &Doc, cluster: &RawCluster, report: &mut Report) {
    let Some(detection) = &cluster.detection else { return };
    not_zero(doc, &["detection", "heartbeat"], detection.heartbeat, report);
    not_zero(doc, &["detection", "suspectAfter"], detection.suspect_after, report);
    if detection.profile.is_some() && (detection.heartbeat.is_some() || detection.suspect_after.is_some()) {
        let message = "`profile` already sets `heartbeat` and `suspectAfter`";
        let help = "keep the profile or the times".to_owned();
        let span = doc.key_span(&["detection", "profile"]);
        report.add(Code::ContradictingFields, doc.file, span, message, Some(help));
        return;
    }
    let or = |time: Option<Time>, default| time.map_or(default, |time| time.0);
    let heartbeat = or(detection.heartbeat, Detection::DEFAULT.heartbeat);
    let suspect_after = or(detection.suspect_after, Detection::DEFAULT.suspect_after);
    let field = if detection.suspect_after.is_some() { "suspectAfter" } else { "heartbeat" };
    let span = doc.span(&["detection", field]);
    let times = format!("{} with a heartbeat every {}", duration::format(suspect_after), duration::format(heartbeat));
    if suspect_after <= heartbeat {
        report.add(Code::BadDetection, doc.file, span, format!("nodes would be suspect after {times}"), None);
    } else if suspect_after < heartbeat * 3 {
        let help = format!("write `suspectAfter: {}` or more", duration::format(heartbeat * 3));
        report.add(Code::HastyDetection, doc.file, span, format!("nodes are suspect after {times}"), Some(help));
    }
}
