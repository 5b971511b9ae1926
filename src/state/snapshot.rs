//! States and entries as bytes: what log and snapshots hold.
//!
//! Every blob begins with its format version. A version that this build does not know is an error, never a guess: the
//! node that meets one halts. `tests` keeps bytes of every version that was ever written.

use super::{ClaimKey, Command, Durations, Entry, Notice, Outbox, Phase, Rollout, State, TicketState};
use crate::model::{AgentRef, AgentTraits, Digest, Epoch, ResourceId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The newest format this program reads. Raised with every change of the stored types.
///
/// 1: the first. 2: [`Later`] behind the state, new commands behind the old ones. What needs nothing of format 2 is still
/// written as 1, so that a cluster of both versions goes on until its feature level is raised.
pub const FORMAT: u8 = 2;

/// The hard cap of one entry. Larger things travel in chunks; a follower must be able to take any entry in one message.
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("format {found} is newer than this program knows ({FORMAT}); update it")]
    UnknownFormat { found: u8 },
    #[error("the bytes are damaged: {0}")]
    Damaged(String),
}

/// What format 2 added to a state: stored behind the bytes of format 1.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Later {
    notices: BTreeMap<Epoch, Notice>,
    reloads: BTreeMap<ClaimKey, Digest>,
    agents: BTreeMap<Digest, BTreeMap<AgentRef, AgentTraits>>,
    halted: BTreeSet<ResourceId>,
    tickets: BTreeMap<String, TicketState>,
    durations: Durations,
    rollout: Rollout,
    outbox: Outbox,
}

pub fn encode(state: &State) -> Vec<u8> {
    let agents = state.specs.iter().filter(|(_, spec)| !spec.agents.is_empty());
    let later = Later {
        notices: state.notices.clone(),
        reloads: state.reloads.clone(),
        agents: agents.map(|(digest, spec)| (*digest, spec.agents.clone())).collect(),
        halted: state.halted.clone(),
        tickets: state.tickets.clone(),
        durations: state.durations.clone(),
        rollout: state.rollout.clone(),
        outbox: state.outbox.clone(),
    };
    let new_phase = state.claims.values().any(|claim| matches!(claim.phase, Phase::Reloading | Phase::Migrated));
    let new_action = state.history.values().any(|record| record.last_action.format() > 1)
        || state.claims.values().filter_map(|claim| claim.failure.as_ref()).any(|failure| failure.action.format() > 1);
    if later == Later::default() && !new_phase && !new_action {
        return write(1, state);
    }
    let body = write(2, state);
    postcard::to_extend(&later, body).expect("plain data always serialises")
}

pub fn decode(bytes: &[u8]) -> Result<State, SnapshotError> {
    let (format, body) = open(bytes)?;
    let (mut state, rest): (State, _) = read(body)?;
    if crate::model::planted::planted(crate::model::planted::Planted::SnapshotForgets) {
        state.history.clear();
    }
    if format == 1 {
        return all_read(rest).map(|()| state);
    }
    let (later, rest): (Later, _) = read(rest)?;
    (state.notices, state.reloads, state.halted) = (later.notices, later.reloads, later.halted);
    (state.tickets, state.durations, state.rollout) = (later.tickets, later.durations, later.rollout);
    state.outbox = later.outbox;
    for (digest, agents) in later.agents {
        if let Some(spec) = state.specs.get_mut(&digest) {
            Arc::make_mut(spec).agents = agents;
        }
    }
    all_read(rest).map(|()| state)
}

pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    write(entry.commands.iter().map(Command::format).max().unwrap_or(1), entry)
}

pub fn decode_entry(bytes: &[u8]) -> Result<Entry, SnapshotError> {
    let (_, body) = open(bytes)?;
    let (entry, rest) = read(body)?;
    all_read(rest).map(|()| entry)
}

fn write(format: u8, value: &impl Serialize) -> Vec<u8> {
    // Growing a vector cannot fail, and all our types serialise.
    postcard::to_extend(value, vec![format]).expect("plain data always serialises")
}

fn open(bytes: &[u8]) -> Result<(u8, &[u8]), SnapshotError> {
    match bytes.split_first() {
        Some((&format @ 1..=FORMAT, body)) => Ok((format, body)),
        Some((&found, _)) => Err(SnapshotError::UnknownFormat { found }),
        None => Err(SnapshotError::Damaged("empty".into())),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), SnapshotError> {
    postcard::take_from_bytes(bytes).map_err(|error| SnapshotError::Damaged(error.to_string()))
}

fn all_read(rest: &[u8]) -> Result<(), SnapshotError> {
    if rest.is_empty() { Ok(()) } else { Err(SnapshotError::Damaged("bytes are left over".into())) }
}
