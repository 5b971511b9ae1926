//! Scenarios: stories whose end is known.
//!
//! Input: a spec, a state to begin with, a [`Scenario`]. Output: what happened, how it ended, and where that differs from what
//! is expected. What is not expected is not looked at.

use super::homes::Homes;
use super::play::{Ending, Play, Told};
use crate::model::scenario::{Expectation, Scenario};
use crate::model::{NodeId, ResourceId, Role, Spec};
use crate::state::State;
use std::collections::BTreeSet;

/// A scenario, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// By step.
    pub told: Vec<Vec<Told>>,
    pub end: Ending,
    /// In words; empty: it ended as expected.
    pub differences: Vec<String>,
}

/// Plays a scenario.
pub fn try_scenario(spec: &Spec, state: &State, scenario: &Scenario) -> Tried {
    let mut play = Play::new(spec, state.clone());
    let told = scenario.steps.iter().map(|step| play.step(step)).collect();
    let end = play.end();
    let differences = differences(spec, &scenario.expect, &end);
    Tried { told, end, differences }
}

fn differences(spec: &Spec, expect: &Expectation, end: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (name, wanted) in &expect.placed {
        for member in spec.primitives_of(name) {
            let is = nodes(&end.homes, member, |_| true);
            if is != *wanted {
                found.push(format!("{member} runs {}, expected {}", on(&is), on(wanted)));
            }
        }
    }
    for (name, wanted) in &expect.promoted {
        for member in spec.primitives_of(name) {
            let is = nodes(&end.homes, member, |role| role == Role::Promoted);
            if is != *wanted {
                found.push(format!("{member} is promoted {}, expected {}", on(&is), on(wanted)));
            }
        }
    }
    if let Some(wanted) = &expect.homeless {
        let wanted: BTreeSet<&ResourceId> = wanted.iter().flat_map(|name| spec.primitives_of(name)).collect();
        let is: BTreeSet<&ResourceId> = end.homeless.iter().map(|one| &one.resource).collect();
        found.extend(is.difference(&wanted).map(|name| format!("{name} has no home")));
        found.extend(wanted.difference(&is).map(|name| format!("{name} has a home, expected none")));
    }
    if let Some(wanted) = &expect.fenced {
        found.extend(end.fenced.difference(wanted).map(|node| format!("{node} was fenced")));
        found.extend(wanted.difference(&end.fenced).map(|node| format!("{node} was not fenced")));
    }
    if let Some(wanted) = expect.quorum.filter(|wanted| *wanted != end.reach.quorum) {
        found.push(if wanted { "there is no quorum" } else { "there is a quorum, expected none" }.to_owned());
    }
    found
}

fn nodes(homes: &Homes, resource: &ResourceId, role: impl Fn(Role) -> bool) -> BTreeSet<NodeId> {
    homes.of(resource).iter().filter(|(_, is)| role(*is)).map(|(node, _)| node.clone()).collect()
}

fn on(nodes: &BTreeSet<NodeId>) -> String {
    match nodes.is_empty() {
        true => "nowhere".to_owned(),
        false => format!("on {}", nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", ")),
    }
}
