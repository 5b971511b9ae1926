//! Pushes that are refused, that race, and that meet a failure.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Manifests, SOON};
use crate::lab::{Node, Output};
use crate::push_test::{basis, dummy};

const REPO: &str = "/var/lib/hafen/repo.git";

/// The basis and some resources.
fn with(dummies: &str) -> Manifests {
    let mut tree = basis();
    tree.insert("dummies.yaml".into(), dummies.into());
    tree
}

/// Seven resources: more than may be removed at once.
fn seven() -> String {
    (0..7).map(|number| dummy(&format!("d{number}"), &format!("/run/d{number}"), "")).collect()
}

/// The same resource with settings that nothing is restarted for, so that every commit differs.
fn variant(number: u64) -> Manifests {
    let more = format!("  operations: {{ monitor: {{ interval: {}s, timeout: 20s }} }}\n", number + 10);
    with(&dummy("d0", "/run/d0", &more))
}

impl Cluster {
    /// What the cluster follows, as a node sees it.
    pub fn target(&self, seen_by: &str) -> String {
        let target = self.status(seen_by).map(|status| status["target"]["revision"].clone());
        target.and_then(|revision| revision.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// The tip of `main` in a node's repository.
    pub fn main(&self, node: &str) -> String {
        self.lab.node(node).sh(&format!("git -C {REPO} rev-parse main")).stdout.trim().to_owned()
    }

    /// The commit of the work tree on a node.
    fn head(&self, node: &str) -> String {
        git(self.lab.node(node), "rev-parse HEAD").ok()
    }

    /// Waits until every node follows one target and its repository says so; returns it.
    pub fn agreed(&self) -> String {
        let nodes = self.lab.nodes();
        let mut seen = Vec::new();
        self.lab.wait_until(SOON, "all nodes follow one target", || {
            seen = nodes.iter().flat_map(|node| [self.target(node.name()), self.main(node.name())]).collect();
            !seen[0].is_empty() && seen.iter().all(|revision| *revision == seen[0])
        });
        seen[0].clone()
    }
}

fn git(node: Node<'_>, command: &str) -> Output {
    node.sh(&format!("cd /root/manifests && git {command} 2>&1"))
}

/// Asserts that a push failed with these words.
fn refused(output: &Output, words: &[&str]) {
    assert_eq!(output.status, Some(1), "{output:#?}");
    for word in words {
        assert!(output.stdout.contains(word), "no `{word}` in what the pusher sees:\n{}", output.stdout);
    }
}

#[test]
fn a_push_that_must_not_happen_is_refused_with_the_reason_and_changes_nothing() {
    let Some(cluster) = Cluster::with(3, &with(&seven())) else { return };
    cluster.settle();
    let before = cluster.agreed();
    let node = cluster.lab.node("n1");
    let unchanged = |what: &str| {
        assert_eq!(cluster.target("n2"), before, "{what}");
        assert_eq!(cluster.main("n1"), before, "{what}");
    };

    let broken = with(&seven().replacen("  params:", "  parms:", 1));
    let told = cluster.push("n1", &broken, "");
    eprintln!("--- broken push, as the pusher sees it\n{}---", told.stdout);
    refused(&told, &["dummies.yaml:6:3", "parms: { state: /run/d0 }", "^", "params", "HA0"]);
    unchanged("a broken push");

    // The rest starts from a good commit.
    let good = with(&(seven() + &dummy("d7", "/run/d7", "")));
    cluster.commit(node, &good);
    refused(
        &git(node, &format!("push -o allow-removal {REPO} main")),
        &["allow-removal", "did you mean", "allow-removals"],
    );
    refused(&git(node, &format!("push -o dry-run {REPO} main")), &["d7", "dry run"]);
    refused(&git(node, &format!("push {REPO} main:test")), &["only the branch `main`", "test"]);
    refused(&git(node, &format!("tag v1 && git push {REPO} v1")), &["only the branch `main`", "v1"]);
    refused(&git(node, &format!("push {REPO} :main")), &["cannot be deleted"]);
    refused(&git(node, &format!("push {REPO} main v1")), &["v1"]);
    unchanged("refs and options");

    let fewer = with(&dummy("d0", "/run/d0", ""));
    refused(&cluster.push("n1", &fewer, ""), &["stops 6 resources", "-o allow-removals"]);
    refused(&cluster.push("n1", &basis(), ""), &["stops 7 resources", "-o allow-removals"]);
    refused(&cluster.push("n1", &Manifests::new(), "-o allow-removals"), &["Cluster"]);
    unchanged("removals");

    // An unknown history: git refuses it by itself, and hafen where git is told to force it.
    cluster.commit(node, &good);
    git(node, "checkout -q --orphan other && git commit -qm other").ok();
    let rejected = git(node, &format!("push {REPO} other:main"));
    assert!(rejected.status == Some(1) && rejected.stdout.contains("rejected"), "{rejected:#?}");
    refused(&git(node, &format!("push --force {REPO} other:main")), &["-o allow-rewind"]);
    unchanged("a rewind");

    let told = git(node, &format!("push {REPO} {before}:main"));
    assert!(told.success(), "the current revision: {told:#?}");
    unchanged("the current revision");
    let other = git(node, "rev-parse other").ok();
    git(node, &format!("push --force -o allow-rewind {REPO} other:main")).ok();
    assert_eq!(cluster.agreed(), other, "a rewind that is meant");
    git(node, &format!("push --force -o allow-rewind {REPO} {before}:main")).ok();
    assert_eq!(cluster.agreed(), before, "and back");
    git(node, "checkout -q -f main").ok();
    cluster.push("n1", &with(&dummy("d0", "/run/d0", "")), "-o allow-removals").ok();
    cluster.lab.wait_until(SOON, "the rest stopped", || cluster.file("/run/d6").is_none());
    assert!(cluster.file("/run/d0").is_some(), "what stayed runs");
    cluster.push("n1", &basis(), "-o allow-removals").ok();
    cluster.lab.wait_until(SOON, "all stopped", || cluster.file("/run/d0").is_none());
}

#[test]
fn of_two_pushes_at_once_exactly_one_wins() {
    let Some(cluster) = Cluster::with(3, &variant(0)) else { return };
    cluster.settle();
    let mut losers = Vec::new();
    for round in 1..=10 {
        cluster.agreed();
        let pushers = ["n2", "n3"];
        for (index, name) in pushers.iter().enumerate() {
            cluster.commit(cluster.lab.node(name), &variant(round * 2 + index as u64));
        }
        let pushed = std::thread::scope(|scope| {
            let threads = pushers.map(|name| {
                let node = cluster.lab.node(name);
                scope.spawn(move || git(node, &format!("push {REPO} main")))
            });
            threads.map(|thread| thread.join().expect("no panic"))
        });
        let won: Vec<&str> = pushers.iter().zip(&pushed).filter(|(_, p)| p.success()).map(|(name, _)| *name).collect();
        assert_eq!(won.len(), 1, "round {round}: {pushed:#?}");
        assert_eq!(cluster.agreed(), cluster.head(won[0]), "round {round}");
        let loser = pushed.iter().find(|push| !push.success()).expect("one won");
        assert!(loser.stdout.contains("pull"), "round {round}: the loser is told why: {}", loser.stdout);
        losers.extend(loser.stdout.lines().rev().find(|line| line.contains("rejected")).map(str::to_owned));
    }
    losers.sort();
    losers.dedup();
    eprintln!("what losers were told: {losers:#?}");
}

#[test]
fn a_node_that_was_off_or_is_not_running_gets_what_was_pushed_meanwhile() {
    let Some(cluster) = Cluster::with(3, &variant(0)) else { return };
    cluster.settle();
    let runs = cluster.runs_on("n1", "d0").expect("runs");
    let away = ["n3", "n2"].into_iter().find(|name| *name != runs).expect("one of two");
    let there = ["n3", "n2"].into_iter().find(|name| *name != away).expect("one of two");
    let node = cluster.lab.node(away);

    // Not running: the hook itself says so.
    node.stop_daemon();
    let before = cluster.agreed_by(&["n1", there]);
    let told = cluster.push(away, &variant(1), "");
    refused(&told, &["push refused: the daemon is not running", "start it with"]);
    assert_eq!(cluster.agreed_by(&["n1", there]), before);

    // A push elsewhere while it is off.
    node.off();
    cluster.push("n1", &variant(2), "").ok();
    let wanted = cluster.head("n1");
    // A voter less: one more would be too many.
    let mut minority = variant(3);
    drop_node(&mut minority, there);
    cluster.lab.wait_until(SOON, "it is missed", || !cluster.online("n1").contains(&away.to_owned()));
    refused(&cluster.push("n1", &minority, ""), &["reachable", "no quorum"]);
    let begin = Instant::now();
    node.on();
    assert_eq!(cluster.agreed(), wanted);
    eprintln!("the node that was off follows the target {} ms after power-on", begin.elapsed().as_millis());

    // Without a quorum nothing is accepted, at once and never as unknown.
    let quick = Instant::now();
    for name in [there, away] {
        cluster.lab.node(name).kill_daemon();
    }
    let told = cluster.push("n1", &variant(4), "");
    eprintln!("without a quorum refused after {} ms: {}", quick.elapsed().as_millis(), told.stdout);
    refused(&told, &["remote rejected"]);
    assert!(!told.stdout.contains("UNKNOWN"), "{}", told.stdout);
    for name in [there, away] {
        cluster.lab.node(name).start_daemon();
    }
    assert_eq!(cluster.agreed(), wanted);
    cluster.settle();
    cluster.push(away, &variant(5), "").ok();
    cluster.agreed();
}

/// Takes a node's document out.
pub fn drop_node(tree: &mut Manifests, name: &str) {
    for text in tree.values_mut() {
        let without =
            |document: &&str| !(document.contains("kind: Node") && document.contains(&format!("name: {name} ")));
        *text = text.split("---\n").filter(without).collect::<Vec<_>>().join("---\n");
    }
}

impl Cluster {
    fn agreed_by(&self, nodes: &[&str]) -> String {
        let mut seen = Vec::new();
        self.lab.wait_until(SOON, "these nodes follow one target", || {
            seen = nodes.iter().map(|node| self.target(node)).collect();
            !seen[0].is_empty() && seen.iter().all(|revision| *revision == seen[0])
        });
        seen[0].clone()
    }
}

#[test]
fn the_death_of_the_receiving_node_leaves_the_old_target_or_the_new_one() {
    let Some(cluster) = Cluster::with(3, &variant(0)) else { return };
    cluster.settle();
    let mut outcomes = Vec::new();
    // A push takes some 200 ms: cut before, during and after the proposal. Every third is a power cut.
    for (round, delay_ms) in [0, 40, 80, 100, 120, 140, 160, 180, 220, 300].into_iter().enumerate() {
        let before = cluster.agreed();
        let receiver = ["n2", "n3"][round % 2];
        let node = cluster.lab.node(receiver);
        cluster.commit(node, &variant(round as u64 + 1));
        let wanted = cluster.head(receiver);
        let power = round % 3 == 2;
        let pushed = std::thread::scope(|scope| {
            let push = scope.spawn(move || git(node, &format!("push {REPO} main")));
            std::thread::sleep(Duration::from_millis(delay_ms));
            if power {
                node.off();
            } else {
                node.kill_daemon();
            }
            push.join().expect("no panic")
        });
        if power {
            node.on();
        } else {
            node.start_daemon();
        }
        let after = cluster.agreed();
        let unknown = power || pushed.stdout.contains("UNKNOWN");
        if pushed.success() {
            assert_eq!(after, wanted, "round {round}: accepted and lost: {pushed:#?}");
        } else if !unknown {
            assert_eq!(after, before, "round {round}: refused and done: {pushed:#?}");
        }
        assert!(after == before || after == wanted, "round {round}: {after}");
        let result = if pushed.success() {
            "ok"
        } else if unknown {
            "unknown"
        } else {
            "refused"
        };
        let end = if after == wanted { "new" } else { "old" };
        outcomes.push(format!("{delay_ms} ms{}: {result}, {end}", if power { " (power)" } else { "" }));
    }
    eprintln!("killed while receiving: {outcomes:#?}");
}

#[test]
fn a_full_disk_refuses_a_push_and_works_again_with_space() {
    let Some(cluster) = Cluster::with(3, &variant(0)) else { return };
    cluster.settle();
    let before = cluster.agreed();
    let node = cluster.lab.node("n2");
    let objects = format!("{REPO}/objects");
    node.sh(&format!(
        "set -e; cp -a {objects} /tmp/objects; mount -t tmpfs -o size=600k objects {objects}; \
         cp -a /tmp/objects/. {objects}/; dd if=/dev/zero of={objects}/filler bs=1k count=10000 2>/dev/null || true; \
         truncate -s -32k {objects}/filler"
    ))
    .ok();
    let mut large = variant(1);
    let noise = node.sh("head -c 60000 /dev/urandom | base64 -w 100 | sed 's/^/# /'").ok();
    large.insert("noise.yaml".into(), noise);
    let told = cluster.push("n2", &large, "");
    eprintln!("--- disk full, as the pusher sees it\n{}---", told.stdout);
    assert!(!told.success() && told.stdout.contains("space"), "{told:#?}");
    assert_eq!(cluster.agreed(), before);
    // Small enough for git, too large for what hafen writes beside it, or accepted: never half.
    for round in 2..6 {
        node.sh(&format!("dd if=/dev/zero of={objects}/filler{round} bs=4k count=4 2>/dev/null"));
        let told = cluster.push("n2", &variant(round), "");
        if told.success() {
            assert_eq!(cluster.agreed(), cluster.head("n2"));
        } else {
            eprintln!("--- nearly full\n{}---", told.stdout);
            assert!(told.stdout.contains("space"), "{told:#?}");
        }
    }
    node.sh(&format!("rm {objects}/filler*")).ok();
    cluster.push("n2", &large, "").ok();
    assert_eq!(cluster.agreed(), cluster.head("n2"));
}
