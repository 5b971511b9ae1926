//! Performs what the core asks for. Each effect is a task of its own; its outcome comes back as an event.

use super::transport::PeerTransport;
use super::{fencing, report};
use crate::agent::{Runner, Watchdog};
use crate::log::RaftLog;
use crate::model::{AgentRequest, InstanceId, Outcome};
use crate::net::Heartbeats;
use crate::reconcile::{Effect, Event};
use crate::state::port::Log;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
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
    pub heartbeats: Arc<Heartbeats>,
    pub watchdog: Arc<Watchdog>,
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
                    let outcome = fencing::switch_off(&runner, &target, &devices, timeout).await;
                    tracing::warn!(attempt = attempt.0, node = %target, ?outcome, "fencing ended");
                    let _ = events.send(Event::Fenced { attempt, outcome });
                });
            }
            Effect::SwitchOn { attempt, target, devices, timeout } => {
                let (runner, events) = (self.runner.clone(), self.events.clone());
                tokio::spawn(async move {
                    let error = fencing::switch_on(&runner, &target, &devices, timeout).await.err();
                    tracing::info!(attempt = attempt.0, node = %target, ?error, "switched on");
                    let _ = events.send(Event::SwitchedOn { attempt, error });
                });
            }
            Effect::Check { name, device, target } => {
                let (runner, events) = (self.runner.clone(), self.events.clone());
                tokio::spawn(async move {
                    let error = fencing::check(&runner, &name, device, target).await.err();
                    if let Some(error) = &error {
                        tracing::warn!(device = %name, error, "a fencing device fails its check");
                    }
                    let _ = events.send(Event::Checked { device: name, error });
                });
            }
            Effect::Acknowledge { acks } => self.heartbeats.acknowledge(acks),
            Effect::Arm { path, timeout } => {
                let (watchdog, events) = (self.watchdog.clone(), self.events.clone());
                tokio::task::spawn_blocking(move || {
                    let armed = watchdog.arm(Path::new(&path), timeout).map_err(|error| error.to_string());
                    if let Ok(facts) = &armed {
                        tracing::info!(path, identity = facts.identity, timeout = ?facts.timeout, "the watchdog is armed");
                    }
                    let _ = events.send(Event::Armed(armed));
                });
            }
            Effect::Pet { until } => self.watchdog.pet_until(until),
            Effect::Disarm => {
                tracing::info!("the watchdog is disarmed");
                self.watchdog.disarm();
            }
            Effect::Note { key, text } => match key {
                Some(key) => tracing::info!(resource = %key.instance, "{text}"),
                None => tracing::info!("{text}"),
            },
            Effect::Report { number, status, to } => {
                let events = self.events.clone();
                tokio::spawn(async move {
                    let (delivery, after) = report::tell(to, &status).await;
                    tracing::info!(revision = status.revision.short(), state = %status.state, ?delivery, "told the forge");
                    let _ = events.send(Event::Reported { number, status, delivery, after });
                });
            }
            // The loop itself ends.
            Effect::Exit { .. } => {}
        }
    }
}
