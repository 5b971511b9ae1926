//! The life of a daemon and of its node: killed, replaced, stopped, rebooted, frozen, alone.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Manifests, SOON, UNDISTURBED, quickstart};
use crate::lab::{Lab, ProbeKind};

const VIP: &str = "10.77.0.100";

/// The processes of the web server of a node: the master and its workers, not the agent's short-lived ones.
fn web_pids(cluster: &Cluster, node: &str) -> String {
    let pids = "master=$(cat /run/nginx.pid) && echo $master $(pgrep -P $master | sort -n)";
    cluster.lab.node(node).sh(pids).ok()
}

/// How often daemons of a node have joined, as another node remembers it.
pub fn joins(cluster: &Cluster, seen_by: &str, node: &str) -> usize {
    cluster.events(seen_by).matches(&format!("{node} joined (boot")).count()
}

pub fn membership(cluster: &Cluster, seen_by: &str, node: &str) -> Option<String> {
    let status = cluster.status(seen_by)?;
    let found = status["nodes"].as_array()?.iter().find(|n| n["name"] == node)?.clone();
    found["membership"].as_str().map(str::to_owned)
}

pub fn was_fenced(cluster: &Cluster, seen_by: &str) -> bool {
    cluster.status(seen_by).is_some_and(|status| status["fencing"].as_array().is_some_and(|list| !list.is_empty()))
}

/// Another node that is up, other than these.
pub fn neither(cluster: &Cluster, names: &[&str]) -> String {
    let found = cluster.lab.nodes().into_iter().find(|node| !names.contains(&node.name()) && node.is_up());
    found.expect("another node is up").name().to_owned()
}

#[test]
fn a_daemon_that_is_killed_or_replaced_disturbs_no_service() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let lab = &cluster.lab;
    let active = cluster.served_by().expect("served");
    let other = cluster.other_than(&active);
    let pids = web_pids(&cluster, &active);

    let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    let node = lab.node(&active);
    let began = Instant::now();
    node.kill_daemon();
    node.start_daemon();
    lab.wait_until(SOON, "the new daemon has joined", || joins(&cluster, &other, &active) >= 2);
    let rejoined = began.elapsed();
    cluster.settle();
    let gap = probe.finish().gap();
    eprintln!("kill -9 of the daemon: joined again after {} ms, gap {} ms", rejoined.as_millis(), gap.as_millis());
    assert!(gap < UNDISTURBED, "clients saw a gap of {gap:?}");
    assert_eq!(web_pids(&cluster, &active), pids, "the web server was touched");
    assert!(!was_fenced(&cluster, &other));

    // The new daemon watches what it adopted.
    let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    std::thread::sleep(Duration::from_millis(50));
    node.sh("kill -9 $(pgrep -x nginx)").ok();
    let killed = Instant::now();
    lab.wait_until(SOON, "the web server is back", || probe.who_after(killed).is_some());
    let gap = probe.finish().gap();
    eprintln!("service killed after adoption: outage {} ms", gap.as_millis());
    assert!(gap > Duration::from_millis(10), "nothing was killed");
    // Its monitor comes every 10 s: this one came because of the death. The rest is the agent's own time.
    assert!(gap < Duration::from_secs(5), "a death was noticed late: {gap:?}");
    cluster.settle();

    // An upgrade: another binary, and a planned restart, node by node.
    let pids = web_pids(&cluster, &active);
    let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    let copy = lab.dir().join("hafen.next");
    std::fs::copy(crate::lab::default_binary().expect("it was installed"), &copy).expect("the lab is writable");
    let leader = cluster.leader(&other).expect("led");
    let mut order: Vec<String> = lab.nodes().iter().map(|node| node.name().to_owned()).collect();
    order.sort_by_key(|name| *name == leader);
    for name in order {
        let node = lab.node(&name);
        let asked = cluster.other_than(&name);
        let before = joins(&cluster, &asked, &name);
        node.install(&copy);
        node.stop_daemon();
        node.start_daemon();
        lab.wait_until(SOON, "the upgraded daemon has joined", || joins(&cluster, &asked, &name) > before);
        cluster.settle();
    }
    let gap = probe.finish().gap();
    eprintln!("upgrade of all three, the leader last: gap {} ms", gap.as_millis());
    assert!(gap < UNDISTURBED, "clients saw a gap of {gap:?}");
    assert_eq!(web_pids(&cluster, &active), pids, "the web server was touched");
    assert!(!was_fenced(&cluster, &other), "somebody was fenced for a short restart");
}

/// A service that takes its time: its process works in `/srv/shared/slow`, where an observer counts nodes.
fn slow(delay: u32) -> Manifests {
    let text = format!(
        "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: slow }}\nspec:\n  agent: ocf:lab:slow\n  \
         params: {{ delay: \"{delay}\" }}\n  operations:\n    start: {{ timeout: 20s }}\n    stop: {{ timeout: 20s }}\n    \
         monitor: {{ interval: 1s, timeout: 5s }}\n"
    );
    let mut files = quickstart();
    files.remove("web.yaml");
    files.insert("slow.yaml".into(), text);
    files
}

const SLOW_AGENT: &str = r#"#!/bin/bash
# Starts and stops after OCF_RESKEY_delay seconds.
pidfile=/run/slow.pid
running() { [ -e $pidfile ] && kill -0 "$(cat $pidfile)" 2>/dev/null; }
note() { echo "$(date +%s.%N) $(hostname) $1" >>/srv/shared/slow.log; }
case $1 in
meta-data)
    echo '<?xml version="1.0"?><resource-agent name="slow" version="1"><version>1.0</version><parameters>'
    echo '<parameter name="delay" unique="0"><content type="string" default="1"/></parameter></parameters><actions>'
    for action in start stop monitor meta-data; do echo "<action name=\"$action\" timeout=\"20s\" interval=\"1s\"/>"; done
    echo '</actions></resource-agent>' ;;
start)
    running && exit 0
    note start
    sleep "$OCF_RESKEY_delay"
    cd /srv/shared/slow || exit 1
    setsid sleep infinity </dev/null >/dev/null 2>&1 &
    echo $! >$pidfile
    note started ;;
stop)
    running || exit 0
    note stop
    sleep "$OCF_RESKEY_delay"
    kill "$(cat $pidfile)"
    while running; do sleep 0.01; done
    rm -f $pidfile
    note stopped ;;
monitor) running && exit 0; exit 7 ;;
*) exit 3 ;;
esac
exit 0
"#;

fn prepare_slow(lab: &Lab) {
    std::fs::create_dir_all(lab.shared().join("slow")).expect("the lab is writable");
    for node in lab.nodes() {
        node.sh(&format!(
            "mkdir -p /usr/lib/ocf/resource.d/lab && cat >/usr/lib/ocf/resource.d/lab/slow <<'AGENT'\n{SLOW_AGENT}\nAGENT\n\
             chmod 755 /usr/lib/ocf/resource.d/lab/slow"
        ))
        .ok();
    }
}

/// What the slow service wrote: `node action` in order.
fn slow_log(lab: &Lab) -> Vec<String> {
    let text = std::fs::read_to_string(lab.shared().join("slow.log")).unwrap_or_default();
    text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
}

fn slow_runs(lab: &Lab, node: &str) -> usize {
    let count = lab.node(node).sh("pgrep -cx -f 'sleep infinity'").stdout;
    count.trim().parse().unwrap_or_default()
}

#[test]
fn an_operation_whose_end_the_daemon_did_not_see_is_settled() {
    let Some(cluster) = Cluster::new(3) else { return };
    let lab = &cluster.lab;
    prepare_slow(lab);
    let watch = lab.watch_directory("sleep", "slow");
    cluster.push("n1", &slow(1), "").ok();
    lab.wait_until(SOON, "the slow start begins", || slow_log(lab).iter().any(|line| line.ends_with(" start")));
    let first = slow_log(lab)[0].split(' ').next().expect("a node").to_owned();

    lab.node(&first).kill_daemon();
    std::thread::sleep(Duration::from_millis(100));
    lab.node(&first).start_daemon();
    lab.wait_until(SOON, "it runs", || cluster.runs_on(&first, "slow").is_some());
    cluster.settle();
    eprintln!("killed during a start: {:?}", slow_log(lab));
    assert_eq!(lab.nodes().iter().map(|node| slow_runs(lab, node.name())).sum::<usize>(), 1);

    let runs = cluster.runs_on(&first, "slow").expect("it runs");
    let to = neither(&cluster, &[&runs]);
    lab.node(&to).sh(&format!("hafen move slow --to {to} --reason test --no-wait")).ok();
    lab.wait_until(SOON, "the slow stop begins", || slow_log(lab).iter().any(|line| line.ends_with(" stop")));
    lab.node(&runs).kill_daemon();
    std::thread::sleep(Duration::from_millis(100));
    lab.node(&runs).start_daemon();
    lab.wait_until(SOON, "it runs elsewhere", || cluster.runs_on(&to, "slow").as_deref() == Some(&to));
    cluster.settle();
    eprintln!("killed during a stop: {:?}", slow_log(lab));
    assert_eq!(slow_runs(lab, &to), 1);
    assert_eq!(slow_runs(lab, &runs), 0);
    let seen = watch.finish();
    assert_eq!(seen.overlap, Duration::ZERO, "it ran twice: {:?}", seen.holders);
    assert!(!was_fenced(&cluster, &to), "{}", cluster.events(&to));
}

#[test]
fn a_silent_daemon_is_fenced_and_a_planned_restart_is_waited_for() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let lab = &cluster.lab;
    let active = cluster.served_by().expect("served");
    let other = cluster.other_than(&active);
    let node = lab.node(&active);

    // Planned: away for longer than `suspectAfter`, and nobody minds.
    let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    node.stop_daemon();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(membership(&cluster, &other, &active).as_deref(), Some("Online"), "{}", cluster.events(&other));
    node.start_daemon();
    lab.wait_until(SOON, "the daemon has joined", || joins(&cluster, &other, &active) >= 2);
    cluster.settle();
    let gap = probe.finish().gap();
    eprintln!("planned restart that took 3 s: gap {} ms", gap.as_millis());
    assert!(gap < UNDISTURBED, "clients saw a gap of {gap:?}");
    assert!(!was_fenced(&cluster, &other));

    // Unplanned: it may be anything, so it is fenced.
    let watch = lab.watch_vip(VIP);
    let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    std::thread::sleep(Duration::from_millis(50));
    let killed = Instant::now();
    let boot = node.boot_id();
    node.kill_daemon();
    lab.wait_until(SOON, "it serves elsewhere", || probe.who_after(killed).is_some_and(|who| who.trim() != active));
    let gap = probe.finish().gap();
    assert_eq!(watch.finish().overlap, Duration::ZERO);
    eprintln!("daemon killed and not restarted: fenced, outage {} ms", gap.as_millis());
    lab.wait_until(SOON, "the fenced node is back", || {
        node.is_up() && membership(&cluster, &other, &active).as_deref() == Some("Online") && node.boot_id() != boot
    });
    cluster.settle();
}

/// Waits until the service answers, and returns how long it took.
fn served_within(cluster: &Cluster, what: &str) -> Duration {
    let began = Instant::now();
    cluster.lab.wait_until(SOON, what, || cluster.served_by().is_some());
    began.elapsed()
}

#[test]
fn nodes_are_rebooted_one_by_one_and_all_at_once() {
    let Some(cluster) = Cluster::new(3) else { return };
    let lab = &cluster.lab;
    let mut manifests = quickstart();
    let text = manifests.get_mut("cluster.yaml").expect("it has one");
    *text = text.replace("spec: {}", "spec: { joinGrace: 5s }");
    cluster.push("n1", &manifests, "").ok();
    served_within(&cluster, "the web server answers");
    cluster.settle();

    let watch = lab.watch_vip(VIP);
    for name in ["n1", "n2", "n3"] {
        let node = lab.node(name);
        let other = cluster.other_than(name);
        let active = cluster.served_by().as_deref() == Some(name);
        let probe = lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
        let began = Instant::now();
        node.sh("hafen agent --stop --timeout 20s").ok();
        let stopped = began.elapsed();
        assert_eq!(membership(&cluster, &other, name).as_deref(), Some("Left"));
        node.off();
        std::thread::sleep(Duration::from_secs(2));
        node.on();
        lab.wait_until(SOON, "it is back", || membership(&cluster, &other, name).as_deref() == Some("Online"));
        cluster.settle();
        let gap = probe.finish().gap();
        eprintln!(
            "reboot of {name} (served: {active}): left after {} ms, gap {} ms",
            stopped.as_millis(),
            gap.as_millis()
        );
        assert!(gap < Duration::from_secs(10), "moving took {gap:?}");
        assert!(!was_fenced(&cluster, &other), "{}", cluster.events(&other));
    }
    assert_eq!(watch.finish().overlap, Duration::ZERO);

    // A power cut of everything.
    let off_and_on = |names: &[&str]| {
        lab.nodes().iter().for_each(|node| node.off());
        let began = Instant::now();
        std::thread::scope(|scope| {
            for name in names {
                scope.spawn(|| lab.node(name).on());
            }
        });
        let up = began.elapsed();
        served_within(&cluster, "the service is back");
        (up, began.elapsed())
    };
    let (up, served) = off_and_on(&["n1", "n2", "n3"]);
    eprintln!("cold start: nodes up after {} ms, served after {} ms", up.as_millis(), served.as_millis());
    cluster.settle();
    assert!(served < Duration::from_secs(20), "a cold start took {served:?}");
    assert!(!was_fenced(&cluster, "n1"), "{}", cluster.events("n1"));

    // The one that ran the service does not come back: it is given `joinGrace`, then it is fenced.
    let active = cluster.served_by().expect("served");
    let rest: Vec<&str> = ["n1", "n2", "n3"].into_iter().filter(|name| *name != active).collect();
    let watch = lab.watch_vip(VIP);
    let (up, served) = off_and_on(&rest);
    eprintln!("cold start without {active}: up after {} ms, served after {} ms", up.as_millis(), served.as_millis());
    assert!(served > Duration::from_secs(4), "nobody waited for {active}: {served:?}");
    assert_eq!(watch.finish().overlap, Duration::ZERO);
    lab.wait_until(SOON, "it was fenced and switched on", || {
        membership(&cluster, rest[0], &active).as_deref() == Some("Online")
    });
    cluster.settle();
}

#[test]
fn a_node_that_was_away_catches_up() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let lab = &cluster.lab;
    let away = neither(&cluster, &[&cluster.served_by().expect("served")]);
    let other = cluster.other_than(&away);
    lab.node(&away).sh("hafen agent --stop --timeout 20s").ok();
    lab.node(&away).off();
    let commits = "for i in $(seq 25); do hafen maintenance on --resource web --reason $i && hafen maintenance off --resource web; done";
    let done = lab.node(&other).sh(commits);
    assert!(done.success(), "{done:?}");
    lab.node(&away).on();
    let began = Instant::now();
    lab.wait_until(SOON, "all have the same index", || {
        let index = |name: &str| cluster.status(name).map(|status| status["index"].clone());
        let there = index(&away);
        there.is_some() && there == index(&other) && membership(&cluster, &away, &away).as_deref() == Some("Online")
    });
    eprintln!("a node that missed 50 commits has them {} ms after it is up", began.elapsed().as_millis());
}
