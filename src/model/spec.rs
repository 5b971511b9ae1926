//! A whole desired state: one commit's manifests, resolved.

use super::{
    AgentRef, AgentTraits, Bundle, Clone as CloneSpec, Cluster, Colocation, DeviceId, FencingDevice, Group, Influence,
    Location, Node, NodeId, Order, Reload, Resource, ResourceId, Ticket,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What the admin wants, complete: every default is filled in, every reference resolves.
///
/// Built by `manifest::load` (or by a test). Ordered maps, so that equal manifests have equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub cluster: Cluster,
    pub nodes: BTreeMap<NodeId, Node>,
    pub devices: BTreeMap<DeviceId, FencingDevice>,
    pub resources: BTreeMap<ResourceId, Resource>,
    pub groups: BTreeMap<ResourceId, Group>,
    pub clones: BTreeMap<ResourceId, CloneSpec>,
    /// Each of them is a group and a clone above, too: what it is planned as ([`Bundle::expand`]).
    pub bundles: BTreeMap<ResourceId, Bundle>,
    pub orders: BTreeMap<String, Order>,
    pub colocations: BTreeMap<String, Colocation>,
    pub locations: BTreeMap<String, Location>,
    pub tickets: BTreeMap<String, Ticket>,
    /// Where each object is written, for refusals, plans and `why`.
    #[serde(with = "in_a_list")]
    pub origins: BTreeMap<ObjectRef, Origin>,
    /// What the metadata of the agents said when this was pushed; missing: nothing was known. Stored and sent behind the
    /// rest (`state::target`, `state::snapshot`).
    #[serde(skip)]
    pub agents: BTreeMap<AgentRef, AgentTraits>,
}

/// A map as a list of pairs: in JSON only strings can be keys. The bytes of postcard are those of the map.
mod in_a_list {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl Spec {
    /// Nodes that may run resources, in order of name.
    pub fn resource_nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter().filter(|(_, node)| node.role.runs_resources()).map(|(name, _)| name)
    }

    /// The group that lists this resource as a member, if any. A resource is in one group at most.
    pub fn group_of(&self, resource: &ResourceId) -> Option<&ResourceId> {
        self.groups.iter().find(|(_, group)| group.members.contains(resource)).map(|(name, _)| name)
    }

    /// The clone around this resource: its own, or that of its group.
    pub fn clone_of(&self, resource: &ResourceId) -> Option<(&ResourceId, &CloneSpec)> {
        let group = self.group_of(resource);
        self.clones.iter().find(|(_, clone)| &clone.resource == resource || Some(&clone.resource) == group)
    }

    /// The primitives behind a name: itself, a group's members in order, or what a clone copies.
    pub fn primitives_of<'a>(&'a self, name: &'a ResourceId) -> Vec<&'a ResourceId> {
        if let Some(clone) = self.clones.get(name) {
            return self.primitives_of(&clone.resource);
        }
        match self.groups.get(name) {
            Some(group) => group.members.iter().collect(),
            None => vec![name],
        }
    }

    /// Whether what stands behind a name has a say in where others go: a group or clone as the least of what it holds.
    pub fn influence_of(&self, name: &ResourceId) -> Influence {
        let members = self.primitives_of(name).into_iter().filter_map(|member| self.resources.get(member));
        match members.map(|resource| resource.influence).all(|influence| influence == Influence::Always) {
            true => Influence::Always,
            false => Influence::WhileStopped,
        }
    }

    /// How an instance that runs as `old` becomes `new` in place; None: by a stop and a start.
    pub fn reload(&self, old: &Resource, new: &Resource) -> Option<&Reload> {
        let traits = self.agents.get(&new.agent).filter(|_| old.agent == new.agent)?;
        if old.secrets.is_empty() && new.secrets.is_empty() {
            return traits.reload(&old.params, &new.params);
        }
        traits.reload(&old.told(), &new.told())
    }

    /// Whether two resources are one service under two names ([`AgentTraits::is_same`]). Of an agent that says nothing of
    /// itself they may be as soon as they have anything in common.
    pub fn is_same_service(&self, old: &Resource, new: &Resource) -> bool {
        old.agent == new.agent
            && match self.agents.get(&new.agent) {
                Some(traits) => traits.is_same(&old.params, &new.params),
                None => {
                    let shared = |(name, value): (&String, &String)| new.params.get(name) == Some(value);
                    old.params == new.params || old.params.iter().any(shared)
                }
            }
    }

    /// The bundle that a resource is a part of, or that it runs inside of.
    pub fn bundle_of(&self, resource: &ResourceId) -> Option<(&ResourceId, &Bundle)> {
        self.bundles.iter().find(|(name, bundle)| bundle.parts(name).iter().any(|(_, part)| part == resource))
    }

    /// Why this program plans for a resource, but never runs it; None: it does.
    pub fn unrun(&self, name: &ResourceId, resource: &Resource) -> Option<String> {
        if let Some((bundle, _)) = self.bundle_of(name) {
            return Some(format!("what belongs to a Bundle ({bundle})"));
        }
        resource.unrun()
    }

    pub fn origin(&self, kind: Kind, name: &str) -> Option<&Origin> {
        self.origins.get(&ObjectRef { kind, name: name.to_owned() })
    }
}

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Kind {
    Cluster,
    Node,
    FencingDevice,
    Resource,
    Group,
    Clone,
    Bundle,
    Order,
    Colocation,
    Location,
    Ticket,
    /// Read by `hafen simulate` alone: no cluster knows of it.
    Scenario,
    /// Makes one cluster of a base that several share: what follows sees only what came of it.
    Overlay,
}

impl Kind {
    pub const ALL: [Self; 13] = [
        Self::Cluster,
        Self::Node,
        Self::FencingDevice,
        Self::Resource,
        Self::Group,
        Self::Clone,
        Self::Bundle,
        Self::Order,
        Self::Colocation,
        Self::Location,
        Self::Ticket,
        Self::Scenario,
        Self::Overlay,
    ];
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Node => "Node",
            Self::FencingDevice => "FencingDevice",
            Self::Resource => "Resource",
            Self::Group => "Group",
            Self::Clone => "Clone",
            Self::Bundle => "Bundle",
            Self::Order => "Order",
            Self::Colocation => "Colocation",
            Self::Location => "Location",
            Self::Ticket => "Ticket",
            Self::Scenario => "Scenario",
            Self::Overlay => "Overlay",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A document by kind and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    pub kind: Kind,
    pub name: String,
}

/// Where a document's name is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
