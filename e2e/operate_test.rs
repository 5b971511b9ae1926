//! What an operator does by hand: drain, move, maintenance, cleanup, fence; and what remains of it: nothing.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON};

#[test]
fn drain_move_and_maintenance_do_what_they_say_and_leave_nothing_behind() {
    let Some(cluster) = Cluster::quickstart() else { return };
    a_dry_run_changes_nothing(&cluster);
    what_cannot_be_done_is_refused_at_once(&cluster);
    a_drained_node_is_empty_and_a_move_stays(&cluster);
    a_drain_expires(&cluster);
    in_maintenance_nothing_is_done(&cluster);
    a_node_is_fenced_by_hand(&cluster);
}

fn overrides(cluster: &Cluster) -> usize {
    let status = cluster.status(&cluster.other_than("")).expect("asked");
    status["overrides"].as_array().map_or(0, Vec::len)
}

fn a_dry_run_changes_nothing(cluster: &Cluster) {
    let active = cluster.served_by().expect("served");
    let state = |cluster: &Cluster| {
        let status = cluster.status("n1").expect("asked");
        (status["overrides"].clone(), status["resources"].clone())
    };
    let before = state(cluster);
    let to = cluster.other_than(&active);
    for dry in [format!("drain {active} --dry-run"), format!("move web --to {to} --dry-run")] {
        let told = cluster.hafen("n1", &dry);
        eprintln!("hafen {dry}\n{}", told.stdout);
        assert_eq!(told.status, Some(0), "{told:#?}");
        assert!(told.stdout.contains(&format!("{active} -> ")), "{told:#?}");
    }
    for dry in ["maintenance on --dry-run", "cleanup web --dry-run"] {
        let told = cluster.hafen("n1", dry);
        eprintln!("hafen {dry}: {told:?}");
        assert_eq!(told.status, Some(0), "{told:#?}");
    }
    assert_eq!(state(cluster), before);
}

fn what_cannot_be_done_is_refused_at_once(cluster: &Cluster) {
    let to = cluster.other_than(&cluster.served_by().expect("served"));
    cluster.hafen("n1", &format!("maintenance on --node {to}")).ok();
    let begin = Instant::now();
    for dry in ["", " --dry-run"] {
        let told = cluster.hafen("n1", &format!("move web --to {to}{dry}"));
        eprintln!("hafen move web --to {to}{dry}: {told:?}");
        assert_eq!(told.status, Some(107), "{told:#?}");
        assert!(told.stderr.contains("is in maintenance") && told.stderr.contains("hint: `hafen maintenance off`"));
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "it waited");
    cluster.hafen("n1", &format!("maintenance off --node {to}")).ok();
    cluster.settle();
    assert_eq!(overrides(cluster), 0);
}

fn a_drained_node_is_empty_and_a_move_stays(cluster: &Cluster) {
    let from = cluster.served_by().expect("served");
    let gap = cluster.gap_while(|_| {
        cluster.hafen("n1", &format!("drain {from} --reason 'new disk'")).ok();
        let status = cluster.status(&from).expect("asked");
        let rows = status["resources"].as_array().cloned().unwrap_or_default();
        assert!(!rows.iter().any(|row| row["node"] == *from && !row["phase"].is_null()), "not empty: {rows:#?}");
        cluster.settle();
    });
    eprintln!("drain {from}: outage {} ms", gap.as_millis());
    let now = cluster.served_by().expect("served");
    assert_ne!(now, from);
    assert_eq!(overrides(cluster), 1);

    cluster.hafen(&from, &format!("undrain {from}")).ok();
    cluster.settle();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(overrides(cluster), 0);
    assert_eq!(cluster.served_by().as_ref(), Some(&now), "an undrain moves nothing");

    let gap = cluster.gap_while(|_| {
        cluster.hafen("n1", &format!("move web --to {from}")).ok();
        assert_eq!(cluster.runs_on(&from, "web-server").as_ref(), Some(&from));
    });
    eprintln!("move to {from}: outage {} ms", gap.as_millis());
    cluster.lab.wait_until(SOON, "no override remains", || overrides(cluster) == 0);
    std::thread::sleep(Duration::from_millis(300));
    cluster.settle();
    assert_eq!(cluster.served_by().as_ref(), Some(&from), "it does not go back");

    let gap = cluster.gap_while(|_| {
        cluster.hafen("n1", &format!("move web --away-from {from}")).ok();
        cluster.lab.wait_until(SOON, "no override remains", || overrides(cluster) == 0);
    });
    eprintln!("move away from {from}: outage {} ms", gap.as_millis());
    cluster.settle();
    assert_ne!(cluster.served_by().as_ref(), Some(&from));
}

fn a_drain_expires(cluster: &Cluster) {
    let spare = cluster.other_than(&cluster.served_by().expect("served"));
    let begin = Instant::now();
    cluster.hafen("n1", &format!("drain {spare} --until 3s")).ok();
    assert_eq!(overrides(cluster), 1);
    cluster.lab.wait_until(Duration::from_secs(8), "the drain ends by itself", || overrides(cluster) == 0);
    eprintln!("a drain until 3s ended after {} ms", begin.elapsed().as_millis());
    assert!(begin.elapsed() >= Duration::from_millis(2900), "it ended after {:?}", begin.elapsed());
}

fn in_maintenance_nothing_is_done(cluster: &Cluster) {
    let active = cluster.served_by().expect("served");
    cluster.hafen("n1", "maintenance on --reason 'by hand'").ok();
    cluster.lab.node(&active).sh("kill -9 $(pgrep -x nginx)").ok();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.served_by(), None, "it was started in maintenance");
    let told = cluster.hafen("n1", "status");
    eprintln!("in maintenance, the service killed (exit {:?}):\n{}", told.status, told.stdout);
    assert_eq!(told.stdout.matches("BLOCKED").count(), 1, "the address runs: {}", told.stdout);
    assert!(told.stdout.contains("Failed"), "{}", told.stdout);
    let begin = Instant::now();
    cluster.hafen("n1", "maintenance off").ok();
    cluster.lab.wait_until(SOON, "it is recovered", || cluster.served_by().is_some());
    eprintln!("recovered {} ms after the end of maintenance", begin.elapsed().as_millis());
    cluster.settle();
    assert_eq!(overrides(cluster), 0);
    cluster.hafen("n1", "cleanup web").ok();
    let status = cluster.status("n1").expect("asked");
    let rows = status["resources"].as_array().cloned().unwrap_or_default();
    assert!(rows.iter().all(|row| row["failCount"] == 0), "{rows:#?}");
}

fn a_node_is_fenced_by_hand(cluster: &Cluster) {
    let active = cluster.served_by().expect("served");
    let asked = cluster.other_than(&active);
    let boot = cluster.lab.node(&active).boot_id();
    let told = cluster.hafen(&asked, &format!("fence {active} --reason hangs"));
    assert_eq!(told.status, Some(64), "it did not ask: {told:#?}");
    let gap = cluster.gap_while(|_| {
        let told = cluster.hafen(&asked, &format!("fence {active} --reason hangs --yes"));
        eprintln!("hafen fence {active}: {told:?}");
        told.ok();
        cluster.lab.wait_until(SOON, "another node answers", || cluster.served_by().is_some_and(|by| by != active));
    });
    eprintln!("fence {active} by hand: outage {} ms", gap.as_millis());
    cluster
        .lab
        .wait_until(SOON, "it is back", || cluster.lab.node(&active).is_up() && cluster.online(&asked).len() == 3);
    cluster.settle();
    assert_ne!(cluster.lab.node(&active).boot_id(), boot);
    assert_eq!(overrides(cluster), 0);
    let told = cluster.hafen(&asked, "why web");
    eprintln!("{}", told.stdout);
    assert_eq!(told.status, Some(0), "{told:#?}");
}
