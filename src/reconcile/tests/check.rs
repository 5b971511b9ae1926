//! What must hold in the simulated world, whatever the nodes believe.

use super::sim::Sim;
use crate::model::*;
use crate::plan;
use crate::reconcile::ProposalId;
use crate::state::port::{Applied, ProposeError};
use crate::state::{ClaimKey, Command, Entry, Membership, NoticeStage, Phase, Refusal, State, snapshot};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub struct Checks {
    /// Every epoch ever granted.
    epochs: BTreeSet<Epoch>,
    /// Releases on their way: of which host, and where they were committed.
    releasing: BTreeMap<(usize, ClaimKey), (Epoch, Option<LogIndex>)>,
    releases: BTreeMap<(usize, ProposalId), Vec<ClaimKey>>,
    /// Resources that ended without anybody asking for it: their dependants cannot know yet.
    lost: BTreeSet<ResourceId>,
    /// Nodes that were ever told of an operation before it.
    told: BTreeMap<(ResourceId, ActionKind), BTreeSet<NodeId>>,
    /// Operations on clones with `notify`: announced ones, and others.
    pub announced: u64,
    pub untold: u64,
    pub reloads: u64,
}

impl Checks {
    pub fn proposed(&mut self, host: usize, id: ProposalId, commands: &[Command]) {
        for command in commands {
            if let Command::Release { key, epoch, .. } = command {
                self.releasing.insert((host, key.clone()), (*epoch, None));
                self.releases.entry((host, id)).or_default().push(key.clone());
            }
        }
    }

    pub fn answered(&mut self, host: usize, id: ProposalId, result: &Result<Applied, ProposeError>) {
        let keys = self.releases.remove(&(host, id)).unwrap_or_default();
        for key in keys {
            if let (Ok(applied), Some(entry)) = (result, self.releasing.get_mut(&(host, key))) {
                entry.1 = Some(applied.index);
            }
        }
    }

    /// A daemon is gone; what it proposed binds no other.
    pub fn forget(&mut self, host: usize) {
        self.releasing.retain(|(other, _), _| *other != host);
        self.releases.retain(|(other, _), _| *other != host);
    }

    pub fn stopped(&mut self, resource: &ResourceId) {
        self.lost.remove(resource);
    }
    pub fn died(&mut self, resource: &ResourceId) {
        self.lost.insert(resource.clone());
    }
}

impl Sim {
    /// Before an agent runs.
    pub fn check_run(&mut self, host: usize, request: &AgentRequest) {
        let Some(epoch) = request.epoch else { return };
        let key = ClaimKey { instance: request.instance.clone(), node: self.hosts[host].name.clone() };
        let Some(daemon) = &self.hosts[host].daemon else { return };
        let (truth, known) = (self.newest(), self.states[daemon.seen].clone());
        let (incarnation, isolated) = (daemon.incarnation.clone(), daemon.node.is_isolated());
        let kind = request.kind;
        let what = format!("{kind} of {key} with epoch {epoch}");
        match truth.claims.get(&key) {
            Some(claim) if claim.epoch == epoch && claim.incarnation == incarnation => {}
            other => return self.violated(format!("{what} without its claim: {other:?}")),
        }
        let phase = known.claims.get(&key).map(|claim| claim.phase);
        let allowed = match kind {
            ActionKind::Start => phase == Some(Phase::Starting),
            ActionKind::Promote => phase == Some(Phase::Promoting),
            ActionKind::Demote => phase == Some(Phase::Demoting),
            ActionKind::Stop => phase == Some(Phase::Stopping) || isolated,
            ActionKind::Probe | ActionKind::Monitor => true,
            ActionKind::Notify => phase.is_some_and(|phase| phase != Phase::Stopping && phase != Phase::Starting),
            ActionKind::Reload => phase == Some(Phase::Reloading),
            ActionKind::MigrateTo | ActionKind::MigrateFrom => false,
        };
        if !allowed {
            return self.violated(format!("{what} in phase {phase:?}"));
        }
        let mine = (host, key.clone());
        if let Some((released, index)) = self.checks.releasing.get(&mine).cloned() {
            let known_since = index.is_some_and(|index| known.index >= index);
            let over = known.claims.get(&key).is_none_or(|claim| claim.epoch != released);
            if !known_since && !over {
                return self.violated(format!("{what} while its release is under way"));
            }
            self.checks.releasing.remove(&mine);
        }
        let busy = self.hosts[host]
            .ops
            .values()
            .any(|doing| doing.request.instance == request.instance && doing.request.epoch.is_some());
        if busy {
            return self.violated(format!("{what} while another operation of it runs"));
        }
        if !isolated {
            self.check_told(host, request, &known, &what);
        }
        if kind == ActionKind::Reload {
            self.checks.reloads += 1;
            let wanted = truth.reloading(&key).map(|definition| &definition.resource.params);
            if wanted != Some(&request.definition.resource.params) {
                return self.violated(format!("{what} with other parameters than were committed"));
            }
        }
        match kind {
            ActionKind::Start => self.check_start(host, &request.instance.resource, &what),
            ActionKind::Promote => self.check_promote(host, &request.instance.resource, &what),
            ActionKind::Stop if !isolated => self.check_stop(host, &request.instance.resource, &truth, &what),
            _ => {}
        }
        if kind == ActionKind::Stop && isolated {
            self.checks.died(&request.instance.resource);
        }
        if kind == ActionKind::Start {
            self.checks.lost.remove(&request.instance.resource);
        }
    }

    /// An operation on a clone with `notify` runs only after every copy that could listen was told of it.
    fn check_told(&mut self, host: usize, request: &AgentRequest, known: &State, what: &str) {
        let kind = request.kind;
        let me = self.hosts[host].name.clone();
        if kind == ActionKind::Notify {
            let Some((Moment::Before, of)) = request.notice.as_ref().and_then(|notice| notice.about) else { return };
            self.checks.told.entry((request.instance.resource.clone(), of)).or_default().insert(me);
            return;
        }
        let key = ClaimKey { instance: request.instance.clone(), node: me };
        let Some((number, notice)) = known.notice_of(kind, &key) else {
            let announced =
                matches!(kind, ActionKind::Start | ActionKind::Stop | ActionKind::Promote | ActionKind::Demote);
            // What began without a quorum, or before the level was raised, goes on.
            if announced && known.notifies(&request.instance.resource) {
                self.checks.untold += 1;
            }
            return;
        };
        let is_end = matches!(kind, ActionKind::Stop | ActionKind::Demote);
        if notice.stage == NoticeStage::Before && is_end {
            // Asked for before it was announced, and committed late: what ends a claim is never refused.
            self.checks.untold += 1;
            return;
        }
        if notice.stage == NoticeStage::Before {
            return self.violated(format!("{what} before {:?} were told", notice.owed));
        }
        let told = self.checks.told.get(&(request.instance.resource.clone(), kind)).cloned().unwrap_or_default();
        let missed = notice.copies.active.iter().find(|(id, node)| {
            let key = ClaimKey { instance: id.clone(), node: node.clone() };
            // It could have answered all the time since the announcement.
            let could = self.states.iter().rev().take_while(|state| state.notices.contains_key(&number)).all(|state| {
                let active = state.claims.get(&key).is_some_and(|claim| claim.is_running());
                active && state.nodes[node].membership == Membership::Online
            });
            could && !told.contains(node)
        });
        if let Some((id, node)) = missed {
            self.violated(format!("{what}, but {id} on {node} was never told"));
        }
        self.checks.announced += 1;
    }

    fn check_start(&mut self, host: usize, resource: &ResourceId, what: &str) {
        let others =
            (0..self.hosts.len()).filter(|other| *other != host && self.hosts[*other].services.contains_key(resource));
        let others: Vec<usize> = others.map(|other| other + 1).collect();
        let most = self.world.spec.clone_of(resource).map_or(1, |(_, clone)| clone.max.unwrap_or(u32::MAX) as usize);
        if others.len() + 1 > most {
            return self.violated(format!("{what} while it runs on n{others:?}"));
        }
        for first in self.predecessors(resource) {
            let runs = (0..self.hosts.len()).any(|other| self.hosts[other].services.contains_key(&first));
            if !runs && !self.checks.lost.contains(&first) {
                return self.violated(format!("{what} although {first} does not run"));
            }
        }
    }

    fn check_promote(&mut self, host: usize, resource: &ResourceId, what: &str) {
        let other = (0..self.hosts.len())
            .find(|other| *other != host && self.hosts[*other].services.get(resource) == Some(&true));
        if let Some(other) = other {
            self.violated(format!("{what} while it is promoted on n{}", other + 1));
        }
    }

    fn check_stop(&mut self, host: usize, resource: &ResourceId, truth: &State, what: &str) {
        for then in ["web", "ip"].map(ResourceId::from) {
            if !self.predecessors(&then).contains(resource) {
                continue;
            }
            let running = truth.claims_of(&then).find(|(key, claim)| {
                let other = self.host_of(&key.node);
                let alive = self.hosts[other].up && self.hosts[other].services.contains_key(&then);
                let online = truth.nodes[&key.node].membership == Membership::Online;
                // On another node what the log has just granted may not be known yet here.
                let settled = claim.phase == Phase::Running && claim.failure.is_none() && other == host;
                alive && online && settled
            });
            if let Some((key, _)) = running {
                let key = key.clone();
                return self.violated(format!("{what} although {key} still needs it"));
            }
        }
    }

    /// What must run before a resource, on the same terms for every spec of this world.
    fn predecessors(&self, resource: &ResourceId) -> Vec<ResourceId> {
        let state = self.newest();
        let Some(spec) = state.spec() else { return Vec::new() };
        match resource.as_str() {
            "ip" => vec!["fs".into()],
            "web" if spec.orders.contains_key("db-web") => vec!["db".into()],
            _ => Vec::new(),
        }
    }

    pub fn check_exit(&mut self, host: usize, clean: bool) {
        if clean && !self.hosts[host].services.is_empty() {
            let left: Vec<_> = self.hosts[host].services.keys().cloned().collect();
            self.violated(format!("n{} left while {left:?} run there", host + 1));
        }
    }

    /// After an entry is applied, before anybody knows.
    pub fn check_commit(&mut self, state: &State, entry: &Entry, answers: &[Result<(), Refusal>]) {
        let before = self.newest();
        if answers.iter().all(Result::is_err) {
            let unchanged = State { index: before.index, ..state.clone() };
            if unchanged != *before {
                self.violated(format!("refused commands changed the state: {:?}", entry.commands));
            }
        }
        for (key, claim) in &state.claims {
            let new = before.claims.get(key).is_none_or(|old| old.epoch != claim.epoch);
            if new && !self.checks.epochs.insert(claim.epoch) {
                self.violated(format!("epoch {} of {key} was granted before", claim.epoch));
            }
            if new
                && !claim.found
                && let Some(limit) = state.exceeded(&key.instance.resource)
            {
                self.violated(format!("{key} was granted beyond the limit: {limit}"));
            }
            if state.nodes.get(&key.node).is_none_or(|node| node.burnt.contains(&claim.incarnation.boot)) {
                self.violated(format!("{key} is claimed by a burnt boot"));
            }
        }
        for (key, claim) in before.claims.iter().filter(|(key, _)| !state.claims.contains_key(*key)) {
            let host = self.host_of(&key.node);
            let same_boot = self.hosts[host].up && self.boot_id(host) == claim.incarnation.boot;
            if same_boot && self.hosts[host].services.contains_key(&key.instance.resource) {
                self.violated(format!("the claim on {key} ended although it runs there"));
            }
        }
        for host in 0..self.hosts.len() {
            let boot = self.boot_id(host);
            let burnt = state.nodes.get(&self.hosts[host].name).is_some_and(|node| node.burnt.contains(&boot));
            if burnt && self.hosts[host].up {
                self.violated(format!("{boot} was proven off, but it is not"));
            }
        }
    }

    /// What keeps the cluster from being where its plan wants it; None: nothing.
    pub fn unsettled(&mut self) -> Option<String> {
        let state = self.newest();
        if !self.members(Membership::Online) {
            let states: Vec<_> =
                state.nodes.iter().map(|(name, node)| format!("{name} {:?}", node.membership)).collect();
            return Some(format!("not everybody is online: {states:?}"));
        }
        for host in 0..self.hosts.len() {
            let newest = self.states.len() - 1;
            let knows = self.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.seen == newest);
            if !self.hosts[host].up || !knows {
                return Some(format!("n{} is not there", host + 1));
            }
        }
        let spec = state.spec()?;
        let plan = plan::assign(spec, &state);
        let (changes, fence) = (plan.changes(&state), plan.fence);
        if !changes.is_empty() || !fence.is_empty() {
            return Some(format!("to be committed: {changes:?} {fence:?}"));
        }
        let graph = plan::order(spec, &state);
        if !graph.is_empty() {
            let steps: Vec<_> = graph.steps().map(|step| format!("{:?} {}", step.kind, step.key)).collect();
            return Some(format!("steps are left: {steps:?} {:?}", graph.verdicts()));
        }
        if !state.notices.is_empty() {
            return Some(format!("notices are left: {:?}", state.notices));
        }
        for resource in spec.resources.keys() {
            let places: BTreeMap<NodeId, bool> = state
                .assignment
                .iter()
                .filter(|(instance, _)| &instance.resource == resource)
                .map(|(_, assigned)| (assigned.to.node.clone(), assigned.to.role == Role::Promoted))
                .collect();
            let runs: BTreeMap<NodeId, bool> =
                self.hosts.iter().filter_map(|host| Some((host.name.clone(), *host.services.get(resource)?))).collect();
            if places.is_empty() {
                return Some(format!("{resource} is assigned nowhere: {:?}", plan.verdicts));
            }
            if places != runs {
                return Some(format!("{resource} is to run on {places:?}, and runs on {runs:?}"));
            }
        }
        None
    }

    /// Replicas that apply the same entries, or go on from a snapshot, hold the same bytes.
    pub fn replicas_agree(&self) -> Result<(), String> {
        let middle = self.entries.len() / 2;
        let bytes = snapshot::encode(&self.states[middle]);
        let mut replica = snapshot::decode(&bytes).map_err(|error| error.to_string())?;
        for (place, entry) in self.entries.iter().enumerate().skip(middle) {
            let entry = snapshot::decode_entry(&snapshot::encode_entry(entry)).map_err(|error| error.to_string())?;
            replica.apply(LogIndex(place as u64 + 1), &entry);
        }
        match snapshot::encode(&replica) == snapshot::encode(&self.newest()) {
            true => Ok(()),
            false => Err("a replica that began with a snapshot holds other bytes".into()),
        }
    }
}
