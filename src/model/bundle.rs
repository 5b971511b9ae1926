//! Bundles: containers in several replicas, each with its address, its connection and the copy of a resource inside.
//!
//! A bundle is planned as what it expands to: a Clone of a Group, one copy for each replica. Whoever makes a [`Spec`]
//! (`manifest::load`, the importer) expands it here, and nowhere else; the spec keeps the bundle, for the names of its
//! parts. Pacemaker Explained, "Bundles".
//!
//! [`Spec`]: super::Spec

use super::{AgentRef, Clone as CloneSpec, Group, Promotable, Resource, ResourceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// More replicas of one bundle are a mistake: each is four copies with a place of their own, and it takes its share of every
/// plan. Manifests that ask for more are refused.
pub const MOST_REPLICAS: u32 = 1_000;

/// A bundle, as its document describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub runtime: Runtime,
    pub image: String,
    /// At least 1.
    pub replicas: u32,
    /// Replicas on one node at most; at least 1.
    pub per_host: u32,
    /// Promoted copies of what runs inside, at most; None: it has no such role.
    pub promoted: Option<u32>,
    /// Further words for the command that runs the container; empty almost always.
    pub run_options: String,
    /// What is run inside instead of the image's own command.
    pub command: Option<String>,
    pub network: BundleNetwork,
    pub storage: Vec<Mount>,
    /// What runs inside; None: the image's own command is all of it.
    pub resource: Option<ResourceId>,
    /// Dependants wait only for the copy on their own node.
    pub interleave: bool,
    /// Whose attributes are the promotion scores of what runs inside.
    pub scores: ScoresOf,
    /// As [`Resource::rank`].
    pub rank: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Runtime {
    Docker,
    Podman,
    Rkt,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Rkt => "rkt",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BundleNetwork {
    /// Of the first replica; the others have the next ones. None: the containers have no address of their own.
    pub address: Option<IpAddr>,
    /// Prefix length of the addresses.
    pub prefix: Option<u8>,
    /// Where the addresses are put; None: where their network is.
    pub interface: Option<String>,
    /// Of the connection into each container.
    pub port: Option<u16>,
    /// The runtime's own word for how the container is connected, such as `host`.
    pub mode: Option<String>,
    /// Ports of each address that are the container's, `80` or `8080:80`.
    pub publish: Vec<String>,
}

/// A folder or file of the host inside of each container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub from: String,
    pub to: String,
    /// Every replica has its own, named after it, below `from`.
    pub per_replica: bool,
    /// The runtime's own words; empty almost always.
    pub options: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub enum ScoresOf {
    /// What runs inside sets them for its own copy.
    #[default]
    Inside,
    /// They belong to the node that the container is on.
    Host,
}

/// What a replica consists of. A copy of it is started in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BundlePart {
    Address,
    Container,
    Connection,
    /// What runs inside.
    Inner,
}

/// What a bundle is planned as.
#[derive(Debug, Clone)]
pub struct Expanded {
    /// The parts, without what runs inside: that has a document of its own.
    pub parts: Vec<(ResourceId, Resource)>,
    pub group: (ResourceId, Group),
    pub clone: CloneSpec,
}

impl Bundle {
    /// Something can be run inside only where it can be reached.
    pub fn is_reachable(&self) -> bool {
        self.network.address.is_some() || self.network.port.is_some()
    }

    /// The resources that each replica has a copy of, in the order in which they start.
    pub fn parts(&self, name: &ResourceId) -> Vec<(BundlePart, ResourceId)> {
        let part = |part, suffix: &str| (part, ResourceId::new(format!("{name}-{suffix}")));
        let mut parts = Vec::new();
        if self.network.address.is_some() {
            parts.push(part(BundlePart::Address, "ip"));
        }
        parts.push(part(BundlePart::Container, &self.runtime.to_string()));
        if let Some(inner) = self.resource.as_ref().filter(|_| self.is_reachable()) {
            parts.push(part(BundlePart::Connection, "remote"));
            parts.push((BundlePart::Inner, inner.clone()));
        }
        parts
    }

    /// The names of everything that it expands to, its own included: what has no document of its own.
    pub fn made(&self, name: &ResourceId) -> Vec<ResourceId> {
        let parts = self.parts(name).into_iter().filter(|(part, _)| *part != BundlePart::Inner).map(|(_, id)| id);
        parts.chain([self.group(name), name.clone()]).collect()
    }

    fn group(&self, name: &ResourceId) -> ResourceId {
        ResourceId::new(format!("{name}-replica"))
    }

    /// What Pacemaker, and people, call a part of one replica.
    pub fn call(&self, name: &ResourceId, part: BundlePart, number: u32) -> String {
        match part {
            BundlePart::Address => match self.network.address {
                Some(first) => format!("{name}-ip-{}", plus(first, number)),
                None => format!("{name}-ip-{number}"),
            },
            BundlePart::Container => format!("{name}-{}-{number}", self.runtime),
            BundlePart::Connection => format!("{name}-{number}"),
            BundlePart::Inner => {
                format!("{}:{number}", self.resource.as_ref().map_or(name.as_str(), ResourceId::as_str))
            }
        }
    }

    /// The group and the clone that it is planned as. `settings`: everything about the parts but what makes them parts.
    pub fn expand(&self, name: &ResourceId, settings: &Resource) -> Expanded {
        let group = self.group(name);
        let parts = self.parts(name);
        let container = parts.iter().find(|(part, _)| *part == BundlePart::Container).map(|(_, id)| id.clone());
        let resource = |part| {
            let (provider, kind) = match part {
                BundlePart::Address => ("heartbeat", "IPaddr2".to_owned()),
                BundlePart::Container => ("heartbeat", self.runtime.to_string()),
                BundlePart::Connection | BundlePart::Inner => ("pacemaker", "remote".to_owned()),
            };
            Resource {
                agent: AgentRef::Ocf { provider: provider.into(), name: kind },
                params: self.params(part),
                secrets: BTreeMap::new(),
                utilization: BTreeMap::new(),
                rank: self.rank,
                inside: if part == BundlePart::Connection { container.clone() } else { None },
                migratable: false,
                ..settings.clone()
            }
        };
        let own = parts.iter().filter(|(part, _)| *part != BundlePart::Inner);
        let clone = CloneSpec {
            resource: group.clone(),
            max: Some(self.replicas),
            per_node: self.per_host,
            promotable: self.promoted.map(|max| Promotable { max, per_node: 1 }),
            notify: false,
            interleave: self.interleave,
            ordered: false,
            globally_unique: true,
            rank: self.rank,
            enough: None,
        };
        Expanded {
            parts: own.map(|(part, id)| (id.clone(), resource(*part))).collect(),
            group: (group, Group { members: parts.into_iter().map(|(_, id)| id).collect(), rank: self.rank }),
            clone,
        }
    }

    /// What the agents of the parts are told; of addresses the first replica's.
    fn params(&self, part: BundlePart) -> BTreeMap<String, String> {
        let mut params = BTreeMap::new();
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                params.insert(name.to_owned(), value);
            }
        };
        match part {
            BundlePart::Address => {
                say("ip", self.network.address.map(|ip| ip.to_string()));
                say("cidr_netmask", self.network.prefix.map(|prefix| prefix.to_string()));
                say("nic", self.network.interface.clone());
            }
            BundlePart::Container => {
                say("image", Some(self.image.clone()));
                say("run_opts", Some(self.run_options.clone()));
                say("run_cmd", self.command.clone());
            }
            BundlePart::Connection => say("port", self.network.port.map(|port| port.to_string())),
            BundlePart::Inner => {}
        }
        params
    }
}

fn plus(address: IpAddr, number: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add(number).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add(number.into()).into()),
    }
}
