//! The `resources` of a CIB: primitives, groups, clones and templates.
//!
//! Input: the section with its defaults. Output: a [`Services`], the same as definitions of this program, and what the
//! other files ask about: operations, who is whose member.
//!
//! Semantics as in Pacemaker Explained: a setting of a primitive is its own, its template's, what is said explicitly on
//! the group or clone around it, `rsc_defaults`, what that one got from the next one out.
//!
//! Does not read constraints or status.

use super::bundles::Names;
use super::loss::Losses;
use super::operations::{Op, operations, read_ops, spare};
use super::options::{Ids, Options, Values};
use super::rules::{Asked, RscFacts};
use super::words::{boolean, duration_ms, score};
use super::xml::El;
use crate::model::{
    AgentRef, Bundle, BundlePart, Clone as CloneSpec, FailurePolicy, Group, Influence, MOST_COPIES, MultipleActive,
    Promotable, QuorumLoss, Requires, Resource, ResourceId, ScoresOf, TargetRole,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What `migration-threshold` is when nothing is said: as many failures as can be counted.
pub(super) const INFINITE_FAILURES: u32 = 1_000_000;

/// The meta-attribute that says whose attributes are the promotion scores of what runs in a container.
const SCORES: &str = "container-attribute-target";

/// What a definition needs to know of the cluster.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub fencing: bool,
    pub quorum_loss: QuorumLoss,
    /// Quorum is not asked for.
    pub ignores_quorum: bool,
    /// Utilization counts.
    pub capacity: bool,
    /// A fence device provides unfencing.
    pub unfencing: bool,
    pub now: Option<i64>,
}

pub(super) struct Prim<'a> {
    pub el: El<'a>,
    pub class: &'a str,
    pub provider: Option<&'a str>,
    pub name: &'a str,
    pub ops: Vec<Op>,
    pub params: Values<'a>,
    pub meta: Values<'a>,
    pub clone: Option<&'a str>,
}

impl Prim<'_> {
    pub fn is_fence_device(&self) -> bool {
        self.class == "stonith"
    }
}

/// Everything that runs.
#[derive(Default)]
pub(super) struct Services<'a> {
    pub prims: BTreeMap<&'a str, Prim<'a>>,
    pub resources: BTreeMap<ResourceId, Resource>,
    pub groups: BTreeMap<ResourceId, Group>,
    pub clones: BTreeMap<ResourceId, CloneSpec>,
    pub bundles: BTreeMap<ResourceId, Bundle>,
    /// Top-level names in order, for what concerns everything.
    pub top: Vec<&'a str>,
    /// Elements by the name they define, those that were left out too.
    pub dropped: Vec<&'a str>,
    /// Nodes that are reached over a resource.
    pub remotes: Vec<Remote<'a>>,
    /// Names of the nodes inside of containers of bundles.
    pub inside: Vec<&'a str>,
}

/// A node that is there as long as its connection runs.
pub(super) struct Remote<'a> {
    /// Of the node, and of the connection.
    pub name: &'a str,
    /// The resource that the node runs in: a guest.
    pub container: Option<&'a str>,
}

impl<'a> Services<'a> {
    /// Whether a constraint can name this.
    pub fn knows(&self, name: &str) -> bool {
        self.resources.contains_key(name) || self.groups.contains_key(name) || self.clones.contains_key(name)
    }

    /// The primitives behind a name, in order.
    pub fn members(&self, name: &str) -> Vec<&'a str> {
        let name = self.clones.get(name).map_or(name, |clone| clone.resource.as_str());
        let prim = |name: &str| self.prims.get_key_value(name).map(|(name, _)| *name);
        match self.groups.get(name) {
            Some(group) => group.members.iter().filter_map(|member| prim(member.as_str())).collect(),
            None => prim(name).into_iter().collect(),
        }
    }
}

/// The settings around a primitive, from the nearest out.
#[derive(Clone, Copy)]
struct Around<'p, 'a> {
    explicit: &'p Values<'a>,
    outer: Option<&'p Values<'a>>,
}

impl<'a> Around<'_, 'a> {
    /// What is said on the outermost of them. They are placed as one, so that a member has no priority of its own.
    fn priority(&self) -> Option<&'a str> {
        self.outer.unwrap_or(self.explicit).get("priority").copied()
    }
}

pub(super) struct Reader<'r, 'a> {
    pub ids: &'r Ids<'a>,
    pub setting: Setting,
    pub bundles: &'a [Names],
    pub templates: BTreeMap<&'a str, El<'a>>,
    pub rsc_defaults: Option<El<'a>>,
    pub op_defaults: Option<El<'a>>,
    pub losses: &'r mut Losses,
    pub services: Services<'a>,
    pub rank: u32,
}

impl<'a> Reader<'_, 'a> {
    pub fn read(mut self, resources: El<'a>) -> Services<'a> {
        self.templates = resources.all("template").map(|template| (template.id(), template)).collect();
        for el in resources.children() {
            let known = match el.tag() {
                "primitive" => self.primitive(el, None, None),
                "group" => self.group(el, None),
                "clone" | "master" => self.clone(el),
                "bundle" => self.bundle(el),
                "template" => continue,
                tag => {
                    self.losses.matters(el, format!("a {tag} has no counterpart yet"));
                    self.services.dropped.push(el.id());
                    false
                }
            };
            if known {
                self.services.top.push(el.id());
            }
        }
        self.connections();
        self.number();
        self.services
    }

    /// Ranks without gaps, in the order of the documents that the services would be written as. What a bundle expands to has
    /// its rank.
    fn number(&mut self) {
        let Services { resources, groups, clones, bundles, .. } = &mut self.services;
        let parts: BTreeSet<ResourceId> = bundles.iter().flat_map(|(name, bundle)| bundle.made(name)).collect();
        let own = |name: &ResourceId| !parts.contains(name);
        let resources_of = resources.iter_mut().filter(|(name, _)| own(name)).map(|(_, resource)| &mut resource.rank);
        let groups_of = groups.iter_mut().filter(|(name, _)| own(name)).map(|(_, group)| &mut group.rank);
        let clones_of = clones.iter_mut().filter(|(name, _)| own(name)).map(|(_, clone)| &mut clone.rank);
        let bundles_of = bundles.values_mut().map(|bundle| &mut bundle.rank);
        let mut all: Vec<&mut u32> = resources_of.chain(groups_of).chain(clones_of).chain(bundles_of).collect();
        all.sort();
        (0..).zip(all).for_each(|(number, rank)| *rank = number);
        for (name, bundle) in bundles {
            for made in bundle.made(name) {
                resources.get_mut(&made).into_iter().for_each(|resource| resource.rank = bundle.rank);
                groups.get_mut(&made).into_iter().for_each(|group| group.rank = bundle.rank);
                clones.get_mut(&made).into_iter().for_each(|clone| clone.rank = bundle.rank);
            }
        }
    }

    /// Remote nodes have a primitive of their own; guests get one, which comes and goes with their container.
    fn connections(&mut self) {
        let mut guests = Vec::new();
        for (id, prim) in &self.services.prims {
            let bundled = prim.el.tag() == "bundle";
            if is_connection(prim) && !bundled {
                self.services.remotes.push(Remote { name: id, container: None });
            }
            if let Some(name) = prim.meta.get("remote-node") {
                guests.push((*name, *id));
            }
        }
        for (name, container) in guests {
            let (Some(prim), Some(inside)) =
                (self.services.prims.get(container), self.services.resources.get(container))
            else {
                continue;
            };
            let connection = Prim {
                el: prim.el,
                class: "ocf",
                provider: Some("pacemaker"),
                name: "remote",
                ops: Vec::new(),
                params: Values::new(),
                meta: Values::new(),
                clone: None,
            };
            let resource = Resource {
                agent: self::connection(),
                params: BTreeMap::new(),
                operations: operations(&[], self.setting.fencing),
                secrets: BTreeMap::new(),
                utilization: BTreeMap::new(),
                stickiness: 0,
                migratable: prim.meta.get("remote-allow-migrate").is_some_and(|value| boolean(value) == Some(true)),
                inside: Some(container.into()),
                ..inside.clone()
            };
            self.services.prims.insert(name, connection);
            self.services.resources.insert(name.into(), resource);
            self.services.remotes.push(Remote { name, container: Some(container) });
        }
    }

    fn asked<'x>(&self, rsc: Option<RscFacts<'x>>) -> Asked<'x> {
        Asked { now: self.setting.now, rsc, ..Asked::default() }
    }

    fn next_rank(&mut self) -> u32 {
        self.rank += 1;
        self.rank
    }

    fn defaults(&self, rsc: Option<RscFacts<'_>>) -> Values<'a> {
        let asked = self.asked(rsc);
        self.rsc_defaults.map(|el| self.ids.values(el, "meta_attributes", &asked)).unwrap_or_default()
    }

    fn clone(&mut self, el: El<'a>) -> bool {
        let rank = self.next_rank();
        let explicit = self.ids.values(el, "meta_attributes", &self.asked(None));
        let defaults = self.defaults(None);
        let get = |names: &[&str]| names.iter().find_map(|n| explicit.get(n).or_else(|| defaults.get(n)).copied());
        let is = |name: &str| get(&[name]).and_then(boolean).unwrap_or(false);
        let number = |names: &[&str]| get(names).and_then(score).map(|n| n.value().max(0) as u32);
        let per_node = number(&["clone-node-max"]).unwrap_or(1);
        let promotable = el.tag() == "master" || is("promotable");
        let unique = get(&["globally-unique"]).and_then(boolean).unwrap_or(per_node > 1);
        let max = number(&["clone-max"]);
        // Copies that are alike are one per node at most, so INFINITY of them are not too many.
        if unique && max > Some(MOST_COPIES) {
            self.losses.matters(el, format!("of its copies {MOST_COPIES} are planned at most"));
        }
        let clone = CloneSpec {
            resource: ResourceId::default(),
            max: max.map(|max| max.min(MOST_COPIES)),
            per_node: per_node.min(MOST_COPIES),
            promotable: promotable.then(|| Promotable {
                max: number(&["promoted-max", "master-max"]).unwrap_or(1),
                per_node: number(&["promoted-node-max", "master-node-max"]).unwrap_or(1),
            }),
            notify: is("notify"),
            interleave: is("interleave"),
            ordered: is("ordered"),
            globally_unique: unique,
            rank,
            enough: number(&["clone-min"]).filter(|min| *min > 0),
        };
        let child = el.children().find(|child| matches!(child.tag(), "primitive" | "group"));
        let Some(child) = child else {
            self.losses.harmless(el, "nothing is in it");
            return false;
        };
        let around = Around { explicit: &explicit, outer: None };
        let known = match child.tag() {
            "group" => self.group(child, Some((el.id(), around))),
            _ => self.primitive(child, Some(el.id()), Some(around)),
        };
        if known {
            let members: Vec<&Prim<'a>> = self.services.prims.values().filter(|p| p.clone == Some(el.id())).collect();
            // Only OCF agents can tell their copies apart.
            let unique = clone.globally_unique && members.iter().all(|prim| matches!(prim.class, "ocf" | "stonith"));
            let clone = CloneSpec { resource: child.id().into(), globally_unique: unique, ..clone };
            self.services.clones.insert(el.id().into(), clone);
        }
        known
    }

    /// A bundle, and what it expands to.
    fn bundle(&mut self, el: El<'a>) -> bool {
        let Some(names) = self.bundles.iter().find(|names| names.id.as_str() == el.id()) else {
            self.losses.matters(el, "it has no container that is known");
            self.services.dropped.push(el.id());
            return false;
        };
        let rank = self.next_rank();
        let explicit = self.ids.values(el, "meta_attributes", &self.asked(None));
        let defaults = self.defaults(None);
        let mut meta = explicit.clone();
        defaults.iter().for_each(|(name, value)| _ = meta.entry(name).or_insert(value));
        // Containers stay where they are for no better reason than others do.
        meta.entry("resource-stickiness").or_insert("0");
        let role = target_role(&meta);
        let prim = |part: BundlePart| Prim {
            el,
            class: "ocf",
            provider: Some(if part == BundlePart::Connection { "pacemaker" } else { "heartbeat" }),
            name: match part {
                BundlePart::Address => "IPaddr2",
                BundlePart::Container => "container",
                BundlePart::Connection | BundlePart::Inner => "remote",
            },
            ops: Vec::new(),
            params: Values::new(),
            meta: meta.clone(),
            clone: Some(names.id.as_str()),
        };
        let settings = self.resource(&prim(BundlePart::Container), role, BTreeMap::new(), rank);
        let mut scores = meta.get(SCORES).copied();
        if let Some(child) = el.child("primitive") {
            let around = Around { explicit: &explicit, outer: None };
            if !names.bundle.is_reachable() {
                self.losses.matters(child, "nothing reaches the inside of its container: no address, no control port");
            } else if self.primitive(child, Some(names.id.as_str()), Some(around)) {
                scores = self.services.prims.get(child.id()).and_then(|prim| prim.meta.get(SCORES).copied()).or(scores);
            }
        }
        let bundle = Bundle {
            interleave: meta.get("interleave").and_then(|value| boolean(value)).unwrap_or(false),
            scores: if scores == Some("host") { ScoresOf::Host } else { ScoresOf::Inside },
            rank,
            ..names.bundle.clone()
        };
        let expanded = bundle.expand(&names.id, &settings);
        self.services.inside.extend(names.replicas.iter().map(|replica| replica.inside.as_str()));
        for (part, id) in names.parts.iter().filter(|(part, _)| *part != BundlePart::Inner) {
            self.services.prims.insert(id.as_str(), prim(*part));
        }
        self.services.resources.extend(expanded.parts);
        self.services.groups.extend([expanded.group]);
        self.services.clones.insert(names.id.clone(), expanded.clone);
        self.services.bundles.insert(names.id.clone(), bundle);
        true
    }

    fn group(&mut self, el: El<'a>, clone: Option<(&'a str, Around<'_, 'a>)>) -> bool {
        let rank = self.next_rank();
        let explicit = self.ids.values(el, "meta_attributes", &self.asked(None));
        for name in ["ordered", "collocated"] {
            if explicit.get(name).and_then(|value| boolean(value)) == Some(false) {
                self.losses.matters(el, format!("`{name}=false` of a group has no counterpart"));
            }
        }
        let around = Around { explicit: &explicit, outer: clone.map(|(_, around)| around.explicit) };
        let mut members = Vec::new();
        for child in el.all("primitive") {
            if self.primitive(child, clone.map(|(clone, _)| clone), Some(around)) {
                members.push(child.id().into());
            }
        }
        if members.is_empty() {
            self.losses.harmless(el, "nothing is in it");
            return false;
        }
        self.services.groups.insert(el.id().into(), Group { members, rank });
        true
    }

    fn primitive(&mut self, el: El<'a>, clone: Option<&'a str>, around: Option<Around<'_, 'a>>) -> bool {
        let rank = self.next_rank();
        let template = el.attr("template").and_then(|name| self.templates.get(name).copied());
        let attr = |name: &str| el.attr(name).or_else(|| template.and_then(|template| template.attr(name)));
        let (Some(class), Some(name)) = (attr("class"), attr("type")) else {
            self.losses.matters(el, "it has no class and type");
            return false;
        };
        let provider = attr("provider").or((class == "ocf").then_some("heartbeat"));
        let facts = RscFacts { class, provider, name };
        let asked = self.asked(Some(facts));
        let layered = |kind: &'static str| {
            let mut values = self.ids.values(el, kind, &asked);
            if let Some(template) = template {
                let inherited = self.ids.values(template, kind, &asked);
                inherited.into_iter().for_each(|(name, value)| _ = values.entry(name).or_insert(value));
            }
            values
        };
        let params = layered("instance_attributes");
        let own = layered("meta_attributes");
        let utilization = layered("utilization");
        let defaults = self.defaults(Some(facts));
        let mut meta = own.clone();
        let outer = [around.map(|a| a.explicit), Some(&defaults), around.and_then(|a| a.outer)];
        for (name, value) in outer.into_iter().flatten().flatten() {
            meta.entry(name).or_insert(value);
        }
        if let Some(around) = around {
            let priority = around.priority().or(defaults.get("priority").copied());
            meta.remove("priority");
            meta.extend(priority.map(|priority| ("priority", priority)));
        }
        let role = target_role(&meta);
        let ops = read_ops(self.ids, el, template, self.op_defaults, &asked, self.setting.fencing);
        for (what, matters) in spare(&ops) {
            match matters {
                true => self.losses.matters(el, what),
                false => self.losses.harmless(el, what),
            }
        }
        let prim = Prim { el, class, provider, name, ops, params, meta, clone };
        let utilization = if self.setting.capacity { numbers(&utilization) } else { BTreeMap::new() };
        let resource = self.resource(&prim, role, utilization, rank);
        self.services.resources.insert(el.id().into(), resource);
        self.services.prims.insert(el.id(), prim);
        true
    }

    fn resource(
        &mut self,
        prim: &Prim<'a>,
        target_role: TargetRole,
        utilization: BTreeMap<String, i64>,
        rank: u32,
    ) -> Resource {
        let options = Options(prim.meta.clone());
        let get = |name: &str| options.get(&[name]);
        let number = |name: &str| get(name).and_then(score).map(|score| score.value());
        let default_stickiness = i32::from(prim.clone.is_some());
        Resource {
            agent: agent(prim.class, prim.provider, prim.name),
            params: prim.params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            secrets: BTreeMap::new(),
            operations: operations(&prim.ops, self.setting.fencing),
            failure: FailurePolicy {
                threshold: number("migration-threshold").map_or(INFINITE_FAILURES, |n| n.max(0) as u32),
                timeout: get("failure-timeout").and_then(duration_ms).map_or(Duration::ZERO, Duration::from_millis),
            },
            stickiness: number("resource-stickiness").unwrap_or(default_stickiness),
            priority: number("priority").unwrap_or(0),
            target_role,
            managed: options.is(&["is-managed"], true),
            maintenance: options.is(&["maintenance"], false),
            requires: self.requires(prim, get("requires")),
            quorum_loss: self.setting.quorum_loss,
            migratable: options.is(&["allow-migrate"], is_connection(prim)),
            multiple_active: match get("multiple-active") {
                Some("stop_only") => MultipleActive::StopOnly,
                Some("block") => MultipleActive::Block,
                Some("stop_unexpected") => MultipleActive::StopUnexpected,
                Some(_) | None => MultipleActive::StopStart,
            },
            utilization,
            rank,
            influence: if options.is(&["critical"], true) { Influence::Always } else { Influence::WhileStopped },
            inside: None,
            max_outage: None,
        }
    }

    fn requires(&self, prim: &Prim<'_>, written: Option<&str>) -> Requires {
        let setting = &self.setting;
        match written {
            Some("nothing") => Requires::Nothing,
            Some("quorum") => Requires::Quorum,
            Some("fencing") if setting.fencing => Requires::Fencing,
            Some("unfencing") if setting.fencing && !prim.is_fence_device() => Requires::Unfencing,
            Some(_) | None if prim.is_fence_device() => Requires::Quorum,
            Some(_) | None if setting.fencing && setting.unfencing => Requires::Unfencing,
            Some(_) | None if setting.fencing => Requires::Fencing,
            Some(_) | None if setting.ignores_quorum => Requires::Nothing,
            Some(_) | None => Requires::Quorum,
        }
    }
}

/// What reaches remote nodes.
pub(super) fn connection() -> AgentRef {
    AgentRef::Ocf { provider: "pacemaker".into(), name: "remote".into() }
}

fn is_connection(prim: &Prim<'_>) -> bool {
    (prim.class, prim.provider, prim.name) == ("ocf", Some("pacemaker"), "remote")
}

/// An agent by class, provider and type. What this program would not take for an agent is one that it never runs.
pub(super) fn agent(class: &str, provider: Option<&str>, name: &str) -> AgentRef {
    let written = match (class, provider) {
        ("ocf", provider) => format!("ocf:{}:{name}", provider.unwrap_or("heartbeat")),
        (class, Some(provider)) => format!("{class}:{provider}:{name}"),
        (class, None) => format!("{class}:{name}"),
    };
    written.parse().unwrap_or_else(|_| {
        let clean = |text: &str| -> String {
            let text = text.trim_matches('/').replace("//", "/");
            let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-/".contains(c) { c } else { '_' };
            if text.is_empty() { "_".into() } else { text.chars().map(allowed).collect() }
        };
        let provider = provider.map(|provider| clean(provider).replace('/', "_"));
        AgentRef::Foreign { class: "other".into(), provider, name: clean(name) }
    })
}

fn numbers(values: &Values<'_>) -> BTreeMap<String, i64> {
    let number = |(name, value): (&&str, &&str)| Some(((*name).to_owned(), value.trim().parse().ok()?));
    values.iter().filter_map(number).collect()
}

fn target_role(meta: &Values<'_>) -> TargetRole {
    match meta.get("target-role") {
        Some(role) if role.eq_ignore_ascii_case("stopped") => TargetRole::Stopped,
        Some(role) if role.eq_ignore_ascii_case("unpromoted") || role.eq_ignore_ascii_case("slave") => {
            TargetRole::Unpromoted
        }
        Some(_) | None => TargetRole::Started,
    }
}
