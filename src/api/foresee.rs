//! What an operation would come to, before it is committed: whether the wish can come true, and what stops for it.
//!
//! Input → output: the state, an operation and its commands → the [`Outlook`], or why it is refused. The commands are
//! applied to a copy and `plan::assign` is asked, which is what the leader will do: nothing is judged a second time here.
//!
//! Refused (107): a move that would not end on the node it names; a move away, or a drain, that would leave something
//! nowhere although the manifests give it another node; a drain that something will not follow (maintenance, a failed
//! stop). What only this node may run is told, and stopped. `force` goes on in all these cases. Pure.

use super::error::{ApiError, ErrorCode};
use super::types::Operation;
use crate::model::{LogIndex, NodeId, Reason, ResourceId, Spec};
use crate::plan::{self, Assignment, Ground, Obstacle, Verdict};
use crate::state::{Command, Entry, State};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Reasons named in one refusal; `hafen why` has them all.
const MAX_REASONS: usize = 5;

/// What an operation leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// For a move: the instances that will be on the node.
    pub instances: Vec<String>,
    /// What will run nowhere, and why.
    pub stops: Vec<String>,
}

/// Asks the planner what these commands lead to.
pub fn foresee(state: &State, operation: &Operation, commands: &[Command], force: bool) -> Result<Outlook, ApiError> {
    let mut after = state.clone();
    let entry = Entry { at_ms: state.now_ms, commands: commands.to_vec() };
    let (answers, _) = after.apply(LogIndex(state.index.0 + 1), &entry);
    // What apply refuses is refused in its own words when it is proposed.
    let refused = answers.iter().any(Result::is_err);
    let Some(spec) = after.spec().cloned().filter(|_| !refused) else { return Ok(Outlook::default()) };
    let outlook = Future { before: state, after: &after, spec };
    match operation {
        Operation::Move { resource, to } => {
            outlook.of_move(&ResourceId::new(resource.as_str()), &NodeId::new(to.as_str()), force)
        }
        Operation::Ban { resource, node } => {
            outlook.of_ban(&ResourceId::new(resource.as_str()), &NodeId::new(node.as_str()), force)
        }
        Operation::Drain { node } => outlook.of_drain(&NodeId::new(node.as_str()), force),
        Operation::Undrain { .. }
        | Operation::Unmove { .. }
        | Operation::Maintenance { .. }
        | Operation::EndMaintenance { .. }
        | Operation::Cleanup { .. }
        | Operation::Suspend
        | Operation::Resume
        | Operation::Confirm { .. }
        | Operation::Rollback
        | Operation::ConfirmOff { .. } => Ok(Outlook::default()),
    }
}

struct Future<'a> {
    before: &'a State,
    after: &'a State,
    spec: Arc<Spec>,
}

impl Future<'_> {
    fn of_move(&self, resource: &ResourceId, to: &NodeId, force: bool) -> Result<Outlook, ApiError> {
        let plan = plan::assign(&self.spec, self.after);
        let mut instances = Vec::new();
        let mut astray: Option<ResourceId> = None;
        for member in self.spec.primitives_of(resource) {
            let mut there = placed(&plan, member).filter(|(_, node)| *node == to).map(|(id, _)| id).peekable();
            if there.peek().is_none() {
                astray.get_or_insert_with(|| member.clone());
            }
            instances.extend(there);
        }
        match astray {
            Some(member) if !force => Err(self.no_move(resource, &member, to, &plan)),
            Some(_) | None => Ok(Outlook { instances, stops: Vec::new() }),
        }
    }

    /// Why a move does not end where it is to.
    fn no_move(&self, resource: &ResourceId, member: &ResourceId, to: &NodeId, plan: &Assignment) -> ApiError {
        let found = plan::obstacles(&self.spec, self.after, resource, to);
        if !found.is_empty() {
            return refuse(format!("{resource} cannot go to {to}"), &found);
        }
        let mut all = plan.placements.keys().filter(|id| &id.resource == member);
        let verdict = all.next().and_then(|id| plan.verdicts.get(id));
        let (why, hint) = match verdict {
            Some(Verdict::Blocked(Reason::Unmanaged)) => {
                (Reason::Unmanaged.to_string(), "`hafen maintenance off` ends a maintenance".to_owned())
            }
            Some(Verdict::Blocked(why) | Verdict::Wait(why)) => (why.to_string(), format!("`hafen why {member}`")),
            Some(Verdict::Keep | Verdict::Act) | None => match placed(plan, member).next() {
                Some((_, node)) => (format!("{node} is still the better node"), format!("`hafen why {member}`")),
                None => ("it is to be stopped".to_owned(), format!("`hafen why {member}`")),
            },
        };
        unsafe_(format!("{resource} would not go to {to}: {member}: {why}")).hint(hint)
    }

    fn of_ban(&self, resource: &ResourceId, node: &NodeId, force: bool) -> Result<Outlook, ApiError> {
        let members: Vec<ResourceId> = self.spec.primitives_of(resource).into_iter().cloned().collect();
        let what = format!("{resource} cannot leave {node}");
        self.emptied(node, &what, |name| members.contains(name), force)
    }

    fn of_drain(&self, node: &NodeId, force: bool) -> Result<Outlook, ApiError> {
        self.emptied(node, &format!("{node} cannot be emptied"), |_| true, force)
    }

    /// What becomes of these resources when they are to leave a node.
    fn emptied(
        &self,
        node: &NodeId,
        what: &str,
        meant: impl Fn(&ResourceId) -> bool,
        force: bool,
    ) -> Result<Outlook, ApiError> {
        let now = self.before.spec().map(|spec| plan::assign(spec, self.before));
        let then = plan::assign(&self.spec, self.after);
        let on_node: BTreeSet<&ResourceId> =
            self.before.claims_on(node).map(|(key, _)| &key.instance.resource).filter(|name| meant(name)).collect();
        let stays = then
            .placements
            .iter()
            .find(|(id, to)| on_node.contains(&id.resource) && to.as_ref().is_some_and(|to| &to.node == node));
        if let Some((id, _)) = stays.filter(|_| !force) {
            let why = match then.verdicts.get(id) {
                Some(Verdict::Blocked(why) | Verdict::Wait(why)) => why.to_string(),
                Some(Verdict::Keep | Verdict::Act) | None => "it is still the best node".to_owned(),
            };
            let error = unsafe_(format!("{what}: {id} stays there: {why}"));
            return Err(error.hint(format!("`hafen why {}`; `--force` goes on with the rest", id.resource)));
        }
        let had_home = |name: &ResourceId| now.as_ref().is_some_and(|now| placed(now, name).next().is_some());
        let homeless: Vec<&ResourceId> =
            on_node.into_iter().filter(|name| had_home(name) && placed(&then, name).next().is_none()).collect();
        let (lost, bound): (Vec<&ResourceId>, Vec<&ResourceId>) =
            homeless.iter().partition(|name| plan::has_other_home(&self.spec, self.after, name));
        if !lost.is_empty() && !force {
            let found: Vec<Obstacle> = lost.iter().flat_map(|name| self.against(name, node)).collect();
            let names: Vec<&str> = lost.iter().map(|name| name.as_str()).collect();
            let error = refuse(format!("{what}: {} would run nowhere", names.join(", ")), &found);
            return Err(error.hint("`--force` stops it"));
        }
        let stop = |name: &&ResourceId| match bound.contains(name) {
            true => format!("{name} stops: no node but {node} may run it"),
            false => {
                let found = self.against(name, node);
                format!("{name} stops: {}", words(&found))
            }
        };
        Ok(Outlook { instances: Vec::new(), stops: homeless.iter().map(stop).collect() })
    }

    /// What keeps a resource off every node but the one it leaves.
    fn against(&self, resource: &ResourceId, leaves: &NodeId) -> Vec<Obstacle> {
        let others = self.spec.resource_nodes().filter(|node| *node != leaves);
        others.flat_map(|node| plan::obstacles(&self.spec, self.after, resource, node)).collect()
    }
}

/// The instances of a resource that have a node.
fn placed<'a>(plan: &'a Assignment, name: &'a ResourceId) -> impl Iterator<Item = (String, &'a NodeId)> {
    let mine = plan.placements.iter().filter(move |(id, _)| &id.resource == name);
    mine.filter_map(|(id, to)| to.as_ref().map(|to| (id.to_string(), &to.node)))
}

fn refuse(what: String, found: &[Obstacle]) -> ApiError {
    let mut error = unsafe_(format!("{what}: {}", words(found)));
    let mut told = BTreeSet::new();
    for obstacle in telling(found).filter(|obstacle| told.insert(&obstacle.hint)).take(MAX_REASONS) {
        error = error.hint(obstacle.hint.clone());
    }
    error
}

/// What stands on its own; what only follows from that where there is nothing else.
fn telling(found: &[Obstacle]) -> impl Iterator<Item = &Obstacle> {
    let any_own = found.iter().any(|obstacle| obstacle.of == Ground::Own);
    found.iter().filter(move |obstacle| !any_own || obstacle.of == Ground::Own)
}

fn words(found: &[Obstacle]) -> String {
    let mut told = BTreeSet::new();
    let all: Vec<String> = telling(found)
        .map(|obstacle| match &obstacle.origin {
            Some(line) => format!("{} ({line})", obstacle.why),
            None => obstacle.why.clone(),
        })
        .filter(|why| told.insert(why.clone()))
        .take(MAX_REASONS)
        .collect();
    if all.is_empty() { "no other node may run it".to_owned() } else { all.join("; ") }
}

fn unsafe_(message: String) -> ApiError {
    ApiError::new(ErrorCode::Unsafe, message)
}
