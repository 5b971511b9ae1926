//! The runner with real agents: Debian's Dummy, Stateful and IPaddr2, and small ones that do what bad agents do.

use super::ocf::tests::{promotable, request, resource};
use super::*;
use crate::model::{ActionKind, ExecStatus, InstanceId, Outcome, Reading, Resource};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A runner with folders of its own and an agent folder that also holds Debian's.
struct Bench {
    folder: tempfile::TempDir,
    runner: Runner,
    deaths: mpsc::Receiver<Death>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("ocf");
        fs::create_dir_all(root.join("resource.d/test")).unwrap();
        symlink("/usr/lib/ocf/lib", root.join("lib")).unwrap();
        symlink("/usr/lib/ocf/resource.d/heartbeat", root.join("resource.d/heartbeat")).unwrap();
        let (deaths, told) = mpsc::channel(16);
        let runner = Runner::new(Self::config(folder.path()), deaths).unwrap();
        Self { folder, runner, deaths: told }
    }

    fn config(folder: &Path) -> Config {
        let mut config = Config::new(folder.join("data"), folder.join("run"), "n1".into());
        config.ocf_root = folder.join("ocf");
        config.key_file = folder.join("age.key");
        config
    }

    /// Writes an agent `ocf:test:NAME`; `$D` in it is the bench's folder.
    fn agent(&self, name: &str, script: &str) {
        let path = self.folder.path().join("ocf/resource.d/test").join(name);
        fs::write(&path, format!("#!/bin/sh\nD={}\n{script}\n", self.folder.path().display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    async fn run(&self, kind: ActionKind, instance: &InstanceId, resource: &Resource) -> Outcome {
        self.runner.run(request(kind, instance.clone(), resource.clone(), None)).await
    }

    fn has_cgroups(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        nix::unistd::geteuid().is_root() && mounts.contains(" - cgroup2 ")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default().trim().to_owned()
    }
}

#[tokio::test]
async fn the_real_dummy_starts_runs_and_stops() {
    let bench = Bench::new();
    let (dummy, instance) = (resource("ocf:heartbeat:Dummy", &[]), InstanceId::plain("d"));
    for (kind, code) in [
        (ActionKind::Probe, 7),
        (ActionKind::Start, 0),
        (ActionKind::Start, 0),
        (ActionKind::Monitor, 0),
        (ActionKind::Stop, 0),
        (ActionKind::Stop, 0),
        (ActionKind::Monitor, 7),
    ] {
        let outcome = bench.run(kind, &instance, &dummy).await;
        assert_eq!(outcome.status, ExecStatus::Exited(code), "{kind}: {}", outcome.output);
    }
    assert_eq!(fs::read_dir(bench.folder.path().join("data/journal")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_real_stateful_is_promoted_and_sets_its_score_through_the_shims() {
    let bench = Bench::new();
    let hafen = bench.folder.path().join("hafen");
    fs::write(&hafen, format!("#!/bin/sh\necho \"$@\" >>{}/calls\n", bench.folder.path().display())).unwrap();
    fs::set_permissions(&hafen, fs::Permissions::from_mode(0o755)).unwrap();
    install_shims(&bench.folder.path().join("run/shims"), &hafen).unwrap();
    let stateful = resource("ocf:heartbeat:Stateful", &[]);
    let mut readings = Vec::new();
    for kind in [ActionKind::Probe, ActionKind::Start, ActionKind::Promote, ActionKind::Demote, ActionKind::Stop] {
        let instance = InstanceId::numbered("s", 0);
        let outcome = bench.runner.run(request(kind, instance.clone(), stateful.clone(), Some(promotable()))).await;
        assert!(outcome.succeeded(kind) || kind == ActionKind::Probe, "{kind}: {outcome:?}");
        let monitor = request(ActionKind::Monitor, instance, stateful.clone(), Some(promotable()));
        readings.push(bench.runner.run(monitor).await.reading());
    }
    use Reading::{Running, RunningPromoted, Stopped};
    assert_eq!(readings, [Stopped, Running, RunningPromoted, Running, Stopped]);
    let calls = bench.read("calls");
    assert!(calls.contains("shim crm_attribute -p -v 5") && calls.contains("shim crm_attribute -p -v 10"), "{calls}");
    assert!(calls.ends_with("shim crm_attribute -p -D"), "{calls}");
}

#[tokio::test]
async fn the_real_address_comes_and_goes_and_has_no_death() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let mut bench = Bench::new();
    let space = format!("hafen-agent-{}", std::process::id());
    let ip = |args: &str| {
        let done = std::process::Command::new("ip").args(args.split(' ')).status().unwrap();
        assert!(done.success(), "ip {args}");
    };
    ip(&format!("netns add {space}"));
    ip(&format!("-n {space} link set lo up"));
    ip(&format!("-n {space} link add d0 type veth peer name d1"));
    ip(&format!("-n {space} link set d0 up"));
    ip(&format!("-n {space} link set d1 up"));
    bench.agent("address", &format!("exec ip netns exec {space} $OCF_ROOT/resource.d/heartbeat/IPaddr2 \"$@\""));
    let params = [("ip", "192.0.2.50"), ("cidr_netmask", "24"), ("nic", "d0"), ("arp_count", "1"), ("arp_bg", "no")];
    let (address, instance) = (resource("ocf:test:address", &params), InstanceId::plain("ip"));
    let mut codes = Vec::new();
    for kind in [ActionKind::Probe, ActionKind::Start, ActionKind::Monitor, ActionKind::Stop, ActionKind::Monitor] {
        let outcome = bench.run(kind, &instance, &address).await;
        codes.push((outcome.status, outcome.output));
    }
    ip(&format!("netns delete {space}"));
    let statuses: Vec<ExecStatus> = codes.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [7, 0, 0, 0, 7].map(ExecStatus::Exited), "{codes:?}");
    assert!(bench.deaths.try_recv().is_err());
}

#[tokio::test]
async fn a_missing_agent_is_not_installed_and_a_hanging_one_times_out() {
    let bench = Bench::new();
    let instance = InstanceId::plain("x");
    let missing = bench.run(ActionKind::Probe, &instance, &resource("ocf:test:missing", &[])).await;
    assert_eq!(missing.reading(), Reading::NotInstalled);
    bench.agent("hang", "echo started with $OCF_RESKEY_password; sleep 60");
    let mut hang = request(ActionKind::Stop, instance, resource("ocf:test:hang", &[("password", "hunter2")]), None);
    hang.timeout = Duration::from_millis(300);
    let outcome = bench.runner.run(hang).await;
    assert_eq!((outcome.status, outcome.output.as_str()), (ExecStatus::TimedOut, "started with ********"));
    assert_eq!(bench.runner.settle_journal().await, [], "nothing is left in the journal");
}

/// A service with a worker: the master is what dies.
const SERVICE: &str = r#"
case $1 in
start) setsid sh -c 'sleep 1000 & echo $! >'$D'/worker; sleep 0.01; exec sleep 1001' >/dev/null 2>&1 &
       echo $! >$D/master; while ! [ -s $D/worker ]; do sleep 0.01; done ;;
stop) kill -9 $(cat $D/master $D/worker); rm $D/master $D/worker ;;
monitor) kill -0 $(cat $D/master) 2>/dev/null ;;
esac"#;

fn kill(pid: &str) {
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn the_death_of_a_main_process_is_told_at_once_although_workers_live() {
    let mut bench = Bench::new();
    if !bench.has_cgroups() {
        return;
    }
    bench.agent("service", SERVICE);
    let (service, instance) = (resource("ocf:test:service", &[]), InstanceId::plain("svc"));
    assert_eq!(bench.run(ActionKind::Start, &instance, &service).await.status, ExecStatus::Exited(0));
    // The worker of a living master is none of our concern; it is restarted by its master, or the monitor sees it.
    assert!(bench.deaths.try_recv().is_err());
    kill(&bench.read("master"));
    let killed = Instant::now();
    let death = tokio::time::timeout(Duration::from_secs(5), bench.deaths.recv()).await.unwrap().unwrap();
    let latency = killed.elapsed();
    assert_eq!(death.instance, instance);
    assert!(death.what.starts_with("main process") && death.what.ends_with("; 1 left"), "{}", death.what);
    // 20 ms is the aim; a test machine that is busy may take longer, a poll of a second would not pass.
    assert!(latency < Duration::from_millis(300), "{latency:?}");
    println!("told after {latency:?}");
    // Process 1 may be slow to reap; then the end is told once more, and the monitor after that sees it.
    while bench.run(ActionKind::Monitor, &instance, &service).await.reading() != Reading::Failed {
        tokio::time::timeout(Duration::from_secs(5), bench.deaths.recv()).await.expect("told again").unwrap();
    }
    // The worker has become a main process, so its end is told too.
    kill(&bench.read("worker"));
    let told = async { while !bench.deaths.recv().await.unwrap().what.ends_with("; 0 left") {} };
    tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_no_death_and_an_adopted_instance_is_watched() {
    let mut bench = Bench::new();
    if !bench.has_cgroups() {
        return;
    }
    bench.agent("service", SERVICE);
    let (service, instance) = (resource("ocf:test:service", &[]), InstanceId::numbered("svc", 2));
    bench.run(ActionKind::Start, &instance, &service).await;
    assert_eq!(bench.run(ActionKind::Stop, &instance, &service).await.status, ExecStatus::Exited(0));
    bench.run(ActionKind::Start, &instance, &service).await;
    assert!(bench.deaths.try_recv().is_err());
    // The next daemon, with the same folders.
    let (deaths, mut told) = mpsc::channel(16);
    let next = Runner::new(Bench::config(bench.folder.path()), deaths).unwrap();
    next.watch(&instance, &service.agent).await;
    kill(&bench.read("master"));
    let death = tokio::time::timeout(Duration::from_secs(5), told.recv()).await.unwrap().unwrap();
    assert_eq!(death.instance, instance);
    kill(&bench.read("worker"));
}

#[tokio::test]
async fn an_action_whose_caller_went_away_runs_to_its_end() {
    let bench = Bench::new();
    bench.agent("slow", "sleep 0.3; echo done >$D/done");
    let (slow, instance) = (resource("ocf:test:slow", &[]), InstanceId::plain("slow"));
    let impatient = bench.run(ActionKind::Start, &instance, &slow);
    assert!(tokio::time::timeout(Duration::from_millis(50), impatient).await.is_err());
    let deadline = Instant::now() + Duration::from_secs(10);
    let journal = bench.folder.path().join("data/journal");
    while bench.read("done").is_empty() || fs::read_dir(&journal).unwrap().count() > 0 {
        assert!(Instant::now() < deadline, "it was dropped, or its journal entry stayed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_agent_gets_its_secrets_and_what_it_says_of_them_is_covered() {
    let bench = Bench::new();
    bench.agent(
        "leaky",
        "[ \"$OCF_RESKEY_passwd\" != Pl4nted ] || echo $1 >>$D/given\necho told $OCF_RESKEY_passwd\n\
         case $1 in start) touch $D/up;; stop) rm -f $D/up;; monitor) [ -e $D/up ] || exit 7;; esac",
    );
    let mut leaky = resource("ocf:test:leaky", &[]);
    let sealed = crate::model::AgeSecret {
        at: crate::model::Origin { file: "db.yaml".into(), line: 7, column: 3 },
        seal: crate::model::Digest::of(b""),
        recipients: vec!["X25519".into(), "X25519".into()],
        armor: include_str!("sealed/for-node.age").into(),
    };
    leaky.secrets.insert("passwd".into(), crate::model::SecretRef::Age(sealed));
    let instance = InstanceId::plain("l");
    // Without a key: what finds out that nothing runs, or sees to it, goes on; nothing else does.
    let outcome = bench.run(ActionKind::Probe, &instance, &leaky).await;
    assert_eq!(outcome.reading(), Reading::Stopped, "{}", outcome.output);
    assert!(outcome.output.contains("without its secrets: secret `passwd` (db.yaml:7:3)"), "{}", outcome.output);
    for kind in [ActionKind::Start, ActionKind::Monitor, ActionKind::Promote, ActionKind::Reload] {
        let outcome = bench.run(kind, &instance, &leaky).await;
        assert_eq!(outcome.status, ExecStatus::Failed, "{kind}");
        assert!(
            outcome.output.contains("not run: secret") && outcome.output.contains("has no key"),
            "{}",
            outcome.output
        );
    }
    assert!(!bench.folder.path().join("up").exists(), "it was not run");
    assert_eq!(bench.run(ActionKind::Stop, &instance, &leaky).await.status, ExecStatus::Exited(0));
    assert_eq!(bench.read("given"), "");
    let key = bench.folder.path().join("age.key");
    fs::write(&key, include_str!("sealed/node.key")).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for kind in [ActionKind::Probe, ActionKind::Start, ActionKind::Monitor, ActionKind::Stop] {
        let outcome = bench.run(kind, &instance, &leaky).await;
        assert_eq!(outcome.output.trim(), "told ********", "{kind}");
    }
    assert_eq!(bench.read("given"), "monitor\nstart\nmonitor\nstop");
}
