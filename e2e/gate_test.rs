//! The gate before a push: what it would change and do, here and without the cluster, and a push of just that.

use serde_json::Value;

use crate::cluster::{Cluster, Manifests, SOON};
use crate::push_test::{basis, dummy};

/// The basis and one resource with these settings.
fn with(state: &str, interval: u32) -> Manifests {
    let more = format!("  operations: {{ monitor: {{ interval: {interval}s, timeout: 20s }} }}\n");
    let mut tree = basis();
    tree.insert("dummies.yaml".into(), dummy("d0", state, &more));
    tree
}

impl Cluster {
    /// Plans the work tree of a node and returns the id.
    fn planned(&self, node: &str) -> String {
        let id = self.hafen(node, "plan /root/manifests --out /root/plan.txt").ok();
        assert_eq!(id.trim().len(), 26, "{id}");
        id.trim().to_owned()
    }

    /// Pushes the work tree of a node, if the plan is this one still.
    fn push_planned(&self, node: &str, id: &str) -> crate::lab::Output {
        let command = format!("cd /root/manifests && git push -o plan={id} /var/lib/hafen/repo.git main 2>&1");
        self.lab.node(node).sh(&command)
    }
}

#[test]
fn what_is_planned_is_what_is_pushed_and_nothing_else() {
    let Some(cluster) = Cluster::with(3, &with("/run/d0", 10)) else { return };
    cluster.settle();
    let n1 = cluster.lab.node("n1");
    let same = cluster.hafen("n1", "diff /root/manifests");
    assert_eq!((same.status, same.stdout.contains("no differences")), (Some(0), true), "{same:#?}");

    // The same plan with and without the cluster.
    cluster.commit(n1, &with("/run/d1", 10));
    let differs = cluster.hafen("n1", "diff /root/manifests");
    assert_eq!(differs.status, Some(1), "{differs:#?}");
    for words in ["~ Resource/d0", "params.state: /run/d0 -> /run/d1", "/root/manifests/dummies.yaml:6:20"] {
        assert!(differs.stdout.contains(words), "no `{words}`: {differs:#?}");
    }
    cluster.hafen("n1", "status --export /srv/shared/state.json").ok();
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let live = json(cluster.hafen("n1", "plan /root/manifests -o json").ok());
    let alone = cluster.hafen("n1", "--data-dir /nowhere plan /root/manifests --state /srv/shared/state.json -o json");
    let alone = json(alone.ok());
    assert_eq!(live, alone);
    assert_eq!(live["actions"][0]["impact"], "Restart");
    assert_eq!(live["actions"].as_array().map(Vec::len), Some(1));
    assert_eq!(live["outages"][0]["lasts"]["basis"], "TimeOut", "it was never stopped yet: {live:#}");
    let alone = cluster.hafen("n1", "--data-dir /nowhere diff /root/manifests --state /srv/shared/state.json");
    assert_eq!((alone.status, alone.stdout), (Some(1), differs.stdout));
    assert_eq!(cluster.hafen("n1", "plan /root/manifests --fail-on restart").status, Some(1));
    assert_eq!(cluster.hafen("n1", "plan /root/manifests --fail-on move,fence").status, Some(0));

    // The cluster moves on, and comes back.
    let id = cluster.planned("n1");
    assert_eq!(live["id"], id.as_str());
    cluster.hafen("n1", "maintenance on --resource d0 --reason test").ok();
    let refused = |output: crate::lab::Output, why: &str| {
        assert_eq!(output.status, Some(1), "{output:#?}");
        assert!(output.stdout.contains(why), "no `{why}`: {output:#?}");
    };
    refused(cluster.push_planned("n1", &id), "the cluster moved on");
    cluster.hafen("n1", "maintenance off --resource d0").ok();
    cluster.push_planned("n1", &id).ok();
    cluster.lab.wait_until(SOON, "the new definition runs", || cluster.file("/run/d1").is_some());
    cluster.settle();

    // Other manifests than were planned; what was planned before another push.
    cluster.commit(n1, &with("/run/d2", 10));
    let id = cluster.planned("n1");
    let view = json(cluster.hafen("n1", "plan /root/manifests -o json").ok());
    assert_eq!(view["outages"][0]["lasts"]["basis"], "Measured", "it was stopped and started: {view:#}");
    cluster.commit(n1, &with("/run/d3", 10));
    refused(cluster.push_planned("n1", &id), "it was made of other manifests than are pushed");
    cluster.commit(n1, &with("/run/d2", 10));
    cluster.push("n2", &with("/run/d1", 11), "").ok();
    cluster.settle();
    cluster.commit(n1, &with("/run/d2", 10));
    refused(cluster.push_planned("n1", &id), "another commit was pushed since");
    refused(cluster.push_planned("n1", "1234"), "`1234` is not the id of a plan");
    assert!(cluster.file("/run/d2").is_none(), "what was refused changed nothing");
}

#[test]
fn a_commit_that_would_not_survive_what_it_promises_is_refused() {
    let Some(cluster) = Cluster::with(3, &with("/run/d0", 10)) else { return };
    cluster.settle();
    let promising = |more: &str| {
        let mut tree = with("/run/d0", 10);
        for text in tree.values_mut() {
            *text = text.replace("{ name: quickstart }\nspec: {}", "{ name: quickstart }\nspec: { survive: 1 }");
        }
        assert!(tree.values().any(|text| text.contains("survive: 1")), "the quickstart's Cluster is written otherwise");
        tree.insert("more.yaml".into(), more.to_owned());
        tree
    };
    let only_on = "apiVersion: hafen/v1alpha1\nkind: Location\nmetadata: { name: d0-on-n1 }\n\
                   spec: { resource: d0, nodes: [n1], strength: Required }\n";
    let refused = cluster.push("n1", &promising(only_on), "");
    assert_eq!(refused.status, Some(1), "{refused:#?}");
    for words in ["HA0701", "n1", "d0-on-n1"] {
        assert!(refused.stdout.contains(words), "no `{words}`: {refused:#?}");
    }
    cluster.push("n1", &promising(""), "").ok();
    cluster.settle();
}
