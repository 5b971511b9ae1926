//! What a forge is to be told of commits, until it has been: kept here, so that another leader goes on.
//!
//! Input → output: a commit that becomes the target, a leader's word about a commit (`NoteStatus`), what came of telling it
//! (`StatusSent`) → the newest word about each of the last commits, and whether it was told.
//!
//! Invariants: a word is forgotten only for a newer one about the same commit, or with an event if too many wait; what came
//! of an older word changes nothing about a newer one; words and commits are bounded, whatever is proposed.
//! Deliberately absent: what is said (`reconcile`), how (`forge`). Nothing of the cluster rests on any of this.

use super::apply::Ctx;
use super::{EventKind, Refusal, State};
use crate::model::{CommitState, Delivery, Incarnation, ReportTo, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The feature level at which commands of the outbox may be proposed.
pub const OUTBOX_LEVEL: u32 = 2;
/// Commits of which something is kept: the one that is followed, those it replaced, and those that were refused since.
const MAX_COMMITS: usize = 8;
/// Characters of a word or a reason. Forges show 140.
pub const LONGEST_WORD: usize = 200;

/// Words about commits, and how telling them goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Outbox {
    /// Numbers words. It is never reused.
    pub last: u64,
    pub words: BTreeMap<Revision, Word>,
    /// The forge takes nothing, since when and why.
    pub failing: Option<Failing>,
}

/// The newest word about a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub number: u64,
    pub state: CommitState,
    /// One line for people; never secret.
    pub text: String,
    /// When the cluster began to follow the commit, in agreed time; of a refused one, when it was refused.
    pub since_ms: u64,
    pub told: Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    NotYet,
    /// The forge said that it has it.
    Yes,
    /// The forge does not know the commit.
    Never,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    pub since_ms: u64,
    pub why: String,
}

impl Outbox {
    /// What is still to be told, oldest first.
    pub fn waiting(&self) -> Vec<(&Revision, &Word)> {
        let mut waiting: Vec<_> = self.words.iter().filter(|(_, word)| word.told == Sent::NotYet).collect();
        waiting.sort_by_key(|(_, word)| word.number);
        waiting
    }
}

impl State {
    /// Who is told of commits, by the manifests that are followed.
    pub fn report_to(&self) -> Option<&ReportTo> {
        self.spec()?.cluster.source.as_ref()?.report.as_ref()
    }

    /// The target has changed: the new one is on its way, and the one before ends there if it never was healthy.
    pub(super) fn note_target(&mut self, ctx: &mut Ctx<'_>, before: Option<&Revision>) {
        if self.feature_level < OUTBOX_LEVEL {
            return;
        }
        if self.report_to().is_none() {
            // Numbers go on: what is still under way must not be taken for the answer to a later word.
            self.outbox = Outbox { last: self.outbox.last, ..Outbox::default() };
            return;
        }
        let Some(now) = self.target.as_ref().map(|target| target.revision.clone()) else { return };
        if let Some((before, word)) = before.and_then(|before| self.outbox.words.get_key_value(before)) {
            let (before, held) = (before.clone(), self.rollout.held.iter().find(|held| held.revision == *before));
            match (held, word.state) {
                (Some(held), _) => {
                    let text = format!("back to {}: {}", now.short(), held.why);
                    self.note(ctx, &before, CommitState::Failure, &text);
                }
                (None, CommitState::Pending) => {
                    let text = format!("{} came before the cluster was healthy", now.short());
                    self.note(ctx, &before, CommitState::Superseded, &text);
                }
                // It was healthy, or said to have failed, whatever came then.
                (None, CommitState::Success | CommitState::Failure | CommitState::Superseded) => {}
            }
        }
        // A return to an earlier commit begins anew.
        self.outbox.words.remove(&now);
        self.note(ctx, &now, CommitState::Pending, "the cluster is on its way there");
    }

    pub(super) fn apply_note_status(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        revision: &Revision,
        state: CommitState,
        text: &str,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        // The manifests may ask for no report since.
        if self.report_to().is_some() && self.feature_level >= OUTBOX_LEVEL {
            self.note(ctx, revision, state, text);
        }
        Ok(())
    }

    pub(super) fn apply_status_sent(
        &mut self,
        ctx: &mut Ctx<'_>,
        leader: &Incarnation,
        revision: &Revision,
        number: u64,
        delivery: &Delivery,
    ) -> Result<(), Refusal> {
        self.check_leader(leader)?;
        let now_ms = self.now_ms;
        let Some(to) = self.report_to().map(|to| to.provider) else { return Ok(()) };
        // Of a word that is not the newest any more only that somebody was there is news.
        let word = self.outbox.words.get_mut(revision).filter(|word| word.number == number);
        match delivery {
            Delivery::Failing(why) => {
                let why = shortened(why);
                match &mut self.outbox.failing {
                    Some(failing) => failing.why = why,
                    None => {
                        let text = format!("statuses of commits cannot be told to {to}: {why}");
                        ctx.event(EventKind::Report, None, None, text);
                        self.outbox.failing = Some(Failing { since_ms: now_ms, why });
                    }
                }
                return Ok(());
            }
            Delivery::Acknowledged => {
                if let Some(word) = word {
                    word.told = Sent::Yes;
                }
            }
            Delivery::GivenUp(why) => {
                if let Some(word) = word.filter(|word| word.told == Sent::NotYet) {
                    word.told = Sent::Never;
                    let text = format!("{to} is not told of {}: {}", revision.short(), shortened(why));
                    ctx.event(EventKind::Report, None, None, text);
                }
            }
        }
        if self.outbox.failing.take().is_some() {
            ctx.event(EventKind::Report, None, None, format!("statuses of commits are told to {to} again"));
        }
        Ok(())
    }

    fn note(&mut self, ctx: &mut Ctx<'_>, revision: &Revision, state: CommitState, text: &str) {
        let text = shortened(text);
        let known = self.outbox.words.get(revision);
        if known.is_some_and(|word| word.state == state && word.text == text) {
            return;
        }
        let since_ms = known.map_or(self.now_ms, |word| word.since_ms);
        self.outbox.last += 1;
        let word = Word { number: self.outbox.last, state, text, since_ms, told: Sent::NotYet };
        self.outbox.words.insert(revision.clone(), word);
        while self.outbox.words.len() > MAX_COMMITS {
            self.forget_oldest(ctx);
        }
    }

    /// What was told goes first; never the target's.
    fn forget_oldest(&mut self, ctx: &mut Ctx<'_>) {
        let target = self.target.as_ref().map(|target| &target.revision);
        let others = self.outbox.words.iter().filter(|(revision, _)| Some(*revision) != target);
        let oldest = others.min_by_key(|(_, word)| (word.told == Sent::NotYet, word.number));
        let Some(revision) = oldest.map(|(revision, _)| revision.clone()) else { return };
        let forgotten = self.outbox.words.remove(&revision);
        if let Some(word) = forgotten.filter(|word| word.told == Sent::NotYet) {
            let text =
                format!("that {} is `{}` was never told: too many newer ones wait", revision.short(), word.state);
            ctx.event(EventKind::Report, None, None, text);
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_WORD).collect()
}
