//! Several nodes: elections, forwarding, restarts, partitions, snapshots, members.

use super::super::snapshot::TEMPORARY_FILE;
use super::super::{Alone, Config, Identity, LogError, MembershipError, RaftLog, Stand};
use super::{CONFIG, Cluster, Wire, command, eventually, identity, names, node};
use crate::model::NodeId;
use crate::state::port::{Log as _, ProposeError};
use crate::state::{Command, State};
use std::collections::BTreeSet;
use std::time::Duration;

const THREE: [&str; 3] = ["n1", "n2", "n3"];

fn kept(state: &State) -> BTreeSet<String> {
    state.tokens.values().map(|token| token.by.clone()).collect()
}

async fn follower(cluster: &Cluster) -> &'static str {
    let leader = cluster.leader().await;
    THREE.into_iter().find(|name| *name != leader.as_str()).expect("three nodes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_on_a_follower_returns_when_it_is_applied_there() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    let follower = cluster.node(follower(&cluster).await);
    for round in 0..20 {
        let applied = follower.propose(command(&format!("r{round}"))).await.expect("commits");
        assert_eq!(applied.answers.len(), 1);
        assert!(follower.state().index >= applied.index);
    }
    cluster.agree(&THREE).await;
    let mut committed = follower.committed();
    let applied = follower.propose(command("seen")).await.expect("commits");
    let batch = committed.recv().await.expect("is published");
    assert!(batch.state.index <= applied.index);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_leader_is_gone_another_one_takes_proposals() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    let leader = cluster.leader().await;
    let before = cluster.node(leader.as_str()).propose(command("before")).await.expect("commits");
    let term = cluster.standing(leader.as_str()).leadership.term;
    cluster.cut(leader.as_str());
    let other = THREE.into_iter().find(|name| *name != leader.as_str()).expect("three nodes");
    let after = cluster.node(other).propose(command("after")).await.expect("commits on the others");
    assert!(after.index > before.index);
    assert!(cluster.standing(other).leadership.term > term);
    assert!(kept(&cluster.state(other)).len() <= 2);
    // The old leader believes in itself, but proposes nothing that is answered Ok.
    let alone = cluster.node(leader.as_str()).propose(command("alone")).await;
    assert!(matches!(alone, Err(ProposeError::Unknown(_) | ProposeError::NoLeader)), "{alone:?}");
    cluster.heal();
    cluster.node(leader.as_str()).propose(command("healed")).await.expect("commits again");
    cluster.agree(&THREE).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_one_and_of_all_keeps_everything() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    cluster.node("n1").propose(command("one")).await.expect("commits");
    cluster.stop("n2").await;
    cluster.node("n1").propose(command("two")).await.expect("commits with two of three");
    cluster.start("n2").await;
    let last = cluster.node("n2").propose(command("three")).await.expect("commits on the restarted one");
    cluster.agree(&THREE).await;
    let before = cluster.state("n1");
    cluster.stop_all().await;
    for name in THREE {
        cluster.start(name).await;
    }
    cluster.leader().await;
    for name in THREE {
        eventually("the old state", || cluster.state(name).index >= last.index).await;
        assert_eq!(kept(&cluster.state(name)), kept(&before));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_commits_nothing() {
    let config = super::Config { propose_timeout: Duration::from_secs(1), ..CONFIG };
    let cluster = Cluster::of(&THREE, config).await;
    let leader = cluster.leader().await;
    let before = cluster.state(leader.as_str()).index;
    for name in THREE.into_iter().filter(|name| *name != leader.as_str()) {
        cluster.cut(name);
    }
    for name in THREE {
        let answer = cluster.node(name).propose(command("nobody")).await;
        assert!(matches!(answer, Err(ProposeError::Unknown(_) | ProposeError::NoLeader)), "{name}: {answer:?}");
    }
    assert!(THREE.iter().all(|name| kept(&cluster.state(name)).is_empty()), "nothing applied after {before}");
    cluster.heal();
    eventually("a commit", || cluster.standing(leader.as_str()).leadership.leader.is_some()).await;
    while cluster.node(leader.as_str()).propose(command("all")).await.is_err() {}
    cluster.agree(&THREE).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_catches_up_by_snapshot_and_the_log_stays_small() {
    let config = super::Config { snapshot_entries: 50, keep_entries: 10, ..CONFIG };
    let cluster = Cluster::of(&THREE, config).await;
    let away = follower(&cluster).await;
    cluster.stop(away).await;
    let leader = cluster.node(cluster.leader().await.as_str());
    for round in 0..150 {
        leader.propose(command(&format!("r{round}"))).await.expect("commits");
    }
    let metrics = leader.inner.raft.metrics();
    let lowest = || metrics.borrow().purged.map_or(0, |id| id.index);
    eventually("a purge", || lowest() > 80).await;
    let last = metrics.borrow().last_log_index.expect("has a log");
    assert!(last - lowest() <= 50 + 10 + 50, "{} entries are kept", last - lowest());
    cluster.start(away).await;
    cluster.agree(&THREE).await;
    let caught_up = cluster.node(away);
    assert!(caught_up.inner.raft.metrics().borrow().snapshot.is_some(), "by snapshot");
    let last = caught_up.propose(command("back")).await.expect("commits");
    // What came by snapshot is on disk as well.
    cluster.stop(away).await;
    drop(caught_up);
    cluster.start(away).await;
    eventually("the old state", || cluster.state(away).index >= last.index).await;
    cluster.agree(&THREE).await;
    cluster.stop_all().await;
}

/// Raft purges what a snapshot from the leader covers as soon as it has come: before it is known whether it can be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_written_stops_the_node_and_costs_it_nothing() {
    let config = super::Config { snapshot_entries: 50, keep_entries: 10, ..CONFIG };
    let cluster = Cluster::of(&THREE, config).await;
    let away = follower(&cluster).await;
    cluster.stop(away).await;
    let leader = cluster.node(cluster.leader().await.as_str());
    for round in 0..150 {
        leader.propose(command(&format!("r{round}"))).await.expect("commits");
    }
    let metrics = leader.inner.raft.metrics();
    eventually("a purge", || metrics.borrow().purged.is_some_and(|id| id.index > 80)).await;
    // Where the snapshot is written lies something that is no file.
    let obstacle = cluster.path(away).join(TEMPORARY_FILE);
    std::fs::create_dir(&obstacle).expect("makes a folder");
    cluster.start(away).await;
    let halted = cluster.node(away).halted();
    eventually("its halt", || halted.borrow().is_some()).await;
    let reason = halted.borrow().clone();
    assert!(matches!(reason, Some(LogError::Io { .. })), "{reason:?}");
    cluster.stop(away).await;
    std::fs::remove_dir(&obstacle).expect("removes");
    cluster.start(away).await;
    cluster.agree(&THREE).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_large_entries_is_bounded_by_its_bytes() {
    let config = super::Config { snapshot_bytes: 200_000, ..CONFIG };
    let cluster = Cluster::of(&["n1"], config).await;
    let n1 = cluster.node("n1");
    let large = || vec![Command::Drop { node: NodeId::new("x".repeat(50_000)) }];
    for _ in 0..30 {
        n1.propose(large()).await.expect("commits");
    }
    let purged = n1.inner.raft.metrics();
    eventually("a purge", || purged.borrow().purged.is_some_and(|id| id.index > 20)).await;
    let too_large = vec![Command::Drop { node: NodeId::new("x".repeat(300_000)) }];
    assert!(matches!(n1.propose(too_large).await, Err(ProposeError::TooLarge { .. })));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_gets_entries_and_never_votes() {
    let cluster = Cluster::of(&["n1"], CONFIG).await;
    cluster.start("n2").await;
    let n1 = cluster.node("n1");
    n1.add_learner(node("n2")).await.expect("adds");
    n1.propose(command("x")).await.expect("commits with one voter");
    cluster.agree(&["n1", "n2"]).await;
    assert_eq!(cluster.standing("n1").leadership.voters, vec![NodeId::from("n1")]);
    assert_eq!(cluster.standing("n1").leadership.learners, vec![NodeId::from("n2")]);
    cluster.node("n2").propose(command("from the learner")).await.expect("is forwarded");
    let term = cluster.standing("n2").leadership.term;
    cluster.stop("n1").await;
    tokio::time::sleep(CONFIG.election_max * 4).await;
    let alone = cluster.standing("n2").leadership;
    assert!(!alone.is_self && alone.term == term, "{alone:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_rest_on_a_count_are_taken_by_the_leader_of_that_term_alone() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    let leader = cluster.node(cluster.leader().await.as_str());
    let term = leader.leadership().term;
    leader.propose_as_leader(term, command("mine")).await.expect("commits");
    assert_eq!(leader.propose_as_leader(term + 1, command("x")).await, Err(ProposeError::NoLeader));
    let other = cluster.node(follower(&cluster).await);
    assert_eq!(other.propose_as_leader(term, command("x")).await, Err(ProposeError::NoLeader));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_change_and_go() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    let leader_name = cluster.leader().await;
    let leader = cluster.node(leader_name.as_str());
    let other = follower(&cluster).await;
    eventually("its leader", || cluster.standing(other).leadership.leader.as_ref() == Some(&leader_name)).await;
    let elsewhere = cluster.node(other).remove(&leader_name).await;
    assert_eq!(elsewhere, Err(MembershipError::NotLeader { leader: Some(leader_name.clone()) }));
    assert_eq!(leader.initialize_single(node(leader_name.as_str())).await, Err(MembershipError::Initialised));
    let unknown = leader.set_voters(names(&["n1", "n9"])).await;
    assert_eq!(unknown, Err(MembershipError::UnknownMember { name: NodeId::from("n9") }));
    assert_eq!(leader.set_voters(names(&[])).await, Err(MembershipError::NoVoters));
    let mut moved = node(other);
    moved.port = 7555;
    leader.set_addresses(moved.clone()).await.expect("changes");
    leader.set_addresses(moved.clone()).await.expect("changes nothing");
    eventually("the new port", || cluster.standing("n1").members.get(&moved.name) == Some(&moved)).await;
    let rest: Vec<&str> = THREE.into_iter().filter(|name| *name != other).collect();
    leader.set_voters(names(&rest)).await.expect("takes its vote");
    eventually("a learner", || leader.leadership().learners == vec![NodeId::from(other)]).await;
    leader.remove(&NodeId::from(other)).await.expect("removes");
    leader.remove(&NodeId::from(other)).await.expect("removes nothing");
    eventually("its absence", || !cluster.standing(leader_name.as_str()).members.contains_key(other)).await;
    leader.propose(command("still")).await.expect("commits");
    let age = leader.standing().borrow().quorum_ack_age;
    assert!(age.is_some_and(|age| age < Duration::from_secs(5)), "{age:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_nothing_to_say_stays_the_leader() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    let leader = cluster.leader().await;
    let before = cluster.standing(leader.as_str()).leadership;
    tokio::time::sleep((CONFIG.election_max + CONFIG.election_min) * 4).await;
    let after = cluster.standing(leader.as_str()).leadership;
    assert_eq!((after.leader, after.term), (before.leader, before.term), "its heartbeats are heard");
    cluster.stop_all().await;
}

#[test]
fn the_default_times_elect_before_anybody_is_suspected_and_survive_a_lost_heartbeat() {
    let Config { heartbeat, patience, election_min, election_max, .. } = Config::DEFAULT;
    let look = patience * 3 / 2;
    assert!(election_max * 2 + look < crate::model::Detection::DEFAULT.suspect_after);
    assert!(heartbeat * 2 + patience <= election_max + election_min);
}

/// Both have the same time-out, and each stands before it hears that the other does.
#[tokio::test(flavor = "multi_thread")]
async fn two_voters_that_stand_at_the_same_moment_do_not_do_so_for_ever() {
    let config =
        Config { election_min: Duration::from_millis(200), election_max: Duration::from_millis(201), ..CONFIG };
    let cluster = Cluster::of(&THREE, config).await;
    let leader = cluster.leader().await;
    *cluster.net.vote_takes.lock().expect("lock") = config.patience * 2;
    cluster.cut(leader.as_str());
    let next = cluster.leader().await;
    assert!(next != leader && cluster.standing(next.as_str()).leadership.is_self);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_voter_that_may_not_stand_disturbs_nobody_when_it_returns() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    let (leader, away) = (cluster.leader().await, follower(&cluster).await);
    let term = cluster.standing(leader.as_str()).leadership.term;
    cluster.node(away).allow_elections(Stand::Forbidden);
    cluster.cut(away);
    tokio::time::sleep(CONFIG.election_max * 4).await;
    cluster.heal();
    cluster.node(away).propose(command("back")).await.expect("commits");
    assert_eq!(cluster.standing(away).leadership.term, term);
    assert_eq!(cluster.leader().await, leader);
    cluster.node(away).allow_elections(Stand::Allowed);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_goes_on_alone_with_everything_and_talks_to_no_older_generation() {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    cluster.node("n2").propose(command("kept")).await.expect("commits");
    cluster.agree(&THREE).await;
    let before = kept(&cluster.state("n2"));
    cluster.stop("n2").await;
    let recovered = Alone::prepare(&cluster.path("n2"), &identity("n2"), node("n2")).expect("can go on");
    let recovered = recovered.go_on().expect("recovers");
    assert_eq!(recovered, Identity { generation: 2, ..identity("n2") });
    assert!(matches!(cluster.try_start("n2").await.err(), Some(LogError::OtherIdentity { .. })));
    // The other two still run, and reach it.
    let wire = Wire { from: NodeId::from("n2"), net: cluster.net.clone() };
    let alone = RaftLog::start(CONFIG, &cluster.path("n2"), recovered, wire).await.expect("starts");
    cluster.net.nodes.lock().expect("lock").insert(NodeId::from("n2"), alone.clone());
    alone.propose(command("alone")).await.expect("commits alone");
    cluster.node("n1").propose(command("the others")).await.expect("commits without it");
    assert!(kept(&alone.state()).is_superset(&before));
    let leadership = alone.leadership();
    assert!(leadership.is_self && leadership.voters == vec![NodeId::from("n2")], "{leadership:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_panics_stops_the_node_and_one_that_is_shut_down_is_closed() {
    let cluster = Cluster::of(&["n1"], CONFIG).await;
    let n1 = cluster.node("n1");
    let halted = n1.halted();
    n1.inner.raft.with_raft_state::<_, ()>(|_| panic!("on purpose")).await.expect_err("has no answer");
    eventually("its halt", || halted.borrow().is_some()).await;
    assert!(matches!(&*halted.borrow(), Some(LogError::Stopped(_))), "{:?}", halted.borrow());
    n1.propose(command("x")).await.expect_err("has stopped");
    cluster.stop("n1").await;
    drop(n1);
    cluster.start("n1").await;
    let halted = cluster.node("n1").halted();
    cluster.node("n1").propose(command("y")).await.expect("starts again");
    cluster.stop("n1").await;
    assert_eq!(*halted.borrow(), Some(LogError::Closed));
}
