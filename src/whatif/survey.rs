//! Every loss of so many things at once: what would have no home, and where the quorum would be gone.
//!
//! Input: a spec, the state before, and how many things may be lost ([`Terms`]). Output: a [`Survival`].
//!
//! The steps: name the parts that can be lost → of every combination, up to so many, who is left (`reach`) → equal losses
//! are put together (`equal`) → one of each is planned → of what lost its home only what no smaller loss within took away
//! is told, with the lines that forbid it.
//!
//! One loss is judged by `plan::assign` alone where that is enough: nodes that can be proven off are, and what has a place
//! then has a home. A property test holds that against whole stories (`play`), loss by loss.
//!
//! Jobs may be run side by side by whoever calls ([`Runner`]); the answer does not depend on it.

use super::equal::{Classes, Effect};
use super::homes::{Homeless, Homes, Lack, bars};
use super::reach::{Broken, Reach, reach, working_levels};
use crate::model::{DeviceId, FenceWhen, NodeId, NodeRole, Reading, ResourceId, Spec};
use crate::plan::{self, Verdict};
use crate::state::{Membership, State, Suspicion};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;

/// Combinations at most: more are not planned for in any time that somebody would wait.
pub const MOST_LOSSES: u64 = 1_000_000;

/// Something that can be lost as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Node(NodeId),
    /// All nodes with this value of the label.
    Rack(String),
    /// The network of the addresses with this number.
    Link(usize),
    Device(DeviceId),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Rack(rack) => write!(f, "rack {rack}"),
            Self::Link(link) => write!(f, "link {link}"),
            Self::Device(device) => write!(f, "device {device}"),
        }
    }
}

/// What kinds of things are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Among {
    Nodes,
    Racks,
    Links,
    Devices,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// So many parts are lost at once, at most.
    pub losses: usize,
    pub among: BTreeSet<Among>,
    /// The label of nodes that names their rack.
    pub rack_label: String,
}

impl Terms {
    /// Any so many of everything; racks by the label `rack`.
    pub fn any(losses: usize) -> Self {
        let among = [Among::Nodes, Among::Racks, Among::Links, Among::Devices].into();
        Self { losses, among, rack_label: "rack".to_owned() }
    }
}

/// More combinations than [`MOST_LOSSES`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {MOST_LOSSES} losses of {losses} among {parts} things")]
pub struct TooMany {
    pub losses: usize,
    pub parts: usize,
}

/// Runs jobs: `job(n)` for each n below the number, in any order, side by side or not.
pub type Runner<'r> = &'r dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// A runner on this thread.
pub fn one_by_one(jobs: usize, job: &(dyn Fn(usize) + Sync)) {
    (0..jobs).for_each(job);
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survival {
    /// Combinations, and how many of them were planned.
    pub losses: u64,
    pub tried: u64,
    /// What has no home although nothing is lost.
    pub before: Vec<Homeless>,
    /// Losses without a majority, the smallest of them.
    pub without_quorum: Vec<Vec<Part>>,
    pub found: Vec<Found>,
}

impl Survival {
    /// Nothing is lost that ran before.
    pub fn survives(&self) -> bool {
        self.without_quorum.is_empty() && self.found.is_empty()
    }
}

/// A loss that takes a home away which no smaller loss within it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub lost: Vec<Part>,
    /// Others that come to the same.
    pub same: Vec<Vec<Part>>,
    pub homeless: Vec<Homeless>,
}

/// What becomes of every loss of so many parts.
pub fn survey(spec: &Spec, state: &State, terms: &Terms, run: Runner<'_>) -> Result<Survival, TooMany> {
    let survey = Survey::new(spec, state, terms)?;
    let mut told = Survival { before: survey.homeless_before(), ..Survival::default() };
    let mut tried: Vec<Trial> = Vec::new();
    let mut by_effect: BTreeMap<Effect, usize> = BTreeMap::new();
    // Per loss: None without a majority, else its trial.
    let mut known: BTreeMap<Vec<usize>, Option<usize>> = BTreeMap::new();
    for size in 1..=terms.losses.min(survey.parts.len()) {
        let from = tried.len();
        let mut level: Vec<Vec<usize>> = Vec::new();
        for loss in combinations(survey.parts.len(), size) {
            told.losses += 1;
            if within(&loss).any(|smaller| known.get(&smaller) == Some(&None)) {
                known.insert(loss, None);
                continue;
            }
            let reach = reach(spec, &survey.broken(&loss));
            if !reach.quorum {
                told.without_quorum.push(survey.names(&loss));
                known.insert(loss, None);
                continue;
            }
            let effect = survey.classes.effect(&reach);
            let trial = *by_effect.entry(effect).or_insert_with(|| {
                tried.push(Trial { broken: survey.broken(&loss), reach, lacking: OnceLock::new() });
                tried.len() - 1
            });
            known.insert(loss.clone(), Some(trial));
            level.push(loss);
        }
        let fresh = &tried[from..];
        run(fresh.len(), &|at| {
            let _ = fresh[at].lacking.set(survey.lacking(&fresh[at]));
        });
        told.found.extend(survey.tell(&level, &tried, &known, run));
    }
    told.tried = tried.len() as u64;
    Ok(told)
}

/// A trial, and what is told of it.
type Verdicts<'r> = (usize, Vec<(&'r ResourceId, Lack)>);

/// One loss of those that are equal.
struct Trial {
    broken: Broken,
    reach: Reach,
    /// What has no home then; set when it was tried.
    lacking: OnceLock<BTreeMap<ResourceId, Lack>>,
}

struct Survey<'a> {
    spec: &'a Spec,
    state: &'a State,
    /// Without the words of nodes that something does not run there: `assign` does not need them.
    light: State,
    before: Homes,
    parts: Vec<Part>,
    racks: BTreeMap<String, BTreeSet<NodeId>>,
    already: Broken,
    classes: Classes,
    /// What another node could take over: only for its sake is a node fenced.
    movable: BTreeSet<ResourceId>,
}

impl<'a> Survey<'a> {
    fn new(spec: &'a Spec, state: &'a State, terms: &Terms) -> Result<Self, TooMany> {
        let members = || spec.nodes.iter().filter(|(_, node)| node.role != NodeRole::Remote);
        let there = |name: &NodeId| state.nodes.get(name).is_some_and(|node| node.membership == Membership::Online);
        let gone = members().map(|(name, _)| name).filter(|name| !there(name)).cloned().collect();
        let mut racks: BTreeMap<String, BTreeSet<NodeId>> = BTreeMap::new();
        for (name, node) in members() {
            if let Some(rack) = node.labels.get(&terms.rack_label) {
                racks.entry(rack.clone()).or_default().insert(name.clone());
            }
        }
        let parts = parts(spec, terms, &racks);
        let count = (1..=terms.losses.min(parts.len())).try_fold(0_u64, |sum, size| {
            sum.checked_add(choose(parts.len() as u64, size as u64)?).filter(|sum| *sum <= MOST_LOSSES)
        });
        if count.is_none() {
            return Err(TooMany { losses: terms.losses, parts: parts.len() });
        }
        let mut light = state.clone();
        light.probes.retain(|_, probe| probe.reading == Reading::NotInstalled);
        Ok(Self {
            spec,
            state,
            light,
            before: Homes::now(state),
            parts,
            racks,
            already: Broken { nodes: gone, ..Broken::default() },
            classes: Classes::of(spec, state),
            movable: plan::with_other_home(spec, state),
        })
    }

    fn names(&self, loss: &[usize]) -> Vec<Part> {
        loss.iter().map(|part| self.parts[*part].clone()).collect()
    }

    fn broken(&self, loss: &[usize]) -> Broken {
        let mut broken = self.already.clone();
        for part in loss {
            match &self.parts[*part] {
                Part::Node(node) => _ = broken.nodes.insert(node.clone()),
                Part::Rack(rack) => broken.nodes.extend(self.racks.get(rack).into_iter().flatten().cloned()),
                Part::Link(link) => _ = broken.links.insert(*link),
                Part::Device(device) => _ = broken.devices.insert(device.clone()),
            }
        }
        broken
    }

    fn homeless_before(&self) -> Vec<Homeless> {
        let reach = reach(self.spec, &self.already);
        let assignment = plan::assign(self.spec, self.state);
        let nowhere = assignment
            .verdicts
            .iter()
            .filter(|(id, verdict)| matches!(verdict, Verdict::Blocked(_)) && self.before.of(&id.resource).is_empty());
        let names: BTreeSet<&ResourceId> = nowhere.map(|(id, _)| &id.resource).collect();
        let told = names.into_iter().map(|resource| Homeless {
            resource: resource.clone(),
            lack: Lack::All,
            bars: bars(self.spec, self.state, &reach, resource, Lack::All),
        });
        told.collect()
    }

    /// What has no home after a loss.
    fn lacking(&self, trial: &Trial) -> BTreeMap<ResourceId, Lack> {
        let lost = trial.reach.lost().filter(|node| !self.already.nodes.contains(*node)).count();
        if lost == 0 {
            return BTreeMap::new();
        }
        if trial.reach.unproven.is_empty() {
            let state = self.after(&self.light, &trial.reach);
            let homes = Homes::planned(&plan::assign(self.spec, &state), &state, &BTreeSet::new());
            let lacking = homes.lacking(self.spec, &self.before);
            if lacking.is_empty() {
                return lacking;
            }
        }
        // What has a place may still wait for what has none, or has too few copies: only the order of steps knows.
        let (spec, mut state) = (self.spec_after(trial), self.after(self.state, &trial.reach));
        let assignment = plan::assign(&spec, &state);
        assignment.commit(&mut state);
        let stuck = plan::order_untold(&spec, &state).stuck();
        let homes = Homes::planned(&assignment, &state, &stuck);
        homes.lacking(self.spec, &self.before)
    }

    /// The state once every lost node is proven off that can be, and for which somebody waits.
    fn after(&self, state: &State, reach: &Reach) -> State {
        let mut after = state.clone();
        let always = self.spec.cluster.fencing.when == FenceWhen::Always;
        let needed: BTreeSet<&NodeId> = state
            .claims
            .keys()
            .filter(|key| always || self.movable.contains(&key.instance.resource))
            .map(|key| &key.node)
            .collect();
        for name in reach.lost() {
            let Some(node) = after.nodes.get_mut(name) else { continue };
            if matches!(node.membership, Membership::Left | Membership::Fenced) {
                continue;
            }
            if reach.unproven.contains_key(name) || !needed.contains(name) {
                node.membership = Membership::Suspect;
                let boot = node.incarnation.boot.clone();
                node.suspicion = Some(Suspicion { number: 1, boot, since_ms: 0, reason: "silent".into() });
            } else {
                node.membership = Membership::Fenced;
                node.suspicion = None;
                after.claims.retain(|key, _| &key.node != name);
            }
        }
        after
    }

    /// The manifests without levels that prove nothing any more.
    fn spec_after(&self, trial: &Trial) -> Spec {
        let mut spec = self.spec.clone();
        for (name, node) in &mut spec.nodes {
            node.fencing = working_levels(self.spec, name, &trial.broken.devices);
        }
        spec.cluster.fencing.assume_off = None;
        spec
    }

    /// The losses of one size that take something which no smaller one within takes, with the lines that forbid it.
    fn tell(
        &self,
        level: &[Vec<usize>],
        tried: &[Trial],
        known: &BTreeMap<Vec<usize>, Option<usize>>,
        run: Runner<'_>,
    ) -> Vec<Found> {
        let nothing = BTreeMap::new();
        let lacking = |loss: &Vec<usize>| {
            let trial = known.get(loss).copied().flatten();
            trial.and_then(|trial| tried[trial].lacking.get()).unwrap_or(&nothing)
        };
        // What is told of losses that come to the same is told once.
        let mut groups: BTreeMap<Verdicts<'_>, Vec<&Vec<usize>>> = BTreeMap::new();
        for loss in level {
            let smaller: Vec<_> = within(loss).map(|smaller| lacking(&smaller).clone()).collect();
            let new: Vec<(&ResourceId, Lack)> = lacking(loss)
                .iter()
                .filter(|(resource, _)| !smaller.iter().any(|smaller| smaller.contains_key(*resource)))
                .map(|(resource, lack)| (resource, *lack))
                .collect();
            if let (false, Some(Some(trial))) = (new.is_empty(), known.get(loss)) {
                groups.entry((*trial, new)).or_default().push(loss);
            }
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by(|(_, a), (_, b)| a.cmp(b));
        let jobs: Vec<(usize, &ResourceId, Lack)> =
            groups.iter().flat_map(|((trial, new), _)| new.iter().map(|(name, lack)| (*trial, *name, *lack))).collect();
        let told: Vec<OnceLock<Homeless>> = jobs.iter().map(|_| OnceLock::new()).collect();
        run(jobs.len(), &|at| {
            let (trial, resource, lack) = jobs[at];
            let _ = told[at].set(self.explain(&tried[trial], resource, lack));
        });
        let mut told = told.into_iter().filter_map(OnceLock::into_inner);
        groups
            .into_iter()
            .map(|((_, new), losses)| {
                let mut losses = losses.into_iter().map(|loss| self.names(loss));
                Found {
                    lost: losses.next().unwrap_or_default(),
                    same: losses.collect(),
                    homeless: told.by_ref().take(new.len()).collect(),
                }
            })
            .collect()
    }

    fn explain(&self, trial: &Trial, resource: &ResourceId, lack: Lack) -> Homeless {
        let (spec, mut state) = (self.spec_after(trial), self.after(self.state, &trial.reach));
        plan::assign(&spec, &state).commit(&mut state);
        let bars = bars(&spec, &state, &trial.reach, resource, lack);
        Homeless { resource: resource.clone(), lack, bars }
    }
}

/// The parts that can be lost, in order: nodes, racks, links, devices.
fn parts(spec: &Spec, terms: &Terms, racks: &BTreeMap<String, BTreeSet<NodeId>>) -> Vec<Part> {
    let mut parts = Vec::new();
    let members = || spec.nodes.iter().filter(|(_, node)| node.role != NodeRole::Remote);
    for kind in &terms.among {
        match kind {
            Among::Nodes => parts.extend(members().map(|(name, _)| Part::Node(name.clone()))),
            Among::Racks => parts.extend(racks.keys().map(|rack| Part::Rack(rack.clone()))),
            Among::Links => {
                let links = members().map(|(_, node)| node.addresses.len()).max().unwrap_or(0);
                parts.extend((0..links).map(Part::Link));
            }
            // One document of a watchdog stands for one in every node.
            Among::Devices => {
                let used: BTreeSet<&DeviceId> = members().flat_map(|(_, node)| node.fencing.iter().flatten()).collect();
                let is_one = |name: &DeviceId| spec.devices.get(name).is_some_and(|device| !device.is_watchdog());
                parts.extend(used.into_iter().filter(|name| is_one(name)).map(|name| Part::Device(name.clone())));
            }
        }
    }
    parts
}

/// A loss without one of its parts, for each.
fn within(loss: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..loss.len()).filter(|_| loss.len() > 1).map(|left_out| {
        let kept = loss.iter().enumerate().filter(|(at, _)| *at != left_out);
        kept.map(|(_, part)| *part).collect()
    })
}

/// All choices of so many numbers below a bound, each in ascending order.
fn combinations(bound: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let mut next: Option<Vec<usize>> = (size <= bound).then(|| (0..size).collect());
    std::iter::from_fn(move || {
        let now = next.take()?;
        let place = (0..size).rev().find(|place| now[*place] < bound - size + place);
        next = place.map(|place| {
            let mut then = now.clone();
            then[place] += 1;
            (place + 1..size).for_each(|later| then[later] = then[later - 1] + 1);
            then
        });
        Some(now)
    })
}

/// None: more than fits.
fn choose(of: u64, size: u64) -> Option<u64> {
    (0..size).try_fold(1_u64, |count, step| Some(count.checked_mul(of - step)? / (step + 1)))
}

#[cfg(test)]
mod tests;
