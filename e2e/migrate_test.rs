//! What can move while it runs: moved without a stop, and settled where a node dies in the middle of it.

use crate::cluster::{Cluster, Manifests, SOON, example};

/// Stands for a virtual machine: it is where a file says, and its agent at the source puts it elsewhere. Writes down what
/// it is asked to do. While `/srv/shared/slow` is there a migration waits for it to go.
const AGENT: &str = r#"#!/bin/sh
: ${OCF_FUNCTIONS_DIR=${OCF_ROOT}/lib/heartbeat}
. ${OCF_FUNCTIONS_DIR}/ocf-shellfuncs
me=$(hostname)
here=/srv/shared/vm-on-$me
case $1 in
meta-data) cat <<END
<?xml version="1.0"?><resource-agent name="guest" version="1.0"><version>1.0</version><longdesc lang="en">x</longdesc>
<shortdesc lang="en">x</shortdesc><parameters/><actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s"/><action name="migrate_to" timeout="20s"/><action name="migrate_from" timeout="20s"/>
<action name="meta-data" timeout="5s"/></actions></resource-agent>
END
    exit 0;;
monitor) [ -e "$here" ] || exit 7; exit 0;;
esac
echo "$1 $me" >>/srv/shared/guest
case $1 in
start)
    for other in /srv/shared/vm-on-*; do [ ! -e "$other" ] || [ "$other" = "$here" ] || echo "twice" >>/srv/shared/guest; done
    touch "$here";;
stop) rm -f "$here";;
migrate_to)
    while [ -e /srv/shared/slow ]; do sleep 0.1; done
    mv "$here" "/srv/shared/vm-on-$OCF_RESKEY_CRM_meta_migrate_target" || exit 1;;
migrate_from) [ -e "$here" ] || exit 1;;
*) exit 3;;
esac
"#;

fn manifests() -> Manifests {
    let mut files = example("quickstart");
    files.remove("web.yaml");
    let text = "
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: vm }
spec:
  agent: ocf:test:guest
  migratable: true
  operations: { migrateTo: { timeout: 60s } }
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: dummy }
spec: { agent: ocf:heartbeat:Dummy, migratable: true }
---
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: client }
spec: { agent: ocf:heartbeat:Dummy }
---
apiVersion: hafen/v1alpha1
kind: Order
metadata: { name: vm-before-client }
spec: { first: { resource: vm }, then: { resource: client } }
";
    files.insert("vm.yaml".into(), text.into());
    files
}

fn done(cluster: &Cluster) -> Vec<String> {
    cluster.lab.node(&cluster.other_than("")).sh("cat /srv/shared/guest").stdout.lines().map(str::to_owned).collect()
}

fn forget(cluster: &Cluster) {
    cluster.lab.node(&cluster.other_than("")).sh(": >/srv/shared/guest").ok();
}

/// Begins to move the machine and leaves it on its way: from where, to where.
fn under_way(cluster: &Cluster) -> (String, String) {
    let from = cluster.runs_on(&cluster.other_than(""), "vm").expect("it runs");
    let to = cluster.other_than(&from);
    let third = cluster.lab.nodes().into_iter().map(|node| node.name().to_owned());
    let third = third.into_iter().find(|name| *name != from && *name != to).expect("there are three");
    cluster.lab.node(&third).sh(&format!("touch /srv/shared/slow; hafen move vm --to {to} >/tmp/move 2>&1 &")).ok();
    cluster.lab.wait_until(SOON, "it is on its way", || done(cluster) == [format!("migrate_to {from}")]);
    (from, to)
}

#[test]
fn what_moves_while_it_runs_is_not_stopped_and_is_settled_where_a_node_dies_meanwhile() {
    let Some(cluster) = Cluster::new(3) else { return };
    for node in cluster.lab.nodes() {
        node.sh("mkdir -p /usr/lib/ocf/resource.d/test; : >>/srv/shared/guest").ok();
        node.sh(&format!("cat >/usr/lib/ocf/resource.d/test/guest <<'AGENT'\n{AGENT}AGENT")).ok();
        node.sh("chmod 755 /usr/lib/ocf/resource.d/test/guest").ok();
    }
    cluster.push("n1", &manifests(), "").ok();
    cluster.lab.wait_until(SOON, "the machine runs", || cluster.runs_on("n1", "vm").is_some());
    cluster.lab.wait_until(SOON, "what needs it runs", || cluster.runs_on("n1", "client").is_some());
    cluster.settle();
    it_is_moved_without_a_stop(&cluster);
    a_drain_sends_it_away_live(&cluster);
    its_source_dies(&cluster);
    its_target_dies(&cluster);
}

fn it_is_moved_without_a_stop(cluster: &Cluster) {
    forget(cluster);
    for name in ["vm", "dummy"] {
        let from = cluster.runs_on("n1", name).expect("it runs");
        let to = cluster.other_than(&from);
        let told = cluster.hafen("n1", &format!("move {name} --to {to} --dry-run"));
        assert!(told.stdout.contains("live-migrate"), "{told:#?}");
        cluster.hafen("n1", &format!("move {name} --to {to}")).ok();
        cluster.settle();
        assert_eq!(cluster.runs_on("n1", name), Some(to.clone()));
        let events = cluster.events("n1");
        assert!(events.contains(&format!("{name}@{to} has arrived, running")), "{events}");
        assert!(!events.contains(&format!("{name}@{to} started")), "it was started there:\n{events}");
        if name == "vm" {
            // Its source is asked to stop what is not there any more.
            assert_eq!(
                done(cluster),
                [format!("migrate_to {from}"), format!("migrate_from {to}"), format!("stop {from}")]
            );
        }
    }
    assert!(!cluster.events("n1").contains("client stopped"), "what needs it was disturbed");
}

fn a_drain_sends_it_away_live(cluster: &Cluster) {
    forget(cluster);
    let from = cluster.runs_on("n1", "vm").expect("it runs");
    cluster.hafen(&cluster.other_than(&from), &format!("drain {from}")).ok();
    cluster.settle();
    let all = done(cluster);
    assert!(all.iter().all(|line| !line.starts_with("start")), "{all:?}");
    assert!(all.contains(&format!("migrate_to {from}")), "{all:?}");
    cluster.hafen(&cluster.other_than(&from), &format!("undrain {from}")).ok();
    cluster.settle();
}

fn its_source_dies(cluster: &Cluster) {
    forget(cluster);
    let (from, to) = under_way(cluster);
    cluster.lab.node(&from).off();
    // What ran in its memory is gone.
    cluster.lab.node(&to).sh(&format!("rm -f /srv/shared/vm-on-{from} /srv/shared/slow")).ok();
    let started = || done(cluster).iter().any(|line| line.starts_with("start "));
    cluster.lab.wait_until(SOON, "it is started again", || started() && cluster.runs_on(&to, "vm").is_some());
    runs_once_when_all_are_back(cluster, &from, &to);
}

/// The node that it moves to dies and is back before it gets there: nobody claims it on that boot, and nobody may take it
/// for stopped.
fn its_target_dies(cluster: &Cluster) {
    forget(cluster);
    let (from, to) = under_way(cluster);
    let boot = cluster.lab.node(&to).boot_id();
    cluster.lab.node(&to).off();
    cluster.lab.wait_until(SOON, "the target is back", || {
        let node = cluster.lab.node(&to);
        node.is_up() && node.boot_id() != boot && cluster.online(&from).len() == 3
    });
    cluster.lab.node(&from).sh("rm -f /srv/shared/slow").ok();
    runs_once_when_all_are_back(cluster, &to, &from);
}

fn runs_once_when_all_are_back(cluster: &Cluster, lost: &str, seen_by: &str) {
    cluster.lab.wait_until(SOON, "the lost node is back", || {
        cluster.lab.node(lost).is_up() && cluster.online(seen_by).len() == 3
    });
    cluster.lab.wait_until(SOON, "it runs", || cluster.runs_on(seen_by, "vm").is_some());
    cluster.settle();
    let all = done(cluster);
    assert!(!all.contains(&"twice".to_owned()), "it was started while it ran elsewhere: {all:?}");
    let files = cluster.lab.node(seen_by).sh("ls /srv/shared | grep vm-on-").stdout;
    let home = cluster.runs_on(seen_by, "vm").expect("it runs");
    assert_eq!(files.trim(), format!("vm-on-{home}"), "{all:?}");
}
