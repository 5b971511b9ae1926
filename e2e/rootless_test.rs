//! What can be proved without root: see `rootless`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Probe, ProbeKind};
use crate::rootless::Rootless;

const SOON: Duration = Duration::from_secs(30);

fn status(demo: &Rootless, node: &str) -> Value {
    serde_json::from_str(&demo.sh(node, "hafen status -o json").stdout).unwrap_or_default()
}

fn online(demo: &Rootless, node: &str) -> usize {
    let status = status(demo, node);
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    nodes.iter().filter(|node| node["membership"] == "Online").count()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < SOON, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_root_a_killed_node_is_fenced_its_service_moves_and_it_comes_back() {
    let demo = match Rootless::new() {
        Ok(demo) => demo,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let port = demo.node_port();
    demo.sh("n1", &format!("hafen init --name n1 --addresses {} --listen {port}", demo.address("n1"))).ok();
    demo.on("n1");
    wait_until("n1 leads", || status(&demo, "n1")["leader"] == "n1");
    for node in ["n2", "n3"] {
        let token = demo.sh("n1", "hafen token").ok();
        let address = demo.address(node);
        demo.sh(node, &format!("hafen join {token} --name {node} --addresses {address} --listen {port}")).ok();
        demo.on(node);
    }
    wait_until("all are online", || online(&demo, "n1") == 3);
    for (name, text) in demo.manifests() {
        demo.sh("n1", &format!("mkdir -p manifests && cat >manifests/{name} <<'MANIFEST'\n{text}MANIFEST")).ok();
    }
    let identity = "-c user.name=admin -c user.email=admin@example.net";
    demo.sh("n1", &format!("cd manifests && git init -q && git add . && git {identity} commit -qm web")).ok();
    demo.sh("n1", "cd manifests && git push $HAFEN_DATA_DIR/repo.git HEAD:main").ok();

    let probe = Probe::local(&demo.web(), ProbeKind::Http);
    let start = Instant::now();
    wait_until("the service answers", || probe.who_after(start).is_some());
    let victim = probe.who_after(start).unwrap_or_default();
    let survivor = if victim == "n1" { "n2" } else { "n1" };
    wait_until("all vote", || status(&demo, survivor)["voters"].as_array().map(Vec::len) == Some(3));
    let cut = Instant::now();
    demo.off(&victim);
    assert!(!demo.is_on(&victim), "nothing of {victim} runs");
    wait_until("another node answers", || probe.who_after(cut).is_some_and(|who| who != victim));
    eprintln!("{victim} was killed, {} ms until another node answered", cut.elapsed().as_millis());
    wait_until("the victim is back", || online(&demo, survivor) == 3);
    let who = probe.finish().who();
    assert_eq!(who.len(), 2, "the service moved once: {who:?}");
    let events = demo.sh(survivor, "hafen events").ok();
    assert!(events.contains("FenceSucceeded"), "{events}");

    let dir = demo.dir().to_owned();
    drop(demo);
    assert!(!dir.exists(), "{} is left", dir.display());
}
