//! How a cluster stands: what an operator sees of it, and what a plan shown to them rests on.
//!
//! Input: a state. Output: bytes that are equal while the same runs in the same places, the same nodes are there and the
//! same overrides hold. Indexes, times, and what probes and monitors say again and again are left out.

use crate::model::{NodeId, Role};
use crate::state::{ClaimKey, Membership, OverrideKind, Phase, Scope, State};

/// What there is, as bytes to be compared.
pub fn standing(state: &State) -> Vec<u8> {
    let nodes: Vec<(&NodeId, Membership, bool)> =
        state.nodes.iter().map(|(name, node)| (name, node.membership, node.suspicion.is_some())).collect();
    let claims: Vec<(&ClaimKey, Phase, Role, bool)> =
        state.claims.iter().map(|(key, claim)| (key, claim.phase, claim.role, claim.failure.is_some())).collect();
    let overrides: Vec<(&Scope, &OverrideKind)> = state.overrides.values().map(|o| (&o.scope, &o.kind)).collect();
    let banned: Vec<&ClaimKey> =
        state.history.iter().filter(|(_, record)| record.fail_count > 0).map(|(key, _)| key).collect();
    let all = (nodes, claims, overrides, banned, &state.halted, &state.tickets);
    postcard::to_stdvec(&all).expect("plain data always serialises")
}
