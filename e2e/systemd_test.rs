//! Nodes with a real systemd: units as resources, and hafen itself as a unit.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Manifests, SOON, quickstart};
use crate::lab::{Lab, Node};
use crate::life_test::{joins, membership, was_fenced};

const NAP: &str = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
const BROKEN: &str = "[Service]\nType=oneshot\nExecStart=/bin/false\n";

fn put(node: Node<'_>, path: &str, text: &str) {
    node.sh(&format!("mkdir -p $(dirname {path}) && cat >{path} <<'FILE'\n{text}\nFILE")).ok();
}

/// The units of the repository, with the paths of the lab; and hafen as the stack.
fn install_units(lab: &Lab) {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist");
    for node in lab.nodes() {
        for unit in ["hafen.service", "hafen-shutdown.service"] {
            let text = std::fs::read_to_string(dist.join(unit)).expect("it is in the repository");
            let text = text.replace("/usr/bin/hafen", "/opt/hafen/hafen");
            put(node, &format!("/etc/systemd/system/{unit}"), &text);
        }
        let path = "/opt/hafen:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let lines = format!(
            "[Service]\nEnvironment=HAFEN_BOOT_ID_FILE=/run/hafen-boot-id OCF_ROOT=/usr/lib/ocf HOME=/root PATH={path}\n\
             StandardOutput=append:/var/log/hafen.log\nStandardError=append:/var/log/hafen.log\n"
        );
        put(node, "/etc/systemd/system/hafen.service.d/lab.conf", &lines);
        put(node, "/etc/systemd/system/nap.service", NAP);
        put(node, "/etc/systemd/system/broken.service", BROKEN);
        node.sh("systemctl daemon-reload").ok();
    }
    lab.set_stack("systemctl start hafen hafen-shutdown");
}

fn unit(name: &str) -> String {
    format!(
        "apiVersion: hafen/v1alpha1\nkind: Resource\nmetadata: {{ name: {name} }}\nspec:\n  agent: systemd:{name}.service\n"
    )
}

fn manifests() -> Manifests {
    let mut files = quickstart();
    files.remove("web.yaml");
    files.insert("nap.yaml".into(), unit("nap"));
    files
}

fn main_pid(cluster: &Cluster, node: &str, unit: &str) -> u32 {
    let pid = cluster.lab.node(node).sh(&format!("systemctl show -p MainPID --value {unit}")).stdout;
    pid.trim().parse().unwrap_or_default()
}

#[test]
fn units_are_resources_and_hafen_is_a_unit() {
    let Some(cluster) = Cluster::with_systemd(3, install_units) else { return };
    let lab = &cluster.lab;
    // The first choice has it enabled at boot: there systemd would start it by itself.
    lab.node("n1").sh("systemctl enable nap").ok();
    cluster.push("n2", &manifests(), "").ok();
    lab.wait_until(SOON, "the unit runs", || cluster.runs_on("n2", "nap").is_some());
    cluster.settle();
    let runs = cluster.runs_on("n2", "nap").expect("it runs");
    assert_ne!(runs, "n1", "it is enabled at boot there");
    let why = lab.node("n2").sh("hafen why nap").stdout;
    assert!(why.contains("enabled at boot"), "it is not told why n1 is no place for it: {why}");
    for node in lab.nodes() {
        assert_eq!(main_pid(&cluster, node.name(), "nap") != 0, node.name() == runs);
    }

    // Its death is told by systemd.
    let pid = main_pid(&cluster, &runs, "nap");
    let began = Instant::now();
    lab.node(&runs).sh(&format!("kill -9 {pid}")).ok();
    lab.wait_until(SOON, "it runs again", || {
        let now = main_pid(&cluster, &runs, "nap");
        now != 0 && now != pid
    });
    eprintln!("unit killed: runs again after {} ms", began.elapsed().as_millis());
    assert!(began.elapsed() < Duration::from_secs(5), "the death was noticed late");
    cluster.settle();

    // A restart of the daemon leaves it alone.
    let pid = main_pid(&cluster, &runs, "nap");
    let other = cluster.other_than(&runs);
    let began = Instant::now();
    lab.node(&runs).sh("systemctl restart hafen").ok();
    lab.wait_until(SOON, "the new daemon has joined", || joins(&cluster, &other, &runs) >= 2);
    eprintln!("systemctl restart hafen: joined after {} ms", began.elapsed().as_millis());
    cluster.settle();
    assert_eq!(main_pid(&cluster, &runs, "nap"), pid, "the unit was touched");
    assert!(!was_fenced(&cluster, &other), "{}", cluster.events(&other));

    // A unit that fails says so, and nothing else suffers.
    let mut more = manifests();
    more.insert("broken.yaml".into(), unit("broken"));
    cluster.push("n2", &more, "").ok();
    let failure = || {
        let status = cluster.status(&other)?;
        let found = status["resources"].as_array()?.iter().find(|r| r["instance"] == "broken")?.clone();
        found["lastFailure"].as_str().map(str::to_owned)
    };
    lab.wait_until(SOON, "the failure is shown", || failure().is_some_and(|why| why.contains("broken.service")));
    cluster.push("n2", &manifests(), "").ok();
    assert_eq!(main_pid(&cluster, &runs, "nap"), pid);
    cluster.settle();

    // The host goes down: drained first, Left, not fenced.
    let node = lab.node(&runs);
    let began = Instant::now();
    node.sh("systemctl poweroff --no-block");
    lab.wait_until(SOON, "the host is down", || !node.is_on());
    eprintln!("systemctl poweroff: off after {} ms", began.elapsed().as_millis());
    assert_eq!(membership(&cluster, &other, &runs).as_deref(), Some("Left"), "{}", cluster.events(&other));
    lab.wait_until(SOON, "the unit runs elsewhere", || {
        cluster.runs_on(&other, "nap").is_some_and(|now| now != runs && main_pid(&cluster, &now, "nap") != 0)
    });
    assert!(!was_fenced(&cluster, &other), "{}", cluster.events(&other));
    node.off();
    node.on();
    lab.wait_until(SOON, "it is back", || membership(&cluster, &other, &runs).as_deref() == Some("Online"));
    cluster.settle();
}
