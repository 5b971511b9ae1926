//! The disk of a daemon: full, read-only, and back in time.

use crate::cluster::{Cluster, SOON};
use crate::lab::Node;
use crate::life_test::{joins, membership, neither, was_fenced};

const DATA: &str = "/var/lib/hafen";

/// Gives the data directory of a node a small file system of its own, with all that is in it. It lasts until a power cut.
fn own_disk(node: &Node<'_>) {
    node.stop_daemon();
    node.sh(&format!(
        "set -e; cp -a {DATA} /tmp/kept; mount -t tmpfs -o size=40m,mode=711 small {DATA}; cp -a /tmp/kept/. {DATA}/"
    ))
    .ok();
    node.start_daemon();
}

/// Waits until a node votes, by the word of another: only then has it promised anything.
fn votes(cluster: &Cluster, asked: &str, name: &str) {
    cluster.lab.wait_until(SOON, "it votes", || {
        let voters = cluster.status(asked).map(|status| status["voters"].to_string());
        voters.is_some_and(|voters| voters.contains(&format!("\"{name}\"")))
    });
}

/// What the node's daemon said when it ended.
fn last_words(cluster: &Cluster, node: &Node<'_>, mut act: impl FnMut()) -> String {
    cluster.lab.wait_until(SOON, "its daemon ends", || {
        act();
        node.daemon_pid().is_none()
    });
    node.logs()
}

#[test]
fn disk_that_is_full_or_read_only_stops_its_node_with_words_and_loses_nothing() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let lab = &cluster.lab;
    let active = cluster.served_by().expect("served");
    let name = neither(&cluster, &[&active]);
    let asked = neither(&cluster, &[&name]);
    let node = lab.node(&name);
    votes(&cluster, &asked, &name);
    own_disk(&node);
    lab.wait_until(SOON, "it is back", || joins(&cluster, &asked, &name) >= 2);
    lab.wait_until(SOON, "it says that there is little room", || {
        cluster.status(&name).is_some_and(|status| status["problems"].to_string().contains("nearly full"))
    });

    node.sh(&format!("dd if=/dev/zero of={DATA}/fill bs=64k; true"));
    // The log has some room of its own left: entries of 60 KB use it up.
    let long = "\"$(head -c 60000 /dev/zero | tr '\\0' x)\"";
    let said = last_words(&cluster, &node, || {
        cluster.hafen(&asked, &format!("drain {name} --no-wait --force --reason {long}"));
        cluster.hafen(&asked, &format!("undrain {name}"));
    });
    assert!(said.contains("is full: this node acknowledges nothing any more"), "{said}");
    assert!(cluster.served_by().is_some(), "the service runs on");
    assert!(!was_fenced(&cluster, &asked), "nothing depended on it");
    let told = node.sh("timeout 10 hafen agent");
    eprintln!("started on a full disk: exit {:?}\n{}", told.status, told.stderr);
    assert_ne!(told.status, Some(0));
    // A daemon that ended for want of room may have joined before.
    let before = joins(&cluster, &asked, &name);
    node.sh(&format!("rm {DATA}/fill")).ok();
    node.start_daemon();
    lab.wait_until(SOON, "with room it is back", || {
        membership(&cluster, &asked, &name).as_deref() == Some("Online") && joins(&cluster, &asked, &name) > before
    });

    node.stop_daemon();
    node.sh(&format!("mount -o remount,ro {DATA}")).ok();
    let told = cluster.hafen(&name, "agent");
    assert!(told.status != Some(0) && told.stderr.contains("cannot be written (read-only"), "{told:#?}");
    let before = joins(&cluster, &asked, &name);
    node.sh(&format!("mount -o remount,rw {DATA}")).ok();
    node.start_daemon();
    lab.wait_until(SOON, "once it can be written it is back", || joins(&cluster, &asked, &name) > before);
}

#[test]
fn disk_that_was_restored_from_a_copy_is_refused_with_what_to_do() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let lab = &cluster.lab;
    let active = cluster.served_by().expect("served");
    let name = neither(&cluster, &[&active]);
    let asked = neither(&cluster, &[&name]);
    let node = lab.node(&name);
    votes(&cluster, &asked, &name);
    node.stop_daemon();
    node.sh(&format!("cp -a {DATA} /var/copy")).ok();
    node.start_daemon();
    lab.wait_until(SOON, "it is back", || joins(&cluster, &asked, &name) >= 2);
    cluster.hafen(&asked, &format!("drain {name}")).ok();
    cluster.hafen(&asked, &format!("undrain {name}")).ok();
    // What it never acknowledged nobody can miss on its disk.
    let index = |of: &str| cluster.status(of).and_then(|status| status["index"].as_u64());
    let newest = index(&asked);
    assert!(newest.is_some());
    lab.wait_until(SOON, "it has followed", || index(&name) >= newest);
    node.stop_daemon();
    node.sh(&format!("set -e; rm -rf {DATA}; cp -a /var/copy {DATA}")).ok();
    node.start_daemon();
    lab.wait_until(SOON, "its daemon ends", || node.daemon_pid().is_none());
    let said = node.logs();
    assert!(said.contains("has gone back in time"), "{said}");
    assert!(said.contains("join this node under a new name"), "{said}");
    let told = cluster.hafen(&name, "agent");
    eprintln!("started again: exit {:?}\n{}", told.status, told.stderr);
    assert!(told.status != Some(0) && told.stderr.contains("gone back in time"), "{told:#?}");
    assert!(cluster.served_by().is_some(), "the others go on");
}
