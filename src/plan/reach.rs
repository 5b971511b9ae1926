//! Nodes that are there as long as a resource runs: remote nodes, and guests that run inside of another resource.
//!
//! Input: the [`World`] with everything else classified. Output: the class of each such node, whether it may be given
//! instances, and what of it must be reset; the resources that restart because of what failed inside of them.
//!
//! Pacemaker Remote: a node may be given instances if its connection is going to run, so connections are placed before
//! everything else. A guest is proven off by its container's stop; another remote node only by a fencing device of its own.
//! What runs on a remote node goes on while its connection moves or is made anew from elsewhere.
//!
//! A node that nobody let in (it has no entry in the state) stays away, so that nothing is placed where nothing can run.

use super::instances::{Live, Res, World};
use super::nodes::{Ability, Class, Unfit};
use super::place::{Copy, Placer};
use crate::model::{ActionKind, BundlePart, InstanceId, NodeId, Reason};
use crate::state::OverrideKind;

/// The parameter of a connection that says how long after a failure it is made anew.
const PAUSE: &str = "reconnect_interval";

/// How a node is reached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// None: it is no longer in the spec.
    pub connection: Option<usize>,
    /// What a guest runs inside of.
    pub container: Option<usize>,
    /// What ran on this guest has ended, or will, with its container.
    pub reset: bool,
}

/// What can be said of a remote node before anything is placed.
struct Now {
    node: usize,
    reach: Reach,
    /// Its connection runs, and nothing speaks against it.
    up: bool,
    /// Something managed is said to run there.
    held: bool,
    /// It may still run things, and nobody can ask it.
    lost: bool,
    /// It was powered off since.
    proven_off: bool,
}

/// Classifies what is reached over resources.
pub(super) fn connect(world: &mut World<'_>) {
    restart_around_failures(world);
    let remotes: Vec<usize> = (0..world.nodes.len()).filter(|node| world.nodes[*node].reach.is_some()).collect();
    if remotes.is_empty() {
        return;
    }
    if world.state.is_acted_on() {
        // A cluster that runs, and this program does not run anything there yet.
        for node in remotes {
            world.nodes[node].unfit.get_or_insert(Unfit::Unconnected);
        }
        return;
    }
    let held = held(world);
    let all: Vec<Now> = remotes.into_iter().filter_map(|node| now(world, node, held[node])).collect();
    for now in &all {
        reset(world, now);
        let info = &mut world.nodes[now.node];
        if info.unfit.is_none() {
            info.unfit = Some(Unfit::Unconnected);
        }
    }
    let placed = placed(world, &all);
    for (now, placed) in all.iter().zip(placed) {
        settle(world, now, placed);
    }
    let nodes = &world.nodes;
    for res in &mut world.res {
        res.unprobed.retain(|node| nodes[*node].reach.is_none() || nodes[*node].class != Class::Gone);
    }
}

/// What failed inside of something is mended by restarting that.
fn restart_around_failures(world: &mut World<'_>) {
    for clone in &world.clones {
        let container = clone.connection.and_then(|connection| world.res[connection].inside);
        let Some((container, inner)) = container.zip(clone.inner) else { continue };
        // Whose node would be fenced: the one inside of the container.
        let fences = |live: &&Live<'_>| live.claim.failure.as_ref().is_some_and(|failure| failure.fence);
        let copies: Vec<Option<u32>> =
            world.res[inner].claims.iter().filter(fences).map(|live| live.key.instance.number).collect();
        world.res[container].broken.extend(copies);
    }
    for place in 0..world.res.len() {
        let Some(container) = world.res[place].inside else { continue };
        let failed = world.res[place].claims.iter().filter(|live| {
            let failure = live.claim.failure.as_ref();
            failure.is_some_and(|failure| !failure.blocked) && !world.nodes[live.node].unclean()
        });
        let copies: Vec<Option<u32>> = failed.map(|live| live.key.instance.number).collect();
        world.res[container].broken.extend(copies);
    }
}

/// Nodes on which something managed is said to run.
fn held(world: &World<'_>) -> Vec<bool> {
    let mut held = vec![false; world.nodes.len()];
    for res in world.res.iter().filter(|res| res.managed) {
        res.claims.iter().for_each(|live| held[live.node] = true);
    }
    world.removed.iter().for_each(|live| held[live.node] = true);
    held
}

fn now(world: &World<'_>, node: usize, held: bool) -> Option<Now> {
    let info = &world.nodes[node];
    let reach = info.reach?;
    let boot = &info.state?.incarnation.boot;
    let Some(connection) = reach.connection else {
        // Removed with its connection: it is there as long as that is.
        let name = info.document.and_then(|document| document.connection.as_ref());
        let claim = world.removed.iter().find(|live| Some(&live.key.instance.resource) == name);
        let up = claim.is_some_and(|live| live.claim.failure.is_none() && !world.nodes[live.node].unclean());
        return Some(Now { node, reach, up, held, lost: false, proven_off: false });
    };
    let res = &world.res[connection];
    // What failed on a lost node failed with it.
    let failures = || {
        let heard = res.claims.iter().filter(|live| !world.nodes[live.node].unclean());
        heard.filter_map(|live| live.claim.failure.as_ref())
    };
    let fails_there = world.res.iter().flat_map(|res| &res.claims).any(|live| {
        live.node == node && live.claim.failure.as_ref().is_some_and(|failure| failure.fence && !failure.blocked)
    });
    let runs = |place: usize| {
        world.res[place].claims.iter().any(|live| live.claim.failure.is_none() && !world.nodes[live.node].unclean())
    };
    match reach.container {
        Some(container) => {
            let inside = &world.res[container];
            let up = runs(connection) && runs(container) && inside.broken.is_empty();
            // Without a connection nothing was begun there that the loss of its host could leave open.
            let connected = !res.claims.is_empty();
            let ends =
                |live: &Live<'_>| live.claim.failure.is_some() || (connected && world.nodes[live.node].unclean());
            let broken = inside.claims.iter().any(ends) || !inside.broken.is_empty();
            let reset = inside.managed && (broken || (held && !up) || fails_there);
            Some(Now { node, reach: Reach { reset, ..reach }, up, held, lost: false, proven_off: false })
        }
        None => {
            let proven_off = info.state.is_some_and(|state| state.burnt.contains(boot));
            let breaks =
                failures().any(|failure| held || !matches!(failure.action, ActionKind::Start | ActionKind::Probe));
            // Without fencing nobody can do better than to connect again.
            let lost = res.managed && !proven_off && world.spec.cluster.fencing.enabled && (breaks || fails_there);
            Some(Now { node, reach, up: runs(connection), held: held && !proven_off, lost, proven_off })
        }
    }
}

/// Prepares what follows from a failure before the connections are placed.
fn reset(world: &mut World<'_>, now: &Now) {
    let id = world.nodes[now.node].id.clone();
    world.nodes[now.node].reach = Some(now.reach);
    // What is shut down is not called again.
    let leaves = matches!(&world.nodes[now.node].unfit, Some(Unfit::Drained(o)) if o.kind == OverrideKind::Shutdown);
    if let Some(container) = now.reach.container.filter(|_| now.reach.reset) {
        world.res[container].broken.push(None);
    }
    if let Some(connection) = now.reach.connection.filter(|_| now.reach.container.is_none()) {
        let res = &mut world.res[connection];
        let broke = |failure: &crate::state::Failure| !matches!(failure.action, ActionKind::Start | ActionKind::Probe);
        let failed = res.claims.iter().any(|live| live.claim.failure.as_ref().is_some_and(broke));
        let pause = res.spec.params.get(PAUSE).is_some_and(|pause| pause.trim() != "0");
        if failed && pause {
            res.stopped.get_or_insert(Reason::NodeLost { node: id });
        } else if leaves {
            res.stopped.get_or_insert(Reason::Draining { node: id });
        }
    }
}

/// Whether the connection of each node is going to run.
fn placed(world: &World<'_>, all: &[Now]) -> Vec<bool> {
    let mut placer = Placer::new(world, None);
    placer.run_connections();
    let runs = |now: &Now| {
        let unit = world.unit_of[now.reach.connection?];
        let copies = placer.placed[unit].as_ref()?;
        let failed = || world.res[now.reach.connection?].claims.first().and_then(|live| live.claim.failure.as_ref());
        // What is left alone where it is may have failed, or be on a lost node.
        let there = |copy: &Copy| copy.node.is_some_and(|node| !world.nodes[node].unclean());
        Some(copies.iter().any(|copy| there(copy) && !(copy.pinned && failed().is_some())))
    };
    all.iter().map(|now| runs(now).unwrap_or(false)).collect()
}

fn settle(world: &mut World<'_>, now: &Now, placed: bool) {
    let unfit = matches!(world.nodes[now.node].unfit, Some(Unfit::Unconnected) | None);
    let guest = now.reach.container.is_some() || now.reach.connection.is_none();
    let failed = now.reach.connection.is_some_and(|connection| {
        let res = &world.res[connection];
        let failed = |live: &Live<'_>| live.claim.failure.is_some() && !world.nodes[live.node].unclean();
        res.managed && res.claims.iter().any(failed)
    });
    let unknown = || {
        let claimed = now.reach.connection.is_some_and(|connection| !world.res[connection].claims.is_empty());
        let asked = |res: &Res<'_>| res.managed && !res.cluster_only && res.unprobed.contains(&now.node);
        claimed && world.res.iter().any(asked)
    };
    let out_of_reach = !placed && !now.up && !now.proven_off;
    let stays_lost = !guest && (now.lost || (out_of_reach && (now.held || failed || unknown())));
    let class = match (stays_lost, placed || now.up) {
        (true, _) => Class::Suspect,
        (false, true) => Class::Online,
        (false, false) if now.reach.reset && now.held => Class::Online,
        (false, false) => Class::Gone,
    };
    let info = &mut world.nodes[now.node];
    info.class = class;
    if class == Class::Suspect && info.ability == Ability::ByItself {
        info.ability = Ability::Impossible("it has no fencing devices".into());
    }
    info.unfit = match class {
        Class::Online if placed && unfit => None,
        Class::Online if unfit => Some(Unfit::Unconnected),
        Class::Suspect | Class::Joining | Class::Gone if unfit => Some(Unfit::NotOnline(class)),
        Class::Online | Class::Suspect | Class::Joining | Class::Gone => info.unfit.take(),
    };
}

impl World<'_> {
    /// Guests that are proven off by the stop of what they run inside of.
    pub fn reset_guests(&self) -> impl Iterator<Item = usize> {
        let can_end = |node: &usize| {
            let container = self.nodes[*node].reach.and_then(|reach| reach.container);
            let claims = container.into_iter().flat_map(|container| &self.res[container].claims);
            claims.into_iter().all(|live| {
                let host = &self.nodes[live.node];
                !host.unclean() || host.ability == Ability::Attempt
            })
        };
        let reset = |node: &usize| self.nodes[*node].reach.is_some_and(|reach| reach.reset);
        (0..self.nodes.len()).filter(reset).filter(can_end)
    }

    /// Replicas of bundles whose inside has ended, or will, with its container: in the name of the node inside.
    pub fn reset_replicas(&self) -> Vec<NodeId> {
        let mut reset = Vec::new();
        for info in &self.clones {
            let (Some((name, bundle)), Some(connection), Some(inner)) = (info.bundle, info.connection, info.inner)
            else {
                continue;
            };
            let Some(container) = self.res[connection].inside.filter(|container| self.res[*container].managed) else {
                continue;
            };
            for number in 0..info.max as u32 {
                let claims = self.claims_of(container, Some(number));
                let connected = !self.claims_of(connection, Some(number)).is_empty();
                let ends = |live: &Live<'_>| {
                    let host = &self.nodes[live.node];
                    let broken = live.claim.failure.is_some() || self.res[container].broken.contains(&Some(number));
                    match host.unclean() {
                        true => host.ability == Ability::Attempt && connected,
                        false => broken,
                    }
                };
                let gone = claims.is_empty() && !self.claims_of(inner, Some(number)).is_empty();
                if gone || claims.iter().any(ends) {
                    reset.push(NodeId::new(bundle.call(name, BundlePart::Connection, number)));
                }
            }
        }
        reset
    }

    /// Whether what would have a claim's node fenced is mended by restarting what runs around it.
    pub fn is_mended_around(&self, place: usize, live: &Live<'_>) -> bool {
        let inner = self.res[place].clone.is_some_and(|clone| self.clones[clone].inner == Some(place));
        inner || self.nodes[live.node].reach.is_some_and(|reach| reach.reset)
    }

    /// Whether this instance must be restarted for what failed inside of it.
    pub fn is_broken(&self, place: usize, instance: &InstanceId) -> bool {
        self.res[place].broken.contains(&instance.number)
    }
}
