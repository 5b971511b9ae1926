//! Nodes: joining, leaving, suspicion, and the evidence that ends a lost boot's claims.

use super::apply::Ctx;
use super::target::document_of;
use super::{
    Admitted, EventKind, JoinFacts, Leader, Membership, NodeState, OverrideKind, Refusal, Scope, State, Suspicion,
    Token, TokenFor,
};
use crate::model::planted::{Planted, planted};
use crate::model::{BootId, Incarnation, LogIndex, NodeId};
use std::collections::BTreeMap;

/// Tokens live for hours; more than these are a mistake.
const MAX_TOKENS: usize = 1_000;

/// What proves that a boot is over. `Released` is not here: it ends one claim, by its owner's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    Rebooted,
    FenceConfirmed,
    WatchdogElapsed { waited_ms: u64 },
    ConfirmedOff { by: String },
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rebooted => f.write_str("it is there with a new boot"),
            Self::FenceConfirmed => f.write_str("fencing confirmed"),
            Self::WatchdogElapsed { waited_ms } => {
                write!(f, "its lease ran out, {waited_ms} ms after it was last acknowledged, and its watchdog with it")
            }
            Self::ConfirmedOff { by } => write!(f, "{by} states that it is off"),
        }
    }
}

impl State {
    pub(super) fn apply_put_token(&mut self, id: u64, token: &Token) -> Result<(), Refusal> {
        let now_ms = self.now_ms;
        if self.tokens.values().filter(|old| old.expires_ms > now_ms).count() >= MAX_TOKENS {
            return Err(Refusal::TooLarge { what: "the number of valid tokens".into() });
        }
        self.tokens.retain(|_, old| old.expires_ms > now_ms);
        self.tokens.insert(id, token.clone());
        Ok(())
    }

    pub(super) fn apply_admit(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: u64,
        name: &NodeId,
        addresses: &[std::net::IpAddr],
        port: u16,
    ) -> Result<(), Refusal> {
        let Some(token) = self.tokens.get_mut(&id).filter(|token| token.role == TokenFor::Node) else {
            return Err(Refusal::NotAllowed { why: "the token is unknown".into() });
        };
        let admitted = Admitted { addresses: addresses.to_vec(), port };
        match &token.used_by {
            // The answer was lost and the node asks again.
            Some(used) if used == name && self.admitted.get(name) == Some(&admitted) => return Ok(()),
            Some(_) => return Err(Refusal::NotAllowed { why: "the token was used before".into() }),
            None => {}
        }
        if self.admitted.contains_key(name) {
            let why = format!("there is a node `{name}` already; let it `hafen leave` first, or choose another name");
            return Err(Refusal::NotAllowed { why });
        }
        token.used_by = Some(name.clone());
        self.admitted.insert(name.clone(), admitted);
        ctx.event(EventKind::Joined, Some(name), None, format!("{name} was admitted"));
        Ok(())
    }

    pub(super) fn apply_leader_start(
        &mut self,
        ctx: &mut Ctx<'_>,
        node: &NodeId,
        incarnation: &Incarnation,
        term: u64,
    ) -> Result<(), Refusal> {
        if self.leader.as_ref().is_some_and(|leader| leader.term > term) {
            return Err(Refusal::NotLeader);
        }
        let text = format!("{node} leads (term {term})");
        ctx.event(EventKind::Leader, Some(node), None, text);
        self.leader = Some(Leader { node: node.clone(), incarnation: incarnation.clone(), term, may_set_clock: true });
        Ok(())
    }

    pub(super) fn apply_join(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &NodeId,
        incarnation: &Incarnation,
        facts: &JoinFacts,
    ) -> Result<(), Refusal> {
        if facts.feature_level < self.feature_level {
            let why = format!("{name} runs hafen {}, which is too old for this cluster", facts.version);
            return Err(Refusal::NotAllowed { why });
        }
        if self.is_remote(name) {
            let why = format!("{name} is a remote node: it is reached over a resource, and never joins");
            return Err(Refusal::NotAllowed { why });
        }
        // A node that was forgotten took its burnt boots with it: it comes back by a new token only.
        if !self.admitted.contains_key(name) && !self.nodes.is_empty() {
            return Err(Refusal::NotAllowed { why: format!("{name} is not admitted; it needs a new token") });
        }
        let mut left = None;
        let mut followed = None;
        let mut restarted = None;
        if let Some(node) = self.nodes.get(name) {
            if node.burnt.contains(&incarnation.boot) && !planted(Planted::OldBootAccepted) {
                return Err(Refusal::BurntBoot { node: name.clone(), boot: incarnation.boot.clone() });
            }
            if node.incarnation == *incarnation && node.membership != Membership::Left {
                return Ok(()); // Proposed twice after a lost reply.
            }
            let old = &node.incarnation.boot;
            if *old != incarnation.boot {
                // Who left holds nothing; any other boot must be proven over first, by whoever can hear it.
                match node.membership {
                    Membership::Left if self.claims_on(name).next().is_none() => left = Some(old.clone()),
                    Membership::Fenced => {}
                    // Left, and yet something was found running there.
                    Membership::Left | Membership::Joining | Membership::Online | Membership::Suspect => {
                        return Err(Refusal::OldBootCounts { node: name.clone(), boot: old.clone() });
                    }
                }
                followed = Some(old.clone());
            } else if incarnation.counter <= node.incarnation.counter {
                return Err(Refusal::StaleIncarnation { node: name.clone() });
            }
            restarted = Some(node.incarnation.clone());
        }
        if let Some(old) = &restarted {
            self.end_attempts_of(ctx, old);
        }
        if let Some(old) = &left {
            self.prove_off(ctx, name, old, &Evidence::Rebooted);
        }
        if let Some(old) = &followed {
            self.trust_what_worked(ctx, name, old);
        }
        let open = self.open_attempt(name).is_some();
        let membership = if open { Membership::Joining } else { Membership::Online };
        let spec = self.spec().cloned();
        let node = self.nodes.entry(name.clone()).or_insert_with(|| NodeState::new(incarnation));
        node.membership = membership;
        node.incarnation = incarnation.clone();
        node.joined_at = ctx.index;
        node.since_ms = ctx.at_ms;
        node.addresses = facts.addresses.clone();
        node.port = facts.port;
        node.version = facts.version.clone();
        node.feature_level = facts.feature_level;
        node.recipient = facts.recipient.clone();
        node.suspicion = None;
        node.restarting = false;
        node.listed = false;
        if let Some(spec) = &spec {
            node.listed = spec.nodes.contains_key(name);
            if let Some(document) = document_of(spec, name) {
                node.document = Some(document.into());
            }
        }
        let admitted = Admitted { addresses: facts.addresses.clone(), port: facts.port };
        self.admitted.insert(name.clone(), admitted);
        if planted(Planted::JoinDropsClaims) {
            self.claims.retain(|key, _| &key.node != name);
        }
        // A restarted daemon takes its claims over; whatever it saw before is seen anew.
        for (key, claim) in &mut self.claims {
            if &key.node == name {
                claim.incarnation = incarnation.clone();
                claim.changed_at = ctx.index;
            }
        }
        self.probes.retain(|key, _| &key.node != name);
        self.end_shutdown(name);
        let text = format!("{name} joined (boot {}, daemon start {})", incarnation.boot, incarnation.counter);
        ctx.event(EventKind::Joined, Some(name), None, text);
        Ok(())
    }

    /// The leader hears a new boot of a node, and the old one no more. Only then may the new one join: where both are
    /// heard, two machines have one identity, and what the first one runs is not over.
    pub(super) fn apply_rebooted(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        name: &NodeId,
        boot: &BootId,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        let node = self.nodes.get(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if node.incarnation.boot != *boot {
            return Err(Refusal::StaleIncarnation { node: name.clone() });
        }
        match node.membership {
            Membership::Online | Membership::Joining | Membership::Suspect | Membership::Left => {}
            Membership::Fenced => return Err(Refusal::NothingToDo),
        }
        self.prove_off(ctx, name, boot, &Evidence::Rebooted);
        Ok(())
    }

    pub(super) fn apply_leave(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &NodeId,
        incarnation: &Incarnation,
    ) -> Result<(), Refusal> {
        self.check_incarnation(name, incarnation)?;
        if let Some((key, _)) = self.claims_on(name).next() {
            return Err(Refusal::NotAllowed { why: format!("{name} still holds the claim on {key}") });
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.membership = Membership::Left;
            node.suspicion = None;
            node.restarting = false;
            node.since_ms = ctx.at_ms;
            node.bad_devices.clear();
            node.watchdog = None;
        }
        ctx.event(EventKind::Left, Some(name), None, format!("{name} left"));
        Ok(())
    }

    /// A planned restart of a daemon: nothing is given up, and nobody is in a hurry to call it silent.
    pub(super) fn apply_restarting(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &NodeId,
        incarnation: &Incarnation,
    ) -> Result<(), Refusal> {
        self.check_incarnation(name, incarnation)?;
        let Some(node) = self.nodes.get_mut(name).filter(|node| !node.restarting) else {
            return Err(Refusal::NothingToDo);
        };
        node.restarting = true;
        ctx.event(EventKind::Override, Some(name), None, format!("the daemon of {name} restarts"));
        Ok(())
    }

    /// A burnt boot lives. What was granted on that evidence cannot be taken back; from now on the node counts as
    /// running anything again, the level that lied is trusted no more, and the next one is to try.
    pub(super) fn apply_contradiction(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        name: &NodeId,
        boot: &BootId,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        let node = self.nodes.get_mut(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        let proven_off = node.burnt.contains(boot) && node.incarnation.boot == *boot;
        if !proven_off || node.membership != Membership::Fenced {
            return Err(Refusal::NothingToDo);
        }
        node.suspect(boot, ctx.at_ms, "it was proven off, but lives: reboot it");
        let is_news = node.contradicted.insert(boot.clone());
        let lied = self.attempts.values().filter(|attempt| {
            &attempt.node == name && attempt.boot == *boot && attempt.outcome == Some(super::FenceOutcome::Off)
        });
        let mut levels: Vec<u32> = lied.map(|attempt| attempt.level).collect();
        levels.dedup();
        self.trust.retain(|key, _| !(&key.node == name && levels.contains(&key.level)));
        let how = match levels.last() {
            Some(level) => format!("level {} of its fencing lied and is not trusted any more", level + 1),
            None => "whoever confirmed that erred".to_owned(),
        };
        let text = format!("{name} was proven off, but its boot {boot} is heard: {how}; reboot {name}");
        match is_news {
            true => self.alarm(ctx, text),
            false => ctx.event(EventKind::Suspected, Some(name), None, text),
        }
        Ok(())
    }

    pub(super) fn apply_drop(&mut self, ctx: &mut Ctx<'_>, name: &NodeId) -> Result<(), Refusal> {
        let node = self.nodes.get(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if node.listed {
            return Err(Refusal::NotAllowed { why: format!("{name} still has a Node document") });
        }
        if let Some((key, _)) = self.claims_on(name).next() {
            return Err(Refusal::NotAllowed { why: format!("{name} still holds the claim on {key}") });
        }
        if let Some((attempt, _)) = self.open_attempt(name) {
            return Err(Refusal::AttemptOpen { attempt });
        }
        match node.membership {
            Membership::Left | Membership::Fenced => {}
            Membership::Joining | Membership::Online | Membership::Suspect => {
                return Err(Refusal::NotAllowed { why: format!("{name} neither left nor is it proven off") });
            }
        }
        self.nodes.remove(name);
        self.admitted.remove(name);
        self.history.retain(|key, _| &key.node != name);
        self.probes.retain(|key, _| &key.node != name);
        ctx.event(EventKind::Left, Some(name), None, format!("{name} was forgotten"));
        Ok(())
    }

    pub(super) fn apply_suspect(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        name: &NodeId,
        boot: &BootId,
        reason: &str,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        let node = self.nodes.get_mut(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if node.incarnation.boot != *boot {
            return Err(Refusal::StaleIncarnation { node: name.clone() });
        }
        match node.membership {
            Membership::Online | Membership::Joining => {}
            Membership::Suspect => return Err(Refusal::NothingToDo),
            Membership::Fenced | Membership::Left => return Err(Refusal::NotOnline { node: name.clone() }),
        }
        node.suspect(boot, ctx.at_ms, reason);
        ctx.event(EventKind::Suspected, Some(name), None, format!("{name} is suspect: {reason}"));
        Ok(())
    }

    pub(super) fn apply_clear(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        name: &NodeId,
        boot: &BootId,
        number: u64,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        if let Some((attempt, _)) = self.open_attempt(name).filter(|_| !planted(Planted::ClearedInFence)) {
            return Err(Refusal::AttemptOpen { attempt });
        }
        let node = self.nodes.get_mut(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if node.burnt.contains(boot) {
            return Err(Refusal::BurntBoot { node: name.clone(), boot: boot.clone() });
        }
        match &node.suspicion {
            Some(suspicion) if suspicion.number == number && suspicion.boot == *boot => {}
            _ => return Err(Refusal::NothingToDo),
        }
        node.membership = Membership::Online;
        node.suspicion = None;
        node.since_ms = ctx.at_ms;
        ctx.event(EventKind::Cleared, Some(name), None, format!("{name} is heard again"));
        Ok(())
    }

    pub(super) fn apply_confirm_off(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &NodeId,
        boot: &BootId,
        by: &str,
        reason: &str,
    ) -> Result<(), Refusal> {
        let node = self.nodes.get(name).ok_or_else(|| Refusal::UnknownNode { node: name.clone() })?;
        if node.incarnation.boot != *boot {
            return Err(Refusal::StaleIncarnation { node: name.clone() });
        }
        match node.membership {
            Membership::Suspect => {}
            Membership::Online | Membership::Joining => {
                return Err(Refusal::NotAllowed { why: format!("{name} is heard: it is not off") });
            }
            Membership::Fenced | Membership::Left => return Err(Refusal::NothingToDo),
        }
        if reason.trim().is_empty() || by.trim().is_empty() {
            return Err(Refusal::NotAllowed { why: "a name and a reason are needed".into() });
        }
        // Whatever an executor still does to this node no longer matters.
        for attempt in self.attempts.values_mut().filter(|a| &a.node == name && a.outcome.is_none()) {
            attempt.outcome = Some(super::FenceOutcome::Unknown("an operator confirmed it off meanwhile".into()));
        }
        self.prove_off(ctx, name, boot, &Evidence::ConfirmedOff { by: format!("{by} ({reason})") });
        Ok(())
    }

    /// What an operator stated when this node was made to go on alone (`hafen recover`). The others are no members any
    /// more; what those hold that were not named stays theirs until evidence.
    pub(super) fn apply_recover(
        &mut self,
        ctx: &mut Ctx<'_>,
        me: &NodeId,
        generation: u64,
        off: &[NodeId],
        by: &str,
        reason: &str,
    ) -> Result<(), Refusal> {
        if generation <= self.generation {
            return Err(Refusal::NothingToDo);
        }
        if off.contains(me) {
            return Err(Refusal::NotAllowed { why: format!("{me} itself goes on: it is not off") });
        }
        self.generation = generation;
        self.admitted.retain(|name, _| name == me);
        let text = format!("{by} made {me} go on alone, in generation {generation}: {reason}");
        ctx.event(EventKind::Override, Some(me), None, text.clone());
        self.alarm(ctx, text);
        for name in off {
            let Some(node) = self.nodes.get(name) else { continue };
            let (boot, membership) = (node.incarnation.boot.clone(), node.membership);
            match membership {
                Membership::Joining | Membership::Online | Membership::Suspect => {}
                Membership::Left if self.claims_on(name).next().is_some() => {}
                Membership::Fenced | Membership::Left => continue,
            }
            for attempt in self.attempts.values_mut().filter(|a| &a.node == name && a.outcome.is_none()) {
                attempt.outcome = Some(super::FenceOutcome::Unknown("an operator stated that it is off".into()));
            }
            self.prove_off(ctx, name, &boot, &Evidence::ConfirmedOff { by: format!("{by} ({reason})") });
        }
        Ok(())
    }

    /// A boot is proven to be over: its claims end, and it never comes back.
    pub(super) fn prove_off(&mut self, ctx: &mut Ctx<'_>, name: &NodeId, boot: &BootId, evidence: &Evidence) {
        let ended: Vec<_> = self
            .claims
            .iter()
            .filter(|(key, claim)| &key.node == name && claim.incarnation.boot == *boot)
            .filter(|_| !planted(Planted::BurntKeepsClaims))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &ended {
            if let Some(claim) = self.claims.remove(key).filter(|claim| claim.phase.migrates()) {
                self.give_up_migration(key, claim.phase);
            }
        }
        self.probes.retain(|key, _| &key.node != name);
        self.history.retain(|key, _| &key.node != name);
        let executor = self.nodes.get(name).map(|node| node.incarnation.clone()).filter(|i| i.boot == *boot);
        if let Some(executor) = executor {
            self.end_attempts_of(ctx, &executor);
        }
        if let Some(node) = self.nodes.get_mut(name) {
            node.burnt.insert(boot.clone());
            if node.incarnation.boot == *boot {
                node.restarting = false;
                node.membership = Membership::Fenced;
                node.suspicion = None;
                node.since_ms = ctx.at_ms;
                node.attributes.clear();
                node.bad_devices.clear();
                node.watchdog = None;
            }
        }
        // An operator wanted that boot powered off; however it ended, its successor is not meant.
        let scope = Scope::Node(name.clone());
        self.overrides.retain(|_, o| !(o.scope == scope && o.kind.is_fence()));
        self.end_shutdown(name);
        self.forget_unreferenced();
        let text = format!("{name} boot {boot} is over: {evidence}; {} claims ended", ended.len());
        ctx.event(EventKind::Evidence, Some(name), None, text);
    }

    /// An attempt that read off, followed by a new boot, proves its level; unless that boot was heard after it was proven
    /// off once: then nobody knows which of the levels ended it, if any did.
    fn trust_what_worked(&mut self, ctx: &Ctx<'_>, name: &NodeId, old: &BootId) {
        if self.nodes.get(name).is_some_and(|node| node.contradicted.contains(old)) {
            return;
        }
        let worked: Vec<u32> = self
            .attempts
            .values()
            .filter(|a| &a.node == name && a.boot == *old && a.outcome == Some(super::FenceOutcome::Off))
            .map(|attempt| attempt.level)
            .collect();
        for level in worked {
            let Some(digest) = self.nodes.get(name).and_then(|node| Self::level_digest(node, level)) else { continue };
            let key = super::TrustKey { node: name.clone(), level, digest };
            self.trust.insert(
                key,
                super::Trust { by: "a fencing that worked".into(), reason: String::new(), at_ms: ctx.at_ms },
            );
        }
    }

    fn end_shutdown(&mut self, name: &NodeId) {
        let scope = Scope::Node(name.clone());
        self.overrides.retain(|_, o| !(o.scope == scope && matches!(o.kind, OverrideKind::Shutdown)));
    }
}

impl NodeState {
    /// A node that asks to be let in, of which nothing else is known.
    pub fn new(incarnation: &Incarnation) -> Self {
        Self {
            membership: Membership::Joining,
            incarnation: incarnation.clone(),
            joined_at: LogIndex(0),
            since_ms: 0,
            addresses: Vec::new(),
            port: 0,
            version: String::new(),
            feature_level: 0,
            recipient: None,
            attributes: Default::default(),
            permanent_attributes: Default::default(),
            burnt: Default::default(),
            contradicted: Default::default(),
            restarting: false,
            suspicion: None,
            last_suspicion: 0,
            document: None,
            listed: false,
            fenced_ms: Vec::new(),
            bad_devices: BTreeMap::new(),
            watchdog: None,
            lease_over: None,
        }
    }

    pub(super) fn suspect(&mut self, boot: &BootId, at_ms: u64, reason: &str) {
        self.last_suspicion += 1;
        self.membership = Membership::Suspect;
        self.since_ms = at_ms;
        self.suspicion = Some(Suspicion {
            number: self.last_suspicion,
            boot: boot.clone(),
            since_ms: at_ms,
            reason: reason.to_owned(),
        });
    }
}
