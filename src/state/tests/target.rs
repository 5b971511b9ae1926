//! Specs in chunks, and the target.

use super::*;
use crate::state::target::CHUNK_BYTES;

#[test]
fn a_target_names_the_parent_it_was_checked_against() {
    let mut case = Case::new();
    let spec = case.state.target.as_ref().unwrap().spec;
    let set = |revision: &str, parent: Option<&str>| Command::SetTarget {
        revision: revision.into(),
        parent: parent.map(Revision::from),
        spec,
        by: "ann".into(),
    };
    assert!(matches!(case.ask(set("2", None)), Err(Refusal::TargetMoved { .. })));
    assert!(matches!(case.ask(set("2", Some("0"))), Err(Refusal::TargetMoved { .. })));
    case.ok(set("1", Some("0")));
    case.ok(set("2", Some("1")));
    assert_eq!(case.state.last_good.as_ref().unwrap().revision.as_str(), "1");
}

#[test]
fn a_spec_must_be_complete_and_be_what_its_digest_says() {
    let mut case = Case::new();
    case.world.resource("db").priority = 7;
    // What the pusher was shown is what the nodes plan with: nothing of a spec stays behind.
    case.world.resource("db").rank = 9;
    case.world.spec.clones.get_mut("ms").unwrap().enough = Some(1);
    let (digest, chunks) = spec_to_chunks(&case.world.spec);
    let bytes = chunks.concat();
    let (a, b) = bytes.split_at(bytes.len() / 2);
    let chunk = |number, total, bytes: &[u8]| Command::SpecChunk { digest, number, total, bytes: bytes.to_vec() };
    let set = Command::SetTarget { revision: "2".into(), parent: Some("1".into()), spec: digest, by: "ann".into() };
    assert_eq!(case.ask(set.clone()), Err(Refusal::IncompleteSpec { digest }));
    case.ok(chunk(1, 2, b));
    assert_eq!(case.ask(set.clone()), Err(Refusal::IncompleteSpec { digest }));
    assert!(matches!(case.ask(chunk(0, 3, a)), Err(Refusal::BadSpec { .. })));
    case.ok(chunk(0, 2, b"rubbish"));
    assert!(matches!(case.ask(set.clone()), Err(Refusal::BadSpec { .. })));
    case.ok(chunk(0, 2, a));
    case.ok(set);
    assert_eq!(**case.state.spec().unwrap(), case.world.spec);
    assert!(case.state.uploads.is_empty());
}

#[test]
fn chunks_and_uploads_are_bounded() {
    let mut case = Case::new();
    let chunk =
        |digest: Digest, number, total, size| Command::SpecChunk { digest, number, total, bytes: vec![0; size] };
    let digest = Digest::of(b"x");
    for (number, total, size) in [(0, 0, 1), (1, 1, 1), (0, 257, 1), (0, 1, CHUNK_BYTES + 1)] {
        assert!(matches!(case.ask(chunk(digest, number, total, size)), Err(Refusal::TooLarge { .. })));
    }
    for upload in 0..9_u8 {
        case.ok(chunk(Digest::of(&[upload]), 0, 2, 10));
    }
    assert_eq!(case.state.uploads.len(), 4);
    assert!(case.state.uploads.contains_key(&Digest::of(&[8])), "the newest stays");
}

#[test]
fn what_was_planned_before_a_node_joined_is_refused() {
    let mut case = Case::new();
    case.run("db@n1");
    let (leader, seen) = (case.leader(), case.state.index);
    let gone = vec![AssignChange { instance: key("db@n1").instance, to: None }];
    case.suspect("n1");
    case.ok(Case::join("n1", 1, 2));
    let stale = Command::AssignSeen { leader: leader.clone(), seen, changes: gone.clone() };
    assert_eq!(case.ask(stale), Err(Refusal::StaleObservation));
    assert!(case.state.assignment.contains_key(&key("db@n1").instance), "it stays where it runs");
    let seen = case.state.index;
    case.ok(Command::AssignSeen { leader, seen, changes: gone });
    assert!(case.state.assignment.is_empty());
}

#[test]
fn only_the_newest_leader_assigns() {
    let mut case = Case::new();
    let assign = Command::Assign { leader: incarnation("n2", 1, 1), changes: Vec::new() };
    assert_eq!(case.ask(assign), Err(Refusal::NotLeader));
}
