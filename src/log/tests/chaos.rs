//! Random cuts, restarts and power losses under load; the answers are compared with the log afterwards.
//!
//! `Ok` must be in the log once, `NoLeader` must not be in it, `Unknown` may be there, but never twice.

use super::super::disk::LOG_FILE;
use super::super::types::Entry;
use super::{Cluster, Config, Wire, command, eventually};
use crate::log::RaftLog;
use crate::state::port::{Log as _, ProposeError};
use crate::state::{Command, snapshot as codec};
use openraft::{EntryPayload, RaftLogReader as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const CLIENTS: u64 = 4;
const FAULTS: usize = 14;

/// Which fault comes next. The schedule of threads is not repeatable, so neither is the test; the seed only varies it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[derive(Debug)]
enum Answer {
    Ok(u64),
    Never,
    Unknown,
}

async fn client(cluster: Arc<Cluster>, number: u64, stop: Arc<AtomicBool>) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = NAMES[(number + round) as usize % NAMES.len()];
        let node = cluster.net.nodes.lock().expect("lock").get(name).cloned();
        let Some(node): Option<RaftLog<Wire>> = node else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let text = format!("c{number}r{round}");
        let answer = match node.propose(command(&text)).await {
            Ok(applied) => Answer::Ok(applied.index.0),
            Err(ProposeError::NoLeader) => Answer::Never,
            Err(ProposeError::Unknown(_)) => Answer::Unknown,
            Err(ProposeError::TooLarge { .. }) => unreachable!("it is small"),
        };
        answers.push((text, answer));
    }
    answers
}

/// The file as a power loss would leave it, put in the place of the one that is in use.
async fn lose_power(cluster: &Cluster, name: &str) {
    cluster.cut(name);
    let path = cluster.path(name).join(LOG_FILE);
    // A copy takes time, a power loss none: only a copy during which nothing was written counts.
    let mut image = std::fs::read(&path).expect("reads");
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let again = std::fs::read(&path).expect("reads");
        if again == image {
            break;
        }
        image = again;
    }
    cluster.stop(name).await;
    std::fs::write(&path, image).expect("writes");
    cluster.start(name).await;
}

async fn fault(cluster: &Cluster, dice: &mut Dice) {
    let name = NAMES[dice.roll(NAMES.len())];
    match dice.roll(4) {
        0 => cluster.cut(name),
        1 => {
            let leader = cluster.leader().await;
            cluster.cut(leader.as_str());
        }
        2 => {
            cluster.stop(name).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            cluster.start(name).await;
        }
        _ => lose_power(cluster, name).await,
    }
    tokio::time::sleep(Duration::from_millis(100 + 100 * dice.roll(8) as u64)).await;
    cluster.heal();
    tokio::time::sleep(Duration::from_millis(50 * dice.roll(8) as u64)).await;
}

/// Where each text is in the log.
async fn written(log: &RaftLog<Wire>) -> BTreeMap<String, Vec<u64>> {
    let entries: Vec<Entry> = log.inner.store.clone().try_get_log_entries(..).await.expect("reads");
    let mut written: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for entry in entries {
        let EntryPayload::Normal(proposal) = entry.payload else { continue };
        for command in codec::decode_entry(&proposal.entry.0).expect("decodes").commands {
            if let Command::PutToken { token, .. } = command {
                written.entry(token.by).or_default().push(entry.log_id.index);
            }
        }
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_true_whatever_happens() {
    let config = Config { snapshot_entries: 1_000_000, propose_timeout: Duration::from_secs(1), ..super::CONFIG };
    let cluster = Arc::new(Cluster::of(&NAMES, config).await);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(client(cluster.clone(), n, stop.clone()))).collect();
    let mut dice = Dice(u64::from(std::process::id()));
    for _ in 0..FAULTS {
        fault(&cluster, &mut dice).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await.expect("ends"));
    }
    let leader = cluster.leader().await;
    eventually("the end", || {
        let log = cluster.node(leader.as_str());
        log.leadership().applied == log.leadership().last_log
    })
    .await;
    cluster.node(leader.as_str()).propose(command("the end")).await.expect("commits");
    cluster.agree(&NAMES).await;
    let logs =
        [written(&cluster.node("n1")).await, written(&cluster.node("n2")).await, written(&cluster.node("n3")).await];
    assert!(logs[0] == logs[1] && logs[1] == logs[2], "the logs differ");
    let mut count = [0; 3];
    for (text, answer) in &answers {
        let places = logs[0].get(text).map_or(&[][..], Vec::as_slice);
        match answer {
            Answer::Ok(index) => assert_eq!(places, [*index], "{text} was answered Ok"),
            Answer::Never => assert!(places.is_empty(), "{text} was answered NoLeader and is at {places:?}"),
            Answer::Unknown => assert!(places.len() <= 1, "{text} is there twice: {places:?}"),
        }
        count[match answer {
            Answer::Ok(_) => 0,
            Answer::Never => 1,
            Answer::Unknown => 2,
        }] += 1;
    }
    println!("ok {}, never {}, unknown {}", count[0], count[1], count[2]);
    assert!(count[0] > 50, "hardly anything was committed: {count:?}");
    cluster.stop_all().await;
}
