//! What the planner says, as the API words it.
//!
//! Input: spec, state and graph. Output: views. Used by the daemon for its own cluster, and by commands that are given a
//! spec and a state.

use super::error::{ApiError, ErrorCode};
use super::types::{Contribution, Otherwise, OtherwiseChange, Verdict as Word, VerdictView, WhyInstance, WhyView};
use crate::model::{InstanceId, Kind, NodeId, Origin, Reason, ResourceId, Spec};
use crate::plan::{self, Graph, Verdict};
use crate::state::{Membership, State, TrustKey};
use std::collections::BTreeMap;

/// What the graph says of everything that runs or is to run, and the assignment of what has no place.
pub fn verdicts(spec: &Spec, state: &State, graph: &Graph) -> BTreeMap<InstanceId, VerdictView> {
    let mut all = plan::assign(spec, state).verdicts;
    for (instance, verdict) in graph.verdicts() {
        // A step under way says more than a place that is right.
        let silent = matches!(all.get(instance), None | Some(Verdict::Keep | Verdict::Act));
        if silent || matches!(verdict, Verdict::Blocked(_)) {
            all.insert(instance.clone(), verdict.clone());
        }
    }
    let steps: Vec<InstanceId> = all
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Act))
        .map(|(instance, _)| instance.clone())
        .collect();
    all.into_iter()
        .map(|(instance, verdict)| {
            let at = spec.origin(Kind::Resource, instance.resource.as_str()).map(ToString::to_string);
            let told = match &verdict {
                // What only waits for its turn is on its way as well.
                Verdict::Wait(reason @ Reason::After { instance: first, .. }) if steps.contains(first) => {
                    VerdictView { verdict: Word::Act, reason: reason.to_string(), at }
                }
                Verdict::Blocked(reason @ Reason::Unmanaged) if state.runs_as_told(&instance) => {
                    VerdictView { verdict: Word::Keep, reason: format!("left alone: {reason}"), at }
                }
                Verdict::Keep | Verdict::Act | Verdict::Wait(_) | Verdict::Blocked(_) => word(&verdict, at),
            };
            (instance, told)
        })
        .collect()
}

fn word(verdict: &Verdict, at: Option<String>) -> VerdictView {
    let (verdict, reason) = match verdict {
        Verdict::Keep => (Word::Keep, "as desired".to_owned()),
        Verdict::Act => (Word::Act, "on its way".to_owned()),
        Verdict::Wait(reason) => (Word::Wait, reason.to_string()),
        Verdict::Blocked(reason) => (Word::Blocked, reason.to_string()),
    };
    VerdictView { verdict, reason, at }
}

/// What makes the cluster degraded although everything runs: fencing that nobody has seen work, a forge that takes nothing.
pub fn conditions(state: &State) -> Vec<String> {
    let mut all = untested(state);
    if let (Some(failing), Some(to)) = (&state.outbox.failing, state.report_to()) {
        let since = i64::try_from(failing.since_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let since = since.map_or_else(String::new, |at| format!(" since {}", at.strftime("%Y-%m-%dT%H:%M:%SZ")));
        all.push(format!("commits are not reported to {}{since}: {}", to.provider, failing.why));
    }
    all
}

fn untested(state: &State) -> Vec<String> {
    let Some(spec) = state.spec() else { return Vec::new() };
    if !spec.cluster.fencing.enabled {
        return match spec.resource_nodes().count() {
            0 | 1 => Vec::new(),
            _ => vec!["fencing is disabled: a lost node blocks what it ran".into()],
        };
    }
    let mut untested = Vec::new();
    for (name, node) in state.nodes.iter().filter(|(_, node)| node.membership != Membership::Left) {
        let levels = node.document.as_ref().map_or(0, |document| document.node.fencing.len()) as u32;
        for level in 0..levels {
            let Some(digest) = State::level_digest(node, level) else { continue };
            if !state.trust.contains_key(&TrustKey { node: name.clone(), level, digest }) {
                untested.push(format!("{name} level {}", level + 1));
            }
        }
    }
    match untested.is_empty() {
        true => Vec::new(),
        false => vec![format!("fencing never tested: {} (hafen fence test NODE)", untested.join(", "))],
    }
}

fn place(origin: Option<&Origin>) -> Option<String> {
    origin.map(ToString::to_string)
}

/// Every reason for where a resource, a group or a clone is. `not`: only what concerns this node and the chosen one.
/// `patience`: whether there is time for one more plan of what would send it there.
///
/// # Errors
/// No such resource, with the name that is nearest.
pub fn why(
    spec: &Spec,
    state: &State,
    graph: &Graph,
    resource: &ResourceId,
    not: Option<&NodeId>,
    patience: &dyn Fn() -> bool,
) -> Result<WhyView, ApiError> {
    let (changes, tried) = match not {
        Some(node) => otherwise(spec, state, resource, node, patience),
        None => (Vec::new(), plan::Tried::All),
    };
    let view = |instances| WhyView {
        api_version: Default::default(),
        kind: Default::default(),
        resource: resource.to_string(),
        instances,
        otherwise: changes,
        otherwise_cut_short: tried == plan::Tried::CutShort,
        commits: Vec::new(),
    };
    let Some(explained) = plan::explain(spec, state, resource) else {
        if state.has_resource(resource) {
            // It is not wanted any more: nothing speaks for it.
            return Ok(view(Vec::new()));
        }
        let known = spec.resources.keys().chain(spec.groups.keys()).chain(spec.clones.keys());
        let error = ApiError::new(ErrorCode::NoSuchObject, format!("no resource `{resource}`"));
        return Err(match crate::model::suggest::nearest(resource.as_str(), known.map(ResourceId::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        });
    };
    let words = verdicts(spec, state, graph);
    // Why it is not there is answered beside the node that was chosen.
    let told = |node: &NodeId, chosen: bool| not.is_none_or(|not| not == node || chosen);
    let mut nodes: Vec<_> = explained.nodes.iter().filter(|(node, e)| told(node, e.chosen)).collect();
    // Best node first.
    nodes.sort_by_key(|(node, explanation)| (std::cmp::Reverse(explanation.score), *node));
    let mut contributions = Vec::new();
    for (node, explanation) in nodes {
        if explanation.contributions.is_empty() && not == Some(node) {
            let reason = "could run it; nothing speaks for or against it".to_owned();
            contributions.push(Contribution { node: node.to_string(), score: 0, reason, at: None });
        }
        contributions.extend(rows(node, &explanation.contributions));
    }
    let instances = explained.instances.iter().map(|explanation| {
        let id = &explanation.instance;
        let claims = state.claims.keys().filter(|key| &key.instance == id).map(|key| key.node.to_string());
        let own = word(&explanation.verdict, None);
        let promotion = explained.promotion.iter().filter(|promotion| &promotion.instance == id);
        WhyInstance {
            instance: id.to_string(),
            runs_on: claims.collect(),
            assigned_to: explanation.node.as_ref().map(ToString::to_string),
            role: explanation.role,
            verdict: words.get(id).cloned().unwrap_or(own),
            story: Vec::new(),
            contributions: contributions.clone(),
            promotion: promotion.flat_map(|promotion| rows(&promotion.node, &promotion.contributions)).collect(),
        }
    });
    Ok(view(instances.collect()))
}

fn otherwise(
    spec: &Spec,
    state: &State,
    resource: &ResourceId,
    node: &NodeId,
    patience: &dyn Fn() -> bool,
) -> (Vec<Otherwise>, plan::Tried) {
    let change = |change: plan::Change| OtherwiseChange { what: change.what, at: place(change.origin.as_ref()) };
    let (found, tried) = plan::otherwise(spec, state, resource, node, patience);
    let told = |changes: Vec<plan::Change>| Otherwise {
        node: node.to_string(),
        changes: changes.into_iter().map(change).collect(),
    };
    (found.into_iter().map(told).collect(), tried)
}

/// A row for each part, what is behind it below.
fn rows(node: &NodeId, parts: &[plan::Contribution]) -> Vec<Contribution> {
    let row = |part: &plan::Contribution, indent: &str| Contribution {
        node: node.to_string(),
        score: part.score.value(),
        reason: format!("{indent}{}", part.what),
        at: place(part.origin.as_ref()),
    };
    let with_cause = |part: &plan::Contribution| {
        std::iter::once(row(part, "")).chain(part.because.iter().map(|cause| row(cause, "  "))).collect::<Vec<_>>()
    };
    parts.iter().flat_map(with_cause).collect()
}
