//! Runs actions: the entry point of this module.
//!
//! [`AgentRequest`] → [`Outcome`], by an OCF agent in its cgroup and under a journal entry, or by systemd. After a start,
//! promotion, demotion or arrival of a migration the death watch is armed; before anything that may end processes it
//! is taken off, so that what was asked for is never reported as a death.
//!
//! Invariants: an action that was begun runs to its end or its time-out, even if the caller stops waiting for it.

use super::AgentError;
use super::catalogue::Catalogue;
use super::cgroup::Cgroups;
use super::fence::{self, FenceReport, FenceRequest};
use super::journal::{Fate, Journal, JournalEntry, JournalledOp};
use super::ocf::{self, Surroundings};
use super::process::{self, Capture, Program};
use super::secrets::{self, Opened};
use super::systemd::Systemd;
use super::watch::{Death, Watches};
use crate::model::{ActionKind, AgentRef, AgentRequest, ExecStatus, InstanceId, NodeId, Outcome};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Names the folder that holds `resource.d`, if it is not `/usr/lib/ocf`.
pub const OCF_ROOT_VARIABLE: &str = "HAFEN_OCF_ROOT";
/// Names the folders of fence agents, separated by colons, if it is not `/usr/sbin`.
pub const FENCE_DIRS_VARIABLE: &str = "HAFEN_FENCE_DIRS";

/// Where things are on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Gone after a boot. `RUN_DIR/resource-agents` is the scratch folder of OCF agents (`HA_RSCTMP`).
    pub run_dir: PathBuf,
    pub ocf_root: PathBuf,
    /// First in the agents' search path; see [`install_shims`](super::install_shims).
    pub shim_dir: PathBuf,
    /// The daemon's socket, for the shims.
    pub socket: PathBuf,
    pub node: NodeId,
    /// The folder in cgroup v2 below which each instance gets one; None: `hafen/KEY` at the mount's root.
    pub cgroup: Option<PathBuf>,
    /// Set for every OCF agent, over everything else.
    pub extra_env: Vec<(String, String)>,
    /// Where fence agents are, the first one that has it wins.
    pub fence_dirs: Vec<PathBuf>,
    /// This node's keys, for secrets that are sealed.
    pub key_file: PathBuf,
}

impl Config {
    /// As Debian has it, unless [`OCF_ROOT_VARIABLE`] or [`FENCE_DIRS_VARIABLE`] say otherwise.
    pub fn new(data_dir: PathBuf, run_dir: PathBuf, node: NodeId) -> Self {
        Self {
            ocf_root: std::env::var_os(OCF_ROOT_VARIABLE).map_or_else(|| "/usr/lib/ocf".into(), PathBuf::from),
            shim_dir: run_dir.join("shims"),
            socket: data_dir.join("hafen.sock"),
            data_dir,
            run_dir,
            node,
            cgroup: None,
            extra_env: Vec::new(),
            key_file: secrets::key_file(),
            fence_dirs: std::env::var_os(FENCE_DIRS_VARIABLE)
                .map_or_else(|| vec!["/usr/sbin".into()], |dirs| std::env::split_paths(&dirs).collect()),
        }
    }

    fn scratch(&self) -> PathBuf {
        self.run_dir.join("resource-agents")
    }
}

/// Runs agents on this node. Clones are the same runner.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    cgroups: Cgroups,
    journal: Arc<Journal>,
    watches: Watches,
    systemd: Arc<Systemd>,
    catalogue: Catalogue,
}

impl Runner {
    /// `deaths` gets what ends by itself; it may be bounded: nothing is lost, an end waits until it is taken.
    pub fn new(config: Config, deaths: mpsc::Sender<Death>) -> Result<Self, AgentError> {
        let scratch = config.scratch();
        fs::create_dir_all(&scratch).map_err(|source| AgentError::CreateFolder { path: scratch.clone(), source })?;
        let journal = config.data_dir.join("journal");
        let journal =
            Journal::open(journal.clone()).map_err(|source| AgentError::CreateFolder { path: journal, source })?;
        let shared = Shared {
            cgroups: Cgroups::find(config.cgroup.clone(), &config.data_dir),
            journal: Arc::new(journal),
            watches: Watches::new(deaths),
            systemd: Arc::new(Systemd::new()),
            catalogue: Catalogue::new(config.ocf_root.clone(), config.fence_dirs.clone()),
            config,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Ends and waits out what an earlier daemon left in progress. To be called before anything is run.
    pub async fn settle_journal(&self) -> Vec<JournalEntry> {
        let entries = self.shared.journal.settle().await;
        let units = entries.iter().filter_map(|entry| match &entry.op {
            JournalledOp::Unit { unit, .. } => Some(self.shared.systemd.settle(unit)),
            JournalledOp::Action { .. } | JournalledOp::Fence { .. } => None,
        });
        futures_util::future::join_all(units).await;
        if let Some(stuck) = entries.iter().find(|entry| entry.fate == Fate::Stuck) {
            tracing::error!(op = ?stuck.op, "an operation of an earlier daemon cannot be ended");
        }
        entries
    }

    /// Runs one action to its end.
    pub async fn run(&self, request: AgentRequest) -> Outcome {
        let shared = self.shared.clone();
        // A task of its own: dropping the caller's future must not drop a half-done start and its journal entry.
        match tokio::spawn(async move { shared.run(request).await }).await {
            Ok(outcome) => outcome,
            Err(error) => Outcome {
                status: ExecStatus::Failed,
                output: format!("the runner failed: {error}"),
                duration: Duration::ZERO,
            },
        }
    }

    /// Asks or tells a fencing device something. Like [`Self::run`], goes on if the caller stops waiting.
    pub async fn fence(&self, request: FenceRequest) -> FenceReport {
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            fence::run(request, &shared.catalogue, &shared.journal, &shared.config.key_file).await
        });
        task.await.unwrap_or_else(|error| FenceReport {
            reading: fence::FenceReading::Failed(format!("the runner failed: {error}")),
            output: String::new(),
            duration: Duration::ZERO,
        })
    }

    /// Watches an instance that runs. Done by [`Self::run`] after a start; needed for what was adopted after a restart
    /// of the daemon.
    pub async fn watch(&self, instance: &InstanceId, agent: &AgentRef) {
        self.shared.watch(instance, agent);
    }

    /// Ends the watch of an instance.
    pub async fn unwatch(&self, instance: &InstanceId) {
        self.shared.watches.disarm(instance);
    }

    /// The installed agents and their metadata, remembered by this runner.
    pub fn catalogue(&self) -> &Catalogue {
        &self.shared.catalogue
    }
}

impl Shared {
    async fn run(&self, request: AgentRequest) -> Outcome {
        let began = Instant::now();
        // Whether it is journalled, and whether processes may end by it without having died.
        let (journalled, changes) = match request.kind {
            ActionKind::Probe | ActionKind::Monitor => (false, false),
            ActionKind::Notify => (true, false),
            ActionKind::Start
            | ActionKind::Stop
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::MigrateTo
            | ActionKind::MigrateFrom
            | ActionKind::Reload => (true, true),
        };
        let was_watched = changes && self.watches.disarm(&request.instance);
        let agent = request.definition.resource.agent.clone();
        let mut hidden = Vec::new();
        let (status, output) = match &agent {
            AgentRef::Ocf { provider, name } => match self.open_secrets(&request).await {
                Ok((secrets, without)) => {
                    hidden = secrets::hidden(&secrets);
                    let (status, output) = self.run_ocf(&request, provider, name, journalled, secrets).await;
                    (status, without + &output)
                }
                Err(why) => (ExecStatus::Failed, why),
            },
            AgentRef::Systemd { unit } => self.run_unit(&request, unit, journalled).await,
            // No claim on it is ever granted; a probe finds that nobody can tell.
            AgentRef::Foreign { class, .. } => {
                (ExecStatus::Failed, format!("agents of class `{class}` are planned for, but not run"))
            }
        };
        hidden.extend(ocf::secret_values(&request.definition.resource.params));
        let outcome = Outcome { status, output: ocf::scrub(output, &hidden), duration: began.elapsed() };
        if changes {
            self.after_change(&request, &agent, &outcome, was_watched);
        }
        log(&request, &outcome);
        outcome
    }

    /// What the agent is told in secret, and what to say of secrets that it goes without. What finds out that nothing runs,
    /// or brings that about, goes without: a stop that was not even tried would end in a fenced node, and a node that was
    /// never given the key of a service can still say that it does not run it. Most agents need no password for either.
    async fn open_secrets(&self, request: &AgentRequest) -> Result<(Opened, String), String> {
        if request.definition.resource.secrets.is_empty() {
            return Ok((Opened::new(), String::new()));
        }
        let (definition, key_file) = (request.definition.clone(), self.config.key_file.clone());
        let open = move || secrets::open_what_can_be(&definition.resource.secrets, &key_file);
        let (opened, faults) = tokio::task::spawn_blocking(open).await.map_err(|error| format!("not run: {error}"))?;
        if faults.is_empty() {
            return Ok((opened, String::new()));
        }
        let faults = faults.join("; ");
        match request.kind {
            ActionKind::Probe | ActionKind::Stop => {
                tracing::debug!(resource = %request.instance, op = %request.kind, faults, "run without its secrets");
                Ok((opened, format!("(without its secrets: {faults})\n")))
            }
            ActionKind::Start
            | ActionKind::Monitor
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::MigrateTo
            | ActionKind::MigrateFrom
            | ActionKind::Notify
            | ActionKind::Reload => {
                tracing::warn!(resource = %request.instance, op = %request.kind, faults, "not run: no secrets");
                Err(format!("not run: {faults}"))
            }
        }
    }

    async fn run_ocf(
        &self,
        request: &AgentRequest,
        provider: &str,
        name: &str,
        journalled: bool,
        secrets: Opened,
    ) -> (ExecStatus, String) {
        let path = self.config.ocf_root.join("resource.d").join(provider).join(name);
        if !path.is_file() {
            return (ExecStatus::NotInstalled, format!("agent `{}` is not on this node", path.display()));
        }
        let op = JournalledOp::Action { instance: request.instance.clone(), kind: request.kind, epoch: request.epoch };
        let begun = if journalled { self.journal.begin(op).map(Some) } else { Ok(None) };
        let (entry, journal) = match begun {
            Ok(begun) => begun.unzip(),
            Err(error) => return (ExecStatus::Failed, format!("not run: failed to write the journal: {error}")),
        };
        let finished = process::run(Program {
            path,
            args: vec![ocf::argument_of(request).to_owned()],
            env: ocf::environment(request, provider, name, &self.surroundings(&self.config.scratch()), &secrets),
            input: None,
            timeout: request.timeout,
            capture: Capture::Both,
            cgroup: self.cgroups.place(&request.instance, request.kind),
            journal,
        })
        .await;
        if let Some(entry) = entry {
            entry.done_with(finished.lingering);
        }
        (finished.status, finished.output)
    }

    async fn run_unit(&self, request: &AgentRequest, unit: &str, journalled: bool) -> (ExecStatus, String) {
        let op = JournalledOp::Unit {
            instance: request.instance.clone(),
            kind: request.kind,
            epoch: request.epoch,
            unit: unit.to_owned(),
        };
        let begun = if journalled { self.journal.begin(op).map(Some) } else { Ok(None) };
        let entry = match begun {
            Ok(begun) => begun,
            Err(error) => return (ExecStatus::Failed, format!("not run: failed to write the journal: {error}")),
        };
        let answer = self.systemd.act(request.kind, unit, request.timeout).await;
        if let Some((entry, _)) = entry {
            entry.done();
        }
        answer
    }

    fn after_change(&self, request: &AgentRequest, agent: &AgentRef, outcome: &Outcome, was_watched: bool) {
        let done = outcome.succeeded(request.kind);
        let runs_now = match request.kind {
            ActionKind::Start
            | ActionKind::Promote
            | ActionKind::Demote
            | ActionKind::MigrateFrom
            | ActionKind::Reload => done,
            // A failed one may have left everything as it was.
            ActionKind::Stop | ActionKind::MigrateTo => !done && was_watched,
            ActionKind::Probe | ActionKind::Monitor | ActionKind::Notify => return,
        };
        if runs_now || (was_watched && !done) {
            self.watch(&request.instance, agent);
        } else if request.kind == ActionKind::Stop && done {
            self.cgroups.remove(&request.instance);
        }
    }

    fn watch(&self, instance: &InstanceId, agent: &AgentRef) {
        match agent {
            AgentRef::Foreign { .. } => {}
            AgentRef::Ocf { .. } => {
                if let Some(folder) = self.cgroups.run_folder(instance) {
                    self.watches.arm(instance, folder);
                }
            }
            AgentRef::Systemd { unit } => {
                let (systemd, unit, watched) = (self.systemd.clone(), unit.clone(), instance.clone());
                self.watches.arm_with(instance, |deaths| async move { systemd.watch(watched, &unit, deaths).await });
            }
        }
    }

    fn surroundings<'a>(&'a self, scratch: &'a std::path::Path) -> Surroundings<'a> {
        Surroundings {
            ocf_root: &self.config.ocf_root,
            shim_dir: &self.config.shim_dir,
            socket: &self.config.socket,
            scratch,
            extra: &self.config.extra_env,
        }
    }
}

/// One line per run. Monitors come all the time, so they are for those who look closer.
fn log(request: &AgentRequest, outcome: &Outcome) {
    let (resource, op) = (&request.instance, request.kind);
    let (epoch, ms) = (request.epoch.map(|epoch| epoch.0), outcome.duration.as_millis() as u64);
    let rc = match outcome.status {
        ExecStatus::Exited(code) => code.to_string(),
        ExecStatus::TimedOut => "timed out".to_owned(),
        ExecStatus::NotInstalled => "not installed".to_owned(),
        ExecStatus::Failed => "failed".to_owned(),
    };
    match op {
        ActionKind::Monitor | ActionKind::Probe => tracing::debug!(%resource, %op, epoch, rc, ms, "an agent ended"),
        ActionKind::Start
        | ActionKind::Stop
        | ActionKind::Promote
        | ActionKind::Demote
        | ActionKind::MigrateTo
        | ActionKind::MigrateFrom
        | ActionKind::Notify
        | ActionKind::Reload => tracing::info!(%resource, %op, epoch, rc, ms, "an agent ended"),
    }
}
