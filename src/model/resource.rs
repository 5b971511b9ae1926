//! Resources, groups and clones: what the cluster runs.

use super::{ResourceId, SecretRefs, sealed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One service, as its Resource document describes it, with what its Group, its Clone and the Cluster default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    pub agent: AgentRef,
    pub params: BTreeMap<String, String>,
    /// Further parameters, read or opened on the node that runs the agent; what they say is never in the log.
    pub secrets: SecretRefs,
    /// Has an entry for `Start`, `Stop` and `Monitor` at least; the rest as the document gives them.
    pub operations: BTreeMap<OpName, Operation>,
    pub failure: FailurePolicy,
    pub stickiness: i32,
    pub priority: i32,
    pub target_role: TargetRole,
    pub managed: bool,
    pub maintenance: bool,
    pub requires: Requires,
    pub quorum_loss: QuorumLoss,
    pub migratable: bool,
    pub multiple_active: MultipleActive,
    /// What it takes of a node's capacity.
    pub utilization: BTreeMap<String, i64>,
    /// Its place among all documents: of two with the same priority the lower one is placed first.
    pub rank: u32,
    /// Whether its own wishes count while what it is colocated with already runs (`critical` in Pacemaker): of the
    /// members of a group, of which no Colocation can say it.
    pub influence: Influence,
    /// It runs inside of this resource (a virtual machine, a container): on its node, after it; what fails inside is mended
    /// by restarting that. Plans, but does not run.
    pub inside: Option<ResourceId>,
    /// So long it may be down at worst (`whatif::outage`); None: nothing is asked.
    pub max_outage: Option<Duration>,
}

impl Resource {
    /// Whether an agent is told the same by both, as far as can be known without opening secrets.
    pub fn is_told_the_same(&self, other: &Self) -> bool {
        self.agent == other.agent
            && self.params == other.params
            && self.secrets.len() == other.secrets.len()
            && self.secrets.iter().all(|(name, secret)| other.secrets.get(name).is_some_and(|its| its.is_like(secret)))
    }

    /// Parameters and secrets, as they are compared: without what must not be known.
    pub fn told(&self) -> BTreeMap<String, String> {
        sealed::told(&self.params, &self.secrets)
    }

    /// Why this program plans for it, but never runs it; None: it does, as far as it can say by itself.
    pub fn unrun(&self) -> Option<String> {
        match (&self.inside, self.requires) {
            _ if !self.agent.runs() => Some(format!("`{}`", self.agent)),
            (Some(container), _) => Some(format!("`inside: {container}`")),
            (None, Requires::Unfencing) => Some("`requires: Unfencing`".into()),
            (None, Requires::Nothing | Requires::Quorum | Requires::Fencing) => None,
        }
    }
}

/// Whether what depends on a resource has a say in where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Influence {
    /// It may move what it depends on.
    #[default]
    Always,
    /// Not while that runs: then it rather stays stopped itself.
    WhileStopped,
}

/// `ocf:PROVIDER:TYPE` or `systemd:UNIT`; of the other classes that Pacemaker knows, `CLASS:TYPE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentRef {
    Ocf {
        provider: String,
        name: String,
    },
    Systemd {
        unit: String,
    },
    /// Plans, but does not run: no claim on it is ever granted.
    Foreign {
        /// One of [`AgentRef::FOREIGN`] where it comes from a manifest; whatever it says where it comes from a CIB.
        class: String,
        provider: Option<String>,
        name: String,
    },
}

impl AgentRef {
    /// Classes of agents that are planned for, but not run.
    pub const FOREIGN: [&str; 7] = ["stonith", "lsb", "service", "heartbeat", "upstart", "nagios", "other"];

    /// Whether this program can run it.
    pub fn runs(&self) -> bool {
        match self {
            Self::Ocf { .. } | Self::Systemd { .. } => true,
            Self::Foreign { .. } => false,
        }
    }
}

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ocf { provider, name } => write!(f, "ocf:{provider}:{name}"),
            Self::Systemd { unit } => write!(f, "systemd:{unit}"),
            Self::Foreign { class, provider: Some(provider), name } => write!(f, "{class}:{provider}:{name}"),
            Self::Foreign { class, provider: None, name } => write!(f, "{class}:{name}"),
        }
    }
}

impl FromStr for AgentRef {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // Parts become file and unit names: no separators, and no way out of the agents' folder.
        let clean = |part: &&str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@\\".contains(c))
        };
        // What is never run may lead anywhere: `stonith:external/ipmi`.
        let named = |part: &&str| part.strip_prefix('/').unwrap_or(part).split('/').all(|part| clean(&part));
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            ["ocf", provider, name] if clean(provider) && clean(name) => {
                Ok(Self::Ocf { provider: (*provider).into(), name: (*name).into() })
            }
            ["systemd", unit @ ..] if !unit.is_empty() && unit.iter().all(clean) => {
                Ok(Self::Systemd { unit: unit.join(":") })
            }
            [class, provider @ .., name]
                if Self::FOREIGN.contains(class) && provider.len() < 2 && provider.iter().all(clean) && named(name) =>
            {
                let provider = provider.first().map(|provider| (*provider).to_owned());
                Ok(Self::Foreign { class: (*class).into(), provider, name: (*name).into() })
            }
            _ => Err(format!("`{text}` is not an agent: write `ocf:PROVIDER:TYPE` or `systemd:UNIT`")),
        }
    }
}
impl Serialize for AgentRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for AgentRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The operations a manifest can configure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OpName {
    Start,
    Stop,
    Monitor,
    /// The monitor of a promoted instance, where it differs.
    MonitorPromoted,
    Promote,
    Demote,
    Notify,
    MigrateTo,
    MigrateFrom,
    Reload,
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Monitor => "monitor",
            Self::MonitorPromoted => "monitorPromoted",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Notify => "notify",
            Self::MigrateTo => "migrateTo",
            Self::MigrateFrom => "migrateFrom",
            Self::Reload => "reload",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Zero: not repeated. Only monitors repeat.
    pub interval: Duration,
    pub timeout: Duration,
    pub on_fail: OnFail,
}

/// What follows from a failed operation (Pacemaker Explained, `on-fail`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum OnFail {
    /// Stop and start again, on the same node until the threshold is reached.
    Restart,
    Ignore,
    /// Touch it no more until an operator cleans up.
    Block,
    /// Stop it and leave it stopped.
    Stop,
    Demote,
    /// Move everything away from that node.
    Standby,
    Fence,
    /// Move away at the first failure.
    Move,
}

/// When repeated failures ban a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailurePolicy {
    /// Failures on one node before the resource leaves it; 0 means never.
    pub threshold: u32,
    /// Failures older than this are forgotten; zero means never.
    pub timeout: Duration,
}

/// What an instance is doing, or shall do. `Started` is the role of everything that is not promotable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Role {
    Started,
    Unpromoted,
    Promoted,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Started => "Started",
            Self::Unpromoted => "Unpromoted",
            Self::Promoted => "Promoted",
        })
    }
}

/// The most a manifest wants of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum TargetRole {
    Started,
    Stopped,
    /// The same as `Started`: promotion where the promotable clone allows it.
    Promoted,
    Unpromoted,
}

/// What must hold before a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Requires {
    /// The same as `Quorum`: every start needs a commit.
    Nothing,
    Quorum,
    /// Unclean nodes must have been fenced first.
    Fencing,
    /// Plans, but does not run in this version.
    Unfencing,
}

/// What a node does with a resource when it has lost the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum QuorumLoss {
    Stop,
    Freeze,
    Demote,
    Fence,
}

/// What is done when more copies run than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum MultipleActive {
    StopStart,
    StopOnly,
    Block,
    StopUnexpected,
}

/// Resources that run on one node, started in order and stopped in reverse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub members: Vec<ResourceId>,
    /// As [`Resource::rank`].
    pub rank: u32,
}

/// Several copies of one resource or group.
/// More copies of one clone than this are never planned: 64 nodes with a hundred each are far beyond any use, and the
/// bound keeps a mistyped `max` from filling the memory. Manifests that ask for more are refused.
pub const MOST_COPIES: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clone {
    /// A Resource or a Group.
    pub resource: ResourceId,
    /// None: one per node that may run resources.
    pub max: Option<u32>,
    pub per_node: u32,
    pub promotable: Option<Promotable>,
    pub notify: bool,
    /// Dependants wait only for the copy on their own node.
    pub interleave: bool,
    /// Copies start one after the other.
    pub ordered: bool,
    /// Each copy is a different thing, told apart by its number.
    pub globally_unique: bool,
    /// As [`Resource::rank`].
    pub rank: u32,
    /// So many running copies are enough for what is ordered after it; None: all that are starting are waited for.
    pub enough: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotable {
    /// Promoted copies at most.
    pub max: u32,
    pub per_node: u32,
}
