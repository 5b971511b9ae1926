//! Bundles: containers in several replicas, each with its address, its connection and what runs inside.
//!
//! Input: `bundle` elements. Output: [`Names`] of their parts, made before anything else is read. As services a bundle is a
//! clone of a group (address, container, connection, what runs inside), one copy per replica. Pacemaker Explained,
//! "Bundles".
//!
//! Invariants: the names of parts are those that Pacemaker gives them, so that histories and fail counts are found.
//!
//! Does not treat the inside of a container as a node of its own: what runs inside is taken to run on the host.

use super::rules::is_true;
use super::xml::El;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// More replicas than this are no bundle but a mistake.
const MAX_REPLICAS: u32 = 10_000;
const TECHNOLOGIES: [&str; 3] = ["docker", "podman", "rkt"];

/// What the parts of a bundle are called.
pub(super) struct Names {
    pub bundle: String,
    /// Of the parts as one service each.
    pub group: String,
    pub address: Option<String>,
    pub container: String,
    pub connection: Option<String>,
    pub child: Option<String>,
    pub technology: &'static str,
    pub per_host: u32,
    pub promoted: Option<u32>,
    pub replicas: Vec<Replica>,
}

/// What Pacemaker calls the parts of one replica.
pub(super) struct Replica {
    pub address: Option<String>,
    pub container: String,
    /// The connection and the node inside.
    pub inside: String,
}

pub(super) fn names(configuration: El<'_>) -> Vec<Names> {
    let bundles = configuration.child("resources").into_iter().flat_map(|resources| resources.all("bundle"));
    bundles.filter_map(name).collect()
}

fn name(el: El<'_>) -> Option<Names> {
    let (technology, container) = TECHNOLOGIES.iter().find_map(|tag| Some((*tag, el.child(tag)?)))?;
    // A bundle is promotable by its containers or by its own word.
    let meta = el.all("meta_attributes").flat_map(|meta| meta.all("nvpair"));
    let promotable =
        meta.into_iter().any(|pair| pair.attr("name") == Some("promotable") && is_true(pair.attr("value")));
    let number = |name: &str| container.attr(name).and_then(|count| count.parse::<u32>().ok());
    let promoted = number("promoted-max").or_else(|| number("masters")).filter(|max| *max > 0);
    let replicas = number("replicas").unwrap_or(promoted.unwrap_or(1)).min(MAX_REPLICAS);
    let network = el.child("network");
    let first: Option<IpAddr> = network.and_then(|net| net.attr("ip-range-start")).and_then(|ip| ip.parse().ok());
    let reachable = first.is_some() || network.is_some_and(|network| network.attr("control-port").is_some());
    let child = el.child("primitive").filter(|_| reachable).map(|child| child.id().to_owned());
    let id = el.id();
    let replica = |number: u32| Replica {
        address: first.map(|first| format!("{id}-ip-{}", plus(first, number))),
        container: format!("{id}-{technology}-{number}"),
        inside: format!("{id}-{number}"),
    };
    Some(Names {
        bundle: id.to_owned(),
        group: format!("{id}-replica"),
        address: first.map(|_| format!("{id}-ip")),
        container: format!("{id}-{technology}"),
        connection: child.as_ref().map(|_| format!("{id}-remote")),
        child,
        technology,
        per_host: number("replicas-per-host").unwrap_or(1),
        promoted: promoted.or(promotable.then_some(1)),
        replicas: (0..replicas).map(replica).collect(),
    })
}

fn plus(address: IpAddr, number: u32) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(u32::from(v4).wrapping_add(number).into()),
        IpAddr::V6(v6) => IpAddr::V6(u128::from(v6).wrapping_add(number.into()).into()),
    }
}

/// The names that Pacemaker uses, and what they are here: the service and the number of its copy.
pub(super) fn aliases(names: &[Names]) -> BTreeMap<&str, (&str, u32)> {
    let mut aliases = BTreeMap::new();
    for bundle in names {
        for (number, replica) in (0..).zip(&bundle.replicas) {
            aliases.insert(replica.container.as_str(), (bundle.container.as_str(), number));
            if let (Some(name), Some(part)) = (&replica.address, &bundle.address) {
                aliases.insert(name.as_str(), (part.as_str(), number));
            }
            if let Some(part) = &bundle.connection {
                aliases.insert(replica.inside.as_str(), (part.as_str(), number));
            }
        }
    }
    aliases
}

/// How a copy is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// In actions.
    pub name: String,
    /// Where it is placed, in the name of the bundle; None: not told of.
    pub placed: Option<String>,
    /// The node that it runs on, from within.
    pub node: Option<String>,
}

/// Copies of parts (`NAME:NUMBER`) in the words of their bundles.
pub(super) fn shown(names: &[Names]) -> BTreeMap<String, Shown> {
    let mut shown = BTreeMap::new();
    for bundle in names {
        for (number, replica) in (0_u32..).zip(&bundle.replicas) {
            let mut add = |part: &str, name: String, placed: Option<&String>, node: Option<String>| {
                let placed = placed.cloned();
                shown.insert(format!("{part}:{number}"), Shown { name, placed, node });
            };
            let alone = Some(&replica.container).filter(|_| bundle.child.is_none());
            add(&bundle.container, replica.container.clone(), alone, None);
            if let (Some(name), Some(part)) = (&replica.address, &bundle.address) {
                add(part, name.clone(), None, None);
            }
            if let Some(part) = &bundle.connection {
                add(part, replica.inside.clone(), None, None);
            }
            if let Some(child) = &bundle.child {
                add(child, format!("{child}:{number}"), Some(&replica.inside), Some(replica.inside.clone()));
            }
        }
    }
    shown
}
