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

/// Plain resources, for numbers.
fn dummies(count: usize) -> String {
    let dummy = |n| {
        format!(
            "---\napiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: d{n} }}\n\
             spec: {{ agent: \"ocf:heartbeat:Dummy\" }}\n"
        )
    };
    (0..count).map(dummy).collect()
}

/// When something was logged.
fn logged_at(line: &str) -> Option<jiff::Timestamp> {
    line.split_whitespace().next()?.parse().ok()
}

/// Of the newest target, as the nodes' logs tell: from the moment it was applied to the first and to the last start.
fn starts(cluster: &Cluster) -> Option<(Duration, Duration)> {
    let logs: Vec<String> = cluster.lab.nodes().iter().map(|node| node.logs()).collect();
    let lines = || logs.iter().flat_map(|log| log.lines());
    // The newest target is the one that was seen last; the first node that saw it.
    let told = |line: &&str| line.contains("a new target");
    let newest = lines().filter(told).max_by_key(|line| logged_at(line))?.split("revision=").nth(1)?;
    let target = lines().filter(told).filter(|line| line.contains(newest)).filter_map(logged_at).min()?;
    let begun =
        lines().filter(|line| line.contains("an agent ended") && line.contains("op=start")).filter_map(|line| {
            let took: i64 = line.split(" ms=").nth(1)?.split_whitespace().next()?.parse().ok()?;
            let begun = logged_at(line)?.as_millisecond() - took - target.as_millisecond();
            u64::try_from(begun).ok().map(Duration::from_millis)
        });
    let begun: Vec<Duration> = begun.collect();
    Some((begun.iter().min().copied()?, begun.iter().max().copied()?))
}

#[test]
#[ignore = "a measurement: make bench"]
fn bench_pushes() {
    let Some(cluster) = Cluster::quickstart() else { return };
    println!("\n| what | runs | ms: median (least–most) |\n|---|---|---|");
    let mut manifests = quickstart();
    let mut push = |count: usize| {
        manifests.insert("dummies.yaml".into(), dummies(count));
        cluster.push("n1", &manifests, "").ok();
        cluster.lab.wait_until(SOON, "all run", || {
            let status = cluster.status("n1").unwrap_or_default();
            let resources = status["resources"].as_array().cloned().unwrap_or_default();
            resources.iter().filter(|resource| resource["phase"] == "Running").count() == count + 2
        });
        cluster.settle();
        starts(&cluster).expect("the logs tell")
    };
    let first = (1..=RUNS).map(|count| push(count).0).collect();
    row("one resource added by a push: applied to its start", first);
    let (first, last) = push(100 + RUNS);
    row("100 resources added by one push: applied to the first start", vec![first]);
    row("100 resources added by one push: applied to the last start", vec![last]);
}

/// Processor time and wake-ups of a daemon so far, by the names of its threads; a thread of which nothing is known any
/// more counts for nothing.
fn spent(pid: i32) -> std::collections::BTreeMap<String, (u64, u64)> {
    let mut spent = std::collections::BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let first = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0u64);
        let status = read("status");
        let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap_or_default();
        let entry: &mut (u64, u64) = spent.entry(read("comm").trim().to_owned()).or_default();
        entry.0 += first(&read("schedstat"));
        entry.1 += first(waits);
    }
    spent
}

#[test]
#[ignore = "a measurement: make bench"]
fn bench_at_rest() {
    let Some(cluster) = Cluster::quickstart() else { return };
    println!("\n| at rest | % of a core | RSS | by thread: %, wake-ups a second |\n|---|---|---|---|");
    // The quickstart has two.
    for resources in [3, 103] {
        let mut manifests = quickstart();
        manifests.insert("dummies.yaml".into(), dummies(resources - 2));
        cluster.push("n1", &manifests, "").ok();
        cluster.settle();
        // What a push leaves to do (metadata, objects) is done.
        std::thread::sleep(Duration::from_secs(5));
        let leader = cluster.leader("n1").unwrap_or_default();
        let pids = ["n1", "n2", "n3"].map(|name| (name, cluster.lab.node(name).daemon_pid().expect("it runs")));
        let before = pids.map(|(_, pid)| (cpu_time(pid), spent(pid)));
        let time = Duration::from_secs(30);
        std::thread::sleep(time);
        for ((name, pid), (cpu_before, before)) in pids.into_iter().zip(before) {
            let share = (cpu_time(pid) - cpu_before).as_secs_f64() / time.as_secs_f64() * 100.0;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
            let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default().trim();
            let thread = |(thread, (ns, waits)): (String, (u64, u64))| {
                let (ns_before, waits_before) = before.get(&thread).copied().unwrap_or_default();
                let share = ns.saturating_sub(ns_before) as f64 / time.as_nanos() as f64 * 100.0;
                format!("{thread} {share:.2} {:.0}", waits.saturating_sub(waits_before) as f64 / time.as_secs_f64())
            };
            let threads: Vec<String> = spent(pid).into_iter().map(thread).collect();
            let leads = if leader == name { ", leads" } else { "" };
            println!("| {resources} resources, {name}{leads} | {share:.2} | {rss} | {} |", threads.join(" · "));
        }
    }
}

/// Processor time of a process, threads that ended included. Not the ticks of `/proc/PID/stat`: those are samples, and a
/// thread that wakes every 100 ms meets them always or never.
fn cpu_time(pid: i32) -> Duration {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).expect("it lives");
    Duration::from(nix::time::clock_gettime(clock).expect("it lives"))
}
