//! Commits that must be signed, with the keys of two people.

use crate::cluster::{Cluster, Manifests, SOON};
use crate::push_test::{basis, dummy};

/// The basis with rules: Ada may change everything, Bob only `dummies.yaml`.
fn ruled(cluster: &Cluster, dummies: &str) -> Manifests {
    let node = cluster.lab.node("n1");
    let key = |who: &str| node.sh(&format!("cut -d' ' -f1,2 /root/{who}.pub")).ok();
    let (ada, bob) = (key("ada"), key("bob"));
    let mut tree = basis();
    let file =
        tree.iter().find(|(_, text)| text.contains("spec: {}")).map(|(name, _)| name.clone()).expect("a Cluster");
    for text in tree.values_mut() {
        let rules = format!(
            "spec:\n  signatures:\n    - paths: [\"**\"]\n      signers: {{ ssh: [\"ada@example.net {ada}\", \"bob@example.net {bob}\"] }}\n    \
             - paths: [\"{file}\"]\n      signers: {{ ssh: [\"ada@example.net {ada}\"] }}"
        );
        *text = text.replace("spec: {}", &rules);
    }
    tree.insert("dummies.yaml".into(), dummies.into());
    tree
}

impl Cluster {
    /// Commits a tree on n1, signed by one of them or by nobody, and pushes it.
    fn signed(&self, who: Option<&str>, tree: &Manifests) -> (bool, String, String) {
        let node = self.lab.node("n1");
        self.commit(node, tree);
        if let Some(who) = who {
            let sign = format!(
                "git -c gpg.format=ssh -c user.signingKey=/root/{who} commit -q --amend -S --no-edit --allow-empty"
            );
            node.sh(&format!("export HOME=/root; cd /root/manifests && {sign}")).ok();
        }
        let pushed = node.sh("cd /root/manifests && git push /var/lib/hafen/repo.git main 2>&1; echo code $?");
        let head = node.sh("cd /root/manifests && git rev-parse HEAD").ok();
        (pushed.stdout.trim_end().ends_with("code 0"), pushed.stdout, head)
    }
}

#[test]
fn a_push_is_taken_only_if_those_who_may_change_what_it_touches_signed_it() {
    let Some(cluster) = Cluster::new(3) else { return };
    let node = cluster.lab.node("n1");
    for who in ["ada", "bob"] {
        node.sh(&format!("ssh-keygen -q -t ed25519 -N '' -C {who} -f /root/{who}")).ok();
    }
    let tree = ruled(&cluster, &dummy("d0", "/run/d0", ""));

    let (taken, told, _) = cluster.signed(None, &tree);
    assert!(!taken && told.contains("is not signed") && told.contains("git commit --amend -S"), "{told}");
    let (taken, told, first) = cluster.signed(Some("ada"), &tree);
    assert!(taken, "{told}");
    cluster.lab.wait_until(SOON, "it is followed", || cluster.target("n2") == first);

    // Bob's part, signed by Bob; then by nobody.
    let (taken, told, second) = cluster.signed(Some("bob"), &ruled(&cluster, &dummy("d1", "/run/d1", "")));
    assert!(taken, "{told}");
    let (taken, told, _) = cluster.signed(None, &ruled(&cluster, &dummy("d2", "/run/d2", "")));
    assert!(!taken && told.contains("dummies.yaml") && told.contains("is not signed"), "{told}");

    // Bob ends the rules, as the pushed manifests would allow him to.
    let mut free = basis();
    free.insert("dummies.yaml".into(), dummy("d1", "/run/d1", ""));
    let (taken, told, _) = cluster.signed(Some("bob"), &free);
    assert!(!taken && told.contains("not that of a signer"), "{told}");
    assert!(told.contains("each of its commits"), "{told}");
    eprintln!("{told}");
    assert_eq!(cluster.target("n3"), second, "nothing has changed");

    for name in ["n1", "n2", "n3"] {
        cluster.lab.wait_until(SOON, "every node knows who signed the target", || {
            let status = cluster.status(name).unwrap_or_default();
            status["target"]["signature"]["signer"] == "bob@example.net"
        });
    }
    let history = cluster.hafen("n3", "history").ok();
    assert!(
        history.contains("signed by ada@example.net") && history.contains("signed by bob@example.net"),
        "{history}"
    );

    // Every line of the answer has its commit and author, and an event its causes.
    cluster.lab.wait_until(SOON, "it runs", || cluster.file("/run/d1").is_some());
    let why = cluster.hafen("n1", "why d1 -o json");
    let view: serde_json::Value = serde_json::from_str(&why.stdout).expect("a document");
    let commit = &view["commits"][0];
    assert_eq!(commit["revision"], second.as_str(), "{view:#}");
    assert!(commit["author"].as_str().is_some_and(|author| author.contains("admin@example.net")), "{commit}");
    let story = view["instances"][0]["story"].as_array().cloned().unwrap_or_default();
    let kinds: Vec<&str> = story.iter().filter_map(|link| link["event"]["kind"].as_str()).collect();
    assert_eq!(kinds, ["Started", "Claimed", "Assigned", "Target"], "{view:#}");
    let index = &story[0]["event"]["index"];
    let told = cluster.hafen("n1", &format!("why --event {index}")).ok();
    assert!(told.contains("because") && told.contains(&second[..10]) && told.contains("dummies.yaml:3:"), "{told}");
    eprintln!("{told}");
    let unknown = node.sh("hafen why --event 99999999; echo code $?");
    assert!(unknown.stdout.contains("code 105"), "{}", unknown.stdout);
}
