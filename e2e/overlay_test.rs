//! Two clusters in one repository: a cluster follows its own folder, with the base from the same commit.

use crate::cluster::{Cluster, Manifests, SOON};
use crate::push_test::{basis, dummy};

const HEADER: &str = "apiVersion: hafen/v1alpha1\nkind: Overlay\n";

/// The basis as a base, with one resource whose state is a variable, and two clusters on it.
fn tree(state: &str) -> Manifests {
    let mut tree = Manifests::new();
    for (name, text) in basis() {
        tree.insert(format!("base/{name}"), text.replace("spec: {}", "spec: { source: { path: \"${folder}\" } }"));
    }
    let variables =
        "metadata: { name: base }\nspec: { variables: { folder: { type: String }, state: { type: String } } }\n---\n";
    tree.insert("base/overlay.yaml".into(), format!("{HEADER}{variables}{}", dummy("d0", "\"${state}\"", "")));
    for (name, state) in [("prod", state), ("test", "/run/test")] {
        let spec = format!("spec: {{ bases: [../base], values: {{ folder: {name}, state: {state} }} }}\n");
        tree.insert(format!("{name}/overlay.yaml"), format!("{HEADER}metadata: {{ name: {name} }}\n{spec}"));
    }
    tree
}

#[test]
fn a_cluster_follows_its_folder_of_a_repository_of_several() {
    let Some(cluster) = Cluster::new(3) else { return };
    let told = cluster.push("n1", &tree("/run/d0"), "");
    assert!(
        told.status == Some(1) && told.stdout.contains("HA0415") && told.stdout.contains("path=FOLDER"),
        "{told:#?}"
    );
    let told = cluster.push("n1", &tree("/run/d0"), "-o path=base");
    assert!(told.status == Some(1) && told.stdout.contains("HA0411"), "a base is no cluster: {told:#?}");
    cluster.push("n1", &tree("/run/d0"), "-o path=prod").ok();
    cluster.lab.wait_until(SOON, "d0 runs", || cluster.file("/run/d0").is_some());
    cluster.settle();

    // From now on it knows its folder.
    cluster.commit(cluster.lab.node("n1"), &tree("/run/d1"));
    let differs = cluster.hafen("n1", "diff /root/manifests/prod");
    for words in ["params.state: /run/d0 -> /run/d1", "/root/manifests/prod/overlay.yaml:4:"] {
        assert!(differs.stdout.contains(words), "no `{words}`: {differs:#?}");
    }
    let told = cluster.push("n1", &tree("/run/d1"), "-o path=test");
    assert!(told.status == Some(1) && told.stdout.contains("follows the folder `prod`"), "{told:#?}");
    cluster.push("n1", &tree("/run/d1"), "").ok();
    cluster.lab.wait_until(SOON, "d0 runs with the new value", || cluster.file("/run/d1").is_some());
    assert!(cluster.file("/run/d0").is_none() && cluster.file("/run/test").is_none());

    // What is wrong is said where it is written, also outside of the folder that it follows.
    let before = cluster.agreed();
    let mut broken = tree("/run/d1");
    broken.retain(|name, _| name != "base/overlay.yaml");
    let told = cluster.push("n1", &broken, "");
    assert!(told.status == Some(1) && told.stdout.contains("base/cluster.yaml:"), "{told:#?}");
    let mut gone = tree("/run/d1");
    gone.retain(|name, _| !name.starts_with("base/"));
    let told = cluster.push("n1", &gone, "");
    assert!(told.status == Some(1) && told.stdout.contains("HA0414"), "{told:#?}");
    assert_eq!(cluster.agreed(), before);
}
