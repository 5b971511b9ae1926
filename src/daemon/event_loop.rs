//! The core's loop: events in, effects out, one after the other.
//!
//! At rest it looks at the heartbeats a few times in `suspectAfter`. As soon as somebody's silence grows it looks at
//! every reading of them, so what is decided about silence is decided with the first reading that shows it.

use super::effects::Performer;
use super::transport::PeerTransport;
use crate::agent::Death;
use crate::log::{RaftLog, Stand};
use crate::model::{Detection, DeviceId};
use crate::net::{Heartbeats, Peers, clock};
use crate::plan::Graph;
use crate::reconcile::{Checked, Config, Contacts, Effect, Event, LONGEST_REST, Node};
use crate::state::port::Log;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Events taken in before the next decision.
const MAX_AT_ONCE: usize = 256;
/// A decision that takes longer is worth a line: a node decides nothing else meanwhile.
const SLOW_STEP: Duration = Duration::from_millis(100);
/// At rest, the heartbeats are looked at so many times in `suspectAfter`: often enough that a silence is watched long
/// before it counts.
const LOOKS: u32 = 6;

/// What the loop publishes after every step, for `status`.
#[derive(Debug, Clone, Default)]
pub(super) struct Insight {
    pub isolated: bool,
    pub graph: Arc<Graph>,
    /// What the agreed state does not say: see [`Node::troubles`].
    pub troubles: Vec<String>,
    /// What this node's checks of fencing devices said last.
    pub checked: Arc<BTreeMap<DeviceId, Checked>>,
}

pub(super) struct Inputs {
    pub events: mpsc::UnboundedReceiver<Event>,
    pub deaths: mpsc::Receiver<Death>,
    pub heartbeats: Arc<Heartbeats>,
    pub peers: Peers,
}

/// Runs until the node has left or `end` is cancelled. True: nothing of the cluster runs here any more.
pub(super) async fn run(
    config: Config,
    log: RaftLog<PeerTransport>,
    mut inputs: Inputs,
    performer: Performer,
    insight: watch::Sender<Insight>,
    end: CancellationToken,
) -> bool {
    let mut node = Node::new(config, clock::boot_time());
    let mut states = log.states();
    let mut standing = log.standing();
    let mut changes = inputs.heartbeats.changes();
    states.mark_changed();
    standing.mark_changed();
    let mut readings = inputs.heartbeats.readings();
    let mut detection = Detection::DEFAULT;
    let mut rest = resting(&detection);
    let mut settled = false;
    let mut burnt = false;
    let mut target = None;
    let mut checks_ended = 0;
    let mut lease = None;
    loop {
        let sleep = node.next_wake().map(|at| at.saturating_sub(clock::boot_time()));
        let first = tokio::select! {
            () = end.cancelled() => return false,
            changed = states.changed() => match changed {
                Ok(()) => Event::Committed(states.borrow_and_update().clone()),
                Err(_) => return false,
            },
            changed = standing.changed() => match changed {
                Ok(()) => Event::Leadership(standing.borrow_and_update().leadership.clone()),
                Err(_) => return false,
            },
            Some(event) = inputs.events.recv() => event,
            Some(death) = inputs.deaths.recv() => {
                tracing::info!(resource = %death.instance, what = %death.what, "something ended");
                Event::Died { instance: death.instance }
            }
            changed = changes.changed() => {
                if changed.is_ok() {
                    changes.borrow_and_update();
                    inputs.peers.follow(&inputs.heartbeats.contacts());
                }
                Event::Contacts(Contacts::of(&inputs.heartbeats.contacts()))
            }
            _ = rest.tick() => Event::Contacts(Contacts::of(&inputs.heartbeats.contacts())),
            Ok(()) = readings.changed(), if !settled => Event::Contacts(Contacts::of(&inputs.heartbeats.contacts())),
            () = tokio::time::sleep(sleep.unwrap_or(Duration::MAX)), if sleep.is_some() => Event::Tick,
        };
        if let Event::Contacts(heard) = &first {
            settled = !node.is_leased() && heard.is_settled(detection.heartbeat, detection.suspect_after);
            readings.mark_unchanged();
            rest.reset();
        }
        let mut events = with_the_rest(first, &mut inputs.events, &mut states);
        let sent = inputs.heartbeats.contacts().lease;
        if let Some(sent) = sent.filter(|_| sent != lease) {
            lease = Some(sent);
            events.push(Event::Lease { sent });
        }
        let committed = events.iter().any(|event| matches!(event, Event::Committed(_)));
        if committed {
            let state = log.state();
            let revision = state.target.as_ref().map(|target| target.revision.clone());
            if revision != target {
                tracing::info!(revision = revision.as_ref().map(|revision| revision.short()), "a new target");
                target = revision;
            }
            let wanted = state.spec().map(|spec| spec.cluster.detection);
            if let Some(timing) = wanted.filter(|timing| *timing != detection) {
                detection = timing;
                inputs.heartbeats.set_timing(timing.heartbeat, timing.suspect_after / 2);
                rest = resting(&timing);
                settled = false;
            }
        }
        let (begin, count) = (clock::boot_time(), events.len());
        let effects = node.step_all(begin, clock::wall_ms(), events);
        let took = clock::boot_time().saturating_sub(begin);
        if took > SLOW_STEP {
            tracing::info!(ms = took.as_millis(), events = count, effects = effects.len(), "a slow decision");
        }
        for effect in effects {
            if let Effect::Exit { clean } = effect {
                return clean;
            }
            performer.perform(effect);
        }
        if std::mem::replace(&mut burnt, node.is_burnt()) != node.is_burnt() {
            // A leader that may not decide anything would stand in everybody's way.
            log.allow_elections(if node.is_burnt() { Stand::Forbidden } else { Stand::Allowed });
        }
        let (isolated, troubles) = (node.is_isolated(), node.troubles());
        for trouble in troubles.iter().filter(|trouble| !insight.borrow().troubles.contains(trouble)) {
            tracing::error!("{trouble}");
        }
        let checks = std::mem::replace(&mut checks_ended, node.checks_ended()) != node.checks_ended();
        let news = insight.borrow().isolated != isolated || insight.borrow().troubles != troubles;
        if committed || checks || news {
            let checked = Arc::new(node.checked());
            let graph = Arc::new(node.graph().clone());
            insight.send_replace(Insight { isolated, graph, troubles, checked });
        }
    }
}

/// Ticks of a node at rest.
fn resting(detection: &Detection) -> tokio::time::Interval {
    let pause = (detection.suspect_after / LOOKS).clamp(Duration::from_millis(1), LONGEST_REST);
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// What else has come in meanwhile. An answer says that a state is applied: that state comes before it.
fn with_the_rest(
    first: Event,
    events: &mut mpsc::UnboundedReceiver<Event>,
    states: &mut watch::Receiver<Arc<crate::state::State>>,
) -> Vec<Event> {
    let mut all = vec![first];
    while all.len() < MAX_AT_ONCE
        && let Ok(event) = events.try_recv()
    {
        all.push(event);
    }
    if states.has_changed().unwrap_or(false) {
        all.insert(0, Event::Committed(states.borrow_and_update().clone()));
    }
    all
}
