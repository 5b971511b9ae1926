//! Commits that turn out badly, and times in which none is taken.

use crate::cluster::{Cluster, Manifests, SOON};
use crate::lab::Output;
use crate::push_test::{basis, dummy};

/// What a start cannot make.
const NOWHERE: &str = "/nowhere/d0";

/// The basis with these settings of the cluster, and one resource.
fn with(cluster: &str, state: &str) -> Manifests {
    let mut tree = basis();
    for text in tree.values_mut() {
        *text = text.replace(
            "metadata: { name: quickstart }\nspec: {}",
            &format!("metadata: {{ name: quickstart }}\nspec: {{ {cluster} }}"),
        );
    }
    assert!(tree.values().any(|text| text.contains(cluster)), "the quickstart's Cluster is written otherwise");
    tree.insert("dummies.yaml".into(), dummy("d0", state, ""));
    tree
}

const TRIED: &str = "confirmation: { deadline: 12s, stable: 1s }";

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    assert_eq!(output.status, Some(1), "{output:#?}");
    for word in words {
        assert!(output.stdout.contains(word), "no `{word}`: {output:#?}");
    }
}

impl Cluster {
    fn trial(&self, node: &str) -> Option<String> {
        Some(self.status(node)?["rollout"]["trial"].as_str()?.to_owned())
    }

    fn revision(&self, node: &str, what: &str) -> Option<String> {
        Some(self.status(node)?.pointer(what)?.as_str()?.to_owned())
    }

    fn main_of(&self, node: &str) -> String {
        self.lab.node(node).sh("git -C /var/lib/hafen/repo.git rev-parse main").ok().trim().to_owned()
    }
}

#[test]
fn a_commit_that_is_not_healthy_in_time_is_returned_from_and_must_be_mended() {
    let Some(cluster) = Cluster::with(3, &with(TRIED, "/run/d0")) else { return };
    let lab = &cluster.lab;
    lab.wait_until(SOON, "the first commit is confirmed", || cluster.trial("n1").as_deref() == Some("Passed"));
    let good = cluster.revision("n1", "/target/revision").expect("a target");

    // Its leader goes in the middle of the trial.
    cluster.push("n1", &with(TRIED, NOWHERE), "").ok();
    let bad = cluster.main_of("n1");
    let shown = cluster.hafen("n1", "status").stdout;
    assert!(shown.contains("on trial for another"), "{shown}");
    let leader = cluster.leader("n1").expect("somebody leads");
    lab.node(&leader).stop_daemon();
    lab.node(&leader).start_daemon();
    lab.wait_until(SOON, "the cluster returned", || cluster.revision("n1", "/target/revision").as_ref() == Some(&good));
    lab.wait_until(SOON, "the service runs again", || cluster.file("/run/d0").is_some());
    for node in ["n1", "n2", "n3"] {
        lab.wait_until(SOON, "the node knows", || cluster.revision(node, "/rollout/tip").as_ref() == Some(&bad));
        assert_eq!(cluster.main_of(node), bad, "nobody's history is rewritten");
    }
    let asked = cluster.hafen("n2", &format!("status --revision {bad}"));
    assert!(asked.status == Some(1) && asked.stdout.contains("returned from"), "{asked:#?}");
    let status = cluster.hafen("n2", "status");
    assert!(
        status.status == Some(1) && status.stdout.contains("which is still `main`: not healthy in time"),
        "{status:#?}"
    );

    // The same again, as another commit; then mended, on top of the bad one.
    refused(&cluster.push("n2", &with(TRIED, NOWHERE), ""), &["which has the same manifests", "-o allow-held"]);
    cluster.push("n2", &with(TRIED, "/run/d1"), "").ok();
    lab.wait_until(SOON, "the mended commit is confirmed", || cluster.trial("n3").as_deref() == Some("Passed"));
    assert!(cluster.file("/run/d1").is_some());
    cluster.settle();

    // By hand, with no git remote anywhere.
    let now = cluster.revision("n1", "/target/revision").expect("a target");
    let shown = cluster.hafen("n3", "rollback --dry-run").ok();
    assert!(shown.contains("d0"), "{shown}");
    assert_eq!(cluster.revision("n1", "/target/revision").as_ref(), Some(&now), "a dry run does nothing");
    cluster.hafen("n3", "rollback --reason 'web answers 500'").ok();
    lab.wait_until(SOON, "the cluster returned", || cluster.file("/run/d0").is_some());
    let wrong = cluster.hafen("n1", "confirm ffff");
    assert_eq!(wrong.status, Some(105), "{wrong:#?}");
    cluster.hafen("n1", &format!("confirm {}", &good[..8]));
    assert_eq!(cluster.trial("n1").as_deref(), Some("Passed"));
    assert!(cluster.events("n1").contains("web answers 500"));
}

#[test]
fn suspended_or_outside_of_its_windows_no_commit_disturbs_anything() {
    // Opens three days from now, whenever that is.
    let day = (jiff::Zoned::now() + jiff::ToSpan::days(3)).strftime("%a").to_string();
    let never = &format!("changeWindows: [{{ days: [{day}], from: \"00:00\", to: \"00:01\" }}]");
    let Some(cluster) = Cluster::with(3, &with(never, "/run/d0")) else { return };
    let lab = &cluster.lab;
    cluster.settle();
    let moved = with(never, "/run/d1");
    refused(&cluster.push("n1", &moved, ""), &["it disturbs d0", "the next opens at 20", "-o outside-window"]);
    let mut more = with(never, "/run/d0");
    more.insert("more.yaml".into(), dummy("d2", "/run/d2", ""));
    cluster.push("n1", &more, "").ok();
    lab.wait_until(SOON, "what disturbs nobody is done", || cluster.file("/run/d2").is_some());

    // Recovery never asks.
    let (at, _) = cluster.file("/run/d0").expect("it runs");
    lab.node(&at).off();
    lab.wait_until(SOON, "it runs elsewhere", || cluster.file("/run/d0").is_some_and(|(now, _)| now != at));
    let other = cluster.other_than(&at);

    cluster.hafen(&other, "suspend --reason audit").ok();
    refused(&cluster.push(&other, &moved, "-o outside-window"), &["has suspended changes: audit"]);
    let unasked = cluster.hafen(&other, "suspend");
    assert_eq!(unasked.status, Some(64), "{unasked:#?}");
    cluster.hafen(&other, "resume").ok();
    cluster.push(&other, &moved, "-o outside-window").ok();
    lab.wait_until(SOON, "it is done all the same", || cluster.file("/run/d1").is_some());
}
