//! How much a node suits a resource, by everything but its neighbours.
//!
//! Input: the [`World`], a resource. Output: every part of its score on every node, given to a sink; [`base`] adds
//! them up. `explain` uses another sink, so that `why` shows exactly what was added.
//!
//! Semantics as in Pacemaker Explained, "Scores", "Location" and "Failure": minus infinity beats everything. A
//! `Required` location is stricter than Pacemaker's `INFINITY`: nodes it does not name are out.
//!
//! Does not know of colocation (`place`) nor of promotion (`roles`).

use super::instances::World;
use super::nodes::Unfit;
use crate::model::{Discovery, Role, Score, Strength};
use crate::state::{Override, OverrideKind};

/// One contribution to a score.
#[derive(Debug, Clone)]
pub(super) enum What<'a> {
    Unfit(Unfit<'a>),
    /// `symmetric: false`, and no location names the node.
    OptIn,
    Location(&'a str),
    Stickiness,
    Override(&'a Override),
    Threshold(u32),
    StartFailed {
        retry_ms: u64,
    },
    Moved,
    /// What the probe said.
    NotInstalled(&'a str),
    Capacity,
    /// With what it is colocated; None: the member before it in its group.
    With(Option<&'a str>),
    /// What is colocated with it would like this; None: the members after it in its group.
    Dependant(Option<&'a str>),
    /// What the agent says of its copy, by the name of the attribute; None: nothing.
    Promotion(Option<String>),
    /// It would not be promoted whatever the scores are.
    NotPromoted(&'static str),
}

/// The sum of a resource's parts per node, bans included.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub score: Vec<Score>,
    /// The same without bans for failed starts whose next try has come; None: no such ban.
    pub retry: Option<Vec<Score>>,
    /// The next try of a failed start: where and when.
    pub backoff: Option<(usize, u64)>,
}

pub(super) fn base(world: &World<'_>, place: usize) -> Base {
    let count = world.nodes.len();
    let mut score = vec![Score::ZERO; count];
    let mut lenient = vec![Score::ZERO; count];
    let mut due = false;
    let mut backoff: Option<(usize, u64)> = None;
    parts(world, place, &mut |node, part, what| {
        score[node] += part;
        if let What::StartFailed { retry_ms } = what {
            if retry_ms <= world.state.now_ms {
                due = true;
                return;
            }
            if backoff.is_none_or(|(_, earliest)| retry_ms < earliest) {
                backoff = Some((node, retry_ms));
            }
        }
        lenient[node] += part;
    });
    Base { score, retry: due.then_some(lenient), backoff }
}

/// Gives every part to the sink.
pub(super) fn parts<'a>(world: &World<'a>, place: usize, sink: &mut impl FnMut(usize, Score, What<'a>)) {
    for (node, info) in world.nodes.iter().enumerate() {
        if let Some(unfit) = &info.unfit {
            sink(node, Score::NEVER, What::Unfit(unfit.clone()));
        } else if info.reach.is_some() && world.res[place].cluster_only {
            sink(node, Score::NEVER, What::Unfit(Unfit::Remote));
        }
    }
    location_parts(world, place, sink);
    override_parts(world, place, sink);
    failure_parts(world, place, sink);
    if let Some(node) = sticky_node(world, place) {
        let stickiness = Score::new(i64::from(world.res[place].spec.stickiness));
        if stickiness != Score::ZERO {
            sink(node, stickiness, What::Stickiness);
        }
    }
    for (node, probe) in world.res[place].not_installed.iter().filter(|(node, _)| world.nodes[*node].fit()) {
        sink(*node, Score::NEVER, What::NotInstalled(&probe.text));
    }
}

/// Whether the manifests alone let a resource run on more than one node. Where they do not, nobody could take over.
pub(super) fn has_alternative(world: &World<'_>, place: usize) -> bool {
    world.res[place].homes.get_or_init(|| homes(world, place)).len() > 1
}

/// Whether the manifests alone let a resource run on another node than this one.
pub(super) fn has_alternative_to(world: &World<'_>, place: usize, node: usize) -> bool {
    world.res[place].homes.get_or_init(|| homes(world, place)).iter().any(|home| *home != node)
}

fn homes(world: &World<'_>, place: usize) -> Vec<usize> {
    let mut score = vec![Score::ZERO; world.nodes.len()];
    location_parts(world, place, &mut |node, part, _| score[node] += part);
    let listed = |node: usize| {
        let info = &world.nodes[node];
        // Where what is planned is done, nothing is done on remote nodes.
        let may = info.reach.is_none() || (!world.res[place].cluster_only && !world.state.is_acted_on());
        may && world.spec.nodes.get(info.id).is_some_and(|document| document.role.runs_resources())
    };
    (0..world.nodes.len()).filter(|node| listed(*node) && !score[*node].is_never()).collect()
}

/// Where a plain resource sticks: where it runs, else where it was to run.
pub(super) fn sticky_node(world: &World<'_>, place: usize) -> Option<usize> {
    let res = &world.res[place];
    if res.clone.is_some() || !res.managed {
        return None;
    }
    if let Some((_, to)) = world.migrating(place) {
        return Some(to);
    }
    match res.claims.as_slice() {
        [live] => Some(live.node),
        // On several nodes: none of them is home, unless it was sent there.
        [] | [_, _, ..] => {
            let assigned = world.assignment.get(&world.plain_instance(place))?;
            world.node_ids.get(&assigned.to.node).copied()
        }
    }
}

fn location_parts<'a>(world: &World<'a>, place: usize, sink: &mut impl FnMut(usize, Score, What<'a>)) {
    let mut named = vec![world.spec.cluster.symmetric; world.nodes.len()];
    for (name, location) in &world.res[place].locations {
        if location.role == Some(Role::Promoted) {
            continue;
        }
        for (node, info) in world.nodes.iter().enumerate() {
            let Some(document) = info.document else { continue };
            if world.selects(location, node, &document.labels) {
                named[node] = true;
                sink(node, location.score(|name| world.label(node, name)), What::Location(name));
            } else if location.strength == Strength::Required || location.discovery == Discovery::Exclusive {
                sink(node, Score::NEVER, What::Location(name));
            }
        }
    }
    for (node, named) in named.into_iter().enumerate() {
        // Members of a group follow the first one, which is the one that locations name; so do connections of guests.
        let res = &world.res[place];
        let follows = res.position > 0 || (res.connects && res.inside.is_some());
        if !named && !follows {
            sink(node, Score::NEVER, What::OptIn);
        }
    }
}

fn override_parts<'a>(world: &World<'a>, place: usize, sink: &mut impl FnMut(usize, Score, What<'a>)) {
    for o in &world.res[place].overrides {
        let (node, score) = match &o.kind {
            OverrideKind::Move { to } => (to, Score::INFINITY),
            OverrideKind::Ban { node } => (node, Score::NEVER),
            OverrideKind::Drain
            | OverrideKind::Shutdown
            | OverrideKind::Fence
            | OverrideKind::TestFence { .. }
            | OverrideKind::Maintenance
            | OverrideKind::Disarm
            | OverrideKind::Stop
            | OverrideKind::Suspend => continue,
        };
        if let Some(&node) = world.node_ids.get(node) {
            sink(node, score, What::Override(o));
        }
    }
}

fn failure_parts<'a>(world: &World<'a>, place: usize, sink: &mut impl FnMut(usize, Score, What<'a>)) {
    let res = &world.res[place];
    let threshold = res.spec.failure.threshold;
    let mut failures = vec![0_u32; world.nodes.len()];
    // What fails inside of it is a failure of its own.
    for filler in &res.fillers {
        for (node, record) in world.res[*filler].history.iter().filter(|(_, record)| world.remembers(*filler, record)) {
            failures[*node] = failures[*node].saturating_add(record.fail_count);
        }
    }
    for (node, record) in res.history.iter().filter(|(_, record)| world.remembers(place, record)) {
        failures[*node] = failures[*node].saturating_add(record.fail_count);
        if record.moved {
            sink(*node, Score::NEVER, What::Moved);
        }
        if record.start_failed {
            sink(*node, Score::NEVER, What::StartFailed { retry_ms: record.retry_ms });
        }
    }
    for (node, failures) in failures.into_iter().enumerate() {
        if threshold > 0 && failures >= threshold {
            sink(node, Score::NEVER, What::Threshold(failures));
        }
    }
}
