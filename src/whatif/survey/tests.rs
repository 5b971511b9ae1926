//! Losses, told and tried: by hand, and against brute force on random clusters.

use super::*;
use crate::model::scenario::Fault;
use crate::model::*;
use crate::plan::testing::World;
use crate::whatif::{Play, healthy};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn survive(w: &World, losses: usize) -> Survival {
    let state = healthy(&w.spec);
    survey(&w.spec, &state, &Terms::any(losses), &one_by_one).unwrap()
}

fn words(parts: &[Part]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
}

/// `node n1: a b; node n1 + device pdu-n1: c`.
fn told(survival: &Survival) -> String {
    let quorum = survival.without_quorum.iter().map(|lost| format!("{}: no quorum", words(lost)));
    let found = survival.found.iter().flat_map(|found| {
        let names: Vec<&str> = found.homeless.iter().map(|one| one.resource.as_str()).collect();
        std::iter::once(&found.lost).chain(&found.same).map(move |lost| format!("{}: {}", words(lost), names.join(" ")))
    });
    quorum.chain(found).collect::<Vec<_>>().join("; ")
}

#[test]
fn three_voters_survive_any_loss_but_of_two() {
    let mut w = World::new(&["n1", "n2", "n3"]);
    w.resources(&["a", "b"]);
    assert_eq!(told(&survive(&w, 1)), "");
    let two = "node n1 + node n2: no quorum; node n1 + node n3: no quorum; node n2 + node n3: no quorum; \
               node n1 + device pdu-n1: a; node n2 + device pdu-n2: b";
    assert_eq!(told(&survive(&w, 2)), two, "what a node ran that nothing proves off has no home");
}

#[test]
fn a_location_is_named_and_larger_losses_do_not_repeat_it() {
    let mut w = World::new(&["n1", "n2", "n3", "n4", "n5"]);
    w.resources(&["a", "b"]).locate("a", "n1", Strength::Required, 0);
    let one = survive(&w, 1);
    assert_eq!(told(&one), "node n1: a");
    let whys: Vec<&str> = one.found[0].homeless[0].bars.iter().map(|bar| bar.why.as_str()).collect();
    assert_eq!(whys.len(), 4, "{whys:?}");
    assert!(whys[0].contains("Location a-n1-0 keeps a off n2"), "{whys:?}");
    assert!(!told(&survive(&w, 2)).contains("node n1 + node n2: a"));
}

#[test]
fn racks_are_lost_as_one_and_the_quorum_is_a_finding_of_its_own() {
    let mut w = World::new(&["n1", "n2", "n3"]);
    w.resources(&["a"]);
    for (node, rack) in [("n1", "x"), ("n2", "x"), ("n3", "y")] {
        w.spec.nodes.get_mut(node).unwrap().labels.insert("rack".into(), rack.into());
    }
    assert_eq!(told(&survive(&w, 1)), "rack x: no quorum");
}

#[test]
fn nodes_with_one_address_fall_with_their_link() {
    let mut w = World::new(&["n1", "n2", "n3"]);
    w.resources(&["a"]);
    for (number, node) in w.spec.nodes.values_mut().enumerate() {
        node.addresses = vec![format!("10.0.0.{number}").parse().unwrap(), format!("10.0.1.{number}").parse().unwrap()];
    }
    w.spec.nodes.get_mut("n1").unwrap().addresses.truncate(1);
    assert_eq!(told(&survive(&w, 1)), "");
    assert!(told(&survive(&w, 2)).starts_with("node n1 + node n2: no quorum"));
    // Without its device the node that only link 0 reaches keeps what it ran.
    assert!(told(&survive(&w, 2)).contains("link 0 + device pdu-n1: a"), "{}", told(&survive(&w, 2)));
    assert!(told(&survive(&w, 2)).contains("link 0 + link 1: no quorum"));
}

#[test]
fn idle_nodes_are_tried_once() {
    let names: Vec<String> = (10..26).map(|number| format!("n{number}")).collect();
    let mut w = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    w.spec.nodes.values_mut().for_each(|node| node.labels.clear());
    w.resources(&["a"]);
    let survival = survive(&w, 2);
    // One of n10, one of the others, none, n10 and another, two others, and n10 unproven: beside it another is lost or not.
    assert_eq!(survival.losses, 32 + 32 * 31 / 2);
    assert!(survival.tried < 60, "{}", survival.tried);
    let mut k = w.clone();
    k.cloned("everywhere", "a");
    let survival = survive(&k, 1);
    assert_eq!((survival.tried, survival.survives()), (2, true), "a copy on every node: no node is special");
}

/// Small clusters in which much can go wrong.
fn cluster() -> impl Strategy<Value = World> {
    (2..=5_usize, 1..=6_usize, prop::collection::vec(any::<u16>(), 80)).prop_map(|(nodes, resources, seeds)| {
        let mut seeds = seeds.into_iter().cycle();
        let mut roll = move |sides: usize| seeds.next().unwrap_or(0) as usize % sides;
        let nodes = &["n1", "n2", "n3", "n4", "n5"][..nodes];
        let names = &["a", "b", "c", "d", "e", "f"][..resources];
        let mut w = World::new(nodes);
        w.resources(names);
        let capacity = roll(3) == 0;
        for (number, node) in w.spec.nodes.values_mut().enumerate() {
            node.labels.clear();
            if roll(2) == 0 {
                node.labels.insert("rack".into(), ["x", "y"][roll(2)].into());
            }
            if capacity {
                node.capacity = [("ram".to_owned(), 2 + roll(3) as i64)].into();
            }
            let address = |link: usize| format!("10.0.{link}.{number}").parse().unwrap();
            node.addresses = (0..1 + roll(2)).map(address).collect();
            match roll(6) {
                0 => node.fencing = vec![vec!["pdu-n1".into()]],
                1 => node.fencing.push(vec!["pdu-n1".into(), "pdu-n2".into()]),
                2 => node.role = NodeRole::Agent,
                _ => {}
            }
        }
        for name in names {
            if capacity {
                w.resource(name).utilization = [("ram".to_owned(), 1 + roll(2) as i64)].into();
            }
            w.resource(name).priority = roll(3) as i32;
        }
        if roll(2) == 0 && resources > 2 {
            w.group("g", &names[1..3]);
        }
        if roll(2) == 0 {
            let clone = w.cloned("c-a", "a");
            clone.max = [None, Some(2)][roll(2)];
            clone.promotable = (roll(2) == 0).then_some(Promotable { max: 1, per_node: 1 });
            clone.enough = [None, Some(2)][roll(2)];
        }
        for _ in 0..roll(4) {
            let (with, what) = (roll(resources), roll(resources));
            if with < what {
                let strength = [Strength::Required, Strength::Preferred, Strength::Avoid, Strength::Forbidden][roll(4)];
                w.colocate(names[what], names[with], strength, 1 + roll(500) as u32);
            }
        }
        for _ in 0..roll(3) {
            let (first, then) = (roll(resources), roll(resources));
            if first < then {
                w.order(names[first], names[then]);
            }
        }
        for _ in 0..roll(4) {
            let strength = [Strength::Required, Strength::Preferred, Strength::Forbidden][roll(3)];
            w.locate(names[roll(resources)], nodes[roll(nodes.len())], strength, 1 + roll(200) as u32);
        }
        w
    })
}

/// Every loss by itself, as a whole story: nothing is taken for equal, and every step is done.
fn brute_force(w: &World, losses: usize) -> BTreeSet<String> {
    let state = healthy(&w.spec);
    let plain = Survey::new(&w.spec, &state, &Terms::any(losses)).unwrap();
    let mut lacking: BTreeMap<Vec<usize>, Option<BTreeSet<ResourceId>>> = BTreeMap::new();
    let mut told = BTreeSet::new();
    for size in 1..=losses {
        for loss in combinations(plain.parts.len(), size) {
            let broken = plain.broken(&loss);
            let nodes = broken.nodes.into_iter().map(Fault::NodeDown);
            let devices = broken.devices.into_iter().map(Fault::DeviceDown);
            let links = broken.links.into_iter().map(Fault::LinkDown);
            let mut play = Play::new(&w.spec, state.clone());
            play.step(&devices.chain(links).chain(nodes).collect::<Vec<_>>());
            let end = play.end();
            let smaller: Vec<_> = within(&loss).map(|smaller| lacking[&smaller].clone()).collect();
            if !end.reach.quorum {
                if smaller.iter().all(Option::is_some) {
                    told.insert(format!("{}: no quorum", words(&plain.names(&loss))));
                }
                lacking.insert(loss, None);
                continue;
            }
            let all: BTreeSet<ResourceId> = end.homeless.into_iter().map(|one| one.resource).collect();
            let known = |resource: &&ResourceId| smaller.iter().flatten().any(|smaller| smaller.contains(*resource));
            let new: Vec<&str> = all.iter().filter(|resource| !known(resource)).map(|name| name.as_str()).collect();
            if !new.is_empty() {
                told.insert(format!("{}: {}", words(&plain.names(&loss)), new.join(" ")));
            }
            lacking.insert(loss, Some(all));
        }
    }
    told
}

/// `node n1: a b` as `node n1: 2`.
fn counted(told: &BTreeSet<String>) -> Vec<String> {
    let count = |one: &String| match one.split_once(": ") {
        Some((loss, names)) if names != "no quorum" => format!("{loss}: {}", names.split(' ').count()),
        _ => one.clone(),
    };
    told.iter().map(count).collect()
}

proptest! {
    // Always the same clusters, and how many lose their home: where several contend for the last room, who of them is left
    // without one can differ between one plan for a loss and a whole story of it.
    #![proptest_config(ProptestConfig {
        cases: 150,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(3),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_told_of_losses_is_what_whole_stories_come_to(w in cluster()) {
        let survival = survive(&w, 2);
        let told: BTreeSet<String> = told(&survival).split("; ").filter(|one| !one.is_empty()).map(str::to_owned).collect();
        prop_assert_eq!(counted(&told), counted(&brute_force(&w, 2)));
    }

    #[test]
    fn whatever_has_no_home_comes_with_a_reason(w in cluster()) {
        for found in survive(&w, 2).found {
            for one in found.homeless {
                prop_assert!(!one.bars.is_empty(), "{} without {}", one.resource, words(&found.lost));
            }
        }
    }
}
