//! Changed parameters that an agent takes over while it runs: in place, also across a killed daemon, and by a stop and a
//! start where the reload fails.

use crate::cluster::{Cluster, Manifests, SOON, example};

/// Writes down what it is asked to do, with the parameter it was given.
const AGENT: &str = r#"#!/bin/sh
: ${OCF_FUNCTIONS_DIR=${OCF_ROOT}/lib/heartbeat}
. ${OCF_FUNCTIONS_DIR}/ocf-shellfuncs
case $1 in
meta-data) cat <<END
<?xml version="1.0"?><resource-agent name="sized" version="1.0"><version>1.1</version><longdesc lang="en">x</longdesc>
<shortdesc lang="en">x</shortdesc><parameters>
<parameter name="size" reloadable="1"><longdesc lang="en">x</longdesc><shortdesc lang="en">x</shortdesc><content type="string"/></parameter>
<parameter name="name" unique="1"><longdesc lang="en">x</longdesc><shortdesc lang="en">x</shortdesc><content type="string"/></parameter>
</parameters><actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s"/><action name="reload-agent" timeout="20s"/><action name="meta-data" timeout="5s"/></actions></resource-agent>
END
    exit 0;;
monitor) [ -e /run/sized.state ] || exit 7; exit 0;;
esac
echo "$1 $OCF_RESKEY_size" >>/srv/shared/sized
case $1 in
start) touch /run/sized.state;;
stop) rm -f /run/sized.state;;
reload-agent)
    [ "$OCF_RESKEY_size" != broken ] || exit 1
    [ "$OCF_RESKEY_size" != slow ] || [ -e /srv/shared/slowed ] || { touch /srv/shared/slowed; sleep 15; };;
*) exit 3;;
esac
"#;

fn manifests(size: &str, name: &str) -> Manifests {
    let mut files = example("quickstart");
    files.remove("web.yaml");
    let text = format!(
        "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: db }}\nspec:\n  agent: ocf:test:sized\n  \
         params: {{ size: {size}, name: {name} }}\n  operations: {{ monitor: {{ interval: 5s, timeout: 20s }} }}\n"
    );
    files.insert("db.yaml".into(), text);
    files
}

#[test]
fn a_reloadable_parameter_is_taken_over_in_place_and_a_failed_reload_restarts() {
    let Some(cluster) = Cluster::new(3) else { return };
    for node in cluster.lab.nodes() {
        node.sh("mkdir -p /usr/lib/ocf/resource.d/test; : >>/srv/shared/sized").ok();
        node.sh(&format!("cat >/usr/lib/ocf/resource.d/test/sized <<'AGENT'\n{AGENT}AGENT")).ok();
        node.sh("chmod 755 /usr/lib/ocf/resource.d/test/sized").ok();
    }
    let done = || cluster.lab.node("n1").sh("cat /srv/shared/sized").stdout.lines().collect::<Vec<_>>().join(", ");
    let follows = |size: &str, name: &str, wanted: &str| {
        let told = cluster.push("n1", &manifests(size, name), "").ok();
        cluster.lab.wait_until(SOON, wanted, || {
            let done = done();
            assert!(wanted.starts_with(&done), "{done} instead of {wanted}");
            done == wanted
        });
        cluster.settle();
        cluster.lab.node("n1").sh(": >/srv/shared/sized").ok();
        told
    };
    // Nodes that stop on their own before the first start are none of this test.
    follows("one", "a", "start one");
    let told = follows("two", "a", "reload-agent two");
    assert!(told.contains("reload"), "the plan at the push says it:\n{told}");
    follows("three", "b", "stop two, start three");
    follows("broken", "b", "reload-agent broken, stop three, start broken");

    // The daemon is killed in the middle: what is half done is settled and done again.
    let owner = cluster.runs_on("n1", "db").expect("it runs");
    let node = cluster.lab.node(&owner);
    cluster.push("n1", &manifests("slow", "b"), "").ok();
    cluster.lab.wait_until(SOON, "the reload has begun", || done() == "reload-agent slow");
    node.kill_daemon();
    node.start_daemon();
    cluster.lab.wait_until(SOON, "the reload is done again", || done() == "reload-agent slow, reload-agent slow");
    cluster.settle();
    assert_eq!(cluster.runs_on("n1", "db").as_deref(), Some(owner.as_str()));
    assert_eq!(done(), "reload-agent slow, reload-agent slow", "nothing was stopped");
    assert!(cluster.events("n1").contains("db@") && cluster.events("n1").contains("reloaded in"));
}
