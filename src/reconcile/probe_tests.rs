//! How a node goes through the probes of a large push.

use super::*;
use crate::model::{ActionKind, BootId, ExecStatus, LogIndex, Revision};
use crate::plan::testing::World;
use crate::state::port::Leadership;
use crate::state::target::spec_to_chunks;
use crate::state::{Entry, FEATURE_LEVEL};

const NOW: Duration = Duration::from_secs(1000);

fn incarnation(boot: &str) -> Incarnation {
    Incarnation { boot: BootId::new(boot), counter: 1 }
}

/// n1 and n2 have joined; a push has just added these resources. The state is as it is before any probe.
fn pushed(resources: &[String]) -> State {
    let names: Vec<&str> = resources.iter().map(String::as_str).collect();
    let mut world = World::new(&["n1", "n2"]);
    world.resources(&names);
    let (digest, chunks) = spec_to_chunks(&world.spec);
    let total = chunks.len() as u32;
    let mut commands: Vec<Command> =
        (0..).zip(chunks).map(|(number, bytes)| Command::SpecChunk { digest, number, total, bytes }).collect();
    commands.push(Command::SetTarget {
        revision: Revision::new("0".repeat(40)),
        parent: None,
        spec: digest,
        by: "ann".into(),
    });
    let facts = || JoinFacts {
        addresses: Vec::new(),
        port: 7470,
        version: "0".into(),
        feature_level: FEATURE_LEVEL,
        recipient: None,
    };
    let mut state = State::default();
    let mut joins = Vec::new();
    for (node, boot) in [("n1", "a"), ("n2", "b")] {
        state.admitted.insert(node.into(), crate::state::Admitted { addresses: Vec::new(), port: 7470 });
        joins.push(Command::Join { node: node.into(), incarnation: incarnation(boot), facts: facts() });
    }
    for (index, commands) in [(1, joins), (2, commands)] {
        let (answers, _) = state.apply(LogIndex(index), &Entry { at_ms: 0, commands });
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    state
}

/// A follower on a machine with two processors, and what it does about the push.
fn follower(state: &State) -> (Node, Vec<Effect>) {
    let facts = JoinFacts {
        addresses: Vec::new(),
        port: 7470,
        version: "0".into(),
        feature_level: FEATURE_LEVEL,
        recipient: None,
    };
    let mut node = Node::new(Config { node: "n2".into(), incarnation: incarnation("b"), facts, cores: 2 }, NOW);
    let leadership = Leadership {
        leader: Some("n1".into()),
        term: 1,
        voters: vec!["n1".into(), "n2".into()],
        ..Leadership::default()
    };
    node.step(NOW, 0, Event::Leadership(leadership));
    let effects = node.step(NOW, 0, Event::Committed(Arc::new(state.clone())));
    (node, effects)
}

fn begun(effects: &[Effect]) -> Vec<(OpId, String)> {
    let probes = effects.iter().filter_map(|effect| match effect {
        Effect::Run { op, request } if request.kind == ActionKind::Probe => Some((*op, request.instance.to_string())),
        _ => None,
    });
    probes.collect()
}

/// The resources of each entry that is proposed.
fn reported(effects: &[Effect]) -> Vec<(ProposalId, Vec<Command>)> {
    let entries = effects.iter().filter_map(|effect| match effect {
        Effect::Propose { id, commands, .. } => Some((*id, commands.clone())),
        _ => None,
    });
    entries.collect()
}

fn stopped(op: OpId) -> Event {
    let outcome = Outcome { status: ExecStatus::Exited(7), output: String::new(), duration: Duration::from_millis(10) };
    Event::Finished { op, outcome }
}

#[test]
fn a_large_push_is_probed_a_few_at_a_time_and_in_the_same_order_everywhere() {
    let names: Vec<String> = (10..60).map(|number| format!("r{number}")).collect();
    let (mut node, effects) = follower(&pushed(&names));
    let first = begun(&effects);
    assert_eq!(first.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["r10", "r11", "r12", "r13"]);
    let effects = node.step(NOW, 0, stopped(first[2].0));
    let next = begun(&effects);
    assert_eq!(next.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["r14"]);
}

#[test]
fn what_is_found_while_a_report_is_on_its_way_travels_together_in_the_next() {
    let names: Vec<String> = (10..60).map(|number| format!("r{number}")).collect();
    let mut state = pushed(&names);
    let (mut node, effects) = follower(&state);
    let first = begun(&effects);
    let entries = reported(&node.step(NOW, 0, stopped(first[0].0)));
    let [(id, commands)] = entries.as_slice() else { panic!("the first finding goes at once: {entries:?}") };
    assert_eq!(commands.len(), 1);
    for (op, _) in &first[1..] {
        assert!(reported(&node.step(NOW, 0, stopped(*op))).is_empty(), "one entry at a time");
    }
    let index = LogIndex(3);
    let (answers, _) = state.apply(index, &Entry { at_ms: 0, commands: commands.clone() });
    let mut effects = node.step(NOW, 0, Event::Committed(Arc::new(state)));
    effects.extend(node.step(NOW, 0, Event::Answered { id: *id, result: Ok(Applied { index, answers }) }));
    let entries = reported(&effects);
    let [(_, commands)] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(commands.len(), 3);
}

#[test]
fn a_report_that_was_lost_is_made_again_with_what_was_found_since() {
    let names: Vec<String> = (10..60).map(|number| format!("r{number}")).collect();
    let (mut node, effects) = follower(&pushed(&names));
    let first = begun(&effects);
    let entries = reported(&node.step(NOW, 0, stopped(first[0].0)));
    node.step(NOW, 0, stopped(first[1].0));
    let lost = Err(ProposeError::Unknown("no answer".into()));
    node.step(NOW, 0, Event::Answered { id: entries[0].0, result: lost });
    let wake = node.next_wake().expect("it tries again");
    let entries = reported(&node.step(wake, 0, Event::Tick));
    assert_eq!(entries.iter().map(|(_, commands)| commands.len()).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_boot_that_was_proven_off_is_not_woken_by_a_probe_that_it_will_not_repeat() {
    let mut state = pushed(&["db".into()]);
    let (mut node, effects) = follower(&state);
    let [(op, _)] = begun(&effects)[..] else { panic!("{effects:?}") };
    let (status, duration) = (ExecStatus::TimedOut, Duration::from_secs(20));
    node.step(NOW, 0, Event::Finished { op, outcome: Outcome { status, output: String::new(), duration } });
    assert!(node.next_wake().is_some_and(|at| at < NOW + Duration::from_secs(60)), "it is unsure, and tries again");
    state.nodes.get_mut("n2").unwrap().burnt.insert(BootId::new("b"));
    state.index.0 += 1;
    node.step(NOW, 0, Event::Committed(Arc::new(state)));
    let later = NOW + Duration::from_secs(120);
    node.step(later, 0, Event::Tick);
    assert!(node.next_wake().is_none_or(|at| at > later + Duration::from_secs(1)), "{:?}", node.next_wake());
}
