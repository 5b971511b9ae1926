//! Reload: the pin moves only when the agent has taken the new parameters over.

use super::*;

fn traits() -> AgentTraits {
    let params = ["size".to_owned()].into();
    AgentTraits { unique: BTreeMap::new(), reload: Some(Reload { legacy: false, params }) }
}

/// `db` runs on n1; its agent can take a change of `size` over.
pub fn reloadable() -> Case {
    let mut case = Case::new();
    case.state.feature_level = 2;
    let agent = case.world.resource("db").agent.clone();
    case.world.spec.agents.insert(agent, traits());
    case.push("2");
    case.run("db@n1");
    case
}

impl Case {
    pub fn change(&mut self, revision: &str, param: &str) {
        self.world.resource("db").params.insert(param.into(), revision.into());
        self.push(revision);
    }

    fn size(&self) -> Option<&str> {
        self.state.definitions[&self.held("db@n1").definition].resource.params.get("size").map(String::as_str)
    }
}

#[test]
fn the_new_definition_is_pinned_only_after_a_reload_that_succeeded() {
    let mut case = reloadable();
    assert!(case.advance("db@n1", Phase::Reloading).is_err(), "nothing has changed");
    case.change("3", "size");
    let epoch = case.held("db@n1").epoch;
    case.advance("db@n1", Phase::Reloading).unwrap();
    assert_eq!(case.size(), None);
    assert_eq!(case.state.reloading(&key("db@n1")).unwrap().resource.params["size"], "3");
    // Another push meanwhile: what runs is what was begun.
    case.change("4", "size");
    case.report("db@n1", ActionKind::Reload, 0).unwrap();
    assert_eq!((case.size(), case.held("db@n1").phase, case.held("db@n1").epoch), (Some("3"), Phase::Running, epoch));
    assert!(case.state.reloads.is_empty());
    case.advance("db@n1", Phase::Reloading).unwrap();
    case.report("db@n1", ActionKind::Reload, 0).unwrap();
    assert_eq!(case.size(), Some("4"));
}

#[test]
fn a_reload_that_fails_or_is_given_up_leaves_the_old_definition_for_the_stop() {
    let mut case = reloadable();
    case.change("3", "size");
    case.advance("db@n1", Phase::Reloading).unwrap();
    let mut stopped = Case { state: case.state.clone(), world: case.world.clone() };
    case.report("db@n1", ActionKind::Reload, 1).unwrap();
    assert!(case.held("db@n1").failure.is_some() && case.size().is_none());
    case.stop("db@n1");
    case.probe_all();
    case.run("db@n1");
    assert_eq!(case.size(), Some("3"), "the start after it has the new one");

    stopped.advance("db@n1", Phase::Stopping).unwrap();
    assert!(stopped.state.reloads.is_empty() && stopped.size().is_none());
    assert!(stopped.report("db@n1", ActionKind::Reload, 0).is_err(), "too late");
}

#[test]
fn what_the_agent_cannot_take_over_is_never_reloaded() {
    let mut case = reloadable();
    case.change("3", "state");
    assert!(matches!(case.advance("db@n1", Phase::Reloading), Err(Refusal::NotAllowed { .. })));
    let mut case = reloadable();
    case.change("3", "size");
    case.state.feature_level = 1;
    assert!(case.advance("db@n1", Phase::Reloading).is_err(), "not every node knows how");
    case.change("4", "size");
    case.state.feature_level = 2;
    assert!(case.state.spec().unwrap().agents.is_empty(), "old replicas did not keep what was known of agents");
    assert!(case.advance("db@n1", Phase::Reloading).is_err());
}

#[test]
fn a_daemon_that_was_killed_in_the_middle_finds_its_reload_again() {
    let mut case = reloadable();
    case.change("3", "size");
    case.advance("db@n1", Phase::Reloading).unwrap();
    case.ok(Case::join_newer("n1", 1, 2));
    assert_eq!(case.held("db@n1").phase, Phase::Reloading);
    assert!(case.state.reloading(&key("db@n1")).is_some() && case.size().is_none());
    case.report("db@n1", ActionKind::Reload, 0).unwrap();
    assert_eq!(case.size(), Some("3"));
}
