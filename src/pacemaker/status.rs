//! The status section as a state: members, claims, records and probes.
//!
//! Input: nodes with their standing, definitions, and the histories. Output: a [`State`], as if this cluster had come to
//! it by itself: what runs is a claim, what was seen stopped a probe, fail counts and their consequences a record.
//!
//! Invariants: every claim has a definition; copies on one node have one number for all members of their group.
//!
//! Deliberately absent: reading single histories (`history`) and what follows for the plan.

use super::Ground;
use super::bundles::aliases;
use super::history::{self, Context, Found, Outdated};
use super::nodes::{NodeRead, Standing};
use super::resources::agent;
use super::roster::{Listed, Roster};
use super::words::{milliseconds, score};
use super::xml::El;
use crate::model::{
    ActionKind, BootId, Definition, Digest, Epoch, ExecStatus, FailurePolicy, Incarnation, Influence, InstanceId,
    LogIndex, MultipleActive, Node, NodeId, NodeRole, OnFail, OverrideId, Reading, Requires, Resource, ResourceId,
    Role, Spec, TargetRole,
};
use crate::state::{
    Claim, ClaimKey, FEATURE_LEVEL, Failure, FailureKind, Membership, NodeDocument, NodeState, OpRecord, Override,
    OverrideKind, Phase, Probe, ProbeKey, Scope, State, Suspicion,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// All that is imported was agreed at this point.
pub(super) const AT: LogIndex = LogIndex(1);
/// Who did it, for overrides.
const BY: &str = "the CIB";

pub(super) struct StatusReader<'s, 'a> {
    pub spec: &'s Spec,
    pub ground: &'s Ground<'s, 'a>,
    pub nodes: &'s mut Vec<NodeRead<'a>>,
    aliases: BTreeMap<&'a str, (&'a str, u32)>,
    pub state: State,
    roster: Roster<'s, 'a>,
    /// Of `nodes`, in their order: names and incarnations to share.
    members: Vec<(NodeId, Incarnation)>,
}

/// A history with where it belongs.
pub(super) struct Item<'a> {
    pub node: usize,
    /// The primitive, without a number.
    pub base: &'a str,
    pub number: Option<u32>,
    /// Its place in the roster; None: it is not configured.
    pub known: Option<usize>,
    pub el: El<'a>,
    pub found: Found<'a>,
}

impl<'s, 'a> StatusReader<'s, 'a> {
    pub fn new(spec: &'s Spec, ground: &'s Ground<'s, 'a>, nodes: &'s mut Vec<NodeRead<'a>>) -> Self {
        let mut state = State {
            feature_level: FEATURE_LEVEL,
            index: AT,
            now_ms: milliseconds(ground.now.unwrap_or(0)),
            ..State::default()
        };
        state.define_all(spec);
        let roster = Roster::new(&spec.resources, ground.services, &state);
        let names = nodes.iter().map(|node| ground.facts[node.facts].name);
        let members = names.map(|name| (NodeId::new(name), incarnation(name))).collect();
        Self { spec, ground, nodes, aliases: aliases(ground.bundles), state, roster, members }
    }

    pub fn read(mut self) -> State {
        let mut items = self.items();
        self.unclean_by_what_runs(&items);
        // Once a node is shot nothing that failed there has consequences of its own.
        let lost = |item: &&mut Item<'a>| self.nodes[item.node].standing == Standing::Unclean;
        for failure in items.iter_mut().filter(lost).filter_map(|item| item.found.failure.as_mut()) {
            failure.on_fail = OnFail::Restart;
        }
        self.members();
        self.overrides();
        self.records(&items);
        self.claims(&items);
        self.scores_from_inside(&items);
        self.state
    }

    /// Splits `id:N`, and says whether the primitive is configured.
    pub(super) fn base_of(&self, id: &'a str) -> (&'a str, Option<u32>, bool) {
        let (base, number, place) = self.find(id);
        (base, number, place.is_some())
    }

    /// The same, with its place in the roster.
    fn find(&self, id: &'a str) -> (&'a str, Option<u32>, Option<usize>) {
        if let Some(place) = self.roster.number(id) {
            return (id, None, Some(place));
        }
        if let Some((part, number)) = self.aliases.get(id) {
            return (part, Some(*number), self.roster.number(part));
        }
        match id.rsplit_once(':').and_then(|(base, number)| Some((base, number.parse().ok()?))) {
            Some((base, number)) => (base, Some(number), self.roster.number(base)),
            None => (id, None, None),
        }
    }

    fn items(&self) -> Vec<Item<'a>> {
        let mut items = Vec::new();
        // Those of the cluster come first, and tell who is connected.
        let (remote, own): (Vec<usize>, Vec<usize>) =
            (0..self.nodes.len()).partition(|place| self.nodes[*place].remote);
        for place in own.into_iter().chain(remote) {
            let node = &self.nodes[place];
            // Without fencing nobody knows what became of what a lost node ran: it counts as gone with it.
            let gone = || match node.remote {
                true => !self.is_connected(&items, node),
                false => matches!(node.standing, Standing::Offline | Standing::Unclean),
            };
            if !self.ground.fencing && gone() {
                continue;
            }
            let resources = node.state.and_then(|state| state.child("lrm")).and_then(|lrm| lrm.child("lrm_resources"));
            for el in resources.into_iter().flat_map(|resources| resources.all("lrm_resource")) {
                items.push(self.item(el, place, self.removed_replica(el, node)));
            }
        }
        self.inside(&mut items);
        // Of several nodes that run something, the one that is written down first has it.
        let states = self.ground.status.into_iter().flat_map(|status| status.all("node_state"));
        let told: BTreeMap<&str, usize> = states.enumerate().map(|(place, state)| (state.id(), place)).collect();
        items.sort_by_cached_key(|item| self.nodes[item.node].state.and_then(|state| told.get(state.id()).copied()));
        items
    }

    pub(super) fn item(&self, el: El<'a>, place: usize, copy: Option<u32>) -> Item<'a> {
        let (base, number, known) = self.find(el.id());
        let number = copy.or(number);
        let listed = known.map(|known| &self.roster[known]);
        let prim = listed.map(|listed| listed.prim);
        let context = Context {
            ops: prim.map_or(&[], |prim| prim.ops.as_slice()),
            fencing: self.ground.fencing,
            promotable: listed.is_some_and(Listed::is_promotable),
            unmanaged: self.is_unmanaged(listed, place),
            mended_around: listed.is_some_and(|listed| {
                listed.resource.inside.is_some() || listed.resource.agent == super::resources::connection()
            }),
            fence_device: prim.is_some_and(super::resources::Prim::is_fence_device),
            params: prim.filter(|prim| prim.el.tag() != "bundle").map(|prim| &prim.params),
            expired: listed.and_then(|listed| self.expired(listed.resource)),
        };
        let found = history::read(el, &context);
        Item { node: place, base, number, known, el, found }
    }

    fn is_unmanaged(&self, listed: Option<&Listed<'_, '_>>, node: usize) -> bool {
        let own = listed.is_some_and(|listed| !listed.resource.managed || listed.resource.maintenance);
        own || self.nodes[node].maintenance || self.ground.options.is(&["maintenance-mode"], false)
    }

    /// Failures of a resource up to this second are forgotten.
    fn expired(&self, resource: &Resource) -> Option<i64> {
        let timeout = resource.failure.timeout.as_secs() as i64;
        (timeout > 0).then_some(self.ground.now?.saturating_sub(timeout))
    }

    /// Something managed is said to run on a node that is gone: nobody knows.
    fn unclean_by_what_runs(&mut self, items: &[Item<'a>]) {
        if !self.ground.fencing {
            return;
        }
        for item in items.iter().filter(|item| item.found.role.is_some()) {
            let managed = self.listed(item).is_none_or(|l| l.resource.managed && !l.resource.maintenance);
            let node = &mut self.nodes[item.node];
            if node.standing == Standing::Offline && managed && !node.maintenance {
                node.standing = Standing::Unclean;
            }
        }
    }

    fn members(&mut self) {
        for (place, node) in self.nodes.iter().enumerate() {
            let facts = &self.ground.facts[node.facts];
            if node.state.is_none() && node.standing == Standing::Offline {
                continue;
            }
            let (id, incarnation) = self.members[place].clone();
            let gone = (!node.listed).then(|| Node {
                role: NodeRole::Remote,
                addresses: Vec::new(),
                labels: BTreeMap::new(),
                capacity: BTreeMap::new(),
                fencing: Vec::new(),
                connection: Some(facts.name.into()),
            });
            let gone = || gone.map(|node| Arc::new(NodeDocument { node, devices: BTreeMap::new() }));
            let document = NodeDocument::of(self.spec, &id).or_else(gone);
            let burnt = node.fenced.then(|| incarnation.boot.clone()).into_iter().collect();
            let membership = match node.standing {
                Standing::Online => Membership::Online,
                Standing::Pending => Membership::Joining,
                // Without fencing nobody can make sure, so that Pacemaker takes it to be gone.
                Standing::Unclean if !self.ground.fencing => Membership::Left,
                Standing::Unclean => Membership::Suspect,
                Standing::Offline => Membership::Left,
            };
            let suspicion = (node.standing == Standing::Unclean).then(|| Suspicion {
                number: 1,
                boot: incarnation.boot.clone(),
                since_ms: self.state.now_ms,
                reason: "not heard".into(),
            });
            let strings = |values: &BTreeMap<&str, &str>| {
                values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
            };
            let state = NodeState {
                membership,
                joined_at: AT,
                feature_level: FEATURE_LEVEL,
                recipient: None,
                attributes: self.plain_promotion_scores(strings(&facts.transient)),
                permanent_attributes: self.plain_promotion_scores(strings(&facts.permanent)),
                burnt,
                suspicion,
                last_suspicion: 1,
                document,
                listed: node.listed,
                ..NodeState::new(&incarnation)
            };
            self.state.nodes.insert(id, state);
        }
    }

    /// Old agents of anonymous clones named their score with a number.
    fn plain_promotion_scores(&self, mut attributes: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let plain = |name: &String| {
            let (base, number) = name.strip_prefix("master-")?.rsplit_once(':')?;
            number.parse::<u32>().ok()?;
            let clone = self.ground.services.clones.get(self.ground.services.prims.get(base)?.clone?)?;
            (!clone.globally_unique).then(|| format!("master-{base}"))
        };
        let numbered: Vec<(String, String)> =
            attributes.iter().filter_map(|(name, value)| Some((plain(name)?, value.clone()))).collect();
        for (name, value) in numbered {
            attributes.entry(name).or_insert(value);
        }
        attributes
    }

    fn overrides(&mut self) {
        let mut wanted = Vec::new();
        for node in self.nodes.iter() {
            let scope = || Scope::Node(NodeId::new(self.ground.facts[node.facts].name));
            if node.shutting_down {
                wanted.push((scope(), OverrideKind::Shutdown, "shutdown"));
            }
            if node.standby {
                wanted.push((scope(), OverrideKind::Drain, "standby"));
            }
            if node.maintenance {
                wanted.push((scope(), OverrideKind::Maintenance, "maintenance"));
            }
        }
        // Who must be able to fence and cannot does nothing at all.
        let watchdog = self.ground.options.is(&["have-watchdog"], false);
        if self.ground.fencing && self.spec.devices.is_empty() && !watchdog {
            wanted.push((Scope::Cluster, OverrideKind::Maintenance, "there is no fence device"));
        }
        if self.ground.options.is(&["maintenance-mode"], false) {
            wanted.push((Scope::Cluster, OverrideKind::Maintenance, "maintenance-mode"));
        }
        if self.ground.options.is(&["stop-all-resources"], false) {
            for top in &self.ground.services.top {
                wanted.push((Scope::Resource(ResourceId::new(*top)), OverrideKind::Stop, "stop-all-resources"));
            }
        }
        for (scope, kind, reason) in wanted {
            set(&mut self.state, scope, kind, reason);
        }
    }

    pub(super) fn key(&self, resource: &str, number: Option<u32>, node: usize) -> ClaimKey {
        let listed = self.roster.get(resource).map(|listed| listed.id.clone());
        let resource = listed.unwrap_or_else(|| ResourceId::new(resource));
        ClaimKey { instance: InstanceId { resource, number }, node: self.members[node].0.clone() }
    }

    pub(super) fn is_cloned(&self, base: &str) -> bool {
        self.roster.get(base).is_some_and(|listed| listed.clone.is_some())
    }

    fn is_unique(&self, base: &str) -> bool {
        self.roster.get(base).is_some_and(Listed::is_unique)
    }

    fn record(&mut self, key: ClaimKey, last: (ActionKind, ExecStatus)) -> &mut OpRecord {
        self.state.history.entry(key).or_insert_with(|| OpRecord::new(last.0, last.1))
    }

    /// Fail counts, and failures whose consequences outlast what failed.
    fn records(&mut self, items: &[Item<'a>]) {
        let now_ms = self.state.now_ms;
        let ignored: BTreeSet<&str> = items.iter().filter(|i| i.found.ignored).map(|i| i.base).collect();
        for place in 0..self.nodes.len() {
            let facts = &self.ground.facts[self.nodes[place].facts];
            for (name, value) in facts.transient.iter().chain(&facts.permanent) {
                let Some(rest) = name.strip_prefix("fail-count-") else { continue };
                let id = rest.split_once('#').map_or(rest, |(id, _)| id);
                let (base, number, known) = self.base_of(id);
                // Where failures are ignored they are not counted either.
                if !known || ignored.contains(base) {
                    continue;
                }
                let count = score(value).map_or(0, |score| score.value().max(0) as u32);
                let at = facts.attribute(&format!("last-failure-{rest}")).and_then(|at| at.trim().parse::<u64>().ok());
                let number = if self.is_cloned(base) { Some(number.unwrap_or(0)) } else { None };
                let number = if self.is_unique(base) { number } else { number.map(|_| 0) };
                let key = self.key(base, number, place);
                let record = self.record(key, (ActionKind::Monitor, ExecStatus::Failed));
                record.fail_count = record.fail_count.saturating_add(count).min(super::resources::INFINITE_FAILURES);
                let at_ms = at.filter(|at| *at > 0).map_or(now_ms, |at| at.saturating_mul(1000));
                record.last_failure_ms = record.last_failure_ms.max(at_ms);
            }
        }
        for item in items.iter().filter(|item| item.known.is_some() && item.found.failed_somehow()) {
            let number = if self.is_cloned(item.base) { Some(item.number.unwrap_or(0)) } else { None };
            let number = if self.is_unique(item.base) { number } else { number.map(|_| 0) };
            let key = self.key(item.base, number, item.node);
            let found = &item.found;
            let banned = match (found.banned_everywhere, found.banned) {
                (true, _) => 0..self.nodes.len(),
                // A container that is made anew, here or elsewhere, is another node.
                (false, true) if !self.is_inside(item.base) => item.node..item.node + 1,
                (false, true | false) => 0..0,
            };
            for node in banned {
                let node = NodeId::new(self.ground.facts[self.nodes[node].facts].name);
                let record = self.record(ClaimKey { node, ..key.clone() }, found.last);
                // What had expired was not read at all.
                (record.moved, record.last_failure_ms) = (true, now_ms);
            }
            let Some(failure) = found.failure else { continue };
            if failure.action == ActionKind::Promote {
                // It is not promoted again before it was cleaned up.
                let record = self.record(key.clone(), found.last);
                (record.demoted, record.last_failure_ms) = (true, now_ms);
            }
            let record = match failure.on_fail {
                OnFail::Standby | OnFail::Move if self.is_inside(item.base) => continue,
                OnFail::Stop | OnFail::Standby | OnFail::Move => self.record(key, found.last),
                OnFail::Restart | OnFail::Ignore | OnFail::Block | OnFail::Demote | OnFail::Fence => continue,
            };
            record.stopped |= failure.on_fail == OnFail::Stop;
            record.standby |= failure.on_fail == OnFail::Standby;
            record.moved |= failure.on_fail == OnFail::Move;
            let at_ms = if failure.at > 0 { milliseconds(failure.at) } else { now_ms };
            record.last_failure_ms = record.last_failure_ms.max(at_ms);
        }
    }

    fn claims(&mut self, items: &[Item<'a>]) {
        let mut numbers = Numbers::default();
        let (mut migrations, mut probes) = (Vec::new(), Vec::new());
        for (place, item) in items.iter().enumerate() {
            if let Some(migration) = item.found.migration {
                migrations.push((place, migration));
            }
            let Some(role) = item.found.role else {
                probes.extend(self.stopped(item));
                continue;
            };
            let number = self.number(item, &mut numbers);
            let key = self.key(item.base, number, item.node);
            let claim = self.claim(item, role);
            self.state.claims.insert(key, claim);
        }
        // Many, and in the order of the map they go in at once; of several for one key the last counts.
        probes.sort_by_key(|(place, _)| *place);
        self.state.probes = probes.into_iter().map(|(_, probe)| probe).collect();
        for (place, migration) in migrations {
            self.migrate(items, place, migration);
        }
        self.number_claims(items);
        self.block_together();
    }

    /// In the order in which they are told of: a node that tells of a migration names the other side before itself.
    fn number_claims(&mut self, items: &[Item<'a>]) {
        let mut epochs: BTreeMap<ClaimKey, Epoch> = BTreeMap::new();
        for item in items.iter().filter(|item| item.found.role.is_some()) {
            let own = self.key(item.base, None, item.node);
            let peer = item.found.migration.map(|migration| ClaimKey { node: migration.peer.into(), ..own.clone() });
            for key in peer.into_iter().chain([own]).filter(|key| self.state.claims.contains_key(key)) {
                let next = Epoch(epochs.len() as u64 + 1);
                epochs.entry(key).or_insert(next);
            }
        }
        let told = epochs.len() as u64;
        for (key, claim) in &mut self.state.claims {
            claim.epoch = epochs.get(key).copied().unwrap_or(Epoch(told + claim.epoch.0));
        }
        self.state.last_epoch = Epoch(told + self.state.last_epoch.0);
    }

    /// What is blocked on one node is blocked on all on which it runs.
    fn block_together(&mut self) {
        let blocked = |claim: &Claim| claim.failure.as_ref().filter(|failure| failure.blocked).cloned();
        let all: BTreeMap<InstanceId, Failure> =
            self.state.claims.iter().filter_map(|(key, claim)| Some((key.instance.clone(), blocked(claim)?))).collect();
        for (key, claim) in &mut self.state.claims {
            if let Some(failure) = all.get(&key.instance) {
                claim.failure = Some(failure.clone());
            }
        }
    }

    /// The number of a copy: the one it has, where that matters; else one per node, the same for all of a group.
    fn number(&self, item: &Item<'a>, numbers: &mut Numbers<'a>) -> Option<u32> {
        let clone = self.ground.services.prims.get(item.base)?.clone?;
        if self.is_unique(item.base) {
            return Some(item.number.unwrap_or(0));
        }
        Some(numbers.of(clone, item.base, item.node, item.number))
    }

    /// The word of a node that it does not run this; and where it goes, by resource and node.
    fn stopped(&self, item: &Item<'a>) -> Option<((usize, usize), (ProbeKey, Probe))> {
        let number = item.known.filter(|_| item.found.known)?;
        let listed = &self.roster[number];
        let (node, incarnation) = &self.members[item.node];
        let probe = ProbeKey { resource: listed.id.clone(), node: node.clone() };
        let reading = if item.found.not_installed { Reading::NotInstalled } else { Reading::Stopped };
        let (incarnation, identity) = (incarnation.clone(), listed.identity);
        Some(((number, item.node), (probe, Probe { incarnation, identity, reading, at: AT, text: String::new() })))
    }

    fn listed(&self, item: &Item<'_>) -> Option<&Listed<'s, 'a>> {
        item.known.map(|number| &self.roster[number])
    }

    pub(super) fn claim(&mut self, item: &Item<'a>, role: Role) -> Claim {
        let found = &item.found;
        let listed = self.listed(item);
        let role = match (listed.is_some_and(Listed::is_promotable), role) {
            (false, _) => Role::Started,
            (true, Role::Started) => Role::Unpromoted,
            (true, role) => role,
        };
        let unmanaged = item.known.is_some() && self.is_unmanaged(listed, item.node);
        let is_other = found.outdated == Some(Outdated::Restart) || self.other_agent(item);
        let definition = match listed.map(|listed| listed.digest) {
            Some(digest) if is_other => self.other_parameters(digest),
            Some(digest) => digest,
            None => self.removed(item),
        };
        // A failure of what nobody cares for asks for nothing, unless somebody else is to be kept from harm.
        let counts = |on_fail: OnFail| !unmanaged || matches!(on_fail, OnFail::Block | OnFail::Fence);
        let epoch = Epoch(self.state.last_epoch.0 + 1);
        self.state.last_epoch = epoch;
        let demotes = found.failure.is_some_and(|failure| failure.on_fail == OnFail::Demote) && role == Role::Promoted;
        let phase = match found.pending {
            _ if demotes => Phase::Demoting,
            Some(ActionKind::Start) => Phase::Starting,
            Some(ActionKind::Promote) => Phase::Promoting,
            Some(_) | None if found.outdated == Some(Outdated::Reload) => Phase::Reloading,
            Some(_) | None => Phase::Running,
        };
        Claim {
            incarnation: self.members[item.node].1.clone(),
            epoch,
            definition,
            phase,
            role,
            granted_at: AT,
            changed_at: AT,
            since_ms: milliseconds(found.changed),
            after: Vec::new(),
            found: false,
            failure: self.left_alone(item).or(found.failure.filter(|failure| !demotes && counts(failure.on_fail)).map(
                |failure| Failure {
                    action: failure.action,
                    kind: failure.kind,
                    at_ms: milliseconds(failure.at),
                    text: format!("{} failed with {}", failure.action, failure.rc),
                    blocked: failure.on_fail == OnFail::Block,
                    fence: failure.on_fail == OnFail::Fence,
                },
            )),
        }
    }

    /// What is no longer configured and is not to be stopped either is as good as blocked.
    fn left_alone(&self, item: &Item<'a>) -> Option<Failure> {
        let stops = self.ground.options.is(&["stop-removed-resources", "stop-orphan-resources"], true);
        (item.known.is_none() && !stops).then(|| Failure {
            action: ActionKind::Probe,
            kind: FailureKind::Unknown,
            at_ms: 0,
            text: "it is no longer configured, and `stop-removed-resources` is false".into(),
            blocked: true,
            fence: false,
        })
    }

    /// It was started by another agent than the configured one.
    fn other_agent(&self, item: &Item<'_>) -> bool {
        let Some(prim) = self.ground.services.prims.get(item.base).filter(|prim| prim.el.tag() != "bundle") else {
            return false;
        };
        let (class, provider, name) = (item.el.attr("class"), item.el.attr("provider"), item.el.attr("type"));
        let named = class.is_some() && name.is_some();
        named && (class != Some(prim.class) || name != Some(prim.name) || provider != prim.provider)
    }

    /// The definition of something that was started with parameters of which only a digest is known.
    fn other_parameters(&mut self, current: Digest) -> Digest {
        let Some(mut definition) = self.state.definitions.get(&current).map(|known| Definition::clone(known)) else {
            return current;
        };
        definition.resource.params.insert("unknown".into(), "other parameters than the configured ones".into());
        self.state.define(definition)
    }

    /// Something that runs and is configured no more.
    fn removed(&mut self, item: &Item<'a>) -> Digest {
        let stops = self.ground.options.is(&["stop-removed-resources", "stop-orphan-resources"], true);
        let class = item.el.attr("class").unwrap_or("ocf");
        let agent = agent(class, item.el.attr("provider"), item.el.attr("type").unwrap_or(""));
        let resource = Resource {
            agent,
            params: BTreeMap::new(),
            operations: super::operations::operations(&[], self.ground.fencing),
            failure: FailurePolicy { threshold: super::resources::INFINITE_FAILURES, timeout: Duration::ZERO },
            stickiness: 0,
            priority: 0,
            target_role: TargetRole::Stopped,
            managed: stops,
            maintenance: false,
            requires: Requires::Nothing,
            quorum_loss: self.spec.cluster.quorum_loss,
            migratable: false,
            multiple_active: MultipleActive::StopStart,
            secrets: BTreeMap::new(),
            utilization: BTreeMap::new(),
            rank: u32::MAX,
            influence: Influence::Always,
            inside: None,
            max_outage: None,
        };
        self.state.define(Definition { resource, clone: None })
    }
}

/// Adds an override.
pub(super) fn set(state: &mut State, scope: Scope, kind: OverrideKind, reason: &str) {
    let id = OverrideId(state.last_override.0 + 1);
    state.last_override = id;
    let (by, reason) = (BY.into(), reason.into());
    state.overrides.insert(id, Override { scope, kind, by, reason, since_ms: state.now_ms, expires_ms: None });
}

pub(super) fn incarnation(node: &str) -> Incarnation {
    Incarnation { boot: BootId::new(format!("cib-{node}")), counter: 1 }
}

/// Numbers of anonymous copies: by clone, the node and how many of a member are there already.
#[derive(Default)]
struct Numbers<'a> {
    given: BTreeMap<(&'a str, usize, usize), u32>,
    used: BTreeMap<&'a str, BTreeSet<u32>>,
    seen: BTreeMap<(&'a str, usize), usize>,
}

impl<'a> Numbers<'a> {
    fn of(&mut self, clone: &'a str, member: &'a str, node: usize, written: Option<u32>) -> u32 {
        let nth = self.seen.entry((member, node)).or_default();
        let slot = (clone, node, *nth);
        *nth += 1;
        if let Some(number) = self.given.get(&slot) {
            return *number;
        }
        let used = self.used.entry(clone).or_default();
        let number = match written.filter(|number| !used.contains(number)) {
            Some(number) => number,
            None => (0..).find(|number| !used.contains(number)).unwrap_or(0),
        };
        used.insert(number);
        self.given.insert(slot, number);
        number
    }
}
