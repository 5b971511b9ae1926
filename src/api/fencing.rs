//! `hafen fence` and its verbs, as commands; or why not.
//!
//! Input → output: the state and a [`FenceRequest`] → what to propose, and one line for people. Whether an attempt is made,
//! and counts, is decided by `plan` and `State::apply`; what is refused here is what an operator would wait for in vain, or
//! regret. Pure.

use super::error::{ApiError, ErrorCode};
use super::operate::{known_node, refuse_loss_of_quorum, target_spec};
use super::types::{FenceKind, FenceRequest};
use crate::model::{DeviceId, NodeId};
use crate::state::{Command, Membership, NodeState, OverrideKind, Scope, State};

/// The agent that nobody but its own node can make fire.
const WATCHDOG: &str = "watchdog";

/// A request, ready to be proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyFence {
    pub commands: Vec<Command>,
    /// The attempt to wait for, where one is wanted.
    pub attempt: Option<u64>,
    pub summary: String,
}

/// Turns a request into commands, if it can come true.
pub fn prepare(state: &State, request: &FenceRequest, by: &str) -> Result<ReadyFence, ApiError> {
    let name = known_node(state, &request.node)?;
    let Some(node) = state.nodes.get(&name) else {
        return Err(ApiError::new(ErrorCode::NoSuchObject, format!("{name} never joined: there is nothing to fence")));
    };
    let levels = node.document.as_ref().map_or(&[][..], |document| &document.node.fencing);
    let asked_level = || {
        if levels.is_empty() {
            let error = ApiError::new(ErrorCode::Unsafe, format!("{name} has no fencing devices"));
            return Err(error.hint("add `fencing:` to its Node document"));
        }
        level(request, &name, levels)
    };
    match request.what {
        FenceKind::Trust => trust(state, request, &name, asked_level()?, by),
        FenceKind::Fence => {
            asked_level()?;
            refuse_impossible(state, &name)?;
            let kind = OverrideKind::Fence;
            Ok(wish(state, &name, kind, &request.reason, by, format!("{name} is to be powered off")))
        }
        FenceKind::Test => {
            let level = asked_level()?.unwrap_or(0);
            refuse_impossible(state, &name)?;
            refuse_untestable(state, &name, node)?;
            refuse_watchdog(node, &name, level)?;
            let devices: Vec<&str> = levels[level as usize].iter().map(DeviceId::as_str).collect();
            let summary =
                format!("{name} is powered off to test level {} of its fencing ({})", level + 1, devices.join(", "));
            Ok(wish(state, &name, OverrideKind::TestFence { level }, &request.reason, by, summary))
        }
        FenceKind::Cancel => cancel(state, &name, by),
        FenceKind::Disarm => disarm(state, &name, &request.reason, by),
        FenceKind::Arm => arm(state, &name, by),
    }
}

/// The level asked for, from 0.
fn level(request: &FenceRequest, name: &NodeId, levels: &[Vec<DeviceId>]) -> Result<Option<u32>, ApiError> {
    match request.level {
        None => Ok(None),
        Some(level) if level >= 1 && level as usize <= levels.len() => Ok(Some(level - 1)),
        Some(level) => {
            let has = match levels.len() {
                1 => "one fencing level".to_owned(),
                count => format!("{count} fencing levels"),
            };
            Err(ApiError::new(ErrorCode::NoSuchObject, format!("{name} has {has}, not a level {level}")))
        }
    }
}

fn wish(state: &State, name: &NodeId, kind: OverrideKind, reason: &str, by: &str, summary: String) -> ReadyFence {
    let scope = Scope::Node(name.clone());
    let (by, reason) = (by.to_owned(), reason.to_owned());
    let command = Command::SetOverride { scope, kind, by, reason, expires_ms: None };
    ReadyFence { commands: vec![command], attempt: Some(state.last_attempt.0 + 1), summary }
}

/// No attempt would be made, or not this one.
fn refuse_impossible(state: &State, name: &NodeId) -> Result<(), ApiError> {
    let refused = |message: String, hint: &str| Err(ApiError::new(ErrorCode::Unsafe, message).hint(hint));
    if target_spec(state).is_some_and(|spec| !spec.cluster.fencing.enabled) {
        return refused("fencing is disabled".into(), "set `fencing.enabled: true` in the Cluster document");
    }
    if let Some((attempt, _)) = state.open_attempt(name) {
        return refused(format!("attempt {attempt} against {name} is going on"), "wait for it: `hafen status`");
    }
    let online = |(other, node): (&NodeId, &NodeState)| other != name && node.membership == Membership::Online;
    if !state.nodes.iter().any(online) {
        return refused(format!("no other node is online to switch {name} off"), "bring one up: `hafen status`");
    }
    refuse_loss_of_quorum(state, name)
}

/// A test is for a node that is up and runs nothing, so that its return proves something and nobody misses it.
fn refuse_untestable(state: &State, name: &NodeId, node: &NodeState) -> Result<(), ApiError> {
    if node.membership != Membership::Online {
        let message = format!("{name} is {:?}, not Online: a test ends with its return", node.membership);
        return Err(ApiError::new(ErrorCode::Unsafe, message).hint("`hafen fence NODE` powers it off all the same"));
    }
    if let Some((key, _)) = state.claims_on(name).next() {
        return Err(ApiError::new(ErrorCode::Unsafe, format!("{name} still runs {}", key.instance))
            .hint(format!("drain it first: hafen drain {name}")));
    }
    if state.drained(name).is_none() && node.may_have_run() {
        return Err(ApiError::new(
            ErrorCode::Unsafe,
            format!("{name} is not drained: something may start there meanwhile"),
        )
        .hint(format!("drain it first: hafen drain {name}")));
    }
    Ok(())
}

fn refuse_watchdog(node: &NodeState, name: &NodeId, level: u32) -> Result<(), ApiError> {
    let Some(document) = &node.document else { return Ok(()) };
    let watchdog = |device: &DeviceId| document.devices.get(device).is_some_and(|device| device.agent == WATCHDOG);
    if document.node.fencing.get(level as usize).is_some_and(|devices| devices.iter().any(watchdog)) {
        let message = format!("level {} of {name} is its watchdog, which no other node can make fire", level + 1);
        return Err(ApiError::new(ErrorCode::Unsafe, message)
            .hint(format!("try it out there, then say so: hafen fence trust {name} --level {}", level + 1)));
    }
    Ok(())
}

fn trust(
    state: &State,
    request: &FenceRequest,
    name: &NodeId,
    level: Option<u32>,
    by: &str,
) -> Result<ReadyFence, ApiError> {
    if request.reason.trim().is_empty() {
        return Err(ApiError::new(ErrorCode::Usage, "an empty reason").hint("say how you know that the devices work"));
    }
    let Some(node) = state.nodes.get(name) else {
        return Err(ApiError::new(ErrorCode::NoSuchObject, format!("{name} never joined")));
    };
    let levels = node.document.as_ref().map_or(0, |document| document.node.fencing.len()) as u32;
    let wanted = (0..levels).filter(|number| level.is_none_or(|level| level == *number));
    let commands: Vec<Command> = wanted
        .filter_map(|level| {
            let digest = State::level_digest(node, level)?;
            let (by, reason) = (by.to_owned(), request.reason.clone());
            Some(Command::Trust { node: name.clone(), level, digest, by, reason })
        })
        .collect();
    let summary = match (level, levels) {
        (Some(level), _) => format!("{by} vouches for level {} of the fencing of {name}", level + 1),
        (None, 1) => format!("{by} vouches for the fencing of {name}"),
        (None, levels) => format!("{by} vouches for all {levels} fencing levels of {name}"),
    };
    Ok(ReadyFence { commands, attempt: None, summary })
}

/// Takes a wish back. An attempt that is under way is not.
fn cancel(state: &State, name: &NodeId, by: &str) -> Result<ReadyFence, ApiError> {
    let commands = take_back(state, name, by, OverrideKind::is_fence);
    if commands.is_empty() {
        return Err(ApiError::new(ErrorCode::NoSuchObject, format!("nobody asked to fence {name}")));
    }
    let summary = match state.open_attempt(name) {
        Some((attempt, _)) => format!("no further attempt is made against {name}; attempt {attempt} is under way"),
        None => format!("{name} is no longer to be fenced"),
    };
    Ok(ReadyFence { commands, attempt: None, summary })
}

fn take_back(state: &State, name: &NodeId, by: &str, is: impl Fn(&OverrideKind) -> bool) -> Vec<Command> {
    let scope = Scope::Node(name.clone());
    let set = state.overrides.iter().filter(|(_, o)| o.scope == scope && is(&o.kind));
    set.map(|(id, _)| Command::ClearOverride { id: *id, by: by.to_owned() }).collect()
}

/// Closes the watchdog of a node, for work on it during which it must not fire. What the node holds would then have nothing
/// that ends it, so it must hold nothing; until it is armed again nothing is started there.
fn disarm(state: &State, name: &NodeId, reason: &str, by: &str) -> Result<ReadyFence, ApiError> {
    if state.watchdog_of(name).is_none() {
        let message = format!("{name} has no level of fencing that is its watchdog alone");
        return Err(ApiError::new(ErrorCode::NoSuchObject, message));
    }
    if state.claims_on(name).next().is_some() {
        let error =
            ApiError::new(ErrorCode::Unsafe, format!("{name} runs something, which only its watchdog would end"));
        return Err(error.hint(format!("`hafen drain {name}` first")));
    }
    let summary =
        format!("the watchdog of {name} is disarmed; nothing is started there before `hafen fence arm {name}`");
    let ready = wish(state, name, OverrideKind::Disarm, reason, by, summary);
    Ok(ReadyFence { attempt: None, ..ready })
}

fn arm(state: &State, name: &NodeId, by: &str) -> Result<ReadyFence, ApiError> {
    let commands = take_back(state, name, by, |kind| *kind == OverrideKind::Disarm);
    if commands.is_empty() {
        return Err(ApiError::new(ErrorCode::NoSuchObject, format!("nobody disarmed the watchdog of {name}")));
    }
    Ok(ReadyFence { commands, attempt: None, summary: format!("{name} arms its watchdog again") })
}

#[cfg(test)]
#[path = "fencing_tests.rs"]
mod tests;
