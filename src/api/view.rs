//! The status that people read, made of the agreed state.
//!
//! Input → output: the state, who leads, links and the planner's verdicts → a [`StatusView`]. Pure: the time is an argument.
//!
//! Invariants: failures come first; whatever keeps the cluster from being healthy is in `problems`, worst first, and the
//! summary names the first. It judges nothing that `plan` judges: verdicts come in as they are.

use super::rollout;
use super::types::{
    AlarmView, ApiVersion, AttemptOutcome, DeviceFault, DeviceView, FencingView, Health, LevelView, LinkView,
    MembershipView, NodeView, OverrideView, ResourceView, SignatureView, StatusKind, StatusView, TargetView, TrustView,
    Verdict, VerdictView,
};
use crate::model::{AgentRef, AttemptId, DeviceId, InstanceId, NodeId, ResourceId, Spec};
use crate::reconcile::Checked;
use crate::state::port::Leadership;
use crate::state::{
    Attempt, Claim, ClaimKey, FenceOutcome, Membership, NodeState, OverrideKind, Phase, Scope, State, Target, TrustKey,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Attempts shown. Older ones are in the events.
const ATTEMPTS_SHOWN: usize = 10;
/// Alarms shown.
const ALARMS_SHOWN: usize = 10;
/// Fencings are counted over this time, as the state does.
const HOUR_MS: u64 = 3_600_000;
/// An alarm keeps the cluster degraded so long: an operator who looks once a day sees it.
const ALARM_DEGRADES_MS: u64 = 24 * 3600 * 1000;

/// What a status is made of.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub state: &'a State,
    pub leadership: &'a Leadership,
    /// The node that answers.
    pub node: &'a NodeId,
    pub links: &'a [LinkView],
    pub verdicts: &'a BTreeMap<InstanceId, VerdictView>,
    /// What makes it degraded and is not in the state.
    pub conditions: &'a [String],
    /// What this node's checks of fencing devices said last.
    pub checked: &'a BTreeMap<DeviceId, Checked>,
    pub wall_ms: u64,
    /// Who signed the target, if that is known here.
    pub signature: Option<&'a SignatureView>,
}

/// The status of now.
pub fn status(input: &Input<'_>) -> StatusView {
    let state = input.state;
    let spec = spec_of(state);
    // The agreed time stands still while nothing happens; the clock of this node fills the gap.
    let now_ms = state.now_ms.max(input.wall_ms);
    let nodes = nodes(input, spec);
    let resources = resources(input, spec);
    let fencing: Vec<_> = state.attempts.iter().rev().take(ATTEMPTS_SHOWN).map(|(id, a)| attempt(*id, a)).collect();
    let alarms = alarms(state);
    let problems = problems(input, &nodes, &resources, &fencing, now_ms);
    let health = health(input, &problems, &resources, &fencing);
    StatusView {
        api_version: ApiVersion::default(),
        kind: StatusKind::default(),
        cluster: spec.map(|spec| spec.cluster.name.clone()),
        node: input.node.to_string(),
        health,
        summary: summary(health, &problems, &nodes, &resources, state),
        problems,
        target: state.target.as_ref().map(|now| TargetView { signature: input.signature.cloned(), ..target(now) }),
        last_good: state.last_good.as_ref().map(target),
        generation: state.generation,
        leader: input.leadership.leader.as_ref().map(ToString::to_string),
        term: input.leadership.term,
        voters: input.leadership.voters.iter().map(ToString::to_string).collect(),
        index: state.index.0,
        now_ms,
        nodes,
        resources,
        fencing,
        devices: devices(input, spec),
        overrides: overrides(state),
        alarms,
        rollout: rollout::view(state),
        webhook: None,
    }
}

fn spec_of(state: &State) -> Option<&Arc<Spec>> {
    state.target.as_ref().and_then(|target| state.specs.get(&target.spec))
}

fn target(target: &Target) -> TargetView {
    let revision = target.revision.to_string();
    TargetView { revision, accepted_ms: target.accepted_ms, by: target.by.clone(), signature: None }
}

fn nodes(input: &Input<'_>, spec: Option<&Arc<Spec>>) -> Vec<NodeView> {
    let listed = spec.into_iter().flat_map(|spec| spec.nodes.keys());
    let names: BTreeSet<&NodeId> = input.state.nodes.keys().chain(listed).collect();
    names.into_iter().map(|name| node(input, spec, name)).collect()
}

fn node(input: &Input<'_>, spec: Option<&Arc<Spec>>, name: &NodeId) -> NodeView {
    let member = input.state.nodes.get(name);
    let document = spec.and_then(|spec| spec.nodes.get(name));
    let mut notes = Vec::new();
    if let Some(suspicion) = member.and_then(|member| member.suspicion.as_ref()) {
        notes.push(suspicion.reason.clone());
    }
    if member.is_some_and(|member| member.restarting) {
        notes.push("its daemon restarts".into());
    }
    for found in input.state.overrides.values().filter(|o| o.scope == Scope::Node(name.clone())) {
        notes.push(override_state(&found.kind));
    }
    match (member, document) {
        (Some(member), None) if spec.is_some() && member.document.is_some() => {
            notes.push("leaving: no longer in the manifests".into());
        }
        (Some(_), None) if spec.is_some() => notes.push("unlisted: add a Node document to use it".into()),
        (None, Some(_)) => notes.push("never joined: `hafen token` here, `hafen join` there".into()),
        (Some(_), _) | (None, None) => {}
    }
    if let Some(times) = member.and_then(|member| quarantined(input.state, spec, member)) {
        notes.push(format!("quarantined: fenced {times} times within an hour, it stays off until you switch it on"));
    }
    NodeView {
        name: name.to_string(),
        fencing: member.map(|member| levels(input.state, name, member)).unwrap_or_default(),
        role: document.map(|node| node.role),
        membership: member.map_or(MembershipView::Absent, |member| membership(member.membership)),
        since_ms: member.map(|member| member.since_ms),
        leader: input.leadership.leader.as_ref() == Some(name),
        boot: member.map(|member| member.incarnation.boot.to_string()),
        version: member.map(|member| member.version.clone()),
        recipient: member.and_then(|member| member.recipient.clone()),
        links: input.links.iter().filter(|link| link.node == name.as_str()).cloned().collect(),
        notes,
    }
}

/// How often a node was fenced that is left off for it.
fn quarantined(state: &State, spec: Option<&Arc<Spec>>, member: &NodeState) -> Option<usize> {
    let most = spec?.cluster.fencing.max_fences as usize;
    let recent = member.fenced_ms.iter().filter(|at| at.saturating_add(HOUR_MS) > state.now_ms).count();
    (member.membership == Membership::Fenced && recent > most).then_some(recent)
}

/// The levels of a node, and why each is believed to work.
fn levels(state: &State, name: &NodeId, member: &NodeState) -> Vec<LevelView> {
    let Some(document) = &member.document else { return Vec::new() };
    let view = |(level, devices): (usize, &Vec<DeviceId>)| {
        let level = level as u32;
        let key = State::level_digest(member, level).map(|digest| TrustKey { node: name.clone(), level, digest });
        LevelView {
            level: level + 1,
            devices: devices.iter().map(ToString::to_string).collect(),
            trust: key.and_then(|key| state.trust.get(&key)).map(|trust| TrustView {
                by: trust.by.clone(),
                reason: trust.reason.clone(),
                at_ms: trust.at_ms,
            }),
        }
    };
    document.node.fencing.iter().enumerate().map(view).collect()
}

fn membership(membership: Membership) -> MembershipView {
    match membership {
        Membership::Joining => MembershipView::Joining,
        Membership::Online => MembershipView::Online,
        Membership::Suspect => MembershipView::Suspect,
        Membership::Fenced => MembershipView::Fenced,
        Membership::Left => MembershipView::Left,
    }
}

/// A row per claim, and one per instance that is to run somewhere (or nowhere) without a claim there.
fn resources(input: &Input<'_>, spec: Option<&Arc<Spec>>) -> Vec<ResourceView> {
    let state = input.state;
    let mut rows: Vec<ResourceView> = Vec::new();
    for (key, claim) in &state.claims {
        rows.push(row(input, spec, &key.instance, Some(&key.node), Some(claim)));
    }
    for (instance, assignment) in &state.assignment {
        let key = ClaimKey { instance: instance.clone(), node: assignment.to.node.clone() };
        if !state.claims.contains_key(&key) {
            rows.push(row(input, spec, instance, Some(&key.node), None));
        }
    }
    let known: BTreeSet<InstanceId> =
        state.claims.keys().map(|key| key.instance.clone()).chain(state.assignment.keys().cloned()).collect();
    let shown: BTreeSet<&ResourceId> = known.iter().map(|instance| &instance.resource).collect();
    let nowhere = input.verdicts.keys().filter(|instance| !known.contains(instance)).cloned();
    let silent = spec
        .into_iter()
        .flat_map(|spec| spec.resources.keys())
        .filter(|name| !shown.contains(name) && !input.verdicts.keys().any(|i| &i.resource == *name))
        .map(|name| InstanceId::plain(name.clone()));
    for instance in nowhere.chain(silent).collect::<Vec<_>>() {
        rows.push(row(input, spec, &instance, None, None));
    }
    rows.sort_by(|a, b| {
        urgency(a).cmp(&urgency(b)).then_with(|| a.instance.cmp(&b.instance)).then(a.node.cmp(&b.node))
    });
    rows
}

/// Smaller comes first.
fn urgency(row: &ResourceView) -> u8 {
    match row.verdict.verdict {
        Verdict::Blocked => 0,
        Verdict::Wait => 1,
        Verdict::Act => 2,
        Verdict::Keep => 3,
    }
}

fn row(
    input: &Input<'_>,
    spec: Option<&Arc<Spec>>,
    instance: &InstanceId,
    node: Option<&NodeId>,
    claim: Option<&Claim>,
) -> ResourceView {
    let state = input.state;
    let assignment = state.assignment.get(instance).filter(|a| Some(&a.to.node) == node);
    let history = node.and_then(|node| state.history.get(&ClaimKey { instance: instance.clone(), node: node.clone() }));
    let pinned = claim.and_then(|claim| state.definitions.get(&claim.definition)).map(|d| &d.resource.agent);
    let agent: Option<&AgentRef> =
        pinned.or_else(|| spec.and_then(|spec| spec.resources.get(&instance.resource)).map(|r| &r.agent));
    let failure = claim.and_then(|claim| claim.failure.as_ref());
    let failed = history.filter(|record| record.fail_count > 0).map(|record| record.last_failure.clone());
    ResourceView {
        instance: instance.to_string(),
        agent: agent.map(ToString::to_string),
        node: node.map(ToString::to_string),
        role: claim.map(|claim| claim.role).or(assignment.map(|a| a.to.role)),
        phase: claim.map(|claim| match (claim.phase, failure) {
            (Phase::Running, Some(_)) => "Failed".to_owned(),
            (phase, _) => phase_name(phase).to_owned(),
        }),
        since_ms: claim.map(|claim| claim.since_ms).or(assignment.map(|a| a.since_ms)),
        verdict: verdict(input, instance, claim, assignment.is_some()),
        blocked_by: failure.filter(|failure| failure.blocked).map(|f| format!("{} failed: {}", f.action, f.text)),
        fail_count: history.map_or(0, |record| record.fail_count),
        last_failure: failure.map(|failure| failure.text.clone()).or(failed),
    }
}

/// The planner's verdict; before there is one, what the claim itself says.
fn verdict(input: &Input<'_>, instance: &InstanceId, claim: Option<&Claim>, assigned: bool) -> VerdictView {
    let own = |verdict, reason: &str| VerdictView { verdict, reason: reason.to_owned(), at: None };
    if let Some(failure) = claim.and_then(|claim| claim.failure.as_ref()).filter(|failure| failure.blocked) {
        let reason = format!(
            "{} failed: {}; `hafen cleanup {}` after mending it",
            failure.action, failure.text, instance.resource
        );
        return own(Verdict::Blocked, &reason);
    }
    if let Some(verdict) = input.verdicts.get(instance) {
        return verdict.clone();
    }
    match claim {
        None if assigned => own(Verdict::Act, "to be started"),
        None => own(Verdict::Wait, "not placed"),
        Some(claim) if claim.phase == Phase::Running && claim.failure.is_none() => own(Verdict::Keep, "running"),
        Some(_) => own(Verdict::Act, "on its way"),
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "Starting",
        Phase::Running => "Running",
        Phase::Promoting => "Promoting",
        Phase::Demoting => "Demoting",
        Phase::Stopping => "Stopping",
        Phase::MigratingTo => "MigratingTo",
        Phase::MigratingFrom => "MigratingFrom",
        Phase::Reloading => "Reloading",
        Phase::Migrated => "Migrated",
    }
}

/// One attempt, as shown.
pub fn attempt(id: AttemptId, attempt: &Attempt) -> FencingView {
    let (outcome, error) = match &attempt.outcome {
        None => (AttemptOutcome::Open, None),
        Some(FenceOutcome::Off) => (AttemptOutcome::Off, None),
        Some(FenceOutcome::Failed(why)) => (AttemptOutcome::Failed, Some(why.clone())),
        Some(FenceOutcome::Unknown(why)) => (AttemptOutcome::Unknown, Some(why.clone())),
    };
    FencingView {
        attempt: id.0,
        node: attempt.node.to_string(),
        action: attempt.action,
        level: attempt.level + 1,
        devices: attempt.devices.iter().map(ToString::to_string).collect(),
        executor: attempt.executor_node.to_string(),
        reason: attempt.reason.clone(),
        started_ms: attempt.started_ms,
        // The end is kept in agreed time, which may stand still for a while.
        ended_ms: attempt.outcome.as_ref().map(|_| attempt.ended_ms.max(attempt.started_ms)),
        outcome,
        error,
    }
}

fn overrides(state: &State) -> Vec<OverrideView> {
    let view = |(id, found): (&crate::model::OverrideId, &crate::state::Override)| OverrideView {
        id: id.0,
        what: override_words(&found.kind),
        scope: found.scope.to_string(),
        by: found.by.clone(),
        reason: found.reason.clone(),
        since_ms: found.since_ms,
        expires_ms: found.expires_ms,
    };
    state.overrides.iter().map(view).collect()
}

/// What an override asks for: `drain`, `move to n2`.
pub fn override_words(kind: &OverrideKind) -> String {
    match kind {
        OverrideKind::Drain => "drain".into(),
        OverrideKind::Move { to } => format!("move to {to}"),
        OverrideKind::Ban { node } => format!("ban from {node}"),
        OverrideKind::Maintenance => "maintenance".into(),
        OverrideKind::Disarm => "watchdog disarmed".into(),
        OverrideKind::Stop => "stop".into(),
        OverrideKind::Shutdown => "shutdown".into(),
        OverrideKind::Fence => "fence".into(),
        OverrideKind::TestFence { level } => format!("test of fencing level {}", level + 1),
        OverrideKind::Suspend => "suspend".into(),
    }
}

fn override_state(kind: &OverrideKind) -> String {
    match kind {
        OverrideKind::Drain => "drained".into(),
        OverrideKind::Shutdown => "going down".into(),
        OverrideKind::Fence => "to be fenced".into(),
        OverrideKind::TestFence { level } => format!("fencing level {} is being tested", level + 1),
        OverrideKind::Maintenance => "in maintenance".into(),
        OverrideKind::Move { .. }
        | OverrideKind::Ban { .. }
        | OverrideKind::Disarm
        | OverrideKind::Stop
        | OverrideKind::Suspend => override_words(kind),
    }
}

fn alarms(state: &State) -> Vec<AlarmView> {
    let view =
        |alarm: &crate::state::Alarm| AlarmView { index: alarm.at.0, at_ms: alarm.at_ms, text: alarm.text.clone() };
    state.alarms.iter().rev().take(ALARMS_SHOWN).map(view).collect()
}

/// Devices that some node's fencing names.
fn devices(input: &Input<'_>, spec: Option<&Arc<Spec>>) -> Vec<DeviceView> {
    let Some(spec) = spec else { return Vec::new() };
    let used: BTreeSet<&DeviceId> = spec.nodes.values().flat_map(|node| node.fencing.iter().flatten()).collect();
    let view = |name: &DeviceId| {
        let failing = input.state.nodes.iter().filter_map(|(node, member)| {
            let bad = member.bad_devices.get(name)?;
            Some(DeviceFault { node: node.to_string(), since_ms: bad.since_ms, why: bad.why.clone() })
        });
        Some(DeviceView {
            name: name.to_string(),
            agent: spec.devices.get(name)?.agent.clone(),
            checked_ms: input.checked.get(name).map(|checked| checked.at_ms),
            failing: failing.collect(),
        })
    };
    used.into_iter().filter_map(view).collect()
}

/// What is wrong, worst first.
fn problems(
    input: &Input<'_>,
    nodes: &[NodeView],
    resources: &[ResourceView],
    fencing: &[FencingView],
    now_ms: u64,
) -> Vec<String> {
    let mut found = Vec::new();
    for row in resources.iter().filter(|row| row.verdict.verdict == Verdict::Blocked) {
        found.push(format!("{} is blocked: {}", row.instance, row.verdict.reason));
    }
    for row in resources.iter().filter(|row| row.verdict.verdict == Verdict::Wait && row.phase.is_none()) {
        found.push(format!("{} does not run: {}", row.instance, row.verdict.reason));
    }
    for node in nodes {
        match node.membership {
            MembershipView::Suspect => found.push(format!("{} is not heard", node.name)),
            MembershipView::Fenced => found.push(format!("{} was fenced and is not back", node.name)),
            // A node that was never there is nothing that broke.
            MembershipView::Absent | MembershipView::Joining | MembershipView::Online | MembershipView::Left => {}
        }
    }
    if let Some(last) =
        fencing.first().filter(|last| matches!(last.outcome, AttemptOutcome::Failed | AttemptOutcome::Unknown))
    {
        found.push(format!("the last fencing of {} did not succeed", last.node));
    }
    for device in devices(input, spec_of(input.state)).iter().filter(|device| !device.failing.is_empty()) {
        let nodes: Vec<&str> = device.failing.iter().map(|fault| fault.node.as_str()).collect();
        let why = device.failing.first().map_or("", |fault| fault.why.as_str());
        found.push(format!("fencing device {} cannot be used by {}: {why}", device.name, nodes.join(", ")));
    }
    for node in nodes.iter().filter(|node| node.membership == MembershipView::Online) {
        let down: Vec<String> = node.links.iter().filter(|l| !l.up).map(|l| l.link.to_string()).collect();
        if !down.is_empty() {
            found.push(format!("link {} to {} is down", down.join(", "), node.name));
        }
    }
    let fresh = |at_ms: u64| now_ms.saturating_sub(at_ms) < ALARM_DEGRADES_MS;
    found.extend(input.state.alarms.iter().rev().filter(|a| fresh(a.at_ms)).map(|a| format!("alarm: {}", a.text)));
    found.extend(rollout::problem(input.state));
    found.extend(input.conditions.iter().cloned());
    let mut told = BTreeSet::new();
    found.retain(|problem| told.insert(problem.clone()));
    found
}

fn health(input: &Input<'_>, problems: &[String], resources: &[ResourceView], fencing: &[FencingView]) -> Health {
    if input.leadership.leader.is_none() {
        return Health::NoQuorum;
    }
    if !problems.is_empty() {
        return Health::Degraded;
    }
    if input.state.target.is_none() {
        return Health::Unconfigured;
    }
    let busy = resources.iter().any(|row| row.verdict.verdict != Verdict::Keep);
    let open = fencing.iter().any(|attempt| attempt.outcome == AttemptOutcome::Open);
    if busy || open { Health::Converging } else { Health::Healthy }
}

fn summary(
    health: Health,
    problems: &[String],
    nodes: &[NodeView],
    resources: &[ResourceView],
    state: &State,
) -> String {
    let online = nodes.iter().filter(|node| node.membership == MembershipView::Online).count();
    let running = resources.iter().filter(|row| row.phase.as_deref() == Some("Running")).count();
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let mut line = match health {
        Health::Healthy => format!("healthy: {} online, {} running", count(online, "node"), count(running, "resource")),
        Health::Converging => {
            let busy = resources.iter().filter(|row| row.verdict.verdict != Verdict::Keep).count();
            format!("converging: {} on the way", count(busy, "resource"))
        }
        Health::Unconfigured => "no manifests yet: push them to this node's repository".to_owned(),
        Health::Degraded => match problems {
            [] => "degraded".to_owned(),
            [only] => format!("degraded: {only}"),
            [first, rest @ ..] => format!("degraded: {first} (and {} more)", rest.len()),
        },
        Health::NoQuorum => "no quorum: no leader is known, nothing can be decided".to_owned(),
    };
    if !state.overrides.is_empty() {
        line += &format!(" [{}]", count(state.overrides.len(), "override"));
    }
    line
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
