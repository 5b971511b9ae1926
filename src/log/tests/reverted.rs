//! Disks that went back in time: restored from a copy, emptied, or without their last writes.

use super::super::network::RpcKind;
use super::super::{LogError, MembershipError, Stand, raft_id};
use super::{CONFIG, Cluster, command, eventually, names, node};
use crate::state::port::{Log as _, ProposeError};
use std::path::Path;

const THREE: [&str; 3] = ["n1", "n2", "n3"];

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("makes a folder");
    for entry in std::fs::read_dir(from).expect("reads") {
        let entry = entry.expect("reads");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
    }
}

/// Three voters with something committed, and the leader's and a follower's name.
async fn three() -> (Cluster, String, String) {
    let cluster = Cluster::of(&THREE, CONFIG).await;
    cluster.node("n1").propose(command("first")).await.expect("commits");
    cluster.agree(&THREE).await;
    let leader = cluster.leader().await.to_string();
    let follower = THREE.into_iter().find(|name| *name != leader).expect("three").to_owned();
    (cluster, leader, follower)
}

/// Starts it, and waits until it has found out.
async fn is_refused(cluster: &Cluster, name: &str) -> String {
    cluster.start(name).await;
    let halted = cluster.node(name).halted();
    eventually("its halt", || halted.borrow().is_some()).await;
    let reason = halted.borrow().clone();
    let Some(LogError::Reverted { .. }) = &reason else { panic!("{reason:?}") };
    cluster.stop(name).await;
    let again = cluster.try_start(name).await.err().expect("is refused at once");
    assert_eq!(Some(&again), reason.as_ref());
    again.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_with_a_restored_disk_is_told_and_never_votes_with_it() {
    let (cluster, leader, follower) = three().await;
    cluster.stop(&follower).await;
    let copied = cluster.path("copy");
    copy(&cluster.path(&follower), &copied);
    cluster.start(&follower).await;
    // Seen by the leader alone, and only in its answers.
    cluster.node(&leader).propose(command("second")).await.expect("commits");
    cluster.agree(&THREE).await;
    cluster.stop(&follower).await;
    copy(&copied, &cluster.path(&follower));
    let words = is_refused(&cluster, &follower).await;
    assert!(words.contains("gone back in time") && words.contains("join this node under a new name"), "{words}");
    cluster.node(&leader).propose(command("third")).await.expect("the other two go on");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_leader_with_a_restored_disk_is_told_too() {
    let (cluster, leader, other) = three().await;
    cluster.stop(&leader).await;
    let copied = cluster.path("copy");
    copy(&cluster.path(&leader), &copied);
    cluster.start(&leader).await;
    cluster.node(&other).propose(command("second")).await.expect("commits");
    cluster.agree(&THREE).await;
    cluster.stop(&leader).await;
    copy(&copied, &cluster.path(&leader));
    is_refused(&cluster, &leader).await;
    cluster.node(&other).propose(command("third")).await.expect("the other two go on");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_remember_it_across_their_own_restarts() {
    let (cluster, leader, follower) = three().await;
    cluster.stop(&follower).await;
    let copied = cluster.path("copy");
    copy(&cluster.path(&follower), &copied);
    cluster.start(&follower).await;
    cluster.node(&leader).propose(command("second")).await.expect("commits");
    cluster.agree(&THREE).await;
    // One of the others is enough: the leader of then stays off.
    let witness = THREE.into_iter().find(|name| *name != follower && *name != leader).expect("three");
    let known = |name: &str| cluster.node(name).inner.admission.known.of(raft_id(&follower.as_str().into()));
    eventually("word of it at the third", || known(witness) == known(&leader)).await;
    cluster.stop_all().await;
    copy(&copied, &cluster.path(&follower));
    cluster.start(witness).await;
    is_refused(&cluster, &follower).await;
    assert!(!cluster.standing(witness).leadership.is_self, "nobody voted for it");
    cluster.start(&leader).await;
    cluster.node(witness).propose(command("third")).await.expect("the other two go on");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_with_an_emptied_disk_is_told_by_whoever_asks_for_its_vote() {
    let (cluster, leader, follower) = three().await;
    cluster.stop(&follower).await;
    std::fs::remove_dir_all(cluster.path(&follower)).expect("removes");
    let words = is_refused(&cluster, &follower).await;
    assert!(words.contains("it has term 0, no entry"), "{words}");
    cluster.node(&leader).propose(command("second")).await.expect("the other two go on");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_may_come_back_with_an_empty_disk() {
    let (cluster, leader, follower) = three().await;
    let leads = cluster.node(&leader);
    leads.remove(&follower.as_str().into()).await.expect("removes");
    cluster.stop(&follower).await;
    std::fs::remove_dir_all(cluster.path(&follower)).expect("removes");
    cluster.start(&follower).await;
    leads.add_learner(node(&follower)).await.expect("adds");
    leads.set_voters(names(&THREE)).await.expect("gives it its vote");
    cluster.agree(&THREE).await;
    assert_eq!(*cluster.node(&follower).halted().borrow(), None);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_start_without_the_third() {
    let (cluster, _, _) = three().await;
    cluster.stop_all().await;
    for name in ["n1", "n2"] {
        cluster.start(name).await;
    }
    cluster.node("n2").propose(command("second")).await.expect("commits with two of three");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alone_asks_and_does_not_stand() {
    let (cluster, _, _) = three().await;
    let term = cluster.standing("n1").leadership.term;
    cluster.stop_all().await;
    cluster.start("n1").await;
    eventually("its old term", || cluster.standing("n1").leadership.term == term).await;
    tokio::time::sleep(CONFIG.election_max * 4).await;
    assert_eq!(cluster.standing("n1").leadership.term, term, "its term would only rise");
    cluster.stop_all().await;
}

/// The power goes everywhere at once: whoever led does so again, in the same term, and nobody is elected.
async fn whole_site_stops(cluster: &Cluster, leader: &str) {
    for name in THREE.into_iter().filter(|name| *name != leader) {
        cluster.stop(name).await;
    }
    cluster.stop(leader).await;
}

/// Two entries of one term at one place would count as the same: nobody compares more than that.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_of_the_same_term_that_lost_its_tail_is_told_by_whoever_it_sent_it_to() {
    let (cluster, leader, other) = three().await;
    whole_site_stops(&cluster, &leader).await;
    let copied = cluster.path("copy");
    copy(&cluster.path(&leader), &copied);
    for name in THREE {
        cluster.start(name).await;
        if name != leader {
            cluster.node(name).allow_elections(Stand::Forbidden);
        }
    }
    assert_eq!(cluster.leader().await.as_str(), leader, "leads again, without an election");
    // Committed by what both others hold; nobody heard from the leader that it is.
    *cluster.net.appends_unanswered.lock().expect("lock") = true;
    let (before, leads) = (cluster.standing(&other).leadership.last_log, cluster.node(&leader));
    let proposed = tokio::spawn(async move { leads.propose(command("the tail")).await });
    let last = |name| cluster.standing(name).leadership.last_log;
    eventually("the tail at the others", || THREE.into_iter().all(|name| last(name) > before)).await;
    whole_site_stops(&cluster, &leader).await;
    proposed.abort();
    *cluster.net.appends_unanswered.lock().expect("lock") = false;
    copy(&copied, &cluster.path(&leader));
    for name in THREE.into_iter().filter(|name| *name != leader) {
        cluster.start(name).await;
    }
    is_refused(&cluster, &leader).await;
    cluster.node(&other).propose(command("after")).await.expect("the other two go on");
    assert!(cluster.state(&other).tokens.values().any(|token| token.by == "the tail"), "and with the tail");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_led_before_its_restart_leads_nobody_and_sends_nothing_before_it_has_asked() {
    let (cluster, leader, other) = three().await;
    whole_site_stops(&cluster, &leader).await;
    cluster.net.sent.lock().expect("lock").clear();
    cluster.start(&leader).await;
    let log = cluster.node(&leader);
    let metrics = log.inner.raft.metrics();
    eventually("its old place", || metrics.borrow().current_leader == Some(metrics.borrow().id)).await;
    let (term, last) = (metrics.borrow().current_term, metrics.borrow().last_log_index);
    tokio::time::sleep(CONFIG.election_max * 2).await;
    assert_eq!(log.leadership().leader, None);
    assert_eq!(log.propose_as_leader(term, command("x")).await, Err(ProposeError::NoLeader));
    assert_eq!(log.remove(&other.as_str().into()).await, Err(MembershipError::NotLeader { leader: None }));
    assert!(!log.confirm_leadership().await);
    assert_eq!(metrics.borrow().last_log_index, last);
    let sent = cluster.net.sent.lock().expect("lock").clone();
    assert_eq!(sent, [(leader.as_str().into(), RpcKind::Known)].into(), "it only asks");
    for name in THREE.into_iter().filter(|name| *name != leader) {
        cluster.start(name).await;
    }
    log.propose(command("second")).await.expect("commits with the others");
    cluster.agree(&THREE).await;
    cluster.stop_all().await;
}
