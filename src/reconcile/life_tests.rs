//! Restarts of daemons, and boots that live although they were proven off, as the leader and the victim see them.

use super::*;
use crate::model::{BootId, FencingAction, LogIndex};
use crate::state::{Attempt, Entry, FEATURE_LEVEL, FenceOutcome, Membership, OverrideKind, Refusal, Scope, SwitchOn};

use std::collections::BTreeMap;

const BEGAN: Duration = Duration::from_secs(1000);

fn incarnation(boot: &str) -> Incarnation {
    Incarnation { boot: BootId::new(boot), counter: 1 }
}

pub(super) fn facts() -> JoinFacts {
    JoinFacts { addresses: Vec::new(), port: 7470, version: "0".into(), feature_level: FEATURE_LEVEL, recipient: None }
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
    let contact = |boot: &str, age, echoed, heard| Contact {
        boot: BootId::new(boot),
        age,
        echoed,
        others: BTreeMap::new(),
        heard,
    };
    let peers = BTreeMap::from([
        (NodeId::new("n2"), contact("b", silent_for, echoed, BTreeMap::new())),
        (NodeId::new("n3"), contact("c", Duration::ZERO, None, heard)),
    ]);
    Contacts { sent, peers }
}

fn core(name: &str, boot: &str, state: State) -> Node {
    let config = Config { node: NodeId::new(name), incarnation: incarnation(boot), facts: facts(), cores: 2 };
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

/// When, ms after it began, n1 takes n2 for deaf, which says that it has heard only an earlier boot of n1, and n3 no more.
fn deaf_at(n3_is_heard: bool) -> Vec<u64> {
    let lost = |boot: &str| (Some(BootId::new(boot)), Duration::from_secs(60));
    let heard = BTreeMap::from([(NodeId::new("n1"), lost("earlier")), (NodeId::new("n3"), lost("c"))]);
    let (boot, others) = (BootId::new("b"), BTreeMap::new());
    let n2 = Contact { boot, age: Duration::ZERO, echoed: None, others, heard };
    let age = if n3_is_heard { Duration::ZERO } else { Duration::from_secs(60) };
    let n3 = Contact { boot: BootId::new("c"), age, heard: BTreeMap::new(), ..n2.clone() };
    let contacts = Contacts { sent: 5, peers: BTreeMap::from([(NodeId::new("n2"), n2), (NodeId::new("n3"), n3)]) };
    let mut leader = core("n1", "a", three_nodes());
    let mut open: Vec<ProposalId> = (1..10).map(ProposalId).collect();
    let mut says = |ms: &u64| {
        let at = BEGAN + Duration::from_millis(*ms);
        // What was asked before is answered, and does nothing.
        let answers = std::mem::take(&mut open).into_iter().map(|id| {
            let result = Ok(Applied { index: LogIndex(0), answers: Vec::new() });
            Event::Answered { id, result }
        });
        let effects = leader.step_all(at, 0, answers.chain([Event::Contacts(contacts.clone())]).collect::<Vec<_>>());
        let ids = effects.iter().filter_map(|effect| match effect {
            Effect::Propose { id, .. } => Some(*id),
            _ => None,
        });
        open = ids.collect();
        let suspect = |command: &Command| matches!(command, Command::Suspect { node, .. } if node.as_str() == "n2");
        proposed(&effects).iter().any(suspect)
    };
    (200..3_000).step_by(200).filter(|ms| says(ms)).collect()
}

#[test]
fn who_has_heard_only_the_earlier_boot_of_a_new_leader_is_not_deaf_yet() {
    let first = deaf_at(true).first().copied();
    // The leader has hardly begun until 1.5 s; and what is said first may be of the past.
    assert!(first.is_some_and(|ms| ms >= 2_200), "{first:?}");
}

#[test]
fn nobody_is_deaf_on_whom_the_quorum_rests() {
    assert_eq!(deaf_at(false), [] as [u64; 0]);
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

/// Committed after the next daemon had joined, it would keep the node empty for good.
#[test]
fn a_daemon_takes_back_the_late_word_of_the_one_before_that_the_node_goes_down() {
    let mut state = three_nodes();
    let (scope, kind) = (Scope::Node("n2".into()), OverrideKind::Shutdown);
    let (by, reason) = ("n2".into(), "the node goes down".into());
    apply(&mut state, Command::SetOverride { scope, kind, by, reason, expires_ms: None });
    let config = || Config { node: NodeId::new("n2"), incarnation: incarnation("b"), facts: facts(), cores: 2 };
    let state = Arc::new(state);
    let takes_back = |effects: &[Effect]| proposed(effects).iter().any(|c| matches!(c, Command::ClearOverride { .. }));
    let mut node = Node::new(config(), BEGAN);
    assert!(takes_back(&node.step(BEGAN, 0, Event::Committed(Arc::clone(&state)))));
    let mut leaving = Node::new(config(), BEGAN);
    leaving.step(BEGAN, 0, Event::Stop);
    assert!(!takes_back(&leaving.step(BEGAN, 0, Event::Committed(state))), "its own word stays");
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

#[test]
fn a_loop_that_stood_still_suspects_nobody_until_it_has_listened_again() {
    let suspected_after = |gap: Duration| {
        let mut leader = core("n1", "a", three_nodes());
        let mut now = BEGAN;
        let mut silent_for = Duration::from_secs(3);
        for pause in std::iter::once(gap).chain(std::iter::repeat_n(LONGEST_REST, 12)) {
            now += pause;
            silent_for += pause;
            // What the leader proposed before is answered; it goes on with what is still to be proposed.
            for id in (1..100).map(ProposalId) {
                let result = Ok(Applied { index: LogIndex(0), answers: Vec::new() });
                let effects = leader.step(now, 0, Event::Answered { id, result });
                if proposed(&effects).iter().any(|command| matches!(command, Command::Suspect { .. })) {
                    return Some(now - BEGAN - gap);
                }
            }
            let effects = leader.step(now, 0, Event::Contacts(contacts(silent_for, 5, None)));
            if proposed(&effects).iter().any(|command| matches!(command, Command::Suspect { .. })) {
                return Some(now - BEGAN - gap);
            }
        }
        None
    };
    assert_eq!(suspected_after(LONGEST_REST), Some(Duration::ZERO), "that is a rest");
    assert_eq!(suspected_after(LONGEST_REST + Duration::from_millis(300)), Some(Duration::ZERO), "and a busy machine");
    for stall in [700, 1000, 5000] {
        let after = suspected_after(Duration::from_millis(stall)).expect("it suspects at last");
        assert!(after >= crate::model::Detection::DEFAULT.suspect_after, "{stall} ms: {after:?}");
    }
}

/// What the leader, which has listened for a while, says of reboots when it hears n2 so.
fn rebooted(leader: &mut Node, contact: Contact, others: Contact) -> Vec<Command> {
    let peers = BTreeMap::from([(NodeId::new("n2"), contact), (NodeId::new("n3"), others)]);
    let open: Vec<ProposalId> = (1..100).map(ProposalId).collect();
    for id in open {
        let result = Ok(Applied { index: LogIndex(0), answers: Vec::new() });
        leader.step(BEGAN, 0, Event::Answered { id, result });
    }
    let mut effects = Vec::new();
    for (millis, sent) in [(300, 5), (600, 8)] {
        let contacts = Contacts { sent, peers: peers.clone() };
        effects = leader.step(BEGAN + Duration::from_millis(millis), 0, Event::Contacts(contacts));
        assert!(millis > 500 || proposed(&effects).iter().all(|c| !matches!(c, Command::Rebooted { .. })), "too early");
    }
    proposed(&effects).into_iter().filter(|command| matches!(command, Command::Rebooted { .. })).collect()
}

#[test]
fn a_boot_is_over_when_another_one_answers_and_nobody_hears_the_old_one() {
    let gone = Duration::from_secs(5);
    let new = |old_age: Option<Duration>, echoed| Contact {
        boot: BootId::new("b2"),
        age: Duration::ZERO,
        echoed,
        others: old_age.map(|age| (BootId::new("b"), age)).into_iter().collect(),
        heard: BTreeMap::new(),
    };
    let n3 = |heard: &str, age| Contact {
        boot: BootId::new("c"),
        age: Duration::ZERO,
        echoed: Some(3),
        others: BTreeMap::new(),
        heard: BTreeMap::from([(NodeId::new("n2"), (Some(BootId::new(heard)), age))]),
    };
    let quiet = || n3("b2", Duration::ZERO);
    let ask = |contact, others| rebooted(&mut core("n1", "a", three_nodes()), contact, others).len();
    assert_eq!(ask(new(Some(gone), Some(6)), quiet()), 1, "a reboot");
    assert_eq!(ask(new(None, Some(6)), quiet()), 1, "a leader that never heard the old one");
    assert_eq!(ask(new(Some(Duration::from_millis(900)), Some(6)), quiet()), 0, "the old one was heard just now");
    assert_eq!(ask(new(Some(gone), Some(6)), n3("b", Duration::from_millis(100))), 0, "another voter hears it");
    assert_eq!(ask(new(Some(gone), None), quiet()), 0, "what answers nothing may be a recording");
    let late = "it was alive before the other one joined: its last words were long on their way";
    assert_eq!(ask(new(None, Some(5)), quiet()), 0, "{late}");
}

#[test]
fn two_live_machines_of_one_name_are_told_to_operators() {
    let mut leader = core("n1", "a", three_nodes());
    let twin = Contact {
        boot: BootId::new("b2"),
        age: Duration::ZERO,
        echoed: Some(3),
        others: BTreeMap::from([(BootId::new("b"), Duration::from_millis(50))]),
        heard: BTreeMap::new(),
    };
    leader.step(BEGAN, 0, Event::Contacts(Contacts { sent: 5, peers: BTreeMap::from([(NodeId::new("n2"), twin)]) }));
    assert_eq!(leader.troubles(), ["two machines have the identity of n2: boots b2 and b are heard"]);
}

#[test]
fn a_joiner_that_is_kept_out_by_its_old_boot_says_so_after_a_while() {
    let mut node = core("n2", "b2", three_nodes());
    let refusal = Refusal::OldBootCounts { node: "n2".into(), boot: BootId::new("b") };
    let answer = |id| Event::Answered {
        id: ProposalId(id),
        result: Ok(Applied { index: LogIndex(0), answers: vec![Err(refusal.clone())] }),
    };
    node.step(BEGAN, 0, answer(1));
    assert!(node.troubles().is_empty(), "a fast reboot meets its own echo");
    node.step(BEGAN + Duration::from_secs(11), 0, Event::Tick);
    let told = node.troubles();
    assert!(told[0].contains("another machine with the identity of n2 is alive (boot b)"), "{told:?}");
}

#[test]
fn a_daemon_that_starts_on_a_burnt_boot_looks_around_and_names_what_it_may_not_touch() {
    let mut w = crate::plan::testing::World::new(&["n1", "n2"]);
    w.resources(&["db", "web"]);
    let (digest, chunks) = crate::state::target::spec_to_chunks(&w.spec);
    let mut state = three_nodes();
    for (number, bytes) in chunks.iter().enumerate() {
        let (number, total, bytes) = (number as u32, chunks.len() as u32, bytes.clone());
        apply(&mut state, Command::SpecChunk { digest, number, total, bytes });
    }
    let revision = crate::model::Revision::new("a".repeat(40));
    apply(&mut state, Command::SetTarget { revision, parent: None, spec: digest, by: "ann".into() });
    let member = state.nodes.get_mut(&NodeId::new("n2")).unwrap();
    member.burnt.insert(BootId::new("b"));
    member.membership = Membership::Fenced;
    let config = Config { node: NodeId::new("n2"), incarnation: incarnation("b"), facts: facts(), cores: 2 };
    let mut node = Node::new(config, BEGAN);
    let effects = node.step(BEGAN, 0, Event::Committed(Arc::new(state)));
    let probes: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Run { op, request } => Some((*op, request.kind, request.instance.to_string())),
            _ => None,
        })
        .collect();
    assert_eq!(probes.len(), 2, "{effects:?}");
    assert!(probes.iter().all(|(_, kind, _)| *kind == crate::model::ActionKind::Probe), "nothing is stopped blindly");
    let mut noted = Vec::new();
    for (op, _, name) in probes {
        let status = crate::model::ExecStatus::Exited(if name == "db" { 0 } else { 7 });
        let outcome = Outcome { status, output: String::new(), duration: Duration::ZERO };
        noted.extend(node.step(BEGAN, 0, Event::Finished { op, outcome }));
    }
    assert_eq!(proposed(&noted), [], "nobody would listen");
    let named = |effect: &Effect| match effect {
        Effect::Note { key, .. } => key.as_ref().map(|key| key.instance.to_string()),
        _ => None,
    };
    assert_eq!(noted.iter().filter_map(named).collect::<Vec<_>>(), ["db"]);
    let told = node.troubles();
    assert!(told[0].contains("reboot n2") && told[0].contains("not touched: db)"), "{told:?}");
}

#[test]
fn a_start_that_an_earlier_daemon_began_waits_for_what_it_rests_on() {
    use crate::model::{ActionKind, Digest, Role};
    use crate::plan::testing::{self, World, id, key};
    use crate::state::Phase;
    let mut w = World::new(&["n1", "n2"]);
    w.resources(&["a", "b"]).runs(&["a@n1"]).order("a", "b");
    w.claim("b@n2", Phase::Starting, Role::Started).after = vec![id("a")];
    w.probe_all().assigned("a@n1", Role::Started).assigned("b@n2", Role::Started);
    let started = |phase| {
        let mut state = w.state.clone();
        state.claims.get_mut(&key("a@n1")).unwrap().phase = phase;
        state.specs.insert(Digest::default(), Arc::new(w.spec.clone()));
        let (revision, by) = (crate::model::Revision::new("a".repeat(40)), "ann".into());
        let target =
            crate::state::Target { revision, spec: Digest::default(), accepted_at: state.index, accepted_ms: 0, by };
        state.target = Some(target);
        let config = Config { node: "n2".into(), incarnation: testing::incarnation("n2"), facts: facts(), cores: 2 };
        let mut node = Node::new(config, BEGAN);
        let effects = node.step(BEGAN, 0, Event::Committed(Arc::new(state)));
        let start =
            |effect: &Effect| matches!(effect, Effect::Run { request, .. } if request.kind == ActionKind::Start);
        effects.iter().any(start)
    };
    assert!(started(Phase::Running));
    assert!(!started(Phase::Stopping), "it was stopped by a node that was alone");
}

#[test]
fn a_voter_that_was_just_added_costs_no_quorum_before_it_could_be_heard() {
    let mut node = core("n1", "a", three_nodes());
    let led = |voters: &[&str]| {
        let voters = voters.iter().map(|name| NodeId::new(*name)).collect();
        Event::Leadership(Leadership {
            is_self: true,
            term: 1,
            leader: Some("n1".into()),
            voters,
            ..Default::default()
        })
    };
    let mut now = BEGAN;
    let mut pass = |node: &mut Node, voters: &[&str], ms: u64| {
        for _ in 0..ms / 100 {
            now += Duration::from_millis(100);
            node.step_all(now, 0, [led(voters), Event::Contacts(Contacts::default())]);
        }
        node.is_isolated()
    };
    assert!(!pass(&mut node, &["n1"], 5_000), "it is all of them");
    assert!(!pass(&mut node, &["n1", "n2"], 1_400), "the new one has not had the time");
    assert!(pass(&mut node, &["n1", "n2"], 400), "it is not heard at all");
    assert!(pass(&mut node, &["n1", "n2", "n3"], 400), "what is lost is not back because another one is added");
}

#[test]
fn an_attempt_of_which_git_took_a_device_away_fails_and_switches_nothing() {
    use crate::plan::testing::{self, World};
    let fenced = |more: &[&str]| {
        let mut w = World::new(&["n1", "n2", "n3"]);
        w.suspect("n2");
        w.attempt("n2", 0, "n1").devices.extend(more.iter().map(|name| (*name).into()));
        let config = Config { node: "n1".into(), incarnation: testing::incarnation("n1"), facts: facts(), cores: 2 };
        let effects = Node::new(config, BEGAN).step(BEGAN, 0, Event::Committed(Arc::new(w.state.clone())));
        let failed = |command: &Command| matches!(command, Command::FenceResult { outcome: FenceOutcome::Failed(why), .. } if why.contains("other"));
        let switched = effects.iter().any(|effect| matches!(effect, Effect::Fence { .. }));
        (switched, proposed(&effects).iter().any(failed))
    };
    assert_eq!(fenced(&[]), (true, false));
    assert_eq!(fenced(&["other"]), (false, true), "a machine may have another supply");
}
