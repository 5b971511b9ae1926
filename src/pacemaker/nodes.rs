//! Nodes: what they are, and how they are.
//!
//! Input: the `nodes` section, `node_state` entries and the options. Output: [`NodeFacts`] for rules, documents for the
//! spec, memberships and overrides for the state.
//!
//! Semantics as in Pacemaker Explained, "Node State" and "Special node attributes": who is online, who is pending, whose
//! death must be made sure of.
//!
//! Does not look at what runs there (`status`), which can make an offline node unclean.

use super::options::{Ids, Options};
use super::resources::{Remote, Services};
use super::rules::{Asked, NodeFacts, is_true};
use super::words::{boolean, duration_ms, score};
use super::xml::El;
use crate::model::Score;
use std::collections::{BTreeMap, BTreeSet};

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Online,
    /// There, but not ready: runs nothing new, is not fenced.
    Pending,
    /// It may still run everything.
    Unclean,
    /// Went of its own accord.
    Offline,
}

pub(super) struct NodeRead<'a> {
    pub facts: usize,
    pub el: El<'a>,
    /// None: never seen.
    pub state: Option<El<'a>>,
    pub standing: Standing,
    /// It takes no part in the cluster itself.
    pub remote: bool,
    /// It is configured.
    pub listed: bool,
    /// A remote node that was proven off since it was heard last.
    pub fenced: bool,
    pub shutting_down: bool,
    pub standby: bool,
    pub maintenance: bool,
    pub capacity: BTreeMap<String, i64>,
}

/// The configured nodes in order; after them remote nodes that are configured no more.
pub(super) fn read<'a>(
    ids: &Ids<'a>,
    configuration: El<'a>,
    status: Option<El<'a>>,
    options: &Options<'a>,
    dc: Option<&str>,
    services: &Services<'a>,
    now: Option<i64>,
) -> (Vec<NodeFacts<'a>>, Vec<NodeRead<'a>>) {
    let asked = Asked { now, ..Asked::default() };
    let states: BTreeMap<&str, El<'a>> =
        status.into_iter().flat_map(|status| status.all("node_state")).map(|state| (state.id(), state)).collect();
    let by_name: BTreeMap<&str, El<'a>> =
        states.values().filter_map(|state| Some((state.attr("uname")?, *state))).collect();
    let (mut all, mut read) = (Vec::new(), Vec::new());
    let configured = configuration.child("nodes").into_iter().flat_map(|nodes| nodes.all("node"));
    let is_member = |el: &El<'_>| matches!(el.attr("type"), None | Some("member" | "normal"));
    let (members, others): (Vec<El<'a>>, Vec<El<'a>>) = configured.partition(is_member);
    let members = members.into_iter().map(|el| (el.attr("uname").unwrap_or(el.id()), el, None));
    // A remote node need not be written down: then its connection stands for it.
    let remote = |remote: &Remote<'a>| {
        let written = others.iter().find(|el| el.attr("uname").unwrap_or(el.id()) == remote.name).copied();
        let el = written.or_else(|| services.prims.get(remote.name).map(|prim| prim.el))?;
        Some((remote.name, el, Some((remote.container.is_some(), written.is_some()))))
    };
    for (name, el, remote) in members.chain(services.remotes.iter().filter_map(remote)) {
        let state = states.get(el.id()).or_else(|| by_name.get(name)).copied();
        let transient = state.and_then(|state| state.child("transient_attributes"));
        let facts = NodeFacts {
            name,
            id: el.id(),
            kind: match remote {
                None => "cluster",
                Some((true, _)) => "container",
                Some((false, _)) => "remote",
            },
            cluster: options.get(&["cluster-name"]).unwrap_or(""),
            site: None,
            is_dc: dc == Some(el.id()),
            permanent: match remote {
                Some((_, false)) => BTreeMap::new(),
                Some((_, true)) | None => ids.values(el, "instance_attributes", &asked),
            },
            transient: transient.map(|t| ids.values(t, "instance_attributes", &asked)).unwrap_or_default(),
        };
        let shutting_down = facts.attribute("shutdown").is_some_and(|value| value != "0");
        let mut capacity = BTreeMap::new();
        if placement_counts(options) {
            let blocks = [transient, Some(el)].into_iter().flatten();
            for (name, value) in blocks.flat_map(|of| ids.values(of, "utilization", &asked)) {
                if let Ok(value) = value.trim().parse() {
                    capacity.entry(name.to_owned()).or_insert(value);
                }
            }
        }
        read.push(NodeRead {
            facts: all.len(),
            el,
            state,
            standing: match remote {
                None => standing(state, &facts, shutting_down, options, now),
                // Its connection says more.
                Some(_) => Standing::Online,
            },
            remote: remote.is_some(),
            listed: true,
            fenced: remote.is_some() && state.is_some_and(|state| is_up(state, "node_fenced")),
            shutting_down,
            standby: is_true(facts.attribute("standby")),
            maintenance: is_true(facts.attribute("maintenance")),
            capacity,
        });
        all.push(facts);
    }
    let connections = connections(&states);
    for state in states.values() {
        let name = state.attr("uname").unwrap_or(state.id());
        let remote = is_true(state.attr("remote_node")) || connections.contains(name);
        if !remote || all.iter().any(|facts| facts.name == name) || services.inside.contains(&name) {
            continue;
        }
        read.push(NodeRead {
            facts: all.len(),
            el: *state,
            state: Some(*state),
            standing: Standing::Online,
            remote: true,
            listed: false,
            fenced: is_up(*state, "node_fenced"),
            shutting_down: false,
            standby: false,
            maintenance: false,
            capacity: BTreeMap::new(),
        });
        all.push(NodeFacts {
            name,
            id: state.id(),
            kind: "remote",
            cluster: "",
            site: None,
            is_dc: false,
            permanent: BTreeMap::new(),
            transient: BTreeMap::new(),
        });
    }
    (all, read)
}

/// The names of all connections that any node ever had.
fn connections<'a>(states: &BTreeMap<&str, El<'a>>) -> BTreeSet<&'a str> {
    let histories = states.values().filter_map(|state| state.child("lrm")?.child("lrm_resources"));
    let histories = histories.flat_map(|resources| resources.all("lrm_resource"));
    let remote = |el: &El<'_>| el.attr("type") == Some("remote") && el.attr("provider") == Some("pacemaker");
    histories.filter(remote).map(El::id).collect()
}

/// Whether nodes have a capacity that counts.
pub(super) fn placement_counts(options: &Options<'_>) -> bool {
    options.get(&["placement-strategy"]).is_some_and(|strategy| strategy != "default")
}

pub(super) fn fencing_enabled(options: &Options<'_>) -> bool {
    options.is(&["fencing-enabled", "stonith-enabled"], true)
}

/// `true`, `online`, or since when.
fn is_up(state: El<'_>, name: &str) -> bool {
    state.attr(name).is_some_and(|value| {
        value == "online" || boolean(value).unwrap_or_else(|| value.parse::<i64>().is_ok_and(|since| since > 0))
    })
}

fn standing(
    state: Option<El<'_>>,
    facts: &NodeFacts<'_>,
    shutting_down: bool,
    options: &Options<'_>,
    now: Option<i64>,
) -> Standing {
    let fencing = fencing_enabled(options);
    let Some(state) = state else {
        let fences = fencing && options.is(&["startup-fencing"], true);
        return if fences { Standing::Unclean } else { Standing::Offline };
    };
    let (member, process) = (is_up(state, "in_ccm"), is_up(state, "crmd"));
    let (join, expected) = (state.attr("join"), state.attr("expected"));
    if !fencing {
        return match (member, process, join, expected) {
            (true, true, Some("member"), _) => Standing::Online,
            (true, false, _, Some("member")) if !shutting_down => Standing::Unclean,
            (_, _, _, _) => Standing::Offline,
        };
    }
    let terminate = facts.attribute("terminate");
    let terminate = is_true(terminate) || terminate.and_then(score).is_some_and(|n| n > Score::ZERO);
    let leaving = matches!(expected, None | Some("down"));
    match join {
        _ if shutting_down && process => Standing::Online,
        _ if shutting_down => Standing::Offline,
        _ if state.attr("in_ccm").is_none() => Standing::Unclean,
        Some("banned") => Standing::Unclean,
        Some("down") if terminate && !member && !process => Standing::Offline,
        _ if terminate => Standing::Unclean,
        _ if leaving && (member || process) => pending(state, options, now),
        _ if leaving => Standing::Offline,
        _ if !member || !process => Standing::Unclean,
        Some("member") => Standing::Online,
        Some("pending" | "down") => pending(state, options, now),
        Some(_) | None => Standing::Unclean,
    }
}

/// A node that is pending for too long is lost.
fn pending(state: El<'_>, options: &Options<'_>, now: Option<i64>) -> Standing {
    let timeout_ms = options.get(&["node-pending-timeout"]).and_then(duration_ms).unwrap_or(0);
    let since = state.attr("in_ccm").and_then(|since| since.parse::<i64>().ok()).filter(|since| *since > 1);
    let over = since.zip(now).is_some_and(|(since, now)| now >= since.saturating_add_unsigned(timeout_ms / 1000));
    if timeout_ms > 0 && over { Standing::Unclean } else { Standing::Pending }
}

/// What a node's health adds to every score (Pacemaker Explained, "Tracking Node Health").
pub(super) fn health(facts: &NodeFacts<'_>, options: &Options<'_>) -> Score {
    let strategy = options.get(&["node-health-strategy"]).unwrap_or("none");
    let option = |name: &str, default: Score| options.get(&[name]).and_then(score).unwrap_or(default);
    let (red, yellow, green, base) = match strategy {
        "migrate-on-red" => (Score::NEVER, Score::ZERO, Score::ZERO, Score::ZERO),
        "only-green" => (Score::NEVER, Score::NEVER, Score::ZERO, Score::ZERO),
        "progressive" | "custom" => (
            option("node-health-red", Score::NEVER),
            option("node-health-yellow", Score::ZERO),
            option("node-health-green", Score::ZERO),
            option("node-health-base", Score::ZERO),
        ),
        _ => return Score::ZERO,
    };
    let names =
        facts.permanent.keys().chain(facts.transient.keys().filter(|name| !facts.permanent.contains_key(*name)));
    let of = |name: &&str| match facts.attribute(name).unwrap_or("") {
        "red" => red,
        "yellow" => yellow,
        "green" => green,
        number => score(number).unwrap_or(Score::ZERO),
    };
    names.filter(|name| name.starts_with("#health")).map(of).fold(base, |sum, part| sum + part)
}
