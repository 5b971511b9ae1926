//! Clones with `notify: true`: agents are told before and after each operation, in this order, with the lists of
//! Pacemaker; one that hangs holds nothing up for longer than its time-out.

use crate::cluster::{Cluster, Manifests, SOON, example};

/// A copy with two roles that writes down, in one file for all nodes, what it is asked to do.
const AGENT: &str = r#"#!/bin/sh
: ${OCF_FUNCTIONS_DIR=${OCF_ROOT}/lib/heartbeat}
. ${OCF_FUNCTIONS_DIR}/ocf-shellfuncs
state=/run/told.state
me=$(hostname)
m() { eval "echo \"\$OCF_RESKEY_CRM_meta_notify_$1\""; }
note() { echo "$*" | tr -s " " >>/srv/shared/told; }
case $1 in
meta-data) cat <<END
<?xml version="1.0"?><resource-agent name="told" version="1.0"><version>1.1</version><longdesc lang="en">x</longdesc>
<shortdesc lang="en">x</shortdesc><parameters/><actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s"/><action name="promote" timeout="20s"/><action name="demote" timeout="20s"/>
<action name="notify" timeout="20s"/><action name="meta-data" timeout="5s"/></actions></resource-agent>
END
;;
start) note "$me start"; echo slave >$state; ocf_promotion_score -v 5;;
stop) note "$me stop"; rm -f $state;;
promote) note "$me promote"; echo master >$state;;
demote) note "$me demote"; echo slave >$state;;
monitor) case $(cat $state 2>/dev/null) in master) exit 8;; slave) exit 0;; *) exit 7;; esac;;
notify)
    [ ! -e /run/told.hangs ] || sleep 60
    note "$me $(m type)-$(m operation) of [$(m start_uname)$(m stop_uname)$(m promote_uname)$(m demote_uname)]" \
        "active [$(m active_uname)] promoted [$(m promoted_uname)$(m master_uname)]" ;;
*) exit 3;;
esac
"#;

fn manifests() -> Manifests {
    let mut files = example("quickstart");
    files.remove("web.yaml");
    let text = r#"
apiVersion: hafen/v1alpha1
kind: Resource
metadata: { name: db }
spec:
  agent: ocf:test:told
  operations: { monitor: { interval: 5s, timeout: 20s }, notify: { timeout: 3s } }
---
apiVersion: hafen/v1alpha1
kind: Clone
metadata: { name: dbs }
spec: { resource: db, promotable: { max: 1 }, notify: true, interleave: true }
"#;
    files.insert("db.yaml".into(), text.into());
    files
}

fn promoted(cluster: &Cluster) -> Option<String> {
    let nodes = cluster.lab.nodes().into_iter().filter(|node| node.is_up());
    let mut promoted = nodes.filter(|node| node.sh("cat /run/told.state").stdout.trim() == "master");
    promoted.next().map(|node| node.name().to_owned())
}

/// What was written down since the last call.
fn take(cluster: &Cluster) -> Vec<String> {
    let text = cluster.lab.node("n1").sh("cat /srv/shared/told; : >/srv/shared/told").stdout;
    text.lines().map(str::to_owned).collect()
}

/// The place of a line, which is there exactly once.
fn at(lines: &[String], what: &str) -> usize {
    let found: Vec<usize> = (0..lines.len()).filter(|place| lines[*place].starts_with(what)).collect();
    assert_eq!(found.len(), 1, "`{what}` is there {} times in\n{}", found.len(), lines.join("\n"));
    found[0]
}

#[test]
fn copies_are_told_before_and_after_each_operation_and_a_hanging_one_is_not_waited_for_for_ever() {
    let Some(cluster) = Cluster::new(3) else { return };
    for node in cluster.lab.nodes() {
        node.sh("mkdir -p /usr/lib/ocf/resource.d/test").ok();
        node.sh(&format!("cat >/usr/lib/ocf/resource.d/test/told <<'AGENT'\n{AGENT}AGENT")).ok();
        node.sh("chmod 755 /usr/lib/ocf/resource.d/test/told; : >>/srv/shared/told").ok();
    }
    cluster.push("n1", &manifests(), "").ok();
    cluster.lab.wait_until(SOON, "a copy is promoted", || promoted(&cluster).is_some());
    cluster.settle();
    let (lines, first) = (take(&cluster), promoted(&cluster).expect("it was"));
    eprintln!("{}", lines.join("\n"));
    let promote = at(&lines, &format!("{first} promote"));
    // Whoever was active then was told before and after; a copy that was still starting was not.
    let told = &lines[at(&lines, &format!("{first} pre-promote"))];
    let part = |name: &str| told.split(name).nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("").to_owned();
    assert!(part("of [").contains(&first), "{told}");
    let active: Vec<String> = part("active [").split_whitespace().map(str::to_owned).collect();
    assert!(active.contains(&first), "{told}");
    for node in active {
        let start = at(&lines, &format!("{node} start"));
        let (before, after) = (at(&lines, &format!("{node} pre-promote")), at(&lines, &format!("{node} post-promote")));
        assert!(start < before && before < promote && promote < after, "{}", lines.join("\n"));
    }
    let started = lines.iter().filter(|line| line.contains("post-start")).count();
    assert!(started >= 2, "every copy was told of the starts:\n{}", lines.join("\n"));

    // A move of the role: demote, stop, promote elsewhere; one copy hangs in every notify.
    let witness = cluster.other_than(&first);
    cluster.lab.node(&witness).sh("touch /run/told.hangs").ok();
    cluster.lab.node(&witness).sh(&format!("hafen drain {first} --reason test")).ok();
    cluster.lab.wait_until(SOON, "another copy is promoted", || promoted(&cluster).is_some_and(|now| now != first));
    cluster.settle();
    let (lines, second) = (take(&cluster), promoted(&cluster).expect("it was"));
    eprintln!("{}", lines.join("\n"));
    let other = ["n1", "n2", "n3"].into_iter().find(|node| *node != first && *node != witness).expect("three nodes");
    let order = [
        format!("{other} pre-demote"),
        format!("{first} demote"),
        format!("{other} post-demote"),
        format!("{other} pre-stop"),
        format!("{first} stop"),
        format!("{other} post-stop"),
    ];
    let places: Vec<usize> = order.iter().map(|line| at(&lines, line)).collect();
    assert!(places.is_sorted(), "{}", lines.join("\n"));
    assert!(lines[places[0]].contains(&format!("promoted [{first}{first}]")), "{}", lines[places[0]]);
    assert!(at(&lines, &format!("{other} pre-promote")) < at(&lines, &format!("{second} promote")));
    assert!(
        !lines.iter().any(|line| line.starts_with(&format!("{first} post-stop"))),
        "a stopped copy is told nothing"
    );
    let events = cluster.events(&witness);
    assert!(events.contains("notify before demote of db:"), "{events}");
    assert!(events.contains("timed out"), "{events}");
    let status = cluster.status(&witness).expect("it answers");
    assert_eq!(status["resources"].as_array().map_or(0, Vec::len), 2, "{status}");
}
