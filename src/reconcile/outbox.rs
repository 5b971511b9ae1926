//! What the leader says of commits, and when it tells the forge.
//!
//! Input: the newest state with its outbox, the verdicts of the plan and the trial of the target, the time. Output: a word about the target where it is
//! another than the last (`NoteStatus`), [`Effect::Report`] for one word at a time, and a command with what came of it.
//!
//! Invariants:
//! - only a leader whose `LeaderStart` is applied and that has a quorum tells anything, and a new one first waits until
//!   what its predecessor may have sent has arrived: else an older word could overwrite a newer one;
//! - a word is told until the state says that it was, so that the last one is never lost; twice does no harm;
//! - a forge that takes nothing costs one entry of the log, and another only when it gives another reason.
//!
//! Deliberately absent: how it is told (`forge`), what is kept (`state::outbox`).

use super::trial::trouble;
use super::{Effect, Node};
use crate::model::{CommitState, CommitStatus, Delivery, Revision};
use crate::state::rollout::Trial;
use crate::state::{Command, LONGEST_WORD, OUTBOX_LEVEL, Sent, State};
use std::collections::BTreeMap;
use std::time::Duration;

/// A commit without a trial (`confirmation`) that the cluster is not healthy with after this long has failed. It may still
/// succeed: then that is said.
const HEALTHY_WITHIN_MS: u64 = 10 * 60 * 1000;
/// A new leader tells nothing for so long: a request of its predecessor ends within 25 s, and the predecessor begins none
/// once it has lost its quorum, which it notices within seconds.
const HANDOVER: Duration = Duration::from_secs(30);
/// Between a word that was not taken and the next try; doubled with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// A forge that was repaired is told within ten minutes; one request in that time is no burden.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A forge may ask to be left alone for longer, but not for ever.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// Whatever became of a request, it is over by then.
const LOST: Duration = Duration::from_secs(120);

/// What a leader has under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Courier {
    /// All below belongs to this term.
    term: u64,
    /// The word that is being told, and since when.
    sending: Option<(u64, Duration)>,
    /// What came of one; proposed until the state has it.
    outcome: Option<(Revision, u64, Delivery)>,
    /// How often each word was tried: one that is refused for itself must not keep the others back.
    tried: BTreeMap<u64, u32>,
    /// Tries in a row that failed.
    failures: u32,
    not_before: Duration,
}

impl Courier {
    /// Takes in what came of [`Effect::Report`].
    pub fn came_back(&mut self, status: &CommitStatus, number: u64, delivery: Delivery, told: Retry) {
        if self.sending.is_none_or(|(sent, _)| sent != number) {
            // Of another term: the state decides.
            return;
        }
        self.sending = None;
        match &delivery {
            Delivery::Acknowledged | Delivery::GivenUp(_) => (self.failures, self.not_before) = (0, told.now),
            Delivery::Failing(_) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
                let asked = told.after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
                self.failures += 1;
                self.not_before = told.now + pause.max(asked);
            }
        }
        self.outcome = Some((status.revision.clone(), number, delivery));
    }

    /// When the next try comes, if one is waited for.
    pub fn next_due(&self, state: &State, now: Duration) -> Option<Duration> {
        let waits =
            self.term > 0 && self.sending.is_none() && state.outbox.words.values().any(|w| w.told == Sent::NotYet);
        Some(self.not_before).filter(|at| waits && *at > now)
    }
}

/// When something came back, and after which pause the forge wants to be asked again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub now: Duration,
    pub after: Option<Duration>,
}

impl Node {
    /// What the leader is to propose: words about the target, and what came of telling them.
    /// `idle`: the plan has nothing to change in what runs where.
    pub(super) fn words(&mut self, idle: bool) -> Vec<Command> {
        let term = self.leadership.term;
        if self.courier.term != term {
            // Nobody was before the first leader of a cluster.
            let handover = if term > 1 && !self.state.outbox.words.is_empty() { HANDOVER } else { Duration::ZERO };
            self.courier = Courier { term, not_before: self.now + handover, ..Courier::default() };
        }
        if self.state.report_to().is_none() || self.state.feature_level < OUTBOX_LEVEL {
            self.courier.sending = None;
            return Vec::new();
        }
        let commands = self.word_of_target(idle).into_iter().chain(self.outcome_of_telling()).collect();
        self.tell();
        commands
    }

    fn word_of_target(&self, idle: bool) -> Option<Command> {
        let target = self.state.target.as_ref()?;
        let say = |state, text: String| {
            let (leader, revision) = (self.config.incarnation.clone(), target.revision.clone());
            Some(Command::NoteStatus { leader, revision, state, text })
        };
        let Some(word) = self.state.outbox.words.get(&target.revision) else {
            return say(CommitState::Pending, "the cluster is on its way there".into());
        };
        // Once healthy, what fails later is not the commit's fault.
        if word.state == CommitState::Success {
            return None;
        }
        let overdue = word.state == CommitState::Pending && self.state.now_ms >= word.since_ms + HEALTHY_WITHIN_MS;
        match &self.state.rollout.trial {
            Trial::Passed { by, .. } => say(CommitState::Success, format!("confirmed: {by}")),
            Trial::Failed { why, .. } if word.state == CommitState::Pending => say(CommitState::Failure, why.clone()),
            // The trial has a deadline of its own.
            Trial::On { .. } | Trial::Failed { .. } => None,
            Trial::Off => match self.ailment(idle) {
                None => say(CommitState::Success, "the cluster is healthy with it".into()),
                Some(what) if overdue => {
                    say(CommitState::Failure, format!("not healthy after {} min: {what}", HEALTHY_WITHIN_MS / 60_000))
                }
                Some(_) => None,
            },
        }
    }

    /// What keeps the cluster from being healthy with its target, in a line; as a trial sees it.
    fn ailment(&self, idle: bool) -> Option<String> {
        let said = self.duties.watch.verdicts.iter().chain(self.graph.verdicts());
        let mut troubles = said.filter_map(|(instance, verdict)| Some(format!("{instance}: {}", trouble(verdict)?)));
        troubles.next().or_else(|| (!idle).then(|| "something is still to move".to_owned()))
    }

    fn outcome_of_telling(&mut self) -> Option<Command> {
        let (revision, number, delivery) = self.courier.outcome.as_ref()?;
        let word = self.state.outbox.words.get(revision).filter(|word| word.number == *number);
        let is_known = match delivery {
            Delivery::Failing(why) => self.state.outbox.failing.as_ref().is_some_and(|failing| failing.why == *why),
            Delivery::Acknowledged | Delivery::GivenUp(_) => {
                // A newer word took its place; what comes of that says the same.
                word.is_none_or(|word| word.told != Sent::NotYet)
            }
        };
        if is_known {
            self.courier.outcome = None;
            return None;
        }
        let (leader, revision) = (self.config.incarnation.clone(), revision.clone());
        Some(Command::StatusSent { leader, revision, number: *number, delivery: delivery.clone() })
    }

    /// Begins to tell the next word, if there is one and its time has come.
    fn tell(&mut self) {
        let courier = &mut self.courier;
        if courier.sending.is_some_and(|(_, since)| self.now.saturating_sub(since) > LOST) {
            courier.sending = None;
        }
        let busy = courier.sending.is_some() || courier.outcome.is_some() || courier.not_before > self.now;
        // Without a quorum it may be the leader of the past.
        if busy || self.isolation.since.is_some() {
            return;
        }
        let waiting = self.state.outbox.waiting();
        courier.tried.retain(|number, _| waiting.iter().any(|(_, word)| word.number == *number));
        let tries = |number: u64| courier.tried.get(&number).copied().unwrap_or(0);
        let next = waiting.iter().min_by_key(|(_, word)| (tries(word.number), word.number));
        let Some((revision, word)) = next else { return };
        let Some(to) = self.state.report_to().cloned() else { return };
        let (number, state, text) = (word.number, word.state, word.text.clone());
        let status = CommitStatus { revision: (*revision).clone(), state, text };
        *courier.tried.entry(number).or_default() += 1;
        courier.sending = Some((number, self.now));
        self.effects.push(Effect::Report { number, status, to });
    }
}

/// As long as a reason in the state, so that both can be compared.
pub(super) fn cut(delivery: Delivery) -> Delivery {
    let short = |why: String| why.chars().take(LONGEST_WORD).collect();
    match delivery {
        Delivery::Acknowledged => Delivery::Acknowledged,
        Delivery::GivenUp(why) => Delivery::GivenUp(short(why)),
        Delivery::Failing(why) => Delivery::Failing(short(why)),
    }
}
