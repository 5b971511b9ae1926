//! Performs what the core asks for. Each effect is a task of its own; its outcome comes back as an event.

use super::transport::PeerTransport;
use crate::agent::{FenceReading, FenceRequest, Runner, Verb};
use crate::log::RaftLog;
use crate::model::{AgentRequest, DeviceId, FencingDevice, InstanceId, NodeId, Outcome};
use crate::reconcile::{Effect, Event};
use crate::state::FenceOutcome;
use crate::state::port::Log;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Instances whose last output is kept for `hafen output`.
const MAX_OUTPUTS: usize = 2_000;

/// The hands of the core.
#[derive(Clone)]
pub(super) struct Performer {
    pub log: RaftLog<PeerTransport>,
    pub runner: Runner,
    pub events: mpsc::UnboundedSender<Event>,
    pub outputs: Outputs,
}

/// The last output of each instance's agent on this node, scrubbed; it never leaves the node but for its operators.
#[derive(Clone, Default)]
pub(super) struct Outputs(Arc<Mutex<BTreeMap<InstanceId, LastRun>>>);

#[derive(Clone)]
pub(super) struct LastRun {
    pub request: AgentRequest,
    pub outcome: Outcome,
    pub at_ms: u64,
}

impl Outputs {
    pub fn of(&self, instance: &InstanceId) -> Option<LastRun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(instance).cloned()
    }

    fn keep(&self, request: AgentRequest, outcome: &Outcome) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.len() < MAX_OUTPUTS || runs.contains_key(&request.instance) {
            let at_ms = crate::net::clock::wall_ms();
            runs.insert(request.instance.clone(), LastRun { request, outcome: outcome.clone(), at_ms });
        }
    }
}

impl Performer {
    pub fn perform(&self, effect: Effect) {
        match effect {
            Effect::Propose { id, commands, term } => {
                tracing::debug!(id = id.0, commands = commands.len(), first = ?commands.first(), "propose");
                let (log, events) = (self.log.clone(), self.events.clone());
                tokio::spawn(async move {
                    let result = match term {
                        None => log.propose(commands).await,
                        Some(term) => log.propose_as_leader(term, commands).await,
                    };
                    let _ = events.send(Event::Answered { id, result });
                });
            }
            Effect::Run { op, request } => {
                let this = self.clone();
                tokio::spawn(async move {
                    let outcome = this.runner.run(request.clone()).await;
                    this.outputs.keep(request, &outcome);
                    let _ = this.events.send(Event::Finished { op, outcome });
                });
            }
            Effect::Watch { instance, agent } => {
                let runner = self.runner.clone();
                tokio::spawn(async move { runner.watch(&instance, &agent).await });
            }
            Effect::Unwatch { instance } => {
                let runner = self.runner.clone();
                tokio::spawn(async move { runner.unwatch(&instance).await });
            }
            Effect::Fence { attempt, target, devices, timeout } => {
                tracing::warn!(attempt = attempt.0, node = %target, "fencing");
                let (runner, events) = (self.runner.clone(), self.events.clone());
                tokio::spawn(async move {
                    let outcome =
                        match tokio::time::timeout(timeout, switch_off(&runner, &target, devices, timeout)).await {
                            Ok(outcome) => outcome,
                            Err(_) => FenceOutcome::Failed(format!("not done within {} s", timeout.as_secs())),
                        };
                    tracing::warn!(attempt = attempt.0, node = %target, ?outcome, "fencing ended");
                    let _ = events.send(Event::Fenced { attempt, outcome });
                });
            }
            Effect::SwitchOn { attempt, target, devices, timeout } => {
                let (runner, events) = (self.runner.clone(), self.events.clone());
                tokio::spawn(async move {
                    let error = switch_on(&runner, &target, devices, timeout).await.err();
                    tracing::info!(attempt = attempt.0, node = %target, ?error, "switched on");
                    let _ = events.send(Event::SwitchedOn { attempt, error });
                });
            }
            Effect::Check { name, device, target } => {
                let (runner, events) = (self.runner.clone(), self.events.clone());
                tokio::spawn(async move {
                    let error = check(&runner, &name, device, target).await.err();
                    if let Some(error) = &error {
                        tracing::warn!(device = %name, error, "a fencing device fails its check");
                    }
                    let _ = events.send(Event::Checked { device: name, error });
                });
            }
            Effect::Note { key, text } => match key {
                Some(key) => tracing::info!(resource = %key.instance, "{text}"),
                None => tracing::info!("{text}"),
            },
            // The loop itself ends.
            Effect::Exit { .. } => {}
        }
    }
}

/// Every device off at the same time; then, after the last one, every device read again.
///
/// A device that cannot be read (its agent has no `status`) counts by its `off` alone.
async fn switch_off(
    runner: &Runner,
    target: &NodeId,
    devices: Vec<(DeviceId, FencingDevice)>,
    timeout: Duration,
) -> FenceOutcome {
    if devices.is_empty() {
        return FenceOutcome::Failed("the level has no devices".into());
    }
    let ask = |verb: Verb| {
        let all = devices.iter().map(|(name, device)| {
            let request = FenceRequest {
                name: name.clone(),
                device: device.clone(),
                target: target.clone(),
                verb,
                timeout: device.timeout.min(timeout),
            };
            async move { (name.clone(), runner.fence(request).await.reading) }
        });
        futures_util::future::join_all(all)
    };
    let mut readable = Vec::new();
    for (name, reading) in ask(Verb::Off).await {
        match reading {
            FenceReading::PoweredOff => readable.push(name),
            FenceReading::Done => {}
            FenceReading::PoweredOn => return FenceOutcome::Failed(format!("{name}: still reads on after `off`")),
            FenceReading::Failed(why) => return FenceOutcome::Failed(format!("{name}: {why}")),
            FenceReading::TimedOut => return FenceOutcome::Failed(format!("{name}: timed out")),
        }
    }
    // One device alone was read by its own `off`; with several, the first may be on again.
    if devices.len() > 1 {
        for (name, reading) in ask(Verb::Status).await {
            if readable.contains(&name) && reading != FenceReading::PoweredOff {
                return FenceOutcome::Failed(format!("{name}: reads {reading:?} after all were switched off"));
            }
        }
    }
    FenceOutcome::Off
}

/// Whether a device could be used from here: its agent, secrets and network are there, and it answers.
async fn check(runner: &Runner, name: &DeviceId, device: FencingDevice, target: NodeId) -> Result<(), String> {
    let timeout = device.timeout;
    let request = FenceRequest { name: name.clone(), device, target, verb: Verb::Monitor, timeout };
    match runner.fence(request).await.reading {
        FenceReading::Done | FenceReading::PoweredOn | FenceReading::PoweredOff => Ok(()),
        FenceReading::Failed(why) => Err(why),
        FenceReading::TimedOut => Err(format!("no answer within {}", crate::model::duration::format(timeout))),
    }
}

async fn switch_on(
    runner: &Runner,
    target: &NodeId,
    devices: Vec<(DeviceId, FencingDevice)>,
    timeout: Duration,
) -> Result<(), String> {
    for (name, device) in devices {
        let request = FenceRequest { name: name.clone(), device, target: target.clone(), verb: Verb::On, timeout };
        match runner.fence(request).await.reading {
            FenceReading::PoweredOn | FenceReading::Done => {}
            other => return Err(format!("{name}: {other:?}")),
        }
    }
    Ok(())
}
