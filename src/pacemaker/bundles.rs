//! Bundles: containers in several replicas, each with its address, its connection and what runs inside.
//!
//! Input: `bundle` elements. Output: [`Names`]: each as a [`Bundle`] of this program and what its parts are called there,
//! made before anything else is read. Pacemaker Explained, "Bundles".
//!
//! Invariants: the names of parts are those that Pacemaker gives them, so that histories and fail counts are found.
//!
//! Does not treat the inside of a container as a node of its own: what runs inside is taken to run on the host.

use super::loss::Losses;
use super::rules::is_true;
use super::xml::El;
use crate::model::{Bundle, BundleNetwork, BundlePart, MOST_REPLICAS, Mount, ResourceId, Runtime, ScoresOf};
use std::collections::BTreeMap;

const RUNTIMES: [(&str, Runtime); 3] =
    [("docker", Runtime::Docker), ("podman", Runtime::Podman), ("rkt", Runtime::Rkt)];

/// Attributes that say how many replicas there are.
const COUNTS: [&str; 3] = ["replicas", "promoted-max", "masters"];

/// What the parts of a bundle are called.
pub(super) struct Names {
    pub id: ResourceId,
    pub bundle: Bundle,
    pub parts: Vec<(BundlePart, ResourceId)>,
    pub replicas: Vec<Replica>,
}

/// What Pacemaker calls the parts of one replica.
pub(super) struct Replica {
    /// By part.
    pub parts: Vec<(BundlePart, String)>,
    /// The node inside.
    pub inside: String,
}

impl Names {
    /// What all replicas have a copy of.
    pub fn part(&self, wanted: BundlePart) -> Option<&ResourceId> {
        self.parts.iter().find(|(part, _)| *part == wanted).map(|(_, id)| id)
    }
}

pub(super) fn names(configuration: El<'_>) -> Vec<Names> {
    bundles(configuration).filter_map(name).collect()
}

fn bundles(configuration: El<'_>) -> impl Iterator<Item = El<'_>> {
    configuration.child("resources").into_iter().flat_map(|resources| resources.all("bundle"))
}

/// Tells of bundles with more replicas than are planned.
pub(super) fn report(configuration: El<'_>, losses: &mut Losses) {
    for el in bundles(configuration) {
        let containers = RUNTIMES.iter().filter_map(|(tag, _)| el.child(tag));
        let wanted = containers.flat_map(|el| COUNTS.iter().filter_map(move |name| el.attr(name)?.parse::<u32>().ok()));
        if wanted.max() > Some(MOST_REPLICAS) {
            losses.matters(el, format!("of its replicas {MOST_REPLICAS} are planned at most"));
        }
    }
}

fn name(el: El<'_>) -> Option<Names> {
    let (runtime, container) = RUNTIMES.iter().find_map(|(tag, runtime)| Some((*runtime, el.child(tag)?)))?;
    // A bundle is promotable by its containers or by its own word.
    let meta = el.all("meta_attributes").flat_map(|meta| meta.all("nvpair"));
    let promotable =
        meta.into_iter().any(|pair| pair.attr("name") == Some("promotable") && is_true(pair.attr("value")));
    let number = |name: &str| container.attr(name).and_then(|count| count.parse::<u32>().ok());
    let promoted = number("promoted-max").or_else(|| number("masters")).filter(|max| *max > 0);
    let replicas = number("replicas").unwrap_or(promoted.unwrap_or(1)).clamp(1, MOST_REPLICAS);
    let own = |name: &str| container.attr(name).map(str::to_owned);
    let id = ResourceId::new(el.id());
    let bundle = Bundle {
        runtime,
        image: own("image").unwrap_or_default(),
        replicas,
        per_host: number("replicas-per-host").unwrap_or(1).max(1),
        promoted: promoted.or(promotable.then_some(1)),
        run_options: own("options").unwrap_or_default(),
        command: own("run-command"),
        network: BundleNetwork { mode: own("network"), ..el.child("network").map(network).unwrap_or_default() },
        storage: el.child("storage").into_iter().flat_map(|all| all.all("storage-mapping")).filter_map(mount).collect(),
        resource: el.child("primitive").map(|child| ResourceId::new(child.id())),
        interleave: false,
        scores: ScoresOf::Inside,
        rank: 0,
    };
    let parts = bundle.parts(&id);
    let replica = |number| Replica {
        parts: parts.iter().map(|(part, _)| (*part, bundle.call(&id, *part, number))).collect(),
        inside: bundle.call(&id, BundlePart::Connection, number),
    };
    let replicas = (0..replicas).map(replica).collect();
    Some(Names { id, replicas, parts, bundle })
}

fn network(el: El<'_>) -> BundleNetwork {
    let port = |el: El<'_>| {
        let outer = el.attr("port").or_else(|| el.attr("range"))?;
        Some(match el.attr("internal-port").filter(|inner| *inner != outer) {
            Some(inner) => format!("{outer}:{inner}"),
            None => outer.to_owned(),
        })
    };
    BundleNetwork {
        address: el.attr("ip-range-start").and_then(|ip| ip.parse().ok()),
        prefix: el.attr("host-netmask").and_then(|prefix| prefix.parse().ok()),
        interface: el.attr("host-interface").map(str::to_owned),
        port: el.attr("control-port").and_then(|port| port.parse().ok()),
        mode: None,
        publish: el.all("port-mapping").filter_map(port).collect(),
    }
}

fn mount(el: El<'_>) -> Option<Mount> {
    let root = el.attr("source-dir-root");
    Some(Mount {
        from: root.or_else(|| el.attr("source-dir"))?.to_owned(),
        to: el.attr("target-dir")?.to_owned(),
        per_replica: root.is_some(),
        options: el.attr("options").unwrap_or("").to_owned(),
    })
}

/// The names that Pacemaker uses, and what they are here: the service and the number of its copy.
pub(super) fn aliases(names: &[Names]) -> BTreeMap<&str, (&str, u32)> {
    let mut aliases = BTreeMap::new();
    for names in names {
        for (number, replica) in (0..).zip(&names.replicas) {
            let own = replica.parts.iter().filter(|(part, _)| *part != BundlePart::Inner);
            for (part, name) in own {
                if let Some(id) = names.part(*part) {
                    aliases.insert(name.as_str(), (id.as_str(), number));
                }
            }
        }
    }
    aliases
}
