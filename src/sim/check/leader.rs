//! What rests on a leader's own counts is taken from the one that leads; and nobody is suspect whom most others hear.

use super::Invariant;
use crate::model::Incarnation;
use crate::sim::faults::Fault;
use crate::sim::schedule::Planned;
use crate::sim::world::Sim;
use crate::state::{Command, Entry, Membership, Refusal, State};

/// A node that a voter heard all the time for this long, ms, is heard: longer than a suspicion may be on its way.
const HEARD: u64 = 7_000;

/// Who a command says leads.
fn leader_of(command: &Command) -> Option<&Incarnation> {
    match command {
        Command::Assign { leader, .. }
        | Command::AssignSeen { leader, .. }
        | Command::Suspect { leader, .. }
        | Command::Clear { leader, .. }
        | Command::Contradiction { leader, .. }
        | Command::FenceStart { leader, .. }
        | Command::Tick { leader, .. }
        | Command::Confirm { leader: Some(leader), .. }
        | Command::Overdue { leader, .. }
        | Command::Rebooted { leader, .. } => Some(leader),
        _ => None,
    }
}

/// An entry that was written longer ago than this, ms, was decided by who knew less.
const LATE: u64 = 2_000;

impl Sim {
    pub(super) fn check_leader(&mut self, before: &State, entry: &Entry, answers: &[Result<(), Refusal>]) {
        // An entry may begin with the start of the leader that the rest of it names.
        let mut leads = before.leader.as_ref().map(|leader| leader.incarnation.clone());
        for (command, answer) in entry.commands.iter().zip(answers) {
            if let (Command::LeaderStart { incarnation, .. }, Ok(())) = (command, answer) {
                leads = Some(incarnation.clone());
            }
            let says = leader_of(command).filter(|_| answer.is_ok());
            if says.is_some_and(|says| leads.as_ref() != Some(says)) {
                let what = format!("taken although {leads:?} leads: {command:?}");
                return self.violated(Invariant::Leader, what);
            }
        }
    }

    pub(super) fn check_suspicions(&mut self, before: &State, state: &State) {
        // Where messages get lost, what a voter says of another may be older than what it knows.
        // And what was decided long ago, and committed with the next leader, is taken back by that one.
        if self.words_are_old() || self.now - self.checks.written > LATE {
            return;
        }
        for (name, node) in &state.nodes {
            let was = before.nodes.get(name).map(|node| node.membership);
            let Some(suspicion) = &node.suspicion else { continue };
            if node.membership != Membership::Suspect || was == Some(Membership::Suspect) {
                continue;
            }
            let target = self.host_of(name);
            let votes = |host: &usize| self.hosts[*host].votes;
            let voters = (0..self.hosts.len()).filter(votes).count();
            let others = || (0..self.hosts.len()).filter(votes).filter(|voter| *voter != target);
            let by_most =
                others().filter(|voter| self.hears_steadily(*voter, target, &node.incarnation.boot, HEARD)).count();
            if suspicion.reason.starts_with("not heard") && by_most > voters / 2 {
                return self.violated(Invariant::Suspicion, format!("{name} is suspect although most voters hear it"));
            }
            let hears =
                others().filter(|voter| self.hears_steadily(target, *voter, &self.boot_id(*voter), HEARD)).count();
            if suspicion.reason.starts_with("it hears too few") && hears + usize::from(votes(&target)) > voters / 2 {
                return self.violated(Invariant::Suspicion, format!("{name} is suspect although it hears most voters"));
            }
        }
    }

    /// Whether what some node says of others gets lost, or is so long on its way, that it may be older than what it knows;
    /// or was until a moment ago.
    fn words_are_old(&self) -> bool {
        let late = |planned: &Planned| match planned.fault {
            Fault::Slow { by, ms, .. } if by > LATE => Some(planned.at + ms + by),
            Fault::Lossy { ms, .. } => Some(planned.at + ms + LATE),
            _ => None,
        };
        self.faults.iter().any(|planned| planned.at <= self.now && late(planned).is_some_and(|until| self.now <= until))
    }
}
