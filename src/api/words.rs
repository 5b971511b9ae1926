//! What the planner says, as the API words it.
//!
//! Input: spec, state and graph. Output: views. Used by the daemon for its own cluster, and by commands that are given a
//! spec and a state.

use super::error::{ApiError, ErrorCode};
use super::types::{
    Change, ChangeKind, Contribution, Impact, PlanView, PlannedAction, Unplaced, Verdict as Word, VerdictView,
    WhyInstance, WhyView,
};
use crate::model::{InstanceId, Kind, NodeId, Origin, Reason, Resource, ResourceId, Spec};
use crate::plan::{self, Graph, PredictedKind, Verdict};
use crate::state::{Membership, Phase, State, TrustKey};
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
                Verdict::Blocked(reason @ Reason::Unmanaged) if runs(state, &instance) => {
                    VerdictView { verdict: Word::Keep, reason: format!("left alone: {reason}"), at }
                }
                Verdict::Keep | Verdict::Act | Verdict::Wait(_) | Verdict::Blocked(_) => word(&verdict, at),
            };
            (instance, told)
        })
        .collect()
}

/// Whether something runs as it was last told to.
fn runs(state: &State, instance: &InstanceId) -> bool {
    let mut claims = state.claims.iter().filter(|(key, _)| &key.instance == instance).peekable();
    claims.peek().is_some() && claims.all(|(_, claim)| claim.phase == Phase::Running && claim.failure.is_none())
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

/// What makes the cluster degraded although everything runs: fencing that nobody has seen work.
pub fn conditions(state: &State) -> Vec<String> {
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

/// What a spec would change, do and cost.
pub fn plan_view(spec: &Spec, state: &State) -> PlanView {
    let at = |name: &str| {
        place(
            spec.origin(Kind::Resource, name).or_else(|| state.spec().and_then(|old| old.origin(Kind::Resource, name))),
        )
    };
    let actions: Vec<PlannedAction> = plan::predict(spec, state)
        .into_iter()
        .map(|action| {
            let impact = match action.kind {
                PredictedKind::Fence => Impact::Fence,
                PredictedKind::Start => Impact::Start,
                PredictedKind::Stop => Impact::Stop,
                PredictedKind::Restart => Impact::Restart,
                PredictedKind::Reload => Impact::Reload,
                PredictedKind::Move => Impact::Move,
                PredictedKind::Promote => Impact::Promote,
                PredictedKind::Demote => Impact::Demote,
            };
            let object = action.instance.as_ref().map_or_else(|| action.node.to_string(), ToString::to_string);
            PlannedAction {
                impact,
                at: action.instance.as_ref().and_then(|instance| at(instance.resource.as_str())),
                object,
                node: Some(action.node.to_string()),
                from: action.from.map(|node| node.to_string()),
                role: None,
                reason: action.reason.to_string(),
                after: Vec::new(),
            }
        })
        .collect();
    let disturbed = [Impact::Restart, Impact::Move, Impact::Stop];
    let mut outages: Vec<String> =
        actions.iter().filter(|a| disturbed.contains(&a.impact)).map(|action| action.object.clone()).collect();
    outages.dedup();
    // Verdicts of the new spec against the old claims: what has no node at all.
    let assigned = plan::assign(spec, state);
    let unplaced = assigned
        .verdicts
        .iter()
        .filter_map(|(instance, verdict)| match verdict {
            Verdict::Blocked(reason @ crate::model::Reason::NoNode { .. }) => Some(Unplaced {
                instance: instance.to_string(),
                reason: reason.to_string(),
                at: at(instance.resource.as_str()),
            }),
            Verdict::Keep | Verdict::Act | Verdict::Wait(_) | Verdict::Blocked(_) => None,
        })
        // Before its nodes have joined a cluster can place nothing; that is no fault of the manifests.
        .filter(|_| spec.resource_nodes().any(|node| state.nodes.contains_key(node)))
        .collect();
    PlanView {
        from: state.target.as_ref().map(|target| target.revision.to_string()),
        changes: changes(state.spec().map(|spec| spec.as_ref()), spec),
        actions,
        outages,
        unplaced,
        ..PlanView::default()
    }
}

/// Documents that differ, by kind and name.
fn changes(old: Option<&Spec>, new: &Spec) -> Vec<Change> {
    let mut changes = Vec::new();
    if old.is_none_or(|old| old.cluster != new.cluster) {
        let change = if old.is_some() { ChangeKind::Changed } else { ChangeKind::Added };
        let object = format!("Cluster/{}", new.cluster.name);
        let at = place(new.origin(Kind::Cluster, &new.cluster.name));
        changes.push(Change { change, object, at, fields: Vec::new() });
    }
    macro_rules! compare {
        ($field:ident, $kind:expr, $fields:expr) => {{
            let empty = Default::default();
            let before = old.map_or(&empty, |old| &old.$field);
            for (name, object) in &new.$field {
                let text = name.to_string();
                let at = place(new.origin($kind, &text));
                let object_name = format!("{}/{name}", $kind);
                match before.get(name) {
                    None => {
                        let change = ChangeKind::Added;
                        changes.push(Change { change, object: object_name, at, fields: Vec::new() });
                    }
                    Some(was) if was != object => {
                        let fields = $fields(was, object);
                        changes.push(Change { change: ChangeKind::Changed, object: object_name, at, fields });
                    }
                    Some(_) => {}
                }
            }
            for name in before.keys().filter(|name| !new.$field.contains_key(*name)) {
                let at = old.and_then(|old| place(old.origin($kind, &name.to_string())));
                let object = format!("{}/{name}", $kind);
                changes.push(Change { change: ChangeKind::Removed, object, at, fields: Vec::new() });
            }
        }};
    }
    compare!(nodes, Kind::Node, |_, _| Vec::new());
    compare!(devices, Kind::FencingDevice, |_, _| Vec::new());
    compare!(resources, Kind::Resource, resource_fields);
    compare!(groups, Kind::Group, |_, _| Vec::new());
    compare!(clones, Kind::Clone, |_, _| Vec::new());
    compare!(orders, Kind::Order, |_, _| Vec::new());
    compare!(colocations, Kind::Colocation, |_, _| Vec::new());
    compare!(locations, Kind::Location, |_, _| Vec::new());
    compare!(tickets, Kind::Ticket, |_, _| Vec::new());
    changes
}

/// Parameters by name; the rest in one word, since nothing restarts for it.
fn resource_fields(was: &Resource, is: &Resource) -> Vec<String> {
    let mut fields = Vec::new();
    if was.agent != is.agent {
        fields.push(format!("agent: {} -> {}", was.agent, is.agent));
    }
    let names: std::collections::BTreeSet<&String> = was.params.keys().chain(is.params.keys()).collect();
    for name in names {
        let (old, new) = (was.params.get(name), is.params.get(name));
        if old != new {
            let show = |value: Option<&String>| value.map_or("(none)".to_owned(), |value| mask(name, value));
            fields.push(format!("params.{name}: {} -> {}", show(old), show(new)));
        }
    }
    if fields.is_empty() {
        fields.push("settings of hafen only: nothing is restarted".into());
    }
    fields
}

/// Passwords are not shown, whatever an agent calls them.
fn mask(name: &str, value: &str) -> String {
    let name = name.to_lowercase();
    let secret = ["pass", "secret", "token", "key"].iter().any(|word| name.contains(word));
    if secret { "(hidden)".into() } else { value.to_owned() }
}

/// Every reason for where a resource, a group or a clone is. `not`: only what concerns this node and the chosen one.
///
/// # Errors
/// No such resource, with the name that is nearest.
pub fn why(
    spec: &Spec,
    state: &State,
    graph: &Graph,
    resource: &ResourceId,
    not: Option<&NodeId>,
) -> Result<WhyView, ApiError> {
    let view = |instances| WhyView {
        api_version: Default::default(),
        kind: Default::default(),
        resource: resource.to_string(),
        instances,
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
            contributions: contributions.clone(),
            promotion: promotion.flat_map(|promotion| rows(&promotion.node, &promotion.contributions)).collect(),
        }
    });
    Ok(view(instances.collect()))
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
