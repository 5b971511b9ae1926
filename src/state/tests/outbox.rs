//! What a forge is to be told of commits.

use super::*;
use crate::state::snapshot::{decode, encode};
use proptest::prelude::*;

/// A cluster of feature level 2 that reports, and follows commit `2`.
fn reporting() -> Case {
    let mut case = Case::new();
    case.state.feature_level = OUTBOX_LEVEL;
    let report = ReportTo {
        provider: Provider::GitLab,
        url: "https://gitlab.com".into(),
        project: "ops/cluster".into(),
        token: SecretFile { file: "/etc/hafen/secrets/forge".into() },
        context: "hafen/prod".into(),
        target_url: None,
        ca: None,
    };
    case.world.spec.cluster.source = Some(Source {
        url: None,
        branch: "main".into(),
        path: String::new(),
        interval: std::time::Duration::from_secs(60),
        webhook: None,
        report: Some(report),
    });
    case.push("2");
    case
}

fn note(case: &Case, revision: &str, state: CommitState, text: &str) -> Command {
    Command::NoteStatus { leader: case.leader(), revision: revision.into(), state, text: text.into() }
}

fn sent(case: &Case, revision: &str, number: u64, delivery: Delivery) -> Command {
    Command::StatusSent { leader: case.leader(), revision: revision.into(), number, delivery }
}

fn word<'a>(case: &'a Case, revision: &str) -> &'a Word {
    &case.state.outbox.words[&Revision::from(revision)]
}

#[test]
fn a_target_is_pending_and_the_one_before_ends_as_what_it_was() {
    let mut case = reporting();
    assert_eq!(case.state.outbox.words.len(), 1, "nothing is said of what came before there was a report");
    assert_eq!((word(&case, "2").state, word(&case, "2").told), (CommitState::Pending, Sent::NotYet));
    case.world.resource("db").priority = 1;
    case.push("3");
    assert_eq!(word(&case, "2").state, CommitState::Superseded);
    case.ok(note(&case, "3", CommitState::Success, "healthy"));
    case.world.resource("db").priority = 2;
    case.push("4");
    assert_eq!(word(&case, "3").state, CommitState::Success, "it was healthy, whatever came then");
    // Away from a commit that was not good, by hand or for being late.
    let (by, reason) = ("ann".to_owned(), "db does not start".to_owned());
    case.ok(Command::Rollback { from: "4".into(), by, reason: reason.clone() });
    assert_eq!((word(&case, "4").state, word(&case, "3").state), (CommitState::Failure, CommitState::Pending));
    assert!(word(&case, "4").text.contains(&reason), "{}", word(&case, "4").text);
    let order: Vec<&str> = case.state.outbox.waiting().iter().map(|(revision, _)| revision.as_str()).collect();
    assert_eq!(order, ["2", "4", "3"], "oldest word first");
}

#[test]
fn what_came_of_an_older_word_changes_nothing_about_a_newer_one() {
    let mut case = reporting();
    let old = word(&case, "2").number;
    case.ok(note(&case, "2", CommitState::Success, "healthy"));
    let new = word(&case, "2").number;
    case.ok(sent(&case, "2", old, Delivery::Acknowledged));
    case.ok(sent(&case, "2", old, Delivery::GivenUp("unknown".into())));
    assert_eq!(word(&case, "2").told, Sent::NotYet);
    case.ok(sent(&case, "2", new, Delivery::Acknowledged));
    assert_eq!(word(&case, "2").told, Sent::Yes);
    // Late, unknown, twice: nothing.
    let before = case.state.outbox.clone();
    for (revision, number) in [("2", old), ("2", new), ("2", 99), ("nobody", 1)] {
        case.ok(sent(&case, revision, number, Delivery::Acknowledged));
    }
    case.ok(note(&case, "2", CommitState::Success, "healthy"));
    assert_eq!(case.state.outbox, before);
    let other = incarnation("n3", 1, 1);
    let stale =
        Command::NoteStatus { leader: other, revision: "2".into(), state: CommitState::Failure, text: "no".into() };
    assert_eq!(case.ask(stale), Err(Refusal::NotLeader));
}

#[test]
fn a_forge_that_takes_nothing_is_told_once_and_so_is_that_it_does_again() {
    let mut case = reporting();
    let number = word(&case, "2").number;
    let failing = |why: &str| Delivery::Failing(why.into());
    let first = case.events(sent(&case, "2", number, failing("no route")));
    assert_eq!(first.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Report]);
    let since = case.state.outbox.failing.as_ref().unwrap().since_ms;
    case.tick(5_000);
    assert_eq!(case.events(sent(&case, "2", number, failing(&"x".repeat(1_000)))), []);
    let now = case.state.outbox.failing.clone().unwrap();
    assert_eq!((now.since_ms, now.why.len()), (since, LONGEST_WORD), "another reason since the same time, in bounds");
    let again = case.events(sent(&case, "2", number, Delivery::Acknowledged));
    assert!(again.iter().any(|event| event.text.contains("again")), "{again:?}");
    assert_eq!(case.state.outbox.failing, None);
    // Who removes the report is asked no more.
    case.ok(sent(&case, "2", number, failing("no route")));
    case.world.spec.cluster.source = None;
    case.push("5");
    assert_eq!(case.state.outbox, Outbox { last: number, ..Outbox::default() });
    case.ok(note(&case, "5", CommitState::Success, "healthy"));
    assert!(case.state.outbox.words.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is said and comes back, in whatever order: bounded, the target's word stays, and what is forgotten untold is
    /// an event.
    #[test]
    fn words_are_bounded_and_none_is_forgotten_in_silence(dice in proptest::collection::vec((0..6_u8, 0..12_u8), 1..80)) {
        let mut case = reporting();
        let states = [CommitState::Pending, CommitState::Success, CommitState::Failure, CommitState::Superseded];
        for (what, which) in dice {
            let revision = format!("r{which}");
            let before = case.state.outbox.clone();
            let number = before.words.get(revision.as_str()).map_or(1, |word| word.number);
            let command = match what {
                0 => sent(&case, &revision, number, Delivery::Acknowledged),
                1 => sent(&case, &revision, number, Delivery::Failing("no".into())),
                2 => {
                    let spec = case.state.target.as_ref().unwrap().spec;
                    let parent = case.state.target.as_ref().map(|target| target.revision.clone());
                    Command::SetTarget { revision: revision.as_str().into(), parent, spec, by: "ann".into() }
                }
                _ => note(&case, &revision, states[usize::from(which) % 4], "x"),
            };
            let events = case.events(command);
            let (now, target) = (&case.state.outbox, &case.state.target.as_ref().unwrap().revision);
            prop_assert!(now.words.len() <= 8 && now.words.contains_key(target) && now.last >= before.last);
            let forgotten = |(revision, word): &(&Revision, &Word)| {
                word.told == Sent::NotYet && !now.words.contains_key(*revision)
            };
            let lost = before.words.iter().filter(forgotten).count();
            prop_assert_eq!(lost, events.iter().filter(|event| event.text.contains("never told")).count());
            prop_assert_eq!(&decode(&encode(&case.state)).unwrap(), &case.state);
        }
    }
}
