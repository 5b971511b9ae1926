//! What goes wrong in the simulated world, and what operators do meanwhile.

use super::sim::{Rng, Sim, What};
use crate::model::*;
use crate::plan::testing::World;
use crate::reconcile::Event;
use crate::state::{Command, OverrideKind, Scope};
use std::time::Duration;

/// How an agent or a device behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Works,
    Fails,
    Hangs,
    /// Of a device: reports nothing in time, and then does it.
    Late,
}

/// What has to be undone some time later.
pub enum Fault {
    Cut(usize, usize),
    Device(usize),
    Undrain(usize),
    Add(ResourceId, Box<Resource>),
    Cleanup,
}

/// A cluster to run: two groups of dependent services, sometimes a promotable clone below them.
pub fn cluster(nodes: &[&str], rng: &mut Rng) -> World {
    let mut w = World::new(nodes);
    w.resources(&["db", "fs", "ip", "web"]);
    w.group("g", &["fs", "ip"]);
    w.order("db", "web");
    if rng.one_in(3) {
        w.colocate("web", "db", Strength::Required, 1);
    }
    if rng.one_in(2) {
        w.resources(&["drbd"]);
        let clone = w.cloned("ms", "drbd");
        clone.max = Some(2);
        clone.promotable = Some(Promotable { max: 1, per_node: 1 });
        clone.notify = rng.one_in(2);
        if rng.one_in(2) {
            w.order("ms.Promote", "g");
            w.colocate("g", "ms", Strength::Required, 1).with.role = Some(Role::Promoted);
        }
    }
    let policy = &mut w.spec.cluster.fencing;
    policy.timeout = Duration::from_secs(5);
    policy.max_fences = 10;
    for resource in w.spec.resources.values_mut() {
        let told = Operation { interval: Duration::ZERO, timeout: Duration::ZERO, on_fail: OnFail::Ignore };
        resource.operations.insert(OpName::Notify, told);
        for (name, operation) in &mut resource.operations {
            operation.timeout = Duration::from_secs(3);
            if *name == OpName::Monitor {
                operation.interval = Duration::from_secs(2);
            }
            if *name == OpName::Stop {
                operation.on_fail = OnFail::Fence;
            }
        }
    }
    if rng.one_in(2) {
        let reload = Some(Reload { legacy: false, params: ["size".to_owned()].into() });
        let agent = w.resource("db").agent.clone();
        w.spec.agents.insert(agent, AgentTraits { unique: Default::default(), reload });
    }
    // The state of `World` is another module's toy; only its spec is used here.
    w.state = Default::default();
    w
}

impl Sim {
    /// One fault, and the time of the next one.
    pub fn fault(&mut self) {
        if self.calm() {
            return;
        }
        let delay = self.rng.range(300, 5_000);
        self.at(delay, What::Fault);
        let host = self.rng.range(0, self.hosts.len() as u64) as usize;
        let resources: Vec<ResourceId> = self.world.spec.resources.keys().cloned().collect();
        let resource = self.rng.pick(&resources).clone();
        match self.rng.range(0, 16) {
            0 | 1 => self.dark(host),
            2 | 3 => self.restart_daemon(host),
            4 | 5 => {
                let long = self.rng.range(200, 4_500);
                self.say(|| format!("n{} stands still for {long} ms", host + 1));
                self.hosts[host].frozen_until = self.now + long;
            }
            6 | 7 => self.cut_off(host),
            8 => {
                self.say(|| "the leader steps down".into());
                self.drop_leader();
            }
            9 | 10 => {
                let running: Vec<usize> =
                    (0..self.hosts.len()).filter(|host| self.hosts[*host].services.contains_key(&resource)).collect();
                if !running.is_empty() {
                    let host = *self.rng.pick(&running);
                    self.service_dies(host, &resource);
                }
            }
            11 | 12 => {
                let kinds = [ActionKind::Start, ActionKind::Stop, ActionKind::Monitor, ActionKind::Probe];
                let more = [ActionKind::Promote, ActionKind::Demote, ActionKind::Notify, ActionKind::Reload];
                let kind = if self.rng.one_in(4) { *self.rng.pick(&more) } else { *self.rng.pick(&kinds) };
                let mode = *self.rng.pick(&[Mode::Fails, Mode::Hangs]);
                self.say(|| format!("the next {kind} of {resource} on n{} {mode:?}", host + 1));
                self.hosts[host].broken.insert((resource, kind), mode);
            }
            13 => {
                let mode = *self.rng.pick(&[Mode::Fails, Mode::Hangs, Mode::Late]);
                self.say(|| format!("the device of n{} {mode:?}", host + 1));
                self.hosts[host].device = mode;
                let delay = self.rng.range(2_000, 12_000);
                self.at(delay, What::Mend(Fault::Device(host)));
            }
            14 => self.change_git(&resource),
            _ => self.operate(host, &resource),
        }
    }

    fn dark(&mut self, host: usize) {
        if self.hosts[host].up {
            self.crash(host);
            let (delay, boot) = (self.rng.range(1_000, 9_000), self.hosts[host].boot);
            self.at(delay, What::Boot { host, boot });
        }
    }

    fn restart_daemon(&mut self, host: usize) {
        if self.hosts[host].daemon.is_some() {
            self.kill_daemon(host);
            let (delay, boot) = (self.rng.range(100, 3_000), self.hosts[host].boot);
            self.at(delay, What::DaemonStart { host, boot });
        }
    }

    fn cut_off(&mut self, host: usize) {
        let alone = self.rng.one_in(2);
        let other = self.rng.range(0, self.hosts.len() as u64) as usize;
        let delay = self.rng.range(500, 8_000);
        for peer in (0..self.hosts.len()).filter(|peer| *peer != host && (alone || *peer == other)) {
            self.say(|| format!("n{} and n{} do not hear each other", host + 1, peer + 1));
            self.cut.insert((host.min(peer), host.max(peer)));
            self.at(delay, What::Mend(Fault::Cut(host.min(peer), host.max(peer))));
        }
    }

    fn change_git(&mut self, resource: &ResourceId) {
        let stamp = self.now.to_string();
        let removable = resource.as_str() == "web" && self.rng.one_in(2);
        if removable {
            self.say(|| format!("git removes {resource}"));
            self.world.spec.orders.remove("db-web");
            self.world.spec.colocations.remove("web-with-db");
            if let Some(old) = self.world.spec.resources.remove(resource) {
                let delay = self.rng.range(100, 6_000);
                self.at(delay, What::Mend(Fault::Add(resource.clone(), Box::new(old))));
            }
        } else if let Some(resource) = self.world.spec.resources.get_mut(resource) {
            resource.params.insert("size".into(), stamp);
            self.say(|| "git changes parameters".into());
        }
        self.push();
    }

    fn operate(&mut self, host: usize, resource: &ResourceId) {
        let node = self.hosts[host].name.clone();
        let set = |scope, kind| Command::SetOverride {
            scope,
            kind,
            by: "ann".into(),
            reason: "a test".into(),
            expires_ms: None,
        };
        match self.rng.range(0, 5) {
            0 => {
                if self.operator(vec![set(Scope::Node(node), OverrideKind::Drain)]) {
                    let delay = self.rng.range(1_000, 9_000);
                    self.at(delay, What::Mend(Fault::Undrain(host)));
                }
            }
            1 => {
                let name = if resource.as_str() == "ip" { "g".into() } else { resource.clone() };
                _ = self.operator(vec![set(Scope::Resource(name), OverrideKind::Move { to: node })]);
            }
            2 => self.cleanup(),
            3 => _ = self.operator(vec![set(Scope::Node(node), OverrideKind::Fence)]),
            _ => {
                self.say(|| format!("n{} is asked to leave", host + 1));
                self.leave(host);
            }
        }
    }

    fn leave(&mut self, host: usize) {
        if self.hosts[host].frozen_until <= self.now {
            self.step(host, Event::Stop);
        }
    }

    fn cleanup(&mut self) {
        let mut commands = vec![Command::ClearFailures { resource: None, node: None, by: "ann".into() }];
        commands.extend(self.scores());
        _ = self.operator(commands);
    }

    pub fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(a, b) => _ = self.cut.remove(&(a, b)),
            Fault::Device(host) => self.hosts[host].device = Mode::Works,
            Fault::Undrain(host) => {
                let scope = Scope::Node(self.hosts[host].name.clone());
                let state = self.newest();
                let drains = state.overrides_of(&scope).filter(|(_, o)| matches!(o.kind, OverrideKind::Drain));
                let commands: Vec<_> = drains.map(|(id, _)| Command::ClearOverride { id, by: "ann".into() }).collect();
                if !commands.is_empty() && !self.operator(commands) {
                    self.at(1_000, What::Mend(Fault::Undrain(host)));
                }
            }
            Fault::Add(name, resource) => {
                self.say(|| format!("git has {name} again"));
                self.world.spec.resources.insert(name, *resource);
                self.world.order("db", "web");
                self.push();
            }
            Fault::Cleanup => {
                // Whoever was switched off late, or too often, or by an executor that is gone, is switched on by hand.
                for host in 0..self.hosts.len() {
                    if self.calm() && !self.hosts[host].powered {
                        self.power_on(host);
                    }
                }
                self.cleanup();
            }
        }
    }

    /// The last fault is over.
    pub fn heal(&mut self) {
        self.say(|| "the faults end".into());
        self.cut.clear();
        for host in 0..self.hosts.len() {
            self.hosts[host].broken.clear();
            self.hosts[host].device = Mode::Works;
            self.hosts[host].frozen_until = 0;
            if !self.hosts[host].up {
                self.power_on(host);
            }
            let boot = self.hosts[host].boot;
            self.at(3_000, What::DaemonStart { host, boot });
        }
        for delay in [6_000, 20_000, 45_000, 70_000, 95_000] {
            self.at(delay, What::Mend(Fault::Cleanup));
            for host in 0..self.hosts.len() {
                self.at(delay + 10, What::Mend(Fault::Undrain(host)));
            }
        }
    }
}
