//! The two claims of a live migration, when it is given up.

use super::*;

/// `db` leaves n1 and arrives on n2.
fn moving() -> Case {
    let mut case = Case::new();
    case.run("db@n1");
    let mut arriving = case.held("db@n1").clone();
    arriving.incarnation = incarnation("n2", 1, 1);
    arriving.epoch = Epoch(arriving.epoch.0 + 1);
    arriving.phase = Phase::MigratingFrom;
    case.state.claims.insert(key("db@n2"), arriving);
    case.state.claims.get_mut(&key("db@n1")).unwrap().phase = Phase::MigratingTo;
    case
}

fn nodes_that_said(case: &Case) -> Vec<&str> {
    case.state.probes.keys().filter(|probe| probe.resource.as_str() == "db").map(|probe| probe.node.as_str()).collect()
}

#[test]
fn where_it_arrives_is_given_up_only_when_it_is_seen_stopped_where_it_leaves() {
    let mut case = moving();
    let refused = Err(Refusal::WrongPhase { key: key("db@n2") });
    assert_eq!(case.advance("db@n2", Phase::Stopping), refused);
    case.advance("db@n1", Phase::Stopping).unwrap();
    assert_eq!(case.advance("db@n2", Phase::Stopping), refused, "what its agent set off may go on");
    case.release("db@n1").unwrap();
    case.advance("db@n2", Phase::Stopping).unwrap();
}

#[test]
fn where_it_arrives_is_given_up_when_all_was_sent_or_the_source_is_proven_off() {
    let mut case = moving();
    case.state.claims.get_mut(&key("db@n1")).unwrap().phase = Phase::Migrated;
    case.advance("db@n2", Phase::Stopping).unwrap();
    let mut case = moving();
    case.reboot("n1", 2);
    case.advance("db@n2", Phase::Stopping).unwrap();
}

#[test]
fn only_the_two_ends_have_to_say_anew_as_long_as_both_are_known() {
    let mut case = moving();
    case.advance("db@n1", Phase::Stopping).unwrap();
    case.release("db@n1").unwrap();
    case.advance("db@n2", Phase::Stopping).unwrap();
    assert!(nodes_that_said(&case).contains(&"n3"));
    // It may have reached the machine that n2 is by now: nobody knows any more which that was.
    let mut case = moving();
    case.reboot("n2", 2);
    assert_eq!(nodes_that_said(&case), ["n3"]);
    case.advance("db@n1", Phase::Stopping).unwrap();
    assert_eq!(nodes_that_said(&case), Vec::<&str>::new());
}
