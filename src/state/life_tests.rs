//! Restarts of daemons, and boots that live although they were proven off.

use super::*;
use crate::model::{BootId, FencingAction};

fn incarnation(boot: &str, counter: u64) -> Incarnation {
    Incarnation { boot: BootId::new(boot), counter }
}

fn facts() -> JoinFacts {
    JoinFacts { addresses: Vec::new(), port: 7470, version: "0".into(), feature_level: FEATURE_LEVEL, recipient: None }
}

fn apply(state: &mut State, command: Command) -> Result<(), Refusal> {
    let index = LogIndex(state.index.0 + 1);
    let (mut answers, _) = state.apply(index, &Entry { at_ms: 0, commands: vec![command] });
    answers.remove(0)
}

fn join(state: &mut State, node: &str, boot: &str, counter: u64) -> Result<(), Refusal> {
    state.admitted.entry(node.into()).or_insert(Admitted { addresses: Vec::new(), port: 7443 });
    let command = Command::Join { node: NodeId::new(node), incarnation: incarnation(boot, counter), facts: facts() };
    apply(state, command)
}

/// n1 leads, n2 has joined.
fn two_nodes() -> State {
    let mut state = State::default();
    join(&mut state, "n1", "a", 1).unwrap();
    join(&mut state, "n2", "b", 1).unwrap();
    let start = Command::LeaderStart { node: NodeId::new("n1"), incarnation: incarnation("a", 1), term: 1 };
    apply(&mut state, start).unwrap();
    state
}

/// As `two_nodes`, with the boot `b` of n2 proven off by somebody's word.
fn one_declared_off() -> State {
    let mut state = two_nodes();
    let (node, boot) = (NodeId::new("n2"), BootId::new("b"));
    let leader = incarnation("a", 1);
    let suspect = Command::Suspect { leader, node: node.clone(), boot: boot.clone(), reason: "silent".into() };
    apply(&mut state, suspect).unwrap();
    apply(&mut state, Command::ConfirmOff { node, boot, by: "me".into(), reason: "I saw it".into() }).unwrap();
    state
}

/// The leader hears boot `b` of n2 no more.
fn rebooted(state: &mut State) {
    let command = Command::Rebooted { leader: incarnation("a", 1), node: NodeId::new("n2"), boot: BootId::new("b") };
    apply(state, command).unwrap();
}

fn contradict(state: &mut State) -> Result<(), Refusal> {
    let command =
        Command::Contradiction { leader: incarnation("a", 1), node: NodeId::new("n2"), boot: BootId::new("b") };
    apply(state, command)
}

#[test]
fn a_restart_is_announced_by_its_own_daemon_and_over_with_the_next_one() {
    let mut state = two_nodes();
    let node = NodeId::new("n2");
    let restarting = |counter| Command::Restarting { node: node.clone(), incarnation: incarnation("b", counter) };
    assert!(apply(&mut state, restarting(2)).is_err());
    apply(&mut state, restarting(1)).unwrap();
    assert!(state.nodes[&node].restarting);
    assert_eq!(apply(&mut state, restarting(1)), Err(Refusal::NothingToDo));
    join(&mut state, "n2", "b", 2).unwrap();
    assert!(!state.nodes[&node].restarting);
    // A word of the old daemon that was late.
    assert!(apply(&mut state, restarting(1)).is_err());
    assert!(!state.nodes[&node].restarting);
}

#[test]
fn an_announced_restart_does_not_survive_the_proof_that_the_boot_is_off() {
    let mut state = two_nodes();
    let node = NodeId::new("n2");
    apply(&mut state, Command::Restarting { node: node.clone(), incarnation: incarnation("b", 1) }).unwrap();
    rebooted(&mut state);
    join(&mut state, "n2", "c", 1).unwrap();
    assert!(!state.nodes[&node].restarting);
}

#[test]
fn a_burnt_boot_that_lives_counts_as_running_anything_again() {
    let mut state = one_declared_off();
    let node = NodeId::new("n2");
    assert_eq!(state.nodes[&node].membership, Membership::Fenced);
    contradict(&mut state).unwrap();
    assert_eq!(state.nodes[&node].membership, Membership::Suspect);
    assert_eq!(state.alarms.len(), 1, "{:?}", state.alarms);
    assert_eq!(contradict(&mut state), Err(Refusal::NothingToDo));
    // It is heard, and still no friend.
    let number = state.nodes[&node].last_suspicion;
    let clear = Command::Clear { leader: incarnation("a", 1), node: node.clone(), boot: BootId::new("b"), number };
    assert!(matches!(apply(&mut state, clear), Err(Refusal::BurntBoot { .. })));
    assert!(matches!(join(&mut state, "n2", "b", 2), Err(Refusal::BurntBoot { .. })));
    assert!(matches!(join(&mut state, "n2", "c", 1), Err(Refusal::OldBootCounts { .. })), "it lives");
    rebooted(&mut state);
    join(&mut state, "n2", "c", 1).unwrap();
    assert_eq!(state.nodes[&node].membership, Membership::Online);
    assert_eq!(contradict(&mut state), Err(Refusal::NothingToDo));
}

#[test]
fn a_second_contradiction_of_the_same_boot_raises_no_second_alarm() {
    let mut state = one_declared_off();
    contradict(&mut state).unwrap();
    let off = Command::ConfirmOff {
        node: NodeId::new("n2"),
        boot: BootId::new("b"),
        by: "me".into(),
        reason: "now really".into(),
    };
    apply(&mut state, off).unwrap();
    contradict(&mut state).unwrap();
    assert_eq!(state.alarms.len(), 1, "{:?}", state.alarms);
}

#[test]
fn the_level_that_lied_is_trusted_no_more() {
    let mut state = one_declared_off();
    let node = NodeId::new("n2");
    let attempt = Attempt {
        node: node.clone(),
        boot: BootId::new("b"),
        level: 0,
        devices: Vec::new(),
        executor: incarnation("a", 1),
        executor_node: NodeId::new("n1"),
        action: FencingAction::Off,
        started_ms: 0,
        deadline_ms: 0,
        reason: String::new(),
        outcome: Some(FenceOutcome::Off),
        ended_ms: 0,
        on: SwitchOn::NotWanted,
    };
    state.attempts.insert(AttemptId(1), attempt);
    let key = |level| TrustKey { node: node.clone(), level, digest: Digest::of(b"pdu") };
    for level in [0, 1] {
        state.trust.insert(key(level), Trust { by: "me".into(), reason: String::new(), at_ms: 0 });
    }
    contradict(&mut state).unwrap();
    assert!(!state.trust.contains_key(&key(0)));
    assert!(state.trust.contains_key(&key(1)), "the other level said nothing wrong");
}

#[test]
fn a_contradiction_is_the_leaders_word() {
    let mut state = one_declared_off();
    let command =
        Command::Contradiction { leader: incarnation("z", 1), node: NodeId::new("n2"), boot: BootId::new("b") };
    assert_eq!(apply(&mut state, command), Err(Refusal::NotLeader));
}
