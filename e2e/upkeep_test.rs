//! What a cluster lives through between its bad nights: devices that fail their checks, nodes that leave and come again,
//! copied machines, pushes whose receiver dies or whose stores are full.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Cluster, Manifests, SOON, quickstart};
use crate::lab::PduMode;
use crate::life_test::{membership, neither};
use crate::push_test::{basis, dummy};
use crate::pushed_test::drop_node;

/// The manifests with devices that are checked every two seconds.
fn checked_often(mut manifests: Manifests) -> Manifests {
    for text in manifests.values_mut() {
        *text = text.replace("  agent: fence_lab\n", "  agent: fence_lab\n  check: 2s\n");
    }
    manifests
}

fn problems(cluster: &Cluster, node: &str) -> Vec<String> {
    let status = cluster.status(node).unwrap_or_default();
    let problems = status["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn voters(cluster: &Cluster, seen_by: &str) -> usize {
    cluster.status(seen_by).and_then(|status| status["voters"].as_array().map(Vec::len)).unwrap_or_default()
}

#[test]
fn a_device_that_fails_its_check_is_told_once_and_a_test_waits_until_the_node_is_back() {
    let Some(cluster) = Cluster::with(3, &checked_often(quickstart())) else { return };
    cluster.settle();
    let checked = || cluster.status("n1").and_then(|status| status["devices"][0]["checkedMs"].as_u64());
    cluster.lab.wait_until(SOON, "the device was checked", || checked().is_some());
    let failing = || problems(&cluster, "n1").iter().any(|problem| problem.contains("cannot be used by"));
    assert!(!failing());

    cluster.lab.set_pdu("pdu-a", PduMode::Fails);
    cluster.lab.wait_until(SOON, "the failure is told by all", || {
        problems(&cluster, "n1").iter().any(|p| p.contains("cannot be used by n1, n2, n3"))
    });
    let told = cluster.hafen("n1", "status");
    eprintln!("a device that fails its check (exit {:?}):\n{}", told.status, told.stdout);
    assert_eq!(told.status, Some(1));
    let index = |cluster: &Cluster| cluster.status("n1").expect("asked")["index"].as_u64().expect("a number");
    let before = index(&cluster);
    std::thread::sleep(Duration::from_secs(6));
    let written = index(&cluster) - before;
    assert!(written <= 1, "{written} entries while nothing changed");

    cluster.lab.set_pdu("pdu-a", PduMode::Works);
    cluster.lab.wait_until(SOON, "it is fine again", || !failing());
    let events = cluster.events("n1");
    let news = events.lines().filter(|line| line.contains("FenceCheck"));
    assert_eq!(news.count(), 6, "three began to fail and three ended it: {events}");

    // A test of the drained node returns when it is back.
    let spare = cluster.other_than(&cluster.served_by().expect("served"));
    let asked = neither(&cluster, &[&spare]);
    cluster.hafen(&asked, &format!("drain {spare}")).ok();
    let boot = cluster.lab.node(&spare).boot_id();
    let begin = Instant::now();
    let told = cluster.hafen(&asked, &format!("fence test {spare} --yes"));
    eprintln!("hafen fence test {spare} ({} ms): {told:?}", begin.elapsed().as_millis());
    assert_eq!(told.status, Some(0), "{told:#?}");
    assert_eq!(membership(&cluster, &asked, &spare).as_deref(), Some("Online"));
    assert_ne!(cluster.lab.node(&spare).boot_id(), boot);
    cluster.hafen(&asked, &format!("undrain {spare}")).ok();
    cluster.settle();
}

#[test]
fn a_node_leaves_for_good_and_joins_again() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let lab = &cluster.lab;
    let gone = cluster.served_by().expect("served");
    let asked = cluster.other_than(&gone);
    let node = lab.node(&gone);
    let told = cluster.hafen(&gone, "leave");
    assert_eq!(told.status, Some(107), "it has a document: {told:#?}");
    assert!(told.stderr.contains("remove the document first"), "{told:#?}");

    let gap = cluster.gap_while(|_| {
        let mut manifests = quickstart();
        drop_node(&mut manifests, &gone);
        cluster.push(&asked, &manifests, "").ok();
        lab.wait_until(SOON, "its service runs elsewhere", || cluster.served_by().is_some_and(|by| by != gone));
        cluster.hafen(&gone, "leave --timeout 20s").ok();
    });
    eprintln!("a node that served was taken out: outage {} ms", gap.as_millis());
    lab.wait_until(SOON, "it is forgotten and has no vote", || {
        membership(&cluster, &asked, &gone).is_none() && voters(&cluster, &asked) == 2
    });
    assert_eq!(node.daemon_pid(), None, "its daemon ended");
    assert_eq!(node.sh("ls -d /var/lib/hafen/* | grep -v /left-").stdout, "", "nothing of it is left in use");
    let told = cluster.hafen(&gone, "agent");
    assert!(told.status != Some(0) && told.stderr.contains("hafen join"), "{told:#?}");

    let token = lab.node(&asked).sh("hafen token").ok();
    let number = gone.trim_start_matches('n');
    let join = format!("hafen join - --name {gone} --addresses 10.77.0.1{number},10.78.0.1{number}");
    node.sh(&format!("echo '{token}' | {join}")).ok();
    node.start_daemon();
    lab.wait_until(SOON, "it is online", || membership(&cluster, &asked, &gone).as_deref() == Some("Online"));
    cluster.push(&asked, &quickstart(), "").ok();
    lab.wait_until(SOON, "it votes again", || voters(&cluster, &asked) == 3);
    cluster.settle();
    cluster.hafen(&asked, &format!("move web --to {gone}")).ok();
    assert_eq!(cluster.served_by().as_deref(), Some(gone.as_str()));
}

#[test]
fn a_copied_machine_is_not_let_in_while_the_original_lives() {
    let Some(cluster) = Cluster::with(4, &quickstart()) else { return };
    let lab = &cluster.lab;
    lab.wait_until(SOON, "the web server answers", || cluster.served_by().is_some());
    cluster.settle();
    // n4 has no document: it runs nothing. It becomes a copy of n3 at its own addresses.
    let (copy, original) = (lab.node("n4"), lab.node("n3"));
    copy.stop_daemon();
    original.sh("tar -C /var/lib -cf /srv/shared/n3.tar hafen 2>/dev/null; true").ok();
    let boot = membership_boot(&cluster, "n1", "n3");
    copy.sh("rm -rf /var/lib/hafen && tar -C /var/lib -xf /srv/shared/n3.tar && rm -f /var/lib/hafen/hafen.sock && \
         sed -i 's/10\\.77\\.0\\.13/10.77.0.14/g; s/10\\.78\\.0\\.13/10.78.0.14/g' /var/lib/hafen/*.json")
        .ok();
    let gap = cluster.gap_while(|_| {
        copy.start_daemon();
        lab.wait_until(SOON, "somebody notices", || {
            problems(&cluster, "n1").iter().any(|problem| problem.contains("two machines have the identity of n3"))
        });
        std::thread::sleep(Duration::from_secs(4));
    });
    eprintln!("with a copy of n3 about: gap {} ms\n{}", gap.as_millis(), cluster.hafen("n1", "status").stdout);
    eprintln!("the copy says:\n{}", copy.sh("hafen status 2>&1").stdout);
    assert_eq!(membership_boot(&cluster, "n1", "n3"), boot, "the copy took the place of n3");
    assert_eq!(membership(&cluster, "n1", "n3").as_deref(), Some("Online"), "{}", cluster.events("n1"));
    assert!(!cluster.events("n1").contains("boot is over"), "{}", cluster.events("n1"));
    copy.kill_daemon();
    lab.wait_until(SOON, "it is over", || {
        !problems(&cluster, "n1").iter().any(|problem| problem.contains("two machines"))
    });
}

fn membership_boot(cluster: &Cluster, seen_by: &str, node: &str) -> Option<String> {
    let status = cluster.status(seen_by)?;
    let found = status["nodes"].as_array()?.iter().find(|n| n["name"] == node)?.clone();
    found["boot"].as_str().map(str::to_owned)
}

const REPO: &str = "/var/lib/hafen/repo.git";

fn variant(number: u64) -> Manifests {
    let mut tree = basis();
    let more = format!("  operations: {{ monitor: {{ interval: {}s, timeout: 20s }} }}\n", number + 10);
    tree.insert("dummies.yaml".into(), dummy("d0", "/run/d0", &more));
    tree
}

/// The receiver cannot move its `main` (the log of that branch is a pipe that nobody reads), which it does between the
/// commit and its answer: so it dies after the proposal, and before it could say so.
#[test]
fn a_receiver_that_dies_after_the_proposal_leaves_the_new_target_and_never_said_no() {
    let Some(cluster) = Cluster::with(3, &variant(0)) else { return };
    cluster.settle();
    for (round, receiver) in ["n2", "n3", "n1"].into_iter().enumerate() {
        cluster.agreed();
        let node = cluster.lab.node(receiver);
        let other = cluster.other_than(receiver);
        cluster.commit(node, &variant(round as u64 + 1));
        let wanted = node.sh("git -C /root/manifests rev-parse HEAD").ok();
        node.sh(&format!(
            "set -e; git -C {REPO} config core.logAllRefUpdates always; mkdir -p {REPO}/logs/refs/heads; \
             rm -f {REPO}/logs/refs/heads/main; mkfifo {REPO}/logs/refs/heads/main"
        ))
        .ok();
        let pushed = std::thread::scope(|scope| {
            let push = scope.spawn(|| node.sh(&format!("cd /root/manifests && git push {REPO} main 2>&1")));
            cluster.lab.wait_until(SOON, "the others follow it", || cluster.target(&other) == wanted);
            std::thread::sleep(Duration::from_millis(200));
            assert!(!push.is_finished(), "it was answered");
            node.kill_daemon();
            push.join().expect("no panic")
        });
        eprintln!("killed after the proposal, the pusher sees:\n{}", pushed.stdout);
        assert!(!pushed.success(), "{pushed:#?}");
        assert!(pushed.stdout.contains("UNKNOWN"), "it was told `no`, or nothing: {pushed:#?}");
        node.sh(&format!("rm {REPO}/logs/refs/heads/main; git -C {REPO} config --unset core.logAllRefUpdates")).ok();
        node.start_daemon();
        assert_eq!(cluster.agreed(), wanted);
        let again = node.sh(&format!("cd /root/manifests && git push {REPO} main 2>&1"));
        assert!(again.success(), "a push of what is the target already: {again:#?}");
        assert_eq!(cluster.agreed(), wanted);
        let told = cluster.hafen(&other, &format!("status --revision {wanted}"));
        assert_eq!(told.status, Some(0), "{told:#?}");
    }
    cluster.settle();
}

#[test]
fn a_full_disk_of_another_node_stops_no_push_and_is_made_up_for() {
    let Some(cluster) = Cluster::with(3, &variant(0)) else { return };
    cluster.settle();
    cluster.agreed();
    let full = cluster.lab.node("n3");
    full.sh(&format!(
        "set -e; cp -a {REPO} /tmp/repo; mount -t tmpfs -o size=1m repo {REPO}; cp -a /tmp/repo/. {REPO}/; \
         dd if=/dev/zero of={REPO}/filler bs=1k count=10000 2>/dev/null || true"
    ))
    .ok();
    let mut large = variant(1);
    let noise = cluster.lab.node("n2").sh("head -c 60000 /dev/urandom | base64 -w 100 | sed 's/^/# /'").ok();
    large.insert("noise.yaml".into(), noise);
    let begin = Instant::now();
    cluster.push("n2", &large, "").ok();
    eprintln!("pushed in {} ms while the disk of n3 is full", begin.elapsed().as_millis());
    let wanted = cluster.lab.node("n2").sh("git -C /root/manifests rev-parse HEAD").ok();
    cluster.lab.wait_until(SOON, "all follow it, n3 without its objects", || {
        ["n1", "n2", "n3"].iter().all(|name| cluster.target(name) == wanted)
    });
    assert_ne!(cluster.main("n3"), wanted, "its disk was not full");
    cluster.settle();
    full.sh(&format!("rm {REPO}/filler")).ok();
    assert_eq!(cluster.agreed(), wanted, "n3 got them when there was room");
}
