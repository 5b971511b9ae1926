//! A state as a document: how a cluster is, for people and for plans made elsewhere.
//!
//! Answers: who is there, what runs where and how it went. Input → output: a [`State`] and the spec that it is told beside
//! → a [`StateDocument`], and back.
//!
//! What equals the spec is left out: a claim without a `definition` was started as the manifests say, a node is described
//! by its own document. A document with a `target` brings these manifests along (`export`); one without means those that it
//! is read beside.
//!
//! Invariant: read beside the same spec it is the same state again, apart from what no plan asks for: specs and their
//! uploads, tokens, who was admitted, the leader, trust in devices, alarms, what a forge is told.
//!
//! Deliberately absent: reading and writing files. A state that was read is no evidence; no cluster takes one.

use super::export::TargetEntry;
use super::{
    Assigned, Assignment, Attempt, BadDevice, Claim, ClaimKey, Durations, Failure, Leader, Membership, NodeDocument,
    NodeState, OpRecord, Override, OverrideKind, Phase, Probe, ProbeKey, Scope, State, Suspicion, TicketState,
    WatchdogReport,
};
use crate::model::{
    ActionKind, AttemptId, BootId, Definition, DeviceId, Digest, Epoch, ExecStatus, Incarnation, InstanceId, LogIndex,
    NodeId, OverrideId, Reading, ResourceId, Role, Spec,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const API_VERSION: &str = "hafen/v1alpha1";
const KIND: &str = "State";
/// What a state that was never in a log counts as.
const INDEX: LogIndex = LogIndex(1);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("{0}")]
    Json(String),
    #[error("it is no State document of hafen/v1alpha1, but `{kind}` of `{api_version}`")]
    Kind { api_version: String, kind: String },
}

fn usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
fn yes() -> bool {
    true
}
fn is_yes(value: &bool) -> bool {
    *value
}
fn index() -> LogIndex {
    INDEX
}
fn is_index(value: &LogIndex) -> bool {
    *value == INDEX
}
fn one() -> u64 {
    1
}
fn is_one(value: &u64) -> bool {
    *value == 1
}

macro_rules! documents {
    ($($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
    )* };
}

documents! {
    /// How a cluster is.
    struct StateDocument {
        api_version: String,
        kind: String,
        /// Wall time, ms since 1970.
        now_ms: u64,
        /// The nodes that are there may decide.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        quorum: bool,
        #[serde(default, skip_serializing_if = "usual")]
        feature_level: u32,
        #[serde(default = "index", skip_serializing_if = "is_index")]
        index: LogIndex,
        #[serde(default, skip_serializing_if = "usual")]
        last_epoch: Epoch,
        nodes: BTreeMap<NodeId, NodeEntry>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        leader: Option<NodeId>,
        #[serde(default, skip_serializing_if = "usual")]
        claims: Vec<ClaimEntry>,
        /// Where instances are to run, by what was agreed last.
        #[serde(default, skip_serializing_if = "usual")]
        assignment: Vec<AssignmentEntry>,
        #[serde(default, skip_serializing_if = "usual")]
        history: Vec<HistoryEntry>,
        #[serde(default, skip_serializing_if = "usual")]
        probes: Vec<ProbeEntry>,
        #[serde(default, skip_serializing_if = "usual")]
        overrides: BTreeMap<OverrideId, OverrideEntry>,
        /// Permissions of this site; what is not here is not held.
        #[serde(default, skip_serializing_if = "usual")]
        tickets: BTreeMap<String, TicketState>,
        #[serde(default, skip_serializing_if = "usual")]
        attempts: BTreeMap<AttemptId, Attempt>,
        /// Stopped for running more than once, until an operator's cleanup.
        #[serde(default, skip_serializing_if = "usual")]
        halted: BTreeSet<ResourceId>,
        /// How long the last actions took, by resource and action, in ms.
        #[serde(default, skip_serializing_if = "usual")]
        durations: Durations,
        /// What the cluster follows. None: what the manifests say that this is read beside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<TargetEntry>,
    }

    struct NodeEntry {
        membership: Membership,
        boot: BootId,
        /// How often the daemon was started in that boot.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        starts: u64,
        #[serde(default = "index", skip_serializing_if = "is_index")]
        joined_at: LogIndex,
        #[serde(default, skip_serializing_if = "usual")]
        since_ms: u64,
        #[serde(default, skip_serializing_if = "usual")]
        addresses: Vec<std::net::IpAddr>,
        #[serde(default, skip_serializing_if = "usual")]
        port: u16,
        #[serde(default, skip_serializing_if = "usual")]
        version: String,
        #[serde(default, skip_serializing_if = "usual")]
        feature_level: u32,
        #[serde(default, skip_serializing_if = "usual")]
        recipient: Option<String>,
        /// Set by agents; gone with the boot.
        #[serde(default, skip_serializing_if = "usual")]
        attributes: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "usual")]
        permanent_attributes: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "usual")]
        burnt: BTreeSet<BootId>,
        #[serde(default, skip_serializing_if = "usual")]
        contradicted: BTreeSet<BootId>,
        #[serde(default, skip_serializing_if = "usual")]
        restarting: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suspicion: Option<Suspicion>,
        #[serde(default, skip_serializing_if = "usual")]
        last_suspicion: u64,
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        listed: bool,
        /// Of a node that the manifests know no more: what they said of it last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<NodeDocument>,
        #[serde(default, skip_serializing_if = "usual")]
        fenced_ms: Vec<u64>,
        #[serde(default, skip_serializing_if = "usual")]
        bad_devices: BTreeMap<DeviceId, BadDevice>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        watchdog: Option<WatchdogReport>,
        /// The boot whose lease was the last to run out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease_over: Option<BootId>,
    }

    struct ClaimEntry {
        instance: InstanceId,
        node: NodeId,
        phase: Phase,
        role: Role,
        epoch: Epoch,
        /// None: the node's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
        /// What it was started as; None: as the manifests say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        definition: Option<Definition>,
        #[serde(default, skip_serializing_if = "usual")]
        since_ms: u64,
        #[serde(default = "index", skip_serializing_if = "is_index")]
        granted_at: LogIndex,
        #[serde(default = "index", skip_serializing_if = "is_index")]
        changed_at: LogIndex,
        #[serde(default, skip_serializing_if = "usual")]
        after: Vec<InstanceId>,
        #[serde(default, skip_serializing_if = "usual")]
        found: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// What a reload that is under way takes over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reload: Option<Definition>,
    }

    struct AssignmentEntry {
        instance: InstanceId,
        to: Assigned,
        index: LogIndex,
        #[serde(default, skip_serializing_if = "usual")]
        since_ms: u64,
    }

    struct HistoryEntry {
        instance: InstanceId,
        node: NodeId,
        last_action: ActionKind,
        last_status: ExecStatus,
        #[serde(default, skip_serializing_if = "usual")]
        at_ms: u64,
        #[serde(default, skip_serializing_if = "usual")]
        duration_ms: u64,
        #[serde(default, skip_serializing_if = "usual")]
        fail_count: u32,
        #[serde(default, skip_serializing_if = "usual")]
        last_failure_ms: u64,
        #[serde(default, skip_serializing_if = "usual")]
        last_failure: String,
        #[serde(default, skip_serializing_if = "usual")]
        start_failed: bool,
        #[serde(default, skip_serializing_if = "usual")]
        retry_ms: u64,
        #[serde(default, skip_serializing_if = "usual")]
        moved: bool,
        #[serde(default, skip_serializing_if = "usual")]
        stopped: bool,
        #[serde(default, skip_serializing_if = "usual")]
        demoted: bool,
        #[serde(default, skip_serializing_if = "usual")]
        standby: bool,
    }

    struct ProbeEntry {
        resource: ResourceId,
        node: NodeId,
        reading: Reading,
        /// None: the node's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
        /// What was asked for ([`State::identity`]); None: what the manifests say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<Digest>,
        #[serde(default = "index", skip_serializing_if = "is_index")]
        at: LogIndex,
        #[serde(default, skip_serializing_if = "usual")]
        text: String,
    }

    struct OverrideEntry {
        scope: Scope,
        kind: OverrideKind,
        by: String,
        reason: String,
        #[serde(default, skip_serializing_if = "usual")]
        since_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_ms: Option<u64>,
    }
}

impl StateDocument {
    /// Reads the text of a document.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        #[derive(Default)]
        struct Header {
            api_version: String,
            kind: String,
        }
        let json = |error: serde_json::Error| DocumentError::Json(error.to_string());
        let Header { api_version, kind } = serde_json::from_str(text).map_err(json)?;
        if (api_version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            return Err(DocumentError::Kind { api_version, kind });
        }
        serde_json::from_str(text).map_err(json)
    }

    /// The document, with a line for each field.
    pub fn text(&self) -> String {
        // Only maps with other keys than strings cannot be written, and there are none.
        serde_json::to_string_pretty(self).expect("strings, numbers and words always serialise") + "\n"
    }

    pub fn of(state: &State) -> Self {
        Self {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            now_ms: state.now_ms,
            quorum: !state.without_quorum,
            feature_level: state.feature_level,
            index: state.index,
            last_epoch: state.last_epoch,
            nodes: state.nodes.iter().map(|(name, node)| (name.clone(), NodeEntry::of(node))).collect(),
            leader: state.leader.as_ref().map(|leader| leader.node.clone()),
            claims: state.claims.iter().map(|(key, claim)| ClaimEntry::of(state, key, claim)).collect(),
            assignment: state.assignment.iter().map(AssignmentEntry::of).collect(),
            history: state.history.iter().map(HistoryEntry::of).collect(),
            probes: state.probes.iter().map(|(key, probe)| ProbeEntry::of(state, key, probe)).collect(),
            overrides: state.overrides.iter().map(|(id, o)| (*id, OverrideEntry::of(o))).collect(),
            tickets: state.tickets.clone(),
            attempts: state.attempts.clone(),
            halted: state.halted.clone(),
            durations: state.durations.clone(),
            target: None,
        }
    }

    /// The state that this is beside these manifests.
    pub fn state(&self, spec: &Spec) -> State {
        let mut revealed = self.clone();
        revealed.reveal(spec);
        revealed.beside(spec)
    }

    fn beside(&self, spec: &Spec) -> State {
        let mut state = State {
            feature_level: self.feature_level,
            index: self.index,
            now_ms: self.now_ms,
            last_epoch: self.last_epoch,
            without_quorum: !self.quorum,
            tickets: self.tickets.clone(),
            attempts: self.attempts.clone(),
            last_attempt: self.attempts.keys().next_back().copied().unwrap_or_default(),
            last_override: self.overrides.keys().next_back().copied().unwrap_or_default(),
            halted: self.halted.clone(),
            durations: self.durations.clone(),
            ..State::default()
        };
        let followed = self.target.as_ref().map(|target| target.enter(&mut state));
        let spec = followed.as_ref().unwrap_or(spec);
        if self.target.is_none() {
            state.define_all(spec);
        }
        state.nodes = self.nodes.iter().map(|(name, node)| (name.clone(), node.state(name, spec))).collect();
        state.leader = self.leader.as_ref().map(|node| {
            let (node, incarnation) = (node.clone(), state.own_incarnation(node));
            Leader { node, incarnation, term: 0, may_set_clock: false }
        });
        state.overrides = self.overrides.iter().map(|(id, entry)| (*id, entry.state())).collect();
        for entry in &self.claims {
            entry.enter(&mut state);
        }
        for entry in &self.assignment {
            let AssignmentEntry { instance, to, index, since_ms } = entry.clone();
            state.assignment.insert(instance, Assignment { to, index, since_ms });
        }
        state.history = self.history.iter().map(HistoryEntry::state).collect();
        for entry in &self.probes {
            entry.enter(&mut state);
        }
        state
    }
}

impl State {
    /// Takes what a spec says of its resources as what is current.
    pub fn define_all(&mut self, spec: &Spec) {
        for (name, resource) in &spec.resources {
            let digest = self.define(Definition { resource: resource.clone(), clone: None });
            self.current.insert(name.clone(), digest);
        }
    }

    /// Keeps a definition, by its digest.
    pub fn define(&mut self, definition: Definition) -> Digest {
        let bytes = postcard::to_stdvec(&definition).expect("plain data always serialises");
        let digest = Digest::of(&bytes);
        self.definitions.entry(digest).or_insert_with(|| Arc::new(definition));
        digest
    }

    fn own_incarnation(&self, node: &NodeId) -> Incarnation {
        self.nodes.get(node).map(|node| node.incarnation.clone()).unwrap_or_default()
    }
}

impl NodeDocument {
    /// A node of a spec with the devices that its levels name. None: the spec has no such node.
    pub fn of(spec: &Spec, name: &NodeId) -> Option<Arc<Self>> {
        let node = spec.nodes.get(name)?;
        let devices = node.fencing.iter().flatten();
        let devices = devices.filter_map(|name| Some((name.clone(), spec.devices.get(name)?.clone()))).collect();
        Some(Arc::new(Self { node: node.clone(), devices }))
    }
}

impl NodeEntry {
    fn of(node: &NodeState) -> Self {
        let node = node.clone();
        Self {
            membership: node.membership,
            boot: node.incarnation.boot,
            starts: node.incarnation.counter,
            joined_at: node.joined_at,
            since_ms: node.since_ms,
            addresses: node.addresses,
            port: node.port,
            version: node.version,
            feature_level: node.feature_level,
            recipient: node.recipient,
            attributes: node.attributes,
            permanent_attributes: node.permanent_attributes,
            burnt: node.burnt,
            contradicted: node.contradicted,
            restarting: node.restarting,
            suspicion: node.suspicion,
            last_suspicion: node.last_suspicion,
            listed: node.listed,
            document: node.document.filter(|_| !node.listed).map(Arc::unwrap_or_clone),
            fenced_ms: node.fenced_ms,
            bad_devices: node.bad_devices,
            watchdog: node.watchdog,
            lease_over: node.lease_over,
        }
    }

    fn state(&self, name: &NodeId, spec: &Spec) -> NodeState {
        let entry = self.clone();
        NodeState {
            membership: entry.membership,
            incarnation: Incarnation { boot: entry.boot, counter: entry.starts },
            joined_at: entry.joined_at,
            since_ms: entry.since_ms,
            addresses: entry.addresses,
            port: entry.port,
            version: entry.version,
            feature_level: entry.feature_level,
            recipient: entry.recipient,
            attributes: entry.attributes,
            permanent_attributes: entry.permanent_attributes,
            burnt: entry.burnt,
            contradicted: entry.contradicted,
            restarting: entry.restarting,
            suspicion: entry.suspicion,
            last_suspicion: entry.last_suspicion,
            document: entry.document.map(Arc::new).or_else(|| NodeDocument::of(spec, name)),
            listed: entry.listed,
            fenced_ms: entry.fenced_ms,
            bad_devices: entry.bad_devices,
            watchdog: entry.watchdog,
            lease_over: entry.lease_over,
        }
    }
}

impl ClaimEntry {
    fn of(state: &State, key: &ClaimKey, claim: &Claim) -> Self {
        let definition = |digest: &Digest| state.definitions.get(digest).map(|known| Definition::clone(known));
        let is_current = state.current.get(&key.instance.resource) == Some(&claim.definition);
        let own = state.own_incarnation(&key.node);
        let claim = claim.clone();
        Self {
            instance: key.instance.clone(),
            node: key.node.clone(),
            phase: claim.phase,
            role: claim.role,
            epoch: claim.epoch,
            incarnation: Some(claim.incarnation).filter(|incarnation| *incarnation != own),
            definition: if is_current { None } else { definition(&claim.definition) },
            since_ms: claim.since_ms,
            granted_at: claim.granted_at,
            changed_at: claim.changed_at,
            after: claim.after,
            found: claim.found,
            failure: claim.failure,
            reload: state.reloads.get(key).and_then(definition),
        }
    }

    fn enter(&self, state: &mut State) {
        let entry = self.clone();
        let current = state.current.get(&entry.instance.resource).copied();
        let definition = match entry.definition {
            Some(definition) => state.define(definition),
            // Of what the manifests do not know nothing is known.
            None => current.unwrap_or_default(),
        };
        let claim = Claim {
            incarnation: entry.incarnation.unwrap_or_else(|| state.own_incarnation(&entry.node)),
            epoch: entry.epoch,
            definition,
            phase: entry.phase,
            role: entry.role,
            granted_at: entry.granted_at,
            changed_at: entry.changed_at,
            since_ms: entry.since_ms,
            after: entry.after,
            found: entry.found,
            failure: entry.failure,
        };
        let key = ClaimKey { instance: entry.instance, node: entry.node };
        if let Some(definition) = entry.reload {
            let digest = state.define(definition);
            state.reloads.insert(key.clone(), digest);
        }
        state.claims.insert(key, claim);
    }
}

impl AssignmentEntry {
    fn of((instance, assignment): (&InstanceId, &Assignment)) -> Self {
        let Assignment { to, index, since_ms } = assignment.clone();
        Self { instance: instance.clone(), to, index, since_ms }
    }
}

impl HistoryEntry {
    fn of((key, record): (&ClaimKey, &OpRecord)) -> Self {
        let (key, record) = (key.clone(), record.clone());
        Self {
            instance: key.instance,
            node: key.node,
            last_action: record.last_action,
            last_status: record.last_status,
            at_ms: record.at_ms,
            duration_ms: record.duration_ms,
            fail_count: record.fail_count,
            last_failure_ms: record.last_failure_ms,
            last_failure: record.last_failure,
            start_failed: record.start_failed,
            retry_ms: record.retry_ms,
            moved: record.moved,
            stopped: record.stopped,
            demoted: record.demoted,
            standby: record.standby,
        }
    }

    fn state(&self) -> (ClaimKey, OpRecord) {
        let entry = self.clone();
        let record = OpRecord {
            last_action: entry.last_action,
            last_status: entry.last_status,
            at_ms: entry.at_ms,
            duration_ms: entry.duration_ms,
            fail_count: entry.fail_count,
            last_failure_ms: entry.last_failure_ms,
            last_failure: entry.last_failure,
            start_failed: entry.start_failed,
            retry_ms: entry.retry_ms,
            moved: entry.moved,
            stopped: entry.stopped,
            demoted: entry.demoted,
            standby: entry.standby,
        };
        (ClaimKey { instance: entry.instance, node: entry.node }, record)
    }
}

impl ProbeEntry {
    fn of(state: &State, key: &ProbeKey, probe: &Probe) -> Self {
        let own = state.own_incarnation(&key.node);
        let current = state.current_identity(&key.resource);
        Self {
            resource: key.resource.clone(),
            node: key.node.clone(),
            reading: probe.reading,
            incarnation: Some(probe.incarnation.clone()).filter(|incarnation| *incarnation != own),
            identity: Some(probe.identity).filter(|identity| Some(*identity) != current),
            at: probe.at,
            text: probe.text.clone(),
        }
    }

    fn enter(&self, state: &mut State) {
        let key = ProbeKey { resource: self.resource.clone(), node: self.node.clone() };
        let probe = Probe {
            incarnation: self.incarnation.clone().unwrap_or_else(|| state.own_incarnation(&self.node)),
            identity: self.identity.or_else(|| state.current_identity(&self.resource)).unwrap_or_default(),
            reading: self.reading,
            at: self.at,
            text: self.text.clone(),
        };
        state.probes.insert(key, probe);
    }
}

impl OverrideEntry {
    fn of(entry: &Override) -> Self {
        let Override { scope, kind, by, reason, since_ms, expires_ms } = entry.clone();
        Self { scope, kind, by, reason, since_ms, expires_ms }
    }

    fn state(&self) -> Override {
        let Self { scope, kind, by, reason, since_ms, expires_ms } = self.clone();
        Override { scope, kind, by, reason, since_ms, expires_ms }
    }
}
