//! Measurements, run by hand: `cargo test --lib log::tests::measure -- --ignored --nocapture`.

use super::{Cluster, Config, command};
use crate::state::port::Log as _;
use std::time::{Duration, Instant};

fn percentile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() - 1) * part / 100]
}

async fn one_profile(label: &str, config: Config) {
    let cluster = Cluster::of(&["n1", "n2", "n3"], config).await;
    let leader_name = cluster.leader().await;
    let leader = cluster.node(leader_name.as_str());
    let mut taken = Vec::new();
    for round in 0..300 {
        let start = Instant::now();
        leader.propose(command(&format!("r{}", round % 10))).await.expect("commits");
        taken.push(start.elapsed());
    }
    taken.sort();
    let rate = 300.0 / taken.iter().sum::<Duration>().as_secs_f64();
    println!("{label}: one client: {rate:.0}/s, p50 {:?}, p99 {:?}", percentile(&taken, 50), percentile(&taken, 99));
    let start = Instant::now();
    let clients: Vec<_> = (0..32)
        .map(|_| {
            let leader = leader.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    leader.propose(command("many")).await.expect("commits");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("ends");
    }
    println!("{label}: 32 clients: {:.0}/s", 640.0 / start.elapsed().as_secs_f64());
    let other = ["n1", "n2", "n3"].into_iter().find(|name| *name != leader_name.as_str()).expect("three");
    cluster.cut(leader_name.as_str());
    let start = Instant::now();
    cluster.node(other).propose(command("next")).await.expect("commits");
    println!("{label}: leader cut to next commit {:?}", start.elapsed());
    cluster.heal();
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rates_and_take_over() {
    for _ in 0..3 {
        one_profile("default", Config::DEFAULT).await;
        one_profile("fast", Config::FAST).await;
    }
}

/// Processor time of this process so far. Field 14 and 15 of proc(5), in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("reads");
    let after_name = stat.rsplit_once(')').expect("has a name").1;
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn cost_at_rest() {
    for (label, config) in [("default", Config::DEFAULT), ("fast", Config::FAST)] {
        let cluster = Cluster::of(&["n1", "n2", "n3"], config).await;
        let (start, before) = (Instant::now(), cpu());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let share = (cpu() - before).as_secs_f64() / start.elapsed().as_secs_f64() / 3.0;
        println!("{label}: {:.2} % of a core per node at rest", share * 100.0);
        let start = Instant::now();
        cluster.stop_all().await;
        println!("{label}: stopped three nodes in {:?}", start.elapsed());
        let start = Instant::now();
        for name in ["n1", "n2", "n3"] {
            cluster.start(name).await;
        }
        let leader = cluster.leader().await;
        cluster.node(leader.as_str()).propose(command("x")).await.expect("commits");
        println!("{label}: cold start of three nodes to the first commit {:?}", start.elapsed());
        cluster.stop_all().await;
    }
}
