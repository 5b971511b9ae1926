//! Scheduled checks of fencing devices: could this node use them, if it had to?
//!
//! Every node checks every device that it might have to use, each on its own clock. Whether an attempt can work depends
//! on the node that makes it (its network, its agents, its files of secrets), so no other node's word would do; and
//! nobody has to be told whose turn it is, or replaced.
//!
//! Input: the devices of the target, the time. Output: [`Effect::Check`]; a command only when a device begins to fail or
//! answers again. When it was checked last is known to this node alone: that would be an entry for every check.
//!
//! Invariants: a few at a time; none while an attempt uses the device (many controllers take one session); nothing on a
//! boot that may not act.

use super::node::Tag;
use super::{Effect, Node};
use crate::model::{DeviceId, Digest, FencingDevice, NodeId};
use crate::state::Command;
use std::collections::BTreeMap;
use std::time::Duration;

/// Agents are Python programs: more of them at once would be felt by the services.
const MAX_AT_ONCE: usize = 2;
/// The first check of a daemon comes within this time, spread by name, so that nodes that start together do not ask one
/// device together.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

/// What the last check of a device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Wall clock of this node, ms since 1970.
    pub at_ms: u64,
    /// None: it could be used.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Checks {
    devices: BTreeMap<DeviceId, Scheduled>,
    /// Counts ended checks.
    ended: u64,
    /// The spec that `devices` is made from, and whether this node was leaving.
    made_for: Option<(Digest, bool)>,
}

#[derive(Debug, Clone)]
struct Scheduled {
    device: FencingDevice,
    target: NodeId,
    next: Duration,
    running: bool,
    last: Option<Checked>,
}

impl Checks {
    /// Takes the end of a check in.
    pub fn ended(&mut self, device: &DeviceId, error: Option<String>, now: Duration, wall_ms: u64) {
        let Some(scheduled) = self.devices.get_mut(device) else { return };
        scheduled.running = false;
        scheduled.next = now + scheduled.device.check;
        scheduled.last = Some(Checked { at_ms: wall_ms, error });
        self.ended += 1;
    }

    /// When the next check comes. What is due and has to wait is begun by what it waits for.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        self.devices.values().filter(|scheduled| !scheduled.running && scheduled.next > now).map(|s| s.next).min()
    }
}

impl Node {
    /// What the checks of this node said last. Empty until the first has ended.
    pub fn checked(&self) -> BTreeMap<DeviceId, Checked> {
        let last = |(name, scheduled): (&DeviceId, &Scheduled)| Some((name.clone(), scheduled.last.clone()?));
        self.checks.devices.iter().filter_map(last).collect()
    }

    /// How many checks have ended: whether [`Node::checked`] is news.
    pub fn checks_ended(&self) -> u64 {
        self.checks.ended
    }

    pub(super) fn run_checks(&mut self) {
        self.schedule_checks();
        let now = self.now;
        let mut running = self.checks.devices.values().filter(|scheduled| scheduled.running).count();
        let attempts = &self.state.attempts;
        for (name, scheduled) in &mut self.checks.devices {
            let due = !scheduled.running && scheduled.next <= now && running < MAX_AT_ONCE;
            if due && !attempts.values().any(|a| a.outcome.is_none() && a.devices.contains(name)) {
                scheduled.running = true;
                running += 1;
                let (device, target) = (scheduled.device.clone(), scheduled.target.clone());
                self.effects.push(Effect::Check { name: name.clone(), device, target });
            }
        }
        self.report_checks();
    }

    /// Takes the devices of a new commit over. What is checked already, and as it was, goes on.
    fn schedule_checks(&mut self) {
        let spec = self.state.target.as_ref().map_or_else(Digest::default, |target| target.spec);
        let made_for = Some((spec, self.is_leaving()));
        if self.checks.made_for == made_for {
            return;
        }
        self.checks.made_for = made_for;
        let wanted = if self.is_leaving() { BTreeMap::new() } else { self.devices_to_check() };
        self.checks
            .devices
            .retain(|name, scheduled| wanted.get(name).is_some_and(|(_, device)| *device == scheduled.device));
        for (name, (target, device)) in wanted {
            let next = self.now + self.first_delay(&name, &device);
            let fresh = Scheduled { device, target, next, running: false, last: None };
            self.checks.devices.entry(name).or_insert(fresh);
        }
    }

    /// Proposes what differs from what is agreed.
    fn report_checks(&mut self) {
        let agreed = self.state.nodes.get(&self.config.node).map(|node| node.bad_devices.clone()).unwrap_or_default();
        let failing = self.checks.devices.iter().filter_map(|(name, scheduled)| {
            let error = scheduled.last.as_ref()?.error.as_ref()?;
            (!agreed.contains_key(name)).then(|| (name.clone(), Some(error.clone())))
        });
        // What nobody checks any more fails nobody; what was not checked again yet still counts.
        let over = agreed.keys().filter(|name| {
            let scheduled = self.checks.devices.get(*name);
            scheduled.is_none_or(|scheduled| scheduled.last.as_ref().is_some_and(|last| last.error.is_none()))
        });
        let news: Vec<(DeviceId, Option<String>)> = failing.chain(over.map(|name| (name.clone(), None))).collect();
        for (device, error) in news {
            let (node, incarnation) = (self.config.node.clone(), self.config.incarnation.clone());
            let command = Command::DeviceChecked { node, incarnation, device: device.clone(), error };
            self.propose_once(Tag::Check(device), command);
        }
    }

    /// The devices of the other nodes, each with one of the nodes it can switch off.
    fn devices_to_check(&self) -> BTreeMap<DeviceId, (NodeId, FencingDevice)> {
        let Some(spec) = self.state.spec().filter(|spec| spec.cluster.fencing.enabled) else { return BTreeMap::new() };
        let mut wanted = BTreeMap::new();
        for (target, node) in spec.nodes.iter().filter(|(target, _)| **target != self.config.node) {
            for name in node.fencing.iter().flatten() {
                let Some(device) = spec.devices.get(name) else { continue };
                if !device.is_watchdog() && !device.check.is_zero() {
                    wanted.entry(name.clone()).or_insert_with(|| (target.clone(), device.clone()));
                }
            }
        }
        wanted
    }

    /// Spread by names, the same for every start.
    fn first_delay(&self, device: &DeviceId, document: &FencingDevice) -> Duration {
        let text = format!("{} {device}", self.config.node);
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let within = FIRST_WITHIN.min(document.check);
        within.mul_f64((hash >> 32) as f64 / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Effect, Event, Node};
    use super::*;
    use crate::plan::testing::{World, incarnation};
    use crate::state::{BadDevice, JoinFacts, State, Target};
    use std::sync::Arc;

    const BEGAN: Duration = Duration::from_secs(1_000);

    /// Two nodes and their devices, checked every minute.
    fn state(change: impl FnOnce(&mut World)) -> State {
        let mut w = World::new(&["n1", "n2"]);
        w.spec.devices.values_mut().for_each(|device| device.check = Duration::from_secs(60));
        change(&mut w);
        let mut state = w.state.clone();
        state.specs.insert(Default::default(), Arc::new(w.spec.clone()));
        let revision = crate::model::Revision::new("a".repeat(40));
        let (accepted_at, by) = (state.index, "ann".to_owned());
        state.target = Some(Target { revision, spec: Default::default(), accepted_at, accepted_ms: 0, by });
        state
    }

    fn node(state: State) -> Node {
        let facts =
            JoinFacts { addresses: Vec::new(), port: 7443, version: "0".into(), feature_level: 1, recipient: None };
        let mut node = Node::new(Config { node: "n1".into(), incarnation: incarnation("n1"), facts, cores: 2 }, BEGAN);
        node.step(BEGAN, 0, Event::Committed(Arc::new(state)));
        node
    }

    fn asked(effects: &[Effect]) -> Vec<(DeviceId, NodeId)> {
        let asked = effects.iter().filter_map(|effect| match effect {
            Effect::Check { name, target, .. } => Some((name.clone(), target.clone())),
            _ => None,
        });
        asked.collect()
    }

    fn told(effects: &[Effect]) -> Vec<Option<String>> {
        let commands = effects.iter().filter_map(|effect| match effect {
            Effect::Propose { commands, .. } => Some(commands),
            _ => None,
        });
        let errors = commands.flatten().filter_map(|command| match command {
            Command::DeviceChecked { error, .. } => Some(error.clone()),
            _ => None,
        });
        errors.collect()
    }

    fn ended(error: Option<&str>) -> Event {
        Event::Checked { device: "pdu-n2".into(), error: error.map(Into::into) }
    }

    const MINUTE: Duration = Duration::from_secs(61);

    #[test]
    fn a_node_checks_the_devices_of_the_others_by_the_clock() {
        let mut node = node(state(|_| {}));
        assert!(node.next_wake().is_some_and(|at| at > BEGAN && at <= BEGAN + MINUTE), "{:?}", node.next_wake());
        let first = asked(&node.step(BEGAN + MINUTE, 0, Event::Tick));
        assert_eq!(first, [("pdu-n2".into(), "n2".into())], "its own device is no business of its own");
        assert!(asked(&node.step(BEGAN + MINUTE * 3, 0, Event::Tick)).is_empty(), "one at a time");
        assert!(told(&node.step(BEGAN + MINUTE * 3, 7, ended(None))).is_empty(), "as before: nothing is written");
        assert_eq!(node.checked()["pdu-n2"], Checked { at_ms: 7, error: None });
        assert!(asked(&node.step(BEGAN + MINUTE * 3 + Duration::from_secs(59), 0, Event::Tick)).is_empty());
        assert_eq!(asked(&node.step(BEGAN + MINUTE * 4, 0, Event::Tick)).len(), 1);
    }

    #[test]
    fn only_a_change_is_proposed() {
        let bad = BadDevice { since_ms: 1, why: "no answer".into() };
        let failing = state(|w| {
            w.state.nodes.get_mut("n1").unwrap().bad_devices.insert("pdu-n2".into(), bad);
        });
        let mut fine = node(state(|_| {}));
        fine.step(BEGAN + MINUTE, 0, Event::Tick);
        assert_eq!(told(&fine.step(BEGAN + MINUTE, 0, ended(Some("no answer")))), [Some("no answer".to_owned())]);
        let mut known = node(failing);
        assert!(told(&known.step(BEGAN, 0, Event::Tick)).is_empty(), "not checked again yet: it still counts");
        known.step(BEGAN + MINUTE, 0, Event::Tick);
        assert!(told(&known.step(BEGAN + MINUTE, 0, ended(Some("other words")))).is_empty());
        known.step(BEGAN + MINUTE * 3, 0, Event::Tick);
        assert_eq!(told(&known.step(BEGAN + MINUTE * 3, 0, ended(None))), [None]);
    }

    #[test]
    fn what_is_not_checked_any_more_fails_nobody() {
        let bad = BadDevice { since_ms: 1, why: "no answer".into() };
        let unchecked = state(|w| {
            w.state.nodes.get_mut("n1").unwrap().bad_devices.insert("pdu-n2".into(), bad);
            w.spec.devices.get_mut("pdu-n2").unwrap().check = Duration::ZERO;
        });
        let mut node = node(State::default());
        assert_eq!(told(&node.step(BEGAN, 0, Event::Committed(Arc::new(unchecked)))), [None]);
    }

    #[test]
    fn a_device_in_use_is_left_alone() {
        let mut w_state = state(|w| {
            let attempt = w.attempt("n2", 0, "n1");
            attempt.devices = vec!["pdu-n2".into()];
        });
        w_state.attempts.values_mut().for_each(|attempt| attempt.executor.counter = 9);
        let mut node = node(w_state.clone());
        assert!(asked(&node.step(BEGAN + MINUTE, 0, Event::Tick)).is_empty());
        w_state.attempts.clear();
        w_state.index.0 += 1;
        assert_eq!(asked(&node.step(BEGAN + MINUTE, 0, Event::Committed(Arc::new(w_state)))).len(), 1);
    }
}
