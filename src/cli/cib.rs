//! `hafen plan --cib`: what would be done with the cluster that a Pacemaker CIB describes. No daemon is asked.
//!
//! Input → output: a CIB and a time → the transition, as JSON or for people, on stdout; what was left out on stderr.
//! Exit codes: 0 planned; 2 the file cannot be read.

use super::error::{CliError, Exit, Kind};
use super::render;
use crate::model::NodeId;
use crate::pacemaker::{self, Import};
use crate::plan::{self, Op, Outcome};
use std::path::Path;

/// Reads a CIB. Without a time it is read as of now.
pub fn read(path: &Path, now: Option<jiff::Timestamp>) -> Result<Import, CliError> {
    let could_not = |why: String| CliError::new(Kind::CouldNotTell, format!("`{}`: {why}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| could_not(error.to_string()))?;
    if metadata.len() > pacemaker::MAX_BYTES as u64 {
        return Err(could_not(format!("larger than {} bytes", pacemaker::MAX_BYTES)));
    }
    let bytes = std::fs::read(path).map_err(|error| could_not(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| could_not("it is not UTF-8".into()))?;
    let now = now.unwrap_or_else(jiff::Timestamp::now).as_second();
    pacemaker::import(&text, Some(now)).map_err(|error| could_not(error.to_string()))
}

/// Says what was left out.
pub fn tell_losses(import: &Import) {
    for loss in &import.losses {
        let word = if loss.changes_plan { render::warn("lost") } else { render::faint("left out") };
        render::say(&format!("{word}: {loss}"));
    }
}

/// `-o transition`: the neutral document.
pub fn transition(import: &Import) -> Result<Exit, CliError> {
    let outcome = retell(import, plan::transition(&import.spec, &import.state));
    render::print_json(&outcome)?;
    Ok(Exit::Ok)
}

/// In the words of the CIB: parts of bundles by the names that they have there.
fn retell(import: &Import, mut outcome: Outcome) -> Outcome {
    outcome.placement.retain(|name, _| !import.hidden.contains(name));
    if import.shown.is_empty() {
        return outcome;
    }
    let placement =
        std::mem::take(&mut outcome.placement).into_iter().filter_map(|(name, nodes)| match import.shown.get(&name) {
            Some(shown) => Some((shown.placed.clone()?, nodes)),
            None => Some((name, nodes)),
        });
    outcome.placement = placement.collect();
    let actions = std::mem::take(&mut outcome.actions).into_iter().filter_map(|mut action| {
        let Some(shown) = import.shown.get(&action.resource) else { return Some(action) };
        action.resource = shown.name.clone();
        match &shown.node {
            Some(inside) => {
                let inside = || NodeId::new(inside.as_str());
                (action.from, action.to) = (action.from.map(|_| inside()), action.to.map(|_| inside()));
            }
            None => {
                // Only what runs inside has a role.
                action.op = match action.op {
                    Op::Promote if action.from.is_none() => Op::Start,
                    Op::Promote | Op::Demote | Op::Repromote => return None,
                    Op::Start | Op::Stop | Op::Move | Op::Migrate | Op::Recover | Op::Restart | Op::Reload => action.op,
                };
                (action.from_role, action.to_role) = (None, None);
            }
        }
        Some(action)
    });
    outcome.actions = actions.collect();
    outcome
}
