//! Nodes and services that die, and what clients see of it.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON};
use crate::lab::ProbeKind;

const VIP: &str = "10.77.0.100";

/// Cuts the power of a node while clients ask, and returns what they saw.
fn power_cut(cluster: &Cluster, victim: &str) -> Duration {
    let watch = cluster.lab.watch_vip(VIP);
    let probe = cluster.lab.probe(&format!("{VIP}:80"), ProbeKind::Http);
    std::thread::sleep(Duration::from_millis(300));
    let cut = Instant::now();
    cluster.lab.node(victim).off();
    cluster
        .lab
        .wait_until(SOON, "another node answers", || probe.who_after(cut).is_some_and(|who| who.trim() != victim));
    std::thread::sleep(Duration::from_millis(100));
    let report = probe.finish();
    let sightings = watch.finish();
    assert_eq!(sightings.overlap, Duration::ZERO, "two nodes held {VIP} at once: {:?}", sightings.holders);
    report.gap()
}

#[test]
fn a_power_cut_of_the_active_node_moves_the_service_and_the_node_comes_back() {
    let Some(cluster) = Cluster::quickstart() else { return };
    for round in 0..2 {
        let victim = cluster.served_by().expect("served");
        let led = cluster.leader(&cluster.other_than(&victim)).as_deref() == Some(&victim);
        let gap = power_cut(&cluster, &victim);
        eprintln!("round {round}: {victim} was cut (leader: {led}), outage {} ms", gap.as_millis());
        assert!(gap < Duration::from_secs(10), "an outage of {gap:?}");
        // Fenced with `reboot`, it is switched on and joins by itself.
        cluster.lab.wait_until(SOON, "the victim is back", || {
            cluster.lab.node(&victim).is_up() && cluster.online(&cluster.other_than(&victim)).len() == 3
        });
        cluster.settle();
    }
}
