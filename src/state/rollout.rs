//! Whether a commit turned out well: confirmation in time, and the way back.
//!
//! Where `Cluster.spec.confirmation` says so, a new target is on trial: the leader confirms it once everything is as it
//! should be ([`Command::Confirm`](super::Command)), or a person does. If the time is over first, the cluster returns to the
//! last target that was good. What it returned from is held: `main` of git stays there, so that nobody's history is
//! rewritten, and the same manifests are refused until somebody says that they are meant.
//!
//! Input: commands → output: [`Rollout`], and another target. Invariants: a return leads only to a target that was good, whose
//! spec is kept here, so that no git is needed for it; one return never leads to another; what is not confirmed is never
//! returned to.
//!
//! Deliberately absent: what healthy is (the leader's plan knows: `reconcile`), and git (`daemon`).

use super::apply::Ctx;
use super::reload::RELOAD_LEVEL;
use super::target::Accepted;
use super::{EventKind, Refusal, State, Target};
use crate::model::{ConfirmedBy, Digest, Incarnation, ResourceId, Revision, Spec, TargetRole};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Revisions that are held at a time; the oldest is forgotten. More than anybody tries in a night.
const MAX_HELD: usize = 16;

/// How the target does, and what was returned from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rollout {
    pub trial: Trial,
    /// What was returned from, oldest first.
    pub held: Vec<Held>,
    /// What `main` of git names while that is not the target.
    pub tip: Option<Revision>,
}

/// What is known of the target's health.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trial {
    /// Nobody asks: it is good.
    #[default]
    Off,
    On {
        /// Of the agreed time.
        until_ms: u64,
        by: ConfirmedBy,
        /// What did not run before either, and was not changed: it does not count.
        excused: BTreeSet<ResourceId>,
        /// The cluster came back to this one: it was good, and nothing is behind it.
        returned: bool,
    },
    Passed {
        by: String,
        at_ms: u64,
    },
    /// In vain, and there was nothing to return to.
    Failed {
        why: String,
        excused: BTreeSet<ResourceId>,
    },
}

/// A revision that was returned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub revision: Revision,
    /// What its manifests mean ([`essence`]): other commits with the same are no better.
    pub essence: Digest,
    pub at_ms: u64,
    pub why: String,
}

impl Rollout {
    /// What does not count against the target; None: it is not on trial.
    pub fn excused(&self) -> Option<&BTreeSet<ResourceId>> {
        match &self.trial {
            Trial::On { excused, .. } | Trial::Failed { excused, .. } => Some(excused),
            Trial::Off | Trial::Passed { .. } => None,
        }
    }

    /// When the target must be confirmed at the latest.
    pub fn until_ms(&self) -> Option<u64> {
        match &self.trial {
            Trial::On { until_ms, .. } => Some(*until_ms),
            Trial::Off | Trial::Passed { .. } | Trial::Failed { .. } => None,
        }
    }

    /// What was returned from and means the same as these manifests.
    pub fn hold_on(&self, spec: &Spec) -> Option<&Held> {
        if self.held.is_empty() {
            return None;
        }
        let essence = essence(spec);
        self.held.iter().rev().find(|held| held.essence == essence)
    }

    /// Whether a target that another one replaces may be returned to.
    fn is_good(&self) -> bool {
        match &self.trial {
            Trial::Off | Trial::Passed { .. } => true,
            Trial::On { returned, .. } => *returned,
            Trial::Failed { .. } => false,
        }
    }
}

/// What manifests mean, wherever in which file it is written.
pub fn essence(spec: &Spec) -> Digest {
    let bare = Spec { origins: BTreeMap::new(), ..spec.clone() };
    Digest::of(&postcard::to_stdvec(&bare).expect("plain data always serialises"))
}

impl State {
    /// What `main` of git names.
    pub fn tip(&self) -> Option<&Revision> {
        self.rollout.tip.as_ref().or(self.target.as_ref().map(|target| &target.revision))
    }

    /// What runs nowhere although it should: an excuse for what follows.
    fn ailing(&self) -> BTreeSet<ResourceId> {
        let Some(spec) = self.spec() else { return BTreeSet::new() };
        let runs = |name: &ResourceId| {
            let failed = self.claims_of(name).any(|(_, claim)| !claim.is_running());
            !failed && self.claims_of(name).next().is_some()
        };
        let wanted = spec.resources.iter().filter(|(_, resource)| resource.target_role != TargetRole::Stopped);
        wanted.map(|(name, _)| name).filter(|name| !runs(name)).cloned().collect()
    }

    /// A target is about to be replaced: what was good of it is kept. What ails, with the definition it ails by.
    pub(super) fn before_trial(&mut self) -> Vec<(ResourceId, Option<Digest>)> {
        let ailing = self.ailing().into_iter().map(|name| (self.current.get(&name).copied(), name));
        let ailing = ailing.map(|(definition, name)| (name, definition)).collect();
        if let Some(target) = self.target.take().filter(|_| self.rollout.is_good()) {
            self.last_good = Some(target);
        }
        self.rollout.tip = None;
        ailing
    }

    /// A new target is followed from now on.
    pub(super) fn begin_trial(&mut self, spec: &Spec, ailing: Vec<(ResourceId, Option<Digest>)>, returned: bool) {
        let unchanged = |(name, definition): &(ResourceId, Option<Digest>)| {
            definition.is_some() && self.current.get(name) == definition.as_ref()
        };
        let excused = ailing.into_iter().filter(unchanged).map(|(name, _)| name).collect();
        // Replicas of older programs would not keep it.
        let wanted = spec.cluster.confirmation.filter(|_| self.feature_level >= RELOAD_LEVEL);
        self.rollout.trial = match wanted {
            None => Trial::Off,
            Some(wanted) => Trial::On {
                until_ms: self.now_ms.saturating_add(wanted.deadline.as_millis() as u64),
                by: if returned { ConfirmedBy::Health } else { wanted.by },
                excused,
                returned,
            },
        };
    }

    pub(super) fn apply_confirm(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: Option<&Incarnation>,
        revision: &Revision,
        by: &str,
    ) -> Result<(), Refusal> {
        if let Some(leader) = leader {
            self.check_leader(leader)?;
        }
        self.check_target(revision)?;
        match self.rollout.trial {
            Trial::On { .. } | Trial::Failed { .. } => {}
            Trial::Off | Trial::Passed { .. } => return Err(Refusal::NothingToDo),
        }
        self.rollout.trial = Trial::Passed { by: by.to_owned(), at_ms: ctx.at_ms };
        ctx.event(EventKind::Target, None, None, format!("{} is confirmed ({by})", revision.short()));
        Ok(())
    }

    /// The time of a trial is over.
    pub(super) fn apply_overdue(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        revision: &Revision,
        why: &str,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        self.check_target(revision)?;
        let Trial::On { until_ms, excused, returned, .. } = self.rollout.trial.clone() else {
            return Err(Refusal::NothingToDo);
        };
        if until_ms > self.now_ms {
            return Err(Refusal::NotAllowed { why: format!("{} has time left", revision.short()) });
        }
        if !returned && self.last_good.is_some() {
            return self.go_back(ctx, why, "hafen");
        }
        let text = match returned {
            true => format!("the cluster returned to {}, which is not healthy either: {why}", revision.short()),
            false => format!("{} is not confirmed, and nothing was good before: {why}", revision.short()),
        };
        self.alarm(ctx, text);
        self.rollout.trial = match returned {
            true => Trial::Off,
            false => Trial::Failed { why: why.to_owned(), excused },
        };
        Ok(())
    }

    /// A person wants the last good target back.
    pub(super) fn apply_rollback(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: &Revision,
        by: &str,
        reason: &str,
    ) -> Result<(), Refusal> {
        self.check_target(from)?;
        self.go_back(ctx, reason, by)
    }

    fn go_back(&mut self, ctx: &mut Ctx<'_>, why: &str, by: &str) -> Result<(), Refusal> {
        let nothing = || Refusal::NotAllowed { why: "there is no earlier target that was good".into() };
        let (from, good) = (self.target.clone().ok_or_else(nothing)?, self.last_good.clone().ok_or_else(nothing)?);
        let spec = self.specs.get(&good.spec).cloned().ok_or_else(nothing)?;
        let (tip, before) = (self.tip().cloned(), from.revision.clone());
        if self.rollout.held.len() >= MAX_HELD {
            self.rollout.held.remove(0);
        }
        let essence = self.spec().map(|spec| essence(spec)).ok_or_else(nothing)?;
        let held = Held { revision: from.revision.clone(), essence, at_ms: ctx.at_ms, why: why.to_owned() };
        let text = format!("returned from {} to {} ({by}): {why}", from.revision.short(), good.revision.short());
        self.rollout.held.retain(|other| other.revision != held.revision && other.essence != held.essence);
        self.rollout.held.push(held);
        let accepted = Accepted { revision: good.revision, digest: good.spec, by: by.to_owned(), returned: true };
        self.take_target(ctx, accepted, spec);
        // What it came from was not good, and this one has no other behind it.
        self.last_good = None;
        self.forget_unreferenced();
        self.rollout.tip = tip;
        ctx.event(EventKind::Target, None, None, text);
        self.note_target(ctx, Some(&before));
        Ok(())
    }

    /// A person means it all the same.
    pub(super) fn apply_release_hold(
        &mut self,
        ctx: &mut Ctx<'_>,
        revision: &Revision,
        by: &str,
    ) -> Result<(), Refusal> {
        let before = self.rollout.held.len();
        self.rollout.held.retain(|held| held.revision != *revision);
        if self.rollout.held.len() == before {
            return Err(Refusal::NothingToDo);
        }
        ctx.event(EventKind::Target, None, None, format!("{} may be tried again ({by})", revision.short()));
        Ok(())
    }

    fn check_target(&self, revision: &Revision) -> Result<(), Refusal> {
        match &self.target {
            Some(Target { revision: current, .. }) if current == revision => Ok(()),
            other => Err(Refusal::TargetMoved { current: other.as_ref().map(|target| target.revision.clone()) }),
        }
    }
}
