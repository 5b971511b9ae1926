//! This node's part in live migrations: when something is sent, and to whom.
//!
//! Input: the steps `MigrateTo` and `MigrateFrom` that are ready. Output: a proposal for the claims of both ends, then the
//! agent's `migrate_to`. Taking in is an operation like any other (`ops`), begun once the log says that it has left.
//!
//! Does not decide what migrates (`plan`), nor what comes of one that fails (`state::migration`).

use super::Node;
use super::node::Tag;
use crate::model::{ActionKind, NodeId};
use crate::state::{Claim, ClaimKey, Command, Phase};
use std::time::Duration;

/// A migration waits for so long for a node that is not heard; then it fails, and what runs is stopped and started.
const UNHEARD: Duration = Duration::from_secs(10);

impl Node {
    /// First the claims of both ends, by one commit; then the agent that moves it.
    ///
    /// Not to a node of which another boot is there than the log knows: what arrives on that one nobody claims.
    pub(super) fn send(&mut self, key: ClaimKey, claim: &Claim) {
        let Some(assignment) = self.state.assignment.get(&key.instance) else { return };
        let there = self.state.nodes.get(&assignment.to.node).is_some_and(|node| {
            self.contacts.is_there(&assignment.to.node, &node.incarnation.boot, self.suspect_after())
        });
        let silent = match there {
            true => Duration::ZERO,
            false => self.now.saturating_sub(*self.ops.unheard.entry(key.clone()).or_insert(self.now)),
        };
        if there {
            self.ops.unheard.remove(&key);
        } else if silent < UNHEARD {
            return;
        }
        match claim.phase {
            Phase::MigratingTo if claim.failure.is_none() && there => self.start_op(key, claim, ActionKind::MigrateTo),
            Phase::MigratingTo if claim.failure.is_none() => {
                let text = format!("{} is not heard", assignment.to.node);
                self.fail_unbegun(key, claim, ActionKind::MigrateTo, text);
            }
            Phase::Running => {
                let command = Command::Migrate {
                    key: key.clone(),
                    epoch: claim.epoch,
                    incarnation: self.config.incarnation.clone(),
                    to: assignment.to.node.clone(),
                    assignment: assignment.index,
                };
                self.propose_once(Tag::Op(key), command);
            }
            Phase::Starting
            | Phase::Promoting
            | Phase::Demoting
            | Phase::Stopping
            | Phase::MigratingTo
            | Phase::MigratingFrom
            | Phase::Reloading
            | Phase::Migrated => {}
        }
    }

    /// The node at the other end of a migration.
    pub(super) fn peer(&self, key: &ClaimKey, kind: ActionKind) -> Option<NodeId> {
        let (from, to) = self.state.migration(&key.instance)?;
        match kind {
            ActionKind::MigrateTo => Some(to.node.clone()),
            ActionKind::MigrateFrom => Some(from.node.clone()),
            ActionKind::Probe
            | ActionKind::Monitor
            | ActionKind::Start
            | ActionKind::Stop
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::Notify
            | ActionKind::Reload => None,
        }
    }
}
