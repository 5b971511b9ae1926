//! Fence agents: switch a node off or on, or ask whether it is.
//!
//! [`FenceRequest`] → [`FenceReport`]. Agents run unmodified (ClusterLabs, FenceAgentAPI): `key=value` lines on standard
//! input; secrets are read and opened at that moment. `status` answers 0 for on and 2 for off.
//!
//! Invariants: `PoweredOff` means that `off` returned 0 in this run *and* the device read off afterwards; a time-out is
//! `TimedOut`, whatever the device did; nothing is kept between two requests.
//!
//! Not here: levels, attempts, trust, and what a reading is evidence of. The agent `redfish` is handed on; `watchdog` is no
//! fence agent. Agents that leave the power on are refused, whatever they would answer.

use super::catalogue::Catalogue;
use super::journal::{Journal, JournalledOp};
use super::ocf::{SEARCH_PATH, inherited, scrub, secret_values};
use super::process::{self, Capture, Finished, Program};
use super::redfish;
use super::secrets::{self, Opened};
use crate::model::{AgentMetadata, DeviceId, ExecStatus, FencingDevice, NodeId, no_power_cut};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Between a failed try and the next: enough for a controller that takes one session at a time to close the last one.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Between two readings while a machine goes off; ACPI and BMCs take from a few milliseconds to seconds.
const VERIFY_PAUSE: Duration = Duration::from_millis(100);
/// How long a device may still read on after `off` succeeded before `off` is sent again.
const VERIFY_PATIENCE: Duration = Duration::from_secs(10);
/// Output kept of all tries together.
const OUTPUT_LIMIT: usize = process::CAPTURE_LIMIT;

/// One thing asked of one device about one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRequest {
    pub name: DeviceId,
    pub device: FencingDevice,
    pub target: NodeId,
    pub verb: Verb,
    /// For everything but the device's `delay`, which comes before and only for [`Verb::Off`].
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    On,
    Off,
    /// Is the node on?
    Status,
    /// Does the device answer?
    Monitor,
}

impl Verb {
    fn action(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Status => "status",
            Self::Monitor => "monitor",
        }
    }
}

/// What the device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceReading {
    /// It reads on.
    PoweredOn,
    /// It reads off; after [`Verb::Off`] also that `off` succeeded.
    PoweredOff,
    /// It did what was asked, and nothing was read.
    Done,
    Failed(String),
    /// Whether it did anything is unknown.
    TimedOut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceReport {
    pub reading: FenceReading,
    /// The end of what the agent printed, scrubbed of secrets; stays on this node.
    pub output: String,
    pub duration: Duration,
}

/// Runs the agent as often as it takes, within the time-out.
pub(super) async fn run(
    request: FenceRequest,
    catalogue: &Catalogue,
    journal: &Arc<Journal>,
    key_file: &Path,
) -> FenceReport {
    let began = Instant::now();
    if request.device.agent == redfish::AGENT {
        return natively(request, began, key_file).await;
    }
    let mut run = match Run::prepare(&request, catalogue, journal.clone(), key_file).await {
        Ok(run) => run,
        Err(why) => {
            let reading = FenceReading::Failed(why);
            log(&request, &reading, began);
            return FenceReport { reading, output: String::new(), duration: began.elapsed() };
        }
    };
    if request.verb == Verb::Off {
        tokio::time::sleep(request.device.delay).await;
    }
    run.deadline = Instant::now() + request.timeout;
    let reading = match request.verb {
        Verb::Off => run.off().await,
        Verb::On => run.on().await,
        Verb::Status => run.status().await,
        Verb::Monitor => run.monitor().await,
    };
    log(&request, &reading, began);
    FenceReport { reading, output: run.output, duration: began.elapsed() }
}

/// The same for Redfish, which needs no agent. Nothing is journalled: a request ends with the daemon.
async fn natively(request: FenceRequest, began: Instant, key_file: &Path) -> FenceReport {
    let (reading, output) = match secrets::open_all(&request.device.secrets, key_file) {
        Err(why) => (FenceReading::Failed(why), String::new()),
        Ok(secrets) => {
            if request.verb == Verb::Off {
                tokio::time::sleep(request.device.delay).await;
            }
            redfish::run(&request, &secrets).await
        }
    };
    log(&request, &reading, began);
    FenceReport { reading, output, duration: began.elapsed() }
}

struct Run<'a> {
    request: &'a FenceRequest,
    journal: Arc<Journal>,
    path: PathBuf,
    /// None: the agent says nothing of itself; then it is used as most agents are.
    metadata: Option<Arc<AgentMetadata>>,
    /// All lines but `action`.
    input: Zeroizing<String>,
    secrets: Vec<Zeroizing<String>>,
    deadline: Instant,
    output: String,
}

impl<'a> Run<'a> {
    async fn prepare(
        request: &'a FenceRequest,
        catalogue: &Catalogue,
        journal: Arc<Journal>,
        key_file: &Path,
    ) -> Result<Self, String> {
        let agent = &request.device.agent;
        let params = request.device.params.keys().chain(request.device.secrets.keys());
        if let Some(instead) = no_power_cut(agent, params) {
            return Err(format!("`{agent}` {instead} and does not cut power: it proves nothing, and is not run"));
        }
        let path =
            catalogue.path_of(agent).ok_or_else(|| format!("fence agent `{agent}` is not installed on this node"))?;
        let metadata = catalogue.metadata(agent).await;
        // One that says nothing of itself is used as most agents are: if it cannot be read, `status` fails.
        if metadata.as_ref().is_some_and(|metadata| !metadata.reads_power()) {
            return Err(format!(
                "`{agent}` has no action `status`, so nothing reads whether the node is off: it proves nothing, and is not run"
            ));
        }
        let secrets = secrets::open_all(&request.device.secrets, key_file)?;
        let input = input(request, metadata.as_deref(), &secrets)?;
        let mut hidden = secret_values(&request.device.params);
        hidden.extend(secrets::hidden(&secrets));
        let deadline = Instant::now();
        Ok(Self { request, journal, path, metadata, input, secrets: hidden, deadline, output: String::new() })
    }

    async fn off(&mut self) -> FenceReading {
        let mut last = FenceReading::TimedOut;
        for _ in 0..=self.request.device.retries {
            last = match self.execute("off").await {
                ExecStatus::Exited(0) => self.verify_off().await,
                status => failure("off", status),
            };
            match last {
                FenceReading::PoweredOff | FenceReading::TimedOut => return last,
                FenceReading::PoweredOn | FenceReading::Done | FenceReading::Failed(_) => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        match last {
            FenceReading::PoweredOn => {
                FenceReading::Failed("off returned success, but the device still reads on".into())
            }
            FenceReading::PoweredOff | FenceReading::Done | FenceReading::Failed(_) | FenceReading::TimedOut => last,
        }
    }

    async fn verify_off(&mut self) -> FenceReading {
        let patience = Instant::now() + VERIFY_PATIENCE;
        loop {
            let reading = self.status().await;
            if reading != FenceReading::PoweredOn || Instant::now() >= patience {
                return reading;
            }
            tokio::time::sleep(VERIFY_PAUSE).await;
        }
    }

    async fn on(&mut self) -> FenceReading {
        self.tries("on").await
    }

    async fn status(&mut self) -> FenceReading {
        match self.execute("status").await {
            ExecStatus::Exited(0) => FenceReading::PoweredOn,
            ExecStatus::Exited(2) => FenceReading::PoweredOff,
            status => failure("status", status),
        }
    }

    async fn monitor(&mut self) -> FenceReading {
        if self.has("monitor") {
            return self.tries("monitor").await;
        }
        match self.status().await {
            FenceReading::PoweredOn | FenceReading::PoweredOff => FenceReading::Done,
            other => other,
        }
    }

    async fn tries(&mut self, action: &str) -> FenceReading {
        let mut status = self.execute(action).await;
        for _ in 0..self.request.device.retries {
            match status {
                ExecStatus::Exited(0) | ExecStatus::TimedOut | ExecStatus::NotInstalled => break,
                ExecStatus::Exited(_) | ExecStatus::Failed => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            status = self.execute(action).await;
        }
        if status == ExecStatus::Exited(0) { FenceReading::Done } else { failure(action, status) }
    }

    fn has(&self, action: &str) -> bool {
        self.metadata.as_ref().is_none_or(|metadata| metadata.actions.contains_key(action))
    }

    async fn execute(&mut self, action: &str) -> ExecStatus {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return ExecStatus::TimedOut;
        }
        let op = JournalledOp::Fence {
            device: self.request.name.clone(),
            target: self.request.target.clone(),
            action: action.to_owned(),
        };
        // Readings change nothing, so an earlier daemon's need no settling.
        let journalled = if matches!(action, "on" | "off") { self.journal.begin(op).map(Some) } else { Ok(None) };
        let (entry, journal) = match journalled {
            Ok(journalled) => journalled.unzip(),
            Err(error) => {
                self.say(action, &format!("failed to write the journal: {error}"));
                return ExecStatus::Failed;
            }
        };
        let Finished { status, output, lingering, .. } = process::run(Program {
            path: self.path.clone(),
            args: Vec::new(),
            env: environment(),
            input: Some(Zeroizing::new(format!("action={action}\n{}", self.input.as_str()))),
            timeout: left,
            capture: Capture::Both,
            cgroup: None,
            journal,
        })
        .await;
        if let Some(entry) = entry {
            entry.done_with(lingering);
        }
        self.say(action, &output);
        status
    }

    fn say(&mut self, action: &str, output: &str) {
        let output = scrub(output.to_owned(), &self.secrets);
        // Writing to a String does not fail.
        let _ = writeln!(self.output, "{action}: {output}");
        if self.output.len() > OUTPUT_LIMIT {
            let cut = self.output.len() - OUTPUT_LIMIT;
            let cut = (cut..self.output.len()).find(|at| self.output.is_char_boundary(*at)).unwrap_or(0);
            self.output.drain(..cut);
        }
    }
}

fn failure(action: &str, status: ExecStatus) -> FenceReading {
    match status {
        ExecStatus::TimedOut => FenceReading::TimedOut,
        ExecStatus::Exited(code) => FenceReading::Failed(format!("`{action}` exited with {code}")),
        ExecStatus::NotInstalled => FenceReading::Failed("the agent or its interpreter is not installed".into()),
        ExecStatus::Failed => FenceReading::Failed(format!("`{action}` could not be run or died by a signal")),
    }
}

/// The lines after `action`. The node is named by the parameter that the agent has for it; what the manifest sets
/// by hand wins.
fn input(
    request: &FenceRequest,
    metadata: Option<&AgentMetadata>,
    secrets: &Opened,
) -> Result<Zeroizing<String>, String> {
    let device = &request.device;
    let plug = device.targets.get(&request.target).map_or(request.target.as_str(), String::as_str);
    let mut lines: BTreeMap<&str, &str> = BTreeMap::new();
    let declared = |name: &str| metadata.is_none_or(|metadata| metadata.parameters.contains_key(name));
    // `plug` obsoletes `port`, and agents that know the new name declare both.
    if let Some(name) = ["plug", "port"].into_iter().find(|name| declared(name)) {
        lines.insert(name, plug);
    }
    if declared("nodename") {
        lines.insert("nodename", plug);
    }
    lines.extend(device.params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    lines.extend(secrets.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    lines.remove("action");
    let length = lines.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    // As large as it becomes, so that no copy of it is left behind when it grows.
    let mut text = Zeroizing::new(String::with_capacity(length));
    for (name, value) in lines {
        if name.contains(['\n', '=']) || value.contains('\n') {
            return Err(format!("parameter `{name}` cannot be given to the agent: it has a line break"));
        }
        let _ = writeln!(text, "{name}={value}");
    }
    Ok(text)
}

fn environment() -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), SEARCH_PATH.to_owned()),
        ("LC_ALL".to_owned(), "C".to_owned()),
        // Words of Python about its own future would bury the agent's.
        ("PYTHONWARNINGS".to_owned(), "ignore".to_owned()),
    ]);
    env.extend(inherited());
    env
}

fn log(request: &FenceRequest, reading: &FenceReading, began: Instant) {
    tracing::info!(
        device = %request.name,
        target = %request.target,
        op = request.verb.action(),
        ?reading,
        ms = began.elapsed().as_millis() as u64,
        "a fence agent ended"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretRef;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// An agent in the style of fence-agents whose device is a file: what `off` does is the argument.
    fn agent(folder: &Path, off: &str, actions: &str) {
        let script = format!(
            r#"#!/bin/sh
D={folder}
if [ "$1" = -o ]; then
  cat <<XML
<?xml version="1.0" ?>
<resource-agent name="fence_test" shortdesc="test"><parameters>
<parameter name="plug" obsoletes="port"><content type="string"/></parameter>
<parameter name="port" deprecated="1"><content type="string"/></parameter></parameters>
<actions>{actions}</actions></resource-agent>
XML
  exit 0
fi
cat >$D/input; . $D/input; echo "$action $plug" >>$D/log
case $action in
off) {off} ;;
on) rm -f $D/isoff ;;
status) [ -e $D/isoff ] && exit 2; exit 0 ;;
monitor) exit 0 ;;
esac
"#,
            folder = folder.display()
        );
        let path = folder.join("fence_test");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    const ALL: &str = r#"<action name="off"/><action name="on"/><action name="status"/><action name="monitor"/>"#;

    async fn fence(folder: &Path, verb: Verb, timeout_ms: u64, change: impl FnOnce(&mut FencingDevice)) -> FenceReport {
        let mut device = FencingDevice {
            agent: "fence_test".into(),
            params: BTreeMap::from([("action".into(), "reboot".into()), ("ip".into(), "192.0.2.1".into())]),
            secrets: BTreeMap::new(),
            targets: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            delay: Duration::ZERO,
            retries: 1,
            check: Duration::from_secs(600),
        };
        change(&mut device);
        let timeout = Duration::from_millis(timeout_ms);
        let request = FenceRequest { name: "pdu".into(), device, target: "n2".into(), verb, timeout };
        let catalogue = Catalogue::new("/usr/lib/ocf".into(), vec![folder.into(), "/usr/sbin".into()]);
        let journal = Arc::new(Journal::open(folder.join("journal")).unwrap());
        run(request, &catalogue, &journal, Path::new("/nowhere/age.key")).await
    }

    fn log_of(folder: &Path) -> Vec<String> {
        fs::read_to_string(folder.join("log")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn off_is_verified_and_on_and_status_tell_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        agent(folder.path(), "touch $D/isoff", ALL);
        let mut readings = Vec::new();
        for verb in [Verb::Status, Verb::Off, Verb::Status, Verb::On, Verb::Status, Verb::Monitor] {
            readings.push(fence(folder.path(), verb, 20_000, |_| {}).await.reading);
        }
        use FenceReading::{Done, PoweredOff, PoweredOn};
        assert_eq!(readings, [PoweredOn, PoweredOff, PoweredOff, Done, PoweredOn, Done]);
        assert_eq!(log_of(folder.path())[1..3], ["off n2", "status n2"]);
        assert_eq!(fs::read_dir(folder.path().join("journal")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_failed_off_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        agent(folder.path(), "[ -e $D/once ] && touch $D/isoff || { touch $D/once; exit 1; }", ALL);
        assert_eq!(fence(folder.path(), Verb::Off, 20_000, |_| {}).await.reading, FenceReading::PoweredOff);
        assert_eq!(log_of(folder.path()), ["off n2", "off n2", "status n2"]);
    }

    #[tokio::test]
    async fn a_lying_or_slow_device_is_never_off() {
        let folder = tempfile::tempdir().unwrap();
        agent(folder.path(), "true", ALL);
        assert_eq!(fence(folder.path(), Verb::Off, 1_500, |_| {}).await.reading, FenceReading::TimedOut);
        agent(folder.path(), "touch $D/isoff; exit 1", ALL);
        let reading = fence(folder.path(), Verb::Off, 20_000, |_| {}).await.reading;
        assert_eq!(reading, FenceReading::Failed("`off` exited with 1".into()));
        agent(folder.path(), "touch $D/isoff; sleep 60", ALL);
        assert_eq!(fence(folder.path(), Verb::Off, 1_500, |_| {}).await.reading, FenceReading::TimedOut);
    }

    #[tokio::test]
    async fn an_agent_that_cannot_read_the_power_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        agent(folder.path(), "touch $D/isoff", r#"<action name="off"/><action name="monitor"/>"#);
        for verb in [Verb::Off, Verb::Monitor] {
            let reading = fence(folder.path(), verb, 20_000, |_| {}).await.reading;
            let FenceReading::Failed(why) = reading else { panic!("{verb:?}: {reading:?}") };
            assert!(why.contains("has no action `status`"), "{why}");
        }
        assert!(log_of(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn an_agent_that_leaves_the_power_on_is_not_run() {
        let folder = tempfile::tempdir().unwrap();
        let report = fence(folder.path(), Verb::Off, 4_000, |device| {
            device.agent = "fence_azure_arm".into();
            device.params = BTreeMap::from([("network_fencing".into(), "0".into())]);
        })
        .await;
        assert!(
            matches!(&report.reading, FenceReading::Failed(why) if why.contains("blocks the network")),
            "{report:?}"
        );
    }

    #[tokio::test]
    async fn secrets_reach_the_agent_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        agent(folder.path(), "touch $D/isoff; echo \"tried $password\"", ALL);
        let file = folder.path().join("secret");
        fs::write(&file, "hunter2\n").unwrap();
        let secret = SecretRef::File { file: file.display().to_string() };
        let report = fence(folder.path(), Verb::Off, 20_000, |device| {
            device.secrets.insert("password".into(), secret);
            device.targets.insert("n2".into(), "outlet-7".into());
        })
        .await;
        assert_eq!(report.reading, FenceReading::PoweredOff);
        assert!(report.output.contains("tried ********"), "{}", report.output);
        let input = fs::read_to_string(folder.path().join("input")).unwrap();
        assert_eq!(input, "action=status\nip=192.0.2.1\npassword=hunter2\nplug=outlet-7\n");
        let lost = SecretRef::File { file: "/nowhere/secret".into() };
        let report = fence(folder.path(), Verb::Off, 20_000, |device| {
            device.secrets.insert("password".into(), lost);
        })
        .await;
        assert!(matches!(report.reading, FenceReading::Failed(why) if why.contains("/nowhere/secret")));
    }

    #[tokio::test]
    async fn a_real_agent_without_its_device_fails_or_times_out() {
        let folder = tempfile::tempdir().unwrap();
        let report = fence(folder.path(), Verb::Status, 4_000, |device| {
            device.agent = "fence_ipmilan".into();
            device.params = BTreeMap::from([("ip".into(), "127.0.0.1".into()), ("username".into(), "u".into())]);
            device.params.extend([("password".into(), "p".into()), ("ipport".into(), "1".into())]);
        })
        .await;
        assert!(matches!(report.reading, FenceReading::Failed(_) | FenceReading::TimedOut), "{report:?}");
    }
}
