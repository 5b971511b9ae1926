//! Answers what agents ask through `crm_attribute`, `crm_master`, `crm_node`, `crm_resource` and `attrd_updater`.

use super::backend::Daemon;
use crate::agent::shim::{self, Lifetime, Owner, ShimAnswer, ShimCall, ShimNode};
use crate::api::types::{ShimCall as Request, ShimView};
use crate::model::NodeId;
use crate::state::port::Log;
use crate::state::{Command, Membership, OverrideKind, Scope, State};

/// Where attributes of the whole cluster are kept: on no node in particular, so under a name no node can have.
const CLUSTER: &str = "";

pub(super) async fn answer(daemon: &Daemon, request: Request) -> ShimView {
    let instance = request.environment.get("OCF_RESOURCE_INSTANCE").map(String::as_str);
    let call = shim::parse(&request.name, &request.arguments, instance);
    let answer = act(daemon, &call).await;
    let rendered = shim::render(&call, &answer);
    ShimView { exit: u8::try_from(rendered.code).unwrap_or(1), stdout: rendered.stdout, stderr: rendered.stderr }
}

async fn act(daemon: &Daemon, call: &ShimCall) -> ShimAnswer {
    let state = daemon.log().state();
    let me = &daemon.facts().name;
    match call {
        ShimCall::SetAttribute { owner, name, value } => set(daemon, &state, owner, name, Some(value.clone())).await,
        ShimCall::DeleteAttribute { owner, name } => set(daemon, &state, owner, name, None).await,
        ShimCall::GetAttribute { owner, name, .. } => {
            let Owner::Node { node, lifetime } = owner else {
                return ShimAnswer::Failed(format!("attributes of the cluster are not kept ({CLUSTER}{name})"));
            };
            let node = node.clone().unwrap_or_else(|| me.clone());
            let value = state.nodes.get(&node).and_then(|node| match lifetime {
                Lifetime::Reboot => node.attributes.get(name),
                Lifetime::Forever => node.permanent_attributes.get(name),
            });
            ShimAnswer::Value { node: Some(node.clone()), value: value.cloned() }
        }
        ShimCall::NodeName => ShimAnswer::Name(me.clone()),
        ShimCall::NodeNumber => ShimAnswer::Number(number(&state, me)),
        ShimCall::NodeNameOf { number: wanted } => {
            match state.nodes.keys().find(|name| number(&state, name) == *wanted) {
                Some(name) => ShimAnswer::Name(name.clone()),
                None => ShimAnswer::Failed(format!("no node {wanted}")),
            }
        }
        ShimCall::Members | ShimCall::Partition => {
            let nodes = state.nodes.iter().map(|(name, node)| ShimNode {
                number: number(&state, name),
                name: name.clone(),
                online: node.membership == Membership::Online,
            });
            ShimAnswer::Nodes(nodes.collect())
        }
        ShimCall::Quorate => ShimAnswer::Quorate(!daemon.is_isolated()),
        ShimCall::Ban { resource, node } => {
            let node = node.clone().unwrap_or_else(|| me.clone());
            let command = Command::SetOverride {
                scope: Scope::Resource(resource.clone()),
                kind: OverrideKind::Ban { node },
                by: format!("agent of {resource}"),
                reason: "asked for by the agent".into(),
                expires_ms: None,
            };
            propose(daemon, command).await
        }
        ShimCall::Unsupported { what } => ShimAnswer::Failed(what.clone()),
    }
}

/// Numbers nodes by their place among the members, from 1.
fn number(state: &State, name: &NodeId) -> u32 {
    state.nodes.keys().position(|other| other == name).map_or(0, |place| place as u32 + 1)
}

async fn set(daemon: &Daemon, state: &State, owner: &Owner, name: &str, value: Option<String>) -> ShimAnswer {
    let Owner::Node { node, lifetime } = owner else {
        return ShimAnswer::Failed(format!("attributes of the cluster are not kept (`{name}`)"));
    };
    let node = node.clone().unwrap_or_else(|| daemon.facts().name.clone());
    let Some(known) = state.nodes.get(&node) else { return ShimAnswer::Failed(format!("no node `{node}`")) };
    let (boot, old) = match lifetime {
        Lifetime::Reboot => (Some(known.incarnation.boot.clone()), known.attributes.get(name)),
        Lifetime::Forever => (None, known.permanent_attributes.get(name)),
    };
    // Agents set their promotion score at every monitor: what does not change is not committed.
    if old == value.as_ref() {
        return ShimAnswer::Done;
    }
    propose(daemon, Command::SetAttribute { node, boot, name: name.to_owned(), value }).await
}

async fn propose(daemon: &Daemon, command: Command) -> ShimAnswer {
    match daemon.log().propose(vec![command]).await {
        Ok(applied) => match applied.answers.into_iter().next() {
            Some(Err(refusal)) => ShimAnswer::Failed(refusal.to_string()),
            Some(Ok(())) | None => ShimAnswer::Done,
        },
        Err(error) => ShimAnswer::Failed(error.to_string()),
    }
}
