//! Going on alone with what one node has: log and snapshot must fit.

use super::super::snapshot::SNAPSHOT_FILE;
use super::super::types::{Body, SnapshotMeta};
use super::super::{Alone, LogError, RaftLog, generation_of, machine, store};
use super::disk::filled;
use super::{CONFIG, Cluster, Wire, command, eventually, identity, node};
use crate::model::NodeId;
use crate::state::port::Log as _;
use crate::state::{State, snapshot as codec};
use openraft::storage::RaftStateMachine as _;
use openraft::testing::log_id;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_on_without_the_snapshot_that_holds_what_was_purged() {
    let config = super::Config { snapshot_entries: 50, keep_entries: 10, ..CONFIG };
    let cluster = Cluster::of(&["n1"], config).await;
    let n1 = cluster.node("n1");
    for round in 0..120 {
        n1.propose(command(&format!("r{round}"))).await.expect("commits");
    }
    let metrics = n1.inner.raft.metrics();
    eventually("a purge", || metrics.borrow().purged.is_some()).await;
    cluster.stop("n1").await;
    drop(n1);
    let (path, aside) = (cluster.path("n1").join(SNAPSHOT_FILE), cluster.path("n1").join("aside"));
    std::fs::rename(&path, &aside).expect("renames");
    let refused = Alone::prepare(&cluster.path("n1"), &identity("n1"), node("n1")).err();
    assert!(matches!(refused, Some(LogError::Corrupt { .. })), "{refused:?}");
    assert_eq!(refused, cluster.try_start("n1").await.err(), "as a start would say");
    // Once that has let go of the log.
    eventually("its generation, unchanged", || generation_of(&cluster.path("n1")) == Ok(Some(1))).await;
    std::fs::rename(&aside, &path).expect("renames");
    let alone = Alone::prepare(&cluster.path("n1"), &identity("n1"), node("n1")).expect("can go on");
    assert_eq!(alone.go_on().expect("goes on").generation, 2);
}

/// As a node is that died between the snapshot from its leader and the purge.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_reaches_beyond_the_log_is_gone_on_from() {
    let dir = tempfile::tempdir().expect("temp dir");
    filled(dir.path(), 5).await;
    let published = machine::Published::new();
    let mut machine = machine::Machine::open(dir.path(), published, store::Halt::new()).expect("opens");
    let meta = SnapshotMeta { last_log_id: Some(log_id(3, 0, 9)), ..SnapshotMeta::default() };
    let body = Body(codec::encode(&State::default()).into());
    machine.install_snapshot(&meta, Box::new(body)).await.expect("installs");
    drop(machine);
    let alone = Alone::prepare(dir.path(), &identity("n1"), node("n1")).expect("can go on");
    let recovered = alone.go_on().expect("goes on");
    for text in ["first", "after another start"] {
        let wire = Wire { from: NodeId::from("n1"), net: Arc::default() };
        let log = RaftLog::start(CONFIG, dir.path(), recovered.clone(), wire).await.expect("starts");
        let applied = log.propose(command(text)).await.expect("commits alone");
        assert!(applied.index.0 > 10, "{applied:?}");
        assert_eq!(log.leadership().voters, vec![NodeId::from("n1")]);
        log.shutdown().await;
    }
}
