//! Going on alone: offline, what an operator states; at the next start, the same as a command of the log.
//!
//! Order: log and snapshot are looked at, and refused unchanged if they would not start; then the statement is on disk;
//! then the log is changed in one transaction; then, once this node leads, the statement is committed as evidence. A power cut in between leaves either nothing done (and a statement of a generation that never
//! came, which is ignored), or all of it to be gone on with.
//!
//! Invariants: nothing is committed while a node that was stated to be off is heard; before it is, nobody is taken into
//! the log again.

use super::DaemonError;
use super::backend::Daemon;
use super::setup::{NodeFacts, log_identity};
use crate::log::{self, RaftNode};
use crate::model::NodeId;
use crate::net::{Heartbeats, Identity};
use crate::state::Command;
use crate::state::port::Log;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The statement, in the data directory, until it is agreed.
const STATEMENT: &str = "recover.json";
/// Between two looks at whether this node leads, and two proposals.
const PAUSE: Duration = Duration::from_millis(200);
/// How long is listened for those that were stated to be off: a machine that lives says so many times in it.
const LISTEN: Duration = Duration::from_secs(2);
/// Under which a node says that it was left behind, or that a statement is not true.
const CONDITION: &str = "recover";

/// What an operator states.
#[derive(Debug, Clone)]
pub struct RecoverOptions {
    pub data_dir: PathBuf,
    /// The nodes that are off.
    pub off: Vec<String>,
    pub by: String,
    pub reason: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Statement {
    generation: u64,
    off: Vec<NodeId>,
    by: String,
    reason: String,
}

pub(super) fn recover(options: &RecoverOptions) -> Result<u64, DaemonError> {
    let dir = &options.data_dir;
    let identity = Identity::load(dir)?;
    let facts = NodeFacts::load(dir)?;
    let off: Vec<NodeId> = options.off.iter().map(|name| NodeId::new(name.as_str())).collect();
    if off.contains(&facts.name) {
        return Err(DaemonError::Other(format!("{} is this node: it goes on, and is not off", facts.name)));
    }
    let old = log_identity(&identity, log::generation_of(dir)?.unwrap_or(facts.generation));
    let generation = old.generation.saturating_add(1);
    let statement = Statement { generation, off, by: options.by.clone(), reason: options.reason.clone() };
    let node = RaftNode { name: facts.name, addresses: facts.addresses, port: facts.port };
    let alone = log::Alone::prepare(dir, &old, node)?;
    let text = serde_json::to_vec_pretty(&statement).expect("plain data always serialises");
    super::setup::write_durably(&dir.join(STATEMENT), &text)?;
    Ok(alone.go_on()?.generation)
}

/// Proposes the statement until it is agreed; returns at once where there is none, or an old one.
pub(super) async fn state_what_was_stated(daemon: &Arc<Daemon>, dir: &Path, heartbeats: &Heartbeats) {
    let path = dir.join(STATEMENT);
    let statement = match std::fs::read(&path) {
        Ok(text) => match serde_json::from_slice::<Statement>(&text) {
            Ok(statement) => statement,
            Err(error) => return tracing::error!(path = %path.display(), %error, "the statement cannot be read"),
        },
        Err(_) => return,
    };
    let log = daemon.log();
    if statement.generation != log.identity().generation {
        tracing::warn!(generation = statement.generation, "a recovery that never came about is ignored");
        return;
    }
    tokio::time::sleep(LISTEN).await;
    while log.state().generation < statement.generation {
        tokio::time::sleep(PAUSE).await;
        if !log.leadership().is_self {
            continue;
        }
        let state = log.state();
        let contacts = heartbeats.contacts();
        let lives = |name: &&NodeId| {
            let Some(node) = state.nodes.get(*name) else { return false };
            let contact = contacts.peers.get(*name).and_then(|contact| contact.boot(&node.incarnation.boot));
            contact.is_some_and(|boot| contacts.as_of.saturating_sub(boot.last_heard) < LISTEN)
        };
        if let Some(name) = statement.off.iter().find(lives) {
            let text =
                format!("{name} was stated to be off, and is heard: switch it off; until then nothing is taken over");
            daemon.set_condition(CONDITION, Some(text));
            continue;
        }
        daemon.set_condition(CONDITION, None);
        let Statement { generation, off, by, reason } = statement.clone();
        let node = log.identity().node.clone();
        let command = Command::Recover { node, generation, off, by, reason };
        if let Err(error) = log.propose(vec![command]).await {
            tracing::info!(%error, "the recovery could not be committed yet");
        }
    }
    if let Err(error) = std::fs::remove_file(&path) {
        tracing::warn!(%error, "the statement of the recovery stays behind");
    }
}

/// Shows what the peers of a newer generation say to this node.
pub(super) async fn tell_when_left_behind(daemon: Arc<Daemon>, mut left: watch::Receiver<Option<String>>) {
    while left.changed().await.is_ok() {
        let text = left.borrow_and_update().clone();
        daemon.set_condition(CONDITION, text);
    }
}
