//! Restarts of daemons, and boots that live although they were proven off, as the leader and the victim see them.

use super::*;
use crate::model::{BootId, FencingAction, LogIndex};
use crate::state::{Attempt, Entry, FEATURE_LEVEL, FenceOutcome, Membership, Refusal, SwitchOn};

use std::collections::BTreeMap;

const BEGAN: Duration = Duration::from_secs(1000);

fn incarnation(boot: &str) -> Incarnation {
    Incarnation { boot: BootId::new(boot), counter: 1 }
}

fn facts() -> JoinFacts {
    JoinFacts { addresses: Vec::new(), port: 7470, version: "0".into(), feature_level: FEATURE_LEVEL }
}

fn apply(state: &mut State, command: Command) {
    let index = LogIndex(state.index.0 + 1);
    let (answers, _) = state.apply(index, &Entry { at_ms: 0, commands: vec![command] });
    assert_eq!(answers, vec![Ok::<(), Refusal>(())]);
}

/// n1 leads; n2 and n3 have joined.
fn three_nodes() -> State {
    let mut state = State::default();
    for (node, boot) in [("n1", "a"), ("n2", "b"), ("n3", "c")] {
        let admitted = crate::state::Admitted { addresses: Vec::new(), port: 7470 };
        state.admitted.insert(node.into(), admitted);
        apply(&mut state, Command::Join { node: NodeId::new(node), incarnation: incarnation(boot), facts: facts() });
    }
    apply(&mut state, Command::LeaderStart { node: NodeId::new("n1"), incarnation: incarnation("a"), term: 1 });
    apply(&mut state, Command::Tick { leader: incarnation("a"), elapsed_ms: 0, wall_ms: 1 });
    apply(&mut state, Command::RaiseLevel { level: FEATURE_LEVEL });
    state
}

/// n2 is silent to everybody, n3 is not.
fn contacts(silent_for: Duration, sent: u64, echoed: Option<u64>) -> Contacts {
    let heard = BTreeMap::from([(NodeId::new("n2"), (Some(BootId::new("b")), silent_for))]);
    let contact = |boot: &str, age, echoed, heard| Contact { boot: BootId::new(boot), age, echoed, heard };
    let peers = BTreeMap::from([
        (NodeId::new("n2"), contact("b", silent_for, echoed, BTreeMap::new())),
        (NodeId::new("n3"), contact("c", Duration::ZERO, None, heard)),
    ]);
    Contacts { sent, peers }
}

fn core(name: &str, boot: &str, state: State) -> Node {
    let config = Config { node: NodeId::new(name), incarnation: incarnation(boot), facts: facts() };
    let mut node = Node::new(config, BEGAN);
    node.step(BEGAN, 0, Event::Committed(Arc::new(state)));
    let leadership = Leadership {
        is_self: name == "n1",
        term: 1,
        leader: Some(NodeId::new("n1")),
        voters: ["n1", "n2", "n3"].map(NodeId::new).into(),
        ..Leadership::default()
    };
    node.step(BEGAN, 0, Event::Leadership(leadership));
    node
}

fn proposed(effects: &[Effect]) -> Vec<Command> {
    let commands = effects.iter().filter_map(|effect| match effect {
        Effect::Propose { commands, .. } => Some(commands.clone()),
        _ => None,
    });
    commands.flatten().collect()
}

/// What the leader proposes about n2 when it hears this; the answers to earlier proposals are in.
fn says(node: &mut Node, contacts: Contacts) -> Vec<Command> {
    let open: Vec<ProposalId> = (1..100).map(ProposalId).collect();
    for id in open {
        let result = Ok(Applied { index: LogIndex(0), answers: Vec::new() });
        node.step(BEGAN, 0, Event::Answered { id, result });
    }
    let effects = node.step(BEGAN + Duration::from_millis(300), 0, Event::Contacts(contacts));
    let about = |command: &Command| matches!(command, Command::Suspect { .. } | Command::Contradiction { .. });
    proposed(&effects).into_iter().filter(about).collect()
}

#[test]
fn a_daemon_that_said_it_restarts_may_be_silent_for_longer() {
    let quiet = contacts(Duration::from_secs(3), 5, None);
    let mut leader = core("n1", "a", three_nodes());
    assert!(matches!(says(&mut leader, quiet.clone()).as_slice(), [Command::Suspect { .. }]));

    let mut state = three_nodes();
    apply(&mut state, Command::Restarting { node: NodeId::new("n2"), incarnation: incarnation("b") });
    let mut leader = core("n1", "a", state.clone());
    assert_eq!(says(&mut leader, quiet), []);
    let mut leader = core("n1", "a", state);
    let gone = contacts(Duration::from_secs(11), 5, None);
    assert!(matches!(says(&mut leader, gone).as_slice(), [Command::Suspect { .. }]), "for longer, not for ever");
}

#[test]
fn only_an_answer_to_something_sent_after_the_proof_contradicts_it() {
    let mut state = three_nodes();
    let (node, boot) = (NodeId::new("n2"), BootId::new("b"));
    let leader = incarnation("a");
    apply(&mut state, Command::Suspect { leader, node: node.clone(), boot: boot.clone(), reason: String::new() });
    apply(&mut state, Command::ConfirmOff { node, boot, by: "me".into(), reason: "seen".into() });
    assert_eq!(state.nodes[&NodeId::new("n2")].membership, Membership::Fenced);
    let mut leader = core("n1", "a", state);
    // Beat 5 was sent before the proof; its echo was under way.
    assert_eq!(says(&mut leader, contacts(Duration::ZERO, 5, Some(4))), []);
    assert_eq!(says(&mut leader, contacts(Duration::ZERO, 7, Some(5))), []);
    let answered = says(&mut leader, contacts(Duration::ZERO, 8, Some(6)));
    assert!(matches!(answered.as_slice(), [Command::Contradiction { .. }]), "{answered:?}");
}

#[test]
fn a_daemon_that_is_to_end_tells_first_and_is_not_kept_by_a_silent_log() {
    let mut node = core("n2", "b", three_nodes());
    let told = proposed(&node.step(BEGAN, 0, Event::Restart));
    assert!(told.iter().any(|command| matches!(command, Command::Restarting { .. })), "{told:?}");
    let later = node.step(BEGAN + Duration::from_secs(2), 0, Event::Tick);
    assert!(later.iter().any(|effect| matches!(effect, Effect::Exit { clean: false })), "{later:?}");
}

#[test]
fn a_burnt_boot_proposes_nothing() {
    let mut state = three_nodes();
    let node = state.nodes.get_mut(&NodeId::new("n2")).unwrap();
    node.burnt.insert(BootId::new("b"));
    node.membership = Membership::Fenced;
    let mut victim = core("n2", "b", state.clone());
    assert_eq!(proposed(&victim.step(BEGAN, 0, Event::Contacts(contacts(Duration::ZERO, 1, None)))), []);
    let mut burnt_leader = core("n1", "a", {
        state.nodes.get_mut(&NodeId::new("n1")).unwrap().burnt.insert(BootId::new("a"));
        state
    });
    assert_eq!(says(&mut burnt_leader, contacts(Duration::from_secs(9), 1, None)), []);
}

#[test]
fn an_executor_whose_answer_was_lost_with_the_fenced_leader_still_switches_the_node_on() {
    let id = AttemptId(1);
    let attempt = |outcome: Option<FenceOutcome>, on| Attempt {
        node: NodeId::new("n1"),
        boot: BootId::new("a"),
        level: 0,
        devices: Vec::new(),
        executor: incarnation("c"),
        executor_node: NodeId::new("n3"),
        action: FencingAction::Reboot,
        started_ms: 0,
        deadline_ms: 60_000,
        reason: "test".into(),
        outcome,
        ended_ms: 0,
        on,
    };
    let mut state = three_nodes();
    state.attempts.insert(id, attempt(None, SwitchOn::NotWanted));
    let mut node = core("n3", "c", state.clone());
    let effects = node.step(BEGAN, 0, Event::Fenced { attempt: id, outcome: FenceOutcome::Off });
    let reports = effects.iter().find_map(|effect| match effect {
        Effect::Propose { id, commands, .. } if commands.iter().any(|c| matches!(c, Command::FenceResult { .. })) => {
            Some(*id)
        }
        _ => None,
    });
    let proposal = reports.expect("the result is proposed");
    // It was committed, and who would have said so is off.
    state.index = LogIndex(state.index.0 + 1);
    state.attempts.insert(id, attempt(Some(FenceOutcome::Off), SwitchOn::Wanted));
    let mut effects = node.step(BEGAN, 0, Event::Committed(Arc::new(state)));
    let lost = Err(ProposeError::Unknown("no answer".into()));
    effects.extend(node.step(BEGAN, 0, Event::Answered { id: proposal, result: lost }));
    let switched = effects.iter().any(|effect| matches!(effect, Effect::SwitchOn { attempt, .. } if *attempt == id));
    assert!(switched, "{effects:?}");
}
