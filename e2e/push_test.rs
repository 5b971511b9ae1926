//! What a push changes, and what it leaves alone.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Manifests, SOON, quickstart};
use crate::lab::Node;

/// The quickstart without its service: nodes and fencing.
pub fn basis() -> Manifests {
    let mut files = quickstart();
    files.retain(|_, text| !text.contains("kind: Resource"));
    files
}

/// A resource that is a file: touched by its start, removed by its stop.
pub fn dummy(name: &str, state: &str, more: &str) -> String {
    format!(
        "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: {name} }}\nspec:\n  \
         agent: ocf:heartbeat:Dummy\n  params: {{ state: {state} }}\n{more}---\n"
    )
}

/// Starts `then` after `first`.
fn order(first: &str, then: &str) -> String {
    format!(
        "apiVersion: hafen/v1alpha1\nkind: Order\nmetadata: {{ name: {first}-{then} }}\nspec:\n  \
         first: {{ resource: {first} }}\n  then: {{ resource: {then} }}\n---\n"
    )
}

impl Cluster {
    /// Where a file is, and when it was made; none if no node that is up has it.
    pub fn file(&self, path: &str) -> Option<(String, String)> {
        let made = |node: &Node<'_>| node.sh(&format!("stat -c %.9Y {path} 2>/dev/null")).stdout.trim().to_owned();
        let mut found: Option<(String, String)> = None;
        for node in self.lab.nodes().into_iter().filter(|node| node.is_up()) {
            let time = made(&node);
            if time.is_empty() {
                continue;
            }
            // One node is asked after the other: what moved on between the two questions is gone from the first.
            if let Some((first, _)) = &found {
                assert_eq!(made(&self.lab.node(first)), "", "{path} is on {first} and {} at once", node.name());
            }
            found = Some((node.name().to_owned(), time));
        }
        found
    }

    /// Waits until this tree is followed and nothing is left to do.
    pub fn pushed(&self, manifests: &Manifests) {
        self.push("n1", manifests, "").ok();
        self.settle();
    }
}

#[test]
fn a_push_restarts_what_it_changes_and_its_dependants_and_nothing_else() {
    let Some(cluster) = Cluster::quickstart() else { return };
    let tree = |dummies: String| {
        let mut tree = quickstart();
        tree.insert("dummies.yaml".into(), dummies);
        tree
    };
    let web_pid = || {
        let node = cluster.lab.node(&cluster.served_by().expect("the web server answers")).name().to_owned();
        (node.clone(), cluster.lab.node(&node).sh("pgrep -o nginx").stdout)
    };
    let first = dummy("a", "/run/a-old", "") + &dummy("b", "/run/b", "") + &dummy("c", "/run/c", "") + &order("a", "b");
    cluster.pushed(&tree(first));
    let (b, c, web) = (cluster.file("/run/b"), cluster.file("/run/c"), web_pid());
    assert!(cluster.file("/run/a-old").is_some() && b.is_some() && c.is_some(), "the resources run");

    // A parameter.
    let changed =
        dummy("a", "/run/a-new", "") + &dummy("b", "/run/b", "") + &dummy("c", "/run/c", "") + &order("a", "b");
    let begin = Instant::now();
    let told = cluster.push("n2", &tree(changed), "").ok();
    assert!(told.contains("a-old -> /run/a-new"), "the plan names the parameter: {told}");
    cluster.lab.wait_until(SOON, "the new definition runs", || cluster.file("/run/a-new").is_some());
    cluster.settle();
    eprintln!("one parameter changed and everything settled after {} ms", begin.elapsed().as_millis());
    assert_eq!(cluster.file("/run/a-old"), None, "stopped with the parameters it was started with");
    assert_ne!(cluster.file("/run/b"), b, "what depends on it was restarted");
    assert_eq!(cluster.file("/run/c"), c, "what does not was left alone");
    assert_eq!(web_pid(), web, "the web server was left alone");

    // Settings of hafen itself.
    let (a, b) = (cluster.file("/run/a-new"), cluster.file("/run/b"));
    let interval = "  operations: { monitor: { interval: 7s, timeout: 11s } }\n  failure: { threshold: 5 }\n";
    let quiet =
        dummy("a", "/run/a-new", interval) + &dummy("b", "/run/b", "") + &dummy("c", "/run/c", "") + &order("a", "b");
    cluster.pushed(&tree(quiet));
    assert_eq!((cluster.file("/run/a-new"), cluster.file("/run/b")), (a, b), "an interval restarts nothing");

    // Removed.
    cluster.pushed(&tree(dummy("b", "/run/b", "") + &dummy("c", "/run/c", "")));
    cluster.lab.wait_until(SOON, "what was removed stops", || cluster.file("/run/a-new").is_none());
    assert_eq!(cluster.file("/run/c"), c);

    // Renamed: the same file under another name.
    cluster.pushed(&tree(dummy("b", "/run/b", "") + &dummy("d", "/run/c", "")));
    cluster.lab.wait_until(SOON, "it runs under its new name", || cluster.runs_on("n1", "d").is_some());
    cluster.settle();
    let node = cluster.runs_on("n1", "d").expect("runs");
    assert_eq!(cluster.file("/run/c").map(|(node, _)| node), Some(node), "the old one's stop did not end the new one");
    assert_ne!(cluster.file("/run/c"), c, "started anew");
    let events = cluster.events("n1");
    let at = |text: &str| events.find(text).unwrap_or_else(|| panic!("no `{text}` in\n{events}"));
    assert!(at("c stopped on") < at("d@"), "{events}");

    // An address.
    let moved = tree(dummy("b", "/run/b", "")).into_iter().map(|(k, v)| (k, v.replace("77.0.100", "77.0.101")));
    cluster.pushed(&moved.collect());
    cluster.lab.wait_until(SOON, "the new address answers", || cluster.lab.client_http("10.77.0.101").is_ok());
    for node in cluster.lab.nodes() {
        let addresses = node.sh("ip -4 -o addr").stdout;
        assert!(!addresses.contains("10.77.0.100/"), "{} still has the old address", node.name());
    }
    assert_ne!(web_pid_at(&cluster), web.1, "the server behind the address was restarted");
}

fn web_pid_at(cluster: &Cluster) -> String {
    let node = cluster.lab.client_http("10.77.0.101").expect("answers").trim().to_owned();
    cluster.lab.node(&node).sh("pgrep -o nginx").stdout
}

#[test]
fn a_hundred_resources_of_one_push_start_at_once() {
    let Some(cluster) = Cluster::with(3, &basis()) else { return };
    cluster.settle();
    let mut tree = basis();
    let all = (0..100).map(|number| dummy(&format!("d{number}"), &format!("/run/d{number}"), "")).collect();
    tree.insert("many.yaml".into(), all);
    let node = cluster.lab.node("n1");
    cluster.commit(node, &tree);
    let begin = node.sh("date +%s%N").ok().parse::<u128>().expect("a number");
    let pushing = Instant::now();
    node.sh("cd /root/manifests && git push -q /var/lib/hafen/repo.git main 2>&1").ok();
    let answered = pushing.elapsed();
    // Counted cheaply: a `hafen status` every few milliseconds would be measured too.
    let count = || {
        let counts = cluster.lab.nodes().into_iter().map(|node| node.sh("ls /run | grep -c ^d[0-9]").stdout);
        counts.filter_map(|count| count.trim().parse::<usize>().ok()).sum::<usize>()
    };
    cluster.lab.wait_until(SOON, "all run", || {
        std::thread::sleep(Duration::from_millis(100));
        count() == 100
    });
    let seen = pushing.elapsed();
    let mut started: Vec<u128> = Vec::new();
    for node in cluster.lab.nodes() {
        let times = node.sh("stat -c %.9Y /run/d[0-9]* | tr -d .").ok();
        started.extend(times.lines().map(|line| line.parse::<u128>().expect("a number")));
    }
    started.sort_unstable();
    let accepted = cluster.events("n1").lines().rfind(|line| line.contains("following")).map(str::to_owned);
    eprintln!(
        "100 resources: git push answered after {} ms; first started after {} ms, last after {} ms, seen after {} ms ({accepted:?})",
        answered.as_millis(),
        (started[0] - begin) / 1_000_000,
        (started[99] - begin) / 1_000_000,
        seen.as_millis(),
    );
    if let Some(folder) = std::env::var_os("HAFEN_E2E_LOGS") {
        for node in cluster.lab.nodes() {
            std::fs::write(std::path::Path::new(&folder).join(node.name()), node.logs()).expect("writable");
        }
    }
    assert_eq!(started.len(), 100);
    assert!(seen < Duration::from_secs(15), "{seen:?}");
}
