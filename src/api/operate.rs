//! What an operator wants, as commands: drain, move, maintenance, cleanup, confirm.
//!
//! Input → output: the state and an [`OperateRequest`] → the commands, what to wait for, and one line for people; or why
//! not. Whether a command is *allowed* is decided by `State::apply`; here, and in `foresee`, only what an operator would
//! regret or wait for in vain is refused, which `force` overrides. Pure.

use super::error::{ApiError, ErrorCode};
use super::foresee::foresee;
use super::types::{OperateRequest, Operation, WaitFor};
use crate::model::{InstanceId, NodeId, ResourceId, Revision, Spec, suggest};
use crate::state::{Command, Membership, Override, OverrideKind, Scope, State};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Digits of a revision that are enough to mean it.
const SHORTEST_REVISION: usize = 4;

/// An operation, ready to be proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    pub commands: Vec<Command>,
    pub wait_for: WaitFor,
    pub summary: String,
    /// What will run nowhere for it, and why.
    pub stops: Vec<String>,
}

/// Turns a request into commands, if it can come true.
pub fn prepare(state: &State, request: &OperateRequest, by: &str) -> Result<Ready, ApiError> {
    let mut ready = commands(state, request, by)?;
    let outlook = foresee(state, &request.operation, &ready.commands, request.force)?;
    if let WaitFor::RunsOn { instances, .. } = &mut ready.wait_for
        && !outlook.instances.is_empty()
    {
        // Of a clone one copy goes there, not all.
        *instances = outlook.instances;
    }
    ready.stops = outlook.stops;
    Ok(ready)
}

fn commands(state: &State, request: &OperateRequest, by: &str) -> Result<Ready, ApiError> {
    let set = |scope, kind| Command::SetOverride {
        scope,
        kind,
        by: by.to_owned(),
        reason: request.reason.clone(),
        expires_ms: request.expires_ms,
    };
    let one = |command, wait_for, summary| Ok(Ready { commands: vec![command], wait_for, summary, stops: Vec::new() });
    match &request.operation {
        Operation::Drain { node } => {
            let name = known_node(state, node)?;
            if !request.force {
                refuse_last_node(state, &name)?;
            }
            one(
                set(Scope::Node(name), OverrideKind::Drain),
                WaitFor::NodeEmpty { node: node.clone() },
                format!("draining {node}"),
            )
        }
        Operation::Undrain { node } => {
            let scope = Scope::Node(known_node(state, node)?);
            clear(state, by, &format!("{node} is not drained"), |o| o.scope == scope && o.kind == OverrideKind::Drain)
        }
        Operation::Move { resource, to } => {
            let (name, node) = (known_resource(state, resource)?, known_node(state, to)?);
            if state.nodes.get(&node).is_none_or(|n| n.membership != Membership::Online) && !request.force {
                return Err(ApiError::new(ErrorCode::Unsafe, format!("{to} is not online"))
                    .hint("`hafen status` shows which nodes are"));
            }
            let instances = instances_of(state, &name);
            one(
                set(Scope::Resource(name), OverrideKind::Move { to: node }),
                WaitFor::RunsOn { instances, node: to.clone() },
                format!("moving {resource} to {to}"),
            )
        }
        Operation::Ban { resource, node } => {
            let (name, banned) = (known_resource(state, resource)?, known_node(state, node)?);
            let instances = instances_of(state, &name);
            one(
                set(Scope::Resource(name), OverrideKind::Ban { node: banned }),
                WaitFor::GoneFrom { instances, node: node.clone() },
                format!("moving {resource} away from {node}"),
            )
        }
        Operation::Unmove { resource } => {
            let scope = Scope::Resource(known_resource(state, resource)?);
            clear(state, by, &format!("{resource} has no move or ban"), |o| {
                o.scope == scope && matches!(o.kind, OverrideKind::Move { .. } | OverrideKind::Ban { .. })
            })
        }
        Operation::Maintenance { node, resource } => {
            let scope = scope_of(state, node.as_deref(), resource.as_deref())?;
            let summary = format!("{scope} is in maintenance");
            one(set(scope, OverrideKind::Maintenance), WaitFor::Nothing, summary)
        }
        Operation::EndMaintenance { node, resource } => {
            let scope = scope_of(state, node.as_deref(), resource.as_deref())?;
            clear(state, by, &format!("{scope} is not in maintenance"), |o| {
                o.scope == scope && o.kind == OverrideKind::Maintenance
            })
        }
        Operation::Cleanup { resource, node } => cleanup(state, resource.as_deref(), node.as_deref(), by),
        Operation::Suspend => one(
            set(Scope::Cluster, OverrideKind::Suspend),
            WaitFor::Nothing,
            "changes are suspended: pushes are refused, what runs is looked after as ever".to_owned(),
        ),
        Operation::Resume => clear(state, by, "changes are not suspended", |o| matches!(o.kind, OverrideKind::Suspend)),
        Operation::Confirm { revision } => {
            let target = named_target(state, revision.as_deref())?;
            let command = Command::Confirm { leader: None, revision: target.clone(), by: by.to_owned() };
            one(command, WaitFor::Nothing, format!("{} is confirmed", target.short()))
        }
        Operation::Rollback => {
            let from = named_target(state, None)?;
            let Some(to) = &state.last_good else {
                return Err(ApiError::new(ErrorCode::NoSuchObject, "there is no earlier target that was good")
                    .hint("`git push --force -o allow-rewind` goes back to any commit"));
            };
            let summary = format!("the cluster returns from {} to {}", from.short(), to.revision.short());
            let reason = if request.reason.is_empty() { "by hand" } else { &request.reason };
            let command = Command::Rollback { from, by: by.to_owned(), reason: reason.to_owned() };
            one(command, WaitFor::Nothing, summary)
        }
        Operation::ConfirmOff { node, boot } => {
            let name = known_node(state, node)?;
            let Some(member) = state.nodes.get(&name) else {
                return Err(ApiError::new(ErrorCode::NoSuchObject, format!("{node} never joined: it holds nothing")));
            };
            let current = &member.incarnation.boot;
            if let Some(seen) = boot.as_ref().filter(|seen| seen.as_str() != current.as_str()) {
                let message = format!("{node} has booted since you looked: its boot is {current}, not {seen}");
                return Err(ApiError::new(ErrorCode::Refused, message).hint("look again, then say it of this boot"));
            }
            let command = Command::ConfirmOff {
                node: name,
                boot: current.clone(),
                by: by.to_owned(),
                reason: request.reason.clone(),
            };
            one(command, WaitFor::Nothing, format!("{node} is taken to be off, as {by} states"))
        }
    }
}

/// The target, which is the one that is meant.
fn named_target(state: &State, named: Option<&str>) -> Result<Revision, ApiError> {
    let none = |message: String| ApiError::new(ErrorCode::NoSuchObject, message);
    let Some(target) = &state.target else { return Err(none("no manifests were pushed yet".into())) };
    match named {
        Some(named) if named.len() < SHORTEST_REVISION || !target.revision.as_str().starts_with(named) => {
            Err(none(format!("the target is {}, not `{named}`", target.revision.short()))
                .hint(format!("at least {SHORTEST_REVISION} digits of it; `hafen status` shows it")))
        }
        Some(_) | None => Ok(target.revision.clone()),
    }
}

fn cleanup(state: &State, resource: Option<&str>, node: Option<&str>, by: &str) -> Result<Ready, ApiError> {
    let node = node.map(|node| known_node(state, node)).transpose()?;
    let resource = resource.map(|resource| known_resource(state, resource)).transpose()?;
    let summary = match (&resource, &node) {
        (Some(resource), Some(node)) => format!("failures of {resource} on {node} are forgotten"),
        (Some(resource), None) => format!("failures of {resource} are forgotten"),
        (None, Some(node)) => format!("failures on {node} are forgotten"),
        (None, None) => "all failures are forgotten".to_owned(),
    };
    let resources: Vec<Option<ResourceId>> = match &resource {
        None => vec![None],
        Some(name) => primitives(state, name).into_iter().map(Some).collect(),
    };
    let command = |resource| Command::ClearFailures { resource, node: node.clone(), by: by.to_owned() };
    let commands = resources.into_iter().map(command).collect();
    Ok(Ready { commands, wait_for: WaitFor::Nothing, summary, stops: Vec::new() })
}

/// Ends every override that fits.
fn clear(state: &State, by: &str, none: &str, fits: impl Fn(&Override) -> bool) -> Result<Ready, ApiError> {
    let found: Vec<_> = state.overrides.iter().filter(|(_, o)| fits(o)).collect();
    let summary = match found.first() {
        None => return Err(ApiError::new(ErrorCode::NoSuchObject, none)),
        Some((_, first)) => format!("{} of {} has ended", super::view::override_words(&first.kind), first.scope),
    };
    let commands = found.iter().map(|(id, _)| Command::ClearOverride { id: **id, by: by.to_owned() }).collect();
    Ok(Ready { commands, wait_for: WaitFor::Nothing, summary, stops: Vec::new() })
}

fn scope_of(state: &State, node: Option<&str>, resource: Option<&str>) -> Result<Scope, ApiError> {
    match (node, resource) {
        (None, None) => Ok(Scope::Cluster),
        (Some(node), None) => known_node(state, node).map(Scope::Node),
        (None, Some(resource)) => known_resource(state, resource).map(Scope::Resource),
        (Some(_), Some(_)) => Err(ApiError::new(ErrorCode::Usage, "name a node or a resource, not both")),
    }
}

/// A drain of the last node that could take over stops services instead of moving them.
fn refuse_last_node(state: &State, node: &NodeId) -> Result<(), ApiError> {
    let drained = |name: &NodeId| {
        let scope = Scope::Node(name.clone());
        state.overrides.values().any(|o| o.scope == scope && o.kind == OverrideKind::Drain)
    };
    let runs = |name: &NodeId, member: &crate::state::NodeState| match target_spec(state) {
        Some(spec) => spec.nodes.get(name).is_some_and(|n| n.role.runs_resources()),
        None => member.listed,
    };
    let holds_something = state.claims.keys().any(|key| &key.node == node);
    let other = state.nodes.iter().any(|(name, member)| {
        name != node && member.membership == Membership::Online && runs(name, member) && !drained(name)
    });
    if other || !holds_something {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::Unsafe, format!("no other online node could run what runs on {node}"))
        .hint("bring another node up or undrain it first, or add `--force` to stop the services"))
}

/// Refuses to switch a node off when too few other voters are up to go on without it: the attempt itself could not be
/// recorded, and the node would not be switched on again.
pub(super) fn refuse_loss_of_quorum(state: &State, node: &NodeId) -> Result<(), ApiError> {
    let Some(spec) = target_spec(state) else { return Ok(()) };
    let voters: Vec<&NodeId> = spec
        .nodes
        .iter()
        .filter(|(name, listed)| listed.role.votes() && state.nodes.contains_key(*name))
        .map(|(name, _)| name)
        .collect();
    let is_up = |name: &&&NodeId| state.nodes.get(**name).is_some_and(|n| n.membership == Membership::Online);
    let left = voters.iter().filter(|name| **name != node).filter(is_up).count();
    if left > voters.len() / 2 || voters.is_empty() {
        return Ok(());
    }
    let message = format!("without {node} only {left} of {} voters would be up: no quorum", voters.len());
    Err(ApiError::new(ErrorCode::Unsafe, message).hint("wait until the others are back: `hafen status`"))
}

pub(super) fn target_spec(state: &State) -> Option<&Arc<Spec>> {
    state.specs.get(&state.target.as_ref()?.spec)
}

pub(super) fn known_node(state: &State, name: &str) -> Result<NodeId, ApiError> {
    let listed = target_spec(state).into_iter().flat_map(|spec| spec.nodes.keys());
    let names: BTreeSet<&str> = listed.chain(state.nodes.keys()).map(NodeId::as_str).collect();
    if names.contains(name) { Ok(NodeId::new(name)) } else { Err(unknown("node", name, names)) }
}

fn known_resource(state: &State, name: &str) -> Result<ResourceId, ApiError> {
    let mut names: BTreeSet<&str> = state.claims.keys().map(|key| key.instance.resource.as_str()).collect();
    if let Some(spec) = target_spec(state) {
        names.extend(spec.resources.keys().chain(spec.groups.keys()).chain(spec.clones.keys()).map(ResourceId::as_str));
    }
    if names.contains(name) { Ok(ResourceId::new(name)) } else { Err(unknown("resource", name, names)) }
}

fn unknown(kind: &str, name: &str, names: BTreeSet<&str>) -> ApiError {
    let error = ApiError::new(ErrorCode::NoSuchObject, format!("no {kind} `{name}`"));
    match suggest::nearest(name, names.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`hafen status` lists them"),
    }
}

fn primitives(state: &State, name: &ResourceId) -> Vec<ResourceId> {
    match target_spec(state) {
        Some(spec) => spec.primitives_of(name).into_iter().cloned().collect(),
        None => vec![name.clone()],
    }
}

/// What is assigned of a resource, group or clone.
fn instances_of(state: &State, name: &ResourceId) -> Vec<String> {
    let primitives = primitives(state, name);
    let mine = |instance: &&InstanceId| primitives.contains(&instance.resource);
    state.assignment.keys().filter(mine).map(ToString::to_string).collect()
}
