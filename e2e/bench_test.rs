//! Measurements, not tests: `make bench` runs them one after the other and prints a table. They assert only that nothing broke.
//!
//! Numbers hold for the machine and the moment; compare ratios. The lab's agents (nginx, IPaddr2, a power switch that
//! answers at once) are part of each outage.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON, quickstart};
use crate::lab::ProbeKind;

const VIP: &str = "10.77.0.100";
/// Enough for a median that a single stall does not move.
const RUNS: usize = 5;

/// One line of the table: median, least and most.
fn row(what: &str, mut values: Vec<Duration>) {
    values.sort();
    let ms = |value: &Duration| value.as_millis();
    let middle = ms(&values[values.len() / 2]);
    println!("| {what} | {} | {middle} ({}–{}) |", values.len(), ms(&values[0]), ms(&values[values.len() - 1]));
}

/// What a client misses while `fault` happens and until `back` is true.
fn outage(cluster: &Cluster, fault: impl FnOnce(), back: impl Fn() -> bool) -> Duration {
    let probe = cluster.lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    std::thread::sleep(Duration::from_millis(300));
    fault();
    cluster.lab.wait_until(SOON, "the service is back", back);
    std::thread::sleep(Duration::from_millis(300));
    probe.finish().gap()
}

fn whole(cluster: &Cluster) {
    cluster.lab.wait_until(SOON, "every node is back", || {
        cluster.lab.nodes().iter().all(|node| node.is_up()) && cluster.online("n1").len() == 3
    });
    cluster.settle();
}

#[test]
#[ignore = "a measurement: make bench"]
fn bench_outages() {
    let Some(cluster) = Cluster::quickstart() else { return };
    println!("\n| what | runs | ms: median (least–most) |\n|---|---|---|");
    for leads in [false, true] {
        let mut gaps = Vec::new();
        while gaps.len() < RUNS {
            let victim = cluster.served_by().expect("served");
            let leader = cluster.leader("n1").expect("a leader");
            if (leader == victim) != leads {
                let to = if leads { leader } else { cluster.other_than(&victim) };
                cluster.lab.node("n1").sh(&format!("hafen move web --to {to} --reason bench")).ok();
                whole(&cluster);
                continue;
            }
            let elsewhere = || cluster.served_by().is_some_and(|now| now != victim);
            gaps.push(outage(&cluster, || cluster.lab.node(&victim).off(), elsewhere));
            whole(&cluster);
        }
        let what = if leads { "power cut of the active node, which leads" } else { "power cut of the active node" };
        row(what, gaps);
    }
    let mut gaps = Vec::new();
    for _ in 0..RUNS {
        let node = cluster.served_by().expect("served");
        let kill = || {
            cluster.lab.node(&node).sh("kill -9 $(pidof nginx)").ok();
        };
        gaps.push(outage(&cluster, kill, || cluster.served_by().is_some()));
        cluster.settle();
        cluster.lab.node("n1").sh("hafen cleanup web").ok();
        cluster.settle();
    }
    row("all nginx processes killed", gaps);
    let mut gaps = Vec::new();
    for _ in 0..RUNS {
        let from = cluster.served_by().expect("served");
        let to = cluster.other_than(&from);
        let go = || {
            cluster.lab.node("n1").sh(&format!("hafen move web --to {to} --reason bench")).ok();
        };
        gaps.push(outage(&cluster, go, || cluster.served_by().as_deref() == Some(&to)));
        cluster.settle();
    }
    row("hafen move (ocf:heartbeat:nginx sleeps 1 s in its stop)", gaps);
}

#[test]
#[ignore = "a measurement: make bench"]
fn bench_cold_start() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let mut times = Vec::new();
    for _ in 0..3 {
        cluster.lab.nodes().iter().for_each(|node| node.off());
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for node in cluster.lab.nodes() {
                scope.spawn(move || node.on());
            }
        });
        cluster.lab.wait_until(SOON, "the service answers", || cluster.served_by().is_some());
        times.push(begin.elapsed());
        whole(&cluster);
    }
    row("cold start of three nodes to the first answer", times);
}

#[test]
#[ignore = "a measurement: make bench"]
fn bench_at_rest() {
    let Some(cluster) = Cluster::quickstart() else { return };
    for extra in [0, 100] {
        let mut manifests = quickstart();
        let dummy = |n| {
            format!(
                "---\napiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: d{n} }}\n\
                 spec: {{ agent: \"ocf:heartbeat:Dummy\" }}\n"
            )
        };
        manifests.insert("dummies.yaml".into(), (0..extra).map(dummy).collect());
        if extra > 0 {
            let begin = Instant::now();
            cluster.push("n1", &manifests, "").ok();
            cluster.settle();
            println!("| {extra} resources added by one push, to all running | 1 | {} |", begin.elapsed().as_millis());
        }
        let sample = |name: &str| {
            let node = cluster.lab.node(name);
            let pid = node.daemon_pid().expect("the daemon runs");
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
            let fields: Vec<u64> =
                stat.rsplit(") ").next().unwrap_or_default().split(' ').flat_map(str::parse).collect();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
            let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().to_owned();
            // The letter of the state does not parse: utime and stime are fields 14 and 15 of proc(5), from 1.
            (fields[10] + fields[11], rss.trim().to_owned())
        };
        let before: Vec<u64> = ["n1", "n2", "n3"].iter().map(|name| sample(name).0).collect();
        let time = Duration::from_secs(30);
        std::thread::sleep(time);
        for (name, before) in ["n1", "n2", "n3"].iter().zip(before) {
            let (ticks, rss) = sample(name);
            let share = (ticks - before) as f64 / 100.0 / time.as_secs_f64() * 100.0;
            println!("| daemon of {name} at rest, {} resources | 1 | {share:.2} % of a core, RSS {rss} |", extra + 2);
        }
    }
}
