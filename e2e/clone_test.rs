//! Clones and promotable clones with Debian's own agents: one copy per node, one promoted, and what follows it.

use crate::cluster::{Cluster, Manifests, SOON, example};

/// A promotable clone of `Stateful` on three nodes, and a service that follows the promoted copy.
fn promotable() -> Manifests {
    let mut files = example("quickstart");
    files.remove("web.yaml");
    let text = r#"
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: db }
spec:
  agent: ocf:heartbeat:Stateful
  params: { state: /run/db.state }
  operations: { monitor: { interval: 2s, timeout: 20s } }
---
apiVersion: hafen/v1alpha1
kind: Clone
metadata: { name: dbs }
spec: { resource: db, promotable: { max: 1 }, interleave: true }
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: front }
spec:
  agent: ocf:heartbeat:IPaddr2
  params: { ip: 10.77.0.100, cidr_netmask: "24", nic: eth0 }
---
apiVersion: hafen/v1alpha1
kind: Order
metadata: { name: db-before-front }
spec: { first: { resource: dbs, action: Promote }, then: { resource: front, action: Start } }
---
apiVersion: hafen/v1alpha1
kind: Colocation
metadata: { name: front-with-db }
spec: { resource: front, with: { resource: dbs, role: Promoted } }
"#;
    files.insert("db.yaml".into(), text.into());
    files
}

/// Nodes on which a copy of `db` has this role, by the state files of the agent itself.
fn with_role(cluster: &Cluster, role: &str) -> Vec<String> {
    let nodes = cluster.lab.nodes().into_iter().filter(|node| node.is_up());
    nodes.filter(|node| node.sh("cat /run/db.state").stdout.trim() == role).map(|n| n.name().to_owned()).collect()
}

#[test]
fn one_copy_is_promoted_what_follows_it_runs_there_and_both_move_when_its_node_dies() {
    let Some(cluster) = Cluster::with(3, &promotable()) else { return };
    let together = |cluster: &Cluster, seen_by: &str| {
        let promoted = with_role(cluster, "master");
        promoted.len() == 1 && cluster.runs_on(seen_by, "front").as_deref() == Some(&promoted[0])
    };
    cluster.lab.wait_until(SOON, "a copy is promoted and the address is with it", || together(&cluster, "n1"));
    cluster.lab.wait_until(SOON, "every node has a copy", || with_role(&cluster, "slave").len() == 2);
    let events = cluster.events("n1");
    let at = |what: &str| events.find(what).unwrap_or_else(|| panic!("no `{what}` in\n{events}"));
    assert!(at("promoted in") < at("front@"), "the address came before the promotion:\n{events}");

    let victim = with_role(&cluster, "master").remove(0);
    let watch = cluster.lab.watch_vip("10.77.0.100");
    cluster.lab.node(&victim).off();
    let witness = cluster.other_than(&victim);
    cluster.lab.wait_until(SOON, "another copy is promoted", || {
        with_role(&cluster, "master").first().is_some_and(|now| *now != victim) && together(&cluster, &witness)
    });
    assert_eq!(watch.finish().overlap, std::time::Duration::ZERO);
    cluster.lab.wait_until(SOON, "the victim has a copy again", || {
        with_role(&cluster, "master").len() == 1 && with_role(&cluster, "slave").len() == 2
    });
    cluster.settle();

    let drained = with_role(&cluster, "master").remove(0);
    cluster.lab.node(&witness).sh(&format!("hafen drain {drained} --reason test")).ok();
    assert!(!cluster.lab.node(&drained).sh("test -e /run/db.state").success(), "a copy is left on {drained}");
    cluster.lab.wait_until(SOON, "the promotion moved", || together(&cluster, &witness));
}
