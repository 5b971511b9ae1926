//! Two nodes with a witness, and a node that goes on alone.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON, quickstart};
use crate::life_test::membership;

const VIP: &str = "10.77.0.100";

/// The quickstart on nodes of these roles; as many as there are roles.
fn with_roles(roles: &[&str]) -> Option<Cluster> {
    let mut files = quickstart();
    for text in files.values_mut() {
        let documents: Vec<String> = text
            .split("\n---\n")
            .filter(|document| {
                let beyond = (roles.len() + 1..10).any(|n| document.contains(&format!("metadata: {{ name: n{n} }}")));
                !(document.contains("kind: Node") && beyond)
            })
            .map(|document| {
                let role = (1..=roles.len()).find(|n| document.contains(&format!("metadata: {{ name: n{n} }}")));
                match role.filter(|_| document.contains("kind: Node")) {
                    Some(n) => document.replace("\nspec:\n", &format!("\nspec:\n  role: {}\n", roles[n - 1])),
                    None => document.to_owned(),
                }
            })
            .collect();
        *text = documents.join("\n---\n");
    }
    let cluster = Cluster::with(roles.len(), &files)?;
    cluster.lab.wait_until(SOON, "all nodes vote", || {
        cluster.status("n1").is_some_and(|s| s["voters"].as_array().is_some_and(|voters| voters.len() == roles.len()))
    });
    cluster.lab.wait_until(SOON, "the web server answers", || cluster.served_by().is_some());
    cluster.settle();
    Some(cluster)
}

fn held_by(cluster: &Cluster, node: &str) -> bool {
    cluster.lab.node(node).sh(&format!("ip -4 addr show | grep -q {VIP}/")).success()
}

#[test]
fn with_a_witness_either_of_two_nodes_may_be_lost_and_a_node_alone_stops() {
    let Some(cluster) = with_roles(&["Voter", "Voter", "Witness"]) else { return };
    let lab = &cluster.lab;
    let watch = lab.watch_vip(VIP);
    for round in 0..2 {
        let active = cluster.served_by().expect("served");
        assert_ne!(active, "n3", "a witness runs nothing");
        let began = Instant::now();
        lab.node(&active).off();
        lab.wait_until(SOON, "the other one takes over", || cluster.served_by().is_some_and(|now| now != active));
        eprintln!("round {round}: {active} was lost, served again after {} ms", began.elapsed().as_millis());
        assert_ne!(cluster.served_by().as_deref(), Some("n3"));
        lab.node(&active).on();
        cluster.settle();
    }
    // The witness and the idle node: what is left has no majority.
    let active = cluster.served_by().expect("served");
    let idle = if active == "n1" { "n2" } else { "n1" };
    lab.node("n3").off();
    lab.node(idle).off();
    lab.wait_until(SOON, "the service is stopped", || !held_by(&cluster, &active));
    lab.node("n3").on();
    lab.wait_until(SOON, "with the witness it goes on", || cluster.served_by().is_some());
    assert_eq!(watch.finish().overlap, Duration::ZERO);
}

#[test]
fn an_operator_lets_a_node_go_on_alone_and_the_other_one_comes_back_anew() {
    let Some(cluster) = with_roles(&["Voter", "Voter"]) else { return };
    let lab = &cluster.lab;
    let lost = cluster.served_by().expect("served");
    let left = if lost == "n1" { "n2" } else { "n1" };
    let (gone, survivor) = (lab.node(&lost), lab.node(left));
    gone.off();
    std::thread::sleep(Duration::from_secs(3));
    assert!(!held_by(&cluster, left), "one of two has no majority");

    let refused = survivor.sh(&format!("hafen recover --alone --off {lost} --reason test --yes 2>&1"));
    assert!(!refused.success(), "the daemon runs: {}", refused.stdout);
    survivor.stop_daemon();
    let own = survivor.sh(&format!("hafen recover --alone --off {left} --reason test --yes 2>&1"));
    assert!(!own.success() && own.stdout.contains("is not off"), "{}", own.stdout);
    let unasked = survivor.sh(&format!("hafen recover --alone --off {lost} --reason test </dev/null 2>&1"));
    assert!(!unasked.success() && unasked.stdout.contains("not confirmed"), "{}", unasked.stdout);
    let done = survivor.sh(&format!("hafen recover --alone --off {lost} --reason 'it burnt down' --yes 2>&1")).ok();
    assert!(done.contains("generation 1"), "{done}");
    let began = Instant::now();
    survivor.start_daemon();
    lab.wait_until(SOON, "the service runs again", || cluster.served_by().as_deref() == Some(left));
    eprintln!("recovered: served after {} ms", began.elapsed().as_millis());
    assert_eq!(membership(&cluster, left, &lost).as_deref(), Some("Fenced"));
    assert!(cluster.events(left).contains("it burnt down"));

    // The other one did not burn down after all.
    let watch = lab.watch_vip(VIP);
    gone.on();
    lab.wait_until(SOON, "it says that it was left behind", || {
        cluster.hafen(&lost, "status 2>&1").stdout.contains("goes on in generation 1, without this node")
    });
    assert!(!held_by(&cluster, &lost));
    gone.stop_daemon();
    gone.sh("mv /var/lib/hafen /var/lib/hafen.old").ok();
    let token = survivor.sh("hafen token 2>/dev/null").ok();
    let address = gone.address(crate::lab::Link::Eth0);
    gone.sh(&format!("echo '{token}' | hafen join - --name {lost} --addresses {address}")).ok();
    gone.start_daemon();
    lab.wait_until(SOON, "both vote again", || {
        cluster.status(left).is_some_and(|s| s["voters"].as_array().is_some_and(|voters| voters.len() == 2))
    });
    cluster.settle();
    assert_eq!(cluster.served_by().as_deref(), Some(left));
    assert_eq!(watch.finish().overlap, Duration::ZERO);
}
