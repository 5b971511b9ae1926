//! Facts of the hour: overrides, cleaned-up failures, attributes, the agreed time.

use super::apply::Ctx;
use super::{
    EventKind, FEATURE_LEVEL, FenceOutcome, Membership, Override, OverrideKind, PAUSE_BETWEEN_CYCLES_MS, Refusal,
    Scope, State,
};
use crate::model::planted::{Planted, planted};
use crate::model::{BootId, Incarnation, InstanceId, NodeId, OverrideId, ResourceId};

/// Far more than an operator sets by hand.
const MAX_OVERRIDES: usize = 1_000;
/// A leader ticks every few seconds while anything can expire; a larger gap means that something stood still, and then
/// nothing may expire at once.
const MAX_TICK_MS: u64 = 60_000;
/// Attributes of one node: agents write a handful.
const MAX_ATTRIBUTES: usize = 1_000;
const MAX_ATTRIBUTE_BYTES: usize = 4_096;

impl State {
    pub(super) fn apply_set_override(
        &mut self,
        ctx: &mut Ctx<'_>,
        scope: &Scope,
        kind: &OverrideKind,
        by: &str,
        reason: &str,
        expires_ms: Option<u64>,
    ) -> Result<(), Refusal> {
        match scope {
            Scope::Node(node) if !self.nodes.contains_key(node) => {
                return Err(Refusal::UnknownNode { node: node.clone() });
            }
            Scope::Resource(resource) if !self.has_resource(resource) => {
                return Err(Refusal::UnknownResource { resource: resource.clone() });
            }
            Scope::Node(_) | Scope::Resource(_) | Scope::Cluster => {}
        }
        if let OverrideKind::Move { to: node } | OverrideKind::Ban { node } = kind
            && !self.nodes.contains_key(node)
        {
            return Err(Refusal::UnknownNode { node: node.clone() });
        }
        if self.overrides.len() >= MAX_OVERRIDES {
            return Err(Refusal::TooLarge { what: "the number of overrides".into() });
        }
        if let (OverrideKind::Disarm, Scope::Node(node)) = (kind, scope) {
            if let Some((key, _)) = self.claims_on(node).next() {
                let why = format!("{node} still holds the claim on {key}: `hafen drain {node}` first");
                return Err(Refusal::NotAllowed { why });
            }
            // From here on it proves nothing, and must be reported anew.
            if let Some(node) = self.nodes.get_mut(node) {
                node.watchdog = None;
            }
        }
        let same = |o: &Override| o.scope == *scope && std::mem::discriminant(&o.kind) == std::mem::discriminant(kind);
        self.overrides.retain(|_, o| !same(o));
        self.last_override.0 += 1;
        let set = Override {
            scope: scope.clone(),
            kind: kind.clone(),
            by: by.to_owned(),
            reason: reason.to_owned(),
            since_ms: ctx.at_ms,
            expires_ms,
        };
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let text = format!("{by}: {} for {scope}{why}", kind.word());
        ctx.event(EventKind::Override, scope.node(), scope.instance().as_ref(), text);
        self.overrides.insert(self.last_override, set);
        Ok(())
    }

    pub(super) fn apply_clear_override(&mut self, ctx: &mut Ctx<'_>, id: OverrideId, by: &str) -> Result<(), Refusal> {
        let Some(cleared) = self.overrides.remove(&id) else { return Err(Refusal::NothingToDo) };
        let text = format!("{by}: {} for {} ended", cleared.kind.word(), cleared.scope);
        ctx.event(EventKind::Override, cleared.scope.node(), cleared.scope.instance().as_ref(), text);
        self.look_again_after(&cleared);
        Ok(())
    }

    /// While nobody touched it, people may have started, stopped and moved what maintenance covered: what was seen before
    /// counts no more, and nothing is started before every node has looked again.
    fn look_again_after(&mut self, over: &Override) {
        if !matches!(over.kind, OverrideKind::Maintenance) {
            return;
        }
        let meant: Option<Vec<ResourceId>> = match (&over.scope, self.spec()) {
            (Scope::Resource(name), Some(spec)) => Some(spec.primitives_of(name).into_iter().cloned().collect()),
            (Scope::Resource(_) | Scope::Cluster | Scope::Node(_), _) => None,
        };
        self.probes.retain(|key, _| meant.as_ref().is_some_and(|list| !list.contains(&key.resource)));
    }

    /// Whether git names this resource, group or clone.
    pub fn has_resource(&self, name: &ResourceId) -> bool {
        self.spec().is_some_and(|spec| {
            spec.resources.contains_key(name) || spec.groups.contains_key(name) || spec.clones.contains_key(name)
        })
    }

    pub(super) fn apply_clear_failures(
        &mut self,
        ctx: &mut Ctx<'_>,
        resource: Option<&ResourceId>,
        node: Option<&NodeId>,
        by: &str,
    ) -> Result<(), Refusal> {
        let spec = self.spec().cloned();
        let primitives: Option<Vec<ResourceId>> = resource.map(|name| match &spec {
            Some(spec) => spec.primitives_of(name).into_iter().cloned().collect(),
            None => vec![name.clone()],
        });
        let meant = |name: &ResourceId, at: &NodeId| {
            primitives.as_ref().is_none_or(|list| list.contains(name)) && node.is_none_or(|node| node == at)
        };
        let before = self.history.len();
        self.history.retain(|key, _| !meant(&key.instance.resource, &key.node));
        let mut unblocked = 0;
        // It stopped everywhere: a cleanup of one node says nothing of the others.
        let halted = self.halted.len();
        self.halted.retain(|name| node.is_some() || primitives.as_ref().is_some_and(|list| !list.contains(name)));
        unblocked += halted - self.halted.len();
        let open: Vec<NodeId> =
            self.attempts.values().filter(|a| a.outcome.is_none()).map(|a| a.node.clone()).collect();
        for (key, claim) in &mut self.claims {
            if let Some(failure) = &mut claim.failure
                && meant(&key.instance.resource, &key.node)
            {
                failure.blocked = false;
                // Tried again by its owner instead; where the power is being cut already that goes on.
                failure.fence &= open.contains(&key.node);
                unblocked += 1;
            }
        }
        // What was seen before is asked again: the operator may have mended it.
        self.probes.retain(|key, _| !meant(&key.resource, &key.node));
        let what = resource.map_or("everything".to_owned(), ToString::to_string);
        let count = before - self.history.len() + unblocked;
        ctx.event(EventKind::Cleanup, node, None, format!("{by}: cleaned up {what} ({count} records)"));
        Ok(())
    }

    pub(super) fn apply_set_attribute(
        &mut self,
        node: &NodeId,
        boot: Option<&BootId>,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), Refusal> {
        let state = self.nodes.get_mut(node).ok_or_else(|| Refusal::UnknownNode { node: node.clone() })?;
        if boot.is_some_and(|boot| *boot != state.incarnation.boot) {
            return Err(Refusal::StaleIncarnation { node: node.clone() });
        }
        let attributes = if boot.is_some() { &mut state.attributes } else { &mut state.permanent_attributes };
        match value {
            None => {
                attributes.remove(name);
            }
            Some(value) => {
                let fits = name.len() + value.len() <= MAX_ATTRIBUTE_BYTES;
                if !fits || (attributes.len() >= MAX_ATTRIBUTES && !attributes.contains_key(name)) {
                    return Err(Refusal::TooLarge { what: format!("attribute `{name}` of {node}") });
                }
                attributes.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }

    pub(super) fn apply_raise_level(&mut self, level: u32) -> Result<(), Refusal> {
        if level <= self.feature_level {
            return Err(Refusal::NothingToDo);
        }
        if level > FEATURE_LEVEL {
            return Err(Refusal::NotAllowed { why: format!("feature level {level} is not known here") });
        }
        if let Some((name, _)) = self.nodes.iter().find(|(_, node)| node.feature_level < level) {
            return Err(Refusal::NotAllowed { why: format!("{name} does not support feature level {level} yet") });
        }
        self.feature_level = level;
        Ok(())
    }

    pub(super) fn apply_tick(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        elapsed_ms: u64,
        wall_ms: u64,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        if let Some(leader) = &mut self.leader
            && leader.may_set_clock
        {
            leader.may_set_clock = false;
            self.now_ms = self.now_ms.max(wall_ms);
        } else if planted(Planted::WallClockBelieved) {
            self.now_ms = wall_ms;
        } else if elapsed_ms > MAX_TICK_MS {
            self.now_ms = self.now_ms.saturating_add(MAX_TICK_MS);
            let text = format!("the leader's time stood still for {} s: nothing expired", elapsed_ms / 1_000);
            self.alarm(ctx, text);
            return Ok(());
        } else {
            self.now_ms = self.now_ms.saturating_add(elapsed_ms);
        }
        self.expire(ctx);
        Ok(())
    }

    fn expire(&mut self, ctx: &mut Ctx<'_>) {
        let now_ms = self.now_ms;
        let over = |o: &Override| o.expires_ms.is_some_and(|at| at <= now_ms);
        let ended: Vec<Override> = self.overrides.values().filter(|o| over(o)).cloned().collect();
        self.overrides.retain(|_, o| !over(o));
        for o in &ended {
            let text = format!("{} for {} expired", o.kind.word(), o.scope);
            ctx.event(EventKind::Override, o.scope.node(), o.scope.instance().as_ref(), text);
            self.look_again_after(o);
        }
        self.end_overdue_attempts(ctx);
        let (current, definitions) = (&self.current, &self.definitions);
        self.history.retain(|key, record| {
            let definition = current.get(&key.instance.resource).and_then(|digest| definitions.get(digest));
            let timeout_ms = definition.map_or(0, |d| d.resource.failure.timeout.as_millis() as u64);
            let expired = timeout_ms > 0 && record.last_failure_ms.saturating_add(timeout_ms) <= now_ms;
            record.fail_count == 0 || !expired
        });
    }

    /// When something will expire next, so that a leader ticks only when it is needed.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        let overrides = self.overrides.values().filter_map(|o| o.expires_ms);
        let attempts = self.attempts.values().filter(|a| a.outcome.is_none()).map(|a| a.deadline_ms);
        let failures = self.history.iter().filter(|(_, record)| record.fail_count > 0).filter_map(|(key, record)| {
            let (_, definition) = self.current_definition(&key.instance.resource)?;
            let timeout_ms = definition.resource.failure.timeout.as_millis() as u64;
            let expiry = (timeout_ms > 0).then(|| record.last_failure_ms.saturating_add(timeout_ms));
            let retry = (record.start_failed && record.retry_ms > self.now_ms).then_some(record.retry_ms);
            expiry.into_iter().chain(retry).min()
        });
        // All levels of a lost node have failed: the next round begins after a pause.
        let rounds =
            self.nodes.iter().filter(|(_, node)| node.membership == Membership::Suspect).filter_map(|(id, _)| {
                let last = self.attempts.values().filter(|a| &a.node == id).max_by_key(|a| a.started_ms)?;
                let failed = matches!(last.outcome, Some(FenceOutcome::Failed(_) | FenceOutcome::Unknown(_)));
                let next_ms = last.ended_ms.saturating_add(PAUSE_BETWEEN_CYCLES_MS);
                (failed && next_ms > self.now_ms).then_some(next_ms)
            });
        let trial = self.rollout.until_ms();
        overrides.chain(attempts).chain(failures).chain(rounds).chain(trial).min()
    }
}

impl Scope {
    fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Node(node) => Some(node),
            Self::Cluster | Self::Resource(_) => None,
        }
    }

    /// For events: what a resource's own are found by.
    fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Resource(resource) => Some(InstanceId::plain(resource.clone())),
            Self::Cluster | Self::Node(_) => None,
        }
    }
}

impl OverrideKind {
    /// The word people know it by.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Move { .. } => "move",
            Self::Ban { .. } => "ban",
            Self::Maintenance => "maintenance",
            Self::Disarm => "disarm",
            Self::Stop => "stop",
            Self::Shutdown => "shutdown",
            Self::Fence => "fence",
            Self::TestFence { .. } => "fence test",
            Self::Suspend => "suspend",
        }
    }

    /// It asks for an attempt against its node.
    pub fn is_fence(&self) -> bool {
        match self {
            Self::Fence | Self::TestFence { .. } => true,
            Self::Drain
            | Self::Move { .. }
            | Self::Ban { .. }
            | Self::Maintenance
            | Self::Disarm
            | Self::Stop
            | Self::Shutdown
            | Self::Suspend => false,
        }
    }
}
