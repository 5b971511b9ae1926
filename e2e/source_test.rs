//! The cluster follows `source.url`: by `notify`, by webhook and by interval.

use std::time::Instant;

use crate::cluster::{Cluster, Manifests, SOON};
use crate::push_test::{basis, dummy};

const UPSTREAM: &str = "/srv/shared/upstream.git";

/// The basis, following a url.
fn following(url: &str, interval: &str, dummies: &str) -> Manifests {
    let mut tree = basis();
    for text in tree.values_mut() {
        let source = format!("spec: {{ source: {{ url: \"{url}\", branch: main, interval: {interval} }} }}");
        *text = text.replace("spec: {}", &source);
    }
    tree.insert("dummies.yaml".into(), dummies.into());
    tree
}

impl Cluster {
    /// Commits a tree to the upstream repository.
    fn upstream(&self, manifests: &Manifests) -> String {
        let node = self.lab.node("n1");
        self.commit(node, manifests);
        node.sh(&format!("cd /root/manifests && git push -q -f {UPSTREAM} main 2>&1 && git rev-parse HEAD")).ok()
    }

    fn problems(&self, node: &str) -> String {
        let problems = self.status(node).map(|status| status["problems"].to_string());
        problems.unwrap_or_default()
    }
}

#[test]
fn the_cluster_follows_a_repository_and_says_when_it_cannot() {
    let Some(cluster) = Cluster::new(3) else { return };
    let node = cluster.lab.node("n1");
    node.sh(&format!("git init -q --bare -b main {UPSTREAM} && git config --system --add safe.directory '*'")).ok();
    for other in ["n2", "n3"] {
        cluster.lab.node(other).sh("git config --system --add safe.directory '*'").ok();
    }
    // An hour: only the watch of the local path can be what makes it quick.
    let first = following(UPSTREAM, "1h", &dummy("d0", "/run/d0", ""));
    let pushed = cluster.upstream(&first);
    cluster.push("n1", &first, "").ok();
    cluster.settle();
    assert_eq!(cluster.agreed(), cluster.target("n1"));

    let begin = Instant::now();
    let commit = cluster.upstream(&following(UPSTREAM, "1h", &dummy("d1", "/run/d1", "")));
    assert_ne!(commit, pushed);
    cluster.lab.wait_until(SOON, "a commit upstream is followed", || cluster.target("n2") == commit);
    eprintln!("notify: followed after {} ms", begin.elapsed().as_millis());
    cluster.lab.wait_until(SOON, "and acted upon", || cluster.file("/run/d1").is_some());

    // A commit that is wrong changes nothing; every node says what is wrong with it, and where.
    let broken = dummy("d1", "/run/d1", "").replace("  params:", "  parms:");
    cluster.upstream(&following(UPSTREAM, "1h", &broken));
    for name in ["n1", "n2", "n3"] {
        cluster.lab.wait_until(SOON, "status names the line", || cluster.problems(name).contains("dummies.yaml:6:3"));
    }
    eprintln!("a wrong commit: {}", cluster.problems("n2"));
    assert_eq!(cluster.agreed(), commit);

    // Unreadable: nothing changes.
    node.sh(&format!("mv {UPSTREAM} {UPSTREAM}.away")).ok();
    for name in ["n1", "n2", "n3"] {
        // On the way there it is a hint from anybody at any node; its answer tells nothing.
        cluster.lab.node(name).sh("curl -sk -X POST https://10.77.0.12:7443/v1/webhook").ok();
    }
    for name in ["n1", "n2", "n3"] {
        cluster.lab.wait_until(SOON, "status says so", || cluster.problems(name).contains("cannot be read since"));
    }
    eprintln!("unreadable: {}", cluster.problems("n3"));
    assert_eq!(cluster.agreed(), commit);
    assert!(cluster.file("/run/d1").is_some());

    // Readable again, with a commit made while nobody watched: found by a webhook at any node.
    node.sh(&format!("mv {UPSTREAM}.away {UPSTREAM}")).ok();
    let mended = cluster.upstream(&following(UPSTREAM, "1h", &dummy("d2", "/run/d2", "")));
    let begin = Instant::now();
    let code = "curl -sk -o /dev/null -w '%{http_code}' -X POST https://10.77.0.13:7443/v1/webhook";
    let answered = cluster.lab.node("n2").sh(code).ok();
    assert!(answered.starts_with('2'), "the webhook answered {answered}");
    cluster.lab.wait_until(SOON, "the webhook makes it look", || cluster.target("n3") == mended);
    eprintln!("webhook: followed after {} ms", begin.elapsed().as_millis());
    cluster.lab.wait_until(SOON, "nothing is wrong any more", || {
        ["n1", "n2", "n3"].iter().all(|name| !cluster.problems(name).contains("upstream"))
    });

    // By interval, over a way that nobody can watch.
    let url = "file://localhost/srv/shared/./upstream.git";
    let slow = following(url, "2s", &dummy("d2", "/run/d2", ""));
    cluster.push("n2", &slow, "").ok();
    // The next commit is made on n1, on top of what n1's repository has.
    cluster.agreed();
    let commit = cluster.upstream(&following(url, "2s", &dummy("d3", "/run/d3", "")));
    cluster.lab.wait_until(SOON, "the interval finds it", || cluster.target("n1") == commit);
}
