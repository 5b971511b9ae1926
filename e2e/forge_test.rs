//! The cluster tells a forge what became of its commits, and hears of new ones by signed webhooks.
//!
//! The forge is a server of this test on the client host that speaks Gitea's interface and remembers what it was told.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::cluster::{Cluster, Manifests, SOON};
use crate::lab::CLIENT;
use crate::push_test::{basis, dummy};

const PORT: u16 = 3000;
const UPSTREAM: &str = "/srv/shared/forge.git";
/// A way that nobody can watch: only a webhook makes the leader look within the hour.
const URL: &str = "file://localhost/srv/shared/./forge.git";
/// A new leader waits half a minute before it tells anything; and pauses between tries add to that.
const TOLD: Duration = Duration::from_secs(120);

/// What a forge was told.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    path: String,
    authorization: String,
    body: Value,
}

#[derive(Default)]
struct Forge {
    told: Mutex<Vec<Told>>,
    is_down: AtomicBool,
}

impl Forge {
    /// Answers every request until the test ends.
    fn open(listener: TcpListener) -> Arc<Self> {
        let forge = Arc::new(Self::default());
        let server = forge.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up in the middle is the cluster's business.
                let _ = server.answer(stream);
            }
        });
        forge
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut authorization, mut length) = (String::new(), 0);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => authorization = value.to_owned(),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let down = self.is_down.load(Ordering::SeqCst);
        let status = if down { "503 Service Unavailable" } else { "201 Created" };
        write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}")?;
        if !down {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            self.told.lock().unwrap().push(Told { path, authorization, body });
        }
        Ok(())
    }

    /// The states of a commit, in the order in which they were told, without repetitions.
    fn states(&self, revision: &str) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let of = told.iter().filter(|told| told.path.ends_with(revision));
        let mut states: Vec<String> = of.map(|told| told.body["state"].as_str().unwrap_or("?").to_owned()).collect();
        states.dedup();
        states
    }
}

fn manifests(dummies: &str) -> Manifests {
    let mut tree = basis();
    let report = format!(
        "report: {{ provider: Gitea, url: \"http://{CLIENT}:{PORT}\", project: ops/cluster, \
         token: {{ file: /etc/hafen/secrets/forge }} }}"
    );
    let webhook = "webhook: { secret: { file: /etc/hafen/secrets/webhook } }";
    for text in tree.values_mut() {
        let source = format!("spec: {{ source: {{ url: \"{URL}\", interval: 1h, {webhook}, {report} }} }}");
        *text = text.replace("spec: {}", &source);
    }
    tree.insert("dummies.yaml".into(), dummies.into());
    tree
}

/// What the webhook of a node answers to a message, signed with this secret or not at all.
fn webhook(cluster: &Cluster, address: &str, secret: Option<&str>) -> String {
    let body = "{\"ref\":\"refs/heads/main\"}";
    let signature = secret.map(|secret| {
        format!(
            "-H \"X-Gitea-Signature: $(printf %s '{body}' | openssl dgst -sha256 -hmac {secret} -r | cut -d' ' -f1)\""
        )
    });
    let command = format!(
        "curl -sk -o /dev/null -w '%{{http_code}}' -X POST {} -d '{body}' https://{address}:7443/v1/webhook",
        signature.unwrap_or_default()
    );
    cluster.lab.node("n1").sh(&command).ok().trim().to_owned()
}

#[test]
fn a_forge_is_told_of_every_commit_also_when_it_was_down_and_the_leader_is_lost() {
    let Some(cluster) = Cluster::new(3) else { return };
    let forge = Forge::open(cluster.lab.client_listen(PORT));
    for name in ["n1", "n2", "n3"] {
        let make =
            "mkdir -p /etc/hafen/secrets && cd /etc/hafen/secrets && echo t0ken > forge && echo hunter22 > webhook";
        cluster.lab.node(name).sh(&format!("{make} && git config --system --add safe.directory '*'")).ok();
    }
    let node = cluster.lab.node("n1");
    node.sh(&format!("git init -q --bare -b main {UPSTREAM}")).ok();
    let upstream = |dummies: &str| {
        cluster.commit(cluster.lab.node("n1"), &manifests(dummies));
        let push = format!("cd /root/manifests && git push -q -f {UPSTREAM} main 2>&1 && git rev-parse HEAD");
        cluster.lab.node("n1").sh(&push).ok().trim().to_owned()
    };
    let told = |what: &str, revision: &str, expected: &[&str]| {
        cluster.lab.wait_until(TOLD, what, || forge.states(revision) == expected);
    };

    let first = upstream(&dummy("d0", "/run/d0", ""));
    node.sh("cd /root/manifests && git push -q /var/lib/hafen/repo.git main 2>&1").ok();
    told("the first commit is pending, then a success", &first, &["pending", "success"]);
    let one = forge.told.lock().unwrap()[0].clone();
    assert_eq!(one.path, format!("/api/v1/repos/ops/cluster/statuses/{first}"));
    assert_eq!(one.authorization, "token t0ken");
    assert!(one.body["context"].as_str().is_some_and(|context| context.starts_with("hafen/")), "{one:?}");

    // Only who knows the secret makes it look, at any node.
    let second = upstream(&dummy("d1", "/run/d1", ""));
    let addresses = ["10.77.0.11", "10.77.0.12", "10.77.0.13"];
    for address in addresses {
        assert_eq!(webhook(&cluster, address, None), "401");
        assert_eq!(webhook(&cluster, address, Some("hunter23")), "401");
    }
    let refused = cluster.status("n2").expect("it answers")["webhook"]["refused"].clone();
    assert_eq!(refused, 2, "counted where they came in");
    assert_ne!(cluster.target("n2"), second);
    let leader = cluster.leader("n1").expect("somebody leads");
    let follower = addresses.into_iter().find(|address| !address.ends_with(&leader.replace('n', "1"))).expect("three");
    assert_eq!(webhook(&cluster, follower, Some("hunter22")), "202");
    cluster.lab.wait_until(SOON, "a signed webhook at a follower is heeded", || cluster.target("n2") == second);
    told("the second commit", &second, &["pending", "success"]);

    // What is refused is told with its reason, though it never was a target.
    let broken = upstream(&dummy("d1", "/run/d1", "").replace("  params:", "  parms:"));
    assert_eq!(webhook(&cluster, addresses[0], Some("hunter22")), "202");
    told("a refused commit", &broken, &["failure"]);
    let why = forge.told.lock().unwrap().last().expect("just told").body["description"].to_string();
    assert!(why.contains("dummies.yaml:6:3"), "{why}");
    assert_eq!(cluster.target("n3"), second);

    // What has to wait is told to wait, once; and then goes its way.
    cluster.hafen("n1", "suspend --until 1h --reason 'a test'").ok();
    let waits = upstream(&dummy("d3", "/run/d3", ""));
    assert_eq!(webhook(&cluster, addresses[0], Some("hunter22")), "202");
    told("a commit that waits", &waits, &["pending"]);
    cluster.hafen("n1", "resume").ok();
    assert_eq!(webhook(&cluster, addresses[0], Some("hunter22")), "202");
    told("a commit that waited", &waits, &["pending", "success"]);

    // Down: the cluster goes on, says so, and the next leader tells the last word.
    forge.is_down.store(true, Ordering::SeqCst);
    let third = upstream(&dummy("d2", "/run/d2", ""));
    assert_eq!(webhook(&cluster, addresses[0], Some("hunter22")), "202");
    cluster.lab.wait_until(SOON, "the cluster goes on", || cluster.file("/run/d2").is_some());
    let says = |name: &str| {
        let problems = cluster.status(name).map(|status| status["problems"].to_string()).unwrap_or_default();
        problems.contains("not reported to Gitea since") && problems.contains("(503)")
    };
    cluster.lab.wait_until(SOON, "every node says so", || ["n1", "n2", "n3"].iter().all(|name| says(name)));
    let leader = cluster.leader("n1").expect("somebody leads");
    cluster.lab.node(&leader).off();
    forge.is_down.store(false, Ordering::SeqCst);
    cluster.lab.wait_until(TOLD, "the next leader tells it", || {
        forge.states(&third).last().map(String::as_str) == Some("success")
    });
    let other = ["n1", "n2", "n3"].into_iter().find(|name| **name != *leader).expect("two are left");
    cluster.lab.wait_until(SOON, "nothing is left to say", || !says(other));
}
