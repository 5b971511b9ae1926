//! What goes wrong with a whole cluster or at the start of a node: a clear error, a hint, a documented exit code, nothing lost.

use std::time::Duration;

use crate::cluster::{Cluster, SOON};
use crate::lab::{Link, Node, Output};
use crate::push_test::{basis, dummy};

/// Asserts how a command failed.
#[track_caller]
fn fails(output: &Output, code: i32, words: &[&str]) {
    eprintln!("exit {:?}: {}", output.status, output.stderr.trim().replace("\n\n", " | "));
    assert_eq!(output.status, Some(code), "{output:#?}");
    for word in words {
        assert!(output.stderr.contains(word), "no `{word}` in\n{}", output.stderr);
    }
}

fn addresses(node: Node<'_>) -> String {
    format!("{},{}", node.address(Link::Eth0), node.address(Link::Eth1))
}

#[test]
fn mistakes_at_init_join_and_start_are_told_with_a_hint_and_cost_nothing() {
    let Some(cluster) = Cluster::with(2, &basis()) else { return };
    let (n1, n2) = (cluster.lab.node("n1"), cluster.lab.node("n2"));
    cluster.lab.wait_until(SOON, "both nodes are there", || cluster.online("n1").len() == 2);
    let term = cluster.status("n1").map(|status| status["term"].clone());

    // Init and join where there is a node already; the token is not spent.
    let init = format!("hafen init --name n2 --addresses {}", addresses(n2));
    fails(&n2.sh(&init), 1, &["already", "/var/lib/hafen", "hint:"]);
    let token = n1.sh("hafen token").ok();
    let join = |data_dir: &str, token: &str| {
        let name = data_dir.trim_start_matches("/root/").replace('/', "_");
        format!(
            "echo '{token}' | hafen --data-dir {data_dir} join - --name {name} --addresses 10.77.0.12 --listen 7555"
        )
    };
    fails(
        &n2.sh(&join("/var/lib/hafen", &token).replace("_var_lib_hafen", "n2")),
        1,
        &["already", "/var/lib/hafen", "hint:"],
    );
    // Of another cluster.
    n2.sh("hafen --data-dir /root/other init --name x --addresses 10.77.0.12 --listen 7666").ok();
    fails(&n2.sh(&join("/root/other", &token)), 1, &["cluster", "/root/other", "hint:"]);
    n2.sh(&join("/root/n9", &token)).ok();
    fails(&n2.sh(&join("/root/n10", &token)), 1, &["used before", "hafen token"]);
    let short = n1.sh("hafen token --ttl 1s").ok();
    std::thread::sleep(Duration::from_millis(1100));
    fails(&n2.sh(&join("/root/n11", &short)), 1, &["expired", "hafen token"]);
    fails(&n2.sh(&join("/root/n12", &token.replace(&token[20..30], "AAAAAAAAAA"))), 1, &["token"]);
    fails(&n2.sh(&join("/root/n12", "nonsense")), 1, &["not a join token", "hint:"]);
    let gone = n2.sh("ls -d /root/n10 /root/n11 /root/n12 2>/dev/null").stdout;
    assert_eq!(gone.trim(), "", "a join that failed leaves no data directory");

    // Starts that must not be.
    fails(&n2.sh("hafen agent"), 1, &["in use", "hint:"]);
    fails(&n2.sh("hafen --data-dir /root/nothing agent"), 1, &["hafen init", "hafen join"]);
    fails(&n2.sh("hafen --data-dir /root/other status"), 69, &["hint:"]);
    n2.sh("cp -a /root/other /root/port && sed -i 's/7666/7443/' /root/port/node.json").ok();
    fails(&n2.sh("hafen --data-dir /root/port agent"), 1, &["7443", "in use", "hint:"]);
    n2.sh("chmod 644 /root/other/identity/node.key").ok();
    fails(&n2.sh("hafen --data-dir /root/other agent"), 1, &["node.key", "chmod 600"]);
    n2.sh("chmod 600 /root/other/identity/node.key && echo rubbish >/root/other/node.json").ok();
    fails(&n2.sh("hafen --data-dir /root/other agent"), 1, &["node.json", "damaged", "hint:"]);
    n2.sh("mkdir -p /root/bin && for tool in sh bash cat env; do ln -sf $(command -v $tool) /root/bin/; done").ok();
    n2.sh("hafen --data-dir /root/nogit init --name y --addresses 10.77.0.12 --listen 7777").ok();
    fails(&n2.sh("PATH=/root/bin /opt/hafen/hafen --data-dir /root/nogit agent"), 1, &["git", "hint:"]);
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups /opt/hafen/hafen";
    fails(&n2.sh(&format!("{nobody} agent")), 1, &["root", "hint:"]);
    fails(&n2.sh(&format!("{nobody} status")), 69, &["hafen.sock", "hint:"]);
    fails(&n2.sh("hafen statsu"), 64, &["status"]);

    // All the while nothing happened to the cluster.
    assert_eq!(cluster.status("n1").map(|status| status["term"].clone()), term);
    assert_eq!(cluster.online("n1").len(), 2);
}

#[test]
fn a_node_without_the_agent_does_not_run_it_and_says_why() {
    let Some(cluster) = Cluster::with(2, &basis()) else { return };
    cluster.settle();
    // An agent that only n2 has.
    let agents = "/usr/lib/ocf/resource.d/heartbeat";
    cluster
        .lab
        .node("n2")
        .sh(&format!("sed 's/name=\"Dummy\"/name=\"Rare\"/' {agents}/Dummy >{agents}/Rare && chmod +x {agents}/Rare"))
        .ok();
    let mut tree = basis();
    let rare = dummy("rare", "/run/rare", "").replace("heartbeat:Dummy", "heartbeat:Rare");
    let likes = "apiVersion: hafen/v1alpha1\nkind: Location\nmetadata: { name: rare-on-n1 }\nspec: { resource: rare, nodes: [n1], strength: Preferred }\n---\n";
    tree.insert("rare.yaml".into(), rare + likes);
    let told = cluster.push("n2", &tree, "").ok();
    eprintln!("{told}");
    cluster
        .lab
        .wait_until(SOON, "it runs where its agent is", || cluster.file("/run/rare").is_some_and(|(n, _)| n == "n2"));
    cluster.settle();
    let why = cluster.lab.node("n1").sh("hafen why rare --not n1").stdout;
    eprintln!("{why}");
    assert!(why.contains("heartbeat/Rare` is not on this node"), "{why}");
}

#[test]
fn a_node_whose_disk_is_full_stops_acknowledging_and_says_so_while_the_others_go_on() {
    let Some(cluster) = Cluster::with(3, &basis()) else { return };
    cluster.settle();
    let leader = cluster.leader("n1").expect("a leader");
    let victim = leader.as_str();
    let node = cluster.lab.node(victim);
    node.stop_daemon();
    node.sh("set -e; cp -a /var/lib/hafen /tmp/copy; mount -t tmpfs -o size=60m,mode=711 small /var/lib/hafen; \
             cp -a /tmp/copy/. /var/lib/hafen/")
        .ok();
    node.start_daemon();
    cluster.lab.wait_until(SOON, "it is back", || cluster.online(&cluster.other_than(victim)).len() == 3);
    node.sh("dd if=/dev/zero of=/var/lib/hafen/filler bs=64k 2>/dev/null; true");
    let other = cluster.other_than(victim);
    // Something to write until there is no room.
    for number in 0..40 {
        let mut tree = basis();
        // Incompressible, so that the log grows.
        let noise = cluster.lab.node(&other).sh("head -c 60000 /dev/urandom | base64 -w 0").ok();
        let resource =
            // Nothing is to start: else the others would fence whoever cannot say any more that it does not run there.
            dummy("d0", "/run/d0", "  targetRole: Stopped\n").replace("params: {", &format!("params: {{ fake: \"{number}{noise}\","));
        tree.insert("d.yaml".into(), resource);
        // While the leader dies of it, an outcome may be unknown.
        cluster.push(&other, &tree, "");
        if node.daemon_pid().is_none() {
            break;
        }
    }
    cluster.lab.wait_until(SOON, "it ends", || node.daemon_pid().is_none());
    let log = node.logs();
    let last = log.lines().rev().find(|line| line.contains("full")).unwrap_or("nothing");
    eprintln!("{victim} said: {last}");
    assert!(last.contains("disk of") && last.contains("free some space"), "{log}");
    let mut tree = basis();
    tree.insert("d.yaml".into(), dummy("after", "/run/after", "  targetRole: Stopped\n"));
    cluster.lab.wait_until(SOON, "the others lead on", || cluster.leader(&other).is_some_and(|name| name != victim));
    cluster.push(&other, &tree, "").ok();
    node.sh("rm /var/lib/hafen/filler").ok();
    node.start_daemon();
    cluster.lab.wait_until(SOON, "it follows again", || cluster.target(victim) == cluster.target(&other));
}
