//! The replicated log of the simulated world.
//!
//! It keeps what Raft promises and what its users have to live with: one order of entries, committed once a majority has
//! them on disk; a leader per term; entries that were stored by few and are lost, or committed much later, with the next
//! leader; answers that never come. It is not Raft: messages of elections are not simulated, their outcome is.
//!
//! Invariant, checked by `check::acknowledged`: what was committed stays, whoever leads next.

use super::world::{Sim, What};
use crate::model::LogIndex;
use crate::model::planted::{Planted, planted};
use crate::reconcile::ProposalId;
use crate::state::port::{Applied, Leadership, ProposeError};
use crate::state::{Command, Entry, Event, EventKind, State};
use std::sync::Arc;

/// Who waits for what became of an entry.
#[derive(Debug, Clone)]
pub struct Proposer {
    pub host: usize,
    pub life: u64,
    pub id: ProposalId,
}

#[derive(Debug, Clone)]
pub struct Slot {
    pub entry: Arc<Entry>,
    /// When a leader wrote it, in true time: it may be committed much later, by another.
    pub at: u64,
    /// None: nobody, or its answer gets lost.
    pub proposer: Option<Proposer>,
}

/// The log, as far as any leader wrote it.
#[derive(Debug, Clone, Default)]
pub struct Log {
    pub slots: Vec<Slot>,
    /// So many are committed.
    pub committed: usize,
    /// So many each host has said it has.
    pub stored: Vec<usize>,
    /// So many each host has on disk. Never less than it said, unless its disk was swapped for an old one.
    pub synced: Vec<usize>,
    /// Hosts whose disk is older than what they once acknowledged: they do not vote until they have caught up.
    pub behind: Vec<bool>,
    pub leader: Option<usize>,
    pub term: u64,
    pub elect_at: u64,
    /// Whom each host takes for the leader, in which term, and when it heard of it.
    pub views: Vec<Option<(usize, u64, u64)>>,
}

/// What an operator would tell of what happened.
fn is_told(event: &Event) -> bool {
    match event.kind {
        EventKind::Started
        | EventKind::Stopped
        | EventKind::Promoted
        | EventKind::Demoted
        | EventKind::Failed
        | EventKind::Found
        | EventKind::Joined
        | EventKind::Left
        | EventKind::Suspected
        | EventKind::Cleared
        | EventKind::FenceStarted
        | EventKind::FenceSucceeded
        | EventKind::FenceFailed
        | EventKind::Evidence
        | EventKind::Alarm
        | EventKind::Reloaded
        | EventKind::Override => true,
        // That a push is followed is plain from the push.
        EventKind::Target => !event.text.starts_with("following"),
        EventKind::Assigned
        | EventKind::Claimed
        | EventKind::Cleanup
        | EventKind::Leader
        | EventKind::FenceCheck
        | EventKind::Announced
        | EventKind::Report => false,
    }
}

/// A host that hears nothing of its leader for this long believes in none, ms.
const FORGETS: u64 = 1_000;

pub(super) fn lost() -> ProposeError {
    ProposeError::Unknown("the answer was lost".into())
}

impl Log {
    pub fn of(hosts: usize) -> Self {
        Self {
            stored: vec![0; hosts],
            synced: vec![0; hosts],
            behind: vec![false; hosts],
            views: vec![None; hosts],
            ..Self::default()
        }
    }
}

impl Sim {
    /// Hosts that vote.
    fn voters(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].votes)
    }

    /// Whether a host reaches a majority that answers.
    pub fn has_majority(&self, host: usize) -> bool {
        let (mut all, mut there) = (0, 0);
        for other in self.voters() {
            all += 1;
            there += usize::from(self.awake(other) && self.linked(host, other) && self.linked(other, host));
        }
        self.awake(host) && there > all / 2
    }

    /// A daemon proposes. Everything may happen to the message, and to its answer.
    pub fn propose(&mut self, host: usize, life: u64, id: ProposalId, commands: Vec<Command>, term: Option<u64>) {
        let to = self.log.views[host].map(|(leader, ..)| leader);
        let reached = to.filter(|to| self.linked(host, *to) && self.awake(*to));
        let delay = self.travel(host, to.unwrap_or(host));
        let Some(to) = reached else {
            let result = Err(if self.rng.one_in(2) { ProposeError::NoLeader } else { lost() });
            let delay = if self.rng.one_in(3) { 1_000 } else { delay };
            return self.at(delay, What::Answer { host, life, id, result });
        };
        let trouble = self.is_lossy(host, to) || self.forgetful > 0;
        if !trouble {
            let proposer = Some(Proposer { host, life, id });
            return self.at(delay, What::Arrive { to, commands, term, proposer });
        }
        // The answer is lost: it may have been appended, now or later, once or twice.
        self.forgetful = self.forgetful.saturating_sub(1);
        self.at(1_000, What::Answer { host, life, id, result: Err(lost()) });
        for _ in 0..self.rng.range(0, if term.is_none() { 3 } else { 2 }) {
            let (delay, commands) = (self.rng.range(1, 3_000), commands.clone());
            self.at(delay, What::Arrive { to, commands, term, proposer: None });
        }
    }

    /// A proposal reaches a host that was the leader when it was sent.
    pub fn arrive(&mut self, to: usize, commands: Vec<Command>, term: Option<u64>, proposer: Option<Proposer>) {
        let leads = self.log.leader == Some(to) && self.awake(to);
        let right = term.is_none_or(|term| term == self.log.term || planted(Planted::OtherTermAccepted));
        if !leads || !right {
            if let Some(Proposer { host, life, id }) = proposer {
                let result = Err(if leads { ProposeError::NoLeader } else { lost() });
                self.at(500, What::Answer { host, life, id, result });
            }
            return;
        }
        let entry = Arc::new(Entry { at_ms: self.wall(to), commands });
        self.log.slots.push(Slot { entry, at: self.now, proposer });
        self.replicate(to);
    }

    /// The leader sends what it has to everybody it reaches, itself included.
    pub fn replicate(&mut self, leader: usize) {
        let upto = self.log.slots.len();
        let term = self.log.term;
        for host in 0..self.hosts.len() {
            if self.log.stored[host] < upto && self.linked(leader, host) && self.awake(host) {
                let stall = self.hosts[host].disk_until.saturating_sub(self.now);
                let travel = if host == leader { 0 } else { self.travel(leader, host) };
                let write = self.rng.range(1, 6) + stall;
                if self.is_lossy(leader, host) && self.rng.one_in(2) {
                    continue;
                }
                if planted(Planted::AcknowledgedBeforeSync) {
                    self.at(travel, What::Stored { host, upto, term, synced: false });
                    self.at(travel + write + 200, What::Stored { host, upto, term, synced: true });
                } else {
                    self.at(travel + write, What::Stored { host, upto, term, synced: true });
                }
            }
        }
    }

    /// A host has entries on disk, and says so.
    pub fn stored(&mut self, host: usize, upto: usize, term: u64, synced: bool) {
        if !self.hosts[host].up || term != self.log.term || upto > self.log.slots.len() {
            return;
        }
        let log = &mut self.log;
        log.stored[host] = log.stored[host].max(upto);
        if synced {
            log.synced[host] = log.synced[host].max(upto);
        }
        if log.behind[host] && log.stored[host] >= log.committed {
            log.behind[host] = false;
        }
        self.advance();
    }

    /// Commits what a majority has.
    fn advance(&mut self) {
        let Some(leader) = self.log.leader.filter(|leader| self.awake(*leader)) else { return };
        let voters: Vec<usize> = self.voters().collect();
        let mut have: Vec<usize> = voters
            .iter()
            .map(|host| {
                let counts = self.linked(*host, leader) && !self.log.behind[*host];
                if counts { self.log.stored[*host] } else { 0 }
            })
            .collect();
        have.sort_unstable();
        let upto = have[(have.len() - 1) / 2];
        while self.log.committed < upto {
            let slot = self.log.slots[self.log.committed].clone();
            self.log.committed += 1;
            self.checks.written = slot.at;
            let applied = self.apply(&slot.entry);
            if let Some(Proposer { host, life, id }) = slot.proposer {
                // Before or after the state itself is delivered.
                let delay = self.travel(leader, host) + self.rng.range(0, 25);
                self.at(delay, What::Answer { host, life, id, result: Ok(applied) });
            }
        }
    }

    /// The next committed entry, for everybody.
    fn apply(&mut self, entry: &Entry) -> Applied {
        let mut state = State::clone(self.newest());
        let index = LogIndex(state.index.0 + 1);
        let (answers, events) = state.apply(index, entry);
        for event in events {
            match is_told(&event) {
                true => self.told(|| event.text),
                false => self.say(|| event.text),
            }
        }
        for (command, refusal) in entry.commands.iter().zip(&answers).filter_map(|(c, a)| Some((c, a.as_ref().err()?)))
        {
            self.detail(|| format!("  [{index}] refused: {refusal} {command:?}"));
        }
        self.check_commit(&state, entry, &answers);
        self.states.push(Arc::new(state));
        self.graphs.push(None);
        for host in 0..self.hosts.len() {
            let reached = self.log.leader.is_some_and(|leader| self.linked(leader, host));
            let Some(life) = self.hosts[host].daemon.as_ref().map(|daemon| daemon.life).filter(|_| reached) else {
                continue;
            };
            let late = if self.rng.one_in(20) { self.rng.range(1, 400) } else { self.rng.range(1, 20) };
            let delay = late + self.hosts[host].slow;
            self.at(delay, What::Deliver { host, life });
        }
        Applied { index, answers }
    }

    /// Elections, and what everybody believes of them. Once in a beat.
    pub fn elect(&mut self) {
        if let Some(leader) = self.log.leader.filter(|leader| !self.has_majority(*leader)) {
            self.say(|| format!("n{} leads no more", leader + 1));
            self.drop_leader();
        }
        if self.log.leader.is_none() && self.now >= self.log.elect_at {
            let able: Vec<usize> = (0..self.hosts.len()).filter(|host| self.would_win(*host)).collect();
            if !able.is_empty() {
                let leader = *self.rng.pick(&able);
                self.lead(leader);
            }
        }
        let now = self.now;
        for host in 0..self.hosts.len() {
            let reached = self.log.leader.filter(|leader| self.linked(*leader, host) && self.awake(*leader));
            match (reached, self.log.views[host]) {
                (Some(leader), _) => self.log.views[host] = Some((leader, self.log.term, now)),
                (None, Some((_, _, at))) if now > at + FORGETS => self.log.views[host] = None,
                (None, _) => {}
            }
        }
        if let Some(leader) = self.log.leader {
            self.replicate(leader);
        }
    }

    /// Whether a majority that a host reaches has no entry that it has not.
    fn would_win(&self, host: usize) -> bool {
        if !self.hosts[host].votes || !self.awake(host) || self.log.behind[host] {
            return false;
        }
        let (mut all, mut votes) = (0, 0);
        for other in self.voters() {
            all += 1;
            let reached = self.awake(other) && self.linked(host, other) && self.linked(other, host);
            votes += usize::from(reached && !self.log.behind[other] && self.log.synced[other] <= self.log.synced[host]);
        }
        votes > all / 2
    }

    fn lead(&mut self, leader: usize) {
        self.log.term += 1;
        self.log.leader = Some(leader);
        let (term, upto) = (self.log.term, self.log.synced[leader]);
        self.say(|| format!("n{} is elected (term {term})", leader + 1));
        self.check_elected(upto);
        // What only others had is overwritten.
        for slot in self.log.slots.split_off(upto) {
            if let Some(Proposer { host, life, id }) = slot.proposer {
                self.at(500, What::Answer { host, life, id, result: Err(lost()) });
            }
        }
        for host in 0..self.hosts.len() {
            self.log.stored[host] = self.log.stored[host].min(upto);
            self.log.synced[host] = self.log.synced[host].min(upto);
        }
        self.replicate(leader);
        self.advance();
    }

    pub fn drop_leader(&mut self) {
        self.log.leader = None;
        self.log.elect_at = self.now + self.rng.range(200, 1_500);
    }

    /// A machine lost its power: what was not on disk is gone.
    pub fn forget_unsynced(&mut self, host: usize) {
        self.log.stored[host] = self.log.stored[host].min(self.log.synced[host]);
        self.log.views[host] = None;
    }

    /// A machine comes back with an older disk, where the others still are a majority.
    pub fn swap_disk(&mut self, host: usize, older_by: usize) {
        // Were a majority to lose its memory, nobody could tell what was committed: an operator has to.
        let others = self.voters().filter(|other| *other != host && !self.log.behind[*other]).count();
        if others <= self.voters().count() / 2 {
            return;
        }
        let kept = self.log.synced[host].saturating_sub(older_by);
        let acknowledged = self.log.stored[host].min(self.log.committed);
        self.log.synced[host] = kept;
        self.log.stored[host] = kept;
        self.hosts[host].applied = self.hosts[host].applied.min(kept);
        if !planted(Planted::OldDiskVotes) {
            self.log.behind[host] |= kept < acknowledged;
        }
    }

    /// What the log of a host tells its daemon.
    pub fn leadership(&self, host: usize) -> Leadership {
        let view = self.log.views[host];
        Leadership {
            leader: view.map(|(leader, ..)| self.hosts[leader].name.clone()),
            term: view.map_or(0, |(_, term, _)| term),
            is_self: view.is_some_and(|(leader, ..)| leader == host),
            voters: self.voter_names.clone(),
            ..Leadership::default()
        }
    }

    /// An operator's commands: proposed by whoever leads; the answer may tell nothing.
    pub fn operator(&mut self, commands: Vec<Command>) -> bool {
        let leader = self.log.leader.filter(|leader| self.has_majority(*leader));
        if let Some(leader) = leader {
            self.arrive(leader, commands, None, None);
        }
        leader.is_some()
    }
}
