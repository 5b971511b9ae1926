//! Properties of every plan, on random clusters.
//!
//! Held here: plans are deterministic; a plan that was executed leaves nothing to plan; nothing but fencing happens on
//! an unclean node; nothing starts before what it requires; limits hold at every moment; a ban is never disobeyed, and
//! adding one sends nothing there; other names in the same order change no plan; what `why` tells adds up to what decides.

use super::predict::Dream;
use super::testing::{World, id, key, show};
use super::{StepKind, assign, order};
use crate::model::*;
use crate::state::{FailureKind, Membership, OverrideKind, Phase, Scope, State};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// The names of a cluster.
struct Names {
    nodes: [&'static str; 4],
    resources: [&'static str; 7],
    group: &'static str,
    /// Of `a`, of the group, of `d`.
    clones: [&'static str; 3],
}

const PLAIN: Names =
    Names { nodes: NODES, resources: NAMES, group: "grp", clones: ["clone-a", "clone-grp", "clone-d"] };

/// In the same order as the plain ones: `clone-d` comes before `clone-grp`.
const OTHER: Names = Names {
    nodes: ["east", "mid", "north", "west"],
    resources: ["apple", "birch", "cedar", "date", "elm", "fir", "gorse"],
    group: "grove",
    clones: ["copse-1", "copse-3", "copse-2"],
};

impl Names {
    /// The plain name for one of these.
    fn plain(&self, name: &str) -> &'static str {
        let place = self.nodes.iter().chain(&self.resources).position(|known| *known == name);
        place.map_or("", |place| PLAIN.nodes.into_iter().chain(PLAIN.resources).nth(place).unwrap())
    }
}

/// One random cluster: resources, groups, clones, constraints, claims, failures, lost nodes.
fn cluster() -> impl Strategy<Value = World> {
    dice().prop_map(|(nodes, resources, seeds)| build(&PLAIN, nodes, resources, &seeds))
}

fn dice() -> impl Strategy<Value = (usize, usize, Vec<u16>)> {
    (2..=4_usize, 2..=7_usize, prop::collection::vec(any::<u16>(), 120))
}

fn build(called: &Names, nodes: usize, resources: usize, seeds: &[u16]) -> World {
    let mut seeds = seeds.iter().copied().cycle();
    let mut roll = move |sides: usize| seeds.next().unwrap_or(0) as usize % sides;
    let mut w = World::new(&called.nodes[..nodes]);
    let names = &called.resources[..resources];
    w.resources(names);
    for name in names {
        w.resource(name).stickiness = roll(3) as i32;
        w.resource(name).priority = roll(3) as i32;
        w.resource(name).target_role = if roll(10) == 0 { TargetRole::Stopped } else { TargetRole::Started };
        w.resource(name).managed = roll(15) != 0;
    }
    if roll(2) == 0 && resources >= 4 {
        w.group(called.group, &called.resources[1..3]);
    }
    for (clone, of) in called.clones.into_iter().zip([called.resources[0], called.group, called.resources[3]]) {
        let known = w.spec.resources.contains_key(of) || w.spec.groups.contains_key(of);
        if known && roll(3) == 0 {
            let clone = w.cloned(clone, of);
            clone.max = [None, Some(2), Some(1)][roll(3)];
            clone.interleave = roll(2) == 0;
            clone.ordered = roll(3) == 0;
            clone.promotable = (roll(2) == 0).then_some(Promotable { max: 1, per_node: 1 });
        }
    }
    // Constraints point from later to earlier names, so that they have no cycle.
    for _ in 0..roll(5) {
        let (first, then) = (roll(resources), roll(resources));
        if first < then {
            let order = w.order(called.resources[first], called.resources[then]);
            order.strength = [OrderStrength::Required, OrderStrength::Advisory, OrderStrength::Serialize][roll(3)];
            order.symmetric = roll(4) != 0 && order.strength != OrderStrength::Serialize;
        }
    }
    for _ in 0..roll(4) {
        let (with, what) = (roll(resources), roll(resources));
        if with < what {
            let strength = [Strength::Required, Strength::Preferred, Strength::Avoid, Strength::Forbidden][roll(4)];
            w.colocate(called.resources[what], called.resources[with], strength, 1 + roll(2000) as u32);
        }
    }
    for _ in 0..roll(4) {
        let strength = [Strength::Required, Strength::Preferred, Strength::Avoid, Strength::Forbidden][roll(4)];
        w.locate(called.resources[roll(resources)], called.nodes[roll(nodes)], strength, 1 + roll(200) as u32);
    }
    for name in names {
        claims(&mut w, name, &called.nodes[..nodes], &mut roll);
    }
    for node in &called.nodes[..nodes] {
        for resource in [called.resources[0], called.resources[3]] {
            w.attribute(node, &format!("master-{resource}"), &roll(20).to_string());
        }
        match roll(8) {
            0 => _ = w.suspect(node),
            1 => _ = w.drain(node),
            2 => w.state.nodes.get_mut(*node).unwrap().membership = Membership::Left,
            _ => {}
        }
    }
    w.state.claims.retain(|key, _| w.state.nodes[&key.node].membership != Membership::Left);
    w.spec.cluster.fencing.enabled = roll(6) != 0;
    w
}

fn claims(w: &mut World, name: &str, nodes: &[&str], roll: &mut impl FnMut(usize) -> usize) {
    let cloned = w.spec.clone_of(&name.into()).map(|(_, clone)| (clone.max, clone.promotable.is_some()));
    let copies = match cloned {
        None => roll(2),
        Some((max, _)) => roll(max.unwrap_or(nodes.len() as u32) as usize + 1).min(nodes.len()),
    };
    for copy in 0..copies {
        let node = if cloned.is_some() { copy } else { roll(nodes.len()) };
        let text = match cloned {
            None => format!("{name}@{}", nodes[node]),
            Some(_) => format!("{name}:{copy}@{}", nodes[node]),
        };
        w.runs(&[&text]);
        match roll(8) {
            0 => _ = w.failed(&text, FailureKind::Died),
            1 => w.record(&text, 3).moved = true,
            2 => w.state.claims.get_mut(&key(&text)).unwrap().phase = Phase::Stopping,
            _ => {}
        }
    }
}

/// The most claims of a resource there may be at once, unless more were there from the start.
fn limit(w: &World, resource: &ResourceId) -> usize {
    match w.spec.clone_of(resource) {
        None => 1,
        Some((_, clone)) => clone.max.map_or(w.spec.nodes.len(), |max| max as usize),
    }
}

fn count(state: &State) -> BTreeMap<ResourceId, usize> {
    let mut count = BTreeMap::new();
    for key in state.claims.keys() {
        *count.entry(key.instance.resource.clone()).or_insert(0) += 1;
    }
    count
}

fn running(state: &State, resource: &str) -> bool {
    state.claims.iter().any(|(key, c)| key.instance.resource.as_str() == resource && c.phase != Phase::Stopping)
}

fn tell(dream: &Dream<'_>) -> Vec<String> {
    dream.done.iter().map(show).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_input_gives_the_same_plan(w in cluster()) {
        prop_assert_eq!(assign(&w.spec, &w.state), assign(&w.spec, &w.state));
        let steps = |g: super::Graph| g.steps().cloned().collect::<Vec<_>>();
        prop_assert_eq!(steps(order(&w.spec, &w.state)), steps(order(&w.spec, &w.state)));
    }

    #[test]
    fn an_executed_plan_leaves_nothing_to_plan(mut w in cluster()) {
        // What sticks nowhere goes wherever there is least, each time it is asked: those that pull at each other by small
        // weights may follow each other around without an end, as documented.
        w.spec.resources.values_mut().for_each(|resource| resource.stickiness = resource.stickiness.max(1));
        let mut dream = Dream::new(&w.spec, &w.state);
        let mut rounds = 0;
        while dream.round() {
            rounds += 1;
            prop_assert!(rounds < 100, "no end: {:?}", tell(&dream));
        }
        let left = order(&w.spec, &dream.state);
        for node in dream.state.nodes.keys() {
            prop_assert!(left.ready(node).next().is_none());
        }
        prop_assert!(assign(&w.spec, &dream.state).changes(&dream.state).is_empty());
    }

    #[test]
    fn an_unclean_node_is_only_fenced_and_limits_hold(w in cluster()) {
        let mut dream = Dream::new(&w.spec, &w.state);
        let before = count(&w.state);
        for _ in 0..100 {
            let done = dream.done.len();
            let suspect: Vec<NodeId> = dream.state.nodes.iter()
                .filter(|(_, node)| node.membership != Membership::Online).map(|(name, _)| name.clone()).collect();
            let held = count(&dream.state);
            let more = dream.round();
            // Counted as if nothing had ended yet in this round: a start never races the stop that makes room.
            let mut starting = held.clone();
            for step in dream.done[done..].iter().filter(|step| step.kind == StepKind::Start) {
                *starting.entry(step.key.instance.resource.clone()).or_insert(0) += 1;
            }
            for (resource, now) in starting {
                let most = limit(&w, &resource).max(held.get(&resource).copied().unwrap_or(0));
                prop_assert!(now <= most, "{now} of {resource} at once: {:?}", tell(&dream));
            }
            for step in &dream.done[done..] {
                let fence = matches!(step.kind, StepKind::Fence { .. });
                prop_assert!(fence || !suspect.contains(&step.key.node), "{}", show(step));
            }
            for (resource, now) in count(&dream.state) {
                let most = limit(&w, &resource).max(before.get(&resource).copied().unwrap_or(0));
                prop_assert!(now <= most, "{now} of {resource}: {:?}", tell(&dream));
            }
            if !more {
                break;
            }
        }
    }

    #[test]
    fn nothing_starts_before_what_it_requires(w in cluster()) {
        let needs: Vec<(&str, &str)> = w.spec.orders.values()
            .filter(|order| order.strength == OrderStrength::Required)
            .map(|order| (order.first.resource.as_str(), order.then.resource.as_str()))
            .collect();
        let mut dream = Dream::new(&w.spec, &w.state);
        for _ in 0..100 {
            let (before, done) = (dream.state.clone(), dream.done.len());
            let more = dream.round();
            for step in dream.done[done..].iter().filter(|step| step.kind == StepKind::Start) {
                for (first, _) in needs.iter().filter(|(_, then)| *then == step.key.instance.resource.as_str()) {
                    prop_assert!(running(&before, first), "{} before {first}: {:?}", show(step), tell(&dream));
                }
            }
            if !more {
                break;
            }
        }
    }

    #[test]
    fn a_ban_is_never_disobeyed(w in cluster(), resource in 0..7_usize, node in 0..4_usize) {
        let (mut w, resource, node) = (w, NAMES[resource], NODES[node]);
        w.over(Scope::Resource(resource.into()), OverrideKind::Ban { node: node.into() });
        // A copy of a group stays where it is if any of its members is left alone.
        let unit = w.spec.clone_of(&resource.into()).map_or(resource.into(), |(clone, _)| clone.clone());
        let members = w.spec.primitives_of(&unit);
        let managed = members.iter().all(|member| w.spec.resources.get(*member).is_some_and(|r| r.managed));
        let lost = w.state.nodes.get(node).is_some_and(|n| n.membership == Membership::Suspect);
        for (instance, to) in assign(&w.spec, &w.state).placements {
            if managed && !lost && instance.resource.as_str() == resource {
                prop_assert!(to.is_none_or(|to| to.node.as_str() != node));
            }
        }
    }

    #[test]
    fn adding_a_ban_sends_nothing_to_the_banned_node(
        w in cluster(), resource in 0..7_usize, node in 0..4_usize, by_hand in any::<bool>(),
    ) {
        let (mut w, resource, node) = (w, NAMES[resource], NODES[node]);
        if !w.spec.resources.contains_key(resource) {
            return Ok(());
        }
        let there = |w: &World| -> Vec<InstanceId> {
            let placements = assign(&w.spec, &w.state).placements.into_iter();
            let here = placements.filter(|(_, to)| to.as_ref().is_some_and(|to| to.node.as_str() == node));
            here.map(|(instance, _)| instance).filter(|instance| instance.resource.as_str() == resource).collect()
        };
        let before = there(&w);
        match by_hand {
            true => _ = w.over(Scope::Resource(resource.into()), OverrideKind::Ban { node: node.into() }),
            false => _ = w.locate(resource, node, Strength::Forbidden, 1),
        }
        for instance in there(&w) {
            // What cannot be stopped stays.
            let stays = w.state.claims.keys().any(|key| key.instance == instance && key.node.as_str() == node);
            prop_assert!(before.contains(&instance) || stays, "{instance} goes to {node}, from which it is banned now");
        }
    }

    #[test]
    fn other_names_in_the_same_order_change_no_plan((nodes, resources, seeds) in dice()) {
        let shape = |called: &Names| {
            let mut w = build(called, nodes, resources, &seeds);
            let instance = |id: &InstanceId| (called.plain(id.resource.as_str()), id.number);
            let assignment = w.assign();
            let placed: Vec<_> = assignment.placements.iter().map(|(id, to)| {
                (instance(id), to.as_ref().map(|to| (called.plain(to.node.as_str()), to.role)))
            }).collect();
            let fenced: Vec<_> = assignment.fence.iter().map(|fence| called.plain(fence.node.as_str())).collect();
            w.commit();
            let graph = w.graph();
            let step = |step: &super::Step| {
                let kind = format!("{:?}", std::mem::discriminant(&step.kind));
                (kind, instance(&step.key.instance), called.plain(step.key.node.as_str()))
            };
            let steps: Vec<_> = graph.steps().map(step).collect();
            let edges: Vec<_> = graph.edges().into_iter().map(|(a, b)| (step(a), step(b))).collect();
            (placed, fenced, steps, edges)
        };
        prop_assert_eq!(shape(&PLAIN), shape(&OTHER));
    }

    #[test]
    fn what_why_tells_adds_up_to_the_score_that_decides(w in cluster()) {
        for name in w.spec.resources.keys().filter(|name| w.spec.clone_of(name).is_none()) {
            let world = super::instances::World::new(&w.spec, &w.state);
            let unit = world.unit_of[world.res_ids[name]];
            let placer = super::assign::solve(&world, &super::links::links(&world), Some(unit));
            let trace = placer.trace.unwrap();
            let told = super::explain(&w.spec, &w.state, name).unwrap();
            for (node, decided) in trace.total.iter().enumerate() {
                let told = &told.nodes[world.nodes[node].id];
                prop_assert_eq!(told.score, *decided, "{} on {}: {:?}", name, world.nodes[node].id, &told.contributions);
            }
        }
    }

    #[test]
    fn one_plan_starts_nothing_on_an_unclean_node(w in cluster()) {
        let outcome = super::transition(&w.spec, &w.state);
        for action in &outcome.actions {
            let to = action.to.as_ref().filter(|_| !action.blocked);
            let unclean = to.is_some_and(|to| w.state.nodes[to].membership == Membership::Suspect);
            prop_assert!(!unclean, "{action:?}");
        }
    }

    #[test]
    fn what_goes_with_another_is_assigned_beside_it_or_nowhere(w in cluster()) {
        let placements = assign(&w.spec, &w.state).placements;
        let nodes = |name: &ResourceId| -> Vec<NodeId> {
            let of = placements.iter().filter(|(instance, _)| &instance.resource == name);
            of.filter_map(|(_, to)| Some(to.as_ref()?.node.clone())).collect()
        };
        // What is there already, or was sent there before it was left alone, may have to stay.
        let fresh = |name: &ResourceId| {
            let sent = w.state.assignment.keys().any(|instance| &instance.resource == name);
            !sent && !w.state.claims.keys().any(|key| &key.instance.resource == name)
        };
        let pairs = w.spec.groups.values().flat_map(|group| group.members.windows(2));
        for pair in pairs.filter(|pair| fresh(&pair[1])) {
            for node in nodes(&pair[1]) {
                prop_assert!(nodes(&pair[0]).contains(&node), "{} on {node} without {}", pair[1], pair[0]);
            }
        }
        for order in w.spec.orders.values().filter(|order| order.strength == OrderStrength::Required) {
            let up = order.first.action == OrderAction::Start && order.then.action == OrderAction::Start;
            let plain = |end: &OrderEnd| w.spec.resources.contains_key(&end.resource);
            if up && order.or.is_empty() && plain(&order.first) && plain(&order.then) && fresh(&order.then.resource) {
                let (first, then) = (nodes(&order.first.resource), nodes(&order.then.resource));
                prop_assert!(then.is_empty() || !first.is_empty(), "{} without {}", order.then.resource, order.first.resource);
            }
        }
    }

    #[test]
    fn what_requires_a_place_is_never_assigned_elsewhere(w in cluster()) {
        let placements = assign(&w.spec, &w.state).placements;
        let plain = |name: &ResourceId| w.spec.clone_of(name).is_none() && w.spec.resources[name].managed;
        for c in w.spec.colocations.values().filter(|c| c.strength == Strength::Required) {
            let (what, with) = (&c.resource.resource, &c.with.resource);
            let pinned = [what, with].iter().any(|name| w.state.claims.iter().any(|(key, claim)| {
                &&key.instance.resource == name
                    && (claim.failure.is_some() || w.state.nodes[&key.node].membership != Membership::Online)
            }));
            if plain(what) && plain(with) && !pinned && let Some(Some(to)) = placements.get(&id(what.as_str())) {
                let there = placements.get(&id(with.as_str())).and_then(|to| to.as_ref()).map(|to| to.node.clone());
                prop_assert_eq!(Some(to.node.clone()), there);
            }
        }
    }
}

/// Not a benchmark: it fails when something became quadratic.
#[test]
fn a_large_cluster_is_planned_in_a_moment() {
    let nodes: Vec<String> = (0..16).map(|n| format!("n{n:02}")).collect();
    let names: Vec<String> = (0..1000).map(|n| format!("r{n:04}")).collect();
    let mut w = World::new(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
    w.resources(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (number, members) in names.chunks(4).enumerate() {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        w.group(&format!("g{number:03}"), &members);
        for member in members {
            w.runs(&[&format!("{member}@{}", nodes[number % 16])]);
        }
    }
    w.suspect("n00");
    let begun = std::time::Instant::now();
    w.commit();
    let assigned = begun.elapsed();
    let graph = w.graph();
    let ordered = begun.elapsed() - assigned;
    println!("assign {assigned:?}, order {ordered:?}, {} steps", graph.steps().count());
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    assert!(graph.steps().any(|step| step.kind == StepKind::Start));
}
