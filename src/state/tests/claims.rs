//! Claims: every reason to refuse one, and every way one changes or ends by its owner's word.

use super::*;

#[test]
fn a_claim_is_granted_to_an_online_node_that_the_assignment_names() {
    let mut case = Case::new();
    case.assign("db@n1", Role::Started);
    case.claim("db@n1").unwrap();
    let claim = case.held("db@n1");
    assert_eq!((claim.phase, claim.role, claim.found), (Phase::Starting, Role::Started, false));
    assert_eq!(claim.incarnation, incarnation("n1", 1, 1));
}

#[test]
fn nothing_is_granted_without_the_assignment_it_names() {
    let mut case = Case::new();
    assert!(matches!(case.claim("db@n1"), Err(Refusal::NotAssigned { .. })));
    case.assign("db@n2", Role::Started);
    assert!(matches!(case.claim("db@n1"), Err(Refusal::NotAssigned { .. })));
    case.assign("db@n1", Role::Started);
    let old = case.claim_command("db@n1");
    case.assign("db@n1", Role::Started);
    assert!(matches!(case.ask(old), Err(Refusal::NotAssigned { .. })), "an older assignment counts for nothing");
}

#[test]
fn nothing_is_granted_to_a_stale_incarnation_or_a_node_that_is_not_online() {
    let mut case = Case::new();
    case.assign("db@n3", Role::Started);
    let old = case.claim_command("db@n3");
    case.ok(Case::join("n3", 1, 2));
    case.probe_all();
    assert!(matches!(case.ask(old), Err(Refusal::StaleIncarnation { .. })));
    case.suspect("n3");
    assert!(matches!(case.claim("db@n3"), Err(Refusal::NotOnline { .. })));
    let stranger = Command::Claim { key: key("db@n9"), incarnation: incarnation("n9", 1, 1), assignment: LogIndex(1) };
    assert!(matches!(case.ask(stranger), Err(Refusal::UnknownNode { .. })));
}

#[test]
fn an_exclusive_resource_is_granted_once() {
    let mut case = Case::new();
    case.run("db@n1");
    assert!(matches!(case.claim("db@n1"), Err(Refusal::AlreadyClaimed { .. })));
    case.assign("db@n2", Role::Started);
    assert!(matches!(case.claim("db@n2"), Err(Refusal::LimitReached { .. })));
    case.advance("db@n1", Phase::Stopping).unwrap();
    assert!(matches!(case.claim("db@n2"), Err(Refusal::LimitReached { .. })), "stopping is not stopped");
    case.release("db@n1").unwrap();
    case.claim("db@n2").unwrap();
}

#[test]
fn a_clone_is_granted_up_to_its_limits_and_no_number_twice() {
    let mut case = Case::new();
    case.run("drbd:0@n1");
    case.assign("drbd:0@n2", Role::Unpromoted);
    assert!(matches!(case.claim("drbd:0@n2"), Err(Refusal::LimitReached { .. })), "one number is one thing");
    case.assign("drbd:1@n1", Role::Unpromoted);
    assert!(matches!(case.claim("drbd:1@n1"), Err(Refusal::LimitReached { .. })), "one on a node");
    case.run("drbd:1@n2");
    case.assign("drbd:2@n3", Role::Unpromoted);
    assert!(matches!(case.claim("drbd:2@n3"), Err(Refusal::LimitReached { .. })), "two in all");
}

#[test]
fn a_promotion_needs_the_assignment_the_limit_and_its_facts() {
    let mut case = Case::new();
    case.run("drbd:0@n1");
    case.run("drbd:1@n2");
    assert!(matches!(case.advance("drbd:0@n1", Phase::Promoting), Err(Refusal::NotAssigned { .. })));
    let fact = Fact { instance: id("db"), node: None, phase: FactPhase::Running };
    case.assign_after("drbd:0@n1", Role::Promoted, Vec::new(), vec![fact]);
    assert!(matches!(case.advance("drbd:0@n1", Phase::Promoting), Err(Refusal::FactMissing { .. })));
    case.assign("drbd:0@n1", Role::Promoted);
    case.assign("drbd:1@n2", Role::Promoted);
    case.advance("drbd:0@n1", Phase::Promoting).unwrap();
    assert!(matches!(case.advance("drbd:1@n2", Phase::Promoting), Err(Refusal::LimitReached { .. })));
    case.report("drbd:0@n1", ActionKind::Promote, 0).unwrap();
    assert_eq!(case.held("drbd:0@n1").role, Role::Promoted);
    case.advance("drbd:0@n1", Phase::Demoting).unwrap();
    assert!(
        matches!(case.advance("drbd:1@n2", Phase::Promoting), Err(Refusal::LimitReached { .. })),
        "demoting is not demoted"
    );
    case.report("drbd:0@n1", ActionKind::Demote, 0).unwrap();
    case.advance("drbd:1@n2", Phase::Promoting).unwrap();
}

#[test]
fn a_suspect_node_is_not_promoted() {
    let mut case = Case::new();
    case.run("drbd:0@n2");
    case.assign("drbd:0@n2", Role::Promoted);
    case.suspect("n2");
    assert!(matches!(case.advance("drbd:0@n2", Phase::Promoting), Err(Refusal::NotOnline { .. })));
}

#[test]
fn every_node_that_could_have_run_it_must_have_been_asked() {
    let mut case = Case::new();
    case.reboot("n3", 2);
    case.assign("db@n1", Role::Started);
    assert_eq!(case.claim("db@n1"), Err(Refusal::NotProbed { resource: "db".into(), node: "n3".into() }));
    case.suspect("n3");
    assert!(matches!(case.claim("db@n1"), Err(Refusal::NotProbed { .. })), "silence is no answer");
    let attempt = case.fence("n3", "n1");
    case.result(attempt, FenceOutcome::Off).unwrap();
    case.claim("db@n1").unwrap();
}

#[test]
fn a_node_that_left_is_not_asked_and_one_that_came_back_is() {
    let mut case = Case::new();
    case.ok(Command::Leave { node: "n3".into(), incarnation: incarnation("n3", 1, 1) });
    case.run("db@n1");
    case.stop("db@n1");
    case.ok(Case::join("n3", 1, 2));
    assert!(matches!(case.claim("db@n1"), Err(Refusal::NotProbed { .. })));
}

#[test]
fn a_probe_of_other_parameters_is_no_answer() {
    let mut case = Case::new();
    case.world.resource("db").params.insert("port".into(), "1".into());
    case.push("2");
    case.assign("db@n1", Role::Started);
    assert!(matches!(case.claim("db@n1"), Err(Refusal::NotProbed { .. })));
    case.probe_all();
    case.claim("db@n1").unwrap();
}

#[test]
fn the_facts_of_the_assignment_must_hold() {
    let mut case = Case::new();
    let on = |phase| Fact { instance: id("db"), node: Some("n1".into()), phase };
    case.assign_after("web@n2", Role::Started, vec![on(FactPhase::Running)], Vec::new());
    assert!(matches!(case.claim("web@n2"), Err(Refusal::FactMissing { .. })));
    case.assign("db@n1", Role::Started);
    case.claim("db@n1").unwrap();
    assert!(matches!(case.claim("web@n2"), Err(Refusal::FactMissing { .. })), "starting is not running");
    case.report("db@n1", ActionKind::Start, 0).unwrap();
    case.monitor("db@n1", Reading::Stopped).unwrap();
    assert!(matches!(case.claim("web@n2"), Err(Refusal::FactMissing { .. })), "failed is not running");
    assert!(!case.state.holds(&on(FactPhase::Gone)));
    case.stop("db@n1");
    assert!(case.state.holds(&on(FactPhase::Gone)) && case.state.holds(&on(FactPhase::NotPromoted)));
    case.run("db@n1");
    case.claim("web@n2").unwrap();
}

#[test]
fn epochs_never_repeat_not_even_for_a_resource_that_was_removed_and_added_again() {
    let mut case = Case::new();
    let mut epochs = Vec::new();
    for revision in ["a", "b", "c"] {
        case.run("db@n1");
        epochs.push(case.held("db@n1").epoch);
        case.stop("db@n1");
        let db = case.world.spec.resources.remove("db").unwrap();
        case.push(revision);
        case.world.spec.resources.insert("db".into(), db);
        case.push(&format!("{revision}2"));
        case.probe_all();
    }
    assert!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "{epochs:?}");
}

#[test]
fn only_the_owner_releases_and_only_what_it_is_stopping() {
    let mut case = Case::new();
    case.run("db@n1");
    assert!(matches!(case.release("db@n1"), Err(Refusal::WrongPhase { .. })));
    case.advance("db@n1", Phase::Stopping).unwrap();
    let (k, epoch) = (key("db@n1"), case.held("db@n1").epoch);
    let wrong = |epoch, incarnation| Command::Release { key: key("db@n1"), epoch, incarnation };
    let owner = incarnation("n1", 1, 1);
    assert!(matches!(case.ask(wrong(Epoch(epoch.0 + 1), owner.clone())), Err(Refusal::WrongEpoch { .. })));
    assert!(matches!(case.ask(wrong(epoch, incarnation("n1", 1, 2))), Err(Refusal::StaleIncarnation { .. })));
    assert!(matches!(case.ask(wrong(epoch, incarnation("n2", 1, 1))), Err(Refusal::StaleIncarnation { .. })));
    case.ok(wrong(epoch, owner.clone()));
    assert_eq!(case.ask(wrong(epoch, owner)), Err(Refusal::NoClaim { key: k }));
}

#[test]
fn an_old_epoch_changes_nothing_of_a_new_claim() {
    let mut case = Case::new();
    case.run("db@n1");
    let report = case.report_command("db@n1", ActionKind::Monitor, 7, Some(Reading::Stopped));
    let epoch = case.held("db@n1").epoch;
    case.stop("db@n1");
    case.run("db@n1");
    assert!(matches!(case.ask(report), Err(Refusal::WrongEpoch { .. })));
    let advance =
        Command::Advance { key: key("db@n1"), epoch, incarnation: incarnation("n1", 1, 1), to: Phase::Stopping };
    assert!(matches!(case.ask(advance), Err(Refusal::WrongEpoch { .. })));
}

#[test]
fn observations_that_began_before_the_last_change_are_dropped() {
    let mut case = Case::new();
    let probe = case.probe_command("db", "n1", Reading::Stopped);
    case.run("db@n1");
    assert_eq!(case.ask(probe.clone()), Err(Refusal::StaleObservation), "a claim is newer than the probe");
    let monitor = case.report_command("db@n1", ActionKind::Monitor, 7, Some(Reading::Stopped));
    case.advance("db@n1", Phase::Stopping).unwrap();
    assert_eq!(case.ask(monitor), Err(Refusal::StaleObservation));
    case.release("db@n1").unwrap();
    assert_eq!(case.ask(probe), Err(Refusal::StaleObservation), "the release is newer than the probe");
    let before = case.probe_command("db", "n3", Reading::Stopped);
    case.ok(Case::join("n3", 1, 2));
    assert!(matches!(case.ask(before), Err(Refusal::StaleIncarnation { .. })));
}

#[test]
fn a_report_counts_only_in_the_phase_that_asks_for_it() {
    let mut case = Case::new();
    case.run("db@n1");
    for action in [ActionKind::Start, ActionKind::Stop, ActionKind::Promote, ActionKind::Demote, ActionKind::MigrateTo]
    {
        assert!(matches!(case.report("db@n1", action, 0), Err(Refusal::WrongPhase { .. })), "{action}");
    }
    for phase in [Phase::Starting, Phase::Running, Phase::Demoting, Phase::MigratingTo, Phase::MigratingFrom] {
        assert!(matches!(case.advance("db@n1", phase), Err(Refusal::WrongPhase { .. })), "{phase:?}");
    }
}

#[test]
fn what_runs_without_a_claim_gets_one_and_blocks_every_grant_beyond_the_limit() {
    let mut case = Case::new();
    case.run("db@n1");
    let found = case.probe_command("db", "n2", Reading::Running);
    case.ok(found);
    assert!(case.held("db@n2").found && case.held("db@n2").phase == Phase::Running);
    assert!(case.state.exceeded(&"db".into()).is_some());
    case.assign("db@n3", Role::Started);
    assert!(matches!(case.claim("db@n3"), Err(Refusal::OverLimit { .. })));
    case.ok(case.probe_command("drbd", "n1", Reading::RunningPromoted));
    assert_eq!(case.held("drbd:0@n1").role, Role::Promoted);
    case.ok(case.probe_command("drbd", "n2", Reading::Failed));
    let failed = case.held("drbd:1@n2");
    assert!(failed.failure.is_some() && failed.role == Role::Unpromoted);
}

#[test]
fn a_stop_of_what_was_only_found_blocks_and_never_fences() {
    let mut case = Case::new();
    case.ok(case.probe_command("db", "n2", Reading::Running));
    case.advance("db@n2", Phase::Stopping).unwrap();
    case.report("db@n2", ActionKind::Stop, 1).unwrap();
    let failure = case.held("db@n2").failure.clone().unwrap();
    assert!(failure.blocked && !failure.fence);
    assert!(case.state.fence_asked(&"n2".into()).is_none());
}

#[test]
fn a_failed_stop_keeps_the_claim_and_a_cleanup_lets_it_be_tried_again() {
    let mut case = Case::new();
    case.world.resource("db").operations.get_mut(&OpName::Stop).unwrap().on_fail = OnFail::Fence;
    case.push("2");
    case.run("db@n2");
    case.advance("db@n2", Phase::Stopping).unwrap();
    case.report("db@n2", ActionKind::Stop, 1).unwrap();
    assert!(case.held("db@n2").failure.as_ref().unwrap().fence);
    assert!(case.state.fence_asked(&"n2".into()).is_some());
    case.ok(Command::ClearFailures { resource: None, node: None, by: "ann".into() });
    let failure = case.held("db@n2").failure.clone().unwrap();
    assert!(!failure.blocked && !failure.fence, "where fencing is impossible this is the only way on");
}

#[test]
fn a_renamed_resource_waits_for_the_old_name() {
    let mut case = Case::new();
    case.run("db@n1");
    let db = case.world.spec.resources.remove("db").unwrap();
    case.world.spec.resources.insert("sql".into(), db);
    case.push("2");
    for node in ["n1", "n2", "n3"] {
        case.ok(case.probe_command("sql", node, Reading::Stopped));
    }
    case.assign("sql@n2", Role::Started);
    assert!(matches!(case.claim("sql@n2"), Err(Refusal::NotAllowed { .. })));
    case.stop("db@n1");
    case.claim("sql@n2").unwrap();
}

#[test]
fn a_claim_pins_the_definition_it_was_granted_under() {
    let mut case = Case::new();
    case.run("db@n1");
    let pinned = case.held("db@n1").definition;
    case.world.spec.resources.remove("db");
    case.push("2");
    assert!(case.state.definitions.contains_key(&pinned));
    assert!(case.state.limits(&"db".into()).is_some_and(|limits| limits.total == 1));
    case.stop("db@n1");
    assert!(!case.state.definitions.contains_key(&pinned), "nothing refers to it any more");
}

#[test]
fn limits_are_the_strictest_of_git_and_of_what_runs() {
    let mut case = Case::new();
    case.run("drbd:0@n1");
    case.run("drbd:1@n2");
    case.world.cloned("ms", "drbd").max = Some(1);
    case.push("2");
    assert!(case.state.exceeded(&"drbd".into()).is_some());
    case.world.cloned("ms", "drbd").max = Some(3);
    case.push("3");
    case.assign("drbd:2@n3", Role::Unpromoted);
    assert!(matches!(case.claim("drbd:2@n3"), Err(Refusal::LimitReached { .. })), "the two were granted as two");
}

#[test]
fn failures_follow_on_fail() {
    for (on_fail, check) in [
        (OnFail::Block, (|c: &Case| c.held("db@n1").failure.as_ref().unwrap().blocked) as fn(&Case) -> bool),
        (OnFail::Fence, |c| c.held("db@n1").failure.as_ref().unwrap().fence),
        (OnFail::Ignore, |c| c.held("db@n1").failure.is_none()),
        (OnFail::Move, |c| c.state.history[&key("db@n1")].moved),
        (OnFail::Stop, |c| c.state.history[&key("db@n1")].stopped),
        (OnFail::Demote, |c| c.state.history[&key("db@n1")].demoted),
        (OnFail::Standby, |c| c.state.history[&key("db@n1")].standby),
        (OnFail::Restart, |c| c.held("db@n1").failure.is_some()),
    ] {
        let mut case = Case::new();
        case.world.resource("db").operations.get_mut(&OpName::Monitor).unwrap().on_fail = on_fail;
        case.push("2");
        case.run("db@n1");
        case.monitor("db@n1", Reading::Failed).unwrap();
        assert!(check(&case), "{on_fail:?}");
        assert_eq!(case.state.history[&key("db@n1")].fail_count, 1, "{on_fail:?}");
    }
}

#[test]
fn an_ignored_promotion_counts_as_done_and_an_ignored_demotion_is_not_believed() {
    let mut case = Case::new();
    let ignored = Operation { interval: Default::default(), timeout: Default::default(), on_fail: OnFail::Ignore };
    for op in [OpName::Promote, OpName::Demote] {
        case.world.resource("drbd").operations.insert(op, ignored.clone());
    }
    case.push("2");
    case.run("drbd:0@n1");
    case.assign("drbd:0@n1", Role::Promoted);
    case.advance("drbd:0@n1", Phase::Promoting).unwrap();
    case.report("drbd:0@n1", ActionKind::Promote, 1).unwrap();
    assert_eq!((case.held("drbd:0@n1").phase, case.held("drbd:0@n1").role), (Phase::Running, Role::Promoted));
    // It is not tried again for ever: what the monitor sees is a failure of its own.
    case.monitor("drbd:0@n1", Reading::Running).unwrap();
    assert!(case.held("drbd:0@n1").failure.is_some());

    case.stop("drbd:0@n1");
    case.assign("drbd:0@n1", Role::Unpromoted);
    case.probe_all();
    case.run("drbd:0@n1");
    case.assign("drbd:0@n1", Role::Promoted);
    case.advance("drbd:0@n1", Phase::Promoting).unwrap();
    case.report("drbd:0@n1", ActionKind::Promote, 0).unwrap();
    case.advance("drbd:0@n1", Phase::Demoting).unwrap();
    case.report("drbd:0@n1", ActionKind::Demote, 1).unwrap();
    assert!(case.held("drbd:0@n1").failure.is_some() && case.held("drbd:0@n1").may_be_promoted());
}

#[test]
fn what_ran_twice_under_stop_only_stays_stopped_until_a_cleanup() {
    let mut case = Case::new();
    case.state.feature_level = 2;
    case.world.resource("db").multiple_active = MultipleActive::StopOnly;
    case.push("2");
    case.run("db@n1");
    case.ok(case.probe_command("db", "n2", Reading::Running));
    assert!(case.state.halted.contains("db"));
    case.stop("db@n1");
    case.stop("db@n2");
    let here = |node: Option<&str>| Command::ClearFailures {
        resource: Some("db".into()),
        node: node.map(NodeId::from),
        by: "ann".into(),
    };
    case.ok(here(Some("n1")));
    assert!(case.state.halted.contains("db"), "it ran elsewhere too");
    let planned = crate::plan::assign(case.state.spec().unwrap(), &case.state);
    assert!(planned.placements.get(&id("db")).is_none_or(|to| to.is_none()), "{:?}", planned.placements);
    case.ok(here(None));
    assert!(case.state.halted.is_empty());
}

#[test]
fn a_rename_is_told_by_what_the_agent_calls_unique() {
    let mut case = Case::new();
    case.state.feature_level = 2;
    let agent = case.world.resource("db").agent.clone();
    let unique = [("state".to_owned(), ["state".to_owned()].into())].into();
    case.world.spec.agents.insert(agent, AgentTraits { unique, reload: None });
    case.push("2");
    case.run("db@n1");
    // The same state file under another name, with one more parameter.
    let mut renamed = case.world.spec.resources.remove("db").unwrap();
    renamed.params.insert("size".into(), "9".into());
    case.world.spec.resources.insert("dbx".into(), renamed);
    case.push("3");
    for node in ["n1", "n2", "n3"] {
        case.ok(case.probe_command("dbx", node, Reading::Stopped));
    }
    case.assign("dbx@n2", Role::Started);
    assert!(matches!(case.claim("dbx@n2"), Err(Refusal::NotAllowed { .. })));
    case.stop("db@n1");
    case.claim("dbx@n2").unwrap();
}

/// Of an agent that says nothing of itself: what has anything in common may be the same; what has nothing is another.
#[test]
fn a_rename_with_other_parameters_waits_where_nobody_knows_what_is_unique() {
    for (params, waits) in [(["state=/run/db", "size=9"], true), (["state=/run/other", "size=9"], false)] {
        let mut case = Case::new();
        let set = |resource: &mut Resource, params: [&str; 2]| {
            let pairs = params.iter().filter_map(|pair| pair.split_once('='));
            resource.params = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        };
        set(case.world.resource("db"), ["state=/run/db", "size=1"]);
        case.push("2");
        for node in ["n1", "n2", "n3"] {
            case.ok(case.probe_command("db", node, Reading::Stopped));
        }
        case.run("db@n1");
        let mut renamed = case.world.spec.resources.remove("db").unwrap();
        set(&mut renamed, params);
        case.world.spec.resources.insert("dbx".into(), renamed);
        case.push("3");
        for node in ["n1", "n2", "n3"] {
            case.ok(case.probe_command("dbx", node, Reading::Stopped));
        }
        case.assign("dbx@n2", Role::Started);
        let claimed = case.claim("dbx@n2");
        assert_eq!(matches!(claimed, Err(Refusal::NotAllowed { .. })), waits, "{params:?}: {claimed:?}");
    }
}

/// `web` inside of a container of the bundle `box`.
fn bundled(case: &mut Case) {
    let bundle = Bundle {
        runtime: Runtime::Podman,
        image: "web".into(),
        replicas: 2,
        per_host: 1,
        promoted: None,
        run_options: String::new(),
        command: None,
        network: BundleNetwork { port: Some(3121), ..BundleNetwork::default() },
        storage: Vec::new(),
        resource: Some("web".into()),
        interleave: false,
        scores: ScoresOf::Inside,
        rank: 0,
    };
    let spec = &mut case.world.spec;
    let expanded = bundle.expand(&"box".into(), &spec.resources["db"].clone());
    spec.resources.extend(expanded.parts);
    spec.groups.extend([expanded.group]);
    spec.clones.insert("box".into(), expanded.clone);
    spec.bundles.insert("box".into(), bundle);
}

#[test]
fn nothing_that_belongs_to_a_bundle_is_granted() {
    let mut case = Case::new();
    bundled(&mut case);
    case.push("2");
    for (resource, instance) in [("box-podman", "box-podman:0@n1"), ("web", "web:0@n1")] {
        for node in ["n1", "n2", "n3"] {
            let _ = case.ask(case.probe_command(resource, node, Reading::Stopped));
        }
        case.assign(instance, Role::Started);
        assert!(matches!(case.claim(instance), Err(Refusal::NotAllowed { .. })), "{instance}");
    }
}

#[test]
fn nothing_inside_of_something_else_is_granted() {
    let mut case = Case::new();
    case.world.spec.resources.get_mut("web").unwrap().inside = Some("db".into());
    case.push("2");
    case.probe_all();
    case.assign("web@n1", Role::Started);
    assert!(matches!(case.claim("web@n1"), Err(Refusal::NotAllowed { .. })));
}

#[test]
fn nothing_is_granted_to_a_remote_node_and_it_never_joins() {
    let mut case = Case::new();
    let node = case.world.spec.nodes.get_mut("n3").unwrap();
    (node.role, node.connection) = (NodeRole::Remote, Some("web".into()));
    case.push("2");
    case.probe_all();
    case.assign("db@n3", Role::Started);
    assert!(matches!(case.claim("db@n3"), Err(Refusal::NotAllowed { .. })));
    assert!(matches!(case.ask(Case::join("n3", 1, 2)), Err(Refusal::NotAllowed { .. })));
}

#[test]
fn how_long_the_last_actions_took_is_kept_and_bounded() {
    let mut case = Case::new();
    case.state.feature_level = 2;
    for _ in 0..9 {
        case.run("db@n1");
        case.stop("db@n1");
    }
    assert_eq!(case.state.durations["db"][&ActionKind::Start], [5; 5]);
    assert_eq!(case.state.durations["db"][&ActionKind::Stop].len(), 5);
    assert_eq!(case.state.took(&"db".into(), ActionKind::Start), Some(std::time::Duration::from_millis(5)));
    assert_eq!(case.state.took(&"db".into(), ActionKind::Promote), None);
    // Failures say nothing.
    case.assign("db@n1", Role::Started);
    case.claim("db@n1").unwrap();
    let before = case.state.durations.clone();
    case.report("db@n1", ActionKind::Start, 1).unwrap();
    assert_eq!(case.state.durations, before);
    let kept = crate::state::snapshot::decode(&crate::state::snapshot::encode(&case.state)).unwrap();
    assert_eq!(kept.durations, before);
}

#[test]
fn the_end_of_what_something_rests_on_since_then_is_refused() {
    let fact = Fact { instance: id("db"), node: None, phase: FactPhase::Running };
    for to in [Phase::Stopping, Phase::Demoting, Phase::Reloading] {
        let mut case = Case::new();
        case.run("db@n1");
        let seen = case.state.index;
        case.assign_after("web@n1", Role::Started, vec![fact.clone()], Vec::new());
        case.claim("web@n1").unwrap();
        let (epoch, incarnation) = (case.held("db@n1").epoch, incarnation("n1", 1, 1));
        let ends = |seen| Command::AdvanceSeen { key: key("db@n1"), epoch, incarnation: incarnation.clone(), seen, to };
        let refused = case.ask(ends(seen)) == Err(Refusal::StaleObservation);
        assert_eq!(refused, to != Phase::Reloading, "{to:?}");
        let now = case.state.index;
        assert_ne!(case.ask(ends(now)), Err(Refusal::StaleObservation), "it was decided with that in view");
    }
}
