//! Evidence by time: what a watchdog must be for its lease to prove anything, and what undoes the count.

use super::*;
use std::time::Duration;

fn report() -> WatchdogReport {
    let facts =
        WatchdogFacts { identity: "i6300ESB".into(), timeout: Duration::from_secs(3), kind: WatchdogKind::Hardware };
    WatchdogReport { facts, timing: LeaseTiming::DEFAULT }
}

impl Case {
    /// Every node is fenced by its watchdog; `n3` runs `db`, and has its watchdog armed.
    fn leased() -> Self {
        let mut case = Self::new();
        case.world.spec.devices.values_mut().for_each(|device| device.agent = "watchdog".into());
        case.push("2");
        case.run("db@n3");
        case.ok(Self::armed(Some(report())));
        case
    }

    fn armed(report: Option<WatchdogReport>) -> Command {
        Command::Watchdog { node: "n3".into(), incarnation: incarnation("n3", 1, 1), report }
    }

    fn elapsed(&self, waited_ms: u64) -> Command {
        let node = &self.state.nodes["n3"];
        Command::WatchdogElapsed {
            leader: self.leader(),
            node: "n3".into(),
            boot: node.incarnation.boot.clone(),
            suspicion: node.last_suspicion,
            waited_ms,
        }
    }

    #[track_caller]
    fn refused(&mut self, command: Command, why: &str) {
        match self.ask(command) {
            Err(Refusal::NotAllowed { why: said }) if said.contains(why) => {}
            other => panic!("{other:?} is not: {why}"),
        }
        assert_eq!(self.state.claims.len(), 1, "nothing may end a claim by a refusal");
    }
}

#[test]
fn a_lease_that_ran_out_ends_the_claims_of_the_boot_and_burns_it() {
    let mut case = Case::leased();
    case.suspect("n3");
    case.ok(case.elapsed(12_000));
    assert!(case.state.claims.is_empty());
    let node = &case.state.nodes["n3"];
    let boot = incarnation("n3", 1, 1).boot;
    assert_eq!((node.membership, &node.lease_over), (Membership::Fenced, &Some(boot.clone())));
    assert!(matches!(case.ask(case.elapsed(12_000)), Err(Refusal::BurntBoot { .. })));
    assert!(matches!(case.ask(Case::join("n3", 1, 2)), Err(Refusal::BurntBoot { .. })));
    case.ok(Case::join("n3", 2, 1));
    assert_eq!(case.state.nodes["n3"].watchdog, None, "another boot arms its own");
}

#[test]
fn a_node_that_was_heard_or_is_heard_again_is_not_over() {
    let mut case = Case::leased();
    case.refused(case.elapsed(12_000), "heard meanwhile");
    case.suspect("n3");
    let stale = case.elapsed(12_000);
    let clear = Command::Clear {
        leader: case.leader(),
        node: "n3".into(),
        boot: incarnation("n3", 1, 1).boot,
        number: case.state.nodes["n3"].last_suspicion,
    };
    case.ok(clear);
    case.suspect("n3");
    case.refused(stale, "heard meanwhile");
    case.ok(case.elapsed(12_000));
}

#[test]
fn only_the_newest_leader_may_say_so() {
    let mut case = Case::leased();
    case.suspect("n3");
    let of_the_old_one = case.elapsed(12_000);
    case.ok(Command::LeaderStart { node: "n2".into(), incarnation: incarnation("n2", 1, 1), term: 2 });
    assert_eq!(case.ask(of_the_old_one), Err(Refusal::NotLeader));
    case.ok(case.elapsed(12_000));
}

#[test]
fn the_longer_of_the_lease_a_node_runs_with_and_the_one_git_asks_for_counts() {
    let mut case = Case::leased();
    // Git asks for a shorter one; the node has not said that it goes by it.
    case.world.spec.cluster.watchdog.lease_ttl = Duration::from_millis(11_600);
    case.push("3");
    case.suspect("n3");
    case.refused(case.elapsed(11_600), "runs for 12000 ms");
    case.ok(case.elapsed(12_000));

    let mut case = Case::leased();
    case.world.spec.cluster.watchdog.lease_ttl = Duration::from_millis(11_600);
    case.push("3");
    let timing = case.world.spec.cluster.watchdog;
    case.ok(Case::armed(Some(WatchdogReport { timing, ..report() })));
    case.suspect("n3");
    case.ok(case.elapsed(11_600));

    let mut case = Case::leased();
    case.world.spec.cluster.watchdog.lease_ttl = Duration::from_secs(20);
    case.push("3");
    case.suspect("n3");
    case.refused(case.elapsed(19_999), "runs for 20000 ms");
    case.ok(case.elapsed(20_000));
}

#[test]
fn what_proves_nothing_is_refused_with_the_reason() {
    let suspect = |change: &dyn Fn(&mut Case)| {
        let mut case = Case::leased();
        change(&mut case);
        case.suspect("n3");
        case
    };
    let refused = |why: &str, change: &dyn Fn(&mut Case)| {
        let mut case = suspect(change);
        case.refused(case.elapsed(60_000), why);
    };
    refused("not reported an armed watchdog", &|case| case.ok(Case::armed(None)));
    refused("a timer of a guest", &|case| {
        let facts = WatchdogFacts { kind: WatchdogKind::SoftwareInGuest, ..report().facts };
        let events = case.events(Case::armed(Some(WatchdogReport { facts, ..report() })));
        let but = "it proves nothing: the watchdog of n3 (i6300ESB) is a timer of a guest";
        assert!(events.iter().any(|event| event.text.contains(but)), "{events:?}");
    });
    refused("2 x 4s watchdog time-out", &|case| {
        let facts = WatchdogFacts { timeout: Duration::from_secs(4), ..report().facts };
        case.ok(Case::armed(Some(WatchdogReport { facts, ..report() })));
    });
    refused("2 voters are too few", &|case| {
        case.world.spec.nodes.get_mut("n2").unwrap().role = NodeRole::Agent;
        case.push("3");
    });
    refused("no level of fencing that is its watchdog alone", &|case| {
        case.world.spec.devices.values_mut().for_each(|device| device.agent = "fence_ipmilan".into());
        case.push("3");
    });
    let mut fine = suspect(&|_| {});
    fine.ok(fine.elapsed(60_000));
}

#[test]
fn a_watchdog_is_disarmed_by_a_commit_and_only_where_nothing_is_claimed() {
    let mut case = Case::leased();
    let disarm = |node: &str| Command::SetOverride {
        scope: Scope::Node(node.into()),
        kind: OverrideKind::Disarm,
        by: "ann".into(),
        reason: "maintenance".into(),
        expires_ms: None,
    };
    case.refused(disarm("n3"), "still holds the claim on db@n3");
    case.stop("db@n3");
    case.ok(disarm("n3"));
    assert_eq!(case.state.nodes["n3"].watchdog, None);
    assert!(case.state.lease_evidence(&"n3".into()).unwrap_err().contains("disarmed"));
    case.probe_all();
    case.assign("db@n3", Role::Started);
    let claim = case.claim_command("db@n3");
    assert!(matches!(case.ask(claim), Err(Refusal::NotAllowed { why }) if why.contains("disarmed")));
}

#[test]
fn a_report_of_another_daemon_start_is_refused_and_a_restart_keeps_the_last_one() {
    let mut case = Case::leased();
    case.ok(Case::join("n3", 1, 2));
    assert_eq!(case.state.nodes["n3"].watchdog, Some(report()), "the device was not closed: it still fires");
    assert!(matches!(case.ask(Case::armed(None)), Err(Refusal::StaleIncarnation { .. })));
}
