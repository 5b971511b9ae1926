//! What a Node document makes of a node, and what `join` alone does not.

use crate::cluster::{Cluster, Manifests, SOON};
use crate::push_test::{basis, dummy};
use crate::pushed_test::drop_node;
use serde_json::Value;

/// The basis with n3 in a role, or without it; `d0` prefers n3 where that can be.
fn tree(third: Option<&str>) -> Manifests {
    let mut tree = basis();
    match third {
        Some(role) => {
            for text in tree.values_mut() {
                *text =
                    text.replace("  addresses: [10.77.0.13,", &format!("  role: {role}\n  addresses: [10.77.0.13,"));
            }
        }
        None => drop_node(&mut tree, "n3"),
    }
    let prefers = "apiVersion: hafen/v1alpha1\nkind: Location\nmetadata: { name: d0-on-n3 }\n\
                   spec: { resource: d0, nodes: [n3], strength: Preferred }\n---\n";
    let likes = if matches!(third, Some("Voter" | "Agent")) { prefers } else { "" };
    tree.insert("d.yaml".into(), dummy("d0", "/run/d0", "") + likes);
    tree
}

fn node(status: &Value, name: &str) -> Value {
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|node| node["name"] == name).unwrap_or_default()
}

#[test]
fn a_document_says_what_a_node_is_for_and_join_alone_gives_it_nothing() {
    let Some(cluster) = Cluster::new(3) else { return };
    let voters = |wanted: &[&str]| {
        cluster.lab.wait_until(SOON, "the voters are those of the documents", || {
            cluster.status("n1").is_some_and(|status| status["voters"] == serde_json::json!(wanted))
        });
    };
    let runs_there = |wanted: bool| {
        cluster.lab.wait_until(SOON, if wanted { "d0 runs on n3" } else { "d0 runs elsewhere" }, || {
            cluster.file("/run/d0").is_some_and(|(node, _)| (node == "n3") == wanted)
        });
        cluster.settle();
    };
    // n3 joined without a document; n4 has one and never joined.
    let mut first = tree(None);
    let absent = "apiVersion: hafen/v1alpha1\nkind: Node\nmetadata: { name: n4 }\nspec:\n  \
                  addresses: [10.77.0.14, 10.78.0.14]\n  fencing: [[pdu]]\n---\n";
    first.insert("n4.yaml".into(), absent.into());
    cluster.push("n1", &first, "").ok();
    runs_there(false);
    voters(&["n1", "n2"]);
    let status = cluster.status("n1").expect("answers");
    assert!(node(&status, "n3")["notes"].to_string().contains("unlisted"), "{status:#}");
    assert_eq!(node(&status, "n4")["membership"], "Absent");
    assert_eq!(status["fencing"], serde_json::json!([]), "nobody is fenced");

    // Agent: no vote, but it runs resources and is fenced like others.
    cluster.push("n1", &tree(Some("Agent")), "").ok();
    runs_there(true);
    voters(&["n1", "n2"]);
    cluster.lab.node("n3").off();
    cluster.lab.wait_until(SOON, "d0 is taken over", || cluster.file("/run/d0").is_some_and(|(node, _)| node != "n3"));
    let fenced = cluster.status("n1").expect("answers")["fencing"].to_string();
    assert!(fenced.contains("n3"), "{fenced}");
    cluster.lab.wait_until(SOON, "n3 is back", || cluster.online("n1").len() == 3);
    runs_there(true);

    // Witness: a vote, and nothing runs there.
    cluster.push("n1", &tree(Some("Witness")), "").ok();
    runs_there(false);
    voters(&["n1", "n2", "n3"]);
    cluster.push("n1", &tree(Some("Voter")), "").ok();
    runs_there(true);
    voters(&["n1", "n2", "n3"]);

    // Removed: it is emptied and has no vote; added again: as before.
    cluster.push("n1", &tree(None), "").ok();
    runs_there(false);
    voters(&["n1", "n2"]);
    let status = cluster.status("n1").expect("answers");
    assert!(node(&status, "n3")["notes"].to_string().contains("leaving"), "{status:#}");
    cluster.push("n2", &tree(Some("Voter")), "").ok();
    runs_there(true);
    voters(&["n1", "n2", "n3"]);
    // Removed while it is off: fenced, and forgotten.
    cluster.lab.node("n3").sh("rm -f /srv/shared/.lab/n3.stack").ok();
    cluster.lab.node("n3").off();
    cluster.push("n1", &tree(None), "").ok();
    cluster.lab.wait_until(SOON, "d0 is taken over", || cluster.file("/run/d0").is_some_and(|(node, _)| node != "n3"));
    cluster.lab.wait_until(SOON, "n3 is forgotten", || {
        cluster.status("n1").is_some_and(|status| node(&status, "n3").is_null())
    });
}
